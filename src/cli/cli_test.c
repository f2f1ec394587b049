/* The table of commands, parsing and usage errors, and the commands that need no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <string.h>
#include <unistd.h>

#include "cli/testing.h"

/* --- the table --- */

static void check_options(const struct cli_option *options)
{
    unsigned n = 0;
    for (const struct cli_option *o = options; o->name != NULL; o++, n++) {
        assert_non_null(o->help);
        assert_true(strlen(o->help) > 3);
        for (const struct cli_option *other = options; other != o; other++) {
            assert_string_not_equal(o->name, other->name);
            assert_true(o->letter == 0 || o->letter != other->letter);
        }
    }
    assert_true(n < CLI_MAX_OPTIONS);
}

static void test_table_is_consistent(void **state)
{
    (void)state;
    check_options(cli_fullscale()->options);
    for (const struct cli_command *c = cli_fullscale()->commands; c->name != NULL; c++) {
        char call[64];
        snprintf(call, sizeof(call), "fullscale %s%s%s", c->group, c->group[0] != '\0' ? " " : "", c->name);
        assert_non_null(c->run);
        assert_true(strlen(c->summary) > 5);
        assert_true(c->summary[strlen(c->summary) - 1] != '.');
        if (strstr(c->examples, call) == NULL)
            fail_msg("%s has no example", call);
        assert_true(c->args_max < CLI_MAX_ARGS && c->args_min <= c->args_max);
        assert_true((c->args_max > 0) == (c->args[0] != '\0'));
        check_options(c->options);
        for (const struct cli_command *other = cli_fullscale()->commands; other != c; other++) {
            if (strcmp(other->group, c->group) == 0)
                assert_false(cli_word_is(c->name, other->name, other->aliases));
        }
        bool is_group_known = c->group[0] == '\0';
        for (const struct cli_group *g = cli_fullscale()->groups; g->name != NULL; g++)
            is_group_known = is_group_known || strcmp(g->name, c->group) == 0;
        assert_true(is_group_known);
    }
}

static void test_each_command_has_help(void **state)
{
    (void)state;
    for (const struct cli_command *c = cli_fullscale()->commands; c->name != NULL; c++) {
        char line[128];
        snprintf(line, sizeof(line), "fullscale %s %s --help", c->group, c->name);
        struct cli_test_result r = cli_test_run(line);
        assert_int_equal(r.status, CLI_EXIT_OK);
        assert_non_null(strstr(r.out, c->summary));
        assert_non_null(strstr(r.out, "Examples:"));
        for (const struct cli_option *o = c->options; o->name != NULL; o++)
            assert_non_null(strstr(r.out, o->name));
        assert_null(strchr(r.out, '\033'));
        cli_test_result_free(&r);
    }
    cli_test_expect("fullscale", CLI_EXIT_OK, "preauthkeys", NULL);
    cli_test_expect("fullscale help users create", CLI_EXIT_OK, "fullscale users create - ", NULL);
    cli_test_expect("fullscale help nodes", CLI_EXIT_OK, "expire a node's key", NULL);
    cli_test_expect("fullscale nodes", CLI_EXIT_USAGE, "Usage:", NULL);
    cli_test_expect("fullscale --version", CLI_EXIT_OK, "fullscale 1.2.3\n", NULL);
    cli_test_expect("fullscale version -o json", CLI_EXIT_OK, "\"version\": \"1.2.3\"", NULL);
    cli_test_expect("fullscale version -oyaml", CLI_EXIT_OK, "version: ", NULL);
}

/* --- parsing --- */

static struct cli_call parse_ok(struct arena *a, const char *line)
{
    struct cli_call call;
    struct err err;
    char *words = (char *)(uintptr_t)arena_str(a, str_c(line)).p;
    char *argv[32];
    int argc = 0;
    char *rest;
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    if (cli_parse(a, cli_fullscale(), argc, argv, &call, &err) != RC_OK)
        fail_msg("%s: %s", line, err.text);
    return call;
}

static void test_parsing(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct cli_program program = {.spec = cli_fullscale(), .version = "1.2.3"};
    struct cli_run r = {.program = &program};
    r.call = parse_ok(&a, "fullscale -c x.yaml pre new -u anna --reusable -e24h --tags=tag:a -t tag:b,tag:c -o json");
    assert_string_equal(r.call.command->group, "preauthkeys");
    assert_string_equal(r.call.command->name, "create");
    assert_string_equal(cli_value(&r, "config"), "x.yaml");
    assert_string_equal(cli_value(&r, "user"), "anna");
    assert_string_equal(cli_value(&r, "expiration"), "24h");
    assert_string_equal(cli_value(&r, "tags"), "tag:a,tag:b,tag:c");
    assert_true(cli_flag(&r, "reusable"));
    assert_false(cli_flag(&r, "ephemeral"));

    r.call = parse_ok(&a, "fullscale n mv --id 3 --force -- --odd-name");
    assert_string_equal(r.call.command->name, "rename");
    assert_string_equal(cli_value(&r, "identifier"), "3");
    assert_string_equal(cli_arg(&r, 0), "--odd-name");
    assert_true(cli_flag(&r, "force"));

    r.call = parse_ok(&a, "fullscale preauthkeys create --reusable=false --ephemeral=true --user=1");
    assert_false(cli_flag(&r, "reusable"));
    assert_true(cli_flag(&r, "ephemeral"));
    assert_string_equal(cli_value(&r, "user"), "1");

    r.call = parse_ok(&a, "fullscale users create - --disp=A");
    assert_string_equal(cli_arg(&r, 0), "-");
    assert_string_equal(cli_value(&r, "display-name"), "A");
    arena_fini(&a);
}

static void test_usage_errors_teach(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"fullscale usres list", "did you mean \"fullscale users\"?"},
        {"fullscale users lsit", "did you mean \"fullscale users list\"?"},
        {"fullscale nodes zzzzzzzzzzz", "there is no command \"fullscale nodes zzzzzzzzzzz\""},
        {"fullscale users create", "\"fullscale users create\" needs NAME\nSee `fullscale users create --help`."},
        {"fullscale users create a b", "\"b\" is one argument too many"},
        {"fullscale users list --nmae x", "did you mean --name?"},
        {"fullscale users list --zzzzzzz", "has no option --zzzzzzz"},
        {"fullscale users list -z", "has no option -z"},
        {"fullscale users list --name", "--name needs a value: --name NAME"},
        {"fullscale users list -o xml", "--output must be one of table json json-line yaml, not \"xml\""},
        {"fullscale serve --force=maybe", "--force takes no value"},
        {"fullscale completion tcsh", "SHELL must be one of bash zsh fish"},
        {"fullscale log level a b c", "one argument too many"},
        {"fullscale nodes expire x --disable --expiry 3d", "give either --disable or --expiry, not both"},
        {"fullscale nodes expire x --expiry soon", "must be a time such as"},
        {"fullscale preauthkeys create --expiration soon", "must be a duration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cli_test_expect(rows[i][0], CLI_EXIT_USAGE, NULL, rows[i][1]);
    cli_test_expect("fullscale users create -o json", CLI_EXIT_USAGE, NULL, "needs NAME");
    cli_test_expect("fullscale --", CLI_EXIT_OK, "Usage:", NULL);
}

/* --- commands that need no server --- */

static void test_config_commands(void **state)
{
    (void)state;
    char path[64];
    char line[128];
    snprintf(path, sizeof(path), "/tmp/fullscale-config-%d.yaml", (int)getpid());
    cli_test_write_file(path, "server_url: http://10.0.0.1:8080\nwokers: 2\n");
    snprintf(line, sizeof(line), "fullscale config check -c %s", path);
    cli_test_expect(line, CLI_EXIT_OK, ": good. Clients connect to http://10.0.0.1:8080\n", "did you mean workers?");
    snprintf(line, sizeof(line), "fullscale config show --config=%s", path);
    cli_test_expect(line, CLI_EXIT_OK, "server_url: \"http://10.0.0.1:8080\"\n", NULL);
    snprintf(line, sizeof(line), "fullscale serve --config %s", path);
    cli_test_expect(line, CLI_EXIT_OK, NULL, NULL);
    assert_non_null(cli_test_served);
    cli_test_write_file(path, "server_url: nonsense\n");
    snprintf(line, sizeof(line), "fullscale configtest -c %s", path);
    cli_test_expect(line, CLI_EXIT_ERROR, NULL, ":1:13: server_url must be http:// or https://");
    snprintf(line, sizeof(line), "fullscale serve -c %s", path);
    cli_test_expect(line, CLI_EXIT_CONFIG, NULL, ":1:13: server_url must be");
    unlink(path);
    cli_test_expect(line, CLI_EXIT_CONFIG, NULL, "No such file");
    cli_test_expect("fullscale config reference", CLI_EXIT_OK, "environment: FULLSCALE_LISTEN_ADDR", NULL);
    cli_test_expect("fullscale config reference -o markdown", CLI_EXIT_OK, "| `listen_addr` | address |", NULL);
    cli_test_expect("fullscale config reference -o json", CLI_EXIT_OK, "\"name\": \"listen_addr\"", NULL);
    cli_test_expect("fullscale config reference -o yaml", CLI_EXIT_OK, "#listen_addr: \"[::]:8080\"", NULL);
}

static void test_no_server(void **state)
{
    (void)state;
    cli_test_expect("fullscale nodes list --socket /nonexistent/x.sock", CLI_EXIT_ERROR, NULL,
                    "no server answers at /nonexistent/x.sock: start one with `fullscale serve`");
    cli_test_expect("fullscale nodes list --socket /nonexistent/x.sock -o json", CLI_EXIT_ERROR, NULL,
                    "{\"error\":\"no server answers at /nonexistent/x.sock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_consistent),
        cmocka_unit_test(test_each_command_has_help),
        cmocka_unit_test(test_parsing),
        cmocka_unit_test(test_usage_errors_teach),
        cmocka_unit_test(test_config_commands),
        cmocka_unit_test(test_no_server),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
