/* Linked lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

static void test_lists(void **state UNUSED)
{
    struct item {
        int n;
        struct list link;
    } items[5];
    struct list head;
    int sum = 0;
    list_init(&head);
    assert_true(list_is_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_push_back(&head, &items[i].link);
    }
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    LIST_EACH (it, &head)
        sum = sum * 10 + LIST_ENTRY(it, struct item, link)->n;
    assert_int_equal(sum, 1234);
    LIST_EACH_SAFE (it, &head)
        list_remove(it);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
