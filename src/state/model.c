#include "state/model.h"

#include <string.h>

#include "base/mem.h"

/* True when the last reference went. */
static bool drop(const atomic_uint *refs)
{
    return atomic_fetch_sub_explicit((atomic_uint *)refs, 1, memory_order_acq_rel) == 1;
}

static void take(const atomic_uint *refs)
{
    atomic_fetch_add_explicit((atomic_uint *)refs, 1, memory_order_relaxed);
}

/* The count at the start of `from` belongs to all threads. */
static void copy_behind_count(void *to, const void *from, size_t start, size_t end)
{
    memcpy((char *)to + start, (const char *)from + start, end - start);
}

static struct rcbuf *maybe_ref(struct rcbuf *b)
{
    return b != NULL ? rcbuf_ref(b) : NULL;
}

static void slot_fini(struct rcbuf *_Atomic *slot)
{
    struct rcbuf *held = atomic_exchange_explicit(slot, NULL, memory_order_acquire);
    rcbuf_unref(&held);
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

const struct user *user_ref(const struct user *u)
{
    take(&u->refs);
    return u;
}

void user_unref(const struct user **at)
{
    const struct user *u = *at;
    *at = NULL;
    if (u != NULL && drop(&u->refs))
        mem_free((void *)u);
}

struct user_table *user_table_ref(struct user_table *t)
{
    take(&t->refs);
    return t;
}

void user_table_unref(struct user_table **at)
{
    struct user_table *t = *at;
    *at = NULL;
    if (t == NULL || !drop(&t->refs))
        return;
    for (size_t i = 0; i < t->n; i++)
        user_unref(&t->users[i]);
    slot_fini(&t->profiles_json);
    mem_free(t);
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
    return copy;
}

const struct auth_key *auth_key_ref(const struct auth_key *k)
{
    take(&k->refs);
    return k;
}

void auth_key_unref(const struct auth_key **at)
{
    struct auth_key *k = (struct auth_key *)*at;
    *at = NULL;
    if (k == NULL || !drop(&k->refs))
        return;
    rcbuf_unref(&k->tags);
    mem_free(k);
}

/* --- relays --- */

struct relay_host *relay_host_create(void)
{
    struct relay_host *r = MEM_NEW(struct relay_host);
    atomic_init(&r->refs, 1);
    return r;
}

struct relay_host *relay_host_edit(const struct relay_host *r)
{
    struct relay_host *copy = relay_host_create();
    copy_behind_count(copy, r, offsetof(struct relay_host, id), sizeof(*copy));
    return copy;
}

const struct relay_host *relay_host_ref(const struct relay_host *r)
{
    take(&r->refs);
    return r;
}

void relay_host_unref(const struct relay_host **at)
{
    const struct relay_host *r = *at;
    *at = NULL;
    if (r != NULL && drop(&r->refs))
        mem_free((void *)r);
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
    copy_behind_count(copy, n, offsetof(struct node, id), offsetof(struct node, peer_json));
    atomic_init(&copy->refs, 1);
    atomic_init(&copy->peer_json, NULL);
    copy->endpoints_n = endpoints_n;
    memcpy(copy->endpoints, endpoints, endpoints_n * sizeof(copy->endpoints[0]));
    maybe_ref(copy->tags);
    maybe_ref(copy->hostinfo);
    maybe_ref(copy->hostinfo_peers);
    return copy;
}

const struct node *node_ref(const struct node *n)
{
    take(&n->refs);
    return n;
}

void node_unref(const struct node **at)
{
    struct node *n = (struct node *)*at;
    *at = NULL;
    if (n == NULL || !drop(&n->refs))
        return;
    rcbuf_unref(&n->tags);
    rcbuf_unref(&n->hostinfo);
    rcbuf_unref(&n->hostinfo_peers);
    slot_fini(&n->peer_json);
    mem_free(n);
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
    made->derp_map_json = ref_or_null(t->derp_map_json);
    made->derp_map_unpinned_json = ref_or_null(t->derp_map_unpinned_json);
    made->dns_config_json = ref_or_null(t->dns_config_json);
    made->self_caps_json = ref_or_null(t->self_caps_json);
    made->collect_logs = t->collect_logs;
    return made;
}

struct tailnet_settings *tailnet_settings_ref(struct tailnet_settings *t)
{
    take(&t->refs);
    return t;
}

void tailnet_settings_unref(struct tailnet_settings **at)
{
    struct tailnet_settings *t = *at;
    *at = NULL;
    if (t == NULL || !drop(&t->refs))
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
    if (g == NULL || !drop(&g->refs))
        return;
    for (size_t i = 0; i < GROUP_NODES; i++)
        node_unref(&g->nodes[i]);
    slot_fini(&g->peers_frame[0]);
    slot_fini(&g->peers_frame[1]);
    mem_free(g);
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    take(&s->refs);
    return s;
}

void snapshot_unref(struct snapshot **at)
{
    struct snapshot *s = *at;
    *at = NULL;
    if (s == NULL || !drop(&s->refs))
        return;
    for (size_t i = 0; i < s->group_n; i++)
        group_unref(s->groups[i]);
    user_table_unref(&s->users);
    tailnet_settings_unref(&s->settings);
    mem_free(s);
}

struct change *change_ref(struct change *c)
{
    take(&c->refs);
    return c;
}

void change_unref(struct change **at)
{
    struct change *c = *at;
    *at = NULL;
    if (c == NULL || !drop(&c->refs))
        return;
    for (size_t i = 0; i < c->item_n; i++) {
        node_unref(&c->items[i].before);
        node_unref(&c->items[i].after);
    }
    for (size_t i = 0; i < c->chunk_n; i++) {
        for (size_t k = 0; k < 4; k++)
            slot_fini(&c->chunks[i].frame[k / 2][k % 2]);
    }
    snapshot_unref(&c->before);
    snapshot_unref(&c->after);
    mem_free(c->chunks);
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
