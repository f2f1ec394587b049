#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limiter.h"
#include "base/str.h"
#include "support/test_random.h"

static const uint8_t seed[16] = {1};

static struct addr ip(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse_ip(str_c(text), &a), RC_OK);
    return a;
}

/* How many of `n` tries are let through. */
static unsigned taken(struct limiter *l, const char *from, int64_t per_second, int64_t now_ms, unsigned n)
{
    struct addr a = ip(from);
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++)
        count += limiter_take(l, &a, per_second, now_ms);
    return count;
}

static void test_limiter(void **state)
{
    (void)state;
    struct limiter l;
    limiter_init(&l, seed);
    assert_int_equal(taken(&l, "192.0.2.1", 5, 1000, 100), 50); /* a burst of ten seconds' worth */
    assert_int_equal(taken(&l, "192.0.2.1", 5, 1000, 1), 0);
    assert_int_equal(taken(&l, "192.0.2.1", 5, 1199, 1), 0);
    assert_int_equal(taken(&l, "192.0.2.1", 5, 1200, 2), 1);
    assert_int_equal(taken(&l, "192.0.2.1", 5, 3200, 100), 10);
    assert_int_equal(taken(&l, "192.0.2.1", 5, 10000000, 100), 50); /* never more */
    assert_int_equal(taken(&l, "192.0.2.2", 5, 10000000, 100), 50); /* another address has its own tokens */
    assert_int_equal(taken(&l, "192.0.2.3", 0, 10000000, 1000), 1000);
    limiter_fini(&l);
}

static void test_limiter_ipv6(void **state)
{
    (void)state;
    struct limiter l;
    limiter_init(&l, seed);
    assert_int_equal(taken(&l, "2001:db8:1:2::1", 1, 1000, 7), 7);
    assert_int_equal(taken(&l, "2001:db8:1:2:ffff::9", 1, 1000, 7), 3); /* the same /64 */
    assert_int_equal(taken(&l, "2001:db8:1:3::1", 1, 1000, 20), 10);
    limiter_fini(&l);
}

static void test_limiter_spares_unix_sockets_only(void **state)
{
    (void)state;
    struct limiter l;
    struct addr none = {0};
    limiter_init(&l, seed);
    assert_int_equal(taken(&l, "127.0.0.1", 1, 1000, 1000), 10); /* limited, too: a proxy there forwards strangers */
    assert_int_equal(taken(&l, "::1", 1, 1000, 1000), 10);
    for (unsigned i = 0; i < 100; i++)
        assert_true(limiter_take(&l, &none, 1, 1000)); /* a unix socket */
    limiter_fini(&l);
}

static void test_bucket_paid_before_it_is_looked_at(void **state)
{
    (void)state;
    struct bucket b = {0};
    bucket_pay(&b, 1200);
    bucket_refill(&b, 100, 1000, 77);
    assert_int_equal(bucket_wait_ms(&b, 100), 2000);
}

static void test_bucket_debt(void **state)
{
    (void)state;
    struct bucket b = {0};
    bucket_refill(&b, 100, 1000, 5);
    bucket_pay(&b, 1000);
    assert_int_equal(bucket_wait_ms(&b, 100), 0);
    bucket_pay(&b, 1);
    assert_int_equal(bucket_wait_ms(&b, 100), 10);
    bucket_refill(&b, 100, 1000, 14);
    assert_int_equal(bucket_wait_ms(&b, 100), 1);
    bucket_refill(&b, 100, 1000, 15);
    assert_int_equal(bucket_wait_ms(&b, 100), 0);
    bucket_refill(&b, 100, 1000, INT64_MAX / 2); /* nothing overflows */
    bucket_pay(&b, 1000);
    assert_int_equal(bucket_wait_ms(&b, 100), 0);
    bucket_pay(&b, 1);
    assert_true(bucket_wait_ms(&b, 100) > 0);
}

/* A caller that waits as long as bucket_wait_ms gets the rate, and never more than burst and rate together. */
static void test_bucket_keeps_the_rate(void **state)
{
    (void)state;
    struct test_random r = {.state = 1};
    for (int round = 0; round < 50; round++) {
        struct bucket b = {0};
        int64_t per_second = 1 + (int64_t)test_random_below(&r, 1000000),
                burst = 1 + (int64_t)test_random_below(&r, 1000000);
        int64_t start_ms = 1000, now_ms = start_ms, paid = 0, last = 0;
        for (int i = 0; i < 1000; i++) {
            bucket_refill(&b, per_second, burst, now_ms);
            last = (int64_t)test_random_below(&r, 70000);
            bucket_pay(&b, last);
            paid += last;
            now_ms += bucket_wait_ms(&b, per_second);
        }
        bucket_refill(&b, per_second, burst, now_ms);
        assert_int_equal(bucket_wait_ms(&b, per_second), 0);
        assert_true(paid <= burst + (now_ms - start_ms) * per_second / 1000 + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_limiter_ipv6),
        cmocka_unit_test(test_limiter_spares_unix_sockets_only),
        cmocka_unit_test(test_bucket_debt),
        cmocka_unit_test(test_bucket_paid_before_it_is_looked_at),
        cmocka_unit_test(test_bucket_keeps_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
