/* Help texts, made from the table of commands. */
#include "cli/cli_internal.h"

#include <string.h>

static void heading(FILE *out, bool is_coloured, const char *text)
{
    fprintf(out, is_coloured ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
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
        fprintf(out, "  %-28s %s\n", left, o->help);
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
                fprintf(out, "  %-12s %-10s %s\n", g->name, c->name, c->summary);
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

static void print_wrapped(FILE *out, const char *text)
{
    struct str rest = str_c(text);
    while (rest.len > 0) {
        size_t n = rest.len;
        if (n > 78) {
            for (n = 78; n > 1 && rest.p[n] != ' '; n--)
                ;
        }
        fprintf(out, "%.*s\n", (int)n, rest.p);
        rest = str_trim(str_n(rest.p + n, rest.len - n));
    }
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
        print_wrapped(out, command->details);
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
