/* Time: how far Unix time is ahead of the steady clock, and when the next deadline and the next date are. */
#include "state/state_internal.h"

/* A correction by less than this needs no new look at every date: those affected are late by it. */
enum { JUMP_MS = 1000 };

void state_due_at(struct state *st, int64_t steady_ms)
{
    if (steady_ms < st->next_due_ms)
        st->next_due_ms = steady_ms;
}

void state_date_at(struct state *st, int64_t unix_ms)
{
    if (unix_ms < st->next_date_ms)
        st->next_date_ms = unix_ms;
}

int64_t state_next_tick_ms(const struct state *st)
{
    int64_t due_ms = st->next_due_ms == INT64_MAX ? INT64_MAX : st->next_due_ms + st->ahead_ms;
    return due_ms < st->next_date_ms ? due_ms : st->next_date_ms;
}

void state_set_clock(struct state *st, int64_t ahead_ms)
{
    int64_t by_ms = ahead_ms - st->ahead_ms;
    st->ahead_ms = ahead_ms;
    if (by_ms >= JUMP_MS || by_ms <= -JUMP_MS)
        st->next_date_ms = INT64_MIN;
}
