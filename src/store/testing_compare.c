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

static bool same(const struct entity *e, const struct row *a, const struct row *b)
{
    if (e == &entity_user)
        return same_user((const struct user *)a, (const struct user *)b);
    if (e == &entity_auth_key)
        return same_key((const struct auth_key *)a, (const struct auth_key *)b);
    if (e == &entity_relay_host)
        return same_relay((const struct relay_host *)a, (const struct relay_host *)b);
    if (e == &entity_policy_text)
        return same_text((const struct policy_text *)a, (const struct policy_text *)b);
    return test_same_node((const struct node *)a, (const struct node *)b);
}

/* Rows as a store delivers them, compared with those of a tailnet. */
struct compared {
    const struct test_world *world;
    size_t n[ENTITIES_MAX]; /* by number of the entity, as what follows */
    uint64_t last[ENTITIES_MAX];
    uint64_t counters[ENTITIES_MAX];
    size_t order; /* of the last row's entity */
    unsigned wrong;
};

static const struct row *world_row(const struct test_world *w, const struct entity *e, size_t slot)
{
    return e == &entity_user          ? (const struct row *)w->users[slot]
           : e == &entity_auth_key    ? (const struct row *)w->keys[slot]
           : e == &entity_relay_host  ? (const struct row *)w->relays[slot]
           : e == &entity_policy_text ? (const struct row *)w->texts[slot]
           : e == &entity_node        ? (const struct row *)w->nodes[slot]
                                      : NULL;
}

static enum rc compare_row(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    struct compared *c = ctx;
    const struct row *row = object;
    size_t order = 0;
    bool found = e == &entity_counter;
    (void)err;
    while (state_entity(order) != e)
        order++;
    for (size_t i = 0; i < TEST_WORLD_SLOTS; i++) {
        const struct row *own = world_row(c->world, e, i);
        found |= own != NULL && same(e, own, object);
    }
    c->wrong += !found || object->id <= c->last[e->number] || order < c->order;
    c->order = order;
    c->last[e->number] = object->id;
    c->n[e->number]++;
    if (e == &entity_counter)
        c->counters[object->id] = ((const struct counter *)object)->next;
    row_unref(e, &row);
    return RC_OK;
}

void test_store_holds(struct store *s, const struct test_world *w)
{
    test_store_holds_of(s, 1, w);
}

void test_store_holds_of(struct store *s, uint64_t tailnet, const struct test_world *w)
{
    struct compared c = {.world = w};
    const struct row_sink sink = {compare_row, &c};
    struct err err = {0};
    const struct entity *e;
    enum rc rc = s->ops->load(s, tailnet, &sink, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    assert_int_equal(c.wrong, 0);
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++) {
        size_t n = 0;
        for (size_t slot = 0; slot < TEST_WORLD_SLOTS; slot++)
            n += world_row(w, e, slot) != NULL;
        if (e != &entity_counter)
            assert_int_equal(c.n[e->number], n);
    }
    if (w->seq == 0)
        return;
    assert_int_equal(c.counters[entity_user.number], w->next_user);
    assert_int_equal(c.counters[entity_auth_key.number], w->seq);
    assert_int_equal(c.counters[entity_node.number], w->next_node);
}

static enum rc drop_row(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    const struct row *row = object;
    (void)ctx;
    (void)err;
    row_unref(e, &row);
    return RC_OK;
}

const struct row_sink test_no_sink = {drop_row, NULL};

static enum rc note_seq(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    if (e == &entity_counter && object->id == entity_auth_key.number)
        *(uint64_t *)ctx = ((const struct counter *)object)->next;
    return drop_row(NULL, e, object, err);
}

uint64_t test_store_seq(struct store *s)
{
    uint64_t seq = 0;
    struct err err = {0};
    const struct row_sink sink = {note_seq, &seq};
    enum rc rc = s->ops->load(s, 1, &sink, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return seq;
}

void test_world_fill(struct test_world *w, const char *path, unsigned steps)
{
    struct store *s = test_store_open(path, 1000);
    for (unsigned i = 0; i < steps; i++)
        assert_int_equal(test_store_write(s, test_world_step(w)), RC_OK);
    store_close(&s);
}
