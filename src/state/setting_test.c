/* Settings: what is accepted, what snapshots show, what is undone. */
#include "state/setting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "state/testing.h"

static int set_up(void **state)
{
    int rc = test_tailnet_set_up(state);
    test_tailnet_settle(*state, TEST_NOW_MS);
    return rc;
}

static const char *value_of(const struct setting *s)
{
    return s != NULL ? s->value : "(none)";
}

static void set(struct test_tailnet *f, struct str name, struct str value)
{
    const struct setting *s;
    struct err err;
    if (state_setting_set(f->st, name, value, &s, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(s->name, name.p);
    assert_string_equal(s->value, value.p);
}

static void refused(struct test_tailnet *f, struct str name, struct str value, enum rc why, const char *word)
{
    const struct setting *s;
    struct err err;
    assert_int_equal(state_setting_set(f->st, name, value, &s, &err), why);
    if (strstr(err.text, word) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, word);
}

static void test_a_setting_has_the_value_that_it_was_given_last(void **state)
{
    struct test_tailnet *f = *state;
    set(f, STR("motd"), STR("hello"));
    set(f, STR("a.b_c-1"), STR(""));
    set(f, STR("motd"), STR("gr\xc3\xbc\xc3\x9f dich"));
    assert_string_equal(value_of(state_setting(f->st, STR("motd"))), "gr\xc3\xbc\xc3\x9f dich");
    assert_string_equal(value_of(state_setting(f->st, STR("a.b_c-1"))), "");
    assert_null(state_setting(f->st, STR("MOTD")));
    size_t pos = 0;
    assert_string_equal(state_setting_next(f->st, &pos)->name, "motd");
    assert_string_equal(state_setting_next(f->st, &pos)->name, "a.b_c-1");
    assert_null(state_setting_next(f->st, &pos));
    assert_int_equal(state_setting_delete(f->st, STR("motd"), NULL), RC_OK);
    assert_int_equal(state_setting_delete(f->st, STR("motd"), NULL), RC_NOT_FOUND);
    assert_null(state_setting(f->st, STR("motd")));
}

static void test_odd_names_and_values_are_refused(void **state)
{
    struct test_tailnet *f = *state;
    char longest[SETTING_VALUE_CAP + 1] = "";
    memset(longest, 'x', SETTING_VALUE_CAP);
    refused(f, STR(""), STR("x"), RC_INVALID, "no name of a setting");
    refused(f, STR("Motd"), STR("x"), RC_INVALID, "'Motd' is no name");
    refused(f, STR("a b"), STR("x"), RC_INVALID, "no name");
    refused(f, str_n(longest, SETTING_NAME_CAP), STR("x"), RC_INVALID, "no name");
    refused(f, STR("motd"), str_n(longest, SETTING_VALUE_CAP), RC_INVALID, "at most 4096 bytes");
    refused(f, STR("motd"), STR("a\0b"), RC_INVALID, "without NUL");
    refused(f, STR("motd"), STR("\xff"), RC_INVALID, "UTF-8");
    refused(f, STR("motd"), STR("a\xc3"), RC_INVALID, "UTF-8");
    longest[SETTING_VALUE_CAP - 1] = '\0';
    set(f, STR("motd"), str_c(longest));
    longest[SETTING_NAME_CAP - 1] = '\0';
    set(f, str_c(longest), STR("x"));
}

static void test_there_is_a_limit(void **state)
{
    struct test_tailnet *f = *state;
    char name[32];
    for (int i = 0; i < SETTINGS_MAX; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        set(f, str_c(name), STR("x"));
    }
    refused(f, STR("one.more"), STR("x"), RC_LIMIT, "there are 1000 settings already");
    set(f, STR("s7"), STR("other"));
    assert_int_equal(state_setting_delete(f->st, STR("s7"), NULL), RC_OK);
    set(f, STR("one.more"), STR("x"));
}

static void test_a_snapshot_shows_what_is_on_disk(void **state)
{
    struct test_tailnet *f = *state;
    set(f, STR("motd"), STR("hello"));
    struct row_batch *first = state_take_batch(f->st);
    set(f, STR("motd"), STR("bye"));
    struct change *c = state_publish(f->st, TEST_NOW_MS);
    assert_null(c);
    state_committed(f->st, first->seq);
    row_batch_destroy(&first);
    c = state_publish(f->st, TEST_NOW_MS);
    assert_true(c->kept_changed && !c->users_changed && c->item_n == 0);
    assert_string_equal(value_of(snapshot_setting(c->before, STR("motd"))), "(none)");
    assert_string_equal(value_of(snapshot_setting(c->after, STR("motd"))), "hello");
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_string_equal(value_of(snapshot_setting(state_snapshot(f->st), STR("motd"))), "bye");
    assert_string_equal(value_of(snapshot_setting(c->after, STR("motd"))), "hello");
    change_unref(&c);
    assert_int_equal(state_setting_delete(f->st, STR("motd"), NULL), RC_OK);
    test_tailnet_settle(f, TEST_NOW_MS);
    assert_null(snapshot_setting(state_snapshot(f->st), STR("motd")));
}

static void test_what_the_disk_refuses_never_was(void **state)
{
    struct test_tailnet *f = *state;
    set(f, STR("motd"), STR("hello"));
    set(f, STR("old"), STR("1"));
    test_tailnet_settle(f, TEST_NOW_MS);
    set(f, STR("motd"), STR("bye"));
    set(f, STR("new"), STR("2"));
    assert_int_equal(state_setting_delete(f->st, STR("old"), NULL), RC_OK);
    struct row_batch *b = state_take_batch(f->st);
    assert_true(state_refused(f->st, b->seq, TEST_NOW_MS));
    row_batch_destroy(&b);
    assert_string_equal(value_of(state_setting(f->st, STR("motd"))), "hello");
    assert_string_equal(value_of(state_setting(f->st, STR("old"))), "1");
    assert_null(state_setting(f->st, STR("new")));
    assert_null(state_publish(f->st, TEST_NOW_MS));
}

static enum rc load(struct test_tailnet *f, uint64_t id, const char *name, const char *value)
{
    struct setting *s = (struct setting *)entity_create(&entity_setting);
    struct err err;
    s->id = id;
    snprintf(s->name, sizeof(s->name), "%s", name);
    snprintf(s->value, sizeof(s->value), "%s", value);
    return state_load(f->st, &entity_setting, &s->row, &err);
}

static void test_rows_that_nothing_here_writes_are_refused(void **state)
{
    struct test_tailnet *f = *state;
    assert_int_equal(load(f, 7, "motd", "hello"), RC_OK);
    assert_int_equal(load(f, 7, "other", ""), RC_INVALID);
    assert_int_equal(load(f, 8, "motd", ""), RC_INVALID);
    assert_int_equal(load(f, 0, "zero", ""), RC_INVALID);
    assert_int_equal(load(f, 9, "No Name", ""), RC_INVALID);
    assert_int_equal(load(f, 10, "latin", "\xe9"), RC_INVALID);
    assert_int_equal(load(f, 3, "first", "1"), RC_OK);
    size_t pos = 0;
    assert_string_equal(state_setting_next(f->st, &pos)->name, "first");
    assert_string_equal(state_setting_next(f->st, &pos)->name, "motd");
    assert_null(state_setting_next(f->st, &pos));
    set(f, STR("next"), STR("x"));
    assert_int_equal(state_setting(f->st, STR("next"))->id, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, test_tailnet_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_setting_has_the_value_that_it_was_given_last),
        TEST(test_odd_names_and_values_are_refused),
        TEST(test_there_is_a_limit),
        TEST(test_a_snapshot_shows_what_is_on_disk),
        TEST(test_what_the_disk_refuses_never_was),
        TEST(test_rows_that_nothing_here_writes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
