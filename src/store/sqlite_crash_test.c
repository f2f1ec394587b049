/* What was acknowledged is there, whatever happens: the process is killed, the disk fails or fills at any operation,
 * power is lost. And no batch is there in part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/faulty_vfs.h"
#include "store/testing.h"

static char dir[TEST_SCRATCH_CAP];

static int set_up(void **state)
{
    (void)state;
    test_scratch_make(dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_scratch_remove(dir);
    return 0;
}

/* --- SIGKILL --- */

static void report_to_parent(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    (void)tailnet;
    int fd = *(int *)ctx;
    if (rc != RC_OK || write(fd, &seq, sizeof(seq)) != sizeof(seq))
        _exit(2);
}

/* A server that works until it is killed. */
static void child_runs(struct test_world *w, int ready_fd)
{
    struct err err = {0};
    struct store *s;
    const struct store_options options = {test_scratch_path(dir), 4};
    if (store_open_sqlite(&options, &s, &err) != RC_OK)
        _exit(1);
    store_start(s, report_to_parent, &ready_fd);
    for (unsigned i = 0; i < 1000; i++)
        store_commit(s, test_world_step(w));
    for (;;)
        pause();
}

/* Returns the last batch that the child acknowledged. The child is killed when it has acknowledged `acks`, some work
 * later. */
static uint64_t run_and_kill(struct test_world *w, unsigned acks, unsigned spins)
{
    int fds[2];
    uint64_t acked = w->seq, seq;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child_runs(w, fds[1]);
    close(fds[1]);
    for (unsigned i = 0; i < acks && read(fds[0], &seq, sizeof(seq)) == sizeof(seq); i++)
        acked = seq;
    for (volatile unsigned i = 0; i < spins; i++)
        ;
    int status = 0;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (read(fds[0], &seq, sizeof(seq)) == sizeof(seq))
        acked = seq;
    close(fds[0]);
    return acked;
}

static void test_killed_at_any_moment(void **state)
{
    (void)state;
    struct test_world w;
    struct test_random random = {2024};
    uint64_t ahead = 0;
    test_world_init(&w, 77);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t acked = run_and_kill(&w, test_random_below(&random, 200), test_random_below(&random, 300000));
        struct store *s = test_store_open(test_scratch_path(dir), 4);
        uint64_t seq = test_store_seq(s);
        assert_true(seq >= acked);
        ahead += seq - acked;
        test_world_advance(&w, seq);
        test_store_holds(s, &w);
        store_close(&s);
    }
    print_message("# %llu batches, %llu of them found though not acknowledged\n", (unsigned long long)w.seq,
                  (unsigned long long)ahead);
    test_world_fini(&w);
}

/* --- the disk --- */

enum { STEPS = 10 };

/* A short life of a server on the disk as it is: a new file, some batches, the end. Returns the last acknowledged. */
static uint64_t live(struct test_world *w)
{
    const struct store_options options = {test_scratch_path(dir), 6};
    struct store *s = NULL;
    struct err err = {0};
    struct test_acks acks;
    uint64_t acked = 0;
    enum rc rc = store_open_sqlite(&options, &s, &err);
    if (rc != RC_OK) {
        assert_int_equal(err.code, rc);
        assert_true(strlen(err.text) > 0);
        assert_null(s);
        return 0;
    }
    test_acks_init(&acks);
    store_start(s, test_acks_take, &acks);
    while (w->seq < STEPS) {
        store_commit(s, test_world_step(w));
        if (test_acks_wait(&acks, w->seq) != RC_OK) {
            assert_int_not_equal(store_ping(s), RC_OK);
            break;
        }
        acked = w->seq;
    }
    store_close(&s);
    assert_false(acks.out_of_order);
    return acked;
}

/* The disk works again: everything acknowledged is there, and every batch whole. */
static void assert_survived(uint64_t acked, uint64_t attempted)
{
    struct test_world w;
    struct store *s = test_store_open(test_scratch_path(dir), 6);
    test_world_init(&w, 5);
    uint64_t seq = test_store_seq(s);
    assert_true(seq >= acked);
    assert_true(seq <= attempted);
    test_world_advance(&w, seq);
    test_store_holds(s, &w);
    /* And writing goes on. */
    assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    store_close(&s);
    s = test_store_open(test_scratch_path(dir), 6);
    test_store_holds(s, &w);
    store_close(&s);
    test_world_fini(&w);
}

/* The fault at operation 1, 2, 3... until a life ends without it. */
static void sweep(enum fault_kind kind, uint64_t seed)
{
    unsigned long n = 1;
    unsigned lost = 0;
    faulty_install();
    for (;; n++) {
        struct test_world w;
        test_world_init(&w, 5);
        faulty_arm(kind, n, seed + n);
        uint64_t acked = live(&w);
        bool struck = faulty_struck();
        lost += acked < STEPS;
        if (kind == FAULT_POWER)
            faulty_power_back();
        faulty_arm(FAULT_NONE, 0, 1);
        faulty_forget();
        assert_survived(acked, w.seq);
        test_world_fini(&w);
        test_scratch_remove_files(test_scratch_path(dir));
        faulty_forget();
        if (!struck)
            break;
    }
    faulty_remove();
    print_message("# %lu operations, %u lives cut short\n", n - 1, lost);
    assert_true(n > 50);
    assert_true(lost > 20);
}

static void test_one_operation_fails(void **state)
{
    (void)state;
    sweep(FAULT_ONCE, 11);
}

static void test_disk_full_from_some_point(void **state)
{
    (void)state;
    sweep(FAULT_FOR_EVER, 22);
}

static void test_power_lost_at_any_point(void **state)
{
    (void)state;
    sweep(FAULT_POWER, 33);
}

/* --- a COMMIT whose end is not known --- */

/* Three batches are there; the next one is written with a fault at operation n of it. */
struct doubt {
    enum rc answer;  /* of that batch */
    bool is_on_disk; /* as a start afterwards finds it */
    bool has_struck;
};

static struct doubt doubt_at(unsigned ops, unsigned long n)
{
    struct doubt d;
    struct test_world w;
    test_world_init(&w, 5);
    struct store *s = test_store_open(test_scratch_path(dir), 1000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    faulty_arm(FAULT_ONCE, n, 7);
    faulty_choose(ops, ANSWER_BROKEN);
    d.answer = test_store_write(s, test_world_step(&w));
    d.has_struck = faulty_struck();
    faulty_arm(FAULT_NONE, 0, 1);
    store_close(&s);
    s = test_store_open(test_scratch_path(dir), 1000);
    uint64_t seq = test_store_seq(s);
    assert_true(seq == w.seq || seq == w.seq - 1);
    d.is_on_disk = seq == w.seq;
    store_close(&s);
    test_world_fini(&w);
    test_scratch_remove_files(test_scratch_path(dir));
    return d;
}

/* The disk fails once to write or sync, when all of the transaction is in the log, or when some of it is missing.
 * Opening the database anew shows which: a batch that is there is acknowledged, one that is not is refused. */
static void test_commit_in_doubt_is_looked_up(void **state)
{
    (void)state;
    unsigned found = 0, not_found = 0;
    faulty_install();
    for (unsigned long n = 1;; n++) {
        struct doubt d = doubt_at(OP_WRITE | OP_SYNC, n);
        if (!d.has_struck) {
            assert_int_equal(d.answer, RC_OK);
            break;
        }
        assert_int_equal(d.answer == RC_OK, d.is_on_disk);
        found += d.is_on_disk;
        not_found += !d.is_on_disk;
    }
    faulty_remove();
    print_message("# found %u times, not found %u times\n", found, not_found);
    assert_true(found > 0);
    assert_true(not_found > 0);
}

/* --- a start on a full disk --- */

/* There is not even room for the index of the log: rows are read but none is written, until there is room. */
static void test_start_without_room_for_the_index(void **state)
{
    (void)state;
    struct test_world w;
    struct store *s;
    struct err err = {0};
    const struct store_options options = {test_scratch_path(dir), 1000};
    test_world_init(&w, 5);
    faulty_install();
    s = test_store_open(test_scratch_path(dir), 1000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    store_close(&s);
    faulty_arm(FAULT_FOR_EVER, 1, 7);
    faulty_choose(OPS_THAT_CHANGE | OP_INDEX, ANSWER_FULL);
    assert_int_equal(store_open_sqlite(&options, &s, &err), RC_OK);
    assert_true(faulty_struck());
    assert_int_equal(store_fault(s), RC_FULL);
    assert_int_equal(store_ping(s), RC_FULL);
    test_store_holds(s, &w);
    faulty_arm(FAULT_NONE, 0, 1);
    assert_int_equal(test_store_write(s, test_world_step(&w)), RC_OK);
    test_store_holds(s, &w);
    store_close(&s);
    s = test_store_open(test_scratch_path(dir), 1000);
    test_store_holds(s, &w);
    store_close(&s);
    faulty_remove();
    test_world_fini(&w);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_killed_at_any_moment),         WITH_DIR(test_one_operation_fails),
        WITH_DIR(test_disk_full_from_some_point),    WITH_DIR(test_power_lost_at_any_point),
        WITH_DIR(test_commit_in_doubt_is_looked_up), WITH_DIR(test_start_without_room_for_the_index),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
