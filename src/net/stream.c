#include "net/stream.h"

#include <assert.h>

#include "base/buf.h"
#include "base/mem.h"

void stream_init(struct stream *s, const struct stream_ops *ops, struct loop *loop, struct stream *below)
{
    *s = (struct stream){.ops = ops, .loop = loop, .below = below};
    if (below != NULL) {
        s->place = below->place;
        s->peer = below->peer;
        s->local = below->local;
        s->is_tls = below->is_tls;
    }
}

bool stream_emit_data(struct stream *s, const uint8_t *p, size_t n)
{
    if (s->events == NULL)
        return false;
    s->events->data(s->ctx, p, n);
    return s->events != NULL;
}

void stream_emit_drained(struct stream *s)
{
    if (s->events != NULL && s->events->drained != NULL)
        s->events->drained(s->ctx);
}

void stream_emit_closed(struct stream *s, enum rc why)
{
    if (s->is_dead)
        return;
    s->is_dead = true;
    const struct stream_events *events = s->events;
    if (events != NULL)
        events->closed(s->ctx, why);
}

/* A layer may be above the mark by what waits in all layers together, while none below is so by itself: then those must
 * report as well. */
static void mark_high(struct stream *s)
{
    for (; s != NULL; s = s->below)
        s->was_high = true;
}

void stream_check_drained(struct stream *s)
{
    if (!s->was_high)
        return;
    if (stream_queued(s) > STREAM_HIGH_WATER / 2) {
        mark_high(s->below);
        return;
    }
    s->was_high = false;
    stream_emit_drained(s);
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

void stream_write(struct stream *s, const void *p, size_t n)
{
    if (s->is_dead || n == 0)
        return;
    s->ops->write(s, p, n);
    if (!s->was_high && stream_queued(s) > STREAM_HIGH_WATER)
        mark_high(s);
}

size_t stream_queued(const struct stream *s)
{
    return s->ops->queued(s);
}

void stream_pause(struct stream *s, bool paused)
{
    if (!s->is_dead)
        s->ops->pause(s, paused);
}

enum budget_answer stream_know(struct stream *s, const void *key, size_t key_len)
{
    if (s->is_dead || s->place == NULL)
        return BUDGET_OK;
    enum budget_answer answer = budget_place_know(&s->place->place, key, key_len);
    if (answer == BUDGET_OK)
        list_remove(&s->place->link);
    return answer;
}

void stream_uncount(struct stream *s)
{
    if (s->is_dead || s->place == NULL)
        return;
    list_remove(&s->place->link);
    budget_place_leave(&s->place->place);
}

enum budget_answer stream_comes_from(struct stream *s, const struct addr *from)
{
    enum budget_answer answer = BUDGET_OK;
    if (!s->is_dead && s->place != NULL)
        answer = budget_place_readdress(&s->place->place, from);
    if (answer == BUDGET_OK)
        s->peer = *from;
    return answer;
}

void stream_close(struct stream **at, bool flush)
{
    struct stream *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    s->events = NULL;
    bool was_dead = s->is_dead;
    s->is_dead = true;
    s->ops->close(s, flush && !was_dead);
}

/* --- the in-memory pair --- */

struct pair_end {
    struct stream s;
    struct pair_end *other; /* null once it is gone */
    struct loop_task task;
    struct buf in; /* written by the other end, not handed over yet */
    size_t chunk;
    bool paused;
    bool eof; /* the other end closed */
};

static void pair_free(void *obj)
{
    struct pair_end *e = obj;
    buf_fini(&e->in);
    mem_free(e);
}

static void pair_run(struct loop_task *task)
{
    struct pair_end *e = CONTAINER_OF(task, struct pair_end, task);
    if (e->paused || e->s.events == NULL)
        return;
    size_t n = buf_len(&e->in);
    if (e->chunk > 0 && n > e->chunk)
        n = e->chunk;
    if (n > 0) {
        struct buf piece = {0};
        buf_append(&piece, buf_at(&e->in), n);
        buf_consume(&e->in, n);
        if (buf_len(&e->in) > 0 || e->eof)
            loop_defer(e->s.loop, &e->task);
        bool alive = stream_emit_data(&e->s, buf_at(&piece), n);
        buf_fini(&piece);
        if (alive && e->other != NULL)
            stream_check_drained(&e->other->s);
    } else if (e->eof) {
        stream_emit_closed(&e->s, RC_CLOSED);
    }
}

static void pair_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct pair_end *e = (struct pair_end *)s;
    if (e->other == NULL)
        return;
    buf_append(&e->other->in, p, n);
    loop_defer(s->loop, &e->other->task);
}

static size_t pair_queued(const struct stream *s)
{
    const struct pair_end *e = (const struct pair_end *)s;
    return e->other != NULL ? buf_len(&e->other->in) : 0;
}

static void pair_pause(struct stream *s, bool paused)
{
    struct pair_end *e = (struct pair_end *)s;
    e->paused = paused;
    if (!paused)
        loop_defer(s->loop, &e->task);
}

static void pair_close(struct stream *s, bool flush)
{
    struct pair_end *e = (struct pair_end *)s;
    loop_defer_cancel(&e->task);
    if (e->other != NULL) {
        if (!flush)
            buf_clear(&e->other->in);
        e->other->eof = true;
        e->other->other = NULL;
        loop_defer(s->loop, &e->other->task);
    }
    loop_free_later(s->loop, e, pair_free);
}

void stream_pair_create(struct loop *loop, size_t chunk, struct stream **a, struct stream **b)
{
    static const struct stream_ops ops = {pair_write, pair_queued, pair_pause, pair_close};
    struct pair_end *ends[2];
    for (int i = 0; i < 2; i++) {
        ends[i] = MEM_NEW(struct pair_end);
        stream_init(&ends[i]->s, &ops, loop, NULL);
        ends[i]->task.run = pair_run;
        ends[i]->chunk = chunk;
    }
    ends[0]->other = ends[1];
    ends[1]->other = ends[0];
    *a = &ends[0]->s;
    *b = &ends[1]->s;
}
