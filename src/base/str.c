#include "base/str.h"

#include <ctype.h>

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool str_eq_c(struct str a, const char *b)
{
    return str_eq(a, str_c(b));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_eq_ci(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_n(s.p, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_eq(str_n(s.p + s.len - suffix.len, suffix.len), suffix);
}

static bool space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && space(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && space(s.p[s.len - 1]))
        s.len--;
    return s;
}

long str_index(struct str s, char c)
{
    const char *at = s.len > 0 ? memchr(s.p, c, s.len) : NULL;
    return at != NULL ? at - s.p : -1;
}

bool str_cut(struct str s, char sep, struct str *head, struct str *rest)
{
    long i = str_index(s, sep);
    if (i < 0) {
        *head = s;
        *rest = STR_EMPTY;
        return false;
    }
    *head = str_n(s.p, (size_t)i);
    *rest = str_n(s.p + i + 1, s.len - (size_t)i - 1);
    return true;
}

enum { DISTANCE_CAP = 64 };

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment, three rows of the matrix at a time. */
size_t str_distance(struct str a, struct str b)
{
    unsigned rows[3][DISTANCE_CAP];
    size_t a_len = a.len < DISTANCE_CAP ? a.len : DISTANCE_CAP - 1;
    size_t b_len = b.len < DISTANCE_CAP ? b.len : DISTANCE_CAP - 1;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *now = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *above2 = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            char ca = lower(a.p[i - 1]);
            char cb = lower(b.p[j - 1]);
            now[j] = smaller(smaller(above[j], now[j - 1]) + 1, above[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == lower(b.p[j - 2]) && cb == lower(a.p[i - 2]))
                now[j] = smaller(now[j], above2[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

enum rc str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return RC_INVALID;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return RC_INVALID;
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
            return RC_INVALID;
    }
    *out = value;
    return RC_OK;
}

enum rc str_to_i64(struct str s, int64_t *out)
{
    bool negative = s.len > 0 && s.p[0] == '-';
    uint64_t value;
    TRY(str_to_u64(negative ? str_n(s.p + 1, s.len - 1) : s, &value));
    if (value > (uint64_t)INT64_MAX + (negative ? 1u : 0u))
        return RC_INVALID;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return RC_OK;
}

void hex_encode(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum rc hex_decode(struct str hex, uint8_t *out, size_t n)
{
    if (hex.len != 2 * n)
        return RC_INVALID;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(hex.p[2 * i]);
        int low = hex_digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return RC_INVALID;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return RC_OK;
}

/* One unit at the start of `s`: its length in bytes and its value in ms, or 0. "m" must not swallow the m of "ms". */
static size_t duration_unit(struct str s, int64_t *ms_out)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1},         {"s", 1000},        {"m", 60000},        {"h", 3600000},
                 {"d", 86400000LL}, {"w", 604800000LL}, {"y", 31536000000LL}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_starts(s, str_c(units[i].name))) {
            *ms_out = units[i].ms;
            return strlen(units[i].name);
        }
    }
    return 0;
}

enum rc str_to_duration_ms(struct str s, int64_t *out_ms)
{
    int64_t total = 0;
    if (str_eq(s, STR("0"))) {
        *out_ms = 0;
        return RC_OK;
    }
    if (s.len == 0)
        return RC_INVALID;
    while (s.len > 0) {
        int64_t whole = 0;
        int64_t fraction = 0;
        int64_t scale = 1;
        bool digits = false;
        bool dot = false;
        for (; s.len > 0 && (isdigit((unsigned char)s.p[0]) || (s.p[0] == '.' && !dot)); s.p++, s.len--) {
            if (s.p[0] == '.') {
                dot = true;
                continue;
            }
            digits = true;
            if (dot && scale < 1000000) {
                fraction = fraction * 10 + (s.p[0] - '0');
                scale *= 10;
            } else if (!dot && (__builtin_mul_overflow(whole, (int64_t)10, &whole) ||
                                __builtin_add_overflow(whole, (int64_t)(s.p[0] - '0'), &whole))) {
                return RC_INVALID;
            }
        }
        int64_t unit_ms;
        size_t unit_len = duration_unit(s, &unit_ms);
        if (!digits || unit_len == 0 || __builtin_mul_overflow(whole, unit_ms, &whole) ||
            __builtin_add_overflow(whole, fraction * unit_ms / scale, &whole) ||
            __builtin_add_overflow(total, whole, &total))
            return RC_INVALID;
        s = str_n(s.p + unit_len, s.len - unit_len);
    }
    *out_ms = total;
    return RC_OK;
}
