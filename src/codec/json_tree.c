/* Reading the tree that json.c made. */
#include <stdlib.h>
#include <string.h>

#include "codec/json_internal.h"

enum { NUMBER_TEXT_MAX = 512 };

enum json_type json_type_of(const struct json *node)
{
    return node != NULL ? (enum json_type)node->type : JSON_NULL;
}

bool json_is_null(const struct json *node)
{
    return json_type_of(node) == JSON_NULL;
}

static bool is_container(const struct json *node)
{
    return node != NULL && node->type >= JSON_ARRAY;
}

size_t json_len(const struct json *container)
{
    return is_container(container) ? container->count : 0;
}

const struct json *json_first(const struct json *container)
{
    if (json_len(container) == 0)
        return NULL;
    return container + (container->type == JSON_OBJECT ? 2 : 1);
}

const struct json *json_next(const struct json *node)
{
    if (node == NULL || (node->flags & JSON_FLAG_LAST) != 0)
        return NULL;
    return node + node->span + ((node->flags & JSON_FLAG_IN_OBJECT) != 0 ? 1 : 0);
}

struct str json_key_of(const struct json *node)
{
    if (node == NULL || (node->flags & JSON_FLAG_IN_OBJECT) == 0)
        return STR_EMPTY;
    return str_n(node[-1].p, node[-1].len);
}

const struct json *json_get_str(const struct json *obj, struct str key)
{
    const struct json *found = NULL;
    if (json_type_of(obj) != JSON_OBJECT)
        return NULL;
    JSON_EACH (it, obj) {
        if (it[-1].len == key.len && str_eq_ci(json_key_of(it), key))
            found = it;
    }
    return found;
}

const struct json *json_get(const struct json *obj, const char *key)
{
    return json_get_str(obj, str_c(key));
}

const struct json *json_get_exact(const struct json *obj, const char *key)
{
    const struct json *found = NULL;
    if (json_type_of(obj) != JSON_OBJECT)
        return NULL;
    JSON_EACH (it, obj) {
        if (str_eq_c(json_key_of(it), key))
            found = it;
    }
    return found;
}

bool json_str(const struct json *node, struct str *out)
{
    if (json_type_of(node) != JSON_STRING)
        return false;
    *out = str_n(node->p, node->len);
    return true;
}

bool json_i64(const struct json *node, int64_t *out)
{
    return json_type_of(node) == JSON_NUMBER && str_to_i64(str_n(node->p, node->len), out) == RC_OK;
}

bool json_u64(const struct json *node, uint64_t *out)
{
    return json_type_of(node) == JSON_NUMBER && str_to_u64(str_n(node->p, node->len), out) == RC_OK;
}

bool json_f64(const struct json *node, double *out)
{
    char text[NUMBER_TEXT_MAX + 1];
    if (json_type_of(node) != JSON_NUMBER || node->len > NUMBER_TEXT_MAX)
        return false;
    memcpy(text, node->p, node->len);
    text[node->len] = '\0';
    /* The process never leaves the "C" locale, so the point is a point. */
    double v = strtod(text, NULL);
    if (__builtin_isinf(v))
        return false;
    *out = v;
    return true;
}

bool json_bool(const struct json *node, bool *out)
{
    if (json_type_of(node) != JSON_BOOL)
        return false;
    *out = node->p[0] == 't';
    return true;
}

struct str json_raw(const struct json *node)
{
    if (node == NULL)
        return STR_EMPTY;
    if (node->type != JSON_STRING)
        return str_n(node->p, node->len);
    if ((node->flags & JSON_FLAG_DECODED) == 0)
        return str_n(node->p - 1, (size_t)node->len + 2);
    const struct json_decoded *d = CONTAINER_OF(node->p, const struct json_decoded, bytes);
    return str_n(d->raw - 1, (size_t)d->raw_len + 2);
}

void json_pos(const struct json *node, struct str text, int *line_out, int *col_out)
{
    *line_out = 0;
    *col_out = 0;
    if (node != NULL)
        json_find_pos(text.p, json_raw(node).p, line_out, col_out);
}
