/* Runs the policy goldens: policies and nodes in, and what Tailscale's own service answered. Every *.json of the folders
 * given, every case of each file. A filter must be equal as a set; how many are equal to the letter is told as well.
 *
 * usage: policy_goldens [-v] [DIR...]      without DIR: ../shared/goldens/policy, if it is there
 *
 * Prints passed and failed per family, ends with 1 when a case failed. With CMOCKA_MESSAGE_OUTPUT=TAP: one line per case.
 * IMPOSSIBLE lists the cases whose answer does not follow from what the case holds, each with its reason; they are run
 * and counted apart. The README.md of such a folder describes its format. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "codec/json.h"
#include "policy/policy.h"
#include "support/filter_set.h"
#include "support/test_file.h"

enum { NODES_MAX = 64, ROUTES_MAX = 32, USERS_MAX = 16, WHY_CAP = 2000 };

struct family {
    unsigned passed, failed, impossible;
    unsigned filters, exact;
};

struct golden_node {
    struct str name;
    struct policy_node facts;
    struct str tags[ROUTES_MAX];
    struct policy_route routes[ROUTES_MAX];
    struct str route_text[ROUTES_MAX];
    const struct json *at;
    bool is_captured;
};

/* One case as it is run. */
struct run {
    const struct json *file;
    const struct json *at;
    struct family *family;
    struct golden_node node[NODES_MAX];
    size_t node_n;
    struct policy_user user[USERS_MAX];
    size_t user_n;
    struct policy *policy;
    struct buf why; /* what is wrong */
};

static void wrong(struct run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void wrong(struct run *r, const char *fmt, ...)
{
    va_list args;
    if (buf_len(&r->why) > WHY_CAP)
        return;
    va_start(args, fmt);
    buf_append_c(&r->why, "    ");
    buf_vprintf(&r->why, fmt, args);
    buf_append_c(&r->why, "\n");
    va_end(args);
}

static struct str text_of(const struct json *node)
{
    struct str s = STR_EMPTY;
    json_str(node, &s);
    return s;
}

static struct str field(const struct json *obj, const char *name)
{
    return text_of(json_get_exact(obj, name));
}

static const struct json *member(const struct json *obj, struct str name)
{
    JSON_EACH (it, obj) {
        if (str_eq(json_key_of(it), name))
            return it;
    }
    return NULL;
}

/* --- equality --- */

static bool json_equal(const struct json *a, const struct json *b);

static bool lists_equal(const struct json *a, const struct json *b)
{
    const struct json *other = json_first(b);
    JSON_EACH (it, a) {
        if (!json_equal(it, other))
            return false;
        other = json_next(other);
    }
    return other == NULL;
}

/* Depth is limited by the parser. */
static bool json_equal(const struct json *a, const struct json *b)
{
    if (json_type_of(a) != json_type_of(b) || json_len(a) != json_len(b))
        return false;
    if (json_type_of(a) == JSON_STRING)
        return str_eq(text_of(a), text_of(b));
    if (json_type_of(a) == JSON_ARRAY)
        return lists_equal(a, b);
    if (json_type_of(a) != JSON_OBJECT)
        return str_eq(json_raw(a), json_raw(b));
    JSON_EACH (it, a) {
        const struct json *other = member(b, json_key_of(it));
        if (other == NULL || !json_equal(it, other))
            return false;
    }
    return true;
}

static bool filters_equal(const struct json *a, const struct json *b)
{
    struct filter_set x, y;
    filter_set_init(&x);
    filter_set_init(&y);
    filter_set_add_json(&x, a);
    filter_set_add_json(&y, b);
    bool same = filter_sets_equal(&x, &y);
    filter_set_fini(&x);
    filter_set_fini(&y);
    return same;
}

/* --- reading a case --- */

static void read_users(struct run *r)
{
    JSON_EACH (it, json_get_exact(r->file, "users")) {
        struct policy_user *u = &r->user[r->user_n++];
        json_u64(json_get_exact(it, "id"), &u->id);
        u->name = field(it, "name");
        u->email = field(it, "email");
        u->provider_id = STR_EMPTY;
        struct str role = field(it, "role");
        u->role = str_eq(role, STR("owner")) ? POLICY_OWNER : str_eq(role, STR("admin")) ? POLICY_ADMIN : POLICY_MEMBER;
    }
}

static const struct policy_user *user_named(const struct run *r, struct str name)
{
    for (size_t i = 0; i < r->user_n; i++) {
        if (str_eq(r->user[i].name, name))
            return &r->user[i];
    }
    return NULL;
}

static void parse_prefix(struct str text, struct addr *addr, uint8_t *bits)
{
    struct str ip, len;
    uint64_t v = 0;
    if (!str_cut(text, '/', &ip, &len) || addr_parse_ip(ip, addr) != RC_OK || str_to_u64(len, &v) != RC_OK)
        abort();
    *bits = (uint8_t)v;
}

static bool list_has(const struct json *list, struct str text)
{
    JSON_EACH (it, list) {
        if (str_eq(text_of(it), text))
            return true;
    }
    return false;
}

static void read_node(struct run *r, const struct json *it)
{
    struct golden_node *n = &r->node[r->node_n++];
    n->at = it;
    n->name = field(it, "name");
    n->facts = (struct policy_node){.id = r->node_n, .tags = n->tags, .routes = n->routes, .is_online = true};
    JSON_EACH (tag, json_get_exact(it, "tags"))
        n->tags[n->facts.tag_n++] = text_of(tag);
    const struct policy_user *u = user_named(r, field(it, "user"));
    n->facts.user = u != NULL ? u->id : 0;
    if (addr_parse_ip(field(it, "ip4"), &n->facts.v4) != RC_OK)
        n->facts.v4.family = 0;
    if (addr_parse_ip(field(it, "ip6"), &n->facts.v6) != RC_OK)
        n->facts.v6.family = 0;
    JSON_EACH (route, json_get_exact(it, "approved")) {
        struct policy_route *out = &n->routes[n->facts.route_n];
        n->route_text[n->facts.route_n++] = text_of(route);
        parse_prefix(text_of(route), &out->addr, &out->bits);
        out->is_primary = list_has(json_get_exact(it, "primary"), text_of(route));
    }
    const struct json *captured = json_get_exact(r->at, "captured");
    n->is_captured = captured == NULL || list_has(captured, n->name);
}

/* --- what is compared --- */

static const struct json *parse_ours(struct arena *a, const struct buf *text)
{
    const struct json *root;
    struct err err = {0};
    if (json_parse(a, buf_str(text), NULL, &root, &err) != RC_OK) {
        fprintf(stderr, "our own output is no JSON: %s\n%.*s\n", err.text, STR_ARG(buf_str(text)));
        abort();
    }
    return root;
}

static void check_filter(struct run *r, const struct golden_node *n)
{
    const struct json *filters = json_get_exact(r->at, "filters");
    const struct json *want = json_first(json_get_exact(filters, "sets"));
    struct buf text = {0};
    struct arena a = {0};
    uint64_t index = 0;
    json_u64(member(json_get_exact(filters, "of"), n->name), &index);
    for (; index > 0; index--)
        want = json_next(want);
    policy_filter(r->policy, n->facts.id, &text);
    const struct json *ours = parse_ours(&a, &text);
    r->family->filters++;
    if (json_equal(want, ours))
        r->family->exact++;
    else if (!filters_equal(want, ours))
        wrong(r, "filter of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name), STR_ARG(json_raw(want)),
              STR_ARG(buf_str(&text)));
    arena_fini(&a);
    buf_fini(&text);
}

struct peer_check {
    const struct json *want;
    struct run *r;
    const struct golden_node *n;
    size_t seen;
};

static void visit_peer(void *ctx, uint64_t peer)
{
    struct peer_check *c = ctx;
    const struct golden_node *p = &c->r->node[peer - 1];
    c->seen++;
    if (json_type_of(c->want) == JSON_ARRAY && !list_has(c->want, p->name))
        wrong(c->r, "%.*s should not see %.*s", STR_ARG(c->n->name), STR_ARG(p->name));
}

static void check_peers(struct run *r, const struct golden_node *n)
{
    struct peer_check c = {member(json_get_exact(r->at, "peers"), n->name), r, n, 0};
    policy_peers(r->policy, n->facts.id, visit_peer, &c);
    size_t wanted = json_type_of(c.want) == JSON_STRING ? r->node_n - 1 : json_len(c.want);
    if (c.seen != wanted || policy_peer_count(r->policy, n->facts.id) != wanted)
        wrong(r, "%.*s sees %zu peers instead of %zu", STR_ARG(n->name), c.seen, wanted);
}

static bool has_exit(const struct golden_node *n, uint64_t routes)
{
    for (size_t i = 0; i < n->facts.route_n; i++) {
        if ((routes >> i & 1) != 0 && n->routes[i].bits == 0)
            return true;
    }
    return false;
}

static void check_routes(struct run *r, const struct golden_node *viewer, const struct golden_node *peer)
{
    const struct json *want = member(member(json_get_exact(r->at, "routes"), viewer->name), peer->name);
    const struct json *caps = member(member(json_get_exact(r->at, "peer_caps"), viewer->name), peer->name);
    uint64_t routes = 0;
    size_t n = 0;
    policy_routes(r->policy, viewer->facts.id, peer->facts.id, &routes, peer->facts.route_n);
    for (size_t i = 0; i < peer->facts.route_n; i++) {
        bool is_wanted = list_has(want, peer->route_text[i]);
        bool is_given = (routes >> i & 1) != 0;
        n += is_given;
        if (is_given != is_wanted)
            wrong(r, "%.*s %s %.*s of %.*s", STR_ARG(viewer->name), is_given ? "should not get" : "should get",
                  STR_ARG(peer->route_text[i]), STR_ARG(peer->name));
    }
    if (n != json_len(want) && buf_len(&r->why) == 0)
        wrong(r, "%.*s gets %zu routes of %.*s instead of %zu", STR_ARG(viewer->name), n, STR_ARG(peer->name),
              json_len(want));
    if (json_get_exact(r->at, "peer_caps") != NULL && has_exit(peer, routes) != (json_len(caps) > 0))
        wrong(r, "suggest-exit-node of %.*s for %.*s", STR_ARG(peer->name), STR_ARG(viewer->name));
}

static void check_approved(struct run *r, const struct golden_node *n)
{
    JSON_EACH (it, json_get_exact(n->at, "advertised")) {
        struct addr addr;
        uint8_t bits;
        parse_prefix(text_of(it), &addr, &bits);
        bool wanted = list_has(json_get_exact(n->at, "approved"), text_of(it));
        if (policy_may_approve_route(r->policy, n->facts.id, &addr, bits) != wanted)
            wrong(r, "%.*s of %.*s should %sbe approved", STR_ARG(text_of(it)), STR_ARG(n->name), wanted ? "" : "not ");
    }
}

static bool principals_equal(const struct json *a, const struct json *b)
{
    /* As sets: a tagged node may be listed once for each tag. */
    JSON_EACH (x, a) {
        bool found = false;
        JSON_EACH (y, b)
            found = found || json_equal(x, y);
        if (!found)
            return false;
    }
    return true;
}

static bool ssh_rules_equal(const struct json *a, const struct json *b)
{
    const struct json *other = json_first(b);
    if (json_len(a) != json_len(b))
        return false;
    JSON_EACH (it, a) {
        const struct json *x = json_get_exact(it, "principals"), *y = json_get_exact(other, "principals");
        if (json_len(it) != json_len(other) || !principals_equal(x, y) || !principals_equal(y, x))
            return false;
        JSON_EACH (m, it) {
            if (!str_eq(json_key_of(m), STR("principals")) && !json_equal(m, member(other, json_key_of(m))))
                return false;
        }
        other = json_next(other);
    }
    return true;
}

static void check_ssh(struct run *r, const struct golden_node *n)
{
    const struct json *want = member(json_get_exact(r->at, "ssh"), n->name);
    struct buf text = {0};
    struct arena a = {0};
    policy_ssh(r->policy, n->facts.id, "https://unused", &text);
    const struct json *ours = parse_ours(&a, &text);
    if (!ssh_rules_equal(want, ours))
        wrong(r, "ssh of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name),
              STR_ARG(want != NULL ? json_raw(want) : STR("[]")), STR_ARG(buf_str(&text)));
    arena_fini(&a);
    buf_fini(&text);
}

/* What every node of the recording tailnet has, whatever the policy. */
static void add_baseline(struct run *r, const struct golden_node *n, struct str ours, struct buf *out)
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
    const struct policy_user *owner = user_named(r, field(n->at, "user"));
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

static void check_self_caps(struct run *r, const struct golden_node *n)
{
    const struct json *want = member(json_get_exact(r->at, "self_caps"), n->name);
    struct buf text = {0}, all = {0};
    struct arena a = {0};
    if (want == NULL)
        return;
    policy_self_caps(r->policy, n->facts.id, &text);
    add_baseline(r, n, buf_str(&text), &all);
    if (!json_equal(want, parse_ours(&a, &all)))
        wrong(r, "capabilities of %.*s:\n      want %.*s\n      got  %.*s", STR_ARG(n->name), STR_ARG(json_raw(want)),
              STR_ARG(buf_str(&all)));
    arena_fini(&a);
    buf_fini(&all);
    buf_fini(&text);
}

/* Where addresses differ from what the node has: IPv4 is hidden. */
static void check_addresses(struct run *r, const struct golden_node *n)
{
    const struct json *of = member(json_get_exact(r->at, "addresses"), n->name);
    bool hidden = of != NULL && !list_has(of, field(n->at, "ip4"));
    if (json_get_exact(r->at, "addresses") != NULL && policy_hides_ipv4(r->policy, n->facts.id) != hidden)
        wrong(r, "IPv4 of %.*s should %sbe hidden", STR_ARG(n->name), hidden ? "" : "not ");
}

static void check_node(struct run *r, const struct golden_node *n)
{
    check_approved(r, n);
    if (!n->is_captured)
        return;
    check_filter(r, n);
    check_peers(r, n);
    check_ssh(r, n);
    check_self_caps(r, n);
    check_addresses(r, n);
    for (size_t i = 0; i < r->node_n; i++) {
        if (&r->node[i] != n && policy_sees(r->policy, n->facts.id, r->node[i].facts.id))
            check_routes(r, n, &r->node[i]);
    }
}

/* --- a case --- */

static struct policy_doc *read_policy(struct run *r, struct policy_errors *errors)
{
    struct str domains[USERS_MAX];
    struct policy_options opts = {.domains = domains, .has_funnel = true, .is_stored = true};
    struct policy_doc *doc = NULL;
    JSON_EACH (it, json_get_exact(r->file, "domains"))
        domains[opts.domain_n++] = text_of(it);
    if (policy_parse(field(r->at, "policy"), &opts, &doc, errors) != RC_OK)
        return NULL;
    return doc;
}

static enum rc run_policy(struct run *r, struct policy_errors *errors)
{
    struct policy_doc *doc = read_policy(r, errors);
    if (doc == NULL)
        return RC_INVALID;
    r->policy = policy_create(doc, r->user, r->user_n, NULL);
    policy_doc_unref(&doc);
    for (size_t i = 0; i < r->node_n; i++)
        policy_put_node(r->policy, &r->node[i].facts);
    return policy_run_tests(r->policy, errors);
}

static void check_rejected(struct run *r, bool is_rejected, const struct policy_errors *errors, uint64_t status)
{
    struct str want = field(r->at, "error");
    struct str got = is_rejected ? str_c(errors->v[0].text) : STR_EMPTY;
    if (!is_rejected)
        wrong(r, "should be rejected: %.*s", STR_ARG(want));
    else if (status < 500 && memmem(got.p, got.len, want.p, want.len) == NULL)
        wrong(r, "rejected as     %.*s\n      instead of %.*s", STR_ARG(got), STR_ARG(want));
}

static void run_case(struct run *r)
{
    struct policy_errors errors = {0};
    uint64_t status = 0;
    read_users(r);
    JSON_EACH (it, json_get_exact(r->at, "nodes"))
        read_node(r, it);
    json_u64(json_get_exact(r->at, "status"), &status);
    bool is_rejected = run_policy(r, &errors) != RC_OK;
    if (status != 200) {
        check_rejected(r, is_rejected, &errors, status);
    } else if (is_rejected) {
        struct buf text = {0};
        policy_errors_format(&errors, NULL, &text);
        wrong(r, "should be accepted: %.*s", STR_ARG(buf_str(&text)));
        buf_fini(&text);
    } else {
        for (size_t i = 0; i < r->node_n; i++)
            check_node(r, &r->node[i]);
    }
    policy_errors_fini(&errors);
    policy_destroy(&r->policy);
}

/* --- files --- */

static bool is_tap, is_verbose;
static unsigned case_number;

/* The reason why the case cannot pass, from the file; or null. */
static const char *impossible_reason(const struct json *list, struct str id)
{
    struct str reason;
    return json_str(member(list, id), &reason) ? "see tests/goldens/impossible.json" : NULL;
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
        report_case(r, field(it, "id"), impossible_reason(impossible, field(it, "id")));
        buf_fini(&r->why);
        mem_free(r);
    }
    printf("%s%-12.*s %4u passed, %u failed%s; %u of %u filters to the letter\n", is_tap ? "# " : "",
           STR_ARG(field(file, "family")), family.passed, family.failed, family.impossible > 0 ? ", 1 impossible" : "",
           family.exact, family.filters);
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

static bool is_there(const char *dir)
{
    DIR *d = opendir(dir);
    if (d != NULL)
        closedir(d);
    return d != NULL;
}

int main(int argc, char **argv)
{
    const char *tap = getenv("CMOCKA_MESSAGE_OUTPUT");
    struct family total = {0};
    struct arena a = {0};
    const struct json *impossible;
    int first = 1;
    is_tap = tap != NULL && strcmp(tap, "TAP") == 0;
    if (first < argc && strcmp(argv[first], "-v") == 0) {
        is_verbose = true;
        first++;
    }
    struct buf list = test_file_read(GOLDENS_SOURCE_DIR, "impossible.json");
    if (json_parse(&a, buf_str(&list), NULL, &impossible, NULL) != RC_OK)
        return 2;
    if (first == argc && !is_there(GOLDENS_DIR)) {
        printf("ok 1 - goldens # SKIP no ../shared\n");
    } else if (first == argc) {
        run_dir(GOLDENS_DIR, impossible, &total);
    } else {
        for (int i = first; i < argc; i++)
            run_dir(argv[i], impossible, &total);
    }
    if (is_tap)
        printf("1..%u\n", case_number > 0 ? case_number : 1);
    else
        printf("%u passed, %u failed, %u impossible\n", total.passed, total.failed, total.impossible);
    arena_fini(&a);
    buf_fini(&list);
    return total.failed > 0 ? 1 : 0;
}
