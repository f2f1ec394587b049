/* The thread that compares policies, which takes seconds for large ones: no event loop waits for it. */
#include <pthread.h>
#include <stdatomic.h>

#include "api/call_internal.h"
#include "base/mem.h"

enum { COMPARE_MAX = 3 }; /* comparisons at once, most of which wait; each holds a policy with all nodes, twice */

struct api_compare_thread {
    struct loop *loop;
    pthread_t thread;
    atomic_uint n; /* comparisons that run or wait */
};

static void *compare_main(void *arg)
{
    struct api_compare_thread *t = arg;
    pthread_setname_np(pthread_self(), "api-compare");
    loop_run(t->loop);
    return NULL;
}

struct api_compare_thread *api_compare_thread_create(void)
{
    struct api_compare_thread *t = MEM_NEW(struct api_compare_thread);
    t->loop = loop_create(UINT32_MAX);
    pthread_create(&t->thread, NULL, compare_main, t);
    return t;
}

void api_compare_thread_destroy(struct api_compare_thread **at)
{
    struct api_compare_thread *t = *at;
    *at = NULL;
    if (t == NULL)
        return;
    loop_stop(t->loop);
    pthread_join(t->thread, NULL);
    loop_destroy(&t->loop);
    mem_free(t);
}

enum rc api_compare_enter(struct api_call *call, struct err *err)
{
    struct api_compare_thread *t = call->api->compare_thread;
    if (atomic_fetch_add(&t->n, 1) >= COMPARE_MAX) {
        atomic_fetch_sub(&t->n, 1);
        return err_set(err, RC_LIMIT, "others are asking the same at this moment: try again in some seconds");
    }
    call->is_comparing = true;
    return RC_OK;
}

void api_compare_leave(struct api_call *call)
{
    if (call->is_comparing)
        atomic_fetch_sub(&call->api->compare_thread->n, 1);
}

void api_compare_post(struct api_call *call)
{
    loop_post(call->api->compare_thread->loop, &call->compare_msg);
}
