/* The addresses that a text names, as probes. */
#include <string.h>

#include "base/mem.h"
#include "reach/reach_internal.h"

void reach_probes_fini(struct probes *s)
{
    mem_free(s->v);
    *s = (struct probes){0};
}

static void add_node(struct probes *out, const struct engine_node *n)
{
    for (int family = 4; family <= 6; family += 2) {
        struct probe probe = {engine_node_range(n, family), n};
        if (probe.at.family != 0)
            VEC_PUSH(out->v, out->n, out->cap, probe);
    }
}

static const struct engine_node *node_at(const struct engine *e, const struct range *at)
{
    size_t pos = 0;
    const struct engine_node *n;
    while ((n = map_next(&e->nodes.by_id, &pos)) != NULL) {
        if ((n->v4.family == at->family && n->v4.lo == at->lo) || (n->v6.family == at->family && n->v6.lo == at->lo))
            return n;
    }
    return NULL;
}

static bool has_tag(const struct engine_node *n, struct str tag)
{
    for (size_t i = 0; i < n->tag_n; i++) {
        if (str_eq(n->tag[i], tag))
            return true;
    }
    return false;
}

static bool holds_node(const struct engine *e, const struct selector *s, const struct engine_node *n)
{
    switch (s->kind) {
    case SEL_TAG: return has_tag(n, s->text);
    case SEL_TAGGED: return n->owner == NULL;
    default: return n->owner != NULL && owners_match(&e->owners, n->owner, s);
    }
}

static void add_owned(struct probes *out, const struct owner *o)
{
    if (o == NULL)
        return;
    LIST_EACH (it, &o->nodes)
        add_node(out, LIST_ENTRY(it, struct engine_node, owner_link));
}

/* Members are looked up by name instead of asking for every node whether the group holds it. */
static void add_group(const struct engine *e, const struct group *g, struct probes *out)
{
    struct map seen;
    bool is_ambiguous;
    map_init(&seen, NULL);
    for (size_t i = 0; i < g->member_n; i++) {
        struct owner *o = owners_find(&e->owners, g->member[i], &is_ambiguous);
        if (o != NULL && map_put(&seen, &o->number, sizeof(o->number), o) == NULL)
            add_owned(out, o);
    }
    map_fini(&seen);
}

static void add_nodes(const struct engine *e, const struct selector *s, const struct owner *self_of, struct probes *out)
{
    size_t pos = 0;
    bool is_ambiguous;
    const struct engine_node *n;
    if (s->kind == SEL_USER)
        add_owned(out, owners_find(&e->owners, s->name, &is_ambiguous));
    else if (s->kind == SEL_GROUP)
        add_group(e, &e->doc->group[s->group], out);
    else if (s->kind == SEL_SELF && self_of != NULL)
        add_owned(out, self_of);
    else if (s->kind != SEL_SELF) {
        while ((n = map_next(&e->nodes.by_id, &pos)) != NULL) {
            if (holds_node(e, s, n))
                add_node(out, n);
        }
    }
}

bool reach_probes_find(const struct engine *e, struct str text, const struct owner *self_of, struct probes *out)
{
    struct selector s;
    if (doc_classify(e->doc, text, &s) != SEL_FINE)
        return false;
    if (s.kind == SEL_STAR || s.kind == SEL_INTERNET || s.kind == SEL_DANGER_ALL)
        return false;
    if (s.kind == SEL_ADDRS) {
        struct range_set set = {0};
        doc_ranges(e->doc, &s, &set);
        bool is_one = set.n == 1 && range_is_single(&set.v[0]) && str_index(text, '/') < 0;
        if (is_one)
            VEC_PUSH(out->v, out->n, out->cap, ((struct probe){set.v[0], node_at(e, &set.v[0])}));
        range_set_fini(&set);
        return is_one;
    }
    add_nodes(e, &s, self_of, out);
    return out->n > 0;
}

const char *reach_probes_none_reason(const struct engine *e, struct str text)
{
    struct selector s;
    bool is_ambiguous;
    if (text.len == 0)
        return "it is empty";
    switch (doc_classify(e->doc, text, &s)) {
    case SEL_NO_TAG: return "no such tag in tagOwners";
    case SEL_NO_GROUP: return "no such group";
    case SEL_NO_IPSET: return "no such ipset";
    case SEL_NO_AUTOGROUP: return "no such autogroup";
    case SEL_NO_SERVICES: return "there are no services here";
    case SEL_FOREIGN_DOMAIN:
    case SEL_NO_ADDRESS: return "no address, and no such host";
    case SEL_FINE: break;
    }
    switch (s.kind) {
    case SEL_STAR:
    case SEL_INTERNET:
    case SEL_DANGER_ALL: return "not one address or name";
    case SEL_ADDRS: return "not one address (a prefix, a range or a set)";
    case SEL_SELF: return "the source is no user's node";
    case SEL_TAG: return "no node has this tag yet";
    case SEL_GROUP: return "no one of this group has a node without tags yet";
    case SEL_USER:
        if (owners_find(&e->owners, s.name, &is_ambiguous) == NULL)
            return is_ambiguous ? "several users match" : "there is no such user yet";
        return "this user has no node without tags yet";
    default: return "it has no nodes yet";
    }
}

/* Appends all that rules can distinguish of a probe. */
static void put_probe(struct engine *e, const struct probe *probe, const struct policy_attr *more, size_t more_n,
                      struct buf *key)
{
    uint64_t *in = mem_zalloc(e->sel_words + 1, sizeof(*in));
    const struct engine_node *n = probe->node;
    reach_selectors_at(e, n, &probe->at, in);
    buf_append(key, in, e->sel_words * sizeof(*in));
    buf_append_byte(key, n != NULL);
    buf_append_byte(key, probe->at.family);
    for (posture_set_id i = 0; n != NULL && i < e->doc->posture_set_n; i++) {
        struct attr_view attrs = {more, more_n, n->attr, n->attr_n};
        buf_append_byte(key, policy_posture_holds(e->doc, i, &attrs));
    }
    if (n != NULL && n->owner != NULL)
        buf_append(key, &n->owner->number, sizeof(n->owner->number));
    mem_free(in);
}

void reach_probes_reduce(struct engine *e, struct probes *s, const struct policy_attr *more, size_t more_n)
{
    struct arena keys = {0};
    struct map seen;
    size_t n = 0;
    map_init(&seen, NULL);
    for (size_t i = 0; s->n > 1 && i < s->n; i++) {
        struct buf key = {0};
        put_probe(e, &s->v[i], more, more_n, &key);
        struct str kept = arena_str(&keys, buf_str(&key));
        /* An address that no node has is always kept: whether `*` holds it is not in the key. */
        bool is_new = s->v[i].node == NULL || map_get(&seen, kept.p, kept.len) == NULL;
        if (is_new) {
            map_put(&seen, kept.p, kept.len, s);
            s->v[n++] = s->v[i];
        }
        buf_fini(&key);
    }
    s->n = s->n > 1 ? n : s->n;
    map_fini(&seen);
    arena_fini(&keys);
}

void reach_selectors_at(struct engine *e, const struct engine_node *n, const struct range *at, uint64_t *in)
{
    const struct policy_doc *doc = e->doc;
    for (sel_id i = 0; n != NULL && i < doc->sel_n; i++) {
        enum sel_kind kind = doc->sel[i].kind;
        if (kind != SEL_ADDRS && kind != SEL_STAR && kind != SEL_DANGER_ALL && engine_node_is(n, i))
            bit_put(in, i);
    }
    address_index_find(e->addresses, at, in);
}
