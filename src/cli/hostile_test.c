/* Names, notes and arguments that would control a terminal are shown as text. */
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

#include "base/utf8.h"
#include "cli/testing.h"
#include "codec/yaml.h"

/* --- hostile text --- */

static void assert_plain(const char *line, const char *what, const char *text)
{
    for (const char *p = text, *end = text + strlen(text); p < end;) {
        unsigned n = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
        uint32_t code = n == 0 ? 0 : n == 1 ? (uint8_t)*p : utf8_decode(p, n);
        if (code != '\n' && !show_is_plain(code))
            fail_msg("%s: code %x in %s: %s", line, code, what, text);
        p += n;
    }
    if (strncmp(text, "FORGED", 6) == 0 || strstr(text, "\nFORGED") != NULL)
        fail_msg("%s: a line was forged in %s: %s", line, what, text);
}

/* JSON and YAML must be what they are, with the value as the server said it. */
static void assert_reads_back(const char *line, const char *format, const char *text)
{
    struct arena a = {0};
    const struct json *root;
    const struct yaml *map;
    struct err err = {0};
    if (strncmp(format, "json", 4) == 0 && json_parse(&a, str_c(text), NULL, &root, NULL) != RC_OK)
        fail_msg("%s: no JSON: %s", line, text);
    if (strcmp(format, "yaml") == 0 && yaml_parse(&a, str_c(text), "out", &map, &err) != RC_OK)
        fail_msg("%s: no YAML: %s: %s", line, err.text, text);
    arena_fini(&a);
}

static void try_hostile(const char *command, const char *format)
{
    char line[512];
    snprintf(line, sizeof(line), "%s -o %s", command, format);
    struct cli_test_result r = cli_test_run(line);
    assert_true(r.out[0] != '\0' || r.err[0] != '\0');
    assert_plain(line, "the output", r.out);
    assert_plain(line, "the errors", r.err);
    if (r.status == CLI_EXIT_OK)
        assert_reads_back(line, format, r.out);
    cli_test_result_free(&r);
}

static const char *const commands[] = {
    "fullscale users create anna",
    "fullscale users list",
    "fullscale users list --name e\x1b[31m\xff\u202e",
    "fullscale users rename -i 2 bert/2",
    "fullscale users set-role -i 2 admin",
    "fullscale users delete -i 2 --force",
    "fullscale users delete -i 2",
    "fullscale users delete e\x1b[31m\xff\u202e",
    "fullscale nodes list",
    "fullscale nodes list -u nobody",
    "fullscale nodes show -i 3",
    "fullscale nodes show e\x1b[31m\xff\u202e",
    "fullscale nodes rename -i 3 new-name",
    "fullscale nodes rename -i 3 e\x1b[31m\xff\u202e",
    "fullscale nodes expire -i 4",
    "fullscale nodes expire -i 4 --expiry \x1b",
    "fullscale nodes tag -i 4 tag:\x1b[31m\xff\u202e",
    "fullscale nodes approve-routes -i 4 \x1b[31m\xff\u202e",
    "fullscale nodes list-routes",
    "fullscale nodes delete -i 4 --force",
    "fullscale nodes delete -i 4",
    "fullscale relays create fra",
    "fullscale relays list",
    "fullscale relays delete -i 1 --force",
    "fullscale relays delete \x1b\u202e",
    "fullscale preauthkeys create -u 2",
    "fullscale preauthkeys list",
    "fullscale preauthkeys expire 7",
    "fullscale preauthkeys delete 7 --force",
    "fullscale policy set -f /tmp/fullscale-cli-hostile.hujson",
    "fullscale policy check -f /tmp/fullscale-cli-hostile.hujson",
    "fullscale policy diff -f /tmp/fullscale-cli-hostile.hujson",
    "fullscale policy set -f /tmp/\x1b[31m\xff\u202e",
    "fullscale policy why a b:22",
    "fullscale policy why a c --proto udp",
    "fullscale policy why x y",
    "fullscale policy history",
    "fullscale policy rollback 2 --force",
    "fullscale policy rollback 3 --force",
    "fullscale api openapi",
    "fullscale users list --email \x1b[31m\xff\u202e -i 9",
    "fullscale relays delete {name}\x1b\u202e{id}",
    "fullscale log level",
    "fullscale log level relay debug",
    "fullscale config check --config /tmp/\x1b[31m\xff\u202e",
    "fullscale config show --config /tmp/\x1b[31m\xff\u202e",
    "fullscale \x1b[31m\xff\u202e",
    "fullscale users list --\x1b[31m\xff\u202e=\x1b",
    "fullscale users list -\x1b",
};

/* Nothing that nodes, users, files or arguments hold reaches the terminal as more than text, by no command and no
 * format. */
static void test_hostile_text_is_shown(void **state)
{
    (void)state;
    static const char *const formats[] = {"table", "json", "json-line", "yaml"};
    cli_test_write_file("/tmp/fullscale-cli-hostile.hujson", "{}");
    cli_test_server.is_hostile = true;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        for (size_t k = 0; k < ARRAY_LEN(formats); k++)
            try_hostile(commands[i], formats[k]);
    }
    unlink("/tmp/fullscale-cli-hostile.hujson");
}

/* A policy that is piped is the policy, byte for byte. */
static void test_policy_get_is_exact(void **state)
{
    (void)state;
    cli_test_server.is_hostile = true;
    struct cli_test_result r = cli_test_run("fullscale policy get -n 2");
    assert_non_null(strstr(r.out, "{} // then\n\x1b[31m"));
    cli_test_result_free(&r);
}

static void test_sink_joins_pieces(void **state)
{
    (void)state;
    struct cli_sink sink;
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    assert_true(cli_sink_open(&sink, to, false));
    for (const char *p = "a\u00e9\u202e\U0001f468\xc3"; *p != '\0'; p++) {
        fputc(*p, sink.stream);
        fflush(sink.stream);
    }
    cli_sink_raw(&sink, STR("\033[1m"));
    assert_true(cli_sink_close(&sink));
    fclose(to);
    assert_string_equal(text, "a\u00e9\\u202e\U0001f468\033[1m\\xc3");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hostile_text_is_shown, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_policy_get_is_exact, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test(test_sink_joins_pieces),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
