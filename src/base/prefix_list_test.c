#include "base/prefix_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct prefix prefix_of(const char *text)
{
    struct prefix p;
    assert_int_equal(prefix_parse(str_c(text), &p, NULL), RC_OK);
    return p;
}

static void test_sorts_and_drops_duplicates(void **state)
{
    (void)state;
    struct prefix v[] = {prefix_of("fd00::/8"), prefix_of("10.0.0.0/8"), prefix_of("10.0.0.0/16"),
                         prefix_of("10.0.0.0/8")};
    struct prefix_list *l = prefix_list_create(v, 4);
    assert_int_equal(l->n, 3);
    for (size_t i = 1; i < l->n; i++)
        assert_true(prefix_compare(&l->v[i - 1], &l->v[i]) < 0);
    prefix_list_unref(&l);
    assert_null(l);
}

static void test_has_only_the_very_prefix(void **state)
{
    (void)state;
    struct prefix v[] = {prefix_of("10.0.0.0/8"), prefix_of("192.168.0.0/24")};
    struct prefix inside = prefix_of("10.1.0.0/16"), other = prefix_of("172.16.0.0/12"),
                  same = prefix_of("192.168.0.0/24");
    struct prefix_list *l = prefix_list_create(v, 2);
    assert_true(prefix_list_has(l, &same));
    assert_false(prefix_list_has(l, &inside));
    assert_false(prefix_list_has(l, &other));
    prefix_list_unref(&l);
}

static void test_the_empty_list_is_null(void **state)
{
    (void)state;
    struct prefix v[] = {prefix_of("10.0.0.0/8")};
    struct prefix_list *none = prefix_list_create(v, 0), *one = prefix_list_create(v, 1);
    assert_null(none);
    assert_null(prefix_list_ref(none));
    assert_false(prefix_list_has(none, &v[0]));
    assert_true(prefix_list_eq(none, NULL));
    assert_false(prefix_list_eq(none, one));
    prefix_list_unref(&none);
    prefix_list_unref(&one);
}

static void test_equality_is_of_what_they_hold(void **state)
{
    (void)state;
    struct prefix v[] = {prefix_of("10.0.0.0/8"), prefix_of("fd00::/8")};
    struct prefix w[] = {prefix_of("fd00::/8"), prefix_of("10.0.0.0/8")};
    struct prefix x[] = {prefix_of("fd00::/8"), prefix_of("10.0.0.0/9")};
    struct prefix_list *a = prefix_list_create(v, 2), *b = prefix_list_create(w, 2), *c = prefix_list_create(x, 2);
    struct prefix_list *again = prefix_list_ref(a);
    assert_true(prefix_list_eq(a, b));
    assert_true(prefix_list_eq(a, again));
    assert_false(prefix_list_eq(a, c));
    prefix_list_unref(&a);
    assert_true(prefix_list_eq(again, b)); /* a reference keeps it */
    prefix_list_unref(&again);
    prefix_list_unref(&b);
    prefix_list_unref(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts_and_drops_duplicates),
        cmocka_unit_test(test_has_only_the_very_prefix),
        cmocka_unit_test(test_the_empty_list_is_null),
        cmocka_unit_test(test_equality_is_of_what_they_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
