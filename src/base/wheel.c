#include "base/wheel.h"

void wheel_init(struct wheel *w, int64_t now)
{
    for (int i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    w->now = now;
}

static struct list *slot_of(struct wheel *w, int64_t tick)
{
    return &w->slots[(uint64_t)tick % WHEEL_SLOTS];
}

void wheel_put(struct wheel *w, struct list *link, int64_t due)
{
    int64_t first = w->now + 1, last = w->now + WHEEL_SLOTS - 1;
    list_remove(link);
    list_push_back(slot_of(w, due < first ? first : due > last ? last : due), link);
}

void wheel_advance(struct wheel *w, int64_t now, struct list *due_out)
{
    list_init(due_out);
    if (w->now < now - WHEEL_SLOTS)
        w->now = now - WHEEL_SLOTS;
    while (w->now < now) {
        struct list *slot = slot_of(w, ++w->now);
        while (!list_is_empty(slot)) {
            struct list *link = slot->next;
            list_remove(link);
            list_push_back(due_out, link);
        }
    }
}
