#include "bench/map_stream.h"

#include "base/mem.h"

void map_stream_fini(struct map_stream *in)
{
    buf_fini(&in->partial);
}

void map_stream_clear(struct map_stream *in)
{
    buf_fini(&in->partial);
    *in = (struct map_stream){0};
}

static void add_counts(struct scan_counts *to, const struct scan_counts *c)
{
    to->keep_alive += c->keep_alive;
    to->node += c->node;
    to->ping += c->ping;
    to->full += c->full;
    to->changed += c->changed;
    to->patched += c->patched;
    to->removed += c->removed;
    to->peer_bytes += c->peer_bytes;
}

static enum rc end_message(struct map_stream *in, const struct map_stream_events *events, void *ctx)
{
    if (!scan_is_done(&in->scan))
        return RC_TRUNCATED;
    enum rc rc = events->message(ctx, in);
    scan_restart(&in->scan, 0);
    in->counts = (struct scan_counts){0};
    in->head_n = 0;
    in->json_n = 0;
    return rc;
}

/* Takes the next frame off `*p` if it is whole. Returns 1; 0: it is not whole; negative: an error. */
static int take_frame(struct map_stream *in, struct frame_cache *cache, const uint8_t **p, size_t *n,
                      const struct map_stream_events *events, void *ctx)
{
    size_t len;
    const struct map_effect *effect;
    int whole = frame_cache_frame_len(*p, *n, &len);
    if (whole <= 0)
        return whole;
    enum rc rc = frame_cache_read(cache, &in->scan, *p, len, &effect);
    if (rc != RC_OK)
        return rc;
    add_counts(&in->counts, &effect->counts);
    in->json_n += effect->json_bytes;
    in->left -= (uint32_t)len;
    *p += len;
    *n -= len;
    events->piece(ctx, effect);
    return 1;
}

/* Takes all whole frames off the `*n` bytes at `*p`, which are of one message; the rest is left. */
static enum rc take_frames(struct map_stream *in, struct frame_cache *cache, const uint8_t **p, size_t *n,
                           const struct map_stream_events *events, void *ctx)
{
    int took = 1;
    while (*n > 0 && (took = take_frame(in, cache, p, n, events, ctx)) > 0) {
    }
    if (took < 0)
        return (enum rc)took;
    return *n > 0 && *n == in->left ? RC_TRUNCATED : RC_OK; /* the message ends within a frame */
}

static enum rc feed_partial(struct map_stream *in, struct frame_cache *cache, const uint8_t *p, size_t n,
                            const struct map_stream_events *events, void *ctx)
{
    struct buf held = {0};
    buf_append(&in->partial, p, n);
    buf_move(&held, &in->partial);
    const uint8_t *at = buf_at(&held);
    size_t left = buf_len(&held);
    enum rc rc = take_frames(in, cache, &at, &left, events, ctx);
    if (rc == RC_OK && left > 0) {
        buf_consume(&held, buf_len(&held) - left);
        buf_move(&in->partial, &held);
    }
    buf_fini(&held);
    return rc;
}

/* Takes `n` bytes of the message, and keeps the beginning of a frame that is not whole. */
static enum rc feed_message(struct map_stream *in, struct frame_cache *cache, const uint8_t *p, size_t n,
                            const struct map_stream_events *events, void *ctx)
{
    if (buf_len(&in->partial) > 0)
        return feed_partial(in, cache, p, n, events, ctx);
    TRY(take_frames(in, cache, &p, &n, events, ctx));
    if (n > 0)
        buf_append(&in->partial, p, n);
    return RC_OK;
}

static size_t take_head(struct map_stream *in, const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && in->head_n < sizeof(in->head))
        in->head[in->head_n++] = p[i++];
    return i;
}

static enum rc begin_message(struct map_stream *in)
{
    in->message_n = in->head[0] | (uint32_t)in->head[1] << 8 | (uint32_t)in->head[2] << 16 |
                    (uint32_t)in->head[3] << 24;
    in->left = in->message_n;
    if (in->message_n == 0)
        return RC_INVALID;
    return in->message_n <= MAP_STREAM_MESSAGE_MAX_BYTES ? RC_OK : RC_TOO_LARGE;
}

enum rc map_stream_feed(struct map_stream *in, struct frame_cache *cache, const uint8_t *p, size_t n,
                        const struct map_stream_events *events, void *ctx)
{
    while (n > 0) {
        if (in->head_n < sizeof(in->head)) {
            size_t took = take_head(in, p, n);
            p += took;
            n -= took;
            if (in->head_n < sizeof(in->head))
                return RC_OK;
            TRY(begin_message(in));
        }
        size_t missing = in->left - buf_len(&in->partial);
        size_t part = n < missing ? n : missing;
        TRY(feed_message(in, cache, p, part, events, ctx));
        p += part;
        n -= part;
        if (in->left == 0)
            TRY(end_message(in, events, ctx));
    }
    return RC_OK;
}
