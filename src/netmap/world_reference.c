/* What a client must know, by a naive reading of the state. */
#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"

/* A list of prefixes in the making: "[" and what follows. */
static void list_add(struct buf *list, const struct addr *ip, unsigned bits)
{
    char text[ADDR_TEXT_CAP];
    addr_format(ip, false, text);
    buf_printf(list, "%s\"%s/%u\"", buf_len(list) == 0 ? "[" : ",", text, bits);
}

static void list_take(struct buf *list, char *out, size_t cap)
{
    if (buf_len(list) > 0)
        buf_append_byte(list, ']');
    view_copy(out, cap, buf_str(list));
    buf_clear(list);
}

/* Addresses and routes as a policy shows them. `p` null: there is none. */
void reference_routes(struct engine *p, node_id viewer, const struct node *n, struct peer_view *out)
{
    struct buf allowed = {0}, primary = {0};
    struct prefix route;
    uint64_t bits[ROUTES_MAX / 64] = {0};
    size_t i = 0;
    bool has_exit = false;
    bool hides = p != NULL && (engine_hides_ipv4(p, viewer) || engine_hides_ipv4(p, n->id));
    if (!hides)
        list_add(&allowed, &n->v4, 32);
    list_add(&allowed, &n->v6, 128);
    buf_append_str(&primary, buf_str(&allowed));
    list_take(&primary, out->addresses, sizeof(out->addresses));
    if (p != NULL)
        engine_routes(p, viewer, n->id, bits, ROUTES_MAX);
    for (size_t pos = 0; node_serves_next(n, &pos, &route); i++) {
        bool is_primary = prefix_list_has(n->primary, &route);
        bool is_shown = p != NULL ? bit_get(bits, i) : is_primary || route.bits == 0 || viewer == n->id;
        if (!is_shown)
            continue;
        list_add(&allowed, &route.ip, route.bits);
        has_exit = has_exit || route.bits == 0;
        if (route.bits != 0 && (viewer != n->id || is_primary))
            list_add(&primary, &route.ip, route.bits);
    }
    list_take(&allowed, out->allowed, sizeof(out->allowed));
    list_take(&primary, out->primary, sizeof(out->primary));
    if (has_exit)
        view_copy(out->caps, sizeof(out->caps), STR("{\"suggest-exit-node\":null}"));
    buf_fini(&allowed);
    buf_fini(&primary);
}

void reference_peer(struct engine *policy, node_id viewer, const struct node *n, struct peer_view *p)
{
    struct buf list = {0};
    char text[ADDR_TEXT_CAP];
    memset(p, 0, sizeof(*p));
    p->is_there = true;
    p->user = n->tags != NULL ? TAGGED_DEVICES_USER : n->user;
    snprintf(p->name, sizeof(p->name), "%s.example.net.", n->name);
    node_key_format(&n->key, p->key);
    if (!key_is_zero(n->disco.b))
        disco_key_format(&n->disco, p->disco);
    reference_routes(policy, viewer, n, p);
    for (unsigned i = 0; i < n->endpoints_n; i++) {
        addr_format(&n->endpoints[i], true, text);
        buf_printf(&list, "%s\"%s\"", i == 0 ? "[" : ",", text);
    }
    if (n->endpoints_n > 0)
        buf_append_byte(&list, ']');
    view_copy(p->endpoints, sizeof(p->endpoints), buf_str(&list));
    buf_fini(&list);
    view_copy(p->hostinfo, sizeof(p->hostinfo),
              n->hostinfo_peers != NULL ? str_n(n->hostinfo_peers->data, n->hostinfo_peers->len) : STR("{}"));
    if (n->expires_ms != NO_EXPIRY)
        time_format(n->expires_ms, p->key_expiry);
    if (!n->is_online)
        time_format(n->last_seen_ms, p->last_seen);
    p->home_derp = n->home_derp;
    p->cap = n->cap_version;
    p->is_online = n->is_online;
    p->is_expired = n->is_expired;
}
