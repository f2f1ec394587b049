/* The policy at work: the doc, with all users and nodes in it. */
#include "base/mem.h"
#include "codec/json.h"
#include "state/state_internal.h"

static struct policy_user *list_users(const struct state *st, size_t *n_out)
{
    struct policy_user *list = mem_zalloc(st->users.n + 1, sizeof(*list));
    const struct user *u;
    size_t n = 0;
    for (size_t pos = 0; (u = state_user_next(st, &pos)) != NULL;)
        list[n++] = (struct policy_user){.id = u->id, .name = str_c(u->name), .email = str_c(u->email)};
    *n_out = n;
    return list;
}

static void put_node(struct policy *p, const struct node *n)
{
    struct arena a = {0};
    const struct json *tags = NULL;
    struct policy_node facts = {.id = n->id,
                                .user = n->tags == NULL ? n->user : 0,
                                .v4 = n->v4,
                                .v6 = n->v6,
                                .created_ms = n->created_ms,
                                .is_online = n->is_online};
    if (n->tags != NULL && json_parse(&a, str_n(n->tags->data, n->tags->len), NULL, &tags, NULL) == RC_OK) {
        struct str *list = arena_zalloc(&a, json_len(tags) + 1, sizeof(*list));
        JSON_EACH (it, tags)
            facts.tag_n += json_str(it, &list[facts.tag_n]) ? 1 : 0;
        facts.tags = list;
    }
    policy_put_node(p, &facts);
    arena_fini(&a);
}

struct policy *state_policy_try(const struct state *st, struct policy_doc *doc)
{
    const struct state_options *o = &st->options;
    struct policy_ranges ranges = {o->v4_prefix, o->v6_prefix, o->v4_bits, o->v6_bits};
    size_t user_n;
    struct policy_user *users = list_users(st, &user_n);
    struct policy *p = policy_create(doc, users, user_n, &ranges);
    mem_free(users);
    for (node_id id = 1; id < st->entries_cap; id++) {
        const struct node *n = state_node(st, id);
        if (n != NULL)
            put_node(p, n);
    }
    return p;
}

void state_set_policy(struct state *st, struct policy_doc *doc, int64_t now_ms)
{
    (void)now_ms;
    policy_destroy(&st->policy);
    if (doc != NULL)
        st->policy = state_policy_try(st, doc);
    policy_doc_unref(&doc);
}

struct policy *state_policy(const struct state *st)
{
    return st->policy;
}
