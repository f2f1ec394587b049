#include "codec/zstd.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    STEP_BYTES = 128 * 1024, /* output is grown by so much: a block, the most one step of the decoder gives */
    BLOCK_MAX_BYTES = 128 * 1024,
    BLOCK_HEADER_BYTES = 3,
    FRAME_HEADER_MAX_BYTES = 4 + 1 + 8, /* of those we write: magic, descriptor, content size */
};

void zstd_ctx_fini(struct zstd_ctx *ctx)
{
    ZSTD_freeCCtx(ctx->compress);
    ZSTD_freeDCtx(ctx->decompress);
    *ctx = (struct zstd_ctx){0};
}

static enum rc compressor(struct zstd_ctx *ctx, int level)
{
    if (ctx->compress == NULL)
        ctx->compress = ZSTD_createCCtx();
    if (ctx->compress == NULL)
        return RC_INTERNAL;
    /* Only the levels above 19 would take a larger window; 0 is the level's own. */
    int window_log = level > 19 ? ZSTD_WINDOW_LOG_MAX : 0;
    bool failed = ZSTD_isError(ZSTD_CCtx_setParameter(ctx->compress, ZSTD_c_compressionLevel, level)) ||
                  ZSTD_isError(ZSTD_CCtx_setParameter(ctx->compress, ZSTD_c_windowLog, window_log));
    return failed ? RC_INTERNAL : RC_OK;
}

enum rc zstd_compress(struct zstd_ctx *ctx, int level, const void *in, size_t n, struct buf *out)
{
    TRY(compressor(ctx, level));
    size_t room = ZSTD_compressBound(n);
    uint8_t *at = buf_reserve(out, room);
    size_t made = ZSTD_compress2(ctx->compress, at, room, in, n);
    if (ZSTD_isError(made))
        return RC_INTERNAL;
    buf_commit(out, made);
    return RC_OK;
}

static enum rc rc_of(size_t library_code)
{
    switch (ZSTD_getErrorCode(library_code)) {
    case ZSTD_error_frameParameter_windowTooLarge: return RC_TOO_LARGE;
    case ZSTD_error_dictionary_wrong: return RC_UNSUPPORTED;
    case ZSTD_error_srcSize_wrong: return RC_TRUNCATED;
    case ZSTD_error_memory_allocation: return RC_INTERNAL;
    default: return RC_INVALID;
    }
}

/* The library also reads the formats of before 1.0, which we do not. */
static enum rc check_magic(const uint8_t *p, size_t n)
{
    if (n < 4)
        return RC_TRUNCATED;
    uint32_t magic = (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
    bool known = magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
    return known ? RC_OK : RC_INVALID;
}

/* Decodes one frame at `in->pos`. One byte more than `*room` is offered, so that too much content differs from just
 * enough. */
static enum rc decompress_frame(ZSTD_DCtx *d, ZSTD_inBuffer *in, size_t *room, struct buf *out)
{
    TRY(check_magic((const uint8_t *)in->src + in->pos, in->size - in->pos));
    for (;;) {
        size_t step = *room < STEP_BYTES ? *room + 1 : STEP_BYTES;
        ZSTD_outBuffer piece = {.dst = buf_reserve(out, step), .size = step};
        size_t before = in->pos;
        size_t left = ZSTD_decompressStream(d, &piece, in);
        if (ZSTD_isError(left))
            return rc_of(left);
        if (piece.pos > *room)
            return RC_TOO_LARGE;
        buf_commit(out, piece.pos);
        *room -= piece.pos;
        if (left == 0)
            return RC_OK;
        if (in->pos == in->size && piece.pos < piece.size)
            return RC_TRUNCATED;
        if (in->pos == before && piece.pos == 0)
            return RC_INVALID;
    }
}

static enum rc decompressor(struct zstd_ctx *ctx)
{
    if (ctx->decompress == NULL)
        ctx->decompress = ZSTD_createDCtx();
    if (ctx->decompress == NULL)
        return RC_INTERNAL;
    ZSTD_DCtx_reset(ctx->decompress, ZSTD_reset_session_only);
    size_t bad = ZSTD_DCtx_setParameter(ctx->decompress, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    return ZSTD_isError(bad) ? RC_INTERNAL : RC_OK;
}

enum rc zstd_decompress(struct zstd_ctx *ctx, const void *in, size_t n, size_t max_out, struct buf *out)
{
    size_t before = buf_len(out);
    ZSTD_inBuffer input = {.src = in, .size = n};
    enum rc rc = decompressor(ctx);
    while (rc == RC_OK && input.pos < input.size)
        rc = decompress_frame(ctx->decompress, &input, &max_out, out);
    if (rc != RC_OK)
        out->end = out->start + before;
    return rc;
}

static void put_le(uint8_t **at, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++, v >>= 8)
        *(*at)++ = (uint8_t)v;
}

/* src: RFC 8878 3.1.1.1: single segment, so that no window is written; the content size takes 1, 2, 4 or 8 bytes. */
static void put_frame_header(uint8_t **at, size_t n)
{
    put_le(at, ZSTD_MAGICNUMBER, 4);
    if (n <= 255) {
        put_le(at, 0x20, 1);
        put_le(at, n, 1);
    } else if (n <= 65535 + 256) {
        put_le(at, 0x60, 1);
        put_le(at, n - 256, 2);
    } else if (n <= UINT32_MAX) {
        put_le(at, 0xa0, 1);
        put_le(at, n, 4);
    } else {
        put_le(at, 0xe0, 1);
        put_le(at, n, 8);
    }
}

void zstd_append_raw(struct buf *out, const void *p, size_t n)
{
    const uint8_t *from = p;
    size_t blocks = n > 0 ? (n - 1) / BLOCK_MAX_BYTES + 1 : 1;
    uint8_t *start = buf_reserve(out, n + FRAME_HEADER_MAX_BYTES + blocks * BLOCK_HEADER_BYTES);
    uint8_t *at = start;
    put_frame_header(&at, n);
    for (; blocks > 0; blocks--) {
        size_t len = n < BLOCK_MAX_BYTES ? n : BLOCK_MAX_BYTES;
        /* src: RFC 8878 3.1.1.2: last flag, type 0 = raw, size. */
        put_le(&at, (blocks == 1 ? 1 : 0) | len << 3, BLOCK_HEADER_BYTES);
        if (len == 0)
            break;
        memcpy(at, from, len);
        at += len;
        from += len;
        n -= len;
    }
    buf_commit(out, (size_t)(at - start));
}
