/* A tailnet with simulated time: machines that join, change, move and leave, and whose clients follow what they are
 * sent. One thread, no I/O; everything comes from one seed. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "policy/policy.h"
#include "sim/client.h"
#include "sim/plan.h"
#include "state/state.h"
#include "support/test_random.h"

enum {
    SIM_OFFLINE_GRACE_MS = 10000,
    SIM_NEWCOMER_MS = 30000,
    SIM_EPHEMERAL_MS = 60000,
    SIM_SPARE_USERS = 8, /* that come and go */
    SIM_USERS_MAX = PLAN_USERS + SIM_SPARE_USERS,
    SIM_IN_FLIGHT = 6,
    SIM_HOT = 4096,
    SIM_ODD = 6,
};

/* As control/session.c has them. */
enum poll_state { POLL_NONE, POLL_WAITING, POLL_ACTIVE, POLL_BEHIND, POLL_GONE };

struct machine {
    machine_key key;
    node_key node; /* the current one */
    node_id id;    /* 0: not registered */
    unsigned user; /* slot; of its owner when it has no tag */
    int tag;       /* -1: none */
    int router;    /* -1: none; else a number that its routes come from */
    bool is_ephemeral;
    bool is_slow;
    enum poll_state poll;
    struct client client;
};

struct sim_user {
    user_id id; /* 0: deleted */
    char key[AUTH_KEY_TEXT_CAP];
};

struct sim_counts {
    uint64_t events, publications, items, deltas, polls, fulls, behind, afresh, gone, policies, ephemeral_gone, refused;
    uint64_t views, pairs, router_pairs, hidden_routes, filters, filter_whats, ssh_rules, sources_empty, newcomers;
};

struct sim {
    uint64_t seed;
    struct test_random random;
    struct state *st;
    int64_t now_ms;
    struct netmap_ctx netmap;
    struct netmap_pieces pieces;
    struct machine *machines;
    size_t machine_n;
    size_t user_n;
    struct sim_user users[SIM_USERS_MAX];
    char tag_keys[PLAN_TAGS_N][AUTH_KEY_TEXT_CAP];
    struct row_batch *in_flight[SIM_IN_FLIGHT];
    size_t in_flight_n;
    const struct node **disk; /* heap; by id: rows of nodes, references */
    size_t disk_cap;
    struct plan plans[PLANS];
    const struct plan *plan; /* in force once all is committed; null: none */
    bool may_have_no_plan;
    unsigned settings_made, steps, plan_turns;
    node_id hot[SIM_HOT]; /* nodes that have changed since the last comparison: these are compared first */
    size_t hot_n;
    struct machine *odd[SIM_ODD]; /* given tags by an admin; null: none */
    struct sim_counts counts;
};

/* --- world.c --- */
/* `users` <= PLAN_USERS. All machines register; most poll. */
void sim_init(struct sim *s, uint64_t seed, size_t nodes, size_t users, bool has_plan);
/* Ends all polls and frees everything. */
void sim_fini(struct sim *s);
/* A random number below `n`. */
uint32_t sim_below(struct sim *s, uint32_t n);
/* Some events, as many as come between two publications, and one publication. */
void sim_step(struct sim *s);
/* Machines join: some as new nodes. */
void sim_join_some(struct sim *s, size_t n);
/* Everything is committed, published and read by all clients, slow ones too. */
void sim_settle(struct sim *s);
/* Puts the policy of the plan in force; null: none. */
void sim_set_plan(struct sim *s, const struct plan *plan);

/* --- reference.c --- */
/* Compares what clients have with what the state and the policy say, pair by pair: the peers of `client_n` clients at
 * least (the number of machines: all) and each peer's look, and themselves; of `filter_n` the filter and the SSH
 * policy. Those that something happened to since the last call are always among them. After sim_settle. */
void reference_compare(struct sim *s, size_t client_n, size_t filter_n);

#endif
