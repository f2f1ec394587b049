/* Growing arrays, sets of bits, counted references, sums within a limit: the small helpers that are headers only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/fits.h"
#include "base/refs.h"
#include "base/vec.h"
#include "support/test_random.h"

static void test_arrays_grow_by_doubling(void **state UNUSED)
{
    struct {
        unsigned *v, n, cap;
    } l = {0};
    for (unsigned i = 0; i < 1000; i++) {
        VEC_ROOM(l.v, l.n, l.cap, 3);
        l.v[l.n++] = i;
        assert_true(l.n <= l.cap && l.cap < 2 * l.n + 3);
    }
    assert_int_equal(l.cap, 1536);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(l.v[i], i);
    mem_free(l.v);
}

static void test_arrays_by_id_are_zeroed(void **state UNUSED)
{
    struct test_random r = {3};
    uint64_t *v = NULL, shadow[5000] = {0};
    size_t cap = 0;
    VEC_COVER(v, cap, 0, 4);
    assert_int_equal(cap, 4);
    for (int i = 0; i < 2000; i++) {
        size_t at = test_random_below(&r, (uint32_t)(i * 2 + 1));
        VEC_COVER(v, cap, at, 4);
        assert_true(cap > at);
        shadow[at] = v[at] = v[at] + 1;
        for (size_t k = 0; k < cap && i % 100 == 0; k++)
            assert_int_equal(v[k], k < 5000 ? shadow[k] : 0);
    }
    assert_true(cap < 5000);
    mem_free(v);
}

static void test_the_largest_index_ends_the_doubling(void **state UNUSED)
{
    assert_true(vec_cap_beyond(0, SIZE_MAX / 4, 1) == SIZE_MAX / 4 + 1);
    assert_true(vec_cap_beyond(0, SIZE_MAX / 4, 3) > SIZE_MAX / 4);
    assert_true(vec_cap_beyond(SIZE_MAX / 4, SIZE_MAX / 4, 1) > SIZE_MAX / 4);
}

static void test_bits_follow_an_array(void **state UNUSED)
{
    enum { BITS = 200 };
    uint64_t set[4] = {0}, other[4] = {0};
    bool shadow[256] = {false};
    struct test_random r = {5};
    assert_true(bits_words(0) == 0 && bits_words(1) == 1 && bits_words(64) == 1 && bits_words(BITS) == 4);
    for (int step = 0; step < 2000; step++) {
        size_t i = test_random_below(&r, BITS);
        shadow[i] = test_random_below(&r, 4) == 0;
        if (shadow[i])
            bit_put(set, i);
        else
            bit_drop(set, i);
        size_t next = 0, from = test_random_below(&r, 256);
        BITS_EACH (at, set, 4) {
            for (; next < at; next++)
                assert_false(shadow[next]);
            assert_true(shadow[next++] && bit_get(set, at));
        }
        for (; next < 256; next++)
            assert_false(shadow[next]);
        for (next = from; next < 256 && !shadow[next];)
            next++;
        assert_int_equal(bits_next(set, 4, from), next);
    }
    assert_int_equal(bits_next(set, 4, 256), 256);
    bit_put(other, 255);
    assert_false(bits_meet(set, other, 4));
    bit_put(set, 255);
    assert_true(bits_meet(set, other, 4) && !bits_meet(set, other, 3));
}

static void test_the_last_reference_is_known(void **state UNUSED)
{
    atomic_uint refs;
    atomic_init(&refs, 1);
    assert_true(refs_is_only(&refs));
    refs_take(&refs);
    assert_false(refs_is_only(&refs));
    assert_false(refs_drop(&refs));
    assert_true(refs_drop(&refs));
}

static void test_sums_do_not_wrap(void **state UNUSED)
{
    assert_true(fits(3, 4, 7) && !fits(3, 5, 7) && !fits(8, 0, 7));
    assert_true(!fits(SIZE_MAX, 2, 7) && !fits(2, SIZE_MAX, SIZE_MAX) && fits(1, SIZE_MAX - 1, SIZE_MAX));
    assert_true(room_under(3, 7) == 4 && room_under(7, 7) == 0 && room_under(9, 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays_grow_by_doubling),
        cmocka_unit_test(test_arrays_by_id_are_zeroed),
        cmocka_unit_test(test_the_largest_index_ends_the_doubling),
        cmocka_unit_test(test_bits_follow_an_array),
        cmocka_unit_test(test_the_last_reference_is_known),
        cmocka_unit_test(test_sums_do_not_wrap),
    };
    return cmocka_run_group_tests_name("vec", tests, NULL, NULL);
}
