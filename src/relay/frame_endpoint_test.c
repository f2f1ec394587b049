/* The queues of an endpoint: their order, their bounds, and the deadline of a peer that does not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "relay/frame_endpoint.h"

enum { TIMEOUT_MS = 2000 };

struct fixture {
    struct loop *loop;
    struct frame_hub hub;
    struct frame_endpoint e;
    struct stream *far;
    struct buf got; /* types of the frames that arrived, a byte each */
    unsigned left;  /* iterations to run */
    struct loop_msg msg;
    int64_t now_ms;
    size_t written_n, dropped_n, dropped_bytes;
    bool is_all_written;
};

static enum frame_verdict on_header(void *ctx, struct derp_header h)
{
    (void)ctx;
    (void)h;
    return FRAME_READ;
}

static bool on_frame(void *ctx, struct derp_header h, const uint8_t *payload)
{
    (void)ctx;
    (void)h;
    (void)payload;
    return true;
}

static void on_flush(void *ctx)
{
    struct fixture *f = ctx;
    f->is_all_written = frame_endpoint_flush(&f->e, f->now_ms, TIMEOUT_MS);
}

static void on_written(void *ctx, enum frame_priority priority, size_t frame_n, size_t bytes)
{
    struct fixture *f = ctx;
    (void)priority;
    f->written_n += frame_n;
    assert_true(bytes >= frame_n * DERP_HEADER_BYTES);
}

static void on_dropped(void *ctx, enum frame_priority priority, size_t bytes, bool is_closing)
{
    struct fixture *f = ctx;
    (void)priority;
    assert_int_equal(is_closing, f->left == UINT32_MAX);
    f->dropped_n++;
    f->dropped_bytes += bytes;
}

/* Frames are whole here: the pair's pieces are not cut. */
static void on_far_data(void *ctx, const uint8_t *p, size_t n)
{
    struct fixture *f = ctx;
    for (size_t at = 0; at < n;) {
        struct derp_header h = derp_header_parse(p + at);
        buf_append_byte(&f->got, h.type);
        at += DERP_HEADER_BYTES + h.len;
    }
}

static void on_far_closed(void *ctx, enum rc why)
{
    (void)ctx;
    (void)why;
}

static void on_drained(void *ctx)
{
    struct fixture *f = ctx;
    frame_endpoint_mark_dirty(&f->e);
}

static void run_hub(struct loop_task *task)
{
    frame_hub_flush(CONTAINER_OF(task, struct frame_hub, task));
}

static int set_up(void **state)
{
    static const struct frame_endpoint_ops ops = {{on_header, on_frame}, on_flush, on_written, on_dropped};
    static const struct stream_events near_events = {on_far_data, on_drained, on_far_closed};
    static const struct stream_events far_events = {on_far_data, NULL, on_far_closed};
    static struct fixture f;
    struct stream *near;
    f = (struct fixture){.loop = loop_create(0), .now_ms = 1000};
    frame_hub_init(&f.hub, f.loop);
    f.hub.task.run = run_hub;
    stream_pair_create(f.loop, 0, &near, &f.far);
    stream_set_events(f.far, &far_events, &f);
    frame_endpoint_init(&f.e, &f.hub, &ops, &f);
    frame_endpoint_open(&f.e, near);
    stream_set_events(near, &near_events, &f);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->left = UINT32_MAX;
    frame_endpoint_close(&f->e, false);
    stream_close(&f->far, false);
    frame_hub_fini(&f->hub);
    buf_fini(&f->got);
    loop_destroy(&f->loop);
    return 0;
}

static void iterate(struct loop *loop, struct loop_msg *msg)
{
    struct fixture *f = CONTAINER_OF(msg, struct fixture, msg);
    if (--f->left == 0)
        loop_stop(loop);
    else
        loop_post(loop, msg);
}

static void run(struct fixture *f)
{
    f->left = 8;
    f->msg.run = iterate;
    loop_post(f->loop, &f->msg);
    loop_run(f->loop);
}

static bool queue(struct fixture *f, enum frame_priority priority, uint8_t type, size_t limit)
{
    return frame_endpoint_queue(&f->e, priority, (struct derp_header){type, 4}, "abcd", limit);
}

static void add_packet(struct fixture *f, enum frame_priority priority, uint8_t type, size_t n, size_t limit)
{
    static const uint8_t payload[4000];
    derp_append_frame(frame_endpoint_make_room(&f->e, priority, DERP_HEADER_BYTES + n, limit), type, payload, n);
}

static void expect(struct fixture *f, const char *types)
{
    assert_string_equal(buf_cstr(&f->got), types);
    buf_clear(&f->got);
}

static void test_order(void **state)
{
    struct fixture *f = *state;
    add_packet(f, FRAME_DATA, 'd', 10, 1000);
    queue(f, FRAME_UPDATE, 'u', 1000);
    assert_true(frame_endpoint_queue_raw(&f->e, FRAME_UPDATE, "v\0\0\0\1xw\0\0\0\0", 11, 1000));
    add_packet(f, FRAME_DISCO, 'p', 10, 1000);
    queue(f, FRAME_CONTROL, 'c', 1000);
    expect(f, ""); /* nothing leaves before the end of the iteration */
    run(f);
    expect(f, "cpuvwd");
    assert_true(f->is_all_written);
    assert_int_equal(f->written_n, 6);
    for (unsigned i = 0; i < FRAME_PRIORITY_N; i++)
        assert_null(f->e.queues[i].data);
}

static void test_bounds(void **state)
{
    struct fixture *f = *state;
    assert_true(queue(f, FRAME_CONTROL, 'a', 4));
    assert_true(queue(f, FRAME_CONTROL, 'b', 13)); /* the new frame's header is not counted */
    assert_false(queue(f, FRAME_CONTROL, 'c', 21));
    assert_false(frame_endpoint_queue_raw(&f->e, FRAME_CONTROL, "c\0\0\0\0", 5, 22));
    for (unsigned i = 0; i < 5; i++)
        add_packet(f, FRAME_DATA, (uint8_t)('0' + i), 95, 350);
    assert_int_equal(f->dropped_n, 2);
    assert_int_equal(f->dropped_bytes, 200);
    add_packet(f, FRAME_DISCO, 'L', 1000, 350); /* larger than the limit: alone it is taken */
    run(f);
    expect(f, "abL234");
}

/* A peer that does not read: what the stream does not take stays in the queues, where it can be dropped and
 * overtaken. */
static void test_a_peer_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    stream_pause(f->far, true);
    for (unsigned i = 0; i < 100; i++) {
        add_packet(f, FRAME_DATA, 'd', 3995, 200 * 1000);
        run(f);
    }
    assert_false(f->is_all_written);
    assert_in_range(stream_queued(f->e.stream), STREAM_HIGH_WATER - 4000, STREAM_HIGH_WATER + 4000);
    assert_int_equal(frame_endpoint_waiting(&f->e, FRAME_DATA), 200 * 1000);
    assert_int_equal(f->e.write_due_ms, 1000 + TIMEOUT_MS);
    queue(f, FRAME_CONTROL, 'c', 1000);
    assert_false(frame_endpoint_has_progress(&f->e, 3000, TIMEOUT_MS));
    size_t dropped = f->dropped_n, before = (size_t)f->written_n;
    stream_pause(f->far, false);
    run(f);
    assert_int_equal(f->written_n + dropped, 101);
    assert_int_equal(buf_len(&f->got), f->written_n);
    assert_int_equal(buf_at(&f->got)[before], 'c'); /* before the packets that waited here */
    assert_true(frame_endpoint_has_progress(&f->e, 3000, TIMEOUT_MS));
    assert_int_equal(f->e.write_due_ms, 0);
    buf_clear(&f->got);
}

static void test_close(void **state)
{
    struct fixture *f = *state;
    add_packet(f, FRAME_DATA, 'd', 10, 1000);
    queue(f, FRAME_CONTROL, 'c', 1000);
    f->left = UINT32_MAX;
    frame_endpoint_close(&f->e, false);
    assert_int_equal(f->dropped_n, 2);
    assert_null(f->e.stream);
    run(f);
    expect(f, "");
    f->left = UINT32_MAX;
    frame_endpoint_close(&f->e, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_peer_that_does_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
