/* Calls of the server's API: path, query and body are made from the row of the operation. */
#include <assert.h>
#include <string.h>

#include "api/operation.h"
#include "cli/cli_internal.h"

/* A request as it is put together. */
struct request {
    struct cli_run *run;
    const struct operation *op;
    struct buf path; /* with the query */
    struct buf body;
    struct json_writer w; /* writes the body */
    bool has_query;
};

static struct str text_of(const struct cli_given *g)
{
    return str_n(g->text, g->len != 0 ? g->len : strlen(g->text));
}

static const struct op_member *member_of(const struct operation *op, const struct cli_given *g)
{
    const struct op_member *m = api_operation_member(op, g->member);
    assert(m != NULL);
    return m;
}

/* The value of the segment {name}. */
static const char *segment_of(const struct cli_given *given, struct str name)
{
    for (; given->member != NULL; given++) {
        if (str_eq_c(name, given->member))
            return given->text;
    }
    return NULL;
}

static void write_path(struct request *q, const char *path, const struct cli_given *given)
{
    struct str rest = str_c(path), literal, name;
    while (str_cut(rest, '{', &literal, &rest)) {
        buf_append(&q->path, literal.p, literal.len);
        str_cut(rest, '}', &name, &rest);
        const char *value = segment_of(given, name);
        assert(value != NULL);
        buf_append_c(&q->path, cli_escape(q->run, value));
    }
    buf_append(&q->path, literal.p, literal.len);
}

static void write_query(struct request *q, const struct cli_given *g)
{
    buf_printf(&q->path, "%c%s=%s", q->has_query ? '&' : '?', g->member, cli_escape(q->run, g->text));
    q->has_query = true;
}

/* "a, b" as an array of strings. */
static void write_list(struct json_writer *w, struct str list)
{
    struct str item;
    json_w_array(w);
    while (list.len > 0) {
        str_cut(list, ',', &item, &list);
        item = str_trim(item);
        if (item.len > 0)
            json_w_str(w, item);
    }
    json_w_end_array(w);
}

/* Numbers and times go as they were given: the server says what is wrong with them. */
static void write_body_member(struct json_writer *w, const struct op_member *m, const struct cli_given *g)
{
    struct str text = text_of(g);
    json_w_key(w, m->name);
    switch (m->type) {
    case OP_BOOL: json_w_bool(w, str_eq(text, STR("true"))); return;
    case OP_TEXTS:
    case OP_ROUTES:
    case OP_NETWORKS: write_list(w, text); return;
    case OP_TEXT:
    case OP_ID:
    case OP_NUMBER:
    case OP_TIME:
    case OP_CHOICE:
    case OP_POLICY: json_w_str(w, text); return;
    }
}

static bool has_body(const struct operation *op)
{
    for (size_t i = 0; i < op->member_n; i++) {
        if (op->members[i].in == OP_BODY)
            return true;
    }
    return false;
}

static void write_request(struct request *q, const char *path, const struct cli_given *given)
{
    write_path(q, path, given);
    json_w_init(&q->w, &q->body);
    json_w_object(&q->w);
    for (; given->member != NULL; given++) {
        const struct op_member *m = member_of(q->op, given);
        if (given->text == NULL)
            continue;
        if (m->in == OP_QUERY)
            write_query(q, given);
        else if (m->in == OP_BODY)
            write_body_member(&q->w, m, given);
    }
    json_w_end_object(&q->w);
}

/* What the server would refuse needs no server. */
static enum cli_exit check_given(struct cli_run *run, const struct operation *op, const struct cli_given *given)
{
    struct err err;
    for (; given->member != NULL; given++) {
        if (given->text != NULL && api_member_check(member_of(op, given), text_of(given), &err) != RC_OK)
            return cli_fail(run, CLI_EXIT_ERROR, "%s", err.text);
    }
    return CLI_EXIT_OK;
}

enum cli_exit cli_operation_answer(struct cli_run *run, const char *name, const struct cli_given *given,
                                   const struct json **reply_out)
{
    struct request q = {.run = run, .op = api_operation(name)};
    assert(q.op != NULL);
    *reply_out = NULL;
    enum cli_exit status = check_given(run, q.op, given);
    if (status != CLI_EXIT_OK)
        return status;
    const struct op_path *at = api_operation_path(q.op, 1);
    write_request(&q, at->path, given);
    status = cli_request(run, at->method, buf_cstr(&q.path), has_body(q.op) ? &q.body : NULL, reply_out);
    buf_fini(&q.path);
    buf_fini(&q.body);
    return status;
}

enum cli_exit cli_operation(struct cli_run *run, const char *name, const struct cli_given *given,
                            const struct json **reply_out)
{
    enum cli_exit status = cli_operation_answer(run, name, given, reply_out);
    if (status != CLI_EXIT_OK && *reply_out != NULL)
        return cli_fail(run, status, "%s", cli_text(run, *reply_out, "detail"));
    return status;
}

bool cli_server_is_here(struct cli_run *run)
{
    const struct op_path *at = api_operation_path(api_operation("health.get"), 1);
    return cli_is_answered(run, at->method, at->path);
}
