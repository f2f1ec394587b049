/* The working state of a tailnet. Every call is an event: it changes the working state, notes which rows must be
 * written to disk, which nodes changed, for the next snapshot (state_publish), and what happened (state/event.h).
 *
 * Pure: time (`now_ms`, Unix time) and randomness come in as arguments, no call does I/O or blocks; a test runs a
 * million events. Only the core thread calls this.
 *
 * Dates (when a key expires) are compared with `now_ms`; durations (how long a node may be away) are measured by a
 * steady clock, which is never set and which state_set_clock relates to Unix time. So a clock that is set ahead deletes
 * nothing, and what it made look expired is good again when it is set back.
 *
 * Durability: an event that must outlive a crash puts rows into the pending batch (state_take_batch), and its effects
 * stay invisible in snapshots until state_committed reports that the batch is on disk; state_refused undoes those of a
 * batch that could not be written. Presence (online, endpoints, last seen; what relays announce) is visible at the next
 * publication without waiting; it reaches the disk lazily, in batches of its own (state_flush_lazy). */
#ifndef STATE_STATE_H
#define STATE_STATE_H

#include "engine/engine.h"
#include "state/event.h"
#include "state/entity.h"
#include "state/model.h"

struct state;

struct state_options {
    struct addr v4_prefix; /* family 0: no IPv4 addresses */
    uint8_t v4_bits;
    struct addr v6_prefix; /* family 0: no IPv6 addresses */
    uint8_t v6_bits;
    bool random_addresses;        /* else the lowest after the last one given */
    int64_t node_expiry_ms;       /* default life of node keys of untagged nodes; 0: for ever */
    int64_t ephemeral_timeout_ms; /* how long after it went offline an ephemeral node is removed */
    int64_t offline_grace_ms;     /* how long a node without a poll still counts as online */
    int64_t newcomer_ms;          /* how long at most peers do not get a node that has no home relay yet; 0: at once */
    uint32_t key_alarm_joins;     /* alarm when so many nodes join with one key within an hour; 0: never */
    uint16_t own_region;          /* of the embedded relay: no other relay is put there unless asked for; 0: none */
    uint8_t seed[32];             /* secret: hash seeds and random addresses come from it */
};

/* --- rows on their way to the store --- */

/* A row as it is to be written. */
struct row_op {
    const struct entity *entity;
    uint64_t id;
    const struct row *object; /* reference; null: the row is deleted */
};

struct row_batch {
    uint64_t tailnet; /* whose rows these are: set by the one who hands the batch to a store */
    uint64_t seq;     /* for state_committed and state_refused */
    bool is_lazy;     /* presence: no answer waits for it, and it is written again when it fails */
    bool is_repair;   /* the first after a failure: state_take_repair */
    size_t n, cap;
    struct row_op *ops; /* owned */
    struct event_list
        *events; /* reference, null: none; what happened: state_take_events has it when the batch is on disk */
};
/* Frees the batch and its references, and nulls the pointer; null is fine. */
void row_batch_destroy(struct row_batch **batch);

/* --- life --- */

/* An empty tailnet. One reference to `settings` is taken over. The caller destroys the state. */
struct state *state_create(const struct state_options *options, struct tailnet_settings *settings);
/* Frees everything and nulls the pointer; null is fine. Snapshots and changes that are referenced elsewhere stay. */
void state_destroy(struct state **st);

/* --- loading --- */

/* The entities that have rows, in the order in which they are loaded: what a row refers to comes before it. Null at the
 * end; `i` counts from 0. */
const struct entity *state_entity(size_t i);
/* The entity with this number; null: there is none. */
const struct entity *state_entity_by_number(uint64_t number);

/* The version of the schema that has all tables and columns of the entities. */
int state_schema_version(void);

/* Rows as the store has them, entity after entity, then state_load_done. The reference is taken over in any case.
 * RC_INVALID for a row that cannot be used (an address, name or key that another row has; values that nothing here
 * writes): it is left out, and `err` (may be null) says why. With RC_OK `err` may say what was left out of the row;
 * otherwise it is not touched. */
MUST_CHECK enum rc state_load(struct state *st, const struct entity *entity, struct row *object, struct err *err);
/* Ends loading; makes the first snapshot of what was loaded. */
void state_load_done(struct state *st, int64_t now_ms);
/* The row as it is in the working state, borrowed until the next event. Null: there is none. */
const struct row *state_row(const struct state *st, const struct entity *entity, uint64_t id);
/* Walks all rows of an entity in no order: start with *pos = 0. Null at the end. Counters have none. */
const struct row *state_row_next(const struct state *st, const struct entity *entity, size_t *pos);

/* --- durable events --- */

/* The number that state_committed must reach before the effects of the events so far may be answered. */
uint64_t state_durable_seq(const struct state *st);
/* How many rows of events wait to be taken: an event that leaves more than there were must outlive a crash. */
size_t state_pending_rows(const struct state *st);
/* What waits to be written, or null; presence after the rest, in a batch of its own: call until null. The caller owns
 * it. */
struct row_batch *state_take_batch(struct state *st);
/* The batch `seq` and all before it are on disk. */
void state_committed(struct state *st, uint64_t seq);

/* --- what presence asks for, and all must agree on --- */

/* Presence events only note on a record that something durable may have to follow from them: a name that follows the
 * host name, routes that the policy approves, who is the primary of a route, the removal of an ephemeral node, relays
 * that came or went. This looks at each again, and does what is still due; rows of primaries and relays are written
 * lazily. The expiry of a key needs no row: it follows from its date. Call it at the end of each turn, before
 * state_take_batch, while rows can be written; until then what is noted waits. What a refused batch took back of it is
 * noted again. Costs nothing when nothing is noted. */
void state_settle(struct state *st, int64_t now_ms);

/* --- rows of other servers --- */

/* Installs rows that others committed, of any entities, in the order of their commits; null objects are deleted ones.
 * Durable columns become those of the row; of a node that is known here the columns of presence stay what it reports to
 * this server. Primaries of routes come from the rows, a new version of the policy becomes the active one, keys that
 * stopped being active are revoked. The next publication shows it all. Nothing of this server may wait for the disk
 * meanwhile. The rows are borrowed. RC_INVALID: at least one cannot be used (it contradicts others, or nothing here
 * writes it; or the policy cannot be compiled, and the last stays in force): all others are installed, and `err` (may
 * be null) names it. */
MUST_CHECK enum rc state_follow(struct state *st, const struct row_op *rows, size_t n, int64_t now_ms, struct err *err);
/* The same with all rows there are: what is here and not among them has been deleted. */
MUST_CHECK enum rc state_follow_all(struct state *st, const struct row_op *rows, size_t n, int64_t now_ms,
                                    struct err *err);

/* --- what could not be written --- */

/* Batch `seq` is not on disk, and none after it will be. Undoes its events and all later ones, except that ids which
 * they were given are not given again; the rows they concerned are remembered for the repair. False: it was presence,
 * which waits to be flushed again. */
bool state_refused(struct state *st, uint64_t seq, int64_t now_ms);
/* Undoes in the same way what has not been taken yet; ids that it was given are given again. False: there is
 * nothing. */
bool state_undo_pending(struct state *st, int64_t now_ms);
/* A batch that makes the disk agree with the memory, whichever rows of the refused batches are on it after all. The
 * caller owns it. */
struct row_batch *state_take_repair(struct state *st);
/* The repair is on disk. What no request will ask for again, such as the approvals of the policy, is flagged for
 * state_settle. */
void state_repaired(struct state *st);

/* --- publishing --- */

/* Whether something visible changed since the last publication, or becomes visible when the disk has it. */
bool state_is_dirty(const struct state *st);
/* The current snapshot, borrowed. */
struct snapshot *state_snapshot(const struct state *st);
/* Makes the next snapshot and returns what changed; null when nothing visible did. The caller owns the reference. */
struct change *state_publish(struct state *st, int64_t now_ms);

/* --- time --- */

/* From now on Unix time is this much ahead of a clock that is never set, both counted from the start: 0 until the time
 * is set. After a jump of a second or more the next state_tick looks at everything. */
void state_set_clock(struct state *st, int64_t ahead_ms);
/* Expires keys, ends the grace of nodes without a poll, notes for state_settle which ephemeral nodes are to go. */
void state_tick(struct state *st, int64_t now_ms);
/* When state_tick has something to do next (Unix ms), INT64_MAX for never. */
int64_t state_next_tick_ms(const struct state *st);
/* Puts at most `max` nodes whose presence is not on disk into the lazy batch. Returns how many. */
size_t state_flush_lazy(struct state *st, size_t max);

/* --- settings --- */

/* The settings of all snapshots from the next on. A reference is taken over. */
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
/* The first user becomes the owner. RC_INVALID, RC_EXISTS. */
MUST_CHECK enum rc state_user_create(struct state *st, const struct user_spec *spec, int64_t now_ms,
                                     const struct user **out, struct err *err);
/* RC_NOT_FOUND, RC_INVALID, RC_EXISTS. */
MUST_CHECK enum rc state_user_rename(struct state *st, user_id id, struct str name, const struct user **out,
                                     struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_user_set_role(struct state *st, user_id id, enum user_role role, const struct user **out,
                                       struct err *err);
/* Deletes the user's auth keys as well. RC_NOT_FOUND; RC_IN_USE while the user has nodes. */
MUST_CHECK enum rc state_user_delete(struct state *st, user_id id, struct err *err);
/* Null: no such user. */
const struct user *state_user(const struct state *st, user_id id);
/* In any case of letters; "anna@" is "anna" as well. Null: no such user. */
const struct user *state_user_by_name(const struct state *st, struct str name);
/* Walks all users in no order: start with *pos = 0. Null at the end. */
const struct user *state_user_next(const struct state *st, size_t *pos);

/* --- auth keys. Results are borrowed until the next event. --- */

struct auth_key_spec {
    user_id user; /* 0: none, which needs tags */
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
/* `random`: fresh. `text` gets the key, which is shown once and not kept. RC_NOT_FOUND (user), RC_INVALID, RC_LIMIT. */
MUST_CHECK enum rc state_key_create(struct state *st, const struct auth_key_spec *spec,
                                    const uint8_t random[AUTH_KEY_RANDOM_BYTES], int64_t now_ms,
                                    const struct auth_key **out, char text[AUTH_KEY_TEXT_CAP], struct err *err);
/* Ends the key: no node joins with it any more. RC_NOT_FOUND. */
MUST_CHECK enum rc state_key_expire(struct state *st, uint64_t id, int64_t now_ms, struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_key_delete(struct state *st, uint64_t id, struct err *err);
/* Null: no such key. */
const struct auth_key *state_key(const struct state *st, uint64_t id);
/* The key that has this text, or null. */
const struct auth_key *state_key_by_text(const struct state *st, struct str text);
/* Walks all keys in no order: start with *pos = 0. Null at the end. */
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
/* The relay with this id; null when there is none, here and in the two below. */
const struct relay_host *state_relay(const struct state *st, uint64_t id);
const struct relay_host *state_relay_by_name(const struct state *st, struct str name);
/* The relay whose key has this text. */
const struct relay_host *state_relay_by_key(const struct state *st, struct str text);
/* Walks all relays in the order of their ids: start with *pos = 0. Null at the end. */
const struct relay_host *state_relay_next(const struct state *st, size_t *pos);
/* Whether an announcement counts: `started_ms` is when its sender started (by its own clock), `number` counts its
 * announcements. RC_EXISTS: a relay with the same key that started later is up; if both counted, the map would change
 * for ever. RC_LIMIT: a later announcement of the same sender, such as its last, came first. RC_NOT_FOUND. */
MUST_CHECK enum rc state_relay_accept_number(struct state *st, uint64_t id, uint64_t started_ms, uint64_t number);
/* The relay is up, as it reports; it counts as gone from `until_ms` on unless it announces itself again. `*serial_out`
 * numbers the announcement. RC_NOT_FOUND. */
MUST_CHECK enum rc state_relay_announce(struct state *st, uint64_t id, const struct relay_report *report,
                                        int64_t until_ms, int64_t now_ms, uint64_t *serial_out);
/* The relay stops, or announces itself no longer: it counts as gone from `at_ms` on, if not earlier. Nothing happens
 * when it has announced itself again since the announcement `serial`, or is unknown. */
void state_relay_leave(struct state *st, uint64_t id, uint64_t serial, int64_t at_ms, int64_t now_ms);
/* Whether relays came, went or changed what they report since the last call: then the DERP map changes. */
bool state_take_relays_changed(struct state *st);

/* --- the policy --- */

/* Makes `doc` the active policy; a reference is taken over. Null: none, every node reaches every other. Connected
 * nodes get what differs with the next publication; routes that the policy approves without a person are approved,
 * and no approval is ever taken back. This call does not store the text. Costs one engine_put_node for
 * each node. */
void state_set_policy(struct state *st, struct policy_doc *doc);
/* Whether another policy is active than at the last call. */
bool state_take_policy_changed(struct state *st);
/* The active policy, with all users and nodes of the working state in it; borrowed until the next event, null: none.
 * For questions such as engine_user_may_tag; a deleted node leaves it when its removal is published. */
struct engine *state_policy(const struct state *st);
/* Another policy with all users and nodes in it, to ask what it would grant. The caller's: engine_destroy. */
struct engine *state_policy_try(const struct state *st, struct policy_doc *doc);

/* --- the versions of the policy in the database. Results are borrowed until the next event. --- */

/* Makes the text of `doc` the newest version. It becomes the active policy as soon as it is on disk, unless a newer
 * version comes before that. `doc` is referenced. RC_INVALID: `author` or `note` is too long, or not a single line. */
MUST_CHECK enum rc state_policy_store(struct state *st, struct policy_doc *doc, struct str author, struct str note,
                                      int64_t now_ms, const struct policy_text **out, struct err *err);
/* Null: there is none. */
const struct policy_text *state_policy_text_newest(const struct state *st);
/* Null: no such version. */
const struct policy_text *state_policy_text(const struct state *st, uint64_t id);
/* Walks all versions, the oldest first: start with *pos = 0. Null at the end. */
const struct policy_text *state_policy_text_next(const struct state *st, size_t *pos);

/* --- what nodes report --- */

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
    int64_t expiry_ms;      /* as the client asks; 0: it does not ask */
    bool is_ephemeral;      /* the client asks to be */
    const struct str *tags; /* that it asks for (--advertise-tags) */
    size_t tag_n;           /* 0: none, it takes those of the key */
    struct node_report report;
    struct addr from;   /* where it comes from; family 0: not known */
    uint8_t random[16]; /* fresh: stable id */
};

enum register_outcome { REGISTER_OK, REGISTER_REFUSED, REGISTER_KEY_EXPIRED };

/* Which of an auth key's own limits refused a registration. */
enum key_limit { KEY_LIMIT_NONE, KEY_LIMIT_SOURCE, KEY_LIMIT_NODES };

struct register_result {
    enum register_outcome outcome;
    const struct node *node; /* borrowed until the next event; for REGISTER_OK */
    const struct user *user; /* its owner; null for tagged nodes */
    struct err err;          /* for REGISTER_REFUSED: a sentence for the person at the client */
    bool is_new;
    bool is_firm; /* not REGISTER_OK, and the outcome is the same whether or not what waits for the disk is written */
    enum key_limit key_limit; /* for REGISTER_REFUSED */
    /* As many nodes as state_options.key_alarm_joins have joined with one key within an hour; set once an hour. 0: no
     * alarm. */
    uint32_t alarm_joins;
};
/* A client registers, logs out or changes its expiry. src: docs/protocol/control.md 5.4, 5.5 */
void state_register(struct state *st, const struct registration *reg, int64_t now_ms, struct register_result *out);
/* Whether state_register, called now, would answer REGISTER_OK and change nothing but presence: a node that is known,
 * whose key is good and whose row is on disk says again who it is. Then neither the disk nor another server has to be
 * waited for. */
bool state_register_is_local(const struct state *st, const struct registration *reg, int64_t now_ms);

/* Finds the node with this key, for a request that came over a connection of this machine. RC_NOT_FOUND: no such node;
 * RC_DENIED: it belongs to another machine. The node is borrowed until the next event, here and below. */
MUST_CHECK enum rc state_authorise(const struct state *st, const node_key *key, const machine_key *machine,
                                   const struct node **out);
/* The node reports outside of a poll. RC as state_authorise. */
MUST_CHECK enum rc state_node_report(struct state *st, const node_key *key, const machine_key *machine,
                                     const struct node_report *report, const struct node **out);
/* A poll began: the node is online until as many have ended. Its report fills in only what is not known yet
 * (src: docs/protocol/control.md 6.2). RC as state_authorise. */
MUST_CHECK enum rc state_poll_begin(struct state *st, const node_key *key, const machine_key *machine,
                                    const struct node_report *report, int64_t now_ms, const struct node **out);
/* A poll of the node ended; it counts as online for some time more. */
void state_poll_end(struct state *st, node_id id, int64_t now_ms);

/* --- routers and their standbys --- */

/* Walks, by id, the nodes with a poll and a good key that serve a route which another such node serves as well: start
 * with `after` 0; returns 0 at the end. Whether they answer pings decides which of them carries the route. */
node_id state_router_next(const struct state *st, node_id after);
/* The node has answered a ping. From now on it may carry its routes again, if another does not. */
void state_router_answered(struct state *st, node_id id);
/* These nodes have left several pings unanswered. Their routes go to those that answer; where none answers, nothing
 * changes. Returns how many count as silent now that did not. */
size_t state_routers_silent(struct state *st, const node_id *ids, size_t n);

/* --- what admins do to nodes. Results are borrowed until the next event. --- */

/* Gives the node a name, which no longer follows its host name. RC_NOT_FOUND, RC_INVALID, RC_EXISTS. */
MUST_CHECK enum rc state_node_rename(struct state *st, node_id id, struct str name, const struct node **out,
                                     struct err *err);
/* Sets when its key expires. `expires_ms`: NO_EXPIRY = never; at or before now = at once. RC_NOT_FOUND, RC_INVALID. */
MUST_CHECK enum rc state_node_expire(struct state *st, node_id id, int64_t expires_ms, int64_t now_ms,
                                     const struct node **out, struct err *err);
/* Replaces its tags; from then on it belongs to no user and its key does not expire. RC_NOT_FOUND; RC_INVALID: no tags,
 * not a tag, or unknown to the policy; RC_LIMIT. */
MUST_CHECK enum rc state_node_set_tags(struct state *st, node_id id, const struct str *tags, size_t n,
                                       const struct node **out, struct err *err);
/* Replaces what is approved, whether it is advertised or not; an exit route of one family brings that of the other.
 * RC_NOT_FOUND, RC_LIMIT. */
MUST_CHECK enum rc state_node_approve_routes(struct state *st, node_id id, const struct prefix *routes, size_t n,
                                             const struct node **out, struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_node_delete(struct state *st, node_id id, struct err *err);
/* A node of the working state, which may be ahead of the snapshot. Null: no such node. */
const struct node *state_node(const struct state *st, node_id id);
/* The same by its key. */
const struct node *state_node_by_key(const struct state *st, const node_key *key);
/* How many nodes there are. */
size_t state_node_count(const struct state *st);

/* --- keys that may use the relay --- */

/* A node has this key, and it has not expired. Any event may change that: state_take_revoked. */
bool state_key_is_active(const struct state *st, const node_key *key);
/* Writes the node keys that stopped being active since the last call, at most `cap`; returns how many. Call again until
 * it returns fewer than `cap`. */
size_t state_take_revoked(struct state *st, node_key *out, size_t cap);

#endif
