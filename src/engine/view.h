/* A view: which nodes see which at one moment. Immutable, counted, for any thread. Every snapshot keeps one, so that a
 * change can be sent to the nodes that saw the node before and to those that see it after.
 *
 *  * Consecutive views share what has not changed. A view copies one word for every 64 ids, for every 64 classes and,
 * when autogroup:self is used, for every 64 users; and, when a class came or went, a bit for each pair of classes. A
 * write between two views copies a page of each table, and the set of the node's class. */
#ifndef ENGINE_VIEW_H
#define ENGINE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct engine_view;

/* The view of this moment, with a reference for the caller. The same as the last one while nothing relevant was
 * written. */
struct engine_view *engine_view_get(struct engine *e);
struct engine_view *engine_view_ref(struct engine_view *v);
/* Drops a reference and nulls the pointer. Null is fine. */
void engine_view_unref(struct engine_view **v);

/* Whether `a` and `b` are peers. */
bool engine_view_sees(const struct engine_view *v, uint64_t a, uint64_t b);
/* The index of the node's class; -1: no such node. Nodes of a class see alike and are seen alike, apart from
 * autogroup:self, and get the same filter apart from their own addresses. An index is used again after its class is
 * gone. */
int64_t engine_view_class(const struct engine_view *v, uint64_t id);

/* All that decides what a node sees. Viewers with equal keys see alike. */
struct viewer_key {
    uint32_t class_index; /* ENGINE_NO_CLASS: no such node */
    /* Number of its owner, the same in all views of one engine; 0: tagged, or no rule depends on owners. */
    uint32_t owner;
    uint64_t class_made; /* engine_clock when the class was made: distinguishes classes that had the same index */
};
#define ENGINE_NO_CLASS UINT32_MAX
/* Whether viewers with these keys see alike. */
static inline bool viewer_keys_equal(struct viewer_key a, struct viewer_key b)
{
    return a.class_index == b.class_index && a.owner == b.owner && a.class_made == b.class_made;
}
/* The key of a node. */
struct viewer_key engine_view_key(const struct engine_view *v, uint64_t id);
/* Whether two different nodes with these keys are peers; the keys may be equal. */
bool engine_view_keys_see(const struct engine_view *v, struct viewer_key a, struct viewer_key b);
/* Adds to `set`, bits by id, all nodes that a viewer with this key sees; and the viewer itself when nodes with its
 * key see each other. Ids from 64 * words on are left out. The cost is that of the nodes seen, not of all nodes. */
void engine_view_mark(const struct engine_view *v, struct viewer_key viewer, uint64_t *set, size_t words);
/* The engine_clock at which the class with this index was made. False: there is no such class. */
bool engine_view_class_made(const struct engine_view *v, size_t class_index, uint64_t *out);
/* All class indexes are below this. */
size_t engine_view_class_cap(const struct engine_view *v);
/* Whether no class came or went between two views of one engine. */
bool engine_view_same_classes(const struct engine_view *a, const struct engine_view *b);

#endif
