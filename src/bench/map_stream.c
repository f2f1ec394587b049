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

/* One call of map_stream_feed. */
struct feed {
    struct map_stream *in;
    struct frame_cache *cache;
    const struct map_stream_events *events;
    void *ctx;
};

/* Reads all whole frames of the `n` bytes at `p`, which are of one message. Sets how many bytes were read; the rest is
 * the beginning of a frame. */
static enum rc read_frames(const struct feed *f, const uint8_t *p, size_t n, size_t *read_out)
{
    struct map_stream *in = f->in;
    const uint8_t *start = p;
    *read_out = 0;
    while (n > 0) {
        size_t len;
        const struct map_effect *effect;
        int whole = frame_cache_frame_len(p, n, &len);
        if (whole < 0)
            return (enum rc)whole;
        if (whole == 0)
            return n == in->left ? RC_TRUNCATED : RC_OK; /* truncated: the message ends within a frame */
        TRY(frame_cache_read(f->cache, &in->scan, p, len, &effect));
        add_counts(&in->counts, &effect->counts);
        in->json_n += effect->json_bytes;
        in->left -= (uint32_t)len;
        p += len;
        n -= len;
        *read_out = (size_t)(p - start);
        f->events->piece(f->ctx, effect);
    }
    return RC_OK;
}

/* Reads `n` bytes of the message, and keeps the beginning of a frame that is not whole. */
static enum rc feed_message(const struct feed *f, const uint8_t *p, size_t n)
{
    struct buf *partial = &f->in->partial;
    size_t done;
    if (buf_len(partial) == 0) {
        TRY(read_frames(f, p, n, &done));
        if (done < n)
            buf_append(partial, p + done, n - done);
        return RC_OK;
    }
    struct buf held = {0};
    buf_append(partial, p, n);
    buf_move(&held, partial);
    enum rc rc = read_frames(f, buf_at(&held), buf_len(&held), &done);
    if (rc == RC_OK && done < buf_len(&held)) {
        buf_consume(&held, done);
        buf_move(partial, &held);
    }
    buf_fini(&held);
    return rc;
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
    const struct feed f = {in, cache, events, ctx};
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
        TRY(feed_message(&f, p, part));
        p += part;
        n -= part;
        if (in->left == 0)
            TRY(end_message(in, events, ctx));
    }
    return RC_OK;
}
