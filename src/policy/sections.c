/* nodeAttrs, autoApprovers, tests, and options for the whole network. src: docs/protocol/policy.md 9, 10, 12.1, 13 */
#include <string.h>

#include "codec/json_write.h"
#include "policy/reader_internal.h"

/* --- nodeAttrs --- */

static const char *const reserved_pools[] = {"100.100.0.0/24", "100.100.100.0/24", "100.115.92.0/23"};

static void read_pool(struct reader *r, const struct read_item *item, struct node_attr *out)
{
    struct range range, limit;
    unsigned bits;
    const char *quoted = reader_quote(r, item->text);
    if (!range_parse(item->text, &range) || !range_prefix_bits(&range, &bits) ||
        !range_parse(STR("100.64.0.0/10"), &limit)) {
        reader_fail(r, item->at, "IPPool(%s): not a network", quoted);
        return;
    }
    if (!range_holds(&limit, &range)) {
        reader_fail(r, item->at, "IPPool(%s): network must be within 100.64.0.0/10", quoted);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved_pools); i++) {
        struct range reserved;
        if (range_parse(str_c(reserved_pools[i]), &reserved) && range_meets(&reserved, &range)) {
            reader_fail(r, item->at, "IPPool(%.*s): network within reserved range",
                        (int)(item->text.len < RANGE_TEXT_CAP ? item->text.len : RANGE_TEXT_CAP), item->text.p);
            return;
        }
    }
    out->pool[out->pool_n++] = range;
}

static void read_attr_names(struct reader *r, const struct json *node, struct node_attr *out)
{
    struct read_items items = reader_strings(r, node, "attr");
    out->attr = arena_zalloc(&r->doc->arena, items.n, sizeof(*out->attr));
    for (size_t i = 0; i < items.n; i++) {
        if (items.v[i].text.len == 0)
            reader_fail(r, items.v[i].at, "an attribute cannot be empty");
        /* Without Funnel on the server the attribute is left out: a client that has it would try to use it. */
        if (str_eq(items.v[i].text, STR("funnel")) && !r->opts->has_funnel)
            reader_warn(r, items.v[i].at, "\"funnel\" has no effect here: this server has no Funnel");
        else
            out->attr[out->attr_n++] = items.v[i].text;
    }
}

static void read_attr_app(struct reader *r, const struct json *node, struct node_attr *out)
{
    if (!reader_is(r, node, JSON_OBJECT, "app") ||
        !reader_counted(r, node, &r->app_bytes, json_raw(node).len, r->limits->app_bytes, "bytes of app values"))
        return;
    out->app = arena_zalloc(&r->doc->arena, json_len(node), sizeof(*out->app));
    JSON_EACH (it, node) {
        if (json_type_of(it) != JSON_ARRAY)
            reader_fail(r, it, "app[%s]: must be a list", reader_quote(r, json_key_of(it)));
        out->app[out->app_n++] = (struct app_member){json_key_of(it), it};
    }
}

static void read_node_attr(struct reader *r, const struct json *node, struct node_attr *out)
{
    enum {
        TARGETS = SEL_BIT(SEL_STAR) | SEL_BIT(SEL_ADDRS) | SEL_BIT(SEL_USER) | SEL_BIT(SEL_DOMAIN) |
                  SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_TAG) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED) | SEL_BIT(SEL_ROLE)
    };
    static const char *const names[] = {"target", "attr", "app", "ipPool"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_LOOSE, f);
    out->target = reader_selectors(r, f[0], "target", TARGETS, "", "a target of nodeAttrs");
    read_attr_names(r, f[1], out);
    read_attr_app(r, f[2], out);
    struct read_items pools = reader_strings(r, f[3], "ipPool");
    out->pool = arena_zalloc(&r->doc->arena, pools.n, sizeof(*out->pool));
    for (size_t i = 0; i < pools.n; i++)
        read_pool(r, &pools.v[i], out);
}

void reader_node_attrs(struct reader *r)
{
    const struct json *section = r->section[SECTION_NODE_ATTRS];
    struct policy_doc *doc = r->doc;
    if (!reader_is(r, section, JSON_ARRAY, "nodeAttrs") ||
        !reader_counted(r, section, &r->rules_read, json_len(section), r->limits->rules, "rules"))
        return;
    doc->node_attr = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->node_attr));
    JSON_EACH (it, section) {
        if (reader_is(r, it, JSON_OBJECT, "an entry of nodeAttrs"))
            read_node_attr(r, it, &doc->node_attr[doc->node_attr_n++]);
    }
}

/* --- autoApprovers --- */

static struct sel_list read_approver_list(struct reader *r, const struct json *node)
{
    enum {
        APPROVERS = SEL_BIT(SEL_USER) | SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_TAG) | SEL_BIT(SEL_ROLE) |
                    SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED)
    };
    return reader_selectors(r, node, "approvers", APPROVERS, "autoApprovers: ", "an approver");
}

static void read_route_approvers(struct reader *r, const struct json *node)
{
    struct policy_doc *doc = r->doc;
    unsigned bits;
    if (!reader_is(r, node, JSON_OBJECT, "routes"))
        return;
    doc->route_approver = arena_zalloc(&doc->arena, json_len(node), sizeof(*doc->route_approver));
    JSON_EACH (it, node) {
        struct approver *a = &doc->route_approver[doc->route_approver_n];
        if (!range_parse(json_key_of(it), &a->route) || !range_prefix_bits(&a->route, &bits))
            reader_fail(r, it, "autoApprovers: %s is not a prefix", reader_quote(r, json_key_of(it)));
        else
            doc->route_approver_n++;
        a->by = read_approver_list(r, it);
    }
}

static void read_service_approvers(struct reader *r, const struct json *node)
{
    struct policy_doc *doc = r->doc;
    if (!reader_is(r, node, JSON_OBJECT, "services"))
        return;
    doc->service_approver = arena_zalloc(&doc->arena, json_len(node), sizeof(*doc->service_approver));
    JSON_EACH (it, node) {
        struct str name = json_key_of(it);
        if (!str_starts(name, STR("svc:")) && !str_starts(name, STR("tag:")))
            reader_fail(r, it, "autoApprovers: %s is neither a service (svc:NAME) nor a tag", reader_quote(r, name));
        doc->service_approver[doc->service_approver_n++] = (struct approver){.name = name,
                                                                             .by = read_approver_list(r, it)};
    }
}

void reader_approvers(struct reader *r)
{
    static const char *const names[] = {"routes", "exitNode", "services"};
    const struct json *f[ARRAY_LEN(names)];
    if (!reader_is(r, r->section[SECTION_AUTO_APPROVERS], JSON_OBJECT, "autoApprovers"))
        return;
    reader_fields(r, r->section[SECTION_AUTO_APPROVERS], names, ARRAY_LEN(names), FIELDS_LOOSE, f);
    read_route_approvers(r, f[0]);
    r->doc->exit_approver = read_approver_list(r, f[1]);
    read_service_approvers(r, f[2]);
}

/* --- tests --- */

static void warn_services(struct reader *r, const struct read_items *items)
{
    for (size_t i = 0; i < items->n; i++) {
        if (str_starts(items->v[i].text, STR("svc:")))
            reader_warn(r, items->v[i].at, "%s is not tested: this server has no services",
                        reader_quote(r, items->v[i].text));
    }
}

static void read_test(struct reader *r, const struct json *node, struct acl_test *t)
{
    static const char *const names[] = {"src|user", "proto", "accept|allow", "deny", "srcPostureAttrs"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_LOOSE, f);
    t->offset = reader_offset(r, node);
    t->src = reader_string(r, f[0], "src");
    t->proto = reader_string(r, f[1], "proto");
    struct read_items accept = reader_strings(r, f[2], "accept");
    struct read_items deny = reader_strings(r, f[3], "deny");
    t->accept = reader_keep(r, &accept);
    t->deny = reader_keep(r, &deny);
    t->attr = reader_posture_attrs(r, f[4], &t->attr_n);
    warn_services(r, &accept);
    warn_services(r, &deny);
}

void reader_tests(struct reader *r)
{
    const struct json *section = r->section[SECTION_TESTS];
    size_t count = 0;
    if (!reader_is(r, section, JSON_ARRAY, "tests") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->tests, "tests"))
        return;
    r->doc->test = arena_zalloc(&r->doc->arena, json_len(section), sizeof(*r->doc->test));
    JSON_EACH (it, section) {
        if (reader_is(r, it, JSON_OBJECT, "a test"))
            read_test(r, it, &r->doc->test[r->doc->test_n++]);
    }
}

/* --- options. src: docs/protocol/policy.md 13 --- */

static void check_region(struct reader *r, const struct json *region)
{
    uint64_t id;
    struct str key = json_key_of(region);
    if (str_to_u64(key, &id) != RC_OK || id == 0 || id > 65535)
        reader_fail(r, region, "derpMap: %s is not a region number", reader_quote(r, key));
    if (!json_is_null(region) && json_type_of(region) != JSON_OBJECT)
        reader_fail(r, region, "derpMap: a region must be an object, or null to remove it");
}

static void read_derp_map(struct reader *r, const struct json *node)
{
    static const char *const names[] = {"regions", "omitDefaultRegions"};
    const struct json *f[ARRAY_LEN(names)];
    if (!reader_is(r, node, JSON_OBJECT, "derpMap"))
        return;
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_LOOSE, f);
    reader_bool(r, f[1], "omitDefaultRegions");
    if (reader_is(r, f[0], JSON_OBJECT, "regions")) {
        JSON_EACH (region, f[0])
            check_region(r, region);
    }
    r->doc->network.derp_map = json_raw(node);
}

/* Only the types are checked: postures ask for attributes by name. src: docs/protocol/policy.md 7.4 */
static void read_attr_config(struct reader *r, const struct json *section)
{
    static const char *const names[] = {"type", "allowSetByNode", "broadcastToPeers"};
    if (!reader_is(r, section, JSON_OBJECT, "attrConfig"))
        return;
    JSON_EACH (it, section) {
        const struct json *f[ARRAY_LEN(names)];
        if (!reader_is(r, it, JSON_OBJECT, "an attribute"))
            continue;
        reader_fields(r, it, names, ARRAY_LEN(names), FIELDS_LOOSE, f);
        struct str type = reader_string(r, f[0], "type");
        if (f[0] != NULL && !str_eq(type, STR("string")) && !str_eq(type, STR("bool")) && !str_eq(type, STR("number")))
            reader_fail(r, f[0], "attrConfig: type must be \"string\", \"bool\" or \"number\"");
        reader_bool(r, f[1], "allowSetByNode");
        reader_strings(r, f[2], "broadcastToPeers");
    }
}

void reader_network(struct reader *r)
{
    struct policy_network *n = &r->doc->network;
    const struct json *cgnat = r->section[SECTION_ONE_CGNAT];
    read_derp_map(r, r->section[SECTION_DERP_MAP]);
    read_attr_config(r, r->section[SECTION_ATTR_CONFIG]);
    n->is_ipv4_disabled = reader_bool(r, r->section[SECTION_DISABLE_IPV4], "disableIPv4");
    n->is_client_port_random = reader_bool(r, r->section[SECTION_RANDOM_PORT], "randomizeClientPort");
    n->one_cgnat_route = reader_string(r, cgnat, "OneCGNATRoute");
    if (n->one_cgnat_route.len > 0 && !str_eq(n->one_cgnat_route, STR("mac-always")) &&
        !str_eq(n->one_cgnat_route, STR("mac-never")))
        reader_fail(r, cgnat, "OneCGNATRoute must be \"mac-always\" or \"mac-never\"");
}
