#include "goldens/tailnet.h"

#include <stdio.h>
#include <stdlib.h>

#include "goldens/compare.h"

static enum policy_role role_of(struct str name)
{
    static const struct {
        struct str name;
        enum policy_role role;
    } roles[] = {
        {STR("owner"), POLICY_OWNER},
        {STR("admin"), POLICY_ADMIN},
        {STR("network-admin"), POLICY_NETWORK_ADMIN},
        {STR("it-admin"), POLICY_IT_ADMIN},
        {STR("billing-admin"), POLICY_BILLING_ADMIN},
        {STR("auditor"), POLICY_AUDITOR},
    };
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (str_eq(name, roles[i].name))
            return roles[i].role;
    }
    return POLICY_MEMBER;
}

static void too_many(const char *what)
{
    fprintf(stderr, "a case has too many %s\n", what);
    abort();
}

void tailnet_add_users(struct tailnet *t, const struct json *list)
{
    JSON_EACH (it, list) {
        if (t->user_n == TAILNET_USERS_MAX)
            too_many("users");
        struct engine_user *u = &t->user[t->user_n++];
        json_u64(json_get_exact(it, "id"), &u->id);
        u->name = case_field(it, "name");
        u->email = case_field(it, "email");
        u->provider_id = case_field(it, "provider_id");
        u->role = role_of(case_field(it, "role"));
    }
}

const struct engine_user *tailnet_user(const struct tailnet *t, struct str name)
{
    for (size_t i = 0; i < t->user_n; i++) {
        if (str_eq(t->user[i].name, name))
            return &t->user[i];
    }
    return NULL;
}

const struct tailnet_node *tailnet_node(const struct tailnet *t, struct str name)
{
    for (size_t i = 0; i < t->node_n; i++) {
        if (str_eq(t->node[i].name, name))
            return &t->node[i];
    }
    return NULL;
}

void tailnet_parse_prefix(struct str text, struct addr *addr_out, uint8_t *bits_out)
{
    struct str ip, len;
    uint64_t v = 0;
    if (!str_cut(text, '/', &ip, &len) || addr_parse_ip(ip, addr_out) != RC_OK || str_to_u64(len, &v) != RC_OK)
        abort();
    *bits_out = (uint8_t)v;
}

static struct policy_attr attr_of(const struct json *it)
{
    struct policy_attr attr = {.name = json_key_of(it), .type = POLICY_ATTR_STRING, .text = case_text(it)};
    if (json_f64(it, &attr.number))
        attr.type = POLICY_ATTR_NUMBER;
    else if (json_bool(it, &attr.truth))
        attr.type = POLICY_ATTR_BOOL;
    return attr;
}

static void read_lists(struct tailnet_node *n, const struct json *it)
{
    if (json_len(json_get_exact(it, "tags")) > TAILNET_LIST_MAX ||
        json_len(json_get_exact(it, "approved")) > TAILNET_LIST_MAX ||
        json_len(json_get_exact(it, "attrs")) > TAILNET_LIST_MAX)
        too_many("tags, routes or attributes");
    JSON_EACH (tag, json_get_exact(it, "tags"))
        n->tags[n->facts.tag_n++] = case_text(tag);
    JSON_EACH (route, json_get_exact(it, "approved")) {
        struct engine_route *out = &n->routes[n->facts.route_n];
        n->route_text[n->facts.route_n++] = case_text(route);
        tailnet_parse_prefix(case_text(route), &out->addr, &out->bits);
        out->is_primary = case_list_has(json_get_exact(it, "primary"), case_text(route));
    }
    JSON_EACH (attr, json_get_exact(it, "attrs"))
        n->attrs[n->facts.attr_n++] = attr_of(attr);
}

void tailnet_add_node(struct tailnet *t, const struct json *node)
{
    const struct tailnet_node *known = tailnet_node(t, case_field(node, "name"));
    if (known == NULL && t->node_n == TAILNET_NODES_MAX)
        too_many("nodes");
    size_t at = known != NULL ? (size_t)(known - t->node) : t->node_n++;
    struct tailnet_node *n = &t->node[at];
    *n = (struct tailnet_node){.name = case_field(node, "name"), .at = node};
    n->facts = (struct engine_facts){.id = at + 1, .tags = n->tags, .routes = n->routes, .attrs = n->attrs};
    n->facts.created_ms = (int64_t)at + 1;
    n->facts.is_online = true;
    json_bool(json_get_exact(node, "is_online"), &n->facts.is_online);
    const struct engine_user *u = tailnet_user(t, case_field(node, "user"));
    n->facts.user = u != NULL ? u->id : 0;
    if (addr_parse_ip(case_field(node, "ip4"), &n->facts.v4) != RC_OK)
        n->facts.v4.family = 0;
    if (addr_parse_ip(case_field(node, "ip6"), &n->facts.v6) != RC_OK)
        n->facts.v6.family = 0;
    read_lists(n, node);
}

struct engine *tailnet_policy(const struct tailnet *t, struct policy_doc *doc)
{
    struct engine *p = engine_create(doc, t->user, t->user_n, NULL);
    policy_doc_unref(&doc);
    for (size_t i = 0; i < t->node_n; i++)
        engine_put_node(p, &t->node[i].facts);
    return p;
}
