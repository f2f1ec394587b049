/* tests and sshTests, and why something is allowed. src: docs/protocol/policy.md 12 */
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "reach/reach_internal.h"

static void tell(struct policy_errors *e, const struct policy_doc *doc, size_t offset, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* One failure; the first makes the heading. */
static void tell(struct policy_errors *e, const struct policy_doc *doc, size_t offset, const char *fmt, ...)
{
    if (e->n == 0)
        e->v[e->n++] = (struct policy_error){.text = "test(s) failed"};
    if (e->n == POLICY_ERRORS_MAX) {
        e->left_out++;
        return;
    }
    struct buf text = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    struct policy_error *added = &e->v[e->n++];
    doc_position(doc, offset, &added->line, &added->col);
    added->text = arena_str(&e->arena, buf_str(&text)).p;
    buf_fini(&text);
}

/* --- tests. src: docs/protocol/policy.md 12.1 --- */

struct acl_case {
    struct engine *p;
    const struct acl_test *test;
    struct policy_errors *errors;
    struct spots src;
    int proto;
};

static bool is_allowed(const struct acl_case *c, const struct spot *src, const struct spots *dst, int port)
{
    const struct policy_doc *doc = c->p->doc;
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
            struct fit fit = rule_fits(c->p, rule, src, &dst->v[d], c->proto, port, &attrs);
            if (fit.source && fit.destination && fit.port)
                return true;
        }
    }
    return false;
}

/* "HOST:PORT" with one port. */
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

/* autogroup:self is another set of nodes for each user: looked up for the source alone. */
static bool reaches_own(const struct acl_case *c, const struct spot *src, struct str host, int port, bool *is_known)
{
    struct spots dst = {0};
    *is_known = src->node != NULL && src->node->owner != NULL && spots_find(c->p, host, src->node->owner, &dst);
    bool is = *is_known && is_allowed(c, src, &dst, port);
    spots_fini(&dst);
    return is;
}

/* How many of the sources reach one address of the destination; false: it is not one name or address. */
static bool count_allowed(const struct acl_case *c, struct str host, int port, size_t *allowed_out)
{
    struct spots dst = {0};
    bool is_known = is_self(host) || spots_find(c->p, host, NULL, &dst);
    *allowed_out = 0;
    spots_reduce(c->p, &dst, NULL, 0);
    for (size_t i = 0; is_known && i < c->src.n; i++)
        *allowed_out += is_self(host) ? reaches_own(c, &c->src.v[i], host, port, &is_known)
                                      : is_allowed(c, &c->src.v[i], &dst, port);
    spots_fini(&dst);
    return is_known;
}

/* Each source address must reach one address of the destination. */
static void run_target(const struct acl_case *c, const struct item *target, bool want_allowed)
{
    struct str host = STR_EMPTY;
    int port = 0;
    size_t allowed = 0;
    if (str_starts(target->text, STR("svc:")))
        return; /* warned of when it was read */
    if (!split_target(target->text, &host, &port) || (port == 0 && policy_proto_has_ports((uint8_t)c->proto))) {
        tell(c->errors, c->p->doc, target->offset, "%.*s: %.*s is not one address or name with one port (HOST:PORT)",
             STR_ARG(c->test->src), STR_ARG(target->text));
        return;
    }
    if (!count_allowed(c, host, port, &allowed)) {
        tell(c->errors, c->p->doc, target->offset, "%.*s -> %.*s cannot be tested: %.*s: %s", STR_ARG(c->test->src),
             STR_ARG(target->text), STR_ARG(host), spots_none_reason(c->p, host));
        return;
    }
    bool is_all = allowed == c->src.n;
    if (is_all != want_allowed)
        tell(c->errors, c->p->doc, target->offset, "%.*s -> %.*s: expected %s, got %s", STR_ARG(c->test->src),
             STR_ARG(target->text), want_allowed ? "ALLOWED" : "DENIED", is_all ? "ALLOWED" : "DENIED");
}

static void run_acl_test(struct engine *p, const struct acl_test *test, struct policy_errors *errors)
{
    struct acl_case c = {.p = p, .test = test, .errors = errors};
    uint8_t proto = 0;
    if (test->accept.n == 0 && test->deny.n == 0)
        tell(errors, p->doc, test->offset, "a test must have \"accept\" or \"deny\"");
    else if (!policy_proto_parse(test->proto, &proto))
        tell(errors, p->doc, test->offset, "unknown protocol %.*s", STR_ARG(test->proto));
    else if (test->src.len == 0 || !spots_find(p, test->src, NULL, &c.src) || c.src.n == 0)
        tell(errors, p->doc, test->offset, "src %.*s cannot be tested: %s", STR_ARG(test->src),
             spots_none_reason(p, test->src));
    c.proto = proto;
    spots_reduce(p, &c.src, test->attr, test->attr_n);
    for (size_t i = 0; c.src.n > 0 && i < test->accept.n; i++)
        run_target(&c, &test->accept.v[i], true);
    for (size_t i = 0; c.src.n > 0 && i < test->deny.n; i++)
        run_target(&c, &test->deny.v[i], false);
    spots_fini(&c.src);
}

/* --- sshTests. src: docs/protocol/policy.md 12.2 --- */

/* Whether one of the rule's maps gives the login a name, as the client reads them (src: docs/protocol/policy.md
 * 8.3): the base map, or that of the source's own e-mail. */
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

/* As the test has it: which kind of rule lets the login in. */
struct ssh_answer {
    bool is_accepted;
    bool is_checked;
};

static struct ssh_answer ssh_ask(const struct engine *p, const struct ssh_test *t, const struct engine_node *src,
                                 const struct engine_node *dst, struct str login)
{
    struct ssh_answer answer = {0};
    struct attr_view attrs = {t->attr, t->attr_n, src->attr, src->attr_n};
    for (size_t i = 0; i < p->doc->ssh_n; i++) {
        const struct ssh_rule *rule = &p->doc->ssh[i];
        bool is_source = engine_node_in_list(src, p->ssh_list[i]), is_dst = false;
        if (t->attr_n > 0 && rule->posture != 0) {
            is_source = policy_posture_holds(p->doc, rule->posture, &attrs);
            bool is_named = false;
            for (size_t k = 0; k < rule->src.n; k++)
                is_named = is_named || engine_node_is(src, rule->src.v[k]);
            is_source = is_source && is_named;
        }
        for (size_t k = 0; k < rule->dst.n; k++) {
            bool is_self = p->doc->sel[rule->dst.v[k]].kind == SEL_SELF;
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

enum ssh_want { WANT_ACCEPT, WANT_CHECK, WANT_DENY };

static void run_ssh_login(const struct engine *p, const struct ssh_test *t, const struct spots *src,
                          const struct spots *dst, const struct item *dst_item, const struct item *login,
                          enum ssh_want want, struct policy_errors *errors)
{
    static const char *const words[] = {"ACCEPT", "CHECK", "DENY"};
    if (login->text.len == 0) {
        tell(errors, p->doc, login->offset, "a login name cannot be empty");
        return;
    }
    for (size_t i = 0; i < src->n; i++) {
        for (size_t k = 0; k < dst->n; k++) {
            if (src->v[i].node == NULL || dst->v[k].node == NULL ||
                (is_self(dst_item->text) && src->v[i].node->owner != dst->v[k].node->owner))
                continue;
            struct ssh_answer a = ssh_ask(p, t, src->v[i].node, dst->v[k].node, login->text);
            bool is_right = want == WANT_CHECK    ? a.is_checked
                            : want == WANT_ACCEPT ? a.is_accepted || a.is_checked
                                                  : !a.is_accepted && !a.is_checked;
            if (is_right)
                continue;
            tell(errors, p->doc, login->offset, "%.*s -> %.*s as %.*s: expected %s, got %s", STR_ARG(t->src),
                 STR_ARG(dst_item->text), STR_ARG(login->text), words[want],
                 a.is_checked    ? "CHECK"
                 : a.is_accepted ? "ACCEPT"
                                 : "DENY");
            return;
        }
    }
}

static void run_ssh_logins(const struct engine *p, const struct ssh_test *t, const struct spots *src,
                           const struct spots *dst, const struct item *dst_item, struct policy_errors *errors)
{
    const struct items *lists[] = {&t->accept, &t->check, &t->deny};
    for (int want = 0; want < 3; want++) {
        for (size_t i = 0; i < lists[want]->n; i++)
            run_ssh_login(p, t, src, dst, dst_item, &lists[want]->v[i], (enum ssh_want)want, errors);
    }
}

static bool has_nodes(const struct spots *s)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].node != NULL)
            return true;
    }
    return false;
}

/* An address may be known and no node's. */
static const char *no_node_reason(const struct engine *p, struct str text)
{
    struct selector s;
    bool is_address = doc_classify(p->doc, text, &s) == SEL_FINE && s.kind == SEL_ADDRS;
    return is_address ? "no node has this address" : spots_none_reason(p, text);
}

/* The source's own nodes. */
static void add_own(const struct engine *p, const struct spot *src, struct spots *dst)
{
    if (src->node != NULL && src->node->owner != NULL)
        (void)spots_find(p, STR("autogroup:self"), src->node->owner, dst);
}

static void run_ssh_test(struct engine *p, const struct ssh_test *t, struct policy_errors *errors)
{
    struct spots src = {0};
    if (t->accept.n + t->check.n + t->deny.n == 0)
        tell(errors, p->doc, t->offset, "an ssh test must have \"accept\", \"check\" or \"deny\"");
    else if (t->src.len == 0 || !spots_find(p, t->src, NULL, &src) || !has_nodes(&src))
        tell(errors, p->doc, t->offset, "src %.*s cannot be tested: %s", STR_ARG(t->src), no_node_reason(p, t->src));
    else if (t->dst.n == 0)
        tell(errors, p->doc, t->offset, "an ssh test must have \"dst\"");
    spots_reduce(p, &src, t->attr, t->attr_n);
    for (size_t i = 0; has_nodes(&src) && i < t->dst.n; i++) {
        struct spots dst = {0};
        for (size_t k = 0; is_self(t->dst.v[i].text) && k < src.n; k++)
            add_own(p, &src.v[k], &dst);
        if ((!is_self(t->dst.v[i].text) && !spots_find(p, t->dst.v[i].text, NULL, &dst)) || !has_nodes(&dst))
            tell(errors, p->doc, t->dst.v[i].offset, "dst %.*s cannot be tested: %s", STR_ARG(t->dst.v[i].text),
                 no_node_reason(p, t->dst.v[i].text));
        spots_reduce(p, &dst, NULL, 0);
        if (has_nodes(&dst))
            run_ssh_logins(p, t, &src, &dst, &t->dst.v[i], errors);
        spots_fini(&dst);
    }
    spots_fini(&src);
}

enum rc reach_run_tests(struct engine *p, struct policy_errors *errors)
{
    for (size_t i = 0; i < p->doc->test_n; i++)
        run_acl_test(p, &p->doc->test[i], errors);
    for (size_t i = 0; i < p->doc->ssh_test_n; i++)
        run_ssh_test(p, &p->doc->ssh_test[i], errors);
    if (errors->left_out > 0)
        errors->v[errors->n++].text = arena_printf(&errors->arena, "and %zu more", errors->left_out);
    return errors->n == 0 ? RC_OK : RC_INVALID;
}

/* --- why --- */

static size_t fit_score(const struct reach_reason *r)
{
    return (r->is_allowed ? 8u : 0u) + 4u * r->has_source + 2u * r->has_destination + r->has_port;
}

/* What the rule says of all pairs of the addresses together: the best of them. No packet has addresses of two
 * families. */
static struct reach_reason judge(const struct engine *p, const struct rule *rule, const struct spots *src,
                                 const struct spots *dst, int proto, int port)
{
    struct reach_reason best = {.line = p->doc->has_rules ? doc_line(p->doc, rule->offset) : 0,
                                .section = !p->doc->has_rules ? ""
                                           : rule->is_acl     ? "acls"
                                                              : "grants",
                                .index = rule->index};
    for (size_t i = 0; i < src->n; i++) {
        for (size_t k = 0; k < dst->n; k++) {
            if (src->v[i].at.family != dst->v[k].at.family)
                continue;
            struct fit fit = rule_fits(p, rule, &src->v[i], &dst->v[k], proto, port, NULL);
            struct reach_reason now = best;
            now.has_source = fit.source;
            now.has_destination = fit.destination;
            now.has_port = fit.port;
            now.is_allowed = fit.source && fit.destination && fit.port;
            if (fit_score(&now) > fit_score(&best))
                best = now;
        }
    }
    return best;
}

/* An address that nobody serves is in no filter: then the rules speak. */
static bool is_let_through(struct engine *p, const struct spots *src, const struct spots *dst, int proto, int port,
                           bool by_rules)
{
    for (size_t i = 0; i < dst->n; i++) {
        enum sent sent = sent_allows(p, src, &dst->v[i], proto, port);
        if (sent == SENT_ALLOWED || (sent == SENT_NOTHING && by_rules))
            return true;
    }
    return false;
}

static void explain(struct engine *p, struct spots *src, struct spots *dst, int proto, int port,
                    struct reach_reason *out, size_t cap, size_t *n_out)
{
    struct reach_reason closest = {0};
    spots_reduce(p, src, NULL, 0);
    spots_reduce(p, dst, NULL, 0);
    for (size_t i = 0; i < p->doc->rule_n; i++) {
        struct reach_reason r = judge(p, &p->doc->rule[i], src, dst, proto, port);
        if (r.is_allowed && *n_out < cap)
            out[(*n_out)++] = r;
        if (i == 0 || fit_score(&r) > fit_score(&closest))
            closest = r;
    }
    bool is_allowed = is_let_through(p, src, dst, proto, port, *n_out > 0);
    if (is_allowed && *n_out > 0)
        return;
    /* The rules only explain: what is sent decides. */
    closest.is_allowed = is_allowed;
    *n_out = cap > 0 && p->doc->rule_n > 0;
    if (*n_out > 0)
        out[0] = closest;
}

enum rc reach_why(struct engine *p, struct str src, struct str dst, int proto, int port, struct reach_reason *out,
                  size_t cap, size_t *n_out)
{
    struct spots from = {0}, to = {0};
    enum rc rc = RC_NOT_FOUND;
    *n_out = 0;
    if (spots_find(p, src, NULL, &from) &&
        spots_find(p, dst, from.v[0].node != NULL ? from.v[0].node->owner : NULL, &to)) {
        rc = RC_OK;
        explain(p, &from, &to, proto, port, out, cap, n_out);
    }
    spots_fini(&from);
    spots_fini(&to);
    return rc;
}
