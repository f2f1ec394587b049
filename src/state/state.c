#include "state/state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/access.h"
#include "state/state_internal.h"

void id_list_push(struct id_list *l, uint64_t id)
{
    VEC_ROOM(l->ids, l->n, l->cap, 64);
    l->ids[l->n++] = id;
}

/* --- life --- */

static struct user_table *make_user_table(const struct state *st);

static struct snapshot *empty_snapshot(struct state *st)
{
    struct snapshot *s = MEM_NEW(struct snapshot);
    atomic_init(&s->refs, 1);
    s->version = 1;
    s->users = make_user_table(st);
    s->settings = tailnet_settings_ref(st->settings);
    s->access = access_ref(st->open_access);
    return s;
}

struct state *state_create(const struct state_options *options, struct tailnet_settings *settings)
{
    struct state *st = MEM_NEW(struct state);
    st->options = *options;
    st->settings = settings;
    st->counters = (struct row_counters){1, 1, 1, 1};
    st->undo.next.counters = st->counters;
    st->next_seq = 1;
    st->next_due_ms = INT64_MAX;
    st->next_date_ms = INT64_MAX;
    memcpy(&st->random_state, options->seed + 16, sizeof(st->random_state));
    struct map *maps[] = {&st->by_key,        &st->by_machine, &st->by_name,      &st->by_addr, &st->users,
                          &st->users_by_name, &st->keys,       &st->keys_by_hash, &st->routes};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_init(maps[i], options->seed);
    st->open_access = access_create_open();
    st->snapshot = empty_snapshot(st);
    return st;
}

void row_batch_destroy(struct row_batch **at)
{
    struct row_batch *b = *at;
    *at = NULL;
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++) {
        user_unref(&b->ops[i].user);
        auth_key_unref(&b->ops[i].key);
        state_relay_host_unref(&b->ops[i].relay);
        state_policy_text_unref(&b->ops[i].policy_text);
        node_unref(&b->ops[i].node);
    }
    mem_free(b->ops);
    mem_free(b);
}

void state_destroy(struct state **at)
{
    struct state *st = *at;
    *at = NULL;
    if (st == NULL)
        return;
    for (size_t i = 0; i < st->records_cap; i++) {
        if (st->records[i] == NULL)
            continue;
        node_unref(&st->records[i]->node);
        routes_forget(st->records[i]);
        mem_free(st->records[i]);
    }
    for (size_t pos = 0;;) {
        const struct user *u = map_next(&st->users, &pos);
        if (u == NULL)
            break;
        user_unref(&u);
    }
    for (size_t pos = 0;;) {
        const struct auth_key *k = map_next(&st->keys, &pos);
        if (k == NULL)
            break;
        auth_key_unref(&k);
    }
    struct map *maps[] = {&st->by_key, &st->by_machine,    &st->by_name, &st->by_addr,
                          &st->users,  &st->users_by_name, &st->keys,    &st->keys_by_hash};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_fini(maps[i]);
    state_relays_fini(st);
    state_policy_texts_fini(st);
    routes_fini(st);
    state_policy_fini(st);
    undo_fini(st);
    row_batch_destroy(&st->pending);
    row_batch_destroy(&st->pending_lazy);
    for (size_t i = 0; i < st->sealed_users_n; i++)
        user_table_unref(&st->sealed_users[i].table);
    mem_free(st->sealed_users);
    snapshot_unref(&st->snapshot);
    access_unref(&st->open_access);
    tailnet_settings_unref(&st->settings);
    mem_free(st->records);
    mem_free(st->dirty.ids);
    mem_free(st->stale.ids);
    mem_free(st->revoked.v);
    mem_free(st);
}

/* --- entries --- */

struct node_record *node_record_of(const struct state *st, node_id id)
{
    if (id >= st->records_cap || st->records[id] == NULL || st->records[id]->node == NULL)
        return NULL;
    return st->records[id];
}

static void index_addr(struct state *st, const struct addr *a, struct node_record *e)
{
    size_t len;
    const void *key = addresses_map_key(a, &len);
    if (a->family != 0)
        map_put(&st->by_addr, key, len, e);
}

/* A machine may have several nodes with one owner (an admin has tagged them): the first by id is the one that is found. */
static void link_owner(struct state *st, struct node_record *e)
{
    e->owner = (struct machine_user){e->node->machine, e->node->tags != NULL ? TAGGED_DEVICES_USER : e->node->user};
    struct node_record *first = map_get(&st->by_machine, &e->owner, sizeof(e->owner)), **at = &first;
    while (*at != NULL && (*at)->id < e->id)
        at = &(*at)->next_of_owner;
    e->next_of_owner = *at;
    *at = e;
    map_put(&st->by_machine, &first->owner, sizeof(first->owner), first);
}

static void unlink_owner(struct state *st, struct node_record *e)
{
    struct node_record *first = map_get(&st->by_machine, &e->owner, sizeof(e->owner)), **at = &first;
    while (*at != e)
        at = &(*at)->next_of_owner;
    *at = e->next_of_owner;
    e->next_of_owner = NULL;
    map_remove(&st->by_machine, &e->owner, sizeof(e->owner));
    if (first != NULL)
        map_put(&st->by_machine, &first->owner, sizeof(first->owner), first);
}

/* Map keys point into the node, so each new version is indexed anew. */
static void index_node(struct state *st, struct node_record *e)
{
    const struct node *n = e->node;
    map_put(&st->by_key, n->key.b, KEY_BYTES, e);
    link_owner(st, e);
    map_put(&st->by_name, n->name, strlen(n->name), e);
    index_addr(st, &n->v4, e);
    index_addr(st, &n->v6, e);
}

static void remove_if_mine(struct map *m, const void *key, size_t len, const struct node_record *e)
{
    if (map_get(m, key, len) == e)
        map_remove(m, key, len);
}

static void unindex_node(struct state *st, struct node_record *e)
{
    const struct node *n = e->node;
    size_t len;
    remove_if_mine(&st->by_key, n->key.b, KEY_BYTES, e);
    unlink_owner(st, e);
    remove_if_mine(&st->by_name, n->name, strlen(n->name), e);
    const void *key = addresses_map_key(&n->v4, &len);
    if (n->v4.family != 0)
        remove_if_mine(&st->by_addr, key, len, e);
    key = addresses_map_key(&n->v6, &len);
    if (n->v6.family != 0)
        remove_if_mine(&st->by_addr, key, len, e);
}

void node_record_mark_dirty(struct state *st, struct node_record *e)
{
    if (e->is_dirty)
        return;
    e->is_dirty = true;
    id_list_push(&st->dirty, e->id);
}

void node_record_mark_stale(struct state *st, struct node_record *e)
{
    e->is_stale_on_disk = true;
    if (e->is_in_stale)
        return;
    e->is_in_stale = true;
    id_list_push(&st->stale, e->id);
}

void node_record_replace(struct state *st, struct node_record *e, const struct node *next)
{
    unindex_node(st, e);
    state_policy_put_node(st, e->node, next);
    node_unref(&e->node);
    e->node = next;
    index_node(st, e);
    node_record_mark_dirty(st, e);
    routes_follow(st, e);
}

static void make_room(struct state *st, node_id id)
{
    VEC_COVER(st->records, st->records_cap, id, 64);
}

struct node_record *node_record_add(struct state *st, const struct node *n)
{
    make_room(st, n->id);
    assert(st->records[n->id] == NULL);
    struct node_record *e = MEM_NEW(struct node_record);
    e->node = n;
    e->id = n->id;
    st->records[n->id] = e;
    st->node_n++;
    index_node(st, e);
    state_policy_put_node(st, NULL, n);
    node_record_mark_dirty(st, e);
    if (n->expires_ms != NO_EXPIRY && !n->is_expired)
        state_date_at(st, n->expires_ms);
    routes_follow(st, e);
    return e;
}

void node_record_remove(struct state *st, struct node_record *e)
{
    undo_begin_node(st, e, UNDO_EVENT);
    unindex_node(st, e);
    state_revoke_key_durably(st, &e->node->key);
    node_unref(&e->node);
    st->node_n--;
    row_put(st, ROW_DEL_NODE, e->id);
    node_record_mark_dirty(st, e);
    node_record_mark_durable(st, e);
    routes_follow(st, e);
}

void node_record_forget(struct state *st, struct node_record *e)
{
    unindex_node(st, e);
    state_policy_forget_node(st, e->id);
    node_unref(&e->node);
    st->node_n--;
    routes_follow(st, e);
    st->records[e->id] = NULL;
    mem_free(e);
}

void node_record_bring_back(struct state *st, struct node_record *e, const struct node *n)
{
    e->node = n;
    st->node_n++;
    index_node(st, e);
    state_policy_put_node(st, NULL, n);
    node_record_mark_dirty(st, e);
    routes_follow(st, e);
}

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

/* --- rows --- */

struct row_op *row_batch_add(struct row_batch *b, enum row_op_kind kind, uint64_t id)
{
    if ((b->n & (b->n - 1)) == 0) /* full at each power of two */
        b->ops = mem_realloc_array(b->ops, b->n > 0 ? b->n * 2 : 1, sizeof(*b->ops));
    struct row_op *op = &b->ops[b->n++];
    *op = (struct row_op){.kind = kind, .id = id};
    return op;
}

struct row_op *row_put(struct state *st, enum row_op_kind kind, uint64_t id)
{
    if (st->pending == NULL) {
        st->pending = MEM_NEW(struct row_batch);
        st->pending->seq = st->next_seq;
    }
    return row_batch_add(st->pending, kind, id);
}

void row_put_lazy(struct state *st, enum row_op_kind kind, uint64_t id)
{
    if (st->pending_lazy == NULL) {
        st->pending_lazy = MEM_NEW(struct row_batch);
        st->pending_lazy->is_lazy = true;
    }
    row_batch_add(st->pending_lazy, kind, id);
}

void node_record_put_row(struct state *st, struct node_record *e)
{
    row_put(st, ROW_PUT_NODE, e->id)->node = node_ref(e->node);
    e->is_stale_on_disk = false;
    e->written_seq = st->next_seq;
}

void node_record_mark_durable(struct state *st, struct node_record *e)
{
    e->visible_seq = st->next_seq;
    undo_end_node(st, e);
}

uint64_t state_durable_seq(const struct state *st)
{
    return st->pending != NULL ? st->next_seq : st->durable_seq;
}

/* Whoever changes later, these are told when batch `seq` is on disk: its nodes refer to them. */
static void seal_users(struct state *st, uint64_t seq)
{
    if (!st->users_dirty)
        return;
    st->users_dirty = false;
    st->sealed_users = mem_realloc_array(st->sealed_users, st->sealed_users_n + 1, sizeof(*st->sealed_users));
    st->sealed_users[st->sealed_users_n++] = (struct sealed_users){make_user_table(st), seq};
}

/* False: there is no such row any more. */
static bool fill_lazy(const struct state *st, struct row_op *op)
{
    struct node_record *e = op->kind == ROW_PUT_NODE ? node_record_of(st, op->id) : NULL;
    struct relay_record *r = op->kind == ROW_PUT_RELAY ? state_relay_record(st, op->id) : NULL;
    if (e != NULL) {
        op->node = node_ref(e->node);
        e->written_seq = st->next_seq;
    }
    if (r != NULL) {
        op->relay = state_relay_host_ref(r->host);
        r->written_seq = st->next_seq;
        r->is_stale_on_disk = false;
    }
    return e != NULL || r != NULL;
}

static struct row_batch *take_lazy(struct state *st)
{
    struct row_batch *b = st->pending_lazy;
    size_t kept = 0;
    if (b == NULL)
        return NULL;
    st->pending_lazy = NULL;
    for (size_t i = 0; i < b->n; i++) {
        struct row_op op = b->ops[i];
        if (fill_lazy(st, &op))
            b->ops[kept++] = op;
    }
    b->n = kept;
    b->seq = st->next_seq;
    if (kept == 0)
        row_batch_destroy(&b);
    else
        st->next_seq++;
    return b;
}

struct row_batch *state_take_batch(struct state *st)
{
    struct row_batch *b = st->pending;
    if (b == NULL)
        return take_lazy(st);
    if (st->counters_dirty) {
        row_put(st, ROW_PUT_COUNTERS, 0)->counters = st->counters;
        st->counters_dirty = false;
    }
    seal_users(st, b->seq);
    undo_mark_batch(st, b->seq);
    st->pending = NULL;
    st->durable_seq = st->next_seq++;
    return b;
}

void state_committed(struct state *st, uint64_t seq)
{
    if (seq > st->committed_seq)
        st->committed_seq = seq;
    undo_committed(st);
    state_policy_texts_committed(st);
}

size_t state_flush_lazy(struct state *st, size_t max)
{
    size_t written = 0, taken = 0;
    for (; taken < st->stale.n && written < max; taken++) {
        struct node_record *e = st->records[st->stale.ids[taken]];
        if (e == NULL)
            continue;
        e->is_in_stale = false;
        if (e->node == NULL || !e->is_stale_on_disk)
            continue;
        row_put_lazy(st, ROW_PUT_NODE, e->id);
        e->is_stale_on_disk = false;
        written++;
    }
    st->stale.n -= taken;
    if (taken > 0)
        memmove(st->stale.ids, st->stale.ids + taken, st->stale.n * sizeof(*st->stale.ids));
    return written + state_relays_flush(st);
}

/* --- loading --- */

static void later(struct addr *last, const struct addr *a)
{
    if (a->family != 0 && (last->family == 0 || memcmp(a->ip, last->ip, 16) > 0))
        *last = *a;
}

void state_load_done(struct state *st, const struct row_counters *counters, int64_t now_ms)
{
    state_load_counters(&st->counters, counters);
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e == NULL)
            continue;
        later(&st->last_v4, &e->node->v4);
        later(&st->last_v6, &e->node->v6);
        /* Nobody is connected to a server that starts: its ephemeral nodes get their time to come back. */
        if (e->node->is_ephemeral) {
            e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
            state_due_at(st, e->remove_at_ms);
        }
    }
    state_relays_load_done(st, now_ms);
    undo_load_done(st);
    state_tick(st, now_ms);
    st->users_dirty = true;
    seal_users(st, 0);
    struct change *c = state_publish(st, now_ms);
    change_unref(&c);
}

/* --- reading --- */

struct snapshot *state_snapshot(const struct state *st)
{
    return st->snapshot;
}

const struct node *state_node(const struct state *st, node_id id)
{
    const struct node_record *e = node_record_of(st, id);
    return e != NULL ? e->node : NULL;
}

const struct node *state_node_by_key(const struct state *st, const node_key *key)
{
    const struct node_record *e = map_get(&st->by_key, key->b, KEY_BYTES);
    return e != NULL ? e->node : NULL;
}

size_t state_node_count(const struct state *st)
{
    return st->node_n;
}

bool state_key_is_active(const struct state *st, const node_key *key)
{
    const struct node *n = state_node_by_key(st, key);
    return n != NULL && !n->is_expired;
}

void state_set_settings(struct state *st, struct tailnet_settings *settings)
{
    tailnet_settings_unref(&st->settings);
    st->settings = settings;
    st->settings_dirty = true;
}

const struct tailnet_settings *state_settings(const struct state *st)
{
    return st->settings;
}

/* --- publishing --- */

static int compare_users(const void *a, const void *b)
{
    const struct user *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static struct user_table *make_user_table(const struct state *st)
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

bool state_is_dirty(const struct state *st)
{
    return st->dirty.n > 0 || st->users_dirty || st->sealed_users_n > 0 || st->settings_dirty ||
           state_policy_is_dirty(st);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* A private copy of the group that holds `id`, to be changed before anyone sees it. */
static struct node_group *own_group(struct snapshot *s, node_id id, const struct snapshot *before)
{
    size_t i = id / GROUP_NODES;
    struct node_group *old = s->groups[i];
    /* Already copied for this snapshot: it is not the one of the snapshot before. */
    if (old != NULL && (i >= before->group_n || old != before->groups[i]))
        return old;
    struct node_group *g = MEM_NEW(struct node_group);
    atomic_init(&g->refs, 1);
    if (old != NULL) {
        g->peers = old->peers;
        g->routers = old->routers;
        for (size_t k = 0; k < GROUP_NODES; k++)
            g->nodes[k] = old->nodes[k] != NULL ? node_ref(old->nodes[k]) : NULL;
        atomic_fetch_sub(&old->refs, 1); /* the snapshot before still holds it */
    }
    s->groups[i] = g;
    return g;
}

static void place_node(struct snapshot *s, const struct snapshot *before, node_id id, const struct node *n)
{
    struct node_group *g = own_group(s, id, before);
    const struct node **slot = &g->nodes[id % GROUP_NODES];
    uint64_t bit = UINT64_C(1) << (id % GROUP_NODES);
    s->node_n += n != NULL;
    s->node_n -= *slot != NULL;
    node_unref(slot);
    *slot = n != NULL ? node_ref(n) : NULL;
    g->peers = node_as_peer(n) != NULL ? g->peers | bit : g->peers & ~bit;
    g->routers = n != NULL && node_serves(n) ? g->routers | bit : g->routers & ~bit;
}

static struct snapshot *next_snapshot(struct state *st, int64_t now_ms)
{
    const struct snapshot *old = st->snapshot;
    size_t group_n = st->counters.next_node / GROUP_NODES + 1;
    if (group_n < old->group_n)
        group_n = old->group_n;
    struct snapshot *s = mem_zalloc(1, sizeof(*s) + group_n * sizeof(s->groups[0]));
    atomic_init(&s->refs, 1);
    s->version = old->version + 1;
    s->made_ms = now_ms;
    s->node_n = old->node_n;
    s->group_n = group_n;
    for (size_t i = 0; i < old->group_n; i++) {
        s->groups[i] = old->groups[i];
        if (s->groups[i] != NULL)
            atomic_fetch_add_explicit(&s->groups[i]->refs, 1, memory_order_relaxed);
    }
    return s;
}

/* Forgets a deleted node once its removal is told. */
static void reap_entry(struct state *st, node_id id)
{
    struct node_record *e = st->records[id];
    if (e->node != NULL || e->is_dirty)
        return;
    st->records[id] = NULL;
    mem_free(e);
}

/* Moves the nodes that may be shown into `c`; those that wait for the disk stay dirty. */
static void collect_items(struct state *st, struct change *c)
{
    size_t kept = 0;
    if (st->dirty.n == 0)
        return;
    qsort(st->dirty.ids, st->dirty.n, sizeof(*st->dirty.ids), compare_ids);
    c->items = mem_zalloc(st->dirty.n, sizeof(*c->items));
    for (size_t i = 0; i < st->dirty.n; i++) {
        struct node_record *e = st->records[st->dirty.ids[i]];
        if (e->visible_seq > st->committed_seq) {
            st->dirty.ids[kept++] = e->id;
            continue;
        }
        e->is_dirty = false;
        if (e->node == NULL)
            state_policy_forget_node(st, e->id);
        const struct node *before = snapshot_node(st->snapshot, e->id);
        if (before != e->node) {
            struct change_item *item = &c->items[c->item_n++];
            item->id = e->id;
            item->before = before != NULL ? node_ref(before) : NULL;
            item->after = e->node != NULL ? node_ref(e->node) : NULL;
        }
        reap_entry(st, e->id);
    }
    st->dirty.n = kept;
}

/* The newest users that are on disk, or null when they are told. */
static struct user_table *take_users(struct state *st)
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

struct change *state_publish(struct state *st, int64_t now_ms)
{
    struct change *c = MEM_NEW(struct change);
    atomic_init(&c->refs, 1);
    state_policy(st);
    struct user_table *users = take_users(st);
    c->users_changed = users != NULL;
    c->settings_changed = st->settings_dirty;
    collect_items(st, c);
    if (c->item_n == 0 && !c->users_changed && !c->settings_changed && !state_policy_is_dirty(st)) {
        change_unref(&c);
        return NULL;
    }
    struct snapshot *s = next_snapshot(st, now_ms);
    for (size_t i = 0; i < c->item_n; i++)
        place_node(s, st->snapshot, c->items[i].id, c->items[i].after);
    s->users = users != NULL ? users : user_table_ref(st->snapshot->users);
    s->settings = tailnet_settings_ref(st->settings);
    st->settings_dirty = false;
    c->before = st->snapshot;
    c->after = snapshot_ref(s);
    state_build_access(st, c);
    st->snapshot = s;
    return c;
}
