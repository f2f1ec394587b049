/* Ephemeral nodes while the disk is full: when they are removed, and what refused events leave behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/testing_history.h"

enum { EPHEMERAL_MS = 60000, GRACE_MS = 1000, AGAIN_MAX_MS = 300000 };

/* A tailnet with one ephemeral node, which is on disk. */
struct lone {
    struct state *st;
    int64_t now_ms;
    node_id id;
    struct registration reg;
    char key[AUTH_KEY_TEXT_CAP], lasting_key[AUTH_KEY_TEXT_CAP];
};

static const char *const names[] = {"laptop", "phone", "server"};

static void write_lone(struct lone *l)
{
    struct row_batch *b;
    while ((b = state_take_batch(l->st)) != NULL) {
        state_committed(l->st, b->seq);
        row_batch_destroy(&b);
    }
}

static void refuse_lone(struct lone *l)
{
    struct row_batch *b = state_take_batch(l->st);
    assert_non_null(b);
    assert_true(state_refused(l->st, b->seq, l->now_ms));
    row_batch_destroy(&b);
}

static void make_lone_key(struct lone *l, bool is_ephemeral, char text[AUTH_KEY_TEXT_CAP])
{
    const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {(uint8_t)(1 + is_ephemeral)};
    struct auth_key_spec spec = {.user = 1, .is_reusable = true, .is_ephemeral = is_ephemeral};
    const struct auth_key *k;
    assert_int_equal(state_key_create(l->st, &spec, random, l->now_ms, &k, text, NULL), RC_OK);
}

static void register_lone(struct lone *l, const char *key)
{
    struct register_result r;
    l->reg.auth_key = str_c(key);
    state_register(l->st, &l->reg, l->now_ms, &r);
    assert_int_equal(r.outcome, REGISTER_OK);
    l->id = r.node->id;
}

static int set_up(void **state)
{
    struct lone *l = MEM_NEW(struct lone);
    struct user_spec ann = {.name = STR("ann")};
    const struct user *u;
    *state = l;
    crypto_init();
    *l = (struct lone){.st = test_story_state(), .now_ms = 1700000000000};
    l->st->options.ephemeral_timeout_ms = EPHEMERAL_MS;
    l->st->options.offline_grace_ms = GRACE_MS;
    l->reg = (struct registration){.machine = {{1}}, .key = {{2}}, .random = {3}, .report.hostname = STR("runner")};
    assert_int_equal(state_user_create(l->st, &ann, l->now_ms, &u, NULL), RC_OK);
    make_lone_key(l, true, l->key);
    make_lone_key(l, false, l->lasting_key);
    register_lone(l, l->key);
    write_lone(l);
    return 0;
}

static int tear_down(void **state)
{
    struct lone *l = *state;
    state_destroy(&l->st);
    mem_free(l);
    return 0;
}

static void begin_lone_poll(struct lone *l)
{
    const struct node *n;
    struct node_report none = {0};
    assert_int_equal(state_poll_begin(l->st, &l->reg.key, &l->reg.machine, &none, l->now_ms, &n), RC_OK);
}

static void end_lone_poll(struct lone *l)
{
    state_poll_end(l->st, l->id, l->now_ms);
    l->now_ms += GRACE_MS;
    state_tick(l->st, l->now_ms);
    state_settle(l->st, l->now_ms);
    assert_false(state_node(l->st, l->id)->is_online);
}

/* The node is removed exactly after `ms`. */
static void assert_removed_after(struct lone *l, int64_t ms)
{
    l->now_ms += ms - 1;
    state_tick(l->st, l->now_ms);
    state_settle(l->st, l->now_ms);
    assert_non_null(state_node(l->st, l->id));
    l->now_ms++;
    state_tick(l->st, l->now_ms);
    state_settle(l->st, l->now_ms);
    assert_null(state_node(l->st, l->id));
}

static void test_removals_refused_for_days_leave_nothing_behind(void **state)
{
    struct lone *l = *state;
    int64_t wait_ms = EPHEMERAL_MS;
    for (int i = 0; i < 1000; i++) {
        assert_removed_after(l, wait_ms);
        refuse_lone(l);
        assert_non_null(state_node(l->st, l->id));
        wait_ms = i == 0 ? 5000 : wait_ms * 2 < AGAIN_MAX_MS ? wait_ms * 2 : AGAIN_MAX_MS;
        assert_int_equal(l->st->stale.n, 1);
        assert_int_equal(l->st->undo.n, 0);
    }
    assert_int_equal(wait_ms, AGAIN_MAX_MS);
    assert_int_equal(state_flush_lazy(l->st, SIZE_MAX), 1);
    write_lone(l);
    begin_lone_poll(l); /* its next removal is an ordinary one */
    end_lone_poll(l);
    assert_removed_after(l, EPHEMERAL_MS - GRACE_MS);
    refuse_lone(l);
    assert_removed_after(l, 5000);
}

static void test_refused_writes_of_a_node_wait_once_for_the_disk(void **state)
{
    struct lone *l = *state;
    begin_lone_poll(l);
    for (int i = 0; i < 1000; i++) {
        const struct node *n;
        assert_int_equal(state_node_rename(l->st, l->id, str_c(names[i % 3]), &n, NULL), RC_OK);
        refuse_lone(l);
        assert_int_equal(l->st->stale.n, 1);
    }
    assert_int_equal(state_flush_lazy(l->st, SIZE_MAX), 1);
    assert_int_equal(state_flush_lazy(l->st, SIZE_MAX), 0);
}

/* A flush passes it over while its removal waits for the disk. */
static void test_brought_back_is_written_by_the_next_flush(void **state)
{
    struct lone *l = *state;
    begin_lone_poll(l);
    assert_int_equal(state_node_delete(l->st, l->id, NULL), RC_OK);
    assert_int_equal(state_flush_lazy(l->st, SIZE_MAX), 0);
    refuse_lone(l);
    assert_int_equal(state_flush_lazy(l->st, SIZE_MAX), 1);
}

/* Its client leaves while an event that does not concern its removal waits for the disk. */
static void test_undone_rename_leaves_an_ephemeral_node_its_end(void **state)
{
    struct lone *l = *state;
    const struct node *n;
    begin_lone_poll(l);
    assert_int_equal(state_node_rename(l->st, l->id, STR("other"), &n, NULL), RC_OK);
    end_lone_poll(l);
    refuse_lone(l);
    assert_string_equal(state_node(l->st, l->id)->name, "runner");
    assert_removed_after(l, EPHEMERAL_MS - GRACE_MS);
}

/* Its client has come and left once more meanwhile: the time counts from then. */
static void test_undone_rename_does_not_shorten_an_ephemeral_nodes_time(void **state)
{
    struct lone *l = *state;
    const struct node *n;
    begin_lone_poll(l);
    state_poll_end(l->st, l->id, l->now_ms);
    assert_int_equal(state_node_rename(l->st, l->id, STR("other"), &n, NULL), RC_OK);
    begin_lone_poll(l);
    l->now_ms += EPHEMERAL_MS / 2;
    end_lone_poll(l);
    refuse_lone(l);
    state_tick(l->st, l->now_ms);
    state_settle(l->st, l->now_ms);
    assert_removed_after(l, EPHEMERAL_MS - GRACE_MS);
}

static void register_anew(struct lone *l, const char *key)
{
    l->reg.old_key = l->reg.key;
    l->reg.key.b[0]++;
    register_lone(l, key);
}

/* A registration that was undone made it a lasting node: it is removed after all. One that made it ephemeral: it
 * stays. */
static void test_undone_registration_settles_whether_a_node_ends(void **state)
{
    struct lone *l = *state;
    begin_lone_poll(l);
    register_anew(l, l->lasting_key);
    assert_false(state_node(l->st, l->id)->is_ephemeral);
    end_lone_poll(l);
    refuse_lone(l);
    assert_true(state_node(l->st, l->id)->is_ephemeral);
    assert_removed_after(l, EPHEMERAL_MS);
    refuse_lone(l);

    register_anew(l, l->lasting_key);
    write_lone(l);
    begin_lone_poll(l);
    register_anew(l, l->key);
    end_lone_poll(l);
    refuse_lone(l);
    assert_false(state_node(l->st, l->id)->is_ephemeral);
    l->now_ms += EPHEMERAL_MS * 10;
    state_tick(l->st, l->now_ms);
    state_settle(l->st, l->now_ms);
    assert_non_null(state_node(l->st, l->id));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_removals_refused_for_days_leave_nothing_behind),
        TEST(test_refused_writes_of_a_node_wait_once_for_the_disk),
        TEST(test_brought_back_is_written_by_the_next_flush),
        TEST(test_undone_rename_leaves_an_ephemeral_node_its_end),
        TEST(test_undone_rename_does_not_shorten_an_ephemeral_nodes_time),
        TEST(test_undone_registration_settles_whether_a_node_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
