/* The admin API, version 1: Headscale's paths and field names (src: Headscale 0.30-dev REST API v1, all ids are strings).
 *
 * Served on the unix socket, which only its owner and group may open: there is no other authentication yet. Reads answer
 * from a snapshot at once; writes are posted to the core and answered when they are durable. Liberal in what it accepts:
 * ids as numbers or strings, any or no Content-Type, unknown members ignored, an empty body where everything is optional.
 * Errors are {"title","status","detail","errors","code","message","details"}, which old and new tools of Headscale read. */
#ifndef API_API_H
#define API_API_H

#include "base/rc.h"

struct http_router;
struct core;

/* Adds the routes below /api/v1/ to `router`. Both are borrowed and outlive the requests. */
void api_register(struct http_router *router, struct core *core);

#endif
