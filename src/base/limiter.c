#include "base/limiter.h"

#include <string.h>

#include "base/map.h"

void bucket_refill(struct bucket *b, int64_t per_second, int64_t burst, int64_t now_ms)
{
    int64_t room = burst * 1000 - b->milli;
    int64_t elapsed_ms = now_ms - b->at_ms;
    if (b->at_ms == 0)
        b->milli += burst * 1000;
    else
        b->milli += elapsed_ms > room / per_second ? room : elapsed_ms * per_second;
    b->at_ms = now_ms;
}

void bucket_pay(struct bucket *b, int64_t tokens)
{
    b->milli -= tokens * 1000;
}

int64_t bucket_wait_ms(const struct bucket *b, int64_t per_second)
{
    return b->milli >= 0 ? 0 : (-b->milli + per_second - 1) / per_second;
}

void limiter_init(struct limiter *l, const uint8_t seed[16])
{
    *l = (struct limiter){0};
    memcpy(l->seed, seed, sizeof(l->seed));
    pthread_mutex_init(&l->lock, NULL);
}

void limiter_fini(struct limiter *l)
{
    pthread_mutex_destroy(&l->lock);
}

static bool take_one(struct bucket *b, int64_t per_second, int64_t now_ms)
{
    bucket_refill(b, per_second, per_second * LIMITER_BURST_S, now_ms);
    if (b->milli < 1000)
        return false;
    bucket_pay(b, 1);
    return true;
}

bool limiter_take(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms)
{
    if (per_second == 0 || from->family == 0)
        return true;
    /* All addresses of an IPv6 /64 belong to one network, and often to one host. */
    uint64_t hash = siphash13(l->seed, from->ip, from->family == 4 ? 4 : 8);
    pthread_mutex_lock(&l->lock);
    bool is_allowed = take_one(&l->slots[hash % LIMITER_SLOTS], per_second, now_ms);
    pthread_mutex_unlock(&l->lock);
    return is_allowed;
}

bool limiter_take_from_afar(struct limiter *l, const struct addr *from, int64_t per_second, int64_t now_ms)
{
    return addr_is_loopback(from) || limiter_take(l, from, per_second, now_ms);
}
