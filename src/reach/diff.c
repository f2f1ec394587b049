/* The difference between two policies, computed on sets. Addresses that both policies treat alike form an atom, and
 * pairs of atoms are compared instead of pairs of addresses.
 *
 * The key of an atom is all that decides about its addresses in either policy: the selectors that hold them, the
 * posture sets that their nodes satisfy, and the owner if autogroup:self is used. An allowance is one protocol to
 * one destination of a rule; an atom has a set of allowances that it is a source of, and one that it is a
 * destination of. The allowances that a pair of atoms shares give a set of (protocol, ports), which is kept once. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "reach/reach_internal.h"

/* What a rule allows to one of its destinations with one protocol. */
struct allowance {
    const struct rule *rule;
    sel_id dst;
    uint8_t proto;
    const struct port_list *ports;
};

struct atom {
    struct str key;
    struct range_set ranges;
    uint8_t family;
    const struct engine_node *node[2]; /* one of its nodes; null: no node has its addresses */
    bool is_routed[2];                 /* `*` holds them as sources */
    bool is_internet;
    uint64_t *in[2];  /* selectors */
    uint64_t *src[2]; /* allowances */
    uint64_t *dst[2];
};

struct side {
    struct engine *e;
    struct allowance *allowance; /* heap */
    size_t n, cap, words;
    uint64_t *self;  /* allowances whose destination is autogroup:self */
    struct map sets; /* struct port_set *, by set of allowances */
};

/* Allowed protocols and ports. In these ranges `family` is the protocol, and the numbers are ports. */
struct port_set {
    struct range_set v;
};

/* Sources that gain or lose the same at the same destinations. */
struct row {
    struct str key;
    struct range what;
    bool is_gained;
    uint64_t *dst; /* atoms */
    uint64_t *src;
};

struct diff {
    struct side side[2];
    struct arena arena;
    struct map atom_by_key;
    struct atom **atom; /* heap */
    size_t atom_n, atom_cap;
    struct port_set **set; /* heap: all of them, to be freed */
    size_t set_n, set_cap;
    struct map set_by_content;
    struct map row_by_key;
    struct row **row; /* heap */
    size_t row_n, row_cap;
};

/* --- allowances --- */

static void add_rule(struct side *s, const struct rule *rule)
{
    for (size_t d = 0; d < rule->dst_n; d++) {
        for (size_t i = 0; i < rule->ip_n; i++) {
            const struct port_list *ports = rule->is_acl ? &rule->dst[d].ports : &rule->ip[i].ports;
            struct allowance a = {rule, rule->dst[d].sel, rule->ip[i].proto, ports};
            VEC_PUSH(s->allowance, s->n, s->cap, a);
        }
    }
}

static void make_side(struct diff *d, int which, struct engine *e)
{
    struct side *s = &d->side[which];
    s->e = e;
    map_init(&s->sets, NULL);
    for (size_t i = 0; i < e->doc->rule_n; i++)
        add_rule(s, &e->doc->rule[i]);
    s->words = bits_words(s->n) + 1;
    s->self = arena_zalloc(&d->arena, s->words, sizeof(*s->self));
    for (size_t i = 0; i < s->n; i++) {
        if (e->doc->sel[s->allowance[i].dst].kind == SEL_SELF)
            bit_put(s->self, i);
    }
}

static bool is_source(const struct side *s, const struct atom *a, int which, const struct rule *rule)
{
    if (a->node[which] != NULL && !bit_get(a->node[which]->class->postures, rule->posture))
        return false;
    for (size_t i = 0; i < rule->src.n; i++) {
        enum sel_kind kind = s->e->doc->sel[rule->src.v[i]].kind;
        if (kind == SEL_DANGER_ALL || (kind == SEL_STAR && a->is_routed[which]) ||
            bit_get(a->in[which], rule->src.v[i]))
            return true;
    }
    return false;
}

static bool is_destination(const struct side *s, const struct atom *a, int which, sel_id sel)
{
    enum sel_kind kind = s->e->doc->sel[sel].kind;
    return kind == SEL_STAR || (kind == SEL_INTERNET && a->is_internet) || bit_get(a->in[which], sel);
}

static void mark_allowances(struct diff *d, struct atom *a, int which)
{
    const struct side *s = &d->side[which];
    const struct rule *last = NULL;
    bool is_src = false;
    a->src[which] = arena_zalloc(&d->arena, s->words, sizeof(uint64_t));
    a->dst[which] = arena_zalloc(&d->arena, s->words, sizeof(uint64_t));
    for (size_t i = 0; i < s->n; i++) {
        if (s->allowance[i].rule != last)
            is_src = is_source(s, a, which, s->allowance[i].rule);
        last = s->allowance[i].rule;
        if (is_src)
            bit_put(a->src[which], i);
        if (is_destination(s, a, which, s->allowance[i].dst))
            bit_put(a->dst[which], i);
    }
}

/* --- atoms --- */

static bool is_in_internet(const struct range *at)
{
    for (size_t i = 0; i < range_internet_n; i++) {
        if (range_holds(&range_internet[i], at))
            return true;
    }
    return false;
}

/* Whether `*` holds the addresses as sources, other than as a node's own. */
static bool is_routed(const struct engine *e, const struct range *at)
{
    return range_set_holds(&e->routes.tailnet, at) || route_index_holds(&e->routes, at);
}

static void put_key(struct diff *d, const struct atom *a, struct buf *key)
{
    for (int i = 0; i < 2; i++) {
        const struct engine *e = d->side[i].e;
        const struct engine_node *n = a->node[i];
        buf_append(key, a->in[i], e->sel_words * sizeof(uint64_t));
        buf_append_byte(key, n != NULL);
        if (n != NULL)
            buf_append(key, n->class->postures, bits_words(e->doc->posture_set_n) * sizeof(uint64_t));
        if (n != NULL && n->owner != NULL && d->side[0].e->rules.self_rules.n + d->side[1].e->rules.self_rules.n > 0)
            buf_append(key, &n->owner->id, sizeof(n->owner->id));
        else
            buf_append_c(key, "-");
    }
    buf_append_byte(key, a->family);
    buf_append(key, a->is_routed, sizeof(a->is_routed));
    buf_append_byte(key, a->is_internet);
}

/* Adds a range, whose addresses are all treated alike, to its atom. */
static void add_range(struct diff *d, const struct range *at, const struct engine_node *before,
                      const struct engine_node *after)
{
    const struct range first = {at->lo, at->lo, at->family};
    struct atom probe = {.family = at->family, .node = {before, after}};
    struct buf key = {0};
    for (int i = 0; i < 2; i++) {
        probe.in[i] = mem_zalloc(d->side[i].e->sel_words + 1, sizeof(uint64_t));
        reach_selectors_at(d->side[i].e, probe.node[i], &first, probe.in[i]);
    }
    for (int i = 0; i < 2; i++)
        probe.is_routed[i] = probe.node[i] != NULL || is_routed(d->side[i].e, &first);
    probe.is_internet = is_in_internet(&first);
    put_key(d, &probe, &key);
    struct atom *a = map_get(&d->atom_by_key, buf_at(&key), buf_len(&key));
    if (a == NULL) {
        a = arena_zalloc(&d->arena, 1, sizeof(*a));
        *a = probe;
        for (int i = 0; i < 2; i++) {
            a->in[i] = arena_zalloc(&d->arena, d->side[i].e->sel_words, sizeof(uint64_t));
            memcpy(a->in[i], probe.in[i], d->side[i].e->sel_words * sizeof(uint64_t));
        }
        a->key = arena_str(&d->arena, buf_str(&key));
        map_put(&d->atom_by_key, a->key.p, a->key.len, a);
        VEC_PUSH(d->atom, d->atom_n, d->atom_cap, a);
    }
    range_set_add(&a->ranges, *at);
    for (int i = 0; i < 2; i++)
        mem_free(probe.in[i]);
    buf_fini(&key);
}

static void add_cuts(struct range_set *cuts, const struct range *r)
{
    ip_number last = r->family == 4 ? UINT32_MAX : ~(ip_number)0;
    if (r->family == 0)
        return;
    range_set_add(cuts, (struct range){r->lo, r->lo, r->family});
    if (r->hi != last)
        range_set_add(cuts, (struct range){r->hi + 1, r->hi + 1, r->family});
}

static int compare_cuts(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->family != y->family)
        return x->family < y->family ? -1 : 1;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* All addresses at which a range begins, or ends before, that either policy distinguishes. */
static void find_cuts(const struct diff *d, struct range_set *cuts)
{
    size_t pos = 0;
    const struct engine_node *n;
    const struct route_holders *h;
    range_set_add(cuts, (struct range){0, 0, 4});
    range_set_add(cuts, (struct range){0, 0, 6});
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < d->side[i].e->doc->range_n; k++)
            add_cuts(cuts, &d->side[i].e->doc->range[k].range);
    }
    for (size_t i = 0; i < range_internet_n; i++)
        add_cuts(cuts, &range_internet[i]);
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < d->side[i].e->routes.tailnet.n; k++)
            add_cuts(cuts, &d->side[i].e->routes.tailnet.v[k]);
    }
    while ((h = map_next(&d->side[0].e->routes.by_range, &pos)) != NULL)
        add_cuts(cuts, &h->range);
    pos = 0;
    while ((n = map_next(&d->side[0].e->nodes.by_id, &pos)) != NULL) {
        add_cuts(cuts, &n->v4);
        add_cuts(cuts, &n->v6);
    }
    qsort(cuts->v, cuts->n, sizeof(*cuts->v), compare_cuts);
}

/* Adds the nodes' own addresses, also to `taken`. */
static void add_nodes(struct diff *d, struct range_set *taken)
{
    size_t pos = 0;
    const struct engine_node *n;
    while ((n = map_next(&d->side[0].e->nodes.by_id, &pos)) != NULL) {
        const struct engine_node *after = engine_node_find(&d->side[1].e->nodes, n->id);
        for (int family = 4; after != NULL && family <= 6; family += 2) {
            struct range own = engine_node_range(n, family);
            if (own.family == 0)
                continue;
            add_range(d, &own, n, after);
            range_set_add(taken, own);
        }
    }
    range_set_join(taken);
}

static void make_atoms(struct diff *d)
{
    struct range_set cuts = {0}, taken = {0};
    add_nodes(d, &taken);
    find_cuts(d, &cuts);
    for (size_t i = 0; i < cuts.n; i++) {
        struct range r = cuts.v[i];
        bool is_last = i + 1 == cuts.n || cuts.v[i + 1].family != r.family;
        r.hi = !is_last ? cuts.v[i + 1].lo - 1 : r.family == 4 ? UINT32_MAX : ~(ip_number)0;
        bool is_again = !is_last && cuts.v[i + 1].lo == r.lo;
        if (!is_again && !range_set_has(&taken, r.family, r.lo))
            add_range(d, &r, NULL, NULL);
    }
    for (size_t i = 0; i < d->atom_n; i++) {
        range_set_join(&d->atom[i]->ranges);
        mark_allowances(d, d->atom[i], 0);
        mark_allowances(d, d->atom[i], 1);
    }
    range_set_fini(&cuts);
    range_set_fini(&taken);
}

/* --- protocols and ports --- */

static void add_ports(struct range_set *v, const struct allowance *a)
{
    static const uint8_t usual[] = {1, 6, 17, 58};
    for (size_t i = 0; i < a->ports->n; i++) {
        struct range r = {a->ports->v[i].first, a->ports->v[i].last, a->proto};
        for (size_t k = 0; a->proto == 0 && k < ARRAY_LEN(usual); k++)
            range_set_add(v, (struct range){r.lo, r.hi, usual[k]});
        if (a->proto != 0)
            range_set_add(v, r);
    }
}

/* Takes `v`. Equal sets are kept once. */
static struct port_set *intern_set(struct diff *d, struct range_set *v)
{
    struct buf content = {0};
    range_set_join(v);
    for (size_t i = 0; i < v->n; i++) {
        struct range_key key = range_key_of(&v->v[i]);
        buf_append(&content, &key, sizeof(key));
    }
    buf_append_byte(&content, 0);
    struct port_set *set = map_get(&d->set_by_content, buf_at(&content), buf_len(&content));
    if (set != NULL) {
        range_set_fini(v);
    } else {
        struct str key = arena_str(&d->arena, buf_str(&content));
        set = MEM_NEW(struct port_set);
        set->v = *v;
        map_put(&d->set_by_content, key.p, key.len, set);
        VEC_PUSH(d->set, d->set_n, d->set_cap, set);
    }
    buf_fini(&content);
    return set;
}

/* What the pair may do. `bits`: scratch memory, of the side's words. */
static struct port_set *pair_set(struct diff *d, int which, const struct atom *from, const struct atom *to,
                                 uint64_t *bits)
{
    struct side *s = &d->side[which];
    const struct engine_node *a = from->node[which], *b = to->node[which];
    bool is_own = a != NULL && b != NULL && a->owner != NULL && a->owner == b->owner;
    for (size_t w = 0; w < s->words; w++)
        bits[w] = from->src[which][w] & (to->dst[which][w] | (is_own ? s->self[w] : 0));
    struct port_set *set = map_get(&s->sets, bits, s->words * sizeof(*bits));
    if (set != NULL)
        return set;
    struct range_set v = {0};
    BITS_EACH (i, bits, s->words)
        add_ports(&v, &s->allowance[i]);
    set = intern_set(d, &v);
    struct str key = arena_str(&d->arena, str_n(bits, s->words * sizeof(*bits)));
    map_put(&s->sets, key.p, key.len, set);
    return set;
}

/* --- rows --- */

/* The differences of one source, each with its destinations. */
struct source_rows {
    struct range *what; /* heap */
    bool *is_gained;    /* heap */
    uint64_t **dst;     /* heap, of heap */
    size_t n, what_cap, gained_cap, dst_cap;
};

static void note(struct diff *d, struct source_rows *rows, const struct range *what, bool is_gained, size_t to)
{
    size_t i = 0;
    while (i < rows->n && !(rows->what[i].lo == what->lo && rows->what[i].hi == what->hi &&
                            rows->what[i].family == what->family && rows->is_gained[i] == is_gained))
        i++;
    if (i == rows->n) {
        size_t n = rows->n;
        VEC_PUSH(rows->what, n, rows->what_cap, *what);
        n = rows->n;
        VEC_PUSH(rows->is_gained, n, rows->gained_cap, is_gained);
        VEC_PUSH(rows->dst, rows->n, rows->dst_cap, mem_zalloc(bits_words(d->atom_n), sizeof(uint64_t)));
    }
    bit_put(rows->dst[i], to);
}

static void note_difference(struct diff *d, struct source_rows *rows, const struct port_set *from,
                            const struct port_set *to, bool is_gained, size_t dst)
{
    struct range_set v = {0};
    for (size_t i = 0; i < from->v.n; i++)
        range_set_add(&v, from->v.v[i]);
    range_set_subtract(&v, &to->v);
    for (size_t i = 0; i < v.n; i++)
        note(d, rows, &v.v[i], is_gained, dst);
    range_set_fini(&v);
}

/* Sources with the same difference at the same destinations share a row. */
static void keep_rows(struct diff *d, struct source_rows *rows, size_t src)
{
    size_t words = bits_words(d->atom_n);
    for (size_t i = 0; i < rows->n; i++) {
        struct buf key = {0};
        struct range_key what = range_key_of(&rows->what[i]);
        buf_append(&key, &what, sizeof(what));
        buf_append_byte(&key, rows->is_gained[i]);
        buf_append(&key, rows->dst[i], words * sizeof(uint64_t));
        struct row *row = map_get(&d->row_by_key, buf_at(&key), buf_len(&key));
        if (row == NULL) {
            row = arena_zalloc(&d->arena, 1, sizeof(*row));
            *row = (struct row){.what = rows->what[i], .is_gained = rows->is_gained[i]};
            row->key = arena_str(&d->arena, buf_str(&key));
            row->dst = arena_zalloc(&d->arena, words, sizeof(uint64_t));
            row->src = arena_zalloc(&d->arena, words, sizeof(uint64_t));
            memcpy(row->dst, rows->dst[i], words * sizeof(uint64_t));
            map_put(&d->row_by_key, row->key.p, row->key.len, row);
            VEC_PUSH(d->row, d->row_n, d->row_cap, row);
        }
        bit_put(row->src, src);
        mem_free(rows->dst[i]);
        buf_fini(&key);
    }
    rows->n = 0;
}

static void compare_pairs(struct diff *d)
{
    struct source_rows rows = {0};
    uint64_t *bits[2];
    for (int i = 0; i < 2; i++)
        bits[i] = mem_zalloc(d->side[i].words, sizeof(uint64_t));
    for (size_t a = 0; a < d->atom_n; a++) {
        for (size_t b = 0; b < d->atom_n; b++) {
            if (d->atom[a]->family != d->atom[b]->family)
                continue;
            const struct port_set *before = pair_set(d, 0, d->atom[a], d->atom[b], bits[0]);
            const struct port_set *after = pair_set(d, 1, d->atom[a], d->atom[b], bits[1]);
            if (before == after)
                continue;
            note_difference(d, &rows, after, before, true, b);
            note_difference(d, &rows, before, after, false, b);
        }
        keep_rows(d, &rows, a);
    }
    for (int i = 0; i < 2; i++)
        mem_free(bits[i]);
    mem_free(rows.what);
    mem_free(rows.is_gained);
    mem_free(rows.dst);
}

/* --- output --- */

static void put_atoms(const struct diff *d, const uint64_t *atoms, struct buf *out)
{
    struct range_set all = {0};
    char text[RANGE_TEXT_CAP];
    BITS_EACH (i, atoms, bits_words(d->atom_n)) {
        for (size_t k = 0; k < d->atom[i]->ranges.n; k++)
            range_set_add(&all, d->atom[i]->ranges.v[k]);
    }
    range_set_join(&all);
    for (size_t i = 0; i < all.n; i++) {
        buf_append_c(out, i > 0 ? ", " : "");
        buf_append(out, text, range_format(&all.v[i], text));
    }
    range_set_fini(&all);
}

static void emit_rows(const struct diff *d, void (*emit)(void *ctx, const struct reach_difference *reach), void *ctx)
{
    for (size_t i = 0; i < d->row_n; i++) {
        const struct row *row = d->row[i];
        struct buf source = {0}, destination = {0};
        put_atoms(d, row->src, &source);
        put_atoms(d, row->dst, &destination);
        struct reach_difference reach = {row->is_gained,   buf_str(&source),       buf_str(&destination),
                                         row->what.family, (uint16_t)row->what.lo, (uint16_t)row->what.hi};
        emit(ctx, &reach);
        buf_fini(&source);
        buf_fini(&destination);
    }
}

static void diff_fini(struct diff *d)
{
    for (size_t i = 0; i < d->atom_n; i++)
        range_set_fini(&d->atom[i]->ranges);
    for (size_t i = 0; i < d->set_n; i++) {
        range_set_fini(&d->set[i]->v);
        mem_free(d->set[i]);
    }
    for (int i = 0; i < 2; i++) {
        map_fini(&d->side[i].sets);
        mem_free(d->side[i].allowance);
    }
    map_fini(&d->atom_by_key);
    map_fini(&d->set_by_content);
    map_fini(&d->row_by_key);
    mem_free(d->atom);
    mem_free(d->set);
    mem_free(d->row);
    arena_fini(&d->arena);
}

void reach_diff(struct engine *before, struct engine *after,
                void (*emit)(void *ctx, const struct reach_difference *reach), void *ctx)
{
    struct diff d = {0};
    map_init(&d.atom_by_key, NULL);
    map_init(&d.set_by_content, NULL);
    map_init(&d.row_by_key, NULL);
    make_side(&d, 0, before);
    make_side(&d, 1, after);
    make_atoms(&d);
    compare_pairs(&d);
    emit_rows(&d, emit, ctx);
    diff_fini(&d);
}
