#include "relay/frame_reader.h"

static bool dispatch(struct frame_reader *r, struct derp_header h, const uint8_t *payload)
{
    r->ended_n++;
    return r->ops->frame(r->ctx, h, payload);
}

/* Asks the owner. False: read no further. */
static bool accept_header(struct frame_reader *r, struct derp_header h, bool *is_read_out)
{
    enum frame_verdict verdict = r->ops->header(r->ctx, h);
    *is_read_out = verdict == FRAME_READ;
    if (verdict != FRAME_SKIP)
        return verdict == FRAME_READ;
    r->skip = h.len;
    r->ended_n += h.len == 0;
    return true;
}

static void keep(struct frame_reader *r, const uint8_t *p, size_t n)
{
    if (r->in.data == NULL)
        r->in = frame_pool_take(r->pool);
    buf_append(&r->in, p, n);
}

static bool dispatch_kept(struct frame_reader *r)
{
    struct frame_pool *pool = r->pool;
    struct buf frame = r->in; /* the op may reset the reader */
    r->in = (struct buf){0};
    bool goes_on = dispatch(r, derp_header_parse(buf_at(&frame)), buf_at(&frame) + DERP_HEADER_BYTES);
    frame_pool_give(pool, &frame);
    return goes_on;
}

static bool accept_kept_header(struct frame_reader *r)
{
    struct derp_header h = derp_header_parse(buf_at(&r->in));
    bool is_read, goes_on = accept_header(r, h, &is_read);
    if (is_read)
        return h.len > 0 || dispatch_kept(r);
    frame_pool_give(r->pool, &r->in);
    return goes_on;
}

/* Goes on with a frame that came in part; once its header is whole the frame has been accepted. */
static bool add_to_kept(struct frame_reader *r, const uint8_t *p, size_t n, size_t *used_out)
{
    size_t have = buf_len(&r->in);
    bool has_header = have >= DERP_HEADER_BYTES;
    size_t want = DERP_HEADER_BYTES + (has_header ? derp_header_parse(buf_at(&r->in)).len : 0);
    *used_out = want - have < n ? want - have : n;
    buf_append(&r->in, p, *used_out);
    if (have + *used_out < want)
        return true;
    return has_header ? dispatch_kept(r) : accept_kept_header(r);
}

/* A frame begins at `p`. */
static bool begin_frame(struct frame_reader *r, const uint8_t *p, size_t n, size_t *used_out)
{
    *used_out = n;
    if (n < DERP_HEADER_BYTES) {
        keep(r, p, n);
        return true;
    }
    struct derp_header h = derp_header_parse(p);
    bool is_read, goes_on = accept_header(r, h, &is_read);
    if (is_read && n - DERP_HEADER_BYTES < h.len) {
        keep(r, p, n);
        return true;
    }
    *used_out = DERP_HEADER_BYTES + (is_read ? h.len : 0);
    return is_read ? dispatch(r, h, p + DERP_HEADER_BYTES) : goes_on;
}

static size_t skip_some(struct frame_reader *r, size_t n)
{
    size_t used = r->skip < n ? r->skip : n;
    r->skip -= (uint32_t)used;
    r->ended_n += r->skip == 0;
    return used;
}

size_t frame_reader_feed(struct frame_reader *r, const uint8_t *p, size_t n)
{
    bool goes_on = true;
    size_t at = 0;
    while (goes_on && at < n) {
        size_t used;
        if (r->skip > 0)
            used = skip_some(r, n - at);
        else if (buf_len(&r->in) > 0)
            goes_on = add_to_kept(r, p + at, n - at, &used);
        else
            goes_on = begin_frame(r, p + at, n - at, &used);
        at += used;
    }
    return at;
}

bool frame_reader_is_partial(const struct frame_reader *r)
{
    return buf_len(&r->in) > 0 || r->skip > 0;
}

void frame_reader_reset(struct frame_reader *r)
{
    frame_pool_give(r->pool, &r->in);
    r->skip = 0;
}
