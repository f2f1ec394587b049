/* The Noise layer writing: over a fake stream that shows what reaches the layer below, and over an in-memory pair. */
#include "control/testing_streams.h"

enum { OVERHEAD = NOISE_RECORD_MAX - NOISE_PLAIN_MAX };

/* --- a layer below, worked by hand --- */

/* What the peer reads of what was written; counts records. */
static unsigned peer_reads(struct fake *f, struct buf *out)
{
    uint8_t plain[NOISE_PLAIN_MAX];
    const uint8_t *p = f->written.data;
    size_t left = buf_len(&f->written);
    size_t len;
    unsigned records = 0;
    int got;
    while ((got = noise_open(&f->opener, &p, &left, plain, &len)) == 1) {
        buf_append(out, plain, len);
        records++;
    }
    assert_int_equal(got, 0);
    assert_int_equal(buf_len(&f->opener.partial), 0);
    buf_clear(&f->written);
    return records;
}

/* --- writing --- */

static void test_writes_are_gathered(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    struct buf got = {0};
    fake_start(&f, &o, NULL);
    stream_write(o.s, "one ", 4);
    stream_write(o.s, "two ", 4);
    stream_write(o.s, "three", 5);
    assert_int_equal(f.writes, 0);
    assert_int_equal(stream_queued(o.s), 13);
    fake_settle();
    assert_int_equal(f.writes, 1);
    assert_int_equal(stream_queued(o.s), 13 + OVERHEAD);
    assert_int_equal(peer_reads(&f, &got), 1);
    assert_true(str_eq_c(buf_str(&got), "one two three"));
    fake_settle();
    assert_int_equal(f.writes, 1);
    buf_fini(&got);
    fake_finish(&f, &o);
}

static void test_large_writes(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        unsigned records, writes;
    } rows[] = {
        {NOISE_PLAIN_MAX, 1, 1},       {NOISE_PLAIN_MAX + 1, 2, 1},       {10000, 3, 1},
        {16 * NOISE_PLAIN_MAX, 16, 1}, {16 * NOISE_PLAIN_MAX + 1, 17, 2}, {1000000, 246, 16},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake f;
        struct owner o;
        struct buf got = {0};
        uint8_t *plain = mem_zalloc(rows[i].n, 1);
        plain[rows[i].n / 2] = 9;
        fake_start(&f, &o, NULL);
        stream_write(o.s, plain, rows[i].n / 3);
        stream_write(o.s, plain + rows[i].n / 3, rows[i].n - rows[i].n / 3);
        fake_settle();
        assert_int_equal(f.writes, rows[i].writes);
        assert_int_equal(buf_len(&f.written), noise_sealed_len(rows[i].n));
        assert_int_equal(peer_reads(&f, &got), rows[i].records);
        assert_true(str_eq(buf_str(&got), str_n(plain, rows[i].n)));
        mem_free(plain);
        buf_fini(&got);
        fake_finish(&f, &o);
    }
}

static void test_close_flushes(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    struct buf got = {0};
    fake_start(&f, &o, NULL);
    stream_write(o.s, "goodbye", 7);
    stream_close(&o.s, true);
    assert_null(o.s);
    assert_int_equal(peer_reads(&f, &got), 1);
    assert_true(str_eq_c(buf_str(&got), "goodbye"));
    assert_true(f.flushed);
    buf_fini(&got);
    fake_finish(&f, &o);
}

static void test_close_drops(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    stream_write(o.s, "never said", 10);
    stream_close(&o.s, false);
    fake_settle();
    assert_int_equal(f.writes, 0);
    assert_false(f.flushed);
    fake_finish(&f, &o);
}

/* --- draining --- */

static void sent(struct fake *f, size_t n)
{
    f->queued -= n;
    stream_check_drained(&f->s);
}

static void test_drained(void **state)
{
    (void)state;
    static const uint8_t zeros[STREAM_HIGH_WATER + 1];
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    stream_write(o.s, zeros, STREAM_HIGH_WATER / 2);
    fake_settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 0); /* was never high */
    stream_write(o.s, zeros, sizeof(zeros));
    fake_settle();
    sent(&f, 1000);
    assert_int_equal(o.drained, 0);
    sent(&f, f.queued - STREAM_HIGH_WATER / 2);
    assert_int_equal(o.drained, 1);
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    fake_finish(&f, &o);
}

/* The queue is above the mark only together with the layer below: the owner gets `drained` all the same. */
static void test_drained_when_below_was_never_high(void **state)
{
    (void)state;
    static const uint8_t zeros[STREAM_HIGH_WATER];
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    stream_write(o.s, zeros, 60000);
    fake_settle();
    stream_write(o.s, zeros, 6000);
    assert_true(o.s->was_high);
    sent(&f, 10000); /* between the count and the sealing */
    fake_settle();
    assert_true(stream_queued(&f.s) > STREAM_HIGH_WATER / 2);
    assert_int_equal(o.drained, 0);
    /* The owner writes a little (a ping) while it waits, just as the layer below drains. */
    f.queued = STREAM_HIGH_WATER / 2;
    stream_write(o.s, zeros, 100);
    stream_check_drained(&f.s);
    assert_int_equal(o.drained, 0);
    fake_settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    fake_finish(&f, &o);
}

static void test_close_when_drained(void **state)
{
    (void)state;
    static const uint8_t zeros[STREAM_HIGH_WATER + 1];
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    o.close_when_drained = true;
    stream_write(o.s, zeros, sizeof(zeros));
    fake_settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    assert_null(o.s);
    fake_finish(&f, &o);
}

/* --- both ends --- */

static void exchange(size_t chunk)
{
    struct stream *a;
    struct stream *b;
    struct owner server = {0};
    struct owner client = {0};
    struct buf to_client = {0};
    struct buf to_server = {0};
    stream_pair_create(fake_loop, chunk, &a, &b);
    ts2021_stream_server(a, &fake_keys, NULL, 0, &server.s);
    ts2021_stream_client(b, &fake_keys, NULL, 0, &client.s);
    stream_set_events(server.s, &owner_events, &server);
    stream_set_events(client.s, &owner_events, &client);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t bytes[6000];
        size_t n = (size_t)rand() % (rand() % 4 == 0 ? sizeof(bytes) : 100);
        memset(bytes, (int)i, n);
        stream_write(i % 3 == 0 ? client.s : server.s, bytes, n);
        buf_append(i % 3 == 0 ? &to_server : &to_client, bytes, n);
        if (rand() % 3 == 0)
            fake_settle();
    }
    stream_close(&client.s, true);
    fake_settle();
    assert_true(str_eq(buf_str(&server.got), buf_str(&to_server)));
    assert_int_equal(server.closed, 1);
    assert_int_equal(server.why, RC_CLOSED);
    assert_int_equal(memcmp(client.got.data, to_client.data, buf_len(&client.got)), 0);
    owner_fini(&server);
    owner_fini(&client);
    buf_fini(&to_client);
    buf_fini(&to_server);
}

static void test_exchange(void **state)
{
    (void)state;
    srand(2);
    exchange(0);
    exchange(1);
    exchange(7);
    exchange(4096);
    assert_int_equal(metric_read("fullscale_noise_connections", ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_are_gathered, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_large_writes, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_flushes, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_drops, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_drained, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_drained_when_below_was_never_high, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_when_drained, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_exchange, fake_setup, fake_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
