/* What is made from the table: completion scripts, which the shells must accept, and the manual page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/testing.h"

/* --- completion and manual --- */

/* Runs a program with a file as its last argument; what it writes goes to `out`. -1: there is no such program. */
static int run_program(const char *const *argv, char *out, size_t out_cap)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], out + n, out_cap - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(ends[0]);
    int status;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void test_completions_name_everything(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        char line[64];
        char path[64];
        char out[4096];
        snprintf(line, sizeof(line), "fullscale completion %s", shells[i]);
        struct cli_test_result r = cli_test_run(line);
        assert_int_equal(r.status, CLI_EXIT_OK);
        for (const struct cli_command *c = cli_fullscale()->commands; c->name != NULL; c++) {
            assert_true(c->is_hidden || strstr(r.out, c->name) != NULL);
            for (const struct cli_option *o = c->options; o->name != NULL; o++)
                assert_non_null(strstr(r.out, o->name));
        }
        snprintf(path, sizeof(path), "/tmp/fullscale-completion-%d", (int)getpid());
        cli_test_write_file(path, r.out);
        int status = run_program((const char *const[]){shells[i], "-n", path, NULL}, out, sizeof(out));
        if (status > 0 || (status == 0 && out[0] != '\0'))
            fail_msg("%s: %s", shells[i], out);
        unlink(path);
        cli_test_result_free(&r);
    }
}

static void test_bash_completes(void **state)
{
    (void)state;
    static const struct {
        const char *words; /* the last one is being typed */
        const char *reply;
    } rows[] = {
        {"fullscale us", "users"},
        {"fullscale users re", "rename"},
        {"fullscale user mv --new", "--new-name"},
        {"fullscale pre c --reu", "--reusable"},
        {"fullscale -o js", "json json-line"},
        {"fullscale config reference -o mark", "markdown"},
        {"fullscale completion z", "zsh"},
    };
    char out[4096];
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fullscale-completion-%d", (int)getpid());
    struct cli_test_result r = cli_test_run("fullscale completion bash");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf script = {0};
        buf_printf(&script,
                   "%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_fullscale\necho \"${COMPREPLY[*]}\"\n",
                   r.out, rows[i].words);
        cli_test_write_file(path, buf_cstr(&script));
        buf_fini(&script);
        int status = run_program((const char *const[]){"bash", path, NULL}, out, sizeof(out));
        if (status == -1)
            break;
        assert_int_equal(status, 0);
        out[strcspn(out, "\n")] = '\0';
        assert_string_equal(out, rows[i].reply);
    }
    unlink(path);
    cli_test_result_free(&r);
}

static void test_manual_renders(void **state)
{
    (void)state;
    char out[65536];
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fullscale-man-%d", (int)getpid());
    struct cli_test_result r = cli_test_run("fullscale man");
    assert_int_equal(r.status, CLI_EXIT_OK);
    cli_test_write_file(path, r.out);
    int status = run_program((const char *const[]){"groff", "-man", "-ww", "-z", "-Tutf8", path, NULL}, out,
                             sizeof(out));
    if (status > 0 || (status == 0 && out[0] != '\0'))
        fail_msg("%s", out);
    status = run_program((const char *const[]){"mandoc", "-T", "lint", "-W", "error", path, NULL}, out, sizeof(out));
    if (status > 0)
        fail_msg("%s", out);
    for (const struct cli_group *g = cli_fullscale()->groups; g->name != NULL; g++)
        assert_non_null(strstr(r.out, g->name));
    unlink(path);
    cli_test_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completions_name_everything),
        cmocka_unit_test(test_bash_completes),
        cmocka_unit_test(test_manual_renders),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
