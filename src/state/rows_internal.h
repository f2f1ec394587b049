/* Rows on their way to the store, and what is published when they are on disk; only for this folder. */
#ifndef STATE_ROWS_INTERNAL_H
#define STATE_ROWS_INTERNAL_H

#include "state/row_set.h"
#include "state/state.h"

/* The next id of each entity to be given, by its number, and a bit for each that waits to be written. */
struct row_counters {
    uint64_t next[ENTITIES_MAX];
    uint64_t dirty;
};
_Static_assert(ENTITIES_MAX <= 64, "a bit for each entity");

struct revoked_key {
    node_key key;
    uint64_t seq; /* handed out when this batch is on disk; 0: at once */
};

struct revoked_list {
    struct revoked_key *v; /* owned */
    size_t n;
    size_t cap;
};

/* The rows of an entity that the state keeps as they are. */
struct kept_rows {
    const struct entity *entity; /* null: there never was one */
    const struct row **v;        /* owned array of references; ascending by id */
    size_t n, cap;
};

/* What snapshots show besides nodes, as it was when a batch was taken that changes some of it. */
struct sealed {
    uint64_t seq;             /* of the batch; 0: it may be published at once */
    struct user_table *users; /* references, here and below; null: none of them changed */
    struct row_set *kept;
};

/* --- rows.c --- */
/* The pending batch, which is made if there is none. */
struct row_batch *row_pending(struct state *st);
/* Adds a row to the pending batch: as `object` is (a reference is taken), or null: deleted. Changes of the model go
 * through state_put, which notes for undoing what the row was. */
void row_put(struct state *st, const struct entity *entity, uint64_t id, const struct row *object);
/* The same for presence, which no answer waits for (state.h): the row is written as it is when the batch is taken. */
void row_put_lazy(struct state *st, const struct entity *entity, uint64_t id);
/* Adds a row to any batch; as row_put. */
void row_batch_add(struct row_batch *b, const struct entity *entity, uint64_t id, const struct row *object);
/* The next id of a row of this entity, which is then never given again. */
uint64_t row_next_id(struct state *st, const struct entity *entity);
/* Adds the counters that have changed, or `all`. */
void row_batch_add_counters(struct row_batch *b, const struct row_counters *counters, bool all);

/* --- put.c --- */
/* Every durable change of a row comes through here, before the state lets go of `before`: the pending batch gets the
 * row, and the undo log notes what it was. Both are borrowed. `before` null: the row is new; `after` null: it is
 * deleted. Nodes have undo_begin_node around it. */
void state_put(struct state *st, const struct entity *entity, const struct row *before, const struct row *after);

/* --- kept.c --- */
/* The row with this id, borrowed; null: there is none. */
const struct row *kept_row(const struct state *st, const struct entity *entity, uint64_t id);
/* Walks the rows, ascending by id: start with *pos = 0. Null at the end. */
const struct row *kept_next(const struct state *st, const struct entity *entity, size_t *pos);
/* How many there are. */
size_t kept_count(const struct state *st, const struct entity *entity);
/* Puts a row in the place of that with its id, or with null removes that; a reference is taken over. Nothing is
 * written: for undoing. */
void kept_install(struct state *st, const struct entity *entity, uint64_t id, const struct row *row);
/* A durable change, as state_put. The reference to `after` is taken over. */
void kept_put(struct state *st, const struct entity *entity, const struct row *before, const struct row *after);
/* Takes the reference if the row can be used: id, and what is unique. */
MUST_CHECK enum rc kept_load(struct state *st, const struct entity *entity, const struct row *row, struct err *err);
/* Those that snapshots show. The caller owns the reference. */
struct row_set *kept_snapshot(const struct state *st);
/* Frees all of them. */
void kept_fini(struct state *st);

/* --- entities.c --- */
/* Makes the row what it was; `before` (borrowed) null: it did not exist. Not for nodes. */
void entity_restore(struct state *st, const struct entity *entity, uint64_t id, const struct row *before,
                    int64_t now_ms);
/* The row as it is now is in the batch that is being taken. */
void entity_note_written(struct state *st, const struct entity *entity, uint64_t id);

/* --- users.c, keys.c, relays.c, policy_texts.c, node_load.c --- */
/* Each takes the reference if the row can be used; state_load is their caller. */
MUST_CHECK enum rc state_load_user(struct state *st, struct user *u, struct err *err);
MUST_CHECK enum rc state_load_key(struct state *st, struct auth_key *k, struct err *err);
MUST_CHECK enum rc state_load_relay(struct state *st, struct relay_host *r, struct err *err);
MUST_CHECK enum rc state_load_policy_text(struct state *st, struct policy_text *t, struct err *err);
MUST_CHECK enum rc state_load_node(struct state *st, struct node *n, struct err *err);

/* --- row_checks.c: for rows that are loaded --- */
/* RC_INVALID: counting never gives this id. */
MUST_CHECK enum rc state_load_check_id(uint64_t id, struct err *err);
/* RC_INVALID: neither null nor a JSON array of 1 to TAGS_MAX tags. */
MUST_CHECK enum rc state_load_check_tags(const struct rcbuf *tags, struct err *err);
/* Moves a time into the years 1970 to 9999. */
void state_load_fit_time(int64_t *unix_ms);
/* The same for an expiry date; NO_EXPIRY stays. */
void state_load_fit_expiry(int64_t *unix_ms);

/* --- revoked.c --- */
/* The key is handed out by the next state_take_revoked. */
void state_revoke_key(struct state *st, const node_key *key);
/* The same once the pending batch is on disk. */
void state_revoke_key_durably(struct state *st, const node_key *key);
/* Takes back what waits for batch `from_seq` or a later one. */
void state_forget_revoked(struct state *st, uint64_t from_seq);

/* --- sealed.c --- */
/* A table of all users of the working state. The caller owns the reference. */
struct user_table *state_user_table_make(const struct state *st);
/* Keeps what has changed of it, to be published when batch `seq` is on disk. */
void state_seal(struct state *st, uint64_t seq);
/* The newest of each that is on disk, or null where that is published already. The caller owns the references. */
struct sealed state_take_sealed(struct state *st);
/* Takes back what waits for batch `from_seq` or a later one, and what is not sealed yet. */
void state_forget_sealed(struct state *st, uint64_t from_seq);
/* Frees what waits. */
void state_sealed_fini(struct state *st);

#endif
