#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/metric.h"
#include "proto/noise.h"
#include "proto/test_vectors.h"

enum { OVERHEAD = NOISE_HEADER_BYTES + AEAD_TAG_BYTES };

static struct vectors vectors;
static const uint8_t key[32] = "a key for one direction of test";

/* A sealer and the opener at the other end. */
struct pair {
    struct noise_sealer sealer;
    struct noise_opener opener;
    struct buf wire;
};

static void pair_init(struct pair *p)
{
    *p = (struct pair){0};
    noise_sealer_init(&p->sealer, key);
    noise_opener_init(&p->opener, key);
}

static void pair_fini(struct pair *p)
{
    noise_sealer_fini(&p->sealer);
    noise_opener_fini(&p->opener);
    buf_fini(&p->wire);
}

/* Feeds `n` bytes; the plaintext goes to `out`, the number of records to `*records`. The first error, or RC_OK. */
static int feed(struct noise_opener *o, const uint8_t *p, size_t n, struct buf *out, unsigned *records)
{
    uint8_t plain[NOISE_PLAIN_MAX];
    size_t len;
    int got;
    /* In memory of its own, so that reading past the end is seen. */
    uint8_t *copy = mem_dup(p, n);
    const uint8_t *at = copy;
    while ((got = noise_open(o, &at, &n, plain, &len)) == 1) {
        buf_append(out, plain, len);
        *records += 1;
    }
    if (got == 0)
        assert_int_equal(n, 0);
    mem_free(copy);
    return got;
}

static int open_all(struct noise_opener *o, const void *p, size_t n)
{
    struct buf out = {0};
    unsigned records = 0;
    int got = feed(o, p, n, &out, &records);
    buf_fini(&out);
    return got;
}

static void seal(struct pair *p, const void *plain, size_t n)
{
    assert_int_equal(noise_seal(&p->sealer, plain, n, &p->wire), RC_OK);
}

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 31 + i / 251);
}

/* --- the vectors --- */

static void assert_record(const struct json *record, const uint8_t *wire, size_t n)
{
    const struct json *hex = json_get_exact(record, "wire_hex");
    int64_t want_len = 0;
    uint8_t digest[32];
    assert_true(json_i64(json_get_exact(record, "wire_len"), &want_len));
    assert_int_equal(n, want_len);
    if (hex != NULL) {
        assert_memory_equal(wire, vectors_hex(&vectors, hex).p, n);
        return;
    }
    sha256(wire, n, digest);
    assert_memory_equal(digest, vectors_hex(&vectors, json_get_exact(record, "wire_sha256")).p, 32);
    assert_memory_equal(wire, vectors_hex(&vectors, json_get_exact(record, "wire_first16")).p, 16);
    assert_memory_equal(wire + n - 16, vectors_hex(&vectors, json_get_exact(record, "wire_last16")).p, 16);
}

static uint64_t counter_of(const struct json *record)
{
    uint64_t counter = 0;
    assert_true(json_u64(json_get_exact(record, "nonce_counter"), &counter));
    return counter;
}

/* The plaintext of the write that made the record. One write of 8192 bytes made three records: call this for the first
 * of them. */
static struct str write_of(const struct json *record)
{
    static char repeated[8192];
    const struct json *hex = json_get_exact(record, "plaintext_hex");
    if (hex != NULL)
        return vectors_hex(&vectors, hex);
    for (size_t i = 0; i < sizeof(repeated); i++)
        repeated[i] = "0123456789abcdef"[i % 16];
    return str_n(repeated, sizeof(repeated));
}

static void check_direction(const struct json *node, const char *key_name, const char *list, const char *empty)
{
    struct str k = vectors_hex(&vectors, json_get_exact(node, key_name));
    struct noise_sealer sealer;
    struct noise_opener opener;
    struct buf wire = {0};
    struct buf plain = {0};
    struct buf got = {0};
    unsigned records = 0;
    noise_sealer_init(&sealer, (const uint8_t *)k.p);
    noise_opener_init(&opener, (const uint8_t *)k.p);
    JSON_EACH (record, json_get_exact(node, list)) {
        if (counter_of(record) >= sealer.counter) { /* else the write before made this record too */
            struct str text = write_of(record);
            assert_int_equal(counter_of(record), sealer.counter);
            assert_int_equal(noise_seal(&sealer, text.p, text.len, &wire), RC_OK);
            buf_append_str(&plain, text);
        }
        size_t n = (size_t)(buf_at(&wire)[1] << 8 | buf_at(&wire)[2]) + NOISE_HEADER_BYTES;
        assert_record(record, buf_at(&wire), n);
        assert_int_equal(feed(&opener, buf_at(&wire), n, &got, &records), 0);
        buf_consume(&wire, n);
    }
    assert_int_equal(buf_len(&wire), 0);
    assert_int_equal(noise_seal(&sealer, NULL, 0, &wire), RC_OK);
    assert_true(str_eq(buf_str(&wire), vectors_hex(&vectors, json_get_exact(node, empty))));
    assert_int_equal(feed(&opener, buf_at(&wire), buf_len(&wire), &got, &records), 0);
    assert_int_equal(records, json_len(json_get_exact(node, list)) + 1);
    assert_true(str_eq(buf_str(&got), buf_str(&plain)));
    noise_sealer_fini(&sealer);
    noise_opener_fini(&opener);
    buf_fini(&wire);
    buf_fini(&plain);
    buf_fini(&got);
}

static void test_vectors(void **state)
{
    (void)state;
    JSON_EACH (node, json_get_exact(vectors.root, "cases")) {
        check_direction(node, "key_client_to_server", "client_to_server_records",
                        "empty_record_client_to_server_at_counter_5");
        check_direction(node, "key_server_to_client", "server_to_client_records",
                        "empty_record_server_to_client_at_counter_3");
    }
}

/* --- sizes --- */

static void test_boundaries(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        unsigned records;
    } rows[] = {
        {0, 1}, {1, 1}, {4076, 1}, {4077, 1}, {4078, 2}, {8154, 2}, {8155, 3}, {100000, 25},
    };
    uint8_t *plain = mem_alloc(100000);
    fill(plain, 100000);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair p;
        struct buf got = {0};
        unsigned records = 0;
        pair_init(&p);
        seal(&p, plain, rows[i].n);
        assert_int_equal(buf_len(&p.wire), rows[i].n + rows[i].records * OVERHEAD);
        assert_int_equal(buf_len(&p.wire), noise_sealed_len(rows[i].n));
        assert_int_equal(feed(&p.opener, buf_at(&p.wire), buf_len(&p.wire), &got, &records), 0);
        assert_int_equal(records, rows[i].records);
        assert_true(str_eq(buf_str(&got), str_n(plain, rows[i].n)));
        assert_int_equal(p.sealer.counter, records);
        assert_int_equal(p.opener.counter, records);
        buf_fini(&got);
        pair_fini(&p);
    }
    mem_free(plain);
}

/* A record of 4097 bytes, sealed rightly: refused for its size, at its header. */
static void test_too_large(void **state)
{
    (void)state;
    static const uint8_t nonce[AEAD_NONCE_BYTES];
    static uint8_t plain[NOISE_PLAIN_MAX + 1];
    uint8_t wire[NOISE_RECORD_MAX + 1] = {4, 0x0f, 0xfe};
    struct aead *a = aead_create(key, true);
    struct noise_opener o;
    int64_t before = metric_read("fullscale_noise_records_refused_total", "reason=\"too_large\"");
    aead_seal(a, nonce, NULL, 0, plain, sizeof(plain), wire + NOISE_HEADER_BYTES);
    aead_destroy(&a);
    noise_opener_init(&o, key);
    assert_int_equal(open_all(&o, wire, sizeof(wire)), RC_TOO_LARGE);
    noise_opener_fini(&o);
    noise_opener_init(&o, key);
    assert_int_equal(open_all(&o, wire, 2), 0);
    assert_int_equal(open_all(&o, wire + 2, 1), RC_TOO_LARGE);
    noise_opener_fini(&o);
    noise_opener_init(&o, key);
    assert_int_equal(open_all(&o, "\x04\xff\xff", 3), RC_TOO_LARGE);
    noise_opener_fini(&o);
    assert_int_equal(metric_read("fullscale_noise_records_refused_total", "reason=\"too_large\"") - before, 3);
}

static void test_too_short(void **state)
{
    (void)state;
    for (uint8_t n = 0; n < AEAD_TAG_BYTES; n++) {
        uint8_t wire[64] = {4, 0, n};
        struct noise_opener o;
        noise_opener_init(&o, key);
        assert_int_equal(open_all(&o, wire, sizeof(wire)), RC_INVALID);
        noise_opener_fini(&o);
    }
}

static void test_wrong_type(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        uint8_t byte = (uint8_t)type;
        struct noise_opener o;
        noise_opener_init(&o, key);
        assert_int_equal(open_all(&o, &byte, 1), type == 4 ? 0 : RC_INVALID);
        noise_opener_fini(&o);
    }
}

/* --- chunks --- */

static void test_byte_by_byte(void **state)
{
    (void)state;
    struct pair p;
    struct buf got = {0};
    unsigned records = 0;
    uint8_t plain[5000];
    fill(plain, sizeof(plain));
    pair_init(&p);
    seal(&p, plain, sizeof(plain));
    seal(&p, NULL, 0);
    seal(&p, "end", 3);
    size_t n = buf_len(&p.wire);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(feed(&p.opener, buf_at(&p.wire) + i, 1, &got, &records), 0);
        assert_true(buf_len(&p.opener.partial) < NOISE_RECORD_MAX);
    }
    assert_int_equal(records, 4);
    assert_int_equal(buf_len(&got), sizeof(plain) + 3);
    assert_memory_equal(buf_at(&got), plain, sizeof(plain));
    assert_null(p.opener.partial.data);
    buf_fini(&got);
    pair_fini(&p);
}

/* The naive twin of the opener is the list of what was written. */
static void test_random_chunks(void **state)
{
    (void)state;
    srand(1);
    for (unsigned round = 0; round < 200; round++) {
        struct pair p;
        struct buf twin = {0};
        struct buf got = {0};
        unsigned records = 0;
        uint8_t plain[9000];
        fill(plain, sizeof(plain));
        pair_init(&p);
        for (unsigned i = rand() % 12; i > 0; i--) {
            size_t n = (size_t)rand() % (rand() % 3 == 0 ? sizeof(plain) : 50);
            seal(&p, plain + n % 7, n - n % 7);
            buf_append(&twin, plain + n % 7, n - n % 7);
        }
        while (buf_len(&p.wire) > 0) {
            size_t n = (size_t)rand() % (rand() % 2 == 0 ? 6000 : 20);
            n = n < buf_len(&p.wire) ? n : buf_len(&p.wire);
            assert_int_equal(feed(&p.opener, buf_at(&p.wire), n, &got, &records), 0);
            buf_consume(&p.wire, n);
        }
        assert_true(str_eq(buf_str(&got), buf_str(&twin)));
        assert_int_equal(records, p.sealer.counter);
        assert_null(p.opener.partial.data);
        buf_fini(&twin);
        buf_fini(&got);
        pair_fini(&p);
    }
}

static void test_no_allocation_per_record(void **state)
{
    (void)state;
    struct pair p;
    uint8_t plain[NOISE_PLAIN_MAX];
    size_t len;
    pair_init(&p);
    for (unsigned i = 0; i < 1000; i++)
        seal(&p, "some text", 9);
    const uint8_t *at = buf_at(&p.wire);
    size_t left = buf_len(&p.wire) - 5; /* the last one stays incomplete */
    unsigned records = 0;
    mem_test_fail_at(1000000);
    while (noise_open(&p.opener, &at, &left, plain, &len) == 1)
        records++;
    assert_int_equal(mem_test_fail_at(0), 1);
    assert_int_equal(records, 999);
    pair_fini(&p);
}

/* --- refusals --- */

static void test_tampered(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    seal(&p, "sixteen bytes...", 16);
    uint8_t *wire = buf_at(&p.wire);
    size_t n = buf_len(&p.wire);
    for (size_t i = 0; i < n; i++) {
        struct noise_opener o;
        uint8_t plain[NOISE_PLAIN_MAX];
        const uint8_t *at = wire;
        size_t left = n;
        size_t len = 99;
        noise_opener_init(&o, key);
        wire[i] ^= 1;
        int got = noise_open(&o, &at, &left, plain, &len);
        if (i == 0)
            assert_int_equal(got, RC_INVALID);
        else if (i < NOISE_HEADER_BYTES)
            assert_int_equal(got, 0); /* longer than what has come so far */
        else
            assert_int_equal(got, RC_CRYPTO);
        assert_int_equal(len, 0);
        wire[i] ^= 1;
        noise_opener_fini(&o);
    }
    assert_int_equal(open_all(&p.opener, wire, n), 0);
    pair_fini(&p);
}

static void test_errors_last(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    seal(&p, "first", 5);
    seal(&p, "second", 6);
    uint8_t *wire = buf_at(&p.wire);
    wire[10] ^= 1;
    assert_int_equal(open_all(&p.opener, wire, 5 + OVERHEAD), RC_CRYPTO);
    wire[10] ^= 1;
    assert_int_equal(open_all(&p.opener, wire, 5 + OVERHEAD), RC_CRYPTO);
    assert_int_equal(open_all(&p.opener, wire, 0), RC_CRYPTO);
    assert_null(p.opener.partial.data);
    pair_fini(&p);
}

static void test_replayed_dropped_reordered(void **state)
{
    (void)state;
    enum { N = 1 + OVERHEAD };
    static const struct {
        unsigned order[3];
        unsigned refused_at;
    } rows[] = {{{0, 1, 2}, 3}, {{0, 0, 1}, 1}, {{0, 2, 1}, 1}, {{1, 0, 2}, 0}, {{0, 1, 0}, 2}};
    for (unsigned r = 0; r < ARRAY_LEN(rows); r++) {
        struct pair p;
        pair_init(&p);
        for (unsigned i = 0; i < 3; i++)
            seal(&p, &"abc"[i], 1);
        for (unsigned i = 0; i < 3; i++) {
            int got = open_all(&p.opener, buf_at(&p.wire) + N * rows[r].order[i], N);
            assert_int_equal(got, i < rows[r].refused_at ? 0 : RC_CRYPTO);
        }
        pair_fini(&p);
    }
}

static void test_sealer_counter_ends(void **state)
{
    (void)state;
    uint8_t plain[NOISE_PLAIN_MAX + 1] = {0};
    struct pair p;
    pair_init(&p);
    p.sealer.counter = UINT64_MAX - 1;
    assert_int_equal(noise_seal(&p.sealer, plain, sizeof(plain), &p.wire), RC_LIMIT);
    assert_int_equal(buf_len(&p.wire), 0);
    assert_int_equal(p.sealer.counter, UINT64_MAX - 1);
    seal(&p, plain, 1);
    assert_int_equal(noise_seal(&p.sealer, plain, 1, &p.wire), RC_LIMIT);
    assert_int_equal(noise_seal(&p.sealer, plain, 0, &p.wire), RC_LIMIT);
    /* The opener takes the last one and none after it. */
    p.opener.counter = UINT64_MAX - 1;
    assert_int_equal(open_all(&p.opener, buf_at(&p.wire), buf_len(&p.wire)), 0);
    assert_int_equal(open_all(&p.opener, buf_at(&p.wire), buf_len(&p.wire)), RC_LIMIT);
    pair_fini(&p);
}

/* With each byte different, so that no other order passes. */
static void test_nonce_is_big_endian(void **state)
{
    (void)state;
    static const uint8_t nonce[AEAD_NONCE_BYTES] = {0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t want[3 + AEAD_TAG_BYTES];
    struct pair p;
    struct aead *a = aead_create(key, true);
    aead_seal(a, nonce, NULL, 0, (const uint8_t *)"abc", 3, want);
    aead_destroy(&a);
    pair_init(&p);
    p.sealer.counter = 0x0102030405060708;
    seal(&p, "abc", 3);
    assert_memory_equal(buf_at(&p.wire) + NOISE_HEADER_BYTES, want, sizeof(want));
    pair_fini(&p);
}

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    vectors_load(&vectors, VECTORS_DIR "/noise_ik_handshake.json");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vectors_fini(&vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_too_short),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_random_chunks),
        cmocka_unit_test(test_no_allocation_per_record),
        cmocka_unit_test(test_tampered),
        cmocka_unit_test(test_errors_last),
        cmocka_unit_test(test_replayed_dropped_reordered),
        cmocka_unit_test(test_sealer_counter_ends),
        cmocka_unit_test(test_nonce_is_big_endian),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
