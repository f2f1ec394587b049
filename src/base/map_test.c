/* Maps against an array, and the hash they are built on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/map.h"
#include "support/test_random.h"

enum { TWIN_KEYS = 300 };

/* Against an array of flags, with keys few enough that all of them come and go. */
static void test_maps_follow_a_twin(void **state UNUSED)
{
    static char keys[TWIN_KEYS][16];
    static int values[2][TWIN_KEYS];
    void *twin[TWIN_KEYS] = {0};
    struct test_random r = {41};
    struct map m;
    size_t n = 0;
    map_init(&m, (const uint8_t *)"0123456789abcdef");
    assert_null(map_get(&m, "x", 1));
    assert_null(map_remove(&m, "x", 1));
    for (int i = 0; i < TWIN_KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "%d", i * i % 1000000);
    for (int step = 0; step < 60000; step++) {
        uint32_t i = test_random_below(&r, TWIN_KEYS);
        uint32_t which = test_random_below(&r, 2);
        /* Phases of filling and of emptying, so that long runs form and are broken up. */
        if (test_random_below(&r, 10) < (step / 5000 % 2 == 0 ? 7u : 3u)) {
            assert_ptr_equal(map_put(&m, keys[i], strlen(keys[i]), &values[which][i]), twin[i]);
            n += twin[i] == NULL;
            twin[i] = &values[which][i];
        } else {
            assert_ptr_equal(map_remove(&m, keys[i], strlen(keys[i])), twin[i]);
            n -= twin[i] != NULL;
            twin[i] = NULL;
        }
        assert_int_equal(m.n, n);
        i = test_random_below(&r, TWIN_KEYS);
        assert_ptr_equal(map_get(&m, keys[i], strlen(keys[i])), twin[i]);
        if (step % 1000 != 0)
            continue;
        size_t pos = 0, seen = 0;
        while (map_next(&m, &pos) != NULL)
            seen++;
        assert_int_equal(seen, n);
        for (i = 0; i < TWIN_KEYS; i++)
            assert_ptr_equal(map_get(&m, keys[i], strlen(keys[i])), twin[i]);
    }
    map_fini(&m);
    assert_null(map_get(&m, "x", 1));
}

static void test_maps_take_any_bytes_as_keys(void **state UNUSED)
{
    struct map m;
    int a, b;
    map_init(&m, NULL);
    assert_null(map_put(&m, "", 0, &a));
    assert_null(map_put(&m, "\0", 1, &b));
    assert_ptr_equal(map_get(&m, "", 0), &a);
    assert_ptr_equal(map_get(&m, "\0", 1), &b);
    assert_null(map_get(&m, "\0\0", 2));
    map_fini(&m);
}

/* src: CPython 3.11, which hashes bytes so, PYTHONHASHSEED=0 being the zero seed. */
static void test_hashes_have_their_reference_values(void **state UNUSED)
{
    const uint64_t zero[2] = {0, 0};
    assert_true(siphash13(zero, "a", 1) == 0x407448d2b89b1813u);
    assert_true(siphash13(zero, "abcdefg", 7) == 0x6db12aae9070f506u);
    assert_true(siphash13(zero, "abcdefgh", 8) == 0x3f7b849c0b8e35eau);
    assert_true(siphash13(zero, "the quick brown fox", 19) == 0x5a17575ad3449cbau);
}

/* What a seeded hash promises: length, seed and every bit of the input count. */
static void test_hashes_depend_on_everything(void **state UNUSED)
{
    const uint64_t seed[2] = {1, 2}, other[2] = {1, 3};
    uint8_t text[32] = {0};
    for (size_t len = 0; len < sizeof(text); len++) {
        uint64_t h = siphash13(seed, text, len);
        assert_true(h != siphash13(seed, text, len + 1));
        assert_true(h != siphash13(other, text, len));
        for (size_t bit = 0; bit < len * 8; bit++) {
            text[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(h != siphash13(seed, text, len));
            text[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps_follow_a_twin),
        cmocka_unit_test(test_maps_take_any_bytes_as_keys),
        cmocka_unit_test(test_hashes_have_their_reference_values),
        cmocka_unit_test(test_hashes_depend_on_everything),
    };
    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
