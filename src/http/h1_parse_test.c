#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "http/h1_parse.h"

/* A whole head in one go, as begin_request does it. */
static enum h1_refusal parse(const char *text, size_t len, struct h1_head *out, char **copy_out)
{
    struct h1_scan scan = {0};
    size_t head_len = 0;
    enum h1_refusal why = H1_OK;
    char *copy = mem_dup(text, len);
    *copy_out = copy;
    int got = h1_scan_head(&scan, (const uint8_t *)copy, len, &head_len, &why);
    if (got < 0)
        return why;
    assert_int_equal(got, 1);
    return h1_parse_head(copy, head_len, out);
}

static enum h1_refusal judge(const char *text, size_t len)
{
    struct h1_head head;
    char *copy;
    enum h1_refusal why = parse(text, len, &head, &copy);
    mem_free(copy);
    return why;
}

#define HEAD(text) (text), sizeof(text) - 1

static void test_plain_request(void **state)
{
    (void)state;
    struct h1_head head;
    char *copy;
    enum h1_refusal why = parse(HEAD("POST /a/b?x=1&y HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length: 12\r\n"
                                     "X-Empty:\r\nX-Space: \t a b \t\r\n\r\n"),
                                &head, &copy);
    assert_int_equal(why, H1_OK);
    assert_int_equal(head.method, HTTP_POST);
    assert_true(str_eq_c(head.path, "/a/b"));
    assert_true(str_eq_c(head.query, "x=1&y"));
    assert_true(str_eq_c(head.authority, "example.com:8080"));
    assert_int_equal(head.content_length, 12);
    assert_true(head.keep_alive);
    assert_false(head.is_chunked);
    assert_int_equal(head.headers_n, 4);
    assert_true(str_eq_c(head.headers[1].name, "content-length"));
    assert_int_equal(head.headers[2].value.len, 0);
    assert_true(str_eq_c(head.headers[3].value, "a b"));
    mem_free(copy);
}

static void test_target_forms(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *authority;
        const char *path;
        const char *query;
    } rows[] = {
        {"GET / HTTP/1.1", "h", "/", ""},
        {"GET /? HTTP/1.1", "h", "/", ""},
        {"GET /a?b?c HTTP/1.1", "h", "/a", "b?c"},
        {"GET //x/../y HTTP/1.1", "h", "//x/../y", ""},
        {"GET http://other:81/p?q HTTP/1.1", "other:81", "/p", "q"},
        {"GET HTTPS://other HTTP/1.1", "other", "/", ""},
        {"GET http://other?q=1 HTTP/1.1", "other", "/", "q=1"},
        {"OPTIONS * HTTP/1.1", "h", "*", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf text = {0};
        struct h1_head head;
        char *copy;
        buf_printf(&text, "%s\r\nHost: h\r\n\r\n", rows[i].line);
        assert_int_equal(parse((const char *)buf_at(&text), buf_len(&text), &head, &copy), H1_OK);
        assert_true(str_eq_c(head.authority, rows[i].authority));
        assert_true(str_eq_c(head.path, rows[i].path));
        assert_true(str_eq_c(head.query, rows[i].query));
        mem_free(copy);
        buf_fini(&text);
    }
}

static void test_keep_alive(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        bool keep;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h1_head head;
        char *copy;
        assert_int_equal(parse(rows[i].head, strlen(rows[i].head), &head, &copy), H1_OK);
        assert_int_equal(head.keep_alive, rows[i].keep);
        mem_free(copy);
    }
}

/* Each row has been, somewhere, read in two ways by two servers. */
#define ROW(why, text) {(why), (text), sizeof(text) - 1}
#define AFTER_HOST(why, text) ROW(why, "GET / HTTP/1.1\r\nHost: h\r\n" text "\r\n")
static const struct {
    enum h1_refusal why;
    const char *text;
    size_t len;
} refusals[] = {
    /* line ends */
    ROW(H1_LINE_END, "GET / HTTP/1.1\nHost: h\n\n"),
    ROW(H1_LINE_END, "GET / HTTP/1.1\r\nHost: h\n\r\n"),
    ROW(H1_LINE_END, "GET / HTTP/1.1\rHost: h\r\r"),
    AFTER_HOST(H1_LINE_END, "X-Abc: \rxTransfer-Encoding: chunked\r\n"),
    AFTER_HOST(H1_LINE_END, "X:\rTransfer-Encoding: chunked\r\n"),
    AFTER_HOST(H1_LINE_END, "X: a\r\rb\r\n"),
    ROW(H1_LINE_END, "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_REQUEST_LINE, "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    /* NUL and other controls */
    AFTER_HOST(H1_NUL, "X: a\0b\r\n"),
    AFTER_HOST(H1_NUL, "X\0: a\r\n"),
    AFTER_HOST(H1_HEADER_VALUE, "X: a\001b\r\n"),
    AFTER_HOST(H1_HEADER_VALUE, "X: a\177b\r\n"),
    /* names */
    AFTER_HOST(H1_HEADER_NAME, ": a\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "X : a\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "X\t: a\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "X y: a\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "novalue\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "X\303\244: a\r\n"),
    AFTER_HOST(H1_HEADER_NAME, "Transfer-Encoding : chunked\r\n"),
    /* folding */
    AFTER_HOST(H1_FOLDED, "X: a\r\n b\r\n"),
    AFTER_HOST(H1_FOLDED, "X: a\r\n\tb\r\n"),
    ROW(H1_FOLDED, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
    /* Host */
    ROW(H1_HOST, "GET / HTTP/1.1\r\n\r\n"),
    ROW(H1_HOST, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ROW(H1_HOST, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ROW(H1_HOST, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ROW(H1_HOST, "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
    ROW(H1_HOST, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    AFTER_HOST(H1_HOST, "Host: h\r\n"),
    AFTER_HOST(H1_HOST, "hOST: other\r\n"),
    /* lengths */
    AFTER_HOST(H1_LENGTH, "Content-Length:\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: +1\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: -1\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 0x10\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 1,1\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 1 1\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 18446744073709551617\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 5\r\nContent-Length: 5\r\n"),
    AFTER_HOST(H1_LENGTH, "Content-Length: 5\r\ncontent-length: 6\r\n"),
    /* codings */
    AFTER_HOST(H1_CODING, "Transfer-Encoding: xchunked\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: chunked, identity\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: identity\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: gzip, chunked\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: \"chunked\"\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    AFTER_HOST(H1_CODING, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    AFTER_HOST(H1_CODING, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    ROW(H1_CODING, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    /* the request line */
    ROW(H1_REQUEST_LINE, "GET /\r\nHost: h\r\n\r\n"),
    ROW(H1_REQUEST_LINE, "GET\r\nHost: h\r\n\r\n"),
    ROW(H1_METHOD, " GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_METHOD, "G\tET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET a HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET /\303\244 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET /\t HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET http:///p HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_TARGET, "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / HTTP/1.1 \r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / b HTTP/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / HTTP/1.01\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / http/1.1\r\nHost: h\r\n\r\n"),
    ROW(H1_VERSION, "GET / \r\nHost: h\r\n\r\n"),
    AFTER_HOST(H1_EXPECT, "Expect: 200-maybe\r\n"),
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        enum h1_refusal why = judge(refusals[i].text, refusals[i].len);
        if (why != refusals[i].why)
            print_error("row %zu: %s instead of %s\n", i, h1_refusal_text(why), h1_refusal_text(refusals[i].why));
        assert_int_equal(why, refusals[i].why);
        assert_true(h1_refusal_status(why) >= 400);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_append_c(&text, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 1; i < HTTP_MAX_HEADERS; i++)
        buf_printf(&text, "x-%d: 1\r\n", i);
    size_t full = buf_len(&text);
    buf_append_c(&text, "\r\n");
    assert_int_equal(judge((const char *)buf_at(&text), buf_len(&text)), H1_OK);
    text.end = text.start + full;
    buf_append_c(&text, "one-more: 1\r\n\r\n");
    assert_int_equal(judge((const char *)buf_at(&text), buf_len(&text)), H1_TOO_MANY_HEADERS);

    buf_clear(&text);
    buf_append_c(&text, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    while (buf_len(&text) <= HTTP_MAX_HEAD_BYTES)
        buf_append_byte(&text, 'a');
    struct h1_scan scan = {0};
    size_t len;
    enum h1_refusal why = H1_OK;
    assert_int_equal(h1_scan_head(&scan, buf_at(&text), HTTP_MAX_HEAD_BYTES, &len, &why), 0);
    assert_true(h1_scan_head(&scan, buf_at(&text), buf_len(&text), &len, &why) < 0);
    assert_int_equal(why, H1_HEAD_TOO_LARGE);
    buf_fini(&text);
}

/* However the bytes are cut, the end of the head is found at the same offset, and wrong ones are refused. */
static void test_scan_piecemeal(void **state)
{
    (void)state;
    static const char good[] = "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\nrest";
    static const char bad[] = "GET / HTTP/1.1\r\nHost: h\rA: b\r\n\r\n";
    for (size_t step = 1; step < sizeof(good); step++) {
        struct h1_scan scan = {0};
        size_t len = 0;
        enum h1_refusal why = H1_OK;
        int got = 0;
        for (size_t n = step; got == 0 && n < sizeof(good) + step; n += step)
            got = h1_scan_head(&scan, (const uint8_t *)good, n < sizeof(good) - 1 ? n : sizeof(good) - 1, &len, &why);
        assert_int_equal(got, 1);
        assert_int_equal(len, sizeof(good) - 1 - strlen("rest"));
        scan = (struct h1_scan){0};
        got = 0;
        for (size_t n = step; got == 0 && n < sizeof(bad) + step; n += step)
            got = h1_scan_head(&scan, (const uint8_t *)bad, n < sizeof(bad) - 1 ? n : sizeof(bad) - 1, &len, &why);
        assert_true(got < 0);
        assert_int_equal(why, H1_LINE_END);
    }
}

/* --- chunks --- */

/* Feeds in pieces of `step`; the body is appended to `body`. */
static enum h1_refusal dechunk(const char *text, size_t len, size_t step, struct buf *body, bool *done_out,
                               size_t *used_out)
{
    struct h1_chunked c = {0};
    size_t at = 0;
    size_t end = 0;
    while (end < len && c.state != H1_CHUNK_DONE) {
        end = end + step < len ? end + step : len;
        for (;;) {
            size_t used;
            struct str data;
            enum h1_refusal why = h1_chunked_next(&c, (const uint8_t *)text + at, end - at, &used, &data);
            if (why != H1_OK)
                return why;
            buf_append_str(body, data);
            at += used;
            if (used == 0 || c.state == H1_CHUNK_DONE)
                break;
        }
    }
    *done_out = c.state == H1_CHUNK_DONE;
    *used_out = at;
    return H1_OK;
}

static void test_chunked_good(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello\r\n00A\r\n, chunked!\r\n0\r\n\r\nnext";
    for (size_t step = 1; step < sizeof(text); step++) {
        struct buf body = {0};
        bool done = false;
        size_t used = 0;
        assert_int_equal(dechunk(text, sizeof(text) - 1, step, &body, &done, &used), H1_OK);
        assert_true(done);
        assert_int_equal(used, sizeof(text) - 1 - strlen("next"));
        assert_true(str_eq_c(buf_str(&body), "hello, chunked!"));
        buf_fini(&body);
    }
}

static void test_chunked_refusals(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\r\n",
        "g\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5;x=y\r\nhello\r\n", /* extensions: no client needs them, and servers disagree about where they end */
        "5;\nx\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\rhello\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        "0\r\n\n",
        "000000001\r\n",
        "fffffffff\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step < 8; step++) {
            struct buf body = {0};
            bool done = false;
            size_t used = 0;
            assert_int_equal(dechunk(rows[i], strlen(rows[i]), step, &body, &done, &used), H1_CHUNK);
            buf_fini(&body);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_request), cmocka_unit_test(test_target_forms),
        cmocka_unit_test(test_keep_alive),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_scan_piecemeal),
        cmocka_unit_test(test_chunked_good),  cmocka_unit_test(test_chunked_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
