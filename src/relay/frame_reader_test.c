#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "relay/frame_reader.h"

enum { SKIPPED = 0x77, STOPPED_BY_HEADER = 0x78, STOPPED_BY_FRAME = 0x79 };

/* Notes the frames that it gets, as "type:length:first byte of the payload;". */
struct owner {
    struct frame_pool pool;
    struct frame_reader reader;
    struct buf seen;
    bool does_reset; /* when it stops, it resets the reader, as one that closes does */
};

static void stop(struct owner *o)
{
    if (o->does_reset)
        frame_reader_reset(&o->reader);
}

static enum frame_verdict on_header(void *ctx, struct derp_header h)
{
    if (h.type == STOPPED_BY_HEADER)
        stop(ctx);
    return h.type == SKIPPED ? FRAME_SKIP : h.type == STOPPED_BY_HEADER ? FRAME_STOP : FRAME_READ;
}

static bool on_frame(void *ctx, struct derp_header h, const uint8_t *payload)
{
    struct owner *o = ctx;
    buf_printf(&o->seen, "%u:%u:%u;", h.type, h.len, h.len > 0 ? payload[0] : 0);
    for (uint32_t i = 0; i < h.len; i++)
        assert_int_equal(payload[i], payload[0]);
    if (h.type != STOPPED_BY_FRAME)
        return true;
    stop(o);
    return false;
}

static int set_up(void **state)
{
    static const struct frame_reader_ops ops = {on_header, on_frame};
    static struct owner o;
    o = (struct owner){.reader = {.ops = &ops, .ctx = &o, .pool = &o.pool}};
    *state = &o;
    return 0;
}

static int tear_down(void **state)
{
    struct owner *o = *state;
    frame_reader_reset(&o->reader);
    frame_pool_fini(&o->pool);
    buf_fini(&o->seen);
    return 0;
}

/* A frame whose payload is `n` times `fill`. */
static void append(struct buf *b, uint8_t type, size_t n, uint8_t fill)
{
    uint8_t payload[3000];
    memset(payload, fill, n);
    derp_append_frame(b, type, payload, n);
}

static void expect(struct owner *o, const char *seen)
{
    assert_string_equal(buf_cstr(&o->seen), seen);
    buf_clear(&o->seen);
}

static void test_bytes_in_any_pieces(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 4, 5, 6, 7, 100, 1000, 1005, 10000};
    struct owner *o = *state;
    struct buf b = {0};
    append(&b, 4, 1000, 7);
    append(&b, 6, 0, 0);
    append(&b, SKIPPED, 2000, 1);
    append(&b, SKIPPED, 0, 0);
    append(&b, 5, 1, 9);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        for (size_t at = 0, n; at < buf_len(&b); at += n) {
            n = buf_len(&b) - at < pieces[i] ? buf_len(&b) - at : pieces[i];
            assert_int_equal(frame_reader_feed(&o->reader, buf_at(&b) + at, n), n);
        }
        expect(o, "4:1000:7;6:0:0;5:1:9;");
        assert_false(frame_reader_is_partial(&o->reader));
        assert_null(o->reader.in.data); /* the buffer is in the pool */
        assert_int_equal(o->reader.ended_n, 5 * (i + 1));
    }
    buf_fini(&b);
}

static void test_a_frame_that_is_whole_is_not_copied(void **state)
{
    struct owner *o = *state;
    struct buf b = {0};
    append(&b, 4, 1000, 7);
    append(&b, 4, 10, 8);
    assert_int_equal(frame_reader_feed(&o->reader, buf_at(&b), buf_len(&b)), buf_len(&b));
    expect(o, "4:1000:7;4:10:8;");
    assert_int_equal(o->pool.n, 0); /* no buffer was ever needed */
    buf_fini(&b);
}

/* The rest belongs to the caller, whether the frame was whole or came in parts, and whatever the owner does. */
static void test_stopping(void **state)
{
    static const uint8_t types[] = {STOPPED_BY_HEADER, STOPPED_BY_FRAME};
    struct owner *o = *state;
    for (unsigned i = 0; i < 8; i++) {
        uint8_t type = types[i & 1];
        size_t first = (i & 2) != 0 ? 3 : 0;
        struct buf b = {0};
        append(&b, type, 20, 5);
        append(&b, 4, 1, 6);
        o->does_reset = (i & 4) != 0;
        assert_int_equal(frame_reader_feed(&o->reader, buf_at(&b), first), first);
        size_t used = first + frame_reader_feed(&o->reader, buf_at(&b) + first, buf_len(&b) - first);
        assert_int_equal(used, DERP_HEADER_BYTES + (type == STOPPED_BY_FRAME ? 20 : 0));
        assert_false(frame_reader_is_partial(&o->reader));
        expect(o, type == STOPPED_BY_FRAME ? "121:20:5;" : "");
        buf_fini(&b);
    }
}

static void test_partial(void **state)
{
    struct owner *o = *state;
    struct buf b = {0};
    append(&b, SKIPPED, 100, 1);
    frame_reader_feed(&o->reader, buf_at(&b), 5);
    assert_true(frame_reader_is_partial(&o->reader));
    assert_null(o->reader.in.data); /* what is skipped is not kept */
    frame_reader_feed(&o->reader, buf_at(&b) + 5, 99);
    assert_true(frame_reader_is_partial(&o->reader));
    assert_int_equal(o->reader.ended_n, 0);
    frame_reader_feed(&o->reader, buf_at(&b) + 104, 1);
    assert_false(frame_reader_is_partial(&o->reader));
    assert_int_equal(o->reader.ended_n, 1);
    frame_reader_feed(&o->reader, buf_at(&b), 50);
    frame_reader_reset(&o->reader);
    assert_false(frame_reader_is_partial(&o->reader));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_in_any_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_frame_that_is_whole_is_not_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_partial, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
