/* The admin API, version 1: Headscale's paths and field names (src: Headscale 0.30-dev REST API v1, all ids are
 * strings).
 *
 * What it can do is a table (api/operation.h). Who may call what is a matter of the listener that a request comes by:
 * the unix socket, which only its owner and group may open, lets all operations pass. Every request is a job of the
 * core: what it read or wrote is on disk before it is answered. Liberal in what it accepts: ids as numbers or strings,
 * any or no Content-Type, unknown members ignored, an empty body where everything is optional.
 * Errors are {"title","status","detail","errors","code","message","details"}, which old and new tools of Headscale
 * read.
 *
 * Wiring: an http_server with api_unmatched, and api_mount. */
#ifndef API_API_H
#define API_API_H

#include "api/operation.h"
#include "control/core.h"
#include "http/http.h"

/* The thread that compares policies for policy diff. It ends after the loops of its calls have stopped, before they are
 * destroyed. */
struct api_compare_thread;
/* Starts it. */
struct api_compare_thread *api_compare_thread_create(void);
/* Waits for the comparison that runs. Null is fine; nulls the pointer. */
void api_compare_thread_destroy(struct api_compare_thread **thread);

struct api {
    struct core *core;                         /* borrowed */
    struct tailnet *tailnet;                   /* of which it tells; borrowed */
    struct api_compare_thread *compare_thread; /* borrowed */
    /* Appends what works less well than it should, a line each, for /health. Any thread; may be null. */
    void (*troubles)(void *ctx, struct buf *out);
    void *troubles_ctx;
};

/* Where requests come in, and so who calls. */
struct api_listener {
    struct api *api; /* borrowed */
    struct api_caller caller;
};

/* Adds all operations to a server that has no connections yet; `listener` is borrowed and outlives it. */
void api_mount(struct api_listener *listener, struct http_server *server);
/* The route number `index` from 0; null past the last. For tests. */
const struct http_route *api_route_at(size_t index);

/* For http_server_opts: 404 and 405 in the form of the other errors. */
void api_unmatched(void *app, struct http_exchange *ex, int status);

#endif
