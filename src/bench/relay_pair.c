#include "bench/relay_pair_internal.h"

#include <string.h>

#include "base/cursor.h"
#include "base/mem.h"
#include "proto/derp.h"

void bench_relay_pair_init(struct bench_relay_pair *p, const uint8_t src[KEY_BYTES], const uint8_t dst[KEY_BYTES],
                           size_t size, uint64_t seed, struct hist *latency)
{
    uint64_t x = seed * 2 + 1; /* not 0: xorshift64 */
    *p = (struct bench_relay_pair){.size = size, .latency = latency, .filler = mem_alloc(size)};
    memcpy(p->src, src, KEY_BYTES);
    memcpy(p->dst, dst, KEY_BYTES);
    for (size_t i = 0; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p->filler[i] = (uint8_t)x;
    }
}

void bench_relay_pair_fini(struct bench_relay_pair *p)
{
    mem_free(p->filler);
    p->filler = NULL;
}

static void put_u64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *p)
{
    struct cursor c = cursor_of(p, 8);
    uint64_t high = cursor_u32be(&c);
    return high << 32 | cursor_u32be(&c);
}

void bench_relay_pair_append(struct bench_relay_pair *p, struct buf *out, int64_t now_us)
{
    size_t n = DERP_HEADER_BYTES + KEY_BYTES + p->size;
    uint8_t *at = buf_reserve(out, n), *packet = at + DERP_HEADER_BYTES + KEY_BYTES;
    derp_header_build(DERP_SEND_PACKET, (uint32_t)(KEY_BYTES + p->size), at);
    memcpy(at + DERP_HEADER_BYTES, p->dst, KEY_BYTES);
    put_u64(packet, p->latency != NULL ? (uint64_t)now_us : 0);
    put_u64(packet + 8, p->sent++);
    memcpy(packet + PAIR_STAMP_BYTES, p->filler, p->size - PAIR_STAMP_BYTES);
    buf_commit(out, n);
}

static bool is_as_sent(const struct bench_relay_pair *p, const uint8_t *packet, int64_t now_us)
{
    uint64_t sent_us = get_u64(packet), newest_us = p->latency != NULL ? (uint64_t)now_us : 0;
    return sent_us <= newest_us && get_u64(packet + 8) < p->sent &&
           memcmp(packet + PAIR_STAMP_BYTES, p->filler, p->size - PAIR_STAMP_BYTES) == 0;
}

void bench_relay_pair_take(struct bench_relay_pair *p, const uint8_t src[KEY_BYTES], const uint8_t *packet, size_t n,
                           int64_t now_us)
{
    if (n != p->size || !keys_equal(src, p->src) || !is_as_sent(p, packet, now_us)) {
        p->bad++;
        return;
    }
    uint64_t number = get_u64(packet + 8);
    if (p->latency != NULL)
        hist_add(p->latency, now_us - (int64_t)get_u64(packet));
    if (number < p->next)
        p->bad++;
    p->next = number + 1;
    p->received++;
}

unsigned bench_relay_pair_room(const struct bench_relay_pair *p, unsigned window)
{
    /* Packets that were given up may still arrive: the count of those on their way would be negative then. */
    int64_t away = (int64_t)(p->sent - p->received - p->given_up);
    return away >= (int64_t)window ? 0 : (unsigned)((int64_t)window - (away > 0 ? away : 0));
}

void bench_relay_pair_give_up(struct bench_relay_pair *p)
{
    p->given_up = p->sent > p->received ? p->sent - p->received : 0;
}
