/* The Noise layer over an in-memory pair, and over a fake stream that shows what reaches the layer below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/ts2021_stream.h"

enum { OVERHEAD = NOISE_RECORD_MAX - NOISE_PLAIN_MAX };

static const struct noise_result keys = {.client_to_server = {1}, .server_to_client = {2}};
static struct loop *loop;

/* Runs what is deferred, and what that defers, until nothing is; then the frees. */
static void settle(void)
{
    loop_stop(loop);
    loop_run(loop);
}

/* --- an owner that writes down what happens to it --- */

struct owner {
    struct stream *s;
    struct buf got;
    unsigned pieces;
    unsigned drained;
    unsigned closed;
    enum rc why;
    unsigned pause_at; /* pauses in this piece, from 1 */
    unsigned close_at; /* closes in this piece */
    bool close_when_closed;
    bool close_when_drained;
};

static void owner_data(void *ctx, const uint8_t *p, size_t n)
{
    struct owner *o = ctx;
    buf_append(&o->got, p, n);
    o->pieces++;
    if (o->pieces == o->pause_at)
        stream_pause(o->s, true);
    if (o->pieces == o->close_at)
        stream_close(&o->s, false);
}

static void owner_drained(void *ctx)
{
    struct owner *o = ctx;
    o->drained++;
    if (o->close_when_drained)
        stream_close(&o->s, false);
}

static void owner_closed(void *ctx, enum rc why)
{
    struct owner *o = ctx;
    o->closed++;
    o->why = why;
    if (o->close_when_closed)
        stream_close(&o->s, false);
}

static const struct stream_events owner_events = {owner_data, owner_drained, owner_closed};

static void owner_fini(struct owner *o)
{
    stream_close(&o->s, false);
    settle();
    buf_fini(&o->got);
}

static void assert_got(const struct owner *o, const char *want)
{
    assert_true(str_eq_c(buf_str(&o->got), want));
}

/* --- a layer below, worked by hand --- */

struct fake {
    struct stream s;
    struct buf written;
    unsigned writes;
    size_t queued; /* grows by what is written */
    bool is_paused;
    unsigned closes;
    bool flushed;
    struct noise_sealer sealer; /* the peer */
    struct noise_opener opener;
};

static void fake_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct fake *f = (struct fake *)s;
    buf_append(&f->written, p, n);
    f->writes++;
    f->queued += n;
}

static size_t fake_queued(const struct stream *s)
{
    return ((const struct fake *)s)->queued;
}

static void fake_pause(struct stream *s, bool paused)
{
    ((struct fake *)s)->is_paused = paused;
}

static void fake_close(struct stream *s, bool flush)
{
    struct fake *f = (struct fake *)s;
    f->closes++;
    f->flushed = flush;
}

/* Makes a server stream over the fake, owned by `o`, with records for `early` having come already. */
static void start(struct fake *f, struct owner *o, const char *early)
{
    static const struct stream_ops ops = {fake_write, fake_queued, fake_pause, fake_close};
    struct buf wire = {0};
    *f = (struct fake){0};
    *o = (struct owner){0};
    stream_init(&f->s, &ops, loop, NULL);
    noise_sealer_init(&f->sealer, keys.client_to_server);
    noise_opener_init(&f->opener, keys.server_to_client);
    if (early != NULL)
        assert_int_equal(noise_seal(&f->sealer, early, strlen(early), &wire), RC_OK);
    ts2021_stream_server(&f->s, &keys, wire.data, buf_len(&wire), &o->s);
    stream_set_events(o->s, &owner_events, o);
    buf_fini(&wire);
}

static void finish(struct fake *f, struct owner *o)
{
    owner_fini(o);
    assert_int_equal(f->closes, 1);
    noise_sealer_fini(&f->sealer);
    noise_opener_fini(&f->opener);
    buf_fini(&f->written);
    assert_int_equal(metric_read("fullscale_noise_connections", ""), 0);
}

/* One record for each word arrives, all in one piece. */
static void arrive(struct fake *f, const char *const words[], unsigned n)
{
    struct buf wire = {0};
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(noise_seal(&f->sealer, words[i], strlen(words[i]), &wire), RC_OK);
    stream_emit_data(&f->s, buf_at(&wire), buf_len(&wire));
    buf_fini(&wire);
}

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
    start(&f, &o, NULL);
    stream_write(o.s, "one ", 4);
    stream_write(o.s, "two ", 4);
    stream_write(o.s, "three", 5);
    assert_int_equal(f.writes, 0);
    assert_int_equal(stream_queued(o.s), 13);
    settle();
    assert_int_equal(f.writes, 1);
    assert_int_equal(stream_queued(o.s), 13 + OVERHEAD);
    assert_int_equal(peer_reads(&f, &got), 1);
    assert_true(str_eq_c(buf_str(&got), "one two three"));
    settle();
    assert_int_equal(f.writes, 1);
    buf_fini(&got);
    finish(&f, &o);
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
        start(&f, &o, NULL);
        stream_write(o.s, plain, rows[i].n / 3);
        stream_write(o.s, plain + rows[i].n / 3, rows[i].n - rows[i].n / 3);
        settle();
        assert_int_equal(f.writes, rows[i].writes);
        assert_int_equal(buf_len(&f.written), noise_sealed_len(rows[i].n));
        assert_int_equal(peer_reads(&f, &got), rows[i].records);
        assert_true(str_eq(buf_str(&got), str_n(plain, rows[i].n)));
        mem_free(plain);
        buf_fini(&got);
        finish(&f, &o);
    }
}

static void test_close_flushes(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    struct buf got = {0};
    start(&f, &o, NULL);
    stream_write(o.s, "goodbye", 7);
    stream_close(&o.s, true);
    assert_null(o.s);
    assert_int_equal(peer_reads(&f, &got), 1);
    assert_true(str_eq_c(buf_str(&got), "goodbye"));
    assert_true(f.flushed);
    buf_fini(&got);
    finish(&f, &o);
}

static void test_close_drops(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    stream_write(o.s, "never said", 10);
    stream_close(&o.s, false);
    settle();
    assert_int_equal(f.writes, 0);
    assert_false(f.flushed);
    finish(&f, &o);
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
    start(&f, &o, NULL);
    stream_write(o.s, zeros, STREAM_HIGH_WATER / 2);
    settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 0); /* was never high */
    stream_write(o.s, zeros, sizeof(zeros));
    settle();
    sent(&f, 1000);
    assert_int_equal(o.drained, 0);
    sent(&f, f.queued - STREAM_HIGH_WATER / 2);
    assert_int_equal(o.drained, 1);
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    finish(&f, &o);
}

/* High together with the layer below, which by itself is never high: the owner hears of the end of it all the same. */
static void test_drained_when_below_was_never_high(void **state)
{
    (void)state;
    static const uint8_t zeros[STREAM_HIGH_WATER];
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    stream_write(o.s, zeros, 60000);
    settle();
    stream_write(o.s, zeros, 6000);
    assert_true(o.s->was_high);
    sent(&f, 10000); /* between the count and the sealing */
    settle();
    assert_true(stream_queued(&f.s) > STREAM_HIGH_WATER / 2);
    assert_int_equal(o.drained, 0);
    /* The owner writes a little (a ping) while it waits, just as the layer below drains. */
    f.queued = STREAM_HIGH_WATER / 2;
    stream_write(o.s, zeros, 100);
    stream_check_drained(&f.s);
    assert_int_equal(o.drained, 0);
    settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    finish(&f, &o);
}

static void test_close_when_drained(void **state)
{
    (void)state;
    static const uint8_t zeros[STREAM_HIGH_WATER + 1];
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    o.close_when_drained = true;
    stream_write(o.s, zeros, sizeof(zeros));
    settle();
    sent(&f, f.queued);
    assert_int_equal(o.drained, 1);
    assert_null(o.s);
    finish(&f, &o);
}

/* --- reading --- */

static void test_reads_records(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    arrive(&f, (const char *const[]){"one ", "", "two ", "three"}, 4);
    assert_got(&o, "one two three");
    assert_int_equal(o.pieces, 3); /* nothing is not handed up */
    finish(&f, &o);
}

static void test_early_bytes_come_first(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, "early ");
    assert_int_equal(o.pieces, 0);
    arrive(&f, (const char *const[]){"later"}, 1);
    assert_int_equal(o.pieces, 0);
    settle();
    assert_got(&o, "early later");
    arrive(&f, (const char *const[]){" at once"}, 1);
    assert_got(&o, "early later at once");
    finish(&f, &o);
}

static void test_early_bytes_before_the_end(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, "early");
    stream_emit_closed(&f.s, RC_CLOSED);
    assert_got(&o, "early");
    assert_int_equal(o.closed, 1);
    finish(&f, &o);
}

static void test_closed_before_early_bytes(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, "early");
    stream_close(&o.s, true);
    settle();
    assert_int_equal(o.pieces, 0);
    finish(&f, &o);
}

static void test_close_inside_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    o.close_at = 2;
    arrive(&f, (const char *const[]){"a", "b", "c", "d"}, 4);
    assert_got(&o, "ab");
    assert_null(o.s);
    settle();
    assert_int_equal(o.pieces, 2);
    assert_int_equal(o.closed, 0);
    finish(&f, &o);
}

static void test_close_inside_early_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, "early");
    arrive(&f, (const char *const[]){"a", "b"}, 2);
    o.close_at = 1;
    settle();
    assert_got(&o, "early");
    assert_null(o.s);
    finish(&f, &o);
}

static void test_pause_inside_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    o.pause_at = 2;
    arrive(&f, (const char *const[]){"a", "b", "c", "d"}, 4);
    assert_got(&o, "ab");
    assert_true(f.is_paused);
    arrive(&f, (const char *const[]){"e"}, 1); /* was on its way */
    settle();
    assert_got(&o, "ab");
    o.pause_at = 4;
    stream_pause(o.s, false);
    assert_false(f.is_paused);
    assert_got(&o, "ab"); /* never from within the call */
    settle();
    assert_got(&o, "abcd");
    stream_pause(o.s, false);
    arrive(&f, (const char *const[]){"f"}, 1);
    settle();
    assert_got(&o, "abcdef");
    arrive(&f, (const char *const[]){"g"}, 1);
    assert_got(&o, "abcdefg");
    finish(&f, &o);
}

static void test_another_owner(void **state)
{
    (void)state;
    struct fake f;
    struct owner first;
    struct owner second = {0};
    start(&f, &first, NULL);
    arrive(&f, (const char *const[]){"a"}, 1);
    stream_set_events(first.s, &owner_events, &second);
    arrive(&f, (const char *const[]){"b"}, 1);
    assert_got(&first, "a");
    assert_got(&second, "b");
    buf_fini(&second.got);
    finish(&f, &first);
}

/* --- ends --- */

static void end_with(const uint8_t *p, size_t n, enum rc why)
{
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    stream_write(o.s, "queued", 6);
    arrive(&f, (const char *const[]){"good"}, 1);
    stream_emit_data(&f.s, p, n);
    assert_got(&o, "good");
    assert_int_equal(o.closed, 1);
    assert_int_equal(o.why, why);
    assert_int_equal(f.closes, 1);
    assert_false(f.flushed);
    /* Dead, but still the owner's. */
    stream_write(o.s, "more", 4);
    stream_pause(o.s, true);
    assert_int_equal(stream_queued(o.s), 0);
    settle();
    assert_int_equal(f.writes, 0);
    assert_int_equal(o.closed, 1);
    finish(&f, &o);
}

static void test_bad_records(void **state)
{
    (void)state;
    static const uint8_t forged[] = {4, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    end_with(forged, sizeof(forged), RC_CRYPTO);
    end_with((const uint8_t *)"GET / HTTP/1.1", 14, RC_INVALID);
    end_with((const uint8_t *)"\x04\x00\x0f", 3, RC_INVALID);
    end_with((const uint8_t *)"\x04\x0f\xfe", 3, RC_TOO_LARGE);
}

static void test_close_inside_closed(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    o.close_when_closed = true;
    stream_emit_data(&f.s, (const uint8_t *)"junk", 4);
    assert_int_equal(o.closed, 1);
    assert_null(o.s);
    finish(&f, &o);
    start(&f, &o, NULL);
    o.close_when_closed = true;
    stream_emit_closed(&f.s, RC_TIMEOUT);
    assert_int_equal(o.why, RC_TIMEOUT);
    assert_null(o.s);
    finish(&f, &o);
}

static void test_below_ends_within_a_record(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    start(&f, &o, NULL);
    stream_emit_data(&f.s, (const uint8_t *)"\x04\x00\x20half", 7);
    stream_emit_closed(&f.s, RC_CLOSED);
    assert_int_equal(o.pieces, 0);
    assert_int_equal(o.closed, 1);
    assert_int_equal(o.why, RC_CLOSED);
    finish(&f, &o);
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
    stream_pair_create(loop, chunk, &a, &b);
    ts2021_stream_server(a, &keys, NULL, 0, &server.s);
    ts2021_stream_client(b, &keys, NULL, 0, &client.s);
    stream_set_events(server.s, &owner_events, &server);
    stream_set_events(client.s, &owner_events, &client);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t bytes[6000];
        size_t n = (size_t)rand() % (rand() % 4 == 0 ? sizeof(bytes) : 100);
        memset(bytes, (int)i, n);
        stream_write(i % 3 == 0 ? client.s : server.s, bytes, n);
        buf_append(i % 3 == 0 ? &to_server : &to_client, bytes, n);
        if (rand() % 3 == 0)
            settle();
    }
    stream_close(&client.s, true);
    settle();
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

static int setup(void **state)
{
    (void)state;
    crypto_init();
    loop = loop_create(0);
    return log_set_level("noise", LOG_OFF) == RC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    loop_destroy(&loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_are_gathered),
        cmocka_unit_test(test_large_writes),
        cmocka_unit_test(test_close_flushes),
        cmocka_unit_test(test_close_drops),
        cmocka_unit_test(test_drained),
        cmocka_unit_test(test_drained_when_below_was_never_high),
        cmocka_unit_test(test_close_when_drained),
        cmocka_unit_test(test_reads_records),
        cmocka_unit_test(test_early_bytes_come_first),
        cmocka_unit_test(test_early_bytes_before_the_end),
        cmocka_unit_test(test_closed_before_early_bytes),
        cmocka_unit_test(test_close_inside_data),
        cmocka_unit_test(test_close_inside_early_data),
        cmocka_unit_test(test_pause_inside_data),
        cmocka_unit_test(test_another_owner),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_close_inside_closed),
        cmocka_unit_test(test_below_ends_within_a_record),
        cmocka_unit_test(test_exchange),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
