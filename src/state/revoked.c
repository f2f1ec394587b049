/* Node keys that stopped being active, until state_take_revoked hands them out. */
#include "base/vec.h"
#include "state/state_internal.h"

static void revoke(struct state *st, const node_key *key, uint64_t seq)
{
    struct revoked_list *l = &st->revoked;
    VEC_ROOM(l->v, l->n, l->cap, 8);
    l->v[l->n++] = (struct revoked_key){*key, seq};
}

void state_revoke_key(struct state *st, const node_key *key)
{
    revoke(st, key, 0);
}

void state_revoke_key_durably(struct state *st, const node_key *key)
{
    revoke(st, key, st->next_seq);
}

size_t state_take_revoked(struct state *st, node_key *out, size_t cap)
{
    struct revoked_list *l = &st->revoked;
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (n < cap && l->v[i].seq <= st->committed_seq)
            out[n++] = l->v[i].key;
        else
            l->v[kept++] = l->v[i];
    }
    l->n = kept;
    return n;
}

void state_forget_revoked(struct state *st, uint64_t from_seq)
{
    size_t kept = 0;
    for (size_t i = 0; i < st->revoked.n; i++) {
        if (st->revoked.v[i].seq < from_seq)
            st->revoked.v[kept++] = st->revoked.v[i];
    }
    st->revoked.n = kept;
}
