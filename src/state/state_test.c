/* The model: registration row by row, keys, names, addresses, time, what is visible when, and that rows bring everything
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/state.h"
#include "support/test_random.h"

enum { NOW = 1800000000, GRACE_MS = 10000, EPHEMERAL_MS = 60000 };
static const int64_t now_ms = (int64_t)NOW * 1000;

struct fixture {
    struct state *st;
    struct test_random random;
    const struct user *anna;
};

static struct tailnet_settings *make_settings(void)
{
    struct tailnet_settings *t = tailnet_settings_create();
    t->derp_map_json = rcbuf_create("{}", 2);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    return t;
}

static struct state_options default_options(void)
{
    struct state_options o = {
        .v4_bits = 10, .v6_bits = 48, .ephemeral_timeout_ms = EPHEMERAL_MS, .offline_grace_ms = GRACE_MS};
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &o.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &o.v6_prefix), RC_OK);
    return o;
}

static void open_state(struct fixture *f, const struct state_options *options)
{
    struct user_spec anna = {.name = STR("anna")};
    f->random.state = 4711;
    f->st = state_create(options, make_settings());
    assert_int_equal(state_user_create(f->st, &anna, now_ms, &f->anna, NULL), RC_OK);
}

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct state_options options = default_options();
    crypto_init();
    open_state(f, &options);
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

static void random_bytes(struct fixture *f, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)test_random_u64(&f->random);
}

static uint64_t make_key(struct fixture *f, struct auth_key_spec spec, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    random_bytes(f, random, sizeof(random));
    if (spec.user == 0)
        spec.user = f->anna->id;
    assert_int_equal(state_key_create(f->st, &spec, random, now_ms, &k, text, NULL), RC_OK);
    return k->id;
}

static struct registration request(struct fixture *f, const char *key_text, const char *hostname)
{
    struct registration reg = {.auth_key = str_c(key_text), .report.hostname = str_c(hostname)};
    random_bytes(f, &reg.machine, sizeof(reg.machine));
    random_bytes(f, &reg.key, sizeof(reg.key));
    random_bytes(f, reg.random, sizeof(reg.random));
    return reg;
}

static struct register_result do_register(struct fixture *f, const struct registration *reg, int64_t when_ms)
{
    struct register_result r;
    state_register(f->st, reg, when_ms, &r);
    return r;
}

/* Commits everything and publishes. */
static void settle(struct fixture *f, int64_t when_ms)
{
    struct row_batch *b = state_take_batch(f->st);
    if (b != NULL)
        state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, when_ms);
    change_unref(&c);
}

/* --- registration --- */

static void test_join_and_restart(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "Laptop");
    struct register_result r = do_register(f, &reg, now_ms);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_true(r.is_new);
    assert_string_equal(r.node->name, "laptop");
    assert_string_equal(r.user->name, "anna");
    assert_int_equal(r.node->v4.ip[3], 1);
    node_id id = r.node->id;
    /* The answer was lost: the same request again succeeds and the single-use key is not asked. */
    r = do_register(f, &reg, now_ms + 1);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_false(r.is_new);
    assert_int_equal(r.node->id, id);
    /* A restart without key. */
    reg.auth_key = STR_EMPTY;
    r = do_register(f, &reg, now_ms + 2);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_int_equal(r.node->id, id);
}

static void assert_refused(struct fixture *f, const struct registration *reg, int64_t when_ms, const char *word)
{
    struct register_result r = do_register(f, reg, when_ms);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    if (strstr(r.err.text, word) == NULL)
        fail_msg("'%s' does not say '%s'", r.err.text, word);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    char single[AUTH_KEY_TEXT_CAP], expiring[AUTH_KEY_TEXT_CAP], revoked[AUTH_KEY_TEXT_CAP];
    make_key(f, (struct auth_key_spec){0}, single);
    make_key(f, (struct auth_key_spec){.expires_ms = now_ms + 1000, .is_reusable = true}, expiring);
    uint64_t revoked_id = make_key(f, (struct auth_key_spec){.is_reusable = true}, revoked);
    assert_int_equal(state_key_expire(f->st, revoked_id, now_ms, NULL), RC_OK);
    struct registration a = request(f, single, "a"), b = request(f, single, "b"), c = request(f, expiring, "c");
    struct registration d = request(f, "fskey-auth-000000000000-nonsense", "d"), e = request(f, "", "e");
    struct registration g = request(f, revoked, "g"), z = request(f, single, "z");
    assert_int_equal(do_register(f, &a, now_ms).outcome, REGISTER_OK);
    assert_refused(f, &b, now_ms, "has been used");
    assert_refused(f, &c, now_ms + 1000, "expired");
    assert_refused(f, &d, now_ms, "not known");
    assert_refused(f, &e, now_ms, "auth key");
    assert_refused(f, &g, now_ms, "expired");
    memset(&z.key, 0, sizeof(z.key));
    assert_refused(f, &z, now_ms, "no node key");
    assert_int_equal(state_node_count(f->st), 1);
}

/* A node key is public: whoever knows it must not get anything by it. */
static void test_foreign_node_key(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report report = {.home_derp = 7};
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration victim = request(f, key, "victim"), thief = request(f, key, "thief");
    assert_int_equal(do_register(f, &victim, now_ms).outcome, REGISTER_OK);
    thief.key = victim.key;
    assert_refused(f, &thief, now_ms, "another machine");
    /* Without a key that would let it in it hears what it would hear of a node key that nobody has. */
    thief.auth_key = STR_EMPTY;
    assert_refused(f, &thief, now_ms, "admits nodes by auth key");
    thief.expiry_ms = 1; /* log it out */
    assert_int_equal(do_register(f, &thief, now_ms).outcome, REGISTER_KEY_EXPIRED);
    assert_false(state_node_by_key(f->st, &victim.key)->is_expired);
    assert_int_equal(state_node_report(f->st, &victim.key, &thief.machine, &report, &n), RC_DENIED);
    assert_int_equal(state_poll_begin(f->st, &victim.key, &thief.machine, &report, now_ms, &n), RC_DENIED);
    /* As old key it does not lead to the victim's node either. */
    thief = request(f, key, "thief");
    thief.old_key = victim.key;
    struct register_result r = do_register(f, &thief, now_ms);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_true(r.is_new);
    n = state_node_by_key(f->st, &victim.key);
    assert_true(keys_equal(n->machine.b, victim.machine.b));
    assert_false(n->is_expired);
    assert_int_equal(n->home_derp, 0);
}

static void test_logout_and_login_keeps_the_address(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    node_key gone[4];
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = request(f, key, "laptop");
    struct register_result r = do_register(f, &reg, now_ms);
    node_id id = r.node->id;
    struct addr v4 = r.node->v4;
    struct node_report none = {0};
    const struct node *n;
    assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &none, now_ms, &n), RC_OK);
    reg.expiry_ms = 123000; /* as clients send it: 1970 */
    r = do_register(f, &reg, now_ms + 5);
    assert_int_equal(r.outcome, REGISTER_KEY_EXPIRED);
    assert_true(state_node(f->st, id)->is_expired);
    assert_false(state_node(f->st, id)->is_online); /* it said so itself: no grace */
    assert_int_equal(state_node(f->st, id)->expires_ms, now_ms + 5);
    assert_false(state_key_is_active(f->st, &reg.key));
    assert_int_equal(state_take_revoked(f->st, gone, 4), 0); /* it may have to be undone */
    settle(f, now_ms + 5);
    assert_int_equal(state_take_revoked(f->st, gone, 4), 1);
    assert_true(keys_equal(gone[0].b, reg.key.b));
    /* Without a key: the client must make a new node key, and come back. */
    reg.expiry_ms = 0;
    reg.auth_key = STR_EMPTY;
    assert_int_equal(do_register(f, &reg, now_ms + 6).outcome, REGISTER_KEY_EXPIRED);
    struct registration again = reg;
    again.old_key = reg.key;
    again.auth_key = str_c(key);
    random_bytes(f, &again.key, sizeof(again.key));
    r = do_register(f, &again, now_ms + 7);
    assert_int_equal(r.outcome, REGISTER_OK);
    assert_int_equal(r.node->id, id);
    assert_true(addr_eq(&r.node->v4, &v4));
    assert_false(r.node->is_expired);
    assert_null(state_node_by_key(f->st, &reg.key));
    /* Unknown keys may log out as often as they like. */
    struct registration stranger = request(f, "", "x");
    stranger.expiry_ms = 123000;
    assert_int_equal(do_register(f, &stranger, now_ms).outcome, REGISTER_KEY_EXPIRED);
}

static void test_one_machine_two_users(void **state)
{
    struct fixture *f = *state;
    char anna_key[AUTH_KEY_TEXT_CAP], ben_key[AUTH_KEY_TEXT_CAP];
    struct user_spec spec = {.name = STR("ben")};
    const struct user *ben;
    assert_int_equal(state_user_create(f->st, &spec, now_ms, &ben, NULL), RC_OK);
    make_key(f, (struct auth_key_spec){.is_reusable = true}, anna_key);
    make_key(f, (struct auth_key_spec){.is_reusable = true, .user = ben->id}, ben_key);
    struct registration reg = request(f, anna_key, "shared");
    node_id first = do_register(f, &reg, now_ms).node->id;
    random_bytes(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(ben_key);
    node_id second = do_register(f, &reg, now_ms).node->id;
    assert_int_not_equal(first, second);
    /* Back to the first user: the first node returns. */
    random_bytes(f, &reg.key, sizeof(reg.key));
    reg.auth_key = str_c(anna_key);
    assert_int_equal(do_register(f, &reg, now_ms).node->id, first);
}

static void test_expiry(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = request(f, key, "laptop");
    reg.expiry_ms = now_ms + 5000;
    struct register_result r = do_register(f, &reg, now_ms);
    node_id id = r.node->id;
    assert_int_equal(r.node->expires_ms, now_ms + 5000);
    /* A client may shorten it, not extend it. */
    reg.expiry_ms = now_ms + 4000;
    assert_int_equal(do_register(f, &reg, now_ms).outcome, REGISTER_OK);
    reg.expiry_ms = now_ms + 9000;
    assert_refused(f, &reg, now_ms, "brought forward");
    assert_int_equal(state_next_tick_ms(f->st), now_ms + 4000);
    state_tick(f->st, now_ms + 3999);
    assert_false(state_node(f->st, id)->is_expired);
    state_tick(f->st, now_ms + 4000);
    assert_true(state_node(f->st, id)->is_expired);
    const struct node *n;
    assert_int_equal(state_node_expire(f->st, id, NO_EXPIRY, now_ms + 5000, &n, NULL), RC_OK);
    assert_false(n->is_expired);
    assert_true(state_key_is_active(f->st, &reg.key));
}

/* node.expiry is the most that a client gets; a date that cannot be written is none that it may ask for. */
static void test_the_admins_expiry_is_the_limit(void **state)
{
    struct fixture *f = *state;
    const int64_t day_ms = 24 * 3600 * 1000, year_10000_ms = DATE_MAX_MS + 86400000;
    const struct {
        int64_t limit_ms, asked_ms, want_ms;
        const char *tag;
    } cases[] = {
        {day_ms, 0, now_ms + day_ms, ""},
        {day_ms, now_ms + day_ms - 1, now_ms + day_ms - 1, ""},
        {day_ms, now_ms + day_ms + 1, now_ms + day_ms, ""},
        {day_ms, year_10000_ms, now_ms + day_ms, ""},
        {day_ms, INT64_MAX, now_ms + day_ms, ""},
        {0, 0, NO_EXPIRY, ""},
        {0, now_ms + 5 * day_ms, now_ms + 5 * day_ms, ""},
        {0, year_10000_ms, DATE_MAX_MS, ""},
        {day_ms, 0, NO_EXPIRY, "tag:a"}, /* tagged nodes have no limit, but a date that they ask for */
        {day_ms, now_ms + 2 * day_ms, now_ms + 2 * day_ms, "tag:a"},
        {day_ms, INT64_MAX, DATE_MAX_MS, "tag:a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct state_options options = default_options();
        char key[AUTH_KEY_TEXT_CAP];
        struct str tag = str_c(cases[i].tag);
        state_destroy(&f->st);
        options.node_expiry_ms = cases[i].limit_ms;
        open_state(f, &options);
        make_key(f, (struct auth_key_spec){.is_reusable = true, .tags = &tag, .tag_n = tag.len > 0}, key);
        struct registration reg = request(f, key, "laptop");
        reg.expiry_ms = cases[i].asked_ms;
        assert_int_equal(do_register(f, &reg, now_ms).node->expires_ms, cases[i].want_ms);
        /* Nor does it get more later, with the key that it has. */
        reg.expiry_ms = now_ms + 3650 * day_ms;
        if (cases[i].want_ms != NO_EXPIRY && cases[i].want_ms < reg.expiry_ms)
            assert_refused(f, &reg, now_ms, "an admin may extend it");
        reg.expiry_ms = INT64_MAX;
        if (cases[i].want_ms != NO_EXPIRY && cases[i].want_ms < DATE_MAX_MS)
            assert_refused(f, &reg, now_ms, "an admin may extend it");
    }
    const struct node *n;
    assert_int_equal(state_node_expire(f->st, 1, DATE_MAX_MS + 1, now_ms, &n, NULL), RC_INVALID);
    assert_int_equal(state_node_expire(f->st, 1, DATE_MAX_MS, now_ms, &n, NULL), RC_OK);
}

/* --- ephemeral nodes and presence --- */

static void test_ephemeral(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct node_report none = {0};
    const struct node *n;
    make_key(f, (struct auth_key_spec){.is_reusable = true, .is_ephemeral = true}, key);
    struct registration polls = request(f, key, "a"), never = request(f, key, "b"), leaves = request(f, key, "c");
    node_id a = do_register(f, &polls, now_ms).node->id;
    node_id b = do_register(f, &never, now_ms).node->id;
    node_id c = do_register(f, &leaves, now_ms).node->id;
    assert_int_equal(state_poll_begin(f->st, &polls.key, &polls.machine, &none, now_ms, &n), RC_OK);
    state_tick(f->st, now_ms + EPHEMERAL_MS);
    assert_non_null(state_node(f->st, a));
    assert_null(state_node(f->st, b)); /* never came */
    state_poll_end(f->st, a, now_ms + 100000);
    state_tick(f->st, now_ms + 100000 + GRACE_MS);
    assert_false(state_node(f->st, a)->is_online);
    state_tick(f->st, now_ms + 100000 + EPHEMERAL_MS - 1);
    assert_non_null(state_node(f->st, a));
    state_tick(f->st, now_ms + 100000 + EPHEMERAL_MS);
    assert_null(state_node(f->st, a));
    (void)c;
    leaves = request(f, key, "c");
    c = do_register(f, &leaves, now_ms).node->id;
    leaves.expiry_ms = 1;
    assert_int_equal(do_register(f, &leaves, now_ms).outcome, REGISTER_KEY_EXPIRED);
    assert_null(state_node(f->st, c)); /* logout removes at once */
}

static void test_online_with_grace(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    struct node_report none = {0};
    const struct node *n;
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "a");
    node_id id = do_register(f, &reg, now_ms).node->id;
    for (int i = 0; i < 2; i++)
        assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &none, now_ms, &n), RC_OK);
    state_poll_end(f->st, id, now_ms + 1000);
    state_tick(f->st, now_ms + 60000);
    assert_true(state_node(f->st, id)->is_online); /* one poll is left */
    state_poll_end(f->st, id, now_ms + 60000);
    state_tick(f->st, now_ms + 60000 + GRACE_MS - 1);
    assert_true(state_node(f->st, id)->is_online);
    state_tick(f->st, now_ms + 60000 + GRACE_MS);
    assert_false(state_node(f->st, id)->is_online);
    assert_int_equal(state_node(f->st, id)->last_seen_ms, now_ms + 60000);
    /* A poll that ends twice, or of a node that is gone, does no harm. */
    state_poll_end(f->st, id, now_ms);
    state_poll_end(f->st, 999, now_ms);
}

static void test_poll_does_not_undo_updates(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct addr fresh = {.family = 4, .port = 1, .ip = {192, 0, 2, 1}},
                stale = {.family = 4, .port = 2, .ip = {192, 0, 2, 2}};
    disco_key disco = {{1}}, old_disco = {{2}};
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "a");
    do_register(f, &reg, now_ms);
    struct node_report update = {.endpoints = &fresh, .endpoints_n = 1, .disco = &disco, .home_derp = 9};
    struct node_report poll = {.endpoints = &stale, .endpoints_n = 1, .disco = &old_disco, .home_derp = 3};
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &update, &n), RC_OK);
    assert_int_equal(state_poll_begin(f->st, &reg.key, &reg.machine, &poll, now_ms, &n), RC_OK);
    assert_int_equal(n->endpoints[0].port, 1);
    assert_true(keys_equal(n->disco.b, disco.b));
    assert_int_equal(n->home_derp, 9);
    /* NetInfo absent is not cleared, endpoints absent are. */
    update = (struct node_report){.endpoints = &stale, .endpoints_n = 0};
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &update, &n), RC_OK);
    assert_int_equal(n->endpoints_n, 0);
    assert_int_equal(n->home_derp, 9);
}

/* A crash loses the last seconds of presence, and clients do not repeat what was acknowledged: what their first poll says counts,
 * unless an update came before it. */
static void test_first_poll_after_a_start_is_newer_than_the_disk(void **state)
{
    struct fixture *f = *state;
    struct state_options options = default_options();
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct addr here = {.family = 4, .port = 1, .ip = {192, 0, 2, 1}},
                there = {.family = 4, .port = 2, .ip = {192, 0, 2, 2}};
    struct node_report written = {.endpoints = &here, .endpoints_n = 1, .home_derp = 9};
    struct node_report moved = {.endpoints = &there, .endpoints_n = 1, .home_derp = 3};
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "a");
    do_register(f, &reg, now_ms);
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &written, &n), RC_OK);
    for (unsigned update_first = 0; update_first < 2; update_first++) {
        struct state *st = state_create(&options, make_settings());
        const struct node *now;
        assert_int_equal(state_load_node(st, node_edit(n, NULL, 0), NULL), RC_OK);
        state_load_done(st, &(struct row_counters){0}, now_ms);
        if (update_first)
            assert_int_equal(state_node_report(st, &reg.key, &reg.machine, &moved, &now), RC_OK);
        const struct node_report *poll = update_first ? &written : &moved;
        assert_int_equal(state_poll_begin(st, &reg.key, &reg.machine, poll, now_ms, &now), RC_OK);
        assert_int_equal(now->endpoints[0].port, 2);
        assert_int_equal(now->home_derp, 3);
        /* From then on as ever. */
        assert_int_equal(state_poll_begin(st, &reg.key, &reg.machine, &written, now_ms, &now), RC_OK);
        assert_int_equal(now->endpoints[0].port, 2);
        state_destroy(&st);
    }
}

/* --- names and addresses --- */

static void test_names(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *hostname, *name;
    } rows[] = {
        {"Laptop", "laptop"},
        {"laptop", "laptop-1"},
        {"LAPTOP", "laptop-2"},
        {"anna's phone", "annas-phone"},
        {"web_01.example.org", "web-01"},
        {"--x--", "x"},
        {"", "node"},
        {"\xc3\xa9\xc3\xa0", "node-1"},
        {"a..b", "a"},
        {"localhost", "localhost"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "012345678901234567890123456789012345678901234567890123456789012"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890-1"},
    };
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct registration reg = request(f, key, rows[i].hostname);
        assert_string_equal(do_register(f, &reg, now_ms).node->name, rows[i].name);
    }
    assert_int_equal(state_node_rename(f->st, 1, STR("annas-phone"), &n, NULL), RC_EXISTS);
    assert_int_equal(state_node_rename(f->st, 1, STR("Bad_Name"), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 1, STR("-x"), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 1, STR(""), &n, NULL), RC_INVALID);
    assert_int_equal(state_node_rename(f->st, 99, STR("x-y"), &n, NULL), RC_NOT_FOUND);
    assert_int_equal(state_node_rename(f->st, 1, STR("desk"), &n, NULL), RC_OK);
    /* The name that became free is given again; a name that an admin chose does not follow the host name. */
    struct registration reg = request(f, key, "laptop");
    assert_string_equal(do_register(f, &reg, now_ms).node->name, "laptop");
}

static void test_addresses_run_out_in_words(void **state)
{
    struct fixture *f = *state;
    struct state_options options = default_options();
    char key[AUTH_KEY_TEXT_CAP];
    options.v4_bits = 29; /* 6 addresses for nodes */
    for (int random = 0; random < 2; random++) {
        struct addr seen[6];
        options.random_addresses = random == 1;
        state_destroy(&f->st);
        open_state(f, &options);
        make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
        for (unsigned i = 0; i < 6; i++) {
            struct registration reg = request(f, key, "n");
            struct register_result r = do_register(f, &reg, now_ms);
            assert_int_equal(r.outcome, REGISTER_OK);
            seen[i] = r.node->v4;
            for (unsigned k = 0; k < i; k++)
                assert_false(addr_eq(&seen[i], &seen[k]));
        }
        struct registration reg = request(f, key, "n");
        assert_refused(f, &reg, now_ms, "no free address");
        assert_int_equal(state_node_delete(f->st, 3, NULL), RC_OK);
        struct register_result r = do_register(f, &reg, now_ms);
        assert_int_equal(r.outcome, REGISTER_OK);
        assert_true(addr_eq(&r.node->v4, &seen[2]));
        assert_int_equal(r.node->id, 7); /* ids are not used again */
    }
}

static void test_reserved_addresses_are_skipped(void **state)
{
    struct fixture *f = *state;
    struct state_options options = default_options();
    char key[AUTH_KEY_TEXT_CAP];
    options.v4_bits = 30;
    assert_int_equal(addr_parse_ip(STR("100.100.100.100"), &options.v4_prefix), RC_OK);
    state_destroy(&f->st);
    open_state(f, &options);
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration reg = request(f, key, "n");
    assert_int_equal(do_register(f, &reg, now_ms).node->v4.ip[3], 101);
}

/* --- users and keys --- */

static void test_users(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"", "1a", "a b", "a@b@c", "-x", "a/b", "caf\xc3\xa9", "alice@", "a@"};
    const struct user *u;
    char key[AUTH_KEY_TEXT_CAP];
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct user_spec spec = {.name = str_c(bad[i])};
        assert_int_equal(state_user_create(f->st, &spec, now_ms, &u, &err), RC_INVALID);
        assert_true(err.text[0] != '\0');
    }
    struct user_spec again = {.name = STR("anna")}, ben = {.name = STR("ben@example.org")};
    assert_int_equal(state_user_create(f->st, &again, now_ms, &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_create(f->st, &ben, now_ms, &u, NULL), RC_OK);
    user_id ben_id = u->id;
    /* One rule for all comparisons: the case of letters says nothing. */
    struct user_spec shout = {.name = STR("ANNA")}, mail = {.name = STR("Ben@Example.org")};
    assert_int_equal(state_user_create(f->st, &shout, now_ms, &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_create(f->st, &mail, now_ms, &u, NULL), RC_EXISTS);
    assert_ptr_equal(state_user_by_name(f->st, STR("Anna")), state_user_by_name(f->st, STR("anna")));
    assert_ptr_equal(state_user_by_name(f->st, STR("anna@")), state_user_by_name(f->st, STR("anna")));
    assert_null(state_user_by_name(f->st, STR("ann")));
    assert_int_equal(state_user_rename(f->st, ben_id, STR("alice@"), &u, &err), RC_INVALID);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("BEN@example.org"), &u, NULL), RC_OK);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("ben@example.org"), &u, NULL), RC_OK);
    uint64_t annas = make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct auth_key_spec of_ben = {.user = ben_id};
    uint64_t bens = make_key(f, of_ben, key);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("anna"), &u, NULL), RC_EXISTS);
    assert_int_equal(state_user_rename(f->st, ben_id, STR("benjamin"), &u, NULL), RC_OK);
    assert_null(state_user_by_name(f->st, STR("ben@example.org")));
    assert_ptr_equal(state_user_by_name(f->st, STR("benjamin")), u);
    /* Deleting a user takes his keys, and nobody else's. */
    assert_int_equal(state_user_delete(f->st, ben_id, NULL), RC_OK);
    assert_null(state_key(f->st, bens));
    assert_non_null(state_key(f->st, annas));
    assert_int_equal(state_user_delete(f->st, ben_id, NULL), RC_NOT_FOUND);
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "n");
    do_register(f, &reg, now_ms);
    assert_int_equal(state_user_delete(f->st, f->anna->id, &err), RC_IN_USE);
}

static void test_tags(void **state)
{
    struct fixture *f = *state;
    static const struct str good[] = {{"tag:web", 7}, {"tag:db-1", 8}, {"tag:web", 7}};
    static const char *const bad[] = {"web", "tag:", "tag:1", "tag:a b", "tag:a\"", "Tag:a"};
    char key[AUTH_KEY_TEXT_CAP];
    const struct auth_key *k;
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str tag = str_c(bad[i]);
        struct auth_key_spec spec = {.user = 1, .tags = &tag, .tag_n = 1};
        assert_int_equal(state_key_create(f->st, &spec, random, now_ms, &k, key, NULL), RC_INVALID);
    }
    make_key(f, (struct auth_key_spec){.tags = good, .tag_n = 3}, key);
    struct registration reg = request(f, key, "n");
    struct register_result r = do_register(f, &reg, now_ms);
    assert_null(r.user);
    assert_memory_equal(r.node->tags->data, "[\"tag:db-1\",\"tag:web\"]", 22);
}

/* What is stored of a key cannot be used as one. */
static void test_keys_are_stored_hashed(void **state)
{
    struct fixture *f = *state;
    char text[AUTH_KEY_TEXT_CAP];
    uint64_t id = make_key(f, (struct auth_key_spec){0}, text);
    const struct auth_key *k = state_key(f->st, id);
    assert_int_equal(strncmp(text, k->prefix, strlen(k->prefix)), 0);
    assert_true(strlen(text) >= strlen(k->prefix) + 64);
    assert_null(memmem(k, sizeof(*k), text + strlen(k->prefix) + 1, 32));
    assert_null(state_key_by_text(f->st, str_c(k->prefix)));
    assert_ptr_equal(state_key_by_text(f->st, str_c(text)), k);
}

/* A key that leaked does little: for so many nodes, from there, and whoever uses it much is told of. */
static void test_keys_have_limits(void **state)
{
    struct fixture *f = *state;
    char few[AUTH_KEY_TEXT_CAP], near[AUTH_KEY_TEXT_CAP];
    struct prefix net;
    assert_int_equal(prefix_parse(STR("10.7.0.0/16"), &net, NULL), RC_OK);
    uint64_t id = make_key(f, (struct auth_key_spec){.is_reusable = true, .max_nodes = 2}, few);
    struct registration a = request(f, few, "a"), b = request(f, few, "b"), c = request(f, few, "c");
    assert_int_equal(do_register(f, &a, now_ms).outcome, REGISTER_OK);
    assert_int_equal(do_register(f, &b, now_ms).outcome, REGISTER_OK);
    struct register_result r = do_register(f, &c, now_ms);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_int_equal(r.key_limit, KEY_LIMIT_NODES);
    assert_non_null(strstr(r.err.text, "as many nodes have joined"));
    assert_int_equal(state_key(f->st, id)->joined_n, 2);
    /* Who is in may come back with it. */
    random_bytes(f, &a.key, sizeof(a.key));
    assert_int_equal(do_register(f, &a, now_ms).outcome, REGISTER_OK);
    assert_int_equal(state_key(f->st, id)->joined_n, 2);

    struct auth_key_spec spec = {.is_reusable = true, .sources = prefix_list_create(&net, 1)};
    make_key(f, spec, near);
    prefix_list_unref(&spec.sources);
    struct registration d = request(f, near, "d");
    assert_int_equal(do_register(f, &d, now_ms).key_limit, KEY_LIMIT_SOURCE); /* from nobody knows where */
    assert_int_equal(addr_parse_ip(STR("10.8.0.1"), &d.from), RC_OK);
    r = do_register(f, &d, now_ms);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    assert_non_null(strstr(r.err.text, "10.8.0.1"));
    assert_int_equal(addr_parse_ip(STR("fd00::1"), &d.from), RC_OK);
    assert_int_equal(do_register(f, &d, now_ms).outcome, REGISTER_REFUSED);
    assert_int_equal(addr_parse_ip(STR("10.7.255.1"), &d.from), RC_OK);
    assert_int_equal(do_register(f, &d, now_ms).outcome, REGISTER_OK);

    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {0};
    char text[AUTH_KEY_TEXT_CAP];
    const struct auth_key *k;
    struct err err;
    spec = (struct auth_key_spec){.user = f->anna->id, .max_nodes = 2};
    assert_int_equal(state_key_create(f->st, &spec, random, now_ms, &k, text, &err), RC_INVALID);
}

/* --- durability --- */

static void test_invisible_until_committed(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report none = {0};
    make_key(f, (struct auth_key_spec){.is_reusable = true}, key);
    struct registration a = request(f, key, "a"), b = request(f, key, "b");
    do_register(f, &a, now_ms);
    settle(f, now_ms);
    assert_int_equal(state_snapshot(f->st)->node_n, 1);
    do_register(f, &b, now_ms);
    uint64_t seq = state_durable_seq(f->st);
    struct row_batch *batch = state_take_batch(f->st);
    assert_int_equal(batch->seq, seq);
    /* Presence of others does not wait for the disk; the new node stays hidden. */
    assert_int_equal(state_poll_begin(f->st, &a.key, &a.machine, &none, now_ms, &n), RC_OK);
    struct change *c = state_publish(f->st, now_ms);
    assert_int_equal(c->item_n, 1);
    assert_true(c->items[0].after->is_online);
    assert_int_equal(c->after->node_n, 1);
    change_unref(&c);
    assert_null(state_publish(f->st, now_ms));
    assert_true(state_is_dirty(f->st));
    state_committed(f->st, seq);
    c = state_publish(f->st, now_ms);
    assert_int_equal(c->item_n, 1);
    assert_null(c->items[0].before);
    assert_int_equal(c->after->node_n, 2);
    change_unref(&c);
    row_batch_destroy(&batch);
    assert_int_equal(state_durable_seq(f->st), seq);
}

/* A row store that believes everything it is told. */
struct shadow {
    const struct user *users[64];
    const struct auth_key *keys[512];
    const struct node *nodes[2048];
    struct row_counters counters;
};

static void shadow_apply(struct shadow *s, struct row_batch *b)
{
    for (size_t i = 0; b != NULL && i < b->n; i++) {
        struct row_op *op = &b->ops[i];
        if (op->kind == ROW_PUT_USER || op->kind == ROW_DEL_USER) {
            user_unref(&s->users[op->id]);
            s->users[op->id] = op->user != NULL ? user_ref(op->user) : NULL;
        } else if (op->kind == ROW_PUT_KEY || op->kind == ROW_DEL_KEY) {
            auth_key_unref(&s->keys[op->id]);
            s->keys[op->id] = op->key != NULL ? auth_key_ref(op->key) : NULL;
        } else if (op->kind == ROW_PUT_NODE || op->kind == ROW_DEL_NODE) {
            node_unref(&s->nodes[op->id]);
            s->nodes[op->id] = op->node != NULL ? node_ref(op->node) : NULL;
        } else {
            s->counters = op->counters;
        }
    }
}

static void shadow_load(struct shadow *s, struct state *st)
{
    for (size_t i = 0; i < ARRAY_LEN(s->users); i++) {
        if (s->users[i] != NULL)
            assert_int_equal(state_load_user(st, user_edit(s->users[i]), NULL), RC_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(s->keys); i++) {
        if (s->keys[i] != NULL)
            assert_int_equal(state_load_key(st, auth_key_edit(s->keys[i]), NULL), RC_OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(s->nodes); i++) {
        if (s->nodes[i] != NULL)
            assert_int_equal(state_load_node(st, node_edit(s->nodes[i], NULL, 0), NULL), RC_OK);
    }
    state_load_done(st, &s->counters, now_ms);
}

static void shadow_fini(struct shadow *s)
{
    for (size_t i = 0; i < ARRAY_LEN(s->users); i++)
        user_unref(&s->users[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->keys); i++)
        auth_key_unref(&s->keys[i]);
    for (size_t i = 0; i < ARRAY_LEN(s->nodes); i++)
        node_unref(&s->nodes[i]);
    mem_free(s);
}

static void assert_same_durable_node(const struct node *a, const struct node *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_true(keys_equal(a->key.b, b->key.b));
    assert_true(keys_equal(a->machine.b, b->machine.b));
    assert_true(addr_eq(&a->v4, &b->v4));
    assert_true(addr_eq(&a->v6, &b->v6));
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->user, b->user);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->is_ephemeral, b->is_ephemeral);
    assert_true(prefix_list_eq(a->advertised, b->advertised));
    assert_true(prefix_list_eq(a->approved, b->approved));
    assert_true(rcbuf_eq(a->tags, b->tags));
}

/* Some of a few. */
static size_t random_routes(struct fixture *f, struct prefix out[3])
{
    static const struct str routes[] = {STR("10.0.0.0/8"), STR("fd00::/8"), STR("0.0.0.0/0")};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (test_random_below(&f->random, 2) == 0)
            assert_int_equal(prefix_parse(routes[i], &out[n++], NULL), RC_OK);
    }
    return n;
}

static void random_durable_event(struct fixture *f, char keys[4][AUTH_KEY_TEXT_CAP], struct registration *machines,
                                 unsigned machine_n)
{
    const struct node *n;
    uint32_t dice = test_random_below(&f->random, 13);
    struct prefix routes[3];
    size_t routes_n = random_routes(f, routes);
    const struct str tag = STR("tag:web");
    struct registration *m = &machines[test_random_below(&f->random, machine_n)];
    enum rc rc = RC_OK;
    if (dice < 5) {
        struct registration reg = *m;
        reg.old_key = m->key;
        reg.report.hostinfo = rcbuf_create(&dice, sizeof(dice));
        reg.report.routes = prefix_list_create(routes, routes_n);
        reg.auth_key = str_c(keys[test_random_below(&f->random, 4)]);
        if (test_random_below(&f->random, 2) == 0)
            random_bytes(f, &reg.key, sizeof(reg.key));
        if (do_register(f, &reg, now_ms).outcome == REGISTER_OK)
            m->key = reg.key;
        rcbuf_unref(&reg.report.hostinfo);
        prefix_list_unref(&reg.report.routes);
    } else if (dice < 7) {
        rc = state_node_delete(f->st, 1 + test_random_below(&f->random, 200), NULL);
    } else if (dice < 8) {
        rc = state_node_rename(f->st, 1 + test_random_below(&f->random, 200), STR("web"), &n, NULL);
    } else if (dice < 9) {
        rc = state_node_expire(f->st, 1 + test_random_below(&f->random, 200), now_ms + 100000, now_ms, &n, NULL);
    } else if (dice < 11) {
        rc = state_node_approve_routes(f->st, 1 + test_random_below(&f->random, 200), routes, routes_n, &n, NULL);
    } else if (dice < 12) {
        rc = state_node_set_tags(f->st, 1 + test_random_below(&f->random, 200), &tag, 1, &n, NULL);
    } else {
        rc = state_key_expire(f->st, 1 + test_random_below(&f->random, 4), now_ms, NULL);
        make_key(f, (struct auth_key_spec){.is_reusable = true}, keys[test_random_below(&f->random, 4)]);
    }
    assert_true(rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_EXISTS);
}

/* Random events; then the rows alone bring back the same users, keys, nodes and addresses, and give no id twice. */
static void test_rows_bring_everything_back(void **state)
{
    struct fixture *f = *state;
    struct shadow *shadow = MEM_NEW(struct shadow);
    struct registration machines[60];
    char keys[4][AUTH_KEY_TEXT_CAP];
    for (int i = 0; i < 4; i++)
        make_key(f, (struct auth_key_spec){.is_reusable = i > 0, .is_ephemeral = i == 3}, keys[i]);
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        machines[i] = request(f, keys[1], i % 3 == 0 ? "web" : "laptop");
    for (unsigned i = 0; i < 1500 && state_node_count(f->st) < 500; i++) {
        random_durable_event(f, keys, machines, ARRAY_LEN(machines));
        if (test_random_below(&f->random, 3) == 0) {
            struct row_batch *b = state_take_batch(f->st);
            shadow_apply(shadow, b);
            if (b != NULL)
                state_committed(f->st, b->seq);
            row_batch_destroy(&b);
        }
    }
    while (state_flush_lazy(f->st, 1000) > 0) {
    }
    struct row_batch *b = state_take_batch(f->st);
    shadow_apply(shadow, b);
    row_batch_destroy(&b);
    struct state_options options = default_options();
    struct state *again = state_create(&options, make_settings());
    shadow_load(shadow, again);
    assert_int_equal(state_node_count(again), state_node_count(f->st));
    assert_true(state_node_count(again) > 10);
    for (node_id id = 1; id < 2048; id++) {
        if (state_node(f->st, id) != NULL)
            assert_same_durable_node(state_node(f->st, id), state_node(again, id));
    }
    for (user_id id = 1; id < 64; id++) {
        const struct user *u = state_user(f->st, id), *v = state_user(again, id);
        assert_true(u == NULL ? v == NULL : v != NULL && u->role == v->role);
    }
    for (uint64_t id = 1; id < 512; id++)
        assert_int_equal(state_key(f->st, id) != NULL, state_key(again, id) != NULL);
    assert_int_equal(state_snapshot(again)->node_n, state_node_count(again));
    state_destroy(&again);
    shadow_fini(shadow);
}

static void test_load_refuses_contradictions(void **state)
{
    struct fixture *f = *state;
    struct state_options options = default_options();
    char key[AUTH_KEY_TEXT_CAP];
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "n");
    const struct node *n = do_register(f, &reg, now_ms).node;
    struct state *st = state_create(&options, make_settings());
    struct node *same_address = node_edit(n, NULL, 0), *same_key = node_edit(n, NULL, 0);
    assert_int_equal(state_load_node(st, node_edit(n, NULL, 0), NULL), RC_OK);
    same_address->id = 2;
    random_bytes(f, &same_address->key, sizeof(node_key));
    snprintf(same_address->name, NAME_CAP, "other");
    assert_int_equal(state_load_node(st, same_address, NULL), RC_INVALID);
    same_key->id = 3;
    assert_int_equal(state_load_node(st, same_key, NULL), RC_INVALID);
    state_destroy(&st);
}

static bool shows_user(const struct fixture *f, user_id id)
{
    const struct user_table *t = state_snapshot(f->st)->users;
    for (size_t i = 0; i < t->n; i++) {
        if (t->users[i]->id == id)
            return true;
    }
    return false;
}

/* A node is never shown before its owner, whatever happens to other users meanwhile. */
static void test_owners_come_with_their_nodes(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct user *ben, *carl;
    settle(f, now_ms);
    assert_int_equal(state_user_create(f->st, &(struct user_spec){.name = STR("ben")}, now_ms, &ben, NULL), RC_OK);
    user_id ben_id = ben->id;
    make_key(f, (struct auth_key_spec){.user = ben_id}, key);
    struct registration reg = request(f, key, "host");
    node_id id = do_register(f, &reg, now_ms).node->id;
    struct row_batch *first = state_take_batch(f->st);
    assert_int_equal(state_user_create(f->st, &(struct user_spec){.name = STR("carl")}, now_ms, &carl, NULL), RC_OK);
    struct row_batch *second = state_take_batch(f->st);
    for (unsigned i = 0; i < 2; i++) {
        state_committed(f->st, i == 0 ? first->seq : second->seq);
        struct change *c = state_publish(f->st, now_ms);
        assert_true(c->users_changed);
        change_unref(&c);
        assert_non_null(snapshot_node(state_snapshot(f->st), id));
        assert_true(shows_user(f, ben_id));
        assert_int_equal(shows_user(f, carl->id), i == 1);
    }
    assert_false(state_is_dirty(f->st));
    row_batch_destroy(&first);
    row_batch_destroy(&second);
}

static void test_presence_reaches_the_disk_lazily(void **state)
{
    struct fixture *f = *state;
    char key[AUTH_KEY_TEXT_CAP];
    const struct node *n;
    struct node_report report = {.home_derp = 4};
    make_key(f, (struct auth_key_spec){0}, key);
    struct registration reg = request(f, key, "n");
    do_register(f, &reg, now_ms);
    settle(f, now_ms);
    assert_int_equal(state_node_report(f->st, &reg.key, &reg.machine, &report, &n), RC_OK);
    assert_null(state_take_batch(f->st));
    assert_int_equal(state_flush_lazy(f->st, 100), 1);
    assert_int_equal(state_flush_lazy(f->st, 100), 0);
    struct row_batch *b = state_take_batch(f->st);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->ops[0].node->home_derp, 4);
    row_batch_destroy(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_join_and_restart),
        TEST(test_refusals),
        TEST(test_foreign_node_key),
        TEST(test_logout_and_login_keeps_the_address),
        TEST(test_one_machine_two_users),
        TEST(test_expiry),
        TEST(test_the_admins_expiry_is_the_limit),
        TEST(test_ephemeral),
        TEST(test_online_with_grace),
        TEST(test_poll_does_not_undo_updates),
        TEST(test_first_poll_after_a_start_is_newer_than_the_disk),
        TEST(test_names),
        TEST(test_addresses_run_out_in_words),
        TEST(test_reserved_addresses_are_skipped),
        TEST(test_users),
        TEST(test_tags),
        TEST(test_keys_are_stored_hashed),
        TEST(test_keys_have_limits),
        TEST(test_invisible_until_committed),
        TEST(test_owners_come_with_their_nodes),
        TEST(test_rows_bring_everything_back),
        TEST(test_load_refuses_contradictions),
        TEST(test_presence_reaches_the_disk_lazily),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
