/* Batches of rows on their way to the store: taken, and on disk. */
#include <string.h>

#include "base/mem.h"
#include "state/state_internal.h"

static struct row_batch *take_lazy(struct state *st)
{
    struct row_batch *b = st->pending_lazy;
    size_t kept = 0;
    if (b == NULL)
        return NULL;
    st->pending_lazy = NULL;
    for (size_t i = 0; i < b->n; i++) {
        struct row_op op = b->ops[i];
        op.object = row_ref(state_row(st, op.entity, op.id)); /* as it is now */
        if (op.object == NULL)
            continue;
        entity_note_written(st, op.entity, op.id);
        b->ops[kept++] = op;
    }
    b->n = kept;
    b->seq = st->next_seq;
    if (kept == 0)
        row_batch_destroy(&b);
    else
        st->next_seq++;
    return b;
}

size_t state_pending_rows(const struct state *st)
{
    return st->pending != NULL ? st->pending->n : 0;
}

struct row_batch *state_take_batch(struct state *st)
{
    struct row_batch *b = st->pending;
    if (b == NULL)
        return take_lazy(st);
    row_batch_add_counters(b, &st->counters, false);
    state_seal(st, b->seq);
    undo_mark_batch(st, b->seq);
    events_batch_taken(st, b);
    st->pending = NULL;
    st->durable_seq = st->next_seq++;
    return b;
}

void state_committed(struct state *st, uint64_t seq)
{
    if (seq > st->committed_seq)
        st->committed_seq = seq;
    undo_committed(st);
    state_policy_texts_committed(st);
}

size_t state_flush_lazy(struct state *st, size_t max)
{
    size_t written = 0, taken = 0;
    for (; taken < st->stale.n && written < max; taken++) {
        struct node_record *e = st->records[st->stale.ids[taken]];
        if (e == NULL)
            continue;
        e->is_in_stale = false;
        if (e->node == NULL || !e->is_stale_on_disk)
            continue;
        row_put_lazy(st, &entity_node, e->id);
        e->is_stale_on_disk = false;
        written++;
    }
    st->stale.n -= taken;
    if (taken > 0)
        memmove(st->stale.ids, st->stale.ids + taken, st->stale.n * sizeof(*st->stale.ids));
    return written + state_relays_flush(st);
}
