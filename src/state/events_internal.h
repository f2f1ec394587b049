/* Recording events; only for this folder. */
#ifndef STATE_EVENTS_INTERNAL_H
#define STATE_EVENTS_INTERNAL_H

#include "state/event.h"
#include "state/records_internal.h"

/* The events of a batch that has been taken. */
struct event_batch {
    uint64_t seq;
    struct event_list *list; /* reference */
};

/* Another node has become the primary of a prefix. */
struct event_move {
    struct prefix prefix;
    node_id from, to;
};

struct event_log {
    bool wanted;
    struct event_actor actor; /* of what happens now. The name is a reference */
    int64_t now_ms;
    struct event_list *at_once;  /* presence; reference, null: none */
    struct event_batch *batches; /* owned; ascending by seq: those that wait for the disk, or are on it */
    size_t batch_n, batch_cap;
    struct id_list news;      /* nodes of which listeners may not know all; may name those that are gone */
    struct event_move *moves; /* owned; in the order in which they happened: those that are not told yet */
    size_t move_n, move_cap;
    size_t waiting_n; /* events that nobody has taken yet */
    uint64_t dropped_n;
};

/* --- event.c --- */
/* Empty; the caller owns the one reference. */
struct event_list *event_list_create(void);

/* --- events.c --- */
/* It happened to an object of this entity, and is of the pending batch. `before` and `after` are as in struct event,
 * without the references. */
void event_note(struct state *st, enum event_kind kind, const struct entity *entity, const void *before,
                const void *after);
/* It happened, and waits for no disk. */
void event_note_at_once(struct state *st, enum event_kind kind, const struct entity *entity, const void *before,
                        const void *after);
/* The node was changed by an event that undo_begin_node began and node_record_mark_durable has not ended yet. */
void event_note_node(struct state *st, enum event_kind kind, const struct node_record *e);
/* The same, whoever acts otherwise: the policy, or with EVENT_BY_NODE the node itself. */
void event_note_node_by(struct state *st, enum event_by by, enum event_kind kind, const struct node_record *e);
/* Presence of a node, one of the first kinds: handed out with the node as it is then, once the node is visible. */
void event_note_news(struct state *st, enum event_kind kind, struct node_record *e);
/* The primary of a prefix is another node than before: handed out once both are visible, as they are then. */
void event_note_moved(struct state *st, const struct prefix *p, node_id from, node_id to);
/* The record is about to get another version of its node: whether it is online, expired, or advertises other routes. */
void events_follow_node(struct state *st, struct node_record *e, const struct node *next);
/* The pending batch has been taken. */
void events_batch_taken(struct state *st, const struct row_batch *b);
/* Drops what belongs to batch `from_seq` or a later one, also to the pending one. */
void events_drop(struct state *st, uint64_t from_seq);
/* Frees the log. */
void events_fini(struct state *st);

#endif
