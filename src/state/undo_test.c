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
#include "state/testing_history.h"

static void both_presence(struct test_story *s)
{
    struct test_event e = test_event_make(s, TEST_PRESENCE_KINDS);
    const struct node *a = test_story_node(s->a.st, e.x);
    const struct node *b = a != NULL ? state_node_by_key(s->b.st, &a->key) : NULL;
    if (b == NULL || b->id != a->id || !keys_equal(a->machine.b, b->machine.b))
        return;
    const struct node *of = node_ref(b);
    bool is_report = test_story_pick(s, 3) == 0;
    if (is_report) {
        test_event_report(s->a.st, &e, of);
        test_event_report(s->b.st, &e, of);
    } else {
        test_event_presence(s, s->a.st, &e, of);
        test_event_presence(s, s->b.st, &e, of);
    }
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

static void assert_twins(struct test_story *s)
{
    struct buf a = {0}, b = {0}, c = {0}, d = {0};
    test_print_state(&a, s->a.st, true);
    test_print_state(&b, s->b.st, true);
    test_assert_same(&a, &b);
    struct change *x = state_publish(s->a.st, s->now_ms), *y = state_publish(s->b.st, s->now_ms);
    change_unref(&x);
    change_unref(&y);
    test_print_snapshot(&c, s->a.st, true);
    test_print_snapshot(&d, s->b.st, true);
    test_assert_same(&c, &d);
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
    test_assert_same(&a, &b);
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
        take(s, &s->b);
        struct row_batch *early[ARRAY_LEN(s->a.waiting)];
        size_t early_n = s->a.waiting_n;
        memcpy(early, s->a.waiting, sizeof(early));
        s->a.waiting_n = 0;
        doomed(s, false);
        struct test_twin late = s->a;
        memcpy(s->a.waiting, early, sizeof(early));
        s->a.waiting_n = early_n;
        commit_all(s, &s->a);
        commit_all(s, &s->b);
        s->a = late;
        refuse(s);
        repair(s); /* a policy that became active meanwhile has approved routes, which was undone */
        settle(s, &s->a);
        settle(s, &s->b);
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

static void live_through(uint64_t seed, unsigned *refused)
{
    struct test_story s = {
        .random = {seed * 7919}, .now_ms = 1700000000000, .a.st = test_story_state(), .b.st = test_story_state()};
    s.disk = MEM_NEW(struct test_disk);
    s.found = MEM_NEW(struct test_disk);
    /* A few are long, so that nodes and versions pile up. */
    unsigned episodes = seed % 100 == 0 ? 40 : 1 + (unsigned)seed % 2;
    for (unsigned i = 0; i < episodes; i++)
        episode(&s);
    *refused += s.refused;
    test_disk_fini(s.disk);
    test_disk_fini(s.found);
    mem_free(s.disk);
    mem_free(s.found);
    state_destroy(&s.a.st);
    state_destroy(&s.b.st);
}

static void test_refused_never_was(void **state)
{
    (void)state;
    unsigned refused = 0;
    uint64_t seed = test_history_seed(), count = test_history_count();
    for (uint64_t i = 0; i < count; i++) {
        test_history_begins(seed + i);
        live_through(seed + i, &refused);
    }
    test_history_begins(0);
    assert_true(count < 100 || refused > count / 2);
}

#define TEST(name) cmocka_unit_test_teardown(name, test_history_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refused_never_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
