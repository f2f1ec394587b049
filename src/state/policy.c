/* The policy at work: it is told of every user and node, and each snapshot gets a access, which workers read instead.
 *
 * The policy hears of nodes at once, so that it can be asked (may this route be approved?); a snapshot shows what it makes of
 * them at the next publication. A deleted node leaves the policy when its removal is published. So what is visible of an event that
 * waits for the disk is at most who sees a node that everyone knew before.
 *
 * Costs, with C classes: an endpoint update nothing; an event that the policy cares about one engine_put_node and, at the
 * publication, the texts of the nodes whose version moved; an event of a router C rows for it and for those that serve the
 * same routes; another set of classes one row for each router and new class. Nothing is done for pairs of nodes. */
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/refs.h"
#include "base/vec.h"
#include "codec/json.h"
#include "engine/access.h"
#include "state/access.h"
#include "state/state_internal.h"

/* --- telling the policy --- */

enum { ATTRS_MAX = 6 };

/* The names of systems: the client's (Hostinfo.OS), and those of postures. src: docs/protocol/policy.md 7.1 */
static struct str posture_os(struct str os)
{
    static const char *const names[][2] = {{"macOS", "macos"}, {"iOS", "ios"}, {"tvOS", "ios"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(os, names[i][0]))
            return str_c(names[i][1]);
    }
    return os;
}

static void add_text(struct engine_facts *f, struct policy_attr *attrs, const char *name, struct str text)
{
    if (text.len > 0)
        attrs[f->attr_n++] = (struct policy_attr){.name = str_c(name), .type = POLICY_ATTR_STRING, .text = text};
}

/* An odd minor version is one of the unstable ones. */
static struct str release_track(struct str version)
{
    struct str major, minor, rest;
    uint64_t n;
    if (!str_cut(version, '.', &major, &rest))
        return STR_EMPTY;
    if (!str_cut(rest, '.', &minor, &rest))
        minor = rest;
    if (str_to_u64(minor, &n) != RC_OK)
        return STR_EMPTY;
    return n % 2 == 1 ? STR("unstable") : STR("stable");
}

/* Before 1.98.10, or not known. */
static bool is_before_1_98_10(struct str version)
{
    static const uint64_t fixed[] = {1, 98, 10};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        struct str part, rest;
        uint64_t n;
        if (!str_cut(version, '.', &part, &rest))
            rest = STR_EMPTY;
        if (str_to_u64(part, &n) != RC_OK)
            return true;
        if (n != fixed[i])
            return n < fixed[i];
        version = rest;
    }
    return false;
}

static void add_attrs(struct arena *a, const struct rcbuf *hostinfo, struct engine_facts *f, struct policy_attr *attrs)
{
    const struct json *root;
    struct str text, rest;
    bool truth;
    f->attrs = attrs;
    if (hostinfo == NULL || json_parse(a, str_n(hostinfo->data, hostinfo->len), NULL, &root, NULL) != RC_OK)
        return;
    if (json_str(json_get(root, "OS"), &text))
        add_text(f, attrs, "node:os", posture_os(text));
    if (json_str(json_get(root, "OSVersion"), &text))
        add_text(f, attrs, "node:osVersion", text);
    if (json_str(json_get(root, "IPNVersion"), &text)) {
        struct str version = str_cut(text, '-', &version, &rest) ? version : text;
        add_text(f, attrs, "node:tsVersion", version);
        f->has_old_ssh = is_before_1_98_10(version);
        add_text(f, attrs, "node:tsReleaseTrack", release_track(version));
    }
    if (json_bool(json_get(root, "StateEncrypted"), &truth))
        attrs[f->attr_n++] = (struct policy_attr){
            .name = STR("node:tsStateEncrypted"), .type = POLICY_ATTR_BOOL, .truth = truth};
    if (json_bool(json_get(root, "AllowsUpdate"), &truth))
        attrs[f->attr_n++] = (struct policy_attr){
            .name = STR("node:tsAutoUpdate"), .type = POLICY_ATTR_BOOL, .truth = truth};
}

static size_t served(const struct node *n, struct engine_route *out)
{
    struct prefix p;
    size_t count = 0;
    for (size_t pos = 0; count < ENGINE_ROUTES_MAX && node_serves_next(n, &pos, &p); count++)
        out[count] = (struct engine_route){p.ip, p.bits, prefix_list_has(n->primary, &p)};
    return count;
}

static void put_node(struct engine *p, const struct node *n)
{
    struct str tags[TAGS_MAX];
    struct policy_attr attrs[ATTRS_MAX];
    struct arena a = {0};
    bool may_serve = n->advertised != NULL && n->approved != NULL;
    struct engine_route *routes = may_serve ? mem_zalloc(n->advertised->n, sizeof(*routes)) : NULL;
    struct engine_facts f = {.id = n->id, .user = n->user, .tags = tags, .v4 = n->v4, .v6 = n->v6, .routes = routes};
    f.created_ms = n->created_ms;
    f.has_old_ssh = true;
    f.tag_n = node_tags_split(n->tags, tags);
    f.route_n = may_serve ? served(n, routes) : 0;
    /* Only asked of routers: others come and go without a write. */
    f.is_online = node_can_serve(n) || f.route_n == 0;
    add_attrs(&a, n->hostinfo, &f, attrs);
    engine_put_node(p, &f);
    arena_fini(&a);
    mem_free(routes);
}

static bool is_same_to_policy(const struct node *a, const struct node *b)
{
    bool is_router = a->approved != NULL || b->approved != NULL;
    return a->user == b->user && rcbuf_eq(a->tags, b->tags) && addr_eq(&a->v4, &b->v4) && addr_eq(&a->v6, &b->v6) &&
           rcbuf_eq(a->hostinfo, b->hostinfo) && prefix_list_eq(a->advertised, b->advertised) &&
           prefix_list_eq(a->approved, b->approved) && prefix_list_eq(a->primary, b->primary) &&
           (node_can_serve(a) == node_can_serve(b) || !is_router);
}

void state_policy_put_node(struct state *st, const struct node *before, const struct node *after)
{
    if (st->policy == NULL || st->policy_is_stale || (before != NULL && is_same_to_policy(before, after)))
        return;
    put_node(st->policy, after);
}

void state_policy_forget_node(struct state *st, node_id id)
{
    if (st->policy != NULL && !st->policy_is_stale)
        engine_remove_node(st->policy, id);
}

void state_policy_users_changed(struct state *st)
{
    st->policy_is_stale = st->policy != NULL;
}

/* --- making it --- */

static struct engine_user *all_users(const struct state *st, size_t *n_out)
{
    struct engine_user *users = mem_zalloc(st->users.n + 1, sizeof(*users));
    size_t n = 0;
    for (size_t pos = 0;;) {
        const struct user *u = state_user_next(st, &pos);
        if (u == NULL)
            break;
        users[n++] = (struct engine_user){
            .id = u->id, .name = str_c(u->name), .email = str_c(u->email), .role = (enum policy_role)u->role};
    }
    *n_out = n;
    return users;
}

/* The usual ranges have a hole that others do not. */
static struct engine_ranges own_ranges(const struct state_options *o)
{
    static const uint8_t usual_v4[4] = {100, 64}, usual_v6[6] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    struct engine_ranges r = {o->v4_prefix, o->v6_prefix, o->v4_bits, o->v6_bits};
    if (r.v4_bits == 10 && memcmp(r.v4.ip, usual_v4, sizeof(usual_v4)) == 0)
        r.v4.family = 0;
    if (r.v6_bits == 48 && memcmp(r.v6.ip, usual_v6, sizeof(usual_v6)) == 0)
        r.v6.family = 0;
    return r;
}

/* Deleted nodes whose removal is not told yet are in the snapshot, and so in the policy. */
static void put_all(const struct state *st, struct engine *p)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        const struct node_record *e = st->records[id];
        const struct node *n = e != NULL && e->node != NULL ? e->node : snapshot_node(st->snapshot, id);
        if (n != NULL)
            put_node(p, n);
    }
}

struct engine *state_policy_try(const struct state *st, struct policy_doc *doc)
{
    size_t user_n;
    struct engine_user *users = all_users(st, &user_n);
    struct engine_ranges ranges = own_ranges(&st->options);
    struct engine *p = engine_create(doc, users, user_n, &ranges);
    mem_free(users);
    put_all(st, p);
    return p;
}

static void make_policy(struct state *st, struct policy_doc *doc)
{
    st->policy = state_policy_try(st, doc);
    st->policy_serial++;
    st->policy_is_stale = false;
}

void state_policy_fini(struct state *st)
{
    if (st->policy != NULL)
        engine_destroy(&st->policy);
}

void state_set_policy(struct state *st, struct policy_doc *doc, int64_t now_ms)
{
    state_policy_fini(st);
    st->policy_changed = true;
    st->policy_sets++;
    st->policy_is_stale = false;
    if (doc == NULL)
        return;
    make_policy(st, doc);
    policy_doc_unref(&doc);
    state_routes_auto_approve(st, now_ms);
}

bool state_take_policy_changed(struct state *st)
{
    bool changed = st->policy_changed;
    st->policy_changed = false;
    return changed;
}

/* Users are what a policy is made with: however many have changed, it is made anew once, when it is asked for. */
static void refresh(struct state *st)
{
    if (!st->policy_is_stale)
        return;
    struct engine *old = st->policy;
    struct policy_doc *doc = policy_doc_ref((struct policy_doc *)engine_doc(old));
    make_policy(st, doc);
    policy_doc_unref(&doc);
    engine_destroy(&old);
}

struct engine *state_policy(const struct state *st)
{
    /* What is made here is a cache. */
    refresh((struct state *)st);
    return st->policy;
}

enum rc state_policy_pool_address(struct state *st, const struct node *n, struct addr *out)
{
    struct engine *p = state_policy(st);
    struct addr prefix;
    uint8_t bits;
    enum rc rc = RC_NOT_FOUND;
    if (p == NULL || n->v4.family == 0 || !policy_doc_has_pools(engine_doc(p)))
        return rc;
    put_node(p, n);
    for (size_t i = 0; rc != RC_OK && engine_ip_pool(p, n->id, i, &prefix, &bits); i++)
        rc = addresses_allocate_in(st, &prefix, bits, out);
    if (rc == RC_LIMIT)
        engine_remove_node(p, n->id);
    return rc;
}

bool state_policy_is_dirty(const struct state *st)
{
    const struct access *r = st->snapshot->access;
    if (st->policy == NULL)
        return !access_is_open(r);
    return st->policy_is_stale || r->serial != st->policy_serial || r->clock != engine_clock(st->policy);
}

/* --- accesses --- */

struct builder {
    const struct state *st;
    struct engine *p;
    const struct snapshot *s;
    const struct snapshot *before;
    const struct access *old; /* null: none, or of another policy */
    struct access *made;
    const char *base_url;
    bool is_new_policy;
    bool classes_changed;
    uint64_t *look;                       /* bits by id, a word for each group: for whom anything may differ */
    uint64_t *version_of;                 /* by class */
    const struct node_access **last_made; /* by class: texts are likely to be equal */
    struct buf text;
};

/* The text as an object that some other node, or the node itself, has already, when there is one. */
static struct cached_text *text_like(const struct buf *text, struct cached_text *own, struct cached_text *other)
{
    struct str s = buf_str(text);
    if (own != NULL && str_eq(s, str_n(own->json->data, own->json->len)))
        return cached_text_ref(own);
    if (other != NULL && str_eq(s, str_n(other->json->data, other->json->len)))
        return cached_text_ref(other);
    return cached_text_create(s);
}

static struct rcbuf *caps_like(const struct buf *text, struct rcbuf *own, struct rcbuf *other)
{
    struct str s = buf_str(text);
    if (own != NULL && str_eq(s, str_n(own->data, own->len)))
        return rcbuf_ref(own);
    if (other != NULL && str_eq(s, str_n(other->data, other->len)))
        return rcbuf_ref(other);
    return rcbuf_create(s.p, s.len);
}

static void fill_nextdns(struct builder *b, node_id id, struct node_access *r)
{
    struct str profile = engine_nextdns(b->p, id, &r->hides_device);
    if (profile.len > 0)
        r->nextdns = rcbuf_create(profile.p, profile.len);
}

static void fill_texts(struct builder *b, node_id id, struct node_access *r, const struct node_access *own)
{
    int64_t class_index = engine_view_class(b->made->view, id);
    const struct node_access **other = &b->last_made[class_index];
    buf_clear(&b->text);
    engine_filter(b->p, id, &b->text);
    r->filter = text_like(&b->text, own != NULL ? own->filter : NULL, *other != NULL ? (*other)->filter : NULL);
    buf_clear(&b->text);
    buf_append_c(&b->text, "{\"rules\":");
    engine_ssh(b->p, id, b->base_url, &b->text);
    buf_append_byte(&b->text, '}');
    r->ssh = text_like(&b->text, own != NULL ? own->ssh : NULL, *other != NULL ? (*other)->ssh : NULL);
    buf_clear(&b->text);
    engine_self_caps(b->p, id, &b->text);
    r->caps = caps_like(&b->text, own != NULL ? own->caps : NULL, *other != NULL ? (*other)->caps : NULL);
    r->hides_v4 = engine_hides_ipv4(b->p, id);
    fill_nextdns(b, id, r);
    *other = r;
}

/* What a class is told of a router's routes is that of any node in it but the router itself. */
static void fill_row(struct builder *b, node_id router, struct route_table *t, size_t class_index)
{
    uint64_t member = engine_class_member(b->p, class_index, router);
    if (member != 0)
        engine_routes(b->p, member, router, &t->rows[class_index * t->words], t->prefixes->n);
}

/* Whether the row of the table before, which holds but for the classes, is that of the same class. */
static bool row_holds(const struct builder *b, const struct route_table *old, size_t class_index)
{
    uint64_t made, was;
    return old != NULL && class_index < old->class_n && engine_view_class_made(b->made->view, class_index, &made) &&
           engine_view_class_made(b->old->view, class_index, &was) && made == was;
}

static struct prefix_list *list_served(const struct node *n)
{
    struct prefix *v = mem_zalloc(n->advertised->n, sizeof(*v));
    size_t count = 0;
    for (size_t pos = 0; count < ENGINE_ROUTES_MAX && node_serves_next(n, &pos, &v[count]);)
        count++;
    struct prefix_list *l = prefix_list_create(v, count);
    mem_free(v);
    return l;
}

/* `n`: as the policy knows it. A snapshot may be behind; what it shows is what it and the table both have. `old`: whose rows
 * hold as long as their classes do, or null. `is_gone`: it is deleted, which waits for the disk; the policy may have known other
 * routes of it, so nobody is shown more. A new reference. */
static struct route_table *make_routes(struct builder *b, const struct node *n, struct route_table *old, bool is_gone)
{
    struct prefix_list *prefixes = n->advertised != NULL && n->approved != NULL ? list_served(n) : NULL;
    if (prefixes == NULL)
        return NULL;
    size_t class_n = engine_view_class_cap(b->made->view);
    struct route_table *t = route_table_create(class_n, (prefixes->n + 63) / 64);
    t->prefixes = prefixes;
    if (old != NULL && !prefix_list_eq(old->prefixes, prefixes))
        old = NULL;
    for (size_t i = 0; i < class_n; i++) {
        if (row_holds(b, old, i))
            memcpy(&t->rows[i * t->words], &old->rows[i * t->words], t->words * sizeof(t->rows[0]));
        else if (!is_gone)
            fill_row(b, n->id, t, i);
    }
    return t;
}

static bool same_routes(const struct route_table *a, const struct route_table *b)
{
    if (a == NULL || b == NULL || a->class_n != b->class_n || !prefix_list_eq(a->prefixes, b->prefixes))
        return a == b;
    return memcmp(a->rows, b->rows, a->class_n * a->words * sizeof(a->rows[0])) == 0;
}

static void fill_routes(struct builder *b, const struct node *n, struct node_access *r, const struct node_access *own)
{
    struct route_table *old = own != NULL ? own->routes : NULL;
    bool is_gone = state_node(b->st, n->id) == NULL && !b->is_new_policy;
    bool holds = own != NULL && !b->is_new_policy && (is_gone || own->routes_version == r->routes_version);
    r->routes = make_routes(b, n, holds ? old : NULL, is_gone);
    if (old != NULL && same_routes(r->routes, old)) {
        route_table_unref(&r->routes);
        r->routes = route_table_ref(old);
    }
}

static void keep_texts(struct node_access *r, const struct node_access *own)
{
    r->filter = cached_text_ref(own->filter);
    r->ssh = cached_text_ref(own->ssh);
    r->caps = rcbuf_ref(own->caps);
    r->nextdns = own->nextdns != NULL ? rcbuf_ref(own->nextdns) : NULL;
    r->hides_device = own->hides_device;
    r->hides_v4 = own->hides_v4;
}

/* What the policy makes of a node: what was made before, when that holds. A new reference. */
static const struct node_access *access_of(struct builder *b, const struct node *n, const struct node_access *own)
{
    uint64_t version = engine_version_of_many(b->p, n->id, b->version_of);
    uint64_t routes_version = engine_routes_version(b->p, n->id);
    const struct node *now = state_node(b->st, n->id) != NULL ? state_node(b->st, n->id) : n;
    bool is_router = now->approved != NULL || (own != NULL && own->routes != NULL);
    bool texts_hold = !b->is_new_policy && own != NULL && own->version == version;
    if (texts_hold && (!is_router || (!b->classes_changed && own->routes_version == routes_version)))
        return node_access_ref(own);
    struct node_access *r = node_access_create();
    r->version = version;
    r->routes_version = routes_version;
    if (texts_hold)
        keep_texts(r, own);
    else
        fill_texts(b, n->id, r, own);
    fill_routes(b, now, r, own);
    return r;
}

/* New references; whether they differ from those of `old`, which may be null. */
static bool fill_group(struct builder *b, size_t index, const struct access_group *old, struct access_group *made)
{
    const struct node_group *g = b->s->groups[index];
    bool differs = old == NULL;
    for (size_t i = 0; i < GROUP_NODES; i++) {
        const struct node_access *own = old != NULL ? old->of[i] : NULL;
        bool is_looked_at = (b->look[index] >> i & 1) != 0;
        if (g->nodes[i] == NULL)
            continue;
        made->of[i] = is_looked_at || own == NULL ? access_of(b, g->nodes[i], own) : node_access_ref(own);
        made->routers |= (uint64_t)(made->of[i]->routes != NULL) << i;
        made->without_v4 |= (uint64_t)made->of[i]->hides_v4 << i;
    }
    for (size_t i = 0; i < GROUP_NODES && !differs; i++)
        differs = made->of[i] != old->of[i];
    return differs;
}

static struct access_group *group_ref(struct access_group *g)
{
    refs_take(&g->refs);
    return g;
}

/* A group whose access are all what they were is that of the access before. */
static struct access_group *make_group(struct builder *b, size_t index)
{
    const struct access *access = b->before->access;
    struct access_group *old = index < access->group_n ? access->groups[index] : NULL;
    if (old != NULL && b->look[index] == 0)
        return group_ref(old);
    struct access_group *made = MEM_NEW(struct access_group);
    atomic_init(&made->refs, 1);
    if (fill_group(b, index, old, made))
        return made;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_access_unref(&made->of[i]);
    mem_free(made);
    return group_ref(old);
}

/* Besides those who changed themselves: everyone under another policy; else those whose texts may differ, and, when rows may
 * differ, routers. (Another route is another class: those that become routers are among the others.) */
static void choose_whom(struct builder *b)
{
    if (b->is_new_policy) {
        memset(b->look, 0xff, b->s->group_n * sizeof(*b->look));
        return;
    }
    engine_mark_moved(b->p, b->old->clock, b->look, b->s->group_n);
    bool rows_changed = b->classes_changed || engine_routes_clock(b->p) > b->old->clock;
    for (size_t i = 0; i < b->old->group_n && rows_changed; i++)
        b->look[i] |= b->old->groups[i] != NULL ? b->old->groups[i]->routers : 0;
}

/* `look`: bits of the items; gets those of all nodes for whom the access was made anew. */
static struct access *make_access(struct state *st, const struct change *c, uint64_t *look)
{
    const struct snapshot *s = c->after;
    const struct access *last = st->snapshot->access;
    struct builder b = {
        .st = st, .p = st->policy, .s = s, .before = st->snapshot, .look = look, .base_url = st->settings->server_url};
    b.is_new_policy = last->serial != st->policy_serial;
    b.old = b.is_new_policy ? NULL : last;
    b.made = mem_zalloc(1, sizeof(*b.made) + s->group_n * sizeof(b.made->groups[0]));
    atomic_init(&b.made->refs, 1);
    b.made->serial = st->policy_serial;
    b.made->view = engine_view_get(st->policy);
    b.made->group_n = s->group_n;
    b.classes_changed = b.old == NULL || !engine_view_same_classes(b.old->view, b.made->view);
    size_t class_n = engine_view_class_cap(b.made->view);
    choose_whom(&b);
    b.version_of = mem_zalloc(class_n + 1, sizeof(*b.version_of));
    b.last_made = mem_zalloc(class_n + 1, sizeof(*b.last_made));
    for (size_t i = 0; i < s->group_n; i++)
        b.made->groups[i] = s->groups[i] != NULL ? make_group(&b, i) : NULL;
    mem_free(b.version_of);
    mem_free(b.last_made);
    buf_fini(&b.text);
    b.made->clock = engine_clock(st->policy);
    return b.made;
}

/* --- whom a change touches --- */

/* For a class that is in both. */
static bool routes_differ(const struct route_table *a, const struct route_table *b)
{
    if (a == b || a == NULL || b == NULL || !prefix_list_eq(a->prefixes, b->prefixes))
        return a != b;
    size_t class_n = a->class_n < b->class_n ? a->class_n : b->class_n;
    return memcmp(a->rows, b->rows, class_n * a->words * sizeof(a->rows[0])) != 0;
}

/* Either node may be null. */
static bool owner_differs(const struct change *c, const struct node *before, const struct node *after)
{
    if (before == NULL || after == NULL || (before == after && !c->users_changed))
        return false;
    return !user_looks_same(snapshot_owner(c->before, before), snapshot_owner(c->after, after));
}

/* Whoever sees a node knows its owner. */
static void look_at_owned(const struct change *c, uint64_t *look)
{
    for (node_id id = 1; id < c->after->group_n * GROUP_NODES; id++) {
        if (owner_differs(c, snapshot_node(c->before, id), snapshot_node(c->after, id)))
            look[id / GROUP_NODES] |= UINT64_C(1) << (id % GROUP_NODES);
    }
}

/* Who sees the node, or which routes of it, or what its owner is called, may not be as it was. */
static bool is_touched(const struct change *c, node_id id)
{
    const struct access *a = c->before->access, *b = c->after->access;
    if (c->policy_changed || owner_differs(c, snapshot_node(c->before, id), snapshot_node(c->after, id)))
        return true;
    if (a->view != b->view && !viewer_keys_equal(engine_view_key(a->view, id), engine_view_key(b->view, id)))
        return true;
    const struct node_access *x = access_of_node(a, id), *y = access_of_node(b, id);
    return x == NULL || y == NULL || routes_differ(x->routes, y->routes) || x->hides_v4 != y->hides_v4;
}

/* The first node from `id` on that is looked at; 0: none. */
static node_id next_looked_at(const uint64_t *look, size_t words, node_id id)
{
    size_t i = id / GROUP_NODES;
    uint64_t left = i < words ? look[i] & ~UINT64_C(0) << (id % GROUP_NODES) : 0;
    while (left == 0 && ++i < words)
        left = look[i];
    return i < words ? i * GROUP_NODES + (unsigned)__builtin_ctzll(left) : 0;
}

/* Nodes that did not change themselves become items too, in their place among the others. `look`: who may, and all items. */
static void add_touched(struct change *c, const uint64_t *look)
{
    struct change_item *all = NULL;
    size_t n = 0, cap = 0, next = 0, words = c->after->group_n;
    for (node_id id = next_looked_at(look, words, 1); id != 0; id = next_looked_at(look, words, id + 1)) {
        const struct node *node = snapshot_node(c->after, id);
        bool is_item = next < c->item_n && c->items[next].id == id;
        if (!is_item && (node == NULL || !is_touched(c, id)))
            continue;
        VEC_ROOM(all, n, cap, 64);
        all[n] = is_item ? c->items[next++]
                         : (struct change_item){.id = id, .before = node_ref(node), .after = node_ref(node)};
        all[n].owner_differs = owner_differs(c, all[n].before, all[n].after);
        n++;
    }
    mem_free(c->items);
    c->items = all;
    c->item_n = n;
}

static bool is_node_new(const struct change *c)
{
    for (size_t i = 0; i < c->item_n; i++) {
        if (c->items[i].before == NULL || c->items[i].after == NULL)
            return true;
    }
    return false;
}

void state_build_access(struct state *st, struct change *c)
{
    struct access *last = c->before->access;
    if (st->policy == NULL && access_is_open(last)) {
        c->after->access = access_ref(last);
        return;
    }
    c->policy_changed = st->policy == NULL || last->serial != st->policy_serial;
    uint64_t *look = mem_zalloc(c->after->group_n, sizeof(*look));
    for (size_t i = 0; i < c->item_n; i++)
        look[c->items[i].id / GROUP_NODES] |= UINT64_C(1) << (c->items[i].id % GROUP_NODES);
    if (st->policy == NULL) {
        memset(look, 0xff, c->after->group_n * sizeof(*look));
        c->after->access = access_ref(st->open_access);
    } else if (state_policy_is_dirty(st) || is_node_new(c)) {
        c->after->access = make_access(st, c, look);
    } else {
        c->after->access = access_ref(last);
    }
    if (c->users_changed)
        look_at_owned(c, look);
    add_touched(c, look);
    mem_free(look);
}
