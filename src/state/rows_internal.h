/* Rows on their way to the store, and what is published when they are on disk; only for this folder. */
#ifndef STATE_ROWS_INTERNAL_H
#define STATE_ROWS_INTERNAL_H

#include "state/state.h"

/* Ids of users, keys and relays may be sparse, but counting never reaches 2^62. */
enum { ROW_ID_BITS = 62 };

struct revoked_key {
    node_key key;
    uint64_t seq; /* handed out when this batch is on disk; 0: at once */
};

struct revoked_list {
    struct revoked_key *v; /* owned */
    size_t n;
    size_t cap;
};

/* All users as they were when a batch was taken that changes some. */
struct sealed_users {
    struct user_table *table; /* reference */
    uint64_t seq;             /* of the batch; 0: it may be published at once */
};

/* --- rows.c --- */
/* The pending batch; there is one from now on. */
struct row_batch *row_pending(struct state *st);
/* Adds a row to the pending batch; the caller fills in its value, for the PUT kinds. Borrowed until the next row. */
struct row_op *row_put(struct state *st, enum row_op_kind kind, uint64_t id);
/* The same for presence, which no answer waits for (state.h): the row is written as it is when the batch is taken. */
void row_put_lazy(struct state *st, enum row_op_kind kind, uint64_t id);
/* Adds a row to any batch; as row_put. */
struct row_op *row_batch_add(struct row_batch *b, enum row_op_kind kind, uint64_t id);

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

/* --- sealed_users.c --- */
/* A table of all users of the working state. The caller owns the reference. */
struct user_table *state_user_table_make(const struct state *st);
/* If users have changed: keeps a table of them, to be published when batch `seq` is on disk. */
void state_seal_users(struct state *st, uint64_t seq);
/* The newest sealed users that are on disk, or null when they are published already. The caller owns the reference. */
struct user_table *state_take_sealed_users(struct state *st);
/* Takes back what waits for batch `from_seq` or a later one, and what is not sealed yet. */
void state_forget_sealed_users(struct state *st, uint64_t from_seq);
/* Frees what is kept. */
void state_sealed_users_fini(struct state *st);

#endif
