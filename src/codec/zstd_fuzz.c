/* Decompression of any bytes within its limit; and both ways of making frames read back. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/zstd.h"

enum { MAX_OUT = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct zstd_ctx ctx;
    struct buf out = {0};
    struct buf packed = {0};
    fuzz_bounds_mark();
    enum rc rc = zstd_decompress(&ctx, data, size, MAX_OUT, &out);
    if (buf_len(&out) > (rc == RC_OK ? MAX_OUT : 0))
        abort();
    buf_clear(&out);
    zstd_append_raw(&packed, data, size);
    if (zstd_compress(&ctx, ZSTD_LEVEL_DEFAULT, data, size, &packed) != RC_OK ||
        zstd_decompress(&ctx, buf_at(&packed), buf_len(&packed), 2 * size, &out) != RC_OK ||
        buf_len(&out) != 2 * size || !str_eq(str_n(buf_at(&out), size), str_n(data, size)))
        abort();
    buf_fini(&out);
    buf_fini(&packed);
    /* What the codec keeps for itself (8.4 MiB were seen); and what comes out of a few bytes, in a buffer that doubles.
     */
    fuzz_bounds_check(size, 12 << 20, 96);
    fuzz_bounds_check_steps(size, 2000000, 16);
    return 0;
}
