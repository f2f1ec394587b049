#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/http_internal.h"
#include "http/testing.h"

static void test_host_header(void **state)
{
    (void)state;
    static const char *const names[] = {"hs.example.com", "relay.example.com."};
    static const struct http_hosts hosts = {names, ARRAY_LEN(names)};
    static const struct {
        const char *authority;
        bool is_ours;
    } rows[] = {
        {"hs.example.com", true},
        {"HS.Example.COM:8080", true},
        {"hs.example.com.", true},
        {"hs.example.com.:443", true},
        {"relay.example.com", true},
        {"localhost", true},
        {"LocalHost:9090", true},
        {"192.0.2.1", true},
        {"192.0.2.1:80", true},
        {"[2001:db8::1]:443", true},
        {"[::1]", true},
        {"", true}, /* HTTP/1.0: no browser */
        {"evil.example", false},
        {"evil.example:8080", false},
        {"hs.example.com.evil.example", false},
        {"xhs.example.com", false},
        {"hs.example", false},
        {"localhost.evil.example", false},
        {"127.0.0.1.evil.example", false},
        {"1.2.3", false},
        {"0x7f000001", false},
        {"2130706433", false},
        {"[hs.example.com]x", true}, /* no authority: refused before */
        {"[evil.example]", false},
        {"[::1", false},
        {".", false},
        {":80", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (http_host_is_ours(&hosts, str_c(rows[i].authority)) != rows[i].is_ours)
            fail_msg("%s", rows[i].authority);
        assert_true(http_host_is_ours(NULL, str_c(rows[i].authority)));
    }
}

static bool is_proxy(const void *ctx, const struct addr *from)
{
    (void)ctx;
    return from->family == 4 && from->ip[0] == 10;
}

/* The client behind proxies: the nearest proxy appends its header value last. */
static void test_forwarded_for(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second, *who; /* headers, and null: not known */
    } rows[] = {
        {"192.0.2.1", NULL, "192.0.2.1"},
        {"203.0.113.9, 192.0.2.1", NULL, "192.0.2.1"}, /* what a client sends itself stands before */
        {"203.0.113.9", "192.0.2.1", "192.0.2.1"},
        {"192.0.2.1, 10.0.0.2", NULL, "192.0.2.1"},
        {"192.0.2.1", "10.0.0.3,10.0.0.2", "192.0.2.1"},
        {"10.0.0.3", NULL, NULL}, /* one proxy named by another: the client behind them is not known */
        {" 2001:db8::9 ", NULL, "2001:db8::9"},
        {"192.0.2.1:1234", NULL, "192.0.2.1"},
        {"[2001:db8::9]:1234", NULL, "2001:db8::9"},
        {"[2001:db8::9]", NULL, "2001:db8::9"},
        {"192.0.2.1, unknown", NULL, NULL},
        {"192.0.2.1, unknown, 10.0.0.2", NULL, NULL},
        {"192.0.2.1,", NULL, NULL},
        {"", NULL, NULL},
        {",,,", NULL, NULL},
    };
    const struct http_server_opts opts = {.is_proxy = is_proxy};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_header headers[] = {{STR("x-forwarded-for"), str_c(rows[i].first)},
                                        {STR("x-other"), STR("198.51.100.7")},
                                        {STR("x-forwarded-for"), str_c(rows[i].second != NULL ? rows[i].second : "")}};
        const struct http_request req = {.headers = headers, .headers_n = rows[i].second != NULL ? 3 : 2};
        struct addr who = {0};
        char text[ADDR_TEXT_CAP] = "";
        bool is_found = http_host_forwarded_for(&req, &opts, &who);
        if (is_found)
            addr_format(&who, false, text);
        if (is_found != (rows[i].who != NULL) || (is_found && strcmp(text, rows[i].who) != 0))
            fail_msg("%s: %s", rows[i].first, text);
    }
}

/* --- over a connection --- */

static void answer(void *app, struct http_exchange *ex)
{
    (void)app;
    char text[ADDR_TEXT_CAP];
    addr_format(&http_request(ex)->peer, false, text);
    http_respond_text(ex, 200, text);
}

static const struct http_route routes[] = {{HTTP_GET, "/", answer, 0}, {HTTP_GET, "/any", answer, 0, .any_host = true}};

static void expect(const char *request, const char *head, const char *body)
{
    static const char *const names[] = {"hs.example.com"};
    static const struct http_hosts hosts = {names, 1};
    struct loop *loop = loop_create(0);
    struct http_server *server = http_server_create(&(struct http_server_opts){
        .loop = loop, .routes = routes, .routes_n = ARRAY_LEN(routes), .hosts = &hosts, .is_proxy = is_proxy});
    struct stream *near, *far;
    struct peer peer;
    stream_pair_create(loop, 0, &near, &far);
    near->peer = (struct addr){.family = 4, .ip = {10, 0, 0, 1}};
    peer_open(&peer, far);
    http_server_accept(server, near);
    stream_write(far, request, strlen(request));
    run_due(loop);
    if (!str_starts(buf_str(&peer.in), str_c(head)) || strstr(buf_cstr(&peer.in), body) == NULL)
        fail_msg("%s\n%s", request, buf_cstr(&peer.in));
    peer_close(&peer);
    http_server_destroy(&server);
    run_due(loop);
    loop_destroy(&loop);
}

static void test_requests(void **state)
{
    (void)state;
    expect("GET / HTTP/1.1\r\nHost: hs.example.com:80\r\n\r\n", "HTTP/1.1 200 ", "10.0.0.1\n");
    expect("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421 ", "allowed_hosts");
    expect("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 421 ", "allowed_hosts");
    expect("GET /any HTTP/1.1\r\nHost: evil.example\r\n\r\n", "HTTP/1.1 200 ", "10.0.0.1\n");
    expect("GET http://evil.example/ HTTP/1.1\r\nHost: hs.example.com\r\n\r\n", "HTTP/1.1 421 ", "");
    expect("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "10.0.0.1\n");
    expect("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", "HTTP/1.1 200 ", "192.0.2.1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_header),
        cmocka_unit_test(test_forwarded_for),
        cmocka_unit_test(test_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
