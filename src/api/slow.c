/* A thread for what takes seconds: no loop that serves waits for it. */
#include <pthread.h>
#include <stdatomic.h>

#include "api/call_internal.h"
#include "base/mem.h"

enum { SLOW_MAX = 3 }; /* at once, most of which wait; each holds a policy with all nodes, twice */

struct api_slow {
    struct loop *loop;
    pthread_t thread;
    atomic_uint n;
};

static void *slow_main(void *arg)
{
    struct api_slow *s = arg;
    pthread_setname_np(pthread_self(), "api-slow");
    loop_run(s->loop);
    return NULL;
}

struct api_slow *api_slow_create(void)
{
    struct api_slow *s = MEM_NEW(struct api_slow);
    s->loop = loop_create(UINT32_MAX);
    pthread_create(&s->thread, NULL, slow_main, s);
    return s;
}

void api_slow_destroy(struct api_slow **at)
{
    struct api_slow *s = *at;
    *at = NULL;
    if (s == NULL)
        return;
    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    loop_destroy(&s->loop);
    mem_free(s);
}

enum rc api_slow_enter(struct api_call *call, struct err *err)
{
    struct api_slow *s = call->api->slow;
    if (atomic_fetch_add(&s->n, 1) >= SLOW_MAX) {
        atomic_fetch_sub(&s->n, 1);
        return err_set(err, RC_LIMIT, "others are asking the same at this moment: try again in some seconds");
    }
    call->is_slow = true;
    return RC_OK;
}

void api_slow_leave(struct api_call *call)
{
    if (call->is_slow)
        atomic_fetch_sub(&call->api->slow->n, 1);
}

void api_slow_post(struct api_call *call)
{
    loop_post(call->api->slow->loop, &call->slow_msg);
}
