/* How commands are given secrets, and what of them stays in the list of processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cli/cli_internal.h"

static char got_key[256];

static int serve(const struct config *cfg)
{
    (void)cfg;
    return 0;
}

static int relay(const struct config *cfg, const char *server, const char *key)
{
    (void)cfg;
    (void)server;
    snprintf(got_key, sizeof(got_key), "%s", key != NULL ? key : "none");
    return 0;
}

static struct cli_program program = {.version = "1", .serve = serve, .relay = relay};

enum { WORDS_MAX = 12 };

static int split(char *text, char *argv[WORDS_MAX])
{
    int argc = 0;
    for (char *save = NULL, *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    return argc;
}

/* Runs the line; what went to standard error. */
static char *run(const char *line, enum cli_exit want)
{
    char text[512];
    char *argv[WORDS_MAX], *err_text = NULL;
    size_t n;
    FILE *err = open_memstream(&err_text, &n);
    snprintf(text, sizeof(text), "%s", line);
    int argc = split(text, argv);
    got_key[0] = '\0';
    program.spec = cli_fullscale();
    enum cli_exit status = cli_run_args(argc, argv, &program, stdout, err);
    fclose(err);
    if (status != want)
        fail_msg("%s: status %d: %s", line, (int)status, err_text);
    return err_text;
}

static void expect_key(const char *line, const char *key, bool is_warned)
{
    char *err = run(line, CLI_EXIT_OK);
    assert_string_equal(got_key, key);
    assert_int_equal(strstr(err, "--key-file FILE") != NULL, is_warned);
    free(err);
}

static void expect_refusal(const char *line, enum cli_exit status, const char *why)
{
    char *err = run(line, status);
    if (strstr(err, why) == NULL)
        fail_msg("%s: %s", line, err);
    assert_string_equal(got_key, "");
    free(err);
}

static void test_command_line_is_overwritten(void **state)
{
    (void)state;
    static const struct {
        const char *line, *shown;
    } rows[] = {
        {"fullscale relay --server https://x --key fskey-relay-1",
         "fullscale relay --server https://x --key *************"},
        {"fullscale relay --key=odd-one --server https://x", "fullscale relay --key=******* --server https://x"},
        {"fullscale relay -k odd-one", "fullscale relay -k *******"},
        {"fullscale relay -kodd-one", "fullscale relay -k*******"},
        {"fullscale relay --ke odd-one", "fullscale relay --ke *******"},
        {"fullscale relay --key -", "fullscale relay --key -"},
        {"fullscale relay --key-file /root/key", "fullscale relay --key-file /root/key"},
        {"fullscale-bench join --authkey odd-one --nodes 3", "fullscale-bench join --authkey ******* --nodes 3"},
        {"fullscale preauthkeys expire fskey-auth-12", "fullscale preauthkeys expire fskey-*******"},
        {"fullscale preauthkeys delete hskey-auth-12 -o json", "fullscale preauthkeys delete hskey-******* -o json"},
        {"fullscale users create anna", "fullscale users create anna"},
        {"fullscale relay --key", "fullscale relay --key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[128], was[128], shown[256] = "";
        char *argv[WORDS_MAX], *old[WORDS_MAX];
        snprintf(text, sizeof(text), "%s", rows[i].line);
        snprintf(was, sizeof(was), "%s", rows[i].line);
        int argc = split(text, argv);
        assert_int_equal(split(was, old), argc);
        char **copy = cli_argv_take(argc, argv);
        size_t n = 0;
        for (int k = 0; k < argc; k++) {
            assert_string_equal(copy[k], old[k]);
            n += (size_t)snprintf(shown + n, sizeof(shown) - n, "%s%s", k > 0 ? " " : "", argv[k]);
        }
        assert_string_equal(shown, rows[i].shown);
        assert_null(copy[argc]);
        cli_argv_drop(&copy);
    }
}

struct folder {
    char path[64], key[96], config[96];
};

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    struct folder *f = MEM_NEW(struct folder);
    snprintf(f->path, sizeof(f->path), "/tmp/fullscale-secret-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->key, sizeof(f->key), "%s/key", f->path);
    snprintf(f->config, sizeof(f->config), "%s/config.yaml", f->path);
    char text[256];
    snprintf(text, sizeof(text), "state_dir: %s\n", f->path);
    write_file(f->config, text);
    setenv("FULLSCALE_CONFIG", f->config, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *f = *state;
    unsetenv("FULLSCALE_RELAY_KEY");
    unlink(f->key);
    unlink(f->config);
    rmdir(f->path);
    mem_free(f);
    return 0;
}

static void test_a_relay_is_given_its_key(void **state)
{
    const struct folder *f = *state;
    char line[256];
    expect_key("fullscale relay --server https://x", "none", false);
    expect_key("fullscale relay --server https://x --key fskey-relay-1-2", "fskey-relay-1-2", true);
    snprintf(line, sizeof(line), "fullscale relay --server https://x --key-file %s", f->key);
    expect_refusal(line, CLI_EXIT_ERROR, f->key); /* there is none */
    write_file(f->key, "\n");
    expect_refusal(line, CLI_EXIT_ERROR, "there is no key in the file");
    write_file(f->key, "  fskey-relay-3-4 \r\nand a remark\n");
    expect_key(line, "fskey-relay-3-4", false);
    setenv("FULLSCALE_RELAY_KEY", "fskey-relay-5-6", 1);
    expect_key(line, "fskey-relay-3-4", false); /* an option wins over the environment */
    expect_key("fullscale relay --server https://x", "fskey-relay-5-6", false);
    assert_string_equal(getenv("FULLSCALE_RELAY_KEY"), ""); /* wiped */
    snprintf(line, sizeof(line), "fullscale relay --key x --key-file %s", f->key);
    expect_refusal(line, CLI_EXIT_USAGE, "either the key or --key-file");
}

static void test_a_key_on_standard_input(void **state)
{
    const struct folder *f = *state;
    static const struct {
        const char *text, *key;
    } rows[] = {
        {"fskey-relay-7-8\n", "fskey-relay-7-8"}, {"fskey-relay-7-8", "fskey-relay-7-8"}, {"\n", NULL}, {"", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        write_file(f->key, rows[i].text);
        assert_non_null(freopen(f->key, "r", stdin));
        if (rows[i].key != NULL)
            expect_key("fullscale relay --server https://x --key -", rows[i].key, false);
        else
            expect_refusal("fullscale relay --server https://x --key -", CLI_EXIT_ERROR, "no key on standard input");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_line_is_overwritten),
        cmocka_unit_test_setup_teardown(test_a_relay_is_given_its_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_key_on_standard_input, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
