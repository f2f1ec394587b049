/* Routes, tags and roles: what admins and the policy allow, and who is primary, against a naive twin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "policy/policy.h"
#include "state/access.h"
#include "state/state.h"
#include "support/test_random.h"

enum { GRACE_MS = 10000, AWAY_MS = 2000, NODES = 6 };

struct fixture {
    struct state *st;
    struct test_random random;
    int64_t now_ms;
    struct registration nodes[NODES]; /* the one at i has id i + 1 */
    char key[AUTH_KEY_TEXT_CAP];
};

static struct tailnet_settings *make_settings(void)
{
    struct tailnet_settings *t = tailnet_settings_create();
    t->derp_map_json = rcbuf_create("{}", 2);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    return t;
}

static void random_bytes(struct fixture *f, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)test_random_u64(&f->random);
}

static void make_key(struct fixture *f, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct str tags = str_c(tag);
    struct auth_key_spec spec = {.user = user, .is_reusable = true, .tags = &tags, .tag_n = tag[0] != '\0'};
    random_bytes(f, random, sizeof(random));
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, NULL), RC_OK);
}

static struct registration request(struct fixture *f, const char *key)
{
    struct registration reg = {.auth_key = str_c(key), .report.hostname = STR("node")};
    random_bytes(f, &reg.machine, sizeof(reg.machine));
    random_bytes(f, &reg.key, sizeof(reg.key));
    random_bytes(f, reg.random, sizeof(reg.random));
    return reg;
}

static struct register_result join(struct fixture *f, const struct registration *reg)
{
    struct register_result r;
    state_register(f->st, reg, f->now_ms, &r);
    return r;
}

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct state_options options = {
        .v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10, .offline_grace_ms = GRACE_MS};
    const struct user *u;
    static const char *const names[] = {"olga", "anna", "bert"};
    crypto_init();
    f->random.state = 99;
    f->now_ms = 1800000000000;
    f->st = state_create(&options, make_settings());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct user_spec spec = {.name = str_c(names[i])};
        assert_int_equal(state_user_create(f->st, &spec, f->now_ms, &u, NULL), RC_OK);
        assert_int_equal(u->role, i == 0 ? USER_OWNER : USER_MEMBER);
    }
    make_key(f, 2, "", f->key);
    for (size_t i = 0; i < NODES; i++) {
        f->nodes[i] = request(f, f->key);
        assert_int_equal(join(f, &f->nodes[i]).node->id, i + 1);
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    state_destroy(&f->st);
    mem_free(f);
    return 0;
}

/* --- short forms: routes as "10.0.0.0/8 ::/0" --- */

static size_t parse_routes(const char *text, struct prefix *out)
{
    struct str rest = str_c(text), one;
    size_t n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        assert_int_equal(prefix_parse(one, &out[n++], NULL), RC_OK);
    }
    return n;
}

static void advertise(struct fixture *f, node_id id, const char *routes)
{
    struct prefix v[16];
    const struct node *n;
    struct node_report report = {.hostinfo = rcbuf_create(routes, strlen(routes))};
    report.routes = prefix_list_create(v, parse_routes(routes, v));
    const struct registration *reg = &f->nodes[id - 1];
    enum rc rc = state_node_report(f->st, &reg->key, &reg->machine, &report, &n);
    assert_true(rc == RC_OK || state_node(f->st, id) == NULL);
    rcbuf_unref(&report.hostinfo);
    prefix_list_unref(&report.routes);
}

static enum rc approve(struct fixture *f, node_id id, const char *routes)
{
    struct prefix v[16];
    const struct node *n;
    return state_node_approve_routes(f->st, id, v, parse_routes(routes, v), &n, NULL);
}

static void poll_begins(struct fixture *f, node_id id)
{
    const struct registration *reg = &f->nodes[id - 1];
    struct node_report none = {0};
    const struct node *n;
    assert_int_equal(state_poll_begin(f->st, &reg->key, &reg->machine, &none, f->now_ms, &n), RC_OK);
}

static void assert_list(const struct prefix_list *l, const char *want)
{
    char text[512] = "", one[PREFIX_TEXT_CAP];
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        size_t at = strlen(text);
        prefix_format(&l->v[i], one);
        snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? " " : "", one);
    }
    assert_string_equal(text, want);
}

/* --- approval --- */

static void test_approval(void **state)
{
    struct fixture *f = *state;
    struct prefix many[ROUTES_MAX];
    const struct node *n;
    advertise(f, 1, "10.1.0.0/16 10.0.0.0/8 fd00::/8 10.1.0.0/16");
    assert_list(state_node(f->st, 1)->advertised, "10.0.0.0/8 10.1.0.0/16 fd00::/8");
    assert_null(state_node(f->st, 1)->primary);
    assert_int_equal(approve(f, 1, "10.1.0.0/16 192.168.0.0/24"), RC_OK);
    assert_list(state_node(f->st, 1)->approved, "10.1.0.0/16 192.168.0.0/24");
    assert_list(state_node(f->st, 1)->primary, "10.1.0.0/16");
    /* It must be on disk before it is told. */
    uint64_t seq = state_durable_seq(f->st);
    struct row_batch *b = state_take_batch(f->st);
    assert_int_equal(b->seq, seq);
    assert_list(b->ops[b->n - 2].node->approved, "10.1.0.0/16 192.168.0.0/24"); /* then come the counters */
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, f->now_ms);
    assert_null(c != NULL ? snapshot_node(c->after, 1) : NULL);
    change_unref(&c);
    state_committed(f->st, seq);
    c = state_publish(f->st, f->now_ms);
    assert_list(snapshot_node(c->after, 1)->primary, "10.1.0.0/16");
    change_unref(&c);
    /* What it no longer advertises it does not serve; what it advertises anew was approved all the time. */
    advertise(f, 1, "192.168.0.0/24");
    assert_list(state_node(f->st, 1)->primary, "192.168.0.0/24");
    assert_int_equal(approve(f, 1, ""), RC_OK);
    assert_null(state_node(f->st, 1)->approved);
    assert_null(state_node(f->st, 1)->primary);
    assert_int_equal(approve(f, 99, "10.0.0.0/8"), RC_NOT_FOUND);
    memset(many, 0, sizeof(many));
    assert_int_equal(state_node_approve_routes(f->st, 1, many, ROUTES_MAX, &n, NULL), RC_LIMIT);
}

static void test_exit_routes_come_in_pairs_and_have_no_primary(void **state)
{
    struct fixture *f = *state;
    for (node_id id = 1; id <= 2; id++) {
        advertise(f, id, "0.0.0.0/0 ::/0 10.0.0.0/8");
        assert_false(node_is_exit(state_node(f->st, id)));
        assert_int_equal(approve(f, id, id == 1 ? "0.0.0.0/0" : "10.0.0.0/8 ::/0"), RC_OK);
        assert_true(node_is_exit(state_node(f->st, id)));
    }
    assert_list(state_node(f->st, 1)->approved, "0.0.0.0/0 ::/0");
    assert_list(state_node(f->st, 2)->approved, "0.0.0.0/0 10.0.0.0/8 ::/0");
    assert_null(state_node(f->st, 1)->primary);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
}

/* --- who is primary --- */

static void test_failover(void **state)
{
    struct fixture *f = *state;
    for (node_id id = 1; id <= 2; id++) {
        advertise(f, id, "10.0.0.0/8");
        assert_int_equal(approve(f, id, "10.0.0.0/8"), RC_OK);
    }
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8"); /* nobody is online: the first */
    poll_begins(f, 2);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_null(state_node(f->st, 1)->primary);
    poll_begins(f, 1); /* no way back while the other serves */
    assert_null(state_node(f->st, 1)->primary);
    state_poll_end(f->st, 2, f->now_ms);
    poll_begins(f, 2); /* it only changed its connection */
    state_tick(f->st, f->now_ms + AWAY_MS);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_poll_end(f->st, 2, f->now_ms);
    assert_int_equal(state_next_tick_ms(f->st), f->now_ms + AWAY_MS);
    state_tick(f->st, f->now_ms + AWAY_MS);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_null(state_node(f->st, 2)->primary);
    assert_true(state_node(f->st, 2)->is_online);
    /* With nobody left it stays where it is. */
    state_poll_end(f->st, 1, f->now_ms);
    state_tick(f->st, f->now_ms + GRACE_MS);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_int_equal(state_node_delete(f->st, 1, NULL), RC_OK);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(approve(f, 2, ""), RC_OK);
    assert_null(state_node(f->st, 2)->primary);
}

static void two_routers(struct fixture *f)
{
    for (node_id id = 1; id <= 2; id++) {
        advertise(f, id, "10.0.0.0/8");
        assert_int_equal(approve(f, id, "10.0.0.0/8"), RC_OK);
        poll_begins(f, id);
    }
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
}

static void test_a_router_whose_key_expires_hands_over(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    two_routers(f);
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms + 500, f->now_ms, &n, NULL), RC_OK);
    state_tick(f->st, f->now_ms + 499);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    state_tick(f->st, f->now_ms + 500);
    assert_true(state_node(f->st, 1)->is_online); /* it still polls */
    assert_null(state_node(f->st, 1)->primary);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    /* No way back when it may again; and an end by an admin moves routes as time does. */
    assert_int_equal(state_node_expire(f->st, 1, NO_EXPIRY, f->now_ms + 600, &n, NULL), RC_OK);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_node_expire(f->st, 2, f->now_ms, f->now_ms + 700, &n, NULL), RC_OK);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    /* With nobody left it stays where it is. */
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms, f->now_ms + 800, &n, NULL), RC_OK);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
}

static void test_a_silent_router_hands_over(void **state)
{
    struct fixture *f = *state;
    const node_id first = 1, both[] = {1, 2};
    two_routers(f);
    assert_int_equal(state_router_next(f->st, 0), 1);
    assert_int_equal(state_router_next(f->st, 1), 2);
    assert_int_equal(state_router_next(f->st, 2), 0);
    /* Where nobody answers it may be this server that is cut off: nothing changes. */
    assert_int_equal(state_routers_silent(f->st, both, 2), 0);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &first, 1), 1);
    assert_null(state_node(f->st, 1)->primary);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &first, 1), 0); /* known already */
    /* It is asked on, and so is the one that carries the route now: whose silence changes nothing while it is the only one. */
    assert_int_equal(state_router_next(f->st, 0), 1);
    assert_int_equal(state_routers_silent(f->st, both, 2), 0);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_router_answered(f->st, 1); /* stands by: no way back */
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_int_equal(state_routers_silent(f->st, &both[1], 1), 1);
    assert_list(state_node(f->st, 1)->primary, "10.0.0.0/8");
    poll_begins(f, 2); /* a new poll is a sign of life */
    assert_int_equal(state_routers_silent(f->st, &first, 1), 1);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    state_router_answered(f->st, 99);
}

static void test_only_routers_with_a_standby_are_asked(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    two_routers(f);
    advertise(f, 3, "10.3.0.0/16 0.0.0.0/0");
    assert_int_equal(approve(f, 3, "10.3.0.0/16 0.0.0.0/0"), RC_OK);
    advertise(f, 4, "0.0.0.0/0");
    assert_int_equal(approve(f, 4, "0.0.0.0/0"), RC_OK);
    advertise(f, 5, "10.3.0.0/16"); /* not approved */
    for (node_id id = 3; id <= 5; id++)
        poll_begins(f, id);
    assert_int_equal(state_router_next(f->st, 2), 0);
    state_poll_end(f->st, 2, f->now_ms);
    assert_int_equal(state_router_next(f->st, 0), 0);
    poll_begins(f, 2);
    assert_int_equal(state_node_expire(f->st, 2, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_router_next(f->st, 0), 0);
}

/* What a reader of the rule would do: looks at all nodes after each event. */
static const char *const pool[] = {"10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "0.0.0.0/0"};

struct twin {
    node_id primary[ARRAY_LEN(pool)];
    unsigned polls[NODES + 1];
    int64_t away_ms[NODES + 1]; /* with no poll: when it is away; 0: it never polled */
    int64_t expires_ms[NODES + 1];
    bool is_silent[NODES + 1];
};

static bool twin_is_up(const struct twin *t, node_id id, int64_t now_ms)
{
    bool is_expired = t->expires_ms[id] != 0 && t->expires_ms[id] <= now_ms;
    return (t->polls[id] > 0 || t->away_ms[id] > now_ms) && !is_expired && !t->is_silent[id];
}

static bool serves(const struct state *st, node_id id, const char *route)
{
    const struct node *n = state_node(st, id);
    struct prefix p;
    assert_int_equal(parse_routes(route, &p), 1);
    return n != NULL && prefix_list_has(n->advertised, &p) && prefix_list_has(n->approved, &p);
}

static node_id twin_elect(const struct twin *t, const struct fixture *f, const char *route, node_id before)
{
    node_id first = 0, first_up = 0;
    for (node_id id = NODES; id >= 1; id--) {
        if (!serves(f->st, id, route))
            continue;
        first = id;
        if (twin_is_up(t, id, f->now_ms))
            first_up = id;
    }
    bool stays = before != 0 && serves(f->st, before, route);
    if (stays && (twin_is_up(t, before, f->now_ms) || first_up == 0))
        return before;
    return first_up != 0 ? first_up : first;
}

static void compare_with_twin(struct twin *t, const struct fixture *f)
{
    for (size_t i = 0; i < ARRAY_LEN(pool); i++) {
        struct prefix p;
        assert_int_equal(parse_routes(pool[i], &p), 1);
        t->primary[i] = p.bits > 0 ? twin_elect(t, f, pool[i], t->primary[i]) : 0;
        for (node_id id = 1; id <= NODES; id++) {
            const struct node *n = state_node(f->st, id);
            bool is_primary = n != NULL && prefix_list_has(n->primary, &p);
            if (is_primary != (t->primary[i] == id))
                fail_msg("%s: node %d is %s, the twin says %d", pool[i], (int)id, is_primary ? "primary" : "not",
                         (int)t->primary[i]);
        }
    }
}

static const char *random_routes(struct fixture *f, char out[128])
{
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(pool); i++) {
        size_t at = strlen(out);
        if (test_random_below(&f->random, 3) > 0)
            snprintf(out + at, 128 - at, "%s%s", at > 0 ? " " : "", pool[i]);
    }
    return out;
}

static void pass_time(struct twin *t, struct fixture *f, int64_t ms)
{
    int64_t end_ms = f->now_ms + ms;
    while (state_next_tick_ms(f->st) <= end_ms) {
        if (state_next_tick_ms(f->st) > f->now_ms)
            f->now_ms = state_next_tick_ms(f->st);
        state_tick(f->st, f->now_ms);
        compare_with_twin(t, f);
    }
    f->now_ms = end_ms;
}

static void end_poll(struct twin *t, struct fixture *f, node_id id)
{
    const struct node *n = state_node(f->st, id);
    if (t->polls[id] == 0)
        return;
    if (--t->polls[id] == 0)
        t->away_ms[id] = f->now_ms + (n->advertised != NULL && n->approved != NULL ? AWAY_MS : GRACE_MS);
    state_poll_end(f->st, id, f->now_ms);
}

static void expire(struct twin *t, struct fixture *f, node_id id)
{
    const struct node *n;
    int64_t at_ms = test_random_below(&f->random, 2) != 0 ? 0
                                                          : f->now_ms + (int64_t)test_random_below(&f->random, 3000);
    assert_int_equal(state_node_expire(f->st, id, at_ms, f->now_ms, &n, NULL), RC_OK);
    t->expires_ms[id] = at_ms;
}

static bool twin_is_reachable(const struct twin *t, node_id id, int64_t now_ms)
{
    return t->polls[id] > 0 && (t->expires_ms[id] == 0 || t->expires_ms[id] > now_ms);
}

/* Somebody who is not `failing` could carry one of its routes. */
static bool twin_has_standby(const struct twin *t, const struct fixture *f, node_id id, const bool *failing)
{
    for (size_t i = 0; i < ARRAY_LEN(pool) - 1; i++) {
        for (node_id other = 1; serves(f->st, id, pool[i]) && other <= NODES; other++) {
            if (other != id && serves(f->st, other, pool[i]) && twin_is_reachable(t, other, f->now_ms) &&
                (failing == NULL || (!failing[other] && !t->is_silent[other])))
                return true;
        }
    }
    return false;
}

/* A round of pings that some leave without answer. */
static void ping_all(struct twin *t, struct fixture *f)
{
    bool failing[NODES + 1] = {false}, falls[NODES + 1] = {false};
    node_id ids[NODES], walked = 0;
    size_t n = 0, want = 0;
    for (node_id id = 1; id <= NODES; id++) {
        bool is_asked = state_node(f->st, id) != NULL && twin_is_reachable(t, id, f->now_ms) &&
                        twin_has_standby(t, f, id, NULL);
        if (!is_asked)
            continue;
        walked = state_router_next(f->st, walked);
        assert_int_equal(walked, id);
        failing[id] = test_random_below(&f->random, 2) != 0;
        if (failing[id]) {
            ids[n++] = id;
            continue;
        }
        t->is_silent[id] = false;
        state_router_answered(f->st, id);
        compare_with_twin(t, f);
    }
    assert_int_equal(state_router_next(f->st, walked), 0);
    for (size_t i = 0; i < n; i++) {
        falls[ids[i]] = !t->is_silent[ids[i]] && twin_has_standby(t, f, ids[i], failing);
        want += falls[ids[i]];
    }
    for (node_id id = 1; id <= NODES; id++)
        t->is_silent[id] = t->is_silent[id] || falls[id];
    assert_int_equal(state_routers_silent(f->st, ids, n), want);
}

static void random_event(struct twin *t, struct fixture *f)
{
    char routes[128];
    node_id id = 1 + test_random_below(&f->random, NODES);
    if (state_node(f->st, id) == NULL)
        return;
    switch (test_random_below(&f->random, 13)) {
    case 0:
    case 1: advertise(f, id, random_routes(f, routes)); break;
    case 2: assert_int_equal(approve(f, id, random_routes(f, routes)), RC_OK); break;
    case 3:
    case 4:
    case 5:
        poll_begins(f, id);
        t->polls[id]++;
        t->is_silent[id] = false;
        break;
    case 6:
    case 7:
    case 8:
    case 9: end_poll(t, f, id); break;
    case 10: expire(t, f, id); break;
    case 11: ping_all(t, f); break;
    default: break;
    }
    if (test_random_below(&f->random, 3000) == 0 && state_node_count(f->st) > 3) {
        assert_int_equal(state_node_delete(f->st, id, NULL), RC_OK);
        t->polls[id] = 0;
        t->away_ms[id] = 0;
        t->is_silent[id] = false;
    }
}

static void test_primaries_like_a_naive_twin(void **state)
{
    struct fixture *f = *state;
    struct twin t = {0};
    unsigned failovers = 0;
    for (unsigned i = 0; i < 20000; i++) {
        node_id before = t.primary[0];
        random_event(&t, f);
        compare_with_twin(&t, f);
        pass_time(&t, f, 1 + (int64_t)test_random_below(&f->random, 700));
        compare_with_twin(&t, f);
        failovers += before != t.primary[0];
    }
    assert_true(failovers > 100);
}

/* --- the policy --- */

static void set_policy(struct fixture *f, const char *text)
{
    struct policy_doc *doc;
    static struct policy_errors errors;
    enum rc rc = policy_parse(str_c(text), NULL, &doc, &errors);
    if (rc != RC_OK)
        fail_msg("%s", errors.v[0].text);
    state_set_policy(f->st, doc, f->now_ms);
}

static void test_auto_approval(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    struct str router = STR("tag:router");
    advertise(f, 1, "10.1.0.0/16 192.168.0.0/24 0.0.0.0/0");
    advertise(f, 2, "10.2.0.0/16");
    set_policy(f, "{\"tagOwners\":{\"tag:router\":[],\"tag:exit\":[]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":"
                  "[\"anna@\"]},\"exitNode\":[\"tag:router\"]}}");
    assert_list(state_node(f->st, 1)->approved, "10.1.0.0/16");
    assert_list(state_node(f->st, 2)->approved, "10.2.0.0/16");
    /* As soon as it advertises. */
    advertise(f, 3, "10.3.0.0/16 11.0.0.0/8");
    assert_list(state_node(f->st, 3)->approved, "10.3.0.0/16");
    assert_list(state_node(f->st, 3)->primary, "10.3.0.0/16");
    /* As soon as its tags allow it; what was approved before stays. */
    assert_int_equal(state_node_set_tags(f->st, 1, &router, 1, &n, NULL), RC_OK);
    assert_list(n->approved, "0.0.0.0/0 10.1.0.0/16");
    /* A policy that says less takes nothing back. */
    set_policy(f, "{}");
    assert_list(state_node(f->st, 2)->approved, "10.2.0.0/16");
    state_set_policy(f->st, NULL, f->now_ms);
    advertise(f, 4, "10.4.0.0/16");
    assert_null(state_node(f->st, 4)->approved);
}

/* What is waiting becomes durable and visible. */
static void publish(struct fixture *f)
{
    struct row_batch *b = state_take_batch(f->st);
    if (b != NULL)
        state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, f->now_ms);
    change_unref(&c);
}

/* Whether the viewer is told that the router carries it. */
static bool is_shown(const struct fixture *f, node_id viewer, node_id router, const char *route)
{
    struct prefix p;
    const struct access *r = state_snapshot(f->st)->access;
    const struct route_table *t = access_of_node(r, router)->routes;
    const uint64_t *row = route_table_row(t, engine_view_key(r->view, viewer));
    assert_int_equal(parse_routes(route, &p), 1);
    for (size_t i = 0; i < t->prefixes->n; i++) {
        if (prefix_compare(&t->prefixes->v[i], &p) == 0)
            return bit_get(row, i);
    }
    return false;
}

/* Of two that a `via` lets carry a route, neither of them the primary, the better one does; of the other, to which nothing happens,
 * viewers are told anew. */
static void test_a_router_depends_on_others(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    const struct str via = STR("tag:v");
    set_policy(f, "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                  "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        const char *routes = id == 4 ? "10.0.0.0/8 172.16.0.0/12" : "10.0.0.0/8";
        advertise(f, id, routes);
        assert_int_equal(approve(f, id, routes), RC_OK);
        poll_begins(f, id);
        if (id > 2)
            assert_int_equal(state_node_set_tags(f->st, id, &via, 1, &n, NULL), RC_OK);
    }
    publish(f);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_false(is_shown(f, 1, 2, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_false(is_shown(f, 1, 4, "10.0.0.0/8"));
    state_poll_end(f->st, 3, f->now_ms);
    f->now_ms += GRACE_MS;
    state_tick(f->st, f->now_ms);
    publish(f);
    assert_list(state_node(f->st, 2)->primary, "10.0.0.0/8");
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    poll_begins(f, 3);
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_false(is_shown(f, 1, 4, "10.0.0.0/8"));
}

/* A via grant lets a node carry a route, so long as it can. */
static void test_via_follows_who_can_serve(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    const struct str via = STR("tag:v");
    const node_id third = 3;
    set_policy(f, "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                  "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        advertise(f, id, "10.0.0.0/8");
        assert_int_equal(approve(f, id, "10.0.0.0/8"), RC_OK);
        poll_begins(f, id);
        if (id > 2)
            assert_int_equal(state_node_set_tags(f->st, id, &via, 1, &n, NULL), RC_OK);
    }
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_node_expire(f->st, 3, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    publish(f);
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    assert_int_equal(state_node_expire(f->st, 3, NO_EXPIRY, f->now_ms, &n, NULL), RC_OK);
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_routers_silent(f->st, &third, 1), 1);
    publish(f);
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
    state_router_answered(f->st, 3);
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    state_poll_end(f->st, 3, f->now_ms);
    f->now_ms += AWAY_MS; /* sooner than it counts as offline */
    state_tick(f->st, f->now_ms);
    publish(f);
    assert_true(is_shown(f, 1, 4, "10.0.0.0/8"));
}

static void set_one_tag(struct fixture *f, node_id id, struct str tag)
{
    const struct node *n;
    assert_int_equal(state_node_set_tags(f->st, id, &tag, 1, &n, NULL), RC_OK);
}

/* The policy hears of a router before snapshots do, and of its end after: in between it may have served and be gone, without
 * that any snapshot has shown it as a router. */
static void test_a_router_that_was_never_shown(void **state)
{
    struct fixture *f = *state;
    set_policy(f, "{\"tagOwners\":{\"tag:v\":[]},\"grants\":[{\"src\":[\"anna@\"],\"dst\":[\"10.0.0.0/8\"],"
                  "\"ip\":[\"*\"],\"via\":[\"tag:v\"]}]}");
    for (node_id id = 2; id <= 4; id++) {
        advertise(f, id, "10.0.0.0/8");
        if (id != 4)
            assert_int_equal(approve(f, id, "10.0.0.0/8"), RC_OK);
        if (id != 3)
            poll_begins(f, id);
        if (id > 2)
            set_one_tag(f, id, STR("tag:v"));
    }
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
    /* Node 4 would be better, as it is online; the approval is not on disk. */
    assert_int_equal(approve(f, 4, "10.0.0.0/8"), RC_OK);
    struct change *c = state_publish(f->st, f->now_ms);
    change_unref(&c);
    assert_false(is_shown(f, 1, 3, "10.0.0.0/8"));
    assert_int_equal(state_node_delete(f->st, 4, NULL), RC_OK);
    publish(f);
    assert_true(is_shown(f, 1, 3, "10.0.0.0/8"));
}

/* What a node is told may be for its system; it is told once the system is shown, be it that the policy knew before. */
static void test_capabilities_follow_the_system(void **state)
{
    static const char mac[] = "{\"OS\":\"macOS\"}";
    struct fixture *f = *state;
    const struct registration *reg = &f->nodes[0];
    const struct node *n;
    set_policy(f, "{\"OneCGNATRoute\":\"mac-always\",\"grants\":[]}");
    publish(f);
    struct node_report report = {.hostname = STR("another"), .hostinfo = rcbuf_create(mac, sizeof(mac) - 1)};
    assert_int_equal(state_node_report(f->st, &reg->key, &reg->machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    struct change *c = state_publish(f->st, f->now_ms); /* the name waits for the disk */
    change_unref(&c);
    publish(f);
    const struct rcbuf *caps = access_of_node(state_snapshot(f->st)->access, 1)->caps;
    assert_non_null(memmem(caps->data, caps->len, "one-cgnat?v=true", 16));
}

static void assert_v4(const struct node *n, const char *want)
{
    char text[ADDR_TEXT_CAP];
    addr_format(&n->v4, false, text);
    assert_string_equal(text, want);
}

/* Addresses of new nodes; who is there keeps his. */
static void test_pools(void **state)
{
    struct fixture *f = *state;
    char web[AUTH_KEY_TEXT_CAP];
    static const char *const want[] = {"100.80.0.1", "100.80.0.2", "100.90.0.9"};
    struct str tag = STR("tag:web");
    const struct node *n;
    make_key(f, 2, "tag:web", web);
    set_policy(f, "{\"tagOwners\":{\"tag:web\":[\"anna@\"]},\"nodeAttrs\":[{\"target\":[\"tag:web\"],\"ipPool\":"
                  "[\"100.80.0.0/30\",\"100.90.0.9/32\"]}]}");
    assert_int_equal(state_node_set_tags(f->st, 1, &tag, 1, &n, NULL), RC_OK);
    assert_v4(n, "100.64.0.1");
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct registration reg = request(f, web);
        assert_v4(join(f, &reg).node, want[i]);
        /* It comes back with another key. */
        random_bytes(f, &reg.key, sizeof(reg.key));
        assert_v4(join(f, &reg).node, want[i]);
    }
    struct registration late = request(f, web), other = request(f, f->key);
    struct register_result r = join(f, &late);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_non_null(strstr(r.err.text, "ipPool"));
    r = join(f, &other);
    assert_int_equal(r.node->v4.ip[1], 64);
    assert_true(r.node->id > NODES + ARRAY_LEN(want));
}

/* --- tags --- */

static void assert_tags(const struct node *n, const char *want)
{
    if (want == NULL) {
        assert_null(n->tags);
        return;
    }
    assert_non_null(n->tags);
    assert_true(str_eq_c(str_n(n->tags->data, n->tags->len), want));
}

static void test_setting_tags(void **state)
{
    struct fixture *f = *state;
    const struct str two[] = {STR("tag:web"), STR("tag:db")}, bad[] = {STR("tag:web"), STR("web")};
    struct str many[TAGS_MAX + 1];
    const struct node *n;
    struct err err;
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms + 100000, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 2, &n, NULL), RC_OK);
    assert_tags(n, "[\"tag:db\",\"tag:web\"]");
    assert_int_equal(n->expires_ms, NO_EXPIRY);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 1, &n, NULL), RC_OK);
    assert_tags(n, "[\"tag:web\"]");
    assert_int_equal(state_node_set_tags(f->st, 1, NULL, 0, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "at least one tag"));
    assert_int_equal(state_node_set_tags(f->st, 1, bad, 2, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "'web' is no tag"));
    assert_int_equal(state_node_set_tags(f->st, 99, two, 1, &n, NULL), RC_NOT_FOUND);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = two[0];
    assert_int_equal(state_node_set_tags(f->st, 1, many, ARRAY_LEN(many), &n, NULL), RC_LIMIT);
    assert_int_equal(state_node_set_tags(f->st, 1, many, TAGS_MAX, &n, NULL), RC_OK);
    assert_tags(state_node(f->st, 1), "[\"tag:web\"]");
    /* It is nobody's now, and no reason not to delete its user. */
    for (node_id id = 2; id <= NODES; id++)
        assert_int_equal(state_node_delete(f->st, id, NULL), RC_OK);
    assert_int_equal(state_user_delete(f->st, 2, NULL), RC_OK);
    /* An expired key stays so: a person has to look at it. */
    assert_int_equal(state_node_expire(f->st, 1, f->now_ms, f->now_ms, &n, NULL), RC_OK);
    assert_int_equal(state_node_set_tags(f->st, 1, two, 2, &n, NULL), RC_OK);
    assert_true(n->is_expired);
}

static const char tag_policy[] = "{\"tagOwners\":{\"tag:web\":[\"anna@\"],\"tag:db\":[\"tag:web\"],\"tag:x\":[]}}";

static void test_the_policy_must_know_a_tag(void **state)
{
    struct fixture *f = *state;
    const struct str web = STR("tag:web"), odd = STR("tag:odd");
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    struct auth_key_spec spec = {.tags = &odd, .tag_n = 1};
    const struct auth_key *k;
    const struct node *n;
    char text[AUTH_KEY_TEXT_CAP];
    struct err err;
    assert_int_equal(state_node_set_tags(f->st, 1, &odd, 1, &n, NULL), RC_OK);
    set_policy(f, tag_policy);
    assert_int_equal(state_node_set_tags(f->st, 1, &odd, 1, &n, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "tagOwners"));
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "tagOwners"));
    assert_int_equal(state_node_set_tags(f->st, 1, &web, 1, &n, NULL), RC_OK);
    spec.tags = &web;
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, NULL), RC_OK);
}

/* What clients ask for with --advertise-tags. */
static void test_requested_tags(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *policy;
        user_id user;
        const char *key_tag;
        const char *asked;
        const char *tags; /* null: refused */
    } rows[] = {
        {"", 2, "", "tag:web", NULL},
        {"", 0, "tag:web", "tag:web", "[\"tag:web\"]"},
        {"", 0, "tag:web", "tag:db", NULL},
        {tag_policy, 2, "", "tag:web", "[\"tag:web\"]"},
        {tag_policy, 2, "", "tag:db", "[\"tag:db\"]"}, /* anna owns the tag that owns it */
        {tag_policy, 2, "", "tag:x", NULL},
        {tag_policy, 3, "", "tag:web", NULL},
        {tag_policy, 1, "", "tag:x", "[\"tag:x\"]"}, /* the owner of the network */
        {tag_policy, 2, "", "tag:none", NULL},
        {tag_policy, 2, "", "web", NULL},
        {tag_policy, 0, "tag:web", "tag:db", "[\"tag:db\"]"},
        {tag_policy, 0, "tag:db", "tag:web", NULL},
        {tag_policy, 2, "tag:db", "tag:web", NULL}, /* the key is its tags, not its user */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char key[AUTH_KEY_TEXT_CAP];
        struct str asked = str_c(rows[i].asked);
        size_t before = state_node_count(f->st);
        set_policy(f, rows[i].policy[0] != '\0' ? rows[i].policy : "{\"tagOwners\":{\"tag:web\":[],\"tag:db\":[]}}");
        make_key(f, rows[i].user, rows[i].key_tag, key);
        if (rows[i].policy[0] == '\0')
            state_set_policy(f->st, NULL, f->now_ms);
        struct registration reg = request(f, key);
        reg.tags = &asked;
        reg.tag_n = 1;
        struct register_result r = join(f, &reg);
        assert_int_equal(r.outcome, rows[i].tags != NULL ? REGISTER_OK : REGISTER_REFUSED);
        assert_int_equal(state_node_count(f->st), before + (rows[i].tags != NULL));
        if (rows[i].tags != NULL) {
            assert_tags(r.node, rows[i].tags);
            assert_null(r.user);
        } else {
            assert_non_null(strstr(r.err.text, "requested tags ["));
            assert_non_null(strstr(r.err.text, rows[i].asked));
            assert_false(state_key_by_text(f->st, str_c(key))->is_used);
        }
    }
}

/* The node that a tagged machine had comes back, with whichever key brings those tags. */
static void test_tagged_machine_returns(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct str web = STR("tag:web");
    set_policy(f, tag_policy);
    struct registration reg = request(f, f->key);
    reg.tags = &web;
    reg.tag_n = 1;
    node_id id = join(f, &reg).node->id;
    random_bytes(f, &reg.key, sizeof(reg.key));
    make_key(f, 0, "tag:web", key);
    reg.auth_key = str_c(key);
    reg.tag_n = 0;
    assert_int_equal(join(f, &reg).node->id, id);
    /* Without tags it is anna's, and another one. */
    random_bytes(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(f->key);
    struct register_result r = join(f, &reg);
    assert_int_not_equal(r.node->id, id);
    assert_string_equal(r.user->name, "anna");
}

/* --- roles --- */

static void test_roles(void **state)
{
    struct fixture *f = *state;
    const struct user *u;
    enum user_role role;
    for (int i = 0; i < USER_ROLES_N; i++) {
        assert_int_equal(user_role_parse(str_c(user_role_name((enum user_role)i)), &role), RC_OK);
        assert_int_equal(role, i);
        assert_non_null(strstr(USER_ROLE_NAMES, user_role_name(role)));
    }
    assert_int_equal(user_role_parse(STR("root"), &role), RC_INVALID);
    assert_int_equal(user_role_parse(STR(""), &role), RC_INVALID);
    assert_int_equal(state_user_set_role(f->st, 2, USER_AUDITOR, &u, NULL), RC_OK);
    assert_int_equal(u->role, USER_AUDITOR);
    assert_int_equal(state_user_rename(f->st, 2, STR("annabel"), &u, NULL), RC_OK);
    assert_int_equal(u->role, USER_AUDITOR);
    assert_int_equal(state_user_set_role(f->st, 77, USER_OWNER, &u, NULL), RC_NOT_FOUND);
    struct row_batch *b = state_take_batch(f->st);
    size_t rows = 0;
    for (size_t i = 0; i < b->n; i++)
        rows += b->ops[i].kind == ROW_PUT_USER && b->ops[i].user->role == USER_AUDITOR;
    assert_int_equal(rows, 2);
    row_batch_destroy(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* --- another owner --- */

/* The machine of node `id`, again, with `key`. */
static const struct node *rejoin(struct fixture *f, node_id id, const char *key, const char *hostname)
{
    struct registration reg = f->nodes[id - 1];
    const struct node *n;
    reg.old_key = reg.key;
    random_bytes(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(key);
    reg.report.hostname = str_c(hostname);
    struct register_result r = join(f, &reg);
    assert_int_equal(r.outcome, REGISTER_OK);
    n = state_node_by_key(f->st, &reg.key);
    f->nodes[id - 1] = reg;
    return n;
}

static void test_another_owner_inherits_nothing_that_was_granted(void **state)
{
    struct fixture *f = *state;
    const struct node *n;
    char anna_key[AUTH_KEY_TEXT_CAP], bert_key[AUTH_KEY_TEXT_CAP], web_key[AUTH_KEY_TEXT_CAP],
        db_key[AUTH_KEY_TEXT_CAP];
    make_key(f, 2, "", anna_key);
    make_key(f, 3, "", bert_key);
    make_key(f, 2, "tag:web", web_key);
    make_key(f, 3, "tag:db", db_key);
    const char *const keys[] = {bert_key, web_key, db_key, bert_key};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        advertise(f, 1, "10.0.0.0/8");
        assert_int_equal(approve(f, 1, "10.0.0.0/8"), RC_OK);
        assert_int_equal(state_node_rename(f->st, 1, STR("gateway"), &n, NULL), RC_OK);
        struct addr v4 = n->v4;
        n = rejoin(f, 1, keys[i], "berts-box");
        assert_int_equal(n->id, 1);
        assert_true(addr_eq(&n->v4, &v4));
        assert_null(n->approved);
        assert_null(n->primary);
        assert_string_equal(n->name, "berts-box");
        /* The same owner again keeps what it got. */
        assert_int_equal(approve(f, 1, "10.0.0.0/8"), RC_OK);
        assert_int_equal(state_node_rename(f->st, 1, STR("gateway"), &n, NULL), RC_OK);
        n = rejoin(f, 1, keys[i], "another");
        assert_list(n->approved, "10.0.0.0/8");
        assert_string_equal(n->name, "gateway");
    }
    /* Another key of the same user is the same user. */
    n = rejoin(f, 2, anna_key, "node");
    assert_int_equal(state_node_rename(f->st, 2, STR("annas"), &n, NULL), RC_OK);
    n = rejoin(f, 2, f->key, "node");
    assert_string_equal(n->name, "annas");
    /* What the policy approves by itself it approves for the new owner too. */
    set_policy(
        f, "{\"tagOwners\":{\"tag:web\":[\"anna@\"]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:web\"]}}}");
    assert_int_equal(approve(f, 1, "10.0.0.0/8 192.168.0.0/24"), RC_OK);
    n = rejoin(f, 1, web_key, "web");
    assert_list(n->approved, "10.0.0.0/8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_approval),
        TEST(test_exit_routes_come_in_pairs_and_have_no_primary),
        TEST(test_failover),
        TEST(test_a_router_whose_key_expires_hands_over),
        TEST(test_a_silent_router_hands_over),
        TEST(test_only_routers_with_a_standby_are_asked),
        TEST(test_via_follows_who_can_serve),
        TEST(test_another_owner_inherits_nothing_that_was_granted),
        TEST(test_primaries_like_a_naive_twin),
        TEST(test_auto_approval),
        TEST(test_pools),
        TEST(test_setting_tags),
        TEST(test_the_policy_must_know_a_tag),
        TEST(test_requested_tags),
        TEST(test_tagged_machine_returns),
        TEST(test_roles),
        TEST(test_a_router_depends_on_others),
        TEST(test_a_router_that_was_never_shown),
        TEST(test_capabilities_follow_the_system),
    };
    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
