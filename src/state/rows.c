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
    for (size_t i = 0; i < b->n; i++)
        row_unref(b->ops[i].entity, &b->ops[i].object);
    event_list_unref(&b->events);
    mem_free(b->ops);
    mem_free(b);
}

void row_batch_add(struct row_batch *b, const struct entity *entity, uint64_t id, const struct row *object)
{
    VEC_ROOM(b->ops, b->n, b->cap, 1);
    b->ops[b->n++] = (struct row_op){entity, id, row_ref(object)};
}

struct row_batch *row_pending(struct state *st)
{
    if (st->pending == NULL) {
        st->pending = MEM_NEW(struct row_batch);
        st->pending->seq = st->next_seq;
    }
    return st->pending;
}

void row_put(struct state *st, const struct entity *entity, uint64_t id, const struct row *object)
{
    row_batch_add(row_pending(st), entity, id, object);
}

void row_put_lazy(struct state *st, const struct entity *entity, uint64_t id)
{
    if (st->pending_lazy == NULL) {
        st->pending_lazy = MEM_NEW(struct row_batch);
        st->pending_lazy->is_lazy = true;
    }
    row_batch_add(st->pending_lazy, entity, id, NULL);
}

uint64_t row_next_id(struct state *st, const struct entity *entity)
{
    st->counters.dirty |= UINT64_C(1) << entity->number;
    return st->counters.next[entity->number]++;
}

void row_batch_add_counters(struct row_batch *b, const struct row_counters *counters, bool all)
{
    for (unsigned i = 0; i < ENTITIES_MAX; i++) {
        if (all ? counters->next[i] <= 1 : (counters->dirty >> i & 1) == 0)
            continue;
        struct counter *c = (struct counter *)entity_create(&entity_counter);
        c->id = i;
        c->next = counters->next[i];
        const struct row *row = &c->row;
        row_batch_add(b, &entity_counter, i, row);
        row_unref(&entity_counter, &row);
    }
}
