#include "state/state_internal.h"

/* src: tailscale 1.102 net/tsaddr: 100.100.100.100 and fd7a:115c:a1e0::53 are the client's own service address,
 * and 100.115.92.0/23 is ChromeOS's. */
static bool is_reserved(const struct addr *a)
{
    static const uint8_t quad100[4] = {100, 100, 100, 100};
    static const uint8_t service6[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 0x53};
    if (a->family == 6)
        return memcmp(a->ip, service6, 16) == 0;
    return memcmp(a->ip, quad100, 4) == 0 || (a->ip[0] == 100 && a->ip[1] == 115 && (a->ip[2] & 0xfe) == 92);
}

static size_t ip_len(const struct addr *a)
{
    return a->family == 4 ? 4 : 16;
}

const void *addresses_map_key(const struct addr *a, size_t *len)
{
    *len = ip_len(a);
    return a->ip;
}

static void increment(struct addr *a)
{
    for (size_t i = ip_len(a); i-- > 0;) {
        if (++a->ip[i] != 0)
            return;
    }
}

/* The network address and, in IPv4, the broadcast address are given to no node. */
static bool is_edge(const struct addr *a, unsigned bits)
{
    size_t len = ip_len(a);
    bool all_zero = true, all_one = true;
    for (unsigned i = bits; i < len * 8; i++) {
        bool bit = (a->ip[i / 8] >> (7 - i % 8) & 1) != 0;
        all_zero = all_zero && !bit;
        all_one = all_one && bit;
    }
    return bits < len * 8 && (all_zero || (a->family == 4 && all_one));
}

static bool is_free(const struct state *st, const struct addr *a, unsigned bits)
{
    size_t len;
    const void *key = addresses_map_key(a, &len);
    return !is_edge(a, bits) && !is_reserved(a) && map_get(&st->by_addr, key, len) == NULL;
}

/* splitmix64: for spread, not for secrecy; its state is seeded from the kernel's generator. */
static uint64_t next_random(struct state *st)
{
    uint64_t z = st->random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void randomise(struct state *st, const struct addr *prefix, unsigned bits, struct addr *a)
{
    *a = *prefix;
    for (unsigned i = bits; i < ip_len(a) * 8; i++) {
        if ((next_random(st) >> 17 & 1) != 0)
            a->ip[i / 8] |= (uint8_t)(0x80 >> i % 8);
    }
}

static enum rc allocate(struct state *st, const struct addr *prefix, unsigned bits, struct addr *last, struct addr *out)
{
    if (prefix->family == 0) {
        *out = (struct addr){0};
        return RC_OK;
    }
    struct addr a = *last;
    for (int tries = 0; st->options.random_addresses && tries < 64; tries++) {
        randomise(st, prefix, bits, out);
        if (is_free(st, out, bits))
            return RC_OK;
    }
    if (st->options.random_addresses || a.family == 0)
        randomise(st, prefix, st->options.random_addresses ? bits : (unsigned)ip_len(prefix) * 8, &a);
    /* Only addresses in use, reserved ranges and the edges of the prefix are skipped, so this many steps find a free
     * one if there is one. */
    for (size_t steps = 0; steps < st->node_n + 1024; steps++) {
        increment(&a);
        if (!addr_in_prefix(&a, prefix, bits))
            a = *prefix;
        if (is_free(st, &a, bits)) {
            *last = a;
            *out = a;
            return RC_OK;
        }
    }
    return RC_LIMIT;
}

static void later(struct addr *last, const struct addr *a)
{
    if (a->family != 0 && (last->family == 0 || memcmp(a->ip, last->ip, 16) > 0))
        *last = *a;
}

void addresses_note_given(struct state *st, const struct node *n)
{
    later(&st->last_v4, &n->v4);
    later(&st->last_v6, &n->v6);
}

enum rc addresses_allocate_in(struct state *st, const struct addr *prefix, unsigned bits, struct addr *out)
{
    struct addr last = *prefix;
    return allocate(st, prefix, bits, &last, out);
}

enum rc addresses_allocate(struct state *st, struct addr *v4, struct addr *v6)
{
    TRY(allocate(st, &st->options.v4_prefix, st->options.v4_bits, &st->last_v4, v4));
    return allocate(st, &st->options.v6_prefix, st->options.v6_bits, &st->last_v6, v6);
}
