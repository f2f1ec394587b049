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
#include "base/vec.h"
#include "store/store_internal.h"

LOG_MODULE("store");

METRIC_COUNTER(transactions, "fullscale_store_transactions_total", "", "Transactions committed to the database.");
METRIC_COUNTER(batches, "fullscale_store_batches_total", "", "Batches of rows committed; several share a transaction.");
METRIC_COUNTER(rows, "fullscale_store_rows_total", "", "Rows written or deleted.");
METRIC_COUNTER(failures, "fullscale_store_commit_failures_total", "", "Transactions that failed.");
METRIC_GAUGE(failing, "fullscale_store_failing", "", "1 while the database cannot be written: changes are refused.");
METRIC_COUNTER(commit_us, "fullscale_store_commit_microseconds_total", "", "Time spent in transactions.");
METRIC_GAUGE(waiting, "fullscale_store_waiting_batches", "", "Batches that wait for their transaction.");

void store_init(struct store *s, const struct store_ops *ops)
{
    s->ops = ops;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
}

void store_start_refusing(struct store *s, enum rc why)
{
    s->first_refusal = why;
    atomic_store(&s->fault, why);
    metric_set(&failing, 1);
}

/* --- what a group of batches comes to --- */

struct row_name {
    uint64_t entity;
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
            *name = (struct row_name){op->entity->number, op->id};
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

/* The outcomes of a group of batches: of presence, and of the others. */
struct outcome {
    enum rc lazy, durable;
};

static struct store_tailnet *tailnet_of(struct store *s, uint64_t id)
{
    for (size_t i = 0; i < s->tailnet_n; i++) {
        if (s->tailnets[i].id == id)
            return &s->tailnets[i];
    }
    VEC_ROOM(s->tailnets, s->tailnet_n, s->tailnet_cap, 1);
    s->tailnets[s->tailnet_n] = (struct store_tailnet){.id = id, .refusal = s->first_refusal};
    return &s->tailnets[s->tailnet_n++];
}

bool store_is_refusing(struct store *s, uint64_t tailnet)
{
    return tailnet_of(s, tailnet)->refusal != RC_OK;
}

/* Tailnets other than this one have batches that were refused, and no repair since. */
static bool others_are_refused(const struct store *s, const struct store_tailnet *t)
{
    for (size_t i = 0; i < s->tailnet_n; i++) {
        if (&s->tailnets[i] != t && s->tailnets[i].refusal != RC_OK)
            return true;
    }
    return false;
}

static void note_fault(struct store *s, const struct store_tailnet *t, enum rc rc)
{
    if (rc != RC_OK)
        metric_inc(&failures);
    else if (others_are_refused(s, t))
        return;
    enum rc before = atomic_exchange(&s->fault, rc);
    metric_set(&failing, rc != RC_OK);
    if (rc == RC_OK && before != RC_OK)
        log_info("the database can be written again");
}

static enum rc write_batches(struct store *s, const struct store_tailnet *t, struct row_batch *const *group, size_t n)
{
    const struct row_op **plan;
    size_t row_n = store_plan(group, n, &plan);
    int64_t start_us = clock_mono_us();
    enum rc rc = s->ops->write(s, t->id, plan, row_n);
    metric_add(&commit_us, clock_mono_us() - start_us);
    mem_free(plan);
    note_fault(s, t, rc);
    if (rc != RC_OK)
        return rc;
    metric_inc(&transactions);
    metric_add(&batches, (int64_t)n);
    metric_add(&rows, (int64_t)row_n);
    return RC_OK;
}

static size_t without_lazy(struct row_batch *const *group, size_t n, struct row_batch **out)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!group[i]->is_lazy)
            out[kept++] = group[i];
    }
    return kept;
}

/* Writes the group in one transaction. If that fails, tries again without presence, which may be what there is no
 * room for. */
static struct outcome write_group(struct store *s, struct store_tailnet *t, struct row_batch *const *group, size_t n)
{
    struct row_batch **durable = mem_zalloc(n, sizeof(struct row_batch *));
    size_t durable_n = without_lazy(group, n, durable);
    enum rc rc = write_batches(s, t, group, n);
    struct outcome out = {.lazy = rc, .durable = rc};
    /* Not after a lock, for which the first attempt has waited long enough. */
    if (rc != RC_OK && rc != RC_IN_USE && durable_n > 0 && durable_n < n) {
        out.durable = write_batches(s, t, durable, durable_n);
    } else if (durable_n == 0) {
        out.durable = RC_OK;
    }
    mem_free(durable);
    t->refusal = out.durable;
    return out;
}

static void finish(struct store *s, struct row_batch *batch, enum rc rc)
{
    uint64_t tailnet = batch->tailnet, seq = batch->seq;
    row_batch_destroy(&batch);
    s->done(s->done_ctx, tailnet, seq, rc);
}

/* Refuses batches until a repair has been written. Returns how many batches it has answered. */
static size_t refuse(struct store *s, struct store_tailnet *t, struct row_batch *const *group, size_t n)
{
    size_t i = 0;
    for (; i < n && t->refusal != RC_OK; i++) {
        if (group[i]->is_repair)
            t->refusal = write_batches(s, t, &group[i], 1);
        finish(s, group[i], t->refusal);
    }
    return i;
}

/* All batches are the tailnet's. */
static void commit_of_tailnet(struct store *s, struct store_tailnet *t, struct row_batch *const *group, size_t n)
{
    size_t from = refuse(s, t, group, n);
    if (from == n)
        return;
    struct outcome out = write_group(s, t, group + from, n - from);
    for (size_t i = from; i < n; i++)
        finish(s, group[i], group[i]->is_lazy ? out.lazy : out.durable);
}

/* Moves the batches of this tailnet to `out`, in order. Returns how many. */
static size_t pick(struct batch_list *group, uint64_t tailnet, struct row_batch **out)
{
    size_t picked = 0, kept = 0;
    for (size_t i = 0; i < group->n; i++) {
        if (group->batches[i]->tailnet == tailnet)
            out[picked++] = group->batches[i];
        else
            group->batches[kept++] = group->batches[i];
    }
    group->n = kept;
    return picked;
}

/* A transaction for each tailnet: what is refused of one is not refused of the others. */
static void commit_group(struct store *s, struct batch_list *group)
{
    struct row_batch **picked = mem_zalloc(group->n, sizeof(struct row_batch *));
    while (group->n > 0) {
        uint64_t tailnet = group->batches[0]->tailnet;
        size_t n = pick(group, tailnet, picked);
        commit_of_tailnet(s, tailnet_of(s, tailnet), picked, n);
    }
    mem_free(picked);
    mem_free(group->batches);
}

/* Waits for batches and takes all of them; takes none when the store is to end. */
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
    /* Signals are blocked, so that the main thread gets them. */
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
    assert(batch->tailnet != 0);
    pthread_mutex_lock(&s->lock);
    assert(!s->is_stopping);
    struct batch_list *l = &s->waiting;
    VEC_ROOM(l->batches, l->n, l->cap, 16);
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
    mem_free(s->tailnets);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    s->ops->destroy(s, atomic_load(&s->fault) == RC_OK);
}

/* --- the caller's side --- */

enum rc store_fault(struct store *s)
{
    return atomic_load(&s->fault);
}

bool store_is_sole(const struct store *s)
{
    return !s->ops->is_shared;
}

enum rc store_ping(struct store *s)
{
    enum rc fault = store_fault(s);
    return fault != RC_OK ? fault : s->ops->ping(s);
}

const char *store_refusal_text(enum rc why)
{
    switch (why) {
    case RC_FULL: return "the disk of the server is full; nothing is lost, try again when there is room";
    case RC_IN_USE: return "another program has locked the server's database; nothing is lost, try again";
    case RC_DENIED: return "the server may not write to its database; nothing is lost, try again when that is mended";
    default: return "the server cannot write to its database; nothing is lost, try again";
    }
}

static enum rc load_row(void *ctx, const struct entity *entity, struct row *object, struct err *err)
{
    uint64_t id = object->id;
    struct err odd = {0};
    enum rc rc = state_load(ctx, entity, object, &odd);
    if (rc != RC_OK) {
        *err = odd;
        return rc;
    }
    if (odd.text[0] != '\0')
        log_warn("a row of the database is not quite as it should be", LOG_S("table", entity->table), LOG_U("id", id),
                 LOG_S("why", odd.text));
    return RC_OK;
}

struct store_aside store_policy_text_aside(const struct store *s)
{
    return s->policy_text_aside;
}

enum rc store_load(struct store *s, uint64_t tailnet, struct state *st, int64_t now_ms, struct err *err)
{
    const struct row_sink sink = {load_row, st};
    assert(!s->is_started);
    TRY(s->ops->load(s, tailnet, &sink, err));
    state_load_done(st, now_ms);
    return RC_OK;
}
