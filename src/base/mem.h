/* Heap memory. Out of memory ends the process with a message (exit status 86): no caller could go on sensibly, and any
 * size that a peer controls is capped before it gets here. Any thread; never returns null. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/compiler.h"

#define MEM_OOM_EXIT_STATUS 86

/* `size` bytes, not zeroed. */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
/* `n` times `size` bytes, zeroed; ends the process when the product overflows. */
void *mem_zalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
/* Changes the size of an allocation; null allocates. */
void *mem_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/* The same for `n` elements of `size` bytes; ends the process when the product overflows. */
void *mem_realloc_array(void *ptr, size_t n, size_t size) __attribute__((returns_nonnull));
/* A copy of `size` bytes. */
void *mem_dup(const void *ptr, size_t size) __attribute__((returns_nonnull));
/* A copy of a C string. */
char *mem_strdup(const char *text) __attribute__((returns_nonnull));
/* A C string of `len` bytes of `text`. */
char *mem_strndup(const char *text, size_t len) __attribute__((returns_nonnull));
/* Null is fine. */
void mem_free(void *ptr);
/* Overwrites before freeing; for secrets. Null is fine. */
void mem_free_secret(void *ptr, size_t size);

#define MEM_NEW(type) ((type *)mem_zalloc(1, sizeof(type)))

/* Test only: the `n`-th allocation from now (1 = the next) fails; 0 switches it off. Returns how many allocations were
 * made since the last call. */
unsigned long mem_test_fail_at(unsigned long n);

#endif
