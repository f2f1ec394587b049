/* The policy at work: it knows all users and nodes. */
#include "base/mem.h"
#include "policy/policy.h"
#include "state/state_internal.h"

void policy_follow(struct state *st, const struct entry *e)
{
    struct str tags[TAGS_MAX];
    const struct node *n = e->node;
    if (st->policy == NULL)
        return;
    if (n == NULL) {
        policy_remove_node(st->policy, e->id);
        return;
    }
    const struct policy_node facts = {.id = n->id,
                                      .user = n->user,
                                      .tags = tags,
                                      .tag_n = tags_split(n->tags, tags),
                                      .v4 = n->v4,
                                      .v6 = n->v6,
                                      .created_ms = n->created_ms,
                                      .is_online = n->is_online};
    policy_put_node(st->policy, &facts);
}

void state_set_policy(struct state *st, struct policy_doc *doc, int64_t now_ms)
{
    const struct policy_ranges ranges = {0};
    struct policy_user *users = mem_zalloc(st->users.n + 1, sizeof(*users));
    size_t n = 0;
    (void)now_ms;
    for (size_t pos = 0;;) {
        const struct user *u = state_user_next(st, &pos);
        if (u == NULL)
            break;
        users[n++] = (struct policy_user){
            .id = u->id, .name = str_c(u->name), .email = str_c(u->email), .role = (enum policy_role)u->role};
    }
    policy_destroy(&st->policy);
    if (doc != NULL)
        st->policy = policy_create(doc, users, n, &ranges);
    policy_doc_unref(&doc);
    mem_free(users);
    for (node_id id = 1; id < st->entries_cap; id++) {
        const struct entry *e = entry_of(st, id);
        if (e != NULL)
            policy_follow(st, e);
    }
}

struct policy *state_policy(const struct state *st)
{
    return st->policy;
}
