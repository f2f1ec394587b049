#include "engine/source_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"

void source_table_init(struct source_table *t, const struct policy_doc *doc, struct arena *arena)
{
    *t = (struct source_table){.doc = doc, .arena = arena};
    map_init(&t->by_key, NULL);
}

void source_table_fini(struct source_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        struct source_list *l = &t->list[i];
        range_set_fini(&l->fixed);
        mem_free(l->part);
        buf_fini(&l->text);
        buf_fini(&l->principals);
    }
    mem_free(t->list);
    map_fini(&t->by_key);
}

static int compare_ids(const void *a, const void *b)
{
    const sel_id *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

uint32_t source_table_intern(struct source_table *t, const struct sel_list *sels, posture_set_id posture)
{
    /* The key: the posture set, then the selectors in ascending order, each once. */
    size_t n = sels->n;
    uint32_t *key = arena_zalloc(t->arena, n + 1, sizeof(*key));
    key[0] = posture;
    if (n > 0)
        memcpy(key + 1, sels->v, n * sizeof(*key));
    qsort(key + 1, n, sizeof(*key), compare_ids);
    size_t unique = 0;
    for (size_t i = 0; i < n; i++) {
        if (unique == 0 || key[unique] != key[1 + i])
            key[++unique] = key[1 + i];
    }
    size_t known = (size_t)map_get(&t->by_key, key, (unique + 1) * sizeof(*key));
    if (known > 0)
        return (uint32_t)(known - 1);
    VEC_PUSH(t->list, t->n, t->cap, ((struct source_list){.sels = {key + 1, unique}, .posture = posture}));
    map_put(&t->by_key, key, (unique + 1) * sizeof(*key), (void *)t->n);
    return (uint32_t)(t->n - 1);
}

uint64_t source_hash_mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

void source_hash_range(uint64_t sum[2], const struct range *r, int sign)
{
    uint64_t words[] = {(uint64_t)r->lo, (uint64_t)(r->lo >> 64), (uint64_t)r->hi, (uint64_t)(r->hi >> 64), r->family};
    uint64_t a = 1, b = 2;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        a = source_hash_mix(a ^ words[i]) + i;
        b = source_hash_mix(b + words[i] * UINT64_C(0x9e3779b97f4a7c15));
    }
    sum[0] += sign > 0 ? a : 0 - a;
    sum[1] += sign > 0 ? b : 0 - b;
}

/* autogroup:danger-all. With a posture set it is all addresses except those of nodes that do not satisfy the set. */
static void add_everything(struct source_list *l)
{
    l->has_danger = l->posture == 0;
    range_set_add(&l->fixed, (struct range){0, UINT32_MAX, 4});
    range_set_add(&l->fixed, (struct range){0, ~(ip_number)0, 6});
}

static void find_fixed(struct source_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        struct source_list *l = &t->list[i];
        for (size_t k = 0; k < l->sels.n; k++) {
            const struct selector *s = &t->doc->sel[l->sels.v[k]];
            l->has_star = l->has_star || s->kind == SEL_STAR;
            if (s->kind == SEL_DANGER_ALL)
                add_everything(l);
            for (uint32_t r = 0; s->kind == SEL_ADDRS && r < s->range_n; r++)
                range_set_add(&l->fixed, t->doc->range[s->range_first + r].range);
        }
        range_set_join(&l->fixed);
        for (size_t k = 0; k < l->fixed.n; k++)
            source_hash_range(l->hash, &l->fixed.v[k], 1);
        l->version = 1;
    }
}

/* Makes the list of source lists of each selector: counted first, then filled. */
static void index_selectors(struct source_table *t)
{
    size_t sel_n = t->doc->sel_n;
    t->by_selector = arena_zalloc(t->arena, sel_n, sizeof(*t->by_selector));
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t list = 0; list < t->n; list++) {
            for (size_t i = 0; i < t->list[list].sels.n; i++) {
                struct index_list *of = &t->by_selector[t->list[list].sels.v[i]];
                if (fill)
                    of->v[of->n] = list;
                of->n++;
            }
        }
        for (sel_id sel = 0; !fill && sel < sel_n; sel++) {
            struct index_list *of = &t->by_selector[sel];
            of->v = arena_zalloc(t->arena, of->n, sizeof(*of->v));
            of->n = 0;
        }
    }
}

void source_table_finish(struct source_table *t)
{
    find_fixed(t);
    t->words = bits_words(t->n);
    index_selectors(t);
    t->self_lists = arena_zalloc(t->arena, t->words, sizeof(*t->self_lists));
    t->with_posture.v = arena_zalloc(t->arena, t->n, sizeof(*t->with_posture.v));
    for (uint32_t list = 0; list < t->n; list++) {
        if (t->list[list].is_self)
            bit_put(t->self_lists, list);
        if (t->list[list].posture != 0)
            t->with_posture.v[t->with_posture.n++] = list;
    }
}

bool source_list_meets(const struct source_list *l, const struct range *range)
{
    return l->has_star || l->has_danger || range_set_meets(&l->fixed, range);
}
