#include "policy/range.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"

#define V4(a, b, c, d) ((ip_number)(a) << 24 | (ip_number)(b) << 16 | (ip_number)(c) << 8 | (ip_number)(d))
#define V6_HIGH(word) ((ip_number)(word) << 112)

/* IPv4 without 10/8, 172.16/12, 192.168/16, 100.64/10, 169.254/16; and 2000::/3. src: docs/protocol/policy.md 5.4 */
const struct range range_internet[] = {
    {V4(0, 0, 0, 0), V4(9, 255, 255, 255), 4},       {V4(11, 0, 0, 0), V4(100, 63, 255, 255), 4},
    {V4(100, 128, 0, 0), V4(169, 253, 255, 255), 4}, {V4(169, 255, 0, 0), V4(172, 15, 255, 255), 4},
    {V4(172, 32, 0, 0), V4(192, 167, 255, 255), 4},  {V4(192, 169, 0, 0), V4(255, 255, 255, 255), 4},
    {V6_HIGH(0x2000), V6_HIGH(0x4000) - 1, 6},
};
const size_t range_internet_n = ARRAY_LEN(range_internet);

static unsigned family_bits(uint8_t family)
{
    return family == 4 ? 32 : 128;
}

ip_number range_number(const struct addr *a)
{
    ip_number v = 0;
    for (unsigned i = 0; i < family_bits(a->family) / 8; i++)
        v = v << 8 | a->ip[i];
    return v;
}

struct range range_of_addr(const struct addr *a)
{
    if (a->family == 0)
        return (struct range){0};
    ip_number v = range_number(a);
    return (struct range){v, v, a->family};
}

/* The bits of an address that a prefix of `bits` bits leaves open. */
static ip_number host_mask(uint8_t family, unsigned bits)
{
    unsigned host_bits = family_bits(family) - bits;
    return host_bits == 128 ? ~(ip_number)0 : ((ip_number)1 << host_bits) - 1;
}

struct range range_of_prefix(const struct addr *a, unsigned bits)
{
    struct range r = range_of_addr(a);
    unsigned most = family_bits(a->family);
    ip_number mask = host_mask(a->family, bits < most ? bits : most);
    r.lo &= ~mask;
    r.hi |= mask;
    return r;
}

static bool parse_bits(struct str text, unsigned max, unsigned *out)
{
    uint64_t bits;
    if (text.len == 0 || text.len > 3 || (text.len > 1 && text.p[0] == '0') || str_to_u64(text, &bits) != RC_OK)
        return false;
    *out = (unsigned)bits;
    return bits <= max;
}

bool range_parse(struct str text, struct range *out)
{
    struct str first, second;
    struct addr a, b;
    unsigned bits;
    if (str_cut(text, '/', &first, &second)) {
        if (addr_parse_ip(first, &a) != RC_OK || !parse_bits(second, family_bits(a.family), &bits))
            return false;
        *out = range_of_prefix(&a, bits);
        return true;
    }
    bool is_pair = str_cut(text, '-', &first, &second);
    if (addr_parse_ip(first, &a) != RC_OK)
        return false;
    *out = range_of_addr(&a);
    if (!is_pair)
        return true;
    if (addr_parse_ip(second, &b) != RC_OK || b.family != a.family)
        return false;
    out->hi = range_number(&b);
    return out->lo <= out->hi;
}

bool range_prefix_bits(const struct range *r, unsigned *bits_out)
{
    ip_number differ = r->lo ^ r->hi;
    /* The difference must be ones at the low end only, where `lo` has zeros. */
    if ((differ & (differ + 1)) != 0 || (r->lo & differ) != 0)
        return false;
    unsigned host_bits = 0;
    for (; differ != 0; differ >>= 1)
        host_bits++;
    *bits_out = family_bits(r->family) - host_bits;
    return true;
}

static size_t format_v4(uint32_t v, char *out)
{
    char *p = out;
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned part = v >> shift & 255;
        if (part >= 100)
            *p++ = (char)('0' + part / 100);
        if (part >= 10)
            *p++ = (char)('0' + part / 10 % 10);
        *p++ = (char)('0' + part % 10);
        if (shift > 0)
            *p++ = '.';
    }
    return (size_t)(p - out);
}

/* The first of the longest runs of at least two zero groups; 8 when there is none. src: RFC 5952 4.2 */
static unsigned find_zero_run(const uint16_t groups[8], unsigned *len_out)
{
    unsigned best = 8, best_len = 1;
    for (unsigned i = 0; i < 8; i++) {
        unsigned len = 0;
        while (i + len < 8 && groups[i + len] == 0)
            len++;
        if (len > best_len) {
            best = i;
            best_len = len;
        }
        i += len;
    }
    *len_out = best_len;
    return best;
}

static char *put_hex(char *p, unsigned group)
{
    static const char digits[] = "0123456789abcdef";
    for (int shift = 12; shift >= 0; shift -= 4) {
        if (shift == 0 || group >> shift != 0)
            *p++ = digits[group >> shift & 15];
    }
    return p;
}

static size_t format_v6(ip_number v, char *out)
{
    uint16_t groups[8];
    unsigned run_len;
    char *p = out;
    for (int i = 0; i < 8; i++)
        groups[i] = (uint16_t)(v >> (112 - 16 * i));
    unsigned run = find_zero_run(groups, &run_len);
    for (unsigned i = 0; i < 8; i++) {
        if (i == run) {
            *p++ = ':';
            *p++ = ':';
            i += run_len - 1;
            continue;
        }
        if (i > 0 && i != run + run_len)
            *p++ = ':';
        p = put_hex(p, groups[i]);
    }
    return (size_t)(p - out);
}

static size_t format_ip(uint8_t family, ip_number v, char *out)
{
    return family == 4 ? format_v4((uint32_t)v, out) : format_v6(v, out);
}

size_t range_format_pair(const struct range *r, char out[RANGE_TEXT_CAP])
{
    size_t n = format_ip(r->family, r->lo, out);
    out[n++] = '-';
    n += format_ip(r->family, r->hi, out + n);
    out[n] = '\0';
    return n;
}

size_t range_format(const struct range *r, char out[RANGE_TEXT_CAP])
{
    unsigned bits;
    if (r->lo != r->hi)
        return range_prefix_bits(r, &bits) ? range_format_prefix(r, out) : range_format_pair(r, out);
    size_t n = format_ip(r->family, r->lo, out);
    out[n] = '\0';
    return n;
}

size_t range_format_prefix(const struct range *r, char out[RANGE_TEXT_CAP])
{
    unsigned bits = 0;
    size_t n = format_ip(r->family, r->lo, out);
    range_prefix_bits(r, &bits);
    return n + (size_t)snprintf(out + n, RANGE_TEXT_CAP - n, "/%u", bits);
}

bool range_take_prefix(struct range *rest, struct range *prefix_out)
{
    if (rest->family == 0)
        return false;
    ip_number mask = 0;
    /* Grows while `lo` is aligned and the end is inside `rest`. */
    for (;;) {
        ip_number next = mask << 1 | 1;
        if (next == mask || (rest->lo & next) != 0 || rest->hi - rest->lo < next || next > host_mask(rest->family, 0))
            break;
        mask = next;
    }
    *prefix_out = (struct range){rest->lo, rest->lo + mask, rest->family};
    if (prefix_out->hi == rest->hi)
        rest->family = 0;
    else
        rest->lo = prefix_out->hi + 1;
    return true;
}

void range_set_fini(struct range_set *s)
{
    mem_free(s->v);
    *s = (struct range_set){0};
}

void range_set_add(struct range_set *s, struct range r)
{
    if (r.family == 0)
        return;
    VEC_ROOM(s->v, s->n, s->cap, 8);
    s->v[s->n++] = r;
}

static bool is_before(const struct range *a, const struct range *b)
{
    return a->family != b->family ? a->family < b->family : a->lo < b->lo;
}

/* The end of the ascending run that begins at `i`. */
static size_t run_end(const struct range *v, size_t n, size_t i)
{
    if (i < n)
        i++;
    while (i < n && !is_before(&v[i], &v[i - 1]))
        i++;
    return i;
}

static void merge(const struct range *a, size_t a_n, const struct range *b, size_t b_n, struct range *out)
{
    while (a_n > 0 && b_n > 0) {
        if (is_before(b, a)) {
            *out++ = *b++;
            b_n--;
        } else {
            *out++ = *a++;
            a_n--;
        }
    }
    memcpy(out, a, a_n * sizeof(*a));
    memcpy(out + a_n, b, b_n * sizeof(*b));
}

/* A merge sort of the runs that exist already: gathered ranges consist of a few of them. */
static void sort(struct range_set *s)
{
    struct range *from = s->v, *to = NULL;
    size_t first = run_end(from, s->n, 0);
    while (first < s->n) {
        if (to == NULL)
            to = mem_alloc(s->cap * sizeof(*to));
        for (size_t i = 0; i < s->n;) {
            size_t middle = run_end(from, s->n, i), end = run_end(from, s->n, middle);
            merge(from + i, middle - i, from + middle, end - middle, to + i);
            i = end;
        }
        struct range *other = from;
        from = to;
        to = other;
        first = run_end(from, s->n, 0);
    }
    mem_free(to);
    s->v = from;
}

void range_set_join(struct range_set *s)
{
    if (s->n < 2)
        return;
    sort(s);
    size_t n = 0;
    for (size_t i = 1; i < s->n; i++) {
        struct range *last = &s->v[n];
        const struct range *r = &s->v[i];
        /* `hi` + 1 could overflow: it may be the last address. */
        if (r->family == last->family && (r->lo <= last->hi || r->lo - 1 == last->hi)) {
            if (r->hi > last->hi)
                last->hi = r->hi;
        } else {
            s->v[++n] = *r;
        }
    }
    s->n = n + 1;
}

/* Adds what is left of `r` to `out`, from left to right. `*from` only grows, so that both sets are walked once. */
static void subtract_from(struct range r, const struct range_set *away, size_t *from, struct range_set *out)
{
    while (*from < away->n &&
           (away->v[*from].family < r.family || (away->v[*from].family == r.family && away->v[*from].hi < r.lo)))
        (*from)++;
    for (size_t i = *from; i < away->n && range_meets(&away->v[i], &r); i++) {
        const struct range *x = &away->v[i];
        if (x->lo > r.lo)
            range_set_add(out, (struct range){r.lo, x->lo - 1, r.family});
        if (x->hi >= r.hi)
            return;
        r.lo = x->hi + 1;
    }
    range_set_add(out, r);
}

void range_set_subtract(struct range_set *s, const struct range_set *away)
{
    struct range_set out = {0};
    size_t from = 0;
    for (size_t i = 0; i < s->n; i++)
        subtract_from(s->v[i], away, &from, &out);
    range_set_fini(s);
    *s = out;
}

/* The last range that begins at or before `ip`. */
static const struct range *find(const struct range_set *s, uint8_t family, ip_number ip)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct range *r = &s->v[mid];
        if (r->family < family || (r->family == family && r->lo <= ip))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo > 0 && s->v[lo - 1].family == family ? &s->v[lo - 1] : NULL;
}

bool range_set_has(const struct range_set *s, uint8_t family, ip_number ip)
{
    const struct range *r = find(s, family, ip);
    return r != NULL && ip <= r->hi;
}

bool range_set_meets(const struct range_set *s, const struct range *r)
{
    const struct range *last = find(s, r->family, r->hi);
    return last != NULL && last->hi >= r->lo;
}

bool range_set_holds(const struct range_set *s, const struct range *r)
{
    const struct range *around = find(s, r->family, r->lo);
    return around != NULL && around->hi >= r->hi;
}
