/* What a relay announces about itself to its control server, and the reply: JSON over POST /relay/announce.
 * Pure; any thread. */
#ifndef ANNOUNCE_ANNOUNCEMENT_H
#define ANNOUNCE_ANNOUNCEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"
#include "crypto/keys.h"
#include "proto/derp.h"
#include "relay/mesh.h"

/* Texts are borrowed; "" where absent. */
struct announcement {
    const char *hostname; /* by which nodes reach it; "": the address that the server sees */
    const char *local_ip; /* for a server on the same machine, which sees only loopback */
    const char *ipv4;
    const char *ipv6;
    const char *cert_name; /* DERPNode.CertName */
    uint16_t derp_port;
    uint16_t stun_port;  /* 0: none */
    uint64_t started_ms; /* wall clock at the start of the program: of two relays with one key the later one counts */
    uint64_t number;     /* sequence number: an announcement that was overtaken by a later one does not count */
    uint64_t news;       /* `news` of the last reply; 0: none yet */
    bool is_starting;    /* it only asks, and does not serve yet */
    bool is_draining;    /* it stops */
};
/* Appends the body of the request. */
void announcement_write(const struct announcement *a, struct buf *out);

enum { ANNOUNCEMENT_NAME_CAP = 128 };

struct announcement_reply {
    bool is_empty; /* there is no news: the other members are zero */
    char name[ANNOUNCEMENT_NAME_CAP];
    uint16_t region_id;
    char region_name[ANNOUNCEMENT_NAME_CAP];
    uint8_t mesh_key[DERP_MESH_KEY_BYTES]; /* secret */
    uint64_t news;                         /* number of this reply */
    bool resync;                           /* replies were missed: ask about every client again */
    const node_key *revoked;               /* keys that may no longer use the relay; in the arena */
    size_t revoked_n;
    const struct relay_neighbour *neighbours; /* in the arena */
    size_t neighbour_n;
};
/* Everything is checked; unknown members are ignored. RC_INVALID with a sentence in `err`. */
MUST_CHECK enum rc announcement_reply_parse(struct arena *a, struct str json, struct announcement_reply *out,
                                            struct err *err);

/* Appends {"NodePublic": ..., "Source": ...} for POST /verify; reads its answer. RC_INVALID.
 * src: tailscale 1.102 tailcfg.DERPAdmitClientRequest */
void announcement_verify_request_write(const node_key *key, const char *source, struct buf *out);
MUST_CHECK enum rc announcement_verify_reply_parse(struct str json, bool *is_allowed_out);

#endif
