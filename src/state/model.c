#include "state/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/access.h"

/* The count at the start of `from` belongs to all threads. */
static void copy_behind_count(void *to, const void *from, size_t start, size_t end)
{
    memcpy((char *)to + start, (const char *)from + start, end - start);
}

static struct rcbuf *maybe_ref(struct rcbuf *b)
{
    return b != NULL ? rcbuf_ref(b) : NULL;
}

/* --- users --- */

struct user *user_create(void)
{
    struct user *u = MEM_NEW(struct user);
    atomic_init(&u->refs, 1);
    return u;
}

struct user *user_edit(const struct user *u)
{
    struct user *copy = user_create();
    copy_behind_count(copy, u, offsetof(struct user, id), sizeof(*copy));
    return copy;
}

static const char *const role_names[USER_ROLES_N] = {
    [USER_MEMBER] = "member",     [USER_OWNER] = "owner",
    [USER_ADMIN] = "admin",       [USER_NETWORK_ADMIN] = "network-admin",
    [USER_IT_ADMIN] = "it-admin", [USER_BILLING_ADMIN] = "billing-admin",
    [USER_AUDITOR] = "auditor",
};

const char *user_role_name(enum user_role role)
{
    return role_names[role];
}

enum rc user_role_parse(struct str name, enum user_role *out)
{
    for (int i = 0; i < USER_ROLES_N; i++) {
        if (!str_eq_c(name, role_names[i]))
            continue;
        *out = (enum user_role)i;
        return RC_OK;
    }
    return RC_INVALID;
}

const struct user *user_ref(const struct user *u)
{
    refs_take(&u->refs);
    return u;
}

void user_unref(const struct user **at)
{
    const struct user *u = *at;
    *at = NULL;
    if (u != NULL && refs_drop(&u->refs))
        mem_free((void *)u);
}

struct user_table *user_table_ref(struct user_table *t)
{
    refs_take(&t->refs);
    return t;
}

void user_table_unref(struct user_table **at)
{
    struct user_table *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    for (size_t i = 0; i < t->n; i++)
        user_unref(&t->users[i]);
    cache_slot_fini(&t->cache);
    mem_free(t);
}

size_t user_table_find(const struct user_table *t, user_id id)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->users[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && t->users[low]->id == id ? low : t->n;
}

/* --- auth keys --- */

struct auth_key *auth_key_create(void)
{
    struct auth_key *k = MEM_NEW(struct auth_key);
    atomic_init(&k->refs, 1);
    return k;
}

struct auth_key *auth_key_edit(const struct auth_key *k)
{
    struct auth_key *copy = auth_key_create();
    copy_behind_count(copy, k, offsetof(struct auth_key, id), sizeof(*copy));
    maybe_ref(copy->tags);
    prefix_list_ref(copy->sources);
    return copy;
}

const struct auth_key *auth_key_ref(const struct auth_key *k)
{
    refs_take(&k->refs);
    return k;
}

void auth_key_unref(const struct auth_key **at)
{
    struct auth_key *k = (struct auth_key *)*at;
    *at = NULL;
    if (k == NULL || !refs_drop(&k->refs))
        return;
    rcbuf_unref(&k->tags);
    prefix_list_unref(&k->sources);
    mem_free(k);
}

/* --- relays --- */

struct relay_host *state_relay_host_create(void)
{
    struct relay_host *r = MEM_NEW(struct relay_host);
    atomic_init(&r->refs, 1);
    return r;
}

struct relay_host *state_relay_host_edit(const struct relay_host *r)
{
    struct relay_host *copy = state_relay_host_create();
    copy_behind_count(copy, r, offsetof(struct relay_host, id), sizeof(*copy));
    return copy;
}

const struct relay_host *state_relay_host_ref(const struct relay_host *r)
{
    refs_take(&r->refs);
    return r;
}

void state_relay_host_unref(const struct relay_host **at)
{
    const struct relay_host *r = *at;
    *at = NULL;
    if (r != NULL && refs_drop(&r->refs))
        mem_free((void *)r);
}

/* --- policy texts --- */

struct policy_text *state_policy_text_create(struct str text)
{
    struct policy_text *t = MEM_NEW(struct policy_text);
    atomic_init(&t->refs, 1);
    t->text = rcbuf_create(text.p, text.len);
    return t;
}

const struct policy_text *state_policy_text_ref(const struct policy_text *t)
{
    refs_take(&t->refs);
    return t;
}

void state_policy_text_unref(const struct policy_text **at)
{
    struct policy_text *t = (struct policy_text *)(uintptr_t)*at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    rcbuf_unref(&t->text);
    mem_free(t);
}

/* --- nodes --- */

struct node *node_create(unsigned endpoints_n)
{
    struct node *n = mem_zalloc(1, sizeof(*n) + endpoints_n * sizeof(n->endpoints[0]));
    atomic_init(&n->refs, 1);
    n->endpoints_n = endpoints_n;
    return n;
}

struct node *node_edit(const struct node *n, const struct addr *endpoints, unsigned endpoints_n)
{
    if (endpoints == NULL) {
        endpoints = n->endpoints;
        endpoints_n = n->endpoints_n;
    }
    struct node *copy = mem_alloc(sizeof(*copy) + endpoints_n * sizeof(copy->endpoints[0]));
    /* Not the caches either: other threads may be filling them meanwhile. */
    copy_behind_count(copy, n, offsetof(struct node, id), offsetof(struct node, cache));
    atomic_init(&copy->refs, 1);
    cache_slot_init(&copy->cache);
    copy->endpoints_n = endpoints_n;
    memcpy(copy->endpoints, endpoints, endpoints_n * sizeof(copy->endpoints[0]));
    maybe_ref(copy->tags);
    maybe_ref(copy->hostinfo);
    maybe_ref(copy->hostinfo_peers);
    prefix_list_ref(copy->advertised);
    prefix_list_ref(copy->approved);
    prefix_list_ref(copy->primary);
    return copy;
}

const struct node *node_ref(const struct node *n)
{
    refs_take(&n->refs);
    return n;
}

void node_unref(const struct node **at)
{
    struct node *n = (struct node *)*at;
    *at = NULL;
    if (n == NULL || !refs_drop(&n->refs))
        return;
    rcbuf_unref(&n->tags);
    rcbuf_unref(&n->hostinfo);
    rcbuf_unref(&n->hostinfo_peers);
    prefix_list_unref(&n->advertised);
    prefix_list_unref(&n->approved);
    prefix_list_unref(&n->primary);
    cache_slot_fini(&n->cache);
    mem_free(n);
}

/* --- routes and tags --- */

bool node_serves_next(const struct node *n, size_t *pos, struct prefix *out)
{
    while (n->approved != NULL && n->advertised != NULL && *pos < n->advertised->n) {
        *out = n->advertised->v[(*pos)++];
        if (prefix_list_has(n->approved, out))
            return true;
    }
    return false;
}

bool node_serves(const struct node *n)
{
    struct prefix p;
    size_t pos = 0;
    return node_serves_next(n, &pos, &p);
}

bool node_is_exit(const struct node *n)
{
    struct prefix p;
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (p.bits == 0)
            return true;
    }
    return false;
}

size_t node_tags_split(const struct rcbuf *tags, struct str out[TAGS_MAX])
{
    struct str rest = tags != NULL ? str_n(tags->data, tags->len) : STR_EMPTY, before, tag;
    size_t n = 0;
    /* A tag has no character that JSON would escape. */
    while (n < TAGS_MAX && str_cut(rest, '"', &before, &rest) && str_cut(rest, '"', &tag, &rest))
        out[n++] = tag;
    return n;
}

/* --- settings --- */

struct tailnet_settings *tailnet_settings_create(void)
{
    struct tailnet_settings *t = MEM_NEW(struct tailnet_settings);
    atomic_init(&t->refs, 1);
    return t;
}

static struct rcbuf *ref_or_null(struct rcbuf *b)
{
    return b != NULL ? rcbuf_ref(b) : NULL;
}

struct tailnet_settings *tailnet_settings_edit(const struct tailnet_settings *t)
{
    struct tailnet_settings *made = tailnet_settings_create();
    memcpy(made->domain, t->domain, sizeof(made->domain));
    memcpy(made->server_url, t->server_url, sizeof(made->server_url));
    made->derp_map_json = ref_or_null(t->derp_map_json);
    made->derp_map_unpinned_json = ref_or_null(t->derp_map_unpinned_json);
    made->dns_config_json = ref_or_null(t->dns_config_json);
    memcpy(made->dns_hole, t->dns_hole, sizeof(made->dns_hole));
    made->dns_hole_n = t->dns_hole_n;
    made->self_caps_json = ref_or_null(t->self_caps_json);
    made->collect_logs = t->collect_logs;
    return made;
}

struct tailnet_settings *tailnet_settings_ref(struct tailnet_settings *t)
{
    refs_take(&t->refs);
    return t;
}

void tailnet_settings_unref(struct tailnet_settings **at)
{
    struct tailnet_settings *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    rcbuf_unref(&t->derp_map_json);
    rcbuf_unref(&t->derp_map_unpinned_json);
    rcbuf_unref(&t->dns_config_json);
    rcbuf_unref(&t->self_caps_json);
    mem_free(t);
}

/* --- snapshots --- */

static void group_unref(struct node_group *g)
{
    if (g == NULL || !refs_drop(&g->refs))
        return;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_unref(&g->nodes[i]);
    cache_slot_fini(&g->cache);
    mem_free(g);
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    refs_take(&s->refs);
    return s;
}

void snapshot_unref(struct snapshot **at)
{
    struct snapshot *s = *at;
    *at = NULL;
    if (s == NULL || !refs_drop(&s->refs))
        return;
    for (size_t i = 0; i < s->group_n; i++)
        group_unref(s->groups[i]);
    user_table_unref(&s->users);
    tailnet_settings_unref(&s->settings);
    access_unref(&s->access);
    mem_free(s);
}

struct change *change_ref(struct change *c)
{
    refs_take(&c->refs);
    return c;
}

void change_unref(struct change **at)
{
    struct change *c = *at;
    *at = NULL;
    if (c == NULL || !refs_drop(&c->refs))
        return;
    for (size_t i = 0; i < c->item_n; i++) {
        node_unref(&c->items[i].before);
        node_unref(&c->items[i].after);
    }
    snapshot_unref(&c->before);
    snapshot_unref(&c->after);
    cache_slot_fini(&c->cache);
    mem_free(c->items);
    mem_free(c);
}

const struct node *snapshot_node(const struct snapshot *s, node_id id)
{
    size_t group = id / GROUP_NODES;
    if (group >= s->group_n || s->groups[group] == NULL)
        return NULL;
    return s->groups[group]->nodes[id % GROUP_NODES];
}

const struct user *snapshot_owner(const struct snapshot *s, const struct node *n)
{
    size_t i = n->tags == NULL ? user_table_find(s->users, n->user) : s->users->n;
    return i < s->users->n ? s->users->users[i] : NULL;
}

bool user_looks_same(const struct user *a, const struct user *b)
{
    if (a == b || a == NULL || b == NULL)
        return a == b;
    return a->id == b->id && strcmp(a->name, b->name) == 0 && strcmp(a->display_name, b->display_name) == 0 &&
           strcmp(a->email, b->email) == 0 && strcmp(a->picture_url, b->picture_url) == 0;
}
