#include "store/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "crypto/crypto.h"

static bool same_json(const struct rcbuf *a, const struct rcbuf *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool same_user(const struct user *a, const struct user *b)
{
    return a->id == b->id && strcmp(a->name, b->name) == 0 && strcmp(a->display_name, b->display_name) == 0 &&
           strcmp(a->email, b->email) == 0 && strcmp(a->picture_url, b->picture_url) == 0 &&
           a->created_ms == b->created_ms && a->role == b->role;
}

static bool same_key(const struct auth_key *a, const struct auth_key *b)
{
    return a->id == b->id && a->user == b->user && secret_equal(a->hash, b->hash, sizeof(a->hash)) &&
           strcmp(a->prefix, b->prefix) == 0 && a->is_reusable == b->is_reusable &&
           a->is_ephemeral == b->is_ephemeral && a->is_used == b->is_used && a->created_ms == b->created_ms &&
           a->expires_ms == b->expires_ms && same_json(a->tags, b->tags);
}

static bool same_endpoints(const struct node *a, const struct node *b)
{
    for (unsigned i = 0; i < a->endpoints_n && i < b->endpoints_n; i++) {
        if (!addr_eq(&a->endpoints[i], &b->endpoints[i]))
            return false;
    }
    return a->endpoints_n == b->endpoints_n;
}

bool test_same_node(const struct node *a, const struct node *b)
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

static bool same_relay(const struct relay_host *a, const struct relay_host *b)
{
    return a->id == b->id && strcmp(a->name, b->name) == 0 && secret_equal(a->hash, b->hash, sizeof(a->hash)) &&
           strcmp(a->prefix, b->prefix) == 0 && a->region_id == b->region_id &&
           strcmp(a->region_code, b->region_code) == 0 && strcmp(a->region_name, b->region_name) == 0 &&
           a->is_up == b->is_up && a->created_ms == b->created_ms && a->last_seen_ms == b->last_seen_ms &&
           strcmp(a->report.host_name, b->report.host_name) == 0 &&
           strcmp(a->report.cert_name, b->report.cert_name) == 0 && addr_eq(&a->report.ipv4, &b->report.ipv4) &&
           addr_eq(&a->report.ipv6, &b->report.ipv6) && a->report.derp_port == b->report.derp_port &&
           a->report.stun_port == b->report.stun_port;
}

static bool same_text(const struct policy_text *a, const struct policy_text *b)
{
    return a->id == b->id && a->created_ms == b->created_ms && strcmp(a->author, b->author) == 0 &&
           strcmp(a->note, b->note) == 0 && same_json(a->text, b->text);
}

/* Rows as a store delivers them, compared with those of a tailnet. */
struct compared {
    const struct test_world *world;
    size_t users, keys, relays, texts, nodes;
    uint64_t last_user, last_key, last_relay, last_text, last_node;
    unsigned wrong;
};

static void compare_user(void *ctx, struct user *u)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++)
        found |= c->world->users[i] != NULL && same_user(c->world->users[i], u);
    c->wrong += !found || u->id <= c->last_user || c->keys > 0 || c->nodes > 0;
    c->last_user = u->id;
    c->users++;
    user_unref((const struct user **)&u);
}

static void compare_key(void *ctx, struct auth_key *k)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++)
        found |= c->world->keys[i] != NULL && same_key(c->world->keys[i], k);
    c->wrong += !found || k->id <= c->last_key || c->nodes > 0;
    c->last_key = k->id;
    c->keys++;
    auth_key_unref((const struct auth_key **)&k);
}

static void compare_relay(void *ctx, struct relay_host *r)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++)
        found |= c->world->relays[i] != NULL && same_relay(c->world->relays[i], r);
    c->wrong += !found || r->id <= c->last_relay || c->nodes > 0;
    c->last_relay = r->id;
    c->relays++;
    state_relay_host_unref((const struct relay_host **)&r);
}

static void compare_text(void *ctx, struct policy_text *t)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++)
        found |= c->world->texts[i] != NULL && same_text(c->world->texts[i], t);
    c->wrong += !found || t->id <= c->last_text || c->nodes > 0;
    c->last_text = t->id;
    c->texts++;
    state_policy_text_unref((const struct policy_text **)&t);
}

static void compare_node(void *ctx, struct node *n)
{
    struct compared *c = ctx;
    bool found = false;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++)
        found |= c->world->nodes[i] != NULL && test_same_node(c->world->nodes[i], n);
    c->wrong += !found || n->id <= c->last_node || n->is_online;
    c->last_node = n->id;
    c->nodes++;
    node_unref((const struct node **)&n);
}

static void count_world(const struct test_world *w, struct compared *out)
{
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++) {
        out->users += w->users[i] != NULL;
        out->keys += w->keys[i] != NULL;
        out->relays += w->relays[i] != NULL;
        out->texts += w->texts[i] != NULL;
        out->nodes += w->nodes[i] != NULL;
    }
}

void test_store_holds(struct store *s, const struct test_world *w)
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

static void drop_user(void *ctx, struct user *u)
{
    (void)ctx;
    user_unref((const struct user **)&u);
}

static void drop_key(void *ctx, struct auth_key *k)
{
    (void)ctx;
    auth_key_unref((const struct auth_key **)&k);
}

static void drop_relay(void *ctx, struct relay_host *r)
{
    (void)ctx;
    state_relay_host_unref((const struct relay_host **)&r);
}

static void drop_text(void *ctx, struct policy_text *t)
{
    (void)ctx;
    state_policy_text_unref((const struct policy_text **)&t);
}

static void drop_node(void *ctx, struct node *n)
{
    (void)ctx;
    node_unref((const struct node **)&n);
}

const struct row_sink test_no_sink = {drop_user, drop_key, drop_relay, drop_text, drop_node, NULL};

uint64_t test_store_seq(struct store *s)
{
    struct row_counters counters = {0};
    struct err err = {0};
    enum rc rc = s->ops->load(s, &test_no_sink, &counters, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return counters.next_key;
}

void test_world_fill(struct test_world *w, const char *path, unsigned steps)
{
    struct store *s = test_store_open(path, 1000);
    for (unsigned i = 0; i < steps; i++)
        assert_int_equal(test_store_write(s, test_world_step(w)), RC_OK);
    store_close(&s);
}
