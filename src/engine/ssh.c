/* The SSH policy of a node. src: docs/protocol/policy.md 8.2 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "engine/sources.h"
#include "engine/tables.h"

/* For which sources the node is a destination of a rule: none, its owner's nodes, or all. */
enum dst_kind { DST_NONE, DST_OWN, DST_ALL };

static enum dst_kind dst_kind_of(const struct engine *e, const struct ssh_rule *rule, const struct engine_node *n)
{
    enum dst_kind kind = DST_NONE;
    for (size_t i = 0; i < rule->dst.n; i++) {
        bool is_self = e->doc->sel[rule->dst.v[i]].kind == SEL_SELF;
        if (!is_self && engine_node_is(n, rule->dst.v[i]))
            return DST_ALL;
        if (is_self && n->owner != NULL)
            kind = DST_OWN;
    }
    return kind;
}

struct writer {
    struct engine *e;
    const struct ssh_rule *rule;
    const struct engine_node *node; /* the node whose policy is written */
    const char *base_url;
    struct buf *out;
    bool *has_rules;
};

static struct str users_for(const struct writer *w)
{
    return w->node->has_old_ssh ? w->rule->users_old : w->rule->users;
}

static int compare_ips(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct ips {
    const char **v; /* heap */
    size_t n, cap;
};

static void sort_ips(struct ips *ips)
{
    if (ips->n > 1)
        qsort(ips->v, ips->n, sizeof(*ips->v), compare_ips);
}

/* One address of each recorder: IPv4 if it has one. */
static void add_recorder(struct ips *ips, const struct engine_node *n)
{
    if (n->v4.family != 0)
        VEC_PUSH(ips->v, ips->n, ips->cap, n->text4);
    else if (n->v6.family != 0)
        VEC_PUSH(ips->v, ips->n, ips->cap, n->text6);
}

static void put_recorders(struct writer *w)
{
    const struct engine *e = w->e;
    uint32_t list = e->rules.recorder_list[w->rule - e->doc->ssh];
    struct ips ips = {0};
    CLASS_EACH (c, e) {
        LIST_EACH (it, &c->nodes) {
            if (bit_get(c->member, list))
                add_recorder(&ips, LIST_ENTRY(it, struct engine_node, class_link));
        }
    }
    sort_ips(&ips);
    buf_append_c(w->out, ",\"recorders\":[");
    for (size_t i = 0; i < ips.n; i++)
        buf_printf(w->out, strchr(ips.v[i], ':') == NULL ? "%s\"%s:80\"" : "%s\"[%s]:80\"", i > 0 ? "," : "", ips.v[i]);
    buf_append_byte(w->out, ']');
    mem_free(ips.v);
    if (w->rule->is_recorder_enforced)
        buf_append_c(w->out,
                     ",\"onRecordingFailure\":{\"RejectSessionWithMessage\":\"session recording is not available\","
                     "\"TerminateSessionWithMessage\":\"session recording has failed\"}");
}

static void put_action(struct writer *w)
{
    if (w->rule->is_check)
        buf_printf(w->out,
                   "{\"holdAndDelegate\":\"%s/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER\"",
                   w->base_url);
    else
        buf_append_c(w->out, "{\"accept\":true,\"allowAgentForwarding\":true,\"allowLocalPortForwarding\":true,"
                             "\"allowRemotePortForwarding\":true");
    if (w->rule->recorder.n > 0)
        put_recorders(w);
    buf_append_byte(w->out, '}');
}

static void put_rule(struct writer *w, struct str principals, struct str users)
{
    if (principals.len <= 2)
        return;
    buf_append_c(w->out, *w->has_rules ? ",{\"principals\":" : "{\"principals\":");
    *w->has_rules = true;
    buf_append_str(w->out, principals);
    buf_append_c(w->out, ",\"sshUsers\":");
    buf_append_str(w->out, users);
    buf_append_c(w->out, ",\"action\":");
    put_action(w);
    if (w->rule->accept_env.len > 0) {
        buf_append_c(w->out, ",\"acceptEnv\":");
        buf_append_str(w->out, w->rule->accept_env);
    }
    buf_append_byte(w->out, '}');
}

/* --- principals --- */

static void add_ips(struct ips *ips, const struct engine_node *n)
{
    if (n->v4.family != 0)
        VEC_PUSH(ips->v, ips->n, ips->cap, n->text4);
    if (n->v6.family != 0)
        VEC_PUSH(ips->v, ips->n, ips->cap, n->text6);
}

static void take_principals(struct ips *ips, struct buf *out)
{
    sort_ips(ips);
    buf_append_byte(out, '[');
    for (size_t i = 0; i < ips->n; i++)
        buf_printf(out, "%s{\"nodeIP\":\"%s\"}", i > 0 ? "," : "", ips->v[i]);
    buf_append_byte(out, ']');
    mem_free(ips->v);
    *ips = (struct ips){0};
}

static void own_principals(const struct owner *o, uint32_t list, struct buf *out)
{
    struct ips ips = {0};
    LIST_EACH (it, &o->nodes) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, owner_link);
        if (engine_node_in_list(n, list))
            add_ips(&ips, n);
    }
    take_principals(&ips, out);
}

static void tagged_principals(const struct engine *e, uint32_t list, struct buf *out)
{
    struct ips ips = {0};
    CLASS_EACH (c, e) {
        LIST_EACH (it, &c->nodes) {
            const struct engine_node *n = LIST_ENTRY(it, struct engine_node, class_link);
            if (bit_get(c->member, list) && n->owner == NULL)
                add_ips(&ips, n);
        }
    }
    take_principals(&ips, out);
}

/* --- localpart. src: docs/protocol/policy.md 8.2 step 5 --- */

/* The part of the owner's e-mail before the last '@', if the rule names its domain. */
static bool local_name(const struct writer *w, const struct owner *o, struct str *out)
{
    const struct ssh_rule *rule = w->rule;
    const char *at = memrchr(o->email.p, '@', o->email.len);
    if (at == NULL || at == o->email.p)
        return false;
    *out = str_n(o->email.p, (size_t)(at - o->email.p));
    if (w->node->has_old_ssh && policy_login_is_misread(*out))
        return false;
    struct str domain = str_n(at + 1, o->email.len - out->len - 1);
    for (size_t i = 0; i < rule->local_domain_n; i++) {
        if (str_eq_ci(domain, rule->local_domain[i]))
            return true;
    }
    return false;
}

static void put_owner_rules(struct writer *w, const struct owner *o, uint32_t list)
{
    struct buf principals = {0}, users = {0};
    struct json_writer json;
    struct str local;
    own_principals(o, list, &principals);
    put_rule(w, buf_str(&principals), users_for(w));
    if (local_name(w, o, &local)) {
        json_w_init(&json, &users);
        json_w_object(&json);
        json_w_key_str(&json, local);
        json_w_str(&json, local);
        json_w_end_object(&json);
        put_rule(w, buf_str(&principals), buf_str(&users));
    }
    buf_fini(&principals);
    buf_fini(&users);
}

static void put_all_owners(struct writer *w, uint32_t list)
{
    struct buf tagged = {0};
    for (size_t i = 0; i < w->e->owners.n; i++)
        put_owner_rules(w, &w->e->owners.v[i], list);
    tagged_principals(w->e, list, &tagged);
    put_rule(w, buf_str(&tagged), users_for(w));
    buf_fini(&tagged);
}

/* A node that is a source but no destination gets the rules for its own owner, as Tailscale's service does it.
 * src: docs/protocol/policy.md 8.2 step 6 */
static void put_quirk(struct writer *w, const struct engine_node *n, uint32_t list)
{
    struct ips ips = {0};
    struct buf principals = {0};
    if (!engine_node_in_list(n, list))
        return;
    if (n->owner != NULL) {
        put_owner_rules(w, n->owner, list);
        return;
    }
    add_ips(&ips, n);
    take_principals(&ips, &principals);
    put_rule(w, buf_str(&principals), users_for(w));
    buf_fini(&principals);
}

/* --- a node --- */

static void put_ssh_rule(struct writer *w, const struct engine_node *n, uint32_t list)
{
    enum dst_kind kind = dst_kind_of(w->e, w->rule, n);
    struct source_list *l = &w->e->sources.list[list];
    bool has_local = w->rule->local_domain_n > 0;
    if (kind == DST_ALL && !has_local) {
        put_rule(w, sources_principals(w->e, l), users_for(w));
    } else if (kind == DST_ALL) {
        put_all_owners(w, list);
    } else if (kind == DST_OWN && !has_local) {
        struct buf principals = {0};
        own_principals(n->owner, list, &principals);
        put_rule(w, buf_str(&principals), users_for(w));
        buf_fini(&principals);
    } else if (kind == DST_OWN) {
        put_owner_rules(w, n->owner, list);
    } else if (has_local) {
        put_quirk(w, n, list);
    }
}

void engine_ssh(struct engine *e, uint64_t id, const char *base_url, struct buf *out)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    bool has_rules = false;
    buf_append_byte(out, '[');
    /* Rules with check come before those with accept. */
    for (int check = 1; n != NULL && check >= 0; check--) {
        for (size_t i = 0; i < e->doc->ssh_n; i++) {
            struct writer w = {e, &e->doc->ssh[i], n, base_url, out, &has_rules};
            if (w.rule->is_check == (check == 1) && e->sources.list[e->rules.ssh_list[i]].node_n > 0)
                put_ssh_rule(&w, n, e->rules.ssh_list[i]);
        }
    }
    buf_append_byte(out, ']');
}

int64_t engine_ssh_check_period_s(const struct engine *e, uint64_t src, uint64_t dst)
{
    const struct engine_node *a = engine_node_find(&e->nodes, src), *b = engine_node_find(&e->nodes, dst);
    for (size_t i = 0; a != NULL && b != NULL && i < e->doc->ssh_n; i++) {
        const struct ssh_rule *rule = &e->doc->ssh[i];
        enum dst_kind kind = dst_kind_of(e, rule, b);
        bool is_dst = kind == DST_ALL || (kind == DST_OWN && a->owner == b->owner);
        if (rule->is_check && is_dst && engine_node_in_list(a, e->rules.ssh_list[i]))
            return rule->check_period_s;
    }
    return -1;
}
