/* What the backends of the store share; only for this folder. */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/store.h"

/* Where a backend delivers the rows that it reads. */
struct row_sink {
    /* The reference is handed over. RC_OK: the row is taken; else `err` says why it cannot be used. */
    enum rc (*take)(void *ctx, const struct entity *entity, struct row *object, struct err *err);
    void *ctx;
};

struct store_ops {
    /* Writes rows of a tailnet, all or none. No row occurs twice. Afterwards all rows agree; but names, addresses and
     * keys may pass from row to row in any way, also in a circle. On the store's thread; blocks. */
    enum rc (*write)(struct store *s, uint64_t tailnet, const struct row_op *const *ops, size_t n);
    /* Delivers the rows of a tailnet, entity after entity, in the order of state_entity, ascending by id. Rows that
     * cannot be read or are refused are set aside, where they do not conflict with what is written later. */
    enum rc (*load)(struct store *s, uint64_t tailnet, const struct row_sink *sink, struct err *err);
    /* Any thread. */
    enum rc (*ping)(struct store *s);
    /* Closes and frees the store. `is_sound`: no write has failed since the last that succeeded. */
    void (*destroy)(struct store *s, bool is_sound);
    bool is_shared; /* other servers write to the same database */
};

struct batch_list {
    struct row_batch **batches; /* owned, and what they point to */
    size_t n;
    size_t cap;
};

/* A tailnet whose batches have come. */
struct store_tailnet {
    uint64_t id;
    enum rc refusal; /* RC_OK: its batches are written; else why everything but a repair is refused */
};

/* A backend embeds it. */
struct store {
    const struct store_ops *ops;
    store_done_fn done;
    void *done_ctx;
    pthread_t thread;
    bool is_started;
    struct store_tailnet *tailnets; /* owned; in no order. The store's thread only */
    size_t tailnet_n, tailnet_cap;
    enum rc first_refusal; /* of each tailnet, until its repair is written */
    struct store_aside policy_text_aside;
    _Atomic enum rc fault; /* why the newest write failed; RC_OK: nothing is refused */
    pthread_mutex_t lock;  /* of what follows */
    pthread_cond_t changed;
    struct batch_list waiting;
    bool is_stopping;
};

/* For a backend that has been allocated zeroed: no thread yet, nothing refused. */
void store_init(struct store *s, const struct store_ops *ops);
/* Refuses everything until a repair is written. Before store_start. */
void store_start_refusing(struct store *s, enum rc why);
/* Whether what is written of this tailnet is a repair. On the store's thread. */
bool store_is_refusing(struct store *s, uint64_t tailnet);
/* Plans what to write for several batches, in which later operations on a row supersede earlier ones. Returns how
 * many operations; `*out` is the caller's array of borrowed operations. */
size_t store_plan(struct row_batch *const *batches, size_t n, const struct row_op ***out);

#endif
