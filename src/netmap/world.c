#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"

struct netmap_ctx world_ctx;

uint32_t world_below(struct world *w, uint32_t n)
{
    return test_random_below(&w->random, n);
}

void world_random_bytes(struct world *w, void *out, size_t n)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_random_u64(&w->random);
}

struct tailnet_settings *world_settings(void)
{
    struct tailnet_settings *t = tailnet_settings_create();
    snprintf(t->domain, sizeof(t->domain), "example.net");
    t->derp_map_json = rcbuf_create("{\"Regions\":{}}", 14);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{\"base\":[]}", 11);
    snprintf(t->server_url, sizeof(t->server_url), "https://control.example");
    return t;
}

void world_make_key(struct world *w, user_id user, const struct str *tags, size_t tag_n, bool is_ephemeral, char *text)
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct auth_key_spec spec = {
        .user = user, .is_reusable = true, .is_ephemeral = is_ephemeral, .tags = tags, .tag_n = tag_n};
    world_random_bytes(w, random, sizeof(random));
    assert_int_equal(state_key_create(w->st, &spec, random, w->now_ms, &k, text, NULL), RC_OK);
}

void world_init_with(struct world *w, uint64_t seed, int64_t newcomer_ms)
{
    struct state_options options = {.v4_bits = 10,
                                    .v6_bits = 48,
                                    .node_expiry_ms = 3600 * 1000,
                                    .ephemeral_timeout_ms = 60000,
                                    .offline_grace_ms = 10000,
                                    .newcomer_ms = newcomer_ms};
    const struct user *u;
    struct user_spec user = {.name = STR("anna")};
    memset(w, 0, sizeof(*w));
    w->random.state = seed;
    w->now_ms = 1800000000000;
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    options.random_addresses = world_below(w, 2) == 0;
    w->st = state_create(&options, world_settings());
    assert_int_equal(state_user_create(w->st, &user, w->now_ms, &u, NULL), RC_OK);
    world_make_key(w, 1, NULL, 0, false, w->reusable);
    world_make_key(w, 1, NULL, 0, true, w->ephemeral);
    w->machine_n = ARRAY_LEN(w->machines);
    for (unsigned i = 0; i < w->machine_n; i++)
        world_random_bytes(w, &w->machines[i].machine, sizeof(machine_key));
}

static void drop_revoked(struct world *w)
{
    node_key keys[16];
    while (state_take_revoked(w->st, keys, 16) > 0) {
    }
}

void world_commit_one(struct world *w)
{
    if (w->in_flight_n == 0)
        return;
    state_committed(w->st, w->in_flight[0]->seq);
    row_batch_destroy(&w->in_flight[0]);
    w->in_flight_n--;
    memmove(w->in_flight, w->in_flight + 1, w->in_flight_n * sizeof(w->in_flight[0]));
}

void world_seal(struct world *w)
{
    if (w->in_flight_n == ARRAY_LEN(w->in_flight))
        world_commit_one(w);
    state_settle(w->st, w->now_ms);
    struct row_batch *b = state_take_batch(w->st);
    if (b != NULL)
        w->in_flight[w->in_flight_n++] = b;
    drop_revoked(w);
}

void world_drop_view(struct world *w, unsigned i)
{
    struct view *v = w->views[i];
    w->views[i] = NULL;
    if (v == NULL)
        return;
    state_poll_end(w->st, v->self, w->now_ms);
    mem_free(v);
}

void world_commit_all(struct world *w)
{
    while (w->in_flight_n > 0)
        world_commit_one(w);
}

void world_fini(struct world *w)
{
    if (w->st == NULL)
        return;
    for (unsigned i = 0; i < VIEWERS_MAX; i++)
        world_drop_view(w, i);
    while (w->unsent_n > 0)
        change_unref(&w->unsent[--w->unsent_n]);
    world_commit_all(w);
    state_destroy(&w->st);
    netmap_pieces_fini(&w->pieces);
}

int world_group_setup(void **state)
{
    (void)state;
    crypto_init();
    return 0;
}

int world_group_teardown(void **state)
{
    (void)state;
    netmap_ctx_fini(&world_ctx);
    return 0;
}

int world_setup(void **state)
{
    *state = MEM_NEW(struct world);
    return 0;
}

int world_teardown(void **state)
{
    world_fini(*state);
    mem_free(*state);
    return 0;
}

void world_put_policy(struct world *w, const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (policy_parse(str_c(text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, text);
    policy_errors_fini(&errors);
    state_set_policy(w->st, doc);
}

node_id world_join_as(struct world *w, const char *key, const char *name, struct machine *m)
{
    struct registration reg = {.auth_key = str_c(key), .report.hostname = str_c(name)};
    struct register_result result;
    world_random_bytes(w, &reg.machine, sizeof(reg.machine));
    world_random_bytes(w, &reg.key, sizeof(reg.key));
    world_random_bytes(w, reg.random, sizeof(reg.random));
    state_register(w->st, &reg, w->now_ms, &result);
    assert_int_equal(result.outcome, REGISTER_OK);
    m->machine = reg.machine;
    m->key = reg.key;
    return result.node->id;
}

void world_set_dns(struct world *w, const char *addr)
{
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(w->st));
    struct buf json = {0};
    buf_printf(&json, "{\"Proxied\":true");
    t->dns_hole_n = 0;
    if (addr != NULL) {
        buf_append_c(&json, ",\"Resolvers\":[{\"Addr\":\"");
        t->dns_hole[t->dns_hole_n++] = (struct dns_hole){(uint32_t)buf_len(&json), (uint32_t)strlen(addr)};
        buf_printf(&json, "%s\"},{\"Addr\":\"9.9.9.9\"}]", addr);
    }
    buf_append_c(&json, "}");
    rcbuf_unref(&t->dns_config_json);
    t->dns_config_json = rcbuf_create(buf_at(&json), buf_len(&json));
    buf_fini(&json);
    state_set_settings(w->st, t);
}

/* --- what clients are sent --- */

static void send_to(struct world *w, struct view *v, struct change *c)
{
    static struct netmap_pieces pieces;
    if (v->is_gone)
        return;
    netmap_delta(&world_ctx, c, v->self, v->coding, &pieces);
    w->deltas += view_apply(v, &pieces);
    netmap_pieces_fini(&pieces);
    const struct node *n = snapshot_node(c->after, v->self);
    if (n == NULL) {
        char now[TIME_TEXT_CAP];
        time_format(w->now_ms, now);
        assert_true(v->self_expiry[0] != '\0' && strcmp(v->self_expiry, now) < 0);
        v->is_gone = true;
    } else if (!keys_equal(n->key.b, v->key.b)) {
        v->is_gone = true; /* the stream ends: the node polls with its new key */
    }
}

static void send_all(struct world *w, struct view *v, struct change *all)
{
    if (v->version <= all->before->version) {
        send_to(w, v, all);
        w->joined += all != w->unsent[0];
    }
    for (unsigned i = 0; v->version > all->before->version && i < w->unsent_n; i++) {
        if (v->version <= w->unsent[i]->before->version)
            send_to(w, v, w->unsent[i]);
    }
    v->version = all->after->version;
}

void world_send_changes(struct world *w)
{
    if (w->unsent_n == 0)
        return;
    struct change *all = change_join(w->unsent, w->unsent_n);
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (w->views[i] != NULL)
            send_all(w, w->views[i], all);
    }
    change_unref(&all);
    while (w->unsent_n > 0)
        change_unref(&w->unsent[--w->unsent_n]);
}

void world_publish(struct world *w)
{
    struct change *c = state_publish(w->st, w->now_ms);
    if (c == NULL)
        return;
    w->unsent[w->unsent_n++] = c;
    bool is_late = w->sends_late && w->publications % 7 != 0 && w->unsent_n < ARRAY_LEN(w->unsent);
    w->publications++;
    if (!is_late)
        world_send_changes(w);
}

void world_send(struct world *w, node_id id)
{
    netmap_pieces_clear(&w->pieces);
    world_seal(w);
    world_commit_all(w);
    struct change *c = state_publish(w->st, w->now_ms);
    assert_non_null(c);
    netmap_delta(&world_ctx, c, id, NETMAP_PLAIN, &w->pieces);
    change_unref(&c);
}

bool world_pieces_have(const struct world *w, const char *text)
{
    const struct netmap_pieces *p = &w->pieces;
    for (size_t i = 0; i < p->n; i++) {
        if (memmem(p->items[i]->data, p->items[i]->len, text, strlen(text)) != NULL)
            return true;
    }
    return false;
}

/* --- worlds --- */

/* The machine becomes a node, with the reusable key. */
static void join(struct world *w, struct machine *m, struct str hostname)
{
    struct registration reg = {.machine = m->machine, .auth_key = str_c(w->reusable), .report.hostname = hostname};
    struct register_result result;
    world_random_bytes(w, &reg.key, sizeof(reg.key));
    world_random_bytes(w, reg.random, sizeof(reg.random));
    state_register(w->st, &reg, w->now_ms, &result);
    assert_int_equal(result.outcome, REGISTER_OK);
    m->key = reg.key;
    m->id = result.node->id;
}

void world_small(struct world *w, unsigned nodes)
{
    world_init_with(w, 42, 0);
    for (unsigned i = 0; i < nodes; i++)
        join(w, &w->machines[i], STR("host"));
    world_seal(w);
    world_commit_all(w);
    world_publish(w);
}

void world_ruled(struct world *w)
{
    static const struct str tag = STR("tag:a");
    world_small(w, 100);
    world_make_key(w, 1, &tag, 1, false, w->reusable);
    for (unsigned i = 100; i < 120; i++)
        join(w, &w->machines[i], STR("server"));
    world_seal(w);
    world_commit_all(w);
    world_put_policy(w, "{\"tagOwners\":{\"tag:a\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],"
                        "\"dst\":[\"tag:a:*\"]}]}");
    world_publish(w);
}
