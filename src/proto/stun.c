#include "proto/stun.h"

#include <string.h>

#include "base/cursor.h"

enum {
    HEADER_BYTES = 20,
    TYPE_REQUEST = 0x0001,
    TYPE_SUCCESS = 0x0101,
    ATTR_XOR_MAPPED = 0x0020,
    ATTR_XOR_MAPPED_ALT = 0x8020, /* from before RFC 5389; clients still read it */
    ATTR_SOFTWARE = 0x8022,
    ATTR_FINGERPRINT = 0x8028,
    FINGERPRINT_BYTES = 8, /* the whole attribute */
    FAMILY_IPV4 = 1,
    FAMILY_IPV6 = 2,
};

static const uint8_t magic_cookie[4] = {0x21, 0x12, 0xa4, 0x42};
static const char software[] = "tailnode";

struct attribute {
    uint16_t type;
    uint16_t len;
    const uint8_t *value;
};

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint8_t *put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* CRC-32 of IEEE 802.3, four bits a step: a request is 32 bytes long, and the small table stays in the cache. */
static uint32_t crc32_ieee(const uint8_t *p, size_t n)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* src: RFC 8489 14.7 */
static uint32_t fingerprint(const uint8_t *msg, size_t n)
{
    return crc32_ieee(msg, n) ^ 0x5354554e;
}

/* The next attribute; values are padded to four bytes. Fails the cursor when it is cut off. src: RFC 8489 14 */
static struct attribute next_attribute(struct cursor *c)
{
    struct attribute a = {.type = cursor_u16be(c), .len = cursor_u16be(c)};
    a.value = cursor_take(c, (a.len + 3u) & ~3u);
    return a;
}

static enum stun_verdict check_attributes(const uint8_t *msg, size_t n)
{
    struct cursor c = cursor_of(msg + HEADER_BYTES, n - HEADER_BYTES);
    struct attribute a = {0};
    bool is_ours = false;
    while (c.left > 0) {
        a = next_attribute(&c);
        if (c.failed)
            return STUN_BAD_ATTRIBUTE;
        if (a.type == ATTR_SOFTWARE && a.len == sizeof(software) - 1 && memcmp(a.value, software, a.len) == 0)
            is_ours = true;
    }
    if (!is_ours)
        return STUN_FOREIGN;
    if (a.type != ATTR_FINGERPRINT)
        return STUN_NO_FINGERPRINT;
    if (a.len != 4)
        return STUN_BAD_FINGERPRINT;
    uint32_t given = (uint32_t)get_u16(a.value) << 16 | get_u16(a.value + 2);
    return given == fingerprint(msg, n - FINGERPRINT_BYTES) ? STUN_OK : STUN_BAD_FINGERPRINT;
}

/* src: RFC 8489 5: two zero bits, and the cookie */
static bool is_stun(const uint8_t *msg, size_t n)
{
    return n >= HEADER_BYTES && (msg[0] & 0xc0) == 0 && memcmp(msg + 4, magic_cookie, sizeof(magic_cookie)) == 0;
}

enum stun_verdict stun_check_request(const uint8_t *req, size_t req_len, uint8_t txid[STUN_TXID_BYTES])
{
    if (!is_stun(req, req_len))
        return STUN_NOT_STUN;
    if (get_u16(req) != TYPE_REQUEST)
        return STUN_NOT_BINDING;
    enum stun_verdict verdict = check_attributes(req, req_len);
    if (verdict == STUN_OK)
        memcpy(txid, req + 8, STUN_TXID_BYTES);
    return verdict;
}

/* Cookie and transaction id hide the address from routers that rewrite what looks like one. src: RFC 8489 14.2 */
static void xor_address(uint8_t *ip, bool is_ipv6, const uint8_t txid[STUN_TXID_BYTES])
{
    for (size_t i = 0; i < 4; i++)
        ip[i] ^= magic_cookie[i];
    for (size_t i = 0; is_ipv6 && i < STUN_TXID_BYTES; i++)
        ip[4 + i] ^= txid[i];
}

size_t stun_build_response(const uint8_t txid[STUN_TXID_BYTES], bool is_ipv6, const uint8_t *ip, uint16_t port,
                           uint8_t out[STUN_RESPONSE_CAP_BYTES])
{
    size_t ip_len = is_ipv6 ? 16 : 4;
    uint8_t *p = put_u16(out, TYPE_SUCCESS);
    p = put_u16(p, (uint16_t)(8 + ip_len));
    p = put_bytes(p, magic_cookie, sizeof(magic_cookie));
    p = put_bytes(p, txid, STUN_TXID_BYTES);
    p = put_u16(p, ATTR_XOR_MAPPED);
    p = put_u16(p, (uint16_t)(4 + ip_len));
    p = put_u16(p, is_ipv6 ? FAMILY_IPV6 : FAMILY_IPV4);
    p = put_u16(p, port ^ get_u16(magic_cookie));
    uint8_t *at = p;
    p = put_bytes(p, ip, ip_len);
    xor_address(at, is_ipv6, txid);
    return (size_t)(p - out);
}

void stun_build_request(const uint8_t txid[STUN_TXID_BYTES], uint8_t out[STUN_REQUEST_BYTES])
{
    uint8_t *p = put_u16(out, TYPE_REQUEST);
    p = put_u16(p, STUN_REQUEST_BYTES - HEADER_BYTES);
    p = put_bytes(p, magic_cookie, sizeof(magic_cookie));
    p = put_bytes(p, txid, STUN_TXID_BYTES);
    p = put_u16(p, ATTR_SOFTWARE);
    p = put_u16(p, sizeof(software) - 1);
    p = put_bytes(p, software, sizeof(software) - 1);
    uint32_t crc = fingerprint(out, (size_t)(p - out));
    p = put_u16(p, ATTR_FINGERPRINT);
    p = put_u16(p, 4);
    p = put_u16(p, (uint16_t)(crc >> 16));
    put_u16(p, (uint16_t)crc);
}

static enum rc parse_mapped(const struct attribute *a, const uint8_t txid[STUN_TXID_BYTES], bool *is_ipv6_out,
                            uint8_t ip[16], uint16_t *port_out)
{
    if (a->len < 4)
        return RC_TRUNCATED;
    bool is_ipv6 = a->value[1] == FAMILY_IPV6;
    size_t ip_len = is_ipv6 ? 16 : 4;
    if (a->value[1] != FAMILY_IPV4 && !is_ipv6)
        return RC_INVALID;
    if (a->len != 4 + ip_len)
        return RC_TRUNCATED;
    memcpy(ip, a->value + 4, ip_len);
    xor_address(ip, is_ipv6, txid);
    *is_ipv6_out = is_ipv6;
    *port_out = get_u16(a->value + 2) ^ get_u16(magic_cookie);
    return RC_OK;
}

enum rc stun_parse_response(const uint8_t *res, size_t res_len, uint8_t txid[STUN_TXID_BYTES], bool *is_ipv6_out,
                            uint8_t ip[16], uint16_t *port_out)
{
    if (!is_stun(res, res_len) || get_u16(res) != TYPE_SUCCESS)
        return RC_INVALID;
    size_t body_len = get_u16(res + 2);
    if (body_len > res_len - HEADER_BYTES)
        return RC_TRUNCATED;
    memcpy(txid, res + 8, STUN_TXID_BYTES);
    struct cursor c = cursor_of(res + HEADER_BYTES, body_len);
    while (c.left > 0) {
        struct attribute a = next_attribute(&c);
        if (c.failed)
            return RC_TRUNCATED;
        if (a.type == ATTR_XOR_MAPPED || a.type == ATTR_XOR_MAPPED_ALT)
            return parse_mapped(&a, txid, is_ipv6_out, ip, port_out);
    }
    return RC_INVALID;
}
