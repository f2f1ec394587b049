/* Zstandard frames (RFC 8878) for map responses and compressed requests, over libzstd with reused contexts (a fresh one
 * costs 17 us for an 18-byte keep-alive, a reused one 0.2 us).
 * src: docs/protocol/control.md 10; tests/vectors/map_framing.json */
#ifndef CODEC_ZSTD_H
#define CODEC_ZSTD_H

#include <stddef.h>

#include "base/buf.h"
#include "base/rc.h"

enum {
    ZSTD_LEVEL_DEFAULT = 1,    /* 3 is slower and larger on our data: keys are random hex */
    ZSTD_WINDOW_LOG_MAX = 23,  /* 8 MiB: what we write and accept; phones have little memory */
    ZSTD_RAW_OVERHEAD_MIN = 9, /* bytes that zstd_append_raw adds to content of up to 255 bytes */
};

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

/* Contexts made on first use and reused. Zero-initialised is valid. One per thread. */
struct zstd_ctx {
    struct ZSTD_CCtx_s *compress;   /* owned */
    struct ZSTD_DCtx_s *decompress; /* owned */
};

/* Frees both contexts; they may be used again. */
void zstd_ctx_fini(struct zstd_ctx *ctx);

/* Appends one frame with `n` bytes of `in`: content size present, no checksum; `level` 1..22, or negative for
 * faster ones. RC_INTERNAL when the library fails; `out` is as before then. */
MUST_CHECK enum rc zstd_compress(struct zstd_ctx *ctx, int level, const void *in, size_t n, struct buf *out);

/* Appends the content of all frames in `in`; skippable frames are skipped, nothing else may be between or after them.
 * An empty input has no content. Never grows `out` by more than `max_out` bytes (and a window of at most 8 MiB inside).
 * RC_TOO_LARGE (more content than `max_out`, or a larger window), RC_TRUNCATED, RC_INVALID, RC_UNSUPPORTED
 * (dictionary); then `out` is as before. */
MUST_CHECK enum rc zstd_decompress(struct zstd_ctx *ctx, const void *in, size_t n, size_t max_out, struct buf *out);

/* Appends one frame that holds `n` bytes uncompressed: glue between frames that were compressed once and are sent to
 * many. Costs 9 bytes for up to 255, 10 up to 65 791, then 12 and 3 more for each further 128 KiB. Needs no context. */
void zstd_append_raw(struct buf *out, const void *p, size_t n);

#endif
