/* What programs with commands are made of: their tables, a parsed command line, and what a running command gets. Two
 * programs have such tables: `fullscale` (commands.c) and `fullscale-bench` (bench/commands.c). Main thread. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/show.h"
#include "base/str.h"
#include "cli/cli.h"

struct config;
struct cli_run;
struct operation;

struct cli_option {
    const char *name;    /* null ends a list */
    char letter;         /* -X; 0: none */
    const char *value;   /* placeholder for the value in the help; null: a flag */
    const char *choices; /* allowed values, separated by spaces; null: any. "FILE": completed as a file name */
    bool is_list;        /* may be repeated: the values are joined by commas */
    const char *help;
    bool may_be_empty; /* --name '' is allowed */
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
    const struct operation *operation; /* that the command is made from; null: it has code of its own */
};

/* A program's command line: parsing and help are made from this. */
struct cli_spec {
    const char *name; /* of the program */
    const char *summary;
    const char *start; /* examples for the program's help, a line each */
    const struct cli_group *groups;
    const struct cli_command *commands;
    const struct cli_option *options; /* of all commands */
};

enum { CLI_MAX_ARGS = 8, CLI_MAX_OPTIONS = 48 };

/* A parsed command line. */
struct cli_call {
    const struct cli_spec *spec;
    const struct cli_group *group;     /* null: none named */
    const struct cli_command *command; /* null: none named */
    bool is_help;
    bool is_version;
    const char *values[CLI_MAX_OPTIONS]; /* of the command's options; flags: "true" or null */
    const char *globals[CLI_MAX_OPTIONS];
    const char *args[CLI_MAX_ARGS];
    unsigned args_n;
};

/* --- sink.c: all output is escaped in one place --- */

/* A stream that escapes control characters, so that no text from elsewhere can control the terminal. */
struct cli_sink {
    FILE *to;     /* borrowed */
    FILE *stream; /* owned: to be written to */
    enum show how;
    bool is_raw;
    char tail[3]; /* first bytes of a character whose rest has not been written yet */
    unsigned tail_n;
};

/* Writes without escaping: colours, or what must arrive byte for byte. Never text from elsewhere to a terminal. */
void cli_sink_raw(struct cli_sink *sink, struct str text);

enum cli_output { CLI_OUTPUT_TABLE, CLI_OUTPUT_JSON, CLI_OUTPUT_JSON_LINE, CLI_OUTPUT_YAML };

struct cli_run {
    const struct cli_program *program;
    FILE *out; /* streams of the sinks: what is written here is escaped */
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
    struct config *cfg; /* owned; null until a command needs it */
};

/* The value of an option of the command, or of a global option; null when it was not given. */
const char *cli_value(const struct cli_run *run, const char *name);
/* Whether the option was given. */
bool cli_flag(const struct cli_run *run, const char *name);
/* Positional argument `i`, or null. */
const char *cli_arg(const struct cli_run *run, unsigned i);
/* Prints an error on `err`; returns `status`. */
enum cli_exit cli_fail(struct cli_run *run, enum cli_exit status, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Prints a usage error, and which --help to read; returns CLI_EXIT_USAGE. */
enum cli_exit cli_usage(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints one line on `out` and ends it. Line ends inside are escaped, since they come from names and other data. */
void cli_say(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints a remark for a person: a line on `err`, only if that is a terminal. */
void cli_hint(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Asks for confirmation on the terminal, unless --force was given. CLI_EXIT_OK: go ahead. Otherwise it has printed that
 * nothing was changed: the answer was no, or there is no terminal to ask on. */
enum cli_exit cli_confirm(struct cli_run *run, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Loads the configuration, once. `is_client`: only what is needed to find the server. False: the reason has been
 * printed. */
bool cli_need_config(struct cli_run *run, bool is_client);

/* --- secret.c --- */

/* The ways in which a command takes a secret. */
struct cli_secret {
    const char *title;       /* prompt on a terminal */
    const char *file_option; /* name of the option that names a file; null: none */
    const char *env;         /* environment variable; null: none */
    const char *better;      /* recommended way, for the warning: "with --key-file FILE" */
};
/* Takes the secret from `given`, the value on the command line (with a warning; "-" reads a line of standard input),
 * else from the file, else from the environment. `*out` is null when it was given nowhere; it lives as long as the
 * run. */
enum cli_exit cli_secret(struct cli_run *run, const struct cli_secret *what, const char *given, const char **out);

/* --- client.c --- */

/* The path of the server's API socket: --socket, else that of the configuration. Null: the reason has been printed.
 * Lives as long as the run. */
const char *cli_socket_path(struct cli_run *run);

/* cli_main without what concerns the whole process, for tests. The streams are borrowed. */
enum cli_exit cli_run_args(int argc, char *const *argv, const struct cli_program *program, FILE *out, FILE *err);

#endif
