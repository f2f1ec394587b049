/* What a program's commands are made of: its tables, a parsed call, and what a command runs on. `fullscale` (commands.c) and
 * `fullscale-bench` (bench/commands.c) are such programs. Main thread. */
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

/* A program's command line: parsing and help come from this. */
struct cli_spec {
    const char *name; /* of the program */
    const char *summary;
    const char *start; /* examples for the program's help, a line each */
    const struct cli_group *groups;
    const struct cli_command *commands;
    const struct cli_option *options; /* of all commands */
};

enum { CLI_MAX_ARGS = 8, CLI_MAX_OPTIONS = 48 };

/* What the words of a command line mean. */
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

/* What is meant for the terminal, such as colours, or must arrive byte for byte. Never text of others that goes to a terminal. */
void cli_sink_raw(struct cli_sink *sink, struct str text);

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

/* --- client.c --- */

/* The socket of the server's API: --socket, else that of the configuration. Null after having said why there is none. Lives as
 * long as the run. */
const char *cli_socket_path(struct cli_run *run);

/* cli_main without process-wide things, for tests. The streams are borrowed. */
enum cli_exit cli_run_args(int argc, char *const *argv, const struct cli_program *program, FILE *out, FILE *err);

#endif
