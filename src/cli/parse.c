/* From argv to a cli_call. */
#include "cli/cli_internal.h"

#include <string.h>

struct parser {
    struct arena *arena;
    struct cli_call *call;
    struct err *err;
    int argc;
    char *const *argv;
    int i;             /* next argument */
    bool is_only_args; /* after "--" */
};

/* An option that was found, and where its value goes. */
struct found {
    const struct cli_option *option;
    const char **value;
};

static const char *call_name(const struct cli_call *call, struct arena *a)
{
    const char *program = call->spec->name;
    if (call->command != NULL && call->command->group[0] == '\0')
        return arena_printf(a, "%s %s", program, call->command->name);
    if (call->command != NULL)
        return arena_printf(a, "%s %s %s", program, call->command->group, call->command->name);
    return call->group != NULL ? arena_printf(a, "%s %s", program, call->group->name) : program;
}

/* --- words --- */

bool cli_word_is(const char *word, const char *name, const char *aliases)
{
    struct str rest = str_c(aliases);
    struct str alias;
    if (strcmp(word, name) == 0)
        return true;
    while (rest.len > 0) {
        str_cut(rest, ' ', &alias, &rest);
        if (str_eq_c(alias, word))
            return true;
    }
    return false;
}

struct nearest {
    struct str word;
    const char *best;
    size_t distance;
};

static void consider(struct nearest *near, const char *name)
{
    size_t distance = str_distance(near->word, str_c(name));
    if (distance < near->distance) {
        near->distance = distance;
        near->best = name;
    }
}

static enum rc unknown_word(struct parser *p, const char *word)
{
    const struct cli_group *group = p->call->group;
    struct nearest near = {str_c(word), NULL, strlen(word) / 2 + 2};
    for (const struct cli_command *c = p->call->spec->commands; c->name != NULL; c++) {
        if (!c->is_hidden && strcmp(c->group, group != NULL ? group->name : "") == 0)
            consider(&near, c->name);
    }
    for (const struct cli_group *g = p->call->spec->groups; g->name != NULL && group == NULL; g++)
        consider(&near, g->name);
    const char *where = call_name(p->call, p->arena);
    if (near.best != NULL)
        return err_set(p->err, RC_INVALID, "there is no command \"%s %s\": did you mean \"%s %s\"?", where, word, where,
                       near.best);
    return err_set(p->err, RC_INVALID, "there is no command \"%s %s\"", where, word);
}

static const struct cli_command *find_command(const struct cli_spec *spec, const char *group, const char *word)
{
    for (const struct cli_command *c = spec->commands; c->name != NULL; c++) {
        if (strcmp(c->group, group) == 0 && cli_word_is(word, c->name, c->aliases))
            return c;
    }
    return NULL;
}

static enum rc take_word(struct parser *p, const char *word)
{
    struct cli_call *call = p->call;
    if (call->command != NULL) {
        if (call->args_n >= call->command->args_max)
            return err_set(p->err, RC_INVALID, "\"%s\" is one argument too many for \"%s\"", word,
                           call_name(call, p->arena));
        call->args[call->args_n++] = word;
        return RC_OK;
    }
    if (call->group == NULL && strcmp(word, "help") == 0) {
        call->is_help = true;
        return RC_OK;
    }
    if (call->group == NULL) {
        for (const struct cli_group *g = call->spec->groups; g->name != NULL; g++) {
            if (cli_word_is(word, g->name, g->aliases)) {
                call->group = g;
                return RC_OK;
            }
        }
    }
    call->command = find_command(call->spec, call->group != NULL ? call->group->name : "", word);
    return call->command != NULL ? RC_OK : unknown_word(p, word);
}

/* --- options --- */

static bool next_option(const struct cli_call *call, size_t *pos, struct found *out)
{
    const struct cli_option *own = call->command != NULL ? call->command->options : NULL;
    size_t own_n = 0;
    while (own != NULL && own[own_n].name != NULL)
        own_n++;
    size_t i = (*pos)++;
    if (i < own_n) {
        *out = (struct found){&own[i], (const char **)&call->values[i]};
        return true;
    }
    i -= own_n;
    *out = (struct found){&call->spec->options[i], (const char **)&call->globals[i]};
    return call->spec->options[i].name != NULL;
}

/* The option with exactly this name, or the only one that begins with it. */
static enum rc find_long(struct parser *p, struct str name, struct found *out)
{
    struct found it;
    struct found abbreviated = {0};
    struct nearest near = {name, NULL, 4};
    unsigned fits = 0;
    for (size_t pos = 0; next_option(p->call, &pos, &it);) {
        if (str_eq_c(name, it.option->name)) {
            *out = it;
            return RC_OK;
        }
        consider(&near, it.option->name);
        if (!str_starts(str_c(it.option->name), name) ||
            (fits > 0 && strcmp(abbreviated.option->name, it.option->name) == 0))
            continue;
        abbreviated = it;
        fits++;
    }
    if (fits == 1 && name.len > 0) {
        *out = abbreviated;
        return RC_OK;
    }
    if (near.best != NULL)
        return err_set(p->err, RC_INVALID, "\"%s\" has no option --%.*s: did you mean --%s?",
                       call_name(p->call, p->arena), STR_ARG(name), near.best);
    return err_set(p->err, RC_INVALID, "\"%s\" has no option --%.*s", call_name(p->call, p->arena), STR_ARG(name));
}

static enum rc find_letter(struct parser *p, char letter, struct found *out)
{
    for (size_t pos = 0; next_option(p->call, &pos, out);) {
        if (out->option->letter == letter)
            return RC_OK;
    }
    return err_set(p->err, RC_INVALID, "\"%s\" has no option -%c", call_name(p->call, p->arena), letter);
}

static bool is_choice(const char *choices, const char *value)
{
    return choices == NULL || strcmp(choices, "FILE") == 0 || cli_word_is(value, "", choices);
}

static enum rc store(struct parser *p, const struct found *f, const char *value)
{
    if (value[0] == '\0' && !f->option->may_be_empty)
        return err_set(p->err, RC_INVALID, "--%s is empty: --%s %s", f->option->name, f->option->name,
                       f->option->value);
    if (!is_choice(f->option->choices, value))
        return err_set(p->err, RC_INVALID, "--%s must be one of %s, not \"%s\"", f->option->name, f->option->choices,
                       value);
    if (f->option->is_list && *f->value != NULL)
        value = arena_printf(p->arena, "%s,%s", *f->value, value);
    *f->value = value;
    return RC_OK;
}

static enum rc take_value(struct parser *p, const struct found *f)
{
    if (p->i >= p->argc)
        return err_set(p->err, RC_INVALID, "--%s needs a value: --%s %s", f->option->name, f->option->name,
                       f->option->value);
    return store(p, f, p->argv[p->i++]);
}

/* A flag may be given as --flag=true or --flag=false, as in Go programs. */
static enum rc store_flag(struct parser *p, const struct found *f, const char *value)
{
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return err_set(p->err, RC_INVALID, "--%s takes no value", f->option->name);
    *f->value = value[0] == 't' ? "true" : NULL;
    return RC_OK;
}

static enum rc take_long(struct parser *p, const char *arg)
{
    struct str name;
    struct str rest;
    struct found f = {0};
    bool has_value = str_cut(str_c(arg + 2), '=', &name, &rest);
    TRY(find_long(p, name, &f));
    if (f.option->value == NULL)
        return store_flag(p, &f, has_value ? rest.p : "true");
    return has_value ? store(p, &f, rest.p) : take_value(p, &f);
}

static enum rc take_letters(struct parser *p, const char *arg)
{
    for (const char *at = arg + 1; *at != '\0'; at++) {
        struct found f = {0};
        TRY(find_letter(p, *at, &f));
        if (f.option->value != NULL)
            return at[1] != '\0' ? store(p, &f, at[1] == '=' ? at + 2 : at + 1) : take_value(p, &f);
        *f.value = "true";
    }
    return RC_OK;
}

static enum rc take_argument(struct parser *p, const char *arg)
{
    if (p->is_only_args || arg[0] != '-' || arg[1] == '\0')
        return take_word(p, arg);
    if (strcmp(arg, "--") == 0) {
        p->is_only_args = true;
        return RC_OK;
    }
    return arg[1] == '-' ? take_long(p, arg) : take_letters(p, arg);
}

static const char *global_value(const struct cli_call *call, const char *name)
{
    for (size_t i = 0; call->spec->options[i].name != NULL; i++) {
        if (strcmp(call->spec->options[i].name, name) == 0)
            return call->globals[i];
    }
    return NULL;
}

static enum rc check_args(struct parser *p)
{
    const struct cli_command *command = p->call->command;
    if (p->call->is_help || p->call->is_version || command == NULL)
        return RC_OK;
    if (p->call->args_n < command->args_min)
        return err_set(p->err, RC_INVALID, "\"%s\" needs %s", call_name(p->call, p->arena), command->args);
    for (unsigned i = 0; i < p->call->args_n; i++) {
        if (p->call->args[i][0] == '\0' && !command->args_may_be_empty)
            return err_set(p->err, RC_INVALID, "\"%s\" was given an empty argument: it needs %s",
                           call_name(p->call, p->arena), command->args);
        if (!is_choice(command->args_choices, p->call->args[i]))
            return err_set(p->err, RC_INVALID, "%s must be one of %s, not \"%s\"", command->args, command->args_choices,
                           p->call->args[i]);
    }
    return RC_OK;
}

enum rc cli_parse(struct arena *a, const struct cli_spec *spec, int argc, char *const *argv, struct cli_call *out,
                  struct err *err)
{
    struct parser p = {.arena = a, .call = out, .err = err, .argc = argc, .argv = argv, .i = 1};
    *out = (struct cli_call){.spec = spec};
    while (p.i < p.argc)
        TRY(take_argument(&p, p.argv[p.i++]));
    out->is_help = out->is_help || global_value(out, "help") != NULL;
    out->is_version = global_value(out, "version") != NULL;
    return check_args(&p);
}
