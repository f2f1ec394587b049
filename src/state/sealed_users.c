/* Tables of all users. Nodes refer to users, so a snapshot shows the users as they were when the batch that changed
 * them was taken: a table is sealed then, and published when that batch is on disk. */
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

void state_seal_users(struct state *st, uint64_t seq)
{
    if (!st->users_dirty)
        return;
    st->users_dirty = false;
    struct sealed_users sealed = {state_user_table_make(st), seq};
    VEC_PUSH(st->sealed_users, st->sealed_users_n, st->sealed_users_cap, sealed);
}

struct user_table *state_take_sealed_users(struct state *st)
{
    struct user_table *newest = NULL;
    size_t n = 0;
    for (; n < st->sealed_users_n && st->sealed_users[n].seq <= st->committed_seq; n++) {
        user_table_unref(&newest);
        newest = st->sealed_users[n].table;
    }
    if (n > 0) {
        st->sealed_users_n -= n;
        memmove(st->sealed_users, st->sealed_users + n, st->sealed_users_n * sizeof(*st->sealed_users));
    }
    return newest;
}

void state_forget_sealed_users(struct state *st, uint64_t from_seq)
{
    while (st->sealed_users_n > 0 && st->sealed_users[st->sealed_users_n - 1].seq >= from_seq)
        user_table_unref(&st->sealed_users[--st->sealed_users_n].table);
    st->users_dirty = false;
}

void state_sealed_users_fini(struct state *st)
{
    for (size_t i = 0; i < st->sealed_users_n; i++)
        user_table_unref(&st->sealed_users[i].table);
    mem_free(st->sealed_users);
}
