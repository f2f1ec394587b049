/* From argv to an exit status. */
#include "cli/cli_internal.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *cli_value(const struct cli_run *run, const char *name)
{
    const struct cli_option *own = run->call.command != NULL ? run->call.command->options : NULL;
    for (size_t i = 0; own != NULL && own[i].name != NULL; i++) {
        if (strcmp(own[i].name, name) == 0)
            return run->call.values[i];
    }
    const struct cli_option *globals = run->program->spec->options;
    for (size_t i = 0; globals[i].name != NULL; i++) {
        if (strcmp(globals[i].name, name) == 0)
            return run->call.globals[i];
    }
    return NULL;
}

bool cli_flag(const struct cli_run *run, const char *name)
{
    return cli_value(run, name) != NULL;
}

const char *cli_arg(const struct cli_run *run, unsigned i)
{
    return i < run->call.args_n ? run->call.args[i] : NULL;
}

static void print_error(struct cli_run *run, const char *text, const char *more)
{
    if (run->output == CLI_OUTPUT_TABLE) {
        bool is_red = run->is_coloured && run->is_err_tty;
        char title[64];
        snprintf(title, sizeof(title), is_red ? "\033[31m%s:\033[0m " : "%s: ", run->program->spec->name);
        cli_sink_raw(&run->err_sink, str_c(title));
        fprintf(run->err, "%s\n%s", cli_printable(run, text), more);
        return;
    }
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "error", text);
    json_w_end_object(&w);
    fprintf(run->err, "%s\n", buf_cstr(&out));
    buf_fini(&out);
}

enum cli_exit cli_fail(struct cli_run *run, enum cli_exit status, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    print_error(run, text, "");
    return status;
}

enum cli_exit cli_usage(struct cli_run *run, const char *fmt, ...)
{
    char text[1024];
    char more[128];
    const struct cli_command *c = run->call.command;
    const char *group = c != NULL ? c->group : run->call.group != NULL ? run->call.group->name : "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    snprintf(more, sizeof(more), "See `%s %s%s%s%s--help`.\n", run->program->spec->name, group,
             group[0] != '\0' ? " " : "", c != NULL ? c->name : "", c != NULL ? " " : "");
    print_error(run, text, more);
    return CLI_EXIT_USAGE;
}

static void print_line(FILE *to, const char *end, const char *fmt, va_list args) PRINTF_LIKE(3, 0);

static void print_line(FILE *to, const char *end, const char *fmt, va_list args)
{
    struct buf line = {0};
    struct buf shown = {0};
    buf_vprintf(&line, fmt, args);
    show_append(&shown, buf_str(&line), SHOW_LINE);
    fprintf(to, "%s%s", buf_cstr(&shown), end);
    buf_fini(&shown);
    buf_fini(&line);
}

void cli_say(struct cli_run *run, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    print_line(run->out, "\n", fmt, args);
    va_end(args);
}

void cli_hint(struct cli_run *run, const char *fmt, ...)
{
    va_list args;
    if (!run->is_err_tty)
        return;
    va_start(args, fmt);
    print_line(run->err, "\n", fmt, args);
    va_end(args);
}

static bool is_yes(struct cli_run *run, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

static bool is_yes(struct cli_run *run, const char *fmt, va_list args)
{
    char answer[16] = "";
    print_line(run->err, " [y/N] ", fmt, args);
    fflush(run->err);
    return fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

enum cli_exit cli_confirm(struct cli_run *run, const char *fmt, ...)
{
    char question[256];
    bool can_ask = run->is_in_tty && run->is_err_tty;
    bool is_agreed = cli_flag(run, "force");
    va_list args;
    va_start(args, fmt);
    if (!is_agreed && can_ask)
        is_agreed = is_yes(run, fmt, args);
    else if (!is_agreed)
        vsnprintf(question, sizeof(question), fmt, args);
    va_end(args);
    if (is_agreed)
        return CLI_EXIT_OK;
    if (can_ask)
        return cli_fail(run, CLI_EXIT_ERROR, "nothing was changed");
    return cli_usage(run, "%s There is no terminal to ask on, so nothing was changed: use --force", question);
}

static bool load_config(struct cli_run *run, bool is_client, bool is_relay)
{
    struct config_source src;
    struct err err = {0};
    char text[sizeof(struct err)];
    if (run->cfg != NULL)
        return true;
    config_source_system(cli_value(run, "config"), &src);
    src.is_client = is_client;
    src.is_relay = is_relay;
    if (config_load(&src, &run->cfg, &err) == RC_OK)
        return true;
    err_format(&err, text, sizeof(text));
    (void)cli_fail(run, CLI_EXIT_ERROR, "%s", text);
    return false;
}

bool cli_need_config(struct cli_run *run, bool is_client)
{
    return load_config(run, is_client, false);
}

bool cli_need_relay_config(struct cli_run *run)
{
    return load_config(run, false, true);
}

enum cli_exit cli_version(struct cli_run *run)
{
    struct buf text = {0};
    struct json_writer w;
    const struct json *value;
    json_w_init(&w, &text);
    json_w_object(&w);
    json_w_kv_cstr(&w, "version", run->program->version);
    json_w_end_object(&w);
    if (json_parse(&run->arena, buf_str(&text), NULL, &value, NULL) != RC_OK || !cli_emit(run, value))
        cli_say(run, "%s %s", run->program->spec->name, run->program->version);
    buf_fini(&text);
    return CLI_EXIT_OK;
}

/* --- running a command --- */

static enum cli_output output_of(const char *format)
{
    static const char *const names[] = {"table", "json", "json-line", "yaml"};
    for (unsigned i = 0; format != NULL && i < ARRAY_LEN(names); i++) {
        if (strcmp(format, names[i]) == 0)
            return (enum cli_output)i;
    }
    return CLI_OUTPUT_TABLE;
}

static enum cli_exit help(struct cli_run *run)
{
    if (run->call.command != NULL)
        cli_help_command(run->out_sink.to, run->is_coloured, run->program->spec, run->call.command);
    else if (run->call.group != NULL)
        cli_help_group(run->out_sink.to, run->is_coloured, run->program->spec, run->call.group);
    else
        cli_help_program(run->out_sink.to, run->is_coloured, run->program->spec);
    return CLI_EXIT_OK;
}

static enum cli_exit dispatch(struct cli_run *run, int argc, char *const *argv)
{
    struct err err = {0};
    if (cli_parse(&run->arena, run->program->spec, argc, argv, &run->call, &err) != RC_OK)
        return cli_usage(run, "%s", err.text);
    run->output = output_of(cli_value(run, "output"));
    if (run->output == CLI_OUTPUT_JSON || run->output == CLI_OUTPUT_JSON_LINE)
        run->out_sink.how = run->err_sink.how = SHOW_JSON;
    if (run->call.is_help)
        return help(run);
    if (run->call.is_version)
        return cli_version(run);
    if (run->call.command != NULL)
        return run->call.command->run(run);
    (void)help(run);
    return run->call.group != NULL ? CLI_EXIT_USAGE : CLI_EXIT_OK;
}

static enum cli_exit run_in_sinks(struct cli_run *run, int argc, char *const *argv)
{
    if (!cli_sink_open(&run->err_sink, run->err, true))
        return CLI_EXIT_ERROR;
    if (!cli_sink_open(&run->out_sink, run->out, run->is_out_tty)) {
        (void)cli_sink_close(&run->err_sink);
        return CLI_EXIT_ERROR;
    }
    run->out = run->out_sink.stream;
    run->err = run->err_sink.stream;
    enum cli_exit status = dispatch(run, argc, argv);
    if (!cli_sink_close(&run->out_sink) && status == CLI_EXIT_OK)
        status = cli_fail(run, CLI_EXIT_ERROR, "the output could not be written");
    (void)cli_sink_close(&run->err_sink);
    return status;
}

enum cli_exit cli_run_args(int argc, char *const *argv, const struct cli_program *program, FILE *out, FILE *err)
{
    struct cli_run run = {.program = program, .out = out, .err = err};
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    run.is_out_tty = fileno(out) >= 0 && isatty(fileno(out));
    run.is_err_tty = fileno(err) >= 0 && isatty(fileno(err));
    run.is_in_tty = isatty(STDIN_FILENO);
    run.is_coloured = run.is_out_tty && (no_color == NULL || no_color[0] == '\0') &&
                      (term == NULL || strcmp(term, "dumb") != 0);
    enum cli_exit status = run_in_sinks(&run, argc, argv);
    config_destroy(&run.cfg);
    arena_fini(&run.arena);
    return status;
}

int cli_main(int argc, char **argv, const struct cli_program *program)
{
    char **words = cli_argv_take(argc, argv); /* before anything that takes time */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = (int)cli_run_args(argc, words, program, stdout, stderr);
    curl_global_cleanup();
    cli_argv_drop(&words);
    return status;
}
