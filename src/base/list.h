/* Intrusive doubly linked list: entries are members of the objects that are listed. A head, or an entry that is in no
 * list, points to itself. Not thread-safe. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct list {
    struct list *next;
    struct list *prev;
};

/* Makes an empty head, or an entry that is in no list. */
static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

/* Whether a head has no entries, or an entry is in no list. */
static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

/* Adds an entry, which is in no list, at the end. */
static inline void list_push_back(struct list *head, struct list *entry)
{
    entry->prev = head->prev;
    entry->next = head;
    head->prev->next = entry;
    head->prev = entry;
}

/* Takes an entry out of its list. Harmless for an initialised entry that is in no list. */
static inline void list_remove(struct list *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    list_init(entry);
}

#define LIST_ENTRY(ptr, type, member) CONTAINER_OF(ptr, type, member)
#define LIST_EACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The current entry may be unlinked or freed inside. */
#define LIST_EACH_SAFE(it, head)                                                                                       \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

#endif
