/* The insides of the state; only for this folder. */
#ifndef STATE_STATE_INTERNAL_H
#define STATE_STATE_INTERNAL_H

#include "base/map.h"
#include "state/state.h"

/* The owner counts only for nodes of people; all tagged nodes of a machine are one. */
struct machine_user {
    machine_key machine;
    user_id user;
};

/* What routes.c has counted of a node. The lists are references. */
struct counted_routes {
    struct prefix_list *advertised;
    struct prefix_list *approved;
    bool can_serve;
};

/* A node of the working state. */
struct node_record {
    const struct node *node; /* reference; null: deleted, waiting for the publication that tells it */
    node_id id;
    struct machine_user owner;         /* the key in `by_machine` */
    struct node_record *next_of_owner; /* with the same, ascending by id */
    uint64_t visible_seq;              /* hidden from snapshots until this batch is committed; 0: visible */
    unsigned polls;                    /* open now */
    /* Deadlines: steady time, see steady_ms. */
    int64_t offline_at_ms; /* with no poll left: when it counts as offline; 0 while polls are open or it is offline */
    int64_t away_at_ms;    /* with no poll left: when another may take over its routes; 0: not */
    bool has_left;         /* that has come: it may still count as online */
    bool is_silent;        /* it has a poll, but answers no pings */
    bool is_failing;       /* for the length of state_routers_silent */
    struct counted_routes counted;
    int64_t announce_at_ms;  /* a newcomer: when others are told of it, whatever it has said; 0: it is none */
    int64_t remove_at_ms;    /* an ephemeral node that is offline: when it is removed; 0: not */
    int64_t remove_again_ms; /* how long after the last removal that could not be written; 0: there was none */
    bool is_dirty;           /* in `dirty` */
    bool is_stale_on_disk;   /* presence changed since the row was last written */
    bool is_in_stale;        /* in `stale`, where each is once, however often it is written and taken back */
    bool is_from_disk;       /* it has said nothing since it was loaded, and may have moved since it was written */
    bool name_lags;          /* its host name asks for another name, which could not be written */
    bool approval_lags;      /* the policy approves routes of it, which could not be written */
    uint64_t written_seq;    /* of the last batch that has its row */
    size_t undo_at;          /* of an event that is not over: its place in the log, from 1; 0: none */
    unsigned undo_depth;     /* events within that one */
};

struct id_list {
    uint64_t *ids; /* owned */
    size_t n;
    size_t cap;
};

struct revoked_key {
    node_key key;
    uint64_t seq; /* told when this batch is on disk; 0: at once */
};

struct revoked_list {
    struct revoked_key *v; /* owned */
    size_t n;
    size_t cap;
};

/* A relay of the working state. */
struct relay_record {
    uint64_t started_ms, turn;     /* of the announcement that counted last; see state_relay_turn */
    const struct relay_host *host; /* reference */
    uint64_t serial;               /* of its last announcement; 0: none */
    int64_t until_ms;              /* steady time; while it is up: it is gone then, unless it announces itself again */
    uint64_t written_seq;          /* of the last batch that has its row */
    bool is_stale_on_disk;         /* it is not in a batch yet, or in one that could not be written */
};

/* All users as they were when a batch was taken that changes some. */
struct sealed_users {
    struct user_table *table; /* reference */
    uint64_t seq;
};

/* A stored policy that is to be put to work when batch `seq` is on disk. */
struct next_policy {
    struct policy_doc *doc; /* reference; null: none */
    uint64_t seq;
    int64_t set_ms;
};

/* Why a node changes durably. */
enum undo_cause {
    UNDO_EVENT,    /* whoever asked for it is answered */
    UNDO_NEW,      /* the same; there was none */
    UNDO_NAME,     /* its name follows the host name that it reported: nobody asks for that again */
    UNDO_APPROVAL, /* the policy approves routes of it: the same */
};

/* How one row was before an event that waits for the disk. What of it does not belong to its kind is zero. */
struct undo {
    uint64_t seq;          /* of the event's batch */
    enum row_op_kind kind; /* the PUT kinds */
    uint64_t id;           /* of the row */
    enum undo_cause cause; /* of a node, as what follows */
    bool name_lags;        /* as in `entry` */
    bool approval_lags;
    uint64_t policy_sets; /* as in `state` */
    uint64_t visible_seq;
    int64_t offline_at_ms;
    const struct user *user; /* references, here and below; null: there was none */
    const struct auth_key *key;
    struct relay_record relay;
    const struct policy_text *policy_text;
    struct next_policy next_policy; /* of a new policy text: what was to be put to work */
    const struct node *node;
    const struct node *after; /* a node as the event left it; null: it removed it */
};

/* What had been given out when a batch began. */
struct undo_mark {
    struct row_counters counters;
    struct addr last_v4, last_v6;
};

struct undo_log {
    struct undo *v; /* owned; in the order of events */
    size_t n, cap;
    uint64_t *marks; /* owned; the batches that wait for the disk, ascending */
    size_t mark_n, mark_cap;
    struct undo_mark next; /* of the pending batch */
};

struct state {
    struct state_options options;
    struct tailnet_settings *settings;
    struct snapshot *snapshot;
    struct row_counters counters;

    struct node_record **records; /* by id; null: no such node */
    size_t records_cap;
    size_t node_n;

    struct map by_key;     /* node key -> entry */
    struct map by_machine; /* machine key and owner -> entry: one machine may be a node of several users */
    struct map by_name;
    struct map by_addr; /* "ip" bytes (4 or 16) -> entry */
    struct map users;   /* id -> user (reference) */
    struct map users_by_name;
    struct map keys; /* id -> auth key (reference) */
    struct map keys_by_hash;

    struct map routes; /* prefix -> route, owned: see routes.c */

    struct relay_record *relays; /* owned; ascending by id; few */
    size_t relay_n;
    bool relays_changed; /* since state_take_relays_changed */
    bool policy_changed; /* since state_take_policy_changed */

    const struct policy_text **texts; /* owned array of references; ascending by id; the last is in force */
    size_t text_n;
    size_t text_bytes;
    struct next_policy next_policy;

    struct id_list dirty;              /* nodes to look at when publishing */
    struct id_list stale;              /* nodes whose row on disk lags; may name deleted ones */
    bool users_dirty;                  /* they have changed since the last batch was taken */
    struct sealed_users *sealed_users; /* owned; ascending by seq: those that are not told yet */
    size_t sealed_users_n;
    bool settings_dirty;

    struct row_batch *pending;      /* null: nothing to write */
    struct row_batch *pending_lazy; /* presence; its seq is given when it is taken */
    uint64_t next_seq;              /* of the pending batch */
    uint64_t durable_seq;           /* of the last batch taken that is not presence */
    uint64_t committed_seq;
    struct undo_log undo;
    struct row_batch *suspects; /* rows that undone batches would have written, and may have; null: none */
    bool counters_dirty;

    struct engine *policy;      /* owned; null: none */
    uint64_t policy_serial;     /* of `policy`: counts those made */
    uint64_t policy_sets;       /* counts those put to work */
    bool policy_is_stale;       /* users changed since it was made */
    struct access *open_access; /* reference; of every snapshot while there is no policy */

    struct revoked_list revoked;
    int64_t ahead_ms;             /* of Unix time before steady time, see state_set_clock */
    int64_t next_due_ms;          /* steady time: the first deadline */
    int64_t next_date_ms;         /* Unix time: the first date that changes something */
    struct addr last_v4, last_v6; /* where sequential allocation goes on */
    uint64_t random_state;        /* for random addresses */
};

void id_list_push(struct id_list *l, uint64_t id);

/* --- state.c --- */
struct node_record *node_record_of(const struct state *st, node_id id);
/* Installs a new version of a node (consumes the reference), keeps the indexes true, and marks it to be told. Where that
 * changes who is primary of a route, e->node is yet another version afterwards; so it may be after node_record_add. */
void node_record_replace(struct state *st, struct node_record *e, const struct node *next);
struct node_record *node_record_add(struct state *st, const struct node *n);
void node_record_remove(struct state *st, struct node_record *e);
void node_record_mark_dirty(struct state *st, struct node_record *e);
/* The entry's effects stay hidden until the pending batch is on disk. */
void node_record_mark_durable(struct state *st, struct node_record *e);
void node_record_mark_stale(struct state *st, struct node_record *e);
void node_record_put_row(struct state *st, struct node_record *e);
struct row_op *row_put(struct state *st, enum row_op_kind kind, uint64_t id);
/* The same for presence, which nobody waits for (state.h): the row is written as it is when the batch is taken. */
void row_put_lazy(struct state *st, enum row_op_kind kind, uint64_t id);
struct row_op *row_batch_add(struct row_batch *b, enum row_op_kind kind, uint64_t id);
/* At once, or when the pending batch is on disk. */
void state_revoke_key(struct state *st, const node_key *key);
void state_revoke_key_durably(struct state *st, const node_key *key);
/* Takes back an node_record_add whose node nobody has seen. `e` is gone. */
void node_record_forget(struct state *st, struct node_record *e);
/* Takes back an node_record_remove (consumes the reference). */
void node_record_bring_back(struct state *st, struct node_record *e, const struct node *n);
/* Deadlines are measured by a clock that nobody sets: what `now_ms` is on it. */
static inline int64_t state_steady_ms(const struct state *st, int64_t now_ms)
{
    return now_ms - st->ahead_ms;
}
/* Something is due at this steady time, or at this date. */
void state_due_at(struct state *st, int64_t steady_ms);
void state_date_at(struct state *st, int64_t unix_ms);

/* --- load.c --- */
/* RC_INVALID: no id that counting gives. */
MUST_CHECK enum rc state_load_check_id(uint64_t id, struct err *err);
/* RC_INVALID: neither null nor a JSON array of 1 to TAGS_MAX tags. */
MUST_CHECK enum rc state_load_check_tags(const struct rcbuf *tags, struct err *err);
/* To the years 1970 to 9999. */
void state_load_fit_time(int64_t *unix_ms);
void state_load_fit_expiry(int64_t *unix_ms);
/* `own` is moved on to what is stored, where that can be. */
void state_load_counters(struct row_counters *own, const struct row_counters *stored);

/* --- undo.c: called before a row is changed by an event that puts it --- */
/* How the row is now. */
void undo_note_user(struct state *st, user_id id);
void undo_note_key(struct state *st, uint64_t id);
void undo_note_relay(struct state *st, uint64_t id);
void undo_note_policy_text(struct state *st, uint64_t id);
/* Until node_record_mark_durable ends it; for a new node after node_record_add. One that begins within another is a part of that. */
void undo_begin_node(struct state *st, struct node_record *e, enum undo_cause cause);
void undo_end_node(struct state *st, struct node_record *e);
void undo_load_done(struct state *st);
/* When a batch is taken. */
void undo_mark_batch(struct state *st, uint64_t seq);
void undo_committed(struct state *st);
/* An event that waits for the disk concerns this key, in whichever way. */
bool undo_has_auth_key(const struct state *st, const uint8_t hash[KEY_HASH_BYTES]);
bool undo_has_node_key(const struct state *st, const node_key *key);
/* A deletion of a relay waits for the disk. */
bool undo_deletes_relay(const struct state *st);
void undo_fini(struct state *st);

/* --- users.c, keys.c, relays.c, policy_texts.c: the row becomes what it was; null: none --- */
void user_restore(struct state *st, user_id id, const struct user *before);
void auth_key_restore(struct state *st, uint64_t id, const struct auth_key *before);
void state_relay_restore(struct state *st, uint64_t id, const struct relay_record *before, int64_t now_ms);
void state_policy_text_restore(struct state *st, uint64_t id, const struct policy_text *before);

/* --- keys.c --- */
/* "KIND-" + 12 hex digits that lists show (with KIND- they are the prefix) + "-" + 64 hex digits that are the secret. */
void auth_key_text_make(const char *kind, const uint8_t random[AUTH_KEY_RANDOM_BYTES], char prefix[KEY_PREFIX_CAP],
                        char text[AUTH_KEY_TEXT_CAP], uint8_t hash[KEY_HASH_BYTES]);

/* --- relays.c --- */
struct relay_record *state_relay_record(const struct state *st, uint64_t id);
/* Puts the rows that a failed batch left out. Returns how many. */
size_t state_relays_flush(struct state *st);
void state_relays_tick(struct state *st, int64_t now_ms);
void state_relays_load_done(struct state *st, int64_t now_ms);
void state_relays_fini(struct state *st);

/* --- policy_texts.c --- */
void state_policy_texts_committed(struct state *st);
void state_policy_texts_fini(struct state *st);

/* --- names.c --- */
/* A DNS label out of whatever a machine calls itself; "node" when nothing is left. */
void node_name_from_hostname(struct str hostname, char out[NAME_CAP]);
bool node_name_is_label(struct str name);
/* `base`, or base-1, base-2... the first that no node other than `self` has. */
void node_name_make_unique(const struct state *st, const char *base, const struct node_record *self,
                           char out[NAME_CAP]);
bool node_tag_is_valid(struct str tag);

/* --- tags.c --- */
/* A new reference, or null for none. RC_INVALID: not a tag, or not one of the policy's. */
MUST_CHECK enum rc node_tags_make(const struct state *st, const struct str *tags, size_t n, struct rcbuf **out,
                                  struct err *err);
/* What a node that registers with `k` will be tagged with, as it asks or as the key says; a new reference, or null. RC_DENIED,
 * RC_LIMIT. */
MUST_CHECK enum rc node_tags_for_registration(const struct state *st, const struct registration *reg,
                                              const struct auth_key *k, struct rcbuf **out, struct err *err);

/* --- routes.c --- */
/* After any change of the node, or when it was removed: elects the primaries anew that this concerns. */
void routes_follow(struct state *st, struct node_record *e);
void routes_forget(struct node_record *e);
/* Makes node->is_away what the entry says. */
void routes_follow_presence(struct state *st, struct node_record *e);
/* Makes the node the primary again of these of its routes, if it serves them and is up. */
void routes_claim(struct state *st, struct node_record *e, const struct prefix_list *primary);
/* Approves what the policy at work approves without a person, of all that nodes advertise. */
void state_routes_auto_approve(struct state *st, int64_t now_ms);
/* Approves what the policy lets it, of what it advertises. */
void routes_auto_approve(struct state *st, struct node_record *e);
void routes_fini(struct state *st);

/* --- addresses.c --- */
/* Fills v4 and v6 as configured. RC_LIMIT when a prefix is full. */
MUST_CHECK enum rc addresses_allocate(struct state *st, struct addr *v4, struct addr *v6);
/* One of this prefix. RC_LIMIT: it is full. */
MUST_CHECK enum rc addresses_allocate_in(struct state *st, const struct addr *prefix, unsigned bits, struct addr *out);
const void *addresses_map_key(const struct addr *a, size_t *len);

/* --- policy.c --- */
/* The policy hears of a node that is new (`before` null) or changed. */
void state_policy_put_node(struct state *st, const struct node *before, const struct node *after);
void state_policy_forget_node(struct state *st, node_id id);
/* An IPv4 address for a node that is about to be added, from the pools that the policy's nodeAttrs give it. RC_NOT_FOUND:
 * they give it none. RC_LIMIT: the pools are full. */
MUST_CHECK enum rc state_policy_pool_address(struct state *st, const struct node *n, struct addr *out);
void state_policy_users_changed(struct state *st);
/* The next access would not be this one. */
bool state_policy_is_dirty(const struct state *st);
/* Gives c->after its access, and makes items of the nodes that it touches. */
void state_build_access(struct state *st, struct change *c);
void state_policy_fini(struct state *st);

/* --- nodes.c --- */
enum rc node_not_found(node_id id, struct err *err);
/* It says itself that it goes: offline at once, without the grace. */
void node_record_go_offline(struct state *st, struct node_record *e, int64_t now_ms);
/* Makes is_expired true or false as the date says now. */
void node_record_follow_date(struct state *st, struct node_record *e, int64_t now_ms);
/* A date at or before now ends the key for good. */
void node_record_set_expiry(struct state *st, struct node_record *e, int64_t expires_ms, int64_t now_ms);
/* Gives the node the name that its host name asks for, unless an admin has named it. */
void node_record_follow_hostname(struct state *st, struct node_record *e);
void node_record_apply_report(struct state *st, struct node_record *e, const struct node_report *report,
                              bool only_missing);

#endif
