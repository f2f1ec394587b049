/* Capabilities and attributes of nodes, what is approved without a person, who may apply which tag; warnings.
 * src: docs/protocol/policy.md 9, 10, 11 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "engine/parts.h"

/* --- nodeAttrs --- */

static bool is_target(const struct class *c, const struct node_attr *a)
{
    for (size_t i = 0; i < a->target.n; i++) {
        if (bit_get(c->in, a->target.v[i]))
            return true;
    }
    return false;
}

/* Capabilities in the making: names once each, with the values of several entries one after the other. */
struct caps {
    struct json_writer w;
    struct map seen;
    const struct engine *p;
    const struct class *c;
};

static void put_cap(struct caps *caps, struct str name)
{
    if (map_put(&caps->seen, name.p, name.len, caps) != NULL)
        return;
    json_w_key_str(&caps->w, name);
    json_w_null(&caps->w);
}

static void put_app(struct caps *caps, struct str name)
{
    const struct policy_doc *doc = caps->p->doc;
    if (map_put(&caps->seen, name.p, name.len, caps) != NULL)
        return;
    json_w_key_str(&caps->w, name);
    json_w_array(&caps->w);
    for (size_t i = 0; i < doc->node_attr_n; i++) {
        const struct node_attr *a = &doc->node_attr[i];
        for (size_t k = 0; is_target(caps->c, a) && k < a->app_n; k++) {
            if (!str_eq(a->app[k].name, name))
                continue;
            JSON_EACH (value, a->app[k].values)
                json_w_tree(&caps->w, value);
        }
    }
    json_w_end_array(&caps->w);
}

/* src: docs/protocol/policy.md 9 */
static void put_funnel(struct caps *caps)
{
    put_cap(caps, STR("https://tailscale.com/cap/funnel-ports?ports=443,8443,10000"));
    if (!caps->p->doc->is_https_on)
        put_cap(caps, STR("https://tailscale.com/cap/warn-funnel-no-https"));
}

static void make_caps(const struct engine *p, struct class *c)
{
    struct caps caps = {.p = p, .c = c};
    map_init(&caps.seen, NULL);
    json_w_init(&caps.w, &c->caps);
    json_w_object(&caps.w);
    /* Values first: a name that is in `attr` as well keeps them. */
    for (int with_app = 1; with_app >= 0; with_app--) {
        for (size_t i = 0; i < p->doc->node_attr_n; i++) {
            const struct node_attr *a = &p->doc->node_attr[i];
            if (!is_target(c, a))
                continue;
            for (size_t k = 0; with_app == 1 && k < a->app_n; k++)
                put_app(&caps, a->app[k].name);
            for (size_t k = 0; with_app == 0 && k < a->attr_n; k++) {
                put_cap(&caps, a->attr[k]);
                if (str_eq(a->attr[k], STR("funnel")))
                    put_funnel(&caps);
            }
        }
    }
    if (p->doc->network.is_client_port_random)
        put_cap(&caps, STR("randomize-client-port"));
    json_w_end_object(&caps.w);
    map_fini(&caps.seen);
}

void engine_self_caps(struct engine *p, uint64_t id, struct buf *out)
{
    struct engine_node *n = engine_node_find(p, id);
    if (n == NULL) {
        buf_append_c(out, "{}");
        return;
    }
    if (buf_len(&n->class->caps) == 0)
        make_caps(p, n->class);
    struct str caps = buf_str(&n->class->caps);
    if (!n->is_mac || p->doc->network.one_cgnat_route.len == 0) {
        buf_append_str(out, caps);
        return;
    }
    /* src: docs/protocol/policy.md 13 */
    buf_append(out, caps.p, caps.len - 1);
    buf_printf(out, "%s\"one-cgnat?v=%s\":null}", caps.len > 2 ? "," : "",
               str_eq(p->doc->network.one_cgnat_route, STR("mac-always")) ? "true" : "false");
}

bool engine_has_attr(const struct engine *p, uint64_t id, struct str attr)
{
    const struct engine_node *n = engine_node_find(p, id);
    for (size_t i = 0; n != NULL && i < p->doc->node_attr_n; i++) {
        const struct node_attr *a = &p->doc->node_attr[i];
        for (size_t k = 0; k < a->attr_n; k++) {
            if (str_eq(a->attr[k], attr) && is_target(n->class, a))
                return true;
        }
    }
    return false;
}

struct str engine_nextdns(const struct engine *p, uint64_t id, bool *hides_device_out)
{
    const struct str prefix = STR("nextdns:");
    const struct engine_node *n = engine_node_find(p, id);
    struct str profile = STR_EMPTY;
    *hides_device_out = false;
    for (size_t i = 0; n != NULL && i < p->doc->node_attr_n; i++) {
        const struct node_attr *a = &p->doc->node_attr[i];
        for (size_t k = 0; k < a->attr_n; k++) {
            if (!str_starts(a->attr[k], prefix) || !is_target(n->class, a))
                continue;
            struct str what = str_n(a->attr[k].p + prefix.len, a->attr[k].len - prefix.len);
            if (str_eq(what, STR("no-device-info")))
                *hides_device_out = true;
            else if (profile.len == 0)
                profile = what;
        }
    }
    return profile;
}

bool engine_hides_ipv4(const struct engine *p, uint64_t id)
{
    return p->doc->network.is_ipv4_disabled || engine_has_attr(p, id, STR("disable-ipv4"));
}

bool engine_ip_pool(const struct engine *p, uint64_t id, size_t index, struct addr *addr_out, uint8_t *bits_out)
{
    const struct engine_node *n = engine_node_find(p, id);
    for (size_t i = 0; n != NULL && i < p->doc->node_attr_n; i++) {
        const struct node_attr *a = &p->doc->node_attr[i];
        if (!is_target(n->class, a))
            continue;
        if (index >= a->pool_n) {
            index -= a->pool_n;
            continue;
        }
        unsigned bits;
        const struct range *r = &a->pool[index];
        if (!range_prefix_bits(r, &bits))
            return false;
        *addr_out = (struct addr){.family = 4};
        for (int k = 0; k < 4; k++)
            addr_out->ip[k] = (uint8_t)(r->lo >> (24 - 8 * k));
        *bits_out = (uint8_t)bits;
        return true;
    }
    return false;
}

/* --- approvers. src: docs/protocol/policy.md 10 --- */

static bool is_approver(const struct engine_node *n, const struct sel_list *by)
{
    for (size_t i = 0; i < by->n; i++) {
        if (engine_node_is(n, by->v[i]))
            return true;
    }
    return false;
}

bool engine_may_approve_route(const struct engine *p, uint64_t id, const struct addr *addr, uint8_t bits)
{
    const struct engine_node *n = engine_node_find(p, id);
    if (n == NULL)
        return false;
    if (bits == 0)
        return is_approver(n, &p->doc->exit_approver);
    struct range route = range_of_prefix(addr, bits);
    for (size_t i = 0; i < p->doc->route_approver_n; i++) {
        const struct approver *a = &p->doc->route_approver[i];
        if (range_holds(&a->route, &route) && is_approver(n, &a->by))
            return true;
    }
    return false;
}

bool engine_may_approve_service(const struct engine *p, uint64_t id, struct str service)
{
    const struct engine_node *n = engine_node_find(p, id);
    for (size_t i = 0; n != NULL && i < p->doc->service_approver_n; i++) {
        const struct approver *a = &p->doc->service_approver[i];
        if (str_eq(a->name, service) && is_approver(n, &a->by))
            return true;
    }
    return false;
}

/* --- tags. src: docs/protocol/policy.md 11 --- */

/* Marks the tags that own `t`, directly or through others; `t` itself too. A cycle adds nothing. */
static void mark_owning(const struct policy_doc *doc, const struct tag *t, uint64_t *marks)
{
    const struct tag **todo = mem_zalloc(doc->tag_n + 1, sizeof(*todo));
    size_t n = 0;
    todo[n++] = t;
    bit_put(marks, (size_t)(t - doc->tag));
    while (n > 0) {
        t = todo[--n];
        for (size_t i = 0; i < t->owner.n; i++) {
            const struct selector *s = &doc->sel[t->owner.v[i]];
            const struct tag *owner = s->kind == SEL_TAG ? map_get(&doc->tag_by_name, s->text.p, s->text.len) : NULL;
            if (owner == NULL || bit_get(marks, (size_t)(owner - doc->tag)))
                continue;
            bit_put(marks, (size_t)(owner - doc->tag));
            todo[n++] = owner;
        }
    }
    mem_free(todo);
}

static bool owns_directly(const struct engine *p, const struct owner *o, const struct tag *t)
{
    for (size_t i = 0; i < t->owner.n; i++) {
        if (p->doc->sel[t->owner.v[i]].kind != SEL_TAG && bit_get(o->in, t->owner.v[i]))
            return true;
    }
    return false;
}

bool engine_user_may_tag(const struct engine *p, uint64_t user, struct str tag)
{
    const struct tag *t = map_get(&p->doc->tag_by_name, tag.p, tag.len);
    const struct owner *o = map_get(&p->owner_by_id, &user, sizeof(user));
    if (t == NULL || o == NULL)
        return false;
    if (o->role == POLICY_OWNER || o->role == POLICY_ADMIN || o->role == POLICY_NETWORK_ADMIN)
        return true;
    uint64_t *marks = mem_zalloc(bits_words(p->doc->tag_n), sizeof(*marks));
    bool may = false;
    mark_owning(p->doc, t, marks);
    BITS_EACH (i, marks, bits_words(p->doc->tag_n))
        may = may || owns_directly(p, o, &p->doc->tag[i]);
    mem_free(marks);
    return may;
}

bool engine_tags_may_tag(const struct engine *p, const struct str *tags, size_t tag_n, struct str tag)
{
    const struct tag *t = map_get(&p->doc->tag_by_name, tag.p, tag.len);
    if (t == NULL)
        return false;
    uint64_t *marks = mem_zalloc(bits_words(p->doc->tag_n), sizeof(*marks));
    bool may = false;
    mark_owning(p->doc, t, marks);
    for (size_t i = 0; i < tag_n; i++) {
        const struct tag *mine = map_get(&p->doc->tag_by_name, tags[i].p, tags[i].len);
        may = may || (mine != NULL && bit_get(marks, (size_t)(mine - p->doc->tag)));
    }
    mem_free(marks);
    return may;
}

bool engine_knows_tag(const struct engine *p, struct str tag)
{
    return map_get(&p->doc->tag_by_name, tag.p, tag.len) != NULL;
}

/* --- warnings --- */

/* Where the string stands for the first time; 0:0 when it is written with escapes. */
static void place_text(const struct policy_doc *doc, struct str text, struct policy_error *out)
{
    struct str clean = doc->clean;
    const char *from = clean.p, *end = clean.p + clean.len, *at;
    while (text.len > 0 && (at = memmem(from, (size_t)(end - from), text.p, text.len)) != NULL) {
        const char *after = at + text.len;
        if (at > clean.p && at[-1] == '"' && after < end && *after == '"') {
            doc_position(doc, (size_t)(at - 1 - clean.p), &out->line, &out->col);
            return;
        }
        from = at + 1;
    }
}

/* `text` is what the policy has there. */
static void warn(const struct engine *p, struct str text, const char *where, const char *what,
                 struct policy_errors *out)
{
    if (out->n == POLICY_ERRORS_MAX) {
        out->left_out++;
        return;
    }
    struct policy_error *added = &out->v[out->n++];
    place_text(p->doc, text, added);
    added->text = arena_printf(&out->arena, "%.*s%s%s%s", (int)(text.len < 200 ? text.len : 200), text.p, where,
                               text.len > 0 ? ": " : "", what);
}

static void warn_user(const struct engine *p, struct str text, const char *where, struct policy_errors *out)
{
    bool is_ambiguous;
    if (owner_find(p, text, &is_ambiguous) == NULL)
        warn(p, text, where, is_ambiguous ? "several users match; none is meant" : "no such user; nobody is meant",
             out);
}

/* What is read and not acted on. */
static void warn_unused(const struct engine *p, struct policy_errors *out)
{
    size_t check_n = 0;
    for (size_t i = 0; i < p->doc->warning_n && out->n < POLICY_ERRORS_MAX; i++) {
        struct policy_error *added = &out->v[out->n++];
        doc_position(p->doc, p->doc->warning[i].offset, &added->line, &added->col);
        added->text = arena_str(&out->arena, p->doc->warning[i].text).p;
    }
    out->left_out += p->doc->warnings_left_out;
    if (!p->doc->has_rules)
        warn(p, STR_EMPTY, "", "neither \"acls\" nor \"grants\": every node reaches every other", out);
    for (size_t i = 0; i < p->doc->ssh_n; i++)
        check_n += p->doc->ssh[i].is_check;
    if (check_n > 0)
        warn(p, STR("check"), " in ssh", "logins that need a check are refused for now", out);
}

/* What is compiled for them keeps the known names out, not all that there are. */
static void warn_old_ssh(const struct engine *p, struct policy_errors *out)
{
    const struct engine_node *n;
    size_t old_n = 0, pos = 0, nonroot_n = 0;
    char what[160];
    for (size_t i = 0; i < p->doc->ssh_n; i++)
        nonroot_n += p->doc->ssh[i].has_nonroot;
    while (nonroot_n > 0 && (n = map_next(&p->node_by_id, &pos)) != NULL)
        old_n += n->has_old_ssh;
    if (old_n == 0)
        return;
    snprintf(what, sizeof(what),
             "%zu node%s run%s a client before 1.98.10, where some login names mean root: update %s", old_n,
             old_n == 1 ? "" : "s", old_n == 1 ? "s" : "", old_n == 1 ? "it" : "them");
    warn(p, STR("autogroup:nonroot"), " in ssh", what, out);
}

void engine_warnings(const struct engine *p, struct policy_errors *out)
{
    warn_unused(p, out);
    warn_old_ssh(p, out);
    for (sel_id i = 0; i < p->doc->sel_n; i++) {
        if (p->doc->sel[i].kind == SEL_USER)
            warn_user(p, p->doc->sel[i].text, "", out);
    }
    for (size_t g = 0; g < p->doc->group_n; g++) {
        for (size_t i = 0; i < p->doc->group[g].member_n; i++)
            warn_user(p, p->doc->group[g].member[i], " in a group", out);
    }
}

/* --- versions --- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t class_version(const struct engine *p, const struct class *c)
{
    uint64_t v = c->version;
    BITS_EACH (u, c->dst, p->unit_words)
        v = later(v, sources_version(p, &p->list[p->unit[u].list]));
    for (size_t i = 0; i < p->doc->ssh_n; i++)
        v = later(v, later(p->list[p->ssh_list[i]].version, p->list[p->recorder_list[i]].version));
    return v;
}

uint64_t engine_version_of_many(const struct engine *p, uint64_t id, uint64_t *by_class)
{
    const struct engine_node *n = engine_node_find(p, id);
    if (n == NULL)
        return 0;
    uint64_t *v = &by_class[n->class->index];
    if (*v == 0)
        *v = class_version(p, n->class);
    return later(later(n->version, *v), n->owner != NULL ? n->owner->version : 0);
}

uint64_t engine_version(const struct engine *p, uint64_t id)
{
    const struct engine_node *n = engine_node_find(p, id);
    if (n == NULL)
        return 0;
    uint64_t own = later(n->version, n->owner != NULL ? n->owner->version : 0);
    return later(own, class_version(p, n->class));
}
