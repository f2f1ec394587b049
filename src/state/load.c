/* The end of loading: what follows from the rows together. */
#include "state/state_internal.h"

/* Who was the primary of a route stays it: it gets as long as any router to open its next poll. */
static void await_primary(struct state *st, struct node_record *e, int64_t now_ms)
{
    if (e->claims == NULL)
        return;
    node_record_claim_routes(st, e, e->claims, true);
    e->awaited_until_ms = state_steady_ms(st, now_ms) + ROUTE_GRACE_MS;
    state_due_at(st, e->awaited_until_ms);
    node_record_recount(st, e);
}

static void end_claims(struct state *st)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e != NULL)
            node_follow_settled(st, id, e->claims);
    }
}

void state_load_done(struct state *st, int64_t now_ms)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e == NULL)
            continue;
        addresses_note_given(st, e->node);
        await_primary(st, e, now_ms);
        /* No node is connected to a server that starts: ephemeral nodes get their time to come back. */
        if (e->node->is_ephemeral) {
            e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
            state_due_at(st, e->remove_at_ms);
        }
    }
    end_claims(st);
    st->is_installing = false;
    state_relays_load_done(st, now_ms);
    undo_begin_batch(st);
    state_tick(st, now_ms);
    st->users_dirty = true;
    state_seal(st, 0);
    struct change *c = state_publish(st, now_ms);
    change_unref(&c);
}
