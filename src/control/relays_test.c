/* What relays on other machines ask, over plain HTTP/1.1 connections. */
#include "control/testing.h"

static struct rig *r;

/* --- a relay's connection --- */

struct call {
    struct stream *s;
    struct buf got;
    bool is_closed;
};

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct call *)ctx)->got, p, n);
    control_rig_wake(r);
}

static void on_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct call *)ctx)->is_closed = true;
    control_rig_wake(r);
}

/* `key` may be null: no Authorization; or be credentials with their scheme. */
static void begin(struct call *c, const char *path, const char *key, const char *body)
{
    static const struct stream_events events = {on_data, NULL, on_closed};
    const char *scheme = key != NULL && str_starts(str_c(key), STR("Basic ")) ? "" : "Bearer ";
    const char *auth = key != NULL ? arena_printf(&r->arena, "Authorization: %s%s\r\n", scheme, key) : "";
    const char *text = arena_printf(
        &r->arena, "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s", path, auth,
        strlen(body), body);
    *c = (struct call){0};
    assert_int_equal(tcp_connect(r->loop, &r->at[0], &c->s), RC_OK);
    r->open_n++;
    stream_set_events(c->s, &events, c);
    stream_write(c->s, text, strlen(text));
}

static const struct json *finish(struct call *c, int status)
{
    RIG_WAIT(r, c->is_closed);
    stream_close(&c->s, false);
    r->open_n--;
    const char *text = arena_str(&r->arena, buf_str(&c->got)).p;
    buf_fini(&c->got);
    if (strtol(text + 9, NULL, 10) != status)
        fail_msg("%d expected: %s", status, text);
    return status == 200 ? control_rig_json(r, strstr(text, "\r\n\r\n") + 4) : NULL;
}

static const struct json *ask(const char *path, const char *key, const char *body, int status)
{
    struct call c;
    begin(&c, path, key, body);
    return finish(&c, status);
}

static void hang_up(struct call *c)
{
    stream_close(&c->s, false);
    r->open_n--;
    buf_fini(&c->got);
}

/* --- relays --- */

struct enrolment {
    const char *name;
    uint16_t region_id;
    uint64_t id;
    char key[AUTH_KEY_TEXT_CAP];
};

static void make_relay(struct state *st, int64_t now_ms, void *ctx)
{
    struct enrolment *e = ctx;
    const struct relay_host *host;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    struct relay_spec spec = {.name = str_c(e->name), .region_id = e->region_id};
    rng_bytes(random, sizeof(random));
    RIG_CHECK(state_relay_create(st, &spec, random, now_ms, &host, e->key, NULL) == RC_OK);
    e->id = host->id;
}

static void delete_relay(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    RIG_CHECK(state_relay_delete(st, ((struct enrolment *)ctx)->id, NULL) == RC_OK);
}

static struct enrolment enrol(const char *name, uint16_t region_id)
{
    struct enrolment e = {.name = name, .region_id = region_id};
    control_rig_on_core(r, make_relay, &e);
    return e;
}

static void forget(struct enrolment *e)
{
    control_rig_on_core(r, delete_relay, e);
}

struct look {
    uint64_t id;
    bool is_up;
    struct relay_report report;
};

static void look_at(struct state *st, int64_t now_ms, void *ctx)
{
    struct look *l = ctx;
    const struct relay_host *host = state_relay(st, l->id);
    (void)now_ms;
    l->is_up = host->is_up;
    l->report = host->report;
}

static struct look look(const struct enrolment *e)
{
    struct look l = {.id = e->id};
    control_rig_on_core(r, look_at, &l);
    return l;
}

#define UPPER_CASE_PIN                                                                                                 \
    "{\"hostname\":\"a\",\"derpPort\":443,\"certName\":"                                                               \
    "\"sha256-raw:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\"}"
#define PIN "sha256-raw:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char *announcement(const char *more)
{
    return arena_printf(&r->arena,
                        "{\"hostname\":\"192.0.2.7\",\"derpPort\":8443,\"stunPort\":3478,"
                        "\"certName\":\"" PIN "\"%s}",
                        more);
}

static const char *seen(const struct json *reply)
{
    return announcement(arena_printf(&r->arena, ",\"news\":%llu", (unsigned long long)json_number(reply, "news")));
}

/* --- verify --- */

static void expire_node(struct state *st, int64_t now_ms, void *ctx)
{
    const struct node *n = state_node_by_key(st, ctx);
    RIG_CHECK(state_node_expire(st, n->id, now_ms, now_ms, &n, NULL) == RC_OK);
}

static void test_verify(void **state)
{
    (void)state;
    struct enrolment e = enrol("fra", 0);
    struct client c;
    struct device d;
    control_rig_join(r, &c, &d, "laptop", 0);
    const char *body = arena_printf(&r->arena, "{\"NodePublic\":\"%s\",\"Source\":\"192.0.2.9\"}", key_text(r, &d.key));
    assert_true(json_is_true(ask("/verify", e.key, body, 200), "Allow"));
    /* Not for everyone. */
    ask("/verify", NULL, body, 401);
    ask("/verify", "fskey-relay-0123456789ab-", body, 401);
    char pair[AUTH_KEY_TEXT_CAP + 8], coded[2 * AUTH_KEY_TEXT_CAP];
    snprintf(pair, sizeof(pair), "relay:%s", e.key);
    base64_encode(pair, strlen(pair), coded);
    assert_true(json_is_true(ask("/verify", arena_printf(&r->arena, "Basic %s", coded), body, 200), "Allow"));
    ask("/verify", "Basic cmVsYXk6eA==", body, 401);
    ask("/verify", "Basic !", body, 401);
    ask("/verify", "Basic ", body, 401);
    /* In the path it would be in the logs of proxies. */
    ask(arena_printf(&r->arena, "/verify/%s", e.key), NULL, body, 410);
    ask("/verify", e.key, "{\"NodePublic\":\"nodekey:12\"}", 400);
    ask("/verify", e.key, "[]", 400);
    ask("/verify", e.key, "", 400);
    ask("/verify", e.key, arena_printf(&r->arena, "{\"a\":\"%05000d\"}", 1), 413);
    node_key stranger = {{1, 2, 3}};
    const char *unknown = arena_printf(&r->arena, "{\"nodepublic\":\"%s\"}", key_text(r, &stranger));
    assert_false(json_is_true(ask("/verify", e.key, unknown, 200), "Allow"));
    control_rig_on_core(r, expire_node, &d.key);
    assert_false(json_is_true(ask("/verify", e.key, body, 200), "Allow"));
    forget(&e);
    ask("/verify", e.key, body, 401);
    control_rig_client_close(&c);
}

/* What may use the relay goes on; nobody is kept out on the strength of a database that fails. */
static void test_verify_while_the_disk_is_full(void **state)
{
    (void)state;
    struct enrolment e = enrol("fra", 0);
    struct client c;
    struct device d;
    control_rig_join(r, &c, &d, "laptop", 0);
    control_rig_settle(r);
    node_key stranger = {{1, 2, 3}};
    const char *known = arena_printf(&r->arena, "{\"NodePublic\":\"%s\"}", key_text(r, &d.key));
    const char *unknown = arena_printf(&r->arena, "{\"NodePublic\":\"%s\"}", key_text(r, &stranger));
    store_memory_fail(r->store, RC_FULL);
    control_rig_on_core(r, expire_node, &d.key);
    assert_int_equal(core_fault(r->core), RC_FULL);
    assert_true(json_is_true(ask("/verify", e.key, known, 200), "Allow"));
    ask("/verify", e.key, unknown, 503);
    ask("/verify", "fskey-relay-0123456789ab-", known, 503);
    ask("/relay/announce", "fskey-relay-0123456789ab-", announcement(""), 503);
    assert_true(json_number(ask("/relay/announce", e.key, announcement(""), 200), "news") > 0);
    store_memory_fail(r->store, RC_OK);
    while (core_fault(r->core) != RC_OK)
        control_rig_on_core(r, NULL, NULL);
    control_rig_settle(r);
    assert_false(json_is_true(ask("/verify", e.key, unknown, 200), "Allow"));
    ask("/relay/announce", "fskey-relay-0123456789ab-", announcement(""), 401);
    control_rig_client_close(&c);
}

static void set_open(struct control_worker *w, void *ctx)
{
    w->control->options.verify_unauthenticated = *(bool *)ctx;
}

static void test_verify_for_everyone(void **state)
{
    (void)state;
    bool is_open = true;
    node_key stranger = {{1, 2, 3}};
    const char *unknown = arena_printf(&r->arena, "{\"NodePublic\":\"%s\"}", key_text(r, &stranger));
    control_rig_on_worker(r, 0, set_open, &is_open);
    assert_false(json_is_true(ask("/verify", NULL, unknown, 200), "Allow"));
    ask("/verify", "wrong", unknown, 401); /* a key is optional here, but a wrong one is refused */
    is_open = false;
    control_rig_on_worker(r, 0, set_open, &is_open);
    ask("/verify", NULL, unknown, 401);
}

/* --- announce --- */

static void test_first_announcement(void **state)
{
    (void)state;
    struct enrolment a = enrol("fra", 903), b = enrol("fra-2", 903), far = enrol("nyc", 904);
    struct str text;
    /* To begin with it only asks. */
    const struct json *reply = ask("/relay/announce", a.key, announcement(",\"starting\":true"), 200);
    assert_false(look(&a).is_up);
    assert_int_equal(json_number(reply, "regionId"), 903);
    assert_true(json_says(reply, "name", "fra"));
    assert_true(json_is_true(reply, "resync"));
    assert_true(json_str(json_get(reply, "meshKey"), &text) && text.len == 64);
    const char *mesh_key = arena_str(&r->arena, text).p;

    reply = ask("/relay/announce", a.key, announcement(""), 200);
    struct look there = look(&a);
    assert_true(there.is_up);
    assert_string_equal(there.report.host_name, "192.0.2.7");
    assert_int_equal(there.report.ipv4.family, 4); /* the host name is an address: it is reported as such, too */
    assert_int_equal(there.report.derp_port, 8443);
    assert_string_equal(there.report.cert_name, PIN);
    assert_int_equal(json_len(json_get(reply, "neighbours")), 0);
    /* Those of a region know each other, and share a secret that others do not have. */
    reply = ask("/relay/announce", b.key, announcement(",\"draining\":false"), 200);
    assert_int_equal(json_len(json_get(reply, "neighbours")), 1);
    assert_true(json_says(json_first(json_get(reply, "neighbours")), "hostname", "192.0.2.7"));
    assert_true(json_says(reply, "meshKey", mesh_key));
    reply = ask("/relay/announce", far.key, announcement(""), 200);
    assert_int_equal(json_len(json_get(reply, "neighbours")), 0);
    assert_false(json_says(reply, "meshKey", mesh_key));
    /* Drained: gone at once, though another announcement waits and is answered. */
    struct call waiting;
    reply = ask("/relay/announce", a.key, announcement(""), 200);
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    ask("/relay/announce", a.key, announcement(",\"draining\":true"), 200);
    finish(&waiting, 200);
    assert_false(look(&a).is_up);
    forget(&a);
    forget(&b);
    forget(&far);
}

static const char *from_one(uint64_t started_ms, uint64_t number, const char *more)
{
    return announcement(arena_printf(&r->arena, ",\"started\":%llu,\"turn\":%llu%s", (unsigned long long)started_ms,
                                     (unsigned long long)number, more));
}

/* Two machines with one key do not alternate in the map, and an announcement that was overtaken does not undo the
 * last one. */
static void test_twins(void **state)
{
    (void)state;
    struct enrolment e = enrol("fra", 0);
    ask("/relay/announce", e.key, from_one(100, 1, ""), 200);
    ask("/relay/announce", e.key, from_one(200, 1, ""), 200);
    ask("/relay/announce", e.key, from_one(100, 2, ""), 409);
    ask("/relay/announce", e.key, from_one(100, 3, ",\"draining\":true"), 409);
    assert_true(look(&e).is_up);
    ask("/relay/announce", e.key, from_one(200, 3, ",\"draining\":true"), 200);
    assert_false(look(&e).is_up);
    ask("/relay/announce", e.key, from_one(200, 2, ""), 200);
    assert_false(look(&e).is_up);
    ask("/relay/announce", e.key, from_one(100, 4, ""), 200);
    assert_true(look(&e).is_up);
    ask("/relay/announce", e.key, announcement(",\"started\":-1"), 400);
    ask("/relay/announce", e.key, announcement(",\"turn\":\"1\""), 400);
    forget(&e);
}

static void test_bad_announcements(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "[]", "{}", "{\"hostname\":\"a\"}", /* no port */
        "{\"hostname\":\"a\",\"derpPort\":65536}", "{\"hostname\":\"a\",\"derpPort\":\"443\"}",
        "{\"hostname\":\"a b\",\"derpPort\":443}", "{\"hostname\":\"a\\u0000\",\"derpPort\":443}",
        "{\"hostname\":\"<script>\",\"derpPort\":443}", "{\"hostname\":7,\"derpPort\":443}",
        "{\"hostname\":\"a\",\"derpPort\":443,\"ipv4\":\"::1\"}",
        "{\"hostname\":\"a\",\"derpPort\":443,\"ipv6\":\"1.2.3\"}",
        "{\"hostname\":\"a\",\"derpPort\":443,\"certName\":\"a/b\"}",
        /* No such pin may reach nodes. */
        "{\"hostname\":\"a\",\"derpPort\":443,\"certName\":\"sha256-raw:\"}",
        "{\"hostname\":\"a\",\"derpPort\":443,\"certName\":\"sha256-raw:abc\"}", UPPER_CASE_PIN,
        "{\"hostname\":\"a\",\"derpPort\":443,\"news\":-1}", "{\"hostname\":\"a\",\"derpPort\":443,\"draining\":1}",
        "{\"derpPort\":443}", /* from this machine, and no word of where it is */
    };
    struct enrolment e = enrol("fra", 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ask("/relay/announce", e.key, bad[i], 400);
    ask("/relay/announce", e.key, arena_printf(&r->arena, "{\"a\":\"%05000d\"}", 1), 413);
    ask("/relay/announce", NULL, announcement(""), 401);
    ask("/relay/announce", "fskey-relay-1", announcement(""), 401);
    assert_false(look(&e).is_up);
    ask("/relay/announce", e.key, "{\"localIP\":\"10.1.2.3\",\"derpPort\":443}", 200);
    assert_string_equal(look(&e).report.host_name, "10.1.2.3");
    forget(&e);
}

/* A client behind a proxy on this machine has the address that the proxy names; the rig's peer is loopback. */
static void test_behind_a_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *header, *host;
    } rows[] = {
        {"203.0.113.9", "203.0.113.9"},
        {"198.51.100.1,  2001:db8::9 ", "2001:db8::9"}, /* what a client sent itself stands before */
        {"198.51.100.1, 127.0.0.1", "198.51.100.1"},    /* a proxy before the proxy */
        {"127.0.0.1", "10.1.2.3"},
        {"unknown", "10.1.2.3"},
        {"198.51.100.1,", "10.1.2.3"},
        {"", "10.1.2.3"},
    };
    struct enrolment e = enrol("fra", 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *key = arena_printf(&r->arena, "%s\r\nX-Forwarded-For: %s", e.key, rows[i].header);
        ask("/relay/announce", key, "{\"localIP\":\"10.1.2.3\",\"derpPort\":443}", 200);
        assert_string_equal(look(&e).report.host_name, rows[i].host);
    }
    ask("/relay/announce", arena_printf(&r->arena, "%s\r\nX-Forwarded-For: 203.0.113.9", e.key), announcement(""), 200);
    assert_string_equal(look(&e).report.host_name, "192.0.2.7"); /* a name that it was given counts more */
    forget(&e);
}

/* An announcement waits for news, and is answered with them. */
static void test_news(void **state)
{
    (void)state;
    struct enrolment a = enrol("fra", 903), b = enrol("fra-2", 903);
    struct client c;
    struct device d;
    struct call waiting;
    struct str key;
    control_rig_join(r, &c, &d, "laptop", 0);
    ask("/relay/announce", a.key, announcement(""), 200);
    const struct json *reply = ask("/relay/announce", a.key, announcement(""), 200);
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    assert_int_equal(buf_len(&waiting.got), 0);
    control_rig_on_core(r, expire_node, &d.key);
    reply = finish(&waiting, 200);
    assert_false(json_is_true(reply, "resync"));
    assert_int_equal(json_len(json_get(reply, "revoked")), 1);
    assert_true(json_str(json_first(json_get(reply, "revoked")), &key));
    assert_string_equal(arena_str(&r->arena, key).p, key_text(r, &d.key));
    /* A neighbour comes, and goes. */
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    ask("/relay/announce", b.key, announcement(""), 200);
    reply = finish(&waiting, 200);
    assert_int_equal(json_len(json_get(reply, "neighbours")), 1);
    assert_int_equal(json_len(json_get(reply, "revoked")), 0);
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    forget(&b);
    reply = finish(&waiting, 200);
    assert_int_equal(json_len(json_get(reply, "neighbours")), 0);
    /* Its own end too. */
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    forget(&a);
    finish(&waiting, 401);
    control_rig_client_close(&c);
}

static void revoke_many(struct state *st, int64_t now_ms, void *ctx)
{
    node_key key = {{9}};
    (void)st;
    (void)now_ms;
    for (unsigned i = 0; i < *(unsigned *)ctx; i++) {
        memcpy(key.b + 1, &i, sizeof(i));
        control_key_revoked(r->control, r->tailnet, &key);
    }
}

static void test_missed_news(void **state)
{
    (void)state;
    struct enrolment a = enrol("fra", 0);
    ask("/relay/announce", a.key, announcement(""), 200);
    const struct json *reply = ask("/relay/announce", a.key, announcement(""), 200);
    unsigned n = 300;
    control_rig_on_core(r, revoke_many, &n);
    const char *old = seen(reply);
    reply = ask("/relay/announce", a.key, old, 200);
    assert_int_equal(json_len(json_get(reply, "revoked")), 300);
    n = RELAYS_NEWS_MAX;
    control_rig_on_core(r, revoke_many, &n);
    reply = ask("/relay/announce", a.key, old, 200);
    assert_true(json_is_true(reply, "resync"));
    assert_int_equal(json_len(json_get(reply, "revoked")), 0);
    /* A number from the future: of another server's life. */
    reply = ask("/relay/announce", a.key, announcement(",\"news\":18446744073709551615"), 200);
    assert_true(json_is_true(reply, "resync"));
    forget(&a);
}

static void tick(struct control_worker *w, void *ctx)
{
    (void)ctx;
    relays_announcements_tick(&w->parts[0]);
}

static void after_ten_seconds(struct state *st, int64_t now_ms, void *ctx)
{
    (void)ctx;
    state_tick(st, now_ms + 10 * 1000);
}

static void after_25_seconds(struct state *st, int64_t now_ms, void *ctx)
{
    (void)ctx;
    state_tick(st, now_ms + 25 * 1000);
}

/* The connection breaks: the relay has some time to come back. */
static void test_lost_relay(void **state)
{
    (void)state;
    struct enrolment a = enrol("fra", 0);
    struct call waiting;
    ask("/relay/announce", a.key, announcement(""), 200);
    const struct json *reply = ask("/relay/announce", a.key, announcement(""), 200);
    begin(&waiting, "/relay/announce", a.key, seen(reply));
    control_rig_settle(r);
    control_rig_on_worker(r, 0, tick, NULL); /* it is not its time */
    control_rig_settle(r);
    assert_int_equal(buf_len(&waiting.got), 0);
    control_rig_on_core(r, after_25_seconds, NULL);
    assert_true(look(&a).is_up);
    hang_up(&waiting);
    control_rig_settle(r);
    control_rig_on_core(r, after_ten_seconds, NULL);
    assert_true(look(&a).is_up);
    control_rig_on_core(r, after_25_seconds, NULL);
    assert_false(look(&a).is_up);
    forget(&a);
}

static int set_up(void **state)
{
    (void)state;
    r = control_rig_create(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    control_rig_destroy(r);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_verify, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_verify_while_the_disk_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_verify_for_everyone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_first_announcement, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_behind_a_proxy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_twins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_announcements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_news, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missed_news, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lost_relay, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
