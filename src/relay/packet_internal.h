/* A packet on its way through the relay, and where it goes. */
#ifndef RELAY_PACKET_INTERNAL_H
#define RELAY_PACKET_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/keys.h"
#include "proto/derp.h"

struct relay_worker;
struct client;
struct pipe_batch;

enum { PACKET_NOT_HERE_BURST = 3 /* replies about unknown destinations to one client; then one a second */ };

/* What it points to is borrowed, mostly from the frame that was read; nothing is copied before it is queued. */
struct packet {
    const node_key *src;
    const node_key *dst;
    const uint8_t *bytes;
    size_t n;
    bool is_disco; /* derp_is_disco of the bytes */
};

static inline struct packet packet_of(const node_key *src, const node_key *dst, const uint8_t *bytes, size_t n)
{
    return (struct packet){src, dst, bytes, n, derp_is_disco(bytes, n)};
}

/* Sends a packet of a client of this worker on its way. */
void packet_send(struct relay_worker *w, struct client *from, const struct packet *p);
/* The same for a packet that a neighbour forwarded; it is never forwarded again. src: tailscale 1.102
 * derp/derpserver handleFrameForwardPacket */
void packet_send_forwarded(struct relay_worker *w, struct client *neighbour, const struct packet *p);
/* Delivers the packets that another worker sent to this one. */
void packet_deliver_batch(struct relay_worker *w, const struct pipe_batch *batch);

#endif
