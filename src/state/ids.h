/* Ids, and the sizes of what the model holds. */
#ifndef STATE_IDS_H
#define STATE_IDS_H

#include <stdint.h>

/* Node ids are small integers, none of which is used again before NODE_ID_MAX is reached; user and key ids never are. 0
 * is none. */
typedef uint64_t node_id;
typedef uint64_t user_id;

/* The owner that tagged nodes show. src: tailscale 1.102 tailcfg; Headscale 0.30-dev: pseudo-user "tagged-devices" */
#define TAGGED_DEVICES_USER ((user_id)2147455555)

enum {
    /* The largest id of a node: tables have an entry for each id up to the highest. When all have been given, those of
     * nodes that are gone are given again, the lowest first. */
    NODE_ID_MAX = (1 << 22) - 1,
    NAME_CAP = 64,      /* a DNS label and its terminator */
    HOSTNAME_CAP = 256, /* what the machine calls itself */
    USER_NAME_CAP = 128,
    KEY_HASH_BYTES = 32,
    KEY_PREFIX_CAP = 32,
    TAGS_MAX = 64, /* of a node or key */
    NO_EXPIRY = 0,
};
/* Dates of nodes and keys are before the year 10000: later ones cannot be written so that clients read them. */
#define DATE_MAX_MS INT64_C(253402300799000)

#endif
