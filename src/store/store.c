#include "store/store.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "store/store_internal.h"

LOG_MODULE("store");

METRIC_COUNTER(transactions, "fullscale_store_transactions_total", "", "Transactions committed to the database.");
METRIC_COUNTER(batches, "fullscale_store_batches_total", "", "Batches of rows committed; several share a transaction.");
METRIC_COUNTER(rows, "fullscale_store_rows_total", "", "Rows written or deleted.");
METRIC_COUNTER(failures, "fullscale_store_commit_failures_total", "", "Transactions that failed.");
METRIC_COUNTER(commit_us, "fullscale_store_commit_microseconds_total", "", "Time spent in transactions.");
METRIC_GAUGE(waiting, "fullscale_store_waiting_batches", "", "Batches that wait for their transaction.");

void store_init(struct store *s, const struct store_ops *ops)
{
    s->ops = ops;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
}

/* --- what a group of batches comes to --- */

enum row_table { TABLE_USERS, TABLE_KEYS, TABLE_RELAYS, TABLE_POLICY_TEXTS, TABLE_NODES, TABLE_COUNTERS };

static enum row_table table_of(enum row_op_kind kind)
{
    switch (kind) {
    case ROW_PUT_USER:
    case ROW_DEL_USER: return TABLE_USERS;
    case ROW_PUT_KEY:
    case ROW_DEL_KEY: return TABLE_KEYS;
    case ROW_PUT_RELAY:
    case ROW_DEL_RELAY: return TABLE_RELAYS;
    case ROW_PUT_POLICY_TEXT:
    case ROW_DEL_POLICY_TEXT: return TABLE_POLICY_TEXTS;
    case ROW_PUT_NODE:
    case ROW_DEL_NODE: return TABLE_NODES;
    case ROW_PUT_COUNTERS: break;
    }
    return TABLE_COUNTERS;
}

struct row_name {
    uint64_t table;
    uint64_t id;
};

size_t store_plan(struct row_batch *const *group, size_t n, const struct row_op ***out)
{
    size_t op_n = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        op_n += group[i]->n;
    const struct row_op **plan = mem_zalloc(op_n > 0 ? op_n : 1, sizeof(*plan));
    struct row_name *names = mem_zalloc(op_n > 0 ? op_n : 1, sizeof(*names));
    struct map seen;
    map_init(&seen, NULL);
    for (size_t i = n; i-- > 0;) {
        for (size_t k = group[i]->n; k-- > 0;) {
            const struct row_op *op = &group[i]->ops[k];
            struct row_name *name = &names[kept];
            *name = (struct row_name){table_of(op->kind), op->id};
            if (map_get(&seen, name, sizeof(*name)) != NULL)
                continue;
            map_put(&seen, name, sizeof(*name), name);
            plan[kept++] = op;
        }
    }
    map_fini(&seen);
    mem_free(names);
    *out = plan;
    return kept;
}

/* --- the thread --- */

static enum rc write_group(struct store *s, const struct batch_list *group)
{
    const struct row_op **plan;
    if (atomic_load(&s->has_failed))
        return RC_STORE;
    size_t n = store_plan(group->batches, group->n, &plan);
    int64_t start_us = clock_mono_us();
    enum rc rc = s->ops->write(s, plan, n);
    metric_add(&commit_us, clock_mono_us() - start_us);
    mem_free(plan);
    if (rc != RC_OK) {
        metric_inc(&failures);
        atomic_store(&s->has_failed, true);
        log_error("nothing can be written any more", LOG_RC(rc), LOG_U("batch", group->batches[0]->seq));
        return rc;
    }
    metric_inc(&transactions);
    metric_add(&batches, (int64_t)group->n);
    metric_add(&rows, (int64_t)n);
    return RC_OK;
}

static void commit_group(struct store *s, struct batch_list *group)
{
    enum rc rc = write_group(s, group);
    for (size_t i = 0; i < group->n; i++) {
        uint64_t seq = group->batches[i]->seq;
        row_batch_destroy(&group->batches[i]);
        s->done(s->done_ctx, seq, rc);
    }
    mem_free(group->batches);
}

/* Everything that waits; nothing when the store is to end. */
static struct batch_list wait_for_work(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->waiting.n == 0 && !s->is_stopping)
        pthread_cond_wait(&s->changed, &s->lock);
    struct batch_list group = s->waiting;
    s->waiting = (struct batch_list){0};
    pthread_mutex_unlock(&s->lock);
    metric_add(&waiting, -(int64_t)group.n);
    return group;
}

static void *run(void *arg)
{
    struct store *s = arg;
    for (;;) {
        struct batch_list group = wait_for_work(s);
        if (group.n == 0)
            return NULL;
        commit_group(s, &group);
    }
}

void store_start(struct store *s, store_done_fn done, void *ctx)
{
    sigset_t all, before;
    assert(!s->is_started);
    s->done = done;
    s->done_ctx = ctx;
    /* Signals are for the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        fputs("fullscale: no thread for the database\n", stderr);
        abort();
    }
    pthread_setname_np(s->thread, "store");
    s->is_started = true;
}

void store_commit(struct store *s, struct row_batch *batch)
{
    pthread_mutex_lock(&s->lock);
    assert(!s->is_stopping);
    struct batch_list *l = &s->waiting;
    if (l->n == l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 16;
        l->batches = mem_realloc_array(l->batches, l->cap, sizeof(*l->batches));
    }
    l->batches[l->n++] = batch;
    metric_inc(&waiting);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void store_close(struct store **at)
{
    struct store *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->is_started)
        pthread_join(s->thread, NULL);
    assert(s->waiting.n == 0);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    s->ops->destroy(s, !atomic_load(&s->has_failed));
}

/* --- the caller's side --- */

enum rc store_ping(struct store *s)
{
    if (atomic_load(&s->has_failed))
        return RC_STORE;
    return s->ops->ping(s);
}

struct loading {
    struct state *st;
    struct err err; /* of the row that was last refused; empty: taken */
};

/* A row that is taken may have lost something of itself. */
static void note(struct loading *l, enum rc rc, const char *table, uint64_t id, const struct err *err)
{
    if (rc != RC_OK)
        l->err = *err;
    else if (err->text[0] != '\0')
        log_warn("a row of the database is not quite as it should be", LOG_S("table", table), LOG_U("id", id),
                 LOG_S("why", err->text));
}

static void load_user(void *ctx, struct user *u)
{
    struct loading *l = ctx;
    struct err err = {0};
    uint64_t id = u->id;
    note(l, state_load_user(l->st, u, &err), "users", id, &err);
}

static void load_key(void *ctx, struct auth_key *k)
{
    struct loading *l = ctx;
    struct err err = {0};
    uint64_t id = k->id;
    note(l, state_load_key(l->st, k, &err), "auth_keys", id, &err);
}

static void load_relay(void *ctx, struct relay_host *r)
{
    struct loading *l = ctx;
    struct err err = {0};
    uint64_t id = r->id;
    note(l, state_load_relay(l->st, r, &err), "relays", id, &err);
}

static void load_policy_text(void *ctx, struct policy_text *t)
{
    struct loading *l = ctx;
    struct err err = {0};
    uint64_t id = t->id;
    note(l, state_load_policy_text(l->st, t, &err), "policy_texts", id, &err);
}

static void load_node(void *ctx, struct node *n)
{
    struct loading *l = ctx;
    struct err err = {0};
    uint64_t id = n->id;
    note(l, state_load_node(l->st, n, &err), "nodes", id, &err);
}

enum rc store_load(struct store *s, struct state *st, int64_t now_ms, struct err *err)
{
    struct loading l = {.st = st};
    const struct row_sink sink = {load_user, load_key, load_relay, load_policy_text, load_node, &l, &l.err};
    struct row_counters counters = {0};
    assert(!s->is_started);
    TRY(s->ops->load(s, &sink, &counters, err));
    state_load_done(st, &counters, now_ms);
    return RC_OK;
}
