/* tests and sshTests of a policy. src: docs/protocol/policy.md 12 */
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "reach/reach_internal.h"

static void report(struct policy_errors *errors, const struct policy_doc *doc, size_t offset, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Adds a failure; before the first one, the heading. */
static void report(struct policy_errors *errors, const struct policy_doc *doc, size_t offset, const char *fmt, ...)
{
    if (errors->n == 0)
        errors->v[errors->n++] = (struct policy_error){.text = "test(s) failed"};
    if (errors->n == POLICY_ERRORS_MAX) {
        errors->left_out++;
        return;
    }
    struct buf text = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    struct policy_error *added = &errors->v[errors->n++];
    doc_position(doc, offset, &added->line, &added->col);
    added->text = arena_str(&errors->arena, buf_str(&text)).p;
    buf_fini(&text);
}

/* --- tests. src: docs/protocol/policy.md 12.1 --- */

struct acl_case {
    struct engine *e;
    const struct acl_test *test;
    struct policy_errors *errors;
    struct probes src;
    int proto;
};

static bool is_allowed(const struct acl_case *c, const struct probe *src, const struct probes *dst, int port)
{
    const struct policy_doc *doc = c->e->doc;
    struct attr_view attrs = {.more = c->test->attr, .more_n = c->test->attr_n};
    if (src->node != NULL) {
        attrs.own = src->node->attr;
        attrs.own_n = src->node->attr_n;
    }
    for (size_t d = 0; d < dst->n; d++) {
        for (size_t i = 0; i < doc->rule_n; i++) {
            const struct rule *rule = &doc->rule[i];
            if (rule->via.n > 0 || rule->ip_n == 0)
                continue;
            struct rule_match match = reach_match_rule(c->e, rule, src, &dst->v[d], c->proto, port, &attrs);
            if (match.source && match.destination && match.port)
                return true;
        }
    }
    return false;
}

/* Splits "HOST:PORT". False: it does not have exactly one port. */
static bool split_target(struct str text, struct str *host, int *port)
{
    const char *colon = memrchr(text.p, ':', text.len);
    uint64_t v;
    if (colon == NULL)
        return false;
    *host = str_n(text.p, (size_t)(colon - text.p));
    if (str_to_u64(str_n(colon + 1, text.len - host->len - 1), &v) != RC_OK || v > 65535)
        return false;
    *port = (int)v;
    if (str_starts(*host, STR("[")) && str_ends(*host, STR("]")))
        *host = str_n(host->p + 1, host->len - 2);
    return host->len > 0;
}

static bool is_self(struct str host)
{
    return str_eq(host, STR("autogroup:self"));
}

/* autogroup:self means other nodes for each user, so it is looked up for each source. */
static bool reaches_own(const struct acl_case *c, const struct probe *src, struct str host, int port, bool *is_known)
{
    struct probes dst = {0};
    *is_known = src->node != NULL && src->node->owner != NULL && reach_probes_find(c->e, host, src->node->owner, &dst);
    bool is = *is_known && is_allowed(c, src, &dst, port);
    reach_probes_fini(&dst);
    return is;
}

/* Counts the sources that reach an address of the destination. False: the destination is not one name or address. */
static bool count_allowed(const struct acl_case *c, struct str host, int port, size_t *allowed_out)
{
    struct probes dst = {0};
    bool is_known = is_self(host) || reach_probes_find(c->e, host, NULL, &dst);
    *allowed_out = 0;
    reach_probes_reduce(c->e, &dst, NULL, 0);
    for (size_t i = 0; is_known && i < c->src.n; i++)
        *allowed_out += is_self(host) ? reaches_own(c, &c->src.v[i], host, port, &is_known)
                                      : is_allowed(c, &c->src.v[i], &dst, port);
    reach_probes_fini(&dst);
    return is_known;
}

/* Checks one target: it is allowed when each source reaches an address of it. */
static void run_target(const struct acl_case *c, const struct item *target, bool want_allowed)
{
    struct str host = STR_EMPTY;
    int port = 0;
    size_t allowed = 0;
    if (str_starts(target->text, STR("svc:")))
        return; /* there was a warning when it was read */
    if (!split_target(target->text, &host, &port) || (port == 0 && policy_proto_has_ports((uint8_t)c->proto))) {
        report(c->errors, c->e->doc, target->offset, "%.*s: %.*s is not one address or name with one port (HOST:PORT)",
               STR_ARG(c->test->src), STR_ARG(target->text));
        return;
    }
    if (!count_allowed(c, host, port, &allowed)) {
        report(c->errors, c->e->doc, target->offset, "%.*s -> %.*s cannot be tested: %.*s: %s", STR_ARG(c->test->src),
               STR_ARG(target->text), STR_ARG(host), reach_probes_none_reason(c->e, host));
        return;
    }
    bool is_all = allowed == c->src.n;
    if (is_all != want_allowed)
        report(c->errors, c->e->doc, target->offset, "%.*s -> %.*s: expected %s, got %s", STR_ARG(c->test->src),
               STR_ARG(target->text), want_allowed ? "ALLOWED" : "DENIED", is_all ? "ALLOWED" : "DENIED");
}

static void run_acl_test(struct engine *e, const struct acl_test *test, struct policy_errors *errors)
{
    struct acl_case c = {.e = e, .test = test, .errors = errors};
    uint8_t proto = 0;
    if (test->accept.n == 0 && test->deny.n == 0)
        report(errors, e->doc, test->offset, "a test must have \"accept\" or \"deny\"");
    else if (!policy_proto_parse(test->proto, &proto))
        report(errors, e->doc, test->offset, "unknown protocol %.*s", STR_ARG(test->proto));
    else if (test->src.len == 0 || !reach_probes_find(e, test->src, NULL, &c.src) || c.src.n == 0)
        report(errors, e->doc, test->offset, "src %.*s cannot be tested: %s", STR_ARG(test->src),
               reach_probes_none_reason(e, test->src));
    c.proto = proto;
    reach_probes_reduce(e, &c.src, test->attr, test->attr_n);
    for (size_t i = 0; c.src.n > 0 && i < test->accept.n; i++)
        run_target(&c, &test->accept.v[i], true);
    for (size_t i = 0; c.src.n > 0 && i < test->deny.n; i++)
        run_target(&c, &test->deny.v[i], false);
    reach_probes_fini(&c.src);
}

/* --- sshTests. src: docs/protocol/policy.md 12.2 --- */

/* Whether the rule admits the login name, as the client reads its maps (src: docs/protocol/policy.md 8.3): the base
 * map, or that of the source's own e-mail. */
static bool maps_login(const struct ssh_rule *rule, const struct engine_node *src, const struct engine_node *dst,
                       struct str login)
{
    bool is_slippery = policy_login_is_misread(login);
    for (size_t i = 0; i < rule->login_n; i++) {
        if (str_eq(rule->login[i], login))
            return true;
    }
    if (rule->has_nonroot && !is_slippery && !str_eq(login, STR("root")))
        return true;
    if (is_slippery && dst->has_old_ssh)
        return false;
    const char *at = src->owner != NULL ? memrchr(src->owner->email.p, '@', src->owner->email.len) : NULL;
    for (size_t i = 0; at != NULL && i < rule->local_domain_n; i++) {
        struct str local = str_n(src->owner->email.p, (size_t)(at - src->owner->email.p));
        struct str domain = str_n(at + 1, src->owner->email.len - local.len - 1);
        if (str_eq(local, login) && str_eq_ci(domain, rule->local_domain[i]))
            return true;
    }
    return false;
}

/* Which kinds of rules admit the login. */
struct ssh_answer {
    bool is_accepted;
    bool is_checked;
};

static struct ssh_answer ssh_ask(const struct engine *e, const struct ssh_test *t, const struct engine_node *src,
                                 const struct engine_node *dst, struct str login)
{
    struct ssh_answer answer = {0};
    struct attr_view attrs = {t->attr, t->attr_n, src->attr, src->attr_n};
    for (size_t i = 0; i < e->doc->ssh_n; i++) {
        const struct ssh_rule *rule = &e->doc->ssh[i];
        bool is_source = engine_node_in_list(src, e->rules.ssh_list[i]), is_dst = false;
        if (t->attr_n > 0 && rule->posture != 0) {
            is_source = policy_posture_holds(e->doc, rule->posture, &attrs);
            bool is_named = false;
            for (size_t k = 0; k < rule->src.n; k++)
                is_named = is_named || engine_node_is(src, rule->src.v[k]);
            is_source = is_source && is_named;
        }
        for (size_t k = 0; k < rule->dst.n; k++) {
            bool is_self = e->doc->sel[rule->dst.v[k]].kind == SEL_SELF;
            is_dst = is_dst ||
                     (is_self ? dst->owner != NULL && dst->owner == src->owner : engine_node_is(dst, rule->dst.v[k]));
        }
        if (!is_source || !is_dst || !maps_login(rule, src, dst, login))
            continue;
        answer.is_accepted = answer.is_accepted || !rule->is_check;
        answer.is_checked = answer.is_checked || rule->is_check;
    }
    return answer;
}

struct ssh_case {
    const struct engine *e;
    const struct ssh_test *test;
    struct policy_errors *errors;
    struct probes src;
    const struct item *dst_item; /* one of the test's destinations */
    struct probes dst;           /* its nodes */
};

enum ssh_want { WANT_ACCEPT, WANT_CHECK, WANT_DENY };

/* Checks one login name: the answer must be right for each source and each node of the destination. */
static void run_ssh_login(const struct ssh_case *c, const struct item *login, enum ssh_want want)
{
    static const char *const words[] = {"ACCEPT", "CHECK", "DENY"};
    if (login->text.len == 0) {
        report(c->errors, c->e->doc, login->offset, "a login name cannot be empty");
        return;
    }
    for (size_t i = 0; i < c->src.n; i++) {
        for (size_t k = 0; k < c->dst.n; k++) {
            const struct engine_node *src = c->src.v[i].node, *dst = c->dst.v[k].node;
            if (src == NULL || dst == NULL || (is_self(c->dst_item->text) && src->owner != dst->owner))
                continue;
            struct ssh_answer a = ssh_ask(c->e, c->test, src, dst, login->text);
            bool is_right = want == WANT_CHECK    ? a.is_checked
                            : want == WANT_ACCEPT ? a.is_accepted || a.is_checked
                                                  : !a.is_accepted && !a.is_checked;
            if (is_right)
                continue;
            report(c->errors, c->e->doc, login->offset, "%.*s -> %.*s as %.*s: expected %s, got %s",
                   STR_ARG(c->test->src), STR_ARG(c->dst_item->text), STR_ARG(login->text), words[want],
                   a.is_checked    ? "CHECK"
                   : a.is_accepted ? "ACCEPT"
                                   : "DENY");
            return;
        }
    }
}

static void run_ssh_logins(const struct ssh_case *c)
{
    const struct items *lists[] = {&c->test->accept, &c->test->check, &c->test->deny};
    for (int want = 0; want < 3; want++) {
        for (size_t i = 0; i < lists[want]->n; i++)
            run_ssh_login(c, &lists[want]->v[i], (enum ssh_want)want);
    }
}

static bool has_nodes(const struct probes *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].node != NULL)
            return true;
    }
    return false;
}

/* The text may name an address that no node has. */
static const char *no_node_reason(const struct engine *e, struct str text)
{
    struct selector s;
    bool is_address = doc_classify(e->doc, text, &s) == SEL_FINE && s.kind == SEL_ADDRS;
    return is_address ? "no node has this address" : reach_probes_none_reason(e, text);
}

/* Adds the nodes of the source's owner. */
static void add_own(const struct engine *e, const struct probe *src, struct probes *dst)
{
    if (src->node != NULL && src->node->owner != NULL)
        (void)reach_probes_find(e, STR("autogroup:self"), src->node->owner, dst);
}

static void run_ssh_test(struct engine *e, const struct ssh_test *t, struct policy_errors *errors)
{
    struct ssh_case c = {.e = e, .test = t, .errors = errors};
    if (t->accept.n + t->check.n + t->deny.n == 0)
        report(errors, e->doc, t->offset, "an ssh test must have \"accept\", \"check\" or \"deny\"");
    else if (t->src.len == 0 || !reach_probes_find(e, t->src, NULL, &c.src) || !has_nodes(&c.src))
        report(errors, e->doc, t->offset, "src %.*s cannot be tested: %s", STR_ARG(t->src), no_node_reason(e, t->src));
    else if (t->dst.n == 0)
        report(errors, e->doc, t->offset, "an ssh test must have \"dst\"");
    reach_probes_reduce(e, &c.src, t->attr, t->attr_n);
    for (size_t i = 0; has_nodes(&c.src) && i < t->dst.n; i++) {
        struct str name = t->dst.v[i].text;
        c.dst_item = &t->dst.v[i];
        c.dst = (struct probes){0};
        for (size_t k = 0; is_self(name) && k < c.src.n; k++)
            add_own(e, &c.src.v[k], &c.dst);
        if ((!is_self(name) && !reach_probes_find(e, name, NULL, &c.dst)) || !has_nodes(&c.dst))
            report(errors, e->doc, c.dst_item->offset, "dst %.*s cannot be tested: %s", STR_ARG(name),
                   no_node_reason(e, name));
        reach_probes_reduce(e, &c.dst, NULL, 0);
        if (has_nodes(&c.dst))
            run_ssh_logins(&c);
        reach_probes_fini(&c.dst);
    }
    reach_probes_fini(&c.src);
}

enum rc reach_run_tests(struct engine *e, struct policy_errors *errors)
{
    for (size_t i = 0; i < e->doc->test_n; i++)
        run_acl_test(e, &e->doc->test[i], errors);
    for (size_t i = 0; i < e->doc->ssh_test_n; i++)
        run_ssh_test(e, &e->doc->ssh_test[i], errors);
    if (errors->left_out > 0)
        errors->v[errors->n++].text = arena_printf(&errors->arena, "and %zu more", errors->left_out);
    return errors->n == 0 ? RC_OK : RC_INVALID;
}
