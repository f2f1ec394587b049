/* Selectors of one address are looked up by value. The ends of all wider ranges cut each family into cells, whose
 * addresses are all in the same ranges; the ranges of a cell are searched when an address of a node first falls into
 * it. */
#include "engine/address_index.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/mem.h"

struct cell {
    uint8_t family;
    ip_number first;
    bool is_known;
    sel_id *sel; /* heap */
    size_t n;
};

struct single {
    struct range at;
    sel_id sel;
    struct single *next;
};

struct address_index {
    const struct policy_doc *doc;
    struct arena arena;
    struct map single_by_addr;
    uint32_t *wide; /* indexes of the document's ranges with more than one address */
    size_t wide_n, wide_cap;
    struct cell *cell; /* heap; sorted; the first cell of a family begins at 0 */
    size_t cell_n, cell_cap;
};

static int compare_cells(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static void add_single(struct address_index *c, const struct sel_range *e)
{
    struct single *s = arena_zalloc(&c->arena, 1, sizeof(*s) + sizeof(struct range_key));
    struct range_key *key = (struct range_key *)(s + 1);
    *key = range_key_of(&e->range);
    *s = (struct single){e->range, e->sel, map_get(&c->single_by_addr, key, sizeof(*key))};
    map_put(&c->single_by_addr, key, sizeof(*key), s);
}

static void add_cut(struct address_index *c, uint8_t family, ip_number first)
{
    VEC_PUSH(c->cell, c->cell_n, c->cell_cap, ((struct cell){.family = family, .first = first}));
}

static void add_wide(struct address_index *c, uint32_t index)
{
    const struct range *r = &c->doc->range[index].range;
    ip_number last = r->family == 4 ? UINT32_MAX : ~(ip_number)0;
    VEC_PUSH(c->wide, c->wide_n, c->wide_cap, index);
    add_cut(c, r->family, r->lo);
    if (r->hi != last)
        add_cut(c, r->family, r->hi + 1);
}

static void sort_cells(struct address_index *c)
{
    size_t n = 0;
    add_cut(c, 4, 0);
    add_cut(c, 6, 0);
    qsort(c->cell, c->cell_n, sizeof(*c->cell), compare_cells);
    for (size_t i = 0; i < c->cell_n; i++) {
        if (n == 0 || compare_cells(&c->cell[n - 1], &c->cell[i]) != 0)
            c->cell[n++] = c->cell[i];
    }
    c->cell_n = n;
}

struct address_index *address_index_create(const struct policy_doc *doc)
{
    struct address_index *c = MEM_NEW(struct address_index);
    c->doc = doc;
    map_init(&c->single_by_addr, NULL);
    for (uint32_t i = 0; i < doc->range_n; i++) {
        const struct sel_range *e = &doc->range[i];
        /* autogroup:internet holds no node: exit routes decide. */
        if (doc->sel[e->sel].kind == SEL_INTERNET)
            continue;
        if (range_is_single(&e->range))
            add_single(c, e);
        else
            add_wide(c, i);
    }
    sort_cells(c);
    return c;
}

void address_index_destroy(struct address_index **c_ptr)
{
    struct address_index *c = *c_ptr;
    *c_ptr = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->cell_n; i++)
        mem_free(c->cell[i].sel);
    mem_free(c->cell);
    mem_free(c->wide);
    map_fini(&c->single_by_addr);
    arena_fini(&c->arena);
    mem_free(c);
}

static void explore(const struct address_index *c, struct cell *cell)
{
    size_t cap = 0;
    for (size_t i = 0; i < c->wide_n; i++) {
        const struct sel_range *e = &c->doc->range[c->wide[i]];
        if (range_has(&e->range, cell->family, cell->first))
            VEC_PUSH(cell->sel, cell->n, cap, e->sel);
    }
    cell->is_known = true;
}

void address_index_find(struct address_index *c, const struct range *address, uint64_t *in)
{
    if (address->family == 0)
        return;
    struct range_key key = range_key_of(address);
    for (const struct single *s = map_get(&c->single_by_addr, &key, sizeof(key)); s != NULL; s = s->next)
        bit_put(in, s->sel);
    const struct cell wanted = {.family = address->family, .first = address->lo};
    size_t lo = 0, hi = c->cell_n;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (compare_cells(&c->cell[mid], &wanted) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    struct cell *cell = &c->cell[lo];
    if (!cell->is_known)
        explore(c, cell);
    for (size_t i = 0; i < cell->n; i++)
        bit_put(in, cell->sel[i]);
}
