/* The commands of `fullscale`: those of commands.c, and those that are made from the table of operations. */
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "cli/cli_internal.h"

enum { COMMANDS_CAP = 256, GROUPS_CAP = 64, OPTIONS_CAP = 1024 };

/* Filled once; constant from then on. */
static struct {
    struct cli_spec spec;
    struct cli_group groups[GROUPS_CAP + 1];
    size_t group_n;
    struct cli_command commands[COMMANDS_CAP + 1];
    size_t command_n;
    struct cli_option options[OPTIONS_CAP];
    size_t option_n;
    struct arena texts; /* lives as long as the program */
} made;

/* --- one command --- */

/* "[A B] C" needs one argument and takes three. */
static void count_args(const char *args, unsigned *min, unsigned *max)
{
    unsigned open = 0;
    bool is_in = false;
    *min = *max = 0;
    for (const char *p = args; *p != '\0'; p++) {
        open += *p == '[';
        open -= *p == ']';
        bool is_word = *p != ' ' && *p != '[' && *p != ']';
        if (is_word && !is_in) {
            ++*max;
            *min += open == 0;
        }
        is_in = is_word;
    }
}

static struct cli_option option_of(const struct operation *op, const struct op_cli_option *o)
{
    const struct op_member *m = api_operation_member(op, o->member);
    assert(m != NULL);
    return (struct cli_option){
        .name = o->name,
        .letter = o->letter,
        .value = o->value,
        .choices = m->type == OP_CHOICE ? m->choices : NULL,
        .is_list = m->type == OP_TEXTS || m->type == OP_ROUTES || m->type == OP_NETWORKS,
        .help = o->help != NULL ? o->help : m->help,
        .may_be_empty = o->may_be_empty,
    };
}

/* A list of its own, ended by a row without a name. */
static const struct cli_option *make_options(const struct operation *op)
{
    const struct cli_option *first = &made.options[made.option_n];
    for (const struct op_cli_option *o = op->cli.options; o != NULL && o->name != NULL; o++) {
        assert(made.option_n + 1 < OPTIONS_CAP);
        made.options[made.option_n++] = option_of(op, o);
    }
    made.options[made.option_n++] = (struct cli_option){0};
    return first;
}

static struct cli_command command_of(const struct operation *op)
{
    struct str group, name;
    struct cli_command c = {
        .aliases = op->cli.aliases != NULL ? op->cli.aliases : "",
        .args = op->cli.args != NULL ? op->cli.args : "",
        .summary = op->cli.summary != NULL ? op->cli.summary : op->summary,
        .details = op->cli.details,
        .examples = op->cli.examples,
        .options = make_options(op),
        .run = cli_generic_run,
        .operation = op,
    };
    bool has_group = str_cut(str_c(op->cli.command), ' ', &group, &name);
    c.group = has_group ? arena_str(&made.texts, group).p : "";
    c.name = has_group ? arena_str(&made.texts, name).p : op->cli.command;
    count_args(c.args, &c.args_min, &c.args_max);
    return c;
}

/* --- its place --- */

/* In a group the help has what makes first, then what shows, then what changes, and last what deletes. */
static unsigned rank_of(const char *name)
{
    static const char *const ranks[] = {"create", "list", "show get"};
    for (unsigned i = 0; i < ARRAY_LEN(ranks); i++) {
        if (cli_word_is(name, "", ranks[i]))
            return i;
    }
    return strcmp(name, "delete") == 0 ? ARRAY_LEN(ranks) + 1 : ARRAY_LEN(ranks);
}

/* Behind those of its group of its rank; a new group comes last. */
static size_t place_of(const struct cli_command *c)
{
    size_t place = made.command_n;
    for (size_t i = made.command_n; i > 0; i--) {
        const struct cli_command *other = &made.commands[i - 1];
        if (strcmp(other->group, c->group) != 0)
            continue;
        if (rank_of(other->name) <= rank_of(c->name))
            return i;
        place = i - 1;
    }
    return place;
}

static void add_command(struct cli_command c, size_t place)
{
    assert(made.command_n < COMMANDS_CAP);
    memmove(&made.commands[place + 1], &made.commands[place], (made.command_n - place) * sizeof(c));
    made.commands[place] = c;
    made.command_n++;
}

static bool has_group(const char *name)
{
    for (size_t i = 0; i < made.group_n; i++) {
        if (strcmp(made.groups[i].name, name) == 0)
            return true;
    }
    return name[0] == '\0';
}

static void add_group(struct cli_group group)
{
    assert(made.group_n < GROUPS_CAP);
    made.groups[made.group_n++] = group;
}

static void add_subject(const struct operations *subject)
{
    for (size_t i = 0; i < subject->n; i++) {
        const struct operation *op = &subject->v[i];
        if (op->cli.show == OP_SHOW_BY_CODE)
            continue;
        const struct cli_command c = command_of(op);
        if (!has_group(c.group)) {
            assert(subject->about != NULL);
            add_group((struct cli_group){c.group, "", subject->about});
        }
        add_command(c, place_of(&c));
    }
}

static void make_spec(void)
{
    made.spec = cli_by_code;
    for (const struct cli_group *g = cli_by_code.groups; g->name != NULL; g++)
        add_group(*g);
    for (const struct cli_command *c = cli_by_code.commands; c->name != NULL; c++)
        add_command(*c, made.command_n);
    for (size_t i = 0; api_subject_at(i) != NULL; i++)
        add_subject(api_subject_at(i));
    made.spec.groups = made.groups;
    made.spec.commands = made.commands;
}

const struct cli_spec *cli_fullscale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_spec);
    return &made.spec;
}
