/* Runs the policy goldens: policies and nodes in, and what Tailscale's own service answered. Every *.json of the
 * folders given, every case of each file. A filter must be equal as a set; how many are equal to the letter is
 * printed as well.
 *
 * usage: policy_goldens [-v] [DIR...]      without DIR: the folder that the variable GOLDENS_DIR names
 *
 * The answers are other people's data and not in this repository. Where there are none this says so, and what that
 * leaves untested; the cases in tests/vectors/policy_cases are run in any case (cases.c).
 *
 * Prints passed and failed per family, ends with 1 when a case failed. With CMOCKA_MESSAGE_OUTPUT=TAP: one line per
 * case. IMPOSSIBLE lists the cases whose answer does not follow from what the case holds, each with its reason; they
 * are run and counted apart. The README.md of such a folder describes its format. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "codec/json.h"
#include "engine/access.h"
#include "engine/approval.h"
#include "goldens/compare.h"
#include "goldens/tailnet.h"
#include "reach/reach.h"
#include "support/test_file.h"

enum { DOMAINS_MAX = 16 };

struct family {
    unsigned passed, failed, impossible;
    unsigned filters, exact;
};

/* One case as it is run. */
struct run {
    const struct json *file;
    const struct json *at;
    struct family *family;
    struct tailnet tailnet;
    struct engine *policy;
    struct buf why; /* what is wrong */
};

/* --- what is compared --- */

static void check_filter(struct run *r, const struct tailnet_node *n)
{
    const struct json *filters = json_get_exact(r->at, "filters");
    const struct json *want = json_first(json_get_exact(filters, "sets"));
    struct buf text = {0};
    struct arena a = {0};
    uint64_t index = 0;
    json_u64(case_member(json_get_exact(filters, "of"), n->name), &index);
    for (; index > 0; index--)
        want = json_next(want);
    engine_filter(r->policy, n->facts.id, &text);
    const struct json *ours = case_parse_ours(&a, &text);
    r->family->filters++;
    if (case_json_equal(want, ours))
        r->family->exact++;
    else if (!case_filters_equal(want, ours))
        case_wrong(&r->why, "filter of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name),
                   STR_ARG(json_raw(want)), STR_ARG(buf_str(&text)));
    arena_fini(&a);
    buf_fini(&text);
}

struct peer_check {
    const struct json *want;
    struct run *r;
    const struct tailnet_node *n;
    size_t seen;
};

static void visit_peer(void *ctx, uint64_t peer)
{
    struct peer_check *c = ctx;
    const struct tailnet_node *p = &c->r->tailnet.node[peer - 1];
    c->seen++;
    if (json_type_of(c->want) == JSON_ARRAY && !case_list_has(c->want, p->name))
        case_wrong(&c->r->why, "%.*s should not see %.*s", STR_ARG(c->n->name), STR_ARG(p->name));
}

static void check_peers(struct run *r, const struct tailnet_node *n)
{
    struct peer_check c = {case_member(json_get_exact(r->at, "peers"), n->name), r, n, 0};
    engine_peers(r->policy, n->facts.id, visit_peer, &c);
    size_t wanted = json_type_of(c.want) == JSON_STRING ? r->tailnet.node_n - 1 : json_len(c.want);
    if (c.seen != wanted || engine_peer_count(r->policy, n->facts.id) != wanted)
        case_wrong(&r->why, "%.*s sees %zu peers instead of %zu", STR_ARG(n->name), c.seen, wanted);
}

static bool has_exit(const struct tailnet_node *n, uint64_t routes)
{
    for (size_t i = 0; i < n->facts.route_n; i++) {
        if ((routes >> i & 1) != 0 && n->routes[i].bits == 0)
            return true;
    }
    return false;
}

static void check_routes(struct run *r, const struct tailnet_node *viewer, const struct tailnet_node *peer)
{
    const struct json *want = case_member(case_member(json_get_exact(r->at, "routes"), viewer->name), peer->name);
    const struct json *caps = case_member(case_member(json_get_exact(r->at, "peer_caps"), viewer->name), peer->name);
    uint64_t routes = 0;
    size_t n = 0;
    engine_routes(r->policy, viewer->facts.id, peer->facts.id, &routes, peer->facts.route_n);
    for (size_t i = 0; i < peer->facts.route_n; i++) {
        bool is_wanted = case_list_has(want, peer->route_text[i]);
        bool is_given = (routes >> i & 1) != 0;
        n += is_given;
        if (is_given != is_wanted)
            case_wrong(&r->why, "%.*s %s %.*s of %.*s", STR_ARG(viewer->name),
                       is_given ? "should not get" : "should get", STR_ARG(peer->route_text[i]), STR_ARG(peer->name));
    }
    if (n != json_len(want) && buf_len(&r->why) == 0)
        case_wrong(&r->why, "%.*s gets %zu routes of %.*s instead of %zu", STR_ARG(viewer->name), n,
                   STR_ARG(peer->name), json_len(want));
    if (json_get_exact(r->at, "peer_caps") != NULL && has_exit(peer, routes) != (json_len(caps) > 0))
        case_wrong(&r->why, "suggest-exit-node of %.*s for %.*s", STR_ARG(peer->name), STR_ARG(viewer->name));
}

static void check_approved(struct run *r, const struct tailnet_node *n)
{
    JSON_EACH (it, json_get_exact(n->at, "advertised")) {
        struct addr addr;
        uint8_t bits;
        tailnet_parse_prefix(case_text(it), &addr, &bits);
        bool wanted = case_list_has(json_get_exact(n->at, "approved"), case_text(it));
        if (engine_may_approve_route(r->policy, n->facts.id, &addr, bits) != wanted)
            case_wrong(&r->why, "%.*s of %.*s should %sbe approved", STR_ARG(case_text(it)), STR_ARG(n->name),
                       wanted ? "" : "not ");
    }
}

static void check_ssh(struct run *r, const struct tailnet_node *n)
{
    const struct json *want = case_member(json_get_exact(r->at, "ssh"), n->name);
    struct buf text = {0};
    struct arena a = {0};
    engine_ssh(r->policy, n->facts.id, "https://unused", &text);
    const struct json *ours = case_parse_ours(&a, &text);
    if (!case_ssh_equal(want, ours))
        case_wrong(&r->why, "ssh of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name),
                   STR_ARG(want != NULL ? json_raw(want) : STR("[]")), STR_ARG(buf_str(&text)));
    arena_fini(&a);
    buf_fini(&text);
}

/* What every node of the recording tailnet has, whatever the policy. */
static void add_baseline(struct run *r, const struct tailnet_node *n, struct str ours, struct buf *out)
{
    static const char *const always[] = {
        "https://tailscale.com/cap/file-sharing",
        "https://tailscale.com/cap/ssh",
        "https://tailscale.com/cap/tailnet-lock",
        "probe-udp-lifetime",
        "ssh-behavior-v1",
        "ssh-env-vars",
        "store-appc-routes",
    };
    bool updates = false;
    json_bool(json_get_exact(json_get_exact(r->at, "settings"), "devices_auto_updates_on"), &updates);
    const struct engine_user *owner = tailnet_user(&r->tailnet, case_field(n->at, "user"));
    buf_append(out, ours.p, ours.len - 1);
    buf_printf(out, "%s\"default-auto-update\":[%s],\"tailnet-display-name\":[\"odin@example.com\"]",
               ours.len > 2 ? "," : "", updates ? "true" : "false");
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        if (memmem(ours.p, ours.len, always[i], strlen(always[i])) == NULL)
            buf_printf(out, ",\"%s\":null", always[i]);
    }
    bool is_admin = owner != NULL && memmem(ours.p, ours.len, "cap/is-admin", 12) == NULL;
    if (is_admin)
        buf_append_c(out, ",\"https://tailscale.com/cap/is-admin\":null");
    if (owner == NULL || owner->role == POLICY_OWNER)
        buf_append_c(out, ",\"https://tailscale.com/cap/is-owner\":null");
    buf_append_byte(out, '}');
}

static void check_self_caps(struct run *r, const struct tailnet_node *n)
{
    const struct json *want = case_member(json_get_exact(r->at, "self_caps"), n->name);
    struct buf text = {0}, all = {0};
    struct arena a = {0};
    if (want == NULL)
        return;
    engine_self_caps(r->policy, n->facts.id, &text);
    add_baseline(r, n, buf_str(&text), &all);
    if (!case_json_equal(want, case_parse_ours(&a, &all)))
        case_wrong(&r->why, "capabilities of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name),
                   STR_ARG(json_raw(want)), STR_ARG(buf_str(&all)));
    arena_fini(&a);
    buf_fini(&all);
    buf_fini(&text);
}

/* Where addresses differ from what the node has: IPv4 is hidden. */
static void check_addresses(struct run *r, const struct tailnet_node *n)
{
    const struct json *of = case_member(json_get_exact(r->at, "addresses"), n->name);
    bool hidden = of != NULL && !case_list_has(of, case_field(n->at, "ip4"));
    if (json_get_exact(r->at, "addresses") != NULL && engine_hides_ipv4(r->policy, n->facts.id) != hidden)
        case_wrong(&r->why, "IPv4 of %.*s should %sbe hidden", STR_ARG(n->name), hidden ? "" : "not ");
}

static void check_node(struct run *r, const struct tailnet_node *n)
{
    check_approved(r, n);
    const struct json *captured = json_get_exact(r->at, "captured");
    if (captured != NULL && !case_list_has(captured, n->name))
        return;
    check_filter(r, n);
    check_peers(r, n);
    check_ssh(r, n);
    check_self_caps(r, n);
    check_addresses(r, n);
    for (size_t i = 0; i < r->tailnet.node_n; i++) {
        if (&r->tailnet.node[i] != n && engine_sees(r->policy, n->facts.id, r->tailnet.node[i].facts.id))
            check_routes(r, n, &r->tailnet.node[i]);
    }
}

/* --- a case --- */

static struct policy_doc *read_policy(struct run *r, struct policy_errors *errors)
{
    struct str domains[DOMAINS_MAX];
    struct policy_options opts = {.domains = domains, .has_funnel = true, .is_stored = true};
    struct policy_doc *doc = NULL;
    JSON_EACH (it, json_get_exact(r->file, "domains"))
        domains[opts.domain_n++] = case_text(it);
    if (policy_parse(case_field(r->at, "policy"), &opts, &doc, errors) != RC_OK)
        return NULL;
    return doc;
}

static enum rc run_policy(struct run *r, struct policy_errors *errors)
{
    struct policy_doc *doc = read_policy(r, errors);
    if (doc == NULL)
        return RC_INVALID;
    r->policy = tailnet_policy(&r->tailnet, doc);
    return reach_run_tests(r->policy, errors);
}

static void check_rejected(struct run *r, bool is_rejected, const struct policy_errors *errors, uint64_t status)
{
    struct str want = case_field(r->at, "error");
    struct str got = is_rejected ? str_c(errors->v[0].text) : STR_EMPTY;
    if (!is_rejected)
        case_wrong(&r->why, "should be rejected: %.*s", STR_ARG(want));
    else if (status < 500 && !case_contains(got, want))
        case_wrong(&r->why, "rejected as     %.*s\n      instead of %.*s", STR_ARG(got), STR_ARG(want));
}

static void run_case(struct run *r)
{
    struct policy_errors errors = {0};
    uint64_t status = 0;
    tailnet_add_users(&r->tailnet, json_get_exact(r->file, "users"));
    JSON_EACH (it, json_get_exact(r->at, "nodes"))
        tailnet_add_node(&r->tailnet, it);
    json_u64(json_get_exact(r->at, "status"), &status);
    bool is_rejected = run_policy(r, &errors) != RC_OK;
    if (status != 200) {
        check_rejected(r, is_rejected, &errors, status);
    } else if (is_rejected) {
        struct buf text = {0};
        policy_errors_format(&errors, NULL, &text);
        case_wrong(&r->why, "should be accepted: %.*s", STR_ARG(buf_str(&text)));
        buf_fini(&text);
    } else {
        for (size_t i = 0; i < r->tailnet.node_n; i++)
            check_node(r, &r->tailnet.node[i]);
    }
    policy_errors_fini(&errors);
    engine_destroy(&r->policy);
}

/* --- files --- */

static bool is_tap, is_verbose;
static unsigned case_number;

/* The reason why the case cannot pass, from the file; or null. */
static const char *impossible_reason(const struct json *list, struct str id)
{
    struct str reason;
    return json_str(case_member(list, id), &reason) ? "see tests/goldens/impossible.json" : NULL;
}

static void report_case(struct run *r, struct str id, const char *reason)
{
    bool passed = buf_len(&r->why) == 0;
    case_number++;
    if (passed)
        r->family->passed++;
    else if (reason != NULL)
        r->family->impossible++;
    else
        r->family->failed++;
    bool is_failure = !passed && reason == NULL;
    if (is_tap)
        printf("%sok %u - %.*s%s\n", is_failure ? "not " : "", case_number, STR_ARG(id),
               !passed && !is_failure ? " # SKIP the answer does not follow from the case" : "");
    if (is_failure || (!passed && is_verbose))
        printf("%s%.*s%s%s%s%s\n%.*s", is_tap ? "# " : "FAILED ", STR_ARG(id), reason != NULL ? " (impossible: " : "",
               reason != NULL ? reason : "", reason != NULL ? ")" : "", passed ? "" : ":",
               is_tap ? 0 : (int)buf_len(&r->why), (const char *)buf_at(&r->why));
}

static void run_file(const char *dir, const char *name, const struct json *impossible, struct family *total)
{
    struct buf text = test_file_read(dir, name);
    struct arena a = {0};
    struct family family = {0};
    const struct json *file;
    struct err err = {0};
    if (json_parse(&a, buf_str(&text), &json_limits_trusted, &file, &err) != RC_OK) {
        fprintf(stderr, "%s/%s: %s\n", dir, name, err.text);
        exit(2);
    }
    JSON_EACH (it, json_get_exact(file, "cases")) {
        struct run *r = MEM_NEW(struct run);
        r->file = file;
        r->at = it;
        r->family = &family;
        run_case(r);
        report_case(r, case_field(it, "id"), impossible_reason(impossible, case_field(it, "id")));
        buf_fini(&r->why);
        mem_free(r);
    }
    printf("%s%-12.*s %4u passed, %u failed%s; %u of %u filters to the letter\n", is_tap ? "# " : "",
           STR_ARG(case_field(file, "family")), family.passed, family.failed,
           family.impossible > 0 ? ", 1 impossible" : "", family.exact, family.filters);
    total->passed += family.passed;
    total->failed += family.failed;
    total->impossible += family.impossible;
    arena_fini(&a);
    buf_fini(&text);
}

static int is_json(const struct dirent *e)
{
    return str_ends(str_c(e->d_name), STR(".json"));
}

static void run_dir(const char *dir, const struct json *impossible, struct family *total)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, is_json, alphasort);
    if (n < 0) {
        perror(dir);
        exit(2);
    }
    for (int i = 0; i < n; i++) {
        run_file(dir, entries[i]->d_name, impossible, total);
        free(entries[i]);
    }
    free(entries);
}

/* One skipped test, and the reason in words. */
static void print_absent(void)
{
    static const char *const words[] = {
        "The policy goldens are absent: no folder was named that has them.",
        "They are what Tailscale's own service answered to hundreds of policies: other people's data, not in this",
        "repository. Untested without them: that filters, peers, routes, SSH policies, capabilities and refusals equal",
        "those of that service. What docs/protocol/policy.md says is tested all the same (policy/cases).",
        "To name a folder that has them: make goldens DIR=path, or GOLDENS_DIR=path in the environment of a test run",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        printf("%s%s\n", is_tap ? "# " : "", words[i]);
    if (is_tap)
        printf("ok 1 - goldens # SKIP the policy goldens are absent (to name a folder: make goldens DIR=path)\n");
}

int main(int argc, char **argv)
{
    const char *tap = getenv("CMOCKA_MESSAGE_OUTPUT");
    struct family total = {0};
    struct arena a = {0};
    const struct json *impossible;
    const char *dir = getenv("GOLDENS_DIR");
    int first = 1;
    is_tap = tap != NULL && strcmp(tap, "TAP") == 0;
    if (first < argc && strcmp(argv[first], "-v") == 0) {
        is_verbose = true;
        first++;
    }
    struct buf list = test_file_read(GOLDENS_SOURCE_DIR, "impossible.json");
    if (json_parse(&a, buf_str(&list), NULL, &impossible, NULL) != RC_OK)
        return 2;
    if (first == argc && dir != NULL && dir[0] != '\0')
        run_dir(dir, impossible, &total);
    else if (first == argc)
        print_absent();
    for (int i = first; i < argc; i++)
        run_dir(argv[i], impossible, &total);
    if (is_tap)
        printf("1..%u\n", case_number > 0 ? case_number : 1);
    else
        printf("%u passed, %u failed, %u impossible\n", total.passed, total.failed, total.impossible);
    arena_fini(&a);
    buf_fini(&list);
    return total.failed > 0 ? 1 : 0;
}
