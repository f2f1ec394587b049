#include "api/testing.h"

#include "base/metric.h"
#include "base/vec.h"

static void on_published(void *ctx, struct tailnet *t, struct change *c)
{
    (void)t;
    (void)ctx;
    (void)c;
}

static void on_key_revoked(void *ctx, struct tailnet *t, const node_key *key)
{
    (void)t;
    (void)ctx;
    (void)key;
}

static void on_events(void *ctx, struct tailnet *t, struct event_list *events)
{
    struct fixture *f = ctx;
    (void)t;
    pthread_mutex_lock(&f->lock);
    VEC_ROOM(f->events, f->events_n, f->events_cap, 16);
    f->events[f->events_n++] = event_list_ref(events);
    pthread_mutex_unlock(&f->lock);
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

static int set_up(void **state, const char *policy_path, const char *fault, const struct api_caller *caller)
{
    struct fixture *f = MEM_NEW(struct fixture);
    const struct core_hooks hooks = {
        .ctx = f, .published = on_published, .key_revoked = on_key_revoked, .events = on_events};
    struct err err;
    struct state *st = new_state();
    *state = f;
    pthread_mutex_init(&f->lock, NULL);
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    assert_int_equal(store_open_memory(&f->store), RC_OK);
    assert_int_equal(store_load(f->store, 1, st, clock_wall_ms(), &err), RC_OK);
    const struct tailnet_options tailnet = {
        .id = 1, .name = "default", .server_url = "http://127.0.0.1:8080", .policy_path = policy_path};
    f->core = core_create(f->store, core_clocks_apart_ms(), &hooks);
    f->api.tailnet = core_add_tailnet(f->core, &tailnet, st);
    buf_append_c(&f->api.tailnet->policy.fault, fault);
    const struct tailnet_options other = {.id = 2, .name = "other", .server_url = "http://127.0.0.2:8080"};
    f->other = core_add_tailnet(f->core, &other, new_state());
    f->api.core = f->core;
    f->api.compare_thread = api_compare_thread_create();
    f->listener = (struct api_listener){.api = &f->api, .caller = *caller};
    f->loop = loop_create(0);
    struct http_server_opts opts = {.loop = f->loop, .app = &f->api, .unmatched = api_unmatched};
    f->server = http_server_create(&opts);
    api_mount(&f->listener, f->server);
    snprintf(f->path, sizeof(f->path), "/tmp/fullscale-api-%d.sock", (int)getpid());
    assert_int_equal(tcp_listen_unix(f->loop, f->path, 0600, http_server_accept, f->server, &f->socket, &err), RC_OK);
    core_start(f->core);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    return 0;
}

int fixture_setup_with(void **state, const char *policy_path, const char *fault)
{
    const struct api_caller caller = api_caller_with_all("socket");
    return set_up(state, policy_path, fault, &caller);
}

int fixture_setup_as(void **state, const struct api_caller *caller)
{
    return set_up(state, NULL, "", caller);
}

int fixture_setup(void **state)
{
    return fixture_setup_with(state, NULL, "");
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    loop_stop(f->loop);
    pthread_join(f->thread, NULL);
    api_compare_thread_destroy(&f->api.compare_thread);
    tcp_listener_destroy(&f->socket);
    http_server_destroy(&f->server);
    core_stop(f->core);
    store_close(&f->store);
    core_destroy(&f->core);
    assert_int_equal(metric_read("fullscale_core_wrong_kind_jobs_total", ""), 0);
    loop_stop(f->loop);
    loop_run(f->loop);
    loop_destroy(&f->loop);
    arena_fini(&f->arena);
    for (size_t i = 0; i < f->events_n; i++)
        event_list_unref(&f->events[i]);
    mem_free(f->events);
    pthread_mutex_destroy(&f->lock);
    unlink(f->path);
    mem_free(f);
    return 0;
}

int fixture_dial(const struct fixture *f)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void fixture_send_request(int fd, const char *method, const char *path, const char *body)
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

const struct json *fixture_call(struct fixture *f, int status, const char *method, const char *path, const char *body)
{
    char chunk[4096];
    ssize_t n;
    struct buf in = {0};
    int fd = fixture_dial(f);
    fixture_send_request(fd, method, path, body);
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

size_t fixture_operations(struct fixture *f, const struct event **last)
{
    static const char counter[] = "created user counter-";
    static unsigned users;
    size_t n = 0;
    const char *body = arena_printf(&f->arena, "{\"name\":\"counter-%u\"}", users++);
    *last = NULL;
    fixture_call(f, 200, "POST", "/api/v1/user", body); /* its answer comes after all events before it */
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->events_n; i++) {
        for (size_t k = 0; k < f->events[i]->n; k++) {
            const struct event *e = &f->events[i]->v[k];
            if (e->kind != EVENT_OPERATION ||
                memcmp(e->text->data, counter,
                       e->text->len < sizeof(counter) - 1 ? e->text->len : sizeof(counter) - 1) == 0)
                continue;
            *last = e;
            n++;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return n;
}

const char *fixture_text_of(struct fixture *f, const struct json *object, const char *key)
{
    struct str s;
    if (!json_str(json_get(object, key), &s))
        fail_msg("no %s", key);
    return arena_str(&f->arena, s).p;
}

bool fixture_flag_of(const struct json *object, const char *key)
{
    bool v = false;
    if (!json_bool(json_get(object, key), &v))
        fail_msg("no %s", key);
    return v;
}

void fixture_refused(struct fixture *f, int status, const char *method, const char *path, const char *body,
                     const char *detail)
{
    int64_t number;
    fixture_call(f, status, method, path, body);
    if (strstr(fixture_text_of(f, f->reply, "detail"), detail) == NULL)
        fail_msg("%s %s: %s", method, path, fixture_text_of(f, f->reply, "detail"));
    assert_string_equal(fixture_text_of(f, f->reply, "message"), fixture_text_of(f, f->reply, "detail"));
    assert_true(json_i64(json_get(f->reply, "status"), &number));
    assert_int_equal(number, status);
    assert_true(json_i64(json_get(f->reply, "code"), &number));
    assert_true(number > 0);
    assert_non_null(strstr(f->head, "application/problem+json"));
}

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

void fixture_join(struct fixture *f, const char *key, const char *hostname, uint8_t number)
{
    struct join *j = MEM_NEW(struct join);
    j->job.tailnet = f->api.tailnet;
    j->job.kind = JOB_PEN;
    j->job.run = run_join;
    snprintf(j->key, sizeof(j->key), "%s", key);
    snprintf(j->hostname, sizeof(j->hostname), "%s", hostname);
    j->number = number;
    core_post(f->core, &j->job);
}

const char *fixture_new_key(struct fixture *f, const char *body)
{
    return fixture_text_of(f, json_get(fixture_call(f, 200, "POST", "/api/v1/preauthkey", body), "preAuthKey"), "key");
}

const struct json *fixture_why(struct fixture *f, const char *query)
{
    return fixture_call(f, 200, "GET", arena_printf(&f->arena, "/api/v1/policy/why?%s", query), "");
}

const char *fixture_method_name(enum http_method method)
{
    static const struct {
        enum http_method method;
        const char *name;
    } rows[] = {
        {HTTP_GET, "GET"}, {HTTP_POST, "POST"}, {HTTP_PUT, "PUT"}, {HTTP_PATCH, "PATCH"}, {HTTP_DELETE, "DELETE"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].method == method)
            return rows[i].name;
    }
    fail_msg("a method that no operation should have: %d", (int)method);
    return "";
}
