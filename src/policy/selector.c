/* What a selector's text names, and the sections that give names: groups, hosts, ipsets, tags.
 * src: docs/protocol/policy.md 2, 11 */
#include <stdio.h>
#include <string.h>

#include "policy/reader_internal.h"

enum { IPSET_CHAIN_MAX = 64, IPSET_WORK_RATIO = 5, IPSET_WORK_RATIO_STORED = 50 };

static const struct autogroup {
    const char *name;
    enum sel_kind kind;
    enum policy_role role;
} autogroups[] = {
    {"autogroup:member", SEL_MEMBER, 0},
    {"autogroup:members", SEL_MEMBER, 0},
    {"autogroup:tagged", SEL_TAGGED, 0},
    {"autogroup:self", SEL_SELF, 0},
    {"autogroup:internet", SEL_INTERNET, 0},
    {"autogroup:danger-all", SEL_DANGER_ALL, 0},
    {"autogroup:shared", SEL_SHARED, 0},
    {"autogroup:owner", SEL_ROLE, POLICY_OWNER},
    {"autogroup:admin", SEL_ROLE, POLICY_ADMIN},
    {"autogroup:network-admin", SEL_ROLE, POLICY_NETWORK_ADMIN},
    {"autogroup:it-admin", SEL_ROLE, POLICY_IT_ADMIN},
    {"autogroup:billing-admin", SEL_ROLE, POLICY_BILLING_ADMIN},
    {"autogroup:auditor", SEL_ROLE, POLICY_AUDITOR},
};

enum ipset_state { IPSET_NEW, IPSET_OPEN, IPSET_DONE };

struct ipset {
    struct str name;
    const struct json *ops;
    enum ipset_state state;
    struct range *v; /* arena; canonical */
    size_t n;
    bool has_internet;
};

bool reader_domain_is_ours(const struct reader *r, struct str domain)
{
    for (size_t i = 0; i < r->opts->domain_n; i++) {
        if (str_eq_ci(r->opts->domains[i], domain))
            return true;
    }
    return r->opts->domain_n == 0;
}

/* --- entries --- */

static void add_entries(struct policy_doc *doc, struct selector *s, sel_id id, const struct range_set *set)
{
    char text[RANGE_TEXT_CAP];
    s->entry_first = (uint32_t)doc->entry_n;
    s->entry_n = (uint32_t)set->n;
    for (size_t i = 0; i < set->n; i++) {
        const struct range *range = &set->v[i];
        struct entry e = {.range = *range, .sel = id};
        /* The internet is always written as ranges, though one of them is a prefix. src: docs/protocol/policy.md 5.4 */
        size_t n = s->kind == SEL_INTERNET ? range_format_pair(range, text) : range_format(range, text);
        e.text = arena_str(&doc->arena, str_n(text, n));
        for (size_t k = 0; k < range_internet_n; k++)
            e.is_in_internet = e.is_in_internet || range_holds(&range_internet[k], range);
        VEC_PUSH(doc->entry, doc->entry_n, doc->entry_cap, e);
    }
}

static bool host_range(const struct policy_doc *doc, struct str name, struct range *out)
{
    const struct json *value = map_get(&doc->host_by_name, name.p, name.len);
    struct str text;
    return value != NULL && json_str(value, &text) && range_parse(str_trim(text), out);
}

/* --- kinds. src: docs/protocol/policy.md 2.1, first match wins --- */

static enum sel_fault autogroup_of(struct selector *out)
{
    for (size_t i = 0; i < ARRAY_LEN(autogroups); i++) {
        if (!str_eq_c(out->text, autogroups[i].name))
            continue;
        out->kind = autogroups[i].kind;
        out->role = autogroups[i].role;
        return SEL_FINE;
    }
    return SEL_NO_AUTOGROUP;
}

static enum sel_fault named_of(const struct policy_doc *doc, struct selector *out)
{
    struct str text = out->text;
    struct range range;
    if (str_starts(text, STR("group:"))) {
        struct group *g = map_get(&doc->group_by_name, text.p, text.len);
        out->kind = SEL_GROUP;
        out->group = g != NULL ? (size_t)(g - doc->group) : 0;
        return g != NULL ? SEL_FINE : SEL_NO_GROUP;
    }
    if (str_starts(text, STR("tag:"))) {
        out->kind = SEL_TAG;
        return map_get(&doc->tag_by_name, text.p, text.len) != NULL ? SEL_FINE : SEL_NO_TAG;
    }
    if (str_starts(text, STR("autogroup:")))
        return autogroup_of(out);
    if (str_starts(text, STR("ipset:"))) {
        out->kind = SEL_ADDRS;
        return map_get(&doc->ipset_by_name, text.p, text.len) != NULL ? SEL_FINE : SEL_NO_IPSET;
    }
    if (str_starts(text, STR("svc:")))
        return SEL_NO_SERVICES;
    out->kind = SEL_ADDRS;
    return str_index(text, ':') < 0 && host_range(doc, text, &range) ? SEL_FINE : SEL_NO_ADDRESS;
}

enum sel_fault doc_classify(const struct policy_doc *doc, struct str text, struct selector *out)
{
    struct range range;
    *out = (struct selector){.text = text, .name = text};
    if (str_eq(text, STR("*"))) {
        out->kind = SEL_STAR;
        return SEL_FINE;
    }
    if (range_parse(text, &range)) {
        out->kind = SEL_ADDRS;
        return SEL_FINE;
    }
    if (str_starts(text, STR("user:*@"))) {
        out->kind = SEL_DOMAIN;
        out->name = str_n(text.p + 7, text.len - 7);
        return SEL_FINE;
    }
    if (str_index(text, '@') >= 0 && !str_starts(text, STR("group:"))) {
        out->kind = SEL_USER;
        return SEL_FINE;
    }
    return named_of(doc, out);
}

void doc_ranges(const struct policy_doc *doc, const struct selector *s, struct range_set *out)
{
    const struct ipset *set = map_get(&doc->ipset_by_name, s->text.p, s->text.len);
    struct range range;
    if (s->kind == SEL_INTERNET) {
        for (size_t i = 0; i < range_internet_n; i++)
            range_set_add(out, range_internet[i]);
    } else if (s->kind == SEL_ADDRS && set != NULL) {
        for (size_t i = 0; i < set->n; i++)
            range_set_add(out, set->v[i]);
    } else if (s->kind == SEL_ADDRS && (range_parse(s->text, &range) || host_range(doc, s->text, &range))) {
        range_set_add(out, range);
    }
}

/* One file does not use both spellings. src: docs/protocol/policy.md 2.6 */
static void note_member(struct reader *r, const struct read_item *item)
{
    bool is_legacy = str_eq(item->text, STR("autogroup:members"));
    bool *mine = is_legacy ? &r->wrote_members : &r->wrote_member;
    bool other = is_legacy ? r->wrote_member : r->wrote_members;
    if (!*mine && other)
        reader_fail(r, item->at, "autogroup:member and autogroup:members cannot both be used");
    *mine = true;
}

static enum sel_fault classify(struct reader *r, const struct read_item *item, struct selector *out)
{
    enum sel_fault fault = doc_classify(r->doc, item->text, out);
    if (fault == SEL_FINE && out->kind == SEL_DOMAIN && !reader_domain_is_ours(r, out->name))
        return SEL_FOREIGN_DOMAIN;
    if (fault == SEL_FINE && out->kind == SEL_MEMBER) {
        note_member(r, item);
        out->text = STR("autogroup:member");
    }
    return fault;
}

static void add_addresses(struct policy_doc *doc, struct selector *s, sel_id id)
{
    const struct ipset *set = map_get(&doc->ipset_by_name, s->text.p, s->text.len);
    struct range_set ranges = {0};
    doc_ranges(doc, s, &ranges);
    s->has_internet = s->kind == SEL_INTERNET || (set != NULL && set->has_internet);
    add_entries(doc, s, id, &ranges);
    range_set_fini(&ranges);
}

bool doc_find_selector(const struct policy_doc *doc, struct str text, sel_id *out)
{
    size_t known = (size_t)map_get(&doc->sel_by_text, text.p, text.len);
    if (known == 0)
        return false;
    *out = (sel_id)(known - 1);
    return true;
}

enum sel_fault reader_selector(struct reader *r, const struct read_item *item, sel_id *out)
{
    struct policy_doc *doc = r->doc;
    struct selector s;
    enum sel_fault fault = classify(r, item, &s);
    if (fault != SEL_FINE || doc_find_selector(doc, s.text, out))
        return fault;
    *out = (sel_id)doc->sel_n;
    if (s.kind == SEL_ADDRS || s.kind == SEL_INTERNET)
        add_addresses(doc, &s, *out);
    VEC_PUSH(doc->sel, doc->sel_n, doc->sel_cap, s);
    /* Numbers from 1, since a map has no room for null. */
    map_put(&doc->sel_by_text, s.text.p, s.text.len, (void *)doc->sel_n);
    return SEL_FINE;
}

const char *reader_fault_text(struct reader *r, enum sel_fault fault, struct str text)
{
    struct arena *a = &r->errors->arena;
    if (r->found_n == FOUND_MAX)
        return "";
    const char *quoted = reader_quote(r, text);
    switch (fault) {
    case SEL_NO_TAG: return arena_printf(a, "tag not found: %s", quoted);
    case SEL_NO_GROUP: return arena_printf(a, "group not found: %s", quoted);
    case SEL_NO_IPSET: return arena_printf(a, "ipset not found: %s", quoted);
    case SEL_NO_AUTOGROUP: return arena_printf(a, "unknown autogroup %s", quoted);
    case SEL_NO_SERVICES: return arena_printf(a, "%s: services are not implemented by this version", quoted);
    case SEL_FOREIGN_DOMAIN:
        return arena_printf(
            a, "%.*s is not associated with this Tailnet and cannot be used in user:*@<domain> expressions",
            (int)(text.len < 300 ? text.len - 7 : 293), text.p + 7);
    case SEL_NO_ADDRESS:
    case SEL_FINE: break;
    }
    return arena_printf(a, "%s: invalid address", quoted);
}

/* A destination that nobody has: nothing is let through. */
void reader_warn_service(struct reader *r, const struct json *at, struct str text)
{
    reader_warn(r, at, "%s is reached by nobody: this server has no services", reader_quote(r, text));
}

static void refuse_kind(struct reader *r, const struct read_item *item, enum sel_kind kind, const char *place)
{
    if (kind == SEL_SELF && strcmp(place, "a source") == 0)
        reader_fail(r, item->at, "%s not valid on the src side of a rule", reader_quote(r, item->text));
    else if (kind == SEL_DANGER_ALL && strcmp(place, "a destination") == 0)
        reader_fail(r, item->at, "cannot use autogroup:danger-all as a dst");
    else
        reader_fail(r, item->at, "%s is not allowed as %s", reader_quote(r, item->text), place);
}

struct sel_list reader_selectors(struct reader *r, const struct json *node, const char *name, unsigned allowed,
                                 const char *prefix, const char *place)
{
    struct read_items items = reader_strings(r, node, name);
    struct sel_list list = {arena_zalloc(&r->doc->arena, items.n, sizeof(*list.v)), 0};
    for (size_t i = 0; i < items.n; i++) {
        sel_id id = 0;
        enum sel_fault fault = reader_selector(r, &items.v[i], &id);
        if (fault == SEL_NO_SERVICES && (allowed & SEL_BIT(SEL_INTERNET)) != 0)
            reader_warn_service(r, items.v[i].at, items.v[i].text);
        else if (fault != SEL_FINE)
            reader_fail(r, items.v[i].at, "%s%s", prefix, reader_fault_text(r, fault, items.v[i].text));
        else if ((allowed & SEL_BIT(r->doc->sel[id].kind)) == 0)
            refuse_kind(r, &items.v[i], r->doc->sel[id].kind, place);
        else if (reader_count_selector(r, items.v[i].at, id))
            list.v[list.n++] = id;
    }
    return list;
}

/* --- groups. src: docs/protocol/policy.md 2.3 --- */

static void read_members(struct reader *r, struct group *g, const struct json *value)
{
    struct read_items items = reader_strings(r, value, "a group");
    g->member = arena_zalloc(&r->doc->arena, items.n, sizeof(*g->member));
    for (size_t i = 0; i < items.n; i++) {
        struct str text = items.v[i].text;
        bool is_user = str_index(text, '@') >= 0 && !str_starts(text, STR("user:*@"));
        if (is_user && !str_starts(text, STR("group:")))
            g->member[g->member_n++] = text;
        else if (!str_starts(text, STR("group:")))
            reader_fail(r, items.v[i].at, "groups[%s]: %s: members must be users (with an @)", reader_quote(r, g->name),
                        reader_quote(r, text));
    }
}

/* A group in a group is reported for the group whose name sorts last, ahead of others
 * (src: docs/protocol/policy.md 2.3). */
static void check_nested(struct reader *r, const struct json *section)
{
    const struct json *worst = NULL, *worst_member = NULL;
    JSON_EACH (g, section) {
        JSON_EACH (m, g) {
            struct str text, name = json_key_of(g);
            if (!json_str(m, &text) || !str_starts(str_trim(text), STR("group:")))
                continue;
            struct str last = worst != NULL ? json_key_of(worst) : STR_EMPTY;
            int order = memcmp(name.p, last.p, name.len < last.len ? name.len : last.len);
            if (worst == NULL || order > 0 || (order == 0 && name.len > last.len)) {
                worst = g;
                worst_member = m;
            }
            break;
        }
    }
    struct str inner;
    if (worst != NULL && json_str(worst_member, &inner))
        reader_fail_ranked(r, section, worst_member, "groups[%s]: %s: group members cannot be recursive",
                           reader_quote(r, json_key_of(worst)), reader_quote(r, str_trim(inner)));
}

void reader_groups(struct reader *r)
{
    const struct json *section = r->section[SECTION_GROUPS];
    struct policy_doc *doc = r->doc;
    size_t count = 0, members = 0;
    if (!reader_is(r, section, JSON_OBJECT, "groups") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->groups, "groups"))
        return;
    doc->group = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->group));
    JSON_EACH (it, section) {
        struct group *g = &doc->group[doc->group_n++];
        g->name = json_key_of(it);
        if (!str_starts(g->name, STR("group:")) || g->name.len == 6)
            reader_fail(r, it, "groups[%s]: group names must begin with 'group:'", reader_quote(r, g->name));
        if (json_type_of(it) != JSON_ARRAY)
            reader_fail(r, it, "groups[%s]: a group must be a list of users", reader_quote(r, g->name));
        else if (reader_counted(r, it, &members, json_len(it), r->limits->memberships, "group members"))
            read_members(r, g, it);
        map_put(&doc->group_by_name, g->name.p, g->name.len, g);
    }
    check_nested(r, section);
}

/* --- hosts and ipsets. src: docs/protocol/policy.md 2.3, 2.4 --- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

void reader_hosts(struct reader *r)
{
    const struct json *section = r->section[SECTION_HOSTS];
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "hosts") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->hosts, "hosts"))
        return;
    JSON_EACH (it, section) {
        struct str name = json_key_of(it), value;
        struct range range;
        if (name.len == 0 || !is_alnum(name.p[0]) || str_index(name, '@') >= 0 || str_index(name, ':') >= 0)
            reader_fail(r, it, "hosts[%s]: a host name begins with a letter or digit and has no '@' or ':'",
                        reader_quote(r, name));
        else if (range_parse(name, &range))
            reader_fail(r, it, "hosts[%s]: a host name cannot be an address", reader_quote(r, name));
        if (!json_str(it, &value) || !range_parse(str_trim(value), &range) || str_index(value, '-') >= 0)
            reader_fail(r, it, "hosts[%s]: must be one address or prefix", reader_quote(r, name));
        map_put(&r->doc->host_by_name, name.p, name.len, (void *)it);
    }
}

static bool open_ipset(struct reader *r, struct ipset *set, unsigned depth);

/* Adds what TARGET means to `out`, which is canonical no more. */
static void read_target(struct reader *r, const struct json *at, struct str target, unsigned depth,
                        struct range_set *out, bool *has_internet)
{
    struct range range;
    struct str host = str_starts(target, STR("host:")) ? str_n(target.p + 5, target.len - 5) : STR_EMPTY;
    struct ipset *other = map_get(&r->doc->ipset_by_name, target.p, target.len);
    if (range_parse(target, &range) || (host.len > 0 && host_range(r->doc, host, &range))) {
        range_set_add(out, range);
    } else if (str_eq(target, STR("autogroup:internet"))) {
        *has_internet = true;
        for (size_t i = 0; i < range_internet_n; i++)
            range_set_add(out, range_internet[i]);
    } else if (other != NULL && other->state == IPSET_OPEN) {
        reader_fail(r, at, "ipsets: %s contains itself", reader_quote(r, target));
    } else if (other != NULL && open_ipset(r, other, depth + 1)) {
        *has_internet = *has_internet || other->has_internet;
        for (size_t i = 0; i < other->n; i++)
            range_set_add(out, other->v[i]);
    } else if (other == NULL) {
        reader_fail(r, at, "ipsets: %s is not an address, host, ipset or autogroup:internet", reader_quote(r, target));
    }
}

/* Splits "add TARGET"; false when there is no verb. */
static bool split_verb(struct str op, bool *is_remove_out, struct str *target_out)
{
    struct str verb, rest;
    *is_remove_out = false;
    *target_out = op;
    if (!str_cut(op, ' ', &verb, &rest) || (!str_eq(verb, STR("add")) && !str_eq(verb, STR("remove"))))
        return false;
    *is_remove_out = str_eq(verb, STR("remove"));
    *target_out = str_trim(rest);
    return true;
}

/* Whether `n` more ranges may be gone through: ipsets of ipsets, and additions that alternate with removals, take
 * far more time and memory than text. */
static bool charge_ranges(struct reader *r, const struct json *at, size_t n)
{
    const size_t ratio = r->opts->is_stored ? IPSET_WORK_RATIO_STORED : IPSET_WORK_RATIO;
    const size_t most = ratio * r->limits->selectors;
    if (r->ipset_ranges > most)
        return false;
    r->ipset_ranges += n;
    if (r->ipset_ranges > most)
        reader_fail(
            r, at,
            "ipsets: more than %zu ranges, counting a set's again wherever another takes them and at each change "
            "between 'add' and 'remove': use fewer of either",
            most);
    return r->ipset_ranges <= most;
}

/* Operations of one kind that follow each other are one: each on its own would go through all that there is so far. */
struct ipset_run {
    struct range_set so_far; /* canonical */
    struct range_set what;
    bool is_remove;
};

static void end_run(struct reader *r, struct ipset *set, const struct json *at, struct ipset_run *run)
{
    struct range_set *so_far = &run->so_far;
    if (!charge_ranges(r, at, so_far->n + run->what.n))
        so_far->n = run->what.n = 0;
    range_set_join(&run->what);
    if (run->is_remove)
        range_set_subtract(so_far, &run->what);
    for (size_t i = 0; !run->is_remove && i < run->what.n; i++)
        range_set_add(so_far, run->what.v[i]);
    if (!run->is_remove)
        range_set_join(so_far);
    if (so_far->n > r->limits->hosts) {
        reader_fail(r, at, "ipsets[%s]: more than %zu ranges", reader_quote(r, set->name), r->limits->hosts);
        so_far->n = 0;
    }
    run->what.n = 0;
}

static void apply_op(struct reader *r, struct ipset *set, const struct read_item *op, unsigned depth,
                     struct ipset_run *run)
{
    bool is_remove, has_internet = false;
    struct str target;
    split_verb(op->text, &is_remove, &target);
    if (is_remove != run->is_remove || run->what.n > r->limits->hosts)
        end_run(r, set, op->at, run);
    run->is_remove = is_remove;
    if (!charge_ranges(r, op->at, 1))
        return;
    read_target(r, op->at, target, depth, &run->what, &has_internet);
    set->has_internet = is_remove ? set->has_internet && !has_internet : set->has_internet || has_internet;
}

static void check_verbs(struct reader *r, const struct read_items *ops)
{
    size_t with_verb = 0, removes = 0;
    for (size_t i = 0; i < ops->n; i++) {
        bool is_remove;
        struct str target;
        with_verb += split_verb(ops->v[i].text, &is_remove, &target);
        removes += is_remove;
    }
    if (removes > 0 && with_verb < ops->n)
        reader_fail(r, ops->v[0].at, "ipsets: a list with 'remove' needs 'add' or 'remove' before every target");
}

static bool open_ipset(struct reader *r, struct ipset *set, unsigned depth)
{
    if (set->state == IPSET_DONE)
        return true;
    if (depth > IPSET_CHAIN_MAX) {
        reader_fail(r, set->ops, "ipsets[%s]: more than %d ipsets in one another", reader_quote(r, set->name),
                    IPSET_CHAIN_MAX);
        return false;
    }
    struct read_items ops = reader_strings(r, set->ops, "an ipset");
    struct ipset_run run = {0};
    set->state = IPSET_OPEN;
    check_verbs(r, &ops);
    for (size_t i = 0; i < ops.n; i++)
        apply_op(r, set, &ops.v[i], depth, &run);
    if (ops.n > 0)
        end_run(r, set, ops.v[ops.n - 1].at, &run);
    set->n = run.so_far.n;
    set->v = arena_zalloc(&r->doc->arena, set->n, sizeof(*set->v));
    if (set->n > 0)
        memcpy(set->v, run.so_far.v, set->n * sizeof(*set->v));
    set->state = IPSET_DONE;
    range_set_fini(&run.so_far);
    range_set_fini(&run.what);
    return true;
}

void reader_ipsets(struct reader *r)
{
    const struct json *section = r->section[SECTION_IPSETS];
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "ipsets") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->hosts, "ipsets"))
        return;
    struct ipset *sets = arena_zalloc(&r->doc->arena, json_len(section), sizeof(*sets));
    size_t n = 0;
    JSON_EACH (it, section) {
        sets[n] = (struct ipset){.name = json_key_of(it), .ops = it};
        if (!str_starts(sets[n].name, STR("ipset:")) || sets[n].name.len == 6)
            reader_fail(r, it, "ipsets[%s]: names must begin with 'ipset:'", reader_quote(r, sets[n].name));
        map_put(&r->doc->ipset_by_name, sets[n].name.p, sets[n].name.len, &sets[n]);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        open_ipset(r, &sets[i], 0);
}

/* --- tags. src: docs/protocol/policy.md 11 --- */

static void check_tag_name(struct reader *r, const struct json *at, struct str name)
{
    if (!str_starts(name, STR("tag:")) || name.len < 5 || (name.p[4] | 0x20) < 'a' || (name.p[4] | 0x20) > 'z') {
        reader_fail(r, at, "tagOwners[%s]: tag names must start with a letter, after 'tag:'", reader_quote(r, name));
        return;
    }
    for (size_t i = 5; i < name.len; i++) {
        if (!is_alnum(name.p[i]) && strchr("-_.", name.p[i]) == NULL) {
            reader_fail(r, at, "tagOwners[%s]: tag names have letters, digits and '-' only", reader_quote(r, name));
            return;
        }
    }
}

void reader_tags(struct reader *r)
{
    const struct json *section = r->section[SECTION_TAG_OWNERS];
    struct policy_doc *doc = r->doc;
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "tagOwners") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->tags, "tags"))
        return;
    doc->tag = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->tag));
    JSON_EACH (it, section) {
        struct tag *t = &doc->tag[doc->tag_n++];
        t->name = json_key_of(it);
        check_tag_name(r, it, t->name);
        map_put(&doc->tag_by_name, t->name.p, t->name.len, t);
    }
}

void reader_tag_owners(struct reader *r)
{
    enum {
        OWNERS = SEL_BIT(SEL_USER) | SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_ROLE) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAG)
    };
    const struct json *section = r->section[SECTION_TAG_OWNERS];
    size_t i = 0;
    if (r->doc->tag_n == 0)
        return;
    JSON_EACH (it, section)
        r->doc->tag[i++].owner = reader_selectors(r, it, "tag owners", OWNERS, "tagOwners: ", "the owner of a tag");
}
