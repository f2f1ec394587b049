/* The timer wheel against a plain array of deadlines, and its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/wheel.h"
#include "support/test_random.h"

struct item {
    struct list link;
    int64_t due; /* 0: not in the wheel */
};

static struct item *item_of(struct list *link)
{
    return LIST_ENTRY(link, struct item, link);
}

/* Takes one that is due; null: none is left. */
static struct item *take(struct list *due)
{
    struct list *link = due->next;
    if (list_is_empty(due))
        return NULL;
    list_remove(link);
    return item_of(link);
}

static void test_each_deadline_comes_in_its_tick(void **state UNUSED)
{
    enum { ITEMS = 200, TICKS = 3000 };
    static struct item items[ITEMS];
    static struct wheel w;
    struct test_random r = {7};
    int64_t now = 1000;
    size_t served = 0;
    wheel_init(&w, now);
    for (size_t i = 0; i < ITEMS; i++)
        list_init(&items[i].link);
    while (now < TICKS) {
        for (int k = 0; k < 5; k++) {
            struct item *it = &items[test_random_below(&r, ITEMS)];
            it->due = now + 1 + test_random_below(&r, WHEEL_SLOTS - 1);
            wheel_put(&w, &it->link, it->due);
        }
        struct item *gone = &items[test_random_below(&r, ITEMS)];
        list_remove(&gone->link);
        gone->due = 0;
        struct list due;
        now += 1 + test_random_below(&r, 3);
        wheel_advance(&w, now, &due);
        int64_t last = 0;
        for (struct item *it = take(&due); it != NULL; it = take(&due)) {
            assert_true(it->due != 0 && it->due <= now && it->due >= last);
            last = it->due;
            it->due = 0;
            served++;
        }
        for (size_t i = 0; i < ITEMS; i++)
            assert_true(items[i].due == 0 || items[i].due > now);
    }
    assert_true(served > 1000);
}

static void test_what_is_late_comes_next(void **state UNUSED)
{
    static struct wheel w;
    struct item a = {0};
    struct list due;
    wheel_init(&w, 10);
    list_init(&a.link);
    wheel_put(&w, &a.link, 3);
    wheel_advance(&w, 10, &due);
    assert_null(take(&due));
    wheel_advance(&w, 11, &due);
    assert_ptr_equal(take(&due), &a);
    wheel_put(&w, &a.link, 12);
    wheel_advance(&w, 5, &due); /* back */
    assert_null(take(&due));
    assert_int_equal(w.now, 11);
}

static void test_what_is_far_away_comes_early_to_be_put_off(void **state UNUSED)
{
    static struct wheel w;
    struct item a = {0};
    struct list due;
    wheel_init(&w, 0);
    list_init(&a.link);
    wheel_put(&w, &a.link, 10 * WHEEL_SLOTS);
    wheel_advance(&w, WHEEL_SLOTS - 2, &due);
    assert_null(take(&due));
    wheel_advance(&w, WHEEL_SLOTS - 1, &due);
    assert_ptr_equal(take(&due), &a);
}

static void test_a_long_pause_serves_each_slot_once(void **state UNUSED)
{
    static struct wheel w;
    static struct item items[WHEEL_SLOTS - 1];
    struct list due;
    size_t n = 0;
    wheel_init(&w, 0);
    for (int i = 0; i < WHEEL_SLOTS - 1; i++) {
        list_init(&items[i].link);
        wheel_put(&w, &items[i].link, i + 1);
    }
    wheel_advance(&w, INT64_C(1) << 40, &due);
    for (struct item *it = take(&due); it != NULL; it = take(&due), n++) {
        assert_ptr_equal(it, &items[n]);
        wheel_put(&w, &it->link, w.now); /* while others still wait in `due` */
    }
    assert_int_equal(n, WHEEL_SLOTS - 1);
    wheel_advance(&w, w.now + 1, &due);
    for (n = 0; take(&due) != NULL;)
        n++;
    assert_int_equal(n, WHEEL_SLOTS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_deadline_comes_in_its_tick),
        cmocka_unit_test(test_what_is_late_comes_next),
        cmocka_unit_test(test_what_is_far_away_comes_early_to_be_put_off),
        cmocka_unit_test(test_a_long_pause_serves_each_slot_once),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
