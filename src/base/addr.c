#include "base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

void addr_format(const struct addr *a, bool with_port, char out[ADDR_TEXT_CAP])
{
    char ip[INET6_ADDRSTRLEN] = "-";
    if (a->family != 0)
        inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->ip, ip, sizeof(ip));
    if (!with_port || a->family == 0)
        snprintf(out, ADDR_TEXT_CAP, "%s", ip);
    else
        snprintf(out, ADDR_TEXT_CAP, a->family == 6 ? "[%s]:%u" : "%s:%u", ip, a->port);
}

/* ::ffff:a.b.c.d is the IPv4 address a.b.c.d. */
static void unmap(struct addr *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (a->family != 6 || memcmp(a->ip, mapped, sizeof(mapped)) != 0)
        return;
    a->family = 4;
    memmove(a->ip, a->ip + 12, 4);
    memset(a->ip + 4, 0, 12);
}

enum rc addr_parse_ip(struct str text, struct addr *out)
{
    char c[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(c) || memchr(text.p, '\0', text.len) != NULL)
        return RC_INVALID;
    memcpy(c, text.p, text.len);
    c[text.len] = '\0';
    struct addr a = {0};
    if (inet_pton(AF_INET, c, a.ip) == 1)
        a.family = 4;
    else if (inet_pton(AF_INET6, c, a.ip) == 1)
        a.family = 6;
    else
        return RC_INVALID;
    unmap(&a);
    *out = a;
    return RC_OK;
}

static enum rc parse_port(struct str text, uint16_t *out)
{
    uint64_t port;
    TRY(str_to_u64(text, &port));
    if (port > 65535)
        return RC_INVALID;
    *out = (uint16_t)port;
    return RC_OK;
}

enum rc addr_parse(struct str text, struct addr *out)
{
    struct str host, port;
    struct addr a;
    uint16_t port_n;
    if (text.len > 0 && text.p[0] == '[') {
        if (!str_cut(str_n(text.p + 1, text.len - 1), ']', &host, &port) || port.len < 2 || port.p[0] != ':')
            return RC_INVALID;
        port = str_n(port.p + 1, port.len - 1);
    } else if (!str_cut(text, ':', &host, &port)) {
        return RC_INVALID;
    }
    TRY(addr_parse_ip(host, &a));
    TRY(parse_port(port, &port_n));
    a.port = port_n;
    *out = a;
    return RC_OK;
}

enum rc addr_parse_listen(struct str text, struct addr *out)
{
    struct addr a = {.family = 6};
    if (text.len > 0 && text.p[0] == ':') {
        TRY(parse_port(str_n(text.p + 1, text.len - 1), &a.port));
        *out = a;
        return RC_OK;
    }
    if (str_starts(text, STR("localhost:"))) {
        a = (struct addr){.family = 4, .ip = {127, 0, 0, 1}};
        TRY(parse_port(str_n(text.p + 10, text.len - 10), &a.port));
        *out = a;
        return RC_OK;
    }
    return addr_parse(text, out);
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out)
{
    *out = (struct addr){0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        out->family = 4;
        out->port = ntohs(in->sin_port);
        memcpy(out->ip, &in->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        out->family = 6;
        out->port = ntohs(in6->sin6_port);
        memcpy(out->ip, &in6->sin6_addr, 16);
        unmap(out);
    }
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    if (a->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof(*in6);
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t six[16] = {[15] = 1};
    return a->family == 4 ? a->ip[0] == 127 : a->family == 6 && memcmp(a->ip, six, 16) == 0;
}

unsigned addr_documentation_net(const struct addr *a)
{
    static const struct prefix ranges[] = {
        {{.family = 4, .ip = {192, 0, 2}}, 24},   {{.family = 4, .ip = {198, 51, 100}}, 24},
        {{.family = 4, .ip = {203, 0, 113}}, 24}, {{.family = 6, .ip = {0x20, 0x01, 0x0d, 0xb8}}, 32},
        {{.family = 6, .ip = {0x3f, 0xff}}, 20},
    };
    for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (addr_in_prefix(a, &ranges[i].ip, ranges[i].bits))
            return i + 1;
    }
    return 0;
}

bool addr_is_private(const struct addr *a)
{
    const uint8_t *ip = a->ip;
    if (addr_is_loopback(a))
        return true;
    if (a->family == 4)
        return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
               (ip[0] == 169 && ip[1] == 254) || (ip[0] == 100 && (ip[1] & 0xc0) == 64);
    return a->family == 6 && ((ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80));
}

bool addr_in_prefix(const struct addr *a, const struct addr *prefix, unsigned bits)
{
    if (a->family != prefix->family)
        return false;
    for (unsigned i = 0; i < bits; i++) {
        if (((a->ip[i / 8] ^ prefix->ip[i / 8]) >> (7 - i % 8) & 1) != 0)
            return false;
    }
    return true;
}

void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_CAP])
{
    char ip[ADDR_TEXT_CAP];
    addr_format(&p->ip, false, ip);
    snprintf(out, PREFIX_TEXT_CAP, "%.*s/%u", ADDR_TEXT_CAP - 1, ip, p->bits);
}

/* True when there was something to clear. */
static bool clear_host_bits(struct prefix *p)
{
    bool any = false;
    size_t len = p->ip.family == 4 ? 4 : 16;
    for (size_t i = 0; i < len; i++) {
        size_t kept = p->bits > i * 8 ? p->bits - i * 8 : 0;
        uint8_t mask = (uint8_t)(kept >= 8 ? 0xff : 0xff << (8 - kept));
        any = any || (p->ip.ip[i] & ~mask) != 0;
        p->ip.ip[i] = (uint8_t)(p->ip.ip[i] & mask);
    }
    return any;
}

enum rc prefix_parse(struct str text, struct prefix *out, bool *had_host_bits)
{
    struct str ip, bits;
    struct prefix p = {0};
    uint64_t n;
    if (!str_cut(text, '/', &ip, &bits) || bits.len == 0 || bits.len > 3 || (bits.len > 1 && bits.p[0] == '0'))
        return RC_INVALID;
    TRY(addr_parse_ip(ip, &p.ip));
    TRY(str_to_u64(bits, &n));
    /* An IPv4 address that was written as an IPv6 one: Go takes no such prefix either. */
    if (n > (p.ip.family == 4 ? 32 : 128) || (p.ip.family == 4 && memchr(ip.p, ':', ip.len) != NULL))
        return RC_INVALID;
    p.bits = (uint8_t)n;
    bool cleared = clear_host_bits(&p);
    if (had_host_bits != NULL)
        *had_host_bits = cleared;
    *out = p;
    return RC_OK;
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
    if (a->ip.family != b->ip.family)
        return a->ip.family < b->ip.family ? -1 : 1;
    int order = memcmp(a->ip.ip, b->ip.ip, sizeof(a->ip.ip));
    return order != 0 ? order : a->bits - b->bits;
}
