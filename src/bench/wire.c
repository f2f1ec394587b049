#include "bench/wire.h"

#include "base/mem.h"

struct wire {
    struct stream s;
    struct stream *below; /* owned; null after it has closed */
    struct wire_count *count;
};

static void wire_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct wire *w = (struct wire *)s;
    w->count->out += n;
    if (w->below != NULL)
        stream_write(w->below, p, n);
}

static size_t wire_queued(const struct stream *s)
{
    const struct wire *w = (const struct wire *)s;
    return w->below != NULL ? stream_queued(w->below) : 0;
}

static void wire_pause(struct stream *s, bool paused)
{
    struct wire *w = (struct wire *)s;
    if (w->below != NULL)
        stream_pause(w->below, paused);
}

static void wire_close(struct stream *s, bool flush)
{
    struct wire *w = (struct wire *)s;
    stream_close(&w->below, flush);
    loop_free_later(s->loop, w, mem_free);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct wire *w = ctx;
    w->count->in += n;
    (void)stream_emit_data(&w->s, p, n);
}

static void on_drained(void *ctx)
{
    stream_check_drained(&((struct wire *)ctx)->s);
}

static void on_closed(void *ctx, enum rc why)
{
    struct wire *w = ctx;
    stream_close(&w->below, false);
    stream_emit_closed(&w->s, why);
}

struct stream *wire_create(struct stream *below, struct wire_count *count)
{
    static const struct stream_ops ops = {wire_write, wire_queued, wire_pause, wire_close};
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct wire *w = MEM_NEW(struct wire);
    stream_init(&w->s, &ops, below->loop, below);
    w->below = below;
    w->count = count;
    stream_set_events(below, &events, w);
    return &w->s;
}
