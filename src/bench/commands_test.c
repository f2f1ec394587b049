/* The command line of `fullscale-bench`: what its help shows, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "bench/commands.h"

struct result {
    enum cli_exit status;
    char *out; /* freed by drop */
    char *err;
};

static struct result run(const char *line)
{
    static const struct cli_program program = {.spec = &bench_spec, .version = "1.2.3"};
    char words[256];
    char *argv[16];
    char *rest;
    int argc = 0;
    struct result r;
    size_t n;
    snprintf(words, sizeof(words), "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    argv[argc] = NULL;
    FILE *out = open_memstream(&r.out, &n);
    FILE *err = open_memstream(&r.err, &n);
    r.status = cli_run_args(argc, argv, &program, out, err);
    fclose(out);
    fclose(err);
    return r;
}

static void drop(struct result *r)
{
    free(r->out);
    free(r->err);
}

static void test_help_shows_each_command(void **state)
{
    (void)state;
    struct result all = run("fullscale-bench --help");
    assert_int_equal(all.status, CLI_EXIT_OK);
    assert_non_null(strstr(all.out, "fullscale-bench COMMAND"));
    for (const struct cli_command *c = bench_spec.commands; c->name != NULL; c++) {
        char line[64];
        snprintf(line, sizeof(line), "\n  %s ", c->name);
        assert_non_null(strstr(all.out, line));
        snprintf(line, sizeof(line), "fullscale-bench %s --help", c->name);
        struct result one = run(line);
        assert_int_equal(one.status, CLI_EXIT_OK);
        assert_non_null(strstr(one.out, "Examples:"));
        assert_null(strstr(one.out, "fullscale bench"));
        for (const struct cli_option *o = c->options; o->name != NULL; o++) {
            snprintf(line, sizeof(line), "--%s ", o->name);
            assert_non_null(strstr(one.out, line));
        }
        drop(&one);
    }
    drop(&all);
}

static void test_version_names_the_program(void **state)
{
    (void)state;
    struct result r = run("fullscale-bench --version");
    assert_int_equal(r.status, CLI_EXIT_OK);
    assert_string_equal(r.out, "fullscale-bench 1.2.3\n");
    drop(&r);
}

static void test_usage_errors(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"fullscale-bench chrun", "did you mean \"fullscale-bench churn\"?"},
        {"fullscale-bench relay --pairs many", "--pairs must be a whole number, not \"many\""},
        {"fullscale-bench relay --modes latency,idl", "--modes must be of"},
        {"fullscale-bench stun --duration soon", "--duration must be a duration"},
        {"fullscale-bench stun --rate -1", "--rate must be a number"},
        {"fullscale-bench idle --nodes 0 --authkey x", "See `fullscale-bench idle --help`"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct result r = run(rows[i][0]);
        assert_int_equal(r.status, CLI_EXIT_USAGE);
        assert_non_null(strstr(r.err, rows[i][1]));
        drop(&r);
    }
}

static void test_other_machines_are_denied(void **state)
{
    (void)state;
    struct result r = run("fullscale-bench stun --addr 192.0.2.1:3478");
    assert_int_equal(r.status, CLI_EXIT_DENIED);
    assert_non_null(strstr(r.err, "fullscale-bench: "));
    drop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help_shows_each_command),
        cmocka_unit_test(test_version_names_the_program),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_other_machines_are_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
