/* What is outside Noise, and the way in. */
#include "control/testing.h"

#include <sys/socket.h>
#include <unistd.h>

static struct rig *r;

/* --- a client by hand, which blocks --- */

static int raw_dial(void)
{
    struct sockaddr_storage to;
    struct timeval patience = {.tv_sec = 60};
    socklen_t len = addr_to_sockaddr(&r->at[0], &to);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, len), 0);
    return fd;
}

static void raw_send(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        text += sent;
        n -= (size_t)sent;
    }
}

static bool is_whole(struct buf *in)
{
    size_t body;
    const char *text = buf_cstr(in);
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "\r\ncontent-length: ");
    return end != NULL && length != NULL && sscanf(length + 18, "%zu", &body) == 1 &&
           buf_len(in) >= (size_t)(end + 4 - text) + body;
}

/* Sends `request` and reads one answer, or until the server closes; the text is in the arena. */
static const char *raw_call(const char *request)
{
    struct buf in = {0};
    int fd = raw_dial();
    raw_send(fd, request, strlen(request));
    while (!is_whole(&in)) {
        ssize_t got = recv(fd, buf_reserve(&in, 4096), 4096, 0);
        if (got <= 0)
            break;
        buf_commit(&in, (size_t)got);
    }
    close(fd);
    const char *text = arena_str(&r->arena, buf_str(&in)).p;
    buf_fini(&in);
    return text;
}

static const char *get(const char *target)
{
    return raw_call(arena_printf(&r->arena, "GET %s HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n", target));
}

/* 400 or the like, and a sentence that has these words. */
static void assert_refused(const char *answer, int status, const char *words)
{
    char head[32];
    snprintf(head, sizeof(head), "HTTP/1.1 %d ", status);
    assert_true(str_starts(str_c(answer), str_c(head)));
    assert_non_null(strstr(answer, "\r\ncontent-type: text/plain"));
    assert_non_null(strstr(strstr(answer, "\r\n\r\n"), words));
}

static int64_t refused(const char *reason)
{
    return metric_read("fullscale_noise_refused_total", reason);
}

/* --- pages --- */

static void test_key(void **state)
{
    (void)state;
    char want[KEY_TEXT_CAP], zero[KEY_TEXT_CAP];
    const char *answer = get("/key?v=142");
    machine_key none = {{0}};
    machine_key_format(&r->server, want);
    machine_key_format(&none, zero);
    assert_true(str_starts(str_c(answer), STR("HTTP/1.1 200 ")));
    assert_non_null(strstr(answer, "\r\ncontent-type: application/json\r\n"));
    const struct json *key = control_rig_json(r, strstr(answer, "\r\n\r\n") + 4);
    assert_true(json_says(key, "publicKey", want));
    assert_true(json_says(key, "legacyPublicKey", zero));
    assert_true(str_starts(str_c(get("/key?v=1")), STR("HTTP/1.1 200 "))); /* refused where people see it */
}

static void test_key_for_browsers(void **state)
{
    (void)state;
    assert_refused(get("/key"), 400, "tailscale up --login-server");
    assert_refused(get("/key?V=142"), 400, "Tailscale clients");
    assert_true(str_starts(str_c(get("/key/")), STR("HTTP/1.1 404 ")));
}

static void test_pages(void **state)
{
    (void)state;
    static const struct {
        const char *path, *words;
    } rows[] = {
        {"/health", "{\"status\":\"pass\"}"},
        {"/version", "\"version\":\"1.2.3\""},
        {"/robots.txt", "Disallow: /"},
        {"/derpmap/default", "{\"Regions\":{}}"},
        {"/", "tailscale up --login-server http://127.0.0.1:8080 "},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *answer = get(rows[i].path);
        assert_true(str_starts(str_c(answer), STR("HTTP/1.1 200 ")));
        assert_non_null(strstr(strstr(answer, "\r\n\r\n"), rows[i].words));
    }
    assert_true(str_starts(str_c(get("/machine/map")), STR("HTTP/1.1 404 "))); /* inside Noise only */
}

static void test_bodies_outside(void **state)
{
    (void)state;
    int64_t before = metric_read("fullscale_http_refused_total", "reason=\"body\"");
    const char *answer = raw_call("POST /ts2021 HTTP/1.1\r\nHost: server\r\nContent-Length: 104857600\r\n\r\nabc");
    assert_true(str_starts(str_c(answer), STR("HTTP/1.1 413 ")));
    assert_int_equal(metric_read("fullscale_http_refused_total", "reason=\"body\""), before + 1);
}

/* --- POST --- */

static void test_post(void **state)
{
    (void)state;
    static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
                               "Connection: upgrade\r\n\r\n";
    struct client c;
    struct noise_result keys;
    struct noise_opener opener;
    struct str error;
    uint8_t in[8192], plain[NOISE_PLAIN_MAX];
    size_t used, n;
    control_rig_client_init(&c, r);
    const char *request = control_rig_client_upgrade(&c, &r->server);
    int fd = raw_dial();
    raw_send(fd, request, strlen(request));
    /* One read: the client would wait a round trip for the rest. */
    ssize_t got = recv(fd, in, sizeof(in), 0);
    assert_true(got > (ssize_t)(sizeof(head) - 1 + NOISE_RESPONSE_BYTES + 9));
    assert_memory_equal(in, head, sizeof(head) - 1);
    const uint8_t *p = in + sizeof(head) - 1;
    size_t left = (size_t)got - (sizeof(head) - 1);
    assert_int_equal(noise_initiate_finish(&c.hs, p, left, &keys, &used, &error), 1);
    assert_int_equal(used, NOISE_RESPONSE_BYTES);
    p += used;
    left -= used;
    noise_opener_init(&opener, keys.server_to_client);
    assert_int_equal(noise_open(&opener, &p, &left, plain, &n), 1);
    assert_memory_equal(plain, "\xff\xff\xffTS\0\0", 7);
    size_t len = (size_t)plain[7] << 8 | plain[8];
    assert_true(len <= 1024 && len <= n - 9); /* 1024: tailscale-rs */
    struct str challenge;
    const struct json *early = control_rig_json(r, arena_str(&r->arena, str_n(plain + 9, len)).p);
    assert_true(json_str(json_get(early, "nodeKeyChallenge"), &challenge));
    assert_true(str_starts(challenge, STR("chalpub:")) && challenge.len == 8 + 64);
    noise_opener_fini(&opener);
    close(fd);
    control_rig_wait_idle(r);
}

static const char *post_with(const char *headers)
{
    return raw_call(arena_printf(
        &r->arena, "POST /ts2021 HTTP/1.1\r\nHost: server\r\nContent-Length: 0\r\nConnection: %s\r\n%s\r\n",
        strstr(headers, "Upgrade") != NULL ? "upgrade, close" : "close", headers));
}

static void test_post_without_upgrade(void **state)
{
    (void)state;
    assert_refused(post_with(""), 400, "reverse proxy");
    assert_refused(post_with("Upgrade: DERP\r\nX-Tailscale-Handshake: AAAA\r\n"), 400,
                   "Upgrade: tailscale-control-protocol");
}

static void test_post_without_handshake(void **state)
{
    (void)state;
    int64_t before = refused("reason=\"malformed\"");
    assert_refused(post_with("Upgrade: tailscale-control-protocol\r\n"), 400, "X-Tailscale-Handshake");
    assert_int_equal(refused("reason=\"malformed\""), before + 1);
}

static void assert_malformed(const char *base64)
{
    int64_t before = refused("reason=\"malformed\"");
    assert_refused(post_with(arena_printf(
                       &r->arena, "Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: %s\r\n", base64)),
                   400, "handshake");
    assert_int_equal(refused("reason=\"malformed\""), before + 1);
}

static void test_malformed_handshakes(void **state)
{
    (void)state;
    static const uint8_t head[] = {0, 142, 1, 0, 96};
    uint8_t bytes[300] = {0};
    char text[512];
    memcpy(bytes, head, sizeof(head));
    static const size_t sizes[] = {0, 1, 5, 100, 102, 104, 105, 300};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        base64_encode(bytes, sizes[i], text);
        assert_malformed(text);
    }
    bytes[2] = 2; /* type */
    base64_encode(bytes, NOISE_INITIATION_BYTES, text);
    assert_malformed(text);
    bytes[2] = 1;
    bytes[4] = 95; /* length */
    base64_encode(bytes, NOISE_INITIATION_BYTES, text);
    assert_malformed(text);
    assert_malformed("not base64!");
    assert_malformed("AAA");
    assert_malformed("\x80\xff");
}

static void test_handshake_for_another_server(void **state)
{
    (void)state;
    struct client c;
    machine_key other = {{9}};
    int64_t before = refused("reason=\"crypto\"");
    control_rig_client_init(&c, r);
    const char *answer = raw_call(control_rig_client_upgrade(&c, &other));
    assert_refused(answer, 400, "does not fit this server's key");
    assert_int_equal(refused("reason=\"crypto\""), before + 1);
    /* The same, with a version that is not the one of the prologue. */
    char *request = mem_strdup(control_rig_client_upgrade(&c, &r->server));
    char *handshake = strstr(request, "Handshake: ") + 11;
    handshake[1] ^= 1;
    assert_true(str_starts(str_c(raw_call(request)), STR("HTTP/1.1 400 ")));
    mem_free(request);
    assert_int_equal(control_rig_conns(), 0);
}

static void test_garbage_after_the_handshake(void **state)
{
    (void)state;
    struct client c;
    control_rig_client_init(&c, r);
    const char *request = arena_printf(&r->arena, "%sGET / HTTP/1.1\r\n\r\n",
                                       control_rig_client_upgrade(&c, &r->server));
    raw_call(request); /* returns: the server closes */
    control_rig_wait_idle(r);
}

/* Valid Noise, and then nothing of HTTP/2. */
static void test_noise_without_http2(void **state)
{
    (void)state;
    struct client c;
    control_rig_client_init(&c, r);
    c.stays_raw = true;
    control_rig_client_begin(&c, 0);
    RIG_WAIT(r, c.is_noise);
    stream_write(c.s, "GET / HTTP/1.1\r\nHost: server\r\n\r\n", 32);
    RIG_WAIT(r, c.is_closed);
    control_rig_client_close(&c);
    control_rig_wait_idle(r);
}

static void test_connections_come_and_go(void **state)
{
    (void)state;
    struct client clients[20];
    int64_t before = control_rig_conns();
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        control_rig_client_open(&clients[i], r, 0);
    assert_int_equal(control_rig_conns() - before, 2 * (int)ARRAY_LEN(clients)); /* both ends are ours */
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        control_rig_client_close(&clients[i]);
    control_rig_wait_idle(r);
}

/* --- WebSocket --- */

static const char *websocket_request(struct client *c, const char *protocol, bool with_handshake)
{
    struct buf target = {0};
    const char *post = control_rig_client_upgrade(c, &r->server);
    for (const char *p = strstr(post, "Handshake: ") + 11; with_handshake && *p != '\r'; p++) {
        if (*p == '+' || *p == '/' || *p == '=')
            buf_printf(&target, "%%%02X", (unsigned)*p);
        else
            buf_append_byte(&target, (uint8_t)*p);
    }
    const char *request = arena_printf(&r->arena,
                                       "GET /ts2021%s%s HTTP/1.1\r\nHost: server\r\nConnection: Upgrade\r\n"
                                       "Upgrade: websocket\r\nOrigin: https://elsewhere.example\r\n"
                                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                       "Sec-WebSocket-Protocol: %s\r\n\r\n",
                                       with_handshake ? "?X-Tailscale-Handshake=" : "", buf_cstr(&target), protocol);
    buf_fini(&target);
    return request;
}

static void test_websocket(void **state)
{
    (void)state;
    struct client c;
    struct noise_result keys;
    struct str error;
    uint8_t in[8192];
    size_t used, n = 0;
    control_rig_client_init(&c, r);
    const char *request = websocket_request(&c, "tailscale-control-protocol", true);
    int fd = raw_dial();
    raw_send(fd, request, strlen(request));
    const uint8_t *frame = NULL;
    while (frame == NULL || n < (size_t)(frame - in) + 4 + NOISE_RESPONSE_BYTES) {
        ssize_t got = recv(fd, in + n, sizeof(in) - 1 - n, 0);
        assert_true(got > 0);
        n += (size_t)got;
        in[n] = '\0';
        const char *end = strstr((const char *)in, "\r\n\r\n");
        frame = end != NULL ? (const uint8_t *)end + 4 : NULL;
    }
    assert_true(str_starts(str_c((const char *)in), STR("HTTP/1.1 101 ")));
    assert_non_null(strstr((const char *)in, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_non_null(strstr((const char *)in, "\r\nSec-WebSocket-Protocol: tailscale-control-protocol\r\n"));
    assert_int_equal(frame[0], 0x82); /* a whole binary message */
    size_t skip = frame[1] == 126 ? 4 : 2;
    assert_int_equal(noise_initiate_finish(&c.hs, frame + skip, n - (size_t)(frame - in) - skip, &keys, &used, &error),
                     1);
    close(fd);
    control_rig_wait_idle(r);
}

/* Sends, and gives what came until the server closed. */
static const char *websocket_call(const char *protocol, bool with_handshake)
{
    struct client c;
    control_rig_client_init(&c, r);
    return raw_call(websocket_request(&c, protocol, with_handshake));
}

static void test_websocket_refused(void **state)
{
    (void)state;
    assert_refused(get("/ts2021"), 400, "Tailscale clients");
    assert_refused(get("/ts2021?X-Tailscale-Handshake=AAAA"), 400, "WebSocket");
    assert_refused(websocket_call("tailscale-control-protocol", false), 400, "X-Tailscale-Handshake");
    /* Without the sub-protocol: status 1008 inside WebSocket, which is what scripts can see. */
    const char *answer = websocket_call("chat", true);
    assert_true(str_starts(str_c(answer), STR("HTTP/1.1 101 ")));
    assert_null(strstr(answer, "Sec-WebSocket-Protocol"));
    assert_memory_equal(strstr(answer, "\r\n\r\n") + 4, "\x88", 1);
    assert_memory_equal(strstr(answer, "\r\n\r\n") + 6, "\x03\xf0", 2);
    control_rig_wait_idle(r);
}

/* --- limits --- */

static struct addr ip(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse_ip(str_c(text), &a), RC_OK);
    return a;
}

/* A connection that seems to come from elsewhere, on the worker's thread. */
struct visit {
    const char *request;
    struct stream *s;
    struct buf got;
};

static void visit_data(void *ctx, const uint8_t *p, size_t n)
{
    buf_append(&((struct visit *)ctx)->got, p, n);
}

static void visit_closed(void *ctx, enum rc why)
{
    (void)ctx;
    (void)why;
}

static void visit_begin(struct control_worker *w, void *ctx)
{
    static const struct stream_events events = {visit_data, NULL, visit_closed};
    struct visit *v = ctx;
    struct stream *server;
    stream_pair_create(w->loop, 0, &server, &v->s);
    server->peer = ip("192.0.2.77");
    stream_set_events(v->s, &events, v);
    http_server_accept(w->outer, server);
    stream_write(v->s, v->request, strlen(v->request));
}

static void visit_end(struct control_worker *w, void *ctx)
{
    (void)w;
    stream_close(&((struct visit *)ctx)->s, false);
}

static void test_handshakes_are_limited(void **state)
{
    (void)state;
    unsigned accepted = 0, limited = 0;
    int64_t before = refused("reason=\"rate\"");
    for (unsigned i = 0; i < 15; i++) {
        struct client c;
        control_rig_client_init(&c, r);
        struct visit v = {.request = control_rig_client_upgrade(&c, &r->server)};
        control_rig_on_worker(r, 0, visit_begin, &v);
        control_rig_on_worker(r, 0, visit_end, &v);
        accepted += str_starts(buf_str(&v.got), STR("HTTP/1.1 101 "));
        limited += str_starts(buf_str(&v.got), STR("HTTP/1.1 429 ")) &&
                   strstr(buf_cstr(&v.got), "\r\nretry-after: 10\r\n") != NULL;
        buf_fini(&v.got);
    }
    assert_true(accepted >= 10); /* and one more for each second that this takes */
    assert_int_equal(accepted + limited, 15);
    assert_int_equal(refused("reason=\"rate\"") - before, limited);
    assert_true(limited > 0);
    control_rig_wait_idle(r);
}

/* Not one that is made only to be closed: some clients would not get over it. */
static void test_no_handshake_at_the_end(void **state)
{
    (void)state;
    struct rig *own = control_rig_create(1);
    struct client c;
    control_rig_client_init(&c, own);
    struct visit v = {.request = control_rig_client_upgrade(&c, &own->server)};
    int64_t before = refused("reason=\"ending\"");
    control_drain(own->control);
    control_rig_settle(own);
    control_rig_on_worker(own, 0, visit_begin, &v);
    control_rig_on_worker(own, 0, visit_end, &v);
    assert_true(str_starts(buf_str(&v.got), STR("HTTP/1.1 503 ")));
    assert_non_null(strstr(buf_cstr(&v.got), "\r\nretry-after: 1\r\n"));
    assert_int_equal(refused("reason=\"ending\"") - before, 1);
    buf_fini(&v.got);
    control_rig_destroy(own);
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
        cmocka_unit_test_setup_teardown(test_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_key_for_browsers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bodies_outside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_post, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_post_without_upgrade, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_post_without_handshake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_malformed_handshakes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_handshake_for_another_server, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage_after_the_handshake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_noise_without_http2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connections_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_websocket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_websocket_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_handshakes_are_limited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_handshake_at_the_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
