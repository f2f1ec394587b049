/* Parsers that are worse than they look: what the checks of base/fuzz_bounds.h are for must be found by them
 * (tools/run-tests fuzz). TOY says which one this program is. */
#include <stdlib.h>
#include <string.h>

#include "base/fuzz_bounds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { linear, loop, move, search, grow, costly, large };
static volatile unsigned sum;

/* Each byte is compared with all before it. */
static void compare_all(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        for (size_t k = 0; k < i; k++)
            sum += data[i] != data[k];
    }
}

/* Takes pieces from the front of a buffer. */
static void move_rest(const uint8_t *data, size_t size)
{
    uint8_t *rest = malloc(size);
    memcpy(rest, data, size);
    for (; size > 8; size -= 8)
        memmove(rest, rest + 8, size - 8);
    sum += rest[0];
    free(rest);
}

/* Asks at every byte for one that never comes. */
static void search_rest(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += memchr(data + i, '\x7f', size - i) != NULL;
}

/* A buffer that grows by as much as it needs now. */
static void grow_little(const uint8_t *data, size_t size)
{
    uint8_t *all = NULL;
    for (size_t i = 0; i < size; i += 8) {
        all = realloc(all, i + 8);
        all[i] = data[i];
    }
    free(all);
}

static void repeat(const uint8_t *data, size_t size, unsigned times)
{
    for (unsigned t = 0; t < times; t++) {
        for (size_t i = 0; i < size; i++)
            sum += data[i] == t;
    }
}

static void allocate(size_t n)
{
    void *volatile kept = malloc(n); /* or the compiler removes it as unused */
    free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bounds_mark();
    switch (TOY) {
    case linear: repeat(data, size, 1); break;
    case loop: compare_all(data, size); break;
    case move: move_rest(data, size); break;
    case search: search_rest(data, size); break;
    case grow: grow_little(data, size); break;
    case costly: repeat(data, size, 200); break;
    default: allocate(100 * size); break;
    }
    fuzz_bounds_check(size, 1 << 20, TOY == large ? 64 : 1000);
    fuzz_bounds_check_steps(size, 100000, TOY == costly ? 100 : 1000000);
    return 0;
}
