/* The policy: who may reach whom. Reads a policy file (HuJSON), says what is wrong with it and where, and turns it, with
 * the users and nodes there are, into what each node is told: packet filter, peers, their routes, SSH policy, capabilities.
 * src: docs/protocol/policy.md (sections are cited where they are obeyed)
 *
 * Two objects:
 *   policy_doc   a file that was read and found good. Immutable; any thread may read it.
 *   policy       a doc together with users and nodes. One writer; calls that take a const policy may run in several threads
 *                at once as long as nobody writes. A call that takes a plain pointer is a write: it may fill a cache.
 *
 *     policy_parse(text, &opts, &doc, &errors)    refused: every error with its place
 *     p = policy_create(doc, users, user_n, NULL)  users differ: make a new one
 *     policy_put_node(p, &facts)                   every node, and again whenever its facts change
 *     policy_run_tests(p, &errors)                 before it takes effect
 *     policy_filter(p, id, &out), policy_routes, policy_ssh, policy_self_caps, policy_view_get...
 *     policy_version(p, id)                        whether to ask again, after events
 *     policy_fingerprint(p, id)                    whether to tell again, after a new policy
 *
 * How it is computed: never for pairs of nodes. Nodes that the policy cannot tell apart form a class; which rules a class is
 * source and destination of are two sets of bits, and two classes see each other when these meet. A node that joins an
 * existing class costs a few look-ups. Only autogroup:self is told by user. So is everything below; see policy_internal.h.
 *
 * Pure: no I/O, no clock, no randomness, nothing global. Nothing blocks. Out of memory ends the process (base/mem.h); what a
 * text can make it allocate is bounded by policy_limits. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

/* --- errors --- */

/* One thing that is wrong. `text` is a sentence without the place; line and column (bytes) count from 1, 0: no place. */
struct policy_error {
    int line;
    int col;
    const char *text;
};

/* What was found, in file order. Zero-initialised is empty. At most POLICY_ERRORS_MAX are kept, the last of which then
 * says how many more there are. */
enum { POLICY_ERRORS_MAX = 50 };
struct policy_errors {
    struct arena arena; /* owns the texts */
    size_t n;
    size_t left_out;
    struct policy_error v[POLICY_ERRORS_MAX + 1];
};

void policy_errors_fini(struct policy_errors *e);
/* "FILE:LINE:COL: TEXT" a line, what is not known left out; `file` may be null. */
void policy_errors_format(const struct policy_errors *e, const char *file, struct buf *out);

/* --- reading --- */

/* An error names the limit. src: docs/protocol/policy.md 14.4 */
struct policy_limits {
    size_t text_bytes;
    unsigned depth;
    size_t rules; /* acls, grants, ssh and nodeAttrs together */
    size_t groups;
    size_t memberships; /* of all groups together */
    size_t tags;
    size_t hosts;     /* hosts and ipsets together */
    size_t list;      /* selectors in one list, operations of one ipset */
    size_t selectors; /* in all lists together */
    size_t tests;
    size_t app_bytes;
};
extern const struct policy_limits policy_limits_default;

struct policy_options {
    const struct policy_limits *limits; /* null: the default ones */
    const struct str *domains;          /* the tailnet's e-mail domains; none: any. src: docs/protocol/policy.md 8.1 */
    size_t domain_n;
    bool has_funnel;  /* else the attribute `funnel` is told to nobody, and warned of. src: docs/protocol/policy.md 9 */
    bool is_https_on; /* for the tailnet's nodes; changes what `funnel` adds */
    bool is_stored;   /* by an older version, perhaps: what only new texts are refused for is let through */
};

struct policy_doc;

/* Reads and checks a whole policy. A blank text (white space and comments) is refused: a file that was emptied by accident
 * must not open the network. Who wants everyone to reach everyone says so: {}. A stored text may be blank (it has no rules), may
 * name SSH users that are numbers or begin with a sign (they are left out, with a warning), and its ipsets may be ten times the work.
 * `opts` may be null. `*doc_out` is the caller's (policy_doc_unref). Keeps the text as it was given.
 * RC_INVALID: not acceptable, and `errors` (which must be empty) has at least one entry; `*doc_out` is untouched. */
MUST_CHECK enum rc policy_parse(struct str text, const struct policy_options *opts, struct policy_doc **doc_out,
                                struct policy_errors *errors);
struct policy_doc *policy_doc_ref(struct policy_doc *doc);
/* Null is fine; nulls the pointer. */
void policy_doc_unref(struct policy_doc **doc);
/* What policy_parse was given, byte for byte. Borrowed. */
struct str policy_doc_text(const struct policy_doc *doc);

/* The options for the whole network. src: docs/protocol/policy.md 13. `derp_map` is a JSON object or empty; borrowed
 * from the doc. */
struct policy_network {
    bool is_ipv4_disabled;
    bool is_client_port_random;
    struct str one_cgnat_route; /* "", "mac-always", "mac-never" */
    struct str derp_map;
};
struct policy_network policy_doc_network(const struct policy_doc *doc);
/* Some nodeAttrs have an ipPool. */
bool policy_doc_has_pools(const struct policy_doc *doc);

/* --- facts --- */

enum policy_role {
    POLICY_MEMBER,
    POLICY_OWNER, /* counts as an admin too */
    POLICY_ADMIN,
    POLICY_NETWORK_ADMIN,
    POLICY_IT_ADMIN,
    POLICY_BILLING_ADMIN,
    POLICY_AUDITOR,
};

struct policy_user {
    uint64_t id; /* not 0 */
    struct str name;
    struct str email;       /* may be empty */
    struct str provider_id; /* may be empty */
    enum policy_role role;
};

/* An approved route. An exit route has 0 bits. */
struct policy_route {
    struct addr addr; /* host bits zero */
    uint8_t bits;
    bool is_primary; /* this node serves the prefix; not for exit routes. src: docs/protocol/policy.md 6.3 */
};

/* What a posture asks about. src: docs/protocol/policy.md 7.1 */
enum policy_attr_type { POLICY_ATTR_STRING, POLICY_ATTR_NUMBER, POLICY_ATTR_BOOL };
struct policy_attr {
    struct str name; /* "node:os", "custom:level" */
    enum policy_attr_type type;
    struct str text;
    double number;
    bool truth;
};

enum { POLICY_ROUTES_MAX = 1024 };

/* All that the policy asks of a node. Everything pointed to is borrowed for the call. */
struct policy_node {
    uint64_t id;            /* not 0; small: tables are kept by id, and ids of nodes that are gone count */
    uint64_t user;          /* owner; plays no part when there are tags */
    const struct str *tags; /* "tag:x" */
    size_t tag_n;
    struct addr v4; /* family 0: none */
    struct addr v6;
    const struct policy_route *routes; /* no prefix twice; those above POLICY_ROUTES_MAX are not looked at */
    size_t route_n;
    const struct policy_attr *attrs;
    size_t attr_n;
    int64_t created_ms;
    bool is_online;   /* and able to serve: its key holds, and it answers */
    bool has_old_ssh; /* its client takes numbers and options for login names (before 1.98.10) */
};

/* --- a policy at work --- */

struct policy;

/* `doc` is referenced, `users` copied. The address ranges of the tailnet, for `*`: a family of 0 means the usual one
 * (100.64.0.0/10 without 100.115.92.0/23; fd7a:115c:a1e0::/48). Never null. */
struct policy_ranges {
    struct addr v4, v6;
    uint8_t v4_bits, v6_bits;
};
struct policy *policy_create(struct policy_doc *doc, const struct policy_user *users, size_t user_n,
                             const struct policy_ranges *ranges);
void policy_destroy(struct policy **p);
const struct policy_doc *policy_doc_of(const struct policy *p);

/* What may be odd about a good policy, given these users: selectors that match nobody, or several (such a one is empty), and
 * what this server does not act on. */
void policy_warnings(const struct policy *p, struct policy_errors *out);

/* Adds a node, or replaces what is known of it. The work is that of one node, and of one new class now and then.
 * Nothing at all happens when the facts are the same as before. */
void policy_put_node(struct policy *p, const struct policy_node *node);
/* Unknown ids are fine. */
void policy_remove_node(struct policy *p, uint64_t id);
size_t policy_node_count(const struct policy *p);
size_t policy_class_count(const struct policy *p);

/* Changes when something that the node's filter or SSH policy is made of may have changed; 0: no such node. Ask again
 * after writes, render only what has a new number. Costs nothing but a look at the node's class. */
uint64_t policy_version(const struct policy *p, uint64_t id);
/* The same for many nodes, between two writes: `by_class`, zeroed and of policy_view_class_cap entries, remembers what nodes
 * of a class share. */
uint64_t policy_version_of_many(const struct policy *p, uint64_t id, uint64_t *by_class);
/* Adds to `set`, bits by id, all nodes whose version may be above `since` (of policy_clock); ids from 64 * words on are left
 * out. Costs a look at each class, and the nodes that it adds. */
void policy_moved(const struct policy *p, uint64_t since, uint64_t *set, size_t words);

/* A hash of what the node's filter, SSH policy and capabilities say. Two policies that give the same number tell the node the
 * same: after a policy was replaced, only those with another number need new ones. Cheaper than the texts: sources are not
 * written out. 0: no such node. */
uint64_t policy_fingerprint(struct policy *p, uint64_t id);

/* Whether `a` and `b` are peers. src: docs/protocol/policy.md 6.1. A node is not its own peer. */
bool policy_sees(const struct policy *p, uint64_t a, uint64_t b);
/* Calls `visit` for each peer, in no particular order. */
void policy_peers(const struct policy *p, uint64_t id, void (*visit)(void *ctx, uint64_t peer), void *ctx);
size_t policy_peer_count(const struct policy *p, uint64_t id);

/* Who sees whom at one moment: immutable, counted, any thread. What a snapshot keeps, so that a change can be told to those
 * who saw the node before and those who see it after. Shares with the one before what has not changed: copies a word for 64
 * ids, for 64 classes, and for 64 users when autogroup:self is used; and a bit for each pair of classes when one came or
 * went. A write copies a page of each, and the set of the node's class. The same as the one before while nothing has been
 * written that matters. */
struct policy_view;
struct policy_view *policy_view_get(struct policy *p);
struct policy_view *policy_view_ref(struct policy_view *v);
/* Null is fine; nulls the pointer. */
void policy_view_unref(struct policy_view **v);
bool policy_view_sees(const struct policy_view *v, uint64_t a, uint64_t b);
/* Nodes with the same number see and are seen alike, apart from autogroup:self, and get the same filter apart from their
 * own addresses. Numbers are used again. -1: no such node. */
int64_t policy_view_class(const struct policy_view *v, uint64_t id);

/* Where a node sits in a view: all that who-sees-whom depends on. Nodes with equal seats see alike. */
struct viewer_key {
    uint32_t class_index; /* POLICY_NO_CLASS: no such node */
    uint32_t owner;       /* number of its owner, among views of one policy; 0: tagged, or no rule asks */
    uint64_t class_made;  /* tells classes of one policy apart whose index is the same, one after the other */
};
#define POLICY_NO_CLASS UINT32_MAX
static inline bool viewer_keys_equal(struct viewer_key a, struct viewer_key b)
{
    return a.class_index == b.class_index && a.owner == b.owner && a.class_made == b.class_made;
}
struct viewer_key policy_view_key(const struct policy_view *v, uint64_t id);
/* Whether nodes in these seats are peers; two different nodes, also when the seats are equal. */
bool policy_view_keys_see(const struct policy_view *v, struct viewer_key a, struct viewer_key b);
/* Adds to `set`, bits by id, all nodes that a viewer in this seat sees; itself as well, when those in its seat see each other.
 * Ids from 64 * words on are left out. Costs what it sees, not what there is. */
void policy_view_mark(const struct policy_view *v, struct viewer_key viewer, uint64_t *set, size_t words);
/* False: there is no class with this index. */
bool policy_view_class_made(const struct policy_view *v, size_t class_index, uint64_t *out);
/* Indexes are below this. */
size_t policy_view_class_cap(const struct policy_view *v);
/* No class came or went between two views of one policy. */
bool policy_view_same_classes(const struct policy_view *a, const struct policy_view *b);
/* A node of the class other than `except`; 0: there is none. */
uint64_t policy_class_member(const struct policy *p, size_t class_index, uint64_t except);
/* Counts writes: while it stands, every answer is as it was. */
uint64_t policy_clock(const struct policy *p);

/* The packet filter: a JSON array of FilterRule. src: docs/protocol/policy.md 4 */
void policy_filter(struct policy *p, uint64_t id, struct buf *out);
/* Which routes of `peer` (of its `routes`, in order) stand in its AllowedIPs for `viewer`: bit i of word i / 64 of `out`,
 * which has room for bits_n bits. For viewer = peer: all of them. src: docs/protocol/policy.md 6.2, 5.5 */
void policy_routes(struct policy *p, uint64_t viewer, uint64_t peer, uint64_t *out, size_t bits_n);
/* Changes when what the viewers of a class get of the peer's routes may have changed, as long as the class stays
 * (policy_view_class_made); 0: no such node. */
uint64_t policy_routes_version(const struct policy *p, uint64_t peer);
/* The clock of the last write that changed such a version of a node with routes. */
uint64_t policy_routes_clock(const struct policy *p);
/* The SSH policy's `rules`: a JSON array. `base_url`: of this server, as in "https://host", no slash at the end.
 * src: docs/protocol/policy.md 8 */
void policy_ssh(struct policy *p, uint64_t id, const char *base_url, struct buf *out);
/* How long a login from `src` to `dst` by a check rule holds: seconds, 0 "always ask"; -1: no check rule.
 * src: docs/protocol/policy.md 8.4 */
int64_t policy_ssh_check_period_s(const struct policy *p, uint64_t src, uint64_t dst);
/* The node's own capabilities that come from the policy: the members of a JSON object, in braces.
 * src: docs/protocol/policy.md 9 */
void policy_self_caps(struct policy *p, uint64_t id, struct buf *out);
/* Whether nodeAttrs give the node this attribute, e.g. "disable-ipv4", "nextdns:PROFILE". */
bool policy_has_attr(const struct policy *p, uint64_t id, struct str attr);
/* The profile of NextDNS that nodeAttrs choose for the node: the first nextdns:PROFILE, or empty; and whether NextDNS is not told
 * which node asks (nextdns:no-device-info). Borrowed from the doc. */
struct str policy_nextdns(const struct policy *p, uint64_t id, bool *hides_device_out);
/* The node is shown without its IPv4 address, to itself and to all; and sees none of others'.
 * src: docs/protocol/policy.md 6.4 */
bool policy_hides_ipv4(const struct policy *p, uint64_t id);
/* The `index`th prefix ("100.80.0.0/16") from which the node's new addresses are drawn. False: there are no more. */
bool policy_ip_pool(const struct policy *p, uint64_t id, size_t index, struct addr *addr_out, uint8_t *bits_out);

/* --- what may be approved and applied --- */

/* Whether the route that the node advertises is approved without a person. 0 bits: an exit route.
 * src: docs/protocol/policy.md 10 */
bool policy_may_approve_route(const struct policy *p, uint64_t id, const struct addr *addr, uint8_t bits);
/* `service`: "svc:NAME". */
bool policy_may_approve_service(const struct policy *p, uint64_t id, struct str service);
/* Whether the user may apply the tag; and whether a node or key that has `tags` may. src: docs/protocol/policy.md 11 */
bool policy_user_may_tag(const struct policy *p, uint64_t user, struct str tag);
bool policy_tags_may_tag(const struct policy *p, const struct str *tags, size_t tag_n, struct str tag);
/* Whether tagOwners has it. */
bool policy_knows_tag(const struct policy *p, struct str tag);

/* --- tests --- */

/* Runs `tests` and `sshTests`. RC_OK: all passed. RC_INVALID: the first entry is "test(s) failed", then one line for each
 * failure. To be called before a policy that a person gives takes effect; not when a stored one is loaded.
 * src: docs/protocol/policy.md 12 */
MUST_CHECK enum rc policy_run_tests(struct policy *p, struct policy_errors *errors);

/* --- explaining --- */

/* One answer of policy_why: a rule by its place. */
struct policy_reason {
    int line;
    const char *section; /* "acls", "grants", or "" for the rule that stands when there are none */
    size_t index;        /* in its section */
    bool is_allowed;
    /* What is missing, when not allowed: */
    bool has_source, has_destination, has_port;
};

/* Which rules let `src` reach `dst` on that port: nodes, users, tags, addresses... as in `tests`. `proto` 0: any of TCP, UDP,
 * ICMP, ICMPv6. Port -1: any port. Rules that allow it come first in `out` (at most `cap`, the number in `*n_out`); when there
 * is none, the one that comes closest. Whether it is allowed is read off the filters of the nodes that have or serve the address, as
 * they are sent; the rules explain it. RC_NOT_FOUND: `src` or `dst` names nothing that has an address. */
MUST_CHECK enum rc policy_why(struct policy *p, struct str src, struct str dst, int proto, int port,
                              struct policy_reason *out, size_t cap, size_t *n_out);

/* One difference in who reaches whom. `source` and `destination`: addresses, prefixes and ranges of one family, separated by
 * ", "; borrowed for the call. `proto` 1-255. */
struct policy_reach {
    bool is_gained; /* else lost */
    struct str source;
    struct str destination;
    uint8_t proto;
    uint16_t first_port;
    uint16_t last_port;
};

/* What `after` lets through that `before` does not, and the other way round: exact, over all addresses, whether or not a
 * node has them. Both hold the same nodes. Grants with `via` count as if without; capabilities and SSH are not looked at. */
void policy_diff(struct policy *before, struct policy *after, void (*emit)(void *ctx, const struct policy_reach *reach),
                 void *ctx);

#endif
