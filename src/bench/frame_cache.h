/* A cache from zstd frames of map responses to their effect (map_effect.h). A server that shares its pieces sends
 * the same bytes to thousands of nodes: each frame is decompressed and scanned once. The key is the scanner's state
 * in front of the frame, and length and hash of its bytes. A frame that ends inside a record or a token is read
 * again each time.
 *
 * Memory is bounded: when the younger of two generations is full, the older one is dropped. Not thread-safe. */
#ifndef BENCH_FRAME_CACHE_H
#define BENCH_FRAME_CACHE_H

#include "base/map.h"
#include "bench/map_effect.h"
#include "codec/zstd.h"

enum {
    FRAME_CACHE_FRAME_MAX_BYTES = 16 * 1024 * 1024, /* compressed */
    FRAME_CACHE_CONTENT_MAX_BYTES = 256 * 1024 * 1024,
    FRAME_CACHE_GENERATION_BYTES = 48 * 1024 * 1024,
};

struct frame_cache {
    struct map_effect_builder builder;
    struct map young, old; /* struct map_effect, owned */
    size_t young_bytes;
    size_t generation_bytes;   /* FRAME_CACHE_GENERATION_BYTES; 0: nothing is kept */
    struct map_effect *single; /* owned: the last effect that was not kept */
    struct zstd_ctx zstd;
    struct buf content;
    uint64_t hits, misses;
};

/* `roster`, and what `look` (map_effect.h; may be null) works on, must outlive the cache. */
void frame_cache_init(struct frame_cache *m, struct roster *roster,
                      void (*look)(void *ctx, const struct scan_record *r, int index, bool is_patch), void *look_ctx);
void frame_cache_fini(struct frame_cache *m);

/* Reads one whole zstd frame, the next of the document that `s` is in. The state of `s` moves on, its counts do not.
 * `*out` is valid until the next call. RC_INVALID, RC_TRUNCATED, RC_TOO_DEEP, RC_UNSUPPORTED: no zstd, no JSON or no
 * map response; RC_TOO_LARGE. */
MUST_CHECK enum rc frame_cache_read(struct frame_cache *m, struct scan *s, const uint8_t *frame, size_t n,
                                    const struct map_effect **out);

/* A 64-bit hash of some bytes. */
uint64_t frame_cache_hash(const void *bytes, size_t n, uint64_t seed);

/* The length of the zstd frame at `p`. Returns 1 and sets `*len_out`; 0: the frame goes on after the `n` bytes;
 * RC_INVALID: no frame; RC_TOO_LARGE. */
MUST_CHECK int frame_cache_frame_len(const uint8_t *p, size_t n, size_t *len_out);

#endif
