/* Settings of the tailnet: what all nodes get alike. Made by the daemon; immutable. */
#ifndef STATE_SETTINGS_H
#define STATE_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rcbuf.h"
#include "state/ids.h"

/* Where a NextDNS resolver's address is in dns_config_json, without its quotes: each node has its own address there. */
struct dns_hole {
    uint32_t at, len;
};
enum { DNS_HOLES_MAX = 16 }; /* further resolvers are the same for all nodes */

struct tailnet_settings {
    atomic_uint refs;
    char domain[HOSTNAME_CAP];   /* MagicDNS base domain, no trailing dot */
    struct rcbuf *derp_map_json; /* MapResponse.DERPMap; never null */
    /* The same for clients that cannot pin a certificate by its hash (before 1.82); null: no difference. */
    struct rcbuf *derp_map_unpinned_json;
    struct rcbuf *dns_config_json; /* MapResponse.DNSConfig; never null */
    struct dns_hole dns_hole[DNS_HOLES_MAX];
    size_t dns_hole_n;             /* in use; ascending */
    struct rcbuf *self_caps_json;  /* CapMap of every self node; never null */
    bool collect_logs;             /* false: Debug.DisableLogTail */
    char server_url[HOSTNAME_CAP]; /* "https://host", no slash at the end: in SSH policies */
};

/* Zeroed; the caller owns the one reference and fills in what must not be null. */
struct tailnet_settings *tailnet_settings_create(void);
/* A copy to change before it is shared; the caller owns the one reference. */
struct tailnet_settings *tailnet_settings_edit(const struct tailnet_settings *t);
/* Another reference to the settings: the same pointer. */
struct tailnet_settings *tailnet_settings_ref(struct tailnet_settings *t);
/* Drops a reference and nulls the pointer; null is fine. */
void tailnet_settings_unref(struct tailnet_settings **t);

#endif
