/* The rows that the next batches will write. */
#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

void row_batch_destroy(struct row_batch **at)
{
    struct row_batch *b = *at;
    *at = NULL;
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++) {
        user_unref(&b->ops[i].user);
        auth_key_unref(&b->ops[i].key);
        state_relay_host_unref(&b->ops[i].relay);
        state_policy_text_unref(&b->ops[i].policy_text);
        node_unref(&b->ops[i].node);
    }
    event_list_unref(&b->events);
    mem_free(b->ops);
    mem_free(b);
}

struct row_op *row_batch_add(struct row_batch *b, enum row_op_kind kind, uint64_t id)
{
    VEC_ROOM(b->ops, b->n, b->cap, 1);
    struct row_op *op = &b->ops[b->n++];
    *op = (struct row_op){.kind = kind, .id = id};
    return op;
}

struct row_batch *row_pending(struct state *st)
{
    if (st->pending == NULL) {
        st->pending = MEM_NEW(struct row_batch);
        st->pending->seq = st->next_seq;
    }
    return st->pending;
}

struct row_op *row_put(struct state *st, enum row_op_kind kind, uint64_t id)
{
    return row_batch_add(row_pending(st), kind, id);
}

void row_put_lazy(struct state *st, enum row_op_kind kind, uint64_t id)
{
    if (st->pending_lazy == NULL) {
        st->pending_lazy = MEM_NEW(struct row_batch);
        st->pending_lazy->is_lazy = true;
    }
    row_batch_add(st->pending_lazy, kind, id);
}
