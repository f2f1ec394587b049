/* Several tailnets in one database, with equal ids, names, addresses and keys: each has its own rows, whatever happens
 * to those of another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "store/testing.h"

enum { TAILNETS = 3 };

struct fixture {
    char dir[TEST_SCRATCH_CAP];
    bool on_disk;
    struct store *s;
    struct test_world worlds[TAILNETS];
};

static int set_up(void **state, bool on_disk)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->on_disk = on_disk;
    test_scratch_make(f->dir);
    if (on_disk)
        f->s = test_store_open(test_scratch_path(f->dir), 1000);
    else
        assert_int_equal(store_open_memory(&f->s), RC_OK);
    for (unsigned i = 0; on_disk && i < TAILNETS; i++)
        test_sql_exec(test_scratch_path(f->dir),
                      "INSERT INTO tailnets SELECT max(id) + 1, 'n' || max(id) FROM tailnets");
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
    for (unsigned i = 0; i < TAILNETS; i++)
        test_world_fini(&f->worlds[i]);
    store_close(&f->s);
    test_scratch_remove(f->dir);
    mem_free(f);
    return 0;
}

static void write_next(struct fixture *f, unsigned i)
{
    struct row_batch *b = test_world_step(&f->worlds[i]);
    b->tailnet = i + 1;
    assert_int_equal(test_store_write(f->s, b), RC_OK);
}

static void reopen(struct fixture *f)
{
    if (!f->on_disk)
        return;
    store_close(&f->s);
    f->s = test_store_open(test_scratch_path(f->dir), 1000);
}

/* The same life in all tailnets, each at another point of it: the rows of one may differ from those of another with
 * the same id. */
static void test_equal_rows_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < TAILNETS; i++)
        test_world_init(&f->worlds[i], 5);
    for (unsigned step = 0; step < 120; step++) {
        for (unsigned i = 0; i < TAILNETS; i++) {
            if (step % (i + 1) == 0)
                write_next(f, i);
        }
        if (step % 40 == 0)
            reopen(f);
        for (unsigned i = 0; i < TAILNETS; i++)
            test_store_holds_of(f->s, i + 1, &f->worlds[i]);
    }
}

/* A row that cannot be used is set aside in its tailnet alone. */
static void test_a_bad_row_is_set_aside_in_its_tailnet(void **state)
{
    struct fixture *f = *state;
    const char *path = test_scratch_path(f->dir);
    struct err err;
    for (unsigned i = 0; i < 2; i++) {
        struct row_batch *b = test_batch_create(1);
        test_world_init(&f->worlds[i], 7);
        test_world_policy_text(&f->worlds[i], b, 0);
        b->tailnet = i + 1;
        assert_int_equal(test_store_write(f->s, b), RC_OK);
    }
    test_sql_exec(path, "UPDATE policy_texts SET author = printf('%99s', 'x') WHERE tailnet = 2");
    assert_int_equal(f->s->ops->load(f->s, 1, &test_no_sink, &err), RC_OK);
    assert_false(store_policy_text_aside(f->s).is_there);
    assert_int_equal(f->s->ops->load(f->s, 2, &test_no_sink, &err), RC_OK);
    assert_true(store_policy_text_aside(f->s).is_there);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM set_aside WHERE tailnet = 2"), 1);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM set_aside"), 1);
    assert_int_equal(test_sql_int(path, "SELECT count(*) FROM policy_texts WHERE tailnet = 1"), 1);
    assert_int_equal(f->s->ops->load(f->s, 1, &test_no_sink, &err), RC_OK);
    assert_false(store_policy_text_aside(f->s).is_there);
}

#define TEST(name, where) cmocka_unit_test_setup_teardown(name, set_up_##where, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_equal_rows_are_kept_apart, sqlite),
        TEST(test_equal_rows_are_kept_apart, memory),
        TEST(test_a_bad_row_is_set_aside_in_its_tailnet, sqlite),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
