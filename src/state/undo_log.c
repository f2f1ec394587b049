/* The log of rows as they were before the events that wait for the disk. undo.c uses it to take events back. */
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"

/* --- writing it --- */

struct undo *undo_note(struct state *st, const struct entity *entity, uint64_t id, const struct row *before)
{
    struct undo_log *log = &st->undo;
    VEC_ROOM(log->v, log->n, log->cap, 16);
    struct undo *u = &log->v[log->n++];
    *u = (struct undo){.seq = st->next_seq, .entity = entity, .id = id, .before = row_ref(before)};
    return u;
}

void undo_drop(struct undo *u)
{
    row_unref(u->entity, &u->before);
    node_unref(&u->after);
}

void undo_fini(struct state *st)
{
    for (size_t i = 0; i < st->undo.n; i++)
        undo_drop(&st->undo.v[i]);
    mem_free(st->undo.v);
    mem_free(st->undo.marks);
    mem_free(st->undo.settled);
    row_batch_destroy(&st->suspects);
}

void undo_begin_node(struct state *st, struct node_record *e, enum undo_cause cause)
{
    if (e->undo_at != 0) {
        e->undo_depth++;
        return;
    }
    struct undo *u = undo_note(st, &entity_node, e->id, cause != UNDO_NEW ? &e->node->row : NULL);
    u->visible_seq = e->visible_seq;
    u->offline_at_ms = e->offline_at_ms;
    u->unsettled = e->unsettled;
    u->policy_sets = st->policy_sets;
    e->undo_at = st->undo.n;
}

void undo_end_node(struct state *st, struct node_record *e)
{
    if (e->undo_depth > 0) {
        e->undo_depth--;
        return;
    }
    st->undo.v[e->undo_at - 1].after = e->node != NULL ? node_ref(e->node) : NULL;
    e->undo_at = 0;
}

void undo_note_settled(struct state *st, node_id id, unsigned bits)
{
    struct undo_log *log = &st->undo;
    if (log->n == 0 || bits == 0)
        return;
    struct settled_note note = {id, (uint8_t)bits, state_durable_seq(st)};
    VEC_PUSH(log->settled, log->settled_n, log->settled_cap, note);
}

void undo_begin_batch(struct state *st)
{
    st->counters.dirty = 0;
    st->undo.next = (struct undo_mark){.counters = st->counters, .last_v4 = st->last_v4, .last_v6 = st->last_v6};
}

void undo_mark_batch(struct state *st, uint64_t seq)
{
    struct undo_log *log = &st->undo;
    VEC_ROOM(log->marks, log->mark_n, log->mark_cap, 16);
    log->marks[log->mark_n++] = seq;
    undo_begin_batch(st);
}

static void drop_settled(struct undo_log *log, uint64_t committed_seq)
{
    size_t gone = 0;
    while (gone < log->settled_n && log->settled[gone].seq <= committed_seq)
        gone++;
    if (gone > 0)
        memmove(log->settled, log->settled + gone, (log->settled_n - gone) * sizeof(*log->settled));
    log->settled_n -= gone;
}

void undo_committed(struct state *st)
{
    struct undo_log *log = &st->undo;
    size_t gone = 0, marks = 0;
    for (; gone < log->n && log->v[gone].seq <= st->committed_seq; gone++)
        undo_drop(&log->v[gone]);
    if (gone > 0)
        memmove(log->v, log->v + gone, (log->n - gone) * sizeof(*log->v));
    log->n -= gone;
    while (marks < log->mark_n && log->marks[marks] <= st->committed_seq)
        marks++;
    if (marks > 0)
        memmove(log->marks, log->marks + marks, (log->mark_n - marks) * sizeof(*log->marks));
    log->mark_n -= marks;
    drop_settled(log, st->committed_seq);
}

/* --- asking it --- */

/* The object as it was, if the note is about a row of this entity. */
static const void *was(const struct undo *u, const struct entity *entity)
{
    return u->entity == entity ? u->before : NULL;
}

bool undo_has_auth_key(const struct state *st, const uint8_t hash[KEY_HASH_BYTES])
{
    for (size_t i = 0; i < st->undo.n; i++) {
        const struct undo *u = &st->undo.v[i];
        const struct auth_key *before = was(u, &entity_auth_key);
        const struct auth_key *now = u->entity == &entity_auth_key ? state_key(st, u->id) : NULL;
        if ((before != NULL && secret_equal(before->hash, hash, KEY_HASH_BYTES)) ||
            (now != NULL && secret_equal(now->hash, hash, KEY_HASH_BYTES)))
            return true;
    }
    return false;
}

bool undo_has_node_key(const struct state *st, const node_key *key)
{
    for (size_t i = 0; i < st->undo.n; i++) {
        const struct undo *u = &st->undo.v[i];
        const struct node *before = was(u, &entity_node);
        if ((before != NULL && keys_equal(before->key.b, key->b)) ||
            (u->after != NULL && keys_equal(u->after->key.b, key->b)))
            return true;
    }
    return false;
}

bool undo_has_deletion(const struct state *st, const struct entity *entity)
{
    for (size_t i = 0; i < st->undo.n; i++) {
        if (st->undo.v[i].entity == entity && st->undo.v[i].is_deletion)
            return true;
    }
    return false;
}
