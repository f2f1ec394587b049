/* Texts of ranges; and random sets of ranges against bitmaps of a small space. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "policy/range.h"
#include "support/test_random.h"

static void test_texts_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *out; /* null: refused */
    } cases[] = {
        {"10.0.0.1", "10.0.0.1"},
        {"10.0.0.1/32", "10.0.0.1"},
        {"10.1.2.3/8", "10.0.0.0/8"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"::/0", "::/0"},
        {"255.255.255.255", "255.255.255.255"},
        {"10.0.0.0-10.0.0.255", "10.0.0.0/24"},
        {"10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.2"},
        {"10.0.0.1-10.0.0.1", "10.0.0.1"},
        {"fd7a:115c:a1e0::737:1309", "fd7a:115c:a1e0::737:1309"},
        {"FD7A:0:0:1:0:0:0:1", "fd7a:0:0:1::1"},
        {"1:0:0:2:0:0:3:4", "1::2:0:0:3:4"},
        {"::1:2", "::1:2"},
        {"1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"},
        {"::102:304", "::102:304"},
        {"::ffff:10.0.0.1", "10.0.0.1"},
        {"fe80::/10", "fe80::/10"},
        {"", NULL},
        {"10.0.0", NULL},
        {"10.0.0.256", NULL},
        {"10.0.0.01", NULL},
        {"10.0.0.0/33", NULL},
        {"10.0.0.0/", NULL},
        {"10.0.0.0/08", NULL},
        {"10.0.0.0/-1", NULL},
        {"::/129", NULL},
        {"10.0.0.2-10.0.0.1", NULL},
        {"10.0.0.1-::1", NULL},
        {"10.0.0.1-", NULL},
        {"-10.0.0.1", NULL},
        {"10.0.0.1-10.0.0.2-10.0.0.3", NULL},
        {"10.0.0.0/8-10.0.0.1", NULL},
        {" 10.0.0.1", NULL},
        {"fe80::1%eth0", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[RANGE_TEXT_CAP];
        struct range r;
        bool is_read = range_parse(str_c(cases[i].in), &r);
        assert_int_equal(is_read, cases[i].out != NULL);
        if (!is_read)
            continue;
        assert_int_equal(range_format(&r, text), strlen(cases[i].out));
        assert_string_equal(text, cases[i].out);
    }
}

static void test_longest_texts_fit(void **state)
{
    (void)state;
    char text[RANGE_TEXT_CAP];
    struct range r;
    assert_true(
        range_parse(STR("1111:1111:1111:1111:1111:1111:1111:1111-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"), &r));
    assert_int_equal(range_format(&r, text), 79);
    assert_int_equal(range_format_prefix(&(struct range){0, ~(ip_number)0, 6}, text), 4);
    assert_string_equal(text, "::/0");
}

static void test_prefixes_make_up_a_range(void **state)
{
    (void)state;
    static const char *const want[] = {"10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/31"};
    struct range rest, prefix;
    char text[RANGE_TEXT_CAP];
    size_t n = 0;
    assert_true(range_parse(STR("10.0.0.1-10.0.0.9"), &rest));
    while (range_take_prefix(&rest, &prefix)) {
        range_format_prefix(&prefix, text);
        assert_true(n < ARRAY_LEN(want));
        assert_string_equal(text, want[n++]);
    }
    assert_int_equal(n, ARRAY_LEN(want));
    rest = (struct range){0, ~(ip_number)0, 6};
    assert_true(range_take_prefix(&rest, &prefix));
    assert_false(range_take_prefix(&rest, &prefix));
}

/* --- random sets, in a space of 64 addresses at either end of IPv4 and 64 of IPv6 --- */

enum { SPACE = 192, TRIES = 3000 };

struct twin {
    struct range_set set;
    bool has[SPACE];
};

static struct range at(unsigned i, unsigned n)
{
    if (i < 64)
        return (struct range){i, i + n - 1, 4};
    if (i < 128)
        return (struct range){UINT32_MAX - 127 + i, UINT32_MAX - 127 + i + n - 1, 4};
    return (struct range){~(ip_number)0 - 191 + i, ~(ip_number)0 - 191 + i + n - 1, 6};
}

static void fill(struct test_random *random, struct twin *t)
{
    *t = (struct twin){0};
    for (uint32_t k = test_random_below(random, 8); k > 0; k--) {
        unsigned i = test_random_below(random, SPACE), left = 64 - i % 64;
        unsigned n = 1 + test_random_below(random, left < 20 ? left : 20);
        range_set_add(&t->set, at(i, n));
        for (unsigned j = 0; j < n; j++)
            t->has[i + j] = true;
    }
    range_set_join(&t->set);
}

static void check(const struct twin *t)
{
    for (unsigned i = 0; i < SPACE; i++) {
        struct range one = at(i, 1);
        assert_int_equal(range_set_has(&t->set, one.family, one.lo), t->has[i]);
        assert_int_equal(range_set_meets(&t->set, &one), t->has[i]);
        assert_int_equal(range_set_holds(&t->set, &one), t->has[i]);
        if (i % 64 == 63)
            continue;
        struct range two = at(i, 2);
        assert_int_equal(range_set_meets(&t->set, &two), t->has[i] || t->has[i + 1]);
        assert_int_equal(range_set_holds(&t->set, &two), t->has[i] && t->has[i + 1]);
    }
    for (size_t i = 1; i < t->set.n; i++) {
        const struct range *a = &t->set.v[i - 1], *b = &t->set.v[i];
        assert_true(a->family < b->family || (a->family == b->family && a->hi + 1 < b->lo));
    }
}

static void test_sets_equal_bitmaps(void **state)
{
    (void)state;
    struct test_random random = {.state = 7};
    for (int i = 0; i < TRIES; i++) {
        struct twin a, b;
        fill(&random, &a);
        fill(&random, &b);
        check(&a);
        range_set_subtract(&a.set, &b.set);
        for (unsigned k = 0; k < SPACE; k++)
            a.has[k] = a.has[k] && !b.has[k];
        check(&a);
        range_set_fini(&a.set);
        range_set_fini(&b.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_are_read_and_written),
        cmocka_unit_test(test_longest_texts_fit),
        cmocka_unit_test(test_prefixes_make_up_a_range),
        cmocka_unit_test(test_sets_equal_bitmaps),
    };
    return cmocka_run_group_tests_name("policy range", tests, NULL, NULL);
}
