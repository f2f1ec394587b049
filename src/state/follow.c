/* Rows that others committed. All that they name leaves the indexes before any of it comes back, so that names,
 * addresses and keys may have been exchanged among them. */
#include "state/state_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "policy/policy.h"

struct follow {
    struct state *st;
    struct row_op *ops; /* owned; in the order in which rows are loaded, each once; the objects are borrowed */
    size_t n;
    int64_t now_ms;
    struct key_list keys; /* of nodes, active before */
    struct relay_list relays;
    enum rc rc;
    struct err *err;
};

/* --- the rows in order --- */

/* A row, and where it is in the caller's list: of several versions the last counts. */
struct placed_op {
    struct row_op op;
    size_t order, at;
};

static size_t order_of(const struct entity *e)
{
    size_t i = 0;
    while (state_entity(i) != e)
        i++;
    return i;
}

static int compare_ops(const void *a, const void *b)
{
    const struct placed_op *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    if (x->op.id != y->op.id)
        return x->op.id < y->op.id ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static void take_rows(struct follow *f, const struct row_op *rows, size_t n)
{
    struct placed_op *all = mem_zalloc(n + 1, sizeof(*all));
    for (size_t i = 0; i < n; i++)
        all[i] = (struct placed_op){rows[i], order_of(rows[i].entity), i};
    qsort(all, n, sizeof(*all), compare_ops);
    f->ops = mem_zalloc(n + 1, sizeof(*f->ops));
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n || all[i].order != all[i + 1].order || all[i].op.id != all[i + 1].op.id;
        if (is_last)
            f->ops[f->n++] = all[i].op;
    }
    mem_free(all);
}

/* --- leaving, and coming back --- */

static void leave(struct follow *f, const struct row_op *op)
{
    if (op->entity == &entity_node)
        node_follow_leave(f->st, op->id, &f->keys);
    else if (op->entity == &entity_relay_host)
        state_relay_follow_leave(f->st, op->id, &f->relays);
    else if (op->entity != &entity_counter)
        entity_restore(f->st, op->entity, op->id, NULL, f->now_ms);
    f->st->users_dirty |= op->entity == &entity_user;
}

static enum rc enter(struct follow *f, const struct row_op *op, struct err *err)
{
    const struct node *node = (const struct node *)op->object;
    const struct relay_host *relay = (const struct relay_host *)op->object;
    if (op->entity == &entity_node)
        return node_follow_enter(f->st, op->id, node, f->now_ms, err);
    if (op->object == NULL)
        return RC_OK;
    if (op->entity == &entity_relay_host)
        return state_relay_follow_enter(f->st, relay, &f->relays, f->now_ms, err);
    return state_load(f->st, op->entity, row_copy(op->entity, op->object), err);
}

static void count_id(struct state *st, const struct entity *e, uint64_t id)
{
    if (e->is_counted && id >= st->counters.next[e->number])
        st->counters.next[e->number] = id + 1;
}

static void enter_all(struct follow *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct err err = {0};
        enum rc rc = enter(f, &f->ops[i], &err);
        if (rc == RC_OK && f->ops[i].object != NULL)
            count_id(f->st, f->ops[i].entity, f->ops[i].id);
        if (rc == RC_OK || f->rc != RC_OK)
            continue;
        f->rc = rc;
        err_set(f->err, rc, "row %llu of %s: %s", (unsigned long long)f->ops[i].id, f->ops[i].entity->table, err.text);
    }
}

/* --- what follows from the rows together --- */

static void plan_nodes(struct follow *f)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->ops[i].entity == &entity_node)
            node_follow_plan(f->st, f->ops[i].id, f->now_ms);
    }
}

static void each_primary(struct follow *f, void (*call)(struct state *, node_id, struct prefix_list *))
{
    for (size_t i = 0; i < f->n; i++) {
        const struct node *row = (const struct node *)f->ops[i].object;
        if (f->ops[i].entity == &entity_node && row != NULL)
            call(f->st, f->ops[i].id, row->primary);
    }
}

static void revoke_keys(struct follow *f)
{
    for (size_t i = 0; i < f->keys.n; i++) {
        if (!state_key_is_active(f->st, &f->keys.v[i]))
            state_revoke_key(f->st, &f->keys.v[i]);
    }
}

/* Another server has compiled the text before it was stored. If this one cannot, its last policy stays. */
static void follow_policy(struct follow *f, const struct rcbuf *before)
{
    const struct policy_text *newest = state_policy_text_newest(f->st);
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (newest == NULL || rcbuf_eq(newest->text, before))
        return;
    struct str text = str_n(newest->text->data, newest->text->len);
    const struct policy_options stored = {.is_stored = true};
    enum rc rc = policy_parse(text, &stored, &doc, &errors);
    if (rc == RC_OK)
        state_set_policy(f->st, doc);
    else
        f->rc = err_set(f->err, RC_INVALID, "version %llu of the policy cannot be used here: %s",
                        (unsigned long long)newest->id, errors.v[0].text);
    policy_errors_fini(&errors);
}

static void finish(struct follow *f, const struct rcbuf *policy_before)
{
    plan_nodes(f);
    each_primary(f, node_follow_primary);
    each_primary(f, node_follow_settled);
    revoke_keys(f);
    state_relay_follow_done(f->st, &f->relays);
    follow_policy(f, policy_before);
    state_seal(f->st, 0);
    undo_begin_batch(f->st);
}

enum rc state_follow(struct state *st, const struct row_op *rows, size_t n, int64_t now_ms, struct err *err)
{
    struct follow f = {.st = st, .now_ms = now_ms, .err = err};
    const struct policy_text *newest = state_policy_text_newest(st);
    struct rcbuf *policy_before = newest != NULL ? rcbuf_ref(newest->text) : NULL;
    assert(st->pending == NULL && st->undo.n == 0);
    st->is_installing = true;
    take_rows(&f, rows, n);
    for (size_t i = 0; i < f.n; i++)
        leave(&f, &f.ops[i]);
    enter_all(&f);
    finish(&f, policy_before);
    st->is_installing = false;
    rcbuf_unref(&policy_before);
    mem_free(f.keys.v);
    mem_free(f.ops);
    return f.rc;
}

/* --- all rows --- */

static void add_missing(const struct state *st, const struct entity *e, struct row_op **all, size_t *n, size_t *cap)
{
    const struct row *row;
    for (size_t pos = 0; (row = state_row_next(st, e, &pos)) != NULL;) {
        struct row_op gone = {e, row->id, NULL};
        VEC_PUSH(*all, *n, *cap, gone);
    }
}

enum rc state_follow_all(struct state *st, const struct row_op *rows, size_t n, int64_t now_ms, struct err *err)
{
    struct row_op *all = NULL;
    size_t all_n = 0, cap = 0;
    const struct entity *e;
    /* What is there, as deleted; then the rows: of two with one id the later counts. */
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++)
        add_missing(st, e, &all, &all_n, &cap);
    for (size_t i = 0; i < n; i++)
        VEC_PUSH(all, all_n, cap, rows[i]);
    enum rc rc = state_follow(st, all, all_n, now_ms, err);
    mem_free(all);
    return rc;
}
