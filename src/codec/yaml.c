/* Builds the tree from libfyaml's events rather than its documents: limits apply before anything is built, and refused
 * constructs (aliases, keys that are not scalars) are never built. */
#include "codec/yaml.h"

#include <libfyaml.h>
#include <string.h>

#include "base/map.h"
#include "base/utf8.h"

/* A node while the tree grows. */
struct growing {
    struct yaml node;
    struct growing *parent;
    struct growing *last;
};

/* An entry of the table of duplicates: one table for all maps, which differ by address. */
struct seen_key {
    const struct growing *map;
    char text[];
};

struct builder {
    struct arena *arena;
    const char *file;
    struct err *err;
    struct growing *root;
    struct growing *open;   /* the innermost container, null outside */
    struct growing *member; /* its key has been read, its value comes next */
    unsigned depth;
    size_t nodes;
    int line, col; /* of the last event that had a position */
    struct map seen;
    struct err library; /* the first message of libfyaml that has no position */
};

static enum rc refuse(struct builder *b, enum rc code, const char *text)
{
    return err_set_at(b->err, code, b->file, b->line, b->col, "%s", text);
}

/* Messages with a position are collected by the library; the others come here. */
static void on_message(struct fy_diag *diag UNUSED, void *user, const char *text, size_t len)
{
    struct builder *b = user;
    struct str s = str_trim(str_n(text, len));
    if (str_starts(s, STR("[ERR]:")))
        s = str_trim(str_n(s.p + 6, s.len - 6));
    if (b->library.code == RC_OK && s.len > 0 && s.len < 256)
        err_set(&b->library, RC_INVALID, "%.*s", STR_ARG(s));
}

static enum rc library_failed(struct builder *b, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *e;
    while ((e = fy_diag_errors_iterate(diag, &at)) != NULL) {
        if (e->type >= FYET_ERROR && e->msg != NULL)
            return err_set_at(b->err, RC_INVALID, b->file, e->line > 0 ? e->line : 0, e->column > 0 ? e->column : 0,
                              "%s", e->msg);
    }
    return refuse(b, RC_INVALID, b->library.code != RC_OK ? b->library.text : "no valid YAML");
}

/* What the library would misread or pass on. */
static enum rc check_bytes(struct builder *b, struct str text)
{
    const char *p = text.p;
    const char *end = p + text.len;
    for (b->line = 1, b->col = 1; p < end; b->col++) {
        unsigned len = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
        if (len == 0)
            return refuse(b, RC_INVALID, "invalid UTF-8");
        if (*p == '\0')
            return refuse(b, RC_INVALID, "NUL byte");
        if (*p == '\n') {
            b->line++;
            b->col = 0;
        }
        p += len;
    }
    b->line = 1;
    b->col = 1;
    return RC_OK;
}

static void note_place(struct builder *b, struct fy_event *e)
{
    const struct fy_mark *mark = fy_event_start_mark(e);
    if (mark == NULL)
        return;
    b->line = mark->line + 1;
    b->col = mark->column + 1;
    /* The mark of an alias is behind its star, that of a scalar in quotes behind the quote. */
    enum fy_scalar_style style = e->type == FYET_SCALAR ? fy_token_scalar_style(e->scalar.value) : FYSS_PLAIN;
    if (e->type == FYET_ALIAS || style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
        b->col--;
}

static struct str token_text(struct fy_token *token)
{
    size_t len = 0;
    const char *p = token != NULL ? fy_token_get_text(token, &len) : NULL;
    return p != NULL ? str_n(p, len) : STR_EMPTY;
}

static enum rc new_node(struct builder *b, struct growing **out)
{
    if (++b->nodes > YAML_MAX_NODES)
        return refuse(b, RC_TOO_LARGE, "too many values");
    struct growing *g = arena_zalloc(b->arena, 1, sizeof(*g));
    g->node.key = STR_EMPTY;
    g->node.text = STR_EMPTY;
    g->parent = b->open;
    *out = g;
    return RC_OK;
}

static void link_node(struct builder *b, struct growing *g)
{
    struct growing *up = b->open;
    if (up == NULL) {
        b->root = g;
        return;
    }
    if (up->last != NULL)
        up->last->node.next = &g->node;
    else
        up->node.first = &g->node;
    up->last = g;
    up->node.n++;
}

static enum rc add_key(struct builder *b, struct str key)
{
    struct growing *g;
    TRY(new_node(b, &g));
    struct seen_key *seen = arena_alloc(b->arena, sizeof(*seen) + key.len + 1);
    seen->map = b->open;
    if (key.len > 0)
        memcpy(seen->text, key.p, key.len);
    seen->text[key.len] = '\0';
    if (map_put(&b->seen, seen, sizeof(*seen) + key.len, g) != NULL)
        return err_set_at(b->err, RC_INVALID, b->file, b->line, b->col, "duplicate key \"%.*s\"",
                          (int)(key.len < 64 ? key.len : 64), key.p);
    g->node.key = str_n(seen->text, key.len);
    g->node.key_line = b->line;
    g->node.key_col = b->col;
    b->member = g;
    return RC_OK;
}

static bool wants_key(const struct builder *b)
{
    return b->open != NULL && b->open->node.type == YAML_MAP && b->member == NULL;
}

/* The node that the current event is the value of. */
static enum rc take_value(struct builder *b, struct growing **out)
{
    *out = b->member;
    b->member = NULL;
    if (*out == NULL)
        TRY(new_node(b, out));
    link_node(b, *out);
    (*out)->node.line = b->line;
    (*out)->node.col = b->col;
    return RC_OK;
}

static bool is_null_word(struct str s)
{
    return s.len == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")) || str_eq(s, STR("Null")) ||
           str_eq(s, STR("NULL"));
}

static enum rc on_scalar(struct builder *b, struct fy_event *e)
{
    struct str text = token_text(e->scalar.value);
    if (wants_key(b))
        return add_key(b, text);
    struct growing *g;
    TRY(take_value(b, &g));
    g->node.is_quoted = e->scalar.value != NULL && fy_token_scalar_style(e->scalar.value) != FYSS_PLAIN;
    g->node.type = !g->node.is_quoted && is_null_word(text) ? YAML_NULL : YAML_SCALAR;
    g->node.text = arena_str(b->arena, text);
    return RC_OK;
}

static enum rc on_open(struct builder *b, enum yaml_type type)
{
    if (wants_key(b))
        return refuse(b, RC_INVALID, "keys must be scalars");
    if (b->depth == YAML_MAX_DEPTH)
        return refuse(b, RC_TOO_DEEP, "nested too deeply");
    struct growing *g;
    TRY(take_value(b, &g));
    g->node.type = type;
    b->open = g;
    b->depth++;
    return RC_OK;
}

static enum rc on_close(struct builder *b)
{
    b->open = b->open->parent;
    b->depth--;
    return RC_OK;
}

static enum rc on_event(struct builder *b, struct fy_event *e)
{
    note_place(b, e);
    switch (e->type) {
    case FYET_DOCUMENT_START: return b->root == NULL ? RC_OK : refuse(b, RC_INVALID, "only one document is allowed");
    case FYET_SCALAR: return on_scalar(b, e);
    case FYET_MAPPING_START: return on_open(b, YAML_MAP);
    case FYET_SEQUENCE_START: return on_open(b, YAML_SEQ);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END: return on_close(b);
    case FYET_ALIAS: return refuse(b, RC_INVALID, "aliases are not supported");
    default: return RC_OK;
    }
}

static enum rc parse_with_library(struct builder *b, struct str text)
{
    struct fy_diag_cfg messages;
    fy_diag_cfg_default(&messages);
    messages.fp = NULL;
    messages.output_fn = on_message;
    messages.user = b;
    messages.level = FYET_ERROR;
    messages.colorize = false;
    struct fy_diag *diag = fy_diag_create(&messages);
    if (diag == NULL)
        return refuse(b, RC_INTERNAL, "libfyaml failed");
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_DEFAULT_VERSION_1_2, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    enum rc rc = RC_OK;
    if (parser == NULL || fy_parser_set_string(parser, text.p, text.len) != 0)
        rc = refuse(b, RC_INTERNAL, "libfyaml failed");
    struct fy_event *e;
    while (rc == RC_OK && (e = fy_parser_parse(parser)) != NULL) {
        rc = on_event(b, e);
        fy_parser_event_free(parser, e);
    }
    if (rc == RC_OK && fy_parser_get_stream_error(parser))
        rc = library_failed(b, diag);
    if (rc == RC_OK && b->root == NULL)
        rc = take_value(b, &b->root);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return rc;
}

enum rc yaml_parse(struct arena *a, struct str text, const char *file_name, const struct yaml **root_out,
                   struct err *err)
{
    struct builder b = {.arena = a, .file = file_name, .err = err};
    if (text.len > YAML_MAX_BYTES)
        return err_set_at(err, RC_TOO_LARGE, file_name, 0, 0, "larger than %d bytes", YAML_MAX_BYTES);
    /* Some editors put a byte order mark in front. */
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_n(text.p + 3, text.len - 3);
    if (text.len == 0)
        text = STR_EMPTY;
    TRY(check_bytes(&b, text));
    map_init(&b.seen, NULL);
    enum rc rc = parse_with_library(&b, text);
    map_fini(&b.seen);
    if (rc == RC_OK)
        *root_out = &b.root->node;
    return rc;
}

const struct yaml *yaml_get(const struct yaml *map, const char *key)
{
    if (map == NULL || map->type != YAML_MAP)
        return NULL;
    YAML_EACH (it, map) {
        if (str_eq_c(it->key, key))
            return it;
    }
    return NULL;
}
