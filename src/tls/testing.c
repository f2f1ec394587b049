#include "tls/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"

const struct tls_client_opts any_server = {.server_name = "relay.example"};

int testing_restore_logs(void **state)
{
    (void)state;
    return log_set_level("tls", LOG_INFO) == RC_OK ? 0 : -1;
}

void run_iteration(struct loop *loop)
{
    loop_stop(loop);
    loop_run(loop);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct side *side = ctx;
    side->datas_n++;
    buf_append(&side->in, p, n);
    if (side->pauses_itself)
        stream_pause(side->s, true);
    if (side->closes_itself)
        stream_close(&side->s, true);
}

static void on_drained(void *ctx)
{
    ((struct side *)ctx)->drained_n++;
}

static void on_closed(void *ctx, enum rc why)
{
    struct side *side = ctx;
    side->is_closed = true;
    side->why = why;
}

const struct stream_events testing_events = {on_data, on_drained, on_closed};

void on_ready(void *ctx, struct stream *s)
{
    struct app *a = ctx;
    a->srv.s = s;
    stream_set_events(s, &testing_events, &a->srv);
}

int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

void make_dir(struct app *a)
{
    snprintf(a->dir, sizeof(a->dir), "/tmp/tls_test.XXXXXX");
    assert_non_null(mkdtemp(a->dir));
    snprintf(a->cert_path, sizeof(a->cert_path), "%s/cert.pem", a->dir);
    snprintf(a->key_path, sizeof(a->key_path), "%s/key.pem", a->dir);
}

void remove_dir(struct app *a)
{
    unlink(a->cert_path);
    unlink(a->key_path);
    assert_int_equal(rmdir(a->dir), 0);
}

struct app *open_server(const char *const *alpn)
{
    struct app *a = MEM_NEW(struct app);
    struct buf cert = {0};
    struct buf key = {0};
    a->loop = loop_create(0);
    assert_int_equal(selfsigned_make("relay.example", now_s(), &cert, &key), RC_OK);
    const struct tls_server_opts opts = {.cert_pem = buf_str(&cert), .key_pem = buf_str(&key), .alpn = alpn};
    assert_int_equal(tls_server_create(&opts, &a->server, NULL), RC_OK);
    a->acceptor = tls_acceptor_create(a->loop, a->server, on_ready, a);
    buf_fini(&cert);
    buf_fini(&key);
    return a;
}

void close_sides(struct app *a)
{
    stream_close(&a->cli.s, false);
    stream_close(&a->srv.s, false);
    run_iteration(a->loop);
    buf_fini(&a->cli.in);
    buf_fini(&a->srv.in);
    a->cli = a->srv = (struct side){0};
}

void close_app(struct app *a)
{
    close_sides(a);
    tls_acceptor_destroy(&a->acceptor);
    run_iteration(a->loop);
    tls_server_destroy(&a->server);
    loop_destroy(&a->loop);
    mem_free(a);
}

void connect_client(struct app *a, size_t chunk, const struct tls_client_opts *opts)
{
    struct stream *server_end;
    struct stream *client_end;
    stream_pair_create(a->loop, chunk, &server_end, &client_end);
    tls_acceptor_take(a->acceptor, server_end);
    a->cli.s = tls_client_create(client_end, opts);
    stream_set_events(a->cli.s, &testing_events, &a->cli);
    run_iteration(a->loop);
}

void write_file(const char *path, struct str text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.len, f), text.len);
    fclose(f);
}

void write_pair(struct app *a, const char *host)
{
    struct buf cert = {0};
    struct buf key = {0};
    assert_int_equal(selfsigned_make(host, now_s(), &cert, &key), RC_OK);
    write_file(a->cert_path, buf_str(&cert));
    write_file(a->key_path, buf_str(&key));
    buf_fini(&cert);
    buf_fini(&key);
}
