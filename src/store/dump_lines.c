/* Rows to lines of JSON and back. What is read may come from anywhere. */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "store/dump_internal.h"

#define FORMAT "fullscale-dump-1"

/* --- writing --- */

static bool is_utf8(struct str s)
{
    const char *end = s.p + s.len;
    for (const char *p = s.p; p < end;) {
        unsigned n = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

static void write_hex(struct json_writer *w, struct str bytes)
{
    char *hex = mem_alloc(bytes.len * 2 + 1);
    hex_encode((const uint8_t *)bytes.p, bytes.len, hex);
    json_w_str(w, str_n(hex, bytes.len * 2));
    mem_free(hex);
}

static void write_text(struct json_writer *w, struct str text)
{
    if (is_utf8(text)) {
        json_w_str(w, text);
        return;
    }
    json_w_object(w);
    json_w_key(w, "hex");
    write_hex(w, text);
    json_w_end_object(w);
}

static void write_value(struct json_writer *w, const struct column *c, const struct column_value *v)
{
    if (c->type == COLUMN_BOOL)
        json_w_bool(w, v->number != 0);
    else if (v->kind == VALUE_INT)
        json_w_i64(w, v->number);
    else if (c->type == COLUMN_BYTES)
        write_hex(w, v->bytes);
    else
        write_text(w, v->bytes);
}

void store_dump_write_head(bool has_secrets, struct buf *out)
{
    struct json_writer w;
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "format", FORMAT);
    json_w_kv_i64(&w, "schema", state_schema_version());
    json_w_kv_bool(&w, "secrets", has_secrets);
    json_w_end_object(&w);
    buf_append_c(out, "\n");
}

void store_dump_write_row(const struct entity *e, const struct row *object, bool has_secrets, struct buf *out)
{
    struct json_writer w;
    struct buf scratch = {0};
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "entity", e->name);
    json_w_kv_u64(&w, "id", object->id);
    for (size_t i = 0; i < e->column_n; i++) {
        const struct column *c = &e->columns[i];
        struct column_value v;
        column_write(c, object, &scratch, &v);
        if (v.kind == VALUE_NULL || ((c->flags & COLUMN_SECRET) != 0 && !has_secrets))
            continue;
        json_w_key(&w, c->name);
        write_value(&w, c, &v);
    }
    json_w_end_object(&w);
    buf_append_c(out, "\n");
    buf_fini(&scratch);
}

/* --- reading --- */

enum {
    LINE_MAX_BYTES = 256 << 20, /* a policy of POLICY_TEXTS_MAX_BYTES, escaped */
    LINE_MAX_NODES = 1024,
    LINE_MAX_DEPTH = 3,
    COLUMNS_MAX = 64,
};

struct reading {
    struct arena arena; /* of the line */
    struct str text;    /* the line */
    int line;           /* its number */
    int schema;
    bool has_secrets;
    struct err *err;
};

#define REFUSE(r, at, ...) refuse_at(r, at, RC_INVALID, __VA_ARGS__)

static enum rc refuse_at(const struct reading *r, const struct json *at, enum rc rc, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static enum rc refuse_at(const struct reading *r, const struct json *at, enum rc rc, const char *fmt, ...)
{
    char said[200];
    int line, col;
    va_list args;
    va_start(args, fmt);
    vsnprintf(said, sizeof(said), fmt, args);
    va_end(args);
    json_pos(at, r->text, &line, &col);
    return err_set_at(r->err, rc, NULL, r->line, col, "%s", said);
}

static bool read_hex(struct reading *r, const struct json *node, struct str *out)
{
    struct str hex;
    if (!json_str(node, &hex) || hex.len % 2 != 0)
        return false;
    uint8_t *bytes = arena_alloc(&r->arena, hex.len / 2 + 1);
    if (hex_decode(hex, bytes, hex.len / 2) != RC_OK)
        return false;
    *out = str_n(bytes, hex.len / 2);
    return true;
}

static bool read_text(struct reading *r, const struct json *node, struct str *out)
{
    if (json_type_of(node) != JSON_OBJECT)
        return json_str(node, out);
    return json_len(node) == 1 && read_hex(r, json_get_exact(node, "hex"), out);
}

static bool read_value(struct reading *r, const struct column *c, const struct json *node, struct column_value *out)
{
    bool is_set = false;
    *out = (struct column_value){0};
    if (json_type_of(node) == JSON_NULL)
        return column_is_nullable(c);
    out->kind = column_kind(c);
    if (c->type == COLUMN_BOOL && json_bool(node, &is_set)) {
        out->number = is_set;
        return true;
    }
    if (c->type == COLUMN_BOOL)
        return false;
    if (out->kind == VALUE_INT)
        return json_i64(node, &out->number);
    return c->type == COLUMN_BYTES ? read_hex(r, node, &out->bytes) : read_text(r, node, &out->bytes);
}

static enum rc read_column(struct reading *r, const struct column *c, const struct json *node, struct row **object)
{
    struct column_value v;
    if (!read_value(r, c, node, &v) || column_read(c, object, &v) != RC_OK)
        return REFUSE(r, node, "column %s cannot have this value", c->name);
    return RC_OK;
}

/* The column is not in the line: as NULL, or as in rows that were there before it. */
static enum rc read_missing(const struct reading *r, const struct entity *e, const struct column *c,
                            const struct json *root, struct row **object)
{
    bool is_newer = entity_column_since(e, c) > r->schema;
    struct column_value v = {0};
    if (!column_is_nullable(c) && !is_newer && (c->flags & COLUMN_SECRET) != 0 && !r->has_secrets)
        return REFUSE(r, root, "column %s is missing: only a dump with secrets can be imported", c->name);
    if (!column_is_nullable(c) && !is_newer)
        return REFUSE(r, root, "column %s is missing", c->name);
    if (!column_is_nullable(c) && column_kind(c) == VALUE_INT)
        v = (struct column_value){.kind = VALUE_INT, .number = c->min};
    return column_read(c, object, &v) == RC_OK ? RC_OK : REFUSE(r, root, "column %s is missing", c->name);
}

static const struct column *find_column(const struct entity *e, struct str name, size_t *i_out)
{
    for (size_t i = 0; i < e->column_n; i++) {
        *i_out = i + 1;
        if (str_eq_c(name, e->columns[i].name))
            return &e->columns[i];
    }
    *i_out = 0;
    return str_eq_c(name, column_id.name) ? &column_id : NULL;
}

static enum rc no_such_column(const struct reading *r, const struct entity *e, const struct json *node)
{
    struct str name = json_key_of(node);
    name.len = name.len < 64 ? name.len : 64;
    return REFUSE(r, node, "entity %s has no column %.*s", e->name, STR_ARG(name));
}

/* Fills the object from the line. Each column once, none that is not known. */
static enum rc read_members(struct reading *r, const struct entity *e, const struct json *root, struct row **object)
{
    bool has[COLUMNS_MAX + 1] = {false};
    size_t at;
    JSON_EACH (node, root) {
        if (str_eq_c(json_key_of(node), "entity"))
            continue;
        const struct column *c = find_column(e, json_key_of(node), &at);
        if (c == NULL)
            return no_such_column(r, e, node);
        if (has[at])
            return REFUSE(r, node, "column %s is there twice", c->name);
        has[at] = true;
        TRY(read_column(r, c, node, object));
    }
    if (!has[0])
        return REFUSE(r, root, "column id is missing");
    for (size_t i = 0; i < e->column_n; i++) {
        if (!has[i + 1])
            TRY(read_missing(r, e, &e->columns[i], root, object));
    }
    return RC_OK;
}

static const struct entity *find_entity(struct str name)
{
    const struct entity *e;
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++) {
        if (str_eq_c(name, e->name))
            return e;
    }
    return NULL;
}

static enum rc read_row(struct reading *r, const struct json *root, const struct row_sink *sink)
{
    struct str name;
    const struct json *named = json_get_exact(root, "entity");
    const struct entity *e = json_str(named, &name) ? find_entity(name) : NULL;
    if (e == NULL || e->column_n > COLUMNS_MAX)
        return REFUSE(r, named != NULL ? named : root, "this is no row of an entity that this program knows");
    struct row *object = entity_create(e);
    enum rc rc = read_members(r, e, root, &object);
    if (rc != RC_OK) {
        const struct row *dropped = object;
        row_unref(e, &dropped);
        return rc;
    }
    struct err why = {0};
    rc = sink->take(sink->ctx, e, object, &why);
    return rc == RC_OK ? RC_OK : refuse_at(r, root, rc, "%.180s", why.text);
}

static enum rc read_head(struct reading *r, const struct json *root)
{
    struct str format;
    int64_t schema;
    if (!json_str(json_get_exact(root, "format"), &format) || !str_eq_c(format, FORMAT) ||
        !json_i64(json_get_exact(root, "schema"), &schema) || schema < 1 ||
        !json_bool(json_get_exact(root, "secrets"), &r->has_secrets))
        return REFUSE(r, root, "the first line is not that of a dump: {\"format\":\"" FORMAT "\",...}");
    if (schema > state_schema_version())
        return refuse_at(r, root, RC_UNSUPPORTED, "the dump has schema version %lld, this program knows up to %d",
                         (long long)schema, state_schema_version());
    r->schema = (int)schema;
    return RC_OK;
}

static enum rc read_line(struct reading *r, const struct row_sink *sink)
{
    const struct json_limits limits = {LINE_MAX_BYTES, LINE_MAX_DEPTH, LINE_MAX_NODES, .strict_text = true};
    const struct json *root;
    struct err err = {0};
    enum rc rc = json_parse(&r->arena, r->text, &limits, &root, &err);
    if (rc != RC_OK)
        return err_set_at(r->err, rc, NULL, r->line, err.col, "%s", err.text);
    if (json_type_of(root) != JSON_OBJECT)
        return REFUSE(r, root, "a line is a JSON object");
    return r->line == 1 ? read_head(r, root) : read_row(r, root, sink);
}

enum rc store_dump_read(struct str text, const struct row_sink *sink, struct err *err)
{
    struct reading r = {.err = err};
    enum rc rc = RC_OK;
    if (text.len == 0)
        return err_set(err, RC_TRUNCATED, "there is nothing in it");
    while (rc == RC_OK && text.len > 0) {
        str_cut(text, '\n', &r.text, &text);
        r.line++;
        rc = read_line(&r, sink);
        arena_fini(&r.arena);
        r.arena = (struct arena){0};
    }
    return rc;
}
