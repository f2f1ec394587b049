/* Heap memory. Out of memory ends the process with a message (exit status 86): no caller has a sensible way on, and
 * anything whose size a peer controls is capped before it gets here. Any thread; never returns null. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/compiler.h"

#define MEM_OOM_EXIT_STATUS 86

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
/* Zeroed, checked for overflow of `n * size`. */
void *mem_zalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *mem_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/* `n * size` checked for overflow. */
void *mem_realloc_array(void *ptr, size_t n, size_t size) __attribute__((returns_nonnull));
void *mem_dup(const void *ptr, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((returns_nonnull));
/* A C string of `len` bytes of `text`. */
char *mem_strndup(const char *text, size_t len) __attribute__((returns_nonnull));
void mem_free(void *ptr);
/* Overwrites before freeing; for secrets. Null is fine. */
void mem_free_secret(void *ptr, size_t size);

#define MEM_NEW(type) ((type *)mem_zalloc(1, sizeof(type)))

/* Test only: the `n`-th allocation from now (1 = the next) fails; 0 switches it off. Returns how many allocations were
 * made since the last call. */
unsigned long mem_test_fail_at(unsigned long n);

#endif
