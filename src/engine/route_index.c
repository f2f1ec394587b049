#include "engine/route_index.h"

#include "base/mem.h"
#include "engine/source_table.h"

/* The addresses that nodes may get: the tailnet's prefixes, and ipPools. The usual prefix leaves out the addresses
 * that ChromeOS uses. src: docs/protocol/policy.md 2.5 */
static void set_tailnet(struct route_index *x, const struct policy_doc *doc, const struct engine_ranges *ranges)
{
    static const char *const usual[] = {"100.64.0.0-100.115.91.255", "100.115.94.0-100.127.255.255",
                                        "fd7a:115c:a1e0::/48"};
    bool has_v4 = ranges != NULL && ranges->v4.family != 0;
    bool has_v6 = ranges != NULL && ranges->v6.family != 0;
    struct range r;
    for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
        if (range_parse(str_c(usual[i]), &r) && !(r.family == 4 ? has_v4 : has_v6))
            range_set_add(&x->tailnet, r);
    }
    if (has_v4)
        range_set_add(&x->tailnet, range_of_prefix(&ranges->v4, ranges->v4_bits));
    if (has_v6)
        range_set_add(&x->tailnet, range_of_prefix(&ranges->v6, ranges->v6_bits));
    for (size_t i = 0; i < doc->node_attr_n; i++) {
        for (size_t k = 0; k < doc->node_attr[i].pool_n; k++)
            range_set_add(&x->tailnet, doc->node_attr[i].pool[k]);
    }
    range_set_join(&x->tailnet);
}

void route_index_init(struct route_index *x, const struct policy_doc *doc, const struct engine_ranges *ranges)
{
    *x = (struct route_index){0};
    map_init(&x->by_range, NULL);
    list_init(&x->strays);
    set_tailnet(x, doc, ranges);
}

void route_index_fini(struct route_index *x)
{
    map_fini(&x->by_range);
    range_set_fini(&x->tailnet);
}

/* Adds (`delta` 1) a range to the sources that `*` stands for, or removes it (-1). */
static void star_count(struct route_index *x, const struct range *r, int delta, uint64_t clock)
{
    uint64_t sum[2] = {x->star_hash, 0};
    source_hash_range(sum, r, delta);
    x->star_hash = sum[0];
    x->star_version = clock;
}

static void hold(struct route_index *x, struct engine_node *n, struct node_route *r, uint64_t clock)
{
    struct range_key key = range_key_of(&r->range);
    struct route_holders *h = map_get(&x->by_range, &key, sizeof(key));
    if (h == NULL) {
        h = MEM_NEW(struct route_holders);
        h->range = r->range;
        h->key = key;
        map_put(&x->by_range, &h->key, sizeof(h->key), h);
        star_count(x, &h->range, 1, clock);
    }
    VEC_PUSH(h->v, h->n, h->cap, n);
    r->holders = h;
}

static void release(struct route_index *x, const struct engine_node *n, struct node_route *r, uint64_t clock)
{
    struct route_holders *h = r->holders;
    size_t i = 0;
    while (h->v[i] != n)
        i++;
    h->v[i] = h->v[--h->n];
    if (h->n > 0)
        return;
    star_count(x, &h->range, -1, clock);
    map_remove(&x->by_range, &h->key, sizeof(h->key));
    mem_free(h->v);
    mem_free(h);
}

/* Whether a route is shown depends on all nodes that hold it. And what the router's own class is shown is computed
 * for another node of that class, so it changes when the first other node comes or the last goes. */
void route_index_touch(struct route_index *x, struct engine_node *n, uint64_t clock)
{
    n->routes_version = clock;
    if (n->route_n == 0)
        return;
    x->touched = clock;
    for (size_t i = 0; i < n->route_n; i++) {
        const struct route_holders *h = n->route[i].holders;
        for (size_t k = 0; h != NULL && k < h->n; k++)
            h->v[k]->routes_version = clock;
    }
    if (n->class->node_n > 2)
        return;
    LIST_EACH (it, &n->class->nodes)
        LIST_ENTRY(it, struct engine_node, class_link)->routes_version = clock;
}

void route_index_hold(struct route_index *x, struct engine_node *n, uint64_t clock)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit)
            hold(x, n, &n->route[i], clock);
    }
}

void route_index_release(struct route_index *x, struct engine_node *n, uint64_t clock)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit)
            release(x, n, &n->route[i], clock);
    }
}

bool route_index_holds(const struct route_index *x, const struct range *range)
{
    size_t pos = 0;
    const struct route_holders *h;
    while ((h = map_next(&x->by_range, &pos)) != NULL) {
        if (range_holds(&h->range, range))
            return true;
    }
    return false;
}

/* --- stray addresses --- */

void route_index_add_strays(const struct route_index *x, const struct engine_node *n, struct range_set *out)
{
    for (int family = 4; family <= 6; family += 2) {
        struct range own = engine_node_range(n, family);
        if (own.family != 0 && !range_set_holds(&x->tailnet, &own))
            range_set_add(out, own);
    }
}

bool route_index_is_stray(const struct route_index *x, const struct engine_node *n)
{
    return (n->v4.family != 0 && !range_set_holds(&x->tailnet, &n->v4)) ||
           (n->v6.family != 0 && !range_set_holds(&x->tailnet, &n->v6));
}

void route_index_count_strays(struct route_index *x, const struct engine_node *n, int delta, uint64_t clock)
{
    struct range_set own = {0};
    route_index_add_strays(x, n, &own);
    for (size_t i = 0; i < own.n; i++)
        star_count(x, &own.v[i], delta, clock);
    range_set_fini(&own);
}
