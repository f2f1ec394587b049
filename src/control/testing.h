/* For the tests of this module: a server of worker threads, core and memory store, and clients that come to it over
 * loopback TCP, through the whole of ts2021. The clients run on the test's own loop; every wait ends by an event or,
 * when none comes, by the guard. A failed assertion leaves threads and clients behind, which may hide it behind
 * their own trouble: CMOCKA_TEST_ABORT=1 shows it alone. */
#ifndef CONTROL_TESTING_H
#define CONTROL_TESTING_H

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"
#include "control/control_internal.h"
#include "control/ts2021_stream.h"
#include "crypto/crypto.h"
#include "http/h2_client.h"
#include "net/tcp.h"

enum {
    RIG_WORKERS_MAX = 2,
    RIG_GUARD_MS = 20000,
    RIG_BODY_MAX = 64 * 1024,
    RIG_VERSION = 142,
};

struct rig {
    struct store *store;
    struct core *core;
    struct control *control;
    unsigned worker_n;
    struct loop *loops[RIG_WORKERS_MAX];
    struct tcp_listener *listeners[RIG_WORKERS_MAX];
    pthread_t threads[RIG_WORKERS_MAX];
    struct addr at[RIG_WORKERS_MAX];
    machine_key server;
    struct loop *loop; /* of the clients */
    struct loop_timer *guard;
    struct arena arena; /* whatever a test makes up */
    user_id user;
};

/* --- waiting --- */

static inline void rig_guard(void *ctx)
{
    (void)ctx;
    fprintf(stderr, "what the test waits for does not happen\n");
    abort();
}

/* On threads that are not the test's: cmocka cannot jump from there. */
#define RIG_CHECK(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Something happened to a client. Null: the loop is being destroyed, and what was put off is done last. */
static inline void rig_wake(struct rig *r)
{
    if (r->loop != NULL)
        loop_stop(r->loop);
}

#define RIG_WAIT(r, condition)                                                                                         \
    do {                                                                                                               \
        loop_timer_start((r)->guard, RIG_GUARD_MS, 0);                                                                 \
        while (!(condition))                                                                                           \
            loop_run((r)->loop);                                                                                       \
        loop_timer_stop((r)->guard);                                                                                   \
    } while (0)

/* Runs `fn` on the core's thread, and returns when everything before it is durable and answered. */
struct rig_core_call {
    struct core_job job;
    struct rig *rig;
    void (*fn)(struct state *st, int64_t now_ms, void *ctx);
    void *ctx;
    bool is_done;
};

static inline void rig_core_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct rig_core_call *c = (struct rig_core_call *)job;
    if (c->fn != NULL)
        c->fn(st, now_ms, c->ctx);
}

static inline void rig_core_done(struct core_job *job)
{
    struct rig_core_call *c = (struct rig_core_call *)job;
    c->is_done = true;
    rig_wake(c->rig);
}

/* Does not wait: `c` lives until it is done. */
static inline void rig_core_begin(struct rig *r, struct rig_core_call *c,
                                  void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    *c = (struct rig_core_call){
        .job = {.home = r->loop, .run = rig_core_run, .done = rig_core_done}, .rig = r, .fn = fn, .ctx = ctx};
    core_post(r->core, &c->job);
}

static inline void rig_on_core(struct rig *r, void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    struct rig_core_call c;
    rig_core_begin(r, &c, fn, ctx);
    RIG_WAIT(r, c.is_done);
}

/* Runs `fn` on a worker's thread. */
struct rig_worker_call {
    struct loop_msg msg;
    struct rig *rig;
    struct control_worker *worker;
    void (*fn)(struct control_worker *w, void *ctx);
    void *ctx;
    bool is_done;
};

static inline void rig_worker_done(struct loop *loop, struct loop_msg *msg)
{
    struct rig_worker_call *c = CONTAINER_OF(msg, struct rig_worker_call, msg);
    (void)loop;
    c->is_done = true;
    rig_wake(c->rig);
}

static inline void rig_worker_run(struct loop *loop, struct loop_msg *msg)
{
    struct rig_worker_call *c = CONTAINER_OF(msg, struct rig_worker_call, msg);
    (void)loop;
    if (c->fn != NULL)
        c->fn(c->worker, c->ctx);
    c->msg.run = rig_worker_done;
    loop_post(c->rig->loop, &c->msg);
}

static inline void rig_on_worker(struct rig *r, unsigned i, void (*fn)(struct control_worker *w, void *ctx), void *ctx)
{
    struct rig_worker_call c = {
        .msg.run = rig_worker_run, .rig = r, .worker = r->control->workers[i], .fn = fn, .ctx = ctx};
    loop_post(r->loops[i], &c.msg);
    RIG_WAIT(r, c.is_done);
}

/* Everything that has been asked so far is applied, told to the workers and answered. */
static inline void rig_settle(struct rig *r)
{
    for (unsigned round = 0; round < 3; round++) {
        rig_on_core(r, NULL, NULL);
        for (unsigned i = 0; i < r->worker_n; i++)
            rig_on_worker(r, i, NULL, NULL);
    }
}

/* Keeps the core from doing anything until it is released. */
struct rig_hold {
    struct core_job job;
    struct rig *rig;
    sem_t held, release;
    bool is_done;
};

static inline void rig_hold_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct rig_hold *h = (struct rig_hold *)job;
    (void)st;
    (void)now_ms;
    sem_post(&h->held);
    while (sem_wait(&h->release) != 0) {
    }
}

static inline void rig_hold_done(struct core_job *job)
{
    struct rig_hold *h = (struct rig_hold *)job;
    h->is_done = true;
    rig_wake(h->rig);
}

static inline void rig_hold_core(struct rig *r, struct rig_hold *h)
{
    *h = (struct rig_hold){.job = {.home = r->loop, .run = rig_hold_run, .done = rig_hold_done}, .rig = r};
    sem_init(&h->held, 0, 0);
    sem_init(&h->release, 0, 0);
    core_post(r->core, &h->job);
    while (sem_wait(&h->held) != 0) {
    }
}

static inline void rig_release_core(struct rig_hold *h)
{
    sem_post(&h->release);
    RIG_WAIT(h->rig, h->is_done);
    sem_destroy(&h->held);
    sem_destroy(&h->release);
}

/* --- the server --- */

static inline void rig_published(void *ctx, struct change *c)
{
    control_published(((struct rig *)ctx)->control, c);
}

static inline void rig_key_revoked(void *ctx, const node_key *key)
{
    control_key_revoked(((struct rig *)ctx)->control, key);
}

static inline void rig_relays_changed(void *ctx, const struct state *st)
{
    (void)st;
    control_relays_changed(((struct rig *)ctx)->control);
}

static inline struct state *rig_state(void)
{
    struct state_options options = {.v4_bits = 10, .v6_bits = 48, .ephemeral_timeout_ms = 60000};
    struct tailnet_settings *settings = tailnet_settings_create();
    settings->derp_map_json = rcbuf_create("{\"Regions\":{}}", 14);
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    snprintf(settings->domain, sizeof(settings->domain), "test.example");
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    return state_create(&options, settings);
}

static inline void rig_make_user(struct state *st, int64_t now_ms, void *ctx)
{
    const struct user *u;
    struct err err;
    RIG_CHECK(state_user_create(st, &(struct user_spec){.name = STR("anna")}, now_ms, &u, &err) == RC_OK);
    ((struct rig *)ctx)->user = u->id;
}

static inline void *rig_serve(void *arg)
{
    loop_run(arg);
    return NULL;
}

static inline void rig_start_worker(struct rig *r, unsigned i)
{
    struct addr any;
    struct err err;
    struct tcp_listen_opts opts = {0};
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &any), RC_OK);
    assert_int_equal(
        tcp_listen(r->loops[i], &any, &opts, http_server_accept, control_http(r->control, i), &r->listeners[i], &err),
        RC_OK);
    tcp_listener_addr(r->listeners[i], &r->at[i]);
    assert_int_equal(pthread_create(&r->threads[i], NULL, rig_serve, r->loops[i]), 0);
}

/* The clients of most tests are not limited. */
static inline bool rig_is_trusted(const void *ctx, const struct addr *from)
{
    (void)ctx;
    return addr_is_loopback(from);
}

static inline struct control *rig_control(struct rig *r)
{
    struct control_options options = {
        .server_url = "http://127.0.0.1:8080",
        .version = "1.2.3",
        .handshakes_per_address = 1,
        .is_trusted = rig_is_trusted,
    };
    private_key_from_bytes((const uint8_t[KEY_BYTES]){7, 7, 7}, &options.noise_key);
    struct control *c = control_create(&options, r->core, r->store, NULL, r->loops, r->worker_n);
    control_public_key(c, &r->server);
    return c;
}

static inline struct rig *rig_create(unsigned worker_n)
{
    struct rig *r = MEM_NEW(struct rig);
    const struct core_hooks hooks = {r, rig_published, rig_key_revoked, rig_relays_changed, NULL};
    struct err err;
    struct state *st = rig_state();
    crypto_init();
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    assert_int_equal(store_open_memory(&r->store), RC_OK);
    assert_int_equal(store_load(r->store, st, clock_wall_ms(), &err), RC_OK);
    r->core = core_create(st, r->store, core_clocks_apart_ms(), &hooks);
    r->worker_n = worker_n;
    for (unsigned i = 0; i < worker_n; i++)
        r->loops[i] = loop_create(i);
    r->loop = loop_create(worker_n);
    r->guard = loop_timer_create(r->loop, rig_guard, NULL);
    r->control = rig_control(r);
    for (unsigned i = 0; i < worker_n; i++)
        rig_start_worker(r, i);
    core_start(r->core);
    rig_on_core(r, rig_make_user, r);
    return r;
}

static inline void rig_destroy(struct rig *r)
{
    rig_settle(r);
    for (unsigned i = 0; i < r->worker_n; i++)
        loop_stop(r->loops[i]);
    for (unsigned i = 0; i < r->worker_n; i++)
        pthread_join(r->threads[i], NULL);
    core_stop(r->core);
    store_close(&r->store);
    for (unsigned i = 0; i < r->worker_n; i++)
        tcp_listener_destroy(&r->listeners[i]);
    control_destroy(&r->control);
    core_destroy(&r->core);
    loop_timer_destroy(&r->guard);
    for (unsigned i = 0; i < r->worker_n; i++)
        loop_destroy(&r->loops[i]);
    loop_destroy(&r->loop);
    arena_fini(&r->arena);
    mem_free(r);
}

static inline int64_t rig_sessions(void)
{
    return metric_read("fullscale_map_sessions", "");
}

static inline int64_t rig_conns(void)
{
    return metric_read("fullscale_noise_connections", "");
}

/* Until all polls and connections have ended at the server. */
static inline void rig_wait_idle(struct rig *r)
{
    int64_t deadline_ms = clock_mono_ms() + RIG_GUARD_MS;
    while (rig_sessions() > 0 || rig_conns() > 0) {
        assert_true(clock_mono_ms() < deadline_ms);
        rig_settle(r);
    }
    rig_settle(r);
}

/* --- clients --- */

/* One request and what came back. */
struct reply {
    struct client *client;
    int32_t id;
    int status;
    bool is_ended;
    uint32_t error;          /* of HTTP/2, once ended */
    bool is_zstd;            /* how frames are coded */
    struct buf body;         /* of a poll: what is no whole frame yet */
    size_t bytes;            /* of the body, all in all */
    const char *frames[512]; /* JSON, in the rig's arena */
    size_t frame_n;
    bool is_poll;
    bool is_stalled; /* reads nothing any more */
};

struct client {
    struct rig *rig;
    private_key machine;
    machine_key public;
    uint16_t version;
    struct stream *s; /* until HTTP/2 has it */
    struct h2_client *h2;
    struct noise_initiator hs;
    struct buf in;
    bool is_closed;
    bool is_noise;  /* the handshake is done */
    bool stays_raw; /* no HTTP/2: what comes out of Noise stays in `in` */
    bool is_manual; /* window */
    bool is_goaway;
    struct reply *replies[64]; /* by id / 2, borrowed */
};

static inline struct reply *client_reply(struct client *c, int32_t id)
{
    size_t i = (size_t)id / 2;
    return i < ARRAY_LEN(c->replies) ? c->replies[i] : NULL;
}

static inline void client_on_response(void *ctx, int32_t id, int status)
{
    struct reply *r = client_reply(ctx, id);
    if (r != NULL)
        r->status = status;
    rig_wake(((struct client *)ctx)->rig);
}

/* Takes one whole frame off the body. */
static inline bool reply_cut_frame(struct reply *r)
{
    static struct zstd_ctx zstd;
    struct buf json = {0};
    const uint8_t *p = buf_at(&r->body);
    if (buf_len(&r->body) < 4)
        return false;
    size_t n = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (buf_len(&r->body) < 4 + n)
        return false;
    assert_true(n > 0);
    if (r->is_zstd)
        assert_int_equal(zstd_decompress(&zstd, p + 4, n, 64 * 1024 * 1024, &json), RC_OK);
    else
        buf_append(&json, p + 4, n);
    assert_true(r->frame_n < ARRAY_LEN(r->frames));
    r->frames[r->frame_n++] = arena_str(&r->client->rig->arena, buf_str(&json)).p;
    buf_consume(&r->body, 4 + n);
    buf_fini(&json);
    zstd_ctx_fini(&zstd);
    zstd = (struct zstd_ctx){0};
    return true;
}

static inline void client_on_data(void *ctx, int32_t id, const uint8_t *p, size_t n)
{
    struct client *c = ctx;
    struct reply *r = client_reply(c, id);
    if (r == NULL)
        return;
    buf_append(&r->body, p, n);
    r->bytes += n;
    while (r->is_poll && r->status == 200 && reply_cut_frame(r)) {
    }
    if (c->is_manual && !r->is_stalled)
        h2_client_consume(c->h2, id, n);
    rig_wake(c->rig);
}

static inline void client_on_ended(void *ctx, int32_t id, uint32_t error)
{
    struct client *c = ctx;
    struct reply *r = client_reply(c, id);
    if (r != NULL) {
        r->is_ended = true;
        r->error = error;
    }
    rig_wake(c->rig);
}

static inline void client_on_goaway(void *ctx, uint32_t error)
{
    (void)error;
    ((struct client *)ctx)->is_goaway = true;
    rig_wake(((struct client *)ctx)->rig);
}

static inline void client_on_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct client *)ctx)->is_closed = true;
    rig_wake(((struct client *)ctx)->rig);
}

/* Inside Noise, before HTTP/2: the early payload. src: docs/protocol/control.md 3.7 */
static inline void client_on_early(void *ctx, const uint8_t *p, size_t n)
{
    static const struct h2_client_events events = {.response = client_on_response,
                                                   .data = client_on_data,
                                                   .ended = client_on_ended,
                                                   .goaway = client_on_goaway,
                                                   .closed = client_on_closed};
    struct client *c = ctx;
    buf_append(&c->in, p, n);
    if (buf_len(&c->in) < 9 || c->stays_raw)
        return;
    const uint8_t *head = buf_at(&c->in);
    assert_memory_equal(head, "\xff\xff\xffTS", 5);
    size_t len = (size_t)head[7] << 8 | head[8];
    if (buf_len(&c->in) < 9 + len)
        return;
    buf_consume(&c->in, 9 + len);
    struct stream *noise = c->s;
    c->s = NULL;
    c->h2 = h2_client_create(noise, c->is_manual, &events, c);
    if (buf_len(&c->in) > 0)
        stream_emit_data(noise, buf_at(&c->in), buf_len(&c->in));
    buf_fini(&c->in);
    rig_wake(c->rig);
}

/* The answer to the upgrade, and message 2. */
static inline void client_on_upgrade(void *ctx, const uint8_t *p, size_t n)
{
    static const struct stream_events events = {client_on_early, NULL, client_on_closed};
    struct client *c = ctx;
    struct noise_result keys;
    struct str error;
    size_t used;
    buf_append(&c->in, p, n);
    const char *end = strstr(buf_cstr(&c->in), "\r\n\r\n");
    if (end == NULL || buf_len(&c->in) < (size_t)(end + 4 - (const char *)buf_at(&c->in)) + NOISE_RESPONSE_BYTES)
        return;
    assert_true(str_starts(buf_str(&c->in), STR("HTTP/1.1 101 ")));
    buf_consume(&c->in, (size_t)(end + 4 - (const char *)buf_at(&c->in)));
    assert_int_equal(noise_initiate_finish(&c->hs, buf_at(&c->in), buf_len(&c->in), &keys, &used, &error), 1);
    buf_consume(&c->in, used);
    struct stream *tcp = c->s;
    ts2021_stream_client(tcp, &keys, buf_at(&c->in), buf_len(&c->in), &c->s);
    buf_clear(&c->in);
    stream_set_events(c->s, &events, c);
    c->is_noise = true;
    rig_wake(c->rig);
}

/* "POST /ts2021" with message 1 for `server`. */
static inline const char *client_upgrade(struct client *c, const machine_key *server)
{
    uint8_t msg1[NOISE_INITIATION_BYTES], ephemeral[32];
    char text[256];
    rng_bytes(ephemeral, sizeof(ephemeral));
    assert_int_equal(noise_initiate(&c->hs, &c->machine, ephemeral, server, c->version, msg1), RC_OK);
    base64_encode(msg1, sizeof(msg1), text);
    return arena_printf(&c->rig->arena,
                        "POST /ts2021 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 0\r\nConnection: upgrade\r\n"
                        "Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: %s\r\n\r\n",
                        text);
}

static inline void client_init(struct client *c, struct rig *r)
{
    uint8_t random[KEY_BYTES];
    *c = (struct client){.rig = r, .version = RIG_VERSION};
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, &c->machine);
    private_key_public(&c->machine, c->public.b);
}

/* Connects to a worker and asks for the upgrade. */
static inline void client_begin(struct client *c, unsigned worker)
{
    static const struct stream_events events = {client_on_upgrade, NULL, client_on_closed};
    const char *request = client_upgrade(c, &c->rig->server);
    assert_int_equal(tcp_connect(c->rig->loop, &c->rig->at[worker], &c->s), RC_OK);
    stream_set_events(c->s, &events, c);
    stream_write(c->s, request, strlen(request));
}

/* Connects to a worker and waits for HTTP/2. */
static inline void client_dial(struct client *c, unsigned worker)
{
    client_begin(c, worker);
    RIG_WAIT(c->rig, c->h2 != NULL || c->is_closed);
    assert_non_null(c->h2);
}

/* A machine's first connection. */
static inline void client_open(struct client *c, struct rig *r, unsigned worker)
{
    client_init(c, r);
    client_dial(c, worker);
}

/* Another one of the same machine. */
static inline void client_open_same(struct client *c, const struct client *first, unsigned worker)
{
    *c = (struct client){
        .rig = first->rig, .version = first->version, .machine = first->machine, .public = first->public};
    client_dial(c, worker);
}

static inline void client_close(struct client *c)
{
    h2_client_destroy(&c->h2);
    stream_close(&c->s, false);
    buf_fini(&c->in);
    for (size_t i = 0; i < ARRAY_LEN(c->replies); i++)
        c->replies[i] = NULL;
}

/* --- requests --- */

static inline void reply_fini(struct reply *r)
{
    struct client *c = r->client;
    if (c != NULL && client_reply(c, r->id) == r)
        c->replies[r->id / 2] = NULL;
    buf_fini(&r->body);
    r->client = NULL;
}

/* Sends; does not wait. */
static inline void client_send(struct client *c, struct reply *r, const char *method, const char *path,
                               const char *body)
{
    *r = (struct reply){.client = c};
    r->id = h2_client_request(c->h2, method, "127.0.0.1:8080", path, str_c(body));
    assert_true(r->id > 0 && (size_t)r->id / 2 < ARRAY_LEN(c->replies));
    c->replies[r->id / 2] = r;
}

/* Sends, waits for the end, and gives status and body (in the rig's arena; may be null). */
static inline int client_call(struct client *c, const char *method, const char *path, const char *body,
                              const char **text_out)
{
    struct reply *r = MEM_NEW(struct reply);
    client_send(c, r, method, path, body);
    RIG_WAIT(c->rig, r->is_ended);
    int status = r->error == 0 ? r->status : -1;
    if (text_out != NULL)
        *text_out = arena_str(&c->rig->arena, buf_str(&r->body)).p;
    reply_fini(r);
    mem_free(r);
    return status;
}

/* --- nodes --- */

struct device {
    node_key key;
    node_key old_key;
    disco_key disco;
    const char *name;
    unsigned endpoints_n;
    uint16_t home_derp;
};

static inline void device_init(struct device *d, const char *name)
{
    *d = (struct device){.name = name};
    rng_bytes(&d->key, sizeof(d->key));
    rng_bytes(&d->disco, sizeof(d->disco));
}

static inline const char *key_text(struct rig *r, const node_key *k)
{
    char text[KEY_TEXT_CAP];
    node_key_format(k, text);
    return arena_str(&r->arena, str_c(text)).p;
}

struct key_request {
    struct rig *rig;
    struct auth_key_spec spec;
    char text[AUTH_KEY_TEXT_CAP];
};

static inline void rig_make_key(struct state *st, int64_t now_ms, void *ctx)
{
    struct key_request *k = ctx;
    const struct auth_key *out;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    struct err err;
    rng_bytes(random, sizeof(random));
    k->spec.user = k->rig->user;
    RIG_CHECK(state_key_create(st, &k->spec, random, now_ms, &out, k->text, &err) == RC_OK);
}

/* The text of a new auth key, in the rig's arena. */
static inline const char *rig_key(struct rig *r, const struct auth_key_spec *spec)
{
    struct key_request k = {.rig = r, .spec = *spec};
    rig_on_core(r, rig_make_key, &k);
    return arena_str(&r->arena, str_c(k.text)).p;
}

static inline const char *register_body(struct rig *r, const struct device *d, const char *auth_key, const char *expiry)
{
    return arena_printf(&r->arena,
                        "{\"Version\":142,\"NodeKey\":\"%s\",\"OldNodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},"
                        "\"Expiry\":\"%s\",\"Followup\":\"\",\"Hostinfo\":{\"BackendLogID\":\"b\",\"OS\":\"linux\","
                        "\"Hostname\":\"%s\"}}",
                        key_text(r, &d->key), key_text(r, &d->old_key), auth_key,
                        expiry != NULL ? expiry : "0001-01-01T00:00:00Z", d->name);
}

enum map_flags { MAP_POLL = 1, MAP_OMIT_PEERS = 2, MAP_READ_ONLY = 4, MAP_ZSTD = 8 };

static inline const char *map_body(struct rig *r, const struct device *d, unsigned flags)
{
    char disco[KEY_TEXT_CAP];
    struct buf endpoints = {0};
    disco_key_format(&d->disco, disco);
    for (unsigned i = 0; i < d->endpoints_n; i++)
        buf_printf(&endpoints, "%s\"192.0.2.%u:41641\"", i > 0 ? "," : "", i + 1);
    const char *body = arena_printf(
        &r->arena,
        "{\"Version\":142,%s\"KeepAlive\":true,\"NodeKey\":\"%s\",\"DiscoKey\":\"%s\",\"Stream\":%s,\"OmitPeers\":%s,"
        "\"ReadOnly\":%s,\"Endpoints\":[%s],\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"%s\",\"NetInfo\":"
        "{\"PreferredDERP\":%u}}}",
        flags & MAP_ZSTD ? "\"Compress\":\"zstd\"," : "", key_text(r, &d->key), disco,
        flags & MAP_POLL ? "true" : "false", flags & MAP_OMIT_PEERS ? "true" : "false",
        flags & MAP_READ_ONLY ? "true" : "false", buf_cstr(&endpoints), d->name, d->home_derp);
    buf_fini(&endpoints);
    return body;
}

/* The answer's JSON in the rig's arena; the test fails if it is none. */
static inline const struct json *rig_json(struct rig *r, const char *text)
{
    const struct json *root;
    assert_int_equal(json_parse(&r->arena, str_c(text), NULL, &root, NULL), RC_OK);
    return root;
}

static inline bool json_says(const struct json *obj, const char *key, const char *want)
{
    struct str got;
    return json_str(json_get(obj, key), &got) && str_eq_c(got, want);
}

static inline bool json_is_true(const struct json *obj, const char *key)
{
    bool value = false;
    return json_bool(json_get(obj, key), &value) && value;
}

static inline uint64_t json_number(const struct json *obj, const char *key)
{
    uint64_t value = 0;
    json_u64(json_get(obj, key), &value);
    return value;
}

/* Registers; the answer must be status 200. */
static inline const struct json *client_register(struct client *c, const struct device *d, const char *auth_key,
                                                 const char *expiry)
{
    const char *text;
    assert_int_equal(client_call(c, "POST", "/machine/register", register_body(c->rig, d, auth_key, expiry), &text),
                     200);
    return rig_json(c->rig, text);
}

/* A new device that has joined, with its machine's first connection. */
static inline void rig_join(struct rig *r, struct client *c, struct device *d, const char *name, unsigned worker)
{
    client_open(c, r, worker);
    device_init(d, name);
    const struct json *answer = client_register(c, d, rig_key(r, &(struct auth_key_spec){0}), NULL);
    assert_true(json_says(answer, "Error", ""));
    assert_true(json_is_true(answer, "MachineAuthorized"));
}

/* Begins a poll; does not wait. */
static inline void client_poll(struct client *c, struct reply *r, const struct device *d, unsigned flags)
{
    client_send(c, r, "POST", "/machine/map", map_body(c->rig, d, MAP_POLL | flags));
    r->is_poll = true;
    r->is_zstd = (flags & MAP_ZSTD) != 0;
}

static inline void reply_wait_frames(struct reply *r, size_t n)
{
    RIG_WAIT(r->client->rig, r->frame_n >= n || r->is_ended);
    assert_true(r->frame_n >= n);
}

static inline const struct json *reply_frame(struct reply *r, size_t i)
{
    assert_true(i < r->frame_n);
    return rig_json(r->client->rig, r->frames[i]);
}

static inline int client_update(struct client *c, const struct device *d)
{
    return client_call(c, "POST", "/machine/map", map_body(c->rig, d, MAP_OMIT_PEERS), NULL);
}

#endif
