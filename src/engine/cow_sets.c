#include "engine/cow_sets.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "engine/view.h"

/* --- sets --- */

static struct id_set *set_ref(struct id_set *r)
{
    if (r != NULL)
        refs_take(&r->refs);
    return r;
}

static void set_unref(struct id_set **at)
{
    struct id_set *r = *at;
    *at = NULL;
    if (r != NULL && refs_drop(&r->refs))
        mem_free(r);
}

void id_set_mark(const struct id_set *r, uint64_t *set, size_t words)
{
    for (size_t i = 0; r != NULL && i < r->n && r->v[i].word < words; i++)
        set[r->v[i].word] |= r->v[i].mask;
}

/* The index of the first element at or after the word. */
static size_t find_part(const struct id_set *r, uint64_t word)
{
    size_t low = 0, high = r != NULL ? r->n : 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->v[mid].word < word)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Makes `*at` a set of `n` elements that may be written: the first elements are kept, as many as fit. */
static void set_own(struct id_set **at, size_t n)
{
    struct id_set *old = *at, *made;
    size_t size = sizeof(*made) + n * sizeof(made->v[0]);
    if (old != NULL && refs_is_only(&old->refs)) {
        made = mem_realloc(old, size);
    } else {
        made = mem_alloc(size);
        atomic_init(&made->refs, 1);
        size_t kept = old == NULL ? 0 : old->n < n ? old->n : n;
        if (kept > 0)
            memcpy(made->v, old->v, kept * sizeof(made->v[0]));
        set_unref(at);
    }
    made->n = n;
    *at = made;
}

static void set_add(struct id_set **at, uint64_t id)
{
    size_t n = *at != NULL ? (*at)->n : 0, i = find_part(*at, id / 64);
    bool is_there = i < n && (*at)->v[i].word == id / 64;
    set_own(at, is_there ? n : n + 1);
    struct id_set_word *part = &(*at)->v[i];
    if (!is_there) {
        memmove(part + 1, part, (n - i) * sizeof(*part));
        *part = (struct id_set_word){.word = id / 64};
    }
    part->mask |= UINT64_C(1) << (id % 64);
}

static void set_remove(struct id_set **at, uint64_t id)
{
    size_t i = find_part(*at, id / 64);
    uint64_t bit = UINT64_C(1) << (id % 64);
    if (*at == NULL || i == (*at)->n || (*at)->v[i].word != id / 64 || ((*at)->v[i].mask & bit) == 0)
        return;
    size_t n = (*at)->n;
    set_own(at, n);
    struct id_set_word *part = &(*at)->v[i];
    part->mask &= ~bit;
    if (part->mask != 0)
        return;
    memmove(part, part + 1, (n - i - 1) * sizeof(*part));
    (*at)->n--;
    if (n == 1)
        set_unref(at);
}

/* --- pages --- */

struct set_page {
    atomic_uint refs;
    struct id_set *of[PAGE_N]; /* references; null: empty */
};

struct membership_page {
    atomic_uint refs;
    struct membership of[PAGE_N];
};

struct cow_table cow_table_freeze(const struct cow_table *t)
{
    struct cow_table copy = {t->n, mem_zalloc(t->n + 1, sizeof(*copy.at))};
    for (size_t i = 0; i < t->n; i++) {
        copy.at[i] = t->at[i];
        if (copy.at[i] != NULL)
            refs_take(copy.at[i]);
    }
    return copy;
}

/* The page of this index; null: there is none. */
static atomic_uint *page_of(const struct cow_table *t, uint64_t index)
{
    return index / PAGE_N < t->n ? t->at[index / PAGE_N] : NULL;
}

/* Puts a page where there was none, or one that versions share. Does not touch the count of the old one. */
static void set_page_at(struct cow_table *t, uint64_t index, atomic_uint *page)
{
    size_t i = index / PAGE_N;
    if (i >= t->n) {
        t->at = mem_realloc_array(t->at, i + 1, sizeof(*t->at));
        while (t->n <= i)
            t->at[t->n++] = NULL;
    }
    t->at[i] = page;
}

/* --- a set for each number --- */

static void set_page_unref(struct set_page *page)
{
    if (page == NULL || !refs_drop(&page->refs))
        return;
    for (size_t i = 0; i < PAGE_N; i++)
        set_unref(&page->of[i]);
    mem_free(page);
}

const struct id_set *cow_sets_get(const struct cow_table *t, size_t number)
{
    const struct set_page *page = (const struct set_page *)page_of(t, number);
    return page != NULL ? page->of[number % PAGE_N] : NULL;
}

/* The pointer to a set, in a page that may be written. */
static struct id_set **cow_sets_at(struct cow_table *t, size_t number)
{
    struct set_page *page = (struct set_page *)page_of(t, number);
    if (page == NULL || !refs_is_only(&page->refs)) {
        struct set_page *old = page;
        page = MEM_NEW(struct set_page);
        atomic_init(&page->refs, 1);
        for (size_t k = 0; old != NULL && k < PAGE_N; k++)
            page->of[k] = set_ref(old->of[k]);
        set_page_at(t, number, &page->refs);
        set_page_unref(old);
    }
    return &page->of[number % PAGE_N];
}

void cow_sets_add(struct cow_table *t, size_t number, uint64_t id)
{
    set_add(cow_sets_at(t, number), id);
}

void cow_sets_remove(struct cow_table *t, size_t number, uint64_t id)
{
    set_remove(cow_sets_at(t, number), id);
}

void cow_sets_fini(struct cow_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        set_page_unref((struct set_page *)t->at[i]);
    mem_free(t->at);
    *t = (struct cow_table){0};
}

/* --- memberships --- */

static void membership_page_unref(struct membership_page *page)
{
    if (page != NULL && refs_drop(&page->refs))
        mem_free(page);
}

struct membership memberships_get(const struct cow_table *t, uint64_t id)
{
    const struct membership_page *page = (const struct membership_page *)page_of(t, id);
    return page != NULL ? page->of[id % PAGE_N] : (struct membership){.class = ENGINE_NO_CLASS};
}

void memberships_put(struct cow_table *t, uint64_t id, struct membership membership)
{
    struct membership_page *page = (struct membership_page *)page_of(t, id);
    if (page == NULL || !refs_is_only(&page->refs)) {
        struct membership_page *old = page;
        page = MEM_NEW(struct membership_page);
        atomic_init(&page->refs, 1);
        for (size_t k = 0; k < PAGE_N; k++)
            page->of[k] = old != NULL ? old->of[k] : (struct membership){.class = ENGINE_NO_CLASS};
        set_page_at(t, id, &page->refs);
        membership_page_unref(old);
    }
    page->of[id % PAGE_N] = membership;
}

void memberships_fini(struct cow_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        membership_page_unref((struct membership_page *)t->at[i]);
    mem_free(t->at);
    *t = (struct cow_table){0};
}
