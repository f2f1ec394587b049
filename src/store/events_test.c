/* Events of the state, written to the database: whatever nodes and admins do, in any order, the rows never
 * contradict each other, and a server that starts again finds what the one before it had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "store/testing.h"

enum { MACHINES = 6, KEYS_PER_MACHINE = 3, AUTH_KEYS = 4, NO_MORE_THAN = 1000 };

struct server {
    const char *path;
    struct store *s;
    struct state *st;
    int64_t now_ms;
    struct test_random random;
    char auth_keys[AUTH_KEYS][AUTH_KEY_TEXT_CAP];
};

static const char *const host_names[] = {"laptop", "phone", "laptop-1", "server", "phone-1", "laptop-2"};

static uint32_t pick(struct server *v, uint32_t n)
{
    return test_random_below(&v->random, n);
}

static struct str pick_name(struct server *v)
{
    return str_c(host_names[pick(v, ARRAY_LEN(host_names))]);
}

static void server_start(struct server *v)
{
    const struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                          .v4_bits = 10,
                                          .v6_prefix = {.family = 6, .ip = {0xfd}},
                                          .v6_bits = 48,
                                          .ephemeral_timeout_ms = 1000,
                                          .offline_grace_ms = 10};
    struct err err = {0};
    v->s = test_store_open(v->path, 1000);
    v->st = state_create(&options, tailnet_settings_create());
    assert_int_equal(store_load(v->s, 1, v->st, v->now_ms, &err), RC_OK);
}

static void server_stop(struct server *v)
{
    state_destroy(&v->st);
    store_close(&v->s);
}

static void server_commit(struct server *v)
{
    struct row_batch *b;
    state_settle(v->st, v->now_ms);
    while ((b = state_take_batch(v->st)) != NULL) {
        uint64_t seq = b->seq;
        assert_int_equal(test_store_write(v->s, b), RC_OK);
        state_committed(v->st, seq);
    }
    struct change *c = state_publish(v->st, v->now_ms);
    change_unref(&c);
}

/* Three users with a key each, of which the third is ephemeral; and a key for tagged nodes. */
static void make_users(struct server *v)
{
    static const char *const names[] = {"ann", "bob", "eve"};
    struct err err = {0};
    struct str tag = STR("tag:x");
    for (uint8_t i = 0; i < AUTH_KEYS; i++) {
        const struct user *u = NULL;
        const struct auth_key *k;
        const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {(uint8_t)(i + 1)};
        if (i < ARRAY_LEN(names)) {
            const struct user_spec spec = {.name = str_c(names[i])};
            assert_int_equal(state_user_create(v->st, &spec, v->now_ms, &u, &err), RC_OK);
        }
        const struct auth_key_spec spec = {.user = u != NULL ? u->id : 0,
                                           .is_reusable = true,
                                           .is_ephemeral = i == 2,
                                           .tags = &tag,
                                           .tag_n = u == NULL};
        assert_int_equal(state_key_create(v->st, &spec, random, v->now_ms, &k, v->auth_keys[i], &err), RC_OK);
    }
}

static void event_register(struct server *v, const machine_key *machine, const node_key *key)
{
    struct registration reg = {.machine = *machine, .key = *key, .auth_key = str_c(v->auth_keys[pick(v, AUTH_KEYS)])};
    struct register_result result;
    reg.report.hostname = pick_name(v);
    if (pick(v, 2) != 0)
        reg.old_key.b[0] = (uint8_t)(machine->b[0] * 16 + pick(v, KEYS_PER_MACHINE));
    if (pick(v, 4) == 0)
        reg.expiry_ms = pick(v, 2) != 0 ? 1 : v->now_ms + 500;
    state_register(v->st, &reg, v->now_ms, &result);
}

static void event_admin(struct server *v, const struct node *n)
{
    struct err err;
    enum rc rc = RC_OK;
    if (n == NULL)
        return;
    switch (pick(v, 7)) {
    case 0: rc = state_node_delete(v->st, n->id, &err); break;
    case 1:
    case 2:
    case 3: rc = state_node_rename(v->st, n->id, pick_name(v), &n, &err); break;
    default: rc = state_node_expire(v->st, n->id, v->now_ms + pick(v, 300) - 100, v->now_ms, &n, &err);
    }
    assert_true(rc == RC_OK || rc == RC_EXISTS);
}

static void event(struct server *v)
{
    machine_key machine = {{(uint8_t)(1 + pick(v, MACHINES))}};
    node_key key = {{(uint8_t)(machine.b[0] * 16 + pick(v, KEYS_PER_MACHINE))}};
    const struct node_report report = {.hostname = pick_name(v)};
    const struct node *n;
    enum rc rc = RC_OK;
    v->now_ms += pick(v, 100);
    switch (pick(v, 8)) {
    case 0:
    case 1: event_register(v, &machine, &key); break;
    case 2:
    case 3: rc = state_node_report(v->st, &key, &machine, &report, &n); break;
    case 4: rc = state_poll_begin(v->st, &key, &machine, &report, v->now_ms, &n); break;
    case 5:
        n = state_node_by_key(v->st, &key);
        state_poll_end(v->st, n != NULL ? n->id : 0, v->now_ms);
        break;
    case 6: event_admin(v, state_node_by_key(v->st, &key)); break;
    default: state_tick(v->st, v->now_ms); state_flush_lazy(v->st, pick(v, 3));
    }
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
}

/* With everything written, a server that starts has the same nodes. */
static void assert_survives(struct server *v)
{
    struct server next = {.path = v->path, .now_ms = v->now_ms};
    state_tick(v->st, v->now_ms);
    state_flush_lazy(v->st, SIZE_MAX);
    server_commit(v);
    store_close(&v->s);
    server_start(&next);
    assert_int_equal(state_node_count(next.st), state_node_count(v->st));
    for (node_id id = 1; id < NO_MORE_THAN; id++) {
        const struct node *a = state_node(v->st, id), *b = state_node(next.st, id);
        assert_int_equal(a != NULL, b != NULL);
        if (a != NULL)
            assert_true(test_same_node(a, b));
    }
    state_destroy(&v->st);
    v->s = next.s;
    v->st = next.st;
}

static void test_events(void **state)
{
    (void)state;
    char dir[TEST_SCRATCH_CAP];
    test_scratch_make(dir);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct server v = {.path = test_scratch_path(dir), .now_ms = 1000, .random = {seed}};
        server_start(&v);
        make_users(&v);
        for (unsigned i = 1; i <= 2000; i++) {
            event(&v);
            if (pick(&v, 3) == 0)
                server_commit(&v);
            if (i % 500 == 0)
                assert_survives(&v);
            if (i % 170 == 0) { /* killed: what was not committed is lost */
                server_commit(&v);
                server_stop(&v);
                server_start(&v);
            }
        }
        server_stop(&v);
        test_scratch_remove_files(v.path);
    }
    test_scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_events)};
    crypto_init();
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
