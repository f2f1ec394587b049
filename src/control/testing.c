/* The server of the tests: core, store and workers; see testing.h. */
#include "control/testing.h"

/* What tests that failed have left behind, as counted when the server was made. */
static int64_t sessions_before, conns_before;

static void control_rig_guard(void *ctx)
{
    (void)ctx;
    fprintf(stderr, "what the test waits for does not happen\n");
    abort();
}

void control_rig_wake(struct rig *r)
{
    if (r->loop != NULL)
        loop_stop(r->loop);
}

static void control_rig_core_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct control_rig_core_call *c = (struct control_rig_core_call *)job;
    if (c->fn != NULL)
        c->fn(st, now_ms, c->ctx);
}

static void control_rig_core_done(struct core_job *job)
{
    struct control_rig_core_call *c = (struct control_rig_core_call *)job;
    c->is_done = true;
    control_rig_wake(c->rig);
}

void control_rig_core_call_init(struct control_rig_core_call *c, struct rig *r,
                                void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    *c = (struct control_rig_core_call){.job = {.tailnet = r->tailnet,
                                                .home = r->loop,
                                                .kind = JOB_PEN,
                                                .run = control_rig_core_run,
                                                .done = control_rig_core_done},
                                        .rig = r,
                                        .fn = fn,
                                        .ctx = ctx};
}

void control_rig_core_begin(struct rig *r, struct control_rig_core_call *c,
                            void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    control_rig_core_call_init(c, r, fn, ctx);
    core_post(r->core, &c->job);
}

void control_rig_on_core(struct rig *r, void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx)
{
    struct control_rig_core_call c;
    control_rig_core_begin(r, &c, fn, ctx);
    RIG_WAIT(r, c.is_done);
}

/* A call of `fn` on a worker's thread. */
struct control_rig_worker_call {
    struct loop_msg msg;
    struct rig *rig;
    struct control_worker *worker;
    void (*fn)(struct control_worker *w, void *ctx);
    void *ctx;
    bool is_done;
};

static void control_rig_worker_done(struct loop *loop, struct loop_msg *msg)
{
    struct control_rig_worker_call *c = CONTAINER_OF(msg, struct control_rig_worker_call, msg);
    (void)loop;
    c->is_done = true;
    control_rig_wake(c->rig);
}

static void control_rig_worker_run(struct loop *loop, struct loop_msg *msg)
{
    struct control_rig_worker_call *c = CONTAINER_OF(msg, struct control_rig_worker_call, msg);
    (void)loop;
    if (c->fn != NULL)
        c->fn(c->worker, c->ctx);
    c->msg.run = control_rig_worker_done;
    loop_post(c->rig->loop, &c->msg);
}

void control_rig_on_worker(struct rig *r, unsigned i, void (*fn)(struct control_worker *w, void *ctx), void *ctx)
{
    struct control_rig_worker_call c = {
        .msg.run = control_rig_worker_run, .rig = r, .worker = r->control->workers[i], .fn = fn, .ctx = ctx};
    loop_post(r->loops[i], &c.msg);
    RIG_WAIT(r, c.is_done);
}

void control_rig_settle(struct rig *r)
{
    for (unsigned round = 0; round < 3; round++) {
        control_rig_on_core(r, NULL, NULL);
        for (unsigned i = 0; i < r->worker_n; i++)
            control_rig_on_worker(r, i, NULL, NULL);
    }
}

static void control_rig_hold_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct rig *r = CONTAINER_OF(job, struct rig, hold.job);
    (void)st;
    (void)now_ms;
    sem_post(&r->hold.held);
    while (sem_wait(&r->hold.release) != 0) {
    }
}

static void control_rig_hold_done(struct core_job *job)
{
    struct rig *r = CONTAINER_OF(job, struct rig, hold.job);
    r->hold.is_done = true;
    control_rig_wake(r);
}

void control_rig_hold_core(struct rig *r)
{
    r->hold.job = (struct core_job){.tailnet = r->tailnet,
                                    .home = r->loop,
                                    .kind = JOB_FRESH,
                                    .run = control_rig_hold_run,
                                    .done = control_rig_hold_done};
    r->hold.is_done = false;
    r->hold.is_held = true;
    sem_init(&r->hold.held, 0, 0);
    sem_init(&r->hold.release, 0, 0);
    core_post(r->core, &r->hold.job);
    while (sem_wait(&r->hold.held) != 0) {
    }
}

void control_rig_release_core(struct rig *r)
{
    r->hold.is_held = false;
    sem_post(&r->hold.release);
    RIG_WAIT(r, r->hold.is_done);
    sem_destroy(&r->hold.held);
    sem_destroy(&r->hold.release);
}

static void control_rig_published(void *ctx, struct tailnet *t, struct change *c)
{
    control_published(((struct rig *)ctx)->control, t, c);
}

static void control_rig_send(void *ctx, struct tailnet *t)
{
    struct rig *r = ctx;
    if (!atomic_load(&r->is_sending_held))
        control_send(r->control, t);
}

static void control_rig_key_revoked(void *ctx, struct tailnet *t, const node_key *key)
{
    control_key_revoked(((struct rig *)ctx)->control, t, key);
}

static void control_rig_relays_changed(void *ctx, struct tailnet *t)
{
    control_relays_changed(((struct rig *)ctx)->control, t);
}

struct state *control_rig_state(const char *marker)
{
    struct state_options options = {.v4_bits = 10, .v6_bits = 48, .ephemeral_timeout_ms = 60000};
    struct tailnet_settings *settings = tailnet_settings_create();
    char derp_map[128] = "{\"Regions\":{}}";
    if (marker != NULL)
        snprintf(derp_map, sizeof(derp_map), "{\"Regions\":{},\"X\":\"%s\"}", marker);
    settings->derp_map_json = rcbuf_create(derp_map, strlen(derp_map));
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    snprintf(settings->domain, sizeof(settings->domain), "%s.example", marker != NULL ? marker : "test");
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    return state_create(&options, settings);
}

static void control_rig_make_user(struct state *st, int64_t now_ms, void *ctx)
{
    struct rig *r = ctx;
    const struct user *u;
    struct err err;
    char name[USER_NAME_CAP] = "anna";
    if (r->tailnets[1] != NULL)
        snprintf(name, sizeof(name), "%s-anna", r->tailnet->name);
    RIG_CHECK(state_user_create(st, &(struct user_spec){.name = str_c(name)}, now_ms, &u, &err) == RC_OK);
    r->users[r->tailnet->index] = u->id;
}

static void *control_rig_serve(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void control_rig_start_worker(struct rig *r, unsigned i)
{
    struct addr any;
    struct err err;
    struct tcp_listen_opts opts = {0};
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &any), RC_OK);
    assert_int_equal(
        tcp_listen(r->loops[i], &any, &opts, http_server_accept, control_http(r->control, i), &r->listeners[i], &err),
        RC_OK);
    tcp_listener_addr(r->listeners[i], &r->at[i]);
    assert_int_equal(pthread_create(&r->threads[i], NULL, control_rig_serve, r->loops[i]), 0);
}

/* The clients of most tests are not limited. */
static bool control_rig_is_trusted(const void *ctx, const struct addr *from)
{
    (void)ctx;
    return addr_is_loopback(from);
}

static struct control *control_rig_control(struct rig *r)
{
    struct control_options options = {
        .version = "1.2.3",
        .handshakes_per_address = 1,
        .is_trusted = control_rig_is_trusted,
    };
    private_key_from_bytes((const uint8_t[KEY_BYTES]){7, 7, 7}, &options.noise_key);
    struct control *c = control_create(&options, r->core, r->store, NULL, r->loops, r->worker_n);
    control_public_key(c, &r->server);
    return c;
}

static void control_rig_open_loop(struct rig *r)
{
    r->loop = loop_create(r->worker_n);
    r->guard = loop_timer_create(r->loop, control_rig_guard, NULL);
}

const struct tailnet_options control_rig_tailnet = {.id = 1, .name = "default", .server_url = "http://127.0.0.1:8080"};

static void control_rig_open_core(struct rig *r, const struct tailnet_options *tailnets, unsigned tailnet_n)
{
    const struct core_hooks hooks = {.ctx = r,
                                     .published = control_rig_published,
                                     .send = control_rig_send,
                                     .key_revoked = control_rig_key_revoked,
                                     .relays_changed = control_rig_relays_changed,
                                     .events = control_log_events};
    struct err err;
    assert_int_equal(store_open_memory(&r->store), RC_OK);
    r->core = core_create(r->store, core_clocks_apart_ms(), &hooks);
    for (unsigned i = 0; i < tailnet_n; i++) {
        struct state *st = control_rig_state(tailnet_n > 1 ? tailnets[i].name : NULL);
        assert_int_equal(store_load(r->store, tailnets[i].id, st, clock_wall_ms(), &err), RC_OK);
        r->tailnets[i] = core_add_tailnet(r->core, &tailnets[i], st);
    }
    r->tailnet = r->tailnets[0];
}

void control_rig_enter(struct rig *r, unsigned tailnet)
{
    r->tailnet = r->tailnets[tailnet];
    r->user = r->users[tailnet];
}

static void control_rig_make_users(struct rig *r, unsigned tailnet_n)
{
    for (unsigned i = tailnet_n; i-- > 0;) {
        control_rig_enter(r, i);
        control_rig_on_core(r, control_rig_make_user, r);
        control_rig_enter(r, i);
    }
}

struct rig *control_rig_create_with(unsigned worker_n, const struct tailnet_options *tailnets, unsigned tailnet_n)
{
    struct rig *r = MEM_NEW(struct rig);
    crypto_init();
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    control_rig_open_core(r, tailnets, tailnet_n);
    r->worker_n = worker_n;
    for (unsigned i = 0; i < worker_n; i++)
        r->loops[i] = loop_create(i);
    control_rig_open_loop(r);
    sessions_before = metric_read("fullscale_map_sessions", "");
    conns_before = metric_read("fullscale_noise_connections", "");
    r->control = control_rig_control(r);
    for (unsigned i = 0; i < worker_n; i++)
        control_rig_start_worker(r, i);
    core_start(r->core);
    control_rig_make_users(r, tailnet_n);
    r->wrong_kinds = metric_read("fullscale_core_wrong_kind_jobs_total", "");
    return r;
}

struct rig *control_rig_create(unsigned worker_n)
{
    return control_rig_create_with(worker_n, &control_rig_tailnet, 1);
}

void control_rig_expect_wrong_kinds(struct rig *r, int64_t n)
{
    r->wrong_kinds += n;
}

void control_rig_destroy(struct rig *r)
{
    /* The test has failed: its clients were on its stack, and whatever comes for them on their loop must not be run. */
    if (r->open_n > 0 || r->hold.is_held)
        control_rig_open_loop(r);
    if (r->hold.is_held)
        sem_post(&r->hold.release);
    control_rig_settle(r);
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
    RIG_CHECK(metric_read("fullscale_core_wrong_kind_jobs_total", "") == r->wrong_kinds);
    mem_free(r);
}

int64_t control_rig_sessions(void)
{
    return metric_read("fullscale_map_sessions", "") - sessions_before;
}

int64_t control_rig_conns(void)
{
    return metric_read("fullscale_noise_connections", "") - conns_before;
}

void control_rig_wait_idle(struct rig *r)
{
    int64_t deadline_ms = clock_mono_ms() + RIG_GUARD_MS;
    while (control_rig_sessions() > 0 || control_rig_conns() > 0) {
        assert_true(clock_mono_ms() < deadline_ms);
        control_rig_settle(r);
    }
    control_rig_settle(r);
}

struct rig *rig;

int control_rig_set_up(void **state)
{
    (void)state;
    rig = control_rig_create(1);
    return 0;
}

int control_rig_set_up_two(void **state)
{
    (void)state;
    rig = control_rig_create(2);
    return 0;
}

int control_rig_tear_down(void **state)
{
    (void)state;
    control_rig_destroy(rig);
    return 0;
}
