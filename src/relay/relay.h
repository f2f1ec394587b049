/* The DERP server: it passes packets between clients, which are known by their node keys.
 *
 * Each worker loop owns the connections that it accepted. Every worker holds a replica of the directory (node key ->
 * worker and connection), kept up to date by messages, so that a packet is looked up without a lock and crosses
 * threads at most once. Connections without traffic hold no buffers.
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
/* A login that waits for the program's decision. */
struct relay_admission;

/* What the relay asks the program. */
struct relay_ops {
    void *ctx;
    /* Whether a client may use the relay; it has proved that it holds this node key. Answer exactly once with
     * relay_admit, now or later, from any thread. Called on the client's loop. Null: every client is admitted. */
    void (*admit)(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from);
    /* A client that `admit` does not allow is let in as a guest, instead of being closed. A quarter of the places
     * stays free of guests, and no address has more than a quarter. */
    bool is_open;
    /* Whether this is the address of a reverse proxy, with many clients behind it. Null: there is none, except on this
     * machine. Any thread. */
    bool (*is_proxy)(void *ctx, const struct addr *from);
};

/* Every limit has a default, which 0 stands for. */
struct relay_opts {
    private_key key; /* copied; wiped by relay_destroy */

    int64_t login_timeout_ms; /* 10 s: until ClientInfo has come and the client is admitted */
    /* 2 s: within which some of the bytes that wait for a client must go, or it is closed; negative: no limit. */
    int64_t write_timeout_ms;
    int64_t keep_alive_ms; /* 60 s, and up to 5 s more, chosen at random for each connection */
    int64_t ping_ms;       /* 30 s, to clients that can answer; three unanswered in a row close; negative: none */

    size_t queue_bytes; /* 256 KiB: packets that wait for one client; the oldest are dropped. At least 128 KiB */
    unsigned max_conns; /* 100,000 over all workers: clients that are let in */
    /* An eighth of max_conns (16 to 4,096), in addition: connections that have not logged in. A new one replaces the
     * oldest, so that a client which logs in without delay always gets in. */
    unsigned max_logins;
    unsigned max_logins_per_address; /* a quarter of max_logins: from one IPv4 address or IPv6 /64 that is no proxy */
    /* 16, or a quarter of max_conns if that is less: connections of one key. A new one replaces the one that has
     * been silent longest. */
    unsigned max_conns_per_key;
    /* Payload of frames that one client may send in a second, at least 16 KiB; 0: no limit. */
    int64_t client_rate_bytes;
    int64_t client_burst_bytes; /* 1 MiB; at least 128 KiB: clients drop larger packets for good */
    unsigned max_gone_sources;  /* 1,024: senders per client, of whose departure it gets a PeerGone */

    /* All zero: no mesh. A client that sends it in its login is a neighbour: always admitted, without a limit of
     * rate, with 30 s for what it is sent. It may watch which clients come and go, forward packets, and close
     * connections. Wiped like `key`. */
    uint8_t mesh_key[32];
    unsigned max_mesh_keys;  /* 1,000,000: clients of one neighbour; a link with more is closed */
    size_t mesh_queue_bytes; /* 2 MiB: packets that wait for one neighbour; the oldest are dropped */
};

/* Reads a mesh key: 64 hex digits with white space around them, as derper's -mesh-psk-file holds them. RC_INVALID,
 * also for the key of zeros. */
MUST_CHECK enum rc relay_mesh_key_parse(struct str text, uint8_t out[32]);

/* `loops`: all worker loops, fixed for life; borrowed. `ops` is copied; null: every client is admitted. Call it
 * before the loops run, or on no loop at all. */
struct relay *relay_create(const struct relay_opts *opts, const struct relay_ops *ops, struct loop *const *loops,
                           unsigned loop_n);
/* Closes what is open. Call it after all loops have returned from loop_run, and before they are destroyed. No
 * admission may be answered afterwards. Null is fine; nulls the pointer. */
void relay_destroy(struct relay **relay);

/* The public half of the server key. Any thread. */
const uint8_t *relay_public_key(const struct relay *relay);

/* Takes over a stream on which DERP begins: after the HTTP upgrade, in fast start, or inside WebSocket. `leftover`:
 * bytes that the client sent behind its HTTP request; borrowed for the call. `is_not_ideal`: the client says that it
 * would have preferred another node of the region. On the stream's loop, which is one of `loops`. */
void relay_attach(struct relay *relay, struct stream *s, const void *leftover, size_t leftover_len, bool is_not_ideal);

/* The program's answer to relay_ops.admit; this or relay_put_off, exactly once for each login. Any thread. */
void relay_admit(struct relay_admission *login, bool is_allowed);
/* The program cannot decide now: a client that logs in is closed, and comes again by itself; one that is in already
 * stays. Any thread. */
void relay_put_off(struct relay_admission *login);

/* Closes all connections of a node that was deleted, has expired or has another key now, logins under way included. An
 * admission that the same thread gave before does not escape it. Any thread. */
void relay_close_key(struct relay *relay, const node_key *key);

/* Asks relay_ops.admit again about every client that is in, since revocations may have been missed. Any thread. */
void relay_ask_again(struct relay *relay);

/* Refuses new connections from now on, and closes those that are open, spread over `over_ms` (0: at once). Any
 * thread. */
void relay_drain(struct relay *relay, int64_t over_ms);
/* Whether relay_drain was called. Any thread. */
bool relay_is_draining(const struct relay *relay);
/* Whether a client that the program knows would be let in now, whatever strangers do: the relay is not draining, and
 * fewer than max_conns clients are in. Any thread. */
bool relay_has_room(const struct relay *relay);

/* Connections that are logged in, over all workers; a momentary figure. Any thread. */
unsigned relay_client_count(const struct relay *relay);

#endif
