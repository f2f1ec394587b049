/* Token buckets. Pure: the caller passes the time, from a clock that goes forward (the cached ones of several loops
 * will do). */
#ifndef BASE_LIMITER_H
#define BASE_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* One bucket. Zero-initialised is full. It may go into debt: a cost that is known only afterwards is paid then, and the
 * caller waits until the debt is gone. Not thread-safe. */
struct bucket {
    int64_t at_ms; /* when it was last looked at; 0: never */
    int64_t milli; /* thousandths of a token */
};

/* Adds the tokens of the time since the last call, up to `burst` in all. `per_second` > 0. */
void bucket_refill(struct bucket *b, int64_t per_second, int64_t burst, int64_t now_ms);
/* Takes tokens, also those that are not there, and also before the first bucket_refill. */
void bucket_pay(struct bucket *b, int64_t tokens);
/* Milliseconds until the debt is paid; 0: there is none. */
int64_t bucket_wait_ms(const struct bucket *b, int64_t per_second);

enum { LIMITER_SLOTS = 1024, LIMITER_BURST_S = 10 };

/* Events by source address: a table of buckets, chosen by a hash of the address. Addresses in the same slot share its
 * tokens. Any thread. */
struct limiter {
    uint64_t seed[2];
    pthread_mutex_t lock;
    struct bucket slots[LIMITER_SLOTS]; /* locked */
};

/* `seed`: 16 secret bytes, so that a peer cannot choose an address that shares another's slot. */
void limiter_init(struct limiter *l, const uint8_t seed[16]);
/* Frees what limiter_init took; no thread uses it any more. */
void limiter_fini(struct limiter *l);
/* Whether one more event from `from` (an IPv4 address, or the /64 of an IPv6 one) is within the limit; takes a token
 * then. `per_second` in the long run, the tokens of ten seconds at once; 0: no limit. Unix sockets have no limit,
 * loopback addresses have: callers that want to spare this machine use limiter_take_from_afar. */
bool limiter_take(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms);
/* The same, without a limit for loopback addresses. */
bool limiter_take_from_afar(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms);

#endif
