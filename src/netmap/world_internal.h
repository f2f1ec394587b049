/* What the tests of netmap share: clients that keep what they were sent (world_view.c), what a naive reading of the
 * state says that they must have (world_reference.c), and a tailnet in which random events happen (world.c,
 * world_events.c, world_policies.c). A failed assertion ends the test; world_teardown then frees what the test had
 * made. */
#ifndef NETMAP_WORLD_INTERNAL_H
#define NETMAP_WORLD_INTERNAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/time.h"
#include "engine/access.h"
#include "netmap/netmap.h"
#include "state/access.h"
#include "state/state.h"
#include "support/test_random.h"

enum { IDS_MAX = 700, USERS_MAX = 16, VIEWERS_MAX = 40 };

/* --- world_view.c: a client's view --- */

struct peer_view {
    bool is_there;
    uint64_t user;
    char name[128];
    char key[KEY_TEXT_CAP];
    char disco[KEY_TEXT_CAP];
    char addresses[160];
    char allowed[400];
    char primary[200];
    char caps[60];
    char endpoints[400];
    char hostinfo[200];
    char key_expiry[TIME_TEXT_CAP];
    char last_seen[TIME_TEXT_CAP]; /* only of nodes that are offline */
    uint64_t home_derp;
    uint64_t cap;
    bool is_online;
    bool is_expired;
};

struct view {
    node_id self;
    node_key key;
    enum netmap_coding coding;
    uint64_t version; /* of the snapshot that it knows */
    bool is_gone;     /* deleted: the last that it got is that its key has expired */
    char self_name[128];
    char self_expiry[TIME_TEXT_CAP];
    char self_allowed[400];
    char self_primary[200];
    char self_caps[300];
    char filter[16384];
    char ssh[8192];
    char dns[800];
    uint64_t self_user;
    char users[USERS_MAX][160]; /* profiles, as they stand on the wire */
    bool knows_tagged;
    struct peer_view peers[IDS_MAX];
};

/* Copies `s` and zeroes the rest of `out`, so that views compare as memory. */
void view_copy(char *out, size_t cap, struct str s);
/* Reads what came over the stream into the view, message by message, and empties `p`. Returns the number of messages.
 */
unsigned view_apply(struct view *v, struct netmap_pieces *p);
/* Fails unless the viewer has the node as it should be. */
void view_assert_peer(node_id viewer, node_id id, const struct peer_view *have, const struct peer_view *want);

/* --- world_reference.c: reads the state node by node, knows nothing of snapshots, changes or caches --- */

/* Addresses and routes of the node as the viewer is shown them. `p`: the policy, or null. */
void reference_routes(struct engine *p, node_id viewer, const struct node *n, struct peer_view *out);
/* The node as a peer of the viewer. */
void reference_peer(struct engine *policy, node_id viewer, const struct node *n, struct peer_view *p);

/* --- world.c --- */

struct machine {
    machine_key machine;
    node_key key;
    node_id id; /* 0: not registered */
    unsigned polls;
};

struct world {
    struct test_random random;
    struct state *st;
    int64_t now_ms;
    struct machine machines[VIEWERS_MAX * 3];
    unsigned machine_n;
    char reusable[AUTH_KEY_TEXT_CAP];
    char ephemeral[AUTH_KEY_TEXT_CAP];
    struct view *views[VIEWERS_MAX]; /* null: free */
    struct row_batch *in_flight[8];
    unsigned in_flight_n;
    bool sends_late;           /* views are sent only every now and then what was published */
    struct change *unsent[16]; /* references: what views were not sent yet */
    unsigned unsent_n;
    unsigned deltas, fulls, publications, joined, routes_seen;
    bool has_policies;
    char tagged[3][AUTH_KEY_TEXT_CAP]; /* keys with tag:a, tag:b, both */
    char others[3][AUTH_KEY_TEXT_CAP]; /* keys of other users */
    struct netmap_pieces pieces;       /* what a test looks at */
    unsigned policies, pairs_hidden, users_hidden, routes_shown, filters_empty, ssh_seen;
};

/* Scratch of all tests of a program, which run one after the other. */
extern struct netmap_ctx world_ctx;

/* cmocka's setup and teardown, for a group and for each test: *state is a struct world that the test has to fill. */
int world_group_setup(void **state);
int world_group_teardown(void **state);
int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

/* A tailnet of one user, anna, without nodes. `newcomer_ms`: as of state_options. */
void world_init_with(struct world *w, uint64_t seed, int64_t newcomer_ms);
/* The same with `nodes` nodes of anna, published. */
void world_small(struct world *w, unsigned nodes);
/* 100 nodes of anna, and 20 with tag:a that only anna's see. */
void world_ruled(struct world *w);
/* Frees what the world has; it may be filled again. */
void world_fini(struct world *w);

uint32_t world_below(struct world *w, uint32_t n);
void world_random_bytes(struct world *w, void *out, size_t n);
/* A new reference. */
struct tailnet_settings *world_settings(void);
/* A reusable auth key. `text` has room for AUTH_KEY_TEXT_CAP bytes. */
void world_make_key(struct world *w, user_id user, const struct str *tags, size_t tag_n, bool is_ephemeral, char *text);
/* A machine that the state does not know joins with an auth key, and becomes `m`. */
node_id world_join_as(struct world *w, const char *key, const char *name, struct machine *m);
void world_put_policy(struct world *w, const char *text);
/* `addr`: a resolver of which each node has its own form; null: there is none. */
void world_set_dns(struct world *w, const char *addr);

/* Takes the batch that waits for the disk. The next commits the oldest batch that was taken, the third all of them. */
void world_seal(struct world *w);
void world_commit_one(struct world *w);
void world_commit_all(struct world *w);
/* Publishes, and gives every view what it is sent, unless the world sends late. */
void world_publish(struct world *w);
/* Gives every view what it was not sent yet: those that know what was sent before get all changes as one, the others
 * the single changes. */
void world_send_changes(struct world *w);
/* Commits and publishes; what the node is sent replaces w->pieces. */
void world_send(struct world *w, node_id id);
void world_drop_view(struct world *w, unsigned i);
/* Whether one of w->pieces contains the text. */
bool world_pieces_have(const struct world *w, const char *text);

/* --- world_events.c --- */

/* Registrations, reports, polls, admins, time. */
void world_random_event(struct world *w);
/* Some of four routes. Returns how many. */
size_t world_fill_routes(struct world *w, struct prefix out[4]);

/* --- world_policies.c --- */

/* Users, tagged keys and routers, so that policies have something to tell apart. */
void world_add_policies(struct world *w);
/* Another policy, or none. */
void world_event_policy(struct world *w);
void world_event_dns(struct world *w);
void world_event_user(struct world *w);

#endif
