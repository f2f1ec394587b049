/* The builder of views, and views. */
#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "engine/tables.h"

/* The rows of all classes: copied when a class came or went, shared by all views until then. */
struct class_rows {
    atomic_uint refs;
    size_t cap;
    size_t words;   /* of a row */
    uint64_t *self; /* classes that are sources of a rule with autogroup:self */
    uint64_t *made; /* by class: its version */
    uint64_t row[]; /* by class */
};

struct engine_view {
    atomic_uint refs;
    bool has_self; /* there is a rule with autogroup:self */
    struct class_rows *rows;
    struct cow_table members;  /* by node id */
    struct cow_table in_class; /* nodes by class index */
    struct cow_table of_owner; /* nodes by number of their owner; empty while no rule depends on owners */
};

/* --- the builder --- */

void view_builder_add(struct view_builder *b, const struct engine_node *n, bool has_own)
{
    memberships_put(&b->members, n->id, (struct membership){n->class->index, n->owner != NULL ? n->owner->number : 0});
    cow_sets_add(&b->in_class, n->class->index, n->id);
    if (has_own && n->owner != NULL)
        cow_sets_add(&b->of_owner, n->owner->number, n->id);
}

void view_builder_remove(struct view_builder *b, const struct engine_node *n, bool has_own)
{
    memberships_put(&b->members, n->id, (struct membership){.class = ENGINE_NO_CLASS});
    cow_sets_remove(&b->in_class, n->class->index, n->id);
    if (has_own && n->owner != NULL)
        cow_sets_remove(&b->of_owner, n->owner->number, n->id);
}

static void class_rows_unref(struct class_rows **at)
{
    struct class_rows *t = *at;
    *at = NULL;
    if (t != NULL && refs_drop(&t->refs))
        mem_free(t);
}

void view_builder_forget_view(struct view_builder *b)
{
    engine_view_unref(&b->view);
}

void view_builder_forget_rows(struct view_builder *b)
{
    class_rows_unref(&b->rows);
}

void view_builder_fini(struct view_builder *b)
{
    engine_view_unref(&b->view);
    class_rows_unref(&b->rows);
    memberships_fini(&b->members);
    cow_sets_fini(&b->in_class);
    cow_sets_fini(&b->of_owner);
}

static struct class_rows *class_rows_make(const struct engine *e)
{
    size_t words = bits_words(e->classes.cap), row_words = (e->classes.cap + 1) * words + e->classes.cap;
    struct class_rows *t = mem_zalloc(1, sizeof(*t) + row_words * sizeof(t->row[0]));
    atomic_init(&t->refs, 1);
    t->cap = e->classes.cap;
    t->words = words;
    t->self = t->row + t->cap * words;
    t->made = t->self + words;
    CLASS_EACH (c, e) {
        memcpy(t->row + c->index * words, c->row, words * sizeof(*c->row));
        t->made[c->index] = c->version;
        if (c->is_self_source)
            bit_put(t->self, c->index);
    }
    return t;
}

static struct engine_view *view_make(struct engine *e)
{
    struct engine_view *v = MEM_NEW(struct engine_view);
    atomic_init(&v->refs, 1);
    if (e->views.rows == NULL)
        e->views.rows = class_rows_make(e);
    refs_take(&e->views.rows->refs);
    v->rows = e->views.rows;
    v->has_self = e->rules.self_rules.n > 0;
    v->members = cow_table_freeze(&e->views.members);
    v->in_class = cow_table_freeze(&e->views.in_class);
    v->of_owner = cow_table_freeze(&e->views.of_owner);
    return v;
}

struct engine_view *engine_view_get(struct engine *e)
{
    if (e->views.view == NULL)
        e->views.view = view_make(e);
    return engine_view_ref(e->views.view);
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
    class_rows_unref(&v->rows);
    memberships_fini(&v->members);
    cow_sets_fini(&v->in_class);
    cow_sets_fini(&v->of_owner);
    mem_free(v);
}

/* Rows do not cover autogroup:self, which makes peers of a user's own nodes. */
static bool see(const struct engine_view *v, size_t a, uint32_t a_owner, size_t b, uint32_t b_owner)
{
    const struct class_rows *t = v->rows;
    bool is_own = v->has_self && a_owner != 0 && a_owner == b_owner && (bit_get(t->self, a) || bit_get(t->self, b));
    return is_own || bit_get(t->row + a * t->words, b);
}

bool engine_view_sees(const struct engine_view *v, uint64_t a, uint64_t b)
{
    struct membership x = memberships_get(&v->members, a), y = memberships_get(&v->members, b);
    if (x.class == ENGINE_NO_CLASS || y.class == ENGINE_NO_CLASS || a == b)
        return false;
    return see(v, x.class, x.owner, y.class, y.owner);
}

struct viewer_key engine_view_key(const struct engine_view *v, uint64_t id)
{
    struct membership s = memberships_get(&v->members, id);
    if (s.class == ENGINE_NO_CLASS)
        return (struct viewer_key){.class_index = ENGINE_NO_CLASS};
    return (struct viewer_key){s.class, v->has_self ? s.owner : 0, v->rows->made[s.class]};
}

bool engine_view_keys_see(const struct engine_view *v, struct viewer_key a, struct viewer_key b)
{
    if (a.class_index >= v->rows->cap || b.class_index >= v->rows->cap)
        return false;
    return see(v, a.class_index, a.owner, b.class_index, b.owner);
}

/* Adds the nodes of the viewer's owner that are peers by autogroup:self. */
static void mark_own(const struct engine_view *v, struct viewer_key viewer, uint64_t *set, size_t words)
{
    const struct id_set *own = cow_sets_get(&v->of_owner, viewer.owner);
    if (bit_get(v->rows->self, viewer.class_index)) {
        id_set_mark(own, set, words);
        return;
    }
    for (size_t i = 0; own != NULL && i < own->n && own->v[i].word < words; i++) {
        uint64_t word = own->v[i].word, mask = own->v[i].mask;
        BITS_EACH (k, &mask, 1) {
            if (bit_get(v->rows->self, memberships_get(&v->members, word * 64 + k).class))
                set[word] |= UINT64_C(1) << k;
        }
    }
}

void engine_view_mark(const struct engine_view *v, struct viewer_key viewer, uint64_t *set, size_t words)
{
    const struct class_rows *t = v->rows;
    if (viewer.class_index >= t->cap)
        return;
    BITS_EACH (c, t->row + viewer.class_index * t->words, t->words)
        id_set_mark(cow_sets_get(&v->in_class, c), set, words);
    if (v->has_self && viewer.owner != 0)
        mark_own(v, viewer, set, words);
}

bool engine_view_class_made(const struct engine_view *v, size_t class_index, uint64_t *out)
{
    *out = class_index < v->rows->cap ? v->rows->made[class_index] : 0;
    return *out != 0;
}

size_t engine_view_class_cap(const struct engine_view *v)
{
    return v->rows->cap;
}

bool engine_view_same_classes(const struct engine_view *a, const struct engine_view *b)
{
    return a->rows == b->rows;
}

int64_t engine_view_class(const struct engine_view *v, uint64_t id)
{
    struct membership s = memberships_get(&v->members, id);
    return s.class != ENGINE_NO_CLASS ? (int64_t)s.class : -1;
}
