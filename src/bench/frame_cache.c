#include "bench/frame_cache.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"

enum { CONTENT_KEEP_BYTES = 1024 * 1024 };

__extension__ typedef unsigned __int128 wide;

/* --- hash: multiply and fold, two lanes --- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

uint64_t frame_cache_hash(const void *bytes, size_t n, uint64_t seed)
{
    static const uint64_t k[] = {0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u};
    const uint8_t *p = bytes;
    uint8_t tail[32] = {0};
    uint64_t a = seed ^ k[0], b = n ^ k[1];
    size_t left = n;
    for (; left > sizeof(tail); left -= sizeof(tail), p += sizeof(tail)) {
        a = fold(word_at(p) ^ k[2], word_at(p + 8) ^ a);
        b = fold(word_at(p + 16) ^ k[3], word_at(p + 24) ^ b);
    }
    if (left > 0)
        memcpy(tail, p, left);
    a = fold(word_at(tail) ^ k[2], word_at(tail + 8) ^ a);
    b = fold(word_at(tail + 16) ^ k[3], word_at(tail + 24) ^ b);
    return fold(a ^ k[1], b ^ k[0]);
}

/* --- generations --- */

static void drop_all(struct map *m)
{
    size_t pos = 0;
    for (struct map_effect *s = map_next(m, &pos); s != NULL; s = map_next(m, &pos))
        mem_free(s);
    map_fini(m);
    map_init(m, NULL);
}

static void keep(struct frame_cache *m, struct map_effect *s)
{
    if (m->young_bytes + map_effect_bytes(s) > m->generation_bytes) {
        drop_all(&m->old);
        struct map empty = m->old;
        m->old = m->young;
        m->young = empty;
        m->young_bytes = 0;
    }
    m->young_bytes += map_effect_bytes(s);
    map_put(&m->young, s->key, sizeof(s->key), s);
}

static struct map_effect *find(struct frame_cache *m, const uint64_t key[2])
{
    struct map_effect *s = map_get(&m->young, key, 2 * sizeof(key[0]));
    if (s != NULL)
        return s;
    s = map_remove(&m->old, key, 2 * sizeof(key[0]));
    if (s != NULL)
        keep(m, s);
    return s;
}

void frame_cache_init(struct frame_cache *m, struct roster *roster,
                      void (*look)(void *ctx, const struct scan_record *r, int index, bool is_patch), void *look_ctx)
{
    *m = (struct frame_cache){.builder = {.roster = roster, .look = look, .look_ctx = look_ctx},
                              .generation_bytes = FRAME_CACHE_GENERATION_BYTES};
    map_init(&m->young, NULL);
    map_init(&m->old, NULL);
}

void frame_cache_fini(struct frame_cache *m)
{
    drop_all(&m->young);
    drop_all(&m->old);
    map_fini(&m->young);
    map_fini(&m->old);
    mem_free(m->single);
    map_effect_builder_fini(&m->builder);
    zstd_ctx_fini(&m->zstd);
    buf_fini(&m->content);
}

/* --- reading --- */

static enum rc scan_frame(struct frame_cache *m, struct scan *s, const uint8_t *frame, size_t n,
                          struct map_effect **out)
{
    map_effect_builder_clear(&m->builder);
    buf_clear(&m->content);
    s->counts = (struct scan_counts){0};
    TRY(zstd_decompress(&m->zstd, frame, n, FRAME_CACHE_CONTENT_MAX_BYTES, &m->content));
    TRY(scan_feed(s, buf_at(&m->content), buf_len(&m->content), &map_effect_builder_events, &m->builder));
    *out = map_effect_build(&m->builder);
    (*out)->counts = s->counts;
    (*out)->json_bytes = (uint32_t)buf_len(&m->content);
    buf_reset(&m->content, CONTENT_KEEP_BYTES);
    return RC_OK;
}

enum rc frame_cache_read(struct frame_cache *m, struct scan *s, const uint8_t *frame, size_t n,
                         const struct map_effect **out)
{
    uint32_t mark = 0;
    struct map_effect *made;
    bool is_marked = m->generation_bytes > 0 && scan_mark(s, &mark);
    uint64_t key[2] = {0, (uint64_t)n << 32 | mark};
    if (is_marked) {
        key[0] = frame_cache_hash(frame, n, mark);
        *out = find(m, key);
        if (*out != NULL) {
            scan_restart(s, (*out)->next_mark);
            m->hits++;
            return RC_OK;
        }
    }
    m->misses++;
    TRY(scan_frame(m, s, frame, n, &made));
    *out = made;
    if (is_marked && !m->builder.has_unknown && scan_mark(s, &made->next_mark)) {
        memcpy(made->key, key, sizeof(key));
        keep(m, made);
        return RC_OK;
    }
    mem_free(m->single);
    m->single = made;
    return RC_OK;
}

/* The library also reads the formats from before zstd 1.0, which are refused here. */
static bool is_magic(const uint8_t *p)
{
    uint32_t magic = (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

int frame_cache_frame_len(const uint8_t *p, size_t n, size_t *len_out)
{
    if (n < 4)
        return 0;
    if (!is_magic(p))
        return RC_INVALID;
    size_t len = ZSTD_findFrameCompressedSize(p, n);
    if (!ZSTD_isError(len)) {
        *len_out = len;
        return len <= FRAME_CACHE_FRAME_MAX_BYTES ? 1 : RC_TOO_LARGE;
    }
    if (ZSTD_getErrorCode(len) != ZSTD_error_srcSize_wrong)
        return RC_INVALID;
    return n <= FRAME_CACHE_FRAME_MAX_BYTES ? 0 : RC_TOO_LARGE;
}
