/* A batch that cannot be written is undone in memory, as if its events had never happened.
 *
 * Each event that puts a row first notes how the row was (undo_log.c). When batch K fails, everything that was noted
 * for it and for the batches after it, which build on it, is taken back, the newest first: each row becomes what it
 * was. A node may have reported something meanwhile, which does not wait for the disk and stays; of what it reports,
 * only that is taken back which is still as the event left it.
 *
 * The events themselves have not been in a snapshot. Their consequences for other nodes may have been (a second router
 * took over the routes of one that was being deleted, the policy gave a node other access): the next publication
 * reverses them.
 *
 * Ids that a failed batch gave are not given again: clients may have used them in requests meanwhile.
 *
 * A failed commit may be found on disk after all. So the first batch that is written afterwards, the repair, has
 * every row that the failed ones touched, as it is now. */
#include <string.h>

#include "base/mem.h"
#include "state/presence_internal.h"
#include "state/state_internal.h"

/* The delay after which an ephemeral node whose removal could not be written is removed; it doubles each time, up to
 * the maximum. */
enum { REMOVE_AGAIN_MS = 5000, REMOVE_AGAIN_MAX_MS = 300000 };

/* --- a node --- */

/* As before the event, unless it has changed since. */
#define TAKE_BACK(field)                                                                                               \
    do {                                                                                                               \
        if (now->field == u->after->field)                                                                             \
            n->field = before->field;                                                                                  \
    } while (0)

static bool has_endpoints_of(const struct node *now, const struct node *after)
{
    return node_has_endpoints(now, after->endpoints, after->endpoints_n);
}

static const struct node *node_before(const struct undo *u)
{
    return (const struct node *)u->before;
}

/* The row as it was; of what the node reports, what the event itself brought is taken back. */
static struct node *without_event(const struct node *now, const struct undo *u)
{
    const struct node *before = node_before(u);
    struct node *n = node_with_row(now, before, has_endpoints_of(now, u->after) ? before : now);
    entity_take_back_presence(&entity_node, &n->row, &before->row, &u->after->row);
    TAKE_BACK(is_expired);
    TAKE_BACK(is_online);
    TAKE_BACK(is_newcomer);
    return n;
}

/* The removal of the node was due, and could not be written. */
static int64_t remove_again_at(struct node_record *e, int64_t steady_now_ms)
{
    int64_t ms = e->remove_again_ms > 0 ? e->remove_again_ms * 2 : REMOVE_AGAIN_MS;
    e->remove_again_ms = ms < REMOVE_AGAIN_MAX_MS ? ms : REMOVE_AGAIN_MAX_MS;
    return steady_now_ms + e->remove_again_ms;
}

/* When an ephemeral node is removed depends on its client, so it keeps the deadline that it has now. It has none if
 * its client left while an event that made it a lasting node waited for the disk: then its time counts from now. */
static int64_t remove_at(const struct state *st, struct node_record *e, const struct undo *u, int64_t steady_now_ms)
{
    if (!e->node->is_ephemeral || e->polls > 0 || e->offline_at_ms != 0)
        return 0; /* it gets a deadline when it goes offline */
    if (e->remove_at_ms == 0)
        return steady_now_ms + st->options.ephemeral_timeout_ms;
    if (u->after == NULL && e->remove_at_ms <= steady_now_ms)
        return remove_again_at(e, steady_now_ms);
    return e->remove_at_ms;
}

static void plan_ticks(struct state *st, struct node_record *e, const struct undo *u, int64_t now_ms)
{
    e->remove_at_ms = remove_at(st, e, u, state_steady_ms(st, now_ms));
    const int64_t due[] = {e->remove_at_ms, e->offline_at_ms, e->away_at_ms, e->announce_at_ms};
    for (size_t i = 0; i < ARRAY_LEN(due); i++) {
        if (due[i] != 0)
            state_due_at(st, due[i]);
    }
    if (e->node->expires_ms != NO_EXPIRY)
        state_date_at(st, e->node->expires_ms);
}

static void undo_node(struct state *st, const struct undo *u, int64_t now_ms)
{
    struct node_record *e = st->records[u->id];
    if (u->before == NULL) {
        node_record_forget(st, e);
        return;
    }
    struct node *n = e->node != NULL ? without_event(e->node, u) : node_edit(node_before(u), NULL, 0);
    if (n->is_online && e->polls == 0 && e->offline_at_ms == 0)
        e->offline_at_ms = u->offline_at_ms;
    n->is_online = n->is_online && (e->polls > 0 || e->offline_at_ms != 0);
    if (e->node != NULL)
        node_record_replace(st, e, n);
    else
        node_record_bring_back(st, e, n);
    e->visible_seq = u->visible_seq;
    /* A policy that became active meanwhile decided about the node as it no longer is. */
    node_record_flag(st, e, u->unsettled | (u->policy_sets != st->policy_sets ? SETTLE_APPROVAL : 0));
    node_record_mark_stale(st, e);
    node_record_claim_routes(st, e, node_before(u)->primary, false);
    plan_ticks(st, e, u, now_ms);
}

/* --- a batch --- */

static void undo_one(struct state *st, struct undo *u, int64_t now_ms)
{
    if (u->entity == &entity_node)
        undo_node(st, u, now_ms);
    else
        entity_restore(st, u->entity, u->id, u->before, now_ms);
}

/* Removes the ids of nodes that were forgotten, which may be given again. */
static void forget_ids(const struct state *st, struct id_list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (st->records[l->ids[i]] != NULL)
            l->ids[kept++] = l->ids[i];
    }
    l->n = kept;
}

/* Sets ids and addresses to be given next as they were before the pending batch. */
static void restore_counters(struct state *st)
{
    st->counters = st->undo.next.counters;
    st->last_v4 = st->undo.next.last_v4;
    st->last_v6 = st->undo.next.last_v6;
}

static void suspect(struct state *st, const struct entity *entity, uint64_t id)
{
    if (st->suspects == NULL)
        st->suspects = MEM_NEW(struct row_batch);
    row_batch_add(st->suspects, entity, id, NULL);
}

static void mark_unwritten(struct state *st, uint64_t from_seq, uint64_t to_seq)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e != NULL && e->written_seq >= from_seq && e->written_seq <= to_seq)
            node_record_mark_stale(st, e);
    }
    for (size_t i = 0; i < st->relay_n; i++) {
        struct relay_record *r = &st->relays[i];
        r->is_stale_on_disk |= r->written_seq >= from_seq && r->written_seq <= to_seq;
    }
}

/* What was settled by what never was. */
static void flag_settled(struct state *st, uint64_t from_seq)
{
    struct undo_log *log = &st->undo;
    while (log->settled_n > 0 && log->settled[log->settled_n - 1].seq >= from_seq) {
        const struct settled_note *note = &log->settled[--log->settled_n];
        struct node_record *e = node_record_of(st, note->id);
        if (e != NULL)
            node_record_flag(st, e, note->bits);
    }
}

static void undo_from(struct state *st, uint64_t from_seq, int64_t now_ms)
{
    struct undo_log *log = &st->undo;
    while (log->n > 0 && log->v[log->n - 1].seq >= from_seq) {
        struct undo u = log->v[--log->n];
        undo_one(st, &u, now_ms);
        if (u.seq < st->next_seq)
            suspect(st, u.entity, u.id);
        undo_drop(&u);
    }
    flag_settled(st, from_seq);
    events_drop(st, from_seq);
    row_batch_destroy(&st->pending);
    state_forget_sealed(st, from_seq);
    state_forget_revoked(st, from_seq);
    forget_ids(st, &st->dirty);
    forget_ids(st, &st->stale);
    forget_ids(st, &st->unsettled);
}

bool state_undo_pending(struct state *st, int64_t now_ms)
{
    if (st->pending == NULL)
        return false;
    undo_from(st, st->next_seq, now_ms);
    restore_counters(st);
    return true;
}

static bool is_durable(const struct state *st, uint64_t seq)
{
    for (size_t i = 0; i < st->undo.mark_n; i++) {
        if (st->undo.marks[i] == seq)
            return true;
    }
    return false;
}

bool state_refused(struct state *st, uint64_t seq, int64_t now_ms)
{
    if (!is_durable(st, seq)) {
        mark_unwritten(st, seq, seq);
        return false;
    }
    undo_from(st, seq, now_ms);
    while (st->undo.mark_n > 0 && st->undo.marks[st->undo.mark_n - 1] >= seq)
        st->undo.mark_n--;
    undo_begin_batch(st);
    mark_unwritten(st, seq, UINT64_MAX);
    /* Requests of those batches are answered by the refusal: none waits for them any more. */
    st->durable_seq = st->next_seq - 1;
    st->committed_seq = st->next_seq - 1;
    state_policy_texts_committed(st);
    return true;
}

/* --- afterwards --- */

struct row_batch *state_take_repair(struct state *st)
{
    struct row_batch *b = MEM_NEW(struct row_batch);
    b->seq = st->next_seq++;
    b->is_repair = true;
    for (size_t i = 0; st->suspects != NULL && i < st->suspects->n; i++)
        row_batch_add(b, st->suspects->ops[i].entity, st->suspects->ops[i].id,
                      state_row(st, st->suspects->ops[i].entity, st->suspects->ops[i].id));
    row_batch_add_counters(b, &st->counters, true);
    return b;
}

void state_repaired(struct state *st)
{
    row_batch_destroy(&st->suspects);
}
