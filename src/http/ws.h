/* WebSocket server: a byte stream in binary messages. Message boundaries mean nothing to the stream's owner; what one
 * iteration of the loop writes is one message. Compression and other extensions are refused by not being answered, any
 * Origin is accepted, pings are answered.
 * src: RFC 6455; tailscale 1.102 derp/derphttp/websocket.go, control/controlhttp */
#ifndef HTTP_WS_H
#define HTTP_WS_H

#include "http/http.h"

struct ws_opts {
    const char *subprotocol;  /* the client must offer it; static */
    size_t max_message_bytes; /* larger ones: close 1009. 0: 64 KiB */
    uint16_t text_close_code; /* what a text message is answered with. 0: 1003 (unsupported data) */
};

/* The client asks for a WebSocket (Upgrade: websocket). */
bool ws_is_upgrade(const struct http_request *req);
/* ... and offers this sub-protocol. */
bool ws_offers(const struct http_request *req, const char *subprotocol);
/* Answers the handshake and gives the stream above it, whose owner must set events before returning to the loop. The
 * exchange is gone in every case. RC_INVALID: a bad handshake, answered with 400 or 426. RC_DENIED: the sub-protocol
 * was not offered; the handshake is answered, then closed with 1008. RC_UNSUPPORTED: HTTP/2, answered with 400. */
MUST_CHECK enum rc ws_accept(struct http_exchange *ex, const struct ws_opts *opts, struct stream **out);

#endif
