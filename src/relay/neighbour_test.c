/* Neighbours and mesh keys as texts, and what a neighbour answers over HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "proto/test_vectors.h"
#include "relay/mesh_internal.h"
#include "relay/relay.h"

static void test_mesh_key_texts(void **state)
{
    (void)state;
    static const char good[] = " \n00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\r\n";
    static const char *const bad[] = {
        "",
        "0011",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeef",
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0",
        "00112233445566778899aabbccddeeff 0112233445566778899aabbccddeeff",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    };
    uint8_t key[32] = {0};
    assert_int_equal(relay_mesh_key_parse(str_c(good), key), RC_OK);
    assert_int_equal(key[1], 0x11);
    assert_int_equal(key[31], 0xff);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(key, 9, sizeof(key));
        assert_int_equal(relay_mesh_key_parse(str_c(bad[i]), key), RC_INVALID);
        assert_int_equal(key[0], 9);
    }
}

#define PIN "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_neighbour_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *dial, *pin;
        uint16_t port;
    } good[] = {
        {"relay2.example.com", "relay2.example.com", NULL, NULL, 0},
        {"relay2.example.com:8443", "relay2.example.com", NULL, NULL, 8443},
        {"192.0.2.1", "192.0.2.1", NULL, NULL, 0},
        {"192.0.2.1:1", "192.0.2.1", NULL, NULL, 1},
        {"2001:db8::1", "2001:db8::1", NULL, NULL, 0},
        {"[2001:db8::1]", "2001:db8::1", NULL, NULL, 0},
        {"[2001:db8::1]:65535/10.0.0.1", "2001:db8::1", "10.0.0.1", NULL, 65535},
        {"a.example/b.example/sha256-raw:" PIN, "a.example", "b.example", PIN, 0},
        {"a.example:2/sha256-raw:" PIN, "a.example", NULL, PIN, 2},
    };
    char store[RELAY_NEIGHBOUR_CAP];
    struct relay_neighbour n;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(relay_neighbour_parse(str_c(good[i].text), store, &n), RC_OK);
        assert_string_equal(n.host, good[i].host);
        assert_int_equal(n.port, good[i].port);
        assert_true(good[i].dial == NULL ? n.dial == NULL : strcmp(good[i].dial, n.dial) == 0);
        assert_true(good[i].pin == NULL ? n.fingerprint == NULL : strcmp(good[i].pin, n.fingerprint) == 0);
        assert_false(n.is_plain);
    }
}

static void test_bad_neighbour_texts(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/",
        "a/",
        "a//b",
        ":443",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        "a b",
        "[a]:1",
        "[::1]x",
        "[::1",
        "[::1]:",
        "a/b/c",
        "a/sha256-raw:12",
        "a/sha256-raw:" PIN "/b",
        "a/sha256-raw:" PIN "0",
        "a\r\nX: y",
        "https://a",
        "-a",
        "a/sha256-raw:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "a/b_c",
        "a:1:2",
    };
    char store[RELAY_NEIGHBOUR_CAP];
    struct relay_neighbour n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (relay_neighbour_parse(str_c(bad[i]), store, &n) != RC_INVALID)
            fail_msg("taken: %s", bad[i]);
    char longest[RELAY_NEIGHBOUR_CAP + 1];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(relay_neighbour_parse(str_n(longest, RELAY_NEIGHBOUR_CAP), store, &n), RC_TOO_LARGE);
    assert_int_equal(relay_neighbour_parse(str_n(longest, 254), store, &n), RC_INVALID);
    assert_int_equal(relay_neighbour_parse(str_n(longest, 253), store, &n), RC_OK);
}

/* Each answer also in all shorter lengths: more must come, until it is whole. */
static void check_answer(const char *text, int want, size_t want_used)
{
    size_t used = 0, n = strlen(text);
    int got = mesh_http_answer((const uint8_t *)text, n, &used);
    if (got != want || (want == 1 && used != want_used))
        fail_msg("%d after %zu bytes: %s", got, used, text);
    for (size_t i = 0; want == 1 && i < want_used; i++)
        assert_int_equal(mesh_http_answer((const uint8_t *)text, i, &used), 0);
}

static void test_http_answers(void **state)
{
    (void)state;
    struct vectors v;
    vectors_load(&v, VECTORS_DIR "/derp.json");
    struct str real = vectors_text(vectors_at(&v, "http_101_response", NULL));
    char text[512];
    snprintf(text, sizeof(text), "%.*s\1\2", STR_ARG(real));
    check_answer(text, 1, real.len);
    vectors_fini(&v);
    check_answer("HTTP/1.1 101\r\nupgrade: derp\r\n\r\n", 1, 31);
    check_answer("HTTP/1.1 101 \r\nUPGRADE:DERP\r\nX:\r\n\r\nabc", 1, 35);
    check_answer("HTTP/1.1 101 Switching Protocols\r\n\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 200 OK\r\nUpgrade: DERP\r\n\r\n", RC_UNSUPPORTED, 0);
    check_answer("HTTP/1.1 426 Upgrade Required\r\n", RC_UNSUPPORTED, 0);
    check_answer("HTTP/1.0 101 Switching Protocols\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 1015 x\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 10\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 1x1 x\r\n", RC_INVALID, 0);
    check_answer("\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\nUpgrade : DERP\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\n: DERP\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\n folded\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\nA: b\x01\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\nA: b\nUpgrade: DERP\r\n\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\nno colon\r\n", RC_INVALID, 0);
    check_answer("HTTP/1.1 101 x\r\nUpgrade: DERP\r\n", 0, 0);
    static uint8_t endless[8192];
    size_t used;
    memset(endless, 'a', sizeof(endless));
    memcpy(endless, "HTTP/1.1 101 x\r\nA: ", 19);
    assert_int_equal(mesh_http_answer(endless, 4095, &used), 0);
    assert_int_equal(mesh_http_answer(endless, 4096, &used), RC_TOO_LARGE);
    assert_int_equal(mesh_http_answer(endless, sizeof(endless), &used), RC_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mesh_key_texts),
        cmocka_unit_test(test_neighbour_texts),
        cmocka_unit_test(test_bad_neighbour_texts),
        cmocka_unit_test(test_http_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
