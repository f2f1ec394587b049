/* Completion scripts, made from the table of commands. Each finds the command that the words before the cursor name,
 * then offers what may follow. */
#include "cli/cli_internal.h"

#include <string.h>

/* How a script names an entry of the table: "users create", "serve". */
static void print_full_name(FILE *out, const struct cli_command *c)
{
    fprintf(out, "%s%s%s", c->group, c->group[0] != '\0' ? " " : "", c->name);
}

/* One shell pattern per name: "users create"|"users c"|... */
static void print_patterns(FILE *out, const char *before, const char *name, const char *aliases)
{
    struct str rest = str_c(aliases);
    struct str alias;
    fprintf(out, "\"%s %s\"", before, name);
    while (rest.len > 0) {
        str_cut(rest, ' ', &alias, &rest);
        fprintf(out, "|\"%s %.*s\"", before, STR_ARG(alias));
    }
}

/* The part that bash and zsh share: sets `$where` to the command that the words name. */
static void print_walk(FILE *out, const struct cli_spec *spec, const char *indent)
{
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++) {
        fprintf(out, "%s", indent);
        print_patterns(out, "", g->name, g->aliases);
        fprintf(out, ") where=\"%s\" ;;\n", g->name);
    }
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        fprintf(out, "%s", indent);
        print_patterns(out, c->group, c->name, c->aliases);
        fprintf(out, ") where=\"");
        print_full_name(out, c);
        fprintf(out, "\" ;;\n");
    }
}

/* --- bash --- */

static void bash_options(FILE *out, const struct cli_option *options)
{
    for (const struct cli_option *o = options; o->name != NULL; o++)
        fprintf(out, " --%s", o->name);
}

static void bash_words(FILE *out, const struct cli_spec *spec)
{
    fprintf(out, "        \"\") words=\"help");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++)
        fprintf(out, " %s", g->name);
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (c->group[0] == '\0' && !c->is_hidden)
            fprintf(out, " %s", c->name);
    }
    fprintf(out, "\" ;;\n");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++) {
        fprintf(out, "        \"%s\") words=\"", g->name);
        for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
            if (strcmp(c->group, g->name) == 0)
                fprintf(out, "%s ", c->name);
        }
        fprintf(out, "\" ;;\n");
    }
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        fprintf(out, "        \"");
        print_full_name(out, c);
        fprintf(out, "\") words=\"%s", c->args_choices != NULL ? c->args_choices : "");
        bash_options(out, c->options);
        fprintf(out, "\" ;;\n");
    }
}

static void bash_values(FILE *out, const struct cli_option *options, const char *full_name)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        if (o->value == NULL)
            continue;
        fprintf(out, "        \"%s --%s\"", full_name, o->name);
        if (o->letter != 0)
            fprintf(out, "|\"%s -%c\"", full_name, o->letter);
        if (o->choices != NULL && strcmp(o->choices, "FILE") != 0)
            fprintf(out, ") COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", o->choices);
        else
            fprintf(out, ") %s; return ;;\n", o->choices != NULL ? "COMPREPLY=($(compgen -f -- \"$cur\"))" : ":");
    }
}

static void bash(FILE *out, const struct cli_spec *spec)
{
    fprintf(out, "# bash completion for fullscale, made by `fullscale completion bash`\n"
                 "_fullscale() {\n"
                 "    local cur prev i where=\"\" words=\"\"\n"
                 "    COMPREPLY=()\n"
                 "    cur=\"${COMP_WORDS[COMP_CWORD]}\"\n"
                 "    prev=\"${COMP_WORDS[COMP_CWORD-1]}\"\n"
                 "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                 "        case \"$where ${COMP_WORDS[i]}\" in\n");
    print_walk(out, spec, "        ");
    fprintf(out, "        esac\n"
                 "    done\n"
                 "    case \"$where $prev\" in\n");
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        char full_name[64];
        snprintf(full_name, sizeof(full_name), "%s%s%s", c->group, c->group[0] != '\0' ? " " : "", c->name);
        bash_values(out, c->options, full_name);
    }
    fprintf(out, "    esac\n"
                 "    case \"* $prev\" in\n");
    bash_values(out, spec->options, "*");
    fprintf(out, "    esac\n"
                 "    case \"$where\" in\n");
    bash_words(out, spec);
    fprintf(out, "    esac\n"
                 "    words=\"$words");
    bash_options(out, spec->options);
    fprintf(out, "\"\n"
                 "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                 "}\n"
                 "complete -F _fullscale fullscale\n");
}

/* --- zsh --- */

/* Inside single quotes; a colon ends the word of _describe. */
static void zsh_item(FILE *out, const char *prefix, const char *name, const char *help)
{
    fprintf(out, " '%s%s:", prefix, name);
    for (const char *p = help; *p != '\0'; p++) {
        if (*p == '\'')
            fputs("'\\''", out);
        else if (*p == ':')
            fputs("\\:", out);
        else
            fputc(*p, out);
    }
    fputc('\'', out);
}

static void zsh_options(FILE *out, const struct cli_option *options)
{
    for (const struct cli_option *o = options; o->name != NULL; o++)
        zsh_item(out, "--", o->name, o->help);
}

static void zsh_commands(FILE *out, const struct cli_spec *spec, const char *group)
{
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (strcmp(c->group, group) == 0 && !c->is_hidden)
            zsh_item(out, "", c->name, c->summary);
    }
}

static void zsh_words(FILE *out, const struct cli_spec *spec)
{
    fprintf(out, "        \"\") items=(");
    zsh_commands(out, spec, "");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++)
        zsh_item(out, "", g->name, g->summary);
    fprintf(out, " ) ;;\n");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++) {
        fprintf(out, "        \"%s\") items=(", g->name);
        zsh_commands(out, spec, g->name);
        fprintf(out, " ) ;;\n");
    }
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        struct str rest = str_c(c->args_choices != NULL ? c->args_choices : "");
        struct str choice;
        fprintf(out, "        \"");
        print_full_name(out, c);
        fprintf(out, "\") items=(");
        while (rest.len > 0) {
            str_cut(rest, ' ', &choice, &rest);
            fprintf(out, " '%.*s'", STR_ARG(choice));
        }
        zsh_options(out, c->options);
        fprintf(out, " ) ;;\n");
    }
}

static void zsh(FILE *out, const struct cli_spec *spec)
{
    fprintf(out, "#compdef fullscale\n"
                 "# zsh completion for fullscale, made by `fullscale completion zsh`\n"
                 "_fullscale() {\n"
                 "    local where=\"\" i\n"
                 "    local -a items\n"
                 "    case \"${words[CURRENT-1]}\" in\n"
                 "        -c|--config|--socket) _files; return ;;\n"
                 "        -o|--output) items=(table json json-line yaml); _describe 'format' items; return ;;\n"
                 "    esac\n"
                 "    for ((i = 2; i < CURRENT; i++)); do\n"
                 "        case \"$where ${words[i]}\" in\n");
    print_walk(out, spec, "        ");
    fprintf(out, "        esac\n"
                 "    done\n"
                 "    case \"$where\" in\n");
    zsh_words(out, spec);
    fprintf(out, "    esac\n"
                 "    [[ \"${words[CURRENT]}\" == -* ]] && items+=(");
    zsh_options(out, spec->options);
    fprintf(
        out,
        " )\n"
        "    _describe 'fullscale' items\n"
        "}\n"
        "if [ \"$funcstack[1]\" = \"_fullscale\" ]; then _fullscale \"$@\"; else compdef _fullscale fullscale; fi\n");
}

/* --- fish --- */

static void fish_quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\'' || *p == '\\')
            fputc('\\', out);
        fputc(*p, out);
    }
    fputc('\'', out);
}

static void fish_words(FILE *out, const char *name, const char *aliases)
{
    fprintf(out, "%s%s%s", name, aliases[0] != '\0' ? " " : "", aliases);
}

static void fish_options(FILE *out, const struct cli_option *options, const char *condition)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        fprintf(out, "complete -c fullscale%s -l %s", condition, o->name);
        if (o->letter != 0)
            fprintf(out, " -s %c", o->letter);
        if (o->choices != NULL && strcmp(o->choices, "FILE") == 0)
            fprintf(out, " -r -F");
        else if (o->value != NULL)
            fprintf(out, " -x");
        if (o->choices != NULL && strcmp(o->choices, "FILE") != 0)
            fprintf(out, " -a '%s'", o->choices);
        fprintf(out, " -d ");
        fish_quoted(out, o->help);
        fputc('\n', out);
    }
}

static void fish_command(FILE *out, const struct cli_spec *spec, const struct cli_command *c)
{
    char condition[512];
    FILE *text = fmemopen(condition, sizeof(condition), "w");
    if (text == NULL)
        return;
    fprintf(text, " -n '");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++) {
        if (strcmp(g->name, c->group) == 0) {
            fprintf(text, "__fish_seen_subcommand_from ");
            fish_words(text, g->name, g->aliases);
            fprintf(text, "; and ");
        }
    }
    fprintf(text, "__fish_seen_subcommand_from ");
    fish_words(text, c->name, c->aliases);
    fprintf(text, "'");
    fclose(text);
    fish_options(out, c->options, condition);
    if (c->args_choices != NULL)
        fprintf(out, "complete -c fullscale%s -a '%s'\n", condition, c->args_choices);
}

static void fish_group(FILE *out, const struct cli_spec *spec, const struct cli_group *g)
{
    fprintf(out, "complete -c fullscale -n __fish_use_subcommand -a %s -d ", g->name);
    fish_quoted(out, g->summary);
    fputc('\n', out);
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (strcmp(c->group, g->name) != 0)
            continue;
        fprintf(out, "complete -c fullscale -n '__fish_seen_subcommand_from ");
        fish_words(out, g->name, g->aliases);
        fprintf(out, "; and not __fish_seen_subcommand_from");
        for (const struct cli_command *other = spec->commands; other->name != NULL; other++) {
            if (strcmp(other->group, g->name) == 0) {
                fputc(' ', out);
                fish_words(out, other->name, other->aliases);
            }
        }
        fprintf(out, "' -a %s -d ", c->name);
        fish_quoted(out, c->summary);
        fputc('\n', out);
    }
}

static void fish(FILE *out, const struct cli_spec *spec)
{
    fprintf(out, "# fish completion for fullscale, made by `fullscale completion fish`\n"
                 "complete -c fullscale -f\n");
    fish_options(out, spec->options, "");
    for (const struct cli_group *g = spec->groups; g->name != NULL; g++)
        fish_group(out, spec, g);
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (c->group[0] == '\0' && !c->is_hidden) {
            fprintf(out, "complete -c fullscale -n __fish_use_subcommand -a %s -d ", c->name);
            fish_quoted(out, c->summary);
            fputc('\n', out);
        }
        fish_command(out, spec, c);
    }
}

bool cli_completion(FILE *out, const struct cli_spec *spec, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        bash(out, spec);
    else if (strcmp(shell, "zsh") == 0)
        zsh(out, spec);
    else if (strcmp(shell, "fish") == 0)
        fish(out, spec);
    else
        return false;
    return true;
}

enum cli_exit cli_completion_run(struct cli_run *run)
{
    return cli_completion(run->out, run->program->spec, cli_arg(run, 0)) ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}
