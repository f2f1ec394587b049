/* Polls, updates, and what they tell of each other. */
#include "control/testing.h"
#include "base/time.h"

static struct rig *r;

/* --- looking at maps --- */

/* The element of the list `key` whose `id_key` is `id`; null when there is none. */
static const struct json *listed(const struct json *map, const char *key, const char *id_key, uint64_t id)
{
    JSON_EACH (it, json_get(map, key)) {
        if (json_number(it, id_key) == id)
            return it;
    }
    return NULL;
}

static bool removes(const struct json *map, uint64_t id)
{
    uint64_t got;
    JSON_EACH (it, json_get(map, "PeersRemoved")) {
        if (json_u64(it, &got) && got == id)
            return true;
    }
    return false;
}

static bool is_keep_alive(const struct json *map)
{
    return json_is_true(map, "KeepAlive");
}

static bool is_past(const struct json *self)
{
    struct str text;
    int64_t at_ms;
    return json_str(json_get(self, "KeyExpiry"), &text) && time_parse(text, &at_ms) == RC_OK &&
           at_ms <= clock_wall_ms();
}

/* What a client makes of frames: is the peer there, and what was last said of it. */
struct view {
    bool is_there;
    bool is_online;
    uint64_t home_derp;
    size_t endpoints_n;
    struct str key, name;
    uint64_t fulls; /* maps with a self node and peers */
};

static void view_node(struct view *v, const struct json *node)
{
    v->is_there = true;
    v->is_online = json_is_true(node, "Online");
    v->home_derp = json_number(node, "HomeDERP");
    v->endpoints_n = json_len(json_get(node, "Endpoints"));
    json_str(json_get(node, "Key"), &v->key);
    json_str(json_get(node, "Name"), &v->name);
}

static void view_patch(struct view *v, const struct json *patch)
{
    if (json_get(patch, "Online") != NULL)
        v->is_online = json_is_true(patch, "Online");
    if (json_get(patch, "DERPRegion") != NULL)
        v->home_derp = json_number(patch, "DERPRegion");
    if (json_get(patch, "Endpoints") != NULL)
        v->endpoints_n = json_len(json_get(patch, "Endpoints"));
}

/* src: docs/protocol/control.md 6.7: order of application */
static struct view view_of(struct reply *poll, uint64_t id)
{
    struct view v = {0};
    const struct json *node;
    for (size_t i = 0; i < poll->frame_n; i++) {
        const struct json *map = reply_frame(poll, i);
        v.fulls += json_get(map, "Peers") != NULL;
        if (json_get(map, "Peers") != NULL)
            v.is_there = false;
        if ((node = listed(map, "Peers", "ID", id)) != NULL || (node = listed(map, "PeersChanged", "ID", id)) != NULL)
            view_node(&v, node);
        if (removes(map, id))
            v.is_there = false;
        if ((node = listed(map, "PeersChangedPatch", "NodeID", id)) != NULL)
            view_patch(&v, node);
    }
    return v;
}

/* Until what the poll says of the node makes `condition` (of `v`) true. */
#define WAIT_VIEW(poll, id, condition)                                                                                 \
    do {                                                                                                               \
        struct view v;                                                                                                 \
        RIG_WAIT(r, (v = view_of((poll), (id)), (condition)) || (poll)->is_ended);                                     \
        assert_true(condition);                                                                                        \
    } while (0)

/* Its poll, with the first map there; gives the node's id. */
static uint64_t begin_poll(struct client *c, struct reply *poll, const struct device *d, unsigned flags)
{
    rig_client_poll(c, poll, d, flags);
    reply_wait_frames(poll, 1);
    return json_number(json_get(reply_frame(poll, 0), "Node"), "ID");
}

static void end_poll(struct client *c, struct reply *poll)
{
    if (!poll->is_ended)
        h2_client_cancel(c->h2, poll->id);
    reply_fini(poll);
}

static void finish(struct client *c, struct reply *poll)
{
    reply_fini(poll);
    rig_client_close(c);
    rig_wait_idle(r);
}

/* --- what is done from the inside --- */

static void delete_node(struct state *st, int64_t now_ms, void *ctx)
{
    struct err err;
    (void)now_ms;
    RIG_CHECK(state_node_delete(st, *(node_id *)ctx, &err) == RC_OK);
}

static void tick(struct control_worker *w, void *ctx)
{
    sessions_tick(w, w->wheel.now + 1 + *(int64_t *)ctx);
}

/* As if so many seconds had passed. */
static void pass_seconds(unsigned worker, int64_t seconds)
{
    rig_on_worker(r, worker, tick, &seconds);
}

/* --- nodes without clients --- */

struct crowd {
    const char *auth_key;
    machine_key machine;
    node_key keys[256]; /* the first of them in `n` */
    size_t n;
    uint16_t round; /* the port of all endpoints */
};

static void crowd_join(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    for (size_t i = 0; i < crowd->n; i++) {
        struct registration reg = {
            .machine = crowd->machine, .key = crowd->keys[i], .auth_key = str_c(crowd->auth_key)};
        struct register_result result;
        if (i > 0)
            reg.machine.b[1] = (uint8_t)i, reg.machine.b[2] = 99;
        state_register(st, &reg, now_ms, &result);
        RIG_CHECK(result.outcome == REGISTER_OK);
    }
}

static void crowd_leave(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    (void)now_ms;
    for (size_t i = 0; i < crowd->n; i++) {
        struct err err;
        RIG_CHECK(state_node_delete(st, state_node_by_key(st, &crowd->keys[i])->id, &err) == RC_OK);
    }
}

/* All of them say that they have moved. */
static void crowd_move(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    struct addr at[ENDPOINTS_MAX] = {{0}};
    const struct node *n;
    (void)now_ms;
    crowd->round++;
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        at[i] = (struct addr){.family = 4, .port = crowd->round, .ip = {192, 0, 2, (uint8_t)i}};
    for (size_t i = 0; i < crowd->n; i++) {
        struct node_report report = {.endpoints = at, .endpoints_n = ARRAY_LEN(at)};
        machine_key machine = state_node_by_key(st, &crowd->keys[i])->machine;
        RIG_CHECK(state_node_report(st, &crowd->keys[i], &machine, &report, &n) == RC_OK);
    }
}

static void crowd_init(struct crowd *crowd, size_t n)
{
    *crowd = (struct crowd){.n = n, .auth_key = rig_key(r, &(struct auth_key_spec){.is_reusable = true})};
    rng_bytes(&crowd->machine, sizeof(crowd->machine));
    rng_bytes(crowd->keys, sizeof(crowd->keys));
    crowd->machine.b[2] = 0; /* what tells the first from the others, see crowd_join */
}

static int64_t publications(void)
{
    return metric_read("fullscale_core_publications_total", "");
}

/* ... and every worker has told everyone. */
static void move_and_tell(struct crowd *crowd)
{
    int64_t before = publications();
    rig_on_core(r, crowd_move, crowd);
    while (publications() == before)
        rig_settle(r);
    rig_settle(r);
}

/* --- the forms of a map request --- */

static void assert_first_map(const struct json *map, const struct device *d)
{
    const struct json *self = json_get(map, "Node");
    assert_true(json_says(self, "Key", key_text(r, &d->key)));
    assert_true(json_is_true(self, "MachineAuthorized"));
    assert_true(json_len(json_get(self, "Addresses")) == 2);
    static const char *const keys[] = {"DERPMap",   "UserProfiles", "PacketFilters",
                                       "DNSConfig", "Domain",       "ControlTime"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_false(json_is_null(json_get(map, keys[i])));
    assert_false(is_keep_alive(map));
}

static void poll_in(unsigned coding)
{
    struct client c;
    struct device d;
    struct reply poll;
    rig_join(r, &c, &d, "polls", 0);
    begin_poll(&c, &poll, &d, coding);
    assert_int_equal(poll.status, 200);
    assert_first_map(reply_frame(&poll, 0), &d);
    assert_int_equal(buf_len(&poll.body), 0);
    assert_int_equal(rig_sessions(), 1);
    assert_false(poll.is_ended);
    finish(&c, &poll);
    assert_int_equal(rig_sessions(), 0);
}

static void test_poll_plain(void **state)
{
    (void)state;
    poll_in(0);
}

static void test_poll_zstd(void **state)
{
    (void)state;
    poll_in(MAP_ZSTD);
}

static void test_update(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const char *text;
    rig_join(r, &c, &d, "updates", 0);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", map_body(r, &d, MAP_OMIT_PEERS), &text), 200);
    assert_string_equal(text, "");
    assert_int_equal(rig_sessions(), 0);
    rig_client_close(&c);
    rig_wait_idle(r);
}

/* One request that is answered by one map. */
static const struct json *ask_once(struct client *c, const struct device *d, unsigned flags)
{
    struct reply once;
    rig_client_send(c, &once, "POST", "/machine/map", map_body(r, d, flags));
    once.is_poll = true;
    once.is_zstd = (flags & MAP_ZSTD) != 0;
    RIG_WAIT(r, once.is_ended);
    assert_int_equal(once.error, 0);
    assert_int_equal(once.status, 200);
    assert_int_equal(once.frame_n, 1);
    const struct json *map = reply_frame(&once, 0);
    reply_fini(&once);
    return map;
}

static void test_one_shots(void **state)
{
    (void)state;
    static const unsigned forms[] = {0, MAP_ZSTD, MAP_READ_ONLY, MAP_READ_ONLY | MAP_ZSTD, MAP_POLL | MAP_READ_ONLY};
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    rig_join(r, &other, &peer, "peer", 0);
    uint64_t peer_id = begin_poll(&other, &poll, &peer, 0);
    rig_join(r, &c, &d, "once", 0);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct json *map = ask_once(&c, &d, forms[i]);
        assert_first_map(map, &d);
        assert_non_null(listed(map, "Peers", "ID", peer_id));
    }
    const struct json *bare = ask_once(&c, &d, MAP_READ_ONLY | MAP_OMIT_PEERS);
    assert_first_map(bare, &d);
    assert_null(json_get(bare, "Peers"));
    rig_client_close(&c);
    finish(&other, &poll);
}

/* While much happens, publications are spaced: a node that has just joined asks before any worker knows it. */
static void ask_before_published(unsigned flags)
{
    struct client c[2];
    struct device d[2];
    const char *keys[2];
    for (int i = 0; i < 2; i++) {
        rig_client_open(&c[i], r, 0);
        device_init(&d[i], "eager");
        keys[i] = rig_key(r, &(struct auth_key_spec){0});
    }
    core_fanout_took(r->core, 1000000);
    for (int i = 0; i < 2; i++)
        rig_client_register(&c[i], &d[i], keys[i], NULL);
    assert_first_map(ask_once(&c[1], &d[1], flags), &d[1]);
    rig_client_close(&c[0]);
    rig_client_close(&c[1]);
    rig_wait_idle(r);
}

static void test_one_shot_before_published(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        ask_before_published(MAP_READ_ONLY);
        ask_before_published(MAP_ZSTD);
    }
}

static void test_poll_before_published(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct client c[2];
        struct device d[2];
        struct reply poll;
        rig_join(r, &c[0], &d[0], "earlier", 0);
        rig_client_open(&c[1], r, 0);
        device_init(&d[1], "later");
        const char *key = rig_key(r, &(struct auth_key_spec){0});
        core_fanout_took(r->core, 1000000);
        rig_client_update(&c[0], &d[0]);
        rig_client_register(&c[1], &d[1], key, NULL);
        begin_poll(&c[1], &poll, &d[1], 0);
        assert_first_map(reply_frame(&poll, 0), &d[1]);
        rig_client_close(&c[0]);
        finish(&c[1], &poll);
    }
}

static void test_read_only_changes_nothing(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    rig_join(r, &c, &d, "reader", 0);
    rig_join(r, &other, &peer, "watcher", 0);
    begin_poll(&other, &poll, &peer, 0);
    uint64_t id = json_number(json_get(ask_once(&c, &d, MAP_READ_ONLY), "Node"), "ID");
    d.home_derp = 7;
    d.endpoints_n = 3;
    ask_once(&c, &d, MAP_READ_ONLY);
    rig_settle(r);
    struct view v = view_of(&poll, id);
    assert_true(v.is_there && !v.is_online && v.home_derp == 0 && v.endpoints_n == 0);
    rig_client_close(&c);
    finish(&other, &poll);
}

static void test_poll_without_peers(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll;
    rig_join(r, &other, &peer, "unseen", 0);
    rig_join(r, &c, &d, "lonely", 0);
    begin_poll(&c, &poll, &d, MAP_OMIT_PEERS);
    assert_first_map(reply_frame(&poll, 0), &d);
    assert_null(json_get(reply_frame(&poll, 0), "Peers"));
    rig_client_close(&other);
    finish(&c, &poll);
}

/* --- who may ask --- */

static void test_another_machines_node(void **state)
{
    (void)state;
    static const unsigned forms[] = {MAP_POLL, MAP_OMIT_PEERS, 0, MAP_READ_ONLY, MAP_POLL | MAP_ZSTD};
    struct client victim, thief;
    struct device d, forged;
    struct reply poll;
    int64_t before = metric_read("fullscale_map_refused_total", "reason=\"other_machine\"");
    rig_join(r, &victim, &d, "victim", 0);
    begin_poll(&victim, &poll, &d, 0);
    rig_client_open(&thief, r, 0);
    forged = d;
    forged.home_derp = 66;
    forged.endpoints_n = 9;
    forged.name = "forged";
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct reply gone;
        if ((forms[i] & MAP_POLL) == 0) {
            assert_int_equal(rig_client_call(&thief, "POST", "/machine/map", map_body(r, &forged, forms[i]), NULL),
                             404);
            continue;
        }
        /* As if it were not there: log in again. */
        rig_client_poll(&thief, &gone, &forged, forms[i]);
        reply_wait_frames(&gone, 1);
        assert_true(json_is_true(json_get(reply_frame(&gone, 0), "Node"), "Expired") ||
                    !json_is_null(json_get(json_get(reply_frame(&gone, 0), "Node"), "KeyExpiry")));
        assert_null(json_get(reply_frame(&gone, 0), "Peers"));
        h2_client_cancel(thief.h2, gone.id);
        reply_fini(&gone);
    }
    assert_int_equal(metric_read("fullscale_map_refused_total", "reason=\"other_machine\""),
                     before + (int64_t)ARRAY_LEN(forms));
    rig_settle(r);
    assert_false(poll.is_ended);
    const struct json *self = json_get(ask_once(&victim, &d, MAP_READ_ONLY), "Node");
    assert_int_equal(json_number(self, "HomeDERP"), 0);
    assert_int_equal(json_len(json_get(self, "Endpoints")), 0);
    assert_true(json_says(self, "Name", "victim.test.example."));
    rig_client_close(&thief);
    finish(&victim, &poll);
}

static void test_unknown_node(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    rig_client_open(&c, r, 0);
    device_init(&d, "unknown");
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", map_body(r, &d, MAP_OMIT_PEERS), NULL), 404);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", map_body(r, &d, MAP_READ_ONLY), NULL), 404);
    rig_client_poll(&c, &poll, &d, MAP_ZSTD);
    reply_wait_frames(&poll, 1);
    const struct json *self = json_get(reply_frame(&poll, 0), "Node");
    assert_true(json_says(self, "Key", key_text(r, &d.key)));
    assert_true(is_past(self));
    /* An error or an end would bring it back at once, for ever. */
    pass_seconds(0, 60);
    reply_wait_frames(&poll, 2);
    assert_true(is_keep_alive(reply_frame(&poll, 1)));
    assert_false(poll.is_ended);
    /* But strangers do not stay for ever. */
    for (int i = 0; i < 10; i++)
        pass_seconds(0, 60);
    RIG_WAIT(r, poll.is_ended);
    assert_int_equal(poll.error, 0);
    finish(&c, &poll);
}

static void test_deleted_while_connected(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch;
    rig_join(r, &c, &d, "doomed", 0);
    rig_join(r, &other, &peer, "mourner", 0);
    node_id id = begin_poll(&c, &poll, &d, 0);
    begin_poll(&other, &watch, &peer, MAP_ZSTD);
    WAIT_VIEW(&watch, id, v.is_there);
    rig_on_core(r, delete_node, &id);
    WAIT_VIEW(&watch, id, !v.is_there);
    /* Nothing follows the last word, whatever happens to others. */
    RIG_WAIT(r, is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    size_t n = poll.frame_n;
    peer.home_derp = 5;
    assert_int_equal(rig_client_update(&other, &peer), 200);
    rig_settle(r);
    assert_int_equal(poll.frame_n, n);
    pass_seconds(0, 61);
    reply_wait_frames(&poll, n + 1);
    assert_true(is_keep_alive(reply_frame(&poll, n)));
    assert_false(poll.is_ended);
    assert_int_equal(rig_client_update(&c, &d), 404);
    end_poll(&other, &watch);
    rig_client_close(&other);
    finish(&c, &poll);
}

struct expiry {
    node_id id;
    int64_t at_ms; /* NO_EXPIRY: never */
};

static void set_expiry(struct state *st, int64_t now_ms, void *ctx)
{
    const struct expiry *e = ctx;
    const struct node *n;
    RIG_CHECK(state_node_expire(st, e->id, e->at_ms, now_ms, &n, NULL) == RC_OK);
}

/* A machine whose key has expired may be in other hands: it learns of itself only, until it is back. */
static void test_expired_learns_of_itself_only(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, again;
    rig_join(r, &other, &peer, "neighbour", 0);
    rig_join(r, &c, &d, "lapsed", 0);
    struct expiry e = {.id = begin_poll(&c, &poll, &d, 0), .at_ms = 1};
    rig_on_core(r, set_expiry, &e);
    RIG_WAIT(r, is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    assert_null(json_get(reply_frame(&poll, poll.frame_n - 1), "Peers"));
    size_t n = poll.frame_n;
    peer.home_derp = 5;
    assert_int_equal(rig_client_update(&other, &peer), 200);
    rig_settle(r);
    assert_int_equal(poll.frame_n, n);
    /* A new poll brings no more. */
    rig_client_poll(&c, &again, &d, 0);
    reply_wait_frames(&again, 1);
    assert_true(is_past(json_get(reply_frame(&again, 0), "Node")));
    assert_null(json_get(reply_frame(&again, 0), "Peers"));
    /* Back, by an admin: everything at once, with what changed meanwhile. */
    e.at_ms = NO_EXPIRY;
    rig_on_core(r, set_expiry, &e);
    RIG_WAIT(r, json_get(reply_frame(&again, again.frame_n - 1), "Peers") != NULL);
    const struct json *first = json_first(json_get(reply_frame(&again, again.frame_n - 1), "Peers"));
    assert_int_equal(json_number(first, "HomeDERP"), 5);
    rig_client_close(&other);
    reply_fini(&poll);
    finish(&c, &again);
}

/* It knows peers from before, none of whom is left, and no list of peers says so: it starts afresh. */
static void test_renewed_without_peers(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch, again;
    rig_join(r, &other, &peer, "goes", 0);
    rig_join(r, &c, &d, "lapsed", 0);
    node_id peer_id = begin_poll(&other, &watch, &peer, 0);
    struct expiry e = {.id = begin_poll(&c, &poll, &d, 0), .at_ms = 1};
    WAIT_VIEW(&poll, peer_id, v.is_there);
    rig_on_core(r, set_expiry, &e);
    RIG_WAIT(r, is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")));
    rig_on_core(r, delete_node, &peer_id);
    rig_settle(r);
    e.at_ms = NO_EXPIRY;
    rig_on_core(r, set_expiry, &e);
    RIG_WAIT(r, poll.is_ended);
    assert_int_equal(poll.error, 0);
    assert_int_equal(begin_poll(&c, &again, &d, 0), e.id);
    assert_null(json_get(reply_frame(&again, 0), "Peers"));
    end_poll(&other, &watch);
    rig_client_close(&other);
    reply_fini(&poll);
    finish(&c, &again);
}

static void test_logout_ends_in_words(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    rig_join(r, &c, &d, "leaver", 0);
    begin_poll(&c, &poll, &d, 0);
    rig_client_register(&c, &d, "", "1970-01-01T00:02:03Z");
    RIG_WAIT(r, is_past(json_get(reply_frame(&poll, poll.frame_n - 1), "Node")) || poll.is_ended);
    assert_false(poll.is_ended);
    finish(&c, &poll);
}

/* --- polls of one node --- */

static void supersede(unsigned workers)
{
    struct client c, again;
    struct device d;
    struct reply first, second;
    rig_join(r, &c, &d, "twice", 0);
    rig_client_open_same(&again, &c, workers - 1);
    begin_poll(&c, &first, &d, 0);
    begin_poll(&again, &second, &d, MAP_ZSTD);
    RIG_WAIT(r, first.is_ended);
    assert_int_equal(first.error, 0);
    rig_settle(r);
    assert_false(second.is_ended);
    assert_int_equal(rig_sessions(), 1);
    /* And back. */
    reply_fini(&first);
    begin_poll(&c, &first, &d, 0);
    RIG_WAIT(r, second.is_ended);
    assert_false(first.is_ended);
    reply_fini(&second);
    rig_client_close(&again);
    finish(&c, &first);
}

static void test_second_poll_supersedes(void **state)
{
    (void)state;
    supersede(1);
    supersede(2);
}

/* Polls on both workers in one breath: one of them stays. */
static void test_polls_race(void **state)
{
    (void)state;
    struct client c[2];
    struct device d;
    rig_join(r, &c[0], &d, "racer", 0);
    rig_client_open_same(&c[1], &c[0], 1);
    for (int round = 0; round < 10; round++) {
        struct reply polls[4];
        for (int i = 0; i < 4; i++)
            rig_client_poll(&c[i % 2], &polls[i], &d, i < 2 ? 0 : MAP_ZSTD);
        RIG_WAIT(r, polls[0].is_ended + polls[1].is_ended + polls[2].is_ended + polls[3].is_ended == 3);
        for (int i = 0; i < 4; i++)
            end_poll(&c[i % 2], &polls[i]);
        while (rig_sessions() > 0)
            rig_settle(r);
    }
    rig_client_close(&c[0]);
    rig_client_close(&c[1]);
    rig_wait_idle(r);
}

static void test_key_rotation(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, peer;
    struct reply poll, newer, watch;
    rig_join(r, &c, &d, "rotates", 0);
    rig_join(r, &other, &peer, "sees", 1);
    uint64_t id = begin_poll(&c, &poll, &d, 0);
    begin_poll(&other, &watch, &peer, 0);
    d.old_key = d.key;
    rng_bytes(&d.key, sizeof(d.key));
    assert_true(
        json_is_true(rig_client_register(&c, &d, rig_key(r, &(struct auth_key_spec){0}), NULL), "MachineAuthorized"));
    RIG_WAIT(r, poll.is_ended); /* the old key's */
    WAIT_VIEW(&watch, id, v.is_there && str_eq_c(v.key, key_text(r, &d.key)));
    assert_int_equal(begin_poll(&c, &newer, &d, 0), id);
    assert_first_map(reply_frame(&newer, 0), &d);
    struct device old = d;
    old.key = d.old_key;
    assert_int_equal(rig_client_update(&c, &old), 404);
    reply_fini(&poll);
    end_poll(&other, &watch);
    rig_client_close(&other);
    finish(&c, &newer);
}

/* --- peers --- */

static void update_and_poll(bool update_first)
{
    struct client c, other;
    struct device d, peer;
    struct reply poll, watch, update;
    rig_join(r, &other, &peer, "observer", 1);
    begin_poll(&other, &watch, &peer, MAP_ZSTD);
    rig_join(r, &c, &d, "starter", 0);
    struct device stale = d;
    d.home_derp = 3;
    d.endpoints_n = 2;
    if (!update_first)
        rig_client_poll(&c, &poll, &stale, 0);
    rig_client_send(&c, &update, "POST", "/machine/map", map_body(r, &d, MAP_OMIT_PEERS));
    if (update_first)
        rig_client_poll(&c, &poll, &stale, 0);
    reply_wait_frames(&poll, 1);
    uint64_t id = json_number(json_get(reply_frame(&poll, 0), "Node"), "ID");
    RIG_WAIT(r, update.is_ended);
    assert_int_equal(update.status, 200);
    /* The poll's older copy does not undo the update. */
    WAIT_VIEW(&watch, id, v.is_there && v.is_online && v.home_derp == 3 && v.endpoints_n == 2);
    reply_fini(&update);
    end_poll(&other, &watch);
    rig_client_close(&other);
    finish(&c, &poll);
}

static void test_update_before_poll(void **state)
{
    (void)state;
    update_and_poll(true);
}

static void test_poll_before_update(void **state)
{
    (void)state;
    update_and_poll(false);
}

static void test_peers_learn(void **state)
{
    (void)state;
    struct client a, b;
    struct device da, db;
    struct reply pa, pb;
    rig_join(r, &a, &da, "first", 0);
    begin_poll(&a, &pa, &da, 0);
    rig_join(r, &b, &db, "second", 1);
    uint64_t id = begin_poll(&b, &pb, &db, MAP_ZSTD);
    WAIT_VIEW(&pa, id, v.is_there && v.is_online && str_eq_c(v.name, "second.test.example."));
    db.endpoints_n = 4;
    db.home_derp = 2;
    assert_int_equal(rig_client_update(&b, &db), 200);
    WAIT_VIEW(&pa, id, v.endpoints_n == 4 && v.home_derp == 2);
    db.endpoints_n = 0;
    db.name = "renamed";
    assert_int_equal(rig_client_update(&b, &db), 200);
    WAIT_VIEW(&pa, id, v.endpoints_n == 0 && v.home_derp == 2 && str_eq_c(v.name, "renamed.test.example."));
    end_poll(&b, &pb);
    WAIT_VIEW(&pa, id, v.is_there && !v.is_online);
    rig_client_close(&b);
    finish(&a, &pa);
}

/* --- under a policy --- */

static void set_policy(struct state *st, int64_t now_ms, void *ctx)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    RIG_CHECK(policy_parse(str_c(ctx), NULL, &doc, &errors) == RC_OK);
    policy_errors_fini(&errors);
    state_set_policy(st, doc, now_ms);
}

static void no_policy(struct state *st, int64_t now_ms, void *ctx)
{
    (void)ctx;
    state_set_policy(st, NULL, now_ms);
}

/* A node with a tag, and its poll. */
struct tagged {
    struct client c;
    struct device d;
    struct reply poll;
    uint64_t id;
};

static void tagged_join(struct tagged *t, const char *tag, unsigned worker)
{
    const struct str tags[] = {str_c(tag)};
    rig_client_open(&t->c, r, worker);
    device_init(&t->d, tag + 4);
    const char *key = rig_key(r, &(struct auth_key_spec){.tags = tags, .tag_n = 1});
    assert_true(json_is_true(rig_client_register(&t->c, &t->d, key, NULL), "MachineAuthorized"));
    t->id = begin_poll(&t->c, &t->poll, &t->d, 0);
}

static void tagged_move(struct tagged *t, uint16_t home_derp)
{
    t->d.home_derp = home_derp;
    assert_int_equal(rig_client_update(&t->c, &t->d), 200);
}

/* a sees b, b sees c too; nobody else. Changes that leave the seats as they are go to those who see; when seats change,
 * later changes follow the new ones. */
static void test_changes_go_to_those_who_see(void **state)
{
    (void)state;
    static char first[] = "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[],\"tag:c\":[]},\"grants\":["
                          "{\"src\":[\"tag:a\"],\"dst\":[\"tag:b\"],\"ip\":[\"*\"]},"
                          "{\"src\":[\"tag:b\"],\"dst\":[\"tag:c\"],\"ip\":[\"*\"]}]}";
    static char second[] = "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[],\"tag:c\":[]},\"grants\":["
                           "{\"src\":[\"tag:a\"],\"dst\":[\"tag:c\"],\"ip\":[\"*\"]}]}";
    struct tagged *t = mem_zalloc(3, sizeof(*t));
    rig_on_core(r, set_policy, first);
    for (unsigned i = 0; i < 3; i++)
        tagged_join(&t[i], (const char *[]){"tag:a", "tag:b", "tag:c"}[i], i % 2);
    WAIT_VIEW(&t[0].poll, t[1].id, v.is_there && v.is_online);
    WAIT_VIEW(&t[2].poll, t[1].id, v.is_there && v.is_online);
    rig_settle(r);
    size_t quiet = t[0].poll.frame_n;
    tagged_move(&t[2], 5);
    WAIT_VIEW(&t[1].poll, t[2].id, v.home_derp == 5);
    rig_settle(r);
    assert_int_equal(t[0].poll.frame_n, quiet);
    tagged_move(&t[1], 6);
    WAIT_VIEW(&t[0].poll, t[1].id, v.home_derp == 6);
    WAIT_VIEW(&t[2].poll, t[1].id, v.home_derp == 6);
    rig_on_core(r, set_policy, second);
    WAIT_VIEW(&t[0].poll, t[1].id, !v.is_there);
    tagged_move(&t[2], 7);
    WAIT_VIEW(&t[0].poll, t[2].id, v.home_derp == 7);
    rig_settle(r);
    quiet = t[1].poll.frame_n;
    tagged_move(&t[0], 8);
    WAIT_VIEW(&t[2].poll, t[0].id, v.home_derp == 8);
    rig_settle(r);
    assert_int_equal(t[1].poll.frame_n, quiet);
    rig_on_core(r, no_policy, NULL);
    tagged_move(&t[0], 9);
    WAIT_VIEW(&t[1].poll, t[0].id, v.home_derp == 9);
    for (unsigned i = 0; i < 3; i++) {
        reply_fini(&t[i].poll);
        rig_client_close(&t[i].c);
    }
    rig_wait_idle(r);
    mem_free(t);
}

/* --- liveness --- */

static void keep_alives_in(unsigned coding)
{
    struct client c;
    struct device d;
    struct reply poll;
    rig_join(r, &c, &d, "quiet", 0);
    begin_poll(&c, &poll, &d, coding);
    rig_settle(r);
    size_t n = poll.frame_n;
    pass_seconds(0, 49);
    rig_settle(r);
    assert_int_equal(poll.frame_n, n);
    pass_seconds(0, 13);
    reply_wait_frames(&poll, n + 1);
    assert_true(is_keep_alive(reply_frame(&poll, n)));
    assert_string_not_equal(poll.frames[n], "{\"KeepAlive\":true}");
    finish(&c, &poll);
}

static void test_keep_alive(void **state)
{
    (void)state;
    keep_alives_in(0);
}

static void test_keep_alive_zstd(void **state)
{
    (void)state;
    keep_alives_in(MAP_ZSTD);
}

static unsigned keep_alives(struct reply *poll)
{
    unsigned n = 0;
    for (size_t i = 0; i < poll->frame_n; i++)
        n += is_keep_alive(reply_frame(poll, i));
    return n;
}

/* The process was stopped for an hour: one keep-alive, not one for each missed minute; and it comes to an end. */
static void test_keep_alive_after_a_stall(void **state)
{
    (void)state;
    struct client c[8];
    struct device d[8];
    struct reply polls[8];
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        rig_join(r, &c[i], &d[i], "stalled", 0);
        begin_poll(&c[i], &polls[i], &d[i], 0);
    }
    rig_settle(r);
    pass_seconds(0, 3600);
    rig_settle(r);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        RIG_WAIT(r, keep_alives(&polls[i]) > 0);
        assert_int_equal(keep_alives(&polls[i]), 1);
        reply_fini(&polls[i]);
        rig_client_close(&c[i]);
    }
    rig_wait_idle(r);
}

/* --- slow readers --- */

static int64_t behind(void)
{
    return metric_read("fullscale_map_sessions_behind_total", "");
}

static int64_t delta_bytes(void)
{
    return metric_read("fullscale_map_delta_bytes_total", "");
}

static bool all_are_at(const struct json *map, const char *list, const struct crowd *crowd)
{
    char want[32];
    size_t n = 0;
    snprintf(want, sizeof(want), "192.0.2.0:%u", crowd->round);
    JSON_EACH (peer, json_get(map, list)) {
        struct str at;
        n += json_str(json_first(json_get(peer, "Endpoints")), &at) && str_eq_c(at, want);
    }
    return n == crowd->n;
}

static void slow_reader_joins(struct client *c, struct device *d)
{
    rig_client_init(c, r);
    c->is_manual = true;
    rig_client_dial(c, 0);
    device_init(d, "slow");
    rig_client_register(c, d, rig_key(r, &(struct auth_key_spec){0}), NULL);
}

/* Its window is shut: what waits for it at the server is bounded, and when it reads again it gets one full map
 * instead of all that it missed. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply *poll = MEM_NEW(struct reply);
    struct crowd *crowd = MEM_NEW(struct crowd);
    int64_t behind_before = behind();
    crowd_init(crowd, ARRAY_LEN(crowd->keys));
    rig_on_core(r, crowd_join, crowd);
    slow_reader_joins(&c, &d);
    begin_poll(&c, poll, &d, 0);
    poll->is_stalled = true;
    size_t unread = 0, read = poll->bytes;
    for (int i = 0; i < 200 && behind() == behind_before; i++)
        move_and_tell(crowd);
    assert_int_equal(behind(), behind_before + 1);
    int64_t held = delta_bytes();
    for (int i = 0; i < 20; i++)
        move_and_tell(crowd);
    assert_int_equal(delta_bytes(), held); /* nothing is queued any more */
    size_t frames = poll->frame_n;
    poll->is_stalled = false;
    unread = poll->bytes - read;
    h2_client_consume(c.h2, poll->id, unread);
    RIG_WAIT(r, poll->frame_n > frames && json_get(reply_frame(poll, poll->frame_n - 1), "Peers") != NULL);
    assert_true(all_are_at(reply_frame(poll, poll->frame_n - 1), "Peers", crowd));
    assert_true(poll->bytes < 6 * 1024 * 1024); /* a window of four, and a little */
    /* From here on it is told of changes again. */
    frames = poll->frame_n;
    move_and_tell(crowd);
    RIG_WAIT(r, poll->frame_n >= frames + crowd->n / 32); /* a message has about so many changes of nodes */
    for (size_t i = frames; i < poll->frame_n; i++)
        assert_null(json_get(reply_frame(poll, i), "Peers"));
    assert_int_equal(behind(), behind_before + 1);
    finish(&c, poll);
    mem_free(poll);
    mem_free(crowd);
}

/* --- going away --- */

/* Its node is deleted before any worker has heard of it: it does not wait for ever. */
static void test_deleted_before_shown(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    struct reply poll;
    struct rig_core_call join, leave;
    struct crowd *one = MEM_NEW(struct crowd);
    rig_client_open(&c, r, 0);
    device_init(&d, "ghost");
    crowd_init(one, 1);
    one->machine = c.public;
    one->keys[0] = d.key;
    rig_hold_core(r);
    rig_core_begin(r, &join, crowd_join, one);
    rig_client_poll(&c, &poll, &d, 0);
    assert_int_equal(rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    rig_core_begin(r, &leave, crowd_leave, one);
    rig_release_core(r);
    RIG_WAIT(r, join.is_done && leave.is_done);
    rig_settle(r);
    assert_int_equal(poll.frame_n, 0);
    pass_seconds(0, 62);
    reply_wait_frames(&poll, 1);
    assert_true(is_past(json_get(reply_frame(&poll, 0), "Node")));
    assert_false(poll.is_ended);
    mem_free(one);
    finish(&c, &poll);
}

static void some_turns(void)
{
    for (int n = rand() % 6; n > 0; n--) {
        rig_wake(r);
        loop_run(r->loop);
    }
}

/* One that comes, asks for a few things, and is gone in the middle of any of them. */
static void visit(struct client *c, struct device *d)
{
    struct client again = {.rig = r, .version = c->version, .machine = c->machine, .public = c->public};
    rig_client_begin(&again, (unsigned)rand() % 2);
    if (rand() % 4 != 0)
        RIG_WAIT(r, again.h2 != NULL);
    else
        some_turns();
    for (int n = rand() % 4; again.h2 != NULL && n > 0; n--) {
        static const unsigned forms[] = {MAP_POLL, MAP_POLL | MAP_ZSTD, MAP_OMIT_PEERS, MAP_READ_ONLY, 0};
        d->endpoints_n = (unsigned)rand() % 3;
        const char *body = map_body(r, d, forms[(size_t)rand() % ARRAY_LEN(forms)]);
        int32_t id = h2_client_request(again.h2, "POST", "h", "/machine/map", str_c(body));
        some_turns();
        if (rand() % 3 == 0)
            h2_client_cancel(again.h2, id);
    }
    rig_client_close(&again);
}

static void test_visitors(void **state)
{
    (void)state;
    struct client c[3];
    struct device d[3];
    struct reply poll;
    srand(3);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        rig_join(r, &c[i], &d[i], "visitor", (unsigned)i % 2);
    for (int i = 0; i < 300; i++) {
        size_t who = (size_t)rand() % ARRAY_LEN(c);
        visit(&c[who], &d[who]);
    }
    /* What the last visitors said may still stand in the kernel: a poll of theirs must not come after those below. */
    do
        rig_settle(r);
    while (rig_sessions() > 0);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        begin_poll(&c[i], &poll, &d[i], 0);
        assert_first_map(reply_frame(&poll, 0), &d[i]);
        assert_false(poll.is_ended);
        reply_fini(&poll);
        rig_client_close(&c[i]);
    }
    rig_wait_idle(r);
}

static int setup(void **state)
{
    (void)state;
    r = rig_create(2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_destroy(r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_poll_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_zstd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_shots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_shot_before_published, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_before_published, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_without_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_machines_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_node, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_while_connected, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expired_learns_of_itself_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renewed_without_peers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logout_ends_in_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_poll_supersedes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_polls_race, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_rotation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_update_before_poll, setup, teardown),
        cmocka_unit_test_setup_teardown(test_poll_before_update, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peers_learn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_go_to_those_who_see, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive_zstd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keep_alive_after_a_stall, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_before_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_visitors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
