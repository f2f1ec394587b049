/* Help texts, made from the table of commands. */
#include "cli/cli_internal.h"

#include <string.h>

#include "base/fits.h"

static void heading(FILE *out, bool is_coloured, const char *text)
{
    fprintf(out, is_coloured ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
}

enum { LINE_MAX_COLUMNS = 78, OPTION_COLUMNS = 31 };

/* The text in lines; all but the first begin with `indent` spaces, where the first is already. */
static void print_wrapped(FILE *out, const char *text, unsigned indent)
{
    struct str rest = str_c(text);
    const size_t max = room_under(indent, LINE_MAX_COLUMNS);
    for (bool is_first = true; rest.len > 0; is_first = false) {
        size_t n = rest.len;
        if (n > max) {
            for (n = max; n > 0 && rest.p[n] != ' '; n--)
                ;
            if (n == 0) /* one long word */
                for (n = max; n < rest.len && rest.p[n] != ' '; n++)
                    ;
        }
        fprintf(out, "%*s%.*s\n", is_first ? 0 : (int)indent, "", (int)n, rest.p);
        rest = str_trim(str_n(rest.p + n, rest.len - n));
    }
}

static void print_options(FILE *out, const struct cli_option *options)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        char left[64];
        char letter[8] = "   ";
        if (o->letter != 0)
            snprintf(letter, sizeof(letter), "-%c,", o->letter);
        snprintf(left, sizeof(left), "%s --%s%s%s", letter, o->name, o->value != NULL ? " " : "",
                 o->value != NULL ? o->value : "");
        fprintf(out, "  %-*s ", OPTION_COLUMNS - 3, left);
        print_wrapped(out, o->help, OPTION_COLUMNS);
    }
}

static void print_commands(FILE *out, const struct cli_spec *spec, const char *group)
{
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (!c->is_hidden && strcmp(c->group, group) == 0)
            fprintf(out, "  %-14s %s\n", c->name, c->summary);
    }
}

static void print_examples(FILE *out, const char *examples)
{
    struct str rest = str_c(examples);
    struct str line;
    while (rest.len > 0) {
        str_cut(rest, '\n', &line, &rest);
        fprintf(out, "  %.*s\n", STR_ARG(line));
    }
}

void cli_help_program(FILE *out, bool is_coloured, const struct cli_spec *spec)
{
    fprintf(out, "%s - %s\n", spec->name, spec->summary);
    heading(out, is_coloured, "Usage:");
    fprintf(out, "  %s COMMAND [ARGUMENTS] [OPTIONS]\n", spec->name);
    heading(out, is_coloured, "Commands:");
    print_commands(out, spec, "");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++) {
        heading(out, is_coloured, g->summary);
        for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
            if (!c->is_hidden && strcmp(c->group, g->name) == 0)
                fprintf(out, "  %-12s %-14s %s\n", g->name, c->name, c->summary);
        }
    }
    heading(out, is_coloured, "Global options:");
    print_options(out, spec->options);
    heading(out, is_coloured, "Getting started:");
    print_examples(out, spec->start);
    fprintf(out, "\n`%s COMMAND --help` describes one command and gives examples.\n", spec->name);
}

void cli_help_group(FILE *out, bool is_coloured, const struct cli_spec *spec, const struct cli_group *group)
{
    fprintf(out, "%s %s - %s\n", spec->name, group->name, group->summary);
    heading(out, is_coloured, "Usage:");
    fprintf(out, "  %s %s COMMAND [ARGUMENTS] [OPTIONS]\n", spec->name, group->name);
    heading(out, is_coloured, "Commands:");
    print_commands(out, spec, group->name);
    if (group->aliases[0] != '\0')
        fprintf(out, "\nOther names: %s\n", group->aliases);
    fprintf(out, "\n`%s %s COMMAND --help` describes one command and gives examples.\n", spec->name, group->name);
}

void cli_help_command(FILE *out, bool is_coloured, const struct cli_spec *spec, const struct cli_command *command)
{
    const char *space = command->group[0] != '\0' ? " " : "";
    fprintf(out, "%s %s%s%s - %s\n", spec->name, command->group, space, command->name, command->summary);
    heading(out, is_coloured, "Usage:");
    fprintf(out, "  %s %s%s%s%s%s [OPTIONS]\n", spec->name, command->group, space, command->name,
            command->args[0] != '\0' ? " " : "", command->args);
    if (command->details != NULL) {
        fputc('\n', out);
        print_wrapped(out, command->details, 0);
    }
    if (command->options[0].name != NULL) {
        heading(out, is_coloured, "Options:");
        print_options(out, command->options);
    }
    heading(out, is_coloured, "Global options:");
    print_options(out, spec->options);
    heading(out, is_coloured, "Examples:");
    print_examples(out, command->examples);
    if (command->aliases[0] != '\0')
        fprintf(out, "\nOther names: %s\n", command->aliases);
}
