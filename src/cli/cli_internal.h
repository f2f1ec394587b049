/* Inside the command line: parsing, help, completion and man page, the API client, output, and the commands of
 * `fullscale`. */
#ifndef CLI_CLI_INTERNAL_H
#define CLI_CLI_INTERNAL_H

#include "api/operation.h"
#include "cli/command.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "config/config.h"

/* --- parse.c --- */

/* Whether `word` is the name or one of the aliases (separated by spaces). */
bool cli_word_is(const char *word, const char *name, const char *aliases);

/* Parses as getopt_long does: options anywhere, --name=value, -nvalue, -ab, unique abbreviations, "--" ends the
 * options. Strings are borrowed from argv or the arena. RC_INVALID: `err` has a sentence for the user. */
MUST_CHECK enum rc cli_parse(struct arena *a, const struct cli_spec *spec, int argc, char *const *argv,
                             struct cli_call *out, struct err *err);

/* --- sink.c --- */

/* Opens an escaping stream over `to`. False: out of memory. */
bool cli_sink_open(struct cli_sink *sink, FILE *to, bool is_by_line);
/* Flushes and closes the stream, not `to`. False: not everything could be written. */
bool cli_sink_close(struct cli_sink *sink);

/* As cli_need_config, for `fullscale relay`. */
bool cli_need_relay_config(struct cli_run *run);

/* --- argv.c --- */
/* Copies argv, and overwrites in the original what may be a secret. Free with cli_argv_drop. */
char **cli_argv_take(int argc, char **argv);
/* Wipes and frees the copy, and nulls the pointer. */
void cli_argv_drop(char ***copy);
/* Where the secret part of a key ("fskey-...") begins in the word; null: there is no key in it. */
const char *cli_key_in(const char *word);

/* --- help.c, completion.c, man.c: made from the table of commands --- */
/* Print the help of the program, of a group and of a command. */
void cli_help_program(FILE *out, bool is_coloured, const struct cli_spec *spec);
void cli_help_group(FILE *out, bool is_coloured, const struct cli_spec *spec, const struct cli_group *group);
void cli_help_command(FILE *out, bool is_coloured, const struct cli_spec *spec, const struct cli_command *command);
/* Prints the completion script. False: no such shell. */
bool cli_completion(FILE *out, const struct cli_spec *spec, const char *shell);
/* Prints the man page, as roff. */
void cli_man(FILE *out, const struct cli_spec *spec, const char *version);

/* --- client.c: HTTP to the server --- */
/* Sends a request. `path` is with its query; `body` may be null. On success `*reply_out` is the parsed answer, in the
 * run's arena. An error that the server answers is the caller's to print: "detail" of the reply. `*reply_out` is null
 * when the server did not answer; that error has been printed. */
enum cli_exit cli_request(struct cli_run *run, enum http_method method, const char *path, const struct buf *body,
                          const struct json **reply_out);
/* Whether a server answers at the socket. Prints nothing. */
bool cli_is_answered(struct cli_run *run, enum http_method method, const char *path);
/* `text` percent-encoded for a path or query. In the run's arena. */
const char *cli_escape(struct cli_run *run, const char *text);

/* --- operation.c: the server's API --- */
/* What is given for a member of a request. */
struct cli_given {
    const char *member; /* name; null ends a list */
    const char *text;   /* null: nothing is given. true or false for OP_BOOL; lists with commas */
    size_t len;         /* of a text that may hold NULs; 0: to its NUL */
};
#define CLI_GIVEN(...) ((const struct cli_given[]){__VA_ARGS__, {0}})
#define CLI_GIVEN_NONE ((const struct cli_given[]){{0}})
/* Calls the operation of this name. On success `*reply_out` is the parsed answer, in the run's arena; otherwise the
 * error has been printed. */
enum cli_exit cli_operation(struct cli_run *run, const char *name, const struct cli_given *given,
                            const struct json **reply_out);
/* The same, but an error that the server answers is the caller's to print, as for cli_request(). */
enum cli_exit cli_operation_answer(struct cli_run *run, const char *name, const struct cli_given *given,
                                   const struct json **reply_out);
/* Whether a server answers at the socket. Prints nothing. */
bool cli_server_is_here(struct cli_run *run);

/* --- find.c --- */
/* Finds the user that `text` names by id, name or e-mail address. */
enum cli_exit cli_find_user(struct cli_run *run, const char *text, const struct json **out);
/* Finds the node that `text` names by id, name, host name or address. */
enum cli_exit cli_find_node(struct cli_run *run, const char *text, const struct json **out);

/* --- nodes.c --- */
/* Finds the node that --identifier, or else `arg`, names. */
enum cli_exit cli_named_node(struct cli_run *run, const char *arg, const struct json **out);
/* Calls the operation with what is given besides the id of the node, then prints the node, or "Node NAME" and `done`.
 * `member` may be null: nothing else. */
enum cli_exit cli_node_call(struct cli_run *run, const struct json *node, const char *operation, struct cli_given given,
                            const char *done);

/* --- output.c --- */
struct cli_table {
    struct cli_run *run;
    size_t cols;
    size_t n, cap;
    const char **cells;   /* owned */
    const char *if_empty; /* printed instead of a table without rows; null: nothing */
};
/* `titles` ends with null. */
void cli_table_init(struct cli_table *t, struct cli_run *run, const char *const *titles);
/* Adds a cell, copied and escaped. */
void cli_table_add(struct cli_table *t, const char *cell);
/* `text` escaped, to stand within a line. In the run's arena. */
const char *cli_printable(struct cli_run *run, const char *text);
/* Prints the table and frees it. */
void cli_table_finish(struct cli_table *t);

/* The text (or number) of a member, "" when missing; in the run's arena, with a terminator. */
const char *cli_text(struct cli_run *run, const struct json *object, const char *key);
/* Whether the member is there and true. */
bool cli_is_true(const struct json *object, const char *key);
/* A time as "2026-11-23 01:02:03 UTC"; "-" when missing or null. */
const char *cli_time(struct cli_run *run, const struct json *object, const char *key);
/* An array of strings, joined by ", ". */
const char *cli_joined(struct cli_run *run, const struct json *object, const char *key);
/* For -o json, json-line, yaml: writes `value` and returns true; false for a table. */
bool cli_emit(struct cli_run *run, const struct json *value);

/* --- commands.c --- */
/* The commands that have code. */
extern const struct cli_spec cli_by_code;

/* --- generic.c --- */
/* Runs the command as its operation describes it. */
enum cli_exit cli_generic_run(struct cli_run *run);

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
enum cli_exit cli_database_dump(struct cli_run *run);
enum cli_exit cli_database_import(struct cli_run *run);
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
enum cli_exit cli_policy_get(struct cli_run *run);
enum cli_exit cli_policy_set(struct cli_run *run);
enum cli_exit cli_policy_check(struct cli_run *run);
enum cli_exit cli_policy_why(struct cli_run *run);
enum cli_exit cli_policy_diff(struct cli_run *run);
enum cli_exit cli_policy_diff_print(struct cli_run *run, const struct json *reply);
enum cli_exit cli_policy_history(struct cli_run *run);
enum cli_exit cli_policy_rollback(struct cli_run *run);
enum cli_exit cli_preauthkeys_create(struct cli_run *run);
enum cli_exit cli_preauthkeys_expire(struct cli_run *run);
enum cli_exit cli_preauthkeys_delete(struct cli_run *run);

#endif
