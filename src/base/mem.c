#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_ulong alloc_count;
static atomic_ulong alloc_fail_at;

static NORETURN void out_of_memory(size_t size)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "fullscale: out of memory (asked for %zu bytes)\n", size);
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(MEM_OOM_EXIT_STATUS);
    _exit(MEM_OOM_EXIT_STATUS);
}

static void *checked(void *ptr, size_t size)
{
    if (ptr == NULL)
        out_of_memory(size);
    return ptr;
}

/* The failure sweep costs one relaxed load and no shared write unless a test armed it. */
static bool fails_now(void)
{
    unsigned long at = atomic_load_explicit(&alloc_fail_at, memory_order_relaxed);
    if (at == 0)
        return false;
    return atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed) + 1 == at;
}

unsigned long mem_test_fail_at(unsigned long n)
{
    atomic_store(&alloc_fail_at, n);
    return atomic_exchange(&alloc_count, 0);
}

static size_t product(size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        out_of_memory(SIZE_MAX);
    return total;
}

void *mem_alloc(size_t size)
{
    return checked(fails_now() ? NULL : malloc(size > 0 ? size : 1), size);
}

void *mem_zalloc(size_t n, size_t size)
{
    size_t total = product(n, size);
    return checked(fails_now() ? NULL : calloc(1, total > 0 ? total : 1), total);
}

void *mem_realloc(void *ptr, size_t size)
{
    return checked(fails_now() ? NULL : realloc(ptr, size > 0 ? size : 1), size);
}

void *mem_realloc_array(void *ptr, size_t n, size_t size)
{
    return mem_realloc(ptr, product(n, size));
}

void *mem_dup(const void *ptr, size_t size)
{
    void *copy = mem_alloc(size);
    if (size > 0)
        memcpy(copy, ptr, size);
    return copy;
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

void mem_free(void *ptr)
{
    free(ptr);
}

void mem_free_secret(void *ptr, size_t size)
{
    if (ptr == NULL)
        return;
    explicit_bzero(ptr, size);
    free(ptr);
}
