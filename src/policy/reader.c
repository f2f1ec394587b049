/* What the readers of sections share: errors and values. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "codec/hujson.h"
#include "codec/json_write.h"
#include "policy/reader_internal.h"

enum { QUOTE_MAX = 120 };

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
    /* The error will not be kept, so that a text full of errors costs no memory. */
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

void reader_sort_errors(struct reader *r)
{
    struct policy_errors *e = r->errors;
    if (r->found_n == 0)
        return;
    qsort(r->found, r->found_n, sizeof(*r->found), compare_found);
    size_t shown = r->found_n < POLICY_ERRORS_MAX ? r->found_n : POLICY_ERRORS_MAX;
    for (size_t i = 0; i < shown; i++) {
        int line, col;
        doc_position(r->doc, r->found[i].offset, &line, &col);
        policy_errors_add(e, line, col, r->found[i].text);
    }
    e->left_out = r->found_n - shown + r->found_left_out;
    if (e->left_out > 0)
        policy_errors_add(e, 0, 0, arena_printf(&e->arena, "and %zu more", e->left_out));
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
    size_t least = name.len > 5 ? 3 : 2; /* it must have fewer changes than this */
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

static void report_unknown(struct reader *r, const struct json *member, const char *const *names, size_t n,
                           enum fields kind)
{
    struct str name = json_key_of(member), near, legacy;
    /* No suggestion once there are too many errors to keep: each costs time in the length of all names. */
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
            report_unknown(r, member, names, n, kind);
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
    size_t ranges = r->doc->sel[sel].range_n;
    return reader_counted(r, at, &r->selectors_read, ranges > 1 ? ranges : 1, r->limits->selectors,
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
