/* Sets and memberships against plain tables; frozen versions stay as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "policy/policy.h"
#include "engine/cow_sets.h"
#include "engine/view.h"
#include "support/test_random.h"

enum { IDS = 700, NUMBERS = 150, WORDS = IDS / 64 + 2, VERSIONS = 6, STEPS = 20000 };

/* The expected content of a version. */
struct model {
    uint64_t in[NUMBERS][WORDS];
    struct membership membership[IDS];
};

struct version {
    struct cow_table sets, members;
    struct model *is;
};

static void check_version(const struct version *v)
{
    for (size_t number = 0; number < NUMBERS; number++) {
        uint64_t set[WORDS] = {0}, few[3] = {0};
        id_set_mark(cow_sets_get(&v->sets, number), set, WORDS);
        assert_memory_equal(set, v->is->in[number], sizeof(set));
        id_set_mark(cow_sets_get(&v->sets, number), few, 2);
        assert_memory_equal(few, v->is->in[number], 2 * sizeof(few[0]));
        assert_int_equal(few[2], 0);
    }
    for (uint64_t id = 0; id < IDS; id++) {
        struct membership s = memberships_get(&v->members, id);
        assert_int_equal(s.class, v->is->membership[id].class);
        assert_int_equal(s.owner, v->is->membership[id].owner);
    }
    assert_null(cow_sets_get(&v->sets, 1 << 20));
    assert_int_equal(memberships_get(&v->members, 1 << 20).class, ENGINE_NO_CLASS);
}

static void drop_version(struct version *v)
{
    cow_sets_fini(&v->sets);
    memberships_fini(&v->members);
    free(v->is);
    *v = (struct version){0};
}

static struct model *copy_model(const struct model *m)
{
    struct model *copy = malloc(sizeof(*copy));
    assert_non_null(copy);
    memcpy(copy, m, sizeof(*copy));
    return copy;
}

static void change_something(struct test_random *r, struct version *now)
{
    /* Low numbers and ids more often, so that sets fill and become empty again. */
    uint32_t number = test_random_below(r, 1 + test_random_below(r, NUMBERS));
    uint32_t id = test_random_below(r, 1 + test_random_below(r, IDS));
    uint64_t *in = now->is->in[number];
    if (test_random_below(r, 2) == 0) {
        cow_sets_add(&now->sets, number, id);
        bit_put(in, id);
    } else {
        cow_sets_remove(&now->sets, number, id);
        bit_drop(in, id);
    }
    struct membership membership = {test_random_below(r, 3) == 0 ? ENGINE_NO_CLASS : number, id % 7};
    memberships_put(&now->members, id, membership);
    now->is->membership[id] = membership;
}

static void test_versions_stay(void **state)
{
    (void)state;
    struct test_random r = {77};
    struct version now = {.is = calloc(1, sizeof(struct model))}, old[VERSIONS] = {0};
    assert_non_null(now.is);
    for (size_t id = 0; id < IDS; id++)
        now.is->membership[id].class = ENGINE_NO_CLASS;
    for (int step = 0; step < STEPS; step++) {
        change_something(&r, &now);
        struct version *v = &old[test_random_below(&r, VERSIONS)];
        if (test_random_below(&r, 100) == 0) {
            if (v->is != NULL)
                check_version(v);
            drop_version(v);
            *v = (struct version){cow_table_freeze(&now.sets), cow_table_freeze(&now.members), copy_model(now.is)};
        }
    }
    check_version(&now);
    drop_version(&now); /* the writer may be freed first */
    for (size_t i = 0; i < VERSIONS; i++) {
        check_version(&old[i]);
        drop_version(&old[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_versions_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
