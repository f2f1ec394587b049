/* What a policy document contains: selectors interned to small numbers, everything checked, positions kept. For the
 * modules that evaluate it (engine, reach).
 *
 * selector    what a string in a list names; equal strings are one selector sel_range   one address range of an address
 * selector, as it appears in a packet filter rule        a grant or an ACL; all grants come before all ACLs, in the
 * order of the filter (src: docs/protocol/policy.md 4)
 *
 * A document is immutable once policy_parse has returned it. */
#ifndef POLICY_DOCUMENT_H
#define POLICY_DOCUMENT_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/vec.h"
#include "codec/json.h"
#include "policy/policy.h"
#include "policy/range.h"

/* --- selectors --- */

enum sel_kind {
    SEL_STAR,
    SEL_ADDRS, /* address, prefix, range, host, ipset */
    SEL_USER,
    SEL_DOMAIN,
    SEL_GROUP,
    SEL_TAG,
    SEL_MEMBER,
    SEL_TAGGED,
    SEL_SELF,
    SEL_INTERNET,
    SEL_DANGER_ALL,
    SEL_ROLE,
    SEL_SHARED,
};
#define SEL_BIT(kind) (1u << (kind))

typedef uint32_t sel_id; /* index of a selector */

struct selector {
    enum sel_kind kind;
    enum policy_role role; /* SEL_ROLE */
    struct str text;       /* as written, trimmed */
    struct str name;       /* SEL_DOMAIN: the domain; otherwise as `text` */
    size_t group;          /* SEL_GROUP: index */
    uint32_t range_first; /* SEL_ADDRS, SEL_INTERNET: its ranges are range_n consecutive elements of policy_doc.range */
    uint32_t range_n;
    bool has_internet; /* SEL_INTERNET, or an ipset that adds it */
};

struct sel_range {
    struct range range;
    sel_id sel;
    struct str text;     /* as DstPorts have it */
    bool is_in_internet; /* all of it is */
};

struct sel_list {
    sel_id *v;
    size_t n;
};

/* A named set of addresses. */
enum ipset_state { IPSET_NEW, IPSET_OPEN, IPSET_DONE };
struct ipset {
    struct str name;
    const struct json *ops;
    enum ipset_state state; /* IPSET_DONE, except while the ipsets are read */
    struct range *v;        /* arena; canonical */
    size_t n;
    bool has_internet;
};

struct tag {
    struct str name;
    struct sel_list owner;
};

struct group {
    struct str name;
    struct str *member;
    size_t member_n;
};

/* --- rules --- */

struct port_range {
    uint16_t first;
    uint16_t last;
};
struct port_list {
    struct port_range *v;
    size_t n;
    size_t cap;
};

/* The ports of one protocol. Protocol 0: TCP, UDP, ICMP and ICMPv6. */
struct proto_ports {
    uint8_t proto;
    struct port_list ports;
};

struct rule_dst {
    sel_id sel;
    struct port_list ports; /* of an ACL; those of a grant are in `ip` */
};

typedef uint32_t posture_set_id; /* index of a posture set; 0: no posture is required */

struct rule {
    bool is_acl;
    size_t index;  /* in its section */
    size_t offset; /* in the text */
    struct sel_list src;
    struct rule_dst *dst; /* of an ACL: in the order of docs/protocol/policy.md 4.2 */
    size_t dst_n;
    struct proto_ports *ip; /* of an ACL: one, without ports */
    size_t ip_n;
    struct str app; /* JSON object, or empty */
    bool has_drive; /* `app` has a capability that needs a companion rule. src: docs/protocol/policy.md 4.3 */
    bool has_relay;
    struct sel_list via;
    posture_set_id posture;
};

struct ssh_rule {
    size_t offset;
    bool is_check;
    int64_t check_period_s;
    struct sel_list src;
    struct sel_list dst;
    struct str users;     /* the base map: JSON object */
    struct str users_old; /* the same for clients that take numbers and options for login names */
    struct str *login;    /* literal names, also root */
    size_t login_n;
    bool has_nonroot;
    struct str *local_domain; /* DOMAIN of each localpart:*@DOMAIN */
    size_t local_domain_n;
    struct str accept_env; /* JSON array, or empty */
    struct sel_list recorder;
    bool is_recorder_enforced;
    posture_set_id posture;
};

struct app_member {
    struct str name;
    const struct json *values; /* an array */
};

struct node_attr {
    struct sel_list target;
    struct str *attr;
    size_t attr_n;
    struct app_member *app;
    size_t app_n;
    struct range *pool;
    size_t pool_n;
};

struct approver {
    struct str name;    /* of a service */
    struct range route; /* of a route */
    struct sel_list by;
};

/* --- postures --- */

enum posture_op {
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN,
    OP_IS_SET,
    OP_NOT_SET,
};

struct condition {
    struct str attr;
    enum posture_op op;
    struct policy_attr *value; /* without names */
    size_t value_n;
};

struct posture {
    struct str name;
    struct condition *all;
    size_t n;
};

struct posture_set {
    uint32_t *any; /* indexes of postures */
    size_t n;
};

/* --- tests --- */

/* A text with its position. */
struct item {
    struct str text;
    size_t offset;
};
struct items {
    struct item *v;
    size_t n;
};

struct acl_test {
    size_t offset;
    struct str src;
    struct str proto;
    struct items accept;
    struct items deny;
    struct policy_attr *attr; /* srcPostureAttrs */
    size_t attr_n;
};

struct ssh_test {
    size_t offset;
    struct str src;
    struct items dst;
    struct items accept;
    struct items check;
    struct items deny;
    struct policy_attr *attr;
    size_t attr_n;
};

/* --- the document --- */

enum { DOC_WARNINGS_MAX = 40 };

struct policy_doc {
    atomic_uint refs;
    struct arena arena; /* owns every member below that has no other note */
    struct str text;
    struct str clean; /* `text` with blanks for comments: offsets and JSON values refer to it */
    bool has_rules;   /* there is a section acls or grants, even an empty one */
    bool has_funnel;
    bool is_https_on;

    struct selector *sel; /* heap */
    size_t sel_n, sel_cap;
    struct sel_range *range; /* heap */
    size_t range_n, range_cap;
    struct map sel_by_text;

    struct group *group;
    size_t group_n;
    struct map group_by_name;
    struct map host_by_name;  /* const struct json * */
    struct map ipset_by_name; /* struct ipset * */
    struct tag *tag;
    size_t tag_n;
    struct map tag_by_name;

    struct rule *rule;
    size_t rule_n;
    struct ssh_rule *ssh;
    size_t ssh_n;
    struct node_attr *node_attr;
    size_t node_attr_n;
    struct approver *route_approver;
    size_t route_approver_n;
    struct sel_list exit_approver;
    struct approver *service_approver;
    size_t service_approver_n;
    struct posture *posture;
    size_t posture_n;
    struct map posture_by_name;
    struct posture_set *posture_set; /* heap; [0] is the empty set, which every node satisfies */
    size_t posture_set_n, posture_set_cap;
    struct acl_test *test;
    size_t test_n;
    struct ssh_test *ssh_test;
    size_t ssh_test_n;
    struct policy_network network;
    struct item warning[DOC_WARNINGS_MAX]; /* what has no effect on this server */
    size_t warning_n, warnings_left_out;
};

/* An empty document with one reference. */
struct policy_doc *doc_create(void);
/* Line and column (in bytes) of an offset, both from 1. */
void doc_position(const struct policy_doc *doc, size_t offset, int *line_out, int *col_out);
/* The line alone. */
int doc_line(const struct policy_doc *doc, size_t offset);

/* Why a text is not a selector. */
enum sel_fault {
    SEL_FINE,
    SEL_NO_ADDRESS,
    SEL_NO_TAG,
    SEL_NO_GROUP,
    SEL_NO_IPSET,
    SEL_NO_AUTOGROUP,
    SEL_FOREIGN_DOMAIN,
    SEL_NO_SERVICES,
};
/* What `text` (trimmed) means in this document, whether or not the document uses it as a selector. */
enum sel_fault doc_classify(const struct policy_doc *doc, struct str text, struct selector *out);
/* The address or prefix of a host of the section hosts. False: there is no such host. */
bool doc_host_range(const struct policy_doc *doc, struct str name, struct range *out);
/* Adds the addresses of an address selector; an empty set is canonical afterwards. */
void doc_ranges(const struct policy_doc *doc, const struct selector *s, struct range_set *out);
/* The selector of the document with this text. False: there is none. */
bool doc_find_selector(const struct policy_doc *doc, struct str text, sel_id *out);

/* The attributes of a node, as a posture sees them: those of `more` hide equally named ones of `own`. */
struct attr_view {
    const struct policy_attr *more;
    size_t more_n;
    const struct policy_attr *own;
    size_t own_n;
};
/* Whether a node with these attributes satisfies the set: all conditions of any of its postures.
 * src: docs/protocol/policy.md 7 */
bool policy_posture_holds(const struct policy_doc *doc, posture_set_id set, const struct attr_view *attrs);

/* Whether old clients misread this login name: numbers and names that begin with a sign are taken for a user id or
 * an option of login(1), and let in users that autogroup:nonroot excludes. No real login has such a name.
 * src: Tailscale security bulletins TS-2026-004, -006, -009 */
bool policy_login_is_misread(struct str name);

/* Parses "22", "80-90", "22,80", "*". Returns null, or what is wrong in words. `out` is allocated in `a`.
 * src: docs/protocol/policy.md 3.1 */
const char *policy_ports_parse(struct arena *a, struct str text, struct port_list *out);
/* Parses the name or number of a protocol; "" gives 0. False: there is no such protocol.
 * src: docs/protocol/policy.md 3.3 */
bool policy_proto_parse(struct str text, uint8_t *out);
/* Whether packets of the protocol have ports. */
bool policy_proto_has_ports(uint8_t proto);

#endif
