#include "net/loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/mem.h"

struct free_later {
    struct free_later *next;
    void *obj;
    void (*free_fn)(void *obj);
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t before_poll;
    unsigned index;
    struct list tasks;
    struct list late_tasks; /* late tasks: run when no other is scheduled */
    struct free_later *to_free;
    struct buf scratch;
    atomic_bool stopping;
    /* Messages from other threads: a stack that the loop takes as a whole and reverses. */
    _Atomic(struct loop_msg *) inbox;
};

static _Thread_local struct loop *current;

/* Runs the next task. False: none is scheduled. */
static bool run_task(struct loop *loop)
{
    struct list *from = list_is_empty(&loop->tasks) ? &loop->late_tasks : &loop->tasks;
    if (list_is_empty(from))
        return false;
    struct loop_task *task = LIST_ENTRY(from->next, struct loop_task, link);
    list_remove(&task->link);
    task->is_scheduled = false;
    task->run(task);
    return true;
}

static void move_tasks(struct list *from, struct list *to, size_t n)
{
    for (; n > 0 && !list_is_empty(from); n--) {
        struct list *link = from->next;
        list_remove(link);
        list_push_back(to, link);
    }
}

/* A lot, with all that it schedules, and then the next: what goes to thousands of peers at once waits in the buffers of
 * a lot of them only. */
static void run_tasks(struct loop *loop)
{
    struct list rest;
    list_init(&rest);
    move_tasks(&loop->tasks, &rest, SIZE_MAX);
    do {
        move_tasks(&rest, &loop->tasks, LOOP_LOT);
        while (run_task(loop)) {
        }
    } while (!list_is_empty(&rest));
}

static void run_frees(struct loop *loop)
{
    while (loop->to_free != NULL) {
        struct free_later *f = loop->to_free;
        loop->to_free = f->next;
        f->free_fn(f->obj);
        mem_free(f);
    }
}

static void on_before_poll(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    run_tasks(loop);
    run_frees(loop);
    if (atomic_load(&loop->stopping))
        uv_stop(&loop->uv);
}

static void on_wake(uv_async_t *handle)
{
    struct loop *loop = handle->data;
    struct loop_msg *stack = atomic_exchange(&loop->inbox, NULL);
    struct loop_msg *queue = NULL;
    while (stack != NULL) {
        struct loop_msg *next = stack->next;
        stack->next = queue;
        queue = stack;
        stack = next;
    }
    while (queue != NULL) {
        struct loop_msg *next = queue->next;
        queue->run(loop, queue);
        queue = next;
    }
}

struct loop *loop_create(unsigned index)
{
    struct loop *loop = MEM_NEW(struct loop);
    loop->index = index;
    list_init(&loop->tasks);
    list_init(&loop->late_tasks);
    int rc = uv_loop_init(&loop->uv);
    assert(rc == 0);
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    assert(rc == 0);
    loop->wake.data = loop;
    rc = uv_prepare_init(&loop->uv, &loop->before_poll);
    assert(rc == 0);
    loop->before_poll.data = loop;
    rc = uv_prepare_start(&loop->before_poll, on_before_poll);
    assert(rc == 0);
    (void)rc;
    return loop;
}

void loop_run(struct loop *loop)
{
    current = loop;
    /* At least one iteration, so that messages posted before a stop are still run. */
    do {
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    } while (!atomic_load(&loop->stopping));
    run_tasks(loop);
    run_frees(loop);
    atomic_store(&loop->stopping, false);
    current = NULL;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    uv_async_send(&loop->wake);
}

void loop_destroy(struct loop **at)
{
    struct loop *loop = *at;
    *at = NULL;
    if (loop == NULL)
        return;
    run_tasks(loop);
    run_frees(loop);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->before_poll, NULL);
    while (uv_run(&loop->uv, UV_RUN_NOWAIT) != 0) {
    }
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    (void)rc;
    buf_fini(&loop->scratch);
    mem_free(loop);
}

unsigned loop_index(const struct loop *loop)
{
    return loop->index;
}

struct loop *loop_current(void)
{
    return current;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return (int64_t)uv_now(&loop->uv);
}

void loop_post(struct loop *loop, struct loop_msg *msg)
{
    struct loop_msg *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        msg->next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&loop->inbox, &head, msg, memory_order_release, memory_order_relaxed));
    /* The sender that finds the inbox empty wakes the loop; messages of others are taken in the same iteration. */
    if (head == NULL)
        uv_async_send(&loop->wake);
}

static void defer_to(struct list *tasks, struct loop_task *task)
{
    if (task->is_scheduled)
        return;
    task->is_scheduled = true;
    list_push_back(tasks, &task->link);
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
    defer_to(&loop->tasks, task);
}

void loop_defer_late(struct loop *loop, struct loop_task *task)
{
    defer_to(&loop->late_tasks, task);
}

void loop_defer_cancel(struct loop_task *task)
{
    if (!task->is_scheduled)
        return;
    list_remove(&task->link);
    task->is_scheduled = false;
}

void loop_free_later(struct loop *loop, void *obj, void (*free_fn)(void *obj))
{
    struct free_later *f = mem_alloc(sizeof(*f));
    *f = (struct free_later){.next = loop->to_free, .obj = obj, .free_fn = free_fn};
    loop->to_free = f;
}

struct buf *loop_scratch(struct loop *loop)
{
    enum { KEEP_BYTES = 128 * 1024 };
    buf_reset(&loop->scratch, KEEP_BYTES);
    return &loop->scratch;
}

struct loop_timer {
    uv_timer_t uv;
    void (*run)(void *ctx);
    void *ctx;
};

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;
    timer->run(timer->ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

struct loop_timer *loop_timer_create(struct loop *loop, void (*run)(void *ctx), void *ctx)
{
    struct loop_timer *timer = MEM_NEW(struct loop_timer);
    timer->run = run;
    timer->ctx = ctx;
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    return timer;
}

void loop_timer_start(struct loop_timer *timer, int64_t delay_ms, int64_t repeat_ms)
{
    uv_timer_start(&timer->uv, on_timer, (uint64_t)(delay_ms > 0 ? delay_ms : 0), (uint64_t)repeat_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void loop_timer_destroy(struct loop_timer **at)
{
    struct loop_timer *timer = *at;
    *at = NULL;
    if (timer != NULL)
        uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
}

struct loop_poll {
    uv_poll_t uv;
    void (*ready)(void *ctx, int events);
    void *ctx;
    int events;
};

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct loop_poll *poll = handle->data;
    int out = 0;
    if (status < 0 || (events & UV_READABLE) != 0)
        out |= LOOP_READ;
    if (status < 0 || (events & UV_WRITABLE) != 0)
        out |= LOOP_WRITE;
    poll->ready(poll->ctx, out);
}

static void on_poll_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

struct loop_poll *loop_poll_create(struct loop *loop, int fd, void (*ready)(void *ctx, int events), void *ctx)
{
    struct loop_poll *poll = MEM_NEW(struct loop_poll);
    poll->ready = ready;
    poll->ctx = ctx;
    int rc = uv_poll_init(&loop->uv, &poll->uv, fd);
    assert(rc == 0);
    (void)rc;
    poll->uv.data = poll;
    return poll;
}

void loop_poll_set(struct loop_poll *poll, int events)
{
    if (events == poll->events)
        return;
    poll->events = events;
    if (events == 0)
        uv_poll_stop(&poll->uv);
    else
        uv_poll_start(&poll->uv,
                      ((events & LOOP_READ) != 0 ? UV_READABLE : 0) | ((events & LOOP_WRITE) != 0 ? UV_WRITABLE : 0),
                      on_poll);
}

void loop_poll_destroy(struct loop_poll **at)
{
    struct loop_poll *poll = *at;
    *at = NULL;
    if (poll == NULL)
        return;
    uv_poll_stop(&poll->uv);
    uv_close((uv_handle_t *)&poll->uv, on_poll_closed);
}
