#include "codec/json_write.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/fits.h"
#include "base/utf8.h"
#include "codec/json.h"

enum {
    BLOCK = 16,           /* copied at once: the room behind a string that copy_clean needs */
    INTEGER_TEXT_CAP = 20 /* "18446744073709551615", "-9223372036854775808" */
};

void json_w_init(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out};
}

void json_w_init_pretty(struct json_writer *w, struct buf *out)
{
    *w = (struct json_writer){.out = out, .pretty = true};
}

/* The fast path of nearly every call: the buffer has room already. */
static inline uint8_t *reserve(struct buf *b, size_t n)
{
    return b->data != NULL && fits(b->end, n, b->cap) ? b->data + b->end : buf_reserve(b, n);
}

static inline void put_byte(struct buf *b, char c)
{
    *reserve(b, 1) = (uint8_t)c;
    b->end++;
}

static void line_break(struct json_writer *w)
{
    size_t n = 1 + 2 * (size_t)w->depth;
    uint8_t *at = buf_reserve(w->out, n);
    at[0] = '\n';
    memset(at + 1, ' ', n - 1);
    buf_commit(w->out, n);
}

/* What stands before a key or an array's element. */
static inline void separate(struct json_writer *w)
{
    if (w->has_value)
        put_byte(w->out, ',');
    if (w->pretty && w->depth > 0)
        line_break(w);
}

static inline void before_value(struct json_writer *w)
{
    if (!w->has_key) {
        assert(w->depth == 0 || w->depth >= 64 || (w->objects >> w->depth & 1) == 0);
        separate(w);
    }
    w->has_key = false;
    w->has_value = true;
}

static void open_container(struct json_writer *w, char c, uint64_t is_object)
{
    before_value(w);
    put_byte(w->out, c);
    w->depth++;
    w->has_value = false;
    if (w->depth < 64)
        w->objects = (w->objects & ~(UINT64_C(1) << w->depth)) | is_object << w->depth;
}

static void close_container(struct json_writer *w, char c)
{
    assert(w->depth > 0 && !w->has_key);
    w->depth--;
    if (w->pretty && w->has_value)
        line_break(w);
    put_byte(w->out, c);
    w->has_value = true;
}

void json_w_object(struct json_writer *w)
{
    open_container(w, '{', 1);
}

void json_w_end_object(struct json_writer *w)
{
    close_container(w, '}');
}

void json_w_array(struct json_writer *w)
{
    open_container(w, '[', 0);
}

void json_w_end_array(struct json_writer *w)
{
    close_container(w, ']');
}

static inline bool is_clean(uint8_t c)
{
    return c >= ' ' && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

/* Copies up to the first byte that may need an escape and returns how many that were. `out` has BLOCK bytes more
 * than p..end. */
static inline size_t copy_clean(uint8_t *out, const char *p, const char *end)
{
    const char *start = p;
#ifdef __SSE2__
    const __m128i space = _mm_set1_epi8(' '), backslash = _mm_set1_epi8('\\');
    for (; end - p >= BLOCK; p += BLOCK, out += BLOCK) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        _mm_storeu_si128((__m128i *)(void *)out, v);
        /* '"' and '&' differ in bit 2 only, '<' and '>' in bit 1; signed, non-ASCII is below the space. */
        __m128i quote_amp = _mm_cmpeq_epi8(_mm_and_si128(v, _mm_set1_epi8((char)0xfb)), _mm_set1_epi8('"'));
        __m128i angle = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
        __m128i rest = _mm_or_si128(_mm_cmpeq_epi8(v, backslash), _mm_cmplt_epi8(v, space));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote_amp, angle), rest));
        if (mask != 0)
            return (size_t)(p - start) + (unsigned)__builtin_ctz(mask);
    }
#endif
    for (; p < end && is_clean((uint8_t)*p); p++)
        *out++ = (uint8_t)*p;
    return (size_t)(p - start);
}

static void put_ascii_escape(struct buf *b, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    static const char *const names = "\"\"\\\\\nn\rr\tt\bb\ff";
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    for (const char *at = names; *at != '\0'; at += 2) {
        if ((uint8_t)at[0] == c) {
            text[1] = at[1];
            buf_append(b, text, 2);
            return;
        }
    }
    buf_append(b, text, sizeof(text));
}

/* Writes the character at `p`, which copy_clean stopped at; returns how many bytes it was. */
static unsigned put_special(struct buf *b, const char *p, const char *end)
{
    if ((uint8_t)*p < 0x80) {
        put_ascii_escape(b, (uint8_t)*p);
        return 1;
    }
    unsigned len = utf8_seq_len(p, end);
    if (len == 0) {
        buf_append_c(b, "\\ufffd");
        return 1;
    }
    /* The line separators, which JavaScript takes for line ends. */
    if (len == 3 && memcmp(p, "\xe2\x80", 2) == 0 && ((uint8_t)p[2] & 0xfe) == 0xa8)
        buf_append_c(b, (uint8_t)p[2] == 0xa8 ? "\\u2028" : "\\u2029");
    else
        buf_append(b, p, len);
    return len;
}

/* Writes what is left of a string behind the part that copy_clean took. */
static __attribute__((noinline)) void put_rest(struct buf *b, const char *p, const char *end)
{
    while (p < end) {
        p += put_special(b, p, end);
        size_t n = copy_clean(reserve(b, (size_t)(end - p) + BLOCK), p, end);
        b->end += n;
        p += n;
    }
}

static inline void put_string(struct buf *b, struct str s)
{
    const char *p = s.p != NULL ? s.p : "";
    const char *end = p + s.len;
    uint8_t *at = reserve(b, s.len + BLOCK + 2);
    *at = '"';
    size_t n = copy_clean(at + 1, p, end);
    b->end += n + 1;
    if (n < s.len)
        put_rest(b, p + n, end);
    put_byte(b, '"');
}

void json_w_key_str(struct json_writer *w, struct str key)
{
    assert(!w->has_key);
    separate(w);
    put_string(w->out, key);
    put_byte(w->out, ':');
    if (w->pretty)
        put_byte(w->out, ' ');
    w->has_key = true;
}

void json_w_key(struct json_writer *w, const char *key)
{
    json_w_key_str(w, str_c(key));
}

void json_w_str(struct json_writer *w, struct str s)
{
    before_value(w);
    put_string(w->out, s);
}

void json_w_cstr(struct json_writer *w, const char *text)
{
    if (text != NULL)
        json_w_str(w, str_c(text));
    else
        json_w_null(w);
}

static void put_u64(struct json_writer *w, uint64_t v, bool negative)
{
    char text[INTEGER_TEXT_CAP];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    if (negative)
        text[--at] = '-';
    before_value(w);
    buf_append(w->out, text + at, sizeof(text) - at);
}

void json_w_i64(struct json_writer *w, int64_t v)
{
    put_u64(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

void json_w_u64(struct json_writer *w, uint64_t v)
{
    put_u64(w, v, false);
}

/* Finds the fewest significant digits that read back as `v`: "d.ddde+xx". */
static void shortest_digits(double v, char *out, size_t cap)
{
    for (int digits = 0; digits <= 16; digits++) {
        snprintf(out, cap, "%.*e", digits, v);
        if (strtod(out, NULL) == v)
            return;
    }
}

void json_w_f64(struct json_writer *w, double v)
{
    char text[64];
    if (!isfinite(v)) {
        json_w_null(w);
        return;
    }
    shortest_digits(v, text, sizeof(text));
    const char *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10);
    int digits = (int)(e - text) - (v < 0 || signbit(v) ? 1 : 0);
    int decimals = (digits > 1 ? digits - 2 : 0) - exponent;
    before_value(w);
    /* src: Go encoding/json floatEncoder: exponents only outside 1e-6..1e21, and without padding. */
    if (v != 0 && (exponent < -6 || exponent >= 21))
        buf_printf(w->out, "%.*se%c%d", (int)(e - text), text, exponent < 0 ? '-' : '+', abs(exponent));
    else
        buf_printf(w->out, "%.*f", decimals > 0 ? decimals : 0, v);
}

static void put_word(struct json_writer *w, struct str word)
{
    before_value(w);
    buf_append_str(w->out, word);
}

void json_w_bool(struct json_writer *w, bool v)
{
    put_word(w, v ? STR("true") : STR("false"));
}

void json_w_null(struct json_writer *w)
{
    put_word(w, STR("null"));
}

void json_w_raw(struct json_writer *w, struct str raw)
{
    put_word(w, raw.len > 0 ? raw : STR("null"));
}

void json_w_kv_str(struct json_writer *w, const char *key, struct str v)
{
    json_w_key(w, key);
    json_w_str(w, v);
}

void json_w_kv_cstr(struct json_writer *w, const char *key, const char *v)
{
    json_w_key(w, key);
    json_w_cstr(w, v);
}

void json_w_kv_i64(struct json_writer *w, const char *key, int64_t v)
{
    json_w_key(w, key);
    json_w_i64(w, v);
}

void json_w_kv_u64(struct json_writer *w, const char *key, uint64_t v)
{
    json_w_key(w, key);
    json_w_u64(w, v);
}

void json_w_kv_bool(struct json_writer *w, const char *key, bool v)
{
    json_w_key(w, key);
    json_w_bool(w, v);
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
void json_w_tree(struct json_writer *w, const struct json *node)
{
    struct str text;
    switch (json_type_of(node)) {
    case JSON_STRING:
        json_str(node, &text);
        json_w_str(w, text);
        break;
    case JSON_ARRAY:
        json_w_array(w);
        JSON_EACH (it, node)
            json_w_tree(w, it);
        json_w_end_array(w);
        break;
    case JSON_OBJECT:
        json_w_object(w);
        JSON_EACH (it, node) {
            json_w_key_str(w, json_key_of(it));
            json_w_tree(w, it);
        }
        json_w_end_object(w);
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_NUMBER: json_w_raw(w, json_raw(node)); break;
    }
}
