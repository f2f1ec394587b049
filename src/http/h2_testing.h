/* For the tests of HTTP/2: a server with some handlers, and a client over an in-memory stream. */
#ifndef HTTP_H2_TESTING_H
#define HTTP_H2_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "http/h2_client.h"
#include "http/testing.h"

enum { MAX_REPLIES = 6000 }; /* more than a flood earns meanwhile, on a slow machine too */

/* What the client got, by stream id / 2. */
struct reply {
    int status;
    unsigned bytes;
    uint8_t last_byte;
    bool is_ended;
    uint32_t error;
    char text[128];
};

struct app {
    struct app *next_open;
    struct loop *loop;
    struct http_server *server;
    struct http_conn *conn;
    struct h2_client *client;
    struct reply replies[MAX_REPLIES];
    struct stream *raw_end; /* for tests that send frames without a client: its end, or null */
    struct buf raw;         /* what came there */
    uint32_t goaway_error;
    bool has_goaway;
    bool is_client_closed;
    /* handlers */
    struct http_exchange *waiting[8];
    unsigned waiting_n;
    unsigned handled_n;
    unsigned closed_n;
    unsigned drained_n;
    unsigned conn_gone_n;
};

/* What the client got for a request. */
struct reply *h2_app_reply_of(struct app *a, int32_t id);

extern const struct h2_client_events h2_app_events;

extern size_t h2_app_pool_bytes; /* of the next server; 0: default */

/* A server for `a`, whose loop is new; returns the end of the client's stream, which carries `chunk` bytes at a time
 * (0: all). `a` is from MEM_NEW; h2_app_close frees it. */
struct stream *h2_app_open_server(struct app *a, size_t chunk);

/* A server and a client. `manual_window`: as in h2_client_create. h2_app_close frees it. */
struct app *h2_app_open(size_t chunk, bool manual_window);

/* Ends and frees the app and its raw end. */
void h2_app_close(struct app *a);
/* The tear-down of each test: h2_app_close for all apps that are open, and the default pool. */
int h2_app_tear_down(void **state);

/* Sends a request and runs the loop; returns its id. */
int32_t h2_app_ask(struct app *a, const char *method, const char *path, struct str body);

/* Streams `n` bytes `fill`. */
void h2_app_push(struct http_exchange *ex, char fill, size_t n);

/* The last frame of what came, if it is a GOAWAY: its error. */
uint32_t h2_app_goaway_error(struct app *a);

#endif
