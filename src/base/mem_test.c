/* Heap memory, arenas, counted buffers; what happens when memory is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rcbuf.h"
#include "support/oom_sweep.h"
#include "support/test_random.h"

LOG_MODULE("mem_test");

static void test_memory(void **state UNUSED)
{
    char *p = mem_strndup("abcdef", 3);
    assert_string_equal(p, "abc");
    p = mem_realloc(p, 100);
    assert_string_equal(p, "abc");
    mem_free_secret(p, 100);
    mem_free_secret(NULL, 5);
    mem_free(NULL);
    p = mem_dup("xyz", 4);
    assert_string_equal(p, "xyz");
    mem_free(p);
    p = mem_zalloc(0, 10);
    assert_non_null(p);
    mem_free(p);
    int *numbers = mem_realloc_array(NULL, 10, sizeof(int));
    mem_free(numbers);
    p = mem_strdup("");
    assert_string_equal(p, "");
    mem_free(p);
}

static void overflow_zalloc(void *ctx UNUSED)
{
    volatile size_t huge = SIZE_MAX / 2;
    mem_free(mem_zalloc(huge, 4));
}

static void overflow_realloc(void *ctx UNUSED)
{
    volatile size_t huge = SIZE_MAX / 2;
    mem_free(mem_realloc_array(NULL, huge, 4));
}

static void test_overflowing_sizes_end_cleanly(void **state UNUSED)
{
    int status = oom_sweep_child(overflow_zalloc, NULL, 0, true);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MEM_OOM_EXIT_STATUS);
    status = oom_sweep_child(overflow_realloc, NULL, 0, true);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MEM_OOM_EXIT_STATUS);
}

static void test_arenas(void **state UNUSED)
{
    struct arena a = {0};
    struct test_random r = {37};
    struct {
        uint8_t *p;
        size_t n;
    } pieces[200];
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        pieces[i].n = test_random_below(&r, i % 50 == 0 ? 20000 : 200);
        pieces[i].p = arena_alloc(&a, pieces[i].n);
        assert_int_equal((uintptr_t)pieces[i].p % _Alignof(max_align_t), 0);
        memset(pieces[i].p, (int)i, pieces[i].n);
    }
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        for (size_t k = 0; k < pieces[i].n; k++)
            assert_int_equal(pieces[i].p[k], (uint8_t)i);
    }
    const uint8_t *zeros = arena_zalloc(&a, 10, 30);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(zeros[i], 0);
    struct str copy = arena_str(&a, STR("a\0b"));
    assert_memory_equal(copy.p, "a\0b", 4);
    assert_string_equal(arena_str(&a, (struct str){NULL, 0}).p, "");
    assert_string_equal(arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    assert_true(a.used_bytes > 300);
    arena_fini(&a);
    assert_int_equal(a.used_bytes, 0);
    arena_fini(&a);
}

static void test_counted_buffers(void **state UNUSED)
{
    struct rcbuf *_Atomic slot = NULL;
    struct rcbuf *a = rcbuf_create("abc", 3);
    struct rcbuf *b = rcbuf_ref(a);
    assert_memory_equal(b->data, "abc", 3);
    rcbuf_unref(&a);
    assert_null(a);
    rcbuf_unref(&a);
    assert_int_equal(b->len, 3);
    struct rcbuf *first = b;
    assert_ptr_equal(rcbuf_slot_offer(&slot, b), first);
    assert_ptr_equal(rcbuf_slot_offer(&slot, rcbuf_create("late", 4)), first);
    b = slot;
    rcbuf_unref(&b);
    a = rcbuf_create(NULL, 10);
    memset(a->data, 1, 10);
    rcbuf_unref(&a);
}

static void all_of_base(void *ctx UNUSED)
{
    static char keys[100][16];
    struct buf b = {0};
    struct arena a = {0};
    struct map m;
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%d and %s", i, "some more text to make it grow");
    for (int i = 0; i < 100; i++)
        arena_printf(&a, "%s", buf_cstr(&b));
    arena_zalloc(&a, 100, 100);
    map_init(&m, NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%d", i);
        map_put(&m, keys[i], strlen(keys[i]), &b);
    }
    struct rcbuf *counted = rcbuf_create(buf_at(&b), buf_len(&b));
    log_info("something", LOG_STR("text", buf_str(&b)));
    char *copy = mem_strdup(buf_cstr(&b));
    void *grown = mem_realloc_array(mem_zalloc(1, 1), 10, 10);
    mem_free(grown);
    mem_free_secret(copy, strlen(copy));
    rcbuf_unref(&counted);
    map_fini(&m);
    arena_fini(&a);
    buf_fini(&b);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(all_of_base, NULL) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_overflowing_sizes_end_cleanly),
        cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_counted_buffers),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
