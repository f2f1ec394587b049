/* Device postures: reading them, and whether a node satisfies them. src: docs/protocol/policy.md 7 */
#include <stdlib.h>
#include <string.h>

#include "policy/reader_internal.h"

/* --- reading --- */

/* A condition while it is read. */
struct scan {
    struct reader *r;
    const struct json *at;
    struct str rest;
};

static void skip_blank(struct scan *s)
{
    while (s->rest.len > 0 && strchr(" \t\r\n", s->rest.p[0]) != NULL)
        s->rest = str_n(s->rest.p + 1, s->rest.len - 1);
}

static void advance(struct scan *s, size_t n)
{
    s->rest = str_n(s->rest.p + n, s->rest.len - n);
    skip_blank(s);
}

static bool take_word(struct scan *s, struct str word)
{
    if (s->rest.len < word.len || !str_eq_ci(str_n(s->rest.p, word.len), word))
        return false;
    bool is_name = (word.p[0] | 0x20) >= 'a' && (word.p[0] | 0x20) <= 'z';
    if (is_name && s->rest.len > word.len && strchr(" \t\r\n[('", s->rest.p[word.len]) == NULL)
        return false;
    advance(s, word.len);
    return true;
}

static struct str take_attr(struct scan *s)
{
    size_t n = 0;
    while (n < s->rest.len && strchr(" \t\r\n=!<>", s->rest.p[n]) == NULL)
        n++;
    struct str name = str_n(s->rest.p, n);
    advance(s, n);
    return name;
}

static bool take_op(struct scan *s, enum posture_op *out)
{
    static const struct {
        struct str first;
        struct str second;
        enum posture_op op;
    } ops[] = {
        {{"==", 2}, {"", 0}, OP_EQ},          {{"!=", 2}, {"", 0}, OP_NE},        {{"<=", 2}, {"", 0}, OP_LE},
        {{">=", 2}, {"", 0}, OP_GE},          {{"<", 1}, {"", 0}, OP_LT},         {{">", 1}, {"", 0}, OP_GT},
        {{"IN", 2}, {"", 0}, OP_IN},          {{"NOT", 3}, {"IN", 2}, OP_NOT_IN}, {{"IS", 2}, {"SET", 3}, OP_IS_SET},
        {{"NOT", 3}, {"SET", 3}, OP_NOT_SET},
    };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        struct scan try = *s;
        if (!take_word(&try, ops[i].first) || (ops[i].second.len > 0 && !take_word(&try, ops[i].second)))
            continue;
        *out = ops[i].op;
        *s = try;
        return true;
    }
    return false;
}

static bool parse_number(struct str text, double *out)
{
    char copy[64], *end;
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0' && strpbrk(copy, "nNxX") == NULL;
}

static bool take_value(struct scan *s, struct policy_attr *out)
{
    *out = (struct policy_attr){0};
    if (s->rest.len > 0 && (s->rest.p[0] == '\'' || s->rest.p[0] == '"')) {
        const char *end = memchr(s->rest.p + 1, s->rest.p[0], s->rest.len - 1);
        if (end == NULL)
            return false;
        out->text = str_n(s->rest.p + 1, (size_t)(end - s->rest.p) - 1);
        advance(s, out->text.len + 2);
        return true;
    }
    size_t n = 0;
    while (n < s->rest.len && strchr(" \t\r\n,]", s->rest.p[n]) == NULL)
        n++;
    struct str word = str_n(s->rest.p, n);
    if (str_eq_ci(word, STR("true")) || str_eq_ci(word, STR("false"))) {
        out->type = POLICY_ATTR_BOOL;
        out->truth = word.len == 4;
    } else if (parse_number(word, &out->number)) {
        out->type = POLICY_ATTR_NUMBER;
    } else {
        return false;
    }
    advance(s, n);
    return true;
}

static bool take_list(struct scan *s, struct condition *c)
{
    size_t most = 1;
    for (size_t i = 0; i < s->rest.len; i++)
        most += s->rest.p[i] == ',';
    if (!take_word(s, STR("[")))
        return false;
    c->value = arena_zalloc(&s->r->doc->arena, most, sizeof(*c->value));
    while (!take_word(s, STR("]"))) {
        if (c->value_n > 0 && !take_word(s, STR(",")))
            return false;
        if (c->value_n == most || !take_value(s, &c->value[c->value_n]))
            return false;
        c->value_n++;
    }
    return true;
}

static bool is_version(struct str attr)
{
    return str_eq(attr, STR("node:osVersion")) || str_eq(attr, STR("node:tsVersion"));
}

/* Reads "ATTR OP VALUE", or an attribute alone, which means "== true". Returns what is wrong, or null. */
static const char *read_condition(struct scan *s, struct condition *c)
{
    skip_blank(s);
    c->attr = take_attr(s);
    c->value = arena_zalloc(&s->r->doc->arena, 1, sizeof(*c->value));
    c->value_n = 1;
    if (c->attr.len == 0 || str_index(c->attr, ':') < 1)
        return "an attribute like node:os or custom:name must come first";
    if (s->rest.len == 0) {
        *c->value = (struct policy_attr){.type = POLICY_ATTR_BOOL, .truth = true};
        return NULL;
    }
    if (!take_op(s, &c->op))
        return "unknown operator";
    if (c->op == OP_IN || c->op == OP_NOT_IN) {
        c->value_n = 0;
        if (!take_list(s, c))
            return "expected a list like ['a', 'b']";
    } else if (c->op != OP_IS_SET && c->op != OP_NOT_SET && !take_value(s, c->value)) {
        return "expected 'text' in quotes, a number, true or false";
    }
    if (s->rest.len > 0)
        return "expected nothing more";
    if (c->op >= OP_LT && c->op <= OP_GE && c->value->type != POLICY_ATTR_NUMBER &&
        !(is_version(c->attr) && c->value->type == POLICY_ATTR_STRING))
        return "only numbers and versions have an order";
    return NULL;
}

/* Warns of other attributes: they come from services that this server does not use. src: docs/protocol/policy.md 7.1 */
static void warn_attr(struct reader *r, const struct json *at, struct str attr)
{
    static const char *const known[] = {"node:os",           "node:osVersion",
                                        "node:tsVersion",    "node:tsReleaseTrack",
                                        "node:tsAutoUpdate", "node:tsStateEncrypted"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq_c(attr, known[i]))
            return;
    }
    reader_warn(r, at, "%s: no node has this attribute here", reader_quote(r, attr));
}

static void read_posture(struct reader *r, const struct json *node, struct posture *p)
{
    struct read_items items = reader_strings(r, node, "a posture");
    p->all = arena_zalloc(&r->doc->arena, items.n, sizeof(*p->all));
    for (size_t i = 0; i < items.n; i++) {
        struct scan s = {r, items.v[i].at, items.v[i].text};
        const char *fault = read_condition(&s, &p->all[p->n]);
        if (fault != NULL)
            reader_fail(r, items.v[i].at, "postures[%s]: %s: %s", reader_quote(r, p->name),
                        reader_quote(r, items.v[i].text), fault);
        else
            warn_attr(r, items.v[i].at, p->all[p->n++].attr);
    }
}

void reader_postures(struct reader *r)
{
    const struct json *section = r->section[SECTION_POSTURES];
    struct policy_doc *doc = r->doc;
    size_t count = 0;
    if (reader_is(r, section, JSON_OBJECT, "postures") &&
        reader_counted(r, section, &count, json_len(section), r->limits->hosts, "postures")) {
        doc->posture = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->posture));
        JSON_EACH (it, section) {
            struct posture *p = &doc->posture[doc->posture_n++];
            p->name = json_key_of(it);
            if (!str_starts(p->name, STR("posture:")) || p->name.len == 8)
                reader_fail(r, it, "postures[%s]: names must begin with 'posture:'", reader_quote(r, p->name));
            read_posture(r, it, p);
            map_put(&doc->posture_by_name, p->name.p, p->name.len, p);
        }
    }
    r->default_posture = reader_posture_list(r, r->section[SECTION_DEFAULT_POSTURE], "defaultSrcPosture");
}

static bool find_posture(const struct policy_doc *doc, struct str name, uint32_t *out)
{
    const struct posture *p = map_get(&doc->posture_by_name, name.p, name.len);
    *out = p != NULL ? (uint32_t)(p - doc->posture) : 0;
    return p != NULL;
}

static posture_set_id intern_set(struct policy_doc *doc, const struct posture_set *set)
{
    for (size_t i = 1; i < doc->posture_set_n; i++) {
        const struct posture_set *known = &doc->posture_set[i];
        if (known->n == set->n && memcmp(known->any, set->any, set->n * sizeof(*set->any)) == 0)
            return (posture_set_id)i;
    }
    VEC_PUSH(doc->posture_set, doc->posture_set_n, doc->posture_set_cap, *set);
    return (posture_set_id)(doc->posture_set_n - 1);
}

posture_set_id reader_posture_list(struct reader *r, const struct json *node, const char *name)
{
    struct read_items items = reader_strings(r, node, name);
    struct posture_set set = {arena_zalloc(&r->doc->arena, items.n, sizeof(*set.any)), 0};
    for (size_t i = 0; i < items.n; i++) {
        if (find_posture(r->doc, items.v[i].text, &set.any[set.n]))
            set.n++;
        else
            reader_fail(r, items.v[i].at, "posture not found: %s", reader_quote(r, items.v[i].text));
    }
    /* A rule's own list replaces the default. src: docs/protocol/policy.md 7.2 */
    return set.n > 0 ? intern_set(r->doc, &set) : r->default_posture;
}

struct policy_attr *reader_posture_attrs(struct reader *r, const struct json *node, size_t *n_out)
{
    *n_out = 0;
    if (!reader_is(r, node, JSON_OBJECT, "srcPostureAttrs"))
        return NULL;
    struct policy_attr *v = arena_zalloc(&r->doc->arena, json_len(node), sizeof(*v));
    JSON_EACH (it, node) {
        struct policy_attr *a = &v[*n_out];
        a->name = json_key_of(it);
        if (json_str(it, &a->text))
            a->type = POLICY_ATTR_STRING;
        else if (json_f64(it, &a->number))
            a->type = POLICY_ATTR_NUMBER;
        else if (json_bool(it, &a->truth))
            a->type = POLICY_ATTR_BOOL;
        else
            reader_fail(r, it, "srcPostureAttrs[%s]: must be text, a number, true or false", reader_quote(r, a->name));
        ++*n_out;
    }
    return v;
}

/* --- asking --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Takes the next run of digits, or of other bytes, from `*s`. */
static struct str take_run(struct str *s)
{
    size_t n = 1;
    while (n < s->len && is_digit(s->p[n]) == is_digit(s->p[0]))
        n++;
    struct str run = str_n(s->p, n);
    *s = str_n(s->p + n, s->len - n);
    return run;
}

static int compare_bytes(struct str a, struct str b)
{
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Compares numbers of any length: without leading zeros the longer one is the larger one. */
static int compare_digits(struct str a, struct str b)
{
    while (a.len > 1 && a.p[0] == '0')
        a = str_n(a.p + 1, a.len - 1);
    while (b.len > 1 && b.p[0] == '0')
        b = str_n(b.p + 1, b.len - 1);
    return a.len != b.len ? (a.len > b.len ? 1 : -1) : compare_bytes(a, b);
}

static int compare_versions(struct str a, struct str b)
{
    while (a.len > 0 && b.len > 0) {
        struct str x = take_run(&a), y = take_run(&b);
        int order = is_digit(x.p[0]) && is_digit(y.p[0]) ? compare_digits(x, y) : compare_bytes(x, y);
        if (order != 0)
            return order;
    }
    return (a.len > 0) - (b.len > 0);
}

static const struct policy_attr *find_attr(const struct attr_view *view, struct str name)
{
    for (size_t i = 0; i < view->more_n; i++) {
        if (str_eq(view->more[i].name, name))
            return &view->more[i];
    }
    for (size_t i = 0; i < view->own_n; i++) {
        if (str_eq(view->own[i].name, name))
            return &view->own[i];
    }
    return NULL;
}

static bool equals(const struct policy_attr *a, const struct policy_attr *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == POLICY_ATTR_STRING)
        return str_eq(a->text, b->text);
    return a->type == POLICY_ATTR_BOOL ? a->truth == b->truth : a->number == b->number;
}

static bool is_ordered(enum posture_op op, int order)
{
    switch (op) {
    case OP_LT: return order < 0;
    case OP_LE: return order <= 0;
    case OP_GT: return order > 0;
    default: return order >= 0;
    }
}

static bool compares(const struct condition *c, const struct policy_attr *a)
{
    const struct policy_attr *b = c->value;
    if (a->type == POLICY_ATTR_NUMBER && b->type == POLICY_ATTR_NUMBER)
        return is_ordered(c->op, (a->number > b->number) - (a->number < b->number));
    if (a->type == POLICY_ATTR_STRING && b->type == POLICY_ATTR_STRING)
        return is_ordered(c->op, compare_versions(a->text, b->text));
    return false;
}

static bool condition_holds(const struct condition *c, const struct attr_view *view)
{
    const struct policy_attr *a = find_attr(view, c->attr);
    if (c->op == OP_NOT_SET || a == NULL)
        return c->op == OP_NOT_SET && a == NULL;
    if (c->op == OP_IS_SET)
        return true;
    if (c->op >= OP_LT && c->op <= OP_GE)
        return compares(c, a);
    bool is_equal = false;
    for (size_t i = 0; i < c->value_n; i++)
        is_equal = is_equal || equals(a, &c->value[i]);
    return is_equal == (c->op == OP_EQ || c->op == OP_IN);
}

bool policy_posture_holds(const struct policy_doc *doc, posture_set_id id, const struct attr_view *view)
{
    const struct posture_set *set = &doc->posture_set[id];
    for (size_t i = 0; i < set->n; i++) {
        const struct posture *p = &doc->posture[set->any[i]];
        size_t k = 0;
        while (k < p->n && condition_holds(&p->all[k], view))
            k++;
        if (k == p->n)
            return true;
    }
    return id == 0;
}
