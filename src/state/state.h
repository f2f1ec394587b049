/* The one truth about a tailnet. Every call is an event: it changes the working state, notes which rows must be written to
 * disk, and which nodes must be told of later, when state_publish makes the next snapshot out of what is committed.
 *
 * Pure: time (`now_ms`, Unix) and randomness come in as arguments, no call does I/O or blocks; a test runs a million
 * events. Only the core thread calls this.
 *
 * Dates (when a key expires) are compared with `now_ms`; durations (how long a node may be away) are measured by a clock that
 * nobody sets, which state_set_clock ties to it. So a clock that is set ahead deletes nothing, and what it made look expired is
 * good again when it is set back.
 *
 * Durability: an event that must outlive a crash puts rows into the pending batch (state_take_batch) and its effects stay
 * invisible in snapshots until state_committed says that the batch is on disk; state_refused undoes those of a batch that
 * could not be written. Presence (online, endpoints, last seen; what relays say of themselves) is visible at the next
 * publication without waiting; it reaches the disk lazily, in batches of its own (state_flush_lazy). */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "engine/engine.h"
#include "state/model.h"

struct state;

struct state_options {
    struct addr v4_prefix; /* family 0: no IPv4 addresses */
    uint8_t v4_bits;
    struct addr v6_prefix;
    uint8_t v6_bits;
    bool random_addresses;        /* else the lowest after the last one given */
    int64_t node_expiry_ms;       /* default life of node keys of untagged nodes; 0 = for ever */
    int64_t ephemeral_timeout_ms; /* an ephemeral node is removed so long after it went offline */
    int64_t offline_grace_ms;     /* a node without a poll counts as online for so long */
    int64_t newcomer_ms;      /* so long at most others are not told of a node that has no home relay yet; 0: at once */
    uint32_t key_alarm_joins; /* so many nodes that join with one key within an hour are told of; 0: never */
    uint16_t own_region;      /* of the relay inside: no other relay is put there unasked; 0: none */
    uint8_t seed[32];         /* secret: hash seeds and random addresses come from it */
};

/* --- rows on their way to the store --- */
enum row_op_kind {
    ROW_PUT_USER,
    ROW_DEL_USER,
    ROW_PUT_KEY,
    ROW_DEL_KEY,
    ROW_PUT_RELAY,
    ROW_DEL_RELAY,
    ROW_PUT_POLICY_TEXT,
    ROW_DEL_POLICY_TEXT,
    ROW_PUT_NODE,
    ROW_DEL_NODE,
    ROW_PUT_COUNTERS
};

/* The next ids to be given, so that none is used twice even when the newest row was deleted before a restart. */
struct row_counters {
    uint64_t next_node;
    uint64_t next_user;
    uint64_t next_key;
    uint64_t next_relay;
};

struct row_op {
    enum row_op_kind kind;
    uint64_t id;
    const struct user *user; /* references, for the PUT kinds */
    const struct auth_key *key;
    const struct relay_host *relay;
    const struct policy_text *policy_text;
    const struct node *node;
    struct row_counters counters;
};

struct row_batch {
    uint64_t seq;   /* for state_committed */
    bool is_lazy;   /* presence: nobody waits for it, and it is written again when it fails */
    bool is_repair; /* the first after a failure: state_take_repair */
    size_t n;
    struct row_op *ops;
};
void row_batch_destroy(struct row_batch **batch);

/* `settings`: one reference is taken over. */
struct state *state_create(const struct state_options *options, struct tailnet_settings *settings);
void state_destroy(struct state **st);

/* --- loading: rows as the store has them, users, keys, relays and policy texts before nodes, then state_load_done. References are taken over.
 * RC_INVALID for a row that cannot be used (double address, name or key; values that nothing here writes): it is left out, and `err`
 * (may be null) says why. With RC_OK `err` may say what of the row was left out; it is not touched otherwise. */
MUST_CHECK enum rc state_load_user(struct state *st, struct user *u, struct err *err);
MUST_CHECK enum rc state_load_key(struct state *st, struct auth_key *k, struct err *err);
MUST_CHECK enum rc state_load_relay(struct state *st, struct relay_host *r, struct err *err);
MUST_CHECK enum rc state_load_policy_text(struct state *st, struct policy_text *t, struct err *err);
MUST_CHECK enum rc state_load_node(struct state *st, struct node *n, struct err *err);
void state_load_done(struct state *st, const struct row_counters *counters, int64_t now_ms);

/* --- durable events --- */
/* The number that state_committed must reach before the effects of the events so far may be answered. */
uint64_t state_durable_seq(const struct state *st);
/* What waits to be written, or null; presence after the rest, in a batch of its own: call until null. The caller owns it. */
struct row_batch *state_take_batch(struct state *st);
void state_committed(struct state *st, uint64_t seq);

/* --- what could not be written --- */
/* Batch `seq` is not on disk, and none after it will be. Undoes its events and all that came later, as if they had never
 * been, but for ids that they were given; which rows they concerned is remembered for the repair. False: it was presence, which waits to be flushed again. */
bool state_refused(struct state *st, uint64_t seq, int64_t now_ms);
/* The same for what has not been taken yet; its ids are given again. False: there is nothing. */
bool state_undo_pending(struct state *st, int64_t now_ms);
/* Makes the disk agree with the memory, whatever of the refused batches is on it after all. The caller owns it. */
struct row_batch *state_take_repair(struct state *st);
/* It is on disk: makes up for what nobody asks for again, such as the approvals of the policy. */
void state_repaired(struct state *st);
/* No node has this key, but one of this machine had before an event that waits for the disk, and may have it again. */
bool state_key_is_leaving(const struct state *st, const node_key *key, const machine_key *machine);

/* --- publishing --- */
/* Something visible changed since the last publication. */
bool state_is_dirty(const struct state *st);
/* The current snapshot, borrowed. */
struct snapshot *state_snapshot(const struct state *st);
/* The next snapshot and what changed; null when nothing visible did. The caller owns the reference. */
struct change *state_publish(struct state *st, int64_t now_ms);

/* --- time --- */
/* From now on Unix time is this much ahead of a clock that only runs, both counted from the start: 0 until somebody sets the
 * time. After a jump of a second or more the next state_tick looks at everything. */
void state_set_clock(struct state *st, int64_t ahead_ms);
/* Expires keys, removes ephemeral nodes, ends the grace of those gone. */
void state_tick(struct state *st, int64_t now_ms);
/* When state_tick has something to do next (Unix ms), INT64_MAX for never. */
int64_t state_next_tick_ms(const struct state *st);
/* Puts nodes whose presence rows are stale into the pending batch, at most `max`. Returns how many. */
size_t state_flush_lazy(struct state *st, size_t max);

/* --- settings: a reference is taken over --- */
void state_set_settings(struct state *st, struct tailnet_settings *settings);
/* What was set last, borrowed. */
const struct tailnet_settings *state_settings(const struct state *st);

/* --- users. Results are borrowed until the next event. --- */
struct user_spec {
    struct str name;
    struct str display_name;
    struct str email;
    struct str picture_url;
};
/* RC_INVALID, RC_EXISTS. */
MUST_CHECK enum rc state_user_create(struct state *st, const struct user_spec *spec, int64_t now_ms,
                                     const struct user **out, struct err *err);
/* RC_NOT_FOUND, RC_INVALID, RC_EXISTS. */
MUST_CHECK enum rc state_user_rename(struct state *st, user_id id, struct str name, const struct user **out,
                                     struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_user_set_role(struct state *st, user_id id, enum user_role role, const struct user **out,
                                       struct err *err);
/* With its auth keys. RC_NOT_FOUND; RC_IN_USE while it has nodes. */
MUST_CHECK enum rc state_user_delete(struct state *st, user_id id, struct err *err);
const struct user *state_user(const struct state *st, user_id id);
/* Whatever its case; "anna@" is "anna" as well. */
const struct user *state_user_by_name(const struct state *st, struct str name);
/* Walks all users in no order: start with *pos = 0. */
const struct user *state_user_next(const struct state *st, size_t *pos);

/* --- auth keys --- */
struct auth_key_spec {
    user_id user;
    bool is_reusable;
    bool is_ephemeral;
    int64_t expires_ms; /* NO_EXPIRY = never */
    const struct str *tags;
    size_t tag_n;
    uint32_t max_nodes;          /* 0: any number; else only with is_reusable */
    struct prefix_list *sources; /* borrowed; null: nodes may come from anywhere */
};
enum { KEY_SOURCES_MAX = 64 };
#define AUTH_KEY_TEXT_CAP 128
enum { AUTH_KEY_RANDOM_BYTES = 32 + 6 };
/* `random`: fresh. `text` gets the key, which is shown once and not kept. RC_NOT_FOUND (user), RC_INVALID (tag). */
MUST_CHECK enum rc state_key_create(struct state *st, const struct auth_key_spec *spec,
                                    const uint8_t random[AUTH_KEY_RANDOM_BYTES], int64_t now_ms,
                                    const struct auth_key **out, char text[AUTH_KEY_TEXT_CAP], struct err *err);
MUST_CHECK enum rc state_key_expire(struct state *st, uint64_t id, int64_t now_ms, struct err *err);
MUST_CHECK enum rc state_key_delete(struct state *st, uint64_t id, struct err *err);
const struct auth_key *state_key(const struct state *st, uint64_t id);
/* The key whose text this is, or null. */
const struct auth_key *state_key_by_text(const struct state *st, struct str text);
/* Walks all keys in no order: start with *pos = 0. */
const struct auth_key *state_key_next(const struct state *st, size_t *pos);

/* --- relays elsewhere. Results are borrowed until the next event. --- */
struct relay_spec {
    struct str name;
    uint16_t region_id;     /* 0: a region of its own, the next free number from 901 on */
    struct str region_code; /* len 0: that of the region if it has relays already, else the name */
    struct str region_name; /* len 0: the same */
};
/* `random`: fresh. `text` gets the relay's key, which is shown once and not kept. RC_INVALID, RC_EXISTS, RC_LIMIT. */
MUST_CHECK enum rc state_relay_create(struct state *st, const struct relay_spec *spec,
                                      const uint8_t random[AUTH_KEY_RANDOM_BYTES], int64_t now_ms,
                                      const struct relay_host **out, char text[AUTH_KEY_TEXT_CAP], struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_relay_delete(struct state *st, uint64_t id, struct err *err);
const struct relay_host *state_relay(const struct state *st, uint64_t id);
const struct relay_host *state_relay_by_name(const struct state *st, struct str name);
/* The relay whose key this is, or null. */
const struct relay_host *state_relay_by_key(const struct state *st, struct str text);
/* Walks all relays in the order of their ids: start with *pos = 0. */
const struct relay_host *state_relay_next(const struct state *st, size_t *pos);
/* Whether an announcement counts: `started_ms` is when its sender started (of its own clock), `turn` numbers what it says.
 * RC_EXISTS: a relay with the same key that started later is up; both in turn would change the map for ever. RC_LIMIT: it
 * was overtaken by a later one of the same sender, such as its last. RC_NOT_FOUND. */
MUST_CHECK enum rc state_relay_turn(struct state *st, uint64_t id, uint64_t started_ms, uint64_t turn);
/* It serves, as it reports; unless it says so again it counts as gone from `until_ms` on. `*serial_out` numbers the
 * announcement. RC_NOT_FOUND. */
MUST_CHECK enum rc state_relay_announce(struct state *st, uint64_t id, const struct relay_report *report,
                                        int64_t until_ms, int64_t now_ms, uint64_t *serial_out);
/* It goes, or nobody hears of it any more: gone from `at_ms` on, if it was not to go earlier. Nothing happens when it has
 * announced itself again since the announcement `serial`. */
void state_relay_leave(struct state *st, uint64_t id, uint64_t serial, int64_t at_ms, int64_t now_ms);
/* Whether relays came, went or changed what they report since the last call: the DERP map is another one. */
bool state_take_relays_changed(struct state *st);

/* --- the policy --- */
/* Puts a policy to work; a reference is taken over; null: none, everyone reaches everyone. Connected nodes hear of what is
 * different with the next publication; routes that the policy approves without a person are approved, and nothing is ever taken
 * back. Durable text is not this call's business. Costs one engine_put_node for each node. */
void state_set_policy(struct state *st, struct policy_doc *doc, int64_t now_ms);
/* Whether another policy is at work than at the last call. */
bool state_take_policy_changed(struct state *st);
/* The policy at work, with all users and nodes of the working state in it; borrowed until the next event, null: none. For
 * questions such as engine_user_may_tag; a deleted node leaves it when its removal is published. */
struct engine *state_policy(const struct state *st);
/* Another policy with all users and nodes in it, to ask what it would do. The caller's: engine_destroy. */
struct engine *state_policy_try(const struct state *st, struct policy_doc *doc);

/* --- the policy's versions in the database. Results are borrowed until the next event. --- */
/* What is beyond either is forgotten, the oldest first; the newest never. */
enum { POLICY_TEXTS_MAX = 200, POLICY_TEXTS_MAX_BYTES = 32 << 20 };
/* Makes the doc's text the newest version. It is put to work as soon as that is on disk, and replaces what was to be put to
 * work before. `doc` is referenced. RC_INVALID: `author` or `note` is too long, or no single line. */
MUST_CHECK enum rc state_policy_store(struct state *st, struct policy_doc *doc, struct str author, struct str note,
                                      int64_t now_ms, const struct policy_text **out, struct err *err);
/* Null: there is none. */
const struct policy_text *state_policy_text_newest(const struct state *st);
const struct policy_text *state_policy_text(const struct state *st, uint64_t id);
/* Walks all versions, the oldest first: start with *pos = 0. */
const struct policy_text *state_policy_text_next(const struct state *st, size_t *pos);

/* --- what nodes say --- */
/* What a node reports of itself; null or absent members mean "unchanged". References are borrowed for the call. */
struct node_report {
    uint32_t cap_version; /* 0: unchanged */
    const disco_key *disco;
    const struct addr *endpoints; /* null: unchanged; with endpoints_n 0: none */
    unsigned endpoints_n;
    uint16_t home_derp;  /* 0: unchanged */
    struct str hostname; /* len 0: unchanged */
    struct rcbuf *hostinfo;
    struct rcbuf *hostinfo_peers; /* goes with `hostinfo`: null then means that peers get none */
    struct prefix_list *routes;   /* RoutableIPs; goes with `hostinfo`: null then means none */
};

struct registration {
    machine_key machine;
    node_key key;
    node_key old_key; /* zero: none */
    nl_key nl;
    struct str auth_key;    /* len 0: none */
    int64_t expiry_ms;      /* as the client asks; 0: nothing asked */
    bool is_ephemeral;      /* the client asks to be */
    const struct str *tags; /* that it asks for (--advertise-tags) */
    size_t tag_n;           /* 0: none, it takes those of the key */
    struct node_report report;
    struct addr from;   /* where it comes from; family 0: not known */
    uint8_t random[16]; /* fresh: stable id */
};

enum register_outcome { REGISTER_OK, REGISTER_REFUSED, REGISTER_KEY_EXPIRED };

/* Which of an auth key's own limits it was. */
enum key_limit { KEY_LIMIT_NONE, KEY_LIMIT_SOURCE, KEY_LIMIT_NODES };

struct register_result {
    enum register_outcome outcome;
    const struct node *node; /* borrowed until the next event; for REGISTER_OK */
    const struct user *user; /* its owner; null for tagged nodes */
    struct err err;          /* for REGISTER_REFUSED: a sentence for the person at the client */
    bool is_new;
    bool is_firm; /* not REGISTER_OK, and whatever becomes of what waits for the disk changes nothing about it */
    /* So many nodes have joined within an hour with one key, as many as state_options.key_alarm_joins; said once an hour. 0: no
     * alarm. The key by what lists show of it. */
    enum key_limit key_limit; /* for REGISTER_REFUSED */
    uint32_t alarm_joins;
    char alarm_key[KEY_PREFIX_CAP];
};
/* src: docs/protocol/control.md 5.4, 5.5 */
void state_register(struct state *st, const struct registration *reg, int64_t now_ms, struct register_result *out);

/* A node's key and the machine key of the connection that it came by. RC_NOT_FOUND: no such node; RC_DENIED: another
 * machine's. */
MUST_CHECK enum rc state_authorise(const struct state *st, const node_key *key, const machine_key *machine,
                                   const struct node **out);
/* An update outside of the poll. RC as state_authorise. */
MUST_CHECK enum rc state_node_report(struct state *st, const node_key *key, const machine_key *machine,
                                     const struct node_report *report, const struct node **out);
/* A poll began: the node is online until as many ends. What it reports fills only what is not known yet
 * (src: docs/protocol/control.md 6.2). RC as state_authorise. */
MUST_CHECK enum rc state_poll_begin(struct state *st, const node_key *key, const machine_key *machine,
                                    const struct node_report *report, int64_t now_ms, const struct node **out);
void state_poll_end(struct state *st, node_id id, int64_t now_ms);

/* --- routers that others stand by for --- */
/* Walks the nodes with a poll and a good key that serve a route which another such node serves as well, by id: start with `after`
 * 0. 0: no more. Whether they answer pings decides who carries the route. */
node_id state_router_next(const struct state *st, node_id after);
/* It has answered a ping. From now on it stands by, if another carries its routes. */
void state_router_answered(struct state *st, node_id id);
/* These have left pings in a row unanswered. Their routes go to those that have not; where all are silent nothing changes. Returns
 * how many are silent now that were not. */
size_t state_routers_silent(struct state *st, const node_id *ids, size_t n);

/* --- what admins do to nodes --- */
MUST_CHECK enum rc state_node_rename(struct state *st, node_id id, struct str name, const struct node **out,
                                     struct err *err);
/* `expires_ms`: NO_EXPIRY = never; at or before now = at once. */
MUST_CHECK enum rc state_node_expire(struct state *st, node_id id, int64_t expires_ms, int64_t now_ms,
                                     const struct node **out, struct err *err);
/* Replaces its tags; from then on it is nobody's and its key does not expire. RC_NOT_FOUND; RC_INVALID: none, not a tag, or not
 * one of the policy's; RC_LIMIT. */
MUST_CHECK enum rc state_node_set_tags(struct state *st, node_id id, const struct str *tags, size_t n,
                                       const struct node **out, struct err *err);
/* Replaces what is approved, whether it is advertised or not; an exit route of one family brings that of the other.
 * RC_NOT_FOUND, RC_LIMIT. */
MUST_CHECK enum rc state_node_approve_routes(struct state *st, node_id id, const struct prefix *routes, size_t n,
                                             const struct node **out, struct err *err);
MUST_CHECK enum rc state_node_delete(struct state *st, node_id id, struct err *err);
/* The working state, which may be ahead of the snapshot. Borrowed until the next event. */
const struct node *state_node(const struct state *st, node_id id);
const struct node *state_node_by_key(const struct state *st, const node_key *key);
size_t state_node_count(const struct state *st);

/* May this node key use the relay: known, not expired. Any event may change it; state_take_revoked tells. */
bool state_key_is_active(const struct state *st, const node_key *key);
/* Node keys that stopped being active, for good, since the last call, up to `cap`; returns how many were written. */
size_t state_take_revoked(struct state *st, node_key *out, size_t cap);

#endif
