/* The DERP map: the list of relays that nodes get. A value in memory, built from configuration files, from other
 * servers and from the embedded relay. Regions are ordered by number and nodes as given, because nodes reconnect
 * whenever the order changes. Pure: no files, no network. Not thread-safe; a finished map may be read by any thread.
 * src: docs/protocol/derp-stun.md 6 (tailcfg.DERPMap, capability version 145) */
#ifndef DERPMAP_DERPMAP_H
#define DERPMAP_DERPMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"

struct derpmap_node {
    char *name; /* owned, as all texts here; null means absent. Unique in the map */
    char *host_name;
    char *cert_name; /* DNS name, or "sha256-raw:" + hex of the only certificate */
    char *ipv4;      /* an address; any other text ("none") switches the family off */
    char *ipv6;
    char *stun_test_ip; /* overrides the address for STUN; tests only */
    int line;           /* in the YAML file; 0: not known */
    int stun_port;      /* 0: 3478; -1: none */
    int derp_port;      /* 0: 443 */
    bool stun_only;
    bool insecure_for_tests;
    bool can_port80;
};

struct derpmap_region {
    int id;   /* 1..65535 */
    int line; /* as a node's */
    char *code;
    char *name;
    double latitude, longitude; /* 0: unknown */
    double score;               /* multiplies the latency when a home is chosen; 0: as it is */
    bool avoid;
    bool no_measure_no_home;
    struct derpmap_node *nodes; /* owned */
    unsigned node_n;
};

struct derpmap {
    struct derpmap_region *regions; /* owned; ascending by id */
    unsigned region_n;
    bool omit_default_regions;
};

/* Frees what the map owns and leaves the empty map. Zero-initialised is the empty map too. */
void derpmap_fini(struct derpmap *map);

/* The embedded relay, or one that announced itself, for derpmap_add_own. Texts are borrowed; null or "" where
 * absent. */
struct derpmap_own {
    int region_id;           /* 0: 999 */
    const char *region_code; /* null: "fullscale" */
    const char *region_name; /* null: "Fullscale embedded relay" */
    const char *node_name;   /* null: the region's number and "a" */
    const char *host_name;   /* DNS name or IP literal: required */
    const char *ipv4;
    const char *ipv6;
    const char *cert_name;
    int stun_port; /* -1: none */
    int derp_port;
    bool can_port80;
};

/* Adds a region with this one relay, in place of a region of the same number. RC_INVALID with the reason in `err`. */
MUST_CHECK enum rc derpmap_add_own(struct derpmap *map, const struct derpmap_own *own, struct err *err);

/* Merges the text of a YAML or JSON file (JSON is read as YAML) into `map`: a region replaces that of the same number,
 * null removes it. `file` is its name in errors. Keys are matched without regard to case; unknown keys are errors.
 * On RC_INVALID `map` is unchanged and `err` has the position and the reason. */
MUST_CHECK enum rc derpmap_merge_text(struct derpmap *map, struct str text, const char *file, struct err *err);
enum { DERPMAP_FILE_MAX_BYTES = 1024 * 1024 };
/* The same as derpmap_merge_text for what another server sends: strict JSON, hostile. Unknown keys are ignored,
 * since newer versions of the protocol have more. At most 1 MiB, 1024 regions, 64 nodes each and 4096 in all, texts
 * of 255 bytes. RC_INVALID (also from the JSON reader: RC_TRUNCATED, RC_TOO_LARGE, RC_TOO_DEEP); `map` is then
 * unchanged.
 * src: tailscale 1.102 tailcfg.DERPMap, as served at controlplane.tailscale.com/derpmap/default */
MUST_CHECK enum rc derpmap_merge_json(struct derpmap *map, struct str text, const char *source, struct err *err);
/* Adds copies of the regions of `more`. If `map` already has a region, the nodes are appended to its nodes. */
void derpmap_append(struct derpmap *map, const struct derpmap *more);

/* Checks that region numbers are in 1..65535, that each node has a unique name and a host name, and that ports and
 * addresses are valid. RC_INVALID with a sentence in `err`. */
MUST_CHECK enum rc derpmap_check_nodes(const struct derpmap *map, struct err *err);
/* The same, and that at least one node relays. */
MUST_CHECK enum rc derpmap_check(const struct derpmap *map, struct err *err);

/* Finds what keeps clients from reaching the relays of a valid map: names and addresses from examples, private
 * addresses while the server is public, regions without nodes. `report` is called with a sentence for each; `line` 0:
 * not known. */
void derpmap_oddities(const struct derpmap *map, bool is_server_public,
                      void (*report)(void *ctx, int line, const char *text), void *ctx);

/* Appends the map as clients read it (MapResponse.DERPMap, /derpmap/default); the same map gives the same bytes. */
void derpmap_write_json(const struct derpmap *map, struct buf *out);

#endif
