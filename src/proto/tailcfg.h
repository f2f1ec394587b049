/* The bodies that nodes send to /machine/register and /machine/map, as structs.
 * Pure; any thread; strings borrow from the body or live in the arena. A body that Go's decoder would refuse is
 * refused; of Hostinfo and Endpoints only the invalid members are left out, and neither reaches another node as it
 * was sent. src: docs/protocol/control.md 5.1, 6.1, 6.4, 6.5; tests/vectors/captured_requests.json */
#ifndef PROTO_TAILCFG_H
#define PROTO_TAILCFG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/rcbuf.h"
#include "crypto/keys.h"
#include "base/addr.h"

struct json;

enum {
    CAP_VERSION_FLOOR = 113, /* tailscale 1.80 */
    TAILCFG_ENDPOINTS_MAX = 64,
    TAILCFG_HOSTINFO_MAX_BYTES = 64 * 1024,
    TAILCFG_HOSTINFO_PEERS_MAX_BYTES = 16 * 1024,
    TAILCFG_HOSTNAME_MAX_BYTES = 255,
    TAILCFG_ROUTES_MAX = 1024,
    TAILCFG_TAGS_MAX = 64,
};
#define CLIENT_FLOOR_TEXT "1.80"

struct hostinfo {
    bool is_present;
    struct str hostname;     /* safe to print, cut to TAILCFG_HOSTNAME_MAX_BYTES */
    const struct json *json; /* borrowed: the object as sent */
    const char *bad;         /* name of a member of the wrong type, which counts as absent; null: none so far */
    uint16_t preferred_derp; /* 0: not reported */
    struct prefix *routes;   /* RoutableIPs, those above TAILCFG_ROUTES_MAX left out; in the arena */
    size_t routes_n;
    struct str *tags; /* RequestTags as sent, at most TAILCFG_TAGS_MAX; in the arena */
    size_t tags_n;
};

struct register_request {
    int64_t version;
    node_key key;
    node_key old_key; /* zero: none */
    nl_key nl;        /* zero: none */
    struct str auth_key;
    struct str followup;
    int64_t expiry_ms; /* 0: not requested */
    bool is_ephemeral;
    struct hostinfo hostinfo;
};

/* Parses the body of a register request. RC_INVALID, RC_TRUNCATED, RC_TOO_DEEP, RC_TOO_LARGE; `err` (may be null) names
 * the member. */
MUST_CHECK enum rc tailcfg_register_request_parse(struct arena *a, struct str body, struct register_request *out,
                                                  struct err *err);

struct map_request {
    int64_t version;
    bool wants_zstd;
    bool is_stream;
    bool omit_peers;
    bool is_read_only;
    node_key key;
    disco_key disco; /* zero: none */
    bool has_endpoints;
    unsigned endpoints_n;
    struct addr *endpoints; /* in the arena */
    struct hostinfo hostinfo;
};
/* The same for the body of a map request. */
MUST_CHECK enum rc tailcfg_map_request_parse(struct arena *a, struct str body, struct map_request *out,
                                             struct err *err);

/* Reads a Hostinfo that hostinfo_for_store wrote; the errors of json_parse otherwise. `out` borrows from `text` and
 * from the arena. */
MUST_CHECK enum rc hostinfo_read(struct arena *a, struct str text, struct hostinfo *out);
/* The Hostinfo as it is stored: its known members with values of their type, without NetInfo, which is stored apart. A
 * new reference, or null when absent or larger than TAILCFG_HOSTINFO_MAX_BYTES. `*bad_out` (may be null) is the name of
 * an invalid member that was left out, or null; static. */
struct rcbuf *hostinfo_for_store(const struct hostinfo *h, const char **bad_out);
/* The part of the Hostinfo that peers get: what they need to reach and show the node, without members that identify the
 * installation or change often. Go's tailcfg decodes it, whatever the node sent. A new reference, or null when nothing
 * is left or it is larger than TAILCFG_HOSTINFO_PEERS_MAX_BYTES. src: docs/protocol/control.md 6.4 */
struct rcbuf *hostinfo_for_peers(const struct hostinfo *h);
/* At most `max_bytes` of the text, as UTF-8 without NUL bytes and with '?' for characters that would move, hide or
 * reorder what a terminal prints. Borrows from `s` or lives in the arena. */
struct str hostinfo_text(struct arena *a, struct str s, size_t max_bytes);

#endif
