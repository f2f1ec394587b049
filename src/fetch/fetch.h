/* Requests to other servers: libcurl on a thread of its own. Answers arrive by a callback on that thread, which
 * posts them to where they are needed.
 *
 * Only http:// and https://, at most 5 redirects, never from https:// to http://; a bearer token does not follow to
 * another host. Certificates are checked against the system's roots and those of SSL_CERT_FILE and SSL_CERT_DIR; a
 * proxy is taken from http_proxy, https_proxy and no_proxy. What comes back is held in memory up to the limit of the
 * request, so callers bound how many requests are under way. */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct fetch;

/* Starts the thread. Before privileges are dropped, since libcurl brings up its libraries here. */
struct fetch *fetch_create(void);
/* Ends what is under way with RC_CLOSED and joins the thread; not from a callback. Threads that start requests have
 * ended before. Null is fine; nulls the pointer. */
void fetch_destroy(struct fetch **f);

/* Everything is borrowed for the call of fetch_start. */
struct fetch_request {
    const char *url;          /* http:// or https:// */
    const char *method;       /* null: GET, or POST when there is a body */
    const char *bearer;       /* Authorization: Bearer; null: none */
    const char *content_type; /* of the body; null: application/json */
    struct str body;
    const char *etag;   /* If-None-Match, as a reply gave it; null: none */
    size_t max_bytes;   /* of the answer's body; 0: 1 MiB. More is RC_TOO_LARGE */
    int64_t timeout_ms; /* in all, from look-up to the last byte; 0: 30 s */
};

/* Everything is borrowed for the callback. */
struct fetch_reply {
    /* RC_OK: an HTTP answer came, whatever its status. RC_INVALID: no such URL or scheme, or a line break in a header;
     * RC_TIMEOUT; RC_TOO_LARGE; RC_CRYPTO: the server's certificate or TLS; RC_LIMIT: too many redirects; RC_CLOSED:
     * fetch_destroy; RC_IO: no address, no connection, no HTTP, a redirect to where we do not go. */
    enum rc rc;
    int status;
    struct str body;
    const char *etag;  /* "" when none, or longer than 256 bytes */
    const char *error; /* a sentence for people when rc is not RC_OK, else "" */
};

/* Called exactly once for each request, on fetch's thread; may start requests. */
typedef void (*fetch_done)(void *ctx, const struct fetch_reply *reply);

/* Starts a request. Any thread; never blocks. */
void fetch_start(struct fetch *f, const struct fetch_request *req, fetch_done done, void *ctx);

#endif
