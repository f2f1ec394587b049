/* What happens in the simulated tailnet. */
#include "sim/world_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

/* --- what machines report --- */

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
        v[n++] = plan_net(2 * PLAN_NETS + sim_below(s, 200)); /* hardly any other machine has it */
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
    sim_random_bytes(s, &r->disco, sizeof(r->disco));
    r->r.disco = &r->disco;
}

static void say_hostname(struct sim *s, struct report *r)
{
    snprintf(r->hostname, sizeof(r->hostname), "host%u", sim_below(s, (uint32_t)s->machine_n * 4));
    r->r.hostname = str_c(r->hostname);
}

/* All that a client reports when it starts. */
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
    sim_mark_hot(s, m->id);
    return m;
}

static const char *key_of(const struct sim *s, const struct machine *m)
{
    return m->tag >= 0 ? s->tag_keys[m->tag] : s->users[m->user].key;
}

void sim_join(struct sim *s, struct machine *m, bool is_rekeyed, int64_t expiry_ms)
{
    struct registration reg = {.machine = m->key, .key = m->node, .expiry_ms = expiry_ms};
    struct register_result result;
    struct report report;
    if (m->tag < 0 && s->users[m->user].id == 0)
        m->user = sim_below(s, (uint32_t)s->user_n);
    if (m->id == 0 || is_rekeyed) {
        reg.old_key = m->node;
        sim_random_bytes(s, &reg.key, sizeof(reg.key));
    }
    say_all(s, m, &report);
    reg.report = report.r;
    reg.auth_key = str_c(key_of(s, m));
    reg.is_ephemeral = m->is_ephemeral;
    sim_random_bytes(s, reg.random, sizeof(reg.random));
    state_register(s->st, &reg, s->now_ms, &result);
    report_fini(&report);
    if (result.outcome != REGISTER_OK) {
        s->counts.refused++;
        return;
    }
    m->node = reg.key;
    m->id = result.node->id;
    sim_mark_hot(s, m->id);
}

void sim_poll_begin(struct sim *s, struct machine *m)
{
    struct report report;
    const struct node *n;
    sim_poll_end(s, m);
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
    sim_try_attach(s, m);
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
    sim_poll_begin(s, some_machine(s));
}

static void event_hang_up(struct sim *s)
{
    sim_poll_end(s, some_machine(s));
}

/* Its old poll may still be open, and end by itself. */
static void event_join(struct sim *s)
{
    struct machine *m = some_machine(s);
    int64_t expiry_ms = sim_below(s, 3) == 0 ? s->now_ms + 1000 + sim_below(s, 120000) : 0;
    if (sim_below(s, 3) == 0) {
        /* It joins for another user, or with another tag or none. */
        m->user = sim_below(s, (uint32_t)s->user_n);
        m->tag = sim_below(s, 3) == 0 ? (int)sim_below(s, PLAN_TAGS) : -1;
    }
    sim_join(s, m, sim_below(s, 2) == 0, expiry_ms);
    if (sim_below(s, 2) == 0)
        sim_poll_begin(s, m);
}

void sim_join_some(struct sim *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        event_join(s);
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
        sim_poll_end(s, m);
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

/* An admin lets nodes in again whose key has expired. */
static void event_renew(struct sim *s)
{
    const struct node *n;
    for (size_t tries = 0; tries < 200; tries++) {
        struct machine *m = &s->machines[sim_below(s, (uint32_t)s->machine_n)];
        n = m->id != 0 ? state_node(s->st, m->id) : NULL;
        if (n == NULL || !n->is_expired)
            continue;
        sim_mark_hot(s, m->id);
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

/* Twice between two publications: the policy may put it where it was, with another meaning. Most of all one that is
 * alone with its tags. */
static void event_tag(struct sim *s)
{
    struct machine **odd = &s->odd[sim_below(s, SIM_ODD)], *m = sim_below(s, 2) == 0 ? *odd : some_machine(s);
    m = m != NULL ? m : some_machine(s);
    sim_mark_hot(s, m->id);
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
    sim_mark_hot(s, m->id);
    return m;
}

void sim_approve(struct sim *s, struct machine *m)
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
    sim_approve(s, some_router(s));
}

/* A router changes what it serves, leaves or returns: another one takes over. */
static void event_router(struct sim *s)
{
    struct machine *m = some_router(s);
    struct report report;
    const struct node *n;
    if (sim_below(s, 3) == 0) {
        sim_poll_end(s, m);
    } else if (m->poll == POLL_NONE) {
        sim_poll_begin(s, m);
    } else {
        for (uint32_t i = 1 + sim_below(s, 2); i > 0; i--) {
            report = (struct report){0};
            say_hostinfo(s, m, &report);
            enum rc rc = state_node_report(s->st, &m->node, &m->key, &report.r, &n);
            (void)rc; /* deleted, perhaps */
            report_fini(&report);
        }
        if (sim_below(s, 2) == 0)
            sim_approve(s, m);
    }
}

void sim_make_key(struct sim *s, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct str tags[] = {str_c(tag)};
    struct auth_key_spec spec = {.user = user, .is_reusable = true, .tags = tags, .tag_n = tag != NULL};
    sim_random_bytes(s, random, sizeof(random));
    assert_int_equal(state_key_create(s->st, &spec, random, s->now_ms, &k, text, NULL), RC_OK);
}

void sim_make_user(struct sim *s, unsigned slot)
{
    char name[32], email[32];
    const struct user *u;
    plan_user_name(slot, name);
    plan_user_email(slot, email);
    struct user_spec spec = {.name = str_c(name), .email = str_c(email)};
    if (state_user_create(s->st, &spec, s->now_ms, &u, NULL) != RC_OK)
        return; /* another node has taken the name */
    s->users[slot].id = u->id;
    sim_make_key(s, u->id, NULL, s->users[slot].key);
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

/* One of the users that come and go comes, with three nodes, or is deleted with all nodes. */
static void event_user_come_or_go(struct sim *s)
{
    unsigned slot = (unsigned)s->user_n + sim_below(s, SIM_SPARE_USERS);
    struct sim_user *u = &s->users[slot];
    if (u->id == 0) {
        sim_make_user(s, slot);
        for (unsigned i = 0; u->id != 0 && i < 3; i++) {
            struct machine *m = &s->machines[sim_below(s, (uint32_t)s->machine_n)];
            m->user = slot;
            m->tag = -1;
            sim_join(s, m, true, 0);
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

struct tailnet_settings *sim_make_settings(struct sim *s)
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
    state_set_settings(s->st, sim_make_settings(s));
}

void sim_set_plan(struct sim *s, const struct plan *plan)
{
    struct buf text = {0};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    const struct policy_text *stored;
    sim_commit_all(s);
    s->plan = plan;
    s->counts.policies++;
    if (plan == NULL) {
        state_set_policy(s->st, NULL);
        return;
    }
    plan_write(plan, &text);
    if (policy_parse(buf_str(&text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, buf_cstr(&text));
    policy_errors_fini(&errors);
    buf_fini(&text);
    if (sim_below(s, 2) == 0) {
        state_set_policy(s->st, doc);
        return;
    }
    /* In force when it is on disk. */
    assert_int_equal(state_policy_store(s->st, doc, STR("sim"), STR(""), s->now_ms, &stored, NULL), RC_OK);
    policy_doc_unref(&doc);
}

/* One rule more, then one under which many see no other node, then those that are hard to compute. */
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
    state_settle(s->st, s->now_ms);
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
            sim_seal(s);
        if (sim_below(s, 8) == 0)
            sim_commit_one(s);
    }
    if (s->steps++ % 11 == 6)
        event_plan(s);
    sim_publish(s);
}
