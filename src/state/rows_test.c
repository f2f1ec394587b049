/* Durability: what is visible when, and that the rows bring everything back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "state/testing.h"

static void test_invisible_until_committed(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report none = {0};
    test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration a = test_tailnet_request(f, key, "a"), b = test_tailnet_request(f, key, "b");
    test_tailnet_register(f, &a, TEST_NOW_MS);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_int_equal(state_snapshot(f->st)->node_n, 1);
    test_tailnet_register(f, &b, TEST_NOW_MS);
    uint64_t seq = state_durable_seq(f->st);
    struct row_batch *batch = state_take_batch(f->st);
    assert_int_equal(batch->seq, seq);
    /* Presence of other nodes does not wait for the disk; the new node stays hidden. */
    assert_int_equal(state_poll_begin(f->st, &a.key, &a.machine, &none, TEST_NOW_MS, &n), RC_OK);
    struct change *c = state_publish(f->st, TEST_NOW_MS);
    assert_int_equal(c->item_n, 1);
    assert_true(c->items[0].after->is_online);
    assert_int_equal(c->after->node_n, 1);
    change_unref(&c);
    assert_null(state_publish(f->st, TEST_NOW_MS));
    assert_true(state_is_dirty(f->st));
    state_committed(f->st, seq);
    c = state_publish(f->st, TEST_NOW_MS);
    assert_int_equal(c->item_n, 1);
    assert_null(c->items[0].before);
    assert_int_equal(c->after->node_n, 2);
    change_unref(&c);
    row_batch_destroy(&batch);
    assert_int_equal(state_durable_seq(f->st), seq);
}

/* A store that keeps rows as they come. */
struct shadow {
    const struct user *users[64];
    const struct auth_key *keys[512];
    const struct node *nodes[2048];
    uint64_t next[ENTITIES_MAX];
};

static void shadow_apply(struct shadow *s, struct row_batch *b)
{
    for (size_t i = 0; b != NULL && i < b->n; i++) {
        struct row_op *op = &b->ops[i];
        if (op->entity == &entity_user) {
            user_unref(&s->users[op->id]);
            s->users[op->id] = (const struct user *)row_ref(op->object);
        } else if (op->entity == &entity_auth_key) {
            auth_key_unref(&s->keys[op->id]);
            s->keys[op->id] = (const struct auth_key *)row_ref(op->object);
        } else if (op->entity == &entity_node) {
            node_unref(&s->nodes[op->id]);
            s->nodes[op->id] = (const struct node *)row_ref(op->object);
        } else {
            s->next[op->id] = ((const struct counter *)op->object)->next;
        }
    }
}

static void shadow_load_row(struct state *st, const struct entity *e, const struct row *object)
{
    if (object != NULL)
        assert_int_equal(state_load(st, e, row_copy(e, object), NULL), RC_OK);
}

static void shadow_load(struct shadow *s, struct state *st)
{
    for (size_t i = 0; i < ARRAY_LEN(s->users); i++)
        shadow_load_row(st, &entity_user, (const struct row *)s->users[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->keys); i++)
        shadow_load_row(st, &entity_auth_key, (const struct row *)s->keys[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->nodes); i++)
        shadow_load_row(st, &entity_node, (const struct row *)s->nodes[i]);
    for (size_t i = 0; i < ENTITIES_MAX; i++) {
        struct counter c = {.id = i, .next = s->next[i]};
        if (c.next != 0)
            shadow_load_row(st, &entity_counter, &c.row);
    }
    state_load_done(st, TEST_NOW_MS);
}

static void shadow_fini(struct shadow *s)
{
    for (size_t i = 0; i < ARRAY_LEN(s->users); i++)
        user_unref(&s->users[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->keys); i++)
        auth_key_unref(&s->keys[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->nodes); i++)
        node_unref(&s->nodes[i]);
    mem_free(s);
}

static void assert_same_durable_node(const struct node *a, const struct node *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_true(keys_equal(a->key.b, b->key.b));
    assert_true(keys_equal(a->machine.b, b->machine.b));
    assert_true(addr_eq(&a->v4, &b->v4));
    assert_true(addr_eq(&a->v6, &b->v6));
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->user, b->user);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->is_ephemeral, b->is_ephemeral);
    assert_true(prefix_list_eq(a->advertised, b->advertised));
    assert_true(prefix_list_eq(a->approved, b->approved));
    assert_true(rcbuf_eq(a->tags, b->tags));
}

/* Some of three routes. */
static size_t random_routes(struct test_tailnet *f, struct prefix out[3])
{
    static const struct str routes[] = {STR("10.0.0.0/8"), STR("fd00::/8"), STR("0.0.0.0/0")};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (test_random_below(&f->random, 2) == 0)
            assert_int_equal(prefix_parse(routes[i], &out[n++], NULL), RC_OK);
    }
    return n;
}

static void random_durable_event(struct test_tailnet *f, char keys[4][AUTH_KEY_TEXT_CAP], struct registration *machines,
                                 unsigned machine_n)
{
    const struct node *n;
    uint32_t dice = test_random_below(&f->random, 13);
    struct prefix routes[3];
    size_t routes_n = random_routes(f, routes);
    const struct str tag = STR("tag:web");
    struct registration *m = &machines[test_random_below(&f->random, machine_n)];
    enum rc rc = RC_OK;
    if (dice < 5) {
        struct registration reg = *m;
        reg.old_key = m->key;
        reg.report.hostinfo = rcbuf_create(&dice, sizeof(dice));
        reg.report.routes = prefix_list_create(routes, routes_n);
        reg.auth_key = str_c(keys[test_random_below(&f->random, 4)]);
        if (test_random_below(&f->random, 2) == 0)
            test_tailnet_random(f, &reg.key, sizeof(reg.key));
        if (test_tailnet_register(f, &reg, TEST_NOW_MS).outcome == REGISTER_OK)
            m->key = reg.key;
        rcbuf_unref(&reg.report.hostinfo);
        prefix_list_unref(&reg.report.routes);
    } else if (dice < 7) {
        rc = state_node_delete(f->st, 1 + test_random_below(&f->random, 200), NULL);
    } else if (dice < 8) {
        rc = state_node_rename(f->st, 1 + test_random_below(&f->random, 200), STR("web"), &n, NULL);
    } else if (dice < 9) {
        rc = state_node_expire(f->st, 1 + test_random_below(&f->random, 200), TEST_NOW_MS + 100000, TEST_NOW_MS, &n,
                               NULL);
    } else if (dice < 11) {
        rc = state_node_approve_routes(f->st, 1 + test_random_below(&f->random, 200), routes, routes_n, &n, NULL);
    } else if (dice < 12) {
        rc = state_node_set_tags(f->st, 1 + test_random_below(&f->random, 200), &tag, 1, &n, NULL);
    } else {
        rc = state_key_expire(f->st, 1 + test_random_below(&f->random, 4), TEST_NOW_MS, NULL);
        test_tailnet_key(f, (struct auth_key_spec){.is_reusable = true}, keys[test_random_below(&f->random, 4)]);
    }
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

/* Random events; then the rows alone bring back the same users, keys, nodes and addresses, and give no id twice. */
static void test_rows_bring_everything_back(void **state)
{
    struct test_tailnet *f = *state;
    struct shadow *shadow = MEM_NEW(struct shadow);
    struct registration machines[60];
    char keys[4][AUTH_KEY_TEXT_CAP];
    for (int i = 0; i < 4; i++)
        test_tailnet_key(f, (struct auth_key_spec){.is_reusable = i > 0, .is_ephemeral = i == 3}, keys[i]);
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        machines[i] = test_tailnet_request(f, keys[1], i % 3 == 0 ? "web" : "laptop");
    for (unsigned i = 0; i < 1500 && state_node_count(f->st) < 500; i++) {
        random_durable_event(f, keys, machines, ARRAY_LEN(machines));
        if (test_random_below(&f->random, 3) == 0) {
            struct row_batch *b = state_take_batch(f->st);
            shadow_apply(shadow, b);
            if (b != NULL)
                state_committed(f->st, b->seq);
            row_batch_destroy(&b);
        }
    }
    while (state_flush_lazy(f->st, 1000) > 0) {
    }
    struct row_batch *b = state_take_batch(f->st);
    shadow_apply(shadow, b);
    row_batch_destroy(&b);
    struct state_options options = test_options();
    struct state *again = state_create(&options, test_settings());
    shadow_load(shadow, again);
    assert_int_equal(state_node_count(again), state_node_count(f->st));
    assert_true(state_node_count(again) > 10);
    for (node_id id = 1; id < 2048; id++) {
        if (state_node(f->st, id) != NULL)
            assert_same_durable_node(state_node(f->st, id), state_node(again, id));
    }
    for (user_id id = 1; id < 64; id++) {
        const struct user *u = state_user(f->st, id), *v = state_user(again, id);
        assert_true(u == NULL ? v == NULL : v != NULL && u->role == v->role);
    }
    for (uint64_t id = 1; id < 512; id++)
        assert_int_equal(state_key(f->st, id) != NULL, state_key(again, id) != NULL);
    assert_int_equal(state_snapshot(again)->node_n, state_node_count(again));
    state_destroy(&again);
    shadow_fini(shadow);
}

static void test_load_refuses_contradictions(void **state)
{
    struct test_tailnet *f = *state;
    struct state_options options = test_options();
    char key[AUTH_KEY_TEXT_CAP];
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "n");
    const struct node *n = test_tailnet_register(f, &reg, TEST_NOW_MS).node;
    struct state *st = state_create(&options, test_settings());
    struct node *same_address = node_edit(n, NULL, 0), *same_key = node_edit(n, NULL, 0);
    assert_int_equal(state_load(st, &entity_node, &node_edit(n, NULL, 0)->row, NULL), RC_OK);
    same_address->id = 2;
    test_tailnet_random(f, &same_address->key, sizeof(node_key));
    snprintf(same_address->name, NAME_CAP, "other");
    assert_int_equal(state_load(st, &entity_node, &same_address->row, NULL), RC_INVALID);
    same_key->id = 3;
    assert_int_equal(state_load(st, &entity_node, &same_key->row, NULL), RC_INVALID);
    state_destroy(&st);
}

static bool shows_user(const struct test_tailnet *f, user_id id)
{
    const struct user_table *t = state_snapshot(f->st)->users;
    for (size_t i = 0; i < t->n; i++) {
        if (t->users[i]->id == id)
            return true;
    }
    return false;
}

/* A node is never shown before its owner, whatever happens to other users meanwhile. */
static void test_owners_come_with_their_nodes(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct user *ben, *carl;
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_int_equal(state_user_create(f->st, &(struct user_spec){.name = STR("ben")}, TEST_NOW_MS, &ben, NULL), RC_OK);
    user_id ben_id = ben->id;
    test_tailnet_key(f, (struct auth_key_spec){.user = ben_id}, key);
    struct registration reg = test_tailnet_request(f, key, "host");
    node_id id = test_tailnet_register(f, &reg, TEST_NOW_MS).node->id;
    struct row_batch *first = state_take_batch(f->st);
    assert_int_equal(state_user_create(f->st, &(struct user_spec){.name = STR("carl")}, TEST_NOW_MS, &carl, NULL),
                     RC_OK);
    struct row_batch *second = state_take_batch(f->st);
    for (unsigned i = 0; i < 2; i++) {
        state_committed(f->st, i == 0 ? first->seq : second->seq);
        struct change *c = state_publish(f->st, TEST_NOW_MS);
        assert_true(c->users_changed);
        change_unref(&c);
        assert_non_null(snapshot_node(state_snapshot(f->st), id));
        assert_true(shows_user(f, ben_id));
        assert_int_equal(shows_user(f, carl->id), i == 1);
    }
    assert_false(state_is_dirty(f->st));
    row_batch_destroy(&first);
    row_batch_destroy(&second);
}

static void test_presence_reaches_the_disk_lazily(void **state)
{
    struct test_tailnet *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report report = {.home_derp = 4};
    test_tailnet_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = test_tailnet_request(f, key, "n");
    test_tailnet_register(f, &reg, TEST_NOW_MS);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &report, &n), RC_OK);
    assert_null(state_take_batch(f->st));
    assert_int_equal(state_flush_lazy(f->st, 100), 1);
    assert_int_equal(state_flush_lazy(f->st, 100), 0);
    struct row_batch *b = state_take_batch(f->st);
    assert_int_equal(b->n, 1);
    assert_int_equal(((const struct node *)b->ops[0].object)->home_derp, 4);
    row_batch_destroy(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_tailnet_set_up, test_tailnet_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_invisible_until_committed),        TEST(test_rows_bring_everything_back),
        TEST(test_load_refuses_contradictions),      TEST(test_owners_come_with_their_nodes),
        TEST(test_presence_reaches_the_disk_lazily),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
