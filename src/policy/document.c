/* What a document is made of, its life, and what a selector means in it. */
#include "policy/document.h"

#include "base/mem.h"
#include "base/refs.h"

struct policy_doc *doc_create(void)
{
    struct policy_doc *doc = MEM_NEW(struct policy_doc);
    atomic_init(&doc->refs, 1);
    map_init(&doc->sel_by_text, NULL);
    map_init(&doc->group_by_name, NULL);
    map_init(&doc->host_by_name, NULL);
    map_init(&doc->ipset_by_name, NULL);
    map_init(&doc->tag_by_name, NULL);
    map_init(&doc->posture_by_name, NULL);
    VEC_PUSH(doc->posture_set, doc->posture_set_n, doc->posture_set_cap, (struct posture_set){0});
    return doc;
}

struct policy_doc *policy_doc_ref(struct policy_doc *doc)
{
    refs_take(&doc->refs);
    return doc;
}

void policy_doc_unref(struct policy_doc **doc_ptr)
{
    struct policy_doc *doc = *doc_ptr;
    *doc_ptr = NULL;
    if (doc == NULL || !refs_drop(&doc->refs))
        return;
    map_fini(&doc->sel_by_text);
    map_fini(&doc->group_by_name);
    map_fini(&doc->host_by_name);
    map_fini(&doc->ipset_by_name);
    map_fini(&doc->tag_by_name);
    map_fini(&doc->posture_by_name);
    mem_free(doc->sel);
    mem_free(doc->range);
    mem_free(doc->posture_set);
    arena_fini(&doc->arena);
    mem_free(doc);
}

struct str policy_doc_text(const struct policy_doc *doc)
{
    return doc->text;
}

struct policy_network policy_doc_network(const struct policy_doc *doc)
{
    return doc->network;
}

bool policy_doc_has_pools(const struct policy_doc *doc)
{
    size_t n = 0;
    for (size_t i = 0; i < doc->node_attr_n; i++)
        n += doc->node_attr[i].pool_n;
    return n > 0;
}

static void find_position(struct str text, size_t offset, int *line_out, int *col_out)
{
    size_t line_start = 0;
    *line_out = 1;
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.p[i] == '\n') {
            ++*line_out;
            line_start = i + 1;
        }
    }
    *col_out = (int)(offset - line_start) + 1;
}

void doc_position(const struct policy_doc *doc, size_t offset, int *line, int *col)
{
    find_position(doc->clean, offset, line, col);
}

int doc_line(const struct policy_doc *doc, size_t offset)
{
    int line, col;
    doc_position(doc, offset, &line, &col);
    return line;
}

/* --- selectors. src: docs/protocol/policy.md 2.1; the first that matches counts --- */

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

bool doc_host_range(const struct policy_doc *doc, struct str name, struct range *out)
{
    const struct json *value = map_get(&doc->host_by_name, name.p, name.len);
    struct str text;
    return value != NULL && json_str(value, &text) && range_parse(str_trim(text), out);
}

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
    return str_index(text, ':') < 0 && doc_host_range(doc, text, &range) ? SEL_FINE : SEL_NO_ADDRESS;
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
    } else if (s->kind == SEL_ADDRS && (range_parse(s->text, &range) || doc_host_range(doc, s->text, &range))) {
        range_set_add(out, range);
    }
}

bool doc_find_selector(const struct policy_doc *doc, struct str text, sel_id *out)
{
    size_t known = (size_t)map_get(&doc->sel_by_text, text.p, text.len);
    if (known == 0)
        return false;
    *out = (sel_id)(known - 1);
    return true;
}
