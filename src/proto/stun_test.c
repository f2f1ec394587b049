#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/stun.h"
#include "proto/test_vectors.h"

static const uint8_t ipv4[4] = {203, 0, 113, 9};
static const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 9};

static struct vectors vectors;

static int set_up(void **state)
{
    (void)state;
    vectors_load(&vectors, VECTORS_DIR "/stun.json");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vectors_fini(&vectors);
    return 0;
}

static void assert_bytes(const uint8_t *p, size_t n, struct str want)
{
    assert_int_equal(n, want.len);
    assert_memory_equal(p, want.p, n);
}

static void test_request_is_the_clients(void **state)
{
    (void)state;
    struct str txid = vectors_bytes(&vectors, "txid", NULL);
    uint8_t req[STUN_REQUEST_BYTES];
    stun_build_request((const uint8_t *)txid.p, req);
    assert_bytes(req, sizeof(req), vectors_bytes(&vectors, "request", NULL));
}

static void test_responses(void **state)
{
    (void)state;
    struct str txid = vectors_bytes(&vectors, "txid", NULL);
    uint8_t out[STUN_RESPONSE_CAP_BYTES];
    size_t n = stun_build_response((const uint8_t *)txid.p, false, ipv4, 41641, out);
    assert_bytes(out, n, vectors_bytes(&vectors, "response_v4", "packet"));
    n = stun_build_response((const uint8_t *)txid.p, true, ipv6, 41641, out);
    assert_bytes(out, n, vectors_bytes(&vectors, "response_v6", "packet"));
}

static enum stun_verdict verdict_named(struct str text)
{
    static const struct {
        const char *text;
        enum stun_verdict verdict;
    } rows[] = {
        {"accept", STUN_OK},
        {"drop: STUN request came from non-Tailscale software", STUN_FOREIGN},
        {"drop: STUN request didn't end in fingerprint", STUN_NO_FINGERPRINT},
        {"drop: STUN request had bogus fingerprint", STUN_BAD_FINGERPRINT},
        {"drop: STUN request not a binding request", STUN_NOT_BINDING},
        {"drop: response is not a STUN packet", STUN_NOT_STUN},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq_c(text, rows[i].text))
            return rows[i].verdict;
    fail_msg("unknown verdict %.*s", STR_ARG(text));
    return STUN_VERDICT_COUNT;
}

static void test_server_cases(void **state)
{
    (void)state;
    size_t n = 0;
    JSON_EACH (row, vectors_at(&vectors, "server_cases", NULL)) {
        struct str packet = vectors_hex(&vectors, json_get(row, "packet"));
        uint8_t txid[STUN_TXID_BYTES];
        assert_int_equal(stun_check_request((const uint8_t *)packet.p, packet.len, txid),
                         verdict_named(vectors_text(json_get(row, "verdict"))));
        n++;
    }
    assert_int_equal(n, 8);
}

/* Every shorter piece of a valid request is refused, and so is every request with one bit flipped, except in the length
 * field, which is ignored, and in the transaction id, which the fingerprint covers. */
static void test_refusals(void **state)
{
    (void)state;
    struct str good = vectors_bytes(&vectors, "request", NULL);
    uint8_t req[STUN_REQUEST_BYTES + 4], txid[STUN_TXID_BYTES];
    for (size_t n = 0; n < good.len; n++)
        assert_int_not_equal(stun_check_request((const uint8_t *)good.p, n, txid), STUN_OK);
    for (size_t bit = 0; bit < good.len * 8; bit++) {
        memcpy(req, good.p, good.len);
        req[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(stun_check_request(req, good.len, txid), STUN_OK);
    }
}

static void test_attribute_longer_than_the_datagram(void **state)
{
    (void)state;
    struct str good = vectors_bytes(&vectors, "request", NULL);
    uint8_t req[STUN_REQUEST_BYTES], txid[STUN_TXID_BYTES];
    memcpy(req, good.p, good.len);
    req[22] = 0xff; /* SOFTWARE claims 65,288 bytes */
    assert_int_equal(stun_check_request(req, good.len, txid), STUN_BAD_ATTRIBUTE);
    memcpy(req, good.p, good.len);
    req[35] = 3; /* the fingerprint claims to be shorter: padding hides it from the walk, not from the check */
    assert_int_equal(stun_check_request(req, good.len, txid), STUN_BAD_FINGERPRINT);
}

static void test_parse_responses(void **state)
{
    (void)state;
    static const char *const names[] = {"response_v4", "response_v6", "response_v4_as_mapped_v6"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str packet = vectors_bytes(&vectors, names[i], "packet");
        uint8_t txid[STUN_TXID_BYTES], ip[16];
        bool is_ipv6;
        uint16_t port;
        assert_int_equal(stun_parse_response((const uint8_t *)packet.p, packet.len, txid, &is_ipv6, ip, &port), RC_OK);
        assert_int_equal(port, 41641);
        assert_int_equal(is_ipv6, i != 0);
        assert_bytes(txid, sizeof(txid), vectors_bytes(&vectors, "txid", NULL));
        if (i == 1)
            assert_memory_equal(ip, ipv6, 16);
        else
            assert_memory_equal(is_ipv6 ? ip + 12 : ip, ipv4, 4);
        for (size_t n = 0; n < packet.len; n++)
            assert_int_not_equal(stun_parse_response((const uint8_t *)packet.p, n, txid, &is_ipv6, ip, &port), RC_OK);
    }
}

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static size_t put_attribute(uint8_t *at, uint16_t type, const void *value, size_t n)
{
    size_t padded = (n + 3) & ~(size_t)3;
    memset(at, 0, 4 + padded);
    at[0] = (uint8_t)(type >> 8);
    at[1] = (uint8_t)type;
    at[2] = (uint8_t)(n >> 8);
    at[3] = (uint8_t)n;
    if (n > 0)
        memcpy(at + 4, value, n);
    return 4 + padded;
}

/* A request of a good form: with attributes of `extra` bytes before, between or after those of a client. */
static size_t build_request(uint8_t *out, size_t extra, int where, bool has_software)
{
    static const uint8_t filler[2048], head[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
    size_t n = sizeof(head);
    memcpy(out, head, n);
    if (extra > 0 && where == 0)
        n += put_attribute(out + n, 0x8023, filler, extra - 1);
    if (has_software)
        n += put_attribute(out + n, 0x8022, "tailnode", 8);
    if (extra > 0 && where == 1)
        n += put_attribute(out + n, 0x8023, filler, extra - 1);
    out[2] = (uint8_t)((n - 20 + 8) >> 8);
    out[3] = (uint8_t)(n - 20 + 8);
    uint32_t crc = crc32_of(out, n) ^ 0x5354554e;
    uint8_t print[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    n += put_attribute(out + n, 0x8028, print, 4);
    if (extra > 0 && where == 2)
        n += put_attribute(out + n, 0x8023, filler, extra - 1);
    return n;
}

/* No amplifier: whatever is answered is at least as long as the answer. To IPv6 that is 4 bytes longer than a client's
 * request, which is the shortest that there is: no shorter answer names an address of 16 bytes. */
static void test_answers_are_no_larger_than_requests(void **state)
{
    (void)state;
    static uint8_t req[4096];
    uint8_t txid[STUN_TXID_BYTES], out[STUN_RESPONSE_CAP_BYTES];
    unsigned answered = 0;
    for (size_t extra = 0; extra < 1400; extra++) {
        for (int where = 0; where < 6; where++) {
            size_t n = build_request(req, extra, where % 3, where < 3);
            for (size_t cut = 0; cut < 9; cut++) {
                if (stun_check_request(req, n - cut, txid) != STUN_OK)
                    continue;
                answered++;
                assert_true(n - cut >= STUN_REQUEST_BYTES);
                assert_true(stun_build_response(txid, false, ipv4, 1, out) <= n - cut);
                assert_true(stun_build_response(txid, true, ipv6, 1, out) <= n - cut + 4);
            }
        }
    }
    assert_true(answered > 1000);
    for (size_t n = 0; n < STUN_REQUEST_BYTES; n++)
        assert_int_not_equal(stun_check_request(req, n, txid), STUN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_the_clients),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_server_cases),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_parse_responses),
        cmocka_unit_test(test_attribute_longer_than_the_datagram),
        cmocka_unit_test(test_answers_are_no_larger_than_requests),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
