/* Event loops: one per worker thread. Everything a loop owns is touched on its thread only; the one call that others
 * may make is loop_post. Built on libuv, which no header shows, so that the engine can change.
 *
 * An iteration: poll -> callbacks for ready sockets, timers and posted messages -> deferred tasks -> poll. Layers
 * that gather output (TLS, Noise, HTTP/2, TCP) write in callbacks and flush in a deferred task, so that all
 * output of one iteration for a peer leaves in one record and one system call. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/rc.h"

struct loop;

/* `index`: the number of the worker, for logs and for spreading work. Does not block. */
struct loop *loop_create(unsigned index);
/* Runs on the calling thread until loop_stop; then frees nothing. */
void loop_run(struct loop *loop);
/* Makes loop_run return soon. Any thread. */
void loop_stop(struct loop *loop);
/* After loop_run has returned; streams, timers and listeners are destroyed before. Null is fine; nulls the pointer. */
void loop_destroy(struct loop **loop);
/* What loop_create was given. */
unsigned loop_index(const struct loop *loop);
/* The loop that runs on the calling thread, or null. For assertions. */
struct loop *loop_current(void);
/* Monotonic milliseconds, read once at the start of the iteration. */
int64_t loop_now_ms(const struct loop *loop);

/* A message between threads. Embed it in what is sent; `run` is called on the loop's thread and owns the message. */
struct loop_msg {
    struct loop_msg *next;
    void (*run)(struct loop *loop, struct loop_msg *msg);
};
/* Any thread; never blocks on the loop. Order per sender is kept. A message posted to a loop that has stopped is never
 * run. */
void loop_post(struct loop *loop, struct loop_msg *msg);

enum { LOOP_LOT = 32 };

/* A task for the end of an iteration. Embed; zero-initialise, set `run`. Scheduling it twice runs it once. Tasks may
 * schedule tasks: the same iteration runs them too. When more than LOOP_LOT are scheduled, the first of them run with
 * all that they schedule, late tasks as well, before the others. */
struct loop_task {
    struct list link; /* linked while scheduled */
    void (*run)(struct loop_task *task);
    bool is_scheduled;
};
/* Schedules a task for the end of this iteration. Loop thread. */
void loop_defer(struct loop *loop, struct loop_task *task);
/* The same, but after all tasks of the lot that are not late, even those scheduled later: for the task that sends what
 * they write. */
void loop_defer_late(struct loop *loop, struct loop_task *task);
/* Takes a scheduled task off; harmless otherwise. */
void loop_defer_cancel(struct loop_task *task);

/* Calls `free_fn(obj)` after the deferred tasks of this iteration: for objects that may still be on the call stack. */
void loop_free_later(struct loop *loop, void *obj, void (*free_fn)(void *obj));

/* An empty buffer to be used within one call; the next caller gets the same one, emptied. */
struct buf *loop_scratch(struct loop *loop);

/* A timer, heap-owned by the loop. */
struct loop_timer;
/* A timer that is not running; `run` is called on the loop's thread. */
struct loop_timer *loop_timer_create(struct loop *loop, void (*run)(void *ctx), void *ctx);
/* Runs once after `delay_ms`, and then every `repeat_ms` if that is not 0. Starting again replaces both. */
void loop_timer_start(struct loop_timer *timer, int64_t delay_ms, int64_t repeat_ms);
/* Stops a timer; harmless when it is not running. */
void loop_timer_stop(struct loop_timer *timer);
/* Also from its own callback. Null is fine; nulls the pointer. */
void loop_timer_destroy(struct loop_timer **timer);

/* Readiness of a file descriptor, level-triggered. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_poll;
/* Watches `fd`, which stays the caller's: the poll is destroyed before `fd` is closed. */
struct loop_poll *loop_poll_create(struct loop *loop, int fd, void (*ready)(void *ctx, int events), void *ctx);
/* Which events to report from now on: LOOP_READ, LOOP_WRITE, both or 0. */
void loop_poll_set(struct loop_poll *poll, int events);
/* Stops watching. Null is fine; nulls the pointer. */
void loop_poll_destroy(struct loop_poll **poll);

#endif
