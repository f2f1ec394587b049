/* DERP frames and the boxes of the login. Pure: bytes in, bytes out; any thread.
 * A frame is one byte of type, four of length (big-endian), and that many of payload.
 * src: docs/protocol/derp-stun.md 2, 3; tailscale 1.102 derp/derp.go; tests/vectors/derp.json */
#ifndef PROTO_DERP_H
#define PROTO_DERP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"
#include "crypto/crypto.h"
#include "crypto/keys.h"

enum derp_frame_type {
    DERP_SERVER_KEY = 0x01,
    DERP_CLIENT_INFO = 0x02,
    DERP_SERVER_INFO = 0x03,
    DERP_SEND_PACKET = 0x04,
    DERP_RECV_PACKET = 0x05,
    DERP_KEEP_ALIVE = 0x06,
    DERP_NOTE_PREFERRED = 0x07,
    DERP_PEER_GONE = 0x08,
    DERP_PEER_PRESENT = 0x09,
    DERP_FORWARD_PACKET = 0x0a,
    DERP_WATCH_CONNS = 0x10,
    DERP_CLOSE_PEER = 0x11,
    DERP_PING = 0x12,
    DERP_PONG = 0x13,
    DERP_HEALTH = 0x14,
    DERP_RESTARTING = 0x15,
};

enum {
    DERP_VERSION = 2,
    DERP_HEADER_BYTES = 5,
    DERP_PACKET_MAX_BYTES = 65536,
    DERP_CLIENT_INFO_MIN_BYTES = KEY_BYTES + BOX_NONCE_BYTES, /* shorter ones cannot be a login */
    /* What a peer that has not logged in may make the other end hold. Logins are about 110 bytes, with a mesh key and a
     * name about 300; the reference reads up to 256 KiB of them, and up to 1 MiB of the server's answer, which is about
     * 150. */
    DERP_CLIENT_INFO_MAX_BYTES = 4096,
    DERP_SERVER_INFO_MAX_BYTES = 4096,
    DERP_PING_BYTES = 8,        /* what is echoed */
    DERP_PING_MAX_BYTES = 1000, /* what is read */
    DERP_MESH_KEY_BYTES = 32,
    DERP_PEER_PRESENT_BYTES = KEY_BYTES + 16 + 2 + 1,
};

enum derp_gone_reason { DERP_GONE_DISCONNECTED = 0, DERP_GONE_NOT_HERE = 1 };

enum derp_present_flags {
    DERP_PRESENT_REGULAR = 1, /* only when no other is set */
    DERP_PRESENT_MESH_PEER = 2,
    DERP_PRESENT_PROBER = 4,
    DERP_PRESENT_NOT_IDEAL = 8,
};

struct derp_header {
    uint8_t type; /* enum derp_frame_type, or one that we do not know */
    uint32_t len; /* of the payload */
};

/* Reads and writes the five bytes before a payload. */
struct derp_header derp_header_parse(const uint8_t p[DERP_HEADER_BYTES]);
void derp_header_build(uint8_t type, uint32_t len, uint8_t out[DERP_HEADER_BYTES]);

/* What the server does with a frame of this header, known before the payload has come.
 * RC_OK; RC_TOO_LARGE or RC_TRUNCATED for a length that closes the connection. A type that a server does not read, Pong
 * included, is RC_UNSUPPORTED: skip it. `is_login`: ClientInfo is due, and nothing else (RC_INVALID). */
MUST_CHECK enum rc derp_header_check(struct derp_header h, bool is_login);

/* --- Appending whole frames --- */
/* Each appends a whole frame to `out`. */
void derp_append_frame(struct buf *out, uint8_t type, const void *payload, size_t n);
void derp_append_server_key(struct buf *out, const uint8_t server_public[KEY_BYTES]);
/* Reads the payload of that frame; more than we know may follow. RC_TRUNCATED, RC_INVALID. */
MUST_CHECK enum rc derp_server_key_parse(const uint8_t *payload, size_t n, uint8_t server_public_out[KEY_BYTES]);
/* The server's: a packet from `src`. */
void derp_append_recv_packet(struct buf *out, const node_key *src, const void *packet, size_t n);
/* The peer is not connected any more, or never was: see `reason`. */
void derp_append_peer_gone(struct buf *out, const node_key *key, enum derp_gone_reason reason);
/* The peer is connected, from `ip` and `port`. `ip`: IPv6, or IPv4 mapped into it. */
void derp_append_peer_present(struct buf *out, const node_key *key, const uint8_t ip[16], uint16_t port, uint8_t flags);
/* What is wrong with the server; empty: nothing is. */
void derp_append_health(struct buf *out, struct str text);
/* The server ends: clients reconnect after the first time, and go on trying for the second. */
void derp_append_restarting(struct buf *out, uint32_t reconnect_in_ms, uint32_t try_for_ms);
/* The client's: a packet to `dst`. */
void derp_append_send_packet(struct buf *out, const node_key *dst, const void *packet, size_t n);

/* --- Login --- */
struct derp_client_info {
    node_key key;
    uint8_t mesh_key[DERP_MESH_KEY_BYTES];
    bool has_mesh_key;
    int64_t version; /* 0 when absent */
    bool can_ack_pings;
    bool is_prober;
    char app_name[64]; /* cut to fit; terminated */
};

/* Opens the payload of a ClientInfo frame. RC_TRUNCATED, RC_TOO_LARGE, RC_CRYPTO (not sealed to us by that key),
 * RC_INVALID (no such JSON, or a mesh key that is not 64 hex digits). */
MUST_CHECK enum rc derp_client_info_open(const private_key *server, const uint8_t *payload, size_t n,
                                         struct derp_client_info *out);
/* Appends the client's frame; `nonce` must be fresh. RC_CRYPTO for a bad server key. */
MUST_CHECK enum rc derp_append_client_info(struct buf *out, const private_key *client,
                                           const uint8_t server_public[KEY_BYTES], const uint8_t nonce[BOX_NONCE_BYTES],
                                           const struct derp_client_info *info);

struct derp_server_info {
    int64_t version;
    int64_t bucket_bytes_per_s; /* 0: no limit. Clients drop what exceeds it, silently */
    int64_t bucket_burst_bytes;
};

/* Appends a ServerInfo frame sealed to `client`; `nonce` must be fresh. RC_CRYPTO for a bad client key. */
MUST_CHECK enum rc derp_append_server_info(struct buf *out, const private_key *server, const node_key *client,
                                           const uint8_t nonce[BOX_NONCE_BYTES], const struct derp_server_info *info);
/* Opens the payload of one; errors as derp_client_info_open. */
MUST_CHECK enum rc derp_server_info_open(const private_key *client, const uint8_t server_public[KEY_BYTES],
                                         const uint8_t *payload, size_t n, struct derp_server_info *out);

/* Whether the packet begins like a disco message. src: tailscale 1.102 disco.LooksLikeDiscoWrapper */
bool derp_is_disco(const uint8_t *packet, size_t n);

#endif
