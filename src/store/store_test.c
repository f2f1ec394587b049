/* What every store must do: the same tests run on SQLite and on memory. Then the thread: groups, order, failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "store/testing.h"

/* --- both backends --- */

struct fixture {
    char dir[TEST_SCRATCH_CAP];
    bool on_disk;
    struct store *s;
};

static void fixture_open(struct fixture *f)
{
    if (f->on_disk)
        f->s = test_store_open(test_scratch_path(f->dir), 1000);
    else
        assert_int_equal(store_open_memory(&f->s), RC_OK);
}

/* Does nothing for memory, which keeps nothing. */
static void fixture_reopen(struct fixture *f)
{
    if (!f->on_disk)
        return;
    store_close(&f->s);
    assert_null(f->s);
    fixture_open(f);
}

static int set_up(void **state, bool on_disk)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->on_disk = on_disk;
    test_scratch_make(f->dir);
    fixture_open(f);
    *state = f;
    return 0;
}

static int set_up_sqlite(void **state)
{
    return set_up(state, true);
}

static int set_up_memory(void **state)
{
    return set_up(state, false);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(&f->s);
    test_scratch_remove(f->dir);
    mem_free(f);
    return 0;
}

static void test_empty(void **state)
{
    struct fixture *f = *state;
    struct test_world w;
    test_world_init(&w, 1);
    test_store_holds(f->s, &w);
    fixture_reopen(f);
    test_store_holds(f->s, &w);
    assert_int_equal(test_store_seq(f->s), 0);
    assert_int_equal(store_ping(f->s), RC_OK);
}

static void fill_text(char *out, size_t cap)
{
    memset(out, 'x', cap - 1);
    out[cap - 1] = '\0';
}

/* Every field at its largest. */
static void extreme_rows(struct test_world *w, struct row_batch *b)
{
    struct user *u = user_create();
    u->id = INT64_MAX;
    fill_text(u->name, sizeof(u->name));
    fill_text(u->display_name, sizeof(u->display_name));
    fill_text(u->email, sizeof(u->email));
    fill_text(u->picture_url, sizeof(u->picture_url));
    u->created_ms = INT64_MIN;
    test_world_put_user(w, b, u, 0);

    struct auth_key *k = auth_key_create();
    k->id = INT64_MAX;
    k->user = u->id;
    memset(k->hash, 0xff, sizeof(k->hash));
    fill_text(k->prefix, sizeof(k->prefix));
    k->is_reusable = k->is_ephemeral = k->is_used = true;
    k->created_ms = INT64_MAX;
    k->expires_ms = INT64_MAX;
    k->tags = rcbuf_create("[\"tag:a\"]", 9);
    test_world_put_key(w, b, k, 0);

    struct node *n = node_create(ENDPOINTS_MAX);
    n->id = INT64_MAX;
    fill_text(n->stable_id, sizeof(n->stable_id));
    n->user = TAGGED_DEVICES_USER;
    memset(n->machine.b, 0xff, KEY_BYTES);
    memset(n->key.b, 0xfe, KEY_BYTES);
    memset(n->disco.b, 0xfd, KEY_BYTES);
    memset(n->nl.b, 0xfc, KEY_BYTES);
    n->v4 = (struct addr){.family = 4, .ip = {255, 255, 255, 255}};
    n->v6.family = 6;
    memset(n->v6.ip, 0xff, 16);
    fill_text(n->name, sizeof(n->name));
    fill_text(n->hostname, sizeof(n->hostname));
    n->is_renamed = n->is_ephemeral = n->is_ended = n->is_online = true;
    n->cap_version = UINT32_MAX;
    n->home_derp = UINT16_MAX;
    n->auth_key = INT64_MAX;
    n->created_ms = INT64_MIN;
    n->expires_ms = INT64_MAX;
    n->last_seen_ms = INT64_MIN;
    n->tags = rcbuf_create("[]", 2);
    n->hostinfo = rcbuf_create(NULL, 100000);
    memset(n->hostinfo->data, '{', 100000);
    n->hostinfo_peers = rcbuf_create("", 0);
    for (unsigned i = 0; i < ENDPOINTS_MAX; i++) {
        n->endpoints[i] = i % 2 == 0 ? n->v4 : n->v6;
        n->endpoints[i].port = (uint16_t)(65535 - i);
    }
    test_world_put_node(w, b, n, 0);
}

/* Adds a user, a key and a node whose fields are all zero or empty, but for the ids. */
static void blank_rows(struct test_world *w, struct row_batch *b)
{
    struct user *u = user_create();
    u->id = 1;
    test_world_put_user(w, b, u, 1);
    struct auth_key *k = auth_key_create();
    k->id = 1;
    test_world_put_key(w, b, k, 1);
    struct node *n = node_create(0);
    n->id = 1;
    test_world_put_node(w, b, n, 1);
}

static void test_every_field(void **state)
{
    struct fixture *f = *state;
    struct test_world w;
    test_world_init(&w, 1);
    w.seq = INT64_MAX - 1;
    w.next_node = INT64_MAX;
    w.next_user = 2;
    struct row_batch *b = test_batch_create(1);
    extreme_rows(&w, b);
    blank_rows(&w, b);
    test_batch_count(b, &entity_user, w.next_user);
    test_batch_count(b, &entity_auth_key, w.seq);
    test_batch_count(b, &entity_node, w.next_node);
    assert_int_equal(test_store_write(f->s, b), RC_OK);
    test_store_holds(f->s, &w);
    fixture_reopen(f);
    test_store_holds(f->s, &w);
    test_world_fini(&w);
}

static void test_deleting_what_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct test_world w;
    test_world_init(&w, 1);
    struct row_batch *b = test_batch_create(1);
    test_batch_delete(b, &entity_user, 7);
    test_batch_delete(b, &entity_auth_key, 7);
    test_batch_delete(b, &entity_node, 7);
    assert_int_equal(test_store_write(f->s, b), RC_OK);
    assert_int_equal(test_store_write(f->s, test_batch_create(2)), RC_OK);
    test_store_holds(f->s, &w);
}

static void test_random_batches(void **state)
{
    struct fixture *f = *state;
    struct test_world w;
    struct test_acks acks;
    test_world_init(&w, 42);
    for (unsigned round = 0; round < 8; round++) {
        test_acks_init(&acks);
        acks.last_seq = w.seq;
        store_start(f->s, test_acks_take, &acks);
        for (unsigned i = 0; i < 100; i++)
            store_commit(f->s, test_world_step(&w));
        assert_int_equal(test_acks_wait(&acks, w.seq), RC_OK);
        assert_int_equal(acks.n, 100);
        assert_false(acks.out_of_order);
        assert_int_equal(store_ping(f->s), RC_OK);
        if (!f->on_disk)
            break; /* its thread cannot be started twice */
        fixture_reopen(f);
        test_store_holds(f->s, &w);
    }
    if (!f->on_disk)
        test_store_holds(f->s, &w); /* the thread is idle: everything is answered */
    test_world_fini(&w);
}

/* --- memory as the shadow of SQLite: the same life, step by step --- */

static void test_shadow(void **state)
{
    struct fixture *f = *state;
    struct store *shadow;
    struct test_world w, twin;
    test_world_init(&w, 7);
    test_world_init(&twin, 7);
    assert_int_equal(store_open_memory(&shadow), RC_OK);
    for (unsigned i = 0; i < 400; i++) {
        assert_int_equal(test_store_write(f->s, test_world_step(&w)), RC_OK);
        assert_int_equal(test_store_write(shadow, test_world_step(&twin)), RC_OK);
        test_store_holds(f->s, &twin);
        test_store_holds(shadow, &w);
    }
    store_close(&shadow);
    test_world_fini(&w);
    test_world_fini(&twin);
}

/* --- groups --- */

static int64_t transactions(void)
{
    return metric_read("fullscale_store_transactions_total", "");
}

/* While the thread is busy batches gather; then they are one transaction. */
static void test_group_commit(void **state)
{
    struct fixture *f = *state;
    struct test_acks acks;
    struct test_world w;
    enum { WAITING = 200 };
    test_world_init(&w, 3);
    test_acks_init(&acks);
    test_acks_hold(&acks, true);
    store_start(f->s, test_acks_take, &acks);
    int64_t before = transactions();
    int64_t rows = metric_read("fullscale_store_rows_total", "");
    int64_t batches = metric_read("fullscale_store_batches_total", "");
    store_commit(f->s, test_world_step(&w));
    test_acks_wait(&acks, 1);
    assert_int_equal(transactions(), before + 1);
    for (unsigned i = 0; i < WAITING; i++)
        store_commit(f->s, test_world_step(&w));
    assert_int_equal(metric_read("fullscale_store_waiting_batches", ""), WAITING);
    test_acks_hold(&acks, false);
    assert_int_equal(test_acks_wait(&acks, w.seq), RC_OK);
    assert_int_equal(transactions(), before + 2);
    assert_int_equal(metric_read("fullscale_store_batches_total", ""), batches + 1 + WAITING);
    assert_true(metric_read("fullscale_store_rows_total", "") > rows);
    assert_int_equal(metric_read("fullscale_store_waiting_batches", ""), 0);
    assert_true(metric_read("fullscale_store_commit_microseconds_total", "") > 0);
    assert_false(acks.out_of_order);
    fixture_reopen(f);
    test_store_holds(f->s, &w);
    test_world_fini(&w);
}

/* Closing writes everything that was handed over. */
static void test_close_commits_what_waits(void **state)
{
    struct fixture *f = *state;
    struct test_acks acks;
    struct test_world w;
    test_world_init(&w, 4);
    test_acks_init(&acks);
    store_start(f->s, test_acks_take, &acks);
    for (unsigned i = 0; i < 50; i++)
        store_commit(f->s, test_world_step(&w));
    fixture_reopen(f);
    assert_int_equal(acks.n, 50);
    assert_int_equal(acks.failed_n, 0);
    test_store_holds(f->s, &w);
    test_world_fini(&w);
}

static void put_blank(struct row_batch *b, const struct entity *entity, uint64_t id)
{
    struct row *object = entity_create(entity);
    object->id = id;
    test_batch_put(b, entity, object);
}

static void test_plan(void **state)
{
    (void)state;
    const struct row_op **plan;
    struct row_batch *b[2] = {test_batch_create(1), test_batch_create(2)};
    assert_int_equal(store_plan(b, 2, &plan), 0);
    mem_free(plan);
    put_blank(b[0], &entity_user, 1);
    put_blank(b[0], &entity_node, 1);
    put_blank(b[0], &entity_node, 1);
    test_batch_count(b[0], &entity_node, 1);
    put_blank(b[0], &entity_auth_key, 1);
    test_batch_delete(b[1], &entity_node, 1);
    test_batch_count(b[1], &entity_node, 2);
    put_blank(b[1], &entity_node, 2);
    assert_int_equal(store_plan(b, 2, &plan), 5);
    unsigned puts[ENTITIES_MAX] = {0}, deletions = 0;
    for (size_t i = 0; i < 5; i++) {
        if (plan[i]->object == NULL)
            deletions++;
        else
            puts[plan[i]->entity->number]++;
        if (plan[i]->entity == &entity_counter)
            assert_int_equal(((const struct counter *)plan[i]->object)->next, 2);
        if (plan[i]->entity == &entity_node)
            assert_int_equal(plan[i]->id, plan[i]->object != NULL ? 2 : 1);
    }
    assert_int_equal(puts[entity_user.number], 1);
    assert_int_equal(puts[entity_auth_key.number], 1);
    assert_int_equal(puts[entity_node.number], 1);
    assert_int_equal(puts[entity_counter.number], 1);
    assert_int_equal(deletions, 1);
    mem_free(plan);
    row_batch_destroy(&b[0]);
    row_batch_destroy(&b[1]);
}

/* --- failure: a backend whose disk breaks at a chosen write --- */

struct broken_store {
    struct store base;
    unsigned writes;
    unsigned fail_at;
    bool *closed_sound_out;
};

static enum rc broken_write(struct store *s, uint64_t tailnet, const struct row_op *const *ops, size_t n)
{
    (void)tailnet;
    struct broken_store *b = CONTAINER_OF(s, struct broken_store, base);
    (void)ops;
    (void)n;
    return ++b->writes == b->fail_at ? RC_IO : RC_OK;
}

static enum rc broken_load(struct store *s, uint64_t tailnet, const struct row_sink *sink, struct err *err)
{
    (void)tailnet;
    (void)s;
    (void)sink;
    return err_set(err, RC_STORE, "broken");
}

static enum rc broken_ping(struct store *s)
{
    (void)s;
    return RC_OK;
}

static void broken_destroy(struct store *s, bool is_sound)
{
    struct broken_store *b = CONTAINER_OF(s, struct broken_store, base);
    *b->closed_sound_out = is_sound;
    mem_free(b);
}

static const struct store_ops broken_ops = {broken_write, broken_load, broken_ping, broken_destroy};

static struct broken_store *open_broken(unsigned fail_at, bool *closed_sound_out)
{
    struct broken_store *b = MEM_NEW(struct broken_store);
    b->fail_at = fail_at;
    b->closed_sound_out = closed_sound_out;
    store_init(&b->base, &broken_ops);
    return b;
}

/* The disk works again at once, but nothing is written after the gap until a repair has filled it. */
static void test_after_a_failure_only_a_repair(void **state)
{
    (void)state;
    bool closed_sound = false;
    struct test_acks acks;
    struct broken_store *b = open_broken(3, &closed_sound);
    struct store *s = &b->base;
    test_acks_init(&acks);
    store_start(s, test_acks_take, &acks);
    int64_t failures = metric_read("fullscale_store_commit_failures_total", "");
    for (uint64_t seq = 1; seq <= 10; seq++) {
        store_commit(s, test_batch_create(seq));
        enum rc rc = test_acks_wait(&acks, seq);
        assert_int_equal(rc, seq < 3 ? RC_OK : RC_IO);
        assert_int_equal(store_ping(s), seq < 3 ? RC_OK : RC_IO);
        assert_int_equal(metric_read("fullscale_store_failing", ""), seq >= 3);
    }
    assert_int_equal(b->writes, 3);
    assert_int_equal(acks.failed_n, 8);
    assert_int_equal(metric_read("fullscale_store_commit_failures_total", ""), failures + 1);
    struct row_batch *repair = test_batch_create(11);
    repair->is_repair = true;
    store_commit(s, repair);
    assert_int_equal(test_acks_wait(&acks, 11), RC_OK);
    assert_int_equal(store_ping(s), RC_OK);
    assert_int_equal(metric_read("fullscale_store_failing", ""), 0);
    store_commit(s, test_batch_create(12));
    assert_int_equal(test_acks_wait(&acks, 12), RC_OK);
    store_close(&s);
    assert_true(closed_sound);
}

/* What waits together is one transaction. If that fails, the durable batches are tried without presence. */
static void test_presence_fails_nobody(void **state)
{
    (void)state;
    bool closed_sound;
    struct test_acks acks;
    struct broken_store *b = open_broken(2, &closed_sound);
    struct store *s = &b->base;
    test_acks_init(&acks);
    store_start(s, test_acks_take, &acks);
    test_acks_hold(&acks, true);
    store_commit(s, test_batch_create(1));
    test_acks_wait(&acks, 1);
    struct row_batch *lazy = test_batch_create(2);
    lazy->is_lazy = true;
    store_commit(s, lazy);
    store_commit(s, test_batch_create(3));
    test_acks_hold(&acks, false);
    assert_int_equal(test_acks_wait(&acks, 3), RC_OK);
    assert_int_equal(acks.failed_n, 1); /* the lazy one */
    store_commit(s, test_batch_create(4));
    assert_int_equal(test_acks_wait(&acks, 4), RC_OK);
    /* Presence that fails alone does not make the store refuse others. */
    b->fail_at = b->writes + 1;
    lazy = test_batch_create(5);
    lazy->is_lazy = true;
    store_commit(s, lazy);
    assert_int_equal(test_acks_wait(&acks, 5), RC_IO);
    assert_int_equal(store_fault(s), RC_IO);
    store_commit(s, test_batch_create(6));
    assert_int_equal(test_acks_wait(&acks, 6), RC_OK);
    assert_int_equal(store_fault(s), RC_OK);
    store_close(&s);
}

static void test_load_failure(void **state)
{
    (void)state;
    bool closed_sound = false;
    struct broken_store *b = MEM_NEW(struct broken_store);
    struct store *s = &b->base;
    struct err err = {0};
    struct state_options options = {0};
    b->closed_sound_out = &closed_sound;
    store_init(s, &broken_ops);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, 1, st, 1, &err), RC_STORE);
    assert_string_equal(err.text, "broken");
    state_destroy(&st);
    store_close(&s);
    assert_true(closed_sound);
    store_close(&s);
}

/* --- with the state --- */

static struct node *plain_node(uint64_t id, const char *name)
{
    struct node *n = node_create(0);
    n->id = id;
    n->key.b[0] = (uint8_t)id;
    n->machine.b[0] = (uint8_t)id;
    n->v4 = (struct addr){.family = 4, .ip = {100, 64, 0, (uint8_t)id}};
    snprintf(n->name, sizeof(n->name), "%s", name);
    return n;
}

/* Only memory can hold such rows: the database refuses them. */
static void test_contradicting_rows_are_left_out(void **state)
{
    (void)state;
    struct store *s;
    struct err err = {0};
    struct state_options options = {0};
    struct row_batch *b = test_batch_create(1);
    assert_int_equal(store_open_memory(&s), RC_OK);
    test_batch_put(b, &entity_node, &plain_node(1, "same")->row);
    test_batch_put(b, &entity_node, &plain_node(2, "same")->row);
    test_batch_put(b, &entity_node, &plain_node(3, "other")->row);
    assert_int_equal(test_store_write(s, b), RC_OK);
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(s, 1, st, 1, &err), RC_OK);
    assert_int_equal(state_node_count(st), 2);
    assert_null(state_node(st, 2));
    state_destroy(&st);
    store_close(&s);
}

static void test_state_survives(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10};
    const struct user *u;
    const struct auth_key *k;
    char text[AUTH_KEY_TEXT_CAP];
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {1};
    struct state *st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(f->s, 1, st, 1000, &err), RC_OK);
    assert_int_equal(state_user_create(st, &(struct user_spec){.name = STR("ann")}, 1000, &u, &err), RC_OK);
    assert_int_equal(state_user_create(st, &(struct user_spec){.name = STR("bob")}, 1000, &u, &err), RC_OK);
    assert_int_equal(state_user_delete(st, u->id, &err), RC_OK);
    u = state_user_by_name(st, STR("ann"));
    struct auth_key_spec spec = {.user = u->id, .is_reusable = true};
    assert_int_equal(state_key_create(st, &spec, random, 1000, &k, text, &err), RC_OK);
    for (uint8_t i = 1; i <= 3; i++) {
        struct register_result result;
        struct registration reg = {.machine = {{i}},
                                   .key = {{i}},
                                   .auth_key = str_c(text),
                                   .random = {i},
                                   .report = {.hostname = STR("laptop")}};
        state_register(st, &reg, 1000, &result);
        assert_int_equal(result.outcome, REGISTER_OK);
    }
    assert_int_equal(test_store_write(f->s, state_take_batch(st)), RC_OK);
    state_destroy(&st);

    fixture_reopen(f);
    st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(f->s, 1, st, 2000, &err), RC_OK);
    assert_int_equal(state_node_count(st), 3);
    assert_non_null(state_key_by_text(st, str_c(text)));
    assert_null(state_user_by_name(st, STR("bob")));
    assert_int_equal(state_user_create(st, &(struct user_spec){.name = STR("eve")}, 2000, &u, &err), RC_OK);
    assert_int_equal(u->id, 3); /* bob's id is not given again */
    state_destroy(&st);
}

#define BOTH(test)                                                                                                     \
    {#test " (sqlite)", test, set_up_sqlite, tear_down, NULL},                                                         \
    {                                                                                                                  \
        #test " (memory)", test, set_up_memory, tear_down, NULL                                                        \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_empty),
        BOTH(test_every_field),
        BOTH(test_deleting_what_is_not_there),
        BOTH(test_random_batches),
        BOTH(test_state_survives),
        cmocka_unit_test_setup_teardown(test_shadow, set_up_sqlite, tear_down),
        cmocka_unit_test_setup_teardown(test_group_commit, set_up_sqlite, tear_down),
        cmocka_unit_test_setup_teardown(test_close_commits_what_waits, set_up_sqlite, tear_down),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_after_a_failure_only_a_repair),
        cmocka_unit_test(test_presence_fails_nobody),
        cmocka_unit_test(test_load_failure),
        cmocka_unit_test(test_contradicting_rows_are_left_out),
    };
    crypto_init();
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
