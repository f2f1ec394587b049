/* STUN binding requests as Tailscale clients send them, and the answers. Pure: no sockets, no clock; any thread.
 * Strict: whatever is not exactly a client's request gets no answer, so that the server is no amplifier.
 * src: RFC 8489 5, 14; tailscale 1.102 net/stun/stun.go; tests/vectors/stun.json */
#ifndef PROTO_STUN_H
#define PROTO_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"

enum {
    STUN_TXID_BYTES = 12,
    STUN_REQUEST_BYTES = 40,      /* what a client sends */
    STUN_RESPONSE_CAP_BYTES = 44, /* 32 for IPv4, 44 for IPv6 */
};

/* The result of checking a datagram; only STUN_OK is answered. */
enum stun_verdict {
    STUN_OK,
    STUN_NOT_STUN,        /* too short, or no magic cookie */
    STUN_NOT_BINDING,     /* another method or class */
    STUN_BAD_ATTRIBUTE,   /* an attribute is cut off */
    STUN_FOREIGN,         /* no SOFTWARE attribute "tailnode" */
    STUN_NO_FINGERPRINT,  /* FINGERPRINT is not the last attribute */
    STUN_BAD_FINGERPRINT, /* FINGERPRINT does not match */
    STUN_VERDICT_COUNT
};

/* Checks the request in `req`; for STUN_OK `txid` is its transaction id. The length in the header is ignored, as the
 * reference does. */
enum stun_verdict stun_check_request(const uint8_t *req, size_t req_len, uint8_t txid[STUN_TXID_BYTES]);

/* Writes the success response for a client seen at `ip` (4 bytes, or 16 when `is_ipv6`) and `port`; returns its length.
 * IPv4 clients get family 1 also when the socket is dual stack. */
size_t stun_build_response(const uint8_t txid[STUN_TXID_BYTES], bool is_ipv6, const uint8_t *ip, uint16_t port,
                           uint8_t out[STUN_RESPONSE_CAP_BYTES]);

/* Writes a client's request, for tests and probes. */
void stun_build_request(const uint8_t txid[STUN_TXID_BYTES], uint8_t out[STUN_REQUEST_BYTES]);
/* Reads a success response: the transaction id and the first XOR-MAPPED-ADDRESS. `ip` gets 4 or 16 bytes.
 * RC_INVALID or RC_TRUNCATED otherwise. */
MUST_CHECK enum rc stun_parse_response(const uint8_t *res, size_t res_len, uint8_t txid[STUN_TXID_BYTES],
                                       bool *is_ipv6_out, uint8_t ip[16], uint16_t *port_out);

#endif
