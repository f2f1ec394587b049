#include "relay/client_internal.h"

/* The earliest due time, or 0. */
static int64_t first_due_ms(const struct client *c)
{
    const int64_t due[] = {c->login_due_ms, c->frame_due_ms,          c->keep_alive_due_ms,
                           c->ping_due_ms,  c->endpoint.write_due_ms, c->drain_due_ms};
    int64_t first = 0;
    for (size_t i = 0; i < ARRAY_LEN(due); i++)
        if (due[i] != 0 && (first == 0 || due[i] < first))
            first = due[i];
    return first;
}

void client_timers_schedule(struct client *c)
{
    int64_t due_ms = first_due_ms(c);
    list_remove(&c->in_wheel);
    if (due_ms != 0)
        wheel_put(&c->worker->wheel, &c->in_wheel, (due_ms + 999) / 1000);
}

void client_timers_watch_frame(struct client *c)
{
    bool is_partial = c->phase == CLIENT_ACTIVE && frame_reader_is_partial(&c->endpoint.reader);
    if (!is_partial || c->frame_due_ms != 0)
        return;
    c->frame_due_ms = worker_now_ms(c->worker) + CLIENT_FRAME_TIMEOUT_MS;
    client_timers_schedule(c);
}

void client_timers_tick(struct relay_worker *w, int64_t now_ms, void (*on_due)(struct client *c, int64_t now_ms))
{
    struct list due;
    wheel_advance(&w->wheel, now_ms / 1000, &due);
    while (!list_is_empty(&due)) {
        struct client *c = LIST_ENTRY(due.next, struct client, in_wheel);
        list_remove(&c->in_wheel);
        on_due(c, now_ms);
    }
}
