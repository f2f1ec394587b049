/* Random events of a tailnet. */
#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static struct rcbuf *random_hostinfo(struct world *w)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"OS\":\"linux\",\"OSVersion\":\"%u\"}", world_below(w, 3));
    return rcbuf_create(text, (size_t)n);
}

size_t world_fill_routes(struct world *w, struct prefix out[4])
{
    static const struct str routes[] = {STR("10.0.0.0/8"), STR("fd00::/8"), STR("0.0.0.0/0"), STR("::/0")};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (world_below(w, 2) == 0)
            assert_int_equal(prefix_parse(routes[i], &out[n++], NULL), RC_OK);
    }
    return n;
}

static struct prefix_list *random_routes(struct world *w)
{
    struct prefix v[4];
    size_t n = world_below(w, 2) == 0 ? world_fill_routes(w, v) : 0;
    return prefix_list_create(v, n);
}

static void fill_report(struct world *w, struct node_report *r, struct addr *endpoints, disco_key *disco)
{
    static const char *const names[] = {"laptop", "Laptop", "web_1", "anna's phone", "", "x.y.z", "-- --"};
    memset(r, 0, sizeof(*r));
    if (world_below(w, 2) == 0) {
        r->endpoints_n = world_below(w, 4);
        for (unsigned i = 0; i < r->endpoints_n; i++)
            endpoints[i] = (struct addr){
                .family = 4, .port = (uint16_t)world_below(w, 5), .ip = {192, 0, 2, (uint8_t)world_below(w, 4)}};
        r->endpoints = endpoints;
    }
    if (world_below(w, 3) == 0)
        r->home_derp = (uint16_t)world_below(w, 4);
    if (world_below(w, 4) == 0) {
        memset(disco, 0, sizeof(*disco));
        disco->b[0] = (uint8_t)world_below(w, 5);
        r->disco = disco;
    }
    if (world_below(w, 5) == 0)
        r->hostname = str_c(names[world_below(w, ARRAY_LEN(names))]);
    if (world_below(w, 4) == 0)
        r->cap_version = 113 + world_below(w, 3);
    if (world_below(w, 4) == 0) {
        r->hostinfo = random_hostinfo(w);
        r->hostinfo_peers = world_below(w, 3) == 0 ? NULL : rcbuf_ref(r->hostinfo);
        r->routes = random_routes(w);
    }
}

static void report_drop(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}

static struct machine *random_machine(struct world *w)
{
    /* The first are routers, if there are policies. */
    return &w->machines[world_below(w, w->has_policies && world_below(w, 4) == 0 ? 8 : w->machine_n)];
}

static void event_register(struct world *w)
{
    struct machine *m = random_machine(w);
    struct registration reg = {.machine = m->machine, .key = m->key, .old_key = m->key};
    struct register_result result;
    struct addr endpoints[4];
    disco_key disco;
    if (m->id == 0 || world_below(w, 3) == 0)
        world_random_bytes(w, &reg.key, sizeof(reg.key));
    if (world_below(w, 8) == 0)
        reg.expiry_ms = 1; /* logs out */
    reg.auth_key = str_c(world_below(w, 4) == 0 ? w->ephemeral : w->reusable);
    if (w->has_policies && world_below(w, 2) == 0)
        reg.auth_key = str_c(world_below(w, 2) == 0 ? w->tagged[world_below(w, 3)] : w->others[world_below(w, 3)]);
    world_random_bytes(w, reg.random, sizeof(reg.random));
    fill_report(w, &reg.report, endpoints, &disco);
    state_register(w->st, &reg, w->now_ms, &result);
    report_drop(&reg.report);
    if (result.outcome == REGISTER_OK) {
        m->key = reg.key;
        m->id = result.node->id;
        assert_true(m->id < IDS_MAX);
    } else {
        assert_int_equal(result.outcome, REGISTER_KEY_EXPIRED);
    }
}

static void event_report(struct world *w)
{
    struct machine *m = random_machine(w);
    struct node_report r;
    const struct node *n;
    struct addr endpoints[4];
    disco_key disco;
    fill_report(w, &r, endpoints, &disco);
    enum rc rc = state_node_report(w->st, &m->key, &m->machine, &r, &n);
    assert_true(rc == RC_OK || state_node_by_key(w->st, &m->key) == NULL);
    report_drop(&r);
}

static void event_poll(struct world *w)
{
    static struct netmap_pieces pieces;
    struct machine *m = random_machine(w);
    unsigned slot = world_below(w, VIEWERS_MAX);
    struct node_report r;
    const struct node *n;
    struct addr endpoints[4];
    disco_key disco;
    world_drop_view(w, slot);
    /* As a session does: it attaches when the published snapshot shows the node with this key. */
    n = state_node_by_key(w->st, &m->key);
    const struct node *shown = n != NULL ? snapshot_node(state_snapshot(w->st), n->id) : NULL;
    if (shown == NULL || !keys_equal(shown->key.b, m->key.b))
        return;
    fill_report(w, &r, endpoints, &disco);
    assert_int_equal(state_poll_begin(w->st, &m->key, &m->machine, &r, w->now_ms, &n), RC_OK);
    report_drop(&r);
    struct view *v = MEM_NEW(struct view);
    v->self = n->id;
    v->key = n->key;
    v->version = state_snapshot(w->st)->version;
    v->coding = world_below(w, 4) == 0 ? NETMAP_PLAIN : NETMAP_ZSTD;
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), v->self, v->coding, true, &pieces), RC_OK);
    view_apply(v, &pieces);
    netmap_pieces_fini(&pieces);
    w->views[slot] = v;
    w->fulls++;
}

static void event_admin(struct world *w)
{
    static const char *const names[] = {"web", "db", "laptop", "laptop-1", "router"};
    struct machine *m = random_machine(w);
    const struct node *n;
    struct prefix routes[4];
    const struct str tag = world_below(w, 2) == 0 ? STR("tag:a") : STR("tag:b");
    enum rc rc;
    switch (world_below(w, 9)) {
    case 0:
        rc = state_node_delete(w->st, m->id, NULL);
        if (rc == RC_OK)
            m->id = 0;
        break;
    case 1:
        rc = state_node_expire(w->st, m->id, world_below(w, 2) == 0 ? w->now_ms : NO_EXPIRY, w->now_ms, &n, NULL);
        break;
    case 2: rc = state_node_expire(w->st, m->id, w->now_ms + 5000, w->now_ms, &n, NULL); break;
    case 3:
    case 4: rc = state_node_approve_routes(w->st, m->id, routes, world_fill_routes(w, routes), &n, NULL); break;
    case 5: rc = state_node_set_tags(w->st, m->id, &tag, 1, &n, NULL); break;
    default: rc = state_node_rename(w->st, m->id, str_c(names[world_below(w, ARRAY_LEN(names))]), &n, NULL);
    }
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

static void event_time(struct world *w)
{
    w->now_ms += world_below(w, 10) == 0 ? 30000 : world_below(w, 3000);
    state_tick(w->st, w->now_ms);
}

void world_random_event(struct world *w)
{
    uint32_t dice = world_below(w, 100);
    if (dice < 14)
        event_register(w);
    else if (dice < 62)
        event_report(w);
    else if (dice < 72)
        event_poll(w);
    else if (dice < 78)
        world_drop_view(w, world_below(w, VIEWERS_MAX));
    else if (dice < 88)
        event_admin(w);
    else
        event_time(w);
}
