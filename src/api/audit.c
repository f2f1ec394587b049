/* What the audit trail says of an operation: its row's text, with members of the request in it. */
#include <inttypes.h>

#include "api/call_internal.h"
#include "base/time.h"
#include "base/utf8.h"

enum { AUDIT_VALUE_MAX = 256 }; /* bytes of one member: lists may be long */

typedef void show_fn(struct buf *out, const void *value);

static void show_text(struct buf *out, const void *value)
{
    const struct str *text = value;
    buf_append(out, text->p, text->len);
}

static void show_number(struct buf *out, const void *value)
{
    const uint64_t *n = value;
    buf_printf(out, "%" PRIu64, *n);
}

static void show_bool(struct buf *out, const void *value)
{
    const bool *v = value;
    buf_append_c(out, *v ? "true" : "false");
}

static void show_time(struct buf *out, const void *value)
{
    const int64_t *ms = value;
    char text[TIME_TEXT_CAP] = "none";
    if (*ms != 0)
        time_format(*ms, text);
    buf_append_c(out, text);
}

static void show_texts(struct buf *out, const void *value)
{
    const struct op_texts *texts = value;
    for (size_t i = 0; i < texts->n && buf_len(out) <= AUDIT_VALUE_MAX; i++) {
        buf_append_c(out, i > 0 ? ", " : "");
        buf_append(out, texts->v[i].p, texts->v[i].len);
    }
}

static void show_prefixes(struct buf *out, const void *value)
{
    const struct op_prefixes *prefixes = value;
    char text[PREFIX_TEXT_CAP];
    for (size_t i = 0; i < prefixes->n && buf_len(out) <= AUDIT_VALUE_MAX; i++) {
        prefix_format(&prefixes->v[i], text);
        buf_append_c(out, i > 0 ? ", " : "");
        buf_append_c(out, text);
    }
}

static void show_size(struct buf *out, const void *value)
{
    const struct str *text = value;
    buf_printf(out, "%zu bytes", text->len);
}

static show_fn *const shows[] = {
    [OP_TEXT] = show_text,         [OP_ID] = show_number,   [OP_BOOL] = show_bool,   [OP_NUMBER] = show_number,
    [OP_TIME] = show_time,         [OP_CHOICE] = show_text, [OP_TEXTS] = show_texts, [OP_ROUTES] = show_prefixes,
    [OP_NETWORKS] = show_prefixes, [OP_POLICY] = show_size,
};

/* Cuts at the beginning of a character. */
static struct str shorten(struct str text)
{
    if (text.len <= AUDIT_VALUE_MAX)
        return text;
    text.len = AUDIT_VALUE_MAX;
    while (text.len > 0 && utf8_is_tail((uint8_t)text.p[text.len]))
        text.len--;
    return text;
}

/* An empty value is shown as "none", so that the sentence stays one. */
static void add_value(struct api_call *call, struct str name, struct buf *out)
{
    struct buf value = {0};
    const struct op_member *m = api_operation_member(call->op, arena_str(&call->arena, name).p);
    if (m != NULL)
        shows[m->type](&value, (const char *)call->params + m->offset);
    struct str text = shorten(buf_str(&value));
    if (text.len == 0)
        text = STR("none");
    buf_append(out, text.p, text.len);
    if (text.len < buf_len(&value))
        buf_append_c(out, "...");
    buf_fini(&value);
}

struct str api_audit_text(struct api_call *call)
{
    struct buf out = {0};
    struct str before, name, rest = str_c(call->op->audit);
    while (str_cut(rest, '{', &before, &rest)) {
        buf_append(&out, before.p, before.len);
        str_cut(rest, '}', &name, &rest);
        add_value(call, name, &out);
    }
    buf_append(&out, before.p, before.len);
    struct str text = arena_str(&call->arena, buf_str(&out));
    buf_fini(&out);
    return text;
}
