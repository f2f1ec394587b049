/* `policy ...` */
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli_internal.h"
#include "policy/policy.h"

/* --- errors and warnings --- */

/* Reads the errors of the server's answer; texts live in the run's arena. */
static void errors_of(struct cli_run *run, const struct json *list, struct policy_errors *out)
{
    int64_t line, col;
    JSON_EACH (it, list) {
        if (out->n == POLICY_ERRORS_MAX)
            return;
        line = col = 0;
        (void)(json_i64(json_get(it, "line"), &line) && json_i64(json_get(it, "column"), &col));
        out->v[out->n++] = (struct policy_error){(int)line, (int)col, cli_text(run, it, "message")};
    }
}

static void print_lines(struct cli_run *run, const struct policy_errors *errors, const char *file, const char *kind)
{
    for (size_t i = 0; i < errors->n; i++) {
        const struct policy_error *e = &errors->v[i];
        fprintf(run->err, "%s:", cli_printable(run, file));
        if (e->line > 0)
            fprintf(run->err, "%d:%d:", e->line, e->col);
        fprintf(run->err, " %s%s\n", kind, cli_printable(run, e->text));
    }
}

static void write_errors_json(struct cli_run *run, const struct policy_errors *errors, const char *file,
                              const char *sentence)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "error", sentence);
    json_w_key(&w, "errors");
    json_w_array(&w);
    for (size_t i = 0; i < errors->n; i++) {
        json_w_object(&w);
        json_w_kv_cstr(&w, "file", file);
        json_w_kv_i64(&w, "line", errors->v[i].line);
        json_w_kv_i64(&w, "column", errors->v[i].col);
        json_w_kv_cstr(&w, "message", errors->v[i].text);
        json_w_end_object(&w);
    }
    json_w_end_array(&w);
    json_w_end_object(&w);
    fprintf(run->err, "%s\n", buf_cstr(&out));
    buf_fini(&out);
}

/* Prints every error with its position, then the sentence. */
static enum cli_exit fail_with(struct cli_run *run, enum cli_exit status, const struct policy_errors *errors,
                               const char *file, const char *sentence)
{
    if (run->output != CLI_OUTPUT_TABLE) {
        write_errors_json(run, errors, file, sentence);
        return status;
    }
    print_lines(run, errors, file, "");
    return cli_fail(run, status, "%s", sentence);
}

/* --- the file --- */

struct policy_file {
    const char *name; /* for messages */
    struct buf text;
};

enum { FILE_MAX_BYTES = 16 << 20 };

static enum rc read_stdin(struct buf *out, struct err *err)
{
    size_t n;
    do {
        n = fread(buf_reserve(out, 65536), 1, 65536, stdin);
        buf_commit(out, n);
    } while (n > 0 && buf_len(out) <= FILE_MAX_BYTES);
    if (ferror(stdin))
        return err_set(err, RC_IO, "standard input cannot be read");
    return buf_len(out) <= FILE_MAX_BYTES ? RC_OK : err_set(err, RC_TOO_LARGE, "standard input is too large");
}

/* Reads the file that --file or the argument names, and parses it: a policy with errors is not sent to the server. */
static enum cli_exit take_file(struct cli_run *run, struct policy_file *out)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    struct err err;
    const char *path = cli_value(run, "file");
    if (path == NULL)
        path = cli_arg(run, 0);
    if (path == NULL)
        return cli_usage(run, "name the file: --file FILE (- for standard input)");
    bool is_stdin = strcmp(path, "-") == 0;
    out->name = is_stdin ? "standard input" : path;
    if ((is_stdin ? read_stdin(&out->text, &err) : file_read(path, FILE_MAX_BYTES, &out->text, &err)) != RC_OK)
        return cli_fail(run, CLI_EXIT_ERROR, "%s", err.text);
    enum cli_exit status = CLI_EXIT_OK;
    if (policy_parse(buf_str(&out->text), NULL, &doc, &errors) != RC_OK)
        status = fail_with(run, CLI_EXIT_ERROR, &errors, out->name, "this policy cannot be used");
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    return status;
}

/* The name of the person who runs this, for the history. */
static const char *author(void)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *pw = getpwuid(geteuid());
    if (sudo != NULL && sudo[0] != '\0' && strlen(sudo) < 64)
        return sudo;
    return pw != NULL && strlen(pw->pw_name) < 64 ? pw->pw_name : "";
}

/* Sends the policy. `note` null: without author and note, which are for the history. */
static enum cli_exit send_file(struct cli_run *run, const char *operation, const struct policy_file *file,
                               const char *note, const struct json **reply_out)
{
    struct policy_errors errors = {0};
    struct str text = buf_str(&file->text);
    const struct cli_given policy = {"policy", text.len > 0 ? text.p : "", text.len};
    enum cli_exit status = note != NULL ? cli_operation_answer(run, operation,
                                                               CLI_GIVEN(policy, {"author", author()}, {"note", note}),
                                                               reply_out)
                                        : cli_operation_answer(run, operation, CLI_GIVEN(policy), reply_out);
    errors_of(run, json_get(*reply_out, "errors"), &errors);
    if (status != CLI_EXIT_OK && *reply_out != NULL)
        return fail_with(run, status, &errors, file->name, cli_text(run, *reply_out, "detail"));
    return status;
}

static void print_warnings(struct cli_run *run, const struct json *reply, const char *file)
{
    struct policy_errors warnings = {0};
    errors_of(run, json_get(reply, "warnings"), &warnings);
    print_lines(run, &warnings, file, "warning: ");
}

/* --- policy get --- */

/* Byte for byte into a file or pipe; escaped on a terminal. */
static void print_policy(struct cli_run *run, struct str text)
{
    if (run->is_out_tty)
        fwrite(text.p, 1, text.len, run->out);
    else
        cli_sink_raw(&run->out_sink, text);
}

enum cli_exit cli_policy_get(struct cli_run *run)
{
    const struct json *reply;
    const char *version = cli_value(run, "version-number");
    enum cli_exit status = version != NULL
                               ? cli_operation(run, "policy.get_version", CLI_GIVEN({"id", version}), &reply)
                               : cli_operation(run, "policy.get", CLI_GIVEN_NONE, &reply);
    if (status != CLI_EXIT_OK || cli_emit(run, reply))
        return status;
    struct str text = STR_EMPTY;
    (void)json_str(json_get(reply, "policy"), &text);
    print_policy(run, text);
    if (text.len > 0 && text.p[text.len - 1] != '\n')
        fputc('\n', run->out);
    if (text.len == 0)
        cli_hint(run,
                 "There is no policy: every node reaches every other. Name a file in policy.path, or use policy.mode:"
                 " database "
                 "and `fullscale policy set -f FILE`");
    const char *fault = cli_text(run, reply, "fault");
    if (fault[0] != '\0')
        fprintf(run->err, "%sfullscale: this is the last good policy; the file in its present form cannot be used\n",
                fault);
    return CLI_EXIT_OK;
}

/* --- policy set, rollback --- */

static enum cli_exit print_stored(struct cli_run *run, const struct json *reply, const char *file)
{
    if (cli_emit(run, reply))
        return CLI_EXIT_OK;
    print_warnings(run, reply, file);
    cli_say(run, "Policy version %s is in force", cli_text(run, reply, "version"));
    return CLI_EXIT_OK;
}

enum cli_exit cli_policy_set(struct cli_run *run)
{
    struct policy_file file = {0};
    const struct json *reply;
    const char *note = cli_value(run, "message");
    enum cli_exit status = take_file(run, &file);
    if (status == CLI_EXIT_OK)
        status = send_file(run, "policy.set", &file, note != NULL ? note : "", &reply);
    if (status == CLI_EXIT_OK)
        status = print_stored(run, reply, file.name);
    buf_fini(&file.text);
    return status;
}

enum cli_exit cli_policy_rollback(struct cli_run *run)
{
    const struct json *reply;
    const char *version = cli_arg(run, 0);
    struct policy_errors errors = {0};
    enum cli_exit status = cli_confirm(run, "Apply version %s of the policy again?", version);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_operation_answer(run, "policy.rollback", CLI_GIVEN({"id", version}, {"author", author()}), &reply);
    errors_of(run, json_get(reply, "errors"), &errors);
    const char *name = arena_printf(&run->arena, "version %s", version);
    if (status != CLI_EXIT_OK && reply != NULL)
        return fail_with(run, status, &errors, name, cli_text(run, reply, "detail"));
    return status != CLI_EXIT_OK ? status : print_stored(run, reply, name);
}

/* --- policy check --- */

static enum cli_exit print_good(struct cli_run *run, const struct json *reply, const struct policy_file *file)
{
    const struct json *alone = NULL;
    bool has_server = reply != NULL;
    if (!has_server && json_parse(&run->arena, STR("{\"warnings\":[]}"), NULL, &alone, NULL) == RC_OK)
        reply = alone;
    if (!cli_emit(run, reply)) {
        print_warnings(run, reply, file->name);
        cli_say(run, "%s: good", file->name);
    }
    if (!has_server)
        fprintf(run->err,
                "No server runs here: the policy's tests were not run, and whether its users exist was not checked\n");
    return CLI_EXIT_OK;
}

enum cli_exit cli_policy_check(struct cli_run *run)
{
    struct policy_file file = {0};
    const struct json *reply = NULL;
    enum cli_exit status = take_file(run, &file);
    if (status == CLI_EXIT_OK && cli_server_is_here(run))
        status = send_file(run, "policy.check", &file, NULL, &reply);
    if (status == CLI_EXIT_OK)
        status = print_good(run, reply, &file);
    buf_fini(&file.text);
    return status;
}

/* --- policy diff --- */

enum cli_exit cli_policy_diff(struct cli_run *run)
{
    struct policy_file file = {0};
    const struct json *reply;
    enum cli_exit status = take_file(run, &file);
    if (status == CLI_EXIT_OK)
        status = send_file(run, "policy.diff", &file, NULL, &reply);
    if (status == CLI_EXIT_OK)
        status = cli_policy_diff_print(run, reply);
    buf_fini(&file.text);
    return status;
}

/* --- policy history --- */

enum cli_exit cli_policy_history(struct cli_run *run)
{
    static const char *const titles[] = {"VERSION", "SET AT", "BY", "BYTES", "NOTE", NULL};
    const struct json *reply;
    struct cli_table table;
    enum cli_exit status = cli_operation(run, "policy.history", CLI_GIVEN_NONE, &reply);
    const struct json *versions = json_get(reply, "versions");
    if (status != CLI_EXIT_OK || cli_emit(run, versions))
        return status;
    cli_table_init(&table, run, titles);
    table.if_empty = "No policy has been set yet. Set one with `fullscale policy set -f FILE`";
    JSON_EACH (it, versions) {
        cli_table_add(&table, cli_text(run, it, "version"));
        cli_table_add(&table, cli_time(run, it, "updatedAt"));
        cli_table_add(&table, cli_text(run, it, "author"));
        cli_table_add(&table, cli_text(run, it, "bytes"));
        cli_table_add(&table, cli_text(run, it, "note"));
    }
    cli_table_finish(&table);
    return CLI_EXIT_OK;
}
