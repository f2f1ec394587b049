/* Who sees whom, as an immutable copy. */
#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "engine/parts.h"

/* What there is of classes; made anew when one came or went. */
struct class_table {
    atomic_uint refs;
    size_t cap;
    size_t words;   /* of a row */
    uint64_t *self; /* classes that are sources of a rule with autogroup:self */
    uint64_t *made; /* by class: when it was */
    uint64_t rows[];
};

struct engine_view {
    atomic_uint refs;
    bool has_self; /* there is a rule with autogroup:self */
    struct class_table *classes;
    struct pages seats;
    struct pages in_class; /* nodes by class index */
    struct pages of_owner; /* nodes by number of their owner; empty unless it matters who that is */
};

/* --- the writer's side --- */

void seat_node(struct engine *p, const struct engine_node *n)
{
    seating_put(&p->seats, n->id, (struct seat){n->class->index, n->owner != NULL ? n->owner->number : 0});
    rolls_add(&p->in_class, n->class->index, n->id);
    if (p->has_own && n->owner != NULL)
        rolls_add(&p->of_owner, n->owner->number, n->id);
}

void unseat_node(struct engine *p, const struct engine_node *n)
{
    seating_put(&p->seats, n->id, (struct seat){.class = ENGINE_NO_CLASS});
    rolls_remove(&p->in_class, n->class->index, n->id);
    if (p->has_own && n->owner != NULL)
        rolls_remove(&p->of_owner, n->owner->number, n->id);
}

void class_table_unref(struct class_table **at)
{
    struct class_table *t = *at;
    *at = NULL;
    if (t != NULL && refs_drop(&t->refs))
        mem_free(t);
}

static struct class_table *class_table_make(const struct engine *p)
{
    size_t words = bits_words(p->class_cap), row_words = (p->class_cap + 1) * words + p->class_cap;
    struct class_table *t = mem_zalloc(1, sizeof(*t) + row_words * sizeof(t->rows[0]));
    atomic_init(&t->refs, 1);
    t->cap = p->class_cap;
    t->words = words;
    t->self = t->rows + t->cap * words;
    t->made = t->self + words;
    CLASS_EACH (c, p) {
        memcpy(t->rows + c->index * words, c->row, words * sizeof(*c->row));
        t->made[c->index] = c->version;
        if (c->is_self_source)
            bit_put(t->self, c->index);
    }
    return t;
}

static struct engine_view *view_make(struct engine *p)
{
    struct engine_view *v = MEM_NEW(struct engine_view);
    atomic_init(&v->refs, 1);
    if (p->classes == NULL)
        p->classes = class_table_make(p);
    atomic_fetch_add_explicit(&p->classes->refs, 1, memory_order_relaxed);
    v->classes = p->classes;
    v->has_self = p->self_rule_n > 0;
    v->seats = pages_freeze(&p->seats);
    v->in_class = pages_freeze(&p->in_class);
    v->of_owner = pages_freeze(&p->of_owner);
    return v;
}

struct engine_view *engine_view_get(struct engine *p)
{
    if (p->view == NULL)
        p->view = view_make(p);
    return engine_view_ref(p->view);
}

void engine_mark_moved(const struct engine *p, uint64_t since, uint64_t *set, size_t words)
{
    CLASS_EACH (c, p) {
        if (class_version(p, c) > since)
            roll_mark(rolls_get(&p->in_class, c->index), set, words);
    }
    for (const struct list *it = p->owners_by_version.prev; it != &p->owners_by_version; it = it->prev) {
        const struct owner *o = LIST_ENTRY(it, struct owner, by_version);
        if (o->version <= since)
            break;
        roll_mark(rolls_get(&p->of_owner, o->number), set, words);
    }
    for (const struct list *it = p->nodes_by_version.prev; it != &p->nodes_by_version; it = it->prev) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, by_version);
        if (n->version <= since)
            break;
        if (n->id / 64 < words)
            bit_put(set, n->id);
    }
}

/* --- views --- */

struct engine_view *engine_view_ref(struct engine_view *v)
{
    refs_take(&v->refs);
    return v;
}

void engine_view_unref(struct engine_view **v_ptr)
{
    struct engine_view *v = *v_ptr;
    *v_ptr = NULL;
    if (v == NULL || !refs_drop(&v->refs))
        return;
    class_table_unref(&v->classes);
    seating_fini(&v->seats);
    rolls_fini(&v->in_class);
    rolls_fini(&v->of_owner);
    mem_free(v);
}

/* Rows do not know autogroup:self, which makes peers within a user's own nodes. */
static bool see(const struct engine_view *v, size_t a, uint32_t a_owner, size_t b, uint32_t b_owner)
{
    const struct class_table *t = v->classes;
    bool is_own = v->has_self && a_owner != 0 && a_owner == b_owner && (bit_get(t->self, a) || bit_get(t->self, b));
    return is_own || bit_get(t->rows + a * t->words, b);
}

bool engine_view_sees(const struct engine_view *v, uint64_t a, uint64_t b)
{
    struct seat x = seating_get(&v->seats, a), y = seating_get(&v->seats, b);
    if (x.class == ENGINE_NO_CLASS || y.class == ENGINE_NO_CLASS || a == b)
        return false;
    return see(v, x.class, x.owner, y.class, y.owner);
}

struct viewer_key engine_view_key(const struct engine_view *v, uint64_t id)
{
    struct seat s = seating_get(&v->seats, id);
    if (s.class == ENGINE_NO_CLASS)
        return (struct viewer_key){.class_index = ENGINE_NO_CLASS};
    return (struct viewer_key){s.class, v->has_self ? s.owner : 0, v->classes->made[s.class]};
}

bool engine_view_keys_see(const struct engine_view *v, struct viewer_key a, struct viewer_key b)
{
    if (a.class_index >= v->classes->cap || b.class_index >= v->classes->cap)
        return false;
    return see(v, a.class_index, a.owner, b.class_index, b.owner);
}

/* Of the nodes of the viewer's owner those that see each other for that reason. */
static void mark_own(const struct engine_view *v, struct viewer_key viewer, uint64_t *set, size_t words)
{
    const struct roll *own = rolls_get(&v->of_owner, viewer.owner);
    if (bit_get(v->classes->self, viewer.class_index)) {
        roll_mark(own, set, words);
        return;
    }
    for (size_t i = 0; own != NULL && i < own->n && own->v[i].word < words; i++) {
        uint64_t word = own->v[i].word, mask = own->v[i].mask;
        BITS_EACH (k, &mask, 1) {
            if (bit_get(v->classes->self, seating_get(&v->seats, word * 64 + k).class))
                set[word] |= UINT64_C(1) << k;
        }
    }
}

void engine_view_mark(const struct engine_view *v, struct viewer_key viewer, uint64_t *set, size_t words)
{
    const struct class_table *t = v->classes;
    if (viewer.class_index >= t->cap)
        return;
    BITS_EACH (c, t->rows + viewer.class_index * t->words, t->words)
        roll_mark(rolls_get(&v->in_class, c), set, words);
    if (v->has_self && viewer.owner != 0)
        mark_own(v, viewer, set, words);
}

bool engine_view_class_made(const struct engine_view *v, size_t class_index, uint64_t *out)
{
    *out = class_index < v->classes->cap ? v->classes->made[class_index] : 0;
    return *out != 0;
}

size_t engine_view_class_cap(const struct engine_view *v)
{
    return v->classes->cap;
}

bool engine_view_same_classes(const struct engine_view *a, const struct engine_view *b)
{
    return a->classes == b->classes;
}

uint64_t engine_class_member(const struct engine *p, size_t class_index, uint64_t except)
{
    const struct class *c = class_index < p->class_cap ? p->class_at[class_index] : NULL;
    if (c == NULL)
        return 0;
    LIST_EACH (it, &c->nodes) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, of_class);
        if (n->id != except)
            return n->id;
    }
    return 0;
}

uint64_t engine_clock(const struct engine *p)
{
    return p->clock;
}

int64_t engine_view_class(const struct engine_view *v, uint64_t id)
{
    struct seat s = seating_get(&v->seats, id);
    return s.class != ENGINE_NO_CLASS ? (int64_t)s.class : -1;
}
