/* What is kept in the slots of the model: encoded forms, made once for all threads that send them. */
#include "netmap/netmap_internal.h"

#include <pthread.h>

#include "base/mem.h"

/* Taken only by a thread that finds a slot empty: workers wake for the same change at the same moment, and one of them
 * does the work. Readers of a filled slot take nothing. */
static pthread_mutex_t fill_lock = PTHREAD_MUTEX_INITIALIZER;

void netmap_fill_lock(void)
{
    pthread_mutex_lock(&fill_lock);
}

void netmap_fill_unlock(void)
{
    pthread_mutex_unlock(&fill_lock);
}

struct rcbuf *netmap_frame_begin(struct rcbuf *_Atomic *frame)
{
    struct rcbuf *held = atomic_load_explicit(frame, memory_order_acquire);
    if (held != NULL)
        return held;
    netmap_fill_lock();
    held = atomic_load_explicit(frame, memory_order_acquire);
    if (held != NULL)
        netmap_fill_unlock();
    return held;
}

struct rcbuf *netmap_frame_end(struct rcbuf *_Atomic *frame, struct rcbuf *taken)
{
    struct rcbuf *held = rcbuf_slot_offer(frame, taken);
    netmap_fill_unlock();
    return held;
}

void netmap_frames_fini(struct netmap_frames *f)
{
    for (int coding = 0; coding < NETMAP_CODINGS_N; coding++) {
        struct rcbuf *held = atomic_load_explicit(&f->of[coding], memory_order_acquire);
        rcbuf_unref(&held);
    }
}

static void frames_destroy(void *held)
{
    netmap_frames_fini(held);
    mem_free(held);
}

struct netmap_frames *netmap_frames_in(const struct cache_slot *slot)
{
    struct netmap_frames *found = cache_slot_get(slot);
    return found != NULL ? found : cache_slot_offer(slot, MEM_NEW(struct netmap_frames), frames_destroy);
}
