/* What the backends of the store share; only for this folder. */
#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "store/store.h"

/* Takes rows as they are read; references are handed over. */
struct row_sink {
    void (*user)(void *ctx, struct user *u);
    void (*key)(void *ctx, struct auth_key *k);
    void (*relay)(void *ctx, struct relay_host *r);
    void (*policy_text)(void *ctx, struct policy_text *t);
    void (*node)(void *ctx, struct node *n);
    void *ctx;
    /* Set by whoever takes a row and cannot use it: why. Cleared by the backend before each row; may be null. */
    struct err *refusal;
};

struct store_ops {
    /* Makes the rows so, all or none. No row occurs twice, and what is left of them contradicts nothing: names,
     * addresses and keys may have changed hands in any way, also in a circle. On the store's thread; blocks. */
    enum rc (*write)(struct store *s, const struct row_op *const *ops, size_t n);
    /* Users, then keys, then relays, then policy texts, then nodes, each ascending by id. Counters that were never written are 0.
     * Rows that do not read or are refused are set aside, where nothing that is written later meets them. */
    enum rc (*load)(struct store *s, const struct row_sink *sink, struct row_counters *counters_out, struct err *err);
    /* Any thread. */
    enum rc (*ping)(struct store *s);
    /* Ends everything, frees the store. `is_sound`: no write has failed since the last that succeeded. */
    void (*destroy)(struct store *s, bool is_sound);
};

struct batch_list {
    struct row_batch **batches; /* owned, and what they point to */
    size_t n;
    size_t cap;
};

/* A backend embeds it. */
struct store {
    const struct store_ops *ops;
    store_done_fn done;
    void *done_ctx;
    pthread_t thread;
    bool is_started;
    bool is_refusing; /* everything but a repair. The store's thread only, once it runs */
    struct store_aside policy_text_aside;
    _Atomic enum rc fault; /* of the last write; RC_OK: it succeeded */
    pthread_mutex_t lock;  /* of what follows */
    pthread_cond_t changed;
    struct batch_list waiting;
    bool is_stopping;
};

void store_init(struct store *s, const struct store_ops *ops);
/* Before store_start: nothing can be written until a repair gets through. */
void store_start_refusing(struct store *s, enum rc why);
/* What is left to write when later operations on a row supersede earlier ones, over all the batches. Returns how many;
 * `*out` is the caller's array of borrowed operations. */
size_t store_plan(struct row_batch *const *batches, size_t n, const struct row_op ***out);

#endif
