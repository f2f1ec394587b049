/* What nodes call: /key, ts2021 and, inside Noise, register, map and the small rest. One control_worker a loop.
 * src: docs/protocol/control.md */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "control/core.h"
#include "http/http.h"
#include "proto/derp.h"
#include "relay/relay_http.h"

struct control;
struct control_worker;

struct control_options {
    private_key noise_key;          /* copied */
    const char *version;            /* of this program, for /version */
    int64_t handshakes_per_address; /* a second, burst ten times that; 0: no limit */
    size_t max_body_bytes;          /* of a request */
    /* Whether an address is one of our reverse proxies: limits are for the client that it names in X-Forwarded-For. May
     * be null. Any thread. */
    bool (*is_trusted)(const void *ctx, const struct addr *from);
    const void *trusted_ctx;
    int64_t handshake_timeout_ms; /* 0: defaults of http.h */
    int64_t idle_timeout_ms;
    int64_t probe_interval_ms; /* between rounds of pings to routers that have a standby; 0: none */
    int64_t probe_timeout_ms;  /* for their answers; less than the interval */
    /* The relay inside, which is a neighbour of enrolled relays of its region; host_name "": none. */
    struct relay_report own_relay;
    uint16_t own_region;
    uint8_t own_mesh_key[DERP_MESH_KEY_BYTES]; /* of that region; secret */
    const struct relay_http_name *names;       /* for /bootstrap-dns; borrowed */
    size_t names_n;
    bool verify_unauthenticated;    /* POST /verify answers anyone */
    const struct http_hosts *hosts; /* of the outer server, see http.h; borrowed */
};

/* `core`, `store`, `relay` (may be null) and `loops` are borrowed and outlive it. Before the loops run. */
struct control *control_create(const struct control_options *options, struct core *core, struct store *store,
                               struct relay *relay, struct loop *const *loops, unsigned loop_n);
/* After the loops have stopped. Null is fine. */
void control_destroy(struct control **c);

/* The HTTP server for what is accepted on loop number `i`: a tcp_accept_fn's context for http_server_accept.
 * Borrowed. */
struct http_server *control_http(struct control *c, unsigned i);
/* The public half of the Noise key. */
void control_public_key(const struct control *c, machine_key *out);

/* A core_hooks.published: hands the change to every worker, which goes on with the new snapshot. `ctx` is a struct
 * control. */
void control_published(void *ctx, struct tailnet *t, struct change *change);
/* A core_hooks.send: every worker sends its sessions the changes that it was handed since the last call. `ctx` is a
 * struct control. */
void control_send(void *ctx, struct tailnet *t);
/* A core_hooks.events: writes those into the log whose module and level are on. `ctx` is not used. */
void control_log_events(void *ctx, struct tailnet *t, struct event_list *events);
/* The clock was set: sends the time to connected clients, which judge by it whether keys of peers have expired. Core's
 * thread. */
void control_clock_set(struct control *c, int64_t now_ms);
/* This node key may not use relays any more: that is news for those on other machines. Core's thread. */
void control_key_revoked(struct control *c, struct tailnet *t, const node_key *key);
/* The relay inside has another certificate: DERPNode.CertName. Core's thread. */
void control_own_relay_renewed(struct control *c, const char *cert_name);
/* Relays came or went: that is news for their neighbours. Core's thread. */
void control_relays_changed(struct control *c, struct tailnet *t);
/* The secret that relays of a region share; the same for as long as the server keeps its Noise key. */
void control_mesh_key(const private_key *noise, uint16_t region_id, uint8_t out[DERP_MESH_KEY_BYTES]);
/* Takes no new requests, sends GOAWAY, and closes connections as they become idle. Any thread; it happens on each
 * loop's thread. */
void control_drain(struct control *c);

#endif
