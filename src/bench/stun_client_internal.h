/* One STUN client with a fixed number of requests in flight: which are, and what an answer is worth. Pure.
 * A transaction id names the slot and how often it was used, so that late and forged answers are told apart. */
#ifndef BENCH_STUN_CLIENT_INTERNAL_H
#define BENCH_STUN_CLIENT_INTERNAL_H

#include <stdbool.h>

#include "base/addr.h"
#include "bench/hist.h"
#include "proto/stun.h"

enum { STUN_CLIENT_TIMEOUT_US = 200 * 1000 };

struct stun_client {
    struct stun_slot {
        uint64_t use;
        int64_t sent_us;
        bool is_busy;
    } *slots;       /* owned */
    unsigned *idle; /* owned; slots that are not busy */
    unsigned slot_n, idle_n;
    struct addr me;       /* what right answers say */
    struct hist *latency; /* borrowed */
    uint64_t sent, answered;
    uint64_t lost; /* not answered in time */
    uint64_t bad;  /* malformed, or with another address */
    uint64_t late; /* to no request that is in flight */
};

void stun_client_init(struct stun_client *c, unsigned window, const struct addr *me, struct hist *latency);
void stun_client_fini(struct stun_client *c);
/* The next request; false when all are in flight. */
bool stun_client_next(struct stun_client *c, int64_t now_us, uint8_t out[STUN_REQUEST_BYTES]);
/* The last `n` requests did not get out after all. */
void stun_client_take_back(struct stun_client *c, unsigned n);
void stun_client_answer(struct stun_client *c, const uint8_t *datagram, size_t n, int64_t now_us);
/* Gives up what has had no answer for STUN_CLIENT_TIMEOUT_US. */
void stun_client_sweep(struct stun_client *c, int64_t now_us);
bool stun_client_is_idle(const struct stun_client *c);

#endif
