/* Noise records: the input as what arrives, whole and byte by byte with the same outcome, and as what is written,
 * sealed and opened in chunks of sizes that it gives itself. The key is key_client_to_server of the first case in
 * tests/vectors/noise_ik_handshake.json, so that its records in the corpus are good ones. */
#include <assert.h>
#include <string.h>

#include "base/fuzz_bounds.h"
#include "proto/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t key[32];

static void init(void)
{
    crypto_init();
    enum rc rc = hex_decode(STR("1615671406a5576f71887ab9831a9bc5e3077d3eea6365d0a9ebf53413585721"), key, sizeof(key));
    assert(rc == RC_OK);
}

/* Appends the plaintext of all records that open to `out`; returns the last result. `sizes` (may be null): the sizes of
 * chunks. */
static int open_chunks(const uint8_t *p, size_t n, const uint8_t *sizes, size_t sizes_n, size_t chunk, struct buf *out)
{
    struct noise_opener o;
    uint8_t plain[NOISE_PLAIN_MAX];
    size_t len;
    int got = 0;
    noise_opener_init(&o, key);
    for (size_t i = 0; n > 0 && got == 0; i++) {
        size_t now = sizes_n > 0 ? 1 + 20u * sizes[i % sizes_n] : chunk;
        now = now < n ? now : n;
        n -= now;
        while ((got = noise_open(&o, &p, &now, plain, &len)) == 1) {
            assert(len <= NOISE_PLAIN_MAX);
            buf_append(out, plain, len);
        }
        assert(got < 0 || now == 0);
        assert(buf_len(&o.partial) < NOISE_RECORD_MAX);
    }
    noise_opener_fini(&o);
    return got;
}

static void as_input(const uint8_t *data, size_t size)
{
    struct buf whole = {0};
    struct buf split = {0};
    int got = open_chunks(data, size, NULL, 0, size, &whole);
    assert(got == 0 || got == RC_INVALID || got == RC_TOO_LARGE || got == RC_CRYPTO);
    assert(open_chunks(data, size, NULL, 0, 1, &split) == got);
    assert(str_eq(buf_str(&whole), buf_str(&split)));
    buf_fini(&whole);
    buf_fini(&split);
}

static void as_output(const uint8_t *data, size_t size)
{
    struct noise_sealer s;
    struct buf wire = {0};
    struct buf got = {0};
    noise_sealer_init(&s, key);
    for (size_t at = 0; at < size;) {
        size_t n = 1 + 40u * data[at];
        n = n < size - at ? n : size - at;
        enum rc rc = noise_seal(&s, data + at, n, &wire);
        assert(rc == RC_OK);
        at += n;
    }
    int rc = open_chunks(wire.data, buf_len(&wire), data, size, 0, &got);
    assert(rc == 0);
    assert(str_eq(buf_str(&got), str_n(data, size)));
    noise_sealer_fini(&s);
    buf_fini(&wire);
    buf_fini(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (key[0] == 0)
        init();
    fuzz_bounds_mark();
    as_input(data, size);
    as_output(data, size);
    /* Opened byte by byte. */
    fuzz_bounds_check(size, 64 << 10, 200);
    fuzz_bounds_check_steps(size, 20000, 1600);
    return 0;
}
