/* Clients that leave, a full disk, requests that wait, spellings of paths. */
#include "api/testing.h"

/* --- the policy --- */

/* A client that hangs up before the answer does no harm. */
static void test_client_that_hangs_up(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 50; i++) {
        int fd = fixture_dial(f);
        fixture_send_request(fd, "GET", "/api/v1/user", "");
        close(fd);
    }
    fixture_call(f, 200, "GET", "/api/v1/user", "");
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
    return fixture_method_name((enum http_method)route->methods);
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
    int fd = fixture_dial(f);
    assert_int_equal(send(fd, request, n, MSG_NOSIGNAL), n);
    close(fd);
}

/* Two iterations of the server's loop: what came before has been read, the peer's end included. */
static void let_loop_see(struct fixture *f)
{
    fixture_call(f, 404, "GET", "/nothing", "");
    fixture_call(f, 404, "GET", "/nothing", "");
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
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    const char *key = fixture_text_of(
        f, json_get(fixture_call(f, 200, "POST", "/api/v1/preauthkey", "{\"user\":\"anna\"}"), "preAuthKey"), "key");
    fixture_join(f, key, "web", 1);
    fixture_call(f, 200, "PUT", "/api/v1/policy",
                 "{\"policy\":\"{\\\"tagOwners\\\":{\\\"tag:abcdefghijklmnopqrstuvwxyz0\\\":[]}}\"}");
}

static void leave_before_the_job(struct fixture *f, const struct http_route *route)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct hold *h = MEM_NEW(struct hold);
    *h = (struct hold){.job = {.tailnet = f->api.tailnet, .kind = JOB_FRESH, .run = run_hold}, .gate = &gate};
    pthread_mutex_lock(&gate);
    core_post(f->core, &h->job);
    const char *request = request_of(f, route, "1");
    send_part(f, request, strlen(request));
    let_loop_see(f);
    pthread_mutex_unlock(&gate);
    fixture_call(f, 200, "GET", "/api/v1/health", ""); /* the job has run */
}

/* Clients leave after each byte of the request, and right after the last. */
static void leave_anywhere(struct fixture *f, const struct http_route *route)
{
    const char *request = request_of(f, route, "1");
    for (size_t n = 0; n <= strlen(request); n++)
        send_part(f, request, n);
    fixture_call(f, 200, "GET", "/api/v1/health", "");
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
    fixture_call(f, 200, "POST", "/api/v1/user", "{\"name\":\"anna\"}");
    store_memory_fail(f->store, RC_FULL);
    for (int i = 0; i < 2; i++) { /* in the commit that fails, and while it is known that they do */
        fixture_refused(f, 503, "POST", "/api/v1/user", "{\"name\":\"ben\"}", words);
        assert_non_null(strcasestr(f->head, "\r\nretry-after: 5\r\n"));
    }
    const struct json *health = fixture_call(f, 200, "GET", "/api/v1/health", "");
    assert_false(fixture_flag_of(health, "databaseConnectivity"));
    assert_string_equal(fixture_text_of(f, health, "databaseFault"), words);
    assert_int_equal(json_len(json_get(fixture_call(f, 200, "GET", "/api/v1/user", ""), "users")), 1);
    store_memory_fail(f->store, RC_OK);
    do {
        fixture_call(f, ANY_STATUS, "POST", "/api/v1/user", "{\"name\":\"ben\"}");
    } while (f->status == 503);
    assert_int_equal(f->status, 200);
}

/* As many calls wait as may: the next one is refused at once, and there is room again when they are answered. */
static void test_what_waits_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct waiting_ticket held;
    const struct waiting_sender sender = waiting_sender_key(WAIT_ADMIN, "", 0);
    struct waiting *waiting = core_waiting(f->core);
    waiting_set_limit(waiting, WAIT_ADMIN, 1);
    assert_true(waiting_take(waiting, &sender, 1, &held));
    fixture_refused(f, 503, "GET", "/api/v1/user", "", "the server is busy, try again");
    assert_non_null(strcasestr(f->head, "\r\nretry-after: 5\r\n"));
    waiting_leave(waiting, &held);
    fixture_call(f, 200, "GET", "/api/v1/user", "");
}

static void test_client_leaves_anywhere(void **state)
{
    for_all_routes(*state, leave_anywhere);
}

/* --- paths are matched as they are sent: no spelling of one reaches the handler of another --- */

static int status_of(struct fixture *f, const char *method, const char *path, const char *body)
{
    char text[16] = "";
    int fd = fixture_dial(f);
    fixture_send_request(fd, method, path, body);
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

/* All lists that the API has, to show that nothing has changed. */
static const char *world(struct fixture *f)
{
    struct buf all = {0};
    static const char *const lists[] = {"/api/v1/user", "/api/v1/node", "/api/v1/preauthkey", "/api/v1/relay",
                                        "/api/v1/policy/history"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        fixture_call(f, 200, "GET", lists[i], "");
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
    fixture_call(f, 200, "POST", "/api/v1/user/1/rename/%62erta", ""); /* a name may be encoded: it is data */
    assert_string_equal(fixture_text_of(f, json_get(f->reply, "user"), "name"), "berta");
}

int main(void)
{
    crypto_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_client_that_hangs_up, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_before_the_job, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_anywhere, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_is_bounded, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_encoded_paths_reach_no_other_handler, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
