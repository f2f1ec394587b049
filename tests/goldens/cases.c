/* Runs the policy cases of this repository: policies with the answers that docs/protocol/policy.md gives, each with
 * the section that argues it. Every *.hujson of a folder, every case of each file;
 * tests/vectors/policy_cases/README.md has the format.
 *
 * usage: policy_cases DIR      DIR/tailnet.hujson: the users and nodes that all cases share
 *
 * Prints passed and failed per subject, ends with 1 when a case failed. With CMOCKA_MESSAGE_OUTPUT=TAP: one line per
 * case. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/hujson.h"
#include "codec/json.h"
#include "engine/access.h"
#include "engine/approval.h"
#include "goldens/compare.h"
#include "goldens/reach.h"
#include "goldens/tailnet.h"
#include "reach/reach.h"
#include "support/test_file.h"

enum { DOMAINS_MAX = 16 };

/* One case as it is run. */
struct run {
    const struct json *common; /* tailnet.hujson */
    const struct json *at;
    struct tailnet tailnet;
    struct engine *policy;
    struct buf why; /* what is wrong */
};

/* The node of this name; null when there is none, which is wrong. */
static const struct tailnet_node *node_of(struct run *r, struct str name)
{
    const struct tailnet_node *n = tailnet_node(&r->tailnet, name);
    if (n == NULL)
        case_wrong(&r->why, "there is no node %.*s", STR_ARG(name));
    return n;
}

/* --- answers --- */

/* What writes a node's answer as JSON. */
typedef void answer_fn(struct engine *p, uint64_t id, struct buf *out);
typedef bool equal_fn(const struct json *a, const struct json *b);

static void ssh_of(struct engine *p, uint64_t id, struct buf *out)
{
    engine_ssh(p, id, "https://server", out);
}

static void check_answers(struct run *r, const struct json *want, answer_fn *answer, equal_fn *equal)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *n = node_of(r, json_key_of(it));
        struct buf out = {0};
        struct arena a = {0};
        if (n == NULL)
            continue;
        answer(r->policy, n->facts.id, &out);
        if (!equal(it, case_parse_ours(&a, &out)))
            case_wrong(&r->why, "%.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name), STR_ARG(json_raw(it)),
                       STR_ARG(buf_str(&out)));
        arena_fini(&a);
        buf_fini(&out);
    }
}

static void check_reach(struct run *r, const struct json *want)
{
    case_check_reach(&r->tailnet, r->policy, want, &r->why);
}

/* Filters must be equal as texts, and in the same order. */
static void check_filters(struct run *r, const struct json *want)
{
    check_answers(r, want, engine_filter, case_json_equal);
}

static void check_ssh(struct run *r, const struct json *want)
{
    check_answers(r, want, ssh_of, case_ssh_equal);
}

static void check_caps(struct run *r, const struct json *want)
{
    check_answers(r, want, engine_self_caps, case_json_equal);
}

static void check_peers(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *n = node_of(r, json_key_of(it));
        JSON_EACH (peer, it)
            node_of(r, case_text(peer));
        for (size_t i = 0; n != NULL && i < r->tailnet.node_n; i++) {
            const struct tailnet_node *other = &r->tailnet.node[i];
            bool wanted = case_list_has(it, other->name);
            if (engine_sees(r->policy, n->facts.id, other->facts.id) != wanted)
                case_wrong(&r->why, "%.*s should %ssee %.*s", STR_ARG(n->name), wanted ? "" : "not ",
                           STR_ARG(other->name));
        }
    }
}

static void check_routes_of(struct run *r, const struct tailnet_node *viewer, const struct tailnet_node *peer,
                            const struct json *want)
{
    uint64_t routes = 0;
    size_t n = 0;
    engine_routes(r->policy, viewer->facts.id, peer->facts.id, &routes, peer->facts.route_n);
    for (size_t i = 0; i < peer->facts.route_n; i++) {
        bool is_given = (routes >> i & 1) != 0;
        n += is_given;
        if (is_given != case_list_has(want, peer->route_text[i]))
            case_wrong(&r->why, "%.*s %s %.*s of %.*s", STR_ARG(viewer->name),
                       is_given ? "should not get" : "should get", STR_ARG(peer->route_text[i]), STR_ARG(peer->name));
    }
    if (n != json_len(want))
        case_wrong(&r->why, "%.*s gets %zu routes of %.*s", STR_ARG(viewer->name), n, STR_ARG(peer->name));
}

static void check_routes(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *viewer = node_of(r, json_key_of(it));
        JSON_EACH (of, it) {
            const struct tailnet_node *peer = node_of(r, json_key_of(of));
            if (viewer != NULL && peer != NULL)
                check_routes_of(r, viewer, peer, of);
        }
    }
}

static void check_approvals(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *n = node_of(r, json_key_of(it));
        JSON_EACH (route, it) {
            struct addr addr;
            uint8_t bits;
            bool wanted = false;
            tailnet_parse_prefix(json_key_of(route), &addr, &bits);
            if (n == NULL || !json_bool(route, &wanted) ||
                engine_may_approve_route(r->policy, n->facts.id, &addr, bits) != wanted)
                case_wrong(&r->why, "%.*s of %.*s should %sbe approved", STR_ARG(json_key_of(route)),
                           STR_ARG(json_key_of(it)), wanted ? "" : "not ");
        }
    }
}

/* A user, or a tag that a node or key has. */
static void check_tagging(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        struct str who = json_key_of(it);
        const struct engine_user *u = tailnet_user(&r->tailnet, who);
        JSON_EACH (tag, it) {
            bool wanted = false;
            bool may = u != NULL ? engine_user_may_tag(r->policy, u->id, json_key_of(tag))
                                 : engine_tags_may_tag(r->policy, &who, 1, json_key_of(tag));
            if (!json_bool(tag, &wanted) || may != wanted)
                case_wrong(&r->why, "%.*s should %sbe able to apply %.*s", STR_ARG(who), wanted ? "" : "not ",
                           STR_ARG(json_key_of(tag)));
        }
    }
}

static void check_hidden(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *n = node_of(r, json_key_of(it));
        bool wanted = false;
        if (n != NULL && (!json_bool(it, &wanted) || engine_hides_ipv4(r->policy, n->facts.id) != wanted))
            case_wrong(&r->why, "IPv4 of %.*s should %sbe hidden", STR_ARG(n->name), wanted ? "" : "not ");
    }
}

static void check_pools(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        const struct tailnet_node *n = node_of(r, json_key_of(it));
        struct addr addr, wanted_addr;
        uint8_t bits, wanted_bits;
        size_t i = 0;
        JSON_EACH (pool, it) {
            tailnet_parse_prefix(case_text(pool), &wanted_addr, &wanted_bits);
            if (n == NULL || !engine_ip_pool(r->policy, n->facts.id, i++, &addr, &bits) || bits != wanted_bits ||
                !addr_eq(&addr, &wanted_addr))
                case_wrong(&r->why, "%.*s lacks the pool %.*s", STR_ARG(json_key_of(it)), STR_ARG(case_text(pool)));
        }
        if (n != NULL && engine_ip_pool(r->policy, n->facts.id, i, &addr, &bits))
            case_wrong(&r->why, "%.*s has one more pool", STR_ARG(n->name));
    }
}

/* "SOURCE -> DESTINATION": seconds; 0: always asked; -1: no check rule. */
static void check_periods(struct run *r, const struct json *want)
{
    JSON_EACH (it, want) {
        struct str text = json_key_of(it);
        const char *arrow = memmem(text.p, text.len, " -> ", 4);
        int64_t wanted = 0;
        if (arrow == NULL || !json_i64(it, &wanted)) {
            case_wrong(&r->why, "no question that can be asked: %.*s", STR_ARG(text));
            continue;
        }
        size_t left = (size_t)(arrow - text.p);
        const struct tailnet_node *src = node_of(r, str_n(text.p, left));
        const struct tailnet_node *dst = node_of(r, str_n(arrow + 4, text.len - left - 4));
        if (src != NULL && dst != NULL && engine_ssh_check_period_s(r->policy, src->facts.id, dst->facts.id) != wanted)
            case_wrong(&r->why, "%.*s should hold for %lld s", STR_ARG(text), (long long)wanted);
    }
}

static bool errors_have(const struct policy_errors *e, struct str text)
{
    for (size_t i = 0; i < e->n; i++) {
        if (case_contains(str_c(e->v[i].text), text))
            return true;
    }
    return false;
}

static void check_warnings(struct run *r, const struct json *want)
{
    struct policy_errors got = {0};
    engine_warnings(r->policy, &got);
    JSON_EACH (it, want) {
        if (!errors_have(&got, case_text(it)))
            case_wrong(&r->why, "should warn: %.*s", STR_ARG(case_text(it)));
    }
    policy_errors_fini(&got);
}

/* --- a case --- */

typedef void check_fn(struct run *r, const struct json *want);

/* The answers that a case may have, each checked by one function. */
static const struct {
    const char *name;
    check_fn *check;
} answers[] = {
    {"reach", check_reach},     {"filters", check_filters},   {"peers", check_peers},    {"routes", check_routes},
    {"ssh", check_ssh},         {"caps", check_caps},         {"pools", check_pools},    {"approves", check_approvals},
    {"may_tag", check_tagging}, {"hides_ipv4", check_hidden}, {"warns", check_warnings}, {"ssh_periods", check_periods},
};

static check_fn *answer_named(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (str_eq(name, str_c(answers[i].name)))
            return answers[i].check;
    }
    return NULL;
}

/* Whether every member of the case is known, the case cites why its answers are right, and it has an answer. */
static void check_form(struct run *r)
{
    static const char *const others[] = {"id", "argued", "policy", "only", "nodes", "domains", "funnel"};
    size_t n = 0;
    JSON_EACH (it, r->at) {
        struct str name = json_key_of(it);
        bool is_known = false;
        for (size_t i = 0; i < ARRAY_LEN(others); i++)
            is_known = is_known || str_eq(name, str_c(others[i]));
        bool is_refusal = str_eq(name, STR("refused")) || str_eq(name, STR("position")) || str_eq(name, STR("fails"));
        n += is_refusal || answer_named(name) != NULL;
        if (!is_known && !is_refusal && answer_named(name) == NULL)
            case_wrong(&r->why, "unknown member %.*s", STR_ARG(name));
    }
    if (n == 0)
        case_wrong(&r->why, "the case has no answer");
    if (!str_starts(case_field(r->at, "argued"), STR("docs/protocol/policy.md ")))
        case_wrong(&r->why, "`argued` must name the section of docs/protocol/policy.md");
}

/* All nodes of the shared tailnet or those in `only`, then the case's own. */
static void read_tailnet(struct run *r)
{
    const struct json *only = json_get_exact(r->at, "only");
    size_t n = 0;
    tailnet_add_users(&r->tailnet, json_get_exact(r->common, "users"));
    JSON_EACH (it, json_get_exact(r->common, "nodes")) {
        bool is_wanted = only == NULL || case_list_has(only, case_field(it, "name"));
        n += is_wanted;
        if (is_wanted)
            tailnet_add_node(&r->tailnet, it);
    }
    if (only != NULL && n != json_len(only))
        case_wrong(&r->why, "`only` names nodes that there are not");
    JSON_EACH (it, json_get_exact(r->at, "nodes"))
        tailnet_add_node(&r->tailnet, it);
}

/* The text as written when it is a string, else the object itself. */
static struct policy_doc *read_policy(struct run *r, struct policy_errors *errors)
{
    const struct json *at = json_get_exact(r->at, "policy"), *domains_at = json_get_exact(r->at, "domains");
    struct str domains[DOMAINS_MAX], text = json_raw(at);
    struct policy_options opts = {.domains = domains};
    struct policy_doc *doc = NULL;
    json_bool(json_get_exact(r->at, "funnel"), &opts.has_funnel);
    JSON_EACH (it, domains_at) {
        if (opts.domain_n < DOMAINS_MAX)
            domains[opts.domain_n++] = case_text(it);
    }
    json_str(at, &text);
    return policy_parse(text, &opts, &doc, errors) == RC_OK ? doc : NULL;
}

/* Contained in the first error, whose position is "LINE:COLUMN" where the case has one. */
static void check_refused(struct run *r, const struct policy_errors *errors)
{
    struct str position = case_field(r->at, "position");
    char got[32];
    if (!case_contains(str_c(errors->v[0].text), case_field(r->at, "refused")))
        case_wrong(&r->why, "refused as     %s\n      instead of %.*s", errors->v[0].text,
                   STR_ARG(case_field(r->at, "refused")));
    snprintf(got, sizeof(got), "%d:%d", errors->v[0].line, errors->v[0].col);
    if (position.len > 0 && !str_eq(position, str_c(got)))
        case_wrong(&r->why, "refused at %s instead of %.*s", got, STR_ARG(position));
}

/* The policy's own tests fail with these lines, and no others. */
static void check_fails(struct run *r, enum rc rc, const struct policy_errors *errors)
{
    const struct json *want = json_get_exact(r->at, "fails");
    struct buf text = {0};
    policy_errors_format(errors, NULL, &text);
    size_t lines = rc == RC_OK ? 0 : errors->n - 1; /* the first says "test(s) failed" */
    if (lines != json_len(want))
        case_wrong(&r->why, "%zu tests fail: %.*s", lines, STR_ARG(buf_str(&text)));
    JSON_EACH (it, want) {
        if (!errors_have(errors, case_text(it)))
            case_wrong(&r->why, "should fail with: %.*s\n      got %.*s", STR_ARG(case_text(it)),
                       STR_ARG(buf_str(&text)));
    }
    buf_fini(&text);
}

static void check_at_work(struct run *r, struct policy_doc *doc)
{
    struct policy_errors errors = {0};
    r->policy = tailnet_policy(&r->tailnet, doc);
    check_fails(r, reach_run_tests(r->policy, &errors), &errors);
    JSON_EACH (it, r->at) {
        check_fn *check = answer_named(json_key_of(it));
        if (check != NULL)
            check(r, it);
    }
    policy_errors_fini(&errors);
    engine_destroy(&r->policy);
}

static void run_case(struct run *r)
{
    struct policy_errors errors = {0};
    struct str refused = case_field(r->at, "refused");
    check_form(r);
    read_tailnet(r);
    struct policy_doc *doc = read_policy(r, &errors);
    if (doc == NULL && refused.len > 0) {
        check_refused(r, &errors);
    } else if (doc == NULL) {
        case_wrong(&r->why, "should be accepted: %s", errors.v[0].text);
    } else if (refused.len > 0) {
        case_wrong(&r->why, "should be refused: %.*s", STR_ARG(refused));
        policy_doc_unref(&doc);
    } else {
        check_at_work(r, doc);
    }
    policy_errors_fini(&errors);
}

/* --- files --- */

static bool is_tap;
static unsigned passed_total, failed_total;

static void report_case(const struct run *r, struct str id, unsigned *failed)
{
    bool is_good = buf_len(&r->why) == 0;
    passed_total += is_good;
    failed_total += !is_good;
    *failed += !is_good;
    if (is_tap)
        printf("%sok %u - %.*s\n", is_good ? "" : "not ", passed_total + failed_total, STR_ARG(id));
    if (!is_good)
        printf("%s%.*s (%.*s):\n%.*s", is_tap ? "# " : "FAILED ", STR_ARG(id), STR_ARG(case_field(r->at, "argued")),
               (int)buf_len(&r->why), (const char *)buf_at(&r->why));
}

static const struct json *parse_file(struct arena *a, const char *dir, const char *name)
{
    struct buf text = test_file_read(dir, name);
    const struct json *root;
    struct err err = {0};
    if (hujson_parse(a, buf_str(&text), &json_limits_trusted, &root, NULL, &err) != RC_OK) {
        fprintf(stderr, "%s/%s: %s\n", dir, name, err.text);
        exit(2);
    }
    buf_fini(&text);
    return root;
}

static void run_file(const char *dir, const char *name, const struct json *common)
{
    struct arena a = {0};
    const struct json *cases = json_get_exact(parse_file(&a, dir, name), "cases");
    unsigned failed = 0;
    JSON_EACH (it, cases) {
        struct run *r = MEM_NEW(struct run);
        r->common = common;
        r->at = it;
        run_case(r);
        report_case(r, case_field(it, "id"), &failed);
        buf_fini(&r->why);
        mem_free(r);
    }
    printf("%s%-24s %4zu passed, %u failed\n", is_tap ? "# " : "", name, json_len(cases) - failed, failed);
    arena_fini(&a);
}

static int is_subject(const struct dirent *e)
{
    return str_ends(str_c(e->d_name), STR(".hujson")) && strcmp(e->d_name, "tailnet.hujson") != 0;
}

int main(int argc, char **argv)
{
    const char *tap = getenv("CMOCKA_MESSAGE_OUTPUT");
    struct arena a = {0};
    struct dirent **entries;
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    is_tap = tap != NULL && strcmp(tap, "TAP") == 0;
    int n = scandir(argv[1], &entries, is_subject, alphasort);
    if (n <= 0) {
        fprintf(stderr, "%s has no cases\n", argv[1]);
        return 2;
    }
    const struct json *common = parse_file(&a, argv[1], "tailnet.hujson");
    for (int i = 0; i < n; i++) {
        run_file(argv[1], entries[i]->d_name, common);
        free(entries[i]);
    }
    free(entries);
    if (is_tap)
        printf("1..%u\n", passed_total + failed_total);
    else
        printf("%u passed, %u failed\n", passed_total, failed_total);
    arena_fini(&a);
    return failed_total > 0 ? 1 : 0;
}
