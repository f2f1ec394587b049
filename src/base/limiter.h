/* Token buckets. Pure: the caller tells the time, from a clock that goes forward (the cached ones of several loops will do). */
#ifndef BASE_LIMITER_H
#define BASE_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* One bucket. Zero-initialised is full. It may go into debt: who has learned only afterwards what something cost pays it and
 * waits. Not thread-safe. */
struct bucket {
    int64_t at_ms; /* when it was last looked at; 0: never */
    int64_t milli; /* thousandths of a token */
};

/* Adds what has come in since the last look, up to `burst` tokens. `per_second` > 0. */
void bucket_refill(struct bucket *b, int64_t per_second, int64_t burst, int64_t now_ms);
/* Also before the first bucket_refill. */
void bucket_pay(struct bucket *b, int64_t tokens);
/* How long until the debt is paid: 0 when there is none. */
int64_t bucket_wait_ms(const struct bucket *b, int64_t per_second);

enum { LIMITER_SLOTS = 1024, LIMITER_BURST_S = 10 };

/* Events by source address: a bucket in each slot. Addresses that share a slot share its tokens. Any thread. */
struct limiter {
    uint64_t seed[2];
    pthread_mutex_t lock;
    struct bucket slots[LIMITER_SLOTS]; /* locked */
};

/* `seed`: 16 secret bytes, so that nobody chooses whose slot to share. */
void limiter_init(struct limiter *l, const uint8_t seed[16]);
void limiter_fini(struct limiter *l);
/* May one more event come from `from` (an IPv4 address, or the /64 of an IPv6 one)? `per_second` in the long run, the tokens
 * of ten seconds at once. 0 is no limit; unix sockets have none. Loopback has: a
 * caller that means to spare what runs on this machine asks limiter_take_from_afar. */
bool limiter_take(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms);
/* The same, without a limit for this machine's own loopback addresses: for what costs others nothing. */
bool limiter_take_from_afar(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms);

#endif
