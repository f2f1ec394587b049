/* The tokens of JSON, byte by byte. */
#include <string.h>

#include "base/fits.h"
#include "bench/scan_internal.h"

enum { DEPTH_MAX = 63 };

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void end_value(struct scan *s)
{
    s->state = s->depth == 0 ? AT_END : AT_NEXT;
}

static enum rc open_container(struct scan *s, bool is_object)
{
    if (s->depth >= DEPTH_MAX)
        return RC_TOO_DEEP;
    TRY(scan_take_open(s, is_object));
    s->depth++;
    s->objects = (s->objects & ~(UINT64_C(1) << s->depth)) | (uint64_t)is_object << s->depth;
    s->state = is_object ? AT_FIRST_KEY : AT_FIRST_VALUE;
    return RC_OK;
}

static bool is_in_object(const struct scan *s)
{
    return (s->objects >> s->depth & 1) != 0;
}

static enum rc close_container(struct scan_run *f, uint8_t c)
{
    struct scan *s = f->s;
    if (s->depth == 0 || is_in_object(s) != (c == '}'))
        return RC_INVALID;
    s->depth--;
    scan_take_close(f);
    end_value(s);
    return RC_OK;
}

static void begin_string(struct scan *s, bool is_key)
{
    s->state = IN_STRING;
    s->is_key = is_key;
    s->wants_text = scan_wants_text(s);
    s->text_n = 0;
}

static void keep_text(struct scan *s, const uint8_t *p, size_t n)
{
    size_t room = room_under(s->text_n, SCAN_TEXT_MAX);
    if (!s->wants_text)
        return;
    memcpy(s->text + s->text_n, p, n < room ? n : room);
    s->text_n = (uint8_t)(s->text_n + (n < room ? n : room));
}

static enum rc begin_scalar(struct scan *s, uint8_t c)
{
    static const char literals[] = "tfn";
    const char *at = c != '\0' ? strchr(literals, c) : NULL;
    s->text_n = 0;
    if (at != NULL) {
        s->state = IN_LITERAL;
        s->literal = (uint8_t)(at - literals);
        s->literal_at = 1;
        return RC_OK;
    }
    if (c != '-' && (c < '0' || c > '9'))
        return RC_INVALID;
    s->wants_text = s->where == WHERE_LIST || s->where == WHERE_RECORD;
    keep_text(s, &c, 1);
    s->state = c == '-' ? IN_MINUS : c == '0' ? IN_ZERO : IN_DIGITS;
    return RC_OK;
}

static enum rc begin_value(struct scan *s, uint8_t c)
{
    switch (c) {
    case '{': return open_container(s, true);
    case '[': return open_container(s, false);
    case '"': begin_string(s, false); return RC_OK;
    default: return begin_scalar(s, c);
    }
}

/* Takes a byte between tokens. */
static enum rc step_between(struct scan_run *f, uint8_t c)
{
    struct scan *s = f->s;
    if (is_space(c))
        return RC_OK;
    switch (s->state) {
    case AT_FIRST_VALUE:
        if (c == ']')
            return close_container(f, c);
        return begin_value(s, c);
    case AT_VALUE: return begin_value(s, c);
    case AT_FIRST_KEY:
        if (c == '}')
            return close_container(f, c);
        break;
    case AT_COLON: s->state = AT_VALUE; return c == ':' ? RC_OK : RC_INVALID;
    case AT_NEXT:
        if (c != ',')
            return c == '}' || c == ']' ? close_container(f, c) : RC_INVALID;
        s->state = is_in_object(s) ? AT_KEY : AT_VALUE;
        return RC_OK;
    case AT_END: return RC_INVALID;
    default: break;
    }
    begin_string(s, true); /* AT_FIRST_KEY, AT_KEY */
    return c == '"' ? RC_OK : RC_INVALID;
}

static enum rc end_string(struct scan_run *f)
{
    struct scan *s = f->s;
    if (s->is_key) {
        scan_take_key(s);
        s->state = AT_COLON;
        return RC_OK;
    }
    end_value(s);
    return scan_take_value(f, KIND_STRING);
}

/* Takes bytes of a string. Returns how many of the `n` >= 1 it took. */
static size_t step_string(struct scan_run *f, const uint8_t *p, size_t n, enum rc *rc)
{
    struct scan *s = f->s;
    size_t i = 0;
    while (i < n && p[i] != '"' && p[i] != '\\' && p[i] >= 0x20)
        i++;
    keep_text(s, p, i);
    if (i == n)
        return i;
    if (p[i] == '"')
        *rc = end_string(f);
    else if (p[i] == '\\')
        s->state = IN_ESCAPE;
    else
        *rc = RC_INVALID;
    return i + 1;
}

static enum rc step_escape(struct scan *s, uint8_t c)
{
    static const char simple[] = "\"\\/bfnrt";
    const uint8_t text[2] = {'\\', c};
    keep_text(s, text, sizeof(text));
    if (c == 'u') {
        s->state = IN_HEX_1;
        return RC_OK;
    }
    s->state = IN_STRING;
    return c != '\0' && strchr(simple, c) != NULL ? RC_OK : RC_INVALID;
}

static enum rc step_hex(struct scan *s, uint8_t c)
{
    bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    keep_text(s, &c, 1);
    s->state = s->state == IN_HEX_4 ? IN_STRING : (uint8_t)(s->state + 1);
    return is_hex ? RC_OK : RC_INVALID;
}

static enum rc step_literal(struct scan_run *f, uint8_t c)
{
    static const char *const texts[] = {"true", "false", "null"};
    static const enum kind kinds[] = {KIND_TRUE, KIND_FALSE, KIND_NULL};
    struct scan *s = f->s;
    const char *text = texts[s->literal];
    if (c != (uint8_t)text[s->literal_at++])
        return RC_INVALID;
    if (text[s->literal_at] != '\0')
        return RC_OK;
    end_value(s);
    return scan_take_value(f, kinds[s->literal]);
}

/* The state after `c` in a number. AT_END: the number ended before `c`; IN_STRING: `c` cannot follow, there is no
 * such number. */
static uint8_t number_after(uint8_t state, uint8_t c)
{
    bool is_digit = c >= '0' && c <= '9', is_e = c == 'e' || c == 'E';
    switch (state) {
    case IN_MINUS: return c == '0' ? IN_ZERO : is_digit ? IN_DIGITS : IN_STRING;
    case IN_ZERO: return c == '.' ? IN_DOT : is_e ? IN_E : is_digit ? IN_STRING : AT_END;
    case IN_DIGITS: return is_digit ? IN_DIGITS : c == '.' ? IN_DOT : is_e ? IN_E : AT_END;
    case IN_DOT: return is_digit ? IN_FRACTION : IN_STRING;
    case IN_FRACTION: return is_digit ? IN_FRACTION : is_e ? IN_E : AT_END;
    case IN_E: return is_digit ? IN_EXPONENT : c == '+' || c == '-' ? IN_E_SIGN : IN_STRING;
    case IN_E_SIGN: return is_digit ? IN_EXPONENT : IN_STRING;
    default: return is_digit ? IN_EXPONENT : AT_END;
    }
}

/* Returns how many bytes it took: 1, or 0 when the number ended before `c`. */
static size_t step_number(struct scan_run *f, uint8_t c, enum rc *rc)
{
    struct scan *s = f->s;
    uint8_t next = number_after(s->state, c);
    if (next == IN_STRING) {
        *rc = RC_INVALID;
        return 1;
    }
    if (next == AT_END) {
        end_value(s);
        *rc = scan_take_value(f, KIND_NUMBER);
        return 0;
    }
    keep_text(s, &c, 1);
    s->state = next;
    return 1;
}

/* Takes at least one byte, or ends the number before `*p`. Returns how many. */
static size_t step(struct scan_run *f, const uint8_t *p, size_t n, enum rc *rc)
{
    struct scan *s = f->s;
    if (s->state == IN_STRING)
        return step_string(f, p, n, rc);
    if (s->state >= IN_MINUS)
        return step_number(f, *p, rc);
    if (s->state <= AT_END)
        *rc = step_between(f, *p);
    else if (s->state == IN_ESCAPE)
        *rc = step_escape(s, *p);
    else if (s->state == IN_LITERAL)
        *rc = step_literal(f, *p);
    else
        *rc = step_hex(s, *p);
    return 1;
}

/* --- calls --- */

enum rc scan_feed(struct scan *s, const void *bytes, size_t n, const struct scan_events *events, void *ctx)
{
    struct scan_run f = {s, events, ctx};
    const uint8_t *p = bytes;
    enum rc rc = RC_OK;
    uint64_t start = s->at;
    for (size_t i = 0; i < n && rc == RC_OK;) {
        s->at = start + i;
        i += step(&f, p + i, n - i, &rc);
    }
    s->at = start + n;
    return rc;
}

bool scan_is_done(const struct scan *s)
{
    return s->state == AT_END;
}

/* Bits 0-3: state of the tokens, 4-7: where, 8-11: list, 12-15: field. What does not matter in this state is 0. */
bool scan_mark(const struct scan *s, uint32_t *mark_out)
{
    if (s->state > AT_END || s->where > WHERE_LIST)
        return false;
    uint32_t list = s->where == WHERE_LIST ? s->list : 0;
    uint32_t field = s->where == WHERE_TOP && (s->state == AT_COLON || s->state == AT_VALUE) ? s->field : 0;
    *mark_out = s->state | (uint32_t)s->where << 4 | list << 8 | field << 12;
    return true;
}

void scan_restart(struct scan *s, uint32_t mark)
{
    s->state = mark & 15;
    s->where = mark >> 4 & 15;
    s->list = mark >> 8 & 15;
    s->field = mark >> 12 & 15;
    s->depth = s->where; /* WHERE_START 0, WHERE_TOP 1, WHERE_LIST 2 */
    s->objects = 2;
    s->at = 0;
}
