#include "codec/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "support/oom_sweep.h"
#include "support/test_random.h"

/* STR for static tables. */
#define STR_INIT(literal) {(literal), sizeof(literal) - 1}

struct parsed {
    struct arena arena;
    const struct yaml *root;
    struct err err;
    enum rc rc;
};

/* The parser gets an exact heap copy that is gone afterwards: the tree must borrow nothing. */
static struct parsed parse(struct str text)
{
    struct parsed p = {0};
    char *copy = mem_dup(text.p, text.len);
    p.rc = yaml_parse(&p.arena, str_n(copy, text.len), "f.yaml", &p.root, &p.err);
    mem_free(copy);
    return p;
}

static void drop(struct parsed *p)
{
    arena_fini(&p->arena);
}

static void test_a_configuration_is_read(void **state UNUSED)
{
    static const char text[] = "# comment\n"
                               "server_url: https://example.com:8080\n"
                               "listen: \"0.0.0.0:80\"\n"
                               "empty:\n"
                               "dns:\n"
                               "  magic: yes\n"
                               "  servers:\n"
                               "    - 1.1.1.1\n"
                               "    - '~'\n"
                               "    -\n"
                               "  flow: {a: 010, b: [x, null]}\n"
                               "text: |\n"
                               "  two\n"
                               "  lines\n";
    struct parsed p = parse(STR(text));
    assert_int_equal(p.rc, RC_OK);
    assert_int_equal(p.root->type, YAML_MAP);
    assert_int_equal(p.root->n, 5);
    const struct yaml *url = yaml_get(p.root, "server_url");
    assert_string_equal(url->text.p, "https://example.com:8080");
    assert_string_equal(url->key.p, "server_url");
    assert_true(url->line == 2 && url->col == 13 && url->key_line == 2 && url->key_col == 1);
    assert_true(!url->is_quoted && yaml_get(p.root, "listen")->is_quoted);
    const struct yaml *empty = yaml_get(p.root, "empty");
    assert_true(empty->type == YAML_NULL && empty->line == 4 && empty->text.len == 0);
    const struct yaml *dns = yaml_get(p.root, "dns");
    assert_string_equal(yaml_get(dns, "magic")->text.p, "yes");
    const struct yaml *servers = yaml_get(dns, "servers");
    assert_true(servers->type == YAML_SEQ && servers->n == 3);
    assert_true(servers->first->line == 8 && servers->first->col == 7 && servers->first->key.len == 0);
    assert_int_equal(servers->first->next->type, YAML_SCALAR); /* quoted: no null */
    assert_int_equal(servers->first->next->next->type, YAML_NULL);
    assert_null(servers->first->next->next->next);
    const struct yaml *flow = yaml_get(dns, "flow");
    assert_string_equal(yaml_get(flow, "a")->text.p, "010");
    assert_int_equal(yaml_get(flow, "b")->first->next->type, YAML_NULL);
    assert_true(yaml_get(flow, "b")->line == 11 && yaml_get(flow, "b")->col == 21);
    const struct yaml *block = yaml_get(p.root, "text");
    assert_true(block->is_quoted);
    assert_string_equal(block->text.p, "two\nlines\n");
    drop(&p);
}

static void test_lookup_of_nothing(void **state UNUSED)
{
    struct parsed p = parse(STR("a: [1]\nb: x"));
    assert_null(yaml_get(p.root, "A"));
    assert_null(yaml_get(NULL, "a"));
    assert_null(yaml_get(yaml_get(p.root, "a"), "a"));
    assert_null(yaml_get(yaml_get(p.root, "b"), "a"));
    unsigned n = 0;
    YAML_EACH (it, p.root)
        n++;
    YAML_EACH (it, (const struct yaml *)NULL)
        n++;
    assert_int_equal(n, 2);
    drop(&p);
}

static void check_root(const char *text, enum yaml_type type, const char *want)
{
    struct parsed p = parse(str_c(text));
    if (p.rc != RC_OK)
        fail_msg("%s: %s", text, p.err.text);
    assert_int_equal(p.root->type, type);
    assert_string_equal(p.root->text.p, want);
    drop(&p);
}

static void test_scalars(void **state UNUSED)
{
    check_root("", YAML_NULL, "");
    check_root("# nothing\n", YAML_NULL, "");
    check_root("---\n", YAML_NULL, "");
    check_root("~", YAML_NULL, "~");
    check_root("null", YAML_NULL, "null");
    check_root("Null", YAML_NULL, "Null");
    check_root("NULL", YAML_NULL, "NULL");
    check_root("nULL", YAML_SCALAR, "nULL");
    check_root("''", YAML_SCALAR, "");
    check_root("\"null\"", YAML_SCALAR, "null");
    check_root("\"a\\x41\\u00e9\\n\\0b\"", YAML_SCALAR, "aA\xc3\xa9\n");
    check_root("'it''s'", YAML_SCALAR, "it's");
    check_root("\xef\xbb\xbfx", YAML_SCALAR, "x");
    check_root("a\nb", YAML_SCALAR, "a b");
    check_root(">\n a\n b\n", YAML_SCALAR, "a b\n");
    check_root("&anchor !!str 5", YAML_SCALAR, "5");
    check_root("a: 1\r\nb: 2\r\n", YAML_MAP, "");
    check_root("{}", YAML_MAP, "");
    check_root("[]", YAML_SEQ, "");
    check_root("{\"json\": [1, true, null, \"x\"]}", YAML_MAP, "");
}

static void test_refusals_have_their_place(void **state UNUSED)
{
    static const struct {
        struct str text;
        int line, col;
        const char *message; /* the start of it; null when it is the library's */
    } rows[] = {
        {STR_INIT("a: 1\nb: 2\na: 3\n"), 3, 1, "duplicate key \"a\""},
        {STR_INIT("x:\n  a: 1\n  \"a\": 2\n"), 3, 3, "duplicate key \"a\""},
        {STR_INIT("{a: 1, a: 2}"), 1, 8, "duplicate key"},
        {STR_INIT("a: &x 1\nb: *x\n"), 2, 4, "aliases are not supported"},
        {STR_INIT("*x : 1"), 1, 1, "aliases are not supported"},
        {STR_INIT("? [a]\n: b\n"), 1, 3, "keys must be scalars"},
        {STR_INIT("{[a]: b}"), 1, 2, "keys must be scalars"},
        {STR_INIT("--- a\n--- b\n"), 2, 1, "only one document is allowed"},
        {STR_INIT("a: \xff"), 1, 4, "invalid UTF-8"},
        {STR_INIT("a:\n - \xc3\xa9\0"), 2, 5, "NUL byte"},
        {STR_INIT("a:\n\t- x"), 2, 1, NULL},
        {STR_INIT("a: [1, 2"), 0, 0, NULL},
        {STR_INIT("a: \"open"), 0, 0, NULL},
        {STR_INIT("a: b: c"), 1, 5, NULL},
        {STR_INIT("a: 1\n b: 2\n"), 1, 4, NULL},
        {STR_INIT("- a\nb: c\n"), 2, 0, NULL},
        {STR_INIT("a: @x"), 1, 0, NULL},
        {STR_INIT("%YAML 3.0\n---\na\n"), 0, 0, NULL},
        {STR_INIT("a: \"\\q\""), 1, 0, NULL},
        {STR_INIT("]"), 1, 0, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct parsed p = parse(rows[i].text);
        assert_int_equal(p.err.code, p.rc);
        bool right = p.rc == RC_INVALID && (rows[i].line == 0 || p.err.line == rows[i].line) &&
                     (rows[i].col == 0 || p.err.col == rows[i].col) && p.err.text[0] != '\0' &&
                     (rows[i].message == NULL || str_starts(str_c(p.err.text), str_c(rows[i].message))) &&
                     strcmp(p.err.file, "f.yaml") == 0;
        if (!right)
            fail_msg("row %zu (%s): rc %d, %d:%d %s", i, rows[i].text.p, p.rc, p.err.line, p.err.col, p.err.text);
        drop(&p);
    }
}

static void test_limits_are_kept(void **state UNUSED)
{
    struct buf text = {0};
    for (int depth = YAML_MAX_DEPTH; depth <= YAML_MAX_DEPTH + 1; depth++) {
        buf_clear(&text);
        for (int i = 0; i < depth; i++)
            buf_append_byte(&text, '[');
        for (int i = 0; i < depth; i++)
            buf_append_byte(&text, ']');
        struct parsed p = parse(buf_str(&text));
        assert_int_equal(p.rc, depth > YAML_MAX_DEPTH ? RC_TOO_DEEP : RC_OK);
        drop(&p);
        buf_clear(&text);
        for (int i = 0; i < depth; i++)
            buf_printf(&text, "%*sk:\n", i, "");
        p = parse(buf_str(&text));
        assert_int_equal(p.rc, depth > YAML_MAX_DEPTH ? RC_TOO_DEEP : RC_OK);
        drop(&p);
    }
    buf_clear(&text);
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&text, '[');
    struct parsed p = parse(buf_str(&text));
    assert_int_not_equal(p.rc, RC_OK);
    drop(&p);
    buf_clear(&text);
    for (int i = 0; i < YAML_MAX_NODES; i++)
        buf_append_c(&text, "- 1\n");
    p = parse(buf_str(&text));
    assert_int_equal(p.rc, RC_TOO_LARGE);
    drop(&p);
    memset(buf_reserve(&text, YAML_MAX_BYTES), ' ', YAML_MAX_BYTES);
    buf_commit(&text, YAML_MAX_BYTES);
    p = parse(buf_str(&text));
    assert_int_equal(p.rc, RC_TOO_LARGE);
    assert_int_equal(p.arena.used_bytes, 0);
    drop(&p);
    buf_fini(&text);
}

/* Nothing may reach stderr: the library's own habit is to print there. */
static void test_nothing_is_printed(void **state UNUSED)
{
    static const char *const faulty[] = {"a: [", "%YAML 3.0\n---\na", "a: b: c", "\t", "a: *x", "%TAG x\n---\n"};
    int ends[2];
    char got[256];
    fflush(NULL);
    assert_int_equal(pipe(ends), 0);
    int saved_err = dup(STDERR_FILENO);
    int saved_out = dup(STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    for (size_t i = 0; i < ARRAY_LEN(faulty); i++) {
        struct parsed p = parse(str_c(faulty[i]));
        drop(&p);
    }
    fflush(NULL);
    dup2(saved_err, STDERR_FILENO);
    dup2(saved_out, STDOUT_FILENO);
    close(saved_err);
    close(saved_out);
    close(ends[1]);
    assert_int_equal(read(ends[0], got, sizeof(got)), 0);
    close(ends[0]);
}

static void check_output(const char *json, const char *want)
{
    struct arena a = {0};
    struct buf out = {0};
    const struct json *root;
    assert_int_equal(json_parse(&a, str_c(json), NULL, &root, NULL), RC_OK);
    yaml_from_json(root, &out);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
    arena_fini(&a);
}

static void test_output_is_block_style(void **state UNUSED)
{
    check_output("null", "null\n");
    check_output("[]", "[]\n");
    check_output("{}", "{}\n");
    check_output("\"x\"", "x\n");
    check_output("{\"id\":1,\"tags\":[\"tag:a\",\"b\"],\"none\":[],\"user\":{\"name\":\"joe\",\"x\":{}}}",
                 "id: 1\ntags:\n  - tag:a\n  - b\nnone: []\nuser:\n  name: joe\n  x: {}\n");
    check_output("[{\"a\":1,\"b\":[2,[3,4]]},[[5]],{}]",
                 "- a: 1\n  b:\n    - 2\n    - - 3\n      - 4\n- - - 5\n- {}\n");
    check_output("{\"a\":1,\"b\":2,\"a\":3}", "b: 2\na: 3\n");
    check_output("[1e3,1.5E-3,2.0e+1,-7,0.5]", "- 1.0e+3\n- 1.5e-3\n- 2.0e+1\n- -7\n- 0.5\n");
}

static void test_output_quotes_what_could_be_misread(void **state UNUSED)
{
    static const char *const rows[][2] = {
        {"\"\"", "\"\""},
        {"\"yes\"", "\"yes\""},
        {"\"No\"", "\"No\""},
        {"\"y\"", "\"y\""},
        {"\"null\"", "\"null\""},
        {"\"~\"", "\"~\""},
        {"\"1\"", "\"1\""},
        {"\"1.1.1.1\"", "\"1.1.1.1\""},
        {"\"12:30\"", "\"12:30\""},
        {"\"2026-01-02\"", "\"2026-01-02\""},
        {"\"-\"", "\"-\""},
        {"\"- a\"", "\"- a\""},
        {"\"a: b\"", "\"a: b\""},
        {"\"a:\"", "\"a:\""},
        {"\"a #b\"", "\"a #b\""},
        {"\" a\"", "\" a\""},
        {"\"a \"", "\"a \""},
        {"\"{a}\"", "\"{a}\""},
        {"\"a\\u0000b\"", "\"a\\x00b\""},
        {"\"a\\nb\\t\"", "\"a\\nb\\t\""},
        {"\"q\\\"\\\\\"", "\"q\\\"\\\\\""},
        {"\"\\u0085\\u2028\\ufeff\"", "\"\\u0085\\u2028\\ufeff\""},
        {"\"\xc3\xa9\"", "\"\xc3\xa9\""},
        {"\"plain text\"", "plain text"},
        {"\"nodekey:abc\"", "nodekey:abc"},
        {"\"https://x.y/z\"", "https://x.y/z"},
        {"\"/usr/bin\"", "/usr/bin"},
        {"\"joe@example.com\"", "joe@example.com"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char want[64];
        snprintf(want, sizeof(want), "%s\n", rows[i][1]);
        check_output(rows[i][0], want);
    }
}

/* The JSON tree and its YAML, read back, have the same values. */
static void compare(const struct json *j, const struct yaml *y)
{
    struct str s = STR_EMPTY;
    size_t n = 0;
    switch (json_type_of(j)) {
    case JSON_NULL: assert_int_equal(y->type, YAML_NULL); break;
    case JSON_BOOL:
    case JSON_NUMBER:
        assert_true(y->type == YAML_SCALAR && !y->is_quoted);
        assert_true(str_eq(y->text, json_raw(j)));
        break;
    case JSON_STRING:
        assert_true(json_str(j, &s));
        assert_int_equal(y->type, YAML_SCALAR);
        assert_true(str_eq(y->text, s));
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        assert_int_equal(y->type, json_type_of(j) == JSON_ARRAY ? YAML_SEQ : YAML_MAP);
        const struct yaml *child = y->first;
        JSON_EACH (it, j) {
            assert_non_null(child);
            assert_true(str_eq(child->key, json_key_of(it)));
            compare(it, child);
            child = child->next;
            n++;
        }
        assert_int_equal(n, y->n);
        break;
    }
}

static void random_text(struct test_random *r, struct buf *out)
{
    static const char alphabet[] = "aZ0 :-#,[]{}&*!|>'\"%@`?~=<\\/.\n\r\t\x01\x7f";
    static const char *const wide[] = {"\xc3\xa9",     "\xc2\x85",         "\xc2\xa0", "\xe2\x80\xa8", "\xef\xbb\xbf",
                                       "\xef\xbf\xbe", "\xf0\x9f\x98\x80", "yes",      "null",         "--- ",
                                       "..."};
    buf_clear(out);
    uint32_t n = test_random_below(r, 40) == 0 ? 1500 : test_random_below(r, 8);
    for (; n > 0; n--) {
        if (test_random_below(r, 6) == 0)
            buf_append_c(out, wide[test_random_below(r, ARRAY_LEN(wide))]);
        else
            buf_append_byte(out, (uint8_t)alphabet[test_random_below(r, sizeof(alphabet) - 1)]);
    }
}

static void write_random(struct test_random *r, struct json_writer *w, struct buf *text, unsigned depth)
{
    uint32_t n;
    switch (test_random_below(r, depth < 5 ? 8 : 5)) {
    case 0: json_w_null(w); break;
    case 1: json_w_bool(w, test_random_below(r, 2) == 1); break;
    case 2: json_w_i64(w, (int64_t)test_random_u64(r)); break;
    case 3:
    case 4:
        random_text(r, text);
        json_w_str(w, buf_str(text));
        break;
    case 5:
        json_w_array(w);
        for (n = test_random_below(r, 5); n > 0; n--)
            write_random(r, w, text, depth + 1);
        json_w_end_array(w);
        break;
    default:
        json_w_object(w);
        for (n = test_random_below(r, 5); n > 0; n--) {
            random_text(r, text);
            buf_printf(text, "%u", n); /* no duplicates */
            json_w_key_str(w, buf_str(text));
            write_random(r, w, text, depth + 1);
        }
        json_w_end_object(w);
        break;
    }
}

static void test_random_output_reads_back(void **state UNUSED)
{
    struct test_random r = {23};
    for (int round = 0; round < 1500; round++) {
        struct arena a = {0};
        struct buf json = {0};
        struct buf text = {0};
        struct buf out = {0};
        struct json_writer w;
        const struct json *root;
        json_w_init(&w, &json);
        write_random(&r, &w, &text, 0);
        assert_int_equal(json_parse(&a, buf_str(&json), NULL, &root, NULL), RC_OK);
        yaml_from_json(root, &out);
        struct parsed p = parse(buf_str(&out));
        if (p.rc != RC_OK)
            fail_msg("%d:%d: %s\n%s\n%s", p.err.line, p.err.col, p.err.text, buf_cstr(&json), buf_cstr(&out));
        compare(root, p.root);
        drop(&p);
        buf_fini(&out);
        buf_fini(&text);
        buf_fini(&json);
        arena_fini(&a);
    }
}

static void test_mutations_are_survived(void **state UNUSED)
{
    static const char seed[] = "a: [1, {b: 'c'}]\nd:\n  - e: \"f\\n\"\n  - |\n    g\n? h\n: &i !t j # k\n";
    static const char interesting[] = "[]{}:,-?'\"|>&*!%#\n\t \xc3\xff";
    struct test_random r = {29};
    char text[sizeof(seed) - 1];
    for (int i = 0; i < 3000; i++) {
        memcpy(text, seed, sizeof(text));
        for (uint32_t n = test_random_below(&r, 4); n > 0; n--)
            text[test_random_below(&r, sizeof(text))] = interesting[test_random_below(&r, sizeof(interesting) - 1)];
        struct parsed p = parse(
            str_n(text, test_random_below(&r, 4) == 0 ? test_random_below(&r, sizeof(text)) : sizeof(text)));
        assert_true(p.rc == RC_OK || p.err.text[0] != '\0');
        drop(&p);
    }
}

static void parse_for_sweep(void *ctx UNUSED)
{
    struct buf text = {0};
    struct arena a = {0};
    const struct json *root;
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "key%d: {a: value, b: [x, y]}\n", i);
    struct parsed p = parse(buf_str(&text));
    if (p.rc != RC_OK || p.root->n != 100)
        abort();
    drop(&p);
    buf_clear(&text);
    if (json_parse(&a, STR("{\"a\":[1,{\"b\":\"c\"}],\"d\":{\"e\":null}}"), NULL, &root, NULL) != RC_OK)
        abort();
    yaml_from_json(root, &text);
    arena_fini(&a);
    buf_fini(&text);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(parse_for_sweep, NULL) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_configuration_is_read),
        cmocka_unit_test(test_lookup_of_nothing),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_refusals_have_their_place),
        cmocka_unit_test(test_limits_are_kept),
        cmocka_unit_test(test_nothing_is_printed),
        cmocka_unit_test(test_output_is_block_style),
        cmocka_unit_test(test_output_quotes_what_could_be_misread),
        cmocka_unit_test(test_random_output_reads_back),
        cmocka_unit_test(test_mutations_are_survived),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
