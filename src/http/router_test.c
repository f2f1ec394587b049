/* Tables of routes: which row is taken, and what its handler gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/mem.h"
#include "http/testing.h"

/* What handlers of one table get as their app: they answer with its name and the argument of their row. */
struct shop {
    const char *name;
};

static void answer(void *app, struct http_exchange *ex)
{
    const struct shop *shop = app;
    const char *arg = http_route_arg(ex);
    struct buf out = {0};
    buf_printf(&out, "%s %s", shop->name, arg != NULL ? arg : "-");
    http_respond(ex, 200, NULL, buf_str(&out));
    buf_fini(&out);
}

static const struct http_route first_rows[] = {
    {HTTP_GET, "/one", answer, 0, .arg = "a"},
    {HTTP_GET, "/two", answer, 0},
};
static const struct http_route second_rows[] = {
    {HTTP_GET, "/one", answer, 0, .arg = "hidden"},
    {HTTP_POST, "/two", answer, 1000, .arg = "b"},
    {HTTP_GET, "/three/{id}", answer, 0, .arg = "c"},
};
static struct shop first = {"first"}, second = {"second"};

static struct loop *loop;
static struct http_server *server;
static struct peer peer;

static int set_up(void **state)
{
    struct stream *server_end, *client_end;
    (void)state;
    loop = loop_create(0);
    struct http_server_opts opts = {
        .loop = loop, .routes = first_rows, .routes_n = ARRAY_LEN(first_rows), .app = &first};
    server = http_server_create(&opts);
    http_server_mount(server, second_rows, ARRAY_LEN(second_rows), &second);
    stream_pair_create(loop, 0, &server_end, &client_end);
    peer_open(&peer, client_end);
    http_server_accept(server, server_end);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    peer_close(&peer);
    http_server_destroy(&server);
    run_due(loop);
    loop_destroy(&loop);
    return 0;
}

/* The whole answer. */
static const char *ask(const char *method, const char *path)
{
    struct buf request = {0};
    buf_clear(&peer.in);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: h\r\n\r\n", method, path);
    stream_write(peer.s, buf_at(&request), buf_len(&request));
    buf_fini(&request);
    run_due(loop);
    return buf_cstr(&peer.in);
}

static void test_handlers_get_the_app_of_their_table(void **state)
{
    (void)state;
    assert_non_null(strstr(ask("GET", "/one"), "\r\n\r\nfirst a"));
    assert_non_null(strstr(ask("GET", "/two"), "\r\n\r\nfirst -"));
    assert_non_null(strstr(ask("POST", "/two"), "\r\n\r\nsecond b"));
    assert_non_null(strstr(ask("GET", "/three/4"), "\r\n\r\nsecond c"));
}

static void test_methods_of_all_tables_are_allowed(void **state)
{
    (void)state;
    const char *text = ask("DELETE", "/two");
    assert_non_null(strstr(text, "HTTP/1.1 405 "));
    assert_non_null(strstr(text, "allow: GET, HEAD, POST\r\n"));
    assert_non_null(strstr(ask("GET", "/four"), "HTTP/1.1 404 "));
    assert_non_null(strstr(ask("GET", "/three/%zz"), "HTTP/1.1 404 "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handlers_get_the_app_of_their_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_methods_of_all_tables_are_allowed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
