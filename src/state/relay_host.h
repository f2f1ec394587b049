/* Relays that run elsewhere: immutable rows. The functions that enrol them and take their announcements are in
 * state/state.h. */
#ifndef STATE_RELAY_HOST_H
#define STATE_RELAY_HOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "state/ids.h"
#include "state/row.h"

/* How nodes reach a relay, as it announces itself. */
struct relay_report {
    char host_name[HOSTNAME_CAP]; /* DNS name or IP address; "": it has never announced itself */
    /* DERPNode.CertName: "", a DNS name, or "sha256-raw:" and the hash of its certificate. */
    char cert_name[HOSTNAME_CAP];
    struct addr ipv4; /* family 0: by DNS */
    struct addr ipv6;
    uint16_t derp_port;
    uint16_t stun_port; /* 0: none */
};

/* A relay that runs elsewhere (`fullscale relay`) and has been enrolled here. */
struct relay_host {
    ROW_HEAD;
    char name[NAME_CAP];          /* unique; a DNS label */
    uint8_t hash[KEY_HASH_BYTES]; /* SHA-256 of the text of its key, which is kept nowhere */
    char prefix[KEY_PREFIX_CAP];  /* what lists show of it */
    uint16_t region_id;           /* relays of one region mesh with each other */
    char region_code[NAME_CAP];
    char region_name[USER_NAME_CAP];
    bool is_up; /* in the DERP map */
    int64_t created_ms;
    int64_t last_seen_ms; /* when it last came or went; 0: never */
    struct relay_report report;
};

/* Zeroed; the caller owns the one reference. */
struct relay_host *state_relay_host_create(void);
/* A copy to change before it is shared; the caller owns the one reference. */
struct relay_host *state_relay_host_edit(const struct relay_host *r);
/* Another reference to the relay: the same pointer. */
const struct relay_host *state_relay_host_ref(const struct relay_host *r);
/* Drops a reference and nulls the pointer; null is fine. */
void state_relay_host_unref(const struct relay_host **r);

#endif
