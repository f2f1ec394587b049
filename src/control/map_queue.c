#include "control/map_queue.h"

void map_queue_init(struct map_queue *queue)
{
    *queue = (struct map_queue){0};
    for (unsigned i = 0; i < MAP_QUEUE_LINES; i++)
        list_init(&queue->waiting[i]);
    list_init(&queue->sending);
}

void map_waiter_init(struct map_waiter *waiter)
{
    *waiter = (struct map_waiter){0};
    list_init(&waiter->link);
}

bool map_queue_has_waiters(const struct map_queue *queue)
{
    for (unsigned i = 0; i < MAP_QUEUE_LINES; i++) {
        if (!list_is_empty(&queue->waiting[i]))
            return true;
    }
    return false;
}

bool map_queue_can_begin(const struct map_queue *queue)
{
    return queue->sending_n < MAP_QUEUE_AT_ONCE && map_queue_has_waiters(queue);
}

void map_queue_leave(struct map_queue *queue, struct map_waiter *waiter)
{
    list_remove(&waiter->link);
    if (waiter->is_sending)
        queue->sending_n--;
    waiter->is_sending = false;
}

void map_queue_join(struct map_queue *queue, struct map_waiter *waiter, enum map_queue_line line)
{
    if (waiter->is_sending)
        map_queue_leave(queue, waiter);
    if (list_is_empty(&waiter->link))
        list_push_back(&queue->waiting[line], &waiter->link);
}

struct map_waiter *map_queue_next(struct map_queue *queue, int64_t now_ms)
{
    if (!map_queue_can_begin(queue))
        return NULL;
    if (list_is_empty(&queue->waiting[queue->next_line]))
        queue->next_line = (queue->next_line + 1) % MAP_QUEUE_LINES;
    struct map_waiter *waiter = LIST_ENTRY(queue->waiting[queue->next_line].next, struct map_waiter, link);
    queue->next_line = (queue->next_line + 1) % MAP_QUEUE_LINES;
    list_remove(&waiter->link);
    list_push_back(&queue->sending, &waiter->link);
    waiter->is_sending = true;
    waiter->began_ms = now_ms;
    queue->sending_n++;
    return waiter;
}

void map_queue_expire(struct map_queue *queue, int64_t now_ms)
{
    LIST_EACH_SAFE (it, &queue->sending) {
        struct map_waiter *waiter = LIST_ENTRY(it, struct map_waiter, link);
        if (now_ms - waiter->began_ms < MAP_QUEUE_HOLD_MS)
            return;
        map_queue_leave(queue, waiter);
    }
}
