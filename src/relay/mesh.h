/* Links to the other relays of the region: each tells which clients it has, and takes packets for them, so that a
 * client reaches every other one whichever relay of the region it came to. All relays of a mesh share a secret
 * (relay_opts), and each keeps a link to every other. A forwarded packet goes one hop only.
 *
 * A link lives on one worker loop; nothing blocks there. Names are resolved on a thread of their own, which runs
 * only when a neighbour is given by name. What is lost is dialled again after 5 s.
 *
 * src: docs/protocol/derp-stun.md 4.6; tailscale 1.102 cmd/derper/mesh.go, derp/derphttp/mesh_client.go */
#ifndef RELAY_MESH_H
#define RELAY_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"

struct relay;

struct relay_neighbour {
    const char *host; /* its name or address: for TLS and HTTP */
    const char *dial; /* the name or address to connect to; null or "": `host` */
    uint16_t port;    /* 0: 443 */
    /* Lower-case hex SHA-256 of its certificate, as in a DERP map; then nothing else is asked of it. Null or "": the
     * certificate must be issued for `host` by an authority of the system (or of the file that SSL_CERT_FILE names). */
    const char *fingerprint;
    bool is_plain; /* no TLS: for tests */
};

/* Neighbours from now on, instead of those before; a link to one that was there already lives on. A neighbour that
 * turns out to be this relay itself is left alone, so that all relays of a region can have the same list. Everything
 * is copied. Any thread, before relay_destroy; does not block. */
void relay_mesh_set(struct relay *relay, const struct relay_neighbour *neighbours, size_t n);

/* Links over which packets can go now. Any thread; a momentary figure. */
unsigned relay_mesh_links(const struct relay *relay);

/* Reads `host[:port][/dial][/sha256-raw:<64 hex digits>]`, with an IPv6 address in brackets when a port follows. The
 * texts are cut out of `text` into `store`, which lives as long as `out` is used. RC_INVALID, RC_TOO_LARGE. Pure. */
enum { RELAY_NEIGHBOUR_CAP = 640 };
MUST_CHECK enum rc relay_neighbour_parse(struct str text, char store[RELAY_NEIGHBOUR_CAP], struct relay_neighbour *out);

#endif
