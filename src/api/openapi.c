/* The table of operations as an OpenAPI document. src: OpenAPI 3.1; JSON Schema 2020-12 */
#include "api/openapi.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "api/call_internal.h"
#include "api/rows.h"

enum { OBJECTS_MAX = 64 };

/* The schemas that the paths name, in the order in which they are first named. */
struct schemas {
    const struct op_object *v[OBJECTS_MAX];
    size_t n;
};

struct writer {
    struct json_writer w; /* first */
    struct schemas schemas;
    unsigned version;
};

/* --- schemas --- */

static void name_schema(struct schemas *s, const struct op_object *object)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i] == object)
            return;
    }
    assert(s->n < OBJECTS_MAX);
    s->v[s->n++] = object;
}

static void write_ref(struct writer *d, const struct op_object *object)
{
    char ref[128];
    name_schema(&d->schemas, object);
    snprintf(ref, sizeof(ref), "#/components/schemas/%s", object->name);
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "$ref", ref);
    json_w_end_object(&d->w);
}

static void write_choices(struct writer *d, const char *choices)
{
    struct str rest = str_c(choices), one;
    json_w_key(&d->w, "enum");
    json_w_array(&d->w);
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        json_w_str(&d->w, one);
    }
    json_w_end_array(&d->w);
}

/* "type", and "format" unless that is null. */
static void write_type(struct writer *d, const char *type, const char *format)
{
    json_w_kv_cstr(&d->w, "type", type);
    if (format != NULL)
        json_w_kv_cstr(&d->w, "format", format);
}

static void write_list_of_text(struct writer *d)
{
    write_type(d, "array", NULL);
    json_w_key(&d->w, "items");
    json_w_object(&d->w);
    write_type(d, "string", NULL);
    json_w_end_object(&d->w);
}

static void write_list_of(struct writer *d, const struct op_object *object)
{
    write_type(d, "array", NULL);
    json_w_key(&d->w, "items");
    write_ref(d, object);
}

/* Ids are numbers from 1, as text: JavaScript's numbers would not hold them. */
static void write_id_type(struct writer *d, const char *pattern)
{
    write_type(d, "string", NULL);
    json_w_kv_cstr(&d->w, "pattern", pattern);
}

static void write_nullable(struct writer *d, const char *type, const char *format)
{
    json_w_key(&d->w, "type");
    json_w_array(&d->w);
    json_w_cstr(&d->w, type);
    json_w_cstr(&d->w, "null");
    json_w_end_array(&d->w);
    json_w_kv_cstr(&d->w, "format", format);
}

static void write_object_or_null(struct writer *d, const struct op_object *object)
{
    json_w_key(&d->w, "anyOf");
    json_w_array(&d->w);
    write_ref(d, object);
    json_w_object(&d->w);
    write_type(d, "null", NULL);
    json_w_end_object(&d->w);
    json_w_end_array(&d->w);
}

/* The members of the schema of a field that say what it is. */
static void write_field_type(struct writer *d, const struct op_field *f)
{
    switch (f->type) {
    case FIELD_ID: write_id_type(d, "^[0-9]+$"); break;
    case FIELD_TEXT:
    case FIELD_CSTR:
    case FIELD_STR: write_type(d, "string", NULL); break;
    case FIELD_BOOL: write_type(d, "boolean", NULL); break;
    case FIELD_NUMBER:
        write_type(d, "integer", "int64");
        json_w_kv_i64(&d->w, "minimum", 0);
        break;
    case FIELD_INT: write_type(d, "integer", "int32"); break;
    case FIELD_TIME: write_nullable(d, "string", "date-time"); break;
    case FIELD_TEXTS:
    case FIELD_PREFIXES: write_list_of_text(d); break;
    case FIELD_OBJECT: write_object_or_null(d, f->object); break;
    case FIELD_OBJECTS: write_list_of(d, f->object); break;
    }
    if (f->choices != NULL)
        write_choices(d, f->choices);
}

static void write_properties(struct writer *d, const struct op_object *object)
{
    json_w_key(&d->w, "properties");
    json_w_object(&d->w);
    for (size_t i = 0; i < object->field_n; i++) {
        const struct op_field *f = &object->fields[i];
        json_w_key(&d->w, f->name);
        json_w_object(&d->w);
        write_field_type(d, f);
        json_w_kv_cstr(&d->w, "description", f->help);
        json_w_end_object(&d->w);
    }
    json_w_end_object(&d->w);
}

static void write_schema(struct writer *d, const struct op_object *object)
{
    json_w_object(&d->w);
    write_type(d, "object", NULL);
    json_w_kv_cstr(&d->w, "description", object->help);
    write_properties(d, object);
    json_w_key(&d->w, "required");
    json_w_array(&d->w);
    for (size_t i = 0; i < object->field_n; i++) {
        if (!object->fields[i].is_optional)
            json_w_cstr(&d->w, object->fields[i].name);
    }
    json_w_end_array(&d->w);
    json_w_end_object(&d->w);
}

/* --- requests --- */

/* No bound of a number that is sent as JSON is beyond what a double holds exactly. */
static void write_bound(struct writer *d, const char *name, uint64_t bound, uint64_t none)
{
    if (bound != none && bound <= UINT64_C(1) << 53)
        json_w_kv_u64(&d->w, name, bound);
}

static void write_member_type(struct writer *d, const struct op_member *m)
{
    switch (m->type) {
    case OP_TEXT:
        write_type(d, "string", NULL);
        write_bound(d, "minLength", m->min > 0, 0); /* it counts bytes, a schema characters */
        write_bound(d, "maxLength", m->max, 0);
        break;
    case OP_ID: write_id_type(d, "^[1-9][0-9]*$"); break;
    case OP_BOOL: write_type(d, "boolean", NULL); break;
    case OP_NUMBER:
        write_type(d, "integer", "int64");
        json_w_kv_u64(&d->w, "minimum", m->min);
        write_bound(d, "maximum", m->max, UINT64_MAX);
        break;
    case OP_TIME: write_type(d, "string", "date-time"); break;
    case OP_CHOICE:
        write_type(d, "string", NULL);
        write_choices(d, m->choices);
        break;
    case OP_TEXTS:
    case OP_ROUTES:
    case OP_NETWORKS:
        write_list_of_text(d);
        write_bound(d, "maxItems", m->max, 0);
        break;
    case OP_POLICY: write_type(d, "string", NULL); break;
    }
}

static void write_parameter(struct writer *d, const struct op_member *m)
{
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "name", m->name);
    json_w_kv_cstr(&d->w, "in", m->in == OP_PATH ? "path" : "query");
    json_w_kv_cstr(&d->w, "description", m->help);
    json_w_kv_bool(&d->w, "required", m->in == OP_PATH || m->is_required);
    json_w_key(&d->w, "schema");
    json_w_object(&d->w);
    write_member_type(d, m);
    json_w_end_object(&d->w);
    json_w_end_object(&d->w);
}

/* A member of the path may be one of another version's path only. */
static bool is_parameter(const struct op_member *m, const char *path)
{
    char segment[80];
    snprintf(segment, sizeof(segment), "{%s}", m->name);
    return m->in == OP_QUERY || (m->in == OP_PATH && strstr(path, segment) != NULL);
}

static void write_parameters(struct writer *d, const struct operation *op)
{
    const char *path = api_operation_path(op, d->version)->path;
    bool has_any = false;
    for (size_t i = 0; i < op->member_n; i++) {
        if (!is_parameter(&op->members[i], path))
            continue;
        if (!has_any) {
            json_w_key(&d->w, "parameters");
            json_w_array(&d->w);
        }
        has_any = true;
        write_parameter(d, &op->members[i]);
    }
    if (has_any)
        json_w_end_array(&d->w);
}

static size_t count_body_members(const struct operation *op, bool is_required)
{
    size_t n = 0;
    for (size_t i = 0; i < op->member_n; i++)
        n += op->members[i].in == OP_BODY && (op->members[i].is_required || !is_required);
    return n;
}

static void write_body_schema(struct writer *d, const struct operation *op)
{
    json_w_object(&d->w);
    write_type(d, "object", NULL);
    json_w_key(&d->w, "properties");
    json_w_object(&d->w);
    for (size_t i = 0; i < op->member_n; i++) {
        if (op->members[i].in != OP_BODY)
            continue;
        json_w_key(&d->w, op->members[i].name);
        json_w_object(&d->w);
        write_member_type(d, &op->members[i]);
        json_w_kv_cstr(&d->w, "description", op->members[i].help);
        json_w_end_object(&d->w);
    }
    json_w_end_object(&d->w);
    json_w_key(&d->w, "required");
    json_w_array(&d->w);
    for (size_t i = 0; i < op->member_n; i++) {
        if (op->members[i].in == OP_BODY && op->members[i].is_required)
            json_w_cstr(&d->w, op->members[i].name);
    }
    json_w_end_array(&d->w);
    json_w_end_object(&d->w);
}

/* Opens "content": {TYPE: {"schema": */
static void open_content(struct writer *d, const char *type)
{
    json_w_key(&d->w, "content");
    json_w_object(&d->w);
    json_w_key(&d->w, type);
    json_w_object(&d->w);
    json_w_key(&d->w, "schema");
}

static void close_content(struct writer *d)
{
    json_w_end_object(&d->w);
    json_w_end_object(&d->w);
}

static void write_body(struct writer *d, const struct operation *op)
{
    if (count_body_members(op, false) == 0)
        return;
    json_w_key(&d->w, "requestBody");
    json_w_object(&d->w);
    json_w_kv_bool(&d->w, "required", count_body_members(op, true) > 0);
    open_content(d, "application/json");
    write_body_schema(d, op);
    close_content(d);
    json_w_end_object(&d->w);
}

/* --- answers --- */

/* {"KEY": the object or the list of them} */
static void write_keyed_answer(struct writer *d, const struct op_answer *answer)
{
    json_w_object(&d->w);
    write_type(d, "object", NULL);
    json_w_key(&d->w, "properties");
    json_w_object(&d->w);
    json_w_key(&d->w, answer->key);
    if (answer->is_list) {
        json_w_object(&d->w);
        write_list_of(d, answer->object);
        json_w_end_object(&d->w);
    } else {
        write_ref(d, answer->object);
    }
    json_w_end_object(&d->w);
    json_w_key(&d->w, "required");
    json_w_array(&d->w);
    json_w_cstr(&d->w, answer->key);
    json_w_end_array(&d->w);
    json_w_end_object(&d->w);
}

static void write_answer(struct writer *d, const struct op_answer *answer)
{
    if (answer->object == NULL) {
        json_w_object(&d->w);
        write_type(d, "object", NULL);
        json_w_end_object(&d->w);
    } else if (answer->key == NULL) {
        write_ref(d, answer->object);
    } else {
        write_keyed_answer(d, answer);
    }
}

static void write_responses(struct writer *d, const struct operation *op)
{
    json_w_key(&d->w, "responses");
    json_w_object(&d->w);
    json_w_key(&d->w, "200");
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "description", "done");
    open_content(d, "application/json");
    write_answer(d, &op->answer);
    close_content(d);
    json_w_end_object(&d->w);
    json_w_key(&d->w, "default");
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "$ref", "#/components/responses/Refusal");
    json_w_end_object(&d->w);
    json_w_end_object(&d->w);
}

/* --- operations --- */

static struct str subject_of(const struct operation *op)
{
    struct str subject, rest;
    str_cut(str_c(op->name), '.', &subject, &rest);
    return subject;
}

/* Which users' roles may call it. */
static void write_roles(struct writer *d, const struct operation *op)
{
    json_w_key(&d->w, "x-roles");
    json_w_array(&d->w);
    for (unsigned role = 0; role < USER_ROLES_N; role++) {
        const struct api_caller caller = api_caller_of_role((enum user_role)role, "");
        if (api_caller_has(&caller, op->scope))
            json_w_cstr(&d->w, user_role_name((enum user_role)role));
    }
    json_w_end_array(&d->w);
}

static const char *method_key(enum http_method method)
{
    switch (method) {
    case HTTP_GET: return "get";
    case HTTP_POST: return "post";
    case HTTP_PUT: return "put";
    case HTTP_DELETE: return "delete";
    default: return "patch";
    }
}

static void write_operation(struct writer *d, const struct operation *op)
{
    json_w_key(&d->w, method_key(api_operation_path(op, d->version)->method));
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "operationId", op->name);
    json_w_kv_cstr(&d->w, "summary", op->summary);
    json_w_key(&d->w, "tags");
    json_w_array(&d->w);
    json_w_str(&d->w, subject_of(op));
    json_w_end_array(&d->w);
    write_parameters(d, op);
    write_body(d, op);
    write_responses(d, op);
    json_w_kv_cstr(&d->w, "x-scope", op->scope);
    write_roles(d, op);
    json_w_end_object(&d->w);
}

static bool has_path(const struct writer *d, const struct operation *op, const char *path)
{
    const char *own = api_operation_path(op, d->version)->path;
    return own != NULL && strcmp(own, path) == 0;
}

/* All operations of the path of `first`, which is the first that has it. */
static void write_path(struct writer *d, const char *path)
{
    const struct operation *op;
    json_w_key(&d->w, path);
    json_w_object(&d->w);
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (has_path(d, op, path))
            write_operation(d, op);
    }
    json_w_end_object(&d->w);
}

static bool is_first_of_its_path(const struct writer *d, size_t index, const char *path)
{
    for (size_t i = 0; i < index; i++) {
        if (has_path(d, api_operation_at(i), path))
            return false;
    }
    return true;
}

static void write_paths(struct writer *d)
{
    const struct operation *op;
    json_w_key(&d->w, "paths");
    json_w_object(&d->w);
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        const char *path = api_operation_path(op, d->version)->path;
        if (path != NULL && is_first_of_its_path(d, i, path))
            write_path(d, path);
    }
    json_w_end_object(&d->w);
}

/* --- the document --- */

static void write_info(struct writer *d)
{
    json_w_key(&d->w, "info");
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "title", "Fullscale admin API");
    json_w_kv_cstr(&d->w, "version", FULLSCALE_VERSION);
    json_w_kv_cstr(&d->w, "description",
                   "Served on the unix socket of the server, which its owner and group may open. Each operation names "
                   "the scope that its caller needs (x-scope), and the roles of users that have it (x-roles).");
    json_w_end_object(&d->w);
    json_w_key(&d->w, "servers");
    json_w_array(&d->w);
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "url", "http://localhost");
    json_w_kv_cstr(&d->w, "description", "the unix socket; any host name");
    json_w_end_object(&d->w);
    json_w_end_array(&d->w);
}

static void write_components(struct writer *d)
{
    json_w_key(&d->w, "components");
    json_w_object(&d->w);
    json_w_key(&d->w, "responses");
    json_w_object(&d->w);
    json_w_key(&d->w, "Refusal");
    json_w_object(&d->w);
    json_w_kv_cstr(&d->w, "description", "refused, or failed");
    open_content(d, "application/problem+json");
    write_ref(d, &api_problem_object);
    close_content(d);
    json_w_end_object(&d->w);
    json_w_end_object(&d->w);
    json_w_key(&d->w, "schemas");
    json_w_object(&d->w);
    for (size_t i = 0; i < d->schemas.n; i++) { /* writing one may name others */
        json_w_key(&d->w, d->schemas.v[i]->name);
        write_schema(d, d->schemas.v[i]);
    }
    json_w_end_object(&d->w);
    json_w_end_object(&d->w);
}

void api_openapi_write(unsigned version, struct buf *out)
{
    struct writer d = {.version = version};
    json_w_init(&d.w, out);
    json_w_object(&d.w);
    json_w_kv_cstr(&d.w, "openapi", "3.1.0");
    write_info(&d);
    write_paths(&d);
    write_components(&d);
    json_w_end_object(&d.w);
}

/* Of version 1; constant once it has been made. */
static struct buf document;

static void make_document(void)
{
    api_openapi_write(1, &document);
}

struct str api_openapi(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_document);
    return buf_str(&document);
}

/* --- GET /openapi.json --- */

/* The members of the document; the braces are the answer's own. */
static void write_document(struct api_call *call, struct json_writer *w)
{
    struct str text = api_openapi();
    (void)call;
    buf_append(w->out, text.p + 1, text.len - 2);
}

static const struct operation operations[] = {
    {
        .name = "openapi.get",
        .summary = "this description of the API",
        .v1 = {HTTP_GET, "/api/v1/openapi.json"},
        .scope = "openapi:read",
        .kind = JOB_LOCAL,
        .write = write_document,
        .cli = {"api openapi", .summary = "print the OpenAPI document of the admin API",
                .details = "Describes every call of the running server's API: requests, answers, and who may call it. "
                           "OpenAPI 3.1, as JSON unless -o yaml is given.",
                .examples = "fullscale api openapi > openapi.json", .show = OP_SHOW_JSON},
    },
};
const struct operations api_openapi_operations = {operations, ARRAY_LEN(operations), "The admin API"};
