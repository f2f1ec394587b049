#include "http/h2_mem.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* Frame header, padding length and the largest payload that is sent, with room to spare. */
enum { FRAME_BYTES_MIN = 16 * 1024, FRAME_BYTES_MAX = 17 * 1024 };
/* Blocks from this size on are refused beyond the budget: names and values of headers, tables. */
enum { LARGE_BYTES = 4 * 1024 };

static _Thread_local alignas(max_align_t) uint8_t frame_buffer[FRAME_BYTES_MAX];

/* In front of each block, for counting. */
union header {
    size_t size;
    max_align_t align;
};

/* `more` bytes for a block of `size`. */
static bool charge(struct h2_mem *m, size_t size, size_t more)
{
    if (budget_take(m->budget, more))
        return true;
    if (size >= LARGE_BYTES)
        return false;
    budget_force(m->budget, more);
    m->is_over = true;
    return true;
}

static bool charge_new(struct h2_mem *m, size_t size)
{
    size_t total;
    return !__builtin_add_overflow(size, sizeof(union header), &total) && charge(m, size, total);
}

static void *h2_malloc(size_t size, void *user)
{
    struct h2_mem *m = user;
    if (m->is_creating && m->lent == NULL && size >= FRAME_BYTES_MIN && size <= FRAME_BYTES_MAX) {
        m->lent = frame_buffer;
        return m->lent;
    }
    if (!charge_new(m, size))
        return NULL;
    union header *h = mem_alloc(sizeof(*h) + size);
    h->size = size;
    return h + 1;
}

static void h2_free(void *ptr, void *user)
{
    struct h2_mem *m = user;
    if (ptr == NULL || ptr == m->lent)
        return;
    union header *h = (union header *)ptr - 1;
    budget_give(m->budget, sizeof(*h) + h->size);
    mem_free(h);
}

static void *h2_calloc(size_t n, size_t size, void *user)
{
    struct h2_mem *m = user;
    size_t total;
    if (__builtin_mul_overflow(n, size, &total) || !charge_new(m, total))
        return NULL;
    union header *h = mem_zalloc(1, sizeof(*h) + total);
    h->size = total;
    return h + 1;
}

static void *h2_realloc(void *ptr, size_t size, void *user)
{
    struct h2_mem *m = user;
    if (ptr == NULL)
        return h2_malloc(size, user);
    if (ptr == m->lent) { /* the library does not do this today; the buffer is shared */
        void *own = h2_malloc(size, user);
        return own != NULL ? memcpy(own, ptr, size < FRAME_BYTES_MAX ? size : FRAME_BYTES_MAX) : NULL;
    }
    union header *h = (union header *)ptr - 1;
    size_t before = h->size;
    if (size > before && !charge(m, size, size - before))
        return NULL;
    if (size < before)
        budget_give(m->budget, before - size);
    h = mem_realloc(h, sizeof(*h) + size);
    h->size = size;
    return h + 1;
}

void h2_mem_init(struct h2_mem *m, struct budget *budget)
{
    *m = (struct h2_mem){.budget = budget, .mem = {m, h2_malloc, h2_free, h2_calloc, h2_realloc}};
}
