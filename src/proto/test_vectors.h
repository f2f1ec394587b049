/* Reads tests/vectors/NAME.json in tests. */
#ifndef PROTO_TEST_VECTORS_H
#define PROTO_TEST_VECTORS_H

#include "base/buf.h"
#include "codec/json.h"

struct vectors {
    struct arena arena;
    struct buf text;
    const struct json *root;
};

/* Reads a JSON file of tests/vectors; the test fails when there is none. */
void vectors_load(struct vectors *v, const char *path);
/* Frees text and tree. */
void vectors_fini(struct vectors *v);
/* A string; the test fails when the node is none. */
struct str vectors_text(const struct json *node);
/* The bytes of a hex string, in the arena. */
struct str vectors_hex(struct vectors *v, const struct json *node);
/* The node root.a.b, or root.a when `b` is null; the test fails when there is none. */
const struct json *vectors_at(const struct vectors *v, const char *a, const char *b);
/* The bytes of the hex string root.a.b, in the arena. */
struct str vectors_bytes(struct vectors *v, const char *a, const char *b);

#endif
