/* What is refused of one tailnet, and what is written of the others meanwhile. */
#include "store/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { TAILNETS = 3, SEQS = 8 };

static struct {
    struct store *s;
    struct test_acks acks; /* they count the answers */
    enum rc answers[TAILNETS][SEQS];
    uint64_t n;
} seen;

static void take(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    (void)ctx;
    seen.answers[tailnet][seq] = rc;
    test_acks_take(&seen.acks, tailnet, ++seen.n, RC_OK);
}

static int set_up(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    test_acks_init(&seen.acks);
    assert_int_equal(store_open_memory(&seen.s), RC_OK);
    store_start(seen.s, take, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_acks_hold(&seen.acks, false);
    store_close(&seen.s);
    return 0;
}

static void commit(uint64_t tailnet, uint64_t seq, bool is_repair)
{
    struct row_batch *b = test_batch_create(seq);
    b->tailnet = tailnet;
    b->is_repair = is_repair;
    store_commit(seen.s, b);
}

/* Commits it, and waits for the answer. */
static enum rc write(uint64_t tailnet, uint64_t seq, bool is_repair)
{
    uint64_t before = seen.n;
    commit(tailnet, seq, is_repair);
    assert_int_equal(test_acks_wait(&seen.acks, before + 1), RC_OK);
    return seen.answers[tailnet][seq];
}

static void test_what_waits_together_is_refused_of_one_and_written_of_the_other(void **state)
{
    (void)state;
    test_acks_hold(&seen.acks, true);
    commit(2, 1, false);
    test_acks_wait(&seen.acks, 1);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        commit(1, seq, false);
        commit(2, seq + 1, false);
    }
    store_memory_fail_tailnet(seen.s, 1, RC_FULL);
    test_acks_hold(&seen.acks, false);
    test_acks_wait(&seen.acks, 7);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        assert_int_equal(seen.answers[1][seq], RC_FULL);
        assert_int_equal(seen.answers[2][seq + 1], RC_OK);
    }
}

static void test_the_others_go_on_while_one_waits_for_its_repair(void **state)
{
    (void)state;
    store_memory_fail_tailnet(seen.s, 1, RC_FULL);
    assert_int_equal(write(1, 1, false), RC_FULL);
    assert_int_equal(write(2, 1, false), RC_OK);
    assert_int_equal(store_fault(seen.s), RC_FULL); /* one is refused still */
    store_memory_fail_tailnet(seen.s, 1, RC_OK);
    assert_int_equal(write(1, 2, false), RC_FULL);
    assert_int_equal(write(2, 2, false), RC_OK);
    assert_int_equal(store_fault(seen.s), RC_FULL);
    assert_int_equal(write(1, 3, true), RC_OK);
    assert_int_equal(store_fault(seen.s), RC_OK);
    assert_int_equal(write(1, 4, false), RC_OK);
}

static void test_a_repair_of_one_is_no_repair_of_the_other(void **state)
{
    (void)state;
    store_memory_fail(seen.s, RC_DENIED);
    assert_int_equal(write(1, 1, false), RC_DENIED);
    assert_int_equal(write(2, 1, false), RC_DENIED);
    store_memory_fail(seen.s, RC_OK);
    assert_int_equal(write(2, 2, true), RC_OK);
    assert_int_equal(write(2, 3, false), RC_OK);
    assert_int_equal(write(1, 2, false), RC_DENIED);
    assert_int_equal(store_fault(seen.s), RC_DENIED);
    assert_int_equal(write(1, 3, true), RC_OK);
    assert_int_equal(store_fault(seen.s), RC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_waits_together_is_refused_of_one_and_written_of_the_other, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_others_go_on_while_one_waits_for_its_repair, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_repair_of_one_is_no_repair_of_the_other, set_up, tear_down),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
