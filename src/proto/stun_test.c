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

static int setup(void **state)
{
    (void)state;
    vectors_load(&vectors, VECTORS_DIR "/stun.json");
    return 0;
}

static int teardown(void **state)
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

/* Every shorter piece of a good request is refused, and so is every request with one bit turned outside the length field,
 * which nobody looks at, and the transaction id, which the fingerprint covers. */
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
    req[22] = 0xff; /* SOFTWARE says that it has 65,288 bytes */
    assert_int_equal(stun_check_request(req, good.len, txid), STUN_BAD_ATTRIBUTE);
    memcpy(req, good.p, good.len);
    req[35] = 3; /* the fingerprint says that it is shorter: padding hides it from the walk, not from the check */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_the_clients), cmocka_unit_test(test_responses),
        cmocka_unit_test(test_server_cases),           cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_parse_responses),        cmocka_unit_test(test_attribute_longer_than_the_datagram),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
