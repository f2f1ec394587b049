/* Taking back events whose batch could not be written; only for this folder. */
#ifndef STATE_UNDO_INTERNAL_H
#define STATE_UNDO_INTERNAL_H

#include "state/records_internal.h"

/* Why a node changes durably. */
enum undo_cause {
    UNDO_EVENT,
    UNDO_NEW, /* the node did not exist before */
};

/* How one row was before an event that waits for the disk. */
struct undo {
    uint64_t seq; /* of the event's batch */
    const struct entity *entity;
    uint64_t id;
    const struct row *before; /* reference; null: there was none */
    bool is_deletion;
    /* Of a node; zero for others. */
    uint8_t unsettled;    /* as in `node_record`, before the event settled them */
    uint64_t policy_sets; /* as in `state` */
    uint64_t visible_seq;
    int64_t offline_at_ms;
    const struct node *after; /* as the event left it: reference; null: the event removed it */
};

/* What had been given out when a batch began. */
struct undo_mark {
    struct row_counters counters;
    struct addr last_v4, last_v6;
};

/* What state_settle decided about a node while events waited for the disk, with or without changing it. */
struct settled_note {
    node_id id;
    uint8_t bits; /* SETTLE_NAME, SETTLE_APPROVAL */
    uint64_t seq; /* of the last batch that it knew of */
};

struct undo_log {
    struct settled_note *settled; /* owned; ascending by seq */
    size_t settled_n, settled_cap;
    struct undo *v; /* owned; in the order of events */
    size_t n, cap;
    uint64_t *marks; /* owned; the batches that wait for the disk, ascending */
    size_t mark_n, mark_cap;
    struct undo_mark next; /* of the pending batch */
};

/* --- undo_log.c --- */
/* Notes how a row is before an event changes it; `before` (borrowed) null: there is none. See state_put. */
struct undo *undo_note(struct state *st, const struct entity *entity, uint64_t id, const struct row *before);
/* Begins an event that changes a node, until node_record_mark_durable ends it; for a new node it is called after
 * node_record_add. An event that begins within another is a part of that one. */
void undo_begin_node(struct state *st, struct node_record *e, enum undo_cause cause);
/* Ends it. */
void undo_end_node(struct state *st, struct node_record *e);
/* These SETTLE_ bits of the node have been settled. If it was by events that are refused, that is done again. */
void undo_note_settled(struct state *st, node_id id, unsigned bits);
/* A new pending batch begins: notes what ids and addresses have been given out so far. */
void undo_begin_batch(struct state *st);
/* Batch `seq` has been taken and waits for the disk; begins the next. */
void undo_mark_batch(struct state *st, uint64_t seq);
/* Drops what was noted for batches that are on disk by now. */
void undo_committed(struct state *st);
/* Frees what one note of the log refers to. */
void undo_drop(struct undo *u);
/* Frees the log. */
void undo_fini(struct state *st);
/* An event that waits for the disk created, changed or deleted this key. */
bool undo_has_auth_key(const struct state *st, const uint8_t hash[KEY_HASH_BYTES]);
/* An event that waits for the disk gave this key to a node, or took it away. */
bool undo_has_node_key(const struct state *st, const node_key *key);
/* A deletion of a row of this entity waits for the disk. */
bool undo_has_deletion(const struct state *st, const struct entity *entity);

/* --- users.c, keys.c, relays.c, policy_texts.c --- */
/* Each makes the row what it was before the event; `before` null: it did not exist. */
void user_restore(struct state *st, user_id id, const struct user *before, int64_t now_ms);
void auth_key_restore(struct state *st, uint64_t id, const struct auth_key *before, int64_t now_ms);
void state_relay_restore(struct state *st, uint64_t id, const struct relay_host *before, int64_t now_ms);
void state_policy_text_restore(struct state *st, uint64_t id, const struct policy_text *before, int64_t now_ms);

#endif
