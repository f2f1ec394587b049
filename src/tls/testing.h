/* For the tests of this module: a TLS server and a client of it on one loop, over an in-memory pair of streams. */
#ifndef TLS_TESTING_H
#define TLS_TESTING_H

#include "base/clock.h"
#include "tls/selfsigned.h"
#include "tls/tls.h"

enum { DAY_S = 24 * 3600 };

/* One end: what came in, and how it ended. */
struct side {
    struct stream *s;
    struct buf in;
    unsigned drained_n;
    unsigned datas_n;
    bool is_closed;
    enum rc why;
    bool closes_itself;
    bool pauses_itself;
};

/* A server, its certificate files if it has any, and one connection to it. */
struct app {
    struct loop *loop;
    struct tls_server *server;
    struct tls_acceptor *acceptor;
    struct side srv; /* null stream until the handshake is done */
    struct side cli;
    char dir[64];
    char cert_path[96];
    char key_path[96];
};

/* Events for a `struct side`, which is their context. */
extern const struct stream_events testing_events;
/* Options of a client that accepts any certificate. */
extern const struct tls_client_opts any_server;

/* One iteration of the loop. */
void run_iteration(struct loop *loop);
/* Unix seconds. */
int64_t now_s(void);
/* A tls_acceptor's callback; `ctx` is the app. */
void on_ready(void *ctx, struct stream *s);
/* A temporary folder for `cert_path` and `key_path`; its end. */
void make_dir(struct app *a);
void remove_dir(struct app *a);
/* An app on the heap with a self-signed certificate in memory. */
struct app *open_server(const char *const *alpn);
/* Ends the connection, so that another can be made. */
void close_sides(struct app *a);
/* Ends all and frees the app. */
void close_app(struct app *a);
/* A connection; `chunk`: the largest piece that arrives at once, 0: no limit. */
void connect_client(struct app *a, size_t chunk, const struct tls_client_opts *opts);
/* Writes a file; a new self-signed pair at the app's paths. */
void write_file(const char *path, struct str text);
void write_pair(struct app *a, const char *host);
/* A teardown: what a failed assertion may have left switched off. */
int testing_restore_logs(void **state);

#endif
