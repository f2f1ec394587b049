/* Members of objects as values of columns, and back: every type, its bounds, and NULL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "base/mem.h"
#include "state/model.h"
#include "state/entity.h"

struct thing {
    ROW_HEAD;
    bool is_on;
    uint8_t byte;
    uint16_t port;
    uint32_t count;
    int64_t at_ms;
    uint64_t owner;
    char name[4];
    uint8_t key[2], seal[2];
    struct rcbuf *json, *blob;
    struct addr ip;
    struct prefix_list *strict, *lenient, *full;
};

enum { IS_ON, BYTE, PORT, COUNT, AT, OWNER, NAME, KEY, SEAL, JSON, BLOB, IP, STRICT, LENIENT, FULL };
static const struct column columns[] = {
    [IS_ON] = {COLUMN_OF("is_on", COLUMN_BOOL, struct thing, is_on)},
    [BYTE] = {COLUMN_OF("byte", COLUMN_INT, struct thing, byte), .max = UINT8_MAX},
    [PORT] = {COLUMN_OF("port", COLUMN_INT, struct thing, port), .min = 1, .max = UINT16_MAX},
    [COUNT] = {COLUMN_OF("count", COLUMN_INT, struct thing, count), .max = UINT32_MAX},
    [AT] = {COLUMN_OF("at_ms", COLUMN_INT, struct thing, at_ms), .flags = COLUMN_NULL_IF_ZERO},
    [OWNER] = {COLUMN_OF("owner", COLUMN_INT, struct thing, owner), COLUMN_IS_ID},
    [NAME] = {COLUMN_OF("name", COLUMN_TEXT, struct thing, name)},
    [KEY] = {COLUMN_OF("key", COLUMN_BYTES, struct thing, key)},
    [SEAL] = {COLUMN_OF("seal", COLUMN_BYTES, struct thing, seal), .flags = COLUMN_NULL_IF_ZERO},
    [JSON] = {COLUMN_OF("json", COLUMN_JSON, struct thing, json)},
    [BLOB] = {COLUMN_OF("blob", COLUMN_BLOB, struct thing, blob), .max = 3},
    [IP] = {COLUMN_OF("ip", COLUMN_IP, struct thing, ip), .max = 4},
    [STRICT] = {COLUMN_OF("strict", COLUMN_PREFIXES, struct thing, strict)},
    [LENIENT] = {COLUMN_OF("lenient", COLUMN_PREFIXES, struct thing, lenient), .flags = COLUMN_LENIENT},
    [FULL] = {COLUMN_OF("full", COLUMN_PREFIXES, struct thing, full), .flags = COLUMN_NOT_EMPTY},
};
static const struct entity things = {
    .name = "thing", .size = sizeof(struct thing), .columns = columns, .column_n = ARRAY_LEN(columns)};

static int set_up(void **state)
{
    *state = entity_create(&things);
    return 0;
}

static int tear_down(void **state)
{
    const struct row *row = *state;
    row_unref(&things, &row);
    return 0;
}

static enum rc read_value(void **state, unsigned c, struct column_value v)
{
    struct row *object = *state;
    enum rc rc = column_read(&columns[c], &object, &v);
    assert_ptr_equal(object, *state);
    return rc;
}

static struct column_value number(int64_t n)
{
    return (struct column_value){.kind = VALUE_INT, .number = n};
}

static struct column_value text(const char *s)
{
    return (struct column_value){.kind = VALUE_TEXT, .bytes = str_c(s)};
}

static struct column_value bytes(const char *s, size_t n)
{
    return (struct column_value){.kind = VALUE_BYTES, .bytes = str_n(s, n)};
}

/* What is read is written again, from the object and from a copy of it. */
static void assert_survives(void **state, unsigned c, struct column_value v)
{
    struct row *copy;
    struct column_value out;
    struct buf scratch = {0};
    assert_int_equal(read_value(state, c, v), RC_OK);
    copy = row_copy(&things, *state);
    column_write(&columns[c], copy, &scratch, &out);
    assert_int_equal(out.kind, v.kind);
    assert_int_equal(out.number, v.number);
    assert_true(str_eq(out.bytes, v.bytes));
    const struct row *dropped = copy;
    row_unref(&things, &dropped);
    buf_fini(&scratch);
}

static void test_values_survive(void **state)
{
    assert_survives(state, IS_ON, number(1));
    assert_survives(state, BYTE, number(UINT8_MAX));
    assert_survives(state, PORT, number(UINT16_MAX));
    assert_survives(state, COUNT, number(UINT32_MAX));
    assert_survives(state, AT, number(INT64_MIN));
    assert_survives(state, OWNER, number(INT64_MAX));
    assert_survives(state, NAME, text("abc"));
    assert_survives(state, NAME, text(""));
    assert_survives(state, KEY, bytes("\0\0", 2));
    assert_survives(state, SEAL, bytes("\0x", 2));
    assert_survives(state, JSON, text("{\"not\": looked at"));
    assert_survives(state, JSON, text(""));
    assert_survives(state, BLOB, bytes("a\0b", 3));
    assert_survives(state, IP, text("192.0.2.1"));
    assert_survives(state, STRICT, text("10.0.0.0/8 fd00::/8"));
}

static void test_what_is_none_is_null(void **state)
{
    static const struct {
        unsigned column;
        bool is_null;
    } rows[] = {{IS_ON, false}, {BYTE, false}, {COUNT, false}, {AT, true}, {OWNER, false}, {NAME, false},
                {KEY, false},   {SEAL, true},  {JSON, true},   {IP, true}, {STRICT, true}};
    struct buf scratch = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct column_value v;
        column_write(&columns[rows[i].column], *state, &scratch, &v);
        assert_int_equal(v.kind == VALUE_NULL, rows[i].is_null);
        assert_int_equal(column_is_nullable(&columns[rows[i].column]), rows[i].is_null);
        assert_int_equal(read_value(state, rows[i].column, (struct column_value){0}), RC_OK);
    }
    assert_int_equal(read_value(state, PORT, (struct column_value){0}), RC_INVALID); /* there is no port 0 */
    assert_int_equal(read_value(state, BLOB, (struct column_value){0}), RC_INVALID);
    buf_fini(&scratch);
}

static void test_other_values_are_refused(void **state)
{
    const struct {
        unsigned column;
        struct column_value v;
    } rows[] = {
        {IS_ON, number(2)},
        {IS_ON, number(-1)},
        {IS_ON, text("1")},
        {BYTE, number(256)},
        {BYTE, number(-1)},
        {PORT, number(0)},
        {PORT, number(65536)},
        {PORT, text("1")},
        {COUNT, number((int64_t)1 << 32)},
        {OWNER, number(-1)},
        {AT, bytes("1", 1)},
        {NAME, text("abcd")},
        {NAME, bytes("a", 1)},
        {NAME, {.kind = VALUE_TEXT, .bytes = str_n("a\0b", 3)}},
        {KEY, bytes("abc", 3)},
        {KEY, bytes("", 0)},
        {KEY, text("ab")},
        {JSON, bytes("{}", 2)},
        {BLOB, bytes("abcd", 4)},
        {BLOB, text("abc")},
        {IP, text("2001:db8::1")},
        {IP, text("192.0.2.1:80")},
        {IP, text("")},
        {STRICT, text("10.0.0.0/8 x")},
        {STRICT, text("10.0.0.0/8  fd00::/8")},
        {FULL, text("")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(read_value(state, rows[i].column, rows[i].v), RC_INVALID);
}

static void test_words_that_are_no_prefixes_are_left_out_where_that_is_said(void **state)
{
    struct thing *t = *state;
    assert_int_equal(read_value(state, LENIENT, text("x 10.0.0.0/8 10.0.0.0/99 fd00::/8")), RC_OK);
    assert_int_equal(t->lenient->n, 2);
    assert_int_equal(read_value(state, LENIENT, text("x")), RC_OK);
    assert_null(t->lenient);
    assert_int_equal(read_value(state, FULL, text("::/0")), RC_OK);
    assert_int_equal(t->full->n, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_values_survive),
        TEST(test_what_is_none_is_null),
        TEST(test_other_values_are_refused),
        TEST(test_words_that_are_no_prefixes_are_left_out_where_that_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
