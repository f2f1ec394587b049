/* Load for a relay, with a relay that does what it must not: each fault has to be noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "bench/fake_relay_internal.h"
#include "bench/relay_pair_internal.h"
#include "bench/upgrade_internal.h"
#include "codec/json.h"

/* --- one pair, without a network --- */

static const uint8_t from_key[KEY_BYTES] = {1}, to_key[KEY_BYTES] = {2};

/* The packet in the frame that is the last in `out`. */
static uint8_t *last_packet(struct buf *out, const struct bench_relay_pair *p)
{
    return buf_at(out) + buf_len(out) - p->size;
}

static void test_pair_frames(void **state)
{
    (void)state;
    struct bench_relay_pair p;
    struct buf out = {0};
    bench_relay_pair_init(&p, from_key, to_key, 100, 3, NULL);
    bench_relay_pair_append(&p, &out, 5);
    bench_relay_pair_append(&p, &out, 5);
    assert_int_equal(buf_len(&out), 2 * (DERP_HEADER_BYTES + KEY_BYTES + 100));
    struct derp_header h = derp_header_parse(buf_at(&out));
    assert_int_equal(h.type, DERP_SEND_PACKET);
    assert_int_equal(h.len, KEY_BYTES + 100);
    assert_memory_equal(buf_at(&out) + DERP_HEADER_BYTES, to_key, KEY_BYTES);
    bench_relay_pair_take(&p, from_key, last_packet(&out, &p), 100, 6);
    assert_true(p.sent == 2 && p.received == 1 && p.bad == 0 && p.next == 2);
    buf_fini(&out);
    bench_relay_pair_fini(&p);
}

static void test_every_changed_bit_is_noticed(void **state)
{
    (void)state;
    enum { SIZE = 40 };
    struct hist latency = {0};
    for (unsigned timed = 0; timed < 2; timed++) {
        struct bench_relay_pair p;
        struct buf out = {0};
        bench_relay_pair_init(&p, from_key, to_key, SIZE, 1, timed != 0 ? &latency : NULL);
        bench_relay_pair_append(&p, &out, 0);
        uint8_t *packet = last_packet(&out, &p);
        for (unsigned bit = 0; bit < 8 * SIZE; bit++) {
            packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
            bench_relay_pair_take(&p, from_key, packet, SIZE, 0);
            assert_int_equal(p.bad, bit + 1);
            packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(p.received, 0);
        bench_relay_pair_take(&p, from_key, packet, SIZE, 0);
        assert_int_equal(p.received, 1);
        buf_fini(&out);
        bench_relay_pair_fini(&p);
    }
    assert_int_equal(latency.n, 1);
}

static void test_pairs_are_told_apart(void **state)
{
    (void)state;
    struct bench_relay_pair p, q;
    struct buf out = {0};
    bench_relay_pair_init(&p, from_key, to_key, 64, 1, NULL);
    bench_relay_pair_init(&q, from_key, to_key, 64, 2, NULL);
    bench_relay_pair_append(&p, &out, 0);
    bench_relay_pair_append(&q, &out, 0);
    bench_relay_pair_take(&p, from_key, last_packet(&out, &q), 64, 0); /* another's filler */
    bench_relay_pair_take(&p, to_key, last_packet(&out, &p) - DERP_HEADER_BYTES - KEY_BYTES - 64, 64, 0);
    bench_relay_pair_take(&p, from_key, last_packet(&out, &p), 63, 0);
    bench_relay_pair_take(&p, from_key, last_packet(&out, &p), 0, 0);
    assert_true(p.bad == 4 && p.received == 0);
    buf_fini(&out);
    bench_relay_pair_fini(&p);
    bench_relay_pair_fini(&q);
}

static void test_order_and_window(void **state)
{
    (void)state;
    struct hist latency = {0};
    struct bench_relay_pair p;
    struct buf out[3] = {0};
    bench_relay_pair_init(&p, from_key, to_key, PAIR_STAMP_BYTES, 1, &latency);
    assert_int_equal(bench_relay_pair_room(&p, 4), 4);
    for (unsigned i = 0; i < 3; i++)
        bench_relay_pair_append(&p, &out[i], 1000 * i);
    assert_int_equal(bench_relay_pair_room(&p, 4), 1);
    assert_int_equal(bench_relay_pair_room(&p, 3), 0);
    assert_int_equal(bench_relay_pair_room(&p, 1), 0);
    bench_relay_pair_take(&p, from_key, last_packet(&out[1], &p), PAIR_STAMP_BYTES, 3000);
    assert_true(p.bad == 0 && p.received == 1 && latency.max_us == 2000);
    bench_relay_pair_take(&p, from_key, last_packet(&out[0], &p), PAIR_STAMP_BYTES, 3000);
    assert_true(p.bad == 1 && p.received == 2); /* later than its successor */
    bench_relay_pair_give_up(&p);
    assert_int_equal(p.given_up, 1);
    assert_int_equal(bench_relay_pair_room(&p, 4), 4);
    bench_relay_pair_take(&p, from_key, last_packet(&out[2], &p), PAIR_STAMP_BYTES, 3000);
    assert_int_equal(bench_relay_pair_room(&p, 4), 4); /* came after all */
    for (unsigned i = 0; i < 3; i++)
        buf_fini(&out[i]);
    bench_relay_pair_fini(&p);
}

/* --- the answer to the upgrade --- */

static int read_answer(const char *text, size_t *used)
{
    struct err err = {0};
    return upgrade_read_answer((const uint8_t *)text, strlen(text), used, &err);
}

static void test_upgrade_answers(void **state)
{
    (void)state;
    static const char good[] = "HTTP/1.1 101 Switching Protocols\r\nX: y\r\nupgrade:  derp \r\n\r\nrest";
    static const char *const bad[] = {"HTTP/1.1 200 OK\r\nUpgrade: DERP\r\n\r\n",
                                      "HTTP/1.1 1010\r\nUpgrade: DERP\r\n\r\n",
                                      "HTTP/1.1 101\r\n\r\n",
                                      "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
                                      "\r\n\r\n",
                                      "\x01\x02\xff garbage\r\n\r\n",
                                      "HTTP/1.1 101 \r\nX-Upgrade: DERP\r\n\r\n"};
    size_t used = 0;
    assert_int_equal(read_answer(good, &used), 1);
    assert_int_equal(used, strlen(good) - 4);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(read_answer(bad[i], &used) < 0);
    for (size_t n = 0; n < used; n++) {
        struct err err = {0};
        char *part = mem_strndup(good, n);
        assert_int_equal(upgrade_read_answer((const uint8_t *)part, n, &used, &err), 0);
        mem_free(part);
        used = strlen(good) - 4;
    }
    char *endless = mem_zalloc(UPGRADE_HEAD_MAX_BYTES, 1);
    struct err err = {0};
    memset(endless, 'a', UPGRADE_HEAD_MAX_BYTES);
    assert_int_equal(upgrade_read_answer((const uint8_t *)endless, UPGRADE_HEAD_MAX_BYTES, &used, &err), RC_TOO_LARGE);
    mem_free(endless);
}

static void test_status_is_shown_in_plain_characters(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 500 \033[31m\xff\r\n\r\n";
    struct err err = {0};
    size_t used;
    assert_int_equal(upgrade_read_answer((const uint8_t *)text, sizeof(text) - 1, &used, &err), RC_UNSUPPORTED);
    assert_string_equal(err.text, "the upgrade is answered by \"HTTP/1.1 500 ?[31m?\"");
}

/* --- whole runs --- */

struct outcome {
    enum rc rc;
    struct err err;
    char *json; /* the last line */
    struct arena arena;
    const struct json *result;
};

static const struct bench_relay_opts default_opts = {.url = "http://127.0.0.1:1/derp",
                                                     .modes = BENCH_RELAY_THROUGHPUT,
                                                     .pairs = 1,
                                                     .size_bytes = 100,
                                                     .window = 16,
                                                     .batch = 4,
                                                     .duration_ms = 20,
                                                     .rate_per_s = 2000,
                                                     .idle_conns = 3,
                                                     .idle_for_ms = 5};

static struct outcome run(const struct bench_relay_opts *opts, struct fake_relay *fake)
{
    struct outcome o = {0};
    size_t n;
    const struct bench_relay_load_hooks hooks = {fake_dial, fake, 100};
    struct report_target target = {.json = open_memstream(&o.json, &n)};
    o.rc = bench_relay_load_run(opts, &hooks, &target, &o.err);
    fclose(target.json);
    if (o.rc == RC_OK)
        assert_int_equal(json_parse(&o.arena, str_c(o.json), NULL, &o.result, NULL), RC_OK);
    return o;
}

static int64_t figure(const struct outcome *o, const char *key)
{
    int64_t v = 0;
    assert_true(json_i64(json_get(o->result, key), &v));
    return v;
}

static void outcome_free(struct outcome *o)
{
    free(o->json);
    arena_fini(&o->arena);
}

static void test_throughput(void **state)
{
    (void)state;
    static const size_t chunks[] = {0, 1, 7, 1000};
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++) {
        struct fake_relay fake;
        struct bench_relay_opts opts = default_opts;
        opts.pairs = 3;
        fake_init(&fake, FAKE_NONE, chunks[i]);
        struct outcome o = run(&opts, &fake);
        assert_int_equal(o.rc, RC_OK);
        assert_true(figure(&o, "sent") >= 3 * 16);
        assert_int_equal(figure(&o, "received"), figure(&o, "sent"));
        assert_int_equal(figure(&o, "lost"), 0);
        assert_int_equal(figure(&o, "bad"), 0);
        assert_int_equal(figure(&o, "window"), 16);
        assert_non_null(strstr(o.json, "\"scenario\":\"derp-throughput\""));
        assert_non_null(strstr(o.json, "\"errors\":[]"));
        outcome_free(&o);
        fake_fini(&fake);
    }
}

static void test_latency(void **state)
{
    (void)state;
    struct fake_relay fake;
    struct bench_relay_opts opts = default_opts;
    int64_t count = 0;
    opts.modes = BENCH_RELAY_LATENCY;
    opts.pairs = 2;
    fake_init(&fake, FAKE_NONE, 0);
    struct outcome o = run(&opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    assert_true(figure(&o, "sent") > 0 && figure(&o, "sent") <= 2000);
    assert_int_equal(figure(&o, "received"), figure(&o, "sent"));
    assert_int_equal(figure(&o, "bad"), 0);
    assert_true(json_i64(json_get(json_get(o.result, "latency"), "count"), &count));
    assert_int_equal(count, figure(&o, "sent"));
    outcome_free(&o);
    fake_fini(&fake);
}

static void test_idle(void **state)
{
    (void)state;
    struct fake_relay fake;
    struct bench_relay_opts opts = default_opts;
    opts.modes = BENCH_RELAY_IDLE;
    fake_init(&fake, FAKE_PINGS, 0);
    struct outcome o = run(&opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    assert_int_equal(figure(&o, "connections"), 3);
    assert_int_equal(fake.pongs, 3);
    assert_non_null(strstr(o.json, "\"scenario\":\"derp-idle\""));
    outcome_free(&o);
    fake_fini(&fake);
}

static void test_all_modes_in_one_call(void **state)
{
    (void)state;
    struct fake_relay fake;
    struct bench_relay_opts opts = default_opts;
    char *json = NULL;
    size_t n;
    struct err err = {0};
    const struct bench_relay_load_hooks hooks = {fake_dial, &fake, 100};
    struct report_target target = {.json = open_memstream(&json, &n), .label = "all"};
    opts.modes = BENCH_RELAY_THROUGHPUT | BENCH_RELAY_LATENCY | BENCH_RELAY_IDLE;
    fake_init(&fake, FAKE_NONE, 0);
    assert_int_equal(bench_relay_load_run(&opts, &hooks, &target, &err), RC_OK);
    fclose(target.json);
    assert_non_null(strstr(json, "{\"scenario\":\"derp-throughput\",\"label\":\"all\""));
    assert_non_null(strstr(json, "\n{\"scenario\":\"derp-latency\",\"label\":\"all\""));
    assert_non_null(strstr(json, "\n{\"scenario\":\"derp-idle\",\"label\":\"all\""));
    free(json);
    fake_fini(&fake);
}

static void test_faults_of_packets(void **state)
{
    (void)state;
    static const struct {
        enum fake_fault fault;
        int bad, lost; /* for each fault */
    } rows[] = {{FAKE_CORRUPTS, 1, 1}, {FAKE_FORGES_NUMBER, 1, 1}, {FAKE_CUTS, 1, 1},
                {FAKE_DROPS, 0, 1},    {FAKE_FORGES_SOURCE, 1, 1}, {FAKE_MISDELIVERS, 1, 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake_relay fake;
        fake_init(&fake, rows[i].fault, 0);
        struct outcome o = run(&default_opts, &fake);
        assert_int_equal(o.rc, RC_OK);
        assert_true(fake.faults > 0);
        assert_int_equal(figure(&o, "bad"), rows[i].bad * (int)fake.faults);
        assert_int_equal(figure(&o, "lost"), rows[i].lost * (int)fake.faults);
        outcome_free(&o);
        fake_fini(&fake);
    }
}

static void test_doubles(void **state)
{
    (void)state;
    struct fake_relay fake;
    fake_init(&fake, FAKE_DOUBLES, 0);
    struct outcome o = run(&default_opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    /* The last ones may come after as many packets as were sent. */
    assert_in_range(figure(&o, "bad"), 1, fake.faults);
    assert_true(figure(&o, "lost") < 0);
    outcome_free(&o);
    fake_fini(&fake);
}

static void test_disorder(void **state)
{
    (void)state;
    struct fake_relay fake;
    fake_init(&fake, FAKE_SWAPS, 0);
    struct outcome o = run(&default_opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    int64_t held = buf_len(&fake.late) > 0; /* the last one may wait for another still */
    assert_true(fake.faults > 0);
    assert_int_equal(figure(&o, "bad"), fake.faults - held);
    assert_int_equal(figure(&o, "lost"), held);
    outcome_free(&o);
    fake_fini(&fake);
}

/* Losses must not stop it: what is in flight for too long is given up, and the window is free again. */
static void test_goes_on_after_losses(void **state)
{
    (void)state;
    struct fake_relay fake;
    struct bench_relay_opts opts = default_opts;
    opts.window = opts.batch = 1;
    opts.duration_ms = 400;
    fake_init(&fake, FAKE_DROPS, 0);
    struct outcome o = run(&opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    assert_true(figure(&o, "sent") > FAKE_EVERY);
    assert_int_equal(figure(&o, "lost"), fake.faults);
    outcome_free(&o);
    fake_fini(&fake);
}

static void test_lost_connection(void **state)
{
    (void)state;
    struct fake_relay fake;
    fake_init(&fake, FAKE_CLOSES, 0);
    struct outcome o = run(&default_opts, &fake);
    assert_int_equal(o.rc, RC_OK);
    assert_non_null(strstr(o.json, "\"errors\":[\"1 × connection: connection closed\"]"));
    assert_true(figure(&o, "lost") > 0);
    outcome_free(&o);
    fake_fini(&fake);
}

static void test_logins_that_fail(void **state)
{
    (void)state;
    static const struct {
        enum fake_fault fault;
        const char *why;
    } rows[] = {{FAKE_REFUSES, "0 of 2 connected: the upgrade is answered by \"HTTP/1.1 404 Not Found\""},
                {FAKE_SPEAKS_WEBSOCKET, "the upgrade is not to DERP"},
                {FAKE_HAS_NO_KEY, "the server's key is no key"},
                {FAKE_SEALS_FOR_OTHERS, "ServerInfo is not sealed to this client's key"},
                {FAKE_SENDS_LARGE_FRAME, "no ServerInfo"},
                {FAKE_HANGS_UP, "upgrade: connection closed"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fake_relay fake;
        fake_init(&fake, rows[i].fault, 0);
        struct outcome o = run(&default_opts, &fake);
        assert_int_equal(o.rc, RC_IO);
        if (strstr(o.err.text, rows[i].why) == NULL)
            fail_msg("\"%s\" instead of \"%s\"", o.err.text, rows[i].why);
        outcome_free(&o);
        fake_fini(&fake);
    }
}

static void test_refused_options(void **state)
{
    (void)state;
    struct report_target target = {.json = stdout};
    struct err err = {0};
    struct bench_relay_opts bad[8];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        bad[i] = default_opts;
    bad[0].size_bytes = 15;
    bad[1].size_bytes = 61441;
    bad[2].pairs = 0;
    bad[3].window = 0;
    bad[4].batch = 0;
    bad[5].rate_per_s = 0;
    bad[6].duration_ms = 0;
    bad[7].idle_conns = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(bench_relay(&bad[i], &target, &err), RC_INVALID);
    struct bench_relay_opts far = default_opts;
    far.url = "https://192.0.2.1:443/derp";
    assert_int_equal(bench_relay(&far, &target, &err), RC_DENIED);
    assert_non_null(strstr(err.text, "only loopback"));
    struct bench_relay_opts gone = default_opts;
    gone.server_pid = INT32_MAX;
    assert_int_equal(bench_relay(&gone, &target, &err), RC_NOT_FOUND);
}

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pair_frames),
        cmocka_unit_test(test_every_changed_bit_is_noticed),
        cmocka_unit_test(test_pairs_are_told_apart),
        cmocka_unit_test(test_order_and_window),
        cmocka_unit_test(test_upgrade_answers),
        cmocka_unit_test(test_status_is_shown_in_plain_characters),
        cmocka_unit_test(test_throughput),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_all_modes_in_one_call),
        cmocka_unit_test(test_faults_of_packets),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_disorder),
        cmocka_unit_test(test_goes_on_after_losses),
        cmocka_unit_test(test_lost_connection),
        cmocka_unit_test(test_logins_that_fail),
        cmocka_unit_test(test_refused_options),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
