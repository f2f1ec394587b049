#include "http/h2_mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* Frame header, padding length and the largest payload that is sent, with room to spare. */
enum { FRAME_BYTES_MIN = 16 * 1024, FRAME_BYTES_MAX = 17 * 1024 };

static _Thread_local alignas(max_align_t) uint8_t frame_buffer[FRAME_BYTES_MAX];

/* In front of each block, for counting. */
union header {
    size_t size;
    max_align_t align;
};

static void *h2_malloc(size_t size, void *user)
{
    struct h2_mem *m = user;
    if (m->is_creating && m->lent == NULL && size >= FRAME_BYTES_MIN && size <= FRAME_BYTES_MAX) {
        m->lent = frame_buffer;
        return m->lent;
    }
    union header *h = mem_alloc(sizeof(*h) + size);
    h->size = size;
    m->bytes += size;
    return h + 1;
}

static void h2_free(void *ptr, void *user)
{
    struct h2_mem *m = user;
    if (ptr == NULL || ptr == m->lent)
        return;
    union header *h = (union header *)ptr - 1;
    m->bytes -= h->size;
    mem_free(h);
}

static void *h2_calloc(size_t n, size_t size, void *user)
{
    struct h2_mem *m = user;
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    union header *h = mem_zalloc(1, sizeof(*h) + total);
    h->size = total;
    m->bytes += total;
    return h + 1;
}

static void *h2_realloc(void *ptr, size_t size, void *user)
{
    struct h2_mem *m = user;
    if (ptr == NULL)
        return h2_malloc(size, user);
    if (ptr == m->lent) { /* it never was, but the shared buffer must not be resized */
        void *own = h2_malloc(size, user);
        return memcpy(own, ptr, size < FRAME_BYTES_MAX ? size : FRAME_BYTES_MAX);
    }
    union header *h = (union header *)ptr - 1;
    m->bytes += size - h->size;
    h = mem_realloc(h, sizeof(*h) + size);
    h->size = size;
    return h + 1;
}

void h2_mem_init(struct h2_mem *m)
{
    *m = (struct h2_mem){.mem = {m, h2_malloc, h2_free, h2_calloc, h2_realloc}};
}
