/* Who sees whom, as an immutable copy. */
#include <string.h>

#include "base/mem.h"
#include "policy/policy_internal.h"

struct policy_view {
    atomic_uint refs;
    size_t seat_cap; /* power of two */
    size_t class_cap;
    size_t words;      /* of a row */
    struct seat *seat; /* one block holds everything; owned */
    uint64_t *rows;    /* by class */
    uint64_t *self;    /* classes that are sources of a rule with autogroup:self */
};

static size_t slot_of(const struct policy_view *v, uint64_t id)
{
    /* Fibonacci hashing: ids are small numbers in a row. */
    return (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (v->seat_cap - 1);
}

static void seat_node(struct policy_view *v, const struct node_state *n)
{
    size_t i = slot_of(v, n->id);
    while (v->seat[i].id != 0)
        i = (i + 1) & (v->seat_cap - 1);
    v->seat[i] = (struct seat){n->id, n->class->index, n->owner != NULL ? n->owner->number : 0};
}

static const struct seat *find_seat(const struct policy_view *v, uint64_t id)
{
    size_t i = slot_of(v, id);
    while (v->seat[i].id != 0 && v->seat[i].id != id)
        i = (i + 1) & (v->seat_cap - 1);
    return id != 0 && v->seat[i].id == id ? &v->seat[i] : NULL;
}

static struct policy_view *view_make(const struct policy *p)
{
    struct policy_view *v = MEM_NEW(struct policy_view);
    size_t pos = 0;
    const struct node_state *n;
    atomic_init(&v->refs, 1);
    v->seat_cap = 16;
    while (v->seat_cap < p->node_by_id.n * 2)
        v->seat_cap *= 2;
    v->class_cap = p->class_cap;
    v->words = bits_words(p->class_cap);
    size_t row_words = (v->class_cap + 1) * v->words;
    v->seat = mem_zalloc(1, v->seat_cap * sizeof(*v->seat) + row_words * sizeof(*v->rows));
    v->rows = (uint64_t *)(v->seat + v->seat_cap);
    v->self = v->rows + v->class_cap * v->words;
    CLASS_EACH (c, p) {
        memcpy(v->rows + c->index * v->words, c->row, v->words * sizeof(*c->row));
        if (c->is_self_source)
            bit_put(v->self, c->index);
    }
    while ((n = map_next(&p->node_by_id, &pos)) != NULL)
        seat_node(v, n);
    return v;
}

struct policy_view *policy_view_get(struct policy *p)
{
    if (p->view == NULL)
        p->view = view_make(p);
    return policy_view_ref(p->view);
}

struct policy_view *policy_view_ref(struct policy_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void policy_view_unref(struct policy_view **v_ptr)
{
    struct policy_view *v = *v_ptr;
    *v_ptr = NULL;
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(v->seat);
    mem_free(v);
}

bool policy_view_sees(const struct policy_view *v, uint64_t a, uint64_t b)
{
    const struct seat *x = find_seat(v, a), *y = find_seat(v, b);
    if (x == NULL || y == NULL || x == y)
        return false;
    bool is_own = x->owner != 0 && x->owner == y->owner && (bit_get(v->self, x->class) || bit_get(v->self, y->class));
    return is_own || bit_get(v->rows + x->class * v->words, y->class);
}

int64_t policy_view_class(const struct policy_view *v, uint64_t id)
{
    const struct seat *s = find_seat(v, id);
    return s != NULL ? (int64_t)s->class : -1;
}
