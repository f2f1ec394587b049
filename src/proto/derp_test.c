#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/derp.h"
#include "proto/test_vectors.h"

static const char packet[] = "wireguard-ish payload";

static struct vectors vectors;
static private_key server, client_a, mesh_peer;
static node_key key_a, key_b, mesh_public;
static uint8_t server_public[KEY_BYTES];

static void load_key(const char *name, uint8_t out[KEY_BYTES])
{
    struct str bytes = vectors_bytes(&vectors, "keys", name);
    assert_int_equal(bytes.len, KEY_BYTES);
    memcpy(out, bytes.p, KEY_BYTES);
}

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    vectors_load(&vectors, VECTORS_DIR "/derp.json");
    load_key("server_private", server.b);
    load_key("server_public", server_public);
    load_key("a_private", client_a.b);
    load_key("a_public", key_a.b);
    load_key("b_public", key_b.b);
    load_key("mesh_peer_private", mesh_peer.b);
    load_key("mesh_peer_public", mesh_public.b);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vectors_fini(&vectors);
    return 0;
}

static struct str frame(const char *name)
{
    return vectors_bytes(&vectors, "frames", name);
}

/* Compares what was built with a vector and empties it. */
static void assert_frame(struct buf *built, const char *name)
{
    struct str want = frame(name);
    assert_int_equal(buf_len(built), want.len);
    assert_memory_equal(buf_at(built), want.p, want.len);
    buf_clear(built);
}

static void test_frames_of_the_server(void **state)
{
    (void)state;
    struct buf b = {0};
    derp_append_server_key(&b, server_public);
    assert_frame(&b, "server_key");
    derp_append_recv_packet(&b, &key_a, packet, sizeof(packet) - 1);
    assert_frame(&b, "recv_packet_at_b_from_a");
    derp_append_frame(&b, DERP_KEEP_ALIVE, NULL, 0);
    assert_frame(&b, "keep_alive");
    derp_append_peer_gone(&b, &key_a, DERP_GONE_DISCONNECTED);
    assert_frame(&b, "peer_gone_disconnected_a");
    derp_append_peer_gone(&b, &key_a, DERP_GONE_NOT_HERE);
    assert_frame(&b, "peer_gone_not_here_a");
    derp_append_health(&b, STR("duplicate node key"));
    assert_frame(&b, "health_duplicate");
    derp_append_health(&b, STR_EMPTY);
    assert_frame(&b, "health_clear");
    derp_append_restarting(&b, 1500, 5000);
    assert_frame(&b, "restarting_in1500ms_try5000");
    derp_append_frame(&b, DERP_PING, "12345678", 8);
    assert_frame(&b, "ping");
    derp_append_frame(&b, DERP_PONG, "12345678", 8);
    assert_frame(&b, "pong");
    buf_fini(&b);
}

static void test_frames_of_mesh_and_client(void **state)
{
    (void)state;
    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 5};
    static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7};
    struct buf b = {0};
    derp_append_peer_present(&b, &key_a, v6, 41641, DERP_PRESENT_REGULAR);
    assert_frame(&b, "peer_present_a_v6_regular");
    derp_append_peer_present(&b, &key_b, v4, 1234, DERP_PRESENT_NOT_IDEAL);
    assert_frame(&b, "peer_present_b_v4_notideal");
    derp_append_peer_present(&b, &mesh_public, v4, 1234, DERP_PRESENT_MESH_PEER);
    assert_frame(&b, "peer_present_mesh_peer_v4");
    derp_append_send_packet(&b, &key_b, packet, sizeof(packet) - 1);
    assert_frame(&b, "send_packet_a_to_b");
    derp_append_frame(&b, DERP_NOTE_PREFERRED, "\1", 1);
    assert_frame(&b, "note_preferred_home");
    derp_append_frame(&b, DERP_NOTE_PREFERRED, "\0", 1);
    assert_frame(&b, "note_preferred_not_home");
    derp_append_frame(&b, DERP_WATCH_CONNS, NULL, 0);
    assert_frame(&b, "watch_conns");
    derp_append_frame(&b, DERP_CLOSE_PEER, key_a.b, KEY_BYTES);
    assert_frame(&b, "close_peer_a");
    buf_fini(&b);
}

/* Every frame in the vectors has a header with its length. */
static void test_headers(void **state)
{
    (void)state;
    JSON_EACH (row, vectors_at(&vectors, "frames", NULL)) {
        struct str bytes = vectors_hex(&vectors, row);
        struct derp_header h = derp_header_parse((const uint8_t *)bytes.p);
        assert_int_equal(h.len, bytes.len - DERP_HEADER_BYTES);
        uint8_t again[DERP_HEADER_BYTES];
        derp_header_build(h.type, h.len, again);
        assert_memory_equal(again, bytes.p, DERP_HEADER_BYTES);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        uint32_t len;
        enum rc want;
    } rows[] = {
        {DERP_SEND_PACKET, 31, RC_TRUNCATED},
        {DERP_SEND_PACKET, 32, RC_OK},
        {DERP_SEND_PACKET, 32 + 65536, RC_OK},
        {DERP_SEND_PACKET, 32 + 65537, RC_TOO_LARGE},
        {DERP_FORWARD_PACKET, 63, RC_TRUNCATED},
        {DERP_FORWARD_PACKET, 64 + 65536, RC_OK},
        {DERP_FORWARD_PACKET, 64 + 65537, RC_TOO_LARGE},
        {DERP_NOTE_PREFERRED, 0, RC_TRUNCATED},
        {DERP_NOTE_PREFERRED, 1, RC_OK},
        {DERP_NOTE_PREFERRED, 2, RC_TOO_LARGE},
        {DERP_WATCH_CONNS, 0, RC_OK},
        {DERP_WATCH_CONNS, 1, RC_TOO_LARGE},
        {DERP_CLOSE_PEER, 31, RC_TRUNCATED},
        {DERP_CLOSE_PEER, 32, RC_OK},
        {DERP_CLOSE_PEER, 33, RC_TOO_LARGE},
        {DERP_PING, 7, RC_TRUNCATED},
        {DERP_PING, 8, RC_OK},
        {DERP_PING, 1000, RC_OK},
        {DERP_PING, 1001, RC_TOO_LARGE},
        {DERP_PONG, 8, RC_OK},
        {DERP_PONG, 9, RC_UNSUPPORTED},
        {DERP_CLIENT_INFO, 100, RC_INVALID}, /* a second login */
        {DERP_RECV_PACKET, 40, RC_UNSUPPORTED},
        {0x7f, UINT32_MAX, RC_UNSUPPORTED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(derp_header_check((struct derp_header){rows[i].type, rows[i].len}, false), rows[i].want);
}

static void test_limits_of_login(void **state)
{
    (void)state;
    assert_int_equal(derp_header_check((struct derp_header){DERP_CLIENT_INFO, 55}, true), RC_TRUNCATED);
    assert_int_equal(derp_header_check((struct derp_header){DERP_CLIENT_INFO, 56}, true), RC_OK);
    assert_int_equal(derp_header_check((struct derp_header){DERP_CLIENT_INFO, 4096}, true), RC_OK);
    assert_int_equal(derp_header_check((struct derp_header){DERP_CLIENT_INFO, 4097}, true), RC_TOO_LARGE);
    assert_int_equal(derp_header_check((struct derp_header){DERP_SEND_PACKET, 64}, true), RC_INVALID);
    assert_int_equal(derp_header_check((struct derp_header){0x7f, 64}, true), RC_INVALID);
}

static enum rc open_client_info(struct str whole, struct derp_client_info *out)
{
    return derp_client_info_open(&server, (const uint8_t *)whole.p + DERP_HEADER_BYTES, whole.len - DERP_HEADER_BYTES,
                                 out);
}

static void test_client_info(void **state)
{
    (void)state;
    struct derp_client_info info;
    assert_int_equal(open_client_info(frame("client_info_a"), &info), RC_OK);
    assert_true(keys_equal(info.key.b, key_a.b));
    assert_int_equal(info.version, 2);
    assert_true(info.can_ack_pings);
    assert_false(info.has_mesh_key);
    struct buf b = {0};
    struct str nonce = vectors_bytes(&vectors, "nonces", "client_info_a");
    assert_int_equal(derp_append_client_info(&b, &client_a, server_public, (const uint8_t *)nonce.p, &info), RC_OK);
    assert_frame(&b, "client_info_a");

    assert_int_equal(open_client_info(frame("client_info_mesh"), &info), RC_OK);
    assert_true(keys_equal(info.key.b, mesh_public.b));
    assert_true(info.has_mesh_key && info.mesh_key[1] == 0x11);
    assert_false(info.can_ack_pings);
    nonce = vectors_bytes(&vectors, "nonces", "client_info_mesh");
    assert_int_equal(derp_append_client_info(&b, &mesh_peer, server_public, (const uint8_t *)nonce.p, &info), RC_OK);
    assert_frame(&b, "client_info_mesh");
    buf_fini(&b);
}

/* Seals `text` as client a and opens it. */
static enum rc open_text(struct str text, struct derp_client_info *out)
{
    static const uint8_t nonce[BOX_NONCE_BYTES];
    uint8_t payload[KEY_BYTES + BOX_OVERHEAD + 512];
    assert_true(text.len <= 512);
    memcpy(payload, key_a.b, KEY_BYTES);
    assert_int_equal(box_seal(client_a.b, server_public, nonce, text.p, text.len, payload + KEY_BYTES), RC_OK);
    return derp_client_info_open(&server, payload, KEY_BYTES + BOX_OVERHEAD + text.len, out);
}

static void test_client_info_texts(void **state)
{
    (void)state;
    struct derp_client_info info;
    assert_int_equal(open_text(vectors_text(vectors_at(&vectors, "client_info_json", "prober_app")), &info), RC_OK);
    assert_true(info.is_prober && info.can_ack_pings);
    assert_string_equal(info.app_name, "tailscaled");
    assert_int_equal(open_text(STR("{}"), &info), RC_OK);
    assert_int_equal(info.version, 0);
    assert_int_equal(open_text(STR("{\"CANACKPINGS\":true,\"Version\":3,\"New\":[{}]}"), &info), RC_OK);
    assert_true(info.can_ack_pings && info.version == 3);
    assert_int_equal(open_text(STR("{\"meshKey\":\"\",\"AppName\":\"a\\u0001\\n b\"}"), &info), RC_OK);
    assert_string_equal(info.app_name, "ab");
    assert_false(info.has_mesh_key);

    assert_int_equal(open_text(STR("{\"meshKey\":\"0011\"}"), &info), RC_INVALID);
    assert_int_equal(open_text(STR("{\"meshKey\":7}"), &info), RC_INVALID);
    assert_int_equal(open_text(STR("[]"), &info), RC_INVALID);
    assert_int_equal(open_text(STR("null"), &info), RC_INVALID);
    assert_int_equal(open_text(STR("{\"version\":"), &info), RC_INVALID);
    assert_int_equal(open_text(STR_EMPTY, &info), RC_INVALID);
}

static void test_client_info_refusals(void **state)
{
    (void)state;
    struct str good = frame("client_info_a");
    const uint8_t *payload = (const uint8_t *)good.p + DERP_HEADER_BYTES;
    size_t n = good.len - DERP_HEADER_BYTES;
    struct derp_client_info info;
    for (size_t cut = 0; cut < n; cut++)
        assert_int_not_equal(derp_client_info_open(&server, payload, cut, &info), RC_OK);
    uint8_t bad[256];
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, payload, n);
        bad[i] ^= 1;
        assert_int_equal(derp_client_info_open(&server, bad, n, &info), RC_CRYPTO);
    }
    assert_int_equal(derp_client_info_open(&client_a, payload, n, &info), RC_CRYPTO);
    memset(bad, 0, sizeof(bad)); /* the all-zero key is a low-order point */
    assert_int_equal(derp_client_info_open(&server, bad, n, &info), RC_CRYPTO);
}

static void test_server_info(void **state)
{
    (void)state;
    struct derp_server_info info = {.version = 2};
    struct str nonce = vectors_bytes(&vectors, "nonces", "server_info");
    struct buf b = {0};
    assert_int_equal(derp_append_server_info(&b, &server, &key_a, (const uint8_t *)nonce.p, &info), RC_OK);
    assert_frame(&b, "server_info_to_a");

    info = (struct derp_server_info){2, 1000000, 250000};
    assert_int_equal(derp_append_server_info(&b, &server, &key_a, (const uint8_t *)nonce.p, &info), RC_OK);
    struct derp_server_info got;
    const uint8_t *payload = buf_at(&b) + DERP_HEADER_BYTES;
    size_t n = buf_len(&b) - DERP_HEADER_BYTES;
    assert_int_equal(derp_server_info_open(&client_a, server_public, payload, n, &got), RC_OK);
    assert_memory_equal(&got, &info, sizeof(got));
    assert_int_equal(derp_server_info_open(&client_a, server_public, payload, BOX_OVERHEAD - 1, &got), RC_TRUNCATED);
    assert_int_equal(derp_server_info_open(&client_a, server_public, payload, n - 1, &got), RC_CRYPTO);
    uint8_t text[128];
    struct str want = vectors_text(vectors_at(&vectors, "server_info_json", "with_token_bucket"));
    assert_int_equal(box_open(client_a.b, server_public, payload, n, text), RC_OK);
    assert_int_equal(n - BOX_OVERHEAD, want.len);
    assert_memory_equal(text, want.p, want.len);
    buf_fini(&b);
}

static void test_disco(void **state)
{
    (void)state;
    size_t n = 0;
    JSON_EACH (row, vectors_at(&vectors, "disco_classifier", NULL)) {
        struct str bytes = vectors_hex(&vectors, json_get(row, "packet"));
        bool want = false;
        assert_true(json_bool(json_get(row, "is_disco"), &want));
        assert_int_equal(derp_is_disco((const uint8_t *)bytes.p, bytes.len), want);
        n++;
    }
    assert_int_equal(n, 3);
    assert_false(derp_is_disco(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_of_the_server),
        cmocka_unit_test(test_frames_of_mesh_and_client),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limits_of_login),
        cmocka_unit_test(test_client_info),
        cmocka_unit_test(test_client_info_texts),
        cmocka_unit_test(test_client_info_refusals),
        cmocka_unit_test(test_server_info),
        cmocka_unit_test(test_disco),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
