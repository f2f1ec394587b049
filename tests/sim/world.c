#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

uint32_t sim_below(struct sim *s, uint32_t n)
{
    return test_random_below(&s->random, n);
}

static void random_bytes(struct sim *s, void *out, size_t n)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = test_random_u64(&s->random);
        memcpy(p + i, &v, n - i < 8 ? n - i : 8);
    }
}

static void mark_hot(struct sim *s, node_id id)
{
    s->hot[s->hot_n++ % SIM_HOT] = id;
}

/* --- the disk --- */

static void write_row(struct sim *s, const struct row_op *op)
{
    if (op->kind != ROW_PUT_NODE && op->kind != ROW_DEL_NODE)
        return;
    if (op->id >= s->disk_cap) {
        size_t cap = (op->id + 1) * 2;
        s->disk = mem_realloc_array(s->disk, cap, sizeof(*s->disk));
        memset(s->disk + s->disk_cap, 0, (cap - s->disk_cap) * sizeof(*s->disk));
        s->disk_cap = cap;
    }
    if (s->disk[op->id] != NULL)
        node_unref(&s->disk[op->id]);
    s->disk[op->id] = op->kind == ROW_PUT_NODE ? node_ref(op->node) : NULL;
}

/* Nothing is told that a crash could undo, presence apart. */
static void check_on_disk(const struct sim *s, const struct change_item *item)
{
    const struct node *told = item->after, *written = item->id < s->disk_cap ? s->disk[item->id] : NULL;
    if (told == item->before)
        return; /* only who sees it may differ */
    assert_int_equal(told != NULL, written != NULL);
    if (told == NULL || told == written)
        return;
    assert_true(keys_equal(told->key.b, written->key.b) && told->user == written->user);
    assert_true(rcbuf_eq(told->tags, written->tags) && prefix_list_eq(told->approved, written->approved));
    assert_string_equal(told->name, written->name);
    assert_true(told->expires_ms == written->expires_ms && addr_eq(&told->v4, &written->v4));
}

static void commit_one(struct sim *s)
{
    if (s->in_flight_n == 0)
        return;
    for (size_t i = 0; i < s->in_flight[0]->n; i++)
        write_row(s, &s->in_flight[0]->ops[i]);
    state_committed(s->st, s->in_flight[0]->seq);
    row_batch_destroy(&s->in_flight[0]);
    s->in_flight_n--;
    memmove(s->in_flight, s->in_flight + 1, s->in_flight_n * sizeof(s->in_flight[0]));
}

static void seal(struct sim *s)
{
    node_key keys[16];
    if (s->in_flight_n == SIM_IN_FLIGHT)
        commit_one(s);
    struct row_batch *b = state_take_batch(s->st);
    if (b != NULL)
        s->in_flight[s->in_flight_n++] = b;
    while (state_take_revoked(s->st, keys, ARRAY_LEN(keys)) > 0) {
    }
    state_take_policy_changed(s->st);
}

static void commit_all(struct sim *s)
{
    seal(s);
    while (s->in_flight_n > 0)
        commit_one(s);
    /* A policy that was put to work by that has approved routes. */
    seal(s);
    while (s->in_flight_n > 0)
        commit_one(s);
}

/* --- polls, as control/session.c runs them --- */

static void poll_end(struct sim *s, struct machine *m)
{
    if (m->poll == POLL_NONE)
        return;
    m->poll = POLL_NONE;
    state_poll_end(s->st, m->client.id, s->now_ms);
    client_clear(&m->client);
}

static void send_full(struct sim *s, struct machine *m)
{
    const struct snapshot *snapshot = state_snapshot(s->st);
    const struct node *n = snapshot_node(snapshot, m->client.id);
    if (n == NULL) {
        struct rcbuf *expired = netmap_expired_self(&s->netmap, &m->client.key, s->now_ms, m->client.coding);
        rcbuf_unref(&expired);
        m->poll = POLL_GONE;
        s->counts.gone++;
        return;
    }
    if (m->poll != POLL_WAITING && !n->is_expired && !netmap_has_peers(&s->netmap, snapshot, n->id)) {
        poll_end(s, m);
        s->counts.afresh++;
        return;
    }
    assert_int_equal(netmap_full(&s->netmap, snapshot, n->id, m->client.coding, !n->is_expired, &s->pieces), RC_OK);
    client_take(&m->client, &s->pieces);
    m->poll = POLL_ACTIVE;
    s->counts.fulls++;
}

static void try_attach(struct sim *s, struct machine *m)
{
    const struct node *n = snapshot_node(state_snapshot(s->st), m->client.id);
    if (n != NULL && keys_equal(n->key.b, m->client.key.b))
        send_full(s, m);
}

static bool has_other_key(const struct sim *s, const struct machine *m)
{
    const struct node *n = snapshot_node(state_snapshot(s->st), m->client.id);
    return n != NULL && !keys_equal(n->key.b, m->client.key.b);
}

/* What a deleted node is told is that its key has expired. */
static void be_told_of_end(struct sim *s, struct machine *m)
{
    text_id key = look_of(m->client.self)->f[LOOK_KEY];
    assert_int_equal(s->pieces.n, 1);
    client_take(&m->client, &s->pieces);
    const struct look *now = look_of(m->client.self);
    assert_true(now->f[LOOK_KEY] == key && now->f[LOOK_KEY_EXPIRY] != 0);
    m->poll = POLL_GONE;
    s->counts.gone++;
}

static void send_change(struct sim *s, struct machine *m, struct change *c)
{
    const struct node *before = snapshot_node(c->before, m->client.id), *n = snapshot_node(c->after, m->client.id);
    if (n != NULL && !keys_equal(n->key.b, m->client.key.b)) {
        poll_end(s, m);
        return;
    }
    if (m->is_slow && sim_below(s, 3) == 0) {
        m->poll = POLL_BEHIND;
        s->counts.behind++;
        return;
    }
    if (n != NULL && before != NULL && (n->is_expired || before->is_expired)) {
        if (n != before)
            send_full(s, m);
        return;
    }
    netmap_delta(&s->netmap, c, m->client.id, m->client.coding, &s->pieces);
    s->counts.deltas += s->pieces.n;
    if (n == NULL)
        be_told_of_end(s, m);
    else
        client_take(&m->client, &s->pieces);
}

static void drain(struct sim *s, struct machine *m)
{
    if (has_other_key(s, m))
        poll_end(s, m);
    else
        send_full(s, m);
}

static void publish(struct sim *s)
{
    struct change *c = state_publish(s->st, s->now_ms);
    if (c == NULL)
        return;
    s->counts.publications++;
    s->counts.items += c->item_n;
    for (size_t i = 0; i < c->item_n; i++)
        check_on_disk(s, &c->items[i]);
    for (size_t i = 0; i < s->machine_n; i++) {
        struct machine *m = &s->machines[i];
        if (m->poll == POLL_WAITING)
            try_attach(s, m);
        else if (m->poll == POLL_ACTIVE)
            send_change(s, m, c);
        else if (m->poll == POLL_BEHIND && sim_below(s, 3) == 0)
            drain(s, m);
    }
    change_unref(&c);
    client_sweep();
}

void sim_settle(struct sim *s)
{
    commit_all(s);
    publish(s);
    assert_false(state_is_dirty(s->st));
    for (size_t i = 0; i < s->machine_n; i++) {
        if (s->machines[i].poll == POLL_BEHIND)
            drain(s, &s->machines[i]);
    }
    client_sweep();
}

/* --- what machines say --- */

struct report {
    struct node_report r;
    struct addr endpoints[4];
    disco_key disco;
    char hostname[32];
};

static struct prefix_list *routes_of(struct sim *s, const struct machine *m)
{
    struct prefix v[5];
    size_t n = 0;
    unsigned net = (unsigned)m->router % PLAN_NETS;
    if (m->router < 0)
        return NULL;
    v[n++] = plan_net(net);
    if (sim_below(s, 2) == 0)
        v[n++] = plan_net((unsigned)sim_below(s, 2) * PLAN_NETS + (net + 1) % PLAN_NETS);
    if (sim_below(s, 8) == 0)
        v[n++] = plan_net(2 * PLAN_NETS + sim_below(s, 200)); /* hardly anybody else has it */
    if (m->router % 4 == 0 && sim_below(s, 4) != 0) {
        v[n++] = (struct prefix){.ip.family = 4};
        v[n++] = (struct prefix){.ip.family = 6};
    }
    return prefix_list_create(v, n);
}

static void say_hostinfo(struct sim *s, const struct machine *m, struct report *r)
{
    char text[96];
    unsigned version = sim_below(s, 4) == 0 ? sim_below(s, 3) : 1;
    int n = snprintf(text, sizeof(text), "{\"OS\":\"linux\",\"OSVersion\":\"%u\",\"Distro\":\"%u\"}", version,
                     sim_below(s, 3));
    r->r.hostinfo = rcbuf_create(text, (size_t)n);
    n = snprintf(text, sizeof(text), "{\"OS\":\"linux\",\"Services\":[%u]}", sim_below(s, 4));
    r->r.hostinfo_peers = sim_below(s, 4) == 0 ? NULL : rcbuf_create(text, (size_t)n);
    r->r.routes = routes_of(s, m);
}

static void say_endpoints(struct sim *s, struct report *r)
{
    r->r.endpoints_n = sim_below(s, 4);
    for (unsigned i = 0; i < r->r.endpoints_n; i++)
        r->endpoints[i] = (struct addr){
            .family = 4, .port = (uint16_t)(1 + sim_below(s, 60000)), .ip = {192, 0, 2, (uint8_t)sim_below(s, 200)}};
    r->r.endpoints = r->endpoints;
}

static void say_disco(struct sim *s, struct report *r)
{
    random_bytes(s, &r->disco, sizeof(r->disco));
    r->r.disco = &r->disco;
}

static void say_hostname(struct sim *s, struct report *r)
{
    snprintf(r->hostname, sizeof(r->hostname), "host%u", sim_below(s, (uint32_t)s->machine_n * 4));
    r->r.hostname = str_c(r->hostname);
}

/* All that a client says when it starts. */
static void say_all(struct sim *s, const struct machine *m, struct report *r)
{
    *r = (struct report){.r.cap_version = 113 + sim_below(s, 20)};
    say_endpoints(s, r);
    say_disco(s, r);
    say_hostname(s, r);
    say_hostinfo(s, m, r);
    if (sim_below(s, 3) > 0)
        r->r.home_derp = (uint16_t)(1 + sim_below(s, 9));
}

static void say_some(struct sim *s, const struct machine *m, struct report *r)
{
    uint32_t dice = sim_below(s, 100);
    *r = (struct report){0};
    if (dice < 70)
        say_endpoints(s, r);
    if (dice >= 60 && dice < 85)
        r->r.home_derp = (uint16_t)(1 + sim_below(s, 9));
    if (dice >= 82 && dice < 90)
        say_disco(s, r);
    if (dice >= 88 && dice < 94)
        say_hostinfo(s, m, r);
    if (dice >= 94 && dice < 97)
        say_hostname(s, r);
    if (dice >= 97)
        r->r.cap_version = 113 + sim_below(s, 20);
}

static void report_fini(struct report *r)
{
    rcbuf_unref(&r->r.hostinfo);
    rcbuf_unref(&r->r.hostinfo_peers);
    prefix_list_unref(&r->r.routes);
}

/* --- events --- */

static struct machine *some_machine(struct sim *s)
{
    struct machine *m = &s->machines[sim_below(s, (uint32_t)s->machine_n)];
    /* Routers are few and matter most. */
    if (sim_below(s, 12) == 0) {
        for (size_t i = 0; i < s->machine_n && m->router < 0; i++)
            m = m + 1 < s->machines + s->machine_n ? m + 1 : s->machines;
    }
    mark_hot(s, m->id);
    return m;
}

static const char *key_of(const struct sim *s, const struct machine *m)
{
    return m->tag >= 0 ? s->tag_keys[m->tag] : s->users[m->user].key;
}

/* `is_rekeyed`: with a new node key. */
static void join(struct sim *s, struct machine *m, bool is_rekeyed, int64_t expiry_ms)
{
    struct registration reg = {.machine = m->key, .key = m->node, .expiry_ms = expiry_ms};
    struct register_result result;
    struct report report;
    if (m->tag < 0 && s->users[m->user].id == 0)
        m->user = sim_below(s, (uint32_t)s->user_n);
    if (m->id == 0 || is_rekeyed) {
        reg.old_key = m->node;
        random_bytes(s, &reg.key, sizeof(reg.key));
    }
    say_all(s, m, &report);
    reg.report = report.r;
    reg.auth_key = str_c(key_of(s, m));
    reg.is_ephemeral = m->is_ephemeral;
    random_bytes(s, reg.random, sizeof(reg.random));
    state_register(s->st, &reg, s->now_ms, &result);
    report_fini(&report);
    if (result.outcome != REGISTER_OK) {
        s->counts.refused++;
        return;
    }
    m->node = reg.key;
    m->id = result.node->id;
    mark_hot(s, m->id);
}

static void poll_begin(struct sim *s, struct machine *m)
{
    struct report report;
    const struct node *n;
    poll_end(s, m);
    say_all(s, m, &report);
    enum rc rc = state_poll_begin(s->st, &m->node, &m->key, &report.r, s->now_ms, &n);
    report_fini(&report);
    if (rc != RC_OK) {
        m->id = 0;
        return;
    }
    m->client.id = m->id = n->id;
    m->client.key = m->node;
    m->client.coding = m->key.b[0] % 8 == 0 ? NETMAP_PLAIN : NETMAP_ZSTD;
    m->is_slow = m->key.b[1] % 64 == 0;
    m->poll = POLL_WAITING;
    s->counts.polls++;
    try_attach(s, m);
}

static void event_report(struct sim *s)
{
    struct machine *m = some_machine(s);
    struct report report;
    const struct node *n;
    say_some(s, m, &report);
    enum rc rc = state_node_report(s->st, &m->node, &m->key, &report.r, &n);
    assert_true(rc == RC_OK || state_node_by_key(s->st, &m->node) == NULL);
    report_fini(&report);
}

static void event_poll(struct sim *s)
{
    poll_begin(s, some_machine(s));
}

static void event_hang_up(struct sim *s)
{
    poll_end(s, some_machine(s));
}

/* Its old poll may still be open, and end by itself. */
static void event_join(struct sim *s)
{
    struct machine *m = some_machine(s);
    int64_t expiry_ms = sim_below(s, 3) == 0 ? s->now_ms + 1000 + sim_below(s, 120000) : 0;
    if (sim_below(s, 3) == 0) {
        /* Somebody else's, or something else. */
        m->user = sim_below(s, (uint32_t)s->user_n);
        m->tag = sim_below(s, 3) == 0 ? (int)sim_below(s, PLAN_TAGS) : -1;
    }
    join(s, m, sim_below(s, 2) == 0, expiry_ms);
    if (sim_below(s, 2) == 0)
        poll_begin(s, m);
}

static void event_log_out(struct sim *s)
{
    struct machine *m = some_machine(s);
    struct registration reg = {.machine = m->key, .key = m->node, .expiry_ms = 1};
    struct register_result result;
    if (m->id == 0)
        return;
    state_register(s->st, &reg, s->now_ms, &result);
    assert_int_equal(result.outcome, REGISTER_KEY_EXPIRED);
    if (sim_below(s, 2) == 0)
        poll_end(s, m);
}

static void event_delete(struct sim *s)
{
    struct machine *m = some_machine(s);
    enum rc rc = state_node_delete(s->st, m->id, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
    m->id = 0;
}

static void event_expire(struct sim *s)
{
    struct machine *m = some_machine(s);
    const struct node *n;
    uint32_t dice = sim_below(s, 3);
    int64_t at_ms = dice == 0 ? s->now_ms : dice == 1 ? s->now_ms + sim_below(s, 60000) : NO_EXPIRY;
    enum rc rc = state_node_expire(s->st, m->id, at_ms, s->now_ms, &n, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
}

/* An admin lets those in again whose key has expired. */
static void event_renew(struct sim *s)
{
    const struct node *n;
    for (size_t tries = 0; tries < 200; tries++) {
        struct machine *m = &s->machines[sim_below(s, (uint32_t)s->machine_n)];
        n = m->id != 0 ? state_node(s->st, m->id) : NULL;
        if (n == NULL || !n->is_expired)
            continue;
        mark_hot(s, m->id);
        assert_int_equal(state_node_expire(s->st, m->id, NO_EXPIRY, s->now_ms, &n, NULL), RC_OK);
        return;
    }
}

static void event_rename(struct sim *s)
{
    struct machine *m = some_machine(s);
    const struct node *n;
    char name[32];
    snprintf(name, sizeof(name), "host%u", sim_below(s, (uint32_t)s->machine_n * 4));
    enum rc rc = state_node_rename(s->st, m->id, str_c(name), &n, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

static void tag(struct sim *s, struct machine *m)
{
    const struct node *n;
    char names[2][16];
    struct str tags[2];
    for (unsigned i = 0; i < 2; i++) {
        plan_tag_name(sim_below(s, PLAN_TAGS), names[i]);
        tags[i] = str_c(names[i]);
    }
    enum rc rc = state_node_set_tags(s->st, m->id, tags, sim_below(s, 4) == 0 ? 1 : 2, &n, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
}

/* Twice between two publications: the policy may put it where it was, with another meaning. Most of all one that is alone with
 * its tags. */
static void event_tag(struct sim *s)
{
    struct machine **odd = &s->odd[sim_below(s, SIM_ODD)], *m = sim_below(s, 2) == 0 ? *odd : some_machine(s);
    m = m != NULL ? m : some_machine(s);
    mark_hot(s, m->id);
    tag(s, m);
    if (sim_below(s, 3) == 0 || m == *odd)
        tag(s, m);
    *odd = m;
}

static struct machine *some_router(struct sim *s)
{
    struct machine *m = some_machine(s);
    for (size_t i = 0; i < s->machine_n && m->router < 0; i++)
        m = m + 1 < s->machines + s->machine_n ? m + 1 : s->machines;
    mark_hot(s, m->id);
    return m;
}

static void approve(struct sim *s, struct machine *m)
{
    const struct node *n = state_node(s->st, m->id);
    struct prefix v[8];
    size_t count = 0;
    for (size_t i = 0; n != NULL && n->advertised != NULL && i < n->advertised->n; i++) {
        if (sim_below(s, 6) != 0)
            v[count++] = n->advertised->v[i];
    }
    enum rc rc = state_node_approve_routes(s->st, m->id, v, count, &n, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
}

static void event_approve(struct sim *s)
{
    approve(s, some_router(s));
}

/* What it serves changes, or it goes, or it comes: somebody else takes over. */
static void event_router(struct sim *s)
{
    struct machine *m = some_router(s);
    struct report report;
    const struct node *n;
    if (sim_below(s, 3) == 0) {
        poll_end(s, m);
    } else if (m->poll == POLL_NONE) {
        poll_begin(s, m);
    } else {
        for (uint32_t i = 1 + sim_below(s, 2); i > 0; i--) {
            report = (struct report){0};
            say_hostinfo(s, m, &report);
            enum rc rc = state_node_report(s->st, &m->node, &m->key, &report.r, &n);
            (void)rc; /* deleted, perhaps */
            report_fini(&report);
        }
        if (sim_below(s, 2) == 0)
            approve(s, m);
    }
}

static void make_key(struct sim *s, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct str tags[] = {str_c(tag)};
    struct auth_key_spec spec = {.user = user, .is_reusable = true, .tags = tags, .tag_n = tag != NULL};
    random_bytes(s, random, sizeof(random));
    assert_int_equal(state_key_create(s->st, &spec, random, s->now_ms, &k, text, NULL), RC_OK);
}

static void make_user(struct sim *s, unsigned slot)
{
    char name[32], email[32];
    const struct user *u;
    plan_user_name(slot, name);
    plan_user_email(slot, email);
    struct user_spec spec = {.name = str_c(name), .email = str_c(email)};
    if (state_user_create(s->st, &spec, s->now_ms, &u, NULL) != RC_OK)
        return; /* somebody has taken the name */
    s->users[slot].id = u->id;
    make_key(s, u->id, NULL, s->users[slot].key);
}

static void event_user_rename(struct sim *s)
{
    unsigned slot = sim_below(s, (uint32_t)s->user_n);
    const struct user *u = state_user(s->st, s->users[slot].id);
    char name[32];
    plan_user_name(sim_below(s, 4) == 0 ? sim_below(s, (uint32_t)s->user_n) : slot, name);
    if (u != NULL && strcmp(u->name, name) == 0)
        name[0] = 'v';
    enum rc rc = state_user_rename(s->st, s->users[slot].id, str_c(name), &u, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

static void event_user_role(struct sim *s)
{
    const struct user *u;
    unsigned slot = sim_below(s, (uint32_t)s->user_n);
    enum user_role role = sim_below(s, 6) == 0 ? USER_ADMIN : USER_MEMBER;
    enum rc rc = state_user_set_role(s->st, s->users[slot].id, role, &u, NULL);
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND);
}

/* One of those that come and go: with all their nodes. */
static void event_user_come_or_go(struct sim *s)
{
    unsigned slot = (unsigned)s->user_n + sim_below(s, SIM_SPARE_USERS);
    struct sim_user *u = &s->users[slot];
    if (u->id == 0) {
        make_user(s, slot);
        for (unsigned i = 0; u->id != 0 && i < 3; i++) {
            struct machine *m = &s->machines[sim_below(s, (uint32_t)s->machine_n)];
            m->user = slot;
            m->tag = -1;
            join(s, m, true, 0);
        }
        return;
    }
    for (node_id id = 1; id < state_snapshot(s->st)->group_n * GROUP_NODES + GROUP_NODES; id++) {
        const struct node *n = state_node(s->st, id);
        if (n != NULL && n->user == u->id && n->tags == NULL)
            assert_int_equal(state_node_delete(s->st, id, NULL), RC_OK);
    }
    assert_int_equal(state_user_delete(s->st, u->id, NULL), RC_OK);
    u->id = 0;
}

static struct tailnet_settings *make_settings(struct sim *s)
{
    struct tailnet_settings *t = tailnet_settings_create();
    char text[64];
    unsigned version = s->settings_made++;
    int n = snprintf(text, sizeof(text), "{\"Regions\":{\"%u\":{}}}", version / 3);
    snprintf(t->domain, sizeof(t->domain), "example.net");
    t->derp_map_json = rcbuf_create(text, (size_t)n);
    n = snprintf(text, sizeof(text), "{\"Regions\":{\"%u\":{\"old\":true}}}", version / 3);
    t->derp_map_unpinned_json = version % 4 == 0 ? NULL : rcbuf_create(text, (size_t)n);
    n = snprintf(text, sizeof(text), "{\"Domains\":[\"%u\"]}", version / 2);
    t->dns_config_json = rcbuf_create(text, (size_t)n);
    t->self_caps_json = rcbuf_create("{\"base\":[]}", 11);
    snprintf(t->server_url, sizeof(t->server_url), "https://control.example");
    return t;
}

static void event_settings(struct sim *s)
{
    state_set_settings(s->st, make_settings(s));
}

void sim_set_plan(struct sim *s, const struct plan *plan)
{
    struct buf text = {0};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    const struct policy_text *stored;
    commit_all(s);
    s->plan = plan;
    s->counts.policies++;
    if (plan == NULL) {
        state_set_policy(s->st, NULL, s->now_ms);
        return;
    }
    plan_write(plan, &text);
    if (policy_parse(buf_str(&text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, buf_cstr(&text));
    policy_errors_fini(&errors);
    buf_fini(&text);
    if (sim_below(s, 2) == 0) {
        state_set_policy(s->st, doc, s->now_ms);
        return;
    }
    /* At work when it is on disk. */
    assert_int_equal(state_policy_store(s->st, doc, STR("sim"), STR(""), s->now_ms, &stored, NULL), RC_OK);
    policy_doc_unref(&doc);
}

/* One rule more, then many see nobody, then those with what is hard. */
static void event_plan(struct sim *s)
{
    static const unsigned order[PLANS] = {1, 6, 3, 5, 2, 4, 0};
    unsigned turn = s->plan_turns++;
    if (s->may_have_no_plan && turn % 3 == 1)
        sim_set_plan(s, NULL);
    else
        sim_set_plan(s, &s->plans[order[turn % PLANS]]);
}

static void event_time(struct sim *s)
{
    size_t before = state_node_count(s->st);
    s->now_ms += sim_below(s, 12) == 0 ? 20000 + sim_below(s, 30000) : sim_below(s, 2500);
    state_tick(s->st, s->now_ms);
    s->counts.ephemeral_gone += before - state_node_count(s->st);
}

/* Of a thousand events; reports are the rest. */
static const struct {
    unsigned weight;
    void (*run)(struct sim *s);
} events[] = {
    {110, event_poll},    {70, event_hang_up},        {70, event_join},    {10, event_log_out},
    {20, event_delete},   {15, event_expire},         {15, event_renew},   {20, event_rename},
    {25, event_tag},      {15, event_approve},        {40, event_router},  {1, event_user_rename},
    {1, event_user_role}, {1, event_user_come_or_go}, {4, event_settings}, {40, event_time},
};

static void run_event(struct sim *s)
{
    unsigned dice = sim_below(s, 1000);
    s->counts.events++;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        if (dice < events[i].weight) {
            events[i].run(s);
            return;
        }
        dice -= events[i].weight;
    }
    event_report(s);
}

void sim_step(struct sim *s)
{
    uint32_t n = sim_below(s, 8) == 0 ? 200 + sim_below(s, 400) : 1 + sim_below(s, 60);
    for (uint32_t i = 0; i < n; i++) {
        run_event(s);
        if (sim_below(s, 6) == 0)
            seal(s);
        if (sim_below(s, 8) == 0)
            commit_one(s);
    }
    if (s->steps++ % 11 == 6)
        event_plan(s);
    publish(s);
}

/* --- beginning and end --- */

static void make_machines(struct sim *s)
{
    unsigned user = 0;
    int tag = -1;
    for (size_t i = 0; i < s->machine_n; i++) {
        struct machine *m = &s->machines[i];
        /* Half of them come in runs of one owner. */
        if (i / 64 % 2 == 0 || i % 16 == 0) {
            user = sim_below(s, (uint32_t)s->user_n);
            tag = sim_below(s, 100) < 35 ? (int)sim_below(s, PLAN_TAGS) : -1;
        }
        random_bytes(s, &m->key, sizeof(m->key));
        *m = (struct machine){.key = m->key, .user = user, .tag = tag, .router = -1};
        m->is_ephemeral = sim_below(s, 16) == 0;
        if (i % 80 == 5 || i % 80 == 9) {
            m->router = (int)(i / 80);
            m->tag = sim_below(s, 2) == 0 ? m->router % 4 : (int)sim_below(s, 4);
        }
        if (i < 5)
            m->tag = i < 3 ? PLAN_TAG_MONITOR : PLAN_TAG_PUBLIC;
    }
}

static void make_state(struct sim *s)
{
    struct state_options options = {.v4_bits = 10,
                                    .v6_bits = 48,
                                    .ephemeral_timeout_ms = SIM_EPHEMERAL_MS,
                                    .offline_grace_ms = SIM_OFFLINE_GRACE_MS,
                                    .newcomer_ms = SIM_NEWCOMER_MS};
    char tag[16];
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    s->st = state_create(&options, make_settings(s));
    for (unsigned i = 0; i < s->user_n; i++)
        make_user(s, i);
    for (unsigned i = 0; i < PLAN_TAGS_N; i++) {
        plan_tag_name(i, tag);
        make_key(s, 0, tag, s->tag_keys[i]);
    }
}

/* Most of them poll; those after the first half see each other come. */
static void make_nodes(struct sim *s)
{
    for (size_t i = 0; i < s->machine_n; i++) {
        join(s, &s->machines[i], true, sim_below(s, 8) == 0 ? s->now_ms + 1000 + sim_below(s, 400000) : 0);
        if (s->machines[i].router >= 0)
            approve(s, &s->machines[i]);
        if (sim_below(s, 2) == 0)
            poll_begin(s, &s->machines[i]);
    }
    commit_all(s);
    publish(s);
    for (size_t i = 0; i < s->machine_n; i++) {
        if (s->machines[i].poll == POLL_NONE && sim_below(s, 3) != 0)
            poll_begin(s, &s->machines[i]);
        if (i == s->machine_n / 2)
            publish(s);
    }
    publish(s);
}

void sim_init(struct sim *s, uint64_t seed, size_t nodes, size_t users, bool has_plan)
{
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->random.state = seed * 2654435761u + 1;
    s->now_ms = 1800000000000;
    s->user_n = users;
    s->machine_n = nodes;
    s->machines = mem_zalloc(nodes, sizeof(*s->machines));
    s->may_have_no_plan = !has_plan;
    for (unsigned i = 0; i < PLANS; i++)
        plan_make(&s->plans[i], i, users, &s->random);
    make_state(s);
    make_machines(s);
    commit_all(s);
    if (has_plan)
        sim_set_plan(s, &s->plans[0]);
    make_nodes(s);
}

void sim_fini(struct sim *s)
{
    for (size_t i = 0; i < s->machine_n; i++)
        poll_end(s, &s->machines[i]);
    commit_all(s);
    state_destroy(&s->st);
    netmap_pieces_fini(&s->pieces);
    netmap_ctx_fini(&s->netmap);
    mem_free(s->machines);
    for (size_t i = 0; i < s->disk_cap; i++) {
        if (s->disk[i] != NULL)
            node_unref(&s->disk[i]);
    }
    mem_free(s->disk);
    client_fini();
    look_fini();
}
