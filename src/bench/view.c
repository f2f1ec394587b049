#include "bench/view.h"

#include "base/bits.h"
#include "base/mem.h"

void view_init(struct view *v, unsigned self, unsigned members, bool with_facts)
{
    *v = (struct view){.self = self};
    v->known = mem_zalloc(roster_words(members), sizeof(*v->known));
    v->endpoints = mem_zalloc(roster_words(members), sizeof(*v->endpoints));
    if (with_facts)
        v->facts = mem_zalloc(members, sizeof(*v->facts));
}

void view_fini(struct view *v)
{
    mem_free(v->known);
    mem_free(v->endpoints);
    mem_free(v->facts);
}

void view_clear(struct view *v, unsigned members)
{
    size_t bytes = roster_words(members) * sizeof(*v->known);
    memset(v->known, 0, bytes);
    memset(v->endpoints, 0, bytes);
    v->known_n = v->extra_n = v->endpoints_n = 0;
}

static unsigned count(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

static void add(struct view *v, const struct map_effect_op *op, uint64_t visible, bool is_foreign)
{
    uint64_t new = op->peers & ~v->known[op->word];
    uint64_t new_endpoints = op->endpoints & ~v->endpoints[op->word];
    v->known[op->word] |= new;
    v->endpoints[op->word] |= new_endpoints;
    v->known_n += count(new &visible);
    v->endpoints_n += count(new_endpoints & visible);
    if (!is_foreign)
        v->extra_n += count(new & ~visible);
}

static void drop(struct view *v, const struct map_effect_op *op, uint64_t visible, bool is_foreign)
{
    uint64_t old = op->peers & v->known[op->word];
    uint64_t old_endpoints = op->peers & v->endpoints[op->word];
    v->known[op->word] &= ~old;
    v->endpoints[op->word] &= ~old_endpoints;
    v->known_n -= count(old & visible);
    v->endpoints_n -= count(old_endpoints & visible);
    if (!is_foreign)
        v->extra_n -= count(old & ~visible);
}

/* Returns 1 when the node itself was among the peers. */
static unsigned apply_op(struct view *v, const struct map_effect_op *op, const struct view_class *class,
                         unsigned members)
{
    bool is_foreign = op->word >= roster_foreign_base(members) / 64;
    uint64_t visible = is_foreign ? 0 : class->visible[op->word];
    struct map_effect_op own = *op;
    unsigned self_n = 0;
    if (op->kind != MAP_EFFECT_REPLACE && op->word == v->self / 64) {
        uint64_t bit = UINT64_C(1) << v->self % 64;
        self_n = op->kind == MAP_EFFECT_ADD && (op->peers & bit) != 0;
        own.peers &= ~bit;
        own.endpoints &= ~bit;
    }
    switch (op->kind) {
    case MAP_EFFECT_REPLACE: view_clear(v, members); break;
    case MAP_EFFECT_ADD: add(v, &own, visible, is_foreign); break;
    case MAP_EFFECT_PATCH:
        own.peers = 0;
        own.endpoints &= v->known[op->word];
        add(v, &own, visible, is_foreign);
        break;
    default: drop(v, &own, visible, is_foreign); break;
    }
    return self_n;
}

/* A whole record sets everything: what it leaves out is empty. */
static void apply_mark(struct view *v, const struct map_effect_mark *m)
{
    struct view_facts *t = &v->facts[m->index];
    bool is_patch = (m->flags & MAP_EFFECT_IS_PATCH) != 0;
    if (is_patch && !bit_get(v->known, m->index))
        return;
    if (!is_patch || (m->flags & MAP_EFFECT_HAS_ENDPOINTS) != 0)
        t->endpoints = m->endpoints;
    if (!is_patch || (m->flags & MAP_EFFECT_HAS_HOSTINFO) != 0)
        t->hostinfo_mark = m->hostinfo_mark;
    if (!is_patch || (m->flags & MAP_EFFECT_HAS_DERP) != 0)
        t->derp = m->derp;
    if ((m->flags & MAP_EFFECT_HAS_ONLINE) != 0)
        t->online = (m->flags & MAP_EFFECT_IS_ONLINE) != 0 ? 2 : 1;
    else if (!is_patch)
        t->online = 0;
}

unsigned view_apply(struct view *v, const struct map_effect *s, const struct view_class *class, unsigned members)
{
    unsigned self_n = 0;
    for (uint32_t i = 0; i < s->op_n; i++)
        self_n += apply_op(v, &s->ops[i], class, members);
    for (uint32_t i = 0; v->facts != NULL && i < s->mark_n; i++)
        apply_mark(v, &s->marks[i]);
    return self_n;
}

/* --- checking --- */

static void fault(const struct view_truth *t, unsigned viewer, unsigned peer, const char *what)
{
    if (t->fault != NULL)
        t->fault(t->ctx, viewer, peer, what);
}

static void check_facts(const struct view *v, const struct view_truth *t, unsigned peer, struct view_report *r)
{
    const struct view_facts *known = &v->facts[peer], *stated = &t->stated[peer];
    const char *what = NULL;
    if (known->endpoints != stated->endpoints)
        what = "was last sent other endpoints of";
    else if (known->hostinfo_mark != stated->hostinfo_mark)
        what = "was last sent another Hostinfo of";
    else if (known->derp != stated->derp)
        what = "was last sent another home relay of";
    else if (known->online != stated->online)
        what = stated->online == 2 ? "thinks offline" : "thinks online";
    if (what == NULL)
        return;
    r->differing++;
    fault(t, v->self, peer, what);
}

static void check_peer(const struct view *v, const struct view_truth *t, unsigned peer, struct view_report *r)
{
    bool must = bit_get(t->class->visible, peer), does = bit_get(v->known, peer);
    if (must && !does) {
        r->missing++;
        fault(t, v->self, peer, "does not know");
    } else if (!must && does) {
        r->extra++;
        fault(t, v->self, peer, "knows, against the policy,");
    } else if (does) {
        r->without_endpoints += !bit_get(v->endpoints, peer);
        if (t->stated != NULL)
            check_facts(v, t, peer, r);
    }
}

void view_check(const struct view *v, const struct view_truth *t, struct view_report *r)
{
    for (unsigned peer = 0; peer < t->members; peer++) {
        if (peer != v->self)
            check_peer(v, t, peer, r);
    }
    r->pairs += t->members - 1;
    for (unsigned w = roster_foreign_base(t->members) / 64; w < roster_words(t->members); w++)
        r->foreign += count(v->known[w]);
}
