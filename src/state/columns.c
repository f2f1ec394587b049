/* Members of objects as values of columns, and back. What comes from disk or from a dump is checked like anything from
 * outside. */
#include <assert.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "state/entity.h"

const struct column column_id = {
    .name = "id", .type = COLUMN_INT, .offset = offsetof(struct row, id), .cap = sizeof(uint64_t), COLUMN_IS_ID};

enum value_kind column_kind(const struct column *c)
{
    static const enum value_kind kinds[] = {
        [COLUMN_BOOL] = VALUE_INT,    [COLUMN_INT] = VALUE_INT,       [COLUMN_TEXT] = VALUE_TEXT,
        [COLUMN_BYTES] = VALUE_BYTES, [COLUMN_JSON] = VALUE_TEXT,     [COLUMN_BLOB] = VALUE_BYTES,
        [COLUMN_IP] = VALUE_TEXT,     [COLUMN_PREFIXES] = VALUE_TEXT, [COLUMN_HOOK] = VALUE_TEXT,
    };
    return kinds[c->type];
}

bool column_is_nullable(const struct column *c)
{
    return (c->flags & COLUMN_NULL_IF_ZERO) != 0 || c->type == COLUMN_JSON || c->type == COLUMN_IP ||
           c->type == COLUMN_PREFIXES;
}

/* --- writing --- */

static int64_t load_int(const void *member, size_t cap)
{
    switch (cap) {
    case 1: return *(const uint8_t *)member;
    case 2: return *(const uint16_t *)member;
    case 4: return *(const uint32_t *)member;
    default: return *(const int64_t *)member;
    }
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static struct column_value text_value(struct str text, bool is_scratch)
{
    return (struct column_value){.kind = VALUE_TEXT, .bytes = text, .is_scratch = is_scratch};
}

static struct column_value buffer_value(const struct rcbuf *b, enum value_kind kind)
{
    if (b == NULL)
        return (struct column_value){0};
    return (struct column_value){.kind = kind, .bytes = str_n(b->data, b->len)};
}

static void format_prefixes(const struct prefix_list *l, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        char one[PREFIX_TEXT_CAP];
        prefix_format(&l->v[i], one);
        buf_append_c(out, i > 0 ? " " : "");
        buf_append_c(out, one);
    }
}

static void format(const struct column *c, const struct row *object, const void *member, struct buf *out)
{
    char ip[ADDR_TEXT_CAP];
    if (c->type == COLUMN_IP) {
        addr_format(member, false, ip);
        buf_append_c(out, ip);
    } else if (c->type == COLUMN_PREFIXES) {
        format_prefixes(*(struct prefix_list *const *)member, out);
    } else {
        c->write(object, out);
    }
}

static bool is_none(const struct column *c, const void *member)
{
    if (c->type == COLUMN_IP)
        return ((const struct addr *)member)->family == 0;
    return c->type == COLUMN_PREFIXES && *(struct prefix_list *const *)member == NULL;
}

void column_write(const struct column *c, const struct row *object, struct buf *scratch, struct column_value *out)
{
    const void *member = (const char *)object + c->offset;
    *out = (struct column_value){0};
    switch (c->type) {
    case COLUMN_BOOL: *out = (struct column_value){.kind = VALUE_INT, .number = *(const bool *)member}; return;
    case COLUMN_INT:
        out->number = load_int(member, c->cap);
        out->kind = out->number == 0 && (c->flags & COLUMN_NULL_IF_ZERO) != 0 ? VALUE_NULL : VALUE_INT;
        return;
    case COLUMN_TEXT: *out = text_value(str_c(member), false); return;
    case COLUMN_BYTES:
        out->bytes = str_n(member, c->cap);
        out->kind = (c->flags & COLUMN_NULL_IF_ZERO) != 0 && is_zero(member, c->cap) ? VALUE_NULL : VALUE_BYTES;
        return;
    case COLUMN_JSON: *out = buffer_value(*(struct rcbuf *const *)member, VALUE_TEXT); return;
    case COLUMN_BLOB: *out = buffer_value(*(struct rcbuf *const *)member, VALUE_BYTES); return;
    case COLUMN_IP:
    case COLUMN_PREFIXES:
    case COLUMN_HOOK: break;
    }
    if (is_none(c, member))
        return;
    buf_clear(scratch);
    format(c, object, member, scratch);
    *out = text_value(buf_str(scratch), true);
}

/* --- reading --- */

static enum rc read_int(const struct column *c, void *member, int64_t v)
{
    bool is_bounded = c->min != 0 || c->max != 0;
    if (is_bounded && (v < c->min || v > c->max))
        return RC_INVALID;
    switch (c->cap) {
    case 1: *(uint8_t *)member = (uint8_t)v; break;
    case 2: *(uint16_t *)member = (uint16_t)v; break;
    case 4: *(uint32_t *)member = (uint32_t)v; break;
    default: *(int64_t *)member = v; break;
    }
    return RC_OK;
}

static enum rc read_text(const struct column *c, char *member, struct str text)
{
    if (text.len >= c->cap || memchr(text.p, '\0', text.len) != NULL)
        return RC_INVALID;
    memcpy(member, text.p, text.len);
    member[text.len] = '\0';
    return RC_OK;
}

static enum rc read_buffer(struct rcbuf **member, struct str bytes, size_t most)
{
    if (bytes.len > most)
        return RC_INVALID;
    rcbuf_unref(member);
    *member = rcbuf_create(bytes.p, bytes.len);
    return RC_OK;
}

static enum rc read_prefixes(const struct column *c, struct prefix_list **member, struct str rest)
{
    struct prefix v[COLUMN_PREFIXES_MAX];
    struct str one;
    size_t n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        bool is_good = n < COLUMN_PREFIXES_MAX && prefix_parse(one, &v[n], NULL) == RC_OK;
        if (!is_good && (c->flags & COLUMN_LENIENT) == 0)
            return RC_INVALID;
        n += is_good;
    }
    if (n == 0 && (c->flags & COLUMN_NOT_EMPTY) != 0)
        return RC_INVALID;
    prefix_list_unref(member);
    *member = prefix_list_create(v, n);
    return RC_OK;
}

static enum rc read_ip(const struct column *c, struct addr *member, struct str text)
{
    TRY(addr_parse_ip(text, member));
    return member->family == c->max ? RC_OK : RC_INVALID;
}

/* NULL reads as a member that is zero. */
static enum rc read_null(const struct column *c, void *member)
{
    if (c->type == COLUMN_BLOB)
        return RC_INVALID;
    return c->type == COLUMN_INT ? read_int(c, member, 0) : RC_OK;
}

enum rc column_read(const struct column *c, struct row **object, const struct column_value *value)
{
    void *member = (char *)*object + c->offset;
    if (value->kind == VALUE_NULL)
        return read_null(c, member);
    if (value->kind != column_kind(c))
        return RC_INVALID;
    switch (c->type) {
    case COLUMN_BOOL:
        *(bool *)member = value->number != 0;
        return value->number == 0 || value->number == 1 ? RC_OK : RC_INVALID;
    case COLUMN_INT: return read_int(c, member, value->number);
    case COLUMN_TEXT: return read_text(c, member, value->bytes);
    case COLUMN_BYTES:
        if (value->bytes.len != c->cap)
            return RC_INVALID;
        memcpy(member, value->bytes.p, c->cap);
        return RC_OK;
    case COLUMN_JSON: return read_buffer(member, value->bytes, COLUMN_JSON_MAX_BYTES);
    case COLUMN_BLOB: return read_buffer(member, value->bytes, (size_t)c->max);
    case COLUMN_IP: return read_ip(c, member, value->bytes);
    case COLUMN_PREFIXES: return read_prefixes(c, member, value->bytes);
    case COLUMN_HOOK: break;
    }
    return c->read(object, value->bytes);
}
