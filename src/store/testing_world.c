#include "store/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void test_world_init(struct test_world *w, uint64_t seed)
{
    *w = (struct test_world){.random = {seed}, .next_user = 1, .next_relay = 1, .next_node = 1};
}

void test_world_fini(struct test_world *w)
{
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++) {
        user_unref(&w->users[i]);
        auth_key_unref(&w->keys[i]);
        state_relay_host_unref(&w->relays[i]);
        state_policy_text_unref(&w->texts[i]);
        node_unref(&w->nodes[i]);
    }
}

static uint32_t below(struct test_world *w, uint32_t n)
{
    return test_random_below(&w->random, n);
}

static void random_bytes(struct test_world *w, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)below(w, 256);
}

/* Random text, now and then null or longer than a page. */
static struct rcbuf *random_json(struct test_world *w)
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

static void fresh_addr(struct test_world *w, uint8_t family, struct addr *out)
{
    uint64_t n = ++w->fresh;
    *out = (struct addr){.family = family, .ip = {family == 4 ? 100 : 0xfd}};
    out->ip[1] = (uint8_t)(n >> 16);
    out->ip[2] = (uint8_t)(n >> 8);
    out->ip[3] = (uint8_t)n;
}

void test_world_put_user(struct test_world *w, struct row_batch *b, const struct user *u, size_t slot)
{
    user_unref(&w->users[slot]);
    w->users[slot] = u;
    test_batch_put(b, &entity_user, row_ref(&u->row));
}

void test_world_put_key(struct test_world *w, struct row_batch *b, const struct auth_key *k, size_t slot)
{
    auth_key_unref(&w->keys[slot]);
    w->keys[slot] = k;
    test_batch_put(b, &entity_auth_key, row_ref(&k->row));
}

void test_world_put_node(struct test_world *w, struct row_batch *b, const struct node *n, size_t slot)
{
    node_unref(&w->nodes[slot]);
    w->nodes[slot] = n;
    test_batch_put(b, &entity_node, row_ref(&n->row));
}

static void delete_user(struct test_world *w, struct row_batch *b, size_t slot)
{
    uint64_t id = w->users[slot]->id;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++) {
        if (w->keys[i] == NULL || w->keys[i]->user != id)
            continue;
        test_batch_delete(b, &entity_auth_key, w->keys[i]->id);
        auth_key_unref(&w->keys[i]);
    }
    test_batch_delete(b, &entity_user, id);
    user_unref(&w->users[slot]);
}

void test_world_user(struct test_world *w, struct row_batch *b, size_t slot)
{
    const struct user *old = w->users[slot];
    if (old != NULL && below(w, 4) == 0) {
        delete_user(w, b, slot);
        return;
    }
    struct user *u = old != NULL ? user_edit(old) : user_create();
    if (old == NULL)
        u->id = w->next_user++;
    snprintf(u->name, sizeof(u->name), "user%llu", (unsigned long long)++w->fresh);
    snprintf(u->display_name, sizeof(u->display_name), "Användare %u", below(w, 1000));
    snprintf(u->email, sizeof(u->email), "%u@example.com", below(w, 1000));
    snprintf(u->picture_url, sizeof(u->picture_url), "https://example.com/%u.png", below(w, 1000));
    u->created_ms = (int64_t)test_random_u64(&w->random);
    u->role = (enum user_role)below(w, USER_ROLES_N);
    test_world_put_user(w, b, u, slot);
}

void test_world_key(struct test_world *w, struct row_batch *b, size_t slot)
{
    const struct auth_key *old = w->keys[slot];
    if (old != NULL && below(w, 4) == 0) {
        test_batch_delete(b, &entity_auth_key, old->id);
        auth_key_unref(&w->keys[slot]);
        return;
    }
    struct auth_key *k = old != NULL ? auth_key_edit(old) : auth_key_create();
    k->is_used = old != NULL;
    if (old == NULL) {
        const struct user *owner = w->users[below(w, TEST_WORLD_SLOTS)];
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
    test_world_put_key(w, b, k, slot);
}

static void event_relay(struct test_world *w, struct row_batch *b, size_t slot)
{
    const struct relay_host *old = w->relays[slot];
    if (old != NULL && below(w, 4) == 0) {
        test_batch_delete(b, &entity_relay_host, old->id);
        state_relay_host_unref(&w->relays[slot]);
        return;
    }
    struct relay_host *r = old != NULL ? state_relay_host_edit(old) : state_relay_host_create();
    if (old == NULL) {
        r->id = w->next_relay++;
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
    test_batch_put(b, &entity_relay_host, row_ref(&r->row));
}

/* Versions are created and deleted; none changes. */
void test_world_policy_text(struct test_world *w, struct row_batch *b, size_t slot)
{
    char text[64];
    if (w->texts[slot] != NULL) {
        test_batch_delete(b, &entity_policy_text, w->texts[slot]->id);
        state_policy_text_unref(&w->texts[slot]);
    }
    snprintf(text, sizeof(text), "// %c %u\n{}", below(w, 2) != 0 ? 0xff : 0, below(w, 1000));
    struct policy_text *t = state_policy_text_create(str_n(text, below(w, 12)));
    t->id = ++w->fresh;
    t->created_ms = (int64_t)test_random_u64(&w->random);
    snprintf(t->author, sizeof(t->author), "user%u", below(w, 1000));
    snprintf(t->note, sizeof(t->note), "%s", below(w, 2) != 0 ? "for the new site \xc3\xa9" : "");
    w->texts[slot] = t;
    test_batch_put(b, &entity_policy_text, row_ref(&t->row));
}

static void random_endpoints(struct test_world *w, struct addr out[ENDPOINTS_MAX], unsigned *n)
{
    *n = below(w, ENDPOINTS_MAX + 1);
    for (unsigned i = 0; i < *n; i++) {
        fresh_addr(w, below(w, 2) != 0 ? 4 : 6, &out[i]);
        out[i].port = (uint16_t)below(w, 65536);
    }
}

static struct prefix_list *random_prefixes(struct test_world *w)
{
    static const char *const texts[] = {"10.0.0.0/8", "fd00::/8",       "0.0.0.0/0",
                                        "::/0",       "192.168.7.0/24", "2001:db8::1/128"};
    struct prefix v[ARRAY_LEN(texts)];
    size_t n = below(w, ARRAY_LEN(texts));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(prefix_parse(str_c(texts[below(w, ARRAY_LEN(texts))]), &v[i], NULL), RC_OK);
    return prefix_list_create(v, n);
}

/* A version with other values, of which none must be unique. */
static struct node *revised(struct test_world *w, const struct node *old)
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

static struct node *fresh_node(struct test_world *w)
{
    struct node blank = {0};
    struct node *n = revised(w, &blank);
    n->id = w->next_node++;
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

void test_world_node(struct test_world *w, struct row_batch *b, size_t slot)
{
    const struct node *old = w->nodes[slot];
    bool gone = old != NULL && below(w, 4) == 0;
    if (old == NULL) {
        test_world_put_node(w, b, fresh_node(w), slot);
    } else if (!gone) {
        test_world_put_node(w, b, revised(w, old), slot);
    } else {
        struct node *heir = below(w, 2) != 0 ? fresh_node(w) : NULL;
        if (heir != NULL) {
            memcpy(heir->name, old->name, sizeof(heir->name));
            heir->v4 = old->v4;
            heir->key = old->key;
        }
        test_batch_delete(b, &entity_node, old->id);
        node_unref(&w->nodes[slot]);
        if (heir != NULL)
            test_world_put_node(w, b, heir, slot);
    }
}

static void claim(struct node *n, const struct node *from, uint32_t what)
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

/* A name, an address or a key passes from node to node in a circle of two or three. */
static void event_exchange(struct test_world *w, struct row_batch *b)
{
    size_t slots[3];
    size_t n = 0, wanted = 2 + below(w, 2);
    for (size_t i = below(w, TEST_WORLD_SLOTS), tried = 0; tried < TEST_WORLD_SLOTS && n < wanted; tried++, i++) {
        if (w->nodes[i % TEST_WORLD_SLOTS] != NULL)
            slots[n++] = i % TEST_WORLD_SLOTS;
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
        test_world_put_node(w, b, next[i], slots[i]);
}

struct row_batch *test_world_step(struct test_world *w)
{
    struct row_batch *b = test_batch_create(++w->seq);
    for (uint32_t events = 1 + below(w, 4); events > 0; events--) {
        uint32_t kind = below(w, 10);
        size_t slot = below(w, TEST_WORLD_SLOTS);
        if (kind == 0)
            test_world_user(w, b, slot);
        else if (kind == 1)
            test_world_key(w, b, slot);
        else if (kind == 2)
            event_relay(w, b, slot);
        else if (kind == 3)
            test_world_policy_text(w, b, slot);
        else if (kind < 7)
            test_world_node(w, b, slot);
        else
            event_exchange(w, b);
    }
    test_batch_count(b, &entity_user, w->next_user);
    test_batch_count(b, &entity_auth_key, w->seq);
    test_batch_count(b, &entity_relay_host, w->next_relay);
    test_batch_count(b, &entity_node, w->next_node);
    return b;
}

void test_world_advance(struct test_world *w, uint64_t seq)
{
    while (w->seq < seq) {
        struct row_batch *b = test_world_step(w);
        row_batch_destroy(&b);
    }
}
