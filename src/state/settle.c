/* What presence asks for and all servers must agree on.
 *
 * Events that wait for no disk (reports, polls, ticks, a policy that becomes active) only flag the record. Here each is
 * looked at again, whether it is still true, and becomes a durable event like any other. So a server that may not write
 * now, because its disk is full or because another one holds the pen, still answers all that nodes say. */
#include <stdlib.h>

#include "state/state_internal.h"

void node_record_settle(struct state *st, struct node_record *e)
{
    if (e->unsettled & SETTLE_NAME)
        node_record_follow_hostname(st, e);
    if (e->unsettled & SETTLE_APPROVAL)
        routes_auto_approve(st, e);
    e->unsettled &= (uint8_t)~(SETTLE_NAME | SETTLE_APPROVAL);
}

/* The client may have come back since the deadline, or its node have become a lasting one. */
static bool must_go(const struct state *st, const struct node_record *e, int64_t now_ms)
{
    return e->node->is_ephemeral && e->polls == 0 && node_deadline_is_due(e->remove_at_ms, state_steady_ms(st, now_ms));
}

static void settle_record(struct state *st, struct node_record *e, int64_t now_ms)
{
    if (e->unsettled & SETTLE_REMOVAL && must_go(st, e, now_ms)) {
        node_record_remove(st, e);
        e->unsettled = 0;
        return;
    }
    unsigned bits = e->unsettled & (SETTLE_NAME | SETTLE_APPROVAL);
    node_record_settle(st, e);
    undo_note_settled(st, e->id, bits);
    /* In memory the election took effect at once: it must also while nothing can be written. */
    if (e->unsettled & SETTLE_PRIMARY)
        node_record_mark_stale(st, e);
    e->unsettled = 0;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void state_settle(struct state *st, int64_t now_ms)
{
    if (st->unsettled.n > 0)
        state_set_actor(st, NULL, now_ms);
    /* In the order of ids, whoever reported first: what is done again after a failure has the same outcome. Approvals
     * elect primaries, so the list may grow meanwhile. */
    if (st->unsettled.n > 1)
        qsort(st->unsettled.ids, st->unsettled.n, sizeof(*st->unsettled.ids), compare_ids);
    for (size_t i = 0; i < st->unsettled.n; i++) {
        struct node_record *e = st->records[st->unsettled.ids[i]];
        if (e == NULL)
            continue;
        e->is_in_unsettled = false;
        if (e->node != NULL)
            settle_record(st, e, now_ms);
    }
    st->unsettled.n = 0;
    if (st->relays_unsettled)
        state_relays_flush(st);
    st->relays_unsettled = false;
}
