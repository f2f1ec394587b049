/* Links to the other relays of the region. Over a link a relay learns which clients its neighbour has, and sends it
 * packets for them, so that a client reaches every other client of the region, whichever relays they are connected
 * to. All relays of a mesh share a secret (relay_opts.mesh_key), and each keeps a link to every other. A forwarded
 * packet goes one hop only.
 *
 * A link belongs to one worker loop; nothing blocks there. Names are resolved on a thread of their own, which exists
 * only when a neighbour is given by name. A link that is lost is dialled again after 5 s.
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
    /* Lower-case hex SHA-256 of its certificate, as in a DERP map; then nothing else is checked. Null or "": the
     * certificate must be issued for `host` by an authority of the system (or of the file that SSL_CERT_FILE names). */
    const char *fingerprint;
    bool is_plain; /* no TLS: for tests */
};

/* Replaces the list of neighbours. The link to a neighbour that was in the old list lives on. A neighbour that turns
 * out to be this relay itself gets no link, so all relays of a region can have the same list. Everything is copied.
 * Any thread, before relay_destroy; does not block. */
void relay_mesh_set(struct relay *relay, const struct relay_neighbour *neighbours, size_t n);

/* Links that are up; a momentary figure. Any thread. */
unsigned relay_mesh_links(const struct relay *relay);

enum { RELAY_NEIGHBOUR_CAP = 640 };
/* Reads `host[:port][/dial][/sha256-raw:<64 hex digits>]`, with an IPv6 address in brackets when a port follows. The
 * texts of `out` are in `store`. RC_INVALID, RC_TOO_LARGE. Pure. */
MUST_CHECK enum rc relay_neighbour_parse(struct str text, char store[RELAY_NEIGHBOUR_CAP], struct relay_neighbour *out);

#endif
