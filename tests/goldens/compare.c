#include "goldens/compare.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/filter_set.h"

enum { WHY_MAX = 2000 };

void case_wrong(struct buf *why, const char *fmt, ...)
{
    va_list args;
    if (buf_len(why) > WHY_MAX)
        return;
    va_start(args, fmt);
    buf_append_c(why, "    ");
    buf_vprintf(why, fmt, args);
    buf_append_c(why, "\n");
    va_end(args);
}

struct str case_text(const struct json *node)
{
    struct str s = STR_EMPTY;
    json_str(node, &s);
    return s;
}

struct str case_field(const struct json *obj, const char *name)
{
    return case_text(json_get_exact(obj, name));
}

const struct json *case_member(const struct json *obj, struct str name)
{
    JSON_EACH (it, obj) {
        if (str_eq(json_key_of(it), name))
            return it;
    }
    return NULL;
}

bool case_list_has(const struct json *list, struct str text)
{
    JSON_EACH (it, list) {
        if (str_eq(case_text(it), text))
            return true;
    }
    return false;
}

bool case_contains(struct str text, struct str part)
{
    return part.len <= text.len && memmem(text.p, text.len, part.p, part.len) != NULL;
}

static bool lists_equal(const struct json *a, const struct json *b)
{
    const struct json *other = json_first(b);
    JSON_EACH (it, a) {
        if (!case_json_equal(it, other))
            return false;
        other = json_next(other);
    }
    return other == NULL;
}

/* Depth is limited by the parser. */
bool case_json_equal(const struct json *a, const struct json *b)
{
    if (json_type_of(a) != json_type_of(b) || json_len(a) != json_len(b))
        return false;
    if (json_type_of(a) == JSON_STRING)
        return str_eq(case_text(a), case_text(b));
    if (json_type_of(a) == JSON_ARRAY)
        return lists_equal(a, b);
    if (json_type_of(a) != JSON_OBJECT)
        return str_eq(json_raw(a), json_raw(b));
    JSON_EACH (it, a) {
        const struct json *other = case_member(b, json_key_of(it));
        if (other == NULL || !case_json_equal(it, other))
            return false;
    }
    return true;
}

bool case_filters_equal(const struct json *a, const struct json *b)
{
    struct filter_set x, y;
    filter_set_init(&x);
    filter_set_init(&y);
    filter_set_add_json(&x, a);
    filter_set_add_json(&y, b);
    bool same = filter_sets_equal(&x, &y);
    filter_set_fini(&x);
    filter_set_fini(&y);
    return same;
}

/* A tagged node may be listed once for each of its tags. */
static bool principals_equal(const struct json *a, const struct json *b)
{
    JSON_EACH (x, a) {
        bool found = false;
        JSON_EACH (y, b)
            found = found || case_json_equal(x, y);
        if (!found)
            return false;
    }
    return true;
}

bool case_ssh_equal(const struct json *a, const struct json *b)
{
    const struct json *other = json_first(b);
    if (json_len(a) != json_len(b))
        return false;
    JSON_EACH (it, a) {
        const struct json *x = json_get_exact(it, "principals"), *y = json_get_exact(other, "principals");
        if (json_len(it) != json_len(other) || !principals_equal(x, y) || !principals_equal(y, x))
            return false;
        JSON_EACH (m, it) {
            if (!str_eq(json_key_of(m), STR("principals")) && !case_json_equal(m, case_member(other, json_key_of(m))))
                return false;
        }
        other = json_next(other);
    }
    return true;
}

const struct json *case_parse_ours(struct arena *a, const struct buf *text)
{
    const struct json *root;
    struct err err = {0};
    if (json_parse(a, buf_str(text), NULL, &root, &err) != RC_OK) {
        fprintf(stderr, "our own output is no JSON: %s\n%.*s\n", err.text, STR_ARG(buf_str(text)));
        abort();
    }
    return root;
}
