/* Registration and the small rest, inside Noise. */
#include "control/testing.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct rig *r;

/* --- the small rest --- */

static void test_small_requests(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *body;
        int status;
        const char *words;
    } rows[] = {
        {"GET", "/machine/whoami", "", 200, "machine mkey:"},
        {"GET", "/machine/whoami", "{\"a\":1}", 200, "capability version 142"}, /* GET with a body */
        {"GET", "/machine/tka/sync/offer", "{\"NodeKey\":\"x\"}", 404, ""},
        {"POST", "/machine/update-health", "no JSON", 400, "NodeKey"},
        {"POST", "/machine/audit-log", "{\"NodeKey\":\"mkey:00\"}", 400, "NodeKey"},
        {"GET", "/machine/ssh/action/1/to/2?local_user=root", "", 200, "\"reject\":true"},
        {"POST", "/machine/nothing", "{}", 404, ""},
        {"POST", "/machine/map/", "{}", 404, ""},
        {"GET", "/machine/register", "", 405, ""},
        {"GET", "/key?v=142", "", 404, ""}, /* outside only */
    };
    struct client c;
    int64_t before = metric_read("fullscale_control_unknown_paths_total", "");
    rig_client_open(&c, r, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text;
        assert_int_equal(rig_client_call(&c, rows[i].method, rows[i].path, rows[i].body, &text), rows[i].status);
        assert_non_null(strstr(text, rows[i].words));
    }
    assert_int_equal(metric_read("fullscale_control_unknown_paths_total", ""), before + 5);
    rig_client_close(&c);
}

/* Each request that names a node, by its machine, by another that is a node, and by a stranger: only the first is
 * served, and the others hear the same whether the node exists or not. */
static void test_only_a_nodes_machine_speaks_for_it(void **state)
{
    (void)state;
    static const struct {
        const char *path, *more;
        int status;
    } rows[] = {
        {"/machine/update-health", ",\"Subsys\":\"dns\"", 204},
        {"/machine/feature/query", ",\"Feature\":\"serve\"", 200},
        {"/machine/audit-log", ",\"Action\":\"DISCONNECT_NODE\"", 200},
        {"/machine/map", ",\"Version\":142,\"OmitPeers\":true,\"Hostinfo\":{\"Hostname\":\"stolen\"}", 200},
        {"/machine/map", ",\"Version\":142,\"ReadOnly\":true", 200},
    };
    struct client owner, neighbour, stranger;
    struct device d, other, nobody;
    rig_join(r, &owner, &d, "owner", 0);
    rig_join(r, &neighbour, &other, "neighbour", 0);
    rig_client_open(&stranger, r, 0);
    device_init(&nobody, "nobody");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *body = arena_printf(&r->arena, "{\"NodeKey\":\"%s\"%s}", key_text(r, &d.key), rows[i].more);
        const char *unknown = arena_printf(&r->arena, "{\"NodeKey\":\"%s\"%s}", key_text(r, &nobody.key), rows[i].more);
        const char *foreign_text, *stranger_text, *unknown_text;
        assert_int_equal(rig_client_call(&neighbour, "POST", rows[i].path, body, &foreign_text), 404);
        assert_int_equal(rig_client_call(&stranger, "POST", rows[i].path, body, &stranger_text), 404);
        assert_int_equal(rig_client_call(&stranger, "POST", rows[i].path, unknown, &unknown_text), 404);
        assert_string_equal(foreign_text, unknown_text);
        assert_string_equal(stranger_text, unknown_text);
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text, *body = arena_printf(&r->arena, "{\"NodeKey\":\"%s\"%s}", key_text(r, &d.key), rows[i].more);
        if (strstr(body, "stolen") == NULL)
            assert_int_equal(rig_client_call(&owner, "POST", rows[i].path, body, &text), rows[i].status);
        if (strstr(body, "ReadOnly") != NULL)
            assert_null(memmem(text, strlen(text), "stolen", 6));
    }
    /* Registration: the same words for a key that nobody has. */
    const char *theirs, *none;
    rig_client_call(&stranger, "POST", "/machine/register", register_body(r, &d, "", NULL), &theirs);
    rig_client_call(&stranger, "POST", "/machine/register", register_body(r, &nobody, "", NULL), &none);
    assert_string_equal(theirs, none);
    rig_client_call(&stranger, "POST", "/machine/register", register_body(r, &d, "", "1970-01-01T00:02:03Z"), &theirs);
    rig_client_call(&stranger, "POST", "/machine/register", register_body(r, &nobody, "", "1970-01-01T00:02:03Z"),
                    &none);
    assert_string_equal(theirs, none);
    assert_int_equal(rig_client_update(&owner, &d), 200);
    rig_client_close(&owner);
    rig_client_close(&neighbour);
    rig_client_close(&stranger);
}

static void test_several_connections(void **state)
{
    (void)state;
    struct client c, others[3];
    const char *first, *text;
    rig_client_open(&c, r, 0);
    rig_client_call(&c, "GET", "/machine/whoami", "", &first);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        rig_client_open_same(&others[i], &c, 0);
        assert_int_equal(rig_client_call(&others[i], "GET", "/machine/whoami", "", &text), 200);
        assert_string_equal(text, first);
    }
    rig_client_close(&c);
    assert_int_equal(rig_client_call(&others[2], "GET", "/machine/whoami", "", &text), 200);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        rig_client_close(&others[i]);
}

static void test_drain(void **state)
{
    (void)state;
    rig_wait_idle(r);
    struct rig *own = rig_create(1);
    struct client idle, busy;
    struct device d;
    struct reply poll;
    rig_client_open(&idle, own, 0);
    rig_join(own, &busy, &d, "busy", 0);
    rig_client_poll(&busy, &poll, &d, 0);
    reply_wait_frames(&poll, 1);
    control_drain(own->control);
    RIG_WAIT(own, idle.is_closed && busy.is_goaway);
    assert_false(poll.is_ended);
    rig_client_close(&idle);
    reply_fini(&poll);
    rig_client_close(&busy);
    rig_wait_idle(own);
    rig_destroy(own);
}

/* --- registering --- */

static int64_t registrations(const char *labels)
{
    return metric_read("fullscale_registrations_total", labels);
}

static void count_nodes(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    *(size_t *)ctx = state_node_count(st);
}

static size_t nodes(void)
{
    size_t n = 0;
    rig_on_core(r, count_nodes, &n);
    return n;
}

/* 200, an error in words, nothing else, and no new node. */
static void assert_refused(struct client *c, const char *body, const char *words)
{
    size_t before_n = nodes();
    int64_t before = registrations("result=\"refused\"");
    const char *text;
    struct str error;
    assert_int_equal(rig_client_call(c, "POST", "/machine/register", body, &text), 200);
    const struct json *answer = rig_json(r, text);
    assert_true(json_str(json_get(answer, "Error"), &error));
    assert_non_null(strstr(arena_str(&r->arena, error).p, words));
    assert_false(json_is_true(answer, "MachineAuthorized"));
    assert_true(json_says(answer, "AuthURL", ""));
    assert_int_equal(registrations("result=\"refused\""), before + 1);
    assert_int_equal(nodes(), before_n);
}

static void test_register(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    int64_t before = registrations("result=\"joined\"");
    rig_client_open(&c, r, 0);
    device_init(&d, "laptop");
    const struct json *answer = rig_client_register(&c, &d, rig_key(r, &(struct auth_key_spec){0}), NULL);
    assert_int_equal(json_len(answer), 7); /* every key, also the empty ones */
    assert_true(json_says(answer, "Error", ""));
    assert_true(json_says(answer, "AuthURL", ""));
    assert_true(json_is_null(json_get(answer, "NodeKeySignature")));
    assert_true(json_is_true(answer, "MachineAuthorized"));
    assert_false(json_is_true(answer, "NodeKeyExpired"));
    assert_int_equal(json_number(json_get(answer, "User"), "ID"), r->user);
    assert_true(json_says(json_get(answer, "User"), "DisplayName", "anna"));
    assert_true(json_says(json_get(answer, "Login"), "LoginName", "anna"));
    assert_int_equal(registrations("result=\"joined\""), before + 1);
    rig_client_close(&c);
}

static void test_register_again(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const char *key = rig_key(r, &(struct auth_key_spec){0});
    rig_client_open(&c, r, 0);
    device_init(&d, "again");
    rig_client_register(&c, &d, key, NULL);
    size_t n = nodes();
    /* A lost answer: the same key once more. A restart: none. */
    assert_true(json_is_true(rig_client_register(&c, &d, key, NULL), "MachineAuthorized"));
    assert_true(json_is_true(rig_client_register(&c, &d, "", NULL), "MachineAuthorized"));
    assert_true(json_is_true(rig_client_register(&c, &d, "nonsense", NULL), "MachineAuthorized"));
    assert_int_equal(nodes(), n);
    rig_client_close(&c);
}

/* Who was refused, why, and how it calls itself; the request is forgotten by then. */
static void test_a_refusal_is_in_the_log(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    char said[4096] = "";
    rig_client_open(&c, r, 0);
    device_init(&d, "visitor");
    const char *body = register_body(r, &d, "no key", NULL);
    FILE *log = tmpfile();
    int before = dup(STDERR_FILENO);
    assert_true(log != NULL && dup2(fileno(log), STDERR_FILENO) >= 0);
    assert_int_equal(log_set_level(NULL, LOG_WARN), RC_OK);
    int status = rig_client_call(&c, "POST", "/machine/register", body, NULL);
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    rewind(log);
    assert_true(fread(said, 1, sizeof(said) - 1, log) > 0);
    fclose(log);
    assert_int_equal(status, 200);
    assert_non_null(strstr(said, "registration refused why=\""));
    assert_non_null(strstr(said, "from=127.0.0.1 host=visitor\n"));
    rig_client_close(&c);
}

/* Nothing can be written: who would join is refused in words, who is there goes on, and a key for one machine is
 * good again afterwards. */
static void test_full_disk(void **state)
{
    (void)state;
    struct client c, late;
    struct device here, d;
    struct reply poll;
    const char *key = rig_key(r, &(struct auth_key_spec){0}), *text;
    rig_client_open(&c, r, 0);
    device_init(&here, "here");
    rig_client_register(&c, &here, rig_key(r, &(struct auth_key_spec){0}), NULL);
    size_t n = nodes();
    rig_client_open(&late, r, 0);
    device_init(&d, "late");
    store_memory_fail(r->store, RC_FULL);
    for (int i = 0; i < 3; i++) /* in a commit that fails, and while it is known that they do */
        assert_refused(&late, register_body(r, &d, key, NULL),
                       "the disk of the server is full; nothing is lost, try again");
    assert_refused(&late, register_body(r, &d, "no key", NULL), "not known here");
    assert_int_equal(metric_read("fullscale_store_failing", ""), 1);
    rig_client_poll(&c, &poll, &here, 0);
    reply_wait_frames(&poll, 1);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", "{}", &text), 404); /* it answers */
    assert_int_equal(nodes(), n);
    store_memory_fail(r->store, RC_OK);
    while (core_fault(r->core) != RC_OK)
        rig_on_core(r, NULL, NULL);
    rig_settle(r);
    assert_true(json_is_true(rig_client_register(&late, &d, key, NULL), "MachineAuthorized"));
    assert_int_equal(nodes(), n + 1);
    assert_int_equal(metric_read("fullscale_store_failing", ""), 0);
    device_init(&d, "second");
    assert_refused(&late, register_body(r, &d, key, NULL), "has been used");
    rig_client_close(&late);
    rig_client_close(&c);
    reply_fini(&poll);
}

struct claims {
    node_key key;
    char tags[64];
    size_t routes_n;
};

static void read_claims(struct state *st, int64_t now_ms, void *ctx)
{
    struct claims *c = ctx;
    const struct node *n = state_node_by_key(st, &c->key);
    (void)now_ms;
    RIG_CHECK(n != NULL && n->tags != NULL && n->tags->len < sizeof(c->tags));
    memcpy(c->tags, n->tags->data, n->tags->len);
    c->routes_n = n->advertised != NULL ? n->advertised->n : 0;
}

/* What a client asks for and offers in its Hostinfo. */
static void test_tags_and_routes(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    const struct str web = STR("tag:web");
    const char *tagged = rig_key(r, &(struct auth_key_spec){.is_reusable = true, .tags = &web, .tag_n = 1});
    rig_client_open(&c, r, 0);
    device_init(&d, "t\",\"RequestTags\":[\"tag:web\"],\"RoutableIPs\":[\"10.0.0.0/8\",\"::/0\"],\"App\":\"");
    assert_refused(&c, register_body(r, &d, rig_key(r, &(struct auth_key_spec){0}), NULL), "requested tags [tag:web]");
    assert_true(json_is_true(rig_client_register(&c, &d, tagged, NULL), "MachineAuthorized"));
    struct claims claims = {.key = d.key};
    rig_on_core(r, read_claims, &claims);
    assert_string_equal(claims.tags, "[\"tag:web\"]");
    assert_int_equal(claims.routes_n, 2);
    device_init(&d, "u\",\"RequestTags\":[\"tag:web\",\"tag:db\"],\"App\":\"");
    assert_refused(&c, register_body(r, &d, tagged, NULL), "requested tags [tag:db]");
    device_init(&d, "u\",\"RoutableIPs\":[\"10.0.0.0/99\",\"fd00::/8\"],\"App\":\"");
    assert_true(json_is_true(rig_client_register(&c, &d, tagged, NULL), "MachineAuthorized"));
    claims = (struct claims){.key = d.key};
    rig_on_core(r, read_claims, &claims);
    assert_int_equal(claims.routes_n, 1); /* what is no prefix is left out */
    rig_client_close(&c);
}

static void expire_key(struct state *st, int64_t now_ms, void *ctx)
{
    struct err err;
    RIG_CHECK(state_key_expire(st, state_key_by_text(st, str_c(ctx))->id, now_ms, &err) == RC_OK);
}

static void test_refused_keys(void **state)
{
    (void)state;
    struct client c, other;
    struct device d, taken;
    const char *used = rig_key(r, &(struct auth_key_spec){0});
    const char *expired = rig_key(r, &(struct auth_key_spec){.is_reusable = true});
    rig_on_core(r, expire_key, (void *)expired);
    rig_client_open(&other, r, 0);
    device_init(&taken, "taken");
    rig_client_register(&other, &taken, used, NULL);
    rig_client_open(&c, r, 0);
    device_init(&d, "refused");
    assert_refused(&c, register_body(r, &d, used, NULL), "single use");
    assert_refused(&c, register_body(r, &d, expired, NULL), "expired");
    assert_refused(&c, register_body(r, &d, "hskey-auth-nonsense", NULL), "not known");
    assert_refused(&c, register_body(r, &d, "", NULL), "auth key");
    assert_refused(&c, register_body(r, &d, arena_printf(&r->arena, "%.*s", (int)strlen(used) - 1, used), NULL),
                   "not known");
    /* Another machine's node key: also with a good key. */
    assert_refused(&c, register_body(r, &taken, rig_key(r, &(struct auth_key_spec){0}), NULL), "another machine");
    d.key = (node_key){{0}};
    assert_refused(&c, register_body(r, &d, rig_key(r, &(struct auth_key_spec){0}), NULL), "node key");
    rig_client_close(&c);
    rig_client_close(&other);
}

static void test_reusable_key(void **state)
{
    (void)state;
    const char *key = rig_key(r, &(struct auth_key_spec){.is_reusable = true});
    for (int i = 0; i < 3; i++) {
        struct client c;
        struct device d;
        rig_client_open(&c, r, 0);
        device_init(&d, "many");
        assert_true(json_is_true(rig_client_register(&c, &d, key, NULL), "MachineAuthorized"));
        rig_client_close(&c);
    }
}

static void test_old_clients(void **state)
{
    (void)state;
    static const uint16_t versions[] = {0, 1, 28, 112};
    struct device d;
    device_init(&d, "old");
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct client c;
        const char *text;
        rig_client_init(&c, r);
        c.version = versions[i]; /* what Noise proves counts, whatever the body says */
        rig_client_dial(&c, 0);
        assert_refused(&c, register_body(r, &d, rig_key(r, &(struct auth_key_spec){0}), NULL), "1.80");
        assert_int_equal(rig_client_call(&c, "POST", "/machine/map", map_body(r, &d, MAP_POLL), &text), 400);
        assert_non_null(strstr(text, "1.80"));
        rig_client_close(&c);
    }
}

static void test_new_clients(void **state)
{
    (void)state;
    static const uint16_t versions[] = {113, 1000, 65535};
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct client c;
        struct device d;
        device_init(&d, "new");
        rig_client_init(&c, r);
        c.version = versions[i];
        rig_client_dial(&c, 0);
        assert_true(json_is_true(rig_client_register(&c, &d, rig_key(r, &(struct auth_key_spec){0}), NULL),
                                 "MachineAuthorized"));
        rig_client_close(&c);
    }
}

static void test_logout(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    rig_join(r, &c, &d, "leaving", 0);
    for (int i = 0; i < 2; i++) { /* idempotent */
        const struct json *answer = rig_client_register(&c, &d, "", "1970-01-01T00:02:03Z");
        assert_true(json_is_true(answer, "NodeKeyExpired"));
        assert_false(json_is_true(answer, "MachineAuthorized"));
        assert_true(json_says(answer, "Error", ""));
    }
    assert_true(json_is_true(rig_client_register(&c, &d, "", NULL), "NodeKeyExpired"));
    rig_client_close(&c);
}

/* --- hostile bodies --- */

static char *nested(const char *before, size_t depth)
{
    size_t n = strlen(before);
    char *body = mem_zalloc(1, n + depth + 1);
    memcpy(body, before, n);
    memset(body + n, '[', depth);
    return body;
}

static void test_malformed_bodies(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{",
        "null",
        "[]",
        "\"",
        "{}x",
        "\xff\xfe",
        "{\"NodeKey\":1}",
        "{\"NodeKey\":\"nodekey:zz\"}",
        "{\"Auth\":[]}",
        "{\"Expiry\":\"yesterday\"}",
        "{\"Version\":\"142\"}",
        "{\"Hostinfo\":[1]}",
    };
    struct client c;
    rig_client_open(&c, r, 0);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        assert_refused(&c, bodies[i], "did not understand");
        if (strstr(bodies[i], "Auth") == NULL && strstr(bodies[i], "Expiry") == NULL) /* not members of a map request */
            assert_int_equal(rig_client_call(&c, "POST", "/machine/map", bodies[i], NULL), 400);
    }
    rig_client_close(&c);
}

static void test_deep_json(void **state)
{
    (void)state;
    static const char *const heads[] = {"", "{\"Hostinfo\":", "{\"x\":"};
    struct client c;
    rig_client_open(&c, r, 0);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        char *body = nested(heads[i], 50000);
        assert_refused(&c, body, "did not understand");
        assert_int_equal(rig_client_call(&c, "POST", "/machine/map", body, NULL), 400);
        mem_free(body);
    }
    rig_client_close(&c);
}

static void call_with_blanks(struct client *c, size_t size, const char *request, int want, const char **text_out)
{
    char *body = mem_alloc(size + 1);
    memset(body, ' ', size);
    memcpy(body + size - strlen(request), request, strlen(request) + 1);
    assert_int_equal(rig_client_call(c, "POST", "/machine/register", body, text_out), want);
    mem_free(body);
}

static void test_large_body(void **state)
{
    (void)state;
    struct client c;
    struct device d;
    char *body = mem_alloc(HTTP_MAX_BODY_BYTES + 2);
    int64_t before = metric_read("fullscale_http_refused_total", "reason=\"body\"");
    memset(body, ' ', HTTP_MAX_BODY_BYTES + 1);
    body[HTTP_MAX_BODY_BYTES + 1] = '\0';
    rig_client_open(&c, r, 0);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/register", body, NULL), 413);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", body, NULL), 413);
    assert_int_equal(metric_read("fullscale_http_refused_total", "reason=\"body\""), before + 2);
    /* The largest that is taken of a stranger, and of a node. */
    device_init(&d, "large");
    const char *request = register_body(r, &d, rig_key(r, &(struct auth_key_spec){0}), NULL);
    const char *text;
    call_with_blanks(&c, HTTP_STRANGER_BODY_BYTES + 1, request, 413, NULL);
    call_with_blanks(&c, HTTP_STRANGER_BODY_BYTES, request, 200, &text);
    assert_true(json_is_true(rig_json(r, text), "MachineAuthorized"));
    call_with_blanks(&c, HTTP_MAX_BODY_BYTES, request, 200, &text);
    mem_free(body);
    /* It is known from the handshake on when it comes back. */
    struct client again;
    rig_client_open_same(&again, &c, 0);
    call_with_blanks(&again, HTTP_MAX_BODY_BYTES, request, 200, &text);
    rig_client_close(&again);
    rig_client_close(&c);
}

/* The server refuses as soon as it is too much, and takes little of the rest. */
static void test_huge_body(void **state)
{
    (void)state;
    static const size_t huge = 100 * 1024 * 1024;
    struct client c;
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    char *body = mem_alloc(huge + 1);
    memset(body, '[', huge);
    body[huge] = '\0';
    rig_client_init(&c, r);
    rig_client_begin(&c, 0);
    struct stream *tcp = c.s;
    RIG_WAIT(r, c.h2 != NULL);
    assert_int_equal(rig_client_call(&c, "POST", "/machine/map", body, NULL), 413);
    mem_free(body);
    assert_int_equal(rig_client_call(&c, "GET", "/machine/whoami", "", NULL), 200);
    assert_int_equal(getsockopt(tcp_stream_fd(tcp), IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    assert_true(info.tcpi_bytes_acked < 16 * 1024 * 1024);
    rig_client_close(&c);
}

/* --- going away --- */

/* While the core is busy, requests of all kinds are begun and dropped in each way there is. */
static void drop_with(bool is_cancel)
{
    struct client c, gone;
    struct device d, new_one;
    struct reply replies[5];
    rig_join(r, &c, &d, "dropping", 0);
    rig_client_open_same(&gone, &c, 0);
    device_init(&new_one, "never-told");
    const char *register_new = register_body(r, &new_one, rig_key(r, &(struct auth_key_spec){0}), NULL);
    size_t before = nodes();
    rig_hold_core(r);
    rig_client_poll(&gone, &replies[0], &d, MAP_ZSTD);
    rig_client_send(&gone, &replies[1], "POST", "/machine/map", map_body(r, &d, MAP_OMIT_PEERS));
    rig_client_send(&gone, &replies[2], "POST", "/machine/map", map_body(r, &d, MAP_READ_ONLY));
    rig_client_poll(&gone, &replies[3], &new_one, 0); /* not known yet */
    rig_client_send(&gone, &replies[4], "POST", "/machine/register", register_new);
    assert_int_equal(rig_client_call(&gone, "GET", "/machine/whoami", "", NULL), 200); /* all have been posted */
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        if (is_cancel)
            h2_client_cancel(gone.h2, replies[i].id);
        reply_fini(&replies[i]);
    }
    if (is_cancel)
        assert_int_equal(rig_client_call(&gone, "GET", "/machine/whoami", "", NULL), 200);
    else
        h2_client_destroy(&gone.h2);
    while (!is_cancel && rig_conns() > 2)
        rig_on_worker(r, 0, NULL, NULL);
    rig_release_core(r);
    rig_settle(r);
    assert_int_equal(rig_sessions(), 0);
    assert_int_equal(nodes(), before);
    /* It has got its new key, and may ask again. */
    assert_true(json_is_true(rig_client_register(&c, &new_one, "", NULL), "MachineAuthorized"));
    rig_client_close(&gone);
    rig_client_close(&c);
    rig_wait_idle(r);
}

static void test_cancelled_while_the_core_works(void **state)
{
    (void)state;
    drop_with(true);
}

static void test_closed_while_the_core_works(void **state)
{
    (void)state;
    drop_with(false);
}

/* --- one key, many machines --- */

enum { RACERS = 5, RACER_JOBS = 10, RACE_ROUNDS = 200, RACE_JOBS = RACERS * RACER_JOBS };

struct race_job {
    struct core_job job;
    struct race *race;
    struct registration reg;
    enum register_outcome outcome;
    bool says_used;
};

struct race {
    struct race_job jobs[RACE_JOBS];
    pthread_barrier_t start;
    unsigned answered;
};

/* One of the threads that race. */
struct racer {
    struct race *race;
    unsigned index;
};

static void race_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct race_job *j = (struct race_job *)job;
    struct register_result result;
    state_register(st, &j->reg, now_ms, &result);
    j->outcome = result.outcome;
    j->says_used = result.outcome == REGISTER_REFUSED && strstr(result.err.text, "has been used") != NULL;
}

static void race_done(struct core_job *job)
{
    struct race_job *j = (struct race_job *)job;
    j->race->answered++;
    rig_wake(r);
}

static void *race_thread(void *arg)
{
    const struct racer *me = arg;
    for (int round = 0; round < RACE_ROUNDS; round++) {
        pthread_barrier_wait(&me->race->start);
        for (unsigned i = 0; i < RACER_JOBS; i++)
            core_post(r->core, &me->race->jobs[me->index * RACER_JOBS + i].job);
    }
    return NULL;
}

static void race_prepare(struct race *race, const char *key)
{
    race->answered = 0;
    for (size_t i = 0; i < RACE_JOBS; i++) {
        struct race_job *j = &race->jobs[i];
        *j = (struct race_job){.job = {.home = r->loop, .run = race_run, .done = race_done}, .race = race};
        rng_bytes(&j->reg.machine, sizeof(j->reg.machine));
        rng_bytes(&j->reg.key, sizeof(j->reg.key));
        rng_bytes(j->reg.random, sizeof(j->reg.random));
        j->reg.auth_key = str_c(key);
        j->reg.report.hostname = STR("racer");
    }
}

static void assert_one_has_won(const struct race *race)
{
    unsigned winners = 0, told = 0;
    for (size_t i = 0; i < RACE_JOBS; i++) {
        winners += race->jobs[i].outcome == REGISTER_OK && race->jobs[i].job.refused == RC_OK;
        told += race->jobs[i].says_used;
    }
    assert_int_equal(winners, 1);
    assert_int_equal(told, RACE_JOBS - 1);
}

/* Many machines at once show a key that is good for one: one gets in, the others are told why not. */
static void test_single_use_key_raced(void **state)
{
    (void)state;
    static struct race race;
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    size_t before = nodes();
    assert_int_equal(pthread_barrier_init(&race.start, NULL, RACERS + 1), 0);
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_thread, &racers[i]), 0);
    }
    for (int round = 0; round < RACE_ROUNDS; round++) {
        race_prepare(&race, rig_key(r, &(struct auth_key_spec){0}));
        pthread_barrier_wait(&race.start);
        RIG_WAIT(r, race.answered == RACE_JOBS);
        assert_one_has_won(&race);
    }
    for (unsigned i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&race.start);
    assert_int_equal(nodes(), before + RACE_ROUNDS);
}

/* --- a disk that takes its time --- */

enum { CROWD = 12, CROWD_BOUND = 20 };

/* A machine that registers as many nodes at once. */
struct crowd {
    struct client c;
    struct device d[CROWD];
    struct reply replies[CROWD];
};

static void crowd_begin(struct crowd *all, const char *key)
{
    rig_client_open(&all->c, r, 0);
    for (size_t i = 0; i < CROWD; i++) {
        device_init(&all->d[i], "one-of-many");
        rig_client_send(&all->c, &all->replies[i], "POST", "/machine/register",
                        register_body(r, &all->d[i], key, NULL));
    }
}

static size_t crowd_ended(const struct crowd *all)
{
    size_t n = 0;
    for (size_t i = 0; i < CROWD; i++)
        n += all->replies[i].is_ended;
    return n;
}

/* How many of the answers that are there say this. */
static size_t crowd_count(struct crowd *all, const char *words)
{
    size_t n = 0;
    for (size_t i = 0; i < CROWD; i++) {
        if (all->replies[i].is_ended && all->replies[i].status == 200)
            n += strstr(buf_cstr(&all->replies[i].body), words) != NULL;
    }
    return n;
}

static void crowd_end(struct crowd *all)
{
    for (size_t i = 0; i < CROWD; i++)
        reply_fini(&all->replies[i]);
    rig_client_close(&all->c);
}

/* Until so many jobs of a kind wait. */
static void wait_waiting(enum waiting_kind kind, size_t n)
{
    int64_t deadline_ms = clock_mono_ms() + RIG_GUARD_MS;
    while (waiting_jobs(core_waiting(r->core), kind) != n) {
        assert_true(clock_mono_ms() < deadline_ms);
        rig_on_worker(r, 0, NULL, NULL);
    }
}

/* The disk is slow, and strangers ask for more than may wait: those that are too many hear so at once, who is known
 * here and the admin get through, and whoever waits gets his answer. */
static void test_what_waits_for_the_disk_is_bounded(void **state)
{
    (void)state;
    static struct crowd first, second;
    struct client known, late;
    struct device node, renewed, other;
    struct reply again;
    rig_settle(r);
    rig_join(r, &known, &node, "known", 0);
    rig_client_open(&late, r, 0);
    const char *key = rig_key(r, &(struct auth_key_spec){.is_reusable = true});
    const char *text;
    waiting_set_limit(core_waiting(r->core), WAIT_STRANGER, CROWD_BOUND);
    int64_t crowded = metric_read("fullscale_core_crowded_out_total", "who=\"stranger\"");
    store_memory_hold(r->store);
    crowd_begin(&first, key);
    wait_waiting(WAIT_STRANGER, CROWD);
    crowd_begin(&second, key);
    RIG_WAIT(r, crowd_ended(&second) >= 2 * CROWD - CROWD_BOUND);
    wait_waiting(WAIT_STRANGER, CROWD_BOUND);
    assert_int_equal(crowd_ended(&first), 0);
    assert_int_equal(crowd_count(&second, "the server is busy, try again"), 2 * CROWD - CROWD_BOUND);
    assert_int_equal(crowd_count(&second, "\"MachineAuthorized\":false"), 2 * CROWD - CROWD_BOUND);
    device_init(&other, "late");
    assert_int_equal(rig_client_call(&late, "POST", "/machine/map", map_body(r, &other, 0), &text), 503);
    assert_non_null(strstr(text, "the server is busy, try again"));
    assert_int_equal(metric_read("fullscale_core_crowded_out_total", "who=\"stranger\""),
                     crowded + 2 * CROWD - CROWD_BOUND + 1);
    assert_int_equal(rig_client_update(&known, &node), 200);
    device_init(&renewed, "known");
    renewed.old_key = node.key;
    rig_client_send(&known, &again, "POST", "/machine/register", register_body(r, &renewed, key, NULL));
    wait_waiting(WAIT_NODE, 1);
    struct rig_core_call admin;
    rig_core_call_init(&admin, r, NULL, NULL);
    const struct waiting_sender sender = waiting_sender_key(WAIT_ADMIN, "", 0);
    assert_true(core_offer(r->core, &admin.job, &sender, sizeof(admin)));
    store_memory_release(r->store);
    RIG_WAIT(r, crowd_ended(&first) == CROWD && crowd_ended(&second) == CROWD && again.is_ended && admin.is_done);
    assert_int_equal(crowd_count(&first, "\"MachineAuthorized\":true"), CROWD);
    assert_int_equal(crowd_count(&second, "\"MachineAuthorized\":true"), CROWD_BOUND - CROWD);
    assert_non_null(strstr(buf_cstr(&again.body), "\"MachineAuthorized\":true"));
    for (int kind = 0; kind < WAIT_KINDS; kind++)
        wait_waiting(kind, 0);
    waiting_set_limit(core_waiting(r->core), WAIT_STRANGER, WAIT_STRANGERS_JOBS);
    reply_fini(&again);
    crowd_end(&first);
    crowd_end(&second);
    rig_client_close(&known);
    rig_client_close(&late);
    rig_wait_idle(r);
}

/* Clients that leave while what they asked for is being written: nothing of their requests is touched any more, also
 * not for the log, and what they hold waiting stays charged to them. */
static void leave_while_written(bool is_cancel)
{
    static struct crowd gone;
    struct client c;
    struct device d;
    struct reply poll;
    rig_settle(r);
    rig_join(r, &c, &d, "staying", 0);
    const char *key = rig_key(r, &(struct auth_key_spec){.is_reusable = true});
    size_t before = nodes();
    store_memory_hold(r->store);
    crowd_begin(&gone, key);
    wait_waiting(WAIT_STRANGER, CROWD);
    rig_client_poll(&gone.c, &poll, &gone.d[0], MAP_ZSTD); /* of a node that is not on disk yet */
    for (size_t i = 0; i < CROWD; i++) {
        if (is_cancel)
            h2_client_cancel(gone.c.h2, gone.replies[i].id);
        reply_fini(&gone.replies[i]);
    }
    reply_fini(&poll);
    if (is_cancel)
        assert_int_equal(rig_client_call(&gone.c, "GET", "/machine/whoami", "", NULL), 200);
    else
        h2_client_destroy(&gone.c.h2);
    while (!is_cancel && rig_conns() > 2) /* both ends of the other connection */
        rig_on_worker(r, 0, NULL, NULL);
    wait_waiting(WAIT_STRANGER, CROWD); /* what they asked is still there, and charged to them */
    store_memory_fail(r->store, RC_FULL);
    store_memory_release(r->store);
    rig_settle(r);
    store_memory_fail(r->store, RC_OK);
    while (core_fault(r->core) != RC_OK)
        rig_on_core(r, NULL, NULL);
    rig_settle(r);
    wait_waiting(WAIT_STRANGER, 0);
    assert_int_equal(nodes(), before);
    assert_int_equal(rig_client_update(&c, &d), 200);
    rig_client_close(&gone.c);
    rig_client_close(&c);
    rig_wait_idle(r);
}

static void test_gone_while_it_is_written(void **state)
{
    (void)state;
    rig_wait_idle(r);
    leave_while_written(true);
    leave_while_written(false);
}

/* --- a start --- */

static void no_one_published(void *ctx, struct change *c)
{
    (void)ctx;
    (void)c;
}

static void no_one_revoked(void *ctx, const node_key *key)
{
    (void)ctx;
    (void)key;
}

static void find_after_tick(struct state *st, int64_t now_ms, void *found_out)
{
    state_tick(st, now_ms);
    *(bool *)found_out = state_node(st, 5) != NULL;
}

/* A machine whose clock was a year late while the state was loaded: its ephemeral nodes get their time to come back. */
static void test_clock_set_between_loading_and_start(void **state)
{
    (void)state;
    const int64_t year_ms = INT64_C(365) * 24 * 3600 * 1000;
    const struct core_hooks hooks = {.published = no_one_published, .key_revoked = no_one_revoked};
    const struct row_counters counters = {.next_node = 6};
    struct rig one = {.loop = r->loop, .guard = r->guard};
    int64_t apart_ms = core_clocks_apart_ms() - year_ms;
    struct state *st = rig_state();
    struct node *n = node_create(0);
    bool is_found = false;
    n->id = 5;
    n->user = TAGGED_DEVICES_USER;
    n->key.b[0] = 5;
    n->is_ephemeral = true;
    n->expires_ms = NO_EXPIRY;
    snprintf(n->name, sizeof(n->name), "runner");
    assert_int_equal(state_load_node(st, n, NULL), RC_OK);
    state_load_done(st, &counters, clock_wall_ms() - year_ms);
    assert_int_equal(store_open_memory(&one.store), RC_OK);
    one.core = core_create(st, one.store, apart_ms, &hooks);
    core_start(one.core);
    rig_on_core(&one, find_after_tick, &is_found);
    core_stop(one.core);
    store_close(&one.store);
    core_destroy(&one.core);
    assert_true(is_found);
}

static int setup(void **state)
{
    (void)state;
    r = rig_create(1);
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
        cmocka_unit_test_setup_teardown(test_small_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_a_nodes_machine_speaks_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_connections, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_register, setup, teardown),
        cmocka_unit_test_setup_teardown(test_register_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_refusal_is_in_the_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reusable_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deep_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_huge_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled_while_the_core_works, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_while_the_core_works, setup, teardown),
        cmocka_unit_test_setup_teardown(test_single_use_key_raced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_for_the_disk_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_while_it_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock_set_between_loading_and_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
