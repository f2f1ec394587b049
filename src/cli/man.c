/* The manual page, fullscale(1), from the table. src: groff_man(7) */
#include "cli/cli_internal.h"

#include <string.h>

static void roff(FILE *out, struct str text)
{
    if (text.len > 0 && (text.p[0] == '.' || text.p[0] == '\''))
        fputs("\\&", out);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (c == '\\')
            fputs("\\e", out);
        else if (c == '-')
            fputs("\\-", out);
        else if (c == '\'')
            fputs("\\(aq", out);
        else if (c == '`')
            fputs("\\(ga", out);
        else if (c == '~')
            fputs("\\(ti", out);
        else
            fputc(c, out);
    }
}

static void roff_c(FILE *out, const char *text)
{
    roff(out, str_c(text));
}

static void man_options(FILE *out, const struct cli_option *options)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        fputs(".TP\n", out);
        if (o->letter != 0)
            fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
        fputs("\\fB\\-\\-", out);
        roff_c(out, o->name);
        fputs("\\fR", out);
        if (o->value != NULL)
            fprintf(out, " \\fI%s\\fR", o->value);
        fputc('\n', out);
        roff_c(out, o->help);
        fputs(".\n", out);
    }
}

static void man_examples(FILE *out, const char *examples)
{
    struct str rest = str_c(examples);
    struct str line;
    fputs(".PP\n.EX\n", out);
    while (rest.len > 0) {
        str_cut(rest, '\n', &line, &rest);
        fputs("  ", out);
        roff(out, line);
        fputc('\n', out);
    }
    fputs(".EE\n", out);
}

static void man_command(FILE *out, const struct cli_command *c)
{
    fputs(".SS \"fullscale ", out);
    if (c->group[0] != '\0')
        fprintf(out, "%s ", c->group);
    roff_c(out, c->name);
    if (c->args[0] != '\0') {
        fputc(' ', out);
        roff_c(out, c->args);
    }
    fputs("\"\n", out);
    char first[2] = {c->summary[0], '\0'};
    if (first[0] >= 'a' && first[0] <= 'z')
        first[0] = (char)(first[0] - 32);
    roff_c(out, first);
    roff_c(out, c->summary + 1);
    fputs(".\n", out);
    if (c->details != NULL) {
        roff_c(out, c->details);
        fputc('\n', out);
    }
    man_options(out, c->options);
    man_examples(out, c->examples);
}

void cli_man(FILE *out, const struct cli_spec *spec, const char *version)
{
    fprintf(out, ".TH FULLSCALE 1 \"\" \"fullscale %s\" \"User Commands\"\n.SH NAME\nfullscale \\- ", version);
    roff_c(out, spec->summary);
    fputs("\n.SH SYNOPSIS\n.B fullscale\n.I command\n[\\fIarguments\\fR] [\\fIoptions\\fR]\n.SH DESCRIPTION\n", out);
    roff_c(out,
           "The commands serve, relay, config, completion, man and version need no running server. All others talk to"
           " one over "
           "its unix socket, which only root and the members of the socket's group may open.");
    fputs("\n.SH OPTIONS\nOptions of all commands:\n", out);
    man_options(out, spec->options);
    fputs(".SH COMMANDS\n", out);
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (!c->is_hidden)
            man_command(out, c);
    }
    fputs(".SH EXIT STATUS\n"
          ".TP\n0\nSuccess.\n.TP\n1\nAn error.\n.TP\n2\nWrong usage.\n"
          ".TP\n3\nThe named user, node, key or relay does not exist.\n.TP\n4\nNot allowed.\n"
          ".TP\n78\nserve and relay: a mistake in the configuration. Starting again does not help until it is "
          "corrected.\n"
          ".SH ENVIRONMENT\n"
          ".TP\n.B FULLSCALE_CONFIG\nThe configuration file.\n"
          ".TP\n.B FULLSCALE_\\fIKEY\\fR\nOverrides a key of the configuration; its name is in capitals, with an "
          "underscore for each dot. "
          "See \\fBfullscale config reference\\fR.\n"
          ".TP\n.B NO_COLOR\nIf set, output has no colours.\n"
          ".SH FILES\n"
          ".TP\n.I /etc/fullscale/config.yaml\nThe configuration. Every key is optional.\n"
          ".TP\n.I /var/lib/fullscale\nDatabase, keys and certificates.\n"
          ".TP\n.I /run/fullscale/fullscale.sock\nThe socket over which commands talk to the server.\n",
          out);
}

enum cli_exit cli_man_run(struct cli_run *run)
{
    cli_man(run->out, run->program->spec, run->program->version);
    return CLI_EXIT_OK;
}
