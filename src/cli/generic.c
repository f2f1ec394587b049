/* Runs a command that is described by the row of its operation (api/op_cli.h). */
#include <assert.h>
#include <string.h>

#include "api/object.h"
#include "cli/cli_internal.h"

enum { MEMBERS_MAX = 64 };

/* A command on its way. */
struct generic {
    struct cli_run *run;
    const struct operation *op;
    struct cli_given given[MEMBERS_MAX + 1]; /* a row for each member of the request, in their order */
    const struct json *found;                /* the object that was looked up; null: none */
    const struct json *reply;
    const struct json *object; /* of the reply: what -o json prints */
};

/* --- what is given --- */

static struct cli_given *given_for(struct generic *g, const char *member)
{
    for (struct cli_given *at = g->given; at->member != NULL; at++) {
        if (strcmp(at->member, member) == 0)
            return at;
    }
    return NULL;
}

/* Arguments first: an option that is for the same member wins. */
static void take_given(struct generic *g)
{
    struct str name, rest = str_c(g->op->cli.arg_members != NULL ? g->op->cli.arg_members : "");
    assert(g->op->member_n <= MEMBERS_MAX);
    for (size_t i = 0; i < g->op->member_n; i++)
        g->given[i].member = g->op->members[i].name;
    for (unsigned i = 0; rest.len > 0; i++) {
        str_cut(rest, ' ', &name, &rest);
        struct cli_given *at = given_for(g, arena_str(&g->run->arena, name).p);
        assert(at != NULL);
        at->text = cli_arg(g->run, i);
    }
    for (const struct op_cli_option *o = g->op->cli.options; o != NULL && o->name != NULL; o++) {
        if (cli_flag(g->run, o->name))
            given_for(g, o->member)->text = cli_value(g->run, o->name);
    }
}

static const char *option_for(const struct operation *op, const char *member)
{
    for (const struct op_cli_option *o = op->cli.options; o != NULL && o->name != NULL; o++) {
        if (strcmp(o->member, member) == 0)
            return o->name;
    }
    return NULL;
}

/* What must be given and is not: arguments that must be there have been checked. */
static enum cli_exit check_required(struct generic *g)
{
    for (size_t i = 0; i < g->op->member_n; i++) {
        const struct op_member *m = &g->op->members[i];
        const char *option = option_for(g->op, m->name);
        if (m->is_required && g->given[i].text == NULL)
            return cli_usage(g->run, "give %s%s: %s", option != NULL ? "--" : "the ", option != NULL ? option : m->name,
                             m->help);
    }
    return CLI_EXIT_OK;
}

/* --- what is looked up --- */

/* A field of the object; "user.name" is a field of a field. */
static const struct json *field_at(const struct json *object, struct str path)
{
    char name[64];
    struct str first;
    while (path.len > 0) {
        str_cut(path, '.', &first, &path);
        snprintf(name, sizeof(name), "%.*s", STR_ARG(first));
        object = json_get(object, name);
    }
    return object;
}

static bool is_named(struct cli_run *run, const struct json *object, const char *keys, const char *text)
{
    struct str key, rest = str_c(keys);
    while (rest.len > 0) {
        str_cut(rest, ' ', &key, &rest);
        if (strcmp(cli_text(run, object, arena_str(&run->arena, key).p), text) == 0)
            return true;
    }
    return false;
}

/* Replaces what is given for the member by the id of the object that it names. */
static enum cli_exit find(struct generic *g)
{
    const struct op_cli_find *f = &g->op->cli.find;
    const struct json *reply;
    if (f->list == NULL)
        return CLI_EXIT_OK;
    struct cli_given *at = given_for(g, f->member);
    if (at->text == NULL)
        return cli_usage(g->run, "%s", f->ask);
    enum cli_exit status = cli_operation(g->run, f->list, CLI_GIVEN_NONE, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    JSON_EACH (it, json_get(reply, api_operation(f->list)->answer.key)) {
        if (!is_named(g->run, it, f->keys, at->text))
            continue;
        g->found = it;
        at->text = cli_text(g->run, it, "id");
        return CLI_EXIT_OK;
    }
    struct str before, after;
    str_cut(str_c(f->missing), '{', &before, &after);
    return cli_fail(g->run, CLI_EXIT_NOT_FOUND, "%.*s%s%s", STR_ARG(before), at->text,
                    after.len > 0 ? after.p + 1 : "");
}

/* --- sentences --- */

static const char *text_for(struct generic *g, const char *name)
{
    const struct cli_given *given = given_for(g, name);
    const char *text = cli_text(g->run, g->object, name);
    if (text[0] == '\0')
        text = cli_text(g->run, g->found, name);
    return text[0] == '\0' && given != NULL && given->text != NULL ? given->text : text;
}

/* The sentence with what stands for its {NAME}s; in the run's arena. */
static const char *fill(struct generic *g, const char *sentence)
{
    struct buf out = {0};
    struct str literal, name, rest = str_c(sentence);
    while (str_cut(rest, '{', &literal, &rest)) {
        buf_append(&out, literal.p, literal.len);
        str_cut(rest, '}', &name, &rest);
        buf_append_c(&out, text_for(g, arena_str(&g->run->arena, name).p));
    }
    buf_append(&out, literal.p, literal.len);
    const char *text = arena_str(&g->run->arena, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

/* --- what is shown --- */

static const struct op_field *find_field(const struct op_object *object, struct str name)
{
    for (size_t i = 0; object != NULL && i < object->field_n; i++) {
        if (str_eq_c(name, object->fields[i].name))
            return &object->fields[i];
    }
    return NULL;
}

/* The row of the field that the path leads to. */
static const struct op_field *field_row(const struct op_object *object, struct str path)
{
    const struct op_field *f = NULL;
    struct str first;
    while (path.len > 0) {
        str_cut(path, '.', &first, &path);
        f = find_field(object, first);
        object = f != NULL ? f->object : NULL;
    }
    return f;
}

/* The value of a field as a person reads it. */
static const char *shown(struct generic *g, const struct json *object, const char *path)
{
    const struct op_field *f = field_row(g->op->answer.object, str_c(path));
    const char *dot = strrchr(path, '.');
    const char *name = dot != NULL ? dot + 1 : path;
    if (dot != NULL)
        object = field_at(object, str_n(path, (size_t)(dot - path)));
    assert(f != NULL);
    switch (f->type) {
    case FIELD_BOOL: return cli_is_true(object, name) ? "yes" : "no";
    case FIELD_TIME: return cli_time(g->run, object, name);
    case FIELD_TEXTS:
    case FIELD_PREFIXES: return cli_joined(g->run, object, name);
    default: return cli_text(g->run, object, name);
    }
}

static bool has_option(const struct generic *g)
{
    for (const struct op_cli_option *o = g->op->cli.options; o != NULL && o->name != NULL; o++) {
        if (cli_flag(g->run, o->name))
            return true;
    }
    return false;
}

static void show_list(struct generic *g)
{
    const char *titles[CLI_MAX_OPTIONS];
    const struct op_cli *cli = &g->op->cli;
    const char *empty = cli->if_none != NULL && has_option(g) ? cli->if_none : cli->if_empty;
    struct cli_table table;
    size_t n = 0;
    for (const struct op_cli_column *c = cli->columns; c->title != NULL; c++)
        titles[n++] = c->title;
    assert(n < ARRAY_LEN(titles));
    titles[n] = NULL;
    cli_table_init(&table, g->run, titles);
    table.if_empty = empty != NULL ? fill(g, empty) : NULL;
    JSON_EACH (it, g->object) {
        for (const struct op_cli_column *c = cli->columns; c->title != NULL; c++)
            cli_table_add(&table, shown(g, it, c->field));
    }
    cli_table_finish(&table);
}

static void show_object(struct generic *g)
{
    static const char *const titles[] = {"FIELD", "VALUE", NULL};
    const struct op_object *object = g->op->answer.object;
    struct cli_table table;
    cli_table_init(&table, g->run, titles);
    for (const struct op_cli_column *c = g->op->cli.columns; c != NULL && c->title != NULL; c++) {
        cli_table_add(&table, c->title);
        cli_table_add(&table, shown(g, g->object, c->field));
    }
    for (size_t i = 0; g->op->cli.columns == NULL && i < object->field_n; i++) {
        cli_table_add(&table, object->fields[i].name);
        cli_table_add(&table, shown(g, g->object, object->fields[i].name));
    }
    cli_table_finish(&table);
}

static void show(struct generic *g)
{
    struct cli_run *run = g->run;
    if (g->op->cli.show == OP_SHOW_JSON && run->output == CLI_OUTPUT_TABLE) {
        run->output = CLI_OUTPUT_JSON;
        run->out_sink.how = SHOW_JSON;
    }
    if (cli_emit(run, g->object))
        return;
    switch (g->op->cli.show) {
    case OP_SHOW_LIST: show_list(g); break;
    case OP_SHOW_OBJECT: show_object(g); break;
    case OP_SHOW_DONE: cli_say(run, "%s", fill(g, g->op->cli.done)); break;
    case OP_SHOW_BY_CODE:
    case OP_SHOW_JSON: break;
    }
}

enum cli_exit cli_generic_run(struct cli_run *run)
{
    struct generic g = {.run = run, .op = run->call.command->operation};
    take_given(&g);
    enum cli_exit status = find(&g);
    if (status == CLI_EXIT_OK)
        status = check_required(&g);
    if (status == CLI_EXIT_OK && g.op->cli.confirm != NULL)
        status = cli_confirm(run, "%s", fill(&g, g.op->cli.confirm));
    if (status == CLI_EXIT_OK)
        status = cli_operation(run, g.op->name, g.given, &g.reply);
    if (status != CLI_EXIT_OK)
        return status;
    g.object = g.op->answer.key != NULL ? json_get(g.reply, g.op->answer.key) : g.reply;
    show(&g);
    if (g.op->cli.hint != NULL)
        cli_hint(run, "%s", fill(&g, g.op->cli.hint));
    return CLI_EXIT_OK;
}
