#include "sim/look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

enum { SET_MAX = 4096 };

static struct str set[SET_MAX]; /* scratch */
static struct buf set_text;

const char *const look_names[LOOK_FIELDS] = {
    "StableID",  "Name",       "User",          "Key",       "Machine",
    "Addresses", "AllowedIPs", "PrimaryRoutes", "Created",   "MachineAuthorized",
    "Tags",      "KeyExpiry",  "DiscoKey",      "Endpoints", "HomeDERP",
    "Hostinfo",  "Cap",        "Online",        "LastSeen",  "Expired",
    "CapMap"};

struct numbered {
    uint32_t id;
    size_t len;
    char bytes[];
};

/* Equal bytes, equal numbers. */
struct numbers {
    struct map map;
    struct arena arena;
    const struct numbered **by_id; /* heap */
    size_t n, cap;
};

static struct numbers texts, looks;

static uint32_t number_of(struct numbers *s, const void *p, size_t len)
{
    const struct numbered *known = len > 0 ? map_get(&s->map, p, len) : NULL;
    if (known != NULL)
        return known->id;
    VEC_ROOM(s->by_id, s->n, s->cap, 1024);
    if (s->n == 0) {
        map_init(&s->map, NULL);
        s->by_id[s->n++] = NULL;
    }
    struct numbered *made = arena_alloc(&s->arena, sizeof(*made) + len + 1);
    made->id = (uint32_t)s->n;
    made->len = len;
    memcpy(made->bytes, p, len);
    made->bytes[len] = '\0';
    s->by_id[s->n++] = made;
    map_put(&s->map, made->bytes, len, made);
    return made->id;
}

static void numbers_fini(struct numbers *s)
{
    map_fini(&s->map);
    arena_fini(&s->arena);
    mem_free(s->by_id);
    *s = (struct numbers){0};
}

void look_fini(void)
{
    numbers_fini(&texts);
    numbers_fini(&looks);
    buf_fini(&set_text);
}

text_id text_number(struct str s)
{
    return s.len > 0 ? number_of(&texts, s.p, s.len) : 0;
}

struct str text_of(text_id id)
{
    return id != 0 ? str_n(texts.by_id[id]->bytes, texts.by_id[id]->len) : STR_EMPTY;
}

look_id look_number(const struct look *l)
{
    return number_of(&looks, l, sizeof(*l));
}

const struct look *look_of(look_id id)
{
    static const struct look none;
    return id != 0 ? (const struct look *)(const void *)looks.by_id[id]->bytes : &none;
}

size_t look_count(void)
{
    return looks.n;
}

/* --- reading --- */

static int compare_texts(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

text_id look_set(struct str *v, size_t n)
{
    qsort(v, n, sizeof(*v), compare_texts);
    buf_clear(&set_text);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && str_eq(v[i], v[i - 1]))
            continue;
        if (i > 0)
            buf_append_byte(&set_text, ' ');
        buf_append_str(&set_text, v[i]);
    }
    return text_number(buf_str(&set_text));
}

static text_id read_set(const struct json *list)
{
    size_t n = 0;
    JSON_EACH (it, list) {
        assert_true(n < SET_MAX && json_str(it, &set[n]));
        n++;
    }
    return look_set(set, n);
}

/* Names and values. */
static text_id read_caps(const struct json *map)
{
    struct arena a = {0};
    size_t n = 0;
    JSON_EACH (it, map) {
        struct str key = json_key_of(it), value = json_raw(it);
        assert_true(n < SET_MAX);
        char *text = arena_printf(&a, "%.*s=%.*s", STR_ARG(key), STR_ARG(value));
        set[n++] = str_c(text);
    }
    text_id id = look_set(set, n);
    arena_fini(&a);
    return id;
}

text_id look_value(enum look_field f, const struct json *value)
{
    struct str s;
    if (json_is_null(value))
        return 0;
    if (f == LOOK_ADDRESSES || f == LOOK_ALLOWED || f == LOOK_PRIMARY || f == LOOK_TAGS || f == LOOK_ENDPOINTS)
        return read_set(value);
    if (f == LOOK_CAPS)
        return read_caps(value);
    if (json_str(value, &s))
        return text_number(s);
    return text_number(json_raw(value));
}

void look_read(const struct json *node, struct look *out, uint64_t *id_out, uint64_t *user_out)
{
    *out = (struct look){0};
    assert_int_equal(json_type_of(node), JSON_OBJECT); /* a null here crashes clients */
    assert_true(json_u64(json_get_exact(node, "ID"), id_out));
    assert_true(json_u64(json_get_exact(node, "User"), user_out));
    JSON_EACH (value, node) {
        struct str key = json_key_of(value);
        unsigned f = 0;
        while (f < LOOK_FIELDS && !str_eq_c(key, look_names[f]))
            f++;
        if (f < LOOK_FIELDS)
            out->f[f] = look_value((enum look_field)f, value);
        else if (!str_eq_c(key, "ID"))
            fail_msg("the simulation does not know what %.*s of a node is", STR_ARG(key));
    }
}

void look_format(look_id id, struct buf *out)
{
    const struct look *l = look_of(id);
    for (unsigned f = 0; f < LOOK_FIELDS; f++) {
        if (l->f[f] != 0)
            buf_printf(out, " %s=%.*s", look_names[f], STR_ARG(text_of(l->f[f])));
    }
}
