/* Deferred tasks, and messages from other threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/loop.h"

struct counting_task {
    struct loop_task task;
    struct loop *loop;
    int runs;
    int again;
};

static void count_run(struct loop_task *task)
{
    struct counting_task *c = CONTAINER_OF(task, struct counting_task, task);
    c->runs++;
    if (c->again-- > 0)
        loop_defer(c->loop, task);
    else
        loop_stop(c->loop);
}

static void test_deferred_tasks_run_once_each(void **state)
{
    (void)state;
    struct loop *loop = loop_create(0);
    struct counting_task c = {.task.run = count_run, .loop = loop, .again = 3};
    loop_defer(loop, &c.task);
    loop_defer(loop, &c.task);
    loop_run(loop);
    assert_int_equal(c.runs, 4);
    loop_destroy(&loop);
}

/* A peer's task, which writes, and the late one, which sends. */
struct peer_tasks {
    struct loop_task task, late_task;
    struct loop *loop;
    unsigned *waiting; /* what was written and not sent yet, of all peers */
    unsigned *most;
};

static void peer_write(struct loop_task *task)
{
    struct peer_tasks *p = CONTAINER_OF(task, struct peer_tasks, task);
    if (++*p->waiting > *p->most)
        *p->most = *p->waiting;
    loop_defer_late(p->loop, &p->late_task);
}

static void peer_send(struct loop_task *task)
{
    struct peer_tasks *p = CONTAINER_OF(task, struct peer_tasks, late_task);
    --*p->waiting;
    loop_stop(p->loop);
}

static void test_what_goes_to_many_waits_for_a_lot_of_them_only(void **state)
{
    (void)state;
    enum { PEERS = LOOP_LOT * 5 + 7 };
    struct loop *loop = loop_create(0);
    struct peer_tasks peers[PEERS];
    unsigned waiting = 0, most = 0;
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = (struct peer_tasks){
            .task.run = peer_write, .late_task.run = peer_send, .loop = loop, .waiting = &waiting, .most = &most};
        loop_defer(loop, &peers[i].task);
    }
    loop_defer_cancel(&peers[PEERS - 1].task);
    loop_run(loop);
    assert_int_equal(waiting, 0);
    assert_int_equal(most, LOOP_LOT);
    assert_false(peers[PEERS - 2].task.is_scheduled);
    loop_destroy(&loop);
}

enum { POSTERS = 4, POSTS = 2000 };

struct post_msg {
    struct loop_msg msg;
    int from;
    int n;
};

static int post_seen[POSTERS];
static int post_total;

static void on_post(struct loop *loop, struct loop_msg *msg)
{
    struct post_msg *m = CONTAINER_OF(msg, struct post_msg, msg);
    assert_int_equal(m->n, post_seen[m->from]++); /* order per sender is kept */
    mem_free(m);
    if (++post_total == POSTERS * POSTS)
        loop_stop(loop);
}

struct poster {
    struct loop *loop;
    int id;
};

static void *poster_main(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < POSTS; i++) {
        struct post_msg *m = MEM_NEW(struct post_msg);
        m->msg.run = on_post;
        m->from = p->id;
        m->n = i;
        loop_post(p->loop, &m->msg);
    }
    return NULL;
}

static void test_posts_from_threads(void **state)
{
    (void)state;
    struct loop *loop = loop_create(0);
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){loop, i};
        pthread_create(&threads[i], NULL, poster_main, &posters[i]);
    }
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(post_total, POSTERS * POSTS);
    loop_destroy(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deferred_tasks_run_once_each),
        cmocka_unit_test(test_what_goes_to_many_waits_for_a_lot_of_them_only),
        cmocka_unit_test(test_posts_from_threads),
    };
    return cmocka_run_group_tests_name("net loop", tests, NULL, NULL);
}
