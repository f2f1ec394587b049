/* Which node is the primary of a prefix that several serve.
 *
 * A primary stays while it can serve; else the first node by id that can takes over; if none can, nothing changes. Exit
 * routes have no primary. src: docs/protocol/policy.md 6.3, Headscale 0.30-dev (high availability).
 *
 * This file counts and elects. node_records.c writes the results into the nodes (node.primary), so that a failover
 * reaches maps like any other change of a node. */
#include "base/mem.h"
#include "state/state_internal.h"

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
    /* The record is up to date before the node is: of several nodes that become silent together, none is elected in
     * between. */
    if (e != NULL && e->awaited_until_ms != 0)
        return true;
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

/* Elects, and notes the former and the new primary if they differ. A route that no node holds any more is freed. */
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
    if (!st->is_installing)
        event_note_moved(st, p, before, after);
}

struct prefix_list *routes_list_primary(const struct state *st, const struct node_record *e)
{
    struct prefix v[ROUTES_MAX];
    size_t n = 0;
    for (size_t pos = 0; n < ROUTES_MAX && node_serves_next(e->node, &pos, &v[n]);) {
        const struct route *r = v[n].bits > 0 ? route_of(st, &v[n]) : NULL;
        n += r != NULL && r->primary == e->id;
    }
    return prefix_list_create(v, n);
}

/* --- following a node --- */

/* The same as node_serves_next, without exit routes. */
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

node_id routes_claim(struct state *st, struct node_record *e, const struct prefix *p, bool by_row)
{
    struct route *r = route_of(st, p);
    if (r == NULL || r->primary == 0 || r->primary == e->id || !holds(r, e->id) ||
        (!by_row && !can_serve(st, e->id) && can_serve(st, r->primary)))
        return 0;
    node_id other = r->primary;
    r->primary = e->id;
    if (!st->is_installing)
        event_note_moved(st, p, other, e->id);
    return other;
}

static void claim(struct state *st, struct node_record *e, const struct prefix *p, struct id_list *concerned)
{
    node_id from = routes_claim(st, e, p, false);
    if (from == 0)
        return;
    id_list_push(concerned, from);
    id_list_push(concerned, e->id);
}

void routes_recount(struct state *st, struct node_record *e, struct id_list *changed)
{
    struct counted_routes before = e->counted, now = routes_now(st, e);
    struct prefix p;
    if (before.advertised == now.advertised && before.approved == now.approved && before.can_serve == now.can_serve)
        return;
    prefix_list_ref(now.advertised);
    prefix_list_ref(now.approved);
    e->counted = now;
    for (size_t pos = 0; next_of(&before, &pos, &p);)
        leave_route(st, &p, e->id);
    for (size_t pos = 0; next_of(&now, &pos, &p);) {
        join_route(st, &p, e->id);
        if (prefix_list_has(e->claims, &p))
            claim(st, e, &p, changed);
    }
    for (size_t pos = 0; next_of(&before, &pos, &p);)
        hold_election(st, &p, changed);
    for (size_t pos = 0; next_of(&now, &pos, &p);)
        hold_election(st, &p, changed);
    prefix_list_unref(&before.advertised);
    prefix_list_unref(&before.approved);
}

void routes_forget(struct node_record *e)
{
    prefix_list_unref(&e->counted.advertised);
    prefix_list_unref(&e->counted.approved);
    prefix_list_unref(&e->claims);
}

bool routes_have_standby(const struct state *st, const struct node_record *e, bool answering)
{
    struct prefix p;
    for (size_t pos = 0; node_serves_next(e->node, &pos, &p);) {
        const struct route *r = p.bits > 0 ? route_of(st, &p) : NULL;
        for (size_t i = 0; r != NULL && i < r->holders.n; i++) {
            const struct node_record *other = node_record_of(st, r->holders.ids[i]);
            if (other != e && node_record_is_reachable(other) &&
                !(answering && (other->is_failing || other->is_silent)))
                return true;
        }
    }
    return false;
}
