#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/metric.h"
#include "proto/noise.h"
#include "proto/test_vectors.h"

static struct vectors vectors;

/* One case of the vectors. */
struct known {
    const struct json *node;
    private_key server, client;
    machine_key server_public, client_public;
    uint8_t server_ephemeral[32], client_ephemeral[32];
    uint16_t version;
    struct str msg1, msg2;
};

static void copy_hex(const struct json *node, const char *name, void *out, size_t n)
{
    struct str bytes = vectors_hex(&vectors, json_get_exact(node, name));
    assert_int_equal(bytes.len, n);
    memcpy(out, bytes.p, n);
}

static void assert_field(const struct json *node, const char *name, const void *got, size_t n)
{
    struct str want = vectors_hex(&vectors, json_get_exact(node, name));
    assert_int_equal(want.len, n);
    assert_memory_equal(got, want.p, n);
}

static struct known load_case(const struct json *node)
{
    struct known c = {.node = node};
    int64_t version = 0;
    copy_hex(node, "server_static_private", c.server.b, 32);
    copy_hex(node, "client_static_private", c.client.b, 32);
    copy_hex(node, "server_static_public", c.server_public.b, 32);
    copy_hex(node, "client_static_public", c.client_public.b, 32);
    copy_hex(node, "server_ephemeral_private", c.server_ephemeral, 32);
    copy_hex(node, "client_ephemeral_private", c.client_ephemeral, 32);
    assert_true(json_i64(json_get_exact(node, "protocol_version"), &version));
    c.version = (uint16_t)version;
    c.msg1 = vectors_hex(&vectors, json_get_exact(node, "message1_hex"));
    c.msg2 = vectors_hex(&vectors, json_get_exact(node, "message2_hex"));
    return c;
}

static struct known first_case(void)
{
    return load_case(json_first(json_get_exact(vectors.root, "cases")));
}

static enum rc respond(const struct known *c, const void *msg1, size_t len, struct noise_result *out)
{
    return noise_respond(&c->server, c->server_ephemeral, msg1, len, out);
}

static void initiate(const struct known *c, struct noise_initiator *hs)
{
    uint8_t msg1[NOISE_INITIATION_BYTES];
    assert_int_equal(noise_initiate(hs, &c->client, c->client_ephemeral, &c->server_public, c->version, msg1), RC_OK);
    assert_memory_equal(msg1, c->msg1.p, c->msg1.len);
}

static int finish(struct noise_initiator *hs, const void *in, size_t len, struct noise_result *out)
{
    size_t used;
    struct str text;
    return noise_initiate_finish(hs, in, len, out, &used, &text);
}

static void assert_zero(const void *p, size_t n)
{
    const uint8_t *bytes = p;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], 0);
}

static void assert_keys(const struct json *node, const struct noise_result *r)
{
    assert_field(node, "handshake_hash", r->handshake_hash, 32);
    assert_field(node, "key_client_to_server", r->client_to_server, 32);
    assert_field(node, "key_server_to_client", r->server_to_client, 32);
}

/* --- the vectors --- */

static void test_vectors_responder(void **state)
{
    (void)state;
    unsigned n = 0;
    JSON_EACH (node, json_get_exact(vectors.root, "cases")) {
        struct known c = load_case(node);
        struct noise_result r;
        assert_int_equal(respond(&c, c.msg1.p, c.msg1.len, &r), RC_OK);
        assert_int_equal(r.version, c.version);
        assert_true(keys_equal(r.peer.b, c.client_public.b));
        assert_int_equal(c.msg2.len, sizeof(r.response));
        assert_memory_equal(r.response, c.msg2.p, sizeof(r.response));
        assert_keys(node, &r);
        noise_result_wipe(&r);
        assert_zero(&r, sizeof(r));
        n++;
    }
    assert_int_equal(n, 2);
}

/* The state after message 1 is step 7 of the vectors (from 0). */
static void test_vectors_initiator(void **state)
{
    (void)state;
    JSON_EACH (node, json_get_exact(vectors.root, "cases")) {
        struct known c = load_case(node);
        struct noise_initiator hs;
        struct noise_result r;
        char header[BASE64_CAP(NOISE_INITIATION_BYTES)];
        const struct json *step = json_first(json_get_exact(node, "steps"));
        for (int i = 0; i < 7; i++)
            step = json_next(step);
        initiate(&c, &hs);
        assert_field(step, "h", hs.h, 32);
        assert_field(step, "ck", hs.ck, 32);
        base64_encode(c.msg1.p, c.msg1.len, header);
        assert_true(str_eq_c(vectors_text(json_get_exact(node, "message1_base64_header_value")), header));
        assert_int_equal(finish(&hs, c.msg2.p, c.msg2.len, &r), 1);
        assert_keys(node, &r);
        assert_true(keys_equal(r.peer.b, c.server_public.b));
        assert_int_equal(r.version, c.version);
        assert_zero(&hs, sizeof(hs));
    }
}

static bool has(const struct json *step, const char *name)
{
    return json_get_exact(step, name) != NULL;
}

/* Each intermediate value, from the one before by the primitives alone: what was DHed makes ck and k, what was sealed
 * makes h, and the last ck makes the transport keys. */
static void test_vectors_every_step(void **state)
{
    (void)state;
    JSON_EACH (node, json_get_exact(vectors.root, "cases")) {
        static const char name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
        uint8_t h[32];
        uint8_t ck[32];
        uint8_t k[32];
        unsigned steps = 0;
        blake2s(name, sizeof(name) - 1, NULL, 0, h);
        memcpy(ck, h, sizeof(ck));
        JSON_EACH (step, json_get_exact(node, "steps")) {
            if (has(step, "dh")) {
                struct str dh = vectors_hex(&vectors, json_get_exact(step, "dh"));
                hkdf_blake2s(ck, dh.p, dh.len, ck, k);
                assert_field(step, has(step, "k") ? "k" : "k_unused", k, 32);
                assert_field(step, "h", h, 32);
            } else if (has(step, "ciphertext")) {
                struct str sealed = vectors_hex(&vectors, json_get_exact(step, "ciphertext"));
                blake2s(h, sizeof(h), sealed.p, sealed.len, h);
                assert_field(step, "h", h, 32);
            } else {
                copy_hex(step, "h", h, 32);
            }
            assert_field(step, "ck", ck, 32);
            steps++;
        }
        assert_int_equal(steps, 12);
        hkdf_blake2s(ck, NULL, 0, ck, k);
        assert_field(node, "key_client_to_server", ck, 32);
        assert_field(node, "key_server_to_client", k, 32);
    }
}

static void test_vectors_refused(void **state)
{
    (void)state;
    struct known c = first_case();
    unsigned n = 0;
    JSON_EACH (node, json_get_exact(vectors.root, "server_side_negative_cases")) {
        bool wants_error_frame = false;
        struct str msg = vectors_hex(&vectors, json_get_exact(node, "message1_hex"));
        struct noise_result r;
        assert_true(json_bool(json_get_exact(node, "reference_sends_error_frame"), &wants_error_frame));
        memset(&r, 1, sizeof(r));
        enum rc rc = respond(&c, msg.p, msg.len, &r);
        if (rc != (wants_error_frame ? RC_INVALID : RC_CRYPTO))
            fail_msg("%.*s: %s", STR_ARG(vectors_text(json_get_exact(node, "name"))), rc_name(rc));
        assert_zero(&r, sizeof(r));
        n++;
    }
    assert_int_equal(n, 9);
}

/* --- message 1 --- */

static void test_tampered_initiation(void **state)
{
    (void)state;
    struct known c = first_case();
    uint8_t msg[NOISE_INITIATION_BYTES];
    memcpy(msg, c.msg1.p, sizeof(msg));
    for (unsigned i = 0; i < sizeof(msg); i++) {
        struct noise_result r;
        bool is_header = i >= 2 && i < 5;
        /* X25519 ignores the highest bit of a point; the transcript does not. */
        for (unsigned bit = 1; bit < 256; bit <<= 7) {
            msg[i] ^= (uint8_t)bit;
            assert_int_equal(respond(&c, msg, sizeof(msg), &r), is_header ? RC_INVALID : RC_CRYPTO);
            assert_zero(&r, sizeof(r));
            msg[i] ^= (uint8_t)bit;
        }
    }
}

static void test_initiation_lengths(void **state)
{
    (void)state;
    struct known c = first_case();
    uint8_t msg[256] = {0};
    struct noise_result r;
    memcpy(msg, c.msg1.p, c.msg1.len);
    for (size_t n = 0; n < sizeof(msg); n++)
        assert_int_equal(respond(&c, msg, n, &r), n == NOISE_INITIATION_BYTES ? RC_OK : RC_INVALID);
}

static void test_wrong_server(void **state)
{
    (void)state;
    struct known c = first_case();
    struct noise_result r;
    c.server.b[5] ^= 1;
    assert_int_equal(respond(&c, c.msg1.p, c.msg1.len, &r), RC_CRYPTO);
    assert_zero(&r, sizeof(r));
}

static const char *const low_order_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void low_order_point(unsigned i, uint8_t out[32])
{
    assert_int_equal(hex_decode(str_c(low_order_points[i]), out, 32), RC_OK);
}

static void test_low_order_ephemeral(void **state)
{
    (void)state;
    struct known c = first_case();
    int64_t before = metric_read("fullscale_noise_handshake_failures_total", "reason=\"low_order\"");
    for (unsigned i = 0; i < ARRAY_LEN(low_order_points); i++) {
        uint8_t msg[NOISE_INITIATION_BYTES];
        struct noise_result r;
        memcpy(msg, c.msg1.p, sizeof(msg));
        low_order_point(i, msg + 5);
        assert_int_equal(respond(&c, msg, sizeof(msg), &r), RC_CRYPTO);
        assert_zero(&r, sizeof(r));
    }
    int64_t after = metric_read("fullscale_noise_handshake_failures_total", "reason=\"low_order\"");
    assert_int_equal(after - before, ARRAY_LEN(low_order_points));
}

/* A message 1 whose sender claims `claimed` as its static key, as a client without that key could try. With a low-order
 * point the sender would know the result of ss for any server. */
static void forge_static(const struct known *c, const uint8_t claimed[32], const uint8_t ss[32], uint8_t msg[101])
{
    static const uint8_t nonce[AEAD_NONCE_BYTES];
    uint8_t h[32];
    uint8_t ck[32];
    uint8_t k[32];
    uint8_t dh[32];
    const struct json *step = json_first(json_get_exact(c->node, "steps"));
    for (int i = 0; i < 3; i++)
        step = json_next(step);
    copy_hex(step, "h", h, 32);
    copy_hex(step, "ck", ck, 32);
    memcpy(msg, c->msg1.p, 5 + 32);
    assert_int_equal(x25519(c->client_ephemeral, c->server_public.b, dh), RC_OK);
    hkdf_blake2s(ck, dh, sizeof(dh), ck, k);
    struct aead *a = aead_create(k, true);
    aead_seal(a, nonce, h, sizeof(h), claimed, 32, msg + 37);
    aead_destroy(&a);
    blake2s(h, sizeof(h), msg + 37, 48, h);
    hkdf_blake2s(ck, ss, 32, ck, k);
    a = aead_create(k, true);
    aead_seal(a, nonce, h, sizeof(h), NULL, 0, msg + 85);
    aead_destroy(&a);
}

static void test_low_order_static(void **state)
{
    (void)state;
    static const uint8_t zero[32];
    struct known c = first_case();
    struct noise_result r;
    uint8_t msg[NOISE_INITIATION_BYTES];
    uint8_t ss[32];
    /* The forger is right with a real key... */
    assert_int_equal(x25519(c.client.b, c.server_public.b, ss), RC_OK);
    forge_static(&c, c.client_public.b, ss, msg);
    assert_int_equal(respond(&c, msg, sizeof(msg), &r), RC_OK);
    /* ...and wrong with any that would give ss away. */
    for (unsigned i = 0; i < ARRAY_LEN(low_order_points); i++) {
        uint8_t point[32];
        low_order_point(i, point);
        forge_static(&c, point, zero, msg);
        assert_int_equal(respond(&c, msg, sizeof(msg), &r), RC_CRYPTO);
        assert_zero(&r, sizeof(r));
    }
}

static void test_initiate_low_order_server(void **state)
{
    (void)state;
    struct known c = first_case();
    for (unsigned i = 0; i < ARRAY_LEN(low_order_points); i++) {
        struct noise_initiator hs;
        uint8_t msg1[NOISE_INITIATION_BYTES];
        low_order_point(i, c.server_public.b);
        assert_int_equal(noise_initiate(&hs, &c.client, c.client_ephemeral, &c.server_public, 1, msg1), RC_CRYPTO);
        assert_zero(&hs, sizeof(hs));
    }
}

/* --- message 2 and error frames --- */

static void test_tampered_response(void **state)
{
    (void)state;
    struct known c = first_case();
    uint8_t msg[NOISE_RESPONSE_BYTES];
    memcpy(msg, c.msg2.p, sizeof(msg));
    for (unsigned i = 0; i < sizeof(msg); i++) {
        struct noise_initiator hs;
        struct noise_result r;
        initiate(&c, &hs);
        msg[i] ^= 0x80;
        assert_int_equal(finish(&hs, msg, sizeof(msg), &r), i < NOISE_HEADER_BYTES ? RC_INVALID : RC_CRYPTO);
        assert_zero(&r, sizeof(r));
        assert_zero(&hs, sizeof(hs));
        msg[i] ^= 0x80;
    }
}

static void test_response_low_order(void **state)
{
    (void)state;
    struct known c = first_case();
    for (unsigned i = 0; i < ARRAY_LEN(low_order_points); i++) {
        uint8_t msg[NOISE_RESPONSE_BYTES];
        struct noise_initiator hs;
        struct noise_result r;
        memcpy(msg, c.msg2.p, sizeof(msg));
        low_order_point(i, msg + NOISE_HEADER_BYTES);
        initiate(&c, &hs);
        assert_int_equal(finish(&hs, msg, sizeof(msg), &r), RC_CRYPTO);
        assert_zero(&r, sizeof(r));
    }
}

static void test_response_of_another_server(void **state)
{
    (void)state;
    struct known c = first_case();
    struct known other = load_case(json_next(c.node));
    struct noise_initiator hs;
    struct noise_result r;
    initiate(&c, &hs);
    assert_int_equal(finish(&hs, other.msg2.p, other.msg2.len, &r), RC_CRYPTO);
}

/* In pieces, and with the first record behind it. */
static void test_response_grows(void **state)
{
    (void)state;
    struct known c = first_case();
    struct noise_initiator hs;
    struct noise_result r;
    size_t used = 0;
    struct str text;
    uint8_t in[NOISE_RESPONSE_BYTES + 7] = {0};
    memcpy(in, c.msg2.p, c.msg2.len);
    initiate(&c, &hs);
    for (size_t n = 0; n < NOISE_RESPONSE_BYTES; n++) {
        assert_int_equal(noise_initiate_finish(&hs, in, n, &r, &used, &text), 0);
        assert_zero(&r, sizeof(r));
    }
    assert_int_equal(noise_initiate_finish(&hs, in, sizeof(in), &r, &used, &text), 1);
    assert_int_equal(used, NOISE_RESPONSE_BYTES);
    assert_int_equal(text.len, 0);
    assert_keys(c.node, &r);
}

static void test_error_frame(void **state)
{
    (void)state;
    struct known c = first_case();
    const struct json *example = json_get_exact(vectors.root, "error_frame_example");
    struct str want = vectors_hex(&vectors, json_get_exact(example, "wire_hex"));
    struct buf frame = {0};
    struct noise_initiator hs;
    struct noise_result r;
    struct str text;
    size_t used;
    noise_append_error(&frame, vectors_text(json_get_exact(example, "text")));
    assert_true(str_eq(buf_str(&frame), want));
    initiate(&c, &hs);
    for (size_t n = 0; n < buf_len(&frame); n++)
        assert_int_equal(noise_initiate_finish(&hs, buf_at(&frame), n, &r, &used, &text), 0);
    assert_int_equal(noise_initiate_finish(&hs, buf_at(&frame), buf_len(&frame), &r, &used, &text), RC_DENIED);
    assert_true(str_eq_c(text, "bad initiation"));
    assert_zero(&r, sizeof(r));
    assert_zero(&hs, sizeof(hs));
    buf_fini(&frame);
}

static void test_error_frame_lengths(void **state)
{
    (void)state;
    struct known c = first_case();
    for (size_t n = NOISE_ERROR_TEXT_MAX - 3; n < NOISE_ERROR_TEXT_MAX + 5; n++) {
        /* Text of two-byte characters, shifted by one: never cut within one. */
        char text[NOISE_ERROR_TEXT_MAX + 8] = "x";
        struct buf frame = {0};
        struct noise_initiator hs;
        struct noise_result r;
        struct str got;
        size_t used;
        for (size_t i = 1; i < sizeof(text); i++)
            text[i] = i % 2 == 1 ? '\xc3' : '\xa9';
        noise_append_error(&frame, str_n(text, n));
        initiate(&c, &hs);
        assert_int_equal(noise_initiate_finish(&hs, buf_at(&frame), buf_len(&frame), &r, &used, &got), RC_DENIED);
        assert_int_equal(got.len, n <= NOISE_ERROR_TEXT_MAX ? n : NOISE_ERROR_TEXT_MAX - 1);
        assert_memory_equal(got.p, text, got.len);
        buf_fini(&frame);
    }
    struct noise_initiator hs;
    struct noise_result r;
    initiate(&c, &hs);
    assert_int_equal(finish(&hs, "\x03\x00\x00", 3, &r), RC_DENIED);
    initiate(&c, &hs);
    assert_int_equal(finish(&hs, "\x03\x04\x01", 3, &r), RC_INVALID); /* judged before it is awaited */
    initiate(&c, &hs);
    assert_int_equal(finish(&hs, "HTTP", 1, &r), RC_INVALID);
}

/* --- together --- */

static void test_round_trips(void **state)
{
    (void)state;
    int64_t before = metric_read("fullscale_noise_handshakes_total", "");
    for (unsigned i = 0; i < 50; i++) {
        uint8_t random[4][32];
        private_key server, client;
        machine_key server_public, client_public;
        struct noise_initiator hs;
        struct noise_result ours, theirs;
        uint8_t msg1[NOISE_INITIATION_BYTES];
        uint16_t version = (uint16_t)(i < 2 ? i * 0xffff : i * 991);
        rng_bytes(random, sizeof(random));
        private_key_from_bytes(random[0], &server);
        private_key_from_bytes(random[1], &client);
        private_key_public(&server, server_public.b);
        private_key_public(&client, client_public.b);
        assert_int_equal(noise_initiate(&hs, &client, random[2], &server_public, version, msg1), RC_OK);
        assert_int_equal(noise_respond(&server, random[3], msg1, sizeof(msg1), &theirs), RC_OK);
        assert_int_equal(finish(&hs, theirs.response, sizeof(theirs.response), &ours), 1);
        assert_int_equal(theirs.version, version);
        assert_true(keys_equal(theirs.peer.b, client_public.b));
        assert_memory_equal(ours.handshake_hash, theirs.handshake_hash, 32);
        assert_memory_equal(ours.client_to_server, theirs.client_to_server, 32);
        assert_memory_equal(ours.server_to_client, theirs.server_to_client, 32);
        assert_memory_not_equal(ours.client_to_server, ours.server_to_client, 32);
    }
    assert_int_equal(metric_read("fullscale_noise_handshakes_total", "") - before, 50);
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
        cmocka_unit_test(test_vectors_responder),
        cmocka_unit_test(test_vectors_initiator),
        cmocka_unit_test(test_vectors_every_step),
        cmocka_unit_test(test_vectors_refused),
        cmocka_unit_test(test_tampered_initiation),
        cmocka_unit_test(test_initiation_lengths),
        cmocka_unit_test(test_wrong_server),
        cmocka_unit_test(test_low_order_ephemeral),
        cmocka_unit_test(test_low_order_static),
        cmocka_unit_test(test_initiate_low_order_server),
        cmocka_unit_test(test_tampered_response),
        cmocka_unit_test(test_response_low_order),
        cmocka_unit_test(test_response_of_another_server),
        cmocka_unit_test(test_response_grows),
        cmocka_unit_test(test_error_frame),
        cmocka_unit_test(test_error_frame_lengths),
        cmocka_unit_test(test_round_trips),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
