/* The API from outside: a real core on a memory store, a real unix socket, and requests written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/api.h"
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "net/tcp.h"

struct fixture {
    char path[64];
    struct store *store;
    struct core *core;
    struct api api;
    struct api_policy policy;
    struct loop *loop;
    struct http_server *server;
    struct tcp_listener *listener;
    pthread_t thread;
    /* of the last request */
    struct arena arena;
    int status;
    const char *head;
    const struct json *reply;
};

/* --- a server --- */

static void on_published(void *ctx, struct change *c)
{
    (void)ctx;
    (void)c;
}

static void on_key_revoked(void *ctx, const node_key *key)
{
    (void)ctx;
    (void)key;
}

static struct state *new_state(void)
{
    struct state_options options = {.v4_bits = 10, .v6_bits = 48, .ephemeral_timeout_ms = 60000};
    struct tailnet_settings *settings = tailnet_settings_create();
    settings->derp_map_json = rcbuf_create("{}", 2);
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    return state_create(&options, settings);
}

static void *serve(void *arg)
{
    struct fixture *f = arg;
    loop_run(f->loop);
    return NULL;
}

static int setup_with(void **state, const char *policy_path, const char *fault)
{
    static const struct core_hooks hooks = {NULL, on_published, on_key_revoked, NULL, NULL};
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err;
    struct state *st = new_state();
    *state = f;
    f->policy.path = policy_path;
    buf_append_c(&f->policy.fault, fault);
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    assert_int_equal(store_open_memory(&f->store), RC_OK);
    assert_int_equal(store_load(f->store, st, clock_wall_ms(), &err), RC_OK);
    f->core = core_create(st, f->store, core_clocks_apart_ms(), &hooks);
    f->api.core = f->core;
    f->api.policy = &f->policy;
    f->api.compare_thread = api_compare_thread_create();
    f->loop = loop_create(0);
    struct http_server_opts opts = {.loop = f->loop, .app = &f->api, .unmatched = api_unmatched};
    f->server = http_server_create(&opts);
    api_mount(&f->api, f->server);
    snprintf(f->path, sizeof(f->path), "/tmp/fullscale-api-%d.sock", (int)getpid());
    assert_int_equal(tcp_listen_unix(f->loop, f->path, 0600, http_server_accept, f->server, &f->listener, &err), RC_OK);
    core_start(f->core);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, NULL, "");
}

static int setup_file(void **state)
{
    return setup_with(state, "/etc/policy.hujson", "/etc/policy.hujson:1:2: oh\n");
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    api_compare_thread_destroy(&f->api.compare_thread);
    tcp_listener_destroy(&f->listener);
    http_server_destroy(&f->server);
    core_stop(f->core);
    store_close(&f->store);
    core_destroy(&f->core);
    loop_stop(f->loop);
    loop_run(f->loop);
    loop_destroy(&f->loop);
    arena_fini(&f->arena);
    buf_fini(&f->policy.fault);
    unlink(f->path);
    mem_free(f);
    return 0;
}

/* --- a client --- */

static int dial(const struct fixture *f)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void send_request(int fd, const char *method, const char *path, const char *body)
{
    struct buf text = {0};
    buf_printf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", method,
               path, strlen(body), body);
    while (buf_len(&text) > 0) {
        ssize_t n = write(fd, buf_at(&text), buf_len(&text));
        assert_true(n > 0);
        buf_consume(&text, (size_t)n);
    }
    buf_fini(&text);
}

enum { ANY_STATUS = 0 };

/* Sends one request and reads the answer to the end. */
static const struct json *call(struct fixture *f, int status, const char *method, const char *path, const char *body)
{
    char chunk[4096];
    ssize_t n;
    struct buf in = {0};
    int fd = dial(f);
    send_request(fd, method, path, body);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_append(&in, chunk, (size_t)n);
    close(fd);
    const char *text = arena_str(&f->arena, buf_str(&in)).p;
    buf_fini(&in);
    const char *end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    f->head = text;
    f->status = (int)strtol(text + 9, NULL, 10);
    f->reply = NULL;
    if (status != ANY_STATUS && f->status != status)
        fail_msg("%s %s %.500s: %.2000s", method, path, body, text);
    assert_int_equal(json_parse(&f->arena, str_c(end + 4), NULL, &f->reply, NULL), RC_OK);
    return f->reply;
}

static const char *text_of(struct fixture *f, const struct json *object, const char *key)
{
    struct str s;
    if (!json_str(json_get(object, key), &s))
        fail_msg("no %s", key);
    return arena_str(&f->arena, s).p;
}

static bool flag_of(const struct json *object, const char *key)
{
    bool v = false;
    if (!json_bool(json_get(object, key), &v))
        fail_msg("no %s", key);
    return v;
}

/* A refusal says why, in the forms that old and new tools read. */
static void refused(struct fixture *f, int status, const char *method, const char *path, const char *body,
                    const char *detail)
{
    int64_t number;
    call(f, status, method, path, body);
    if (strstr(text_of(f, f->reply, "detail"), detail) == NULL)
        fail_msg("%s %s: %s", method, path, text_of(f, f->reply, "detail"));
    assert_string_equal(text_of(f, f->reply, "message"), text_of(f, f->reply, "detail"));
    assert_true(json_i64(json_get(f->reply, "status"), &number));
    assert_int_equal(number, status);
    assert_true(json_i64(json_get(f->reply, "code"), &number));
    assert_true(number > 0);
    assert_non_null(strstr(f->head, "application/problem+json"));
}

/* --- a node joins --- */

struct join {
    struct core_job job; /* first */
    char key[AUTH_KEY_TEXT_CAP];
    char hostname[32];
    uint8_t number;
};

static void run_join(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct join *j = CONTAINER_OF(job, struct join, job);
    struct registration reg = {.auth_key = str_c(j->key)};
    struct register_result result;
    memset(reg.machine.b, j->number, KEY_BYTES);
    memset(reg.key.b, 100 + j->number, KEY_BYTES);
    reg.random[0] = j->number;
    reg.report.hostname = str_c(j->hostname);
    reg.report.cap_version = 120;
    static const char hostinfo[] = "{\"OS\":\"linux\",\"IPNVersion\":\"1.102.5\"}";
    reg.report.hostinfo = rcbuf_create(hostinfo, sizeof(hostinfo) - 1);
    struct prefix routes[] = {{.ip = {.family = 4, .ip = {10}}, .bits = 8}, {.ip.family = 4}, {.ip.family = 6}};
    reg.report.routes = prefix_list_create(routes, ARRAY_LEN(routes));
    state_register(st, &reg, now_ms, &result);
    if (result.outcome != REGISTER_OK)
        abort();
    rcbuf_unref(&reg.report.hostinfo);
    prefix_list_unref(&reg.report.routes);
}

static void join(struct fixture *f, const char *key, const char *hostname, uint8_t number)
{
    struct join *j = MEM_NEW(struct join);
    j->job.run = run_join;
    snprintf(j->key, sizeof(j->key), "%s", key);
    snprintf(j->hostname, sizeof(j->hostname), "%s", hostname);
    j->number = number;
    core_post(f->core, &j->job);
}

static const char *new_key(struct fixture *f, const char *body)
{
    return text_of(f, json_get(call(f, 200, "POST", "/api/v1/preauthkey", body), "preAuthKey"), "key");
}

/* --- tests --- */

static void test_users(void **state)
{
    struct fixture *f = *state;
    const struct json *user = json_get(
        call(
            f, 200, "POST", "/api/v1/user",
            "{\"name\":\"anna\",\"displayName\":\"Anna <N>\",\"email\":\"a@b.c\",\"pictureUrl\":null,\"unknown\":[1]}"),
        "user");
    assert_string_equal(text_of(f, user, "id"), "1");
    assert_string_equal(text_of(f, user, "name"), "anna");
    assert_string_equal(text_of(f, user, "displayName"), "Anna <N>");
    assert_string_equal(text_of(f, user, "profilePicUrl"), "");
    assert_true(str_ends(str_c(text_of(f, user, "createdAt")), STR("Z")));
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user", ""), "users")), 2);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user?id=2", ""), "users")), 1);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user?name=bert&email=", ""), "users")), 1);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user?email=no", ""), "users")), 0);
    user = json_get(call(f, 200, "POST", "/api/v1/user/2/rename/bert%40b.c", ""), "user");
    assert_string_equal(text_of(f, user, "name"), "bert@b.c");
    assert_int_equal(json_len(call(f, 200, "DELETE", "/api/v1/user/2", "")), 0);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user", ""), "users")), 1);

    assert_string_equal(text_of(f, json_first(json_get(f->reply, "users")), "role"), "owner");
    user = json_get(call(f, 200, "POST", "/api/v1/user/1/role", "{\"role\":\"network-admin\"}"), "user");
    assert_string_equal(text_of(f, user, "role"), "network-admin");

    refused(f, 400, "POST", "/api/v1/user/1/role", "{\"role\":\"king\"}", "one of owner, admin");
    refused(f, 400, "POST", "/api/v1/user/1/role", "", "one of owner, admin");
    refused(f, 404, "POST", "/api/v1/user/77/role", "{\"role\":\"member\"}", "no user");
    refused(f, 409, "POST", "/api/v1/user", "{\"name\":\"anna\"}", "already");
    refused(f, 400, "POST", "/api/v1/user", "", "");
    refused(f, 400, "POST", "/api/v1/user", "{\"name\":[]}", "name must be text");
    refused(f, 400, "POST", "/api/v1/user", "{\"name\":\"a\\u0000b\"}", "NUL");
    refused(f, 400, "POST", "/api/v1/user", "{\"name\":", "the body is no JSON: line 1");
    refused(f, 400, "POST", "/api/v1/user", "[]", "must be a JSON object");
    refused(f, 400, "GET", "/api/v1/user?id=x", "", "no id");
    refused(f, 404, "DELETE", "/api/v1/user/77", "", "no user with id 77");
    refused(f, 400, "DELETE", "/api/v1/user/anna", "", "\"anna\" is no id");
    refused(f, 404, "POST", "/api/v1/user/77/rename/x", "", "no user");
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    const struct json *key = json_get(call(f, 200, "POST", "/api/v1/preauthkey",
                                           "{\"user\":1,\"reusable\":true,\"ephemeral\":true,\"aclTags\":[\"tag:web\"],"
                                           "\"expiration\":\"2099-01-01T00:00:00Z\"}"),
                                      "preAuthKey");
    const char *text = text_of(f, key, "key");
    assert_true(strlen(text) > 64);
    assert_true(flag_of(key, "reusable"));
    assert_true(flag_of(key, "ephemeral"));
    assert_false(flag_of(key, "used"));
    assert_string_equal(text_of(f, key, "expiration"), "2099-01-01T00:00:00Z");
    assert_string_equal(text_of(f, json_get(key, "user"), "name"), "anna");
    assert_int_equal(json_len(json_get(key, "aclTags")), 1);
    /* "none given" is for ever, not the year 1 */
    key = json_get(call(f, 200, "POST", "/api/v1/preauthkey", "{\"user\":\"anna\",\"expiration\":null}"), "preAuthKey");
    assert_true(json_is_null(json_get(key, "expiration")));
    const char *second = text_of(f, key, "key");

    const struct json *keys = json_get(call(f, 200, "GET", "/api/v1/preauthkey?user=anna", ""), "preAuthKeys");
    assert_int_equal(json_len(keys), 2);
    assert_string_equal(text_of(f, json_first(keys), "id"), "1");
    const char *shown = text_of(f, json_first(keys), "key");
    assert_true(str_ends(str_c(shown), STR("-***")));
    assert_null(strstr(f->head, text));

    char body[256];
    call(f, 200, "POST", "/api/v1/preauthkey/expire", "{\"id\":\"1\"}");
    snprintf(body, sizeof(body), "{\"user\":\"1\",\"key\":\"%s\"}", second);
    call(f, 200, "POST", "/api/v1/preauthkey/expire", body);
    snprintf(body, sizeof(body), "{\"key\":\"%s\"}", shown);
    call(f, 200, "POST", "/api/v1/preauthkey/expire", body);
    keys = json_get(call(f, 200, "GET", "/api/v1/preauthkey", ""), "preAuthKeys");
    assert_false(json_is_null(json_get(json_next(json_first(keys)), "expiration")));
    call(f, 200, "DELETE", "/api/v1/preauthkey?id=1", "");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/preauthkey", ""), "preAuthKeys")), 1);

    refused(f, 400, "POST", "/api/v1/preauthkey", "{}", "needs a user or tags");
    refused(f, 404, "POST", "/api/v1/preauthkey", "{\"user\":\"nobody\"}", "no user \"nobody\"");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"expiration\":\"tomorrow\"}", "must be a time");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"expiration\":\"2001-01-01T00:00:00Z\"}", "expired");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"reusable\":\"yes\"}",
            "reusable must be true or false");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":\"tag:a\"}", "array of texts");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":[1]}", "array of texts");
    refused(f, 400, "POST", "/api/v1/preauthkey", "{\"user\":1,\"aclTags\":[\"web\"]}", "is no tag");
    refused(f, 404, "POST", "/api/v1/preauthkey/expire", "{\"id\":99}", "no auth key");
    refused(f, 404, "POST", "/api/v1/preauthkey/expire", "{\"key\":\"nonsense\"}", "no such auth key");
    refused(f, 400, "POST", "/api/v1/preauthkey/expire", "{}", "no id");
    refused(f, 404, "DELETE", "/api/v1/preauthkey?id=99", "", "no auth key");
    refused(f, 400, "DELETE", "/api/v1/preauthkey", "", "no id");
}

static void test_relays(void **state)
{
    struct fixture *f = *state;
    int64_t region;
    const struct json *relay = json_get(
        call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"fra\",\"regionName\":\"Frankfurt\"}"), "relay");
    const char *key = text_of(f, relay, "key");
    assert_int_equal(strncmp(key, "fskey-relay-", 12), 0);
    assert_int_equal(strlen(key), 12 + 12 + 1 + 64);
    assert_true(json_i64(json_get(relay, "regionId"), &region));
    assert_int_equal(region, 901);
    assert_string_equal(text_of(f, relay, "regionCode"), "fra");
    assert_false(flag_of(relay, "up"));
    call(f, 200, "POST", "/api/v1/relay", "{\"name\":\"fra-2\",\"regionId\":901}");
    const struct json *relays = json_get(call(f, 200, "GET", "/api/v1/relay", ""), "relays");
    assert_int_equal(json_len(relays), 2);
    assert_string_equal(text_of(f, json_next(json_first(relays)), "regionName"), "Frankfurt");
    assert_non_null(strstr(text_of(f, json_first(relays), "key"), "-***"));
    call(f, 200, "DELETE", "/api/v1/relay/1", "");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/relay", ""), "relays")), 1);

    refused(f, 404, "DELETE", "/api/v1/relay/1", "", "no relay with id 1");
    refused(f, 400, "DELETE", "/api/v1/relay/x", "", "id");
    refused(f, 409, "POST", "/api/v1/relay", "{\"name\":\"fra-2\"}", "already");
    refused(f, 400, "POST", "/api/v1/relay", "{}", "no name for a relay");
    refused(f, 400, "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":65536}", "up to 65535");
    refused(f, 400, "POST", "/api/v1/relay", "{\"name\":\"a\",\"regionId\":-1}", "regionId");
    refused(f, 400, "POST", "/api/v1/relay", "{\"name\":[]}", "name must be text");
}

static void test_nodes(void **state)
{
    struct fixture *f = *state;
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    join(f, new_key(f, "{\"user\":1}"), "Laptop", 1);
    join(f, new_key(f, "{\"user\":2,\"aclTags\":[\"tag:web\"]}"), "server", 2);
    const struct json *nodes = json_get(call(f, 200, "GET", "/api/v1/node", ""), "nodes");
    assert_int_equal(json_len(nodes), 2);
    const struct json *first = json_first(nodes);
    assert_string_equal(text_of(f, first, "id"), "1");
    assert_string_equal(text_of(f, first, "name"), "Laptop");
    assert_string_equal(text_of(f, first, "givenName"), "laptop");
    assert_string_equal(text_of(f, json_get(first, "user"), "name"), "anna");
    assert_string_equal(text_of(f, json_get(first, "preAuthKey"), "id"), "1");
    assert_true(flag_of(json_get(first, "preAuthKey"), "used"));
    assert_int_equal(json_len(json_get(first, "ipAddresses")), 2);
    assert_string_equal(text_of(f, first, "os"), "linux");
    assert_string_equal(text_of(f, first, "clientVersion"), "1.102.5");
    assert_string_equal(text_of(f, first, "registerMethod"), "REGISTER_METHOD_AUTH_KEY");
    assert_true(str_starts(str_c(text_of(f, first, "machineKey")), STR("mkey:0101")));
    assert_string_equal(text_of(f, json_get(json_next(first), "user"), "name"), "tagged-devices");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/node?user=anna", ""), "nodes")), 1);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/node?user=2", ""), "nodes")), 0);

    const struct json *node = json_get(call(f, 200, "GET", "/api/v1/node/1", ""), "node");
    assert_string_equal(text_of(f, node, "givenName"), "laptop");
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/rename/annas-laptop", ""), "node");
    assert_string_equal(text_of(f, node, "givenName"), "annas-laptop");
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/expire", "{\"expiry\":\"2099-01-01T00:00:00Z\"}"), "node");
    assert_string_equal(text_of(f, node, "expiry"), "2099-01-01T00:00:00Z");
    assert_false(flag_of(node, "expired"));
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/expire", "{\"disableExpiry\":true}"), "node");
    assert_true(json_is_null(json_get(node, "expiry")));
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/expire", ""), "node");
    assert_true(flag_of(node, "expired"));
    call(f, 200, "POST", "/api/v1/node/1/expire?disableExpiry=true", "");

    refused(f, 400, "DELETE", "/api/v1/user/1", "", "");
    call(f, 200, "DELETE", "/api/v1/node/1", "");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/node", ""), "nodes")), 1);
    call(f, 200, "DELETE", "/api/v1/user/1", "");

    refused(f, 404, "GET", "/api/v1/node/1", "", "no node with id 1");
    refused(f, 400, "GET", "/api/v1/node/0", "", "is no id");
    refused(f, 404, "DELETE", "/api/v1/node/99", "", "no node");
    refused(f, 404, "GET", "/api/v1/node?user=nobody", "", "no user \"nobody\"");
    refused(f, 400, "POST", "/api/v1/node/2/rename/-bad-", "", "");
    refused(f, 400, "POST", "/api/v1/node/2/expire", "{\"expiry\":5}", "must be a time");
    refused(f, 400, "POST", "/api/v1/node/2/expire", "{\"expiry\":\"2099-01-01T00:00:00Z\",\"disableExpiry\":true}",
            "exclude each other");
}

/* --- the policy --- */

static const char web_policy[] = "{ // who may\n"
                                 "  \"tagOwners\": {\"tag:web\": []},\n"
                                 "  \"acls\": [\n"
                                 "    {\"action\": \"accept\", \"src\": [\"anna@\"], \"dst\": [\"tag:web:443\"]},\n"
                                 "  ],\n"
                                 "}\n";

/* {"policy": text}, and what else stands in `more`. Lives in the fixture's arena. */
static const char *policy_body(struct fixture *f, struct str text, const char *more)
{
    struct buf out = {0};
    struct json_writer w;
    json_w_init(&w, &out);
    json_w_str(&w, text);
    const char *body = arena_printf(&f->arena, "{\"policy\":%s%s}", buf_cstr(&out), more);
    buf_fini(&out);
    return body;
}

static int64_t number_of(const struct json *object, const char *key)
{
    int64_t v = -1;
    if (!json_i64(json_get(object, key), &v))
        fail_msg("no %s", key);
    return v;
}

/* A policy is refused, with a place in `errors` (line -1: any), and what is at work stays. */
static void policy_refused(struct fixture *f, struct str text, int line, int col, const char *message)
{
    refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, text, ""), message);
    const struct json *errors = json_get(f->reply, "errors");
    assert_true(json_len(errors) > 0);
    const struct json *first = json_first(errors);
    if (line >= 0) {
        assert_int_equal(number_of(first, "line"), line);
        assert_int_equal(number_of(first, "column"), col);
        const char *place = arena_printf(&f->arena, "policy:%d:%d", line, col);
        assert_string_equal(text_of(f, first, "location"), place);
    }
    assert_true(text_of(f, first, "message")[0] != '\0');
}

/* anna, bert; laptop of anna, server with tag:web, phone of bert. */
static void make_tailnet(struct fixture *f)
{
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"bert\"}");
    join(f, new_key(f, "{\"user\":1}"), "laptop", 1);
    join(f, new_key(f, "{\"user\":1,\"aclTags\":[\"tag:web\"]}"), "server", 2);
    join(f, new_key(f, "{\"user\":2}"), "phone", 3);
}

static void test_policy_versions(void **state)
{
    struct fixture *f = *state;
    refused(f, 404, "GET", "/api/v1/policy", "", "acl policy not found");
    refused(f, 404, "POST", "/api/v1/policy/rollback/1", "", "no version 1 of the policy");
    const struct json *set = call(f, 200, "PUT", "/api/v1/policy",
                                  policy_body(f, str_c(web_policy), ",\"author\":\"anna\",\"note\":\"web \u00e9\""));
    assert_string_equal(text_of(f, set, "policy"), web_policy);
    assert_true(str_ends(str_c(text_of(f, set, "updatedAt")), STR("Z")));
    assert_int_equal(json_len(json_get(set, "warnings")), 1); /* there is no anna yet */
    assert_non_null(strstr(text_of(f, json_first(json_get(set, "warnings")), "message"), "anna@"));
    call(f, 200, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""));
    const struct json *got = call(f, 200, "GET", "/api/v1/policy", "");
    assert_string_equal(text_of(f, got, "policy"), "{}");
    assert_string_equal(text_of(f, got, "version"), "2");
    assert_string_equal(text_of(f, got, "mode"), "database");

    call(f, 200, "POST", "/api/v1/policy/rollback/1", "{\"author\":\"bert\"}");
    assert_string_equal(text_of(f, call(f, 200, "GET", "/api/v1/policy", ""), "policy"), web_policy);
    const struct json *versions = json_get(call(f, 200, "GET", "/api/v1/policy/history", ""), "versions");
    assert_int_equal(json_len(versions), 3);
    const struct json *newest = json_first(versions);
    assert_string_equal(text_of(f, newest, "version"), "3");
    assert_string_equal(text_of(f, newest, "author"), "bert");
    assert_string_equal(text_of(f, newest, "note"), "rollback to 1");
    assert_true(flag_of(newest, "current"));
    assert_false(flag_of(json_next(newest), "current"));
    assert_int_equal(number_of(newest, "bytes"), (int64_t)strlen(web_policy));
    const struct json *second = call(f, 200, "GET", "/api/v1/policy/history/2", "");
    assert_string_equal(text_of(f, second, "policy"), "{}");

    refused(f, 404, "GET", "/api/v1/policy/history/9", "", "no version 9");
    refused(f, 400, "POST", "/api/v1/policy/rollback/x", "", "no id");
    refused(f, 400, "PUT", "/api/v1/policy", "{}", "\"policy\" is missing");
    refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":null}", "\"policy\" is missing");
    refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":{}}", "\"policy\" is missing");
    refused(f, 400, "PUT", "/api/v1/policy", "{\"policy\":\"{}\",\"note\":\"a\\nb\"}", "one line");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/policy/history", ""), "versions")), 3);
}

/* What is wrong is told with its place, and changes nothing. */
static void test_policy_refusals(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    call(f, 200, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""));
    policy_refused(f, STR_EMPTY, 1, 1, "write {}");
    policy_refused(f, STR(" // {}\n"), 1, 1, "write {}");
    policy_refused(f, STR("{\n  \"acls\": [}"), 2, 12, "parsing policy from bytes: line 2, column 12");
    policy_refused(f, STR("{\"acls\":[{\"action\":\"accept\",\"src\":[\"group:x\"],\"dst\":[\"*:*\"]}]}"), -1, -1,
                   "group:x");
    policy_refused(f, STR("{\"groups\":{\"group:a\":[\"group:a\"]}}"), -1, -1, "line 1, column");

    static const char failing[] =
        "{\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],\"dst\":[\"*:443\"]}],\n"
        "\"tests\":[{\"src\":\"anna@\",\"accept\":[\"bert@:443\"],\n\"deny\":[\"bert@:443\"]},\n"
        "{\"src\":\"bert@\",\"accept\":[\"anna@:22\"]}]}";
    refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, str_c(failing), ""),
            "nothing has changed: test(s) failed: line 3");
    assert_true(json_len(json_get(f->reply, "errors")) >= 2);
    refused(f, 400, "POST", "/api/v1/policy/check", policy_body(f, str_c(failing), ""), "expected DENIED, got ALLOWED");
    assert_string_equal(text_of(f, call(f, 200, "GET", "/api/v1/policy", ""), "policy"), "{}");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/policy/history", ""), "versions")), 1);

    const struct json *checked = call(f, 200, "POST", "/api/v1/policy/check",
                                      policy_body(f,
                                                  STR("{\"acls\":[{\"action\":\"accept\",\"src\":[\"zoe@\"],"
                                                      "\"dst\":[\"anna@:22\"]}]}"),
                                                  ""));
    assert_int_equal(json_len(json_get(checked, "warnings")), 1);
    assert_string_equal(text_of(f, call(f, 200, "GET", "/api/v1/policy", ""), "policy"), "{}");
}

/* Text that somebody made to hurt: refused by name of the limit, with little memory. */
static void test_policy_hostile_texts(void **state)
{
    struct fixture *f = *state;
    struct buf text = {0};
    buf_append_c(&text, "{\n");
    while (buf_len(&text) < 10u << 20)
        buf_append_c(&text, "// a comment, and one more, until the file is large\n");
    buf_append_c(&text, "}");
    policy_refused(f, buf_str(&text), -1, -1, "4194304");

    buf_clear(&text);
    buf_append_c(&text, "{\"acls\":");
    for (int i = 0; i < 10000; i++)
        buf_append_c(&text, "[");
    policy_refused(f, buf_str(&text), 1, 72, "line 1, column 72"); /* the depth that is too much */

    buf_clear(&text);
    buf_append_c(&text, "{\"acls\":[{\"action\":\"accept\",\"dst\":[\"*:*\"],\n\"src\":[\"a@\"");
    for (int i = 0; i < 1000000; i++)
        buf_append_c(&text, ",\"\"");
    buf_append_c(&text, "]}]}");
    policy_refused(f, buf_str(&text), -1, -1, "line 2, column");
    buf_fini(&text);

    /* larger than any body may be */
    int fd = dial(f);
    char head[128], reply[64] = "";
    int n = snprintf(head, sizeof(head), "PUT /api/v1/policy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
                     33 << 20);
    assert_int_equal(write(fd, head, (size_t)n), n);
    assert_true(read(fd, reply, sizeof(reply) - 1) > 0);
    assert_non_null(strstr(reply, " 413 "));
    close(fd);
}

static const struct json *why(struct fixture *f, const char *query)
{
    return call(f, 200, "GET", arena_printf(&f->arena, "/api/v1/policy/why?%s", query), "");
}

static void test_policy_why(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    assert_true(flag_of(why(f, "src=laptop&dst=server"), "allowed"));
    assert_false(flag_of(f->reply, "hasPolicy"));
    call(f, 200, "PUT", "/api/v1/policy", policy_body(f, str_c(web_policy), ""));

    const struct json *answer = why(f, "src=laptop&dst=server:443");
    assert_true(flag_of(answer, "allowed"));
    assert_string_equal(text_of(f, answer, "file"), "policy");
    const struct json *rule = json_first(json_get(answer, "rules"));
    assert_int_equal(number_of(rule, "line"), 4);
    assert_string_equal(text_of(f, rule, "section"), "acls");
    assert_int_equal(number_of(rule, "index"), 0);
    static const char *const allowed[] = {"src=anna@&dst=tag:web:443", "src=100.64.0.1&dst=100.64.0.2&port=443",
                                          "src=LAPTOP&dst=[fd7a:115c:a1e0::2]:443&proto=tcp",
                                          "src=laptop&dst=fd7a:115c:a1e0::2", "src=anna@&dst=server&proto=6"};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
        if (!flag_of(why(f, allowed[i]), "allowed"))
            fail_msg("%s", allowed[i]);
    }

    answer = why(f, "src=laptop&dst=server:22");
    assert_false(flag_of(answer, "allowed"));
    rule = json_first(json_get(answer, "rules"));
    assert_true(flag_of(rule, "hasSource") && flag_of(rule, "hasDestination") && !flag_of(rule, "hasPort"));
    rule = json_first(json_get(why(f, "src=phone&dst=tag:web:443"), "rules"));
    assert_true(!flag_of(rule, "hasSource") && flag_of(rule, "hasDestination") && flag_of(rule, "hasPort"));
    rule = json_first(json_get(why(f, "src=laptop&dst=phone:443"), "rules"));
    assert_true(flag_of(rule, "hasSource") && !flag_of(rule, "hasDestination"));

    refused(f, 404, "GET", "/api/v1/policy/why?src=nobody&dst=server", "", "nobody names nothing");
    refused(f, 404, "GET", "/api/v1/policy/why?src=laptop&dst=tag:db:22", "", "tag:db names nothing");
    refused(f, 400, "GET", "/api/v1/policy/why?src=laptop", "", "src and dst are needed");
    refused(f, 400, "GET", "/api/v1/policy/why?src=a&dst=b&port=65536", "", "up to 65535");
    refused(f, 400, "GET", "/api/v1/policy/why?src=a&dst=b&proto=sctpp", "", "proto must be");
}

static void test_policy_diff(void **state)
{
    struct fixture *f = *state;
    make_tailnet(f);
    call(f, 200, "PUT", "/api/v1/policy", policy_body(f, str_c(web_policy), ""));
    const struct json *same = call(f, 200, "POST", "/api/v1/policy/diff", policy_body(f, str_c(web_policy), ""));
    assert_int_equal(json_len(json_get(same, "changes")), 0);
    static const char next[] = "{\"tagOwners\":{\"tag:web\":[]},\"acls\":[{\"action\":\"accept\",\"proto\":\"tcp\","
                               "\"src\":[\"anna@\"],\"dst\":[\"tag:web:443-444\"]}]}";
    const struct json *changes = json_get(call(f, 200, "POST", "/api/v1/policy/diff", policy_body(f, str_c(next), "")),
                                          "changes");
    unsigned gained = 0, lost = 0;
    JSON_EACH (it, changes) {
        if (!flag_of(it, "gained")) {
            lost++; /* UDP */
            assert_int_equal(number_of(it, "firstPort"), 443);
            continue;
        }
        gained++;
        assert_int_equal(number_of(it, "protocol"), 6);
        assert_int_equal(number_of(it, "firstPort"), 444);
        assert_int_equal(number_of(it, "lastPort"), 444);
        assert_non_null(strstr("100.64.0.1 fd7a:115c:a1e0::1", text_of(f, it, "source")));
    }
    assert_int_equal(gained, 2); /* IPv4 and IPv6 */
    assert_true(lost >= 2);
    assert_string_equal(text_of(f, call(f, 200, "GET", "/api/v1/policy", ""), "policy"), web_policy);
    refused(f, 400, "POST", "/api/v1/policy/diff", policy_body(f, STR("{"), ""), "line 1");
}

/* Comparisons that wait are bounded, and make room again. */
static void test_slow_calls_are_few(void **state)
{
    (void)state;
    static struct api_call calls[4];
    struct api api = {.compare_thread = api_compare_thread_create()};
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        calls[i].api = &api;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(api_compare_enter(&calls[i], &err), RC_OK);
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_LIMIT);
    assert_non_null(strstr(err.text, "try again"));
    api_compare_leave(&calls[3]); /* was not let in */
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_LIMIT);
    api_compare_leave(&calls[0]);
    assert_int_equal(api_compare_enter(&calls[3], &err), RC_OK);
    api_compare_thread_destroy(&api.compare_thread);
}

/* With policy.mode file nobody but the file has a say. */
static void test_policy_of_a_file(void **state)
{
    struct fixture *f = *state;
    const struct json *got = call(f, 200, "GET", "/api/v1/policy", "");
    assert_string_equal(text_of(f, got, "policy"), "");
    assert_true(json_is_null(json_get(got, "updatedAt"))); /* by which tools tell a policy that they cannot set */
    assert_string_equal(text_of(f, got, "mode"), "file");
    assert_string_equal(text_of(f, got, "path"), "/etc/policy.hujson");
    assert_string_equal(text_of(f, got, "fault"), "/etc/policy.hujson:1:2: oh\n");
    refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""), "is read from /etc/policy.hujson");
    refused(f, 400, "PUT", "/api/v1/policy", policy_body(f, STR("{}"), ""), "update is disabled");
    refused(f, 400, "POST", "/api/v1/policy/rollback/1", "", "update is disabled");
    refused(f, 400, "GET", "/api/v1/policy/history", "", "update is disabled");
    call(f, 200, "POST", "/api/v1/policy/check", policy_body(f, STR("{}"), ""));
}

static void assert_routes(const struct json *node, const char *key, const char *want)
{
    struct str have = json_raw(json_get(node, key));
    if (!str_eq_c(have, want))
        fail_msg("%s: %.*s", key, STR_ARG(have));
}

static void test_tags_and_routes(void **state)
{
    struct fixture *f = *state;
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    join(f, new_key(f, "{\"user\":1}"), "router", 1);
    const struct json *node = json_get(call(f, 200, "GET", "/api/v1/node/1", ""), "node");
    assert_routes(node, "availableRoutes", "[\"0.0.0.0/0\",\"10.0.0.0/8\",\"::/0\"]");
    assert_routes(node, "approvedRoutes", "[]");
    assert_routes(node, "subnetRoutes", "[]");
    node = json_get(
        call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.0.0.0/8\",\"11.0.0.0/8\"]}"), "node");
    assert_routes(node, "approvedRoutes", "[\"10.0.0.0/8\",\"11.0.0.0/8\"]");
    assert_routes(node, "subnetRoutes", "[\"10.0.0.0/8\"]");
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"::/0\"]}"), "node");
    assert_routes(node, "approvedRoutes", "[\"0.0.0.0/0\",\"::/0\"]");
    assert_routes(node, "subnetRoutes", "[\"0.0.0.0/0\",\"::/0\"]");
    node = json_get(call(f, 200, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[]}"), "node");
    assert_routes(node, "approvedRoutes", "[]");

    node = json_get(call(f, 200, "POST", "/api/v1/node/1/tags", "{\"tags\":[\"tag:web\",\"tag:db\"]}"), "node");
    assert_routes(node, "tags", "[\"tag:db\",\"tag:web\"]");
    assert_string_equal(text_of(f, json_get(node, "user"), "name"), "tagged-devices");
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/node?user=anna", ""), "nodes")), 0);

    refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{}", "routes is missing");
    refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":\"10.0.0.0/8\"}", "array of texts");
    refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.0.0.0\"]}", "is no route");
    refused(f, 400, "POST", "/api/v1/node/1/approve_routes", "{\"routes\":[\"10.1.0.0/8\"]}",
            "did you mean 10.0.0.0/8?");
    refused(f, 404, "POST", "/api/v1/node/9/approve_routes", "{\"routes\":[]}", "no node with id 9");
    refused(f, 400, "POST", "/api/v1/node/1/tags", "{}", "at least one tag");
    refused(f, 400, "POST", "/api/v1/node/1/tags", "{\"tags\":[\"web\"]}", "is no tag");
    refused(f, 400, "POST", "/api/v1/node/1/tags", "{\"tags\":[{}]}", "array of texts");
    refused(f, 404, "POST", "/api/v1/node/9/tags", "{\"tags\":[\"tag:web\"]}", "no node with id 9");
}

static void test_health_and_log_levels(void **state)
{
    struct fixture *f = *state;
    assert_true(flag_of(call(f, 200, "GET", "/api/v1/health", ""), "databaseConnectivity"));
    assert_true(json_len(json_get(call(f, 200, "GET", "/api/v1/log/level", ""), "modules")) > 0);
    call(f, 200, "POST", "/api/v1/log/level", "{\"module\":\"api\",\"level\":\"error\"}");
    bool is_found = false;
    JSON_EACH (it, json_get(f->reply, "modules")) {
        if (strcmp(text_of(f, it, "module"), "api") == 0) {
            assert_string_equal(text_of(f, it, "level"), "error");
            is_found = true;
        }
    }
    assert_true(is_found);
    call(f, 200, "POST", "/api/v1/log/level", "{\"level\":\"off\"}");
    refused(f, 400, "POST", "/api/v1/log/level", "{\"level\":\"loud\"}", "one of trace");
    refused(f, 404, "POST", "/api/v1/log/level", "{\"module\":\"nose\",\"level\":\"info\"}", "no log module \"nose\"");
}

static void test_unknown_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    refused(f, 404, "GET", "/api/v1/nothing", "", "no such path");
    refused(f, 405, "PUT", "/api/v1/user", "", "does not take that method");
    assert_non_null(strstr(f->head, "llow:"));
}

/* Whoever goes away before the answer takes nothing down. */
static void test_client_that_hangs_up(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        int fd = dial(f);
        send_request(fd, "GET", "/api/v1/user", "");
        close(fd);
    }
    call(f, 200, "GET", "/api/v1/user", "");
}

/* --- clients that leave: a job owns everything that it parsed --- */

/* A body with which the route's job has pointers to keep: long texts, which a freed request does not hold by chance. */
static const char *body_of(const struct http_route *route)
{
    static const struct {
        const char *path, *body;
    } rows[] = {
        {"/api/v1/log/level", "{\"module\":\"api\",\"level\":\"off\"}"},
        {"/api/v1/user", "{\"name\":\"berta-with-a-long-name\",\"displayName\":\"B\",\"email\":\"b@example.com\"}"},
        {"/api/v1/user/{id}/role", "{\"role\":\"admin\"}"},
        {"/api/v1/node/{id}/expire", "{\"expiry\":\"2099-01-01T00:00:00Z\"}"},
        {"/api/v1/node/{id}/tags",
         "{\"tags\":[\"tag:abcdefghijklmnopqrstuvwxyz0\",\"tag:abcdefghijklmnopqrstuvwxyz1\"]}"},
        {"/api/v1/node/{id}/approve_routes", "{\"routes\":[\"10.0.0.0/8\",\"0.0.0.0/0\"]}"},
        {"/api/v1/relay",
         "{\"name\":\"frankfurt\",\"regionId\":902,\"regionCode\":\"fra\",\"regionName\":\"Frankfurt\"}"},
        {"/api/v1/policy", "{\"policy\":\"{\\\"grants\\\":[]}\",\"author\":\"anna\",\"note\":\"a longer note\"}"},
        {"/api/v1/policy/check", "{\"policy\":\"{\\\"grants\\\":[]}\"}"},
        {"/api/v1/policy/diff", "{\"policy\":\"{\\\"grants\\\":[]}\"}"},
        {"/api/v1/policy/rollback/{id}", "{\"author\":\"anna-with-a-long-name\"}"},
        {"/api/v1/preauthkey",
         "{\"user\":\"anna\",\"reusable\":true,\"aclTags\":[\"tag:abcdefghijklmnopqrstuvwxyz\"]}"},
        {"/api/v1/preauthkey/expire", "{\"key\":\"hskey-auth-abcdefghijkl-***\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].path, route->path) == 0)
            return (route->methods & HTTP_GET) == 0 ? rows[i].body : "";
    }
    return "";
}

static const char *method_of(const struct http_route *route)
{
    switch (route->methods) {
    case HTTP_GET: return "GET";
    case HTTP_POST: return "POST";
    case HTTP_PUT: return "PUT";
    case HTTP_DELETE: return "DELETE";
    default: abort();
    }
}

/* The route's path with `id` and `name` for its parameters; queries that some routes read. */
static const char *path_of(struct fixture *f, const struct http_route *route, const char *id, const char *name)
{
    struct buf path = {0};
    for (const char *p = route->path; *p != '\0';) {
        if (strncmp(p, "{id}", 4) == 0) {
            buf_append_c(&path, id);
            p += 4;
        } else if (strncmp(p, "{name}", 6) == 0) {
            buf_append_c(&path, name);
            p += 6;
        } else {
            buf_append_byte(&path, (uint8_t)*p++);
        }
    }
    const char *text = arena_str(&f->arena, buf_str(&path)).p;
    buf_fini(&path);
    return text;
}

static const char *query_of(const struct http_route *route)
{
    if (strcmp(route->path, "/api/v1/policy/why") == 0)
        return "?src=a-node-with-a-long-name&dst=another-node:443&proto=tcp";
    if (route->methods == HTTP_DELETE)
        return "?id=77";
    return (route->methods & HTTP_GET) != 0 ? "?user=anna&name=a-longer-name-of-somebody&email=x%40example.com" : "";
}

static const char *request_of(struct fixture *f, const struct http_route *route, const char *id)
{
    const char *body = body_of(route);
    return arena_printf(&f->arena, "%s %s%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                        method_of(route), path_of(f, route, id, "a-new-and-longer-name"), query_of(route), strlen(body),
                        body);
}

static void send_part(struct fixture *f, const char *request, size_t n)
{
    int fd = dial(f);
    assert_int_equal(send(fd, request, n, MSG_NOSIGNAL), n);
    close(fd);
}

/* Two iterations of the server's loop: what came before has been read, the peer's end included. */
static void let_loop_see(struct fixture *f)
{
    call(f, 404, "GET", "/nothing", "");
    call(f, 404, "GET", "/nothing", "");
}

struct hold {
    struct core_job job; /* first */
    pthread_mutex_t *gate;
};

static void run_hold(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct hold *h = (struct hold *)job;
    (void)st;
    (void)now_ms;
    pthread_mutex_lock(h->gate);
    pthread_mutex_unlock(h->gate);
}

static void fill(struct fixture *f)
{
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    const char *key = text_of(
        f, json_get(call(f, 200, "POST", "/api/v1/preauthkey", "{\"user\":\"anna\"}"), "preAuthKey"), "key");
    join(f, key, "web", 1);
    call(f, 200, "PUT", "/api/v1/policy",
         "{\"policy\":\"{\\\"tagOwners\\\":{\\\"tag:abcdefghijklmnopqrstuvwxyz0\\\":[]}}\"}");
}

static void leave_before_the_job(struct fixture *f, const struct http_route *route)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct hold *h = MEM_NEW(struct hold);
    *h = (struct hold){.job.run = run_hold, .gate = &gate};
    pthread_mutex_lock(&gate);
    core_post(f->core, &h->job);
    const char *request = request_of(f, route, "1");
    send_part(f, request, strlen(request));
    let_loop_see(f);
    pthread_mutex_unlock(&gate);
    call(f, 200, "GET", "/api/v1/health", ""); /* the job has run */
}

/* After each byte of the request, and right after the last. */
static void leave_anywhere(struct fixture *f, const struct http_route *route)
{
    const char *request = request_of(f, route, "1");
    for (size_t n = 0; n <= strlen(request); n++)
        send_part(f, request, n);
    call(f, 200, "GET", "/api/v1/health", "");
}

/* What deletes comes last: jobs need something to find. */
static void for_all_routes(struct fixture *f, void (*leave)(struct fixture *f, const struct http_route *route))
{
    fill(f);
    for (int is_delete = 0; is_delete <= 1; is_delete++) {
        const struct http_route *route;
        for (size_t i = 0; (route = api_route_at(i)) != NULL; i++) {
            if ((route->methods == HTTP_DELETE) == is_delete)
                leave(f, route);
        }
    }
}

/* The client is gone before its job runs, and the memory of its request with it. */
static void test_client_leaves_before_the_job(void **state)
{
    for_all_routes(*state, leave_before_the_job);
}

/* The disk is full: what would change something is refused in words, and done when there is room again. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    static const char words[] = "the disk of the server is full; nothing is lost, try again when there is room";
    call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    store_memory_fail(f->store, RC_FULL);
    for (int i = 0; i < 2; i++) { /* in the commit that fails, and while it is known that they do */
        refused(f, 503, "POST", "/api/v1/user", "{\"name\":\"ben\"}", words);
        assert_non_null(strcasestr(f->head, "\r\nretry-after: 5\r\n"));
    }
    const struct json *health = call(f, 200, "GET", "/api/v1/health", "");
    assert_false(flag_of(health, "databaseConnectivity"));
    assert_string_equal(text_of(f, health, "databaseFault"), words);
    assert_int_equal(json_len(json_get(call(f, 200, "GET", "/api/v1/user", ""), "users")), 1);
    store_memory_fail(f->store, RC_OK);
    do {
        call(f, ANY_STATUS, "POST", "/api/v1/user", "{\"name\":\"ben\"}");
    } while (f->status == 503);
    assert_int_equal(f->status, 200);
}

/* As many calls wait as may: the next one hears so at once, and there is room again when they are answered. */
static void test_what_waits_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct waiting_ticket held;
    const struct waiting_sender sender = waiting_sender_key(WAIT_ADMIN, "", 0);
    struct waiting *waiting = core_waiting(f->core);
    waiting_set_limit(waiting, WAIT_ADMIN, 1);
    assert_true(waiting_take(waiting, &sender, 1, &held));
    refused(f, 503, "GET", "/api/v1/user", "", "the server is busy, try again");
    assert_non_null(strcasestr(f->head, "\r\nretry-after: 5\r\n"));
    waiting_leave(waiting, &held);
    call(f, 200, "GET", "/api/v1/user", "");
}

static void test_client_leaves_anywhere(void **state)
{
    for_all_routes(*state, leave_anywhere);
}

/* --- paths are matched as they are sent: no spelling of one reaches the handler of another --- */

static int status_of(struct fixture *f, const char *method, const char *path, const char *body)
{
    char text[16] = "";
    int fd = dial(f);
    send_request(fd, method, path, body);
    for (size_t n = 0; n < 12;) {
        ssize_t got = read(fd, text + n, 12 - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    close(fd);
    return (int)strtol(text + 9, NULL, 10);
}

static void assert_refused_path(struct fixture *f, const struct http_route *route, const char *path)
{
    int status = status_of(f, method_of(route), path, body_of(route));
    if (status != 400 && status != 404 && status != 405)
        fail_msg("%s %s: %d", method_of(route), path, status);
}

/* What the tricks could have changed. */
static const char *world(struct fixture *f)
{
    struct buf all = {0};
    static const char *const lists[] = {"/api/v1/user", "/api/v1/node", "/api/v1/preauthkey", "/api/v1/relay",
                                        "/api/v1/policy/history"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        call(f, 200, "GET", lists[i], "");
        buf_append_c(&all, strstr(f->head, "\r\n\r\n"));
    }
    const char *text = arena_str(&f->arena, buf_str(&all)).p;
    buf_fini(&all);
    return text;
}

static void try_spellings_of_path(struct fixture *f, const struct http_route *route)
{
    static const char *const before[] = {
        "/x/..",   "/x/%2e%2e",   "/x%2f..", "/.", "/%2e", "/", "//", "/api/v1/health/..", "/api%2fv1%2fhealth%2f..",
        "/%2e%2e", "/%252e%252e", "/..;"};
    static const char *const after[] = {"/",
                                        "/.",
                                        "/..",
                                        "%00",
                                        "%2f",
                                        "%2f..",
                                        "/%2e%2e/",
                                        "%20",
                                        "%23",
                                        "%3f",
                                        ";x",
                                        "/x/..",
                                        "%252f..%252fhealth",
                                        "%c0%af",
                                        "%"};
    const char *path = path_of(f, route, "1", "new");
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        assert_refused_path(f, route, arena_printf(&f->arena, "%s%s", before[i], path));
    for (size_t i = 0; i < ARRAY_LEN(after); i++) {
        bool is_value = strcmp(after[i], "%20") == 0 || strstr(route->path, "{name}") != NULL;
        if (!is_value) /* behind a name it is a part of the name: see below */
            assert_refused_path(f, route, arena_printf(&f->arena, "%s%s", path, after[i]));
    }
    for (size_t at = 1; route->path[at] != '\0' && route->path[at] != '{';
         at++) { /* one letter, or slash, of it encoded */
        const char *rest = path + at + 1;
        const char *spelled = arena_printf(&f->arena, "%.*s%%%02x%s", (int)at, path, (unsigned)path[at], rest);
        assert_refused_path(f, route, spelled);
    }
}

static void try_spellings_of_parameters(struct fixture *f, const struct http_route *route)
{
    static const char *const ids[] = {"..%2f1", "1%2f..%2f1", "%2e%2e", ".",   "..",  "1%00",
                                      "%00",    "1%2fexpire", "%2531",  "0",   "-1",  "+1",
                                      "1%20",   "%201",       "01%2e",  "1e0", "0x1", "18446744073709551617",
                                      "1;1",    "1%3fid=1",   "1%23",   "%ff", "%",   "%1"};
    static const char *const names[] = {"..",         "%2e%2e", "..%2f..%2fuser", "a%2fb", "a%00b", "%00",
                                        "%252e%252e", "%0a",    "a%20b%2f",       "%2f",   "%",     "%zz",
                                        "%ff"};
    for (size_t i = 0; i < ARRAY_LEN(ids) && strstr(route->path, "{id}") != NULL; i++)
        assert_refused_path(f, route, path_of(f, route, ids[i], "new"));
    for (size_t i = 0; i < ARRAY_LEN(names) && strstr(route->path, "{name}") != NULL; i++)
        assert_refused_path(f, route, path_of(f, route, "1", names[i]));
}

static void test_encoded_paths_reach_no_other_handler(void **state)
{
    struct fixture *f = *state;
    fill(f);
    const char *before = world(f);
    const struct http_route *route;
    for (size_t i = 0; (route = api_route_at(i)) != NULL; i++) {
        try_spellings_of_path(f, route);
        try_spellings_of_parameters(f, route);
    }
    assert_string_equal(world(f), before);
    call(f, 200, "POST", "/api/v1/user/1/rename/%62erta", ""); /* a name may be encoded: it is data */
    assert_string_equal(text_of(f, json_get(f->reply, "user"), "name"), "berta");
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_users, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_relays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy_hostile_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy_why, setup, teardown),
        cmocka_unit_test_setup_teardown(test_policy_diff, setup, teardown),
        cmocka_unit_test(test_slow_calls_are_few),
        cmocka_unit_test_setup_teardown(test_policy_of_a_file, setup_file, teardown),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_health_and_log_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_paths_and_methods, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_that_hangs_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_before_the_job, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_encoded_paths_reach_no_other_handler, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
