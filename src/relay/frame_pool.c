#include "relay/frame_pool.h"

struct buf frame_pool_take(struct frame_pool *pool)
{
    return pool->n > 0 ? pool->bufs[--pool->n] : (struct buf){0};
}

void frame_pool_give(struct frame_pool *pool, struct buf *b)
{
    buf_clear(b);
    if (b->data != NULL && b->cap <= FRAME_POOL_BUF_MAX_BYTES && pool->n < FRAME_POOL_BUFS)
        pool->bufs[pool->n++] = *b;
    else
        buf_fini(b);
    *b = (struct buf){0};
}

void frame_pool_fini(struct frame_pool *pool)
{
    while (pool->n > 0)
        buf_fini(&pool->bufs[--pool->n]);
}
