/* Reading a policy: the text to JSON, the sections in an order in which names are known before they are used, and the
 * errors of all of them sorted by place. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "codec/hujson.h"
#include "codec/json_write.h"
#include "policy/reader_internal.h"

enum { QUOTE_MAX = 120, FEW_MEMBERS = 8 };

const struct policy_limits policy_limits_default = {
    .text_bytes = 4u << 20,
    .depth = 64,
    .rules = 20000,
    .groups = 10000,
    .memberships = 100000,
    .tags = 10000,
    .hosts = 10000,
    .list = 1000,
    .selectors = 200000,
    .tests = 10000,
    .app_bytes = 1u << 20,
};

void *vec_grow(void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap > 0 ? *cap * 2 : 16;
    return mem_realloc_array(v, *cap, size);
}

/* --- errors --- */

size_t reader_offset(const struct reader *r, const struct json *node)
{
    return node != NULL ? (size_t)(json_raw(node).p - r->doc->clean.p) : 0;
}

static void fail_va(struct reader *r, const struct json *rank, const struct json *at, const char *fmt, va_list args)
    __attribute__((format(printf, 4, 0)));

static void fail_va(struct reader *r, const struct json *rank, const struct json *at, const char *fmt, va_list args)
{
    if (r->found_n == FOUND_MAX) {
        r->found_left_out++;
        return;
    }
    struct buf text = {0};
    buf_vprintf(&text, fmt, args);
    struct found_error e = {.rank = reader_offset(r, rank), .order = r->found_n, .offset = reader_offset(r, at)};
    e.text = arena_str(&r->errors->arena, buf_str(&text)).p;
    buf_fini(&text);
    VEC_PUSH(r->found, r->found_n, r->found_cap, e);
}

void reader_fail(struct reader *r, const struct json *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_va(r, at, at, fmt, args);
    va_end(args);
}

void reader_fail_ranked(struct reader *r, const struct json *rank, const struct json *at, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_va(r, rank, at, fmt, args);
    va_end(args);
}

void reader_warn(struct reader *r, const struct json *at, const char *fmt, ...)
{
    struct policy_doc *doc = r->doc;
    struct buf text = {0};
    va_list args;
    if (doc->warning_n == DOC_WARNINGS_MAX) {
        doc->warnings_left_out++;
        return;
    }
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    doc->warning[doc->warning_n++] = (struct item){arena_str(&doc->arena, buf_str(&text)), reader_offset(r, at)};
    buf_fini(&text);
}

const char *reader_quote(struct reader *r, struct str s)
{
    struct buf out = {0};
    /* Nobody will read it: a text full of errors costs no memory. */
    if (r->found_n == FOUND_MAX)
        return "";
    buf_append_byte(&out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (i >= QUOTE_MAX && (c & 0xc0) != 0x80) {
            buf_append_c(&out, "...");
            break;
        }
        if (c == '"' || c == '\\')
            buf_append_byte(&out, '\\');
        if (c < ' ' || c == 0x7f)
            buf_printf(&out, "\\u%04x", c);
        else
            buf_append_byte(&out, c);
    }
    buf_append_byte(&out, '"');
    const char *text = arena_str(&r->errors->arena, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

static int compare_found(const void *a, const void *b)
{
    const struct found_error *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static void find_place(struct str text, size_t offset, int *line_out, int *col_out)
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

void doc_place(const struct policy_doc *doc, size_t offset, int *line, int *col)
{
    find_place(doc->clean, offset, line, col);
}

int doc_line(const struct policy_doc *doc, size_t offset)
{
    int line, col;
    doc_place(doc, offset, &line, &col);
    return line;
}

static void errors_add(struct policy_errors *e, int line, int col, const char *text)
{
    e->v[e->n++] = (struct policy_error){line, col, text};
}

static void sort_errors(struct reader *r)
{
    struct policy_errors *e = r->errors;
    if (r->found_n == 0)
        return;
    qsort(r->found, r->found_n, sizeof(*r->found), compare_found);
    size_t shown = r->found_n < POLICY_ERRORS_MAX ? r->found_n : POLICY_ERRORS_MAX;
    for (size_t i = 0; i < shown; i++) {
        int line, col;
        find_place(r->doc->clean, r->found[i].offset, &line, &col);
        errors_add(e, line, col, r->found[i].text);
    }
    e->left_out = r->found_n - shown + r->found_left_out;
    if (e->left_out > 0)
        errors_add(e, 0, 0, arena_printf(&e->arena, "and %zu more", e->left_out));
}

void policy_errors_fini(struct policy_errors *e)
{
    arena_fini(&e->arena);
    e->n = 0;
    e->left_out = 0;
}

void policy_errors_format(const struct policy_errors *e, const char *file, struct buf *out)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct policy_error *err = &e->v[i];
        if (file != NULL)
            buf_printf(out, "%s:", file);
        if (err->line > 0)
            buf_printf(out, "%d:%d:", err->line, err->col);
        buf_printf(out, "%s%s\n", file != NULL || err->line > 0 ? " " : "", err->text);
    }
}

/* --- values --- */

static bool name_matches(struct str name, const char *wanted)
{
    struct str current, legacy;
    bool has_legacy = str_cut(str_c(wanted), '|', &current, &legacy);
    return str_eq_ci(name, current) || (has_legacy && str_eq_ci(name, legacy));
}

/* The known name that may have been meant, or null. */
static const char *nearest_name(struct str name, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = name.len > 5 ? 3 : 2; /* less than that many changes */
    for (size_t i = 0; i < n; i++) {
        struct str current, legacy;
        str_cut(str_c(names[i]), '|', &current, &legacy);
        size_t distance = str_distance(name, current);
        if (distance < least) {
            least = distance;
            best = names[i];
        }
    }
    return best;
}

static void tell_unknown(struct reader *r, const struct json *member, const char *const *names, size_t n,
                         enum fields kind)
{
    struct str name = json_key_of(member), near, legacy;
    /* Nobody sees a suggestion once there are so many errors, and each costs as much as all names are long. */
    const char *best = r->found_n < FOUND_MAX ? nearest_name(name, names, n) : NULL;
    if (kind == FIELDS_NOTES && name.len > 0 && name.p[0] == '#')
        return;
    str_cut(str_c(best != NULL ? best : ""), '|', &near, &legacy);
    if (best != NULL)
        reader_fail(r, member, "unknown field: %s: did you mean \"%.*s\"?", reader_quote(r, name), STR_ARG(near));
    else if (kind == FIELDS_LOOSE)
        reader_warn(r, member, "unknown field: %s: it has no effect here", reader_quote(r, name));
    else
        reader_fail(r, member, "unknown field: %s", reader_quote(r, name));
}

void reader_fields(struct reader *r, const struct json *obj, const char *const *names, size_t n, enum fields kind,
                   const struct json **out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = NULL;
    JSON_EACH (member, obj) {
        struct str name = json_key_of(member);
        size_t i = 0;
        while (i < n && !name_matches(name, names[i]))
            i++;
        if (i < n && out[i] != NULL)
            reader_fail(r, member, "duplicate field: %s", reader_quote(r, name));
        else if (i < n)
            out[i] = member;
        else
            tell_unknown(r, member, names, n, kind);
    }
}

bool reader_is(struct reader *r, const struct json *node, enum json_type type, const char *name)
{
    static const char *const words[] = {"null", "true or false", "a number", "a string", "a list", "an object"};
    if (json_is_null(node))
        return false;
    if (json_type_of(node) != type)
        reader_fail(r, node, "%s must be %s", name, words[type]);
    return json_type_of(node) == type;
}

struct read_items reader_strings(struct reader *r, const struct json *node, const char *name)
{
    struct read_items items = {0};
    if (!reader_is(r, node, JSON_ARRAY, name))
        return items;
    if (json_len(node) > r->limits->list) {
        reader_fail(r, node, "%s has %zu elements (limit %zu)", name, json_len(node), r->limits->list);
        return items;
    }
    items.v = arena_zalloc(&r->doc->arena, json_len(node), sizeof(*items.v));
    JSON_EACH (it, node) {
        struct str text;
        if (json_str(it, &text))
            items.v[items.n++] = (struct read_item){str_trim(text), it};
        else
            reader_fail(r, it, "%s must be a list of strings", name);
    }
    return items;
}

struct str reader_string(struct reader *r, const struct json *node, const char *name)
{
    struct str text = STR_EMPTY;
    if (reader_is(r, node, JSON_STRING, name))
        json_str(node, &text);
    return str_trim(text);
}

bool reader_bool(struct reader *r, const struct json *node, const char *name)
{
    bool v = false;
    if (reader_is(r, node, JSON_BOOL, name))
        json_bool(node, &v);
    return v;
}

struct items reader_keep(struct reader *r, const struct read_items *items)
{
    struct items kept = {arena_zalloc(&r->doc->arena, items->n, sizeof(*kept.v)), items->n};
    for (size_t i = 0; i < items->n; i++)
        kept.v[i] = (struct item){items->v[i].text, reader_offset(r, items->v[i].at)};
    return kept;
}

bool reader_count_selector(struct reader *r, const struct json *at, sel_id sel)
{
    size_t entries = r->doc->sel[sel].entry_n;
    return reader_counted(r, at, &r->selectors_read, entries > 1 ? entries : 1, r->limits->selectors,
                          "selectors and addresses in all lists");
}

bool reader_counted(struct reader *r, const struct json *at, size_t *count, size_t more, size_t limit, const char *what)
{
    bool was_fine = *count <= limit;
    *count += more;
    if (*count > limit && was_fine)
        reader_fail(r, at, "too many %s (limit %zu)", what, limit);
    return *count <= limit;
}

/* --- the text --- */

static void check_few(struct reader *r, const struct json *obj)
{
    JSON_EACH (it, obj) {
        for (const struct json *other = json_next(it); other != NULL; other = json_next(other)) {
            if (str_eq(json_key_of(it), json_key_of(other)))
                reader_fail(r, other, "duplicate field: %s", reader_quote(r, json_key_of(other)));
        }
    }
}

static void check_many(struct reader *r, const struct json *obj)
{
    struct map seen;
    map_init(&seen, NULL);
    JSON_EACH (it, obj) {
        struct str key = json_key_of(it);
        if (map_put(&seen, key.p, key.len, &seen) != NULL)
            reader_fail(r, it, "duplicate field: %s", reader_quote(r, key));
    }
    map_fini(&seen);
}

/* No object, however deep, has a name twice. The depth is limited. */
static void check_names(struct reader *r, const struct json *node)
{
    if (json_type_of(node) == JSON_OBJECT && json_len(node) <= FEW_MEMBERS)
        check_few(r, node);
    else if (json_type_of(node) == JSON_OBJECT)
        check_many(r, node);
    JSON_EACH (it, node)
        check_names(r, it);
}

static const char *const section_names[SECTION_N] = {
    [SECTION_GROUPS] = "groups",
    [SECTION_HOSTS] = "hosts",
    [SECTION_IPSETS] = "ipsets",
    [SECTION_TAG_OWNERS] = "tagOwners",
    [SECTION_ACLS] = "acls",
    [SECTION_GRANTS] = "grants",
    [SECTION_SSH] = "ssh",
    [SECTION_AUTO_APPROVERS] = "autoApprovers",
    [SECTION_NODE_ATTRS] = "nodeAttrs",
    [SECTION_POSTURES] = "postures",
    [SECTION_DEFAULT_POSTURE] = "defaultSrcPosture",
    [SECTION_ATTR_CONFIG] = "attrConfig",
    [SECTION_TESTS] = "tests",
    [SECTION_SSH_TESTS] = "sshTests",
    [SECTION_DERP_MAP] = "derpMap",
    [SECTION_DISABLE_IPV4] = "disableIPv4",
    [SECTION_ONE_CGNAT] = "OneCGNATRoute",
    [SECTION_RANDOM_PORT] = "randomizeClientPort",
};

static void read_sections(struct reader *r, const struct json *root)
{
    if (json_type_of(root) != JSON_OBJECT) {
        reader_fail(r, root, "a policy must be an object");
        return;
    }
    check_names(r, root);
    if (r->found_n > 0)
        return;
    /* Without rules everyone reaches everyone: then a section that is not known may be the one that was to say who
     * may. */
    bool has_rules = json_get(root, "acls") != NULL || json_get(root, "grants") != NULL;
    reader_fields(r, root, section_names, SECTION_N, has_rules ? FIELDS_LOOSE : FIELDS_KNOWN, r->section);
    reader_groups(r);
    reader_hosts(r);
    reader_ipsets(r);
    reader_tags(r);
    reader_tag_owners(r);
    reader_postures(r);
    reader_rules(r);
    reader_ssh(r);
    reader_node_attrs(r);
    reader_approvers(r);
    reader_tests(r);
    reader_ssh_tests(r);
    reader_network(r);
}

static enum rc fail_syntax(struct policy_errors *errors, const struct err *err)
{
    errors_add(errors, err->line, err->col, arena_str(&errors->arena, str_c(err->text)).p);
    return RC_INVALID;
}

/* White space and comments only. */
static bool is_empty(const struct policy_doc *doc)
{
    return str_trim(doc->clean).len == 0;
}

static enum rc read_text(struct reader *r, const struct json **root_out)
{
    struct policy_doc *doc = r->doc;
    struct err err = {0};
    struct json_limits limits = {
        .max_bytes = r->limits->text_bytes,
        .max_depth = r->limits->depth,
        .max_nodes = r->limits->text_bytes,
        .strict_text = true,
    };
    *root_out = NULL;
    if (hujson_blank(&doc->arena, doc->text, &doc->clean, &err) != RC_OK)
        return fail_syntax(r->errors, &err);
    if (is_empty(doc))
        return RC_OK;
    if (json_parse(&doc->arena, doc->clean, &limits, root_out, &err) != RC_OK)
        return fail_syntax(r->errors, &err);
    return RC_OK;
}

static struct policy_doc *doc_create(void)
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

static enum rc read_all(struct reader *r, struct str text)
{
    const struct json *root;
    if (text.len > r->limits->text_bytes) {
        errors_add(
            r->errors, 1, 1,
            arena_printf(&r->errors->arena, "the policy has %zu bytes (limit %zu)", text.len, r->limits->text_bytes));
        return RC_INVALID;
    }
    r->doc->text = arena_str(&r->doc->arena, text);
    TRY(read_text(r, &root));
    if (root != NULL)
        read_sections(r, root);
    else if (r->opts->is_stored)
        reader_rules(r);
    else
        reader_fail(r, NULL, "the policy is empty; to let every node reach every other, write {}");
    sort_errors(r);
    return r->errors->n == 0 ? RC_OK : RC_INVALID;
}

enum rc policy_parse(struct str text, const struct policy_options *opts, struct policy_doc **doc_out,
                     struct policy_errors *errors)
{
    static const struct policy_options no_options = {0};
    struct reader r = {.doc = doc_create(), .opts = opts != NULL ? opts : &no_options, .errors = errors};
    r.limits = r.opts->limits != NULL ? r.opts->limits : &policy_limits_default;
    r.doc->has_funnel = r.opts->has_funnel;
    r.doc->is_https_on = r.opts->is_https_on;
    enum rc rc = read_all(&r, text);
    mem_free(r.found);
    if (rc == RC_OK)
        *doc_out = r.doc;
    else
        policy_doc_unref(&r.doc);
    return rc;
}

struct policy_doc *policy_doc_ref(struct policy_doc *doc)
{
    atomic_fetch_add_explicit(&doc->refs, 1, memory_order_relaxed);
    return doc;
}

void policy_doc_unref(struct policy_doc **doc_ptr)
{
    struct policy_doc *doc = *doc_ptr;
    *doc_ptr = NULL;
    if (doc == NULL || atomic_fetch_sub_explicit(&doc->refs, 1, memory_order_acq_rel) != 1)
        return;
    map_fini(&doc->sel_by_text);
    map_fini(&doc->group_by_name);
    map_fini(&doc->host_by_name);
    map_fini(&doc->ipset_by_name);
    map_fini(&doc->tag_by_name);
    map_fini(&doc->posture_by_name);
    mem_free(doc->sel);
    mem_free(doc->entry);
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
