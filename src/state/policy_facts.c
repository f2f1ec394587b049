/* The facts about a node that the policy is given, since its rules may ask for them. */
#include "base/arena.h"
#include "base/mem.h"
#include "codec/json.h"
#include "state/active_policy_internal.h"

enum { ATTRS_MAX = 6 };

/* The names of systems: the client's (Hostinfo.OS), and those of postures. src: docs/protocol/policy.md 7.1 */
static struct str posture_os(struct str os)
{
    static const char *const names[][2] = {{"macOS", "macos"}, {"iOS", "ios"}, {"tvOS", "ios"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(os, names[i][0]))
            return str_c(names[i][1]);
    }
    return os;
}

static void add_text(struct engine_facts *f, struct policy_attr *attrs, const char *name, struct str text)
{
    if (text.len > 0)
        attrs[f->attr_n++] = (struct policy_attr){.name = str_c(name), .type = POLICY_ATTR_STRING, .text = text};
}

/* Versions with an odd minor number are unstable ones. */
static struct str release_track(struct str version)
{
    struct str major, minor, rest;
    uint64_t n;
    if (!str_cut(version, '.', &major, &rest))
        return STR_EMPTY;
    if (!str_cut(rest, '.', &minor, &rest))
        minor = rest;
    if (str_to_u64(minor, &n) != RC_OK)
        return STR_EMPTY;
    return n % 2 == 1 ? STR("unstable") : STR("stable");
}

/* True also when the version cannot be parsed. */
static bool is_before_1_98_10(struct str version)
{
    static const uint64_t fixed[] = {1, 98, 10};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        struct str part, rest;
        uint64_t n;
        if (!str_cut(version, '.', &part, &rest))
            rest = STR_EMPTY;
        if (str_to_u64(part, &n) != RC_OK)
            return true;
        if (n != fixed[i])
            return n < fixed[i];
        version = rest;
    }
    return false;
}

static void add_attrs(struct arena *a, const struct rcbuf *hostinfo, struct engine_facts *f, struct policy_attr *attrs)
{
    const struct json *root;
    struct str text, rest;
    bool truth;
    f->attrs = attrs;
    if (hostinfo == NULL || json_parse(a, str_n(hostinfo->data, hostinfo->len), NULL, &root, NULL) != RC_OK)
        return;
    if (json_str(json_get(root, "OS"), &text))
        add_text(f, attrs, "node:os", posture_os(text));
    if (json_str(json_get(root, "OSVersion"), &text))
        add_text(f, attrs, "node:osVersion", text);
    if (json_str(json_get(root, "IPNVersion"), &text)) {
        struct str version = str_cut(text, '-', &version, &rest) ? version : text;
        add_text(f, attrs, "node:tsVersion", version);
        f->has_old_ssh = is_before_1_98_10(version);
        add_text(f, attrs, "node:tsReleaseTrack", release_track(version));
    }
    if (json_bool(json_get(root, "StateEncrypted"), &truth))
        attrs[f->attr_n++] = (struct policy_attr){
            .name = STR("node:tsStateEncrypted"), .type = POLICY_ATTR_BOOL, .truth = truth};
    if (json_bool(json_get(root, "AllowsUpdate"), &truth))
        attrs[f->attr_n++] = (struct policy_attr){
            .name = STR("node:tsAutoUpdate"), .type = POLICY_ATTR_BOOL, .truth = truth};
}

static size_t served(const struct node *n, struct engine_route *out)
{
    struct prefix p;
    size_t count = 0;
    for (size_t pos = 0; count < ENGINE_ROUTES_MAX && node_serves_next(n, &pos, &p); count++)
        out[count] = (struct engine_route){p.ip, p.bits, prefix_list_has(n->primary, &p)};
    return count;
}

void state_policy_put_facts(struct engine *p, const struct node *n)
{
    struct str tags[TAGS_MAX];
    struct policy_attr attrs[ATTRS_MAX];
    struct arena a = {0};
    bool may_serve = n->advertised != NULL && n->approved != NULL;
    struct engine_route *routes = may_serve ? mem_zalloc(n->advertised->n, sizeof(*routes)) : NULL;
    struct engine_facts f = {.id = n->id, .user = n->user, .tags = tags, .v4 = n->v4, .v6 = n->v6, .routes = routes};
    f.created_ms = n->created_ms;
    f.has_old_ssh = true;
    f.tag_n = node_tags_split(n->tags, tags);
    f.route_n = may_serve ? served(n, routes) : 0;
    /* The policy uses this of routers only: for other nodes it is constant, so that presence costs nothing. */
    f.is_online = node_can_serve(n) || f.route_n == 0;
    add_attrs(&a, n->hostinfo, &f, attrs);
    engine_put_node(p, &f);
    arena_fini(&a);
    mem_free(routes);
}

bool state_policy_same_facts(const struct node *a, const struct node *b)
{
    bool is_router = a->approved != NULL || b->approved != NULL;
    return a->user == b->user && rcbuf_eq(a->tags, b->tags) && addr_eq(&a->v4, &b->v4) && addr_eq(&a->v6, &b->v6) &&
           rcbuf_eq(a->hostinfo, b->hostinfo) && prefix_list_eq(a->advertised, b->advertised) &&
           prefix_list_eq(a->approved, b->approved) && prefix_list_eq(a->primary, b->primary) &&
           (node_can_serve(a) == node_can_serve(b) || !is_router);
}
