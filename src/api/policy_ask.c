/* Questions about the policy: why may one reach another, and what would another policy change. */
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/mem.h"
#include "reach/reach.h"

/* --- policy.why --- */

enum { WHY_MAX = 50, WHY_TEXT_MAX = 512 };

struct why_params {
    struct str src, dst;
    uint64_t port_number;
    struct str proto_text;
    int port;  /* -1: any */
    int proto; /* 0: any */
    bool has_policy;
    struct reach_reason reason[WHY_MAX];
    size_t reason_n;
};

static const struct op_member why_members[] = {
    OP_MEMBER("src", OP_QUERY, OP_TEXT, why_params, src, .is_required = true, .min = 1, .max = WHY_TEXT_MAX,
              .help = "from where: a node, an address, a user (anna@example.com) or a tag"),
    OP_MEMBER("dst", OP_QUERY, OP_TEXT, why_params, dst, .is_required = true, .min = 1, .max = WHY_TEXT_MAX,
              .help = "to where, the same; a port may follow (web:443)"),
    OP_MEMBER("port", OP_QUERY, OP_NUMBER, why_params, port_number, .max = UINT16_MAX, .help = "the port; absent: any"),
    OP_MEMBER("proto", OP_QUERY, OP_TEXT, why_params, proto_text, .max = 16,
              .help = "the protocol: tcp, udp, icmp, ipv6-icmp, sctp or a number; absent: any"),
};

static enum rc take_proto(struct str text, int *out, struct err *err)
{
    enum { PROTO_MAX = 255 };
    static const struct {
        const char *name;
        int number;
    } protos[] = {{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"ipv6-icmp", 58}, {"sctp", 132}};
    uint64_t v;
    for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
        if (str_eq_ci(text, str_c(protos[i].name))) {
            *out = protos[i].number;
            return RC_OK;
        }
    }
    if (text.len == 0)
        return RC_OK;
    if (str_to_u64(text, &v) != RC_OK || v > PROTO_MAX)
        return err_set(err, RC_INVALID, "proto must be a whole number up to %d", PROTO_MAX);
    *out = (int)v;
    return RC_OK;
}

/* "tag:web:443", "[fd7a::1]:22", "web:22": the port follows the last colon, unless the whole text is an address. */
static void cut_port(struct str *dst, int *port)
{
    struct addr ip;
    uint64_t v;
    const char *colon = memrchr(dst->p, ':', dst->len);
    struct str host = *dst;
    if (colon != NULL && addr_parse_ip(*dst, &ip) != RC_OK &&
        str_to_u64(str_n(colon + 1, dst->len - (size_t)(colon - dst->p) - 1), &v) == RC_OK && v <= UINT16_MAX) {
        host.len = (size_t)(colon - dst->p);
        *port = (int)v;
    }
    if (str_starts(host, STR("[")) && str_ends(host, STR("]")))
        host = str_n(host.p + 1, host.len - 2);
    *dst = host;
}

static enum rc check_why(struct api_call *call, struct err *err)
{
    struct why_params *p = call->params;
    p->port = -1;
    cut_port(&p->dst, &p->port);
    if (api_is_given(call, "port"))
        p->port = (int)p->port_number;
    return take_proto(p->proto_text, &p->proto, err);
}

/* What a text may stand for: itself, as in a policy, or the addresses of the node with that name. */
struct meanings {
    struct str v[3];
    size_t n;
};

static void add_address(struct api_call *call, const struct addr *a, struct meanings *out)
{
    char text[ADDR_TEXT_CAP];
    if (a->family == 0)
        return;
    addr_format(a, false, text);
    out->v[out->n++] = arena_str(&call->arena, str_c(text));
}

/* "web", or with the tailnet's domain behind it. */
static bool is_name_of(const struct node *n, struct str text, const char *domain)
{
    struct str name = str_c(n->name);
    if (str_eq_ci(text, name))
        return true;
    return text.len == name.len + 1 + strlen(domain) && text.p[name.len] == '.' &&
           str_eq_ci(str_n(text.p, name.len), name) &&
           str_eq_ci(str_n(text.p + name.len + 1, strlen(domain)), str_c(domain));
}

static struct meanings meanings_of(struct api_call *call, const struct state *st, struct str text)
{
    struct meanings m = {.v = {text}, .n = 1};
    size_t seen = 0;
    for (node_id id = 1; seen < state_node_count(st); id++) {
        const struct node *n = state_node(st, id);
        seen += n != NULL;
        if (n == NULL || !is_name_of(n, text, state_settings(st)->domain))
            continue;
        add_address(call, &n->v4, &m);
        add_address(call, &n->v6, &m);
        break;
    }
    return m;
}

static unsigned score(const struct reach_reason *r)
{
    return (r->is_allowed ? 8u : 0u) + (r->has_source ? 4u : 0u) + (r->has_destination ? 2u : 0u) + r->has_port;
}

/* Keeps the better answer: what was found so far, or what holds for these two. */
static bool ask(struct api_call *call, struct engine *policy, struct str src, struct str dst)
{
    struct why_params *p = call->params;
    struct reach_reason found[WHY_MAX];
    size_t n;
    if (reach_why(policy, src, dst, p->proto, p->port, found, ARRAY_LEN(found), &n) != RC_OK)
        return false;
    if (p->reason_n == 0 || (n > 0 && score(&found[0]) > score(&p->reason[0]))) {
        memcpy(p->reason, found, n * sizeof(found[0]));
        p->reason_n = n;
    }
    return true;
}

static bool is_known(struct engine *policy, const struct meanings *m)
{
    struct reach_reason unused;
    size_t n;
    for (size_t i = 0; i < m->n; i++) {
        if (reach_why(policy, m->v[i], m->v[i], 0, -1, &unused, 1, &n) == RC_OK)
            return true;
    }
    return false;
}

static enum rc run_why(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct why_params *p = call->params;
    struct engine *policy = state_policy(st);
    bool has_answer = false;
    (void)now_ms;
    p->has_policy = policy != NULL;
    if (policy == NULL)
        return RC_OK;
    struct meanings src = meanings_of(call, st, p->src), dst = meanings_of(call, st, p->dst);
    for (size_t i = 0; i < src.n; i++) {
        for (size_t k = 0; k < dst.n; k++)
            has_answer = ask(call, policy, src.v[i], dst.v[k]) || has_answer;
    }
    if (has_answer)
        return RC_OK;
    struct str unknown = is_known(policy, &src) ? p->dst : p->src;
    return err_set(err, RC_NOT_FOUND,
                   "%.100s names nothing that has an address: give a node's name, an address, a user "
                   "(anna@example.com) or a tag (tag:web) that has nodes",
                   arena_str(&call->arena, unknown).p);
}

static void write_why(struct api_call *call, struct json_writer *w)
{
    const struct why_params *p = call->params;
    const char *path = call->job.tailnet->policy.path;
    json_w_kv_bool(w, "allowed", !p->has_policy || (p->reason_n > 0 && p->reason[0].is_allowed));
    json_w_kv_bool(w, "hasPolicy", p->has_policy);
    json_w_kv_cstr(w, "file", path != NULL && path[0] != '\0' ? path : "policy");
    json_w_key(w, "rules");
    json_w_array(w);
    for (size_t i = 0; i < p->reason_n; i++)
        op_object_write(w, &api_policy_reason_object, &(const struct op_view){.row = &p->reason[i]});
    json_w_end_array(w);
}

/* --- policy.diff --- */

struct diff_params {
    struct str text;
    struct policy_doc *doc;        /* the text, compiled; reference */
    struct engine *before, *after; /* owned; to be compared */
    struct buf changes;            /* JSON: the result */
    size_t left_out;
};

static const struct op_member diff_members[] = {
    OP_MEMBER("policy", OP_BODY, OP_POLICY, diff_params, text, .is_required = true, .help = "the policy, HuJSON"),
};

static void fini_diff(struct api_call *call)
{
    struct diff_params *p = call->params;
    engine_destroy(&p->before);
    engine_destroy(&p->after);
    policy_doc_unref(&p->doc);
    buf_fini(&p->changes);
}

struct diff_writer {
    struct json_writer *w;
    size_t n;
    size_t left_out;
};

static void on_reach(void *ctx, const struct reach_difference *r)
{
    enum { MAX = 10000 };
    struct diff_writer *d = ctx;
    if (d->n == MAX) {
        d->left_out++;
        return;
    }
    d->n++;
    op_object_write(d->w, &api_policy_difference_object, &(const struct op_view){.row = r});
}

static void compare(struct api_call *call)
{
    struct diff_params *p = call->params;
    struct json_writer w;
    json_w_init(&w, &p->changes);
    struct diff_writer d = {.w = &w};
    json_w_array(&w);
    reach_diff(p->before, p->after, on_reach, &d);
    json_w_end_array(&w);
    p->left_out = d.left_out;
}

static enum rc check_diff(struct api_call *call, struct err *err)
{
    struct diff_params *p = call->params;
    TRY(api_compare_enter(call, err));
    return api_policy_compile(call, p->text, &p->doc, err);
}

/* The document of the policy in force, or of none, for this call alone. Null: its text cannot be read again. */
static struct policy_doc *doc_in_force(const struct state *st)
{
    static const struct policy_options as_it_is = {.is_stored = true};
    const struct engine *now = state_policy(st);
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (now == NULL)
        return policy_doc_allow_all();
    enum rc rc = policy_parse(policy_doc_text(engine_doc(now)), &as_it_is, &doc, &errors);
    policy_errors_fini(&errors);
    return rc == RC_OK ? doc : NULL;
}

/* The core only puts users and nodes in; the comparison runs on the compare thread, with two policies that no one else
 * refers to. */
static enum rc run_diff(struct api_call *call, struct state *st, int64_t now_ms, struct err *err)
{
    struct diff_params *p = call->params;
    struct policy_doc *doc = doc_in_force(st);
    (void)now_ms;
    (void)err;
    call->compare = compare;
    if (doc == NULL)
        return RC_INTERNAL;
    p->before = state_policy_try(st, doc);
    p->after = state_policy_try(st, p->doc);
    policy_doc_unref(&doc);
    return RC_OK;
}

static void write_diff(struct api_call *call, struct json_writer *w)
{
    const struct diff_params *p = call->params;
    json_w_key(w, "changes");
    json_w_raw(w, buf_str(&p->changes));
    json_w_kv_u64(w, "leftOut", p->left_out);
}

/* --- the rows --- */

static const struct operation rows[] = {
    {
        .name = "policy.why",
        .summary = "explain why a connection is allowed or denied",
        .v1 = {HTTP_GET, "/api/v1/policy/why"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        OP_PARAMS(why_members, struct why_params),
        .check = check_why,
        .run = run_why,
        .write = write_why,
        .answer = {NULL, &api_policy_why_object},
        .cli = {"policy why"},
    },
    {
        .name = "policy.diff",
        .summary = "show what a policy would grant and revoke",
        .v1 = {HTTP_POST, "/api/v1/policy/diff"},
        .scope = "policy_file:read",
        .kind = JOB_FRESH,
        .is_logged = true,
        .max_body_bytes = API_POLICY_BODY_BYTES,
        OP_PARAMS(diff_members, struct diff_params),
        .check = check_diff,
        .run = run_diff,
        .write = write_diff,
        .fini = fini_diff,
        .answer = {NULL, &api_policy_diff_object},
        .cli = {"policy diff"},
    },
};
const struct operations api_policy_ask_operations = {rows, ARRAY_LEN(rows)};
