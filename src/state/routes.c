/* Routes: what admins and the policy approve, and the failover of routers that do not answer. */
#include "base/mem.h"
#include "engine/approval.h"
#include "state/state_internal.h"

_Static_assert(ROUTES_MAX == (int)ENGINE_ROUTES_MAX, "the policy looks at all routes of a node");

void routes_follow_presence(struct state *st, struct node_record *e)
{
    bool is_away = e->has_left || e->is_silent;
    if (e->node->is_away == is_away)
        return;
    struct node *n = node_edit(e->node, NULL, 0);
    n->is_away = is_away;
    node_record_replace(st, e, n);
}

/* --- which nodes stand by for which --- */

node_id state_router_next(const struct state *st, node_id after)
{
    for (node_id id = after + 1; id < st->records_cap; id++) {
        const struct node_record *e = node_record_of(st, id);
        if (node_record_is_reachable(e) && e->node->approved != NULL && routes_have_standby(st, e, false))
            return id;
    }
    return 0;
}

void state_router_answered(struct state *st, node_id id)
{
    struct node_record *e = node_record_of(st, id);
    if (e == NULL || !e->is_silent)
        return;
    e->is_silent = false;
    routes_follow_presence(st, e);
    if (!e->node->is_away)
        event_note_news(st, EVENT_ROUTER_ANSWERS, e);
}

static void mark_failing(const struct state *st, const node_id *ids, size_t n, bool is_failing)
{
    for (size_t i = 0; i < n; i++) {
        struct node_record *e = node_record_of(st, ids[i]);
        if (e != NULL)
            e->is_failing = is_failing;
    }
}

size_t state_routers_silent(struct state *st, const node_id *ids, size_t n)
{
    size_t fallen = 0;
    mark_failing(st, ids, n, true);
    for (size_t i = 0; i < n; i++) {
        struct node_record *e = node_record_of(st, ids[i]);
        if (!node_record_is_reachable(e) || e->is_silent || !routes_have_standby(st, e, true))
            continue;
        e->is_silent = true;
        fallen++;
    }
    mark_failing(st, ids, n, false);
    for (size_t i = 0; i < n; i++) {
        struct node_record *e = node_record_of(st, ids[i]);
        if (e == NULL)
            continue;
        bool was_away = e->node->is_away;
        routes_follow_presence(st, e);
        if (e->node->is_away && !was_away)
            event_note_news(st, EVENT_ROUTER_SILENT, e);
    }
    return fallen;
}

/* --- approval --- */

/* Takes over the list. The caller has called undo_begin_node, and notes the event before it marks it durable. */
static void set_approved(struct state *st, struct node_record *e, struct prefix_list *approved)
{
    struct node *n = node_edit(e->node, NULL, 0);
    prefix_list_unref(&n->approved);
    n->approved = approved;
    node_record_replace(st, e, n);
    node_record_put_row(st, e);
}

void routes_auto_approve(struct state *st, struct node_record *e)
{
    const struct engine *policy = state_policy(st);
    const struct prefix_list *advertised = e->node->advertised, *approved = e->node->approved;
    struct prefix v[ROUTES_MAX];
    size_t before = approved != NULL ? approved->n : 0, n = before;
    if (policy == NULL || advertised == NULL)
        return;
    if (before > 0)
        memcpy(v, approved->v, before * sizeof(v[0]));
    for (size_t i = 0; i < advertised->n && n < ROUTES_MAX; i++) {
        const struct prefix *p = &advertised->v[i];
        if (!prefix_list_has(approved, p) && engine_may_approve_route(policy, e->id, &p->ip, p->bits))
            v[n++] = *p;
    }
    if (n == before)
        return;
    undo_begin_node(st, e, UNDO_EVENT);
    set_approved(st, e, prefix_list_create(v, n));
    event_note_node_by(st, EVENT_BY_POLICY, EVENT_ROUTES_APPROVED, e);
    node_record_mark_durable(st, e);
}

void routes_flag_approvals(struct state *st)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e != NULL && e->node->advertised != NULL)
            node_record_flag(st, e, SETTLE_APPROVAL);
    }
}

/* An exit route of one family brings that of the other. `v` has room for one more; returns the new number. */
static size_t complete_exit(struct prefix *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].bits != 0)
            continue;
        v[n] = (struct prefix){.ip.family = v[i].ip.family == 4 ? 6 : 4};
        return n + 1;
    }
    return n;
}

enum rc state_node_approve_routes(struct state *st, node_id id, const struct prefix *routes, size_t n,
                                  const struct node **out, struct err *err)
{
    struct prefix v[ROUTES_MAX + 1];
    struct node_record *e = node_record_of(st, id);
    if (e == NULL)
        return node_not_found(id, err);
    if (n >= ROUTES_MAX)
        return err_set(err, RC_LIMIT, "a node can have less than %d routes", ROUTES_MAX);
    if (n > 0)
        memcpy(v, routes, n * sizeof(v[0]));
    struct prefix_list *approved = prefix_list_create(v, complete_exit(v, n));
    *out = e->node;
    if (prefix_list_eq(approved, e->node->approved)) {
        prefix_list_unref(&approved);
        return RC_OK;
    }
    undo_begin_node(st, e, UNDO_EVENT);
    set_approved(st, e, approved);
    event_note_node(st, EVENT_ROUTES_APPROVED, e);
    node_record_mark_durable(st, e);
    *out = e->node;
    return RC_OK;
}
