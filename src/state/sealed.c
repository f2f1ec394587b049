/* What snapshots show besides nodes: all users, and the rows that the state keeps as they are. Nodes refer to users, so
 * a snapshot shows them as they were when the batch that changed them was taken: they are sealed then, and published
 * when that batch is on disk. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

static int compare_users(const void *a, const void *b)
{
    const struct user *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

struct user_table *state_user_table_make(const struct state *st)
{
    struct user_table *t = mem_zalloc(1, sizeof(*t) + st->users.n * sizeof(t->users[0]));
    atomic_init(&t->refs, 1);
    for (size_t pos = 0;;) {
        const struct user *u = map_next(&st->users, &pos);
        if (u == NULL)
            break;
        t->users[t->n++] = user_ref(u);
    }
    qsort(t->users, t->n, sizeof(t->users[0]), compare_users);
    return t;
}

void state_seal(struct state *st, uint64_t seq)
{
    if (!st->users_dirty && !st->kept_dirty)
        return;
    struct sealed sealed = {.seq = seq,
                            .users = st->users_dirty ? state_user_table_make(st) : NULL,
                            .kept = st->kept_dirty ? kept_snapshot(st) : NULL};
    st->users_dirty = st->kept_dirty = false;
    VEC_PUSH(st->sealed, st->sealed_n, st->sealed_cap, sealed);
}

/* Keeps of two sealed things the newer, if there is one. */
static void merge(struct sealed *into, const struct sealed *newer)
{
    if (newer->users != NULL) {
        user_table_unref(&into->users);
        into->users = newer->users;
    }
    if (newer->kept != NULL) {
        row_set_unref(&into->kept);
        into->kept = newer->kept;
    }
}

struct sealed state_take_sealed(struct state *st)
{
    struct sealed newest = {0};
    size_t n = 0;
    for (; n < st->sealed_n && st->sealed[n].seq <= st->committed_seq; n++)
        merge(&newest, &st->sealed[n]);
    if (n > 0) {
        st->sealed_n -= n;
        memmove(st->sealed, st->sealed + n, st->sealed_n * sizeof(*st->sealed));
    }
    return newest;
}

static void unseal(struct sealed *s)
{
    user_table_unref(&s->users);
    row_set_unref(&s->kept);
}

void state_forget_sealed(struct state *st, uint64_t from_seq)
{
    while (st->sealed_n > 0 && st->sealed[st->sealed_n - 1].seq >= from_seq)
        unseal(&st->sealed[--st->sealed_n]);
    st->users_dirty = st->kept_dirty = false;
}

void state_sealed_fini(struct state *st)
{
    for (size_t i = 0; i < st->sealed_n; i++)
        unseal(&st->sealed[i]);
    mem_free(st->sealed);
}
