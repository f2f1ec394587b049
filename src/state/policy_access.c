/* Access tables: what the policy grants each node of a snapshot. Workers read them instead of the policy.
 *
 * Costs, with C classes: an endpoint update costs nothing; an event that matters to the policy costs one
 * engine_put_node and, at the publication, the texts of the nodes whose version moved; an event of a router costs C
 * rows for it and for those that serve the same routes; another set of classes costs one row for each router and new
 * class. Nothing is done for pairs of nodes. */
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "base/refs.h"
#include "engine/access.h"
#include "state/access.h"
#include "state/state_internal.h"

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
    uint64_t *look;                       /* bits by id, a word for each group: the nodes whose access may differ */
    uint64_t *version_of;                 /* by class */
    const struct node_access **last_made; /* the last one made, by class: texts are likely to be equal */
    struct buf text;
};

/* The text as an object: that of the node itself or of another node, if one of these has the same text. */
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

/* All nodes of a class get the same routes of a router, so any member but the router itself stands for the class. */
static void fill_row(struct builder *b, node_id router, struct route_table *t, size_t class_index)
{
    uint64_t member = engine_class_member(b->p, class_index, router);
    if (member != 0)
        engine_routes(b->p, member, router, &t->rows[class_index * t->words], t->prefixes->n);
}

/* Whether the row of the previous table still belongs to the same class. (That its routes are the same has been
 * checked.) */
static bool row_holds(const struct builder *b, const struct route_table *old, size_t class_index)
{
    uint64_t made, was;
    return class_index < old->class_n && engine_view_class_made(b->made->view, class_index, &made) &&
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

static bool same_routes(const struct route_table *a, const struct route_table *b)
{
    return a->class_n == b->class_n && prefix_list_eq(a->prefixes, b->prefixes) &&
           memcmp(a->rows, b->rows, a->class_n * a->words * sizeof(a->rows[0])) == 0;
}

/* The table of the routes that the node serves; none if it serves none. `n`: as the policy has it; a snapshot may be
 * behind, and shows the routes that both it and the table have. `own`: the node's access before, or null. */
static void fill_routes(struct builder *b, const struct node *n, struct node_access *r, const struct node_access *own)
{
    struct route_table *old = own != NULL ? own->routes : NULL;
    struct prefix_list *prefixes = n->advertised != NULL && n->approved != NULL ? list_served(n) : NULL;
    if (prefixes == NULL)
        return;
    /* Its deletion waits for the disk; the policy may have had other routes of it, so no viewer gets more than
     * before. */
    bool is_gone = state_node(b->st, n->id) == NULL && !b->is_new_policy;
    /* Whether rows of the old table are valid as long as their classes are. */
    bool holds = old != NULL && !b->is_new_policy && (is_gone || own->routes_version == r->routes_version) &&
                 prefix_list_eq(old->prefixes, prefixes);
    size_t class_n = engine_view_class_cap(b->made->view);
    struct route_table *t = route_table_create(class_n, bits_words(prefixes->n));
    t->prefixes = prefixes;
    for (size_t i = 0; i < class_n; i++) {
        if (holds && row_holds(b, old, i))
            memcpy(&t->rows[i * t->words], &old->rows[i * t->words], t->words * sizeof(t->rows[0]));
        else if (!is_gone)
            fill_row(b, n->id, t, i);
    }
    r->routes = t;
    if (old != NULL && same_routes(t, old)) {
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

/* The access of a node: the one made before, if that is still valid. A new reference. */
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

static struct access_group *group_ref(struct access_group *g)
{
    refs_take(&g->refs);
    return g;
}

/* If no access in the group differs, it is the group of the snapshot before. A new reference. */
static struct access_group *make_group(struct builder *b, size_t index)
{
    const struct node_group *g = b->s->groups[index];
    const struct access *access = b->before->access;
    struct access_group *old = index < access->group_n ? access->groups[index] : NULL;
    if (old != NULL && b->look[index] == 0)
        return group_ref(old);
    struct access_group *made = MEM_NEW(struct access_group);
    atomic_init(&made->refs, 1);
    for (size_t i = 0; i < GROUP_NODES; i++) {
        const struct node_access *own = old != NULL ? old->of[i] : NULL;
        bool is_looked_at = (b->look[index] >> i & 1) != 0;
        if (g->nodes[i] == NULL)
            continue;
        made->of[i] = is_looked_at || own == NULL ? access_of(b, g->nodes[i], own) : node_access_ref(own);
        made->routers |= (uint64_t)(made->of[i]->routes != NULL) << i;
        made->without_v4 |= (uint64_t)made->of[i]->hides_v4 << i;
    }
    bool differs = old == NULL;
    for (size_t i = 0; i < GROUP_NODES && !differs; i++)
        differs = made->of[i] != old->of[i];
    if (differs)
        return made;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_access_unref(&made->of[i]);
    mem_free(made);
    return group_ref(old);
}

/* Adds to `look`, which has the nodes that changed themselves: under another policy all nodes; else those whose
 * texts may differ and, when rows may differ, routers. (Another route is another class, so nodes that become routers
 * are in it already.) */
static void choose_nodes(struct builder *b)
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

struct access *state_build_access(struct state *st, const struct change *c, uint64_t *look)
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
    choose_nodes(&b);
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
