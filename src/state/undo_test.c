/* What could not be written never happened. Two states live through the same random histories; one of them also has
 * events that are refused, now and then, in batches or at once, while nodes go on reporting to both. After each
 * refusal the two are equal. A disk on which the refused batches are found after all agrees with the memory after
 * the repair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/json.h"
#include "state/setting.h"
#include "state/testing_history.h"

enum { HISTORIES = 40, EPISODES = 60 };

static void both_presence(struct test_story *s)
{
    struct test_event e = test_event_make(s, TEST_PRESENCE_KINDS);
    const struct node *a = test_story_node(s->a.st, e.x);
    const struct node *b = a != NULL ? state_node_by_key(s->b.st, &a->key) : NULL;
    if (b == NULL || b->id != a->id || !keys_equal(a->machine.b, b->machine.b))
        return;
    const struct node *of = node_ref(b);
    test_event_presence(s, s->a.st, &e, of);
    test_event_presence(s, s->b.st, &e, of);
    node_unref(&of);
}

/* --- batches --- */

static void take(const struct test_story *s, struct test_twin *t)
{
    struct row_batch *b;
    state_settle(t->st, s->now_ms);
    while (t->waiting_n < ARRAY_LEN(t->waiting) && (b = state_take_batch(t->st)) != NULL)
        t->waiting[t->waiting_n++] = b;
}

static void commit_all(struct test_story *s, struct test_twin *t)
{
    for (size_t i = 0; i < t->waiting_n; i++) {
        if (t == &s->a) {
            test_disk_write(s->disk, t->waiting[i]);
            test_disk_write(s->found, t->waiting[i]);
        }
        state_committed(t->st, t->waiting[i]->seq);
        row_batch_destroy(&t->waiting[i]);
    }
    t->waiting_n = 0;
}

static void settle(struct test_story *s, struct test_twin *t)
{
    for (int i = 0; i < 3; i++) { /* a policy that becomes active approves routes */
        take(s, t);
        commit_all(s, t);
    }
}

/* --- telling them apart --- */

static void print_list(struct buf *out, const struct prefix_list *l)
{
    char text[PREFIX_TEXT_CAP];
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        prefix_format(&l->v[i], text);
        buf_printf(out, " %s", text);
    }
}

static void print_node(struct buf *out, const struct state *st, const struct node *n)
{
    char v4[ADDR_TEXT_CAP], v6[ADDR_TEXT_CAP], at[ADDR_TEXT_CAP] = "";
    addr_format(&n->v4, false, v4);
    addr_format(&n->v6, false, v6);
    if (n->endpoints_n > 0)
        addr_format(&n->endpoints[0], true, at);
    buf_printf(out, "node %d %s user %d machine %d key %d disco %d %s %s %s host %s %d%d%d%d%d%d%d", (int)n->id,
               n->stable_id, (int)n->user, n->machine.b[0], n->key.b[0], n->disco.b[0], v4, v6, n->name, n->hostname,
               n->is_renamed, n->is_ephemeral, n->is_expired, n->is_ended, n->is_online, n->is_newcomer, n->is_away);
    buf_printf(out, " derp %d auth %d expires %lld seen %lld tags %.*s info %zu at %s adv", n->home_derp,
               (int)n->auth_key, (long long)n->expires_ms, (long long)n->last_seen_ms,
               n->tags != NULL ? (int)n->tags->len : 0, n->tags != NULL ? (const char *)n->tags->data : "",
               n->hostinfo != NULL ? n->hostinfo->len : 0, at);
    print_list(out, n->advertised);
    buf_printf(out, " app");
    print_list(out, n->approved);
    buf_printf(out, " prim");
    print_list(out, n->primary);
    size_t len;
    const void *v4_key = addresses_map_key(&n->v4, &len);
    const struct node_record *by_addr = map_get(&st->by_addr, v4_key, len),
                             *by_name = map_get(&st->by_name, n->name, strlen(n->name));
    buf_printf(out, " index %d %d %d\n", (int)(state_node_by_key(st, &n->key) == n),
               (int)(by_addr != NULL && by_addr->id == n->id), (int)(by_name != NULL && by_name->id == n->id));
}

static void print_rows(struct buf *out, const struct state *st)
{
    for (user_id id = 1; id < st->counters.next[entity_user.number]; id++) {
        const struct user *u = state_user(st, id);
        if (u != NULL)
            buf_printf(out, "user %d %s role %d found %d\n", (int)id, u->name, u->role,
                       state_user_by_name(st, str_c(u->name)) == u);
    }
    for (uint64_t id = 1; id < st->counters.next[entity_auth_key.number]; id++) {
        const struct auth_key *k = state_key(st, id);
        if (k != NULL)
            buf_printf(out, "key %d %s user %d used %d expires %lld found %d\n", (int)id, k->prefix, (int)k->user,
                       k->is_used, (long long)k->expires_ms, map_get(&st->keys_by_hash, k->hash, sizeof(k->hash)) == k);
    }
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;)
        buf_printf(out, "relay %d %s region %d\n", (int)r->id, r->name, r->region_id);
    const struct setting *s;
    for (size_t pos = 0; (s = state_setting_next(st, &pos)) != NULL;)
        buf_printf(out, "setting %d %s=%s\n", (int)s->id, s->name, s->value);
    const struct policy_text *t;
    for (size_t pos = 0; (t = state_policy_text_next(st, &pos)) != NULL;)
        buf_printf(out, "text %d %.*s\n", (int)t->id, (int)t->text->len, (const char *)t->text->data);
    buf_printf(out, "nodes %zu bytes %zu\n", state_node_count(st), st->text_bytes);
    for (node_id id = 1; id < st->counters.next[entity_node.number]; id++) {
        if (state_node(st, id) != NULL)
            print_node(out, st, state_node(st, id));
    }
}

static void print_state(struct buf *out, struct state *st)
{
    print_rows(out, st);
    const struct engine *p = state_policy(st);
    struct str text = p != NULL ? policy_doc_text(engine_doc(p)) : STR("none");
    buf_printf(out, "policy %.*s counters %d %d %d %d\n", STR_ARG(text), (int)st->counters.next[entity_node.number],
               (int)st->counters.next[entity_user.number], (int)st->counters.next[entity_auth_key.number],
               (int)st->counters.next[entity_relay_host.number]);
}

static void print_snapshot(struct buf *out, const struct state *st)
{
    const struct snapshot *s = state_snapshot(st);
    buf_printf(out, "snapshot %zu users %zu\n", s->node_n, s->users->n);
    for (node_id id = 1; id < s->group_n * GROUP_NODES; id++) {
        if (snapshot_node(s, id) != NULL)
            print_node(out, st, snapshot_node(s, id));
    }
    for (size_t i = 0; i < s->users->n; i++)
        buf_printf(out, "user %s %d\n", s->users->users[i]->name, s->users->users[i]->role);
    const struct row *row;
    for (size_t pos = 0; (row = row_set_next(s->kept, &entity_setting, &pos)) != NULL;)
        buf_printf(out, "setting %d=%s\n", (int)row->id, ((const struct setting *)row)->value);
}

/* Line by line: the first that differs is printed. */
static void assert_same(struct buf *a, struct buf *b)
{
    struct str x = buf_str(a), y = buf_str(b), p, q;
    while (str_cut(x, '\n', &p, &x) && str_cut(y, '\n', &q, &y)) {
        if (!str_eq(p, q))
            print_error("%.*s\n%.*s\n", STR_ARG(p), STR_ARG(q));
        assert_true(str_eq(p, q));
    }
    assert_int_equal(buf_len(a), buf_len(b));
    buf_fini(a);
    buf_fini(b);
}

static void assert_twins(struct test_story *s)
{
    struct buf a = {0}, b = {0}, c = {0}, d = {0};
    print_state(&a, s->a.st);
    print_state(&b, s->b.st);
    assert_same(&a, &b);
    struct change *x = state_publish(s->a.st, s->now_ms), *y = state_publish(s->b.st, s->now_ms);
    change_unref(&x);
    change_unref(&y);
    print_snapshot(&c, s->a.st);
    print_snapshot(&d, s->b.st);
    assert_same(&c, &d);
    node_key gone[64];
    size_t n = state_take_revoked(s->a.st, gone, 64);
    assert_int_equal(n, state_take_revoked(s->b.st, gone, 64));
}

/* A server that starts from the disk has what this one has. */
static void assert_disk(struct test_story *s, struct test_disk *d, struct state *st)
{
    struct state *next = test_story_state();
    struct buf a = {0}, b = {0};
    enum rc rc = RC_OK;
    qsort(d->rows, d->n, sizeof(d->rows[0]), test_disk_compare);
    for (size_t i = 0; i < d->n && rc == RC_OK; i++) {
        const struct row_op *op = &d->rows[i];
        rc = state_load(next, op->entity, row_copy(op->entity, op->object), NULL);
    }
    assert_int_equal(rc, RC_OK);
    state_load_done(next, s->now_ms);
    assert_memory_equal(&next->counters, &st->counters, sizeof(st->counters));
    for (node_id id = 1; id < st->counters.next[entity_node.number]; id++) {
        const struct node *x = state_node(st, id), *y = state_node(next, id);
        assert_int_equal(x != NULL, y != NULL);
        if (x == NULL)
            continue;
        assert_string_equal(x->name, y->name);
        assert_true(keys_equal(x->key.b, y->key.b) && x->expires_ms == y->expires_ms && rcbuf_eq(x->tags, y->tags) &&
                    prefix_list_eq(x->approved, y->approved) && x->home_derp == y->home_derp);
    }
    buf_printf(&a, "%zu %zu %zu %zu", next->users.n, next->keys.n, next->relay_n, next->text_n);
    buf_printf(&b, "%zu %zu %zu %zu", st->users.n, st->keys.n, st->relay_n, st->text_n);
    assert_same(&a, &b);
    state_destroy(&next);
}

/* --- the story --- */

static void live(struct test_story *s)
{
    for (uint32_t n = 1 + test_story_pick(s, 8); n > 0; n--) {
        struct test_event e = test_event_make(s, TEST_DURABLE_KINDS);
        if (test_story_pick(s, 3) == 0)
            both_presence(s);
        test_event_durable(s, s->a.st, &e);
        test_event_durable(s, s->b.st, &e);
    }
    s->now_ms += test_story_pick(s, 50);
    state_tick(s->a.st, s->now_ms);
    state_tick(s->b.st, s->now_ms);
}

/* What does not wait for the disk: a node that registers again reports as in a poll, and one that has logged out
 * only goes offline. */
static bool is_presence(const struct test_story *s, const struct test_event *e)
{
    const node_key key = {{(uint8_t)((1 + e->x % TEST_MACHINES) * 16 + e->y % TEST_MACHINE_KEYS)}};
    const struct node *n = state_node_by_key(s->a.st, &key);
    if (e->kind < 10 || n == NULL)
        return false;
    return e->z % 7 == 0 ? n->is_ended && !n->is_ephemeral : e->z % 7 > 1 && !n->is_expired;
}

/* Events that the other state does not get. Batches before them may be in flight. */
static void doomed(struct test_story *s, bool at_once)
{
    for (uint32_t n = 1 + test_story_pick(s, 6); n > 0; n--) {
        struct test_event e = test_event_make(s, TEST_DURABLE_KINDS);
        if (!is_presence(s, &e))
            test_event_durable(s, s->a.st, &e);
        if (at_once)
            state_undo_pending(s->a.st, s->now_ms);
        if (test_story_pick(s, 2) == 0)
            both_presence(s);
        if (!at_once && test_story_pick(s, 3) == 0)
            take(s, &s->a);
    }
}

static void refuse(struct test_story *s)
{
    uint64_t from = state_durable_seq(s->a.st) + 1, seq = 0;
    take(s, &s->a);
    for (size_t i = 0; i < s->a.waiting_n; i++) {
        struct row_batch *b = s->a.waiting[i];
        seq = !b->is_lazy && seq == 0 ? b->seq : seq;
        if (test_story_pick(s, 2) == 0 && from > 0) /* whole, in order, or not */
            test_disk_write(s->found, b);
        else
            from = 0;
        row_batch_destroy(&s->a.waiting[i]);
    }
    s->a.waiting_n = 0;
    if (seq == 0)
        return;
    assert_true(state_refused(s->a.st, seq, s->now_ms));
    s->refused++;
    s->b.st->counters = s->a.st->counters; /* ids are not given again */
    s->b.st->last_v4 = s->a.st->last_v4;
    s->b.st->last_v6 = s->a.st->last_v6;
    undo_begin_batch(s->b.st);
}

static void repair(struct test_story *s)
{
    struct row_batch *b = state_take_repair(s->a.st);
    test_disk_write(s->disk, b);
    test_disk_write(s->found, b);
    state_committed(s->a.st, b->seq);
    row_batch_destroy(&b);
    state_repaired(s->a.st);
}

static void flush(struct test_story *s, struct test_twin *t)
{
    state_flush_lazy(t->st, SIZE_MAX);
    settle(s, t);
}

static void episode(struct test_story *s)
{
    bool at_once = test_story_pick(s, 3) == 0;
    live(s);
    if (at_once || test_story_pick(s, 2) == 0) {
        settle(s, &s->a);
    } else {
        take(s, &s->a); /* in flight while the next come */
        struct row_batch *early[ARRAY_LEN(s->a.waiting)];
        size_t early_n = s->a.waiting_n;
        memcpy(early, s->a.waiting, sizeof(early));
        s->a.waiting_n = 0;
        settle(s, &s->b);
        doomed(s, false);
        struct test_twin late = s->a;
        memcpy(s->a.waiting, early, sizeof(early));
        s->a.waiting_n = early_n;
        commit_all(s, &s->a);
        s->a = late;
        refuse(s);
        repair(s); /* a policy that became active meanwhile has approved routes, which was undone */
        settle(s, &s->a);
        assert_twins(s);
    }
    settle(s, &s->b);
    doomed(s, at_once);
    if (!at_once)
        refuse(s);
    assert_twins(s);
    repair(s);
    flush(s, &s->a);
    flush(s, &s->b);
    assert_twins(s);
    assert_disk(s, s->disk, s->a.st);
    assert_disk(s, s->found, s->a.st);
}

static void test_refused_never_was(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct test_story s = {
            .random = {seed * 7919}, .now_ms = 1700000000000, .a.st = test_story_state(), .b.st = test_story_state()};
        s.disk = MEM_NEW(struct test_disk);
        s.found = MEM_NEW(struct test_disk);
        for (int i = 0; i < EPISODES; i++)
            episode(&s);
        refused += s.refused;
        test_disk_fini(s.disk);
        test_disk_fini(s.found);
        mem_free(s.disk);
        mem_free(s.found);
        state_destroy(&s.a.st);
        state_destroy(&s.b.st);
    }
    assert_true(refused > HISTORIES * EPISODES / 2);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refused_never_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
