/* The DERP map: which relays there are, as nodes are told. A value in memory, built from configuration files and the
 * relay inside; regions stand in the order of their numbers and nodes in the order given, because any change of order
 * makes nodes reconnect.
 * Not thread-safe; a finished map may be read by any thread.
 * src: protocol/derp-stun.md 6 (tailcfg.DERPMap, capability version 145) */
#ifndef RELAY_DERPMAP_H
#define RELAY_DERPMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"

struct derpmap_node {
    char *name; /* owned, as all texts here; null means absent. Unique in the map */
    char *host_name;
    char *cert_name; /* DNS name, or "sha256-raw:" + hex of the only certificate */
    char *ipv4;      /* literal; another text ("none") switches the family off */
    char *ipv6;
    char *stun_test_ip; /* overrides the address for STUN; tests only */
    int line;           /* of the YAML that it is from; 0: not known */
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

/* Zero-initialised is the empty map. */
void derpmap_fini(struct derpmap *map);

/* A relay of this server or enrolled at it, for derpmap_add_own; texts are borrowed, null or "" where absent. */
struct derpmap_own {
    int region_id;           /* 0: 999 */
    const char *region_code; /* null: "fullscale" */
    const char *region_name; /* null: "Fullscale embedded relay" */
    const char *node_name;   /* null: the number and "a" */
    const char *host_name;   /* DNS name or IP literal: required */
    const char *ipv4;
    const char *ipv6;
    const char *cert_name;
    int stun_port; /* -1: none */
    int derp_port;
    bool can_port80;
};

/* Adds the region of the relay inside, replacing one of the same number. RC_INVALID with the reason in `err`. */
MUST_CHECK enum rc derpmap_add_own(struct derpmap *map, const struct derpmap_own *own, struct err *err);

/* Merges the text of a YAML or JSON file (JSON is read as YAML) over `map`: a region replaces that of the same number,
 * null removes it. `file` names it in errors. Keys are matched without regard to case; unknown keys are errors.
 * On RC_INVALID `map` is unchanged and `err` tells the place. */
MUST_CHECK enum rc derpmap_merge_text(struct derpmap *map, struct str text, const char *file, struct err *err);
enum { DERPMAP_FILE_MAX_BYTES = 1024 * 1024 };
/* The same as derpmap_merge_text for what another server sends: strict JSON, hostile. Unknown keys are passed over, since
 * newer versions of the protocol have more; at most 1 MiB, 1024 regions, 64 nodes each and 4096 in all, texts of 255 bytes.
 * RC_INVALID (also from the JSON reader: RC_TRUNCATED, RC_TOO_LARGE, RC_TOO_DEEP); `map` is then unchanged.
 * src: tailcfg.DERPMap as served at controlplane.tailscale.com/derpmap/default */
MUST_CHECK enum rc derpmap_merge_json(struct derpmap *map, struct str text, const char *source, struct err *err);
/* Adds copies: the nodes of a region that `map` has go behind those that are there. */
void derpmap_append(struct derpmap *map, const struct derpmap *more);

/* RC_INVALID with a sentence: region numbers 1..65535, every node with a name that no other has and with a host name,
 * ports in range. */
MUST_CHECK enum rc derpmap_check_nodes(const struct derpmap *map, struct err *err);
/* The same, and at least one region with a node that relays. */
MUST_CHECK enum rc derpmap_check(const struct derpmap *map, struct err *err);

/* What keeps clients from reaching relays of a map that is good otherwise: examples' names and addresses, private ones while
 * the server is public, regions without nodes. `tell` gets each as a sentence; `line` 0: not known. */
void derpmap_oddities(const struct derpmap *map, bool is_server_public,
                      void (*tell)(void *ctx, int line, const char *text), void *ctx);

/* Appends the map as clients read it (MapResponse.DERPMap, /derpmap/default); same map, same bytes. */
void derpmap_write_json(const struct derpmap *map, struct buf *out);

#endif
