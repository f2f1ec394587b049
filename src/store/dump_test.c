/* Dump and import: what is dumped is imported as it was, and anything else is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "state/testing_history.h"
#include "store/dump_internal.h"
#include "store/testing.h"

struct fixture {
    struct store *from, *to;
    struct buf dump, again;
    char dir[TEST_SCRATCH_CAP];
};

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    assert_int_equal(store_open_memory(&f->from), RC_OK);
    assert_int_equal(store_open_memory(&f->to), RC_OK);
    test_scratch_make(f->dir);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(&f->from);
    store_close(&f->to);
    buf_fini(&f->dump);
    buf_fini(&f->again);
    test_scratch_remove(f->dir);
    mem_free(f);
    return 0;
}

static enum rc append(void *ctx, struct str piece)
{
    buf_append_str(ctx, piece);
    return RC_OK;
}

static void dump(struct store *s, bool with_secrets, struct buf *out)
{
    struct err err = {0};
    buf_clear(out);
    assert_int_equal(store_dump(s, 1, with_secrets, append, out, &err), RC_OK);
}

/* A tailnet that has lived for some time, with all that its events write. */
static void live(struct store *s, uint64_t seed)
{
    struct test_story story = {.random = {seed}, .now_ms = 1700000000000};
    struct state *st = test_story_state();
    struct row_batch *b;
    for (unsigned i = 0; i < 120; i++) {
        struct test_event e = test_event_make(&story, TEST_DURABLE_KINDS);
        const struct node *n;
        test_event_durable(&story, st, &e);
        if ((n = test_story_node(st, e.x)) != NULL)
            test_event_presence(&story, st, &e, n);
        state_flush_lazy(st, SIZE_MAX);
        while ((b = state_take_batch(st)) != NULL) {
            state_committed(st, b->seq);
            assert_int_equal(test_store_write(s, b), RC_OK);
        }
    }
    state_destroy(&st);
}

/* From memory into SQLite, and from that into memory. */
static void test_what_is_dumped_is_imported_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    const char *path = test_scratch_path(f->dir);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct store **sqlite = seed % 2 == 0 ? &f->to : &f->from;
        test_scratch_remove_files(path);
        store_close(sqlite);
        *sqlite = test_store_open(path, 1000);
        live(f->from, seed);
        dump(f->from, true, &f->dump);
        enum rc rc = store_import(f->to, 1, buf_str(&f->dump), &err);
        if (rc != RC_OK)
            print_error("line %d: %s\n", err.line, err.text);
        assert_int_equal(rc, RC_OK);
        dump(f->to, true, &f->again);
        assert_true(str_eq(buf_str(&f->dump), buf_str(&f->again)));
        assert_int_equal(store_import(f->to, 1, buf_str(&f->dump), &err), RC_EXISTS);
        store_close(&f->from);
        store_close(&f->to);
        assert_int_equal(store_open_memory(&f->from), RC_OK);
        assert_int_equal(store_open_memory(&f->to), RC_OK);
    }
}

/* Text that is no UTF-8, text of every length, all bounds: the rows of a world that no state would make. */
static enum rc write_line(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    const struct row *row = object;
    (void)err;
    store_dump_write_row(e, row, true, ctx);
    row_unref(e, &row);
    return RC_OK;
}

static void test_every_value_survives(void **state)
{
    struct fixture *f = *state;
    struct test_world w;
    struct err err = {0};
    const struct row_sink sink = {write_line, &f->again};
    test_world_init(&w, 11);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(test_store_write(f->from, test_world_step(&w)), RC_OK);
    dump(f->from, true, &f->dump);
    assert_non_null(memmem(f->dump.data, buf_len(&f->dump), "\"hex\"", 5));
    store_dump_write_head(true, &f->again);
    assert_int_equal(store_dump_read(buf_str(&f->dump), &sink, &err), RC_OK);
    assert_true(str_eq(buf_str(&f->dump), buf_str(&f->again)));
    test_world_fini(&w);
}

static void test_secrets_are_left_out_unless_asked_for(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    live(f->from, 3);
    dump(f->from, false, &f->dump);
    assert_null(memmem(f->dump.data, buf_len(&f->dump), "\"hash\"", 6));
    assert_non_null(memmem(f->dump.data, buf_len(&f->dump), "\"prefix\"", 8));
    assert_int_equal(store_import(f->to, 1, buf_str(&f->dump), &err), RC_INVALID);
    assert_non_null(strstr(err.text, "column hash is missing: only a dump with secrets can be imported"));
    assert_true(err.line > 1);
}

#define HEAD "{\"format\":\"fullscale-dump-1\",\"schema\":7,\"secrets\":true}\n"
#define ANN "\"entity\":\"user\",\"id\":1,\"name\":\"ann\",\"display_name\":\"\",\"email\":\"\",\"picture_url\":\"\""
#define USER "{" ANN ",\"created_ms\":1,\"role\":1}\n"

static const struct {
    const char *text;
    enum rc rc;
    int line, col;
    const char *word;
} refused[] = {
    {"", RC_TRUNCATED, 0, 0, "nothing"},
    {"{", RC_TRUNCATED, 1, 2, ""},
    {"[]\n", RC_INVALID, 1, 1, "object"},
    {"{}\n", RC_INVALID, 1, 1, "first line"},
    {USER, RC_INVALID, 1, 1, "first line"},
    {"{\"format\":\"fullscale-dump-1\",\"schema\":9999,\"secrets\":true}\n", RC_UNSUPPORTED, 1, 1, "9999"},
    {"{\"format\":\"fullscale-dump-1\",\"schema\":0,\"secrets\":true}\n", RC_INVALID, 1, 1, "first line"},
    {HEAD "\n", RC_TRUNCATED, 2, 1, ""},
    {HEAD "{\"entity\":\"cat\",\"id\":1}\n", RC_INVALID, 2, 11, "no row of an entity"},
    {HEAD "{\"id\":1}\n", RC_INVALID, 2, 1, "no row of an entity"},
    {HEAD "{" ANN ",\"created_ms\":1}\n", RC_INVALID, 2, 1, "column role is missing"},
    {HEAD "{" ANN ",\"created_ms\":1,\"role\":7}\n", RC_INVALID, 2, 106, "column role"},
    {HEAD "{" ANN ",\"created_ms\":\"1\",\"role\":1}\n", RC_INVALID, 2, 97, "column created_ms"},
    {HEAD "{" ANN ",\"created_ms\":null,\"role\":1}\n", RC_INVALID, 2, 97, "column created_ms"},
    {HEAD "{" ANN ",\"created_ms\":1,\"role\":1,\"role\":1}\n", RC_INVALID, 2, 115, "twice"},
    {HEAD "{" ANN ",\"created_ms\":1,\"role\":1,\"tail\":1}\n", RC_INVALID, 2, 115, "no column tail"},
    {HEAD USER USER, RC_INVALID, 3, 1, "another row has the same id or name"},
    {HEAD USER "{\"entity\":\"user\",\"id\":-1}\n", RC_INVALID, 3, 23, "column id"},
    {HEAD USER "\xff\n", RC_INVALID, 3, 1, ""},
    {HEAD "{\"entity\":\"user\",\"id\":2,\"name\":{\"hex\":\"0\"}}\n", RC_INVALID, 2, 32, "column name"},
    {HEAD "{\"entity\":\"user\",\"id\":2,\"name\":{\"hex\":\"00\",\"x\":1}}\n", RC_INVALID, 2, 32, "column name"},
    {HEAD "{\"entity\":\"user\",\"id\":2,\"name\":[[[1]]]}\n", RC_TOO_DEEP, 2, 34, ""},
};

static void test_anything_else_is_refused_with_its_line(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct err err = {0};
        enum rc rc = store_import(f->to, 1, str_c(refused[i].text), &err);
        if (rc != refused[i].rc || err.line != refused[i].line || err.col != refused[i].col ||
            strstr(err.text, refused[i].word) == NULL)
            print_error("%s: %s at %d:%d: %s\n", refused[i].text, rc_name(rc), err.line, err.col, err.text);
        assert_int_equal(rc, refused[i].rc);
        assert_int_equal(err.line, refused[i].line);
        assert_int_equal(err.col, refused[i].col);
        assert_non_null(strstr(err.text, refused[i].word));
        /* Nothing of it is there. */
        dump(f->to, true, &f->again);
        assert_int_equal(f->again.end - f->again.start, strlen(HEAD));
    }
    struct err err = {0};
    assert_int_equal(store_import(f->to, 1, STR(HEAD USER), &err), RC_OK);
}

/* Also when the disk is full. */
static void test_an_import_that_cannot_be_written_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    store_memory_fail(f->to, RC_FULL);
    assert_int_equal(store_import(f->to, 1, STR(HEAD USER), &err), RC_FULL);
    assert_non_null(strstr(err.text, "disk"));
    store_memory_fail(f->to, RC_OK);
    assert_int_equal(store_import(f->to, 1, STR(HEAD USER), &err), RC_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_dumped_is_imported_as_it_was),
        TEST(test_every_value_survives),
        TEST(test_secrets_are_left_out_unless_asked_for),
        TEST(test_anything_else_is_refused_with_its_line),
        TEST(test_an_import_that_cannot_be_written_leaves_nothing),
    };
    test_quiet_logs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
