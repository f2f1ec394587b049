/* The tree of a JSON text: made by json.c, read by json_tree.c. */
#ifndef CODEC_JSON_INTERNAL_H
#define CODEC_JSON_INTERNAL_H

#include "codec/json.h"

enum {
    JSON_FLAG_LAST = 1,      /* no sibling follows */
    JSON_FLAG_IN_OBJECT = 2, /* the node before is the key */
    JSON_FLAG_DECODED = 4,   /* a string that is not as in the text; see struct json_decoded */
};

struct json {
    const char *p;  /* string: its content, decoded; else the source */
    uint32_t len;   /* of `p`; while open: index of the last child */
    uint32_t span;  /* nodes from this to behind its last descendant; while open: index of the parent */
    uint32_t count; /* elements or members */
    uint8_t type;
    uint8_t flags;
};

/* A string with escapes or invalid UTF-8, decoded into the arena; `raw` is where it stands in the source. */
struct json_decoded {
    const char *raw;
    uint32_t raw_len;
    char bytes[];
};

/* Line and column (bytes) of `at` in the text that starts at `begin`, both from 1. */
void json_find_pos(const char *begin, const char *at, int *line_out, int *col_out);

#endif
