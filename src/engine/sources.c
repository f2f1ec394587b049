#include "engine/sources.h"

#include <string.h>

#include "base/mem.h"

/* --- counting nodes --- */

/* Whether the text has the addresses of the class's nodes besides the fixed ones: an address selector stands for its
 * own addresses only (src: docs/protocol/policy.md 2.1), an identity for those of all its nodes. */
static bool lists_class(const struct engine *e, const struct source_list *l, const struct class *c)
{
    if (l->has_danger || (l->has_star && l->posture != 0))
        return !l->has_danger;
    for (size_t i = 0; i < l->sels.n; i++) {
        enum sel_kind kind = e->doc->sel[l->sels.v[i]].kind;
        if (kind != SEL_STAR && kind != SEL_ADDRS && bit_get(c->in, l->sels.v[i]))
            return true;
    }
    return false;
}

static void count_address(struct source_list *l, const struct range *r, int delta)
{
    if (r->family != 0 && !range_set_holds(&l->fixed, r))
        source_hash_range(l->hash, r, delta);
}

void sources_count(struct engine *e, const struct engine_node *n, int delta)
{
    BITS_EACH (i, n->class->member, e->sources.words) {
        struct source_list *l = &e->sources.list[i];
        l->node_n += (size_t)delta;
        if (l->is_recorder)
            l->version = e->clock;
        if (!lists_class(e, l, n->class))
            continue;
        count_address(l, &n->v4, delta);
        count_address(l, &n->v6, delta);
        l->version = e->clock;
    }
    /* The fixed addresses do not include those of nodes that do not satisfy the posture set. */
    for (size_t i = 0; i < e->sources.with_posture.n; i++) {
        struct source_list *l = &e->sources.list[e->sources.with_posture.v[i]];
        if (!engine_node_in_list(n, e->sources.with_posture.v[i]) &&
            (range_set_meets(&l->fixed, &n->v4) || range_set_meets(&l->fixed, &n->v6)))
            l->version = e->clock;
    }
}

uint64_t sources_version(const struct engine *e, const struct source_list *l)
{
    return l->has_star && e->routes.star_version > l->version ? e->routes.star_version : l->version;
}

/* --- texts --- */

struct texts {
    struct arena arena;
    struct str *v; /* heap */
    size_t n, cap;
};

static void texts_add(struct texts *t, const struct range *r)
{
    char out[RANGE_TEXT_CAP];
    struct str text = arena_str(&t->arena, str_n(out, range_format(r, out)));
    VEC_PUSH(t->v, t->n, t->cap, text);
}

/* The byte at `depth`; 0 at the end, since no text contains it. */
static uint8_t byte_at(const struct str *s, size_t depth)
{
    return depth < s->len ? (uint8_t)s->p[depth] : 0;
}

static void swap(struct str *v, size_t a, size_t b)
{
    struct str s = v[a];
    v[a] = v[b];
    v[b] = s;
}

static void sort_few(struct str *v, size_t n, size_t depth)
{
    for (size_t i = 1; i < n; i++) {
        for (size_t k = i; k > 0; k--) {
            const struct str *a = &v[k - 1], *b = &v[k];
            size_t at = depth;
            while (byte_at(a, at) == byte_at(b, at) && at < a->len)
                at++;
            if (byte_at(a, at) <= byte_at(b, at))
                break;
            swap(v, k - 1, k);
        }
    }
}

/* Three-way radix quicksort: addresses have long common beginnings, and no byte is compared twice. The recursion is
 * bounded: each level has consumed a byte of the text or one of the few characters that addresses consist of. */
static void sort_texts(struct str *v, size_t n, size_t depth)
{
    while (n > 8) {
        uint8_t pivot = byte_at(&v[n / 2], depth);
        size_t less = 0, at = 0, more = n;
        while (at < more) {
            uint8_t c = byte_at(&v[at], depth);
            if (c < pivot)
                swap(v, less++, at++);
            else if (c > pivot)
                swap(v, at, --more);
            else
                at++;
        }
        sort_texts(v, less, depth);
        sort_texts(v + more, n - more, depth);
        if (pivot == 0)
            return;
        v += less;
        n = more - less;
        depth++;
    }
    sort_few(v, n, depth);
}

static void texts_add_set(struct texts *t, const struct range_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        texts_add(t, &s->v[i]);
}

/* Writes the texts as a JSON array, sorted and each once, with `before` and `after` around each; frees them. */
static void texts_take(struct texts *t, const char *before, const char *after, struct buf *out)
{
    sort_texts(t->v, t->n, 0);
    buf_append_byte(out, '[');
    for (size_t i = 0; i < t->n; i++) {
        if (i > 0 && str_eq(t->v[i], t->v[i - 1]))
            continue;
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append_c(out, before);
        buf_append_str(out, t->v[i]);
        buf_append_c(out, after);
    }
    buf_append_byte(out, ']');
    mem_free(t->v);
    arena_fini(&t->arena);
}

static void add_node(struct range_set *s, const struct engine_node *n)
{
    range_set_add(s, n->v4);
    range_set_add(s, n->v6);
}

/* Adds the addresses of all nodes of the list or, when `sel` is given, of those that this selector holds. */
static void gather_nodes(const struct engine *e, uint32_t list, const sel_id *sel, struct range_set *out)
{
    CLASS_EACH (c, e) {
        if (!bit_get(c->member, list) ||
            (sel != NULL ? !bit_get(c->in, *sel) : !lists_class(e, &e->sources.list[list], c)))
            continue;
        LIST_EACH (it, &c->nodes)
            add_node(out, LIST_ENTRY(it, struct engine_node, class_link));
    }
}

/* Removes the addresses of nodes that do not satisfy the list's posture set. src: docs/protocol/policy.md 7.3 */
static void drop_unfit(const struct engine *e, uint32_t list, struct range_set *s)
{
    struct range_set unfit = {0};
    if (e->sources.list[list].posture == 0)
        return;
    CLASS_EACH (c, e) {
        if (bit_get(c->member, list))
            continue;
        LIST_EACH (it, &c->nodes)
            add_node(&unfit, LIST_ENTRY(it, struct engine_node, class_link));
    }
    range_set_join(&unfit);
    range_set_subtract(s, &unfit);
    range_set_fini(&unfit);
}

static void add_fixed(const struct engine *e, uint32_t list, const struct range_set *fixed, struct range_set *out)
{
    struct range_set copy = {0};
    for (size_t i = 0; i < fixed->n; i++)
        range_set_add(&copy, fixed->v[i]);
    drop_unfit(e, list, &copy);
    for (size_t i = 0; i < copy.n; i++)
        range_set_add(out, copy.v[i]);
    range_set_fini(&copy);
}

/* Adds all addresses as one set: ranges that touch are joined. */
static void add_union(const struct engine *e, uint32_t list, struct texts *t)
{
    struct range_set all = {0};
    gather_nodes(e, list, NULL, &all);
    add_fixed(e, list, &e->sources.list[list].fixed, &all);
    range_set_join(&all);
    texts_add_set(t, &all);
    range_set_fini(&all);
}

static void add_routes(const struct engine *e, struct texts *t)
{
    size_t pos = 0;
    const struct route_holders *h;
    while ((h = map_next(&e->routes.by_range, &pos)) != NULL)
        texts_add(t, &h->range);
}

static void add_strays(const struct engine *e, struct texts *t)
{
    struct range_set strays = {0};
    LIST_EACH (it, &e->routes.strays)
        route_index_add_strays(&e->routes, LIST_ENTRY(it, struct engine_node, stray_link), &strays);
    range_set_join(&strays);
    texts_add_set(t, &strays);
    range_set_fini(&strays);
}

/* A list with `*`: the tailnet's ranges, routes, and the list's other selectors, each of them joined separately.
 * src: docs/protocol/policy.md 2.5 */
static void add_star(const struct engine *e, uint32_t list, struct texts *t)
{
    const struct source_list *l = &e->sources.list[list];
    texts_add_set(t, &e->routes.tailnet);
    add_strays(e, t);
    add_routes(e, t);
    for (size_t i = 0; i < l->sels.n; i++) {
        const struct selector *s = &e->doc->sel[l->sels.v[i]];
        struct range_set own = {0};
        for (uint32_t r = 0; s->kind == SEL_ADDRS && r < s->range_n; r++)
            range_set_add(&own, e->doc->range[s->range_first + r].range);
        if (s->kind != SEL_STAR && s->kind != SEL_ADDRS)
            gather_nodes(e, list, &l->sels.v[i], &own);
        range_set_join(&own);
        texts_add_set(t, &own);
        range_set_fini(&own);
    }
}

static void make_text(struct engine *e, struct source_list *l)
{
    uint32_t list = (uint32_t)(l - e->sources.list);
    struct texts t = {0};
    buf_clear(&l->text);
    if (l->has_danger) {
        buf_append_c(&l->text, "[\"*\"]");
        return;
    }
    if (l->has_star && l->posture == 0) {
        add_star(e, list, &t);
    } else {
        add_union(e, list, &t);
        /* With a posture, `*` means the nodes that satisfy it instead of the tailnet's ranges.
         * src: docs/protocol/policy.md 7.3 */
        if (l->has_star)
            add_routes(e, &t);
    }
    texts_take(&t, "\"", "\"", &l->text);
}

struct str sources_text(struct engine *e, struct source_list *l)
{
    uint64_t version = sources_version(e, l);
    if (l->text_version != version) {
        make_text(e, l);
        l->text_version = version;
    }
    return buf_str(&l->text);
}

struct str sources_principals(struct engine *e, struct source_list *l)
{
    if (l->principals_version == l->version)
        return buf_str(&l->principals);
    struct texts t = {0};
    struct range_set all = {0};
    gather_nodes(e, (uint32_t)(l - e->sources.list), NULL, &all);
    texts_add_set(&t, &all);
    range_set_fini(&all);
    buf_clear(&l->principals);
    texts_take(&t, "{\"nodeIP\":\"", "\"}", &l->principals);
    l->principals_version = l->version;
    return buf_str(&l->principals);
}

void sources_hash(struct engine *e, struct source_list *l, uint64_t out[2])
{
    static const uint64_t seeds[2][2] = {{1, 2}, {3, 4}};
    out[0] = l->hash[0];
    out[1] = l->hash[1];
    if (l->has_danger) {
        out[0] = out[1] = 1;
    } else if (l->posture != 0) {
        struct str text = sources_text(e, l);
        for (int i = 0; i < 2; i++)
            out[i] = siphash13(seeds[i], text.p, text.len);
    } else if (l->has_star) {
        out[0] = source_hash_mix(out[0] + e->routes.star_hash + 1);
        out[1] = source_hash_mix(out[1] ^ e->routes.star_hash);
    }
}

bool sources_is_empty(struct engine *e, struct source_list *l)
{
    if (l->has_danger || (l->has_star && l->posture == 0) || (l->posture == 0 && (l->node_n > 0 || l->fixed.n > 0)))
        return false;
    /* Either the list has a posture, or there is no address. */
    return l->posture == 0 || sources_text(e, l).len <= 2;
}

void sources_own_text(const struct owner *o, uint32_t list, bool all, struct buf *out, uint64_t hash_out[2])
{
    struct range_set own = {0};
    struct texts t = {0};
    hash_out[0] = hash_out[1] = 0;
    LIST_EACH (it, &o->nodes) {
        const struct engine_node *n = LIST_ENTRY(it, struct engine_node, owner_link);
        if (!all && !engine_node_in_list(n, list))
            continue;
        add_node(&own, n);
        if (n->v4.family != 0)
            source_hash_range(hash_out, &n->v4, 1);
        if (n->v6.family != 0)
            source_hash_range(hash_out, &n->v6, 1);
    }
    range_set_join(&own);
    texts_add_set(&t, &own);
    range_set_fini(&own);
    texts_take(&t, "\"", "\"", out);
}
