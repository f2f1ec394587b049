/* Routes: what is approved, and which node is the primary of a prefix that several serve.
 *
 * A primary stays while it can serve; else the first node by id that can takes over; if none can, nothing changes. Exit routes
 * have no primary. src: docs/protocol/policy.md 6.3, Headscale 0.30-dev (high availability). Who is primary is written
 * into the nodes (node.primary), so that a failover reaches maps like any other change of a node. */
#include "base/mem.h"
#include "engine/approval.h"
#include "state/state_internal.h"

_Static_assert(ROUTES_MAX == (int)ENGINE_ROUTES_MAX, "the policy looks at all routes of a node");

enum { ROUTE_KEY_BYTES = 18 };

/* A prefix that at least one node serves. */
struct route {
    uint8_t key[ROUTE_KEY_BYTES]; /* in `routes` */
    struct id_list holders;       /* ascending */
    node_id primary;              /* one of them */
};

static void make_key(const struct prefix *p, uint8_t key[ROUTE_KEY_BYTES])
{
    key[0] = p->ip.family;
    key[1] = p->bits;
    memcpy(key + 2, p->ip.ip, sizeof(p->ip.ip));
}

static struct route *route_of(const struct state *st, const struct prefix *p)
{
    uint8_t key[ROUTE_KEY_BYTES];
    make_key(p, key);
    return map_get(&st->routes, key, sizeof(key));
}

static void route_destroy(struct state *st, struct route *r)
{
    map_remove(&st->routes, r->key, sizeof(r->key));
    mem_free(r->holders.ids);
    mem_free(r);
}

void routes_fini(struct state *st)
{
    for (size_t pos = 0;;) {
        struct route *r = map_next(&st->routes, &pos);
        if (r == NULL)
            break;
        mem_free(r->holders.ids);
        mem_free(r);
    }
    map_fini(&st->routes);
}

/* --- who holds what --- */

static void join_route(struct state *st, const struct prefix *p, node_id id)
{
    struct route *r = route_of(st, p);
    if (r == NULL) {
        r = MEM_NEW(struct route);
        make_key(p, r->key);
        map_put(&st->routes, r->key, sizeof(r->key), r);
    }
    size_t at = 0;
    while (at < r->holders.n && r->holders.ids[at] < id)
        at++;
    if (at < r->holders.n && r->holders.ids[at] == id)
        return;
    id_list_push(&r->holders, id);
    memmove(r->holders.ids + at + 1, r->holders.ids + at, (r->holders.n - 1 - at) * sizeof(id));
    r->holders.ids[at] = id;
}

static bool holds(const struct route *r, node_id id)
{
    for (size_t i = 0; i < r->holders.n; i++) {
        if (r->holders.ids[i] == id)
            return true;
    }
    return false;
}

static void leave_route(struct state *st, const struct prefix *p, node_id id)
{
    struct route *r = route_of(st, p);
    size_t kept = 0;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->holders.n; i++) {
        if (r->holders.ids[i] != id)
            r->holders.ids[kept++] = r->holders.ids[i];
    }
    r->holders.n = kept;
}

/* --- election --- */

static bool can_serve(const struct state *st, node_id id)
{
    const struct node_record *e = node_record_of(st, id);
    /* The entry knows first, so that of several that go together none is elected on the way. */
    return e != NULL && node_can_serve(e->node) && !e->has_left && !e->is_silent;
}

static node_id elect(const struct state *st, const struct route *r)
{
    bool stays = holds(r, r->primary);
    if (stays && can_serve(st, r->primary))
        return r->primary;
    for (size_t i = 0; i < r->holders.n; i++) {
        if (can_serve(st, r->holders.ids[i]))
            return r->holders.ids[i];
    }
    return stays ? r->primary : r->holders.ids[0];
}

/* Notes whom an election concerned. A route that nobody holds any more is forgotten. */
static void hold_election(struct state *st, const struct prefix *p, struct id_list *concerned)
{
    struct route *r = route_of(st, p);
    if (r == NULL)
        return;
    node_id before = r->primary;
    node_id after = r->holders.n > 0 ? elect(st, r) : 0;
    r->primary = after;
    if (after == 0)
        route_destroy(st, r);
    if (before == after)
        return;
    id_list_push(concerned, before);
    id_list_push(concerned, after);
}

/* Writes into the node of which routes it is the primary. */
static void tell_primary(struct state *st, node_id id)
{
    struct node_record *e = node_record_of(st, id);
    struct prefix v[ROUTES_MAX];
    size_t n = 0;
    if (e == NULL)
        return;
    for (size_t pos = 0; n < ROUTES_MAX && node_serves_next(e->node, &pos, &v[n]);) {
        const struct route *r = v[n].bits > 0 ? route_of(st, &v[n]) : NULL;
        n += r != NULL && r->primary == id;
    }
    struct prefix_list *list = prefix_list_create(v, n);
    if (prefix_list_eq(list, e->node->primary)) {
        prefix_list_unref(&list);
        return;
    }
    struct node *next = node_edit(e->node, NULL, 0);
    prefix_list_unref(&next->primary);
    next->primary = list;
    node_record_replace(st, e, next);
}

/* --- following a node --- */

/* As node_serves_next, without exit routes. */
static bool next_of(const struct counted_routes *c, size_t *pos, struct prefix *out)
{
    const struct node as_node = {.advertised = c->advertised, .approved = c->approved};
    while (node_serves_next(&as_node, pos, out)) {
        if (out->bits > 0)
            return true;
    }
    return false;
}

static struct counted_routes routes_now(const struct state *st, const struct node_record *e)
{
    struct counted_routes now = {.can_serve = can_serve(st, e->id)};
    if (e->node != NULL) {
        now.advertised = e->node->advertised;
        now.approved = e->node->approved;
    }
    return now;
}

void routes_follow(struct state *st, struct node_record *e)
{
    struct counted_routes before = e->counted, now = routes_now(st, e);
    struct id_list concerned = {0};
    struct prefix p;
    if (before.advertised == now.advertised && before.approved == now.approved && before.can_serve == now.can_serve)
        return;
    prefix_list_ref(now.advertised);
    prefix_list_ref(now.approved);
    e->counted = now;
    for (size_t pos = 0; next_of(&before, &pos, &p);)
        leave_route(st, &p, e->id);
    for (size_t pos = 0; next_of(&now, &pos, &p);)
        join_route(st, &p, e->id);
    for (size_t pos = 0; next_of(&before, &pos, &p);)
        hold_election(st, &p, &concerned);
    for (size_t pos = 0; next_of(&now, &pos, &p);)
        hold_election(st, &p, &concerned);
    prefix_list_unref(&before.advertised);
    prefix_list_unref(&before.approved);
    /* It is counted by now: the new versions that this makes change nothing here. */
    for (size_t i = 0; i < concerned.n; i++)
        tell_primary(st, concerned.ids[i]);
    mem_free(concerned.ids);
}

void routes_forget(struct node_record *e)
{
    prefix_list_unref(&e->counted.advertised);
    prefix_list_unref(&e->counted.approved);
}

void routes_follow_presence(struct state *st, struct node_record *e)
{
    bool is_away = e->has_left || e->is_silent;
    if (e->node->is_away == is_away)
        return;
    struct node *n = node_edit(e->node, NULL, 0);
    n->is_away = is_away;
    node_record_replace(st, e, n);
}

/* --- who stands by for whom --- */

/* Connected: whether it answers is another question. */
static bool is_reachable(const struct node_record *e)
{
    return e != NULL && e->polls > 0 && e->node->is_online && !e->node->is_expired;
}

/* Another node that is connected serves one of its routes; one that answers, if that is asked for. */
static bool has_standby(const struct state *st, const struct node_record *e, bool answering)
{
    struct prefix p;
    for (size_t pos = 0; node_serves_next(e->node, &pos, &p);) {
        const struct route *r = p.bits > 0 ? route_of(st, &p) : NULL;
        for (size_t i = 0; r != NULL && i < r->holders.n; i++) {
            const struct node_record *other = node_record_of(st, r->holders.ids[i]);
            if (other != e && is_reachable(other) && !(answering && (other->is_failing || other->is_silent)))
                return true;
        }
    }
    return false;
}

node_id state_router_next(const struct state *st, node_id after)
{
    for (node_id id = after + 1; id < st->records_cap; id++) {
        const struct node_record *e = node_record_of(st, id);
        if (is_reachable(e) && e->node->approved != NULL && has_standby(st, e, false))
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
        if (!is_reachable(e) || e->is_silent || !has_standby(st, e, true))
            continue;
        e->is_silent = true;
        fallen++;
    }
    mark_failing(st, ids, n, false);
    for (size_t i = 0; i < n; i++) {
        struct node_record *e = node_record_of(st, ids[i]);
        if (e != NULL)
            routes_follow_presence(st, e);
    }
    return fallen;
}

void routes_claim(struct state *st, struct node_record *e, const struct prefix_list *primary)
{
    for (size_t i = 0; primary != NULL && i < primary->n; i++) {
        struct route *r = route_of(st, &primary->v[i]);
        if (r == NULL || r->primary == e->id || !holds(r, e->id) ||
            (!can_serve(st, e->id) && can_serve(st, r->primary)))
            continue;
        node_id other = r->primary;
        r->primary = e->id;
        tell_primary(st, other);
        tell_primary(st, e->id);
    }
}

/* --- approval --- */

/* Takes the list over. undo_begin_node has been called. */
static void set_approved(struct state *st, struct node_record *e, struct prefix_list *approved)
{
    struct node *n = node_edit(e->node, NULL, 0);
    prefix_list_unref(&n->approved);
    n->approved = approved;
    node_record_replace(st, e, n);
    node_record_put_row(st, e);
    node_record_mark_durable(st, e);
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
    e->approval_lags = false;
    if (n == before)
        return;
    undo_begin_node(st, e, UNDO_APPROVAL);
    set_approved(st, e, prefix_list_create(v, n));
}

void state_routes_auto_approve(struct state *st, int64_t now_ms)
{
    (void)now_ms;
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e != NULL)
            routes_auto_approve(st, e);
    }
}

/* Room for the other family's exit route. */
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
    undo_begin_node(st, e, UNDO_EVENT);
    set_approved(st, e, prefix_list_create(v, complete_exit(v, n)));
    *out = e->node;
    return RC_OK;
}
