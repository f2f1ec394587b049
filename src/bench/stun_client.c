#include "bench/stun_client_internal.h"

#include <assert.h>
#include <string.h>

#include "base/cursor.h"
#include "base/mem.h"

void bench_stun_client_init(struct bench_stun_client *c, unsigned window, const struct addr *me, struct hist *latency)
{
    *c = (struct bench_stun_client){.slot_n = window, .idle_n = window, .me = *me, .latency = latency};
    c->slots = mem_zalloc(window, sizeof(*c->slots));
    c->idle = mem_zalloc(window, sizeof(*c->idle));
    for (unsigned i = 0; i < window; i++)
        c->idle[i] = window - 1 - i;
}

void bench_stun_client_fini(struct bench_stun_client *c)
{
    mem_free(c->slots);
    mem_free(c->idle);
    *c = (struct bench_stun_client){0};
}

static void put_txid(unsigned slot, uint64_t use, uint8_t out[STUN_TXID_BYTES])
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(slot >> (24 - 8 * i));
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(use >> (56 - 8 * i));
}

bool bench_stun_client_next(struct bench_stun_client *c, int64_t now_us, uint8_t out[STUN_REQUEST_BYTES])
{
    uint8_t txid[STUN_TXID_BYTES];
    if (c->idle_n == 0)
        return false;
    unsigned i = c->idle[--c->idle_n];
    struct stun_slot *s = &c->slots[i];
    *s = (struct stun_slot){s->use + 1, now_us, true};
    put_txid(i, s->use, txid);
    stun_build_request(txid, out);
    c->sent++;
    return true;
}

void bench_stun_client_take_back(struct bench_stun_client *c, unsigned n)
{
    /* Slots are taken from the end of `idle`, and none was given back since: their numbers are still behind its end. */
    assert(n <= c->slot_n - c->idle_n);
    for (unsigned i = 0; i < n; i++)
        c->slots[c->idle[c->idle_n++]].is_busy = false;
    c->sent -= n;
}

static void release(struct bench_stun_client *c, unsigned slot)
{
    c->slots[slot].is_busy = false;
    c->idle[c->idle_n++] = slot;
}

static bool is_me(const struct bench_stun_client *c, bool is_ipv6, const uint8_t ip[16], uint16_t port)
{
    return c->me.family == (is_ipv6 ? 6 : 4) && c->me.port == port && memcmp(c->me.ip, ip, is_ipv6 ? 16 : 4) == 0;
}

void bench_stun_client_answer(struct bench_stun_client *c, const uint8_t *datagram, size_t n, int64_t now_us)
{
    uint8_t txid[STUN_TXID_BYTES], ip[16];
    bool is_ipv6 = false;
    uint16_t port = 0;
    if (stun_parse_response(datagram, n, txid, &is_ipv6, ip, &port) != RC_OK || !is_me(c, is_ipv6, ip, port)) {
        c->bad++;
        return;
    }
    struct cursor id = cursor_of(txid, sizeof(txid));
    unsigned slot = cursor_u32be(&id);
    uint64_t use = (uint64_t)cursor_u32be(&id) << 32;
    use |= cursor_u32be(&id);
    if (slot >= c->slot_n || !c->slots[slot].is_busy || c->slots[slot].use != use) {
        c->late++;
        return;
    }
    hist_add(c->latency, now_us - c->slots[slot].sent_us);
    c->answered++;
    release(c, slot);
}

void bench_stun_client_sweep(struct bench_stun_client *c, int64_t now_us)
{
    for (unsigned i = 0; i < c->slot_n; i++) {
        if (!c->slots[i].is_busy || now_us - c->slots[i].sent_us <= BENCH_STUN_CLIENT_TIMEOUT_US)
            continue;
        c->lost++;
        release(c, i);
    }
}

bool bench_stun_client_is_idle(const struct bench_stun_client *c)
{
    return c->idle_n == c->slot_n;
}
