/* Buffers against a plain array, and the cursor that reads what is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "support/test_random.h"

enum { SHADOW_CAP = 1 << 16 };

/* A buffer and a plain array; every operation is done on both, which must agree. */
struct shadow {
    struct buf buf, other;
    uint8_t bytes[SHADOW_CAP];
    size_t start, end;
    struct test_random random;
};

static void shadow_append(struct shadow *s, const void *bytes, size_t n)
{
    memcpy(s->bytes + s->end, bytes, n);
    s->end += n;
}

static void shadow_reset(struct shadow *s)
{
    buf_reset(&s->buf, test_random_below(&s->random, 2) == 0 ? 0 : SIZE_MAX);
    s->start = s->end = 0;
}

static void shadow_move(struct shadow *s)
{
    assert_int_equal(buf_cstr(&s->buf)[s->end - s->start], '\0');
    buf_move(&s->other, &s->buf);
    assert_true(buf_len(&s->buf) == 0 && s->buf.data == NULL);
    buf_move(&s->buf, &s->other);
}

static void shadow_consume(struct shadow *s, size_t n)
{
    n = n < s->end - s->start ? n : s->end - s->start;
    buf_consume(&s->buf, n);
    s->start += n;
}

static void shadow_step(struct shadow *s, unsigned step)
{
    char text[32];
    uint8_t piece[300];
    size_t n = test_random_below(&s->random, sizeof(piece));
    for (size_t i = 0; i < n; i++)
        piece[i] = (uint8_t)test_random_u64(&s->random);
    switch (test_random_below(&s->random, 9)) {
    case 0:
        buf_append(&s->buf, piece, n);
        shadow_append(s, piece, n);
        break;
    case 1: shadow_consume(s, n); break;
    case 2:
        buf_append_byte(&s->buf, 0xa5);
        shadow_append(s, "\xa5", 1);
        break;
    case 3:
        buf_append_u32be(&s->buf, 0x01020304);
        buf_append_u16be(&s->buf, 0x0506);
        shadow_append(s, "\1\2\3\4\5\6", 6);
        break;
    case 4:
        buf_printf(&s->buf, "%05u|%s", step, "text");
        shadow_append(s, text, (size_t)snprintf(text, sizeof(text), "%05u|%s", step, "text"));
        break;
    case 5:
        memcpy(buf_reserve(&s->buf, n + 7), piece, n);
        buf_commit(&s->buf, n);
        shadow_append(s, piece, n);
        break;
    case 6:
        buf_append_str(&s->buf, STR("a\0b"));
        buf_append_c(&s->buf, "c");
        shadow_append(s, "a\0bc", 4);
        break;
    case 7: shadow_move(s); break;
    default:
        if (test_random_below(&s->random, 10) == 0)
            shadow_reset(s);
        break;
    }
}

static void test_buffers_follow_a_shadow(void **state UNUSED)
{
    static struct shadow s;
    s = (struct shadow){.random = {31}};
    for (unsigned round = 0; round < 30; round++) {
        s.start = s.end = 0;
        for (unsigned step = 0; step < 400; step++) {
            if (s.end + 1000 < SHADOW_CAP)
                shadow_step(&s, step);
            else
                shadow_reset(&s);
            assert_int_equal(buf_len(&s.buf), s.end - s.start);
            if (s.end > s.start)
                assert_memory_equal(buf_at(&s.buf), s.bytes + s.start, s.end - s.start);
            assert_true(s.buf.start <= s.buf.end && s.buf.end <= s.buf.cap);
        }
        buf_fini(&s.other);
        buf_fini(&s.buf);
    }
}

static void test_buffers_read_as_fast_as_filled_do_not_grow(void **state UNUSED)
{
    struct buf b = {0};
    uint8_t block[1000] = {0};
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, block, sizeof(block));
        buf_append(&b, block, sizeof(block));
        buf_consume(&b, i % 2 == 0 ? 1500 : 2500);
    }
    assert_true(b.cap < 10000);
    buf_reset(&b, 100);
    assert_null(b.data);
    assert_int_equal(buf_str(&b).len, 0);
    assert_non_null(buf_str(&b).p);
    buf_fini(&b);
}

static void test_cursors_stick_to_their_error(void **state UNUSED)
{
    static const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct cursor c = cursor_of(wire, sizeof(wire));
    uint8_t copy[2] = {9, 9};
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16be(&c), 0x0203);
    assert_int_equal(cursor_u32be(&c), 0x04050607);
    assert_int_equal(c.left, 2);
    assert_int_equal(cursor_u32be(&c), 0);
    assert_true(c.failed);
    assert_int_equal(c.left, 2);
    assert_int_equal(cursor_u8(&c), 0);
    assert_null(cursor_take(&c, 0));
    cursor_copy(&c, copy, 2);
    assert_true(copy[0] == 0 && copy[1] == 0);
    c = cursor_of(wire, 2);
    cursor_copy(&c, copy, 2);
    assert_true(copy[1] == 2 && !c.failed && c.left == 0);
    assert_non_null(cursor_take(&c, 0));
    assert_null(cursor_take(&c, SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_follow_a_shadow),
        cmocka_unit_test(test_buffers_read_as_fast_as_filled_do_not_grow),
        cmocka_unit_test(test_cursors_stick_to_their_error),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
