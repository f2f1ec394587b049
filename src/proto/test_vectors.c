#include "proto/test_vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void vectors_load(struct vectors *v, const char *path)
{
    *v = (struct vectors){0};
    FILE *f = fopen(path, "rbe");
    assert_non_null(f);
    size_t n;
    do {
        n = fread(buf_reserve(&v->text, 65536), 1, 65536, f);
        buf_commit(&v->text, n);
    } while (n > 0);
    fclose(f);
    assert_int_equal(json_parse(&v->arena, buf_str(&v->text), NULL, &v->root, NULL), RC_OK);
}

void vectors_fini(struct vectors *v)
{
    arena_fini(&v->arena);
    buf_fini(&v->text);
}

struct str vectors_text(const struct json *node)
{
    struct str s = STR_EMPTY;
    assert_true(json_str(node, &s));
    return s;
}

struct str vectors_hex(struct vectors *v, const struct json *node)
{
    struct str hex = vectors_text(node);
    uint8_t *bytes = arena_alloc(&v->arena, hex.len / 2 + 1);
    assert_int_equal(hex_decode(hex, bytes, hex.len / 2), RC_OK);
    return str_n(bytes, hex.len / 2);
}

const struct json *vectors_at(const struct vectors *v, const char *a, const char *b)
{
    const struct json *node = json_get_exact(v->root, a);
    if (b != NULL)
        node = json_get_exact(node, b);
    if (node == NULL)
        fail_msg("no vector %s.%s", a, b != NULL ? b : "");
    return node;
}

struct str vectors_bytes(struct vectors *v, const char *a, const char *b)
{
    return vectors_hex(v, vectors_at(v, a, b));
}
