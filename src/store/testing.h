/* For the tests of this module: a small tailnet that changes at random, what a store holds, and its acknowledgements.
 * Include after cmocka.h and support/test_random.h. */
#ifndef STORE_TESTING_H
#define STORE_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "store/store_internal.h"

/* --- a directory for one test --- */

enum { SCRATCH_CAP = 64 };

static inline void scratch_make(char dir[SCRATCH_CAP])
{
    snprintf(dir, SCRATCH_CAP, "%s/fullscale-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
}

static inline void scratch_remove_files(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[3 * SCRATCH_CAP];
        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static inline const char *scratch_path(const char *dir)
{
    static char path[2 * SCRATCH_CAP];
    snprintf(path, sizeof(path), "%s/db.sqlite", dir);
    return path;
}

static inline void scratch_remove(const char *dir)
{
    scratch_remove_files(scratch_path(dir));
    assert_int_equal(rmdir(dir), 0);
}

static inline struct store *open_file(const char *path, int64_t wal_autocheckpoint_pages)
{
    const struct store_options options = {path, wal_autocheckpoint_pages};
    struct store *s = NULL;
    struct err err = {0};
    enum rc rc = store_open_sqlite(&options, &s, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return s;
}

/* --- batches --- */

static inline struct row_batch *batch_create(uint64_t seq)
{
    struct row_batch *b = MEM_NEW(struct row_batch);
    b->seq = seq;
    return b;
}

static inline struct row_op *batch_add(struct row_batch *b, enum row_op_kind kind, uint64_t id)
{
    b->ops = mem_realloc_array(b->ops, b->n + 1, sizeof(*b->ops));
    b->ops[b->n] = (struct row_op){.kind = kind, .id = id};
    return &b->ops[b->n++];
}

/* Writes it past the thread, on the caller's. Consumes the batch. */
static inline enum rc write_now(struct store *s, struct row_batch *b)
{
    const struct row_op **plan;
    size_t n = store_plan(&b, 1, &plan);
    enum rc rc = s->ops->write(s, plan, n);
    mem_free(plan);
    row_batch_destroy(&b);
    return rc;
}

/* --- a tailnet --- */

enum { WORLD_SLOTS = 24 };

struct world {
    struct test_random random;
    uint64_t seq;   /* of the last batch; also in counters.next_key, which so tells what a store has reached */
    uint64_t fresh; /* makes unique names */
    struct row_counters counters;
    const struct user *users[WORLD_SLOTS];
    const struct auth_key *keys[WORLD_SLOTS];
    const struct relay_host *relays[WORLD_SLOTS];
    const struct policy_text *texts[WORLD_SLOTS];
    const struct node *nodes[WORLD_SLOTS];
};

static inline void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.random = {seed}, .counters = {1, 1, 0, 1}};
}

static inline void world_fini(struct world *w)
{
    for (size_t i = 0; i < WORLD_SLOTS; i++) {
        user_unref(&w->users[i]);
        auth_key_unref(&w->keys[i]);
        state_relay_host_unref(&w->relays[i]);
        state_policy_text_unref(&w->texts[i]);
        node_unref(&w->nodes[i]);
    }
}

static inline uint32_t below(struct world *w, uint32_t n)
{
    return test_random_below(&w->random, n);
}

static inline void random_bytes(struct world *w, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)below(w, 256);
}

/* Now and then null or longer than a page. */
static inline struct rcbuf *random_json(struct world *w)
{
    uint32_t kind = below(w, 8);
    size_t len = kind == 0 ? 5000 : below(w, 300);
    if (kind == 1)
        return NULL;
    struct rcbuf *b = rcbuf_create(NULL, len);
    for (size_t i = 0; i < len; i++)
        b->data[i] = (uint8_t)(' ' + below(w, 95));
    return b;
}

static inline void fresh_addr(struct world *w, uint8_t family, struct addr *out)
{
    uint64_t n = ++w->fresh;
    *out = (struct addr){.family = family, .ip = {family == 4 ? 100 : 0xfd}};
    out->ip[1] = (uint8_t)(n >> 16);
    out->ip[2] = (uint8_t)(n >> 8);
    out->ip[3] = (uint8_t)n;
}

static inline void put_user(struct world *w, struct row_batch *b, const struct user *u, size_t slot)
{
    user_unref(&w->users[slot]);
    w->users[slot] = u;
    batch_add(b, ROW_PUT_USER, u->id)->user = user_ref(u);
}

static inline void put_key(struct world *w, struct row_batch *b, const struct auth_key *k, size_t slot)
{
    auth_key_unref(&w->keys[slot]);
    w->keys[slot] = k;
    batch_add(b, ROW_PUT_KEY, k->id)->key = auth_key_ref(k);
}

static inline void put_node(struct world *w, struct row_batch *b, const struct node *n, size_t slot)
{
    node_unref(&w->nodes[slot]);
    w->nodes[slot] = n;
    batch_add(b, ROW_PUT_NODE, n->id)->node = node_ref(n);
}

static inline void delete_user(struct world *w, struct row_batch *b, size_t slot)
{
    uint64_t id = w->users[slot]->id;
    for (size_t i = 0; i < WORLD_SLOTS; i++) {
        if (w->keys[i] == NULL || w->keys[i]->user != id)
            continue;
        batch_add(b, ROW_DEL_KEY, w->keys[i]->id);
        auth_key_unref(&w->keys[i]);
    }
    batch_add(b, ROW_DEL_USER, id);
    user_unref(&w->users[slot]);
}

static inline void event_user(struct world *w, struct row_batch *b, size_t slot)
{
    const struct user *old = w->users[slot];
    if (old != NULL && below(w, 4) == 0) {
        delete_user(w, b, slot);
        return;
    }
    struct user *u = old != NULL ? user_edit(old) : user_create();
    if (old == NULL)
        u->id = w->counters.next_user++;
    snprintf(u->name, sizeof(u->name), "user%llu", (unsigned long long)++w->fresh);
    snprintf(u->display_name, sizeof(u->display_name), "Användare %u", below(w, 1000));
    snprintf(u->email, sizeof(u->email), "%u@example.com", below(w, 1000));
    snprintf(u->picture_url, sizeof(u->picture_url), "https://example.com/%u.png", below(w, 1000));
    u->created_ms = (int64_t)test_random_u64(&w->random);
    u->role = (enum user_role)below(w, USER_ROLES_N);
    put_user(w, b, u, slot);
}

static inline void event_key(struct world *w, struct row_batch *b, size_t slot)
{
    const struct auth_key *old = w->keys[slot];
    if (old != NULL && below(w, 4) == 0) {
        batch_add(b, ROW_DEL_KEY, old->id);
        auth_key_unref(&w->keys[slot]);
        return;
    }
    struct auth_key *k = old != NULL ? auth_key_edit(old) : auth_key_create();
    k->is_used = old != NULL;
    if (old == NULL) {
        const struct user *owner = w->users[below(w, WORLD_SLOTS)];
        k->id = ++w->fresh;
        k->user = owner != NULL ? owner->id : 0;
        random_bytes(w, k->hash, sizeof(k->hash));
        snprintf(k->prefix, sizeof(k->prefix), "fskey-auth-%u", below(w, 1000000));
        k->is_reusable = below(w, 2) != 0;
        k->is_ephemeral = below(w, 2) != 0;
        k->created_ms = (int64_t)test_random_u64(&w->random);
        k->tags = random_json(w);
    }
    k->expires_ms = below(w, 2) != 0 ? (int64_t)test_random_u64(&w->random) : NO_EXPIRY;
    put_key(w, b, k, slot);
}

static inline void event_relay(struct world *w, struct row_batch *b, size_t slot)
{
    const struct relay_host *old = w->relays[slot];
    if (old != NULL && below(w, 4) == 0) {
        batch_add(b, ROW_DEL_RELAY, old->id);
        state_relay_host_unref(&w->relays[slot]);
        return;
    }
    struct relay_host *r = old != NULL ? state_relay_host_edit(old) : state_relay_host_create();
    if (old == NULL) {
        r->id = w->counters.next_relay++;
        random_bytes(w, r->hash, sizeof(r->hash));
        snprintf(r->name, sizeof(r->name), "relay%llu", (unsigned long long)++w->fresh);
        snprintf(r->prefix, sizeof(r->prefix), "fskey-relay-%u", below(w, 1000000));
        snprintf(r->region_code, sizeof(r->region_code), "r%u", below(w, 1000));
        snprintf(r->region_name, sizeof(r->region_name), "Område %u", below(w, 1000));
        r->region_id = (uint16_t)(1 + below(w, 65535));
        r->created_ms = (int64_t)test_random_u64(&w->random);
    }
    r->is_up = below(w, 2) != 0;
    r->last_seen_ms = (int64_t)test_random_u64(&w->random);
    snprintf(r->report.host_name, sizeof(r->report.host_name), "relay%u.example.com", below(w, 1000));
    snprintf(r->report.cert_name, sizeof(r->report.cert_name), "sha256-raw:%u", below(w, 1000));
    r->report.ipv4 = r->report.ipv6 = (struct addr){0};
    if (below(w, 2) != 0)
        fresh_addr(w, 4, &r->report.ipv4);
    if (below(w, 2) != 0)
        fresh_addr(w, 6, &r->report.ipv6);
    r->report.derp_port = (uint16_t)below(w, 65536);
    r->report.stun_port = (uint16_t)below(w, 65536);
    state_relay_host_unref(&w->relays[slot]);
    w->relays[slot] = r;
    batch_add(b, ROW_PUT_RELAY, r->id)->relay = state_relay_host_ref(r);
}

/* Versions come at one end and go at the other; none changes. */
static inline void event_policy_text(struct world *w, struct row_batch *b, size_t slot)
{
    char text[64];
    if (w->texts[slot] != NULL) {
        batch_add(b, ROW_DEL_POLICY_TEXT, w->texts[slot]->id);
        state_policy_text_unref(&w->texts[slot]);
    }
    snprintf(text, sizeof(text), "// %c %u\n{}", below(w, 2) != 0 ? 0xff : 0, below(w, 1000));
    struct policy_text *t = state_policy_text_create(str_n(text, below(w, 12)));
    t->id = ++w->fresh;
    t->created_ms = (int64_t)test_random_u64(&w->random);
    snprintf(t->author, sizeof(t->author), "user%u", below(w, 1000));
    snprintf(t->note, sizeof(t->note), "%s", below(w, 2) != 0 ? "for the new site \xc3\xa9" : "");
    w->texts[slot] = t;
    batch_add(b, ROW_PUT_POLICY_TEXT, t->id)->policy_text = state_policy_text_ref(t);
}

static inline void random_endpoints(struct world *w, struct addr out[ENDPOINTS_MAX], unsigned *n)
{
    *n = below(w, ENDPOINTS_MAX + 1);
    for (unsigned i = 0; i < *n; i++) {
        fresh_addr(w, below(w, 2) != 0 ? 4 : 6, &out[i]);
        out[i].port = (uint16_t)below(w, 65536);
    }
}

static inline struct prefix_list *random_prefixes(struct world *w)
{
    static const char *const texts[] = {"10.0.0.0/8", "fd00::/8",       "0.0.0.0/0",
                                        "::/0",       "192.168.7.0/24", "2001:db8::1/128"};
    struct prefix v[ARRAY_LEN(texts)];
    size_t n = below(w, ARRAY_LEN(texts));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(prefix_parse(str_c(texts[below(w, ARRAY_LEN(texts))]), &v[i], NULL), RC_OK);
    return prefix_list_create(v, n);
}

/* What changes without a claim on anything unique. */
static inline struct node *revised(struct world *w, const struct node *old)
{
    struct addr endpoints[ENDPOINTS_MAX];
    unsigned endpoints_n;
    random_endpoints(w, endpoints, &endpoints_n);
    struct node *n = node_edit(old, endpoints, endpoints_n);
    rcbuf_unref(&n->tags);
    rcbuf_unref(&n->hostinfo);
    rcbuf_unref(&n->hostinfo_peers);
    n->tags = random_json(w);
    n->hostinfo = random_json(w);
    n->hostinfo_peers = random_json(w);
    prefix_list_unref(&n->advertised);
    prefix_list_unref(&n->approved);
    n->advertised = random_prefixes(w);
    n->approved = random_prefixes(w);
    n->user = below(w, 2) != 0 ? below(w, 100) : TAGGED_DEVICES_USER;
    if (below(w, 2) != 0)
        random_bytes(w, n->disco.b, KEY_BYTES);
    if (below(w, 2) != 0)
        random_bytes(w, n->nl.b, KEY_BYTES);
    snprintf(n->hostname, sizeof(n->hostname), "Host %u \xc3\xa9\xff", below(w, 1000));
    n->is_renamed = below(w, 2) != 0;
    n->is_ephemeral = below(w, 2) != 0;
    n->is_ended = below(w, 2) != 0;
    n->is_online = below(w, 2) != 0;
    n->cap_version = (uint32_t)test_random_u64(&w->random);
    n->home_derp = (uint16_t)below(w, 65536);
    n->auth_key = below(w, 3);
    n->expires_ms = below(w, 2) != 0 ? (int64_t)test_random_u64(&w->random) : NO_EXPIRY;
    n->last_seen_ms = (int64_t)test_random_u64(&w->random);
    return n;
}

static inline struct node *fresh_node(struct world *w)
{
    struct node blank = {0};
    struct node *n = revised(w, &blank);
    n->id = w->counters.next_node++;
    snprintf(n->stable_id, sizeof(n->stable_id), "n%016llx", (unsigned long long)test_random_u64(&w->random));
    snprintf(n->name, sizeof(n->name), "node%llu", (unsigned long long)++w->fresh);
    random_bytes(w, n->machine.b, KEY_BYTES);
    random_bytes(w, n->key.b, KEY_BYTES);
    n->created_ms = (int64_t)test_random_u64(&w->random);
    if (below(w, 4) != 0)
        fresh_addr(w, 4, &n->v4);
    if (below(w, 4) != 0)
        fresh_addr(w, 6, &n->v6);
    return n;
}

static inline void event_node(struct world *w, struct row_batch *b, size_t slot)
{
    const struct node *old = w->nodes[slot];
    bool gone = old != NULL && below(w, 4) == 0;
    if (old == NULL) {
        put_node(w, b, fresh_node(w), slot);
    } else if (!gone) {
        put_node(w, b, revised(w, old), slot);
    } else {
        struct node *heir = below(w, 2) != 0 ? fresh_node(w) : NULL;
        if (heir != NULL) {
            memcpy(heir->name, old->name, sizeof(heir->name));
            heir->v4 = old->v4;
            heir->key = old->key;
        }
        batch_add(b, ROW_DEL_NODE, old->id);
        node_unref(&w->nodes[slot]);
        if (heir != NULL)
            put_node(w, b, heir, slot);
    }
}

static inline void claim(struct node *n, const struct node *from, uint32_t what)
{
    if (what == 0)
        memcpy(n->name, from->name, sizeof(n->name));
    else if (what == 1)
        n->v4 = from->v4;
    else if (what == 2)
        n->v6 = from->v6;
    else
        n->key = from->key;
}

/* Two or three nodes pass on a name, an address or a key in a circle. */
static inline void event_exchange(struct world *w, struct row_batch *b)
{
    size_t slots[3];
    size_t n = 0, wanted = 2 + below(w, 2);
    for (size_t i = below(w, WORLD_SLOTS), tried = 0; tried < WORLD_SLOTS && n < wanted; tried++, i++) {
        if (w->nodes[i % WORLD_SLOTS] != NULL)
            slots[n++] = i % WORLD_SLOTS;
    }
    if (n < 2)
        return;
    uint32_t what = below(w, 4);
    struct node *next[3];
    for (size_t i = 0; i < n; i++) {
        next[i] = node_edit(w->nodes[slots[i]], NULL, 0);
        claim(next[i], w->nodes[slots[(i + 1) % n]], what);
    }
    for (size_t i = 0; i < n; i++)
        put_node(w, b, next[i], slots[i]);
}

/* The next batch of a tailnet's life; the caller owns it. */
static inline struct row_batch *world_step(struct world *w)
{
    struct row_batch *b = batch_create(++w->seq);
    for (uint32_t events = 1 + below(w, 4); events > 0; events--) {
        uint32_t kind = below(w, 10);
        size_t slot = below(w, WORLD_SLOTS);
        if (kind == 0)
            event_user(w, b, slot);
        else if (kind == 1)
            event_key(w, b, slot);
        else if (kind == 2)
            event_relay(w, b, slot);
        else if (kind == 3)
            event_policy_text(w, b, slot);
        else if (kind < 7)
            event_node(w, b, slot);
        else
            event_exchange(w, b);
    }
    w->counters.next_key = w->seq;
    batch_add(b, ROW_PUT_COUNTERS, 0)->counters = w->counters;
    return b;
}

static inline void world_advance(struct world *w, uint64_t seq)
{
    while (w->seq < seq) {
        struct row_batch *b = world_step(w);
        row_batch_destroy(&b);
    }
}

/* --- comparing --- */

static inline bool same_json(const struct rcbuf *a, const struct rcbuf *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static inline bool same_user(const struct user *a, const struct user *b)
{
    return a->id == b->id && strcmp(a->name, b->name) == 0 && strcmp(a->display_name, b->display_name) == 0 &&
           strcmp(a->email, b->email) == 0 && strcmp(a->picture_url, b->picture_url) == 0 &&
           a->created_ms == b->created_ms && a->role == b->role;
}

static inline bool same_key(const struct auth_key *a, const struct auth_key *b)
{
    return a->id == b->id && a->user == b->user && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0 &&
           strcmp(a->prefix, b->prefix) == 0 && a->is_reusable == b->is_reusable &&
           a->is_ephemeral == b->is_ephemeral && a->is_used == b->is_used && a->created_ms == b->created_ms &&
           a->expires_ms == b->expires_ms && same_json(a->tags, b->tags);
}

static inline bool same_endpoints(const struct node *a, const struct node *b)
{
    for (unsigned i = 0; i < a->endpoints_n && i < b->endpoints_n; i++) {
        if (!addr_eq(&a->endpoints[i], &b->endpoints[i]))
            return false;
    }
    return a->endpoints_n == b->endpoints_n;
}

/* All but presence and caches, which no store keeps. */
static inline bool same_node(const struct node *a, const struct node *b)
{
    return a->id == b->id && strcmp(a->stable_id, b->stable_id) == 0 && a->user == b->user &&
           keys_equal(a->machine.b, b->machine.b) && keys_equal(a->key.b, b->key.b) &&
           keys_equal(a->disco.b, b->disco.b) && keys_equal(a->nl.b, b->nl.b) && addr_eq(&a->v4, &b->v4) &&
           addr_eq(&a->v6, &b->v6) && strcmp(a->name, b->name) == 0 && strcmp(a->hostname, b->hostname) == 0 &&
           a->is_renamed == b->is_renamed && a->is_ephemeral == b->is_ephemeral && a->is_ended == b->is_ended &&
           a->cap_version == b->cap_version && a->home_derp == b->home_derp && a->auth_key == b->auth_key &&
           a->created_ms == b->created_ms && a->expires_ms == b->expires_ms && a->last_seen_ms == b->last_seen_ms &&
           same_json(a->tags, b->tags) && same_json(a->hostinfo, b->hostinfo) &&
           same_json(a->hostinfo_peers, b->hostinfo_peers) && same_endpoints(a, b) &&
           prefix_list_eq(a->advertised, b->advertised) && prefix_list_eq(a->approved, b->approved);
}

static inline bool same_relay(const struct relay_host *a, const struct relay_host *b)
{
    return a->id == b->id && strcmp(a->name, b->name) == 0 && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0 &&
           strcmp(a->prefix, b->prefix) == 0 && a->region_id == b->region_id &&
           strcmp(a->region_code, b->region_code) == 0 && strcmp(a->region_name, b->region_name) == 0 &&
           a->is_up == b->is_up && a->created_ms == b->created_ms && a->last_seen_ms == b->last_seen_ms &&
           strcmp(a->report.host_name, b->report.host_name) == 0 &&
           strcmp(a->report.cert_name, b->report.cert_name) == 0 && addr_eq(&a->report.ipv4, &b->report.ipv4) &&
           addr_eq(&a->report.ipv6, &b->report.ipv6) && a->report.derp_port == b->report.derp_port &&
           a->report.stun_port == b->report.stun_port;
}

static inline bool same_text(const struct policy_text *a, const struct policy_text *b)
{
    return a->id == b->id && a->created_ms == b->created_ms && strcmp(a->author, b->author) == 0 &&
           strcmp(a->note, b->note) == 0 && same_json(a->text, b->text);
}

/* Rows as they came out of a store, held against a tailnet. */
struct compared {
    const struct world *world;
    size_t users, keys, relays, texts, nodes;
    uint64_t last_user, last_key, last_relay, last_text, last_node;
    unsigned wrong;
};

static inline void compare_user(void *ctx, struct user *u)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < WORLD_SLOTS; i++)
        found |= c->world->users[i] != NULL && same_user(c->world->users[i], u);
    c->wrong += !found || u->id <= c->last_user || c->keys > 0 || c->nodes > 0;
    c->last_user = u->id;
    c->users++;
    user_unref((const struct user **)&u);
}

static inline void compare_key(void *ctx, struct auth_key *k)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < WORLD_SLOTS; i++)
        found |= c->world->keys[i] != NULL && same_key(c->world->keys[i], k);
    c->wrong += !found || k->id <= c->last_key || c->nodes > 0;
    c->last_key = k->id;
    c->keys++;
    auth_key_unref((const struct auth_key **)&k);
}

static inline void compare_relay(void *ctx, struct relay_host *r)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < WORLD_SLOTS; i++)
        found |= c->world->relays[i] != NULL && same_relay(c->world->relays[i], r);
    c->wrong += !found || r->id <= c->last_relay || c->nodes > 0;
    c->last_relay = r->id;
    c->relays++;
    state_relay_host_unref((const struct relay_host **)&r);
}

static inline void compare_text(void *ctx, struct policy_text *t)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < WORLD_SLOTS; i++)
        found |= c->world->texts[i] != NULL && same_text(c->world->texts[i], t);
    c->wrong += !found || t->id <= c->last_text || c->nodes > 0;
    c->last_text = t->id;
    c->texts++;
    state_policy_text_unref((const struct policy_text **)&t);
}

static inline void compare_node(void *ctx, struct node *n)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < WORLD_SLOTS; i++)
        found |= c->world->nodes[i] != NULL && same_node(c->world->nodes[i], n);
    c->wrong += !found || n->id <= c->last_node || n->is_online;
    c->last_node = n->id;
    c->nodes++;
    node_unref((const struct node **)&n);
}

static inline void count_world(const struct world *w, struct compared *out)
{
    for (size_t i = 0; i < WORLD_SLOTS; i++) {
        out->users += w->users[i] != NULL;
        out->keys += w->keys[i] != NULL;
        out->relays += w->relays[i] != NULL;
        out->texts += w->texts[i] != NULL;
        out->nodes += w->nodes[i] != NULL;
    }
}

/* The store holds exactly these rows. Not while its thread runs. */
static inline void assert_holds(struct store *s, const struct world *w)
{
    struct compared c = {.world = w}, expected = {0};
    const struct row_sink sink = {compare_user, compare_key, compare_relay, compare_text, compare_node, &c};
    struct row_counters counters = {0};
    struct err err = {0};
    enum rc rc = s->ops->load(s, &sink, &counters, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    count_world(w, &expected);
    assert_int_equal(c.wrong, 0);
    assert_int_equal(c.users, expected.users);
    assert_int_equal(c.keys, expected.keys);
    assert_int_equal(c.relays, expected.relays);
    assert_int_equal(c.texts, expected.texts);
    assert_int_equal(c.nodes, expected.nodes);
    if (w->seq > 0)
        assert_memory_equal(&counters, &w->counters, sizeof(counters));
}

static inline void drop_user(void *ctx, struct user *u)
{
    (void)ctx;
    user_unref((const struct user **)&u);
}

static inline void drop_key(void *ctx, struct auth_key *k)
{
    (void)ctx;
    auth_key_unref((const struct auth_key **)&k);
}

static inline void drop_relay(void *ctx, struct relay_host *r)
{
    (void)ctx;
    state_relay_host_unref((const struct relay_host **)&r);
}

static inline void drop_text(void *ctx, struct policy_text *t)
{
    (void)ctx;
    state_policy_text_unref((const struct policy_text **)&t);
}

static inline void drop_node(void *ctx, struct node *n)
{
    (void)ctx;
    node_unref((const struct node **)&n);
}

static const struct row_sink no_sink UNUSED = {drop_user, drop_key, drop_relay, drop_text, drop_node, NULL};

/* The last batch that a store has, when a world fills it. */
static inline uint64_t seq_in(struct store *s)
{
    struct row_counters counters = {0};
    struct err err = {0};
    enum rc rc = s->ops->load(s, &no_sink, &counters, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return counters.next_key;
}

/* --- acknowledgements --- */

struct acks {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t n; /* calls */
    uint64_t last_seq;
    uint64_t failed_n;
    enum rc last_rc;
    bool out_of_order;
    bool is_held; /* the store's thread stands in its callback while this is set */
};

static inline void acks_init(struct acks *a)
{
    *a = (struct acks){0};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
}

static inline void acks_take(void *ctx, uint64_t seq, enum rc rc)
{
    struct acks *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->out_of_order |= seq != a->last_seq + 1 || (rc == RC_OK && a->failed_n > 0);
    a->last_seq = seq;
    a->last_rc = rc;
    a->failed_n += rc != RC_OK;
    a->n++;
    pthread_cond_broadcast(&a->changed);
    while (a->is_held)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static inline void acks_hold(struct acks *a, bool hold)
{
    pthread_mutex_lock(&a->lock);
    a->is_held = hold;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

/* Until batch `seq` is answered for; what the answer was. */
static inline enum rc acks_wait(struct acks *a, uint64_t seq)
{
    pthread_mutex_lock(&a->lock);
    while (a->last_seq < seq)
        pthread_cond_wait(&a->changed, &a->lock);
    enum rc rc = a->last_rc;
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static inline void quiet_logs(void)
{
    enum rc rc = log_set_level(NULL, LOG_OFF);
    (void)rc;
}

#endif
