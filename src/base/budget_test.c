#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/budget.h"
#include "base/fits.h"
#include "base/str.h"
#include "support/test_random.h"

static const uint8_t seed[16] = {1};

static struct addr ip(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse_ip(str_c(text), &a), RC_OK);
    return a;
}

static enum budget_answer take(struct budget_places *all, const char *from, struct budget_place *out)
{
    struct addr a = ip(from);
    return budget_place_take(all, &a, out);
}

/* --- fits --- */

static void test_fits_at_the_edges(void **state)
{
    (void)state;
    static const size_t edges[] = {0, 1, 2, 7, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 8; j++) {
            for (size_t k = 0; k < 8; k++) {
                unsigned __int128 sum = (unsigned __int128)edges[i] + edges[j];
                assert_int_equal(fits(edges[i], edges[j], edges[k]), sum <= edges[k]);
                if (fits(edges[i], 0, edges[k]))
                    assert_int_equal(fits(edges[i], edges[j], edges[k]), edges[j] <= room_under(edges[i], edges[k]));
            }
        }
    }
    assert_int_equal(room_under(5, 3), 0);
}

/* --- bytes --- */

static void test_a_connection_keeps_its_own_share(void **state)
{
    (void)state;
    struct budget all, a, b;
    budget_init(&all, NULL, 0, 100);
    budget_init(&a, &all, 10, 80);
    budget_init(&b, &all, 10, 80);
    assert_true(budget_take(&a, 80));
    assert_false(budget_take(&a, 1)); /* its own limit */
    assert_int_equal(budget_used(&all), 70);
    assert_true(budget_take(&b, 40));
    assert_false(budget_take(&b, 1)); /* together */
    assert_int_equal(budget_used(&b), 40);
    assert_int_equal(budget_used(&all), 100);
    budget_give(&b, 40);
    budget_give(&a, 75);
    assert_int_equal(budget_used(&all), 0); /* the rest is its own */
    assert_true(budget_take(&b, 10));
    assert_int_equal(budget_used(&all), 0);
    assert_false(budget_take(&b, SIZE_MAX));
    budget_give(&b, 10);
    budget_give(&a, 5);
}

static void test_moving_takes_along_what_is_held(void **state)
{
    (void)state;
    struct budget strangers, known, a;
    budget_init(&strangers, NULL, 0, 50);
    budget_init(&known, NULL, 0, 20);
    budget_init(&a, &strangers, 0, 50);
    assert_true(budget_take(&a, 30));
    budget_move(&a, &known, 5, 100);
    assert_int_equal(budget_used(&strangers), 0);
    assert_int_equal(budget_used(&known), 25); /* more than fits: then nothing more does */
    assert_false(budget_take(&a, 1));
    budget_give(&a, 6);
    assert_true(budget_take(&a, 1));
    budget_give(&a, 25);
    assert_int_equal(budget_used(&known), 0);
}

/* Against sums made anew each time. */
static void test_budgets_against_a_twin(void **state)
{
    (void)state;
    enum { CONNS = 8, SHARES = 2 };
    struct test_random r = {.state = 7};
    struct budget shares[SHARES], conns[CONNS];
    struct {
        size_t used, own, limit;
        unsigned share;
    } twin[CONNS] = {0};
    for (unsigned i = 0; i < SHARES; i++)
        budget_init(&shares[i], NULL, 0, 500);
    for (unsigned i = 0; i < CONNS; i++) {
        twin[i].limit = 200;
        budget_init(&conns[i], &shares[0], 0, 200);
    }
    for (int step = 0; step < 20000; step++) {
        unsigned i = test_random_below(&r, CONNS), what = test_random_below(&r, 8);
        size_t sums[SHARES] = {0}, n = test_random_below(&r, 120);
        for (unsigned k = 0; k < CONNS; k++)
            sums[twin[k].share] += twin[k].used > twin[k].own ? twin[k].used - twin[k].own : 0;
        for (unsigned k = 0; k < SHARES; k++)
            assert_int_equal(budget_used(&shares[k]), sums[k]);
        if (what == 0) {
            twin[i].share = test_random_below(&r, SHARES);
            twin[i].own = test_random_below(&r, 60);
            twin[i].limit = 100 + test_random_below(&r, 200);
            budget_move(&conns[i], &shares[twin[i].share], twin[i].own, twin[i].limit);
        } else if (what < 4) {
            n = n < twin[i].used ? n : twin[i].used;
            budget_give(&conns[i], n);
            twin[i].used -= n;
        } else {
            size_t before = twin[i].used > twin[i].own ? twin[i].used - twin[i].own : 0;
            size_t after = twin[i].used + n > twin[i].own ? twin[i].used + n - twin[i].own : 0;
            bool may = twin[i].used + n <= twin[i].limit && sums[twin[i].share] + (after - before) <= 500;
            assert_int_equal(budget_take(&conns[i], n), may);
            twin[i].used += may ? n : 0;
        }
        assert_int_equal(budget_used(&conns[i]), twin[i].used);
    }
}

/* --- places --- */

static void test_strangers_by_address(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 5, .known = 2, .per_address = 2, .per_key = 1};
    struct budget_places *all = budget_places_create(&limits, seed);
    struct budget_place p[8];
    struct budget_places_use use;
    assert_int_equal(take(all, "192.0.2.1", &p[0]), BUDGET_OK);
    assert_int_equal(take(all, "192.0.2.1", &p[1]), BUDGET_OK);
    assert_int_equal(take(all, "192.0.2.1", &p[2]), BUDGET_ADDRESS_FULL);
    assert_int_equal(take(all, "192.0.2.2", &p[2]), BUDGET_OK);
    assert_int_equal(take(all, "2001:db8::1", &p[3]), BUDGET_OK);
    assert_int_equal(take(all, "2001:db8::ffff:1", &p[4]), BUDGET_OK);
    assert_int_equal(take(all, "2001:db8::2", &p[5]), BUDGET_ADDRESS_FULL); /* the same /64 */
    assert_int_equal(take(all, "2001:db8:0:1::2", &p[5]), BUDGET_STRANGERS_FULL);
    budget_places_use(all, &use);
    assert_int_equal(use.strangers, 5);
    assert_int_equal(use.holders, 3); /* a refused peer is not remembered */
    for (unsigned i = 0; i < 6; i++) {
        budget_place_leave(&p[i]);
        budget_place_leave(&p[i]);
    }
    budget_places_use(all, &use);
    assert_int_equal(use.strangers, 0);
    assert_int_equal(use.holders, 0);
    budget_places_destroy(&all);
}

/* Many devices behind one address: places of known peers do not count for it. */
static void test_known_parties_leave_the_address(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 2, .known = 300, .per_address = 1, .per_key = 3};
    struct budget_places *all = budget_places_create(&limits, seed);
    struct budget_place p[300], late;
    struct budget_places_use use;
    for (unsigned i = 0; i < 300; i++) {
        uint8_t key[32] = {(uint8_t)(i % 100)};
        assert_int_equal(take(all, "192.0.2.1", &p[i]), BUDGET_OK);
        assert_int_equal(budget_place_know(&p[i], key, sizeof(key)), BUDGET_OK);
        assert_int_equal(budget_place_know(&p[i], key, sizeof(key)), BUDGET_OK); /* once */
    }
    const uint8_t first[32] = {0}, other[32] = {200};
    assert_int_equal(take(all, "192.0.2.1", &late), BUDGET_OK);
    assert_int_equal(budget_place_know(&late, other, 32), BUDGET_KNOWN_FULL);
    budget_place_leave(&p[1]);
    assert_int_equal(budget_place_know(&late, first, 32), BUDGET_KEY_FULL);
    assert_false(late.is_known); /* it stays a stranger's, and holds up its address only */
    assert_int_equal(take(all, "192.0.2.1", &p[1]), BUDGET_ADDRESS_FULL);
    budget_place_leave(&late);
    for (unsigned i = 0; i < 300; i++)
        budget_place_leave(&p[i]);
    budget_places_use(all, &use);
    assert_int_equal(use.known, 0);
    assert_int_equal(use.holders, 0);
    budget_places_destroy(&all);
}

static void test_a_proxy_names_the_address(void **state)
{
    (void)state;
    struct budget_places_limits limits = {.strangers = 9, .known = 9, .per_address = 1};
    struct budget_places *all = budget_places_create(&limits, seed);
    struct budget_place p[3];
    struct addr from = ip("192.0.2.1");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(budget_place_take(all, NULL, &p[i]), BUDGET_OK);
    assert_int_equal(budget_place_readdress(&p[0], &from), BUDGET_OK);
    assert_int_equal(budget_place_readdress(&p[0], &from), BUDGET_OK); /* it is there already */
    assert_int_equal(budget_place_readdress(&p[1], &from), BUDGET_ADDRESS_FULL);
    budget_place_leave(&p[0]);
    assert_int_equal(budget_place_readdress(&p[1], &from), BUDGET_OK);
    budget_place_leave(&p[1]);
    budget_place_leave(&p[2]);
    budget_places_destroy(&all);
}

struct twin_place {
    bool is_held;
    bool is_known;
    unsigned of; /* which address or key */
};

static unsigned count(const struct twin_place *twin, size_t n, bool is_known, int of)
{
    unsigned found = 0;
    for (size_t i = 0; i < n; i++)
        found += twin[i].is_held && twin[i].is_known == is_known && (of < 0 || twin[i].of == (unsigned)of);
    return found;
}

/* Random operations; the twin counts anew each time. */
static void test_places_against_a_twin(void **state)
{
    (void)state;
    enum { PLACES = 40, PARTIES = 5 };
    struct budget_places_limits limits = {.strangers = 14, .known = 12, .per_address = 4, .per_key = 3};
    struct budget_places *all = budget_places_create(&limits, seed);
    struct budget_place places[PLACES] = {0};
    struct twin_place twin[PLACES] = {0};
    struct test_random r = {.state = 3};
    for (int step = 0; step < 30000; step++) {
        unsigned i = test_random_below(&r, PLACES), of = test_random_below(&r, PARTIES);
        uint8_t key[32] = {(uint8_t)of};
        struct addr from = {.family = of % 2 == 0 ? 4 : 6, .ip = {10, (uint8_t)of}};
        from.ip[9] = (uint8_t)step; /* below the /64, or unused */
        enum budget_answer want = BUDGET_OK;
        if (!twin[i].is_held) {
            if (count(twin, PLACES, false, (int)of) >= limits.per_address)
                want = BUDGET_ADDRESS_FULL;
            else if (count(twin, PLACES, false, -1) >= limits.strangers)
                want = BUDGET_STRANGERS_FULL;
            assert_int_equal(budget_place_take(all, &from, &places[i]), want);
            twin[i] = (struct twin_place){want == BUDGET_OK, false, of};
        } else if (test_random_below(&r, 3) == 0) {
            budget_place_leave(&places[i]);
            twin[i].is_held = false;
        } else if (test_random_below(&r, 2) == 0) {
            if (!twin[i].is_known && twin[i].of != of && count(twin, PLACES, false, (int)of) >= limits.per_address)
                want = BUDGET_ADDRESS_FULL;
            assert_int_equal(budget_place_readdress(&places[i], &from), want);
            if (!twin[i].is_known && want == BUDGET_OK)
                twin[i].of = of;
        } else {
            if (!twin[i].is_known && count(twin, PLACES, true, -1) >= limits.known)
                want = BUDGET_KNOWN_FULL;
            else if (!twin[i].is_known && count(twin, PLACES, true, (int)of) >= limits.per_key)
                want = BUDGET_KEY_FULL;
            assert_int_equal(budget_place_know(&places[i], key, sizeof(key)), want);
            if (!twin[i].is_known && want == BUDGET_OK)
                twin[i] = (struct twin_place){true, true, of};
        }
        struct budget_places_use use;
        budget_places_use(all, &use);
        assert_int_equal(use.strangers, count(twin, PLACES, false, -1));
        assert_int_equal(use.known, count(twin, PLACES, true, -1));
    }
    for (unsigned i = 0; i < PLACES; i++)
        budget_place_leave(&places[i]);
    budget_places_destroy(&all);
}

struct visitor {
    struct budget_places *all;
    struct budget *share;
    unsigned number;
};

static void *visit(void *ctx)
{
    struct visitor *v = ctx;
    struct test_random r = {.state = v->number + 1};
    struct budget conn;
    struct addr from = {.family = 4, .ip = {10, 0, 0, (uint8_t)(v->number % 2)}};
    budget_init(&conn, v->share, 10, 1000);
    for (int i = 0; i < 3000; i++) {
        struct budget_place place;
        size_t n = test_random_below(&r, 300);
        bool has_bytes = budget_take(&conn, n);
        if (budget_place_take(v->all, &from, &place) == BUDGET_OK)
            (void)!budget_place_know(&place, &v->number, sizeof(v->number));
        budget_place_leave(&place);
        if (has_bytes)
            budget_give(&conn, n);
    }
    return NULL;
}

static void test_workers_share(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct budget_places_limits limits = {.strangers = 3, .known = 2, .per_address = 2, .per_key = 1};
    struct budget_places *all = budget_places_create(&limits, seed);
    struct budget share;
    struct visitor visitors[THREADS];
    pthread_t threads[THREADS];
    budget_init(&share, NULL, 0, 600);
    for (unsigned i = 0; i < THREADS; i++) {
        visitors[i] = (struct visitor){all, &share, i};
        assert_int_equal(pthread_create(&threads[i], NULL, visit, &visitors[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(budget_used(&share), 0);
    struct budget_places_use use;
    budget_places_use(all, &use);
    assert_int_equal(use.strangers + use.known + use.holders, 0);
    budget_places_destroy(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits_at_the_edges),
        cmocka_unit_test(test_a_connection_keeps_its_own_share),
        cmocka_unit_test(test_moving_takes_along_what_is_held),
        cmocka_unit_test(test_budgets_against_a_twin),
        cmocka_unit_test(test_strangers_by_address),
        cmocka_unit_test(test_known_parties_leave_the_address),
        cmocka_unit_test(test_a_proxy_names_the_address),
        cmocka_unit_test(test_places_against_a_twin),
        cmocka_unit_test(test_workers_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
