/* Reads a request as the row of its operation says: segments of the path, the query, members of the body. */
#include <stdio.h>

#include "api/call_internal.h"
#include "base/time.h"

/* A member as it was sent. */
struct sent {
    const struct op_member *member;
    const struct json *json; /* of a body; null: `text` has it */
    struct str text;
};

/* How much of a text a message repeats. */
static int shown_len(struct str text)
{
    return text.len > 80 ? 80 : (int)text.len;
}

/* --- values, one reader for each type; `out` points into the parameters --- */

typedef enum rc read_fn(struct arena *a, const struct sent *sent, void *out, struct err *err);

/* Numbers are taken as they are written. */
static enum rc take_text(struct arena *a, const struct sent *sent, struct str *out, struct err *err)
{
    const char *name = sent->member->name;
    *out = sent->text;
    if (sent->json != NULL && json_type_of(sent->json) == JSON_NUMBER)
        *out = json_raw(sent->json);
    else if (sent->json != NULL && !json_str(sent->json, out))
        return err_set(err, RC_INVALID, "%s must be text", name);
    if (memchr(out->p, '\0', out->len) != NULL)
        return err_set(err, RC_INVALID, "%s must not hold a NUL", name);
    *out = arena_str(a, *out);
    return RC_OK;
}

static enum rc read_text(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    const struct op_member *m = sent->member;
    struct str *text = out;
    TRY(take_text(a, sent, text, err));
    if (text->len < m->min)
        return err_set(err, RC_INVALID, "%s must have %llu bytes at least", m->name, (unsigned long long)m->min);
    if (m->max != 0 && text->len > m->max)
        return err_set(err, RC_INVALID, "%s must have %llu bytes at most", m->name, (unsigned long long)m->max);
    return RC_OK;
}

static enum rc read_id(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    const struct op_member *m = sent->member;
    uint64_t *id = out;
    struct str text;
    TRY(take_text(a, sent, &text, err));
    if (str_to_u64(text, id) == RC_OK && (*id != 0 || !m->is_required))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s: \"%.*s\" is no id: ids are numbers from 1", m->name, shown_len(text), text.p);
}

static enum rc read_bool(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    (void)a;
    bool *v = out;
    *v = str_eq(sent->text, STR("true"));
    if (sent->json != NULL ? json_bool(sent->json, v) : *v || str_eq(sent->text, STR("false")))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be true or false", sent->member->name);
}

static enum rc read_number(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    const struct op_member *m = sent->member;
    uint64_t *v = out;
    struct str text;
    TRY(take_text(a, sent, &text, err));
    if (str_to_u64(text, v) == RC_OK && *v >= m->min && *v <= m->max)
        return RC_OK;
    if (m->min == 0)
        return err_set(err, RC_INVALID, "%s must be a whole number up to %llu", m->name, (unsigned long long)m->max);
    return err_set(err, RC_INVALID, "%s must be a whole number from %llu to %llu", m->name, (unsigned long long)m->min,
                   (unsigned long long)m->max);
}

static enum rc read_time(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    struct str text = sent->text;
    (void)a;
    if ((sent->json == NULL || json_str(sent->json, &text)) && (text.len == 0 || time_parse(text, out) == RC_OK))
        return RC_OK;
    return err_set(err, RC_INVALID, "%s must be a time such as 2026-12-31T00:00:00Z", sent->member->name);
}

/* "a b c" as "a, b or c". */
static const char *list_choices(struct arena *a, const char *choices)
{
    struct buf out = {0};
    struct str one, rest = str_c(choices);
    for (bool is_more = true; is_more;) {
        is_more = str_cut(rest, ' ', &one, &rest);
        if (buf_len(&out) > 0)
            buf_append_c(&out, is_more ? ", " : " or ");
        buf_append(&out, one.p, one.len);
    }
    const char *text = arena_str(a, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

static enum rc refuse_choice(struct arena *a, const struct op_member *m, struct err *err)
{
    return err_set(err, RC_INVALID, "%s must be one of %s", m->name, list_choices(a, m->choices));
}

static enum rc read_choice(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    struct str *text = out;
    struct str one, rest = str_c(sent->member->choices);
    TRY(take_text(a, sent, text, err));
    for (bool is_more = true; is_more;) {
        is_more = str_cut(rest, ' ', &one, &rest);
        if (str_eq(*text, one))
            return RC_OK;
    }
    return refuse_choice(a, sent->member, err);
}

static enum rc check_count(const struct op_member *m, size_t n, struct err *err)
{
    if (n > m->max)
        return err_set(err, RC_INVALID, "%s can have %llu entries", m->name, (unsigned long long)m->max);
    return RC_OK;
}

/* Only bodies have arrays. */
static enum rc read_texts(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    const struct op_member *m = sent->member;
    struct op_texts *texts = out;
    size_t n = json_len(sent->json), i = 0;
    if (sent->json == NULL || json_type_of(sent->json) != JSON_ARRAY)
        return err_set(err, RC_INVALID, "%s must be an array of texts", m->name);
    TRY(check_count(m, n, err));
    struct str *v = arena_zalloc(a, n + 1, sizeof(*v));
    JSON_EACH (it, sent->json) {
        if (!json_str(it, &v[i++]))
            return err_set(err, RC_INVALID, "%s must be an array of texts", m->name);
    }
    *texts = (struct op_texts){v, n};
    return RC_OK;
}

static enum rc parse_route(const char *name, struct str text, struct prefix *out, struct err *err)
{
    bool had_host_bits;
    char shown[PREFIX_TEXT_CAP];
    if (prefix_parse(text, out, &had_host_bits) != RC_OK)
        return err_set(err, RC_INVALID, "%s: '%.*s' is no route: write an address and a length, such as 10.0.0.0/8",
                       name, shown_len(text), text.p);
    prefix_format(out, shown);
    return had_host_bits ? err_set(err, RC_INVALID, "%s: '%.*s' has bits beyond its length: did you mean %s?", name,
                                   STR_ARG(text), shown)
                         : RC_OK;
}

static enum rc parse_network(const char *name, struct str text, struct prefix *out, struct err *err)
{
    struct addr ip;
    if (addr_parse_ip(text, &ip) == RC_OK) {
        *out = (struct prefix){ip, ip.family == 4 ? 32 : 128};
        return RC_OK;
    }
    if (prefix_parse(text, out, NULL) == RC_OK)
        return RC_OK;
    return err_set(err, RC_INVALID, "%s: '%.*s' is no network (10.0.0.0/8) and no address", name, shown_len(text),
                   text.p);
}

static enum rc read_prefixes(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    const struct op_member *m = sent->member;
    struct op_prefixes *prefixes = out;
    struct op_texts texts;
    TRY(read_texts(a, sent, &texts, err));
    struct prefix *v = arena_zalloc(a, texts.n + 1, sizeof(*v));
    for (size_t i = 0; i < texts.n; i++) {
        if (m->type == OP_ROUTES)
            TRY(parse_route(m->name, texts.v[i], &v[i], err));
        else
            TRY(parse_network(m->name, texts.v[i], &v[i], err));
    }
    *prefixes = (struct op_prefixes){v, texts.n};
    return RC_OK;
}

/* A missing text is not an empty one, which would let every node reach every other. */
static enum rc refuse_policy(const struct op_member *m, struct err *err)
{
    return err_set(err, RC_INVALID, "\"%s\" is missing, or not text: the policy as a JSON string", m->name);
}

static enum rc read_policy(struct arena *a, const struct sent *sent, void *out, struct err *err)
{
    (void)a;
    return sent->json != NULL && json_str(sent->json, out) ? RC_OK : refuse_policy(sent->member, err);
}

static read_fn *const readers[] = {
    [OP_TEXT] = read_text,         [OP_ID] = read_id,         [OP_BOOL] = read_bool,   [OP_NUMBER] = read_number,
    [OP_TIME] = read_time,         [OP_CHOICE] = read_choice, [OP_TEXTS] = read_texts, [OP_ROUTES] = read_prefixes,
    [OP_NETWORKS] = read_prefixes, [OP_POLICY] = read_policy,
};

/* --- members --- */

/* Which of the request's params the path's {name} is; -1: it has none. */
static int param_of(const char *path, const char *name)
{
    int n = 0;
    for (const char *open = strchr(path, '{'); open != NULL; open = strchr(open + 1, '{')) {
        if (strncmp(open + 1, name, strlen(name)) == 0 && open[1 + strlen(name)] == '}')
            return n;
        n++;
    }
    return -1;
}

static bool find_in_path(const struct api_input *in, struct sent *sent)
{
    int n = param_of(in->path, sent->member->name);
    if (n < 0)
        return false;
    sent->text = in->params[n];
    return true;
}

/* An empty text is nothing, but where it may be meant: as a text, a policy, or a segment of the path. */
static bool is_nothing(const struct sent *sent)
{
    static const bool is_never_empty[] = {
        [OP_ID] = true, [OP_NUMBER] = true, [OP_TIME] = true, [OP_CHOICE] = true, [OP_POLICY] = false};
    const struct op_member *m = sent->member;
    struct str text = sent->text;
    if (m->in == OP_PATH || !(is_never_empty[m->type] || (m->type == OP_BOOL && m->in == OP_QUERY)))
        return false;
    return (sent->json == NULL || json_str(sent->json, &text)) && text.len == 0;
}

/* False: it was not sent. */
static bool find_sent(const struct api_input *in, const struct json *body, struct sent *sent)
{
    const char *name = sent->member->name;
    switch (sent->member->in) {
    case OP_PATH: return find_in_path(in, sent);
    case OP_QUERY: return in->query(in->ctx, name, &sent->text) && !is_nothing(sent);
    case OP_BODY: sent->json = json_get(body, name); return !json_is_null(sent->json) && !is_nothing(sent);
    }
    return false;
}

static enum rc refuse_missing(struct api_call *call, const struct op_member *m, struct err *err)
{
    if (m->type == OP_CHOICE)
        return refuse_choice(&call->arena, m, err);
    if (m->type == OP_POLICY)
        return refuse_policy(m, err);
    return err_set(err, RC_INVALID, "%s is missing: %s", m->name, m->help);
}

/* --- the whole --- */

/* Strings of a tree point into its text, which must live as long as the call: the request's own goes when the peer
 * does. */
static enum rc parse_body(struct api_call *call, struct str body, const struct json **out, struct err *err)
{
    /* The limit of the body's size is its route's. */
    static const struct json_limits limits = {.max_bytes = SIZE_MAX, .max_depth = 16, .max_nodes = 4096};
    struct err why;
    struct str text = arena_str(&call->arena, str_trim(body));
    if (text.len == 0)
        text = STR("{}");
    if (json_parse(&call->arena, text, &limits, out, &why) != RC_OK)
        return err_set(err, RC_INVALID, "the body is no JSON: line %d, column %d: %s", why.line, why.col, why.text);
    if (json_is_null(*out))
        return RC_OK;
    return json_type_of(*out) == JSON_OBJECT ? RC_OK : err_set(err, RC_INVALID, "the body must be a JSON object");
}

enum rc api_request_read(struct api_call *call, const struct api_input *in, struct err *err)
{
    const struct operation *op = call->op;
    const struct json *body;
    TRY(parse_body(call, in->body, &body, err));
    for (size_t i = 0; i < op->member_n; i++) {
        struct sent sent = {.member = &op->members[i], .text = STR_EMPTY};
        if (find_sent(in, body, &sent)) {
            TRY(readers[sent.member->type](&call->arena, &sent, (char *)call->params + sent.member->offset, err));
            call->given |= UINT64_C(1) << i;
        } else if (sent.member->is_required) {
            return refuse_missing(call, sent.member, err);
        }
    }
    return RC_OK;
}

bool api_is_given(const struct api_call *call, const char *name)
{
    for (size_t i = 0; i < call->op->member_n; i++) {
        if ((call->given >> i & 1) != 0 && strcmp(call->op->members[i].name, name) == 0)
            return true;
    }
    return false;
}

/* --- before a request is sent --- */

static enum rc check_list(const struct op_member *m, struct str list, struct err *err)
{
    struct str item;
    struct prefix unused;
    size_t n = 0;
    while (list.len > 0) {
        str_cut(list, ',', &item, &list);
        item = str_trim(item);
        n += item.len > 0;
        if (item.len > 0 && m->type == OP_ROUTES)
            TRY(parse_route(m->name, item, &unused, err));
        if (item.len > 0 && m->type == OP_NETWORKS)
            TRY(parse_network(m->name, item, &unused, err));
    }
    return check_count(m, n, err);
}

enum rc api_member_check(const struct op_member *m, struct str text, struct err *err)
{
    const struct sent sent = {.member = m, .text = text};
    struct arena a = {0};
    union {
        struct str text;
        uint64_t number;
        int64_t time;
        bool is;
    } unused = {.number = 0};
    if (m->type == OP_TEXTS || m->type == OP_ROUTES || m->type == OP_NETWORKS)
        return check_list(m, text, err);
    if (m->type == OP_POLICY || is_nothing(&sent))
        return RC_OK;
    enum rc rc = readers[m->type](&a, &sent, &unused, err);
    arena_fini(&a);
    return rc;
}
