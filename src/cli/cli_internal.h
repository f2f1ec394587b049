/* Inside the command line: the table of commands, a parsed call, and what commands run on. */
#ifndef CLI_CLI_INTERNAL_H
#define CLI_CLI_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/show.h"
#include "base/str.h"
#include "cli/cli.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "config/config.h"

struct cli_run;

struct cli_option {
    const char *name;    /* null ends a list */
    char letter;         /* 0: none */
    const char *value;   /* what stands for its value in the help; null: a flag */
    const char *choices; /* the only values, separated by spaces; null: any. "FILE": completed as a file name */
    bool is_list;        /* given again it adds to the list, which is kept joined by commas */
    const char *help;
    bool may_be_empty; /* --name '' means something */
};

struct cli_group {
    const char *name; /* null ends the table */
    const char *aliases;
    const char *summary;
};

struct cli_command {
    const char *group;   /* "" for commands of one word */
    const char *name;    /* null ends the table */
    const char *aliases; /* separated by spaces */
    const char *args;    /* for the help: "NAME", "[MODULE] LEVEL"; "" for none */
    unsigned args_min, args_max;
    const char *args_choices; /* as cli_option.choices */
    const char *summary;      /* a few words, no full stop */
    const char *details;      /* null: nothing to add */
    const char *examples;     /* lines of "command" or "# comment" */
    const struct cli_option *options;
    enum cli_exit (*run)(struct cli_run *run);
    bool is_hidden; /* an old name, for scripts */
    bool args_may_be_empty;
};

extern const struct cli_group cli_groups[];
extern const struct cli_command cli_commands[];
extern const struct cli_option cli_global_options[];
extern const char cli_program_summary[];

/* Is `word` the name or one of the aliases? */
bool cli_word_is(const char *word, const char *name, const char *aliases);

enum { CLI_MAX_ARGS = 8, CLI_MAX_OPTIONS = 48 };

/* What the words of a command line mean. */
struct cli_call {
    const struct cli_group *group;     /* null: none named */
    const struct cli_command *command; /* null: none named */
    bool is_help;
    bool is_version;
    const char *values[CLI_MAX_OPTIONS]; /* of the command's options; flags: "true" or null */
    const char *globals[CLI_MAX_OPTIONS];
    const char *args[CLI_MAX_ARGS];
    unsigned args_n;
};

/* Semantics of getopt_long: options anywhere, --name=value, -nvalue, -ab, unique abbreviations, "--" ends them. Strings are
 * borrowed from argv or the arena. RC_INVALID with a sentence in `err`. */
MUST_CHECK enum rc cli_parse(struct arena *a, int argc, char *const *argv, struct cli_call *out, struct err *err);

/* --- sink.c: one escaping for all output --- */

/* A stream that shows what would drive a terminal instead of passing it on. */
struct cli_sink {
    FILE *to;     /* borrowed */
    FILE *stream; /* owned: to be written to */
    enum show how;
    bool is_raw;
    char tail[3]; /* of a character that has not come whole yet */
    unsigned tail_n;
};

/* False when memory is out. */
bool cli_sink_open(struct cli_sink *sink, FILE *to, bool is_by_line);
/* What is meant for the terminal, such as colours, or must arrive byte for byte. Never text of others that goes to a terminal. */
void cli_sink_raw(struct cli_sink *sink, struct str text);
/* Flushes; the stream is gone. False when not all could be written. */
bool cli_sink_close(struct cli_sink *sink);

enum cli_output { CLI_OUTPUT_TABLE, CLI_OUTPUT_JSON, CLI_OUTPUT_JSON_LINE, CLI_OUTPUT_YAML };

struct cli_run {
    const struct cli_program *program;
    FILE *out; /* streams of the sinks: nothing written here can drive a terminal */
    FILE *err;
    struct cli_sink out_sink;
    struct cli_sink err_sink;
    bool is_out_tty;
    bool is_err_tty;
    bool is_in_tty;
    bool is_coloured;
    enum cli_output output;
    struct cli_call call;
    struct arena arena; /* lives as long as the run */
    struct config *cfg; /* owned; null until something needed it */
};

/* The value of an option of the command, or of a global one; null when it was not given. */
const char *cli_value(const struct cli_run *run, const char *name);
bool cli_flag(const struct cli_run *run, const char *name);
/* Positional argument `i`, or null. */
const char *cli_arg(const struct cli_run *run, unsigned i);
/* Says what is wrong, on `err`; returns `status`. */
enum cli_exit cli_fail(struct cli_run *run, enum cli_exit status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A usage error: adds where the help is. */
enum cli_exit cli_usage(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* One line on `out`, ended here. Line ends within are escaped: they come from what it tells of. */
void cli_say(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A remark for a person, a line on `err`, not when that is no terminal. */
void cli_hint(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Asks on the terminal, unless --force was said. CLI_EXIT_OK: go ahead. Else it has said that nothing was done: after a no, or
 * because there is no terminal to ask on. */
enum cli_exit cli_confirm(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Loads the configuration once. `is_client`: only to find the server. False after having said why not. */
bool cli_need_config(struct cli_run *run, bool is_client);
/* --- secret.c --- */
/* Copies the words of the command line, and overwrites in the old ones what may be secret. */
char **cli_argv_take(int argc, char **argv);
void cli_argv_drop(char ***copy);

/* How a command can be given a secret. */
struct cli_secret {
    const char *title;       /* what to ask for on a terminal */
    const char *file_option; /* name of the option with a file; null: none */
    const char *env;         /* name of the variable; null: none */
    const char *better;      /* how it should be given: "with --key-file FILE" */
};
/* From what was `given` on the command line (which is warned of; - reads a line of standard input; null: nothing was), else the
 * file, else the environment. `*out` is null when it is nowhere; it lives as long as the run. */
enum cli_exit cli_secret(struct cli_run *run, const struct cli_secret *what, const char *given, const char **out);

/* cli_main without process-wide things, for tests. The streams are borrowed. */
enum cli_exit cli_run_args(int argc, char *const *argv, const struct cli_program *program, FILE *out, FILE *err);

/* --- help.c, completion.c, man.c: from the table --- */
void cli_help_program(FILE *out, bool is_coloured);
void cli_help_group(FILE *out, bool is_coloured, const struct cli_group *group);
void cli_help_command(FILE *out, bool is_coloured, const struct cli_command *command);
/* False: no such shell. */
bool cli_completion(FILE *out, const char *shell);
void cli_man(FILE *out, const char *version);

/* --- client.c: the server's API --- */
/* `body` may be null. On success `*reply_out` is the parsed answer, in the run's arena. Else a message has been written. */
enum cli_exit cli_api(struct cli_run *run, const char *method, const char *path, const struct buf *body,
                      const struct json **reply_out);
/* The same, but an error that the server answers is the caller's to tell: the reply's "detail". `*reply_out` is null when there
 * was no answer, which has been told. */
enum cli_exit cli_api_answer(struct cli_run *run, const char *method, const char *path, const struct buf *body,
                             const struct json **reply_out);
/* Whether a server could be asked. Says nothing. */
bool cli_server_is_here(struct cli_run *run);
/* A piece of a path or query, percent-encoded. */
const char *cli_escape(struct cli_run *run, const char *text);
/* The user that `text` names by id, name or email: its JSON. */
enum cli_exit cli_find_user(struct cli_run *run, const char *text, const struct json **out);
/* The node that `text` names by id, name, host name or address. */
enum cli_exit cli_find_node(struct cli_run *run, const char *text, const struct json **out);
/* The node that --identifier or `arg` names. */
enum cli_exit cli_named_node(struct cli_run *run, const char *arg, const struct json **out);
/* A call below the node's path; prints the node, or a sentence that begins with its name. */
enum cli_exit cli_node_call(struct cli_run *run, const struct json *node, const char *method, const char *rest,
                            const struct buf *body, const char *done);
/* "a, b" as an array of strings. */
void cli_write_list(struct json_writer *w, const char *list);

/* --- output.c --- */
struct cli_table {
    struct cli_run *run;
    size_t cols;
    size_t n, cap;
    const char **cells;   /* owned */
    const char *if_empty; /* said instead of titles without rows; null: nothing */
};
/* Titles end with null. */
void cli_table_init(struct cli_table *t, struct cli_run *run, const char *const *titles);
/* Cells are copied, escaped. */
void cli_table_add(struct cli_table *t, const char *cell);
/* The text as a part of a line. In the run's arena. */
const char *cli_printable(struct cli_run *run, const char *text);
/* Prints and frees. */
void cli_table_finish(struct cli_table *t);

/* Text (or number) of a member, "" when missing; in the run's arena, terminated. */
const char *cli_text(struct cli_run *run, const struct json *object, const char *key);
bool cli_is_true(const struct json *object, const char *key);
/* A time as "2026-11-23 01:02:03 UTC", "-" when missing or null. */
const char *cli_time(struct cli_run *run, const struct json *object, const char *key);
/* An array of strings, joined by ", ". */
const char *cli_joined(struct cli_run *run, const struct json *object, const char *key);
/* For -o json, json-line, yaml: writes `value` and returns true; false for a table. */
bool cli_emit(struct cli_run *run, const struct json *value);

/* --- the commands --- */
enum cli_exit cli_serve(struct cli_run *run);
enum cli_exit cli_relay(struct cli_run *run);
enum cli_exit cli_health(struct cli_run *run);
enum cli_exit cli_version(struct cli_run *run);
enum cli_exit cli_log_level(struct cli_run *run);
enum cli_exit cli_completion_run(struct cli_run *run);
enum cli_exit cli_man_run(struct cli_run *run);
enum cli_exit cli_config_check(struct cli_run *run);
enum cli_exit cli_config_reference(struct cli_run *run);
enum cli_exit cli_config_show(struct cli_run *run);
enum cli_exit cli_users_create(struct cli_run *run);
enum cli_exit cli_users_list(struct cli_run *run);
enum cli_exit cli_users_rename(struct cli_run *run);
enum cli_exit cli_users_set_role(struct cli_run *run);
enum cli_exit cli_users_delete(struct cli_run *run);
enum cli_exit cli_nodes_list(struct cli_run *run);
enum cli_exit cli_nodes_show(struct cli_run *run);
enum cli_exit cli_nodes_rename(struct cli_run *run);
enum cli_exit cli_nodes_expire(struct cli_run *run);
enum cli_exit cli_nodes_tag(struct cli_run *run);
enum cli_exit cli_nodes_list_routes(struct cli_run *run);
enum cli_exit cli_nodes_approve_routes(struct cli_run *run);
enum cli_exit cli_nodes_delete(struct cli_run *run);
enum cli_exit cli_relays_create(struct cli_run *run);
enum cli_exit cli_relays_list(struct cli_run *run);
enum cli_exit cli_relays_delete(struct cli_run *run);
enum cli_exit cli_bench_join(struct cli_run *run);
enum cli_exit cli_bench_idle(struct cli_run *run);
enum cli_exit cli_bench_churn(struct cli_run *run);
enum cli_exit cli_bench_reconnect(struct cli_run *run);
enum cli_exit cli_bench_restart(struct cli_run *run);
enum cli_exit cli_bench_policy(struct cli_run *run);
enum cli_exit cli_bench_api(struct cli_run *run);
enum cli_exit cli_bench_hold(struct cli_run *run);
enum cli_exit cli_bench_suite(struct cli_run *run);
enum cli_exit cli_bench_soak(struct cli_run *run);
enum cli_exit cli_bench_relay(struct cli_run *run);
enum cli_exit cli_bench_stun(struct cli_run *run);
enum cli_exit cli_policy_get(struct cli_run *run);
enum cli_exit cli_policy_set(struct cli_run *run);
enum cli_exit cli_policy_check(struct cli_run *run);
enum cli_exit cli_policy_why(struct cli_run *run);
enum cli_exit cli_policy_diff(struct cli_run *run);
enum cli_exit cli_policy_diff_tell(struct cli_run *run, const struct json *reply);
enum cli_exit cli_policy_history(struct cli_run *run);
enum cli_exit cli_policy_rollback(struct cli_run *run);
enum cli_exit cli_preauthkeys_create(struct cli_run *run);
enum cli_exit cli_preauthkeys_list(struct cli_run *run);
enum cli_exit cli_preauthkeys_expire(struct cli_run *run);
enum cli_exit cli_preauthkeys_delete(struct cli_run *run);

#endif
