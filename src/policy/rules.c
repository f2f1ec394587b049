/* The sections acls and grants. src: docs/protocol/policy.md 3 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "policy/reader_internal.h"

enum {
    SOURCES = SEL_BIT(SEL_STAR) | SEL_BIT(SEL_ADDRS) | SEL_BIT(SEL_USER) | SEL_BIT(SEL_DOMAIN) | SEL_BIT(SEL_GROUP) |
              SEL_BIT(SEL_TAG) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED) | SEL_BIT(SEL_DANGER_ALL) |
              SEL_BIT(SEL_ROLE) | SEL_BIT(SEL_SHARED),
    DESTINATIONS = SEL_BIT(SEL_STAR) | SEL_BIT(SEL_ADDRS) | SEL_BIT(SEL_USER) | SEL_BIT(SEL_DOMAIN) |
                   SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_TAG) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED) |
                   SEL_BIT(SEL_SELF) | SEL_BIT(SEL_INTERNET) | SEL_BIT(SEL_ROLE),
    /* src: docs/protocol/policy.md 5.3 */
    SELF_SOURCES = SEL_BIT(SEL_USER) | SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_DOMAIN) | SEL_BIT(SEL_ROLE) |
                   SEL_BIT(SEL_MEMBER),
};

static bool is_all_ports(const struct port_list *ports)
{
    return ports->n == 1 && ports->v[0].first == 0 && ports->v[0].last == 65535;
}

/* Grows by doubling, so that the arena wastes no more than the length of the list. */
static void append_ports(struct arena *a, struct port_list *to, const struct port_list *more)
{
    if (more->n == 0)
        return;
    if (to->n + more->n > to->cap) {
        size_t cap = 2 * (to->n + more->n);
        struct port_range *v = arena_zalloc(a, cap, sizeof(*v));
        if (to->n > 0)
            memcpy(v, to->v, to->n * sizeof(*v));
        to->v = v;
        to->cap = cap;
    }
    memcpy(to->v + to->n, more->v, more->n * sizeof(*more->v));
    to->n += more->n;
}

/* --- what acls and grants have in common --- */

static bool has_self(const struct policy_doc *doc, const struct rule *rule)
{
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (doc->sel[rule->dst[i].sel].kind == SEL_SELF)
            return true;
    }
    return false;
}

static void check_self(struct reader *r, const struct json *at, const struct rule *rule)
{
    unsigned allowed = SELF_SOURCES | (rule->is_acl ? SEL_BIT(SEL_STAR) : 0u);
    if (!has_self(r->doc, rule))
        return;
    for (size_t i = 0; i < rule->src.n; i++) {
        if ((allowed & SEL_BIT(r->doc->sel[rule->src.v[i]].kind)) == 0) {
            reader_fail(r, at, "autogroup:self can only be used with users, groups, or supported autogroups");
            return;
        }
    }
}

/* --- acls --- */

/* Removes the brackets of "[fd7a::1]" and "[fd7a::]/64". False: they contain something else. */
static bool strip_brackets(struct reader *r, struct str *host)
{
    struct str inner, rest;
    struct range range;
    if (host->len == 0 || host->p[0] != '[')
        return true;
    if (!str_cut(str_n(host->p + 1, host->len - 1), ']', &inner, &rest) || str_index(inner, '/') >= 0)
        return false;
    *host = str_c(arena_printf(&r->doc->arena, "%.*s%.*s", STR_ARG(inner), STR_ARG(rest)));
    return str_index(inner, ':') >= 0 && range_parse(*host, &range) && range.family == 6;
}

static long last_index(struct str s, char c)
{
    for (size_t i = s.len; i > 0; i--) {
        if (s.p[i - 1] == c)
            return (long)i - 1;
    }
    return -1;
}

/* Reads one "HOST:PORTS". False after an error. */
static bool read_acl_dst(struct reader *r, const struct read_item *item, uint8_t proto, struct rule_dst *out)
{
    const char *quoted = reader_quote(r, item->text);
    long colon = last_index(item->text, ':');
    if (colon < 0) {
        reader_fail(r, item->at, "dst=%s: ports are missing (\"HOST:PORTS\")", quoted);
        return false;
    }
    struct read_item host = {str_n(item->text.p, (size_t)colon), item->at};
    struct str ports = str_n(item->text.p + colon + 1, item->text.len - (size_t)colon - 1);
    const char *fault = policy_ports_parse(&r->doc->arena, ports, &out->ports);
    if (fault != NULL) {
        reader_fail(r, item->at, "dst=%s: port range %s: %s", quoted, reader_quote(r, ports), fault);
        return false;
    }
    if (!policy_proto_has_ports(proto) && !is_all_ports(&out->ports))
        reader_fail(r, item->at, "dst=%s: this protocol has no ports: use '*'", quoted);
    if (!strip_brackets(r, &host.text)) {
        reader_fail(r, item->at, "dst=%s: brackets are for IPv6 addresses", quoted);
        return false;
    }
    enum sel_fault sel_fault = reader_selector(r, &host, &out->sel);
    if (sel_fault == SEL_NO_SERVICES) {
        reader_warn_service(r, item->at, host.text);
        return false;
    }
    if (sel_fault != SEL_FINE) {
        reader_fail(r, item->at, "dst=%s: %s", reader_quote(r, host.text), reader_fault_text(r, sel_fault, host.text));
        return false;
    }
    enum sel_kind kind = r->doc->sel[out->sel].kind;
    if (kind == SEL_DANGER_ALL)
        reader_fail(r, item->at, "cannot use autogroup:danger-all as a dst");
    else if ((DESTINATIONS & SEL_BIT(kind)) == 0)
        reader_fail(r, item->at, "dst=%s: not allowed as a destination", quoted);
    return (DESTINATIONS & SEL_BIT(kind)) != 0;
}

/* The rank of a destination in the order of docs/protocol/policy.md 4.2. */
static int dst_rank(const struct policy_doc *doc, const struct rule_dst *d)
{
    switch (doc->sel[d->sel].kind) {
    case SEL_STAR: return 0;
    case SEL_ADDRS: return 1;
    case SEL_USER:
    case SEL_DOMAIN: return 2;
    case SEL_TAG: return 3;
    case SEL_GROUP: return 4;
    case SEL_SELF: return 5;
    default: return 6;
    }
}

/* Sorts by rank, otherwise in the order of the text. */
static void sort_destinations(const struct policy_doc *doc, struct rule *rule)
{
    struct rule_dst *sorted = mem_zalloc(rule->dst_n + 1, sizeof(*sorted));
    size_t n = 0;
    for (int class = 0; class <= 6; class ++) {
        for (size_t i = 0; i < rule->dst_n; i++) {
            if (dst_rank(doc, &rule->dst[i]) == class)
                sorted[n++] = rule->dst[i];
        }
    }
    memcpy(rule->dst, sorted, n * sizeof(*sorted));
    mem_free(sorted);
}

static void read_acl_dsts(struct reader *r, const struct json *node, struct rule *rule)
{
    struct read_items items = reader_strings(r, node, "dst");
    rule->dst = arena_zalloc(&r->doc->arena, items.n, sizeof(*rule->dst));
    for (size_t i = 0; i < items.n; i++) {
        struct rule_dst d = {0};
        size_t k = 0;
        if (!read_acl_dst(r, &items.v[i], rule->ip[0].proto, &d) || !reader_count_selector(r, items.v[i].at, d.sel))
            continue;
        while (k < rule->dst_n && rule->dst[k].sel != d.sel)
            k++;
        if (k < rule->dst_n)
            append_ports(&r->doc->arena, &rule->dst[k].ports, &d.ports);
        else
            rule->dst[rule->dst_n++] = d;
    }
    sort_destinations(r->doc, rule);
}

static void read_acl(struct reader *r, const struct json *node, struct rule *rule)
{
    static const char *const names[] = {"action", "src|users", "proto", "dst|ports", "srcPosture"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_NOTES, f);
    struct str action = reader_string(r, f[0], "action");
    if (!str_eq(action, STR("accept")))
        reader_fail(r, f[0] != NULL ? f[0] : node, "action=%s is not supported", reader_quote(r, action));
    rule->src = reader_selectors(r, f[1], "src", SOURCES, "src=", "a source");
    rule->ip = arena_zalloc(&r->doc->arena, 1, sizeof(*rule->ip));
    rule->ip_n = 1;
    struct str proto = reader_string(r, f[2], "proto");
    if (!policy_proto_parse(proto, &rule->ip[0].proto))
        reader_fail(r, f[2], "unknown protocol %s", reader_quote(r, proto));
    read_acl_dsts(r, f[3], rule);
    rule->posture = reader_posture_list(r, f[4], "srcPosture");
    check_self(r, node, rule);
}

/* --- grants --- */

/* Adds the ports to those of the same protocol. */
static void add_ip(struct reader *r, struct rule *rule, uint8_t proto, const struct port_list *ports)
{
    size_t k = 0;
    while (k < rule->ip_n && rule->ip[k].proto != proto)
        k++;
    if (k == rule->ip_n)
        rule->ip[rule->ip_n++] = (struct proto_ports){.proto = proto};
    append_ports(&r->doc->arena, &rule->ip[k].ports, ports);
}

static void read_ip_item(struct reader *r, const struct read_item *item, struct rule *rule)
{
    struct str proto_text, ports_text;
    struct port_list ports = {0};
    uint8_t proto = 0;
    if (!str_cut(item->text, ':', &proto_text, &ports_text))
        ports_text = item->text;
    else if (proto_text.len == 0 || !policy_proto_parse(proto_text, &proto)) {
        reader_fail(r, item->at, "ip=%s: unknown protocol %s", reader_quote(r, item->text),
                    reader_quote(r, proto_text));
        return;
    }
    const char *fault = policy_ports_parse(&r->doc->arena, ports_text, &ports);
    if (fault != NULL)
        reader_fail(r, item->at, "ip=%s: port range %s: %s", reader_quote(r, item->text), reader_quote(r, ports_text),
                    fault);
    else if (!policy_proto_has_ports(proto) && !is_all_ports(&ports))
        reader_fail(r, item->at, "ip=%s: this protocol has no ports: use '*'", reader_quote(r, item->text));
    else
        add_ip(r, rule, proto, &ports);
}

static void read_ip(struct reader *r, const struct json *node, struct rule *rule)
{
    struct read_items items = reader_strings(r, node, "ip");
    rule->ip = arena_zalloc(&r->doc->arena, items.n, sizeof(*rule->ip));
    for (size_t i = 0; i < items.n; i++)
        read_ip_item(r, &items.v[i], rule);
}

/* src: docs/protocol/policy.md 3.2 */
static void check_capability(struct reader *r, const struct json *at, struct str name)
{
    static const char *const ours[] = {"drive", "relay",   "webui",  "kubernetes",
                                       "tsidp", "secrets", "golink", "tailsql"};
    struct str prefix = STR("tailscale.com/");
    if (memmem(name.p, name.len, "://", 3) != NULL || str_index(name, '/') < 1 || str_ends(name, STR("/"))) {
        reader_fail(r, at, "app[%s]: capability name must have the form {domain}/{path}", reader_quote(r, name));
        return;
    }
    if (name.len < prefix.len || !str_eq_ci(str_n(name.p, prefix.len), prefix))
        return;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        struct str cap = str_n(name.p + prefix.len, name.len - prefix.len);
        if (str_starts(cap, STR("cap/")) && str_eq_c(str_n(cap.p + 4, cap.len - 4), ours[i]) &&
            str_starts(name, prefix))
            return;
    }
    reader_fail(r, at, "app[%s]: capability name must not be in the tailscale.com domain", reader_quote(r, name));
}

static void read_app(struct reader *r, const struct json *node, struct rule *rule)
{
    if (!reader_is(r, node, JSON_OBJECT, "app") || json_len(node) == 0)
        return;
    JSON_EACH (it, node) {
        struct str name = json_key_of(it);
        check_capability(r, it, name);
        if (json_type_of(it) != JSON_ARRAY)
            reader_fail(r, it, "app[%s]: must be a list", reader_quote(r, name));
        rule->has_drive = rule->has_drive || str_eq(name, STR("tailscale.com/cap/drive"));
        rule->has_relay = rule->has_relay || str_eq(name, STR("tailscale.com/cap/relay"));
    }
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    if (reader_counted(r, node, &r->app_bytes, json_raw(node).len, r->limits->app_bytes, "bytes of app values"))
        json_w_tree(&w, node);
    rule->app = arena_str(&r->doc->arena, buf_str(&out));
    buf_fini(&out);
}

static void read_via(struct reader *r, const struct json *node, struct rule *rule)
{
    struct read_items items = reader_strings(r, node, "via");
    rule->via.v = arena_zalloc(&r->doc->arena, items.n, sizeof(*rule->via.v));
    for (size_t i = 0; i < items.n; i++) {
        if (!str_starts(items.v[i].text, STR("tag:")))
            reader_fail(r, items.v[i].at, "via can only be a tag");
        else if (reader_selector(r, &items.v[i], &rule->via.v[rule->via.n]) != SEL_FINE)
            reader_fail(r, items.v[i].at, "tag %s not found", reader_quote(r, items.v[i].text));
        else
            rule->via.n++;
    }
}

static void check_grant_dst(struct reader *r, const struct json *list, const struct rule *rule)
{
    JSON_EACH (it, list) {
        struct str text;
        struct range range;
        unsigned bits;
        if (json_str(it, &text) && range_parse(str_trim(text), &range) && range_prefix_bits(&range, &bits) && bits == 0)
            reader_fail(r, it, "dst %s: to allow all IP addresses, use \"*\" or \"autogroup:internet\"",
                        reader_quote(r, str_trim(text)));
    }
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (rule->app.len > 0 && r->doc->sel[rule->dst[i].sel].kind == SEL_INTERNET)
            reader_fail(r, list, "cannot use app grants with autogroup:internet");
    }
}

static void read_grant(struct reader *r, const struct json *node, struct rule *rule)
{
    static const char *const names[] = {"src", "dst", "ip", "app", "via", "srcPosture"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_KNOWN, f);
    rule->src = reader_selectors(r, f[0], "src", SOURCES, "src=", "a source");
    struct sel_list dst = reader_selectors(r, f[1], "dst", DESTINATIONS, "dst=", "a destination");
    rule->dst = arena_zalloc(&r->doc->arena, dst.n, sizeof(*rule->dst));
    for (size_t i = 0; i < dst.n; i++)
        rule->dst[rule->dst_n++].sel = dst.v[i];
    read_ip(r, f[2], rule);
    read_app(r, f[3], rule);
    if (json_len(f[2]) == 0 && json_len(f[3]) == 0)
        reader_fail(r, node, "ip and app can not both be empty");
    read_via(r, f[4], rule);
    rule->posture = reader_posture_list(r, f[5], "srcPosture");
    check_grant_dst(r, f[1], rule);
    check_self(r, node, rule);
}

/* --- the sections --- */

static size_t section_len(struct reader *r, enum section section, const char *name)
{
    const struct json *node = r->section[section];
    if (!reader_is(r, node, JSON_ARRAY, name) ||
        !reader_counted(r, node, &r->rules_read, json_len(node), r->limits->rules, "rules"))
        return 0;
    return json_len(node);
}

static void read_section(struct reader *r, enum section section, bool is_acl)
{
    size_t index = 0;
    JSON_EACH (it, r->section[section]) {
        struct rule *rule = &r->doc->rule[r->doc->rule_n];
        *rule = (struct rule){.is_acl = is_acl, .index = index++, .offset = reader_offset(r, it)};
        if (json_type_of(it) != JSON_OBJECT) {
            reader_fail(r, it, "a rule must be an object");
            continue;
        }
        r->doc->rule_n++;
        if (is_acl)
            read_acl(r, it, rule);
        else
            read_grant(r, it, rule);
    }
}

/* src: docs/protocol/policy.md 3.4 */
static void add_default_rule(struct reader *r)
{
    static const struct read_item star = {{"*", 1}, NULL};
    struct rule *rule = &r->doc->rule[r->doc->rule_n++];
    struct arena *a = &r->doc->arena;
    *rule = (struct rule){.src = {arena_zalloc(a, 1, sizeof(sel_id)), 1}};
    rule->dst = arena_zalloc(a, 1, sizeof(*rule->dst));
    rule->dst_n = 1;
    rule->ip = arena_zalloc(a, 1, sizeof(*rule->ip));
    rule->ip_n = 1;
    if (reader_selector(r, &star, rule->src.v) == SEL_FINE &&
        policy_ports_parse(a, STR("*"), &rule->ip[0].ports) == NULL)
        rule->dst[0].sel = rule->src.v[0];
}

void reader_rules(struct reader *r)
{
    size_t grants = section_len(r, SECTION_GRANTS, "grants");
    size_t acls = section_len(r, SECTION_ACLS, "acls");
    r->doc->has_rules = !json_is_null(r->section[SECTION_GRANTS]) || !json_is_null(r->section[SECTION_ACLS]);
    r->doc->rule = arena_zalloc(&r->doc->arena, grants + acls + 1, sizeof(*r->doc->rule));
    if (grants > 0)
        read_section(r, SECTION_GRANTS, false);
    if (acls > 0)
        read_section(r, SECTION_ACLS, true);
    if (!r->doc->has_rules)
        add_default_rule(r);
}
