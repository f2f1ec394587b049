/* The end of loading: what follows from the rows together. */
#include "state/state_internal.h"

static void later(struct addr *last, const struct addr *a)
{
    if (a->family != 0 && (last->family == 0 || memcmp(a->ip, last->ip, 16) > 0))
        *last = *a;
}

void state_load_done(struct state *st, int64_t now_ms)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e == NULL)
            continue;
        later(&st->last_v4, &e->node->v4);
        later(&st->last_v6, &e->node->v6);
        /* No node is connected to a server that starts: ephemeral nodes get their time to come back. */
        if (e->node->is_ephemeral) {
            e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
            state_due_at(st, e->remove_at_ms);
        }
    }
    state_relays_load_done(st, now_ms);
    undo_begin_batch(st);
    state_tick(st, now_ms);
    st->users_dirty = true;
    state_seal(st, 0);
    struct change *c = state_publish(st, now_ms);
    change_unref(&c);
}
