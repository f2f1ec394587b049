/* Who follows the rows of another server, in whatever groups they come, has what a server has that loads them all. One
 * state lives through a random history; another one installs what it has committed, a few batches or all rows at a
 * time, and hears at times what its nodes report; in the end it is compared with one that has loaded the rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "engine/access.h"
#include "policy/policy.h"
#include "state/testing_history.h"

struct history {
    struct test_story story;
    struct state *writer, *follower;
    struct test_disk *disk;
    struct row_op *news; /* owned, with references: committed, and not followed yet */
    size_t news_n, news_cap;
    size_t *ends; /* owned: where each batch of the news ends */
    size_t end_n, end_cap;
};

/* --- the server that writes --- */

static void commit(struct history *h, struct row_batch *b)
{
    test_disk_write(h->disk, b);
    for (size_t i = 0; i < b->n; i++) {
        struct row_op op = {b->ops[i].entity, b->ops[i].id, row_ref(b->ops[i].object)};
        VEC_PUSH(h->news, h->news_n, h->news_cap, op);
    }
    VEC_PUSH(h->ends, h->end_n, h->end_cap, h->news_n);
    state_committed(h->writer, b->seq);
}

/* The end of a turn. Returns how many batches it had. */
static size_t end_turn(struct history *h)
{
    struct row_batch *b;
    size_t n = 0;
    state_settle(h->writer, h->story.now_ms);
    for (; (b = state_take_batch(h->writer)) != NULL; n++) {
        commit(h, b);
        row_batch_destroy(&b);
    }
    struct change *c = state_publish(h->writer, h->story.now_ms);
    change_unref(&c);
    return n;
}

static void live(struct history *h)
{
    struct test_story *s = &h->story;
    for (uint32_t n = 2 + test_story_pick(s, 6); n > 0; n--) {
        struct test_event e = test_event_make(s, TEST_DURABLE_KINDS);
        test_event_durable(s, h->writer, &e);
    }
    for (uint32_t n = test_story_pick(s, 8); n > 0; n--) {
        struct test_event e = test_event_make(s, TEST_PRESENCE_KINDS);
        const struct node *of = test_story_node(h->writer, e.x);
        if (of == NULL)
            continue;
        of = node_ref(of);
        if (test_story_pick(s, 2) == 0)
            test_event_report(h->writer, &e, of);
        else
            test_event_presence(s, h->writer, &e, of);
        node_unref(&of);
    }
    s->now_ms += test_story_pick(s, 40) == 0 ? 2000000000 : test_story_pick(s, 3000);
    state_tick(h->writer, s->now_ms);
    if (test_story_pick(s, 3) == 0)
        state_flush_lazy(h->writer, 1 + test_story_pick(s, 5));
}

/* All that there is to say is on disk: who is the primary of a route as well. */
static void finish(struct history *h)
{
    do {
        end_turn(h);
        state_flush_lazy(h->writer, SIZE_MAX);
    } while (end_turn(h) > 0);
}

/* --- the server that follows --- */

static void drop_news(struct history *h, size_t batches)
{
    size_t n = h->ends[batches - 1];
    for (size_t i = 0; i < n; i++)
        row_unref(h->news[i].entity, &h->news[i].object);
    h->news_n -= n;
    memmove(h->news, h->news + n, h->news_n * sizeof(*h->news));
    h->end_n -= batches;
    memmove(h->ends, h->ends + batches, h->end_n * sizeof(*h->ends));
    for (size_t i = 0; i < h->end_n; i++)
        h->ends[i] -= n;
}

static void publish(struct state *st, int64_t now_ms)
{
    struct change *c = state_publish(st, now_ms);
    change_unref(&c);
}

static void follow_some(struct history *h)
{
    struct test_story *s = &h->story;
    struct err err;
    while (h->end_n > 0) {
        size_t batches = 1 + test_story_pick(s, (uint32_t)h->end_n);
        assert_int_equal(state_follow(h->follower, h->news, h->ends[batches - 1], s->now_ms, &err), RC_OK);
        drop_news(h, batches);
        if (test_story_pick(s, 2) == 0)
            publish(h->follower, s->now_ms);
    }
}

static void follow_all(struct history *h)
{
    struct err err;
    assert_int_equal(state_follow_all(h->follower, h->disk->rows, h->disk->n, h->story.now_ms, &err), RC_OK);
    if (h->end_n > 0)
        drop_news(h, h->end_n);
}

/* The nodes say to the follower what their rows say that they have said. */
static void hear_reports(struct history *h)
{
    for (size_t i = 0; i < h->disk->n; i++) {
        const struct node *row = (const struct node *)h->disk->rows[i].object, *n;
        if (h->disk->rows[i].entity != &entity_node)
            continue;
        struct node_report report = {.cap_version = row->cap_version,
                                     .disco = &row->disco,
                                     .endpoints = row->endpoints,
                                     .endpoints_n = row->endpoints_n,
                                     .home_derp = row->home_derp,
                                     .hostname = str_c(row->hostname),
                                     .hostinfo = row->hostinfo,
                                     .hostinfo_peers = row->hostinfo_peers,
                                     .routes = row->advertised};
        assert_int_equal(state_node_report(h->follower, &row->key, &row->machine, &report, &n), RC_OK);
    }
}

static void follow(struct history *h)
{
    struct test_story *s = &h->story;
    if (test_story_pick(s, 8) == 0)
        follow_all(h);
    else
        follow_some(h);
    if (test_story_pick(s, 2) == 0)
        hear_reports(h);
}

/* --- the naive reference --- */

static void set_newest_policy(struct state *st)
{
    const struct policy_text *newest = state_policy_text_newest(st);
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (newest == NULL)
        return;
    struct str text = str_n(newest->text->data, newest->text->len);
    assert_int_equal(policy_parse(text, NULL, &doc, &errors), RC_OK);
    policy_errors_fini(&errors);
    state_set_policy(st, doc);
}

static struct state *load_all(struct history *h)
{
    struct state *st = test_story_state();
    struct test_disk *d = h->disk;
    qsort(d->rows, d->n, sizeof(d->rows[0]), test_disk_compare);
    for (size_t i = 0; i < d->n; i++) {
        const struct row_op *op = &d->rows[i];
        assert_int_equal(state_load(st, op->entity, row_copy(op->entity, op->object), NULL), RC_OK);
    }
    state_load_done(st, h->story.now_ms);
    set_newest_policy(st);
    return st;
}

/* What the policy grants each node, as the snapshot has it. */
static void print_access(struct buf *out, struct state *st)
{
    struct engine *p = state_policy(st);
    for (node_id id = 1; p != NULL && id < st->counters.next[entity_node.number]; id++) {
        if (state_node(st, id) == NULL)
            continue;
        buf_printf(out, "filter %d ", (int)id);
        engine_filter(p, id, out);
        buf_append_byte(out, '\n');
    }
}

static void assert_like_loaded(struct history *h)
{
    struct buf a = {0}, b = {0}, c = {0}, d = {0};
    struct state *loaded = load_all(h);
    state_tick(h->follower, h->story.now_ms);
    publish(h->follower, h->story.now_ms);
    publish(loaded, h->story.now_ms);
    test_print_state(&a, h->follower, false);
    test_print_state(&b, loaded, false);
    print_access(&a, h->follower);
    print_access(&b, loaded);
    test_assert_same(&a, &b);
    test_print_snapshot(&c, h->follower, false);
    test_print_snapshot(&d, loaded, false);
    test_assert_same(&c, &d);
    assert_null(state_take_batch(h->follower));
    state_destroy(&loaded);
}

/* Nodes can join from the beginning. */
static void open_tailnet(struct history *h)
{
    struct user_spec ann = {.name = STR("ann")};
    const struct user *u;
    const struct auth_key *k;
    assert_int_equal(state_user_create(h->writer, &ann, h->story.now_ms, &u, NULL), RC_OK);
    for (uint8_t i = 0; i < 2; i++) {
        const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {i};
        struct auth_key_spec spec = {.user = u->id, .is_reusable = true};
        assert_int_equal(
            state_key_create(h->writer, &spec, random, h->story.now_ms, &k, h->story.keys[h->story.key_n++], NULL),
            RC_OK);
    }
}

static void live_through(uint64_t seed)
{
    struct history h = {.story = {.random = {seed * 7919}, .now_ms = 1700000000000},
                        .writer = test_story_state(),
                        .follower = test_story_state(),
                        .disk = MEM_NEW(struct test_disk)};
    open_tailnet(&h);
    unsigned turns = seed % 100 == 0 ? 60 : 3 + (unsigned)seed % 8;
    for (unsigned i = 0; i < turns; i++) {
        live(&h);
        end_turn(&h);
        if (test_story_pick(&h.story, 2) == 0)
            follow(&h);
    }
    finish(&h);
    follow(&h);
    hear_reports(&h);
    assert_like_loaded(&h);
    test_disk_fini(h.disk);
    mem_free(h.disk);
    mem_free(h.news);
    mem_free(h.ends);
    state_destroy(&h.writer);
    state_destroy(&h.follower);
}

static void test_followed_is_loaded(void **state)
{
    (void)state;
    uint64_t seed = test_history_seed(), count = test_history_count();
    for (uint64_t i = 0; i < count; i++) {
        test_history_begins(seed + i);
        live_through(seed + i);
    }
    test_history_begins(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_followed_is_loaded, test_history_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
