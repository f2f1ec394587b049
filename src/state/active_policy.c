/* The active policy: made of a document, all users and all nodes, and kept up to date with them.
 *
 * It gets each change of a node at once, so that it can be asked questions (may this route be approved?). Snapshots
 * show its answers from the next publication on, in the access tables of policy_access.c. A deleted node leaves the
 * policy when its removal is published. So at most one effect of an event that waits for the disk is visible early:
 * which viewers see a node that was published before. */
#include <string.h>

#include "base/mem.h"
#include "engine/access.h"
#include "state/access.h"
#include "state/state_internal.h"

void state_policy_put_node(struct state *st, const struct node *before, const struct node *after)
{
    if (st->policy == NULL || st->policy_is_stale || (before != NULL && state_policy_same_facts(before, after)))
        return;
    state_policy_put_facts(st->policy, after);
}

void state_policy_forget_node(struct state *st, node_id id)
{
    if (st->policy != NULL && !st->policy_is_stale)
        engine_remove_node(st->policy, id);
}

void state_policy_users_changed(struct state *st)
{
    st->policy_is_stale = st->policy != NULL;
}

/* --- making it --- */

static struct engine_user *all_users(const struct state *st, size_t *n_out)
{
    struct engine_user *users = mem_zalloc(st->users.n + 1, sizeof(*users));
    size_t n = 0;
    for (size_t pos = 0;;) {
        const struct user *u = state_user_next(st, &pos);
        if (u == NULL)
            break;
        users[n++] = (struct engine_user){
            .id = u->id, .name = str_c(u->name), .email = str_c(u->email), .role = (enum policy_role)u->role};
    }
    *n_out = n;
    return users;
}

/* The default ranges are passed as none: the engine leaves addresses out of them that it does not leave out of
 * others. */
static struct engine_ranges own_ranges(const struct state_options *o)
{
    static const uint8_t usual_v4[4] = {100, 64}, usual_v6[6] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    struct engine_ranges r = {o->v4_prefix, o->v6_prefix, o->v4_bits, o->v6_bits};
    if (r.v4_bits == 10 && memcmp(r.v4.ip, usual_v4, sizeof(usual_v4)) == 0)
        r.v4.family = 0;
    if (r.v6_bits == 48 && memcmp(r.v6.ip, usual_v6, sizeof(usual_v6)) == 0)
        r.v6.family = 0;
    return r;
}

/* Deleted nodes whose removal is not published yet are still in the snapshot, and so in the policy. */
static void put_all(const struct state *st, struct engine *p)
{
    for (node_id id = 1; id < st->records_cap; id++) {
        const struct node_record *e = st->records[id];
        const struct node *n = e != NULL && e->node != NULL ? e->node : snapshot_node(st->snapshot, id);
        if (n != NULL)
            state_policy_put_facts(p, n);
    }
}

struct engine *state_policy_try(const struct state *st, struct policy_doc *doc)
{
    size_t user_n;
    struct engine_user *users = all_users(st, &user_n);
    struct engine_ranges ranges = own_ranges(&st->options);
    struct engine *p = engine_create(doc, users, user_n, &ranges);
    mem_free(users);
    put_all(st, p);
    return p;
}

static void make_policy(struct state *st, struct policy_doc *doc)
{
    st->policy = state_policy_try(st, doc);
    st->policy_serial++;
    st->policy_is_stale = false;
}

void state_policy_fini(struct state *st)
{
    if (st->policy != NULL)
        engine_destroy(&st->policy);
}

void state_policy_install(struct state *st, struct policy_doc *doc)
{
    state_policy_fini(st);
    st->policy_changed = true;
    st->policy_sets++;
    st->policy_is_stale = false;
    if (doc == NULL)
        return;
    make_policy(st, doc);
    policy_doc_unref(&doc);
}

/* A policy is made for given users: however many have changed, it is made anew once, when it is asked for. */
static void refresh(struct state *st)
{
    if (!st->policy_is_stale)
        return;
    struct engine *old = st->policy;
    struct policy_doc *doc = policy_doc_ref((struct policy_doc *)engine_doc(old));
    make_policy(st, doc);
    policy_doc_unref(&doc);
    engine_destroy(&old);
}

struct engine *state_policy(const struct state *st)
{
    /* The const is cast away because the policy is a cache that is made from the state alone. */
    refresh((struct state *)st);
    return st->policy;
}

/* --- asking it --- */

enum rc state_policy_pool_address(struct state *st, const struct node *n, struct addr *out)
{
    struct engine *p = state_policy(st);
    struct addr prefix;
    uint8_t bits;
    enum rc rc = RC_NOT_FOUND;
    if (p == NULL || n->v4.family == 0 || !policy_doc_has_pools(engine_doc(p)))
        return rc;
    state_policy_put_facts(p, n);
    for (size_t i = 0; rc != RC_OK && engine_ip_pool(p, n->id, i, &prefix, &bits); i++)
        rc = addresses_allocate_in(st, &prefix, bits, out);
    if (rc == RC_LIMIT)
        engine_remove_node(p, n->id);
    return rc;
}

bool state_policy_is_dirty(const struct state *st)
{
    const struct access *r = st->snapshot->access;
    if (st->policy == NULL)
        return !access_is_open(r);
    return st->policy_is_stale || r->serial != st->policy_serial || r->clock != engine_clock(st->policy);
}
