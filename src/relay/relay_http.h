/* The relay over HTTP: how a client gets from a request to DERP, and the small answers by which clients find out
 * whether they are online. On the loop of the exchange; nothing blocks.
 * src: docs/protocol/derp-stun.md 1, 8; tailscale 1.102 cmd/derper, derp/derpserver/handler.go */
#ifndef RELAY_RELAY_HTTP_H
#define RELAY_RELAY_HTTP_H

#include "http/http.h"
#include "relay/relay.h"

/* A name that clients with broken DNS may ask for, and its addresses as texts. Without any it is a name of this
 * server, and the address is the one at which the client has reached it. */
struct relay_http_name {
    const char *name;
    const char *const *addrs;
    size_t addrs_n;
    bool is_unlisted; /* only in the answer to a request for this name */
};

/* What the handlers need; borrowed for as long as requests come, and constant meanwhile. */
struct relay_http {
    struct relay *relay;                 /* null: no relay here */
    const struct relay_http_name *names; /* for /bootstrap-dns */
    size_t names_n;
};

/* The routes of a listener that serves only the relay, with the `struct relay_http` as the server's app. */
extern const struct http_route relay_http_routes[];
extern const size_t relay_http_routes_n;

/* Some of them one by one, for the route table of another server; `app` is a `struct relay_http`.
 * /derp: upgrade, fast start (Derp-Fast-Start: 1: no HTTP answer), WebSocket with the sub-protocol "derp"; else 426. */
void relay_http_derp(void *app, struct http_exchange *ex);
/* /derp/probe, /derp/latency-check: an empty 200; 503 while draining or full, so that no client chooses this relay. */
void relay_http_probe(void *app, struct http_exchange *ex);
/* /generate_204: 204, by which a client knows that there is no captive portal. Also over plain HTTP. */
void relay_http_generate_204(void *app, struct http_exchange *ex);
/* /bootstrap-dns: {"name": ["address", ...]} of the listed names, or of the one asked for with ?q=. */
void relay_http_bootstrap_dns(void *app, struct http_exchange *ex);

#endif
