/* One sender and one receiver of a relay's load: makes the packets, and checks those that arrive. Pure. A packet is
 * the time at which it was sent (8 bytes, microseconds), its number (8 bytes), both big-endian, and a filler that is
 * the same in all packets of a pair and different in each pair. */
#ifndef BENCH_RELAY_PAIR_INTERNAL_H
#define BENCH_RELAY_PAIR_INTERNAL_H

#include "base/buf.h"
#include "bench/hist.h"
#include "crypto/keys.h"

enum { PAIR_STAMP_BYTES = 16 };

struct bench_relay_pair {
    uint8_t src[KEY_BYTES], dst[KEY_BYTES];
    size_t size; /* of a packet, >= PAIR_STAMP_BYTES */
    uint8_t *filler;
    uint64_t sent, received;
    uint64_t bad;         /* wrong sender, size or content, or out of order */
    uint64_t given_up;    /* part of sent - received that is counted as lost */
    uint64_t next;        /* number that the next packet at the receiver must have */
    struct hist *latency; /* borrowed; null: packets carry no time */
};

/* `seed`: of the filler, which is allocated. */
void bench_relay_pair_init(struct bench_relay_pair *p, const uint8_t src[KEY_BYTES], const uint8_t dst[KEY_BYTES],
                           size_t size, uint64_t seed, struct hist *latency);
void bench_relay_pair_fini(struct bench_relay_pair *p);
/* Appends the next packet as a SendPacket frame. */
void bench_relay_pair_append(struct bench_relay_pair *p, struct buf *out, int64_t now_us);
/* Checks and counts a packet that has arrived. */
void bench_relay_pair_take(struct bench_relay_pair *p, const uint8_t src[KEY_BYTES], const uint8_t *packet, size_t n,
                           int64_t now_us);
/* How many more packets may be sent before `window` are on their way. */
unsigned bench_relay_pair_room(const struct bench_relay_pair *p, unsigned window);
/* Counts what is on its way as lost. */
void bench_relay_pair_give_up(struct bench_relay_pair *p);

#endif
