/* The routes of the API, made from the table of operations. */
#include "api/api.h"

#include <assert.h>
#include <pthread.h>

#include "api/call_internal.h"
#include "api/openapi.h"

enum { ROUTES_CAP = 512 };

/* Filled once; constant from then on. */
static struct http_route routes[ROUTES_CAP];
static struct api_route reached[ROUTES_CAP]; /* what the routes' arguments point to */
static size_t route_n;

static void add_route(const struct operation *op, unsigned version)
{
    const struct op_path *at = api_operation_path(op, version);
    if (at->path == NULL)
        return;
    assert(route_n < ROUTES_CAP);
    reached[route_n] = (struct api_route){op, version};
    routes[route_n] = (struct http_route){
        .methods = at->method,
        .path = at->path,
        .handle = api_handle,
        .max_body_bytes = op->max_body_bytes != 0 ? op->max_body_bytes : API_BODY_BYTES,
        .arg = &reached[route_n],
    };
    route_n++;
}

static void make_routes(void)
{
    const struct operation *op;
    for (unsigned version = 1; version <= OP_VERSIONS; version++) {
        for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++)
            add_route(op, version);
    }
}

static void need_routes(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_routes);
}

void api_mount(struct api_listener *listener, struct http_server *server)
{
    need_routes();
    (void)api_openapi(); /* encoded now, not while a loop waits */
    http_server_mount(server, routes, route_n, listener);
}

const struct http_route *api_route_at(size_t index)
{
    need_routes();
    return index < route_n ? &routes[index] : NULL;
}
