/* What becomes of nodes: names, tags, addresses, routes, reports, presence; only for this folder. */
#ifndef STATE_NODES_INTERNAL_H
#define STATE_NODES_INTERNAL_H

#include "state/records_internal.h"

/* --- names.c --- */
/* Makes a DNS label of what a machine calls itself; "node" when nothing is left. */
void node_name_from_hostname(struct str hostname, char out[NAME_CAP]);
/* A DNS label of lower-case letters, digits and dashes. */
bool node_name_is_label(struct str name);
/* `base`, or base-1, base-2... the first that no node other than `self` (may be null) has. */
void node_name_make_unique(const struct state *st, const char *base, const struct node_record *self,
                           char out[NAME_CAP]);
/* Whether the text has the form of a tag. */
bool node_tag_is_valid(struct str tag);

/* --- addresses.c --- */
/* Fills v4 and v6 as configured. RC_LIMIT when a prefix is full. */
MUST_CHECK enum rc addresses_allocate(struct state *st, struct addr *v4, struct addr *v6);
/* An address of this prefix. RC_LIMIT: it is full. */
MUST_CHECK enum rc addresses_allocate_in(struct state *st, const struct addr *prefix, unsigned bits, struct addr *out);
/* Addresses of nodes that others made are not given next. */
void addresses_note_given(struct state *st, const struct node *n);
/* The key of an address in `by_addr`: borrowed from `a`, with its length in `*len`. */
const void *addresses_map_key(const struct addr *a, size_t *len);

/* --- elections.c --- */
/* Counts what the node serves now, after any change of the node or its record, and elects anew where that matters.
 * Appends the ids of nodes that ceased to be or became the primary of a route to `changed`; node_records.c writes that
 * into them. */
void routes_recount(struct state *st, struct node_record *e, struct id_list *changed);
/* The routes that the node was elected primary of. The caller owns the reference. */
struct prefix_list *routes_list_primary(const struct state *st, const struct node_record *e);
/* Makes the node the primary of a prefix that it serves, unless it cannot serve and the present one can (`by_row`: even
 * then). Returns who was the primary; 0: nothing changed. */
node_id routes_claim(struct state *st, struct node_record *e, const struct prefix *p, bool by_row);
/* Whether another connected node serves one of its routes; with `answering` that one must answer pings as well. */
bool routes_have_standby(const struct state *st, const struct node_record *e, bool answering);
/* Drops the references that were counted of a node; before its record is freed. */
void routes_forget(struct node_record *e);
/* Frees the table of routes. */
void routes_fini(struct state *st);

/* --- routes.c --- */
/* Makes node->is_away what the record says. */
void routes_follow_presence(struct state *st, struct node_record *e);
/* Approves what the active policy approves without a person, of what the node advertises. */
void routes_auto_approve(struct state *st, struct node_record *e);
/* Leaves that to state_settle, for all nodes that advertise any. */
void routes_flag_approvals(struct state *st);

/* --- tags.c --- */
/* A new reference, or null for none. RC_INVALID: not a tag, or the policy does not know it. */
MUST_CHECK enum rc node_tags_make(const struct state *st, const struct str *tags, size_t n, struct rcbuf **out,
                                  struct err *err);
/* The tags of a node that registers with `k`: those that it asks for, else those of the key. A new reference, or null.
 * RC_DENIED, RC_LIMIT. */
MUST_CHECK enum rc node_tags_for_registration(const struct state *st, const struct registration *reg,
                                              const struct auth_key *k, struct rcbuf **out, struct err *err);

/* --- keys.c --- */
/* "KIND-" + 12 hex digits that lists show (with KIND- they are the prefix) + "-" + 64 hex digits that are the
 * secret. */
void auth_key_text_make(const char *kind, const uint8_t random[AUTH_KEY_RANDOM_BYTES], char prefix[KEY_PREFIX_CAP],
                        char text[AUTH_KEY_TEXT_CAP], uint8_t hash[KEY_HASH_BYTES]);

/* --- relays.c --- */
/* Puts the rows that a failed batch left out. Returns how many. */
size_t state_relays_flush(struct state *st);
/* Ends relays that have not announced themselves in time. */
void state_relays_tick(struct state *st, int64_t now_ms);
/* Relays that were up get some time to announce themselves again. */
void state_relays_load_done(struct state *st, int64_t now_ms);
/* For rows of other servers. Each relay leaves, and is kept in `left`... */
void state_relay_follow_leave(struct state *st, uint64_t id, struct relay_list *left);
/* ...then those that are not deleted come back, as in the row. What this server has heard of the relay and has not
 * written yet is newer than the row. RC_INVALID: the row cannot be used; it stays away. */
MUST_CHECK enum rc state_relay_follow_enter(struct state *st, const struct relay_host *row,
                                            const struct relay_list *left, int64_t now_ms, struct err *err);
/* Notes whether the DERP map changes by it, and frees what is in `left`. */
void state_relay_follow_done(struct state *st, struct relay_list *left);
/* Frees the list of relays. */
void state_relays_fini(struct state *st);

/* --- nodes.c --- */
/* A client that only changes its connection opens the next poll at once. A router that stays away longer than this
 * hands its routes to another, if there is one; it still counts as online for some time. */
enum { ROUTE_GRACE_MS = 2000 };
/* The node has reported that it goes: it is offline at once, without the grace. */
void node_record_go_offline(struct state *st, struct node_record *e, int64_t now_ms);
/* Whether its key has been ended, or its date has passed. */
static inline bool node_is_past(const struct node *n, int64_t now_ms)
{
    return n->is_ended || (n->expires_ms != NO_EXPIRY && n->expires_ms <= now_ms);
}
/* Makes is_expired true or false as the date says now. */
void node_record_follow_date(struct state *st, struct node_record *e, int64_t now_ms);
/* A date at or before now ends the key for good: that is the event `ended`. */
void node_record_set_expiry(struct state *st, struct node_record *e, int64_t expires_ms, int64_t now_ms,
                            enum event_kind ended);
/* Gives the node the name that its host name asks for, unless an admin has named it. */
void node_record_follow_hostname(struct state *st, struct node_record *e);
/* Takes over what the node reports of itself; with `only_missing` just what is not known yet. What follows from it for
 * everybody is left to state_settle. */
void node_record_apply_report(struct state *st, struct node_record *e, const struct node_report *report,
                              bool only_missing);
/* The deadline (steady time, 0: none) has come. */
static inline bool node_deadline_is_due(int64_t at_ms, int64_t steady_now_ms)
{
    return at_ms != 0 && at_ms <= steady_now_ms;
}

/* --- node_load.c --- */
/* RC_INVALID: the row cannot be used beside the others (an address, name or key that another has), or nothing here
 * writes it. Moves its dates into range. */
MUST_CHECK enum rc node_row_check(const struct state *st, struct node *n, struct err *err);
/* Writes anew what the row says that the node reported. `odd` says what was left out; it may be null. */
void node_row_clean_report(struct node *n, struct err *odd);

/* --- node_follow.c: in this order, each for all rows --- */
struct key_list {
    node_key *v; /* owned */
    size_t n, cap;
};
/* Takes the node out of the indexes; its key, if it is active, is appended to `left`. */
void node_follow_leave(struct state *st, node_id id, struct key_list *left);
/* Puts it back as the row is now, or deletes it (null). A row that cannot be used (RC_INVALID) deletes it as well. */
MUST_CHECK enum rc node_follow_enter(struct state *st, node_id id, const struct node *row, int64_t now_ms,
                                     struct err *err);
/* Counts its routes, and sets its deadlines. */
void node_follow_plan(struct state *st, node_id id, int64_t now_ms);
/* Makes it the primary of what the row says, if it serves that. */
void node_follow_primary(struct state *st, node_id id, struct prefix_list *primary);
/* Nothing is left to settle about its primaries. What it does not serve yet, it becomes the primary of when it does. */
void node_follow_settled(struct state *st, node_id id, struct prefix_list *primary);
/* The durable columns of `row`, the presence of `now`, the endpoints of `endpoints_of`. The caller owns it. */
struct node *node_with_row(const struct node *now, const struct node *row, const struct node *endpoints_of);

/* --- settle.c --- */
/* Within a durable event of this node: does at once what the event itself asks for, name and approvals. */
void node_record_settle(struct state *st, struct node_record *e);

#endif
