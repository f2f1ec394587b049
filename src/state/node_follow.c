/* Nodes as other servers, or what was before a refused event, have them: rows decide about the durable columns, and
 * what the node reports to this server stays. */
#include "base/mem.h"
#include "state/presence_internal.h"
#include "state/state_internal.h"

struct node *node_with_row(const struct node *now, const struct node *row, const struct node *endpoints_of)
{
    struct node *n = node_edit(now, endpoints_of->endpoints, endpoints_of->endpoints_n);
    struct prefix_list *elected = prefix_list_ref(now->primary);
    entity_copy_durable(&entity_node, &n->row, &row->row);
    prefix_list_unref(&n->primary);
    n->primary = elected;
    return n;
}

/* As it is loaded, but for the checks. */
static struct node *node_at_rest(const struct node *row)
{
    struct node *n = node_edit(row, NULL, 0);
    node_row_clean_report(n, NULL);
    prefix_list_unref(&n->primary);
    n->is_online = false;
    n->is_away = false;
    n->is_newcomer = false;
    return n;
}

void node_follow_leave(struct state *st, node_id id, struct key_list *left)
{
    struct node_record *e = node_record_of(st, id);
    if (e == NULL)
        return;
    if (!e->node->is_expired)
        VEC_PUSH(left->v, left->n, left->cap, e->node->key);
    node_record_leave(st, e);
}

enum rc node_follow_enter(struct state *st, node_id id, const struct node *row, int64_t now_ms, struct err *err)
{
    struct node_record *e = id < st->records_cap ? st->records[id] : NULL;
    if (row == NULL) {
        if (e != NULL && e->node != NULL)
            node_record_enter(st, e, NULL);
        return RC_OK;
    }
    struct node *n = e != NULL && e->node != NULL ? node_with_row(e->node, row, e->node) : node_at_rest(row);
    enum rc rc = node_row_check(st, n, err);
    if (rc != RC_OK) {
        const struct node *dropped = n;
        node_unref(&dropped);
        if (e != NULL && e->node != NULL)
            node_record_enter(st, e, NULL);
        return rc;
    }
    n->is_expired = node_is_past(n, now_ms);
    if (e == NULL)
        e = node_record_make(st, id);
    e->is_from_disk |= e->node == NULL;
    node_record_enter(st, e, n);
    e->visible_seq = 0;
    return RC_OK;
}

/* An ephemeral node without a poll here gets its time, as after a start. */
static void plan_removal(struct state *st, struct node_record *e, int64_t now_ms)
{
    bool is_waiting = e->polls == 0 && e->offline_at_ms == 0;
    if (!e->node->is_ephemeral)
        e->remove_at_ms = 0;
    else if (is_waiting && e->remove_at_ms == 0)
        e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
    if (e->remove_at_ms != 0)
        state_due_at(st, e->remove_at_ms);
}

void node_follow_plan(struct state *st, node_id id, int64_t now_ms)
{
    struct node_record *e = id < st->records_cap ? st->records[id] : NULL;
    if (e == NULL)
        return;
    node_record_recount(st, e);
    if (e->node == NULL)
        return;
    addresses_note_given(st, e->node);
    plan_removal(st, e, now_ms);
    if (e->node->expires_ms != NO_EXPIRY && !e->node->is_expired)
        state_date_at(st, e->node->expires_ms);
}

void node_follow_primary(struct state *st, node_id id, struct prefix_list *primary)
{
    struct node_record *e = node_record_of(st, id);
    if (e != NULL)
        node_record_claim_routes(st, e, primary, true);
}

void node_follow_settled(struct state *st, node_id id, struct prefix_list *primary)
{
    struct node_record *e = node_record_of(st, id);
    if (e == NULL)
        return;
    prefix_list_ref(primary);
    prefix_list_unref(&e->claims);
    e->claims = primary;
    e->unsettled &= (uint8_t)~SETTLE_PRIMARY;
}
