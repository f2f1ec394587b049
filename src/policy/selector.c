/* Selectors in lists: read, checked, and interned. src: docs/protocol/policy.md 2 */
#include <stdio.h>
#include <string.h>

#include "policy/reader_internal.h"

bool reader_domain_is_ours(const struct reader *r, struct str domain)
{
    for (size_t i = 0; i < r->opts->domain_n; i++) {
        if (str_eq_ci(r->opts->domains[i], domain))
            return true;
    }
    return r->opts->domain_n == 0;
}

/* --- addresses --- */

static void add_entries(struct policy_doc *doc, struct selector *s, sel_id id, const struct range_set *set)
{
    char text[RANGE_TEXT_CAP];
    s->range_first = (uint32_t)doc->range_n;
    s->range_n = (uint32_t)set->n;
    for (size_t i = 0; i < set->n; i++) {
        const struct range *range = &set->v[i];
        struct sel_range e = {.range = *range, .sel = id};
        /* The internet is always written as ranges, though one of them is a prefix. src: docs/protocol/policy.md 5.4 */
        size_t n = s->kind == SEL_INTERNET ? range_format_pair(range, text) : range_format(range, text);
        e.text = arena_str(&doc->arena, str_n(text, n));
        for (size_t k = 0; k < range_internet_n; k++)
            e.is_in_internet = e.is_in_internet || range_holds(&range_internet[k], range);
        VEC_PUSH(doc->range, doc->range_n, doc->range_cap, e);
    }
}

/* Reports a file that uses both spellings. src: docs/protocol/policy.md 2.6 */
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
    /* The value is the index + 1, since a map cannot hold null. */
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

void reader_warn_service(struct reader *r, const struct json *at, struct str text)
{
    reader_warn(r, at, "%s is reached by nobody: this server has no services", reader_quote(r, text));
}

static void refuse_kind(struct reader *r, const struct read_item *item, enum sel_kind kind, const char *role)
{
    if (kind == SEL_SELF && strcmp(role, "a source") == 0)
        reader_fail(r, item->at, "%s not valid on the src side of a rule", reader_quote(r, item->text));
    else if (kind == SEL_DANGER_ALL && strcmp(role, "a destination") == 0)
        reader_fail(r, item->at, "cannot use autogroup:danger-all as a dst");
    else
        reader_fail(r, item->at, "%s is not allowed as %s", reader_quote(r, item->text), role);
}

struct sel_list reader_selectors(struct reader *r, const struct json *node, const char *name, unsigned allowed,
                                 const char *prefix, const char *role)
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
            refuse_kind(r, &items.v[i], r->doc->sel[id].kind, role);
        else if (reader_count_selector(r, items.v[i].at, id))
            list.v[list.n++] = id;
    }
    return list;
}
