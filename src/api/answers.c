/* The objects of answers that are about the policy, refusals and the server. Some of them are only described here, and
 * written by their operations. */
#include <stdio.h>

#include "api/rows.h"
#include "base/log.h"
#include "http/http.h"
#include "reach/reach.h"

/* --- what is wrong with a policy --- */

static void write_location(struct json_writer *w, const struct op_view *v)
{
    const struct policy_error *e = v->row;
    char position[48] = "policy";
    if (e->line > 0)
        snprintf(position, sizeof(position), "policy:%d:%d", e->line, e->col);
    json_w_cstr(w, position);
}

static const struct op_field policy_error_fields[] = {
    OP_FIELD("message", FIELD_CSTR, policy_error, text, .help = "a sentence for people"),
    OP_FIELD_BY("location", FIELD_TEXT, write_location, .help = "policy, or policy:LINE:COLUMN"),
    OP_FIELD("line", FIELD_INT, policy_error, line, .help = "from 1; 0: it has no line"),
    OP_FIELD("column", FIELD_INT, policy_error, col, .help = "from 1; 0: it has no line"),
};
OP_OBJECT(api_policy_error_object, "PolicyError", policy_error_fields, "What is wrong with a policy");

void api_write_policy_errors(struct json_writer *w, const struct policy_errors *errors)
{
    json_w_array(w);
    for (size_t i = 0; i < errors->n; i++)
        op_object_write(w, &api_policy_error_object, &(const struct op_view){.row = &errors->v[i]});
    json_w_end_array(w);
}

/* --- refusals --- */

struct problem {
    const char *title;
    int status;
    const char *detail;
    const char *reason;
    int code;
    const struct policy_errors *errors;
};

static void write_problem_errors(struct json_writer *w, const struct op_view *v)
{
    const struct problem *p = v->row;
    api_write_policy_errors(w, p->errors);
}

static void write_no_details(struct json_writer *w, const struct op_view *v)
{
    (void)v;
    json_w_array(w);
    json_w_end_array(w);
}

static const struct op_field problem_fields[] = {
    OP_FIELD("title", FIELD_CSTR, problem, title, .help = "the status in words"),
    OP_FIELD("status", FIELD_INT, problem, status, .help = "the status of the answer"),
    OP_FIELD("detail", FIELD_CSTR, problem, detail, .help = "a sentence for people"),
    OP_FIELD_BY("errors", FIELD_OBJECTS, write_problem_errors, .object = &api_policy_error_object,
                .help = "what is wrong with the policy that was sent"),
    OP_FIELD("reason", FIELD_CSTR, problem, reason, .help = "a word for programs, such as NOT_FOUND"),
    OP_FIELD("code", FIELD_INT, problem, code, .help = "number of the gRPC status, for tools of Headscale"),
    OP_FIELD("message", FIELD_CSTR, problem, detail, .help = "the same as detail, for tools of Headscale"),
    OP_FIELD_BY("details", FIELD_TEXTS, write_no_details, .help = "empty, for tools of Headscale"),
};
OP_OBJECT(api_problem_object, "Problem", problem_fields, "Why a request is refused");

/* src: google.rpc.Code, by which tools of Headscale up to 0.29 tell errors apart */
static int grpc_code(int status)
{
    static const struct {
        int status, code;
    } rows[] = {{400, 3}, {401, 16}, {403, 7}, {404, 5}, {405, 12}, {409, 6}, {413, 3}, {429, 8}, {501, 12}, {503, 14}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status)
            return rows[i].code;
    }
    return 13;
}

void api_write_problem(struct json_writer *w, int status, enum rc rc, const char *detail,
                       const struct policy_errors *errors)
{
    const struct problem p = {http_status_text(status), status, detail, rc_name(rc), grpc_code(status), errors};
    op_object_write(w, &api_problem_object, &(const struct op_view){.row = &p});
}

/* --- versions of the policy --- */

static void write_version_bytes(struct json_writer *w, const struct op_view *v)
{
    const struct policy_text *t = v->row;
    json_w_u64(w, t->text->len);
}

static void write_is_current(struct json_writer *w, const struct op_view *v)
{
    const struct policy_text *t = v->row;
    json_w_bool(w, t->id == v->newest);
}

#define VERSION_HEAD                                                                                                   \
    OP_FIELD("version", FIELD_ID, policy_text, id, .help = "its number, from 1"),                                      \
        OP_FIELD("updatedAt", FIELD_TIME, policy_text, created_ms, .help = "when it was set"),                         \
        OP_FIELD("author", FIELD_TEXT, policy_text, author, .help = "who set it, as the caller says; may be empty"),   \
        OP_FIELD("note", FIELD_TEXT, policy_text, note, .help = "why; may be empty")

static const struct op_field head_fields[] = {VERSION_HEAD};
OP_OBJECT(api_version_head_object, "PolicyVersionHead", head_fields, "Which version of the policy it is");

static const struct op_field version_fields[] = {
    VERSION_HEAD,
    OP_FIELD_BY("bytes", FIELD_NUMBER, write_version_bytes, .help = "length of its text"),
    OP_FIELD_BY("current", FIELD_BOOL, write_is_current, .help = "whether it is in force"),
};
OP_OBJECT(api_version_object, "PolicyVersion", version_fields, "A version of the policy in the database");

void api_write_version(struct json_writer *w, const struct policy_text *t, uint64_t newest)
{
    op_object_write(w, &api_version_object, &(const struct op_view){.row = t, .newest = newest});
}

/* --- written by their operations --- */

#define POLICY_FIELDS                                                                                                  \
    {.name = "policy", .type = FIELD_STR, .help = "its text, byte for byte"},                                          \
        {.name = "mode", .type = FIELD_TEXT, .choices = "database file", .help = "where the policy comes from"},       \
        {.name = "version", .type = FIELD_ID, .is_optional = true, .help = "its number; of a policy in the database"}, \
        {.name = "updatedAt", .type = FIELD_TIME, .help = "when it was set; null: it is a file"},                      \
        {.name = "author", .type = FIELD_TEXT, .is_optional = true, .help = "who set it; in the database"},            \
        {.name = "note", .type = FIELD_TEXT, .is_optional = true, .help = "why; in the database"},                     \
        {.name = "path", .type = FIELD_TEXT, .is_optional = true, .help = "of the file"},                              \
        {.name = "fault",                                                                                              \
         .type = FIELD_STR,                                                                                            \
         .is_optional = true,                                                                                          \
         .help = "why the file in its present form is not in force: lines; empty: it is"}
#define WARNINGS_FIELD                                                                                                 \
    {.name = "warnings", .type = FIELD_OBJECTS, .object = &api_policy_error_object, .help = "what may be wrong with it"}

static const struct op_field policy_fields[] = {POLICY_FIELDS};
OP_OBJECT(api_policy_object, "Policy", policy_fields, "The policy");

static const struct op_field stored_fields[] = {POLICY_FIELDS, WARNINGS_FIELD};
OP_OBJECT(api_policy_stored_object, "StoredPolicy", stored_fields, "The policy that has been set");

static const struct op_field checked_fields[] = {WARNINGS_FIELD};
OP_OBJECT(api_policy_checked_object, "CheckedPolicy", checked_fields, "What a policy that could be set is warned of");

static const struct op_field reason_fields[] = {
    OP_FIELD("line", FIELD_INT, reach_reason, line, .help = "where the rule begins; 0: there is none"),
    OP_FIELD("section", FIELD_CSTR, reach_reason, section, .help = "of the policy, such as acls"),
    OP_FIELD("index", FIELD_NUMBER, reach_reason, index, .help = "which rule of the section, from 0"),
    OP_FIELD("allowed", FIELD_BOOL, reach_reason, is_allowed, .help = "whether the rule allows the connection"),
    OP_FIELD("hasSource", FIELD_BOOL, reach_reason, has_source, .help = "whether the source matches"),
    OP_FIELD("hasDestination", FIELD_BOOL, reach_reason, has_destination, .help = "whether the destination matches"),
    OP_FIELD("hasPort", FIELD_BOOL, reach_reason, has_port, .help = "whether port and protocol match"),
};
OP_OBJECT(api_policy_reason_object, "PolicyReason", reason_fields, "A rule, and how much of a connection it matches");

static const struct op_field why_fields[] = {
    {.name = "allowed", .type = FIELD_BOOL, .help = "whether the connection is allowed"},
    {.name = "hasPolicy", .type = FIELD_BOOL, .help = "whether there is a policy at all"},
    {.name = "file", .type = FIELD_TEXT, .help = "of the policy, for messages"},
    {.name = "rules",
     .type = FIELD_OBJECTS,
     .object = &api_policy_reason_object,
     .help = "those that allow it, or else the one that comes closest"},
};
OP_OBJECT(api_policy_why_object, "PolicyWhy", why_fields, "Why a connection is allowed or denied");

static const struct op_field difference_fields[] = {
    OP_FIELD("gained", FIELD_BOOL, reach_difference, is_gained, .help = "granted; false: revoked"),
    OP_FIELD("source", FIELD_STR, reach_difference, source, .help = "an address or network"),
    OP_FIELD("destination", FIELD_STR, reach_difference, destination, .help = "an address or network"),
    OP_FIELD("protocol", FIELD_NUMBER, reach_difference, proto, .help = "number of the IP protocol"),
    OP_FIELD("firstPort", FIELD_NUMBER, reach_difference, first_port, .help = "of the range of ports"),
    OP_FIELD("lastPort", FIELD_NUMBER, reach_difference, last_port, .help = "of the range of ports"),
};
OP_OBJECT(api_policy_difference_object, "PolicyDifference", difference_fields,
          "Connections that a policy grants or revokes");

static const struct op_field diff_fields[] = {
    {.name = "changes",
     .type = FIELD_OBJECTS,
     .object = &api_policy_difference_object,
     .help = "what it grants and revokes"},
    {.name = "leftOut", .type = FIELD_NUMBER, .size = 8, .help = "how many more there are"},
};
OP_OBJECT(api_policy_diff_object, "PolicyDiff", diff_fields, "What a policy would grant and revoke");

static const struct op_field health_fields[] = {
    {.name = "databaseConnectivity", .type = FIELD_BOOL, .help = "whether changes can be written now"},
    {.name = "databaseFault", .type = FIELD_TEXT, .is_optional = true, .help = "why not"},
    {.name = "troubles", .type = FIELD_TEXTS, .is_optional = true, .help = "what works less well than it should"},
};
OP_OBJECT(api_health_object, "Health", health_fields, "How the server is");

/* --- log levels --- */

static void write_level(struct json_writer *w, const struct op_view *v)
{
    const struct log_module *m = v->row;
    json_w_cstr(w, log_level_name((enum log_level)m->level));
}

static const struct op_field log_level_fields[] = {
    OP_FIELD("module", FIELD_CSTR, log_module, name, .help = "part of the server"),
    OP_FIELD_BY("level", FIELD_TEXT, write_level, .choices = "trace debug info warn error off",
                .help = "least level that is logged"),
};
OP_OBJECT(api_log_level_object, "LogLevel", log_level_fields, "What a part of the server logs");
