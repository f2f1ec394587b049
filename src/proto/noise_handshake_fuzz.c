/* The Noise handshake: the input as message 1 at a server, as the reply at a client, and as the randomness of an honest
 * handshake, which must come through. The keys are those of the first case in tests/vectors/noise_ik_handshake.json, so
 * that its messages in the corpus are good ones. */
#include <assert.h>
#include <string.h>

#include "base/fuzz_bounds.h"
#include "proto/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static private_key server, client;
static machine_key server_public;
static uint8_t server_ephemeral[32];
static struct noise_initiator initiated;

static void unhex(const char *hex, uint8_t out[32])
{
    enum rc rc = hex_decode(str_c(hex), out, 32);
    assert(rc == RC_OK);
}

static void init(void)
{
    uint8_t client_ephemeral[32];
    uint8_t msg1[NOISE_INITIATION_BYTES];
    crypto_init();
    unhex("f88a21c3da7bbd911600a496fdc1d978b80d9983a4b6b60d2b1109d938f7ea6a", server.b);
    unhex("b8cebad04ec13e9d7341a49e3101879b3ecc46ddfec1d6e75619457b7f37b75d", client.b);
    unhex("18572085abecfa1712f12877822d77bf85f98b6e416bd22baf63856f3271197a", server_ephemeral);
    unhex("38dfe8381a1101abc46d26eaa2fc1ad94e782e6c4dc53874d38b57fc15191a7b", client_ephemeral);
    private_key_public(&server, server_public.b);
    enum rc rc = noise_initiate(&initiated, &client, client_ephemeral, &server_public, 113, msg1);
    assert(rc == RC_OK);
}

static void assert_zero(const struct noise_result *r)
{
    static const struct noise_result zero;
    assert(memcmp(r, &zero, sizeof(zero)) == 0);
}

static void as_message_1(const uint8_t *data, size_t size)
{
    struct noise_result r;
    enum rc rc = noise_respond(&server, server_ephemeral, data, size, &r);
    assert(rc == RC_OK || rc == RC_CRYPTO || rc == RC_INVALID);
    assert((rc == RC_INVALID) >= (size != NOISE_INITIATION_BYTES));
    if (rc != RC_OK)
        assert_zero(&r);
}

static void as_reply(const uint8_t *data, size_t size)
{
    struct noise_initiator hs = initiated;
    struct noise_result r;
    struct str text;
    size_t used;
    int got = noise_initiate_finish(&hs, data, size, &r, &used, &text);
    assert(got == 1 || got == 0 || got == RC_DENIED || got == RC_CRYPTO || got == RC_INVALID);
    assert(used <= size && text.len <= size);
    if (got != 1)
        assert_zero(&r);
}

static void as_randomness(const uint8_t *data)
{
    struct noise_initiator hs;
    struct noise_result theirs, ours;
    uint8_t msg1[NOISE_INITIATION_BYTES];
    struct str text;
    size_t used;
    uint16_t version = (uint16_t)(data[0] << 8 | data[1]);
    private_key random;
    private_key_from_bytes(data + 2, &random);
    enum rc rc = noise_initiate(&hs, &random, data + 34, &server_public, version, msg1);
    assert(rc == RC_OK);
    rc = noise_respond(&server, data + 66, msg1, sizeof(msg1), &theirs);
    assert(rc == RC_OK && theirs.version == version);
    int got = noise_initiate_finish(&hs, theirs.response, sizeof(theirs.response), &ours, &used, &text);
    assert(got == 1 && used == NOISE_RESPONSE_BYTES);
    assert(memcmp(ours.handshake_hash, theirs.handshake_hash, 32) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (initiated.version == 0)
        init();
    fuzz_bounds_mark();
    as_message_1(data, size);
    as_reply(data, size);
    if (size == 2 + 3 * 32)
        as_randomness(data);
    fuzz_bounds_check(size, 4096, 4);
    fuzz_bounds_check_steps(size, 10000, 8);
    return 0;
}
