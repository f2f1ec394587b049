/* The DERP server: it passes packets between clients that are known by their node keys.
 *
 * Each worker loop owns the connections that it accepted. Every worker holds a replica of the directory (node key ->
 * worker and connection), kept up to date by messages, so that a packet is looked up without a lock and crosses threads
 * at most once. Connections without traffic hold no buffers.
 *
 * src: docs/protocol/derp-stun.md 2-4; tailscale 1.102 derp/derpserver/derpserver.go */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/keys.h"
#include "net/loop.h"
#include "net/stream.h"

struct relay;
/* A login that waits for its verdict. */
struct relay_admission;

/* What the relay asks of the program. */
struct relay_ops {
    void *ctx;
    /* May the client with this node key, which it has proved to hold, use the relay? Answer once with relay_admit,
     * now or later, from any thread. Called on the client's loop. Null: nobody is known, and everyone is let in. */
    void (*admit)(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from);
    /* Whom `admit` does not allow is let in as a guest; a quarter of the places stays free of guests, and no
     * address has more than a quarter. */
    bool is_open;
    /* Is this a reverse proxy, behind which are many? May be null: none is, but for this machine. Any thread. */
    bool (*is_proxy)(void *ctx, const struct addr *from);
};

/* Every limit has a default; 0 stands for it. */
struct relay_opts {
    private_key key;          /* copied; wiped by relay_destroy */
    int64_t login_timeout_ms; /* 10 s: until ClientInfo has come and is admitted */
    int64_t write_timeout_ms; /* 2 s: closes when nothing of what waits has gone in a term; negative: none */
    int64_t keep_alive_ms;    /* 60 s, plus up to 5 s chosen once per connection */
    int64_t ping_ms;          /* 30 s, to clients that can answer; three unanswered in a row close; negative: none */
    size_t queue_bytes;       /* 256 KiB: waiting packets of one client; the oldest are dropped. At least 128 KiB */
    unsigned max_conns;       /* 100,000 over all workers: clients that are let in */
    /* An eighth of max_conns (16 to 4,096), beside them: connections that have not logged in. A new one takes the
     * place of the oldest, so that the relay is never closed to who logs in without delay. */
    unsigned max_logins;
    unsigned max_logins_per_address; /* a quarter of max_logins: from one IPv4 address or IPv6 /64 that is no proxy */
    unsigned
        max_conns_per_key; /* 16, or a quarter of max_conns: the one that has been silent longest is closed for a new one */
    int64_t client_rate_bytes; /* 0: no limit. What one client may send in a second, frames' payload; at least 16 KiB */
    int64_t client_burst_bytes; /* 1 MiB; at least 128 KiB: clients drop larger packets for good */
    unsigned max_gone_sources;  /* 1,024: senders of which a client is told when they leave */
    /* All zero: no mesh. Who knows it in its login is a neighbour: always admitted, exempt from limits of rate, with
     * 30 s to take what it is sent; it may watch who comes and goes, forward packets, and close connections. Wiped
     * like `key`. */
    uint8_t mesh_key[32];
    unsigned max_mesh_keys;  /* 1,000,000: clients of one neighbour; a link with more is ended */
    size_t mesh_queue_bytes; /* 2 MiB: waiting packets for one neighbour; the oldest are dropped */
};

/* 64 hex digits with white space around them, as derper's -mesh-psk-file holds them. RC_INVALID, also for zero. */
MUST_CHECK enum rc relay_mesh_key_parse(struct str text, uint8_t out[32]);

/* `loops`: all worker loops, fixed for life; borrowed. `ops` is copied. Call before the loops run, or on no loop at
 * all. */
struct relay *relay_create(const struct relay_opts *opts, const struct relay_ops *ops, struct loop *const *loops,
                           unsigned loop_n);
/* After all loops have returned from loop_run, and before they are destroyed; closes what is open. No admission may be
 * answered afterwards. Null is fine; nulls the pointer. */
void relay_destroy(struct relay **relay);

/* The public half of the server key. Any thread. */
const uint8_t *relay_public_key(const struct relay *relay);

/* Takes a stream on which DERP begins: after the HTTP upgrade, in fast start, or inside WebSocket. `leftover` are
 * bytes that the client sent behind its HTTP request; borrowed for the call. `is_not_ideal`: it told that it wished
 * for another node of the region. On the stream's loop, which is one of `loops`. */
void relay_attach(struct relay *relay, struct stream *s, const void *leftover, size_t leftover_len, bool is_not_ideal);

/* The verdict for a login; any thread, exactly once. */
void relay_admit(struct relay_admission *login, bool is_allowed);

/* Closes all connections of a node that was deleted, expired or given another key, logins under way included. Any
 * thread. A verdict given before by the same thread does not escape it. */
void relay_close_key(struct relay *relay, const node_key *key);

/* Asks again about every client that is in: it may have been revoked while nobody could say so. Any thread. */
void relay_ask_again(struct relay *relay);

/* Refuses new connections from now on, and closes those that are open, spread over `over_ms` (0: at once). Any
 * thread. */
void relay_drain(struct relay *relay, int64_t over_ms);
bool relay_is_draining(const struct relay *relay);
/* A client that is known and came now would be let in, whatever strangers do: not draining, and fewer than max_conns
 * are in. Any thread. */
bool relay_has_room(const struct relay *relay);

/* Connections that are logged in, over all workers. Any thread; a momentary figure. */
unsigned relay_client_count(const struct relay *relay);

#endif
