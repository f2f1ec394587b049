/* What a tailnet is made of: users, auth keys, nodes, and the snapshot that holds them together.
 *
 * All of it is immutable once it has been handed out, and shared by counted references: any thread may read what it holds
 * a reference to. Only state.h makes new versions. Pure: no clock, no randomness, no I/O.
 *
 * A snapshot keeps its nodes in groups of 64 consecutive ids; a new version copies only the groups that changed, so a
 * change costs the same in a tailnet of ten and of ten thousand. Node and group have slots in which netmap/ caches their
 * encoded form: encoded once, sent to everyone. */
#ifndef STATE_MODEL_H
#define STATE_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "base/str.h"
#include "crypto/keys.h"
#include "state/cache_slot.h"

enum {
    NAME_CAP = 64,      /* a DNS label and its terminator */
    HOSTNAME_CAP = 256, /* what the machine calls itself */
    USER_NAME_CAP = 128,
    ENDPOINTS_MAX = 32, /* further ones are dropped: no client sends more than some ten */
    GROUP_NODES = 64,
    KEY_HASH_BYTES = 32,
    KEY_PREFIX_CAP = 32,
    ROUTES_MAX = 1024, /* of a node, each of advertised and approved; as many as the policy looks at */
    TAGS_MAX = 64,     /* of a node or key */
    /* The largest id of a node: tables have a place for each up to the highest. When all have been given, those of nodes that are
     * gone are given again, the lowest first. */
    NODE_ID_MAX = (1 << 22) - 1,
    POLICY_AUTHOR_CAP = 64,
    POLICY_NOTE_CAP = 256,
    NO_EXPIRY = 0,
};
/* Dates of nodes and keys are before the year 10000: later ones cannot be written so that clients read them. */
#define DATE_MAX_MS INT64_C(253402300799000)

/* Node ids are small integers, none of which is used again before NODE_ID_MAX is reached; user and key ids never are. 0 is
 * none. */
typedef uint64_t node_id;
typedef uint64_t user_id;

/* The owner that tagged nodes show. src: tailscale 1.102 tailcfg; Headscale 0.30-dev: pseudo-user "tagged-devices" */
#define TAGGED_DEVICES_USER ((user_id)2147455555)

/* What a user is in the policy's role autogroups. In the order of enum policy_role; stored by number. */
enum user_role {
    USER_MEMBER,
    USER_OWNER,
    USER_ADMIN,
    USER_NETWORK_ADMIN,
    USER_IT_ADMIN,
    USER_BILLING_ADMIN,
    USER_AUDITOR,
};
enum { USER_ROLES_N = USER_AUDITOR + 1 };
/* "member", "owner", "network-admin"... */
const char *user_role_name(enum user_role role);
/* RC_INVALID: no role is called so. */
MUST_CHECK enum rc user_role_parse(struct str name, enum user_role *out);
/* "owner, admin, ... or member", for messages. */
#define USER_ROLE_NAMES "owner, admin, network-admin, it-admin, billing-admin, auditor or member"

struct user {
    atomic_uint refs;
    user_id id;
    char name[USER_NAME_CAP]; /* login name */
    char display_name[USER_NAME_CAP];
    char email[USER_NAME_CAP];
    char picture_url[256];
    int64_t created_ms;
    enum user_role role; /* the first user of a tailnet is its owner */
};

struct auth_key {
    atomic_uint refs;
    uint64_t id;
    user_id user;
    uint8_t hash[KEY_HASH_BYTES]; /* SHA-256 of the whole key text, which nobody keeps: the key is 256 random bits */
    char prefix[KEY_PREFIX_CAP];  /* what lists show of it */
    bool is_reusable;
    bool is_ephemeral;
    bool is_used;
    int64_t created_ms;
    int64_t expires_ms;          /* NO_EXPIRY = never */
    struct rcbuf *tags;          /* JSON array of strings, or null */
    uint32_t max_nodes;          /* that may join with it in all; 0: any number, if it is reusable */
    uint32_t joined_n;           /* nodes that have */
    struct prefix_list *sources; /* where they must come from; null: anywhere */
    /* For the alarm; not stored. */
    int64_t hour_from_ms; /* when the hour began that is counted */
    uint32_t hour_n;      /* nodes that have joined with it since */
};

/* How nodes reach a relay, as it says itself. */
struct relay_report {
    char host_name[HOSTNAME_CAP]; /* DNS name or IP address; "": it has never said anything */
    char cert_name
        [HOSTNAME_CAP]; /* DERPNode.CertName: "", a DNS name, or "sha256-raw:" and the hash of its certificate */
    struct addr ipv4;   /* family 0: by DNS */
    struct addr ipv6;
    uint16_t derp_port;
    uint16_t stun_port; /* 0: none */
};

/* A relay that runs elsewhere (`fullscale relay`) and has been enrolled here. */
struct relay_host {
    atomic_uint refs;
    uint64_t id;
    char name[NAME_CAP];          /* unique; a DNS label */
    uint8_t hash[KEY_HASH_BYTES]; /* SHA-256 of its key's text, which nobody keeps */
    char prefix[KEY_PREFIX_CAP];  /* what lists show of it */
    uint16_t region_id;           /* relays of one region mesh with each other */
    char region_code[NAME_CAP];
    char region_name[USER_NAME_CAP];
    bool is_up; /* in the DERP map */
    int64_t created_ms;
    int64_t last_seen_ms; /* when it last came or went; 0: never */
    struct relay_report report;
};

/* A version of the policy in the database. */
struct policy_text {
    atomic_uint refs;
    uint64_t id; /* 1, 2, ...; the highest is the one at work */
    int64_t created_ms;
    char author[POLICY_AUTHOR_CAP]; /* as the caller says; may be "" */
    char note[POLICY_NOTE_CAP];     /* why; may be "" */
    struct rcbuf *text;             /* byte for byte; never null */
};

struct node {
    atomic_uint refs;
    node_id id;
    char stable_id[24]; /* opaque to clients, terminated */
    user_id user;
    machine_key machine;
    node_key key;
    disco_key disco; /* zero: not told yet */
    nl_key nl;       /* zero: none */
    struct addr v4;  /* family 0: none */
    struct addr v6;
    char name[NAME_CAP];         /* MagicDNS label, unique in the tailnet */
    char hostname[HOSTNAME_CAP]; /* as the machine last said */
    bool is_renamed;             /* an admin chose the name: it does not follow the host name */
    bool is_ephemeral;
    bool
        is_ended; /* it logged out, or an admin ended its key: until it registers anew or gets another date, whatever the
                        clock says */
    bool
        is_expired; /* is_ended, or the key's time has passed as of the last tick: a clock that is set back makes it false
                        again. Never stored */
    bool is_online;
    bool
        is_away; /* others carry its routes if they can: it serves some, and has had no poll for some seconds or answers no
                     pings. Never stored */
    /* It has registered and not said yet where it can be reached: it gets maps, but no others are told of it. For
     * state_options.newcomer_ms at most. A client says so in its first second, in several requests: one announcement
     * instead of several to everyone. */
    bool is_newcomer;
    uint32_t cap_version;
    uint16_t home_derp; /* region, 0: none yet */
    uint64_t auth_key;  /* that it registered with, 0: none */
    int64_t created_ms;
    int64_t expires_ms;           /* of the node key; NO_EXPIRY = never */
    int64_t last_seen_ms;         /* when it last went offline or, while online, came */
    struct rcbuf *tags;           /* JSON array of strings; null: none */
    struct rcbuf *hostinfo;       /* as the node sent it, without NetInfo: JSON object; null: never told */
    struct rcbuf *hostinfo_peers; /* the part that peers get: JSON object; null: none */
    /* What it serves is in both (node_serves_next); 0 bits: an exit route. */
    struct prefix_list *advertised; /* Hostinfo.RoutableIPs; null: none */
    struct prefix_list *approved;   /* null: none */
    /* Of what it serves, exit routes apart, that for which it is the primary now: of several nodes that serve the same
     * prefix the first that can serve (node_can_serve), by id, until it cannot. Kept by state/routes.c; null: none. */
    struct prefix_list *primary;
    unsigned endpoints_n;
    struct cache_slot cache;
    struct addr endpoints[];
};

struct node_group {
    atomic_uint refs;
    /* Bits by id % GROUP_NODES: */
    uint64_t peers;   /* nodes that others may hear of: all but newcomers */
    uint64_t routers; /* nodes that serve routes */
    struct cache_slot cache;
    const struct node *nodes[GROUP_NODES]; /* by id % GROUP_NODES; null: no such node. References */
};

struct user_table {
    atomic_uint refs;
    size_t n;
    struct cache_slot cache;
    const struct user *users[]; /* ascending by id. References */
};

/* The address of a resolver of NextDNS in dns_config_json, without its quotes: each node has its own there. */
struct dns_hole {
    uint32_t at, len;
};
enum { DNS_HOLES_MAX = 16 }; /* those that follow are the same for all */

/* What all nodes are told alike and what does not belong to one node. Made by the daemon, immutable. */
struct tailnet_settings {
    atomic_uint refs;
    char domain[HOSTNAME_CAP];   /* MagicDNS base domain, no trailing dot */
    struct rcbuf *derp_map_json; /* MapResponse.DERPMap; never null */
    /* The same for clients that cannot pin a certificate by its hash (before 1.82); null: no difference. */
    struct rcbuf *derp_map_unpinned_json;
    struct rcbuf *dns_config_json; /* MapResponse.DNSConfig; never null */
    struct dns_hole dns_hole[DNS_HOLES_MAX];
    size_t dns_hole_n;             /* ascending */
    struct rcbuf *self_caps_json;  /* CapMap of every self node; never null */
    bool collect_logs;             /* false: Debug.DisableLogTail */
    char server_url[HOSTNAME_CAP]; /* "https://host", no slash at the end: in SSH policies */
};

struct access; /* state/access.h */

struct snapshot {
    atomic_uint refs;
    uint64_t version; /* counts up from 1 */
    int64_t made_ms;  /* Unix time, for ControlTime */
    size_t node_n;
    struct user_table *users;
    struct tailnet_settings *settings;
    struct access *access; /* what the policy grants them; never null: without a policy it grants everything to all */
    size_t group_n;
    struct node_group *groups[]; /* by id / GROUP_NODES; null: empty. References */
};

/* One node in a change. `before` null: added; `after` null: removed; both the same: who sees it may differ, or what its owner is
 * called. */
struct change_item {
    node_id id;
    const struct node *before; /* references */
    const struct node *after;
    bool owner_differs; /* it has another owner, or the same with another profile; only under a policy */
};

/* What happened between two snapshots that were published one after the other. */
struct change {
    atomic_uint refs;
    struct snapshot *before; /* references */
    struct snapshot *after;
    bool users_changed;
    bool settings_changed;
    bool policy_changed; /* another policy, or none: everything that it says may differ, and every node is an item */
    size_t item_n;
    struct change_item *items; /* owned; ascending by id */
    struct cache_slot cache;
};

/* --- references; _unref nulls the pointer and accepts null --- */
const struct user *user_ref(const struct user *u);
void user_unref(const struct user **u);
const struct auth_key *auth_key_ref(const struct auth_key *k);
void auth_key_unref(const struct auth_key **k);
const struct relay_host *state_relay_host_ref(const struct relay_host *r);
void state_relay_host_unref(const struct relay_host **r);
const struct policy_text *state_policy_text_ref(const struct policy_text *t);
void state_policy_text_unref(const struct policy_text **t);
const struct node *node_ref(const struct node *n);
void node_unref(const struct node **n);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot **s);
struct change *change_ref(struct change *c);
void change_unref(struct change **c);
struct user_table *user_table_ref(struct user_table *t);
void user_table_unref(struct user_table **t);
struct tailnet_settings *tailnet_settings_ref(struct tailnet_settings *t);
void tailnet_settings_unref(struct tailnet_settings **t);

/* --- making rows (state/, store/ and tests) --- */
/* Zeroed, one reference. */
struct user *user_create(void);
struct auth_key *auth_key_create(void);
struct relay_host *state_relay_host_create(void);
/* With a copy of `text`. */
struct policy_text *state_policy_text_create(struct str text);
/* Room for `endpoints_n` endpoints. */
struct node *node_create(unsigned endpoints_n);
/* A copy to change before it is shared, with the same endpoints, or with these when `endpoints` is not null; its caches are
 * empty. */
struct node *node_edit(const struct node *n, const struct addr *endpoints, unsigned endpoints_n);
struct user *user_edit(const struct user *u);
struct auth_key *auth_key_edit(const struct auth_key *k);
struct relay_host *state_relay_host_edit(const struct relay_host *r);
struct tailnet_settings *tailnet_settings_create(void);
/* A copy to change before it is shared. */
struct tailnet_settings *tailnet_settings_edit(const struct tailnet_settings *t);

/* --- routes and tags --- */
/* Walks what the node serves (advertised and approved), ascending: start with *pos = 0. False at the end. */
bool node_serves_next(const struct node *n, size_t *pos, struct prefix *out);
/* It serves any route. */
bool node_serves(const struct node *n);
/* It serves an exit route. */
bool node_is_exit(const struct node *n);
/* The tags of a node or key, borrowed from `tags`, at most TAGS_MAX. Null: none. */
size_t node_tags_split(const struct rcbuf *tags, struct str out[TAGS_MAX]);

/* --- reading a snapshot --- */
/* Borrowed from the snapshot, or null. */
const struct node *snapshot_node(const struct snapshot *s, node_id id);
/* Where the user stands in the table; t->n: it is not there. */
size_t user_table_find(const struct user_table *t, user_id id);
/* Whose the node is shown to be. Null: it is tagged. Borrowed from the snapshot. */
const struct user *snapshot_owner(const struct snapshot *s, const struct node *n);
/* The same user, or none, with the same profile. */
bool user_looks_same(const struct user *a, const struct user *b);
/* Traffic may be sent its way: connected, with a key that holds, and answering. */
static inline bool node_can_serve(const struct node *n)
{
    return n->is_online && !n->is_expired && !n->is_away;
}
/* What others are told of: `n`, or null for a newcomer and for null. */
static inline const struct node *node_as_peer(const struct node *n)
{
    return n != NULL && !n->is_newcomer ? n : NULL;
}

#endif
