/* Files on disk, the reference, what is printed, and the table itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "codec/json.h"
#include "config/schema_internal.h"
#include "config/testing.h"
#include "config/value_internal.h"

static void test_reference_lists_each_row(void **ctx)
{
    (void)ctx;
    for (int format = CONFIG_REFERENCE_TEXT; format <= CONFIG_REFERENCE_JSON; format++) {
        struct buf out = {0};
        config_reference((enum config_reference_format)format, &out);
        const char *text = buf_cstr(&out);
        for (size_t i = 0; i < schema_rows_n && format != CONFIG_REFERENCE_YAML; i++) {
            assert_non_null(strstr(text, schema_rows[i].name));
            if (format == CONFIG_REFERENCE_JSON)
                assert_non_null(strstr(text, value_type_name(schema_rows[i].type)[0] == 'c'
                                                 ? schema_rows[i].name
                                                 : value_type_name(schema_rows[i].type)));
        }
        buf_fini(&out);
    }
}

/* The example file, with the comment signs of its keys taken away, is a file that sets every key to its default. */
static void test_example_file_parses(void **ctx)
{
    (void)ctx;
    struct buf out = {0};
    struct buf plain_text = {0};
    config_reference(CONFIG_REFERENCE_YAML, &out);
    struct str rest = buf_str(&out);
    struct str line;
    while (rest.len > 0) {
        str_cut(rest, '\n', &line, &rest);
        if (line.len > 0 && line.p[0] == '#')
            line = str_n(line.p + 1, line.len - 1);
        struct str trimmed = str_trim(line);
        if (trimmed.len > 0 && trimmed.p[0] != '#' && !str_starts(line, STR(" Fullscale")))
            buf_printf(&plain_text, "%.*s\n", STR_ARG(line));
    }
    struct config *cfg = testing_parse(&testing_source, buf_cstr(&plain_text));
    assert_string_equal(cfg->server_url, "https://fullscale.example.com");
    assert_string_equal(cfg->unix_socket, "/run/fullscale/fullscale.sock");
    for (size_t i = 0; config_warning(cfg, i) != NULL; i++) {
        const char *expected[] = {"override_local_dns", "nothing here speaks TLS", "is the example's"};
        assert_true(i < ARRAY_LEN(expected));
        assert_true(testing_warns(cfg, expected[i]));
    }
    buf_fini(&out);
    buf_fini(&plain_text);
    config_destroy(&cfg);
}

static void test_dump_reads_back(void **ctx)
{
    (void)ctx;
    struct config *cfg = testing_parse(
        &testing_source, "dns: {nameservers: {global: [1.1.1.1], split: {a.b: [9.9.9.9]}}, extra_records: "
                         "[{name: x.y, type: A, value: 1.2.3.4}]}\nnode.expiry: 36h\nprefixes.v6: ''\n");
    struct buf first = {0};
    struct buf second = {0};
    config_dump(cfg, &first);
    struct config *again = testing_parse(&testing_source, buf_cstr(&first));
    config_dump(again, &second);
    assert_string_equal(buf_cstr(&first), buf_cstr(&second));
    assert_non_null(strstr(buf_cstr(&first), "node.expiry: \"1d12h\"\n"));
    assert_non_null(strstr(buf_cstr(&first), "unix_socket_permission: \"0770\"\n"));
    buf_fini(&first);
    buf_fini(&second);
    config_destroy(&cfg);
    config_destroy(&again);
}

static void test_secrets_are_never_printed(void **ctx)
{
    (void)ctx;
    struct schema_row row = *schema_find(STR("server_url"));
    row.is_secret = true;
    struct config cfg = {.server_url = "hunter2"};
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    value_write(&row, &cfg, &w);
    assert_string_equal(buf_cstr(&out), "\"(secret)\"");
    struct arena a = {0};
    struct value_error error;
    struct value_item item = {STR("hunter2"), 1, 1};
    assert_int_equal(value_set(&a, &row, "", &item, 1, &cfg, &error), RC_INVALID);
    assert_null(strstr(error.why, "hunter2"));
    buf_fini(&out);
    arena_fini(&a);
}

/* Each row's default is good, its field is its own, and its name, environment name and meaning are usable. */
static void test_table_is_consistent(void **ctx)
{
    (void)ctx;
    for (size_t i = 0; i < schema_rows_n; i++) {
        const struct schema_row *row = &schema_rows[i];
        assert_non_null(row->meaning);
        assert_non_null(row->def);
        assert_true(strlen(row->meaning) > 10);
        assert_true(strlen(row->name) + sizeof(SCHEMA_ENV_PREFIX) < SCHEMA_ENV_CAP);
        assert_ptr_equal(schema_find(str_c(row->name)), row);
        assert_null(schema_find_old(str_c(row->name)));
        assert_true((row->type == SCHEMA_CHOICE) == (row->choices != NULL));
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(row->offset, schema_rows[j].offset);
    }
    for (size_t i = 0; i < schema_olds_n; i++) {
        const struct schema_old *old = &schema_olds[i];
        assert_null(schema_find(str_c(old->name)));
        if (old->kind == SCHEMA_OLD_MOVED && strcmp(old->now, "prefixes.*") != 0)
            assert_non_null(schema_find(str_c(old->now)));
        assert_true(old->kind == SCHEMA_OLD_MOVED || old->kind == SCHEMA_OLD_QUIET || old->note != NULL);
    }
}

/* A file with this text, which the teardown removes. */
static char path[32];

static void write_yaml(const char *yaml)
{
    snprintf(path, sizeof(path), "/tmp/fullscale-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
    close(fd);
}

static int remove_yaml(void **ctx)
{
    (void)ctx;
    return unlink(path);
}

static void test_load_from_disk(void **ctx)
{
    (void)ctx;
    write_yaml("workers: 3\nwrokers: 4\n");
    struct config *cfg;
    struct err err;
    struct config_source src = testing_source;
    src.path = path;
    assert_int_equal(config_load(&src, &cfg, &err), RC_OK);
    assert_int_equal(cfg->workers, 3);
    assert_string_equal(config_path(cfg), path);
    config_destroy(&cfg);

    char env[64];
    snprintf(src.checkout_path, sizeof(src.checkout_path), "%s", path);
    src.path = NULL;
    assert_int_equal(config_load(&src, &cfg, &err), RC_OK);
    assert_string_equal(config_path(cfg), path);
    config_destroy(&cfg);
    snprintf(src.checkout_path, sizeof(src.checkout_path), "/nonexistent/data/config.yaml");
    snprintf(env, sizeof(env), "FULLSCALE_CONFIG=%s", path);
    src.path = NULL;
    src.env = (const char *const[]){env, NULL};
    struct buf report = {0};
    assert_int_equal(config_check(&src, &report), RC_OK);
    assert_non_null(strstr(buf_cstr(&report), ":2:1: unknown key wrokers: did you mean workers?\n"));
    buf_clear(&report);
    src.path = "/nonexistent/config.yaml";
    assert_int_equal(config_load(&src, &cfg, &err), RC_NOT_FOUND);
    assert_string_equal(err.file, src.path);
    assert_int_equal(config_check(&src, &report), RC_NOT_FOUND);
    src.path = "/tmp";
    assert_int_equal(config_load(&src, &cfg, &err), RC_IO);
    assert_null(cfg);
    buf_fini(&report);
}

static void test_check_reports_everything(void **ctx)
{
    (void)ctx;
    write_yaml("workers: x\nlisten_addr: y\nfoo_bar_baz: 1\n");
    struct config_source src = testing_source;
    src.path = path;
    struct buf report = {0};
    assert_int_equal(config_check(&src, &report), RC_INVALID);
    assert_non_null(strstr(buf_cstr(&report), ":1:10: workers must"));
    assert_non_null(strstr(buf_cstr(&report), ":2:14: listen_addr must"));
    assert_non_null(strstr(buf_cstr(&report), "warning: "));
    buf_fini(&report);
}

static void test_system_source(void **ctx)
{
    (void)ctx;
    struct config_source src;
    config_source_system("x", &src);
    assert_string_equal(src.path, "x");
    struct addr ip;
    assert_true(src.primary_ip[0] == '\0' || addr_parse_ip(str_c(src.primary_ip), &ip) == RC_OK);
}

static void test_distance(void **ctx)
{
    (void)ctx;
    static const struct {
        const char *a, *b;
        size_t distance;
    } rows[] = {{"", "", 0},       {"", "abc", 3},          {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
                {"Abc", "aBC", 0}, {"listen", "listne", 1}, {"a", "b", 1},  {"abcd", "acbd", 1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_distance(str_c(rows[i].a), str_c(rows[i].b)), rows[i].distance);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_lists_each_row),
        cmocka_unit_test(test_example_file_parses),
        cmocka_unit_test(test_dump_reads_back),
        cmocka_unit_test(test_secrets_are_never_printed),
        cmocka_unit_test(test_table_is_consistent),
        cmocka_unit_test_teardown(test_load_from_disk, remove_yaml),
        cmocka_unit_test_teardown(test_check_reports_everything, remove_yaml),
        cmocka_unit_test(test_system_source),
        cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests_name("config load", tests, NULL, NULL);
}
