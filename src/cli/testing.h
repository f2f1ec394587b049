/* For the tests of the command line: running it, and a server that gives prepared answers on a unix socket.
 * Failures are cmocka's. One thread. */
#ifndef CLI_TESTING_H
#define CLI_TESTING_H

#include <stdbool.h>

#include "cli/cli_internal.h"

/* What a command left: its exit status, standard output and standard error. */
struct cli_test_result {
    enum cli_exit status;
    char *out; /* heap */
    char *err;
};

/* Runs a command line of `fullscale`, split at spaces; '' is an empty word. Free with cli_test_result_free. */
struct cli_test_result cli_test_run(const char *line);
/* Frees what the result holds. */
void cli_test_result_free(struct cli_test_result *r);
/* Runs it, and fails the test unless it ends with `status`, and its outputs contain these texts (null: anything). */
void cli_test_expect(const char *line, enum cli_exit status, const char *in_out, const char *in_err);
/* What `fullscale serve` was given last, instead of serving. */
extern const struct config *cli_test_served;

/* Replaces the file. */
void cli_test_write_file(const char *path, const char *text);

/* How the server answers. Reset by cli_test_server_start. */
struct cli_test_server {
    bool is_hostile;      /* every string of an answer, but for ids, ends with bytes that would control a terminal */
    bool has_empty_lists; /* there are no users, nodes, keys, relays and policies yet */
};
extern struct cli_test_server cli_test_server;

/* Set-up and tear-down of tests that need the server: commands find its socket in the environment. */
int cli_test_server_start(void **state);
int cli_test_server_stop(void **state);
/* Fails the test unless the last request contains the text. */
void cli_test_asked(const char *text);
/* Whether the last request, if there was one, was a GET. */
bool cli_test_has_only_read(void);

#endif
