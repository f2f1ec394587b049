/* The parser: one loop over the text, no stack. An open container keeps its parent's index in `span` and its last
 * child's in `len` until it is closed, so depth costs no memory of its own. Nodes are collected in a growing block,
 * which goes into the arena at its exact size once the text is known to be good. */
#include "codec/json.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/mem.h"
#include "base/utf8.h"
#include "codec/json_internal.h"

enum {
    FIRST_NODES = 64,
};

struct parser {
    const char *p;
    const char *begin;
    const char *end;
    struct json *nodes; /* `first` or heap */
    uint32_t n;
    uint32_t cap;
    uint32_t max_nodes;
    uint32_t parent; /* the innermost open container, when depth > 0 */
    unsigned depth;
    unsigned max_depth;
    bool strict_text;
    struct arena *arena;
    struct err *err;
    struct json first[FIRST_NODES];
};

const struct json_limits json_limits_default = {.max_bytes = 4u << 20, .max_depth = 128, .max_nodes = 1u << 20};
const struct json_limits json_limits_trusted = {.max_bytes = 1u << 30, .max_depth = 512, .max_nodes = 256u << 20};

void json_find_pos(const char *begin, const char *at, int *line_out, int *col_out)
{
    int line = 1;
    const char *line_start = begin;
    for (const char *p = begin; p < at && (p = memchr(p, '\n', (size_t)(at - p))) != NULL; p++) {
        line++;
        line_start = p + 1;
    }
    *line_out = line;
    *col_out = (int)(at - line_start) + 1;
}

/* Fails at `ps->p`, with what stands there. */
static __attribute__((cold, noinline)) enum rc fail(struct parser *ps, const char *wanted)
{
    int line, col;
    json_find_pos(ps->begin, ps->p, &line, &col);
    if (ps->p >= ps->end)
        return err_set_at(ps->err, RC_TRUNCATED, NULL, line, col, "%s, found the end of the text", wanted);
    unsigned char c = (unsigned char)*ps->p;
    if (c > ' ' && c < 0x7f)
        return err_set_at(ps->err, RC_INVALID, NULL, line, col, "%s, found '%c'", wanted, c);
    return err_set_at(ps->err, RC_INVALID, NULL, line, col, "%s, found byte 0x%02x", wanted, c);
}

static __attribute__((cold, noinline)) enum rc refuse(struct parser *ps, enum rc code, const char *text, uint64_t limit)
{
    int line, col;
    json_find_pos(ps->begin, ps->p, &line, &col);
    return err_set_at(ps->err, code, NULL, line, col, "%s (limit %llu)", text, (unsigned long long)limit);
}

static __attribute__((noinline)) bool grow(struct parser *ps)
{
    if (ps->cap >= ps->max_nodes)
        return false;
    uint32_t cap = ps->cap > ps->max_nodes / 2 ? ps->max_nodes : ps->cap * 2;
    struct json *old = ps->nodes;
    ps->nodes = mem_realloc_array(old == ps->first ? NULL : old, cap, sizeof(*ps->nodes));
    if (old == ps->first)
        memcpy(ps->nodes, ps->first, sizeof(ps->first));
    ps->cap = cap;
    return true;
}

static inline void skip_space(struct parser *ps)
{
    const char *p = ps->p;
    while (p < ps->end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    ps->p = p;
}

/* The first byte that is a quote, a backslash, a control character or not ASCII. */
static inline const char *skip_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Signed: bytes of 0x80 and more are below the space too. */
        __m128i odd = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)),
                                   _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(odd);
        if (mask != 0)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (signed char)*p >= ' ')
        p++;
    return p;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits that check_escape has seen. */
static uint32_t hex4(const char *p)
{
    return (uint32_t)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]));
}

/* Steps over the escape at `ps->p`. */
static enum rc check_escape(struct parser *ps)
{
    ps->p++;
    if (ps->p == ps->end || strchr("\"\\/bfnrtu", *ps->p) == NULL || *ps->p == '\0')
        return fail(ps, "expected one of \"\\/bfnrtu after a backslash");
    if (*ps->p++ != 'u')
        return RC_OK;
    for (int i = 0; i < 4; i++, ps->p++) {
        if (ps->p == ps->end || hex_value(*ps->p) < 0)
            return fail(ps, "expected four hex digits after \\u");
    }
    return RC_OK;
}

static char simple_escape(char c)
{
    switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c;
    }
}

/* One \uXXXX, or two that make a surrogate pair; a lone half is U+FFFD. Returns where the text goes on. */
static const char *decode_u(const char *p, const char *end, uint32_t *code_out)
{
    uint32_t code = hex4(p + 2);
    p += 6;
    *code_out = code;
    if (code < 0xd800 || code > 0xdfff)
        return p;
    *code_out = 0xfffd;
    if (code >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return p;
    uint32_t low = hex4(p + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return p;
    *code_out = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    return p + 6;
}

/* Decodes the checked content p..end and returns its length; a null `out` only counts. */
static size_t decode(const char *p, const char *end, char *out)
{
    size_t n = 0;
    while (p < end) {
        char piece[4];
        const char *from = piece;
        unsigned len = 1;
        if (*p == '\\' && p[1] == 'u') {
            uint32_t code;
            p = decode_u(p, end, &code);
            len = utf8_encode(code, piece);
        } else if (*p == '\\') {
            piece[0] = simple_escape(p[1]);
            p += 2;
        } else if ((uint8_t)*p < 0x80) {
            from = p++;
        } else if ((len = utf8_seq_len(p, end)) > 0) {
            from = p;
            p += len;
        } else {
            from = UTF8_REPLACEMENT;
            len = 3;
            p++;
        }
        if (out != NULL)
            memcpy(out + n, from, len);
        n += len;
    }
    return n;
}

static __attribute__((noinline)) enum rc store_decoded(struct parser *ps, struct json *node, const char *raw)
{
    size_t len = decode(raw, ps->p, NULL);
    if (len > UINT32_MAX)
        return refuse(ps, RC_TOO_LARGE, "string too long", UINT32_MAX);
    struct json_decoded *d = arena_alloc(ps->arena, sizeof(*d) + len);
    d->raw = raw;
    d->raw_len = (uint32_t)(ps->p - raw);
    decode(raw, ps->p, d->bytes);
    node->p = d->bytes;
    node->len = (uint32_t)len;
    node->flags |= JSON_FLAG_DECODED;
    return RC_OK;
}

/* Whether the checked escape that begins at `p` is half a surrogate pair without the other half. */
static bool is_lone_surrogate(const char *p, const char *end)
{
    uint32_t code;
    if (p[1] != 'u')
        return false;
    uint32_t first = hex4(p + 2);
    decode_u(p, end, &code);
    return first >= 0xd800 && first <= 0xdfff && code == 0xfffd;
}

/* With strict_text: refuses a lone surrogate at `at`, and steps over the second half of a pair. */
static enum rc check_surrogate(struct parser *ps, const char *at)
{
    if (!ps->strict_text || at[1] != 'u' || (hex4(at + 2) & 0xf800) != 0xd800)
        return RC_OK;
    if (ps->end - ps->p >= 6 && ps->p[0] == '\\' && ps->p[1] == 'u')
        TRY(check_escape(ps));
    if (!is_lone_surrogate(at, ps->p))
        return RC_OK;
    ps->p = at;
    return fail(ps, "expected both halves of a surrogate pair");
}

/* A string whose opening quote is at `ps->p`, into `node`. */
static enum rc parse_string(struct parser *ps, struct json *node)
{
    const char *start = ++ps->p;
    bool is_odd = false;
    for (;;) {
        ps->p = skip_plain(ps->p, ps->end);
        if (ps->p == ps->end)
            return fail(ps, "expected a closing '\"'");
        if (*ps->p == '"')
            break;
        if (*ps->p == '\\') {
            const char *at = ps->p;
            is_odd = true;
            TRY(check_escape(ps));
            TRY(check_surrogate(ps, at));
        } else if ((uint8_t)*ps->p >= 0x80) {
            unsigned len = utf8_seq_len(ps->p, ps->end);
            if (len == 0 && ps->strict_text)
                return fail(ps, "expected valid UTF-8");
            is_odd = is_odd || len == 0;
            ps->p += len > 0 ? len : 1;
        } else {
            return fail(ps, "control characters in strings must be escaped");
        }
    }
    node->type = JSON_STRING;
    node->p = start;
    node->len = (uint32_t)(ps->p - start);
    if (is_odd)
        TRY(store_decoded(ps, node, start));
    ps->p++;
    return RC_OK;
}

static inline bool skip_digits(struct parser *ps)
{
    const char *start = ps->p;
    while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9')
        ps->p++;
    return ps->p > start;
}

static enum rc parse_number(struct parser *ps, struct json *node)
{
    const char *start = ps->p;
    if (*ps->p == '-')
        ps->p++;
    if (ps->p < ps->end && *ps->p == '0')
        ps->p++;
    else if (!skip_digits(ps))
        return fail(ps, "expected a digit");
    if (ps->p < ps->end && *ps->p == '.') {
        ps->p++;
        if (!skip_digits(ps))
            return fail(ps, "expected a digit after the decimal point");
    }
    if (ps->p < ps->end && (*ps->p == 'e' || *ps->p == 'E')) {
        ps->p++;
        if (ps->p < ps->end && (*ps->p == '+' || *ps->p == '-'))
            ps->p++;
        if (!skip_digits(ps))
            return fail(ps, "expected a digit in the exponent");
    }
    node->type = JSON_NUMBER;
    node->p = start;
    node->len = (uint32_t)(ps->p - start);
    return RC_OK;
}

static enum rc parse_literal(struct parser *ps, struct json *node, enum json_type type, struct str word)
{
    const char *start = ps->p;
    for (size_t i = 0; i < word.len; i++, ps->p++) {
        if (ps->p == ps->end || *ps->p != word.p[i])
            return fail(ps, "expected true, false or null");
    }
    node->type = (uint8_t)type;
    node->p = start;
    node->len = (uint32_t)word.len;
    return RC_OK;
}

static enum rc open_container(struct parser *ps, uint32_t index, enum json_type type)
{
    if (ps->depth == ps->max_depth)
        return refuse(ps, RC_TOO_DEEP, "nested too deeply", ps->max_depth);
    struct json *node = &ps->nodes[index];
    node->type = (uint8_t)type;
    node->p = ps->p++;
    node->span = ps->parent;
    ps->parent = index;
    ps->depth++;
    return RC_OK;
}

static void close_container(struct parser *ps)
{
    struct json *node = &ps->nodes[ps->parent];
    if (node->count > 0)
        ps->nodes[node->len].flags |= JSON_FLAG_LAST;
    uint32_t up = node->span;
    node->span = ps->n - ps->parent;
    node->len = (uint32_t)(++ps->p - node->p);
    ps->parent = up;
    ps->depth--;
}

static inline enum rc add_node(struct parser *ps, uint8_t flags, uint32_t *index_out)
{
    if (ps->n == ps->cap && !grow(ps))
        return refuse(ps, RC_TOO_LARGE, "too many values", ps->max_nodes);
    *index_out = ps->n;
    ps->nodes[ps->n++] = (struct json){.span = 1, .flags = flags};
    return RC_OK;
}

/* The value at `ps->p`: a scalar whole, of a container only the opening. */
static enum rc parse_value(struct parser *ps, uint8_t flags)
{
    if (ps->p == ps->end)
        return fail(ps, "expected a value");
    uint32_t i = 0;
    TRY(add_node(ps, flags, &i));
    if (ps->depth > 0) {
        ps->nodes[ps->parent].len = i;
        ps->nodes[ps->parent].count++;
    }
    switch (*ps->p) {
    case '"': return parse_string(ps, &ps->nodes[i]);
    case '{': return open_container(ps, i, JSON_OBJECT);
    case '[': return open_container(ps, i, JSON_ARRAY);
    case 't': return parse_literal(ps, &ps->nodes[i], JSON_BOOL, STR("true"));
    case 'f': return parse_literal(ps, &ps->nodes[i], JSON_BOOL, STR("false"));
    case 'n': return parse_literal(ps, &ps->nodes[i], JSON_NULL, STR("null"));
    default:
        if (*ps->p != '-' && (*ps->p < '0' || *ps->p > '9'))
            return fail(ps, "expected a value");
        return parse_number(ps, &ps->nodes[i]);
    }
}

/* Goes to the next element or member of the open container, or closes it. `*more_out`: there is one, at `ps->p`. */
static inline enum rc next_item(struct parser *ps, char close, const char *wanted, bool *more_out)
{
    skip_space(ps);
    *more_out = false;
    if (ps->p < ps->end && *ps->p == close) {
        close_container(ps);
        return RC_OK;
    }
    *more_out = true;
    if (ps->nodes[ps->parent].count == 0)
        return RC_OK;
    if (ps->p == ps->end || *ps->p != ',')
        return fail(ps, wanted);
    ps->p++;
    skip_space(ps);
    return RC_OK;
}

static enum rc parse_member(struct parser *ps)
{
    bool more;
    TRY(next_item(ps, '}', "expected ',' or '}'", &more));
    if (!more)
        return RC_OK;
    if (ps->p == ps->end || *ps->p != '"')
        return fail(ps, "expected a key in quotes");
    uint32_t key = 0;
    TRY(add_node(ps, 0, &key));
    TRY(parse_string(ps, &ps->nodes[key]));
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != ':')
        return fail(ps, "expected ':' after a key");
    ps->p++;
    skip_space(ps);
    return parse_value(ps, JSON_FLAG_IN_OBJECT);
}

static enum rc parse_element(struct parser *ps)
{
    bool more;
    TRY(next_item(ps, ']', "expected ',' or ']'", &more));
    return more ? parse_value(ps, 0) : RC_OK;
}

static enum rc parse_text(struct parser *ps)
{
    skip_space(ps);
    TRY(parse_value(ps, JSON_FLAG_LAST));
    while (ps->depth > 0)
        TRY(ps->nodes[ps->parent].type == JSON_OBJECT ? parse_member(ps) : parse_element(ps));
    skip_space(ps);
    return ps->p == ps->end ? RC_OK : fail(ps, "expected nothing after the value");
}

enum rc json_parse(struct arena *a, struct str text, const struct json_limits *limits, const struct json **root_out,
                   struct err *err)
{
    if (limits == NULL)
        limits = &json_limits_default;
    if (text.len > limits->max_bytes || text.len > INT32_MAX)
        return err_set(err, RC_TOO_LARGE, "text of %zu bytes is too large (limit %zu)", text.len, limits->max_bytes);
    const char *begin = text.len > 0 ? text.p : "";
    struct parser ps;
    ps.p = begin;
    ps.begin = begin;
    ps.end = begin + text.len;
    ps.nodes = ps.first;
    ps.n = 0;
    ps.max_nodes = limits->max_nodes < INT32_MAX ? (uint32_t)limits->max_nodes : INT32_MAX;
    ps.cap = ps.max_nodes < FIRST_NODES ? ps.max_nodes : FIRST_NODES;
    ps.parent = 0;
    ps.depth = 0;
    ps.max_depth = limits->max_depth < JSON_DEPTH_MAX ? limits->max_depth : JSON_DEPTH_MAX;
    ps.strict_text = limits->strict_text;
    ps.arena = a;
    ps.err = err;
    enum rc rc = parse_text(&ps);
    if (rc == RC_OK) {
        struct json *nodes = arena_alloc(a, ps.n * sizeof(*nodes));
        memcpy(nodes, ps.nodes, ps.n * sizeof(*nodes));
        *root_out = nodes;
    }
    if (ps.nodes != ps.first)
        mem_free(ps.nodes);
    return rc;
}
