/* What may reach a terminal, a log or a JSON reader, and what is shown instead of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/show.h"
#include "base/utf8.h"

static void shown(struct str text, enum show how, const char *want)
{
    struct buf out = {0};
    show_append(&out, text, how);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static void test_text_of_people_stays(void **state)
{
    (void)state;
    const struct str text = STR("Zo\u00eb's \"M\u00fcller-PC\" \\ \u65e5\u672c \U0001f468\u200d\U0001f469 ~");
    for (enum show how = SHOW_LINE; how <= SHOW_JSON; how++)
        shown(text, how, text.p);
    shown(STR(""), SHOW_LINE, "");
}

static void test_what_drives_terminals_is_shown(void **state)
{
    (void)state;
    shown(STR("\x1b]0;x\x07\x7f\0\b"), SHOW_LINE, "\\x1b]0;x\\x07\\x7f\\x00\\x08");
    shown(STR("\xc2\x9b"
              "31m\xc2\x85"),
          SHOW_LINE, "\\u009b31m\\u0085");
    shown(STR("\x9b\x33"), SHOW_TEXT, "\\x9b3");
    shown(STR("a\u202eb\u2066\u200f\u061c\u2028\u200b\ufeff\U000e0041"), SHOW_LINE,
          "a\\u202eb\\u2066\\u200f\\u061c\\u2028\\u200b\\ufeff\\U000e0041");
    shown(STR("a\r\n\tb"), SHOW_LINE, "a\\r\\n\\tb");
    shown(STR("a\r\n\tb"), SHOW_TEXT, "a\\x0d\n\tb");
}

static void test_json_keeps_its_value(void **state)
{
    (void)state;
    shown(STR("{\"a\":\"\xc2\x9b\u202e\U000e0041\",\n\t\"b\":1}\n"), SHOW_JSON,
          "{\"a\":\"\\u009b\\u202e\\udb40\\udc41\",\n\t\"b\":1}\n");
    shown(STR("\"\xff\x1b\""), SHOW_JSON, "\"\\ufffd\\u001b\"");
}

static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    shown(STR("\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xc3"), SHOW_LINE,
          "\\xc0\\x80 \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xc3");
}

/* Whatever comes in, what goes out is valid and plain. */
static void test_nothing_gets_through(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char text[4];
        struct buf out = {0};
        show_append(&out, str_n(text, utf8_encode(code, text)), SHOW_LINE);
        for (const char *p = (char *)buf_at(&out), *end = p + buf_len(&out); p < end;) {
            unsigned n = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
            assert_true(n > 0);
            assert_true(show_is_plain(n == 1 ? (uint8_t)*p : utf8_decode(p, n)));
            p += n;
        }
        buf_fini(&out);
    }
}

static void test_open_tails(void **state)
{
    (void)state;
    assert_int_equal(show_open_tail(STR("abc")), 0);
    assert_int_equal(show_open_tail(STR("")), 0);
    assert_int_equal(show_open_tail(STR("a\xc3")), 1);
    assert_int_equal(show_open_tail(STR("a\xe2\x80")), 2);
    assert_int_equal(show_open_tail(STR("\xf0\x9f\x91")), 3);
    assert_int_equal(show_open_tail(STR("\u00e9")), 0);
    assert_int_equal(show_open_tail(STR("\x80\x80\x80\x80")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of_people_stays), cmocka_unit_test(test_what_drives_terminals_is_shown),
        cmocka_unit_test(test_json_keeps_its_value), cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_nothing_gets_through), cmocka_unit_test(test_open_tails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
