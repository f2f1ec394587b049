#include "control/ts2021_stream.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

LOG_MODULE("noise");
METRIC_GAUGE(open_streams, "fullscale_noise_connections", "", "Noise connections that are open.");

/* What is sealed at once when much is waiting: bounds the third copy (ours, this one, the layer below's). */
enum { SLICE_BYTES = 16 * NOISE_PLAIN_MAX };

struct ts2021_stream {
    struct stream s;
    struct stream *below; /* owned; null once this stream is dead */
    struct noise_sealer sealer;
    struct noise_opener opener;
    struct buf plain; /* written in this iteration, to be sealed at its end */
    struct buf held;  /* received but not opened: came with the handshake or while paused. Later bytes go behind it. */
    struct loop_task seal_task;
    struct loop_task open_task;
    bool is_paused;
};

/* --- writing --- */

static enum rc seal_plain(struct ts2021_stream *ns)
{
    struct buf plain = {0};
    enum rc rc = RC_OK;
    buf_move(&plain, &ns->plain);
    while (rc == RC_OK && buf_len(&plain) > 0 && ns->below != NULL) {
        size_t n = buf_len(&plain) < SLICE_BYTES ? buf_len(&plain) : SLICE_BYTES;
        struct buf *sealed = loop_scratch(ns->s.loop);
        rc = noise_seal(&ns->sealer, buf_at(&plain), n, sealed);
        stream_write(ns->below, buf_at(sealed), buf_len(sealed));
        buf_consume(&plain, n);
    }
    buf_fini(&plain);
    return rc;
}

/* The layer below calls `drained` only after it has been above its own mark, and it may have sent some of its queue
 * between our counting and our sealing: ask for the call, or the owner would wait for ever. */
static void check_drained(struct ts2021_stream *ns)
{
    stream_check_drained(&ns->s);
    if (ns->s.was_high && ns->below != NULL)
        ns->below->was_high = true;
}

static void end(struct ts2021_stream *ns, enum rc why)
{
    loop_defer_cancel(&ns->seal_task);
    loop_defer_cancel(&ns->open_task);
    stream_close(&ns->below, false);
    buf_fini(&ns->plain);
    buf_fini(&ns->held);
    stream_emit_closed(&ns->s, why);
}

static void run_seal(struct loop_task *task)
{
    struct ts2021_stream *ns = CONTAINER_OF(task, struct ts2021_stream, seal_task);
    enum rc rc = seal_plain(ns);
    if (rc != RC_OK)
        end(ns, rc);
    else
        check_drained(ns);
}

static void noise_write(struct stream *s, const uint8_t *p, size_t n)
{
    enum { SMALL_BYTES = 240 }; /* most records: no second allocation for them */
    struct ts2021_stream *ns = (struct ts2021_stream *)s;
    if (buf_len(&ns->plain) == 0 && n < SMALL_BYTES)
        buf_reserve(&ns->plain, SMALL_BYTES);
    buf_append(&ns->plain, p, n);
    loop_defer(s->loop, &ns->seal_task);
}

static size_t noise_queued(const struct stream *s)
{
    const struct ts2021_stream *ns = (const struct ts2021_stream *)s;
    return buf_len(&ns->plain) + (ns->below != NULL ? stream_queued(ns->below) : 0);
}

/* --- reading --- */

/* Opens what `*p` holds and hands it up, until the owner pauses; an incomplete record stays in the opener. False: the
 * stream has ended meanwhile. */
static bool open_records(struct ts2021_stream *ns, const uint8_t **p, size_t *n)
{
    uint8_t plain[NOISE_PLAIN_MAX];
    while (!ns->is_paused) {
        size_t len = 0;
        int got = noise_open(&ns->opener, p, n, plain, &len);
        if (got == 0)
            return true;
        if (got < 0) {
            log_limited(LOG_INFO, "record refused", LOG_RC(got));
            end(ns, (enum rc)got);
            return false;
        }
        if (len > 0 && !stream_emit_data(&ns->s, plain, len))
            return false;
        if (ns->s.is_dead)
            return false;
    }
    return true;
}

/* False: the stream has ended meanwhile. */
static bool open_held(struct ts2021_stream *ns)
{
    struct buf held = {0};
    if (buf_len(&ns->held) == 0)
        return true;
    buf_move(&held, &ns->held);
    const uint8_t *p = buf_at(&held);
    size_t n = buf_len(&held);
    bool alive = open_records(ns, &p, &n);
    if (alive)
        buf_append(&ns->held, p, n);
    buf_fini(&held);
    return alive;
}

static void run_open(struct loop_task *task)
{
    open_held(CONTAINER_OF(task, struct ts2021_stream, open_task));
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct ts2021_stream *ns = ctx;
    if (buf_len(&ns->held) == 0 && !open_records(ns, &p, &n))
        return;
    buf_append(&ns->held, p, n);
}

static void on_drained(void *ctx)
{
    check_drained(ctx);
}

static void on_closed(void *ctx, enum rc why)
{
    struct ts2021_stream *ns = ctx;
    if (open_held(ns))
        end(ns, why);
}

static void noise_pause(struct stream *s, bool paused)
{
    struct ts2021_stream *ns = (struct ts2021_stream *)s;
    ns->is_paused = paused;
    stream_pause(ns->below, paused);
    if (!paused && buf_len(&ns->held) > 0)
        loop_defer(s->loop, &ns->open_task);
}

/* --- life --- */

static void free_stream(void *obj)
{
    struct ts2021_stream *ns = obj;
    noise_sealer_fini(&ns->sealer);
    noise_opener_fini(&ns->opener);
    buf_fini(&ns->plain);
    buf_fini(&ns->held);
    mem_free(ns);
    metric_add(&open_streams, -1);
}

static void noise_close(struct stream *s, bool flush)
{
    struct ts2021_stream *ns = (struct ts2021_stream *)s;
    loop_defer_cancel(&ns->seal_task);
    loop_defer_cancel(&ns->open_task);
    if (flush && seal_plain(ns) != RC_OK)
        flush = false;
    stream_close(&ns->below, flush);
    loop_free_later(s->loop, ns, free_stream);
}

static void create(struct stream *below, const uint8_t seal_key[32], const uint8_t open_key[32], const uint8_t *early,
                   size_t early_len, struct stream **out)
{
    static const struct stream_ops ops = {noise_write, noise_queued, noise_pause, noise_close};
    static const struct stream_events events = {on_data, on_drained, on_closed};
    struct ts2021_stream *ns = MEM_NEW(struct ts2021_stream);
    stream_init(&ns->s, &ops, below->loop, below);
    ns->below = below;
    ns->seal_task.run = run_seal;
    ns->open_task.run = run_open;
    noise_sealer_init(&ns->sealer, seal_key);
    noise_opener_init(&ns->opener, open_key);
    stream_set_events(below, &events, ns);
    if (early_len > 0) {
        buf_append(&ns->held, early, early_len);
        loop_defer(below->loop, &ns->open_task);
    }
    metric_inc(&open_streams);
    *out = &ns->s;
}

void ts2021_stream_server(struct stream *below, const struct noise_result *keys, const uint8_t *early, size_t early_len,
                          struct stream **out)
{
    create(below, keys->server_to_client, keys->client_to_server, early, early_len, out);
}

void ts2021_stream_client(struct stream *below, const struct noise_result *keys, const uint8_t *early, size_t early_len,
                          struct stream **out)
{
    create(below, keys->client_to_server, keys->server_to_client, early, early_len, out);
}
