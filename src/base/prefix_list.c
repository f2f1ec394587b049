#include "base/prefix_list.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/refs.h"

static int compare_prefixes(const void *a, const void *b)
{
    return prefix_compare(a, b);
}

struct prefix_list *prefix_list_create(struct prefix *v, size_t n)
{
    if (n == 0)
        return NULL;
    qsort(v, n, sizeof(*v), compare_prefixes);
    struct prefix_list *l = mem_zalloc(1, sizeof(*l) + n * sizeof(l->v[0]));
    atomic_init(&l->refs, 1);
    for (size_t i = 0; i < n; i++) {
        if (l->n == 0 || prefix_compare(&l->v[l->n - 1], &v[i]) != 0)
            l->v[l->n++] = v[i];
    }
    return l;
}

struct prefix_list *prefix_list_ref(struct prefix_list *l)
{
    if (l != NULL)
        refs_take(&l->refs);
    return l;
}

void prefix_list_unref(struct prefix_list **at)
{
    struct prefix_list *l = *at;
    *at = NULL;
    if (l != NULL && refs_drop(&l->refs))
        mem_free(l);
}

bool prefix_list_eq(const struct prefix_list *a, const struct prefix_list *b)
{
    if (a == b || a == NULL || b == NULL || a->n != b->n)
        return a == b;
    for (size_t i = 0; i < a->n; i++) {
        if (prefix_compare(&a->v[i], &b->v[i]) != 0)
            return false;
    }
    return true;
}

bool prefix_list_has(const struct prefix_list *l, const struct prefix *p)
{
    return l != NULL && bsearch(p, l->v, l->n, sizeof(l->v[0]), compare_prefixes) != NULL;
}
