/* One STUN client with a fixed number of requests in flight: knows which are, and checks the answers. Pure. A
 * transaction id names the slot and how often it was used, so that late answers and forged ones can be recognised. */
#ifndef BENCH_STUN_CLIENT_INTERNAL_H
#define BENCH_STUN_CLIENT_INTERNAL_H

#include <stdbool.h>

#include "base/addr.h"
#include "bench/hist.h"
#include "proto/stun.h"

enum { BENCH_STUN_CLIENT_TIMEOUT_US = 200 * 1000 };

struct bench_stun_client {
    struct stun_slot {
        uint64_t use;
        int64_t sent_us;
        bool is_busy;
    } *slots;       /* owned */
    unsigned *idle; /* owned; slots that are not busy */
    unsigned slot_n, idle_n;
    struct addr me;       /* the address that a right answer contains */
    struct hist *latency; /* borrowed */
    uint64_t sent, answered;
    uint64_t lost; /* not answered in time */
    uint64_t bad;  /* malformed, or with another address */
    uint64_t late; /* to no request that is in flight */
};

/* `window`: how many requests may be in flight. `me`: the address that answers must contain. */
void bench_stun_client_init(struct bench_stun_client *c, unsigned window, const struct addr *me, struct hist *latency);
/* Frees the slots. */
void bench_stun_client_fini(struct bench_stun_client *c);
/* Makes the next request; false when all slots are in flight. */
bool bench_stun_client_next(struct bench_stun_client *c, int64_t now_us, uint8_t out[STUN_REQUEST_BYTES]);
/* The last `n` requests could not be sent: their slots are free again. */
void bench_stun_client_take_back(struct bench_stun_client *c, unsigned n);
/* Counts a datagram that has arrived, and its latency when it is a right answer in time. */
void bench_stun_client_answer(struct bench_stun_client *c, const uint8_t *datagram, size_t n, int64_t now_us);
/* Counts as lost what has had no answer for BENCH_STUN_CLIENT_TIMEOUT_US. */
void bench_stun_client_sweep(struct bench_stun_client *c, int64_t now_us);
/* Whether no request is in flight. */
bool bench_stun_client_is_idle(const struct bench_stun_client *c);

#endif
