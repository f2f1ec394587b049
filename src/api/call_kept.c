/* The rows of the state that a call refers to, from `run` on the core's thread until its answer is written. */
#include <stdlib.h>

#include "api/call_internal.h"
#include "base/mem.h"
#include "base/vec.h"

void api_rows_push(struct api_rows *rows, const void *item)
{
    VEC_ROOM(rows->items, rows->n, rows->cap, 4);
    rows->items[rows->n++] = item;
}

void api_keep_user(struct api_call *call, const struct user *u)
{
    if (u != NULL)
        api_rows_push(&call->users, user_ref(u));
}

void api_keep_key(struct api_call *call, const struct auth_key *k)
{
    if (k != NULL)
        api_rows_push(&call->keys, auth_key_ref(k));
}

void api_keep_relay(struct api_call *call, const struct relay_host *r)
{
    api_rows_push(&call->relays, state_relay_host_ref(r));
}

void api_keep_node(struct api_call *call, const struct node *n)
{
    api_rows_push(&call->nodes, node_ref(n));
}

void api_keep_policy(struct api_call *call, const struct policy_text *t)
{
    api_rows_push(&call->policies, state_policy_text_ref(t));
}

static int by_user_id(const void *a, const void *b)
{
    const struct user *x = *(const struct user *const *)a;
    const struct user *y = *(const struct user *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

void api_keep_users(struct api_call *call, const struct state *st)
{
    const struct user *u;
    for (size_t pos = 0; (u = state_user_next(st, &pos)) != NULL;)
        api_keep_user(call, u);
    if (call->users.n > 1)
        qsort(call->users.items, call->users.n, sizeof(*call->users.items), by_user_id);
}

static int by_key_id(const void *a, const void *b)
{
    const struct auth_key *x = *(const struct auth_key *const *)a;
    const struct auth_key *y = *(const struct auth_key *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

void api_keep_keys(struct api_call *call, const struct state *st, const struct user *owner)
{
    const struct auth_key *k;
    for (size_t pos = 0; (k = state_key_next(st, &pos)) != NULL;) {
        if (owner == NULL || k->user == owner->id)
            api_keep_key(call, k);
    }
    if (call->keys.n > 1)
        qsort(call->keys.items, call->keys.n, sizeof(*call->keys.items), by_key_id);
}

void api_keep_node_whole(struct api_call *call, const struct state *st, const struct node *n)
{
    api_keep_node(call, n);
    api_keep_user(call, state_user(st, n->user));
    api_keep_key(call, n->auth_key != 0 ? state_key(st, n->auth_key) : NULL);
}

enum rc api_find_user(const struct state *st, struct str text, const struct user **out, struct err *err)
{
    uint64_t id;
    *out = NULL;
    if (text.len == 0)
        return RC_OK;
    if (str_to_u64(text, &id) == RC_OK)
        *out = state_user(st, id);
    if (*out == NULL)
        *out = state_user_by_name(st, text);
    if (*out != NULL)
        return RC_OK;
    return err_set(err, RC_NOT_FOUND, "there is no user \"%.*s\" (list them: users list)",
                   text.len > 80 ? 80 : (int)text.len, text.p);
}

/* Binary search: there is one, or they are sorted. */
const struct user *api_kept_user(const struct api_call *call, uint64_t id)
{
    size_t low = 0;
    size_t high = call->users.n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct user *u = call->users.items[mid];
        if (u->id == id)
            return u;
        if (u->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct auth_key *api_kept_key(const struct api_call *call, uint64_t id)
{
    size_t low = 0;
    size_t high = call->keys.n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct auth_key *k = call->keys.items[mid];
        if (k->id == id)
            return k;
        if (k->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

void api_kept_fini(struct api_call *call)
{
    for (size_t i = 0; i < call->users.n; i++)
        user_unref((const struct user **)&call->users.items[i]);
    for (size_t i = 0; i < call->keys.n; i++)
        auth_key_unref((const struct auth_key **)&call->keys.items[i]);
    for (size_t i = 0; i < call->nodes.n; i++)
        node_unref((const struct node **)&call->nodes.items[i]);
    for (size_t i = 0; i < call->relays.n; i++)
        state_relay_host_unref((const struct relay_host **)&call->relays.items[i]);
    for (size_t i = 0; i < call->policies.n; i++)
        state_policy_text_unref((const struct policy_text **)&call->policies.items[i]);
    mem_free(call->policies.items);
    mem_free(call->relays.items);
    mem_free(call->users.items);
    mem_free(call->keys.items);
    mem_free(call->nodes.items);
}
