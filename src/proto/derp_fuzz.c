/* DERP: the input as a sequence of frames, as the server reads them, and as the payload of both login frames under
 * fixed keys. A frame whose header passes must fit the limits that the table of frames gives. */
#include <assert.h>
#include <string.h>

#include "base/fuzz_bounds.h"
#include "proto/derp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAME_MAX_BYTES = 2 * KEY_BYTES + DERP_PACKET_MAX_BYTES };

static void read_frames(const uint8_t *p, size_t n)
{
    bool is_login = true;
    while (n >= DERP_HEADER_BYTES) {
        struct derp_header h = derp_header_parse(p);
        enum rc rc = derp_header_check(h, is_login);
        p += DERP_HEADER_BYTES;
        n -= DERP_HEADER_BYTES;
        if ((rc != RC_OK && rc != RC_UNSUPPORTED) || h.len > n)
            return;
        assert(rc == RC_UNSUPPORTED || h.len <= (is_login ? (uint32_t)DERP_CLIENT_INFO_MAX_BYTES : FRAME_MAX_BYTES));
        if (h.type == DERP_SEND_PACKET)
            derp_is_disco(p + KEY_BYTES, h.len - KEY_BYTES);
        is_login = false;
        p += h.len;
        n -= h.len;
    }
}

/* Seals the input as a client would, so that the JSON behind the box is reached. */
static void read_sealed(const private_key *server, const uint8_t *text, size_t n)
{
    static const uint8_t nonce[BOX_NONCE_BYTES];
    if (n > 4096)
        return;
    uint8_t random[KEY_BYTES] = {7};
    private_key client;
    private_key_from_bytes(random, &client);
    uint8_t server_public[KEY_BYTES], payload[KEY_BYTES + BOX_OVERHEAD + 4096];
    private_key_public(server, server_public);
    private_key_public(&client, payload);
    if (box_seal(client.b, server_public, nonce, text, n, payload + KEY_BYTES) != RC_OK)
        return;
    struct derp_client_info info;
    if (derp_client_info_open(server, payload, KEY_BYTES + BOX_OVERHEAD + n, &info) != RC_OK)
        return;
    assert(strlen(info.app_name) < sizeof(info.app_name));
    struct buf again = {0};
    assert(derp_append_client_info(&again, &client, server_public, nonce, &info) == RC_OK);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    crypto_init();
    uint8_t random[KEY_BYTES] = {1};
    private_key server;
    private_key_from_bytes(random, &server);
    struct derp_client_info info;
    struct derp_server_info server_info;
    uint8_t client_public[KEY_BYTES] = {9};
    fuzz_bounds_mark();
    read_frames(data, size);
    fuzz_bounds_check(size, 0, 0);
    read_sealed(&server, data, size);
    (void)!derp_client_info_open(&server, data, size, &info);
    (void)!derp_server_info_open(&server, client_public, data, size, &server_info);
    fuzz_bounds_check(size, 16384, 64);
    fuzz_bounds_check_steps(size, 20000, 80);
    return 0;
}
