#include "store/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

void test_acks_init(struct test_acks *a)
{
    *a = (struct test_acks){0};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
}

void test_acks_take(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc)
{
    (void)tailnet;
    struct test_acks *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->out_of_order |= seq != a->last_seq + 1 || (rc == RC_OK && a->failed_n > 0);
    a->last_seq = seq;
    a->last_rc = rc;
    a->failed_n += rc != RC_OK;
    a->n++;
    pthread_cond_broadcast(&a->changed);
    while (a->is_held)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

void test_acks_hold(struct test_acks *a, bool hold)
{
    pthread_mutex_lock(&a->lock);
    a->is_held = hold;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

enum rc test_acks_wait(struct test_acks *a, uint64_t seq)
{
    pthread_mutex_lock(&a->lock);
    while (a->last_seq < seq)
        pthread_cond_wait(&a->changed, &a->lock);
    enum rc rc = a->last_rc;
    pthread_mutex_unlock(&a->lock);
    return rc;
}
