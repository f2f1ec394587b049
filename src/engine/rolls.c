#include "engine/rolls.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "engine/view.h"

/* --- sets --- */

static struct roll *roll_ref(struct roll *r)
{
    if (r != NULL)
        refs_take(&r->refs);
    return r;
}

static void roll_unref(struct roll **at)
{
    struct roll *r = *at;
    *at = NULL;
    if (r != NULL && refs_drop(&r->refs))
        mem_free(r);
}

void roll_mark(const struct roll *r, uint64_t *set, size_t words)
{
    for (size_t i = 0; r != NULL && i < r->n && r->v[i].word < words; i++)
        set[r->v[i].word] |= r->v[i].mask;
}

/* The first part that is not before the word. */
static size_t find_part(const struct roll *r, uint64_t word)
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

/* Makes `*at` one with `n` parts that may be written; what it had stays in front, as far as there is room. */
static void roll_own(struct roll **at, size_t n)
{
    struct roll *old = *at, *made;
    size_t size = sizeof(*made) + n * sizeof(made->v[0]);
    if (old != NULL && refs_is_only(&old->refs)) {
        made = mem_realloc(old, size);
    } else {
        made = mem_alloc(size);
        atomic_init(&made->refs, 1);
        size_t kept = old == NULL ? 0 : old->n < n ? old->n : n;
        if (kept > 0)
            memcpy(made->v, old->v, kept * sizeof(made->v[0]));
        roll_unref(at);
    }
    made->n = n;
    *at = made;
}

static void roll_add(struct roll **at, uint64_t id)
{
    size_t n = *at != NULL ? (*at)->n : 0, i = find_part(*at, id / 64);
    bool is_there = i < n && (*at)->v[i].word == id / 64;
    roll_own(at, is_there ? n : n + 1);
    struct roll_part *part = &(*at)->v[i];
    if (!is_there) {
        memmove(part + 1, part, (n - i) * sizeof(*part));
        *part = (struct roll_part){.word = id / 64};
    }
    part->mask |= UINT64_C(1) << (id % 64);
}

static void roll_remove(struct roll **at, uint64_t id)
{
    size_t i = find_part(*at, id / 64);
    uint64_t bit = UINT64_C(1) << (id % 64);
    if (*at == NULL || i == (*at)->n || (*at)->v[i].word != id / 64 || ((*at)->v[i].mask & bit) == 0)
        return;
    size_t n = (*at)->n;
    roll_own(at, n);
    struct roll_part *part = &(*at)->v[i];
    part->mask &= ~bit;
    if (part->mask != 0)
        return;
    memmove(part, part + 1, (n - i - 1) * sizeof(*part));
    (*at)->n--;
    if (n == 1)
        roll_unref(at);
}

/* --- pages --- */

struct roll_page {
    atomic_uint refs;
    struct roll *of[PAGE_N]; /* references; null: empty */
};

struct seat_page {
    atomic_uint refs;
    struct seat of[PAGE_N];
};

struct pages pages_freeze(const struct pages *t)
{
    struct pages copy = {t->n, mem_zalloc(t->n + 1, sizeof(*copy.at))};
    for (size_t i = 0; i < t->n; i++) {
        copy.at[i] = t->at[i];
        if (copy.at[i] != NULL)
            refs_take(copy.at[i]);
    }
    return copy;
}

/* The page of an entry; null: there is none. */
static atomic_uint *page_of(const struct pages *t, uint64_t entry)
{
    return entry / PAGE_N < t->n ? t->at[entry / PAGE_N] : NULL;
}

/* Puts a page where there was none, or one that others hold. */
static void pages_set(struct pages *t, uint64_t entry, atomic_uint *page)
{
    size_t i = entry / PAGE_N;
    if (i >= t->n) {
        t->at = mem_realloc_array(t->at, i + 1, sizeof(*t->at));
        while (t->n <= i)
            t->at[t->n++] = NULL;
    }
    t->at[i] = page;
}

/* --- a set for each number --- */

static void roll_page_unref(struct roll_page *page)
{
    if (page == NULL || !refs_drop(&page->refs))
        return;
    for (size_t i = 0; i < PAGE_N; i++)
        roll_unref(&page->of[i]);
    mem_free(page);
}

const struct roll *rolls_get(const struct pages *t, size_t number)
{
    const struct roll_page *page = (const struct roll_page *)page_of(t, number);
    return page != NULL ? page->of[number % PAGE_N] : NULL;
}

/* Where the set is, to be written. */
static struct roll **rolls_at(struct pages *t, size_t number)
{
    struct roll_page *page = (struct roll_page *)page_of(t, number);
    if (page == NULL || !refs_is_only(&page->refs)) {
        struct roll_page *old = page;
        page = MEM_NEW(struct roll_page);
        atomic_init(&page->refs, 1);
        for (size_t k = 0; old != NULL && k < PAGE_N; k++)
            page->of[k] = roll_ref(old->of[k]);
        pages_set(t, number, &page->refs);
        roll_page_unref(old);
    }
    return &page->of[number % PAGE_N];
}

void rolls_add(struct pages *t, size_t number, uint64_t id)
{
    roll_add(rolls_at(t, number), id);
}

void rolls_remove(struct pages *t, size_t number, uint64_t id)
{
    roll_remove(rolls_at(t, number), id);
}

void rolls_fini(struct pages *t)
{
    for (size_t i = 0; i < t->n; i++)
        roll_page_unref((struct roll_page *)t->at[i]);
    mem_free(t->at);
    *t = (struct pages){0};
}

/* --- seats --- */

static void seat_page_unref(struct seat_page *page)
{
    if (page != NULL && refs_drop(&page->refs))
        mem_free(page);
}

struct seat seating_get(const struct pages *t, uint64_t id)
{
    const struct seat_page *page = (const struct seat_page *)page_of(t, id);
    return page != NULL ? page->of[id % PAGE_N] : (struct seat){.class = ENGINE_NO_CLASS};
}

void seating_put(struct pages *t, uint64_t id, struct seat seat)
{
    struct seat_page *page = (struct seat_page *)page_of(t, id);
    if (page == NULL || !refs_is_only(&page->refs)) {
        struct seat_page *old = page;
        page = MEM_NEW(struct seat_page);
        atomic_init(&page->refs, 1);
        for (size_t k = 0; k < PAGE_N; k++)
            page->of[k] = old != NULL ? old->of[k] : (struct seat){.class = ENGINE_NO_CLASS};
        pages_set(t, id, &page->refs);
        seat_page_unref(old);
    }
    page->of[id % PAGE_N] = seat;
}

void seating_fini(struct pages *t)
{
    for (size_t i = 0; i < t->n; i++)
        seat_page_unref((struct seat_page *)t->at[i]);
    mem_free(t->at);
    *t = (struct pages){0};
}
