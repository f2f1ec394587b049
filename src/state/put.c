/* The way of every durable change. */
#include "state/state_internal.h"

void state_put(struct state *st, const struct entity *entity, const struct row *before, const struct row *after)
{
    uint64_t id = before != NULL ? before->id : after->id;
    undo_note(st, entity, id, before)->is_deletion = after == NULL;
    row_put(st, entity, id, after);
}
