/* A policy as it was read: selectors interned to small numbers, everything checked, places kept.
 *
 * selector   what a string in a list names; equal strings are one selector entry      one address range of an
 * address selector: what stands in a packet filter rule       a grant or an ACL; all grants come before all ACLs, as
 * the filter has them (src: docs/protocol/policy.md 4) */
#ifndef POLICY_DOCUMENT_H
#define POLICY_DOCUMENT_H

#include <stdatomic.h>

#include "base/map.h"
#include "codec/json.h"
#include "policy/policy.h"
#include "policy/range.h"

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

typedef uint32_t sel_id;

struct selector {
    enum sel_kind kind;
    enum policy_role role; /* SEL_ROLE */
    struct str text;       /* as written, trimmed */
    struct str name;       /* SEL_DOMAIN: the domain; otherwise as `text` */
    size_t group;          /* SEL_GROUP: index */
    uint32_t entry_first;  /* SEL_ADDRS, SEL_INTERNET: its entries stand together */
    uint32_t entry_n;
    bool has_internet; /* SEL_INTERNET, or an ipset that adds it */
};

struct entry {
    struct range range;
    sel_id sel;
    struct str text;     /* as DstPorts have it */
    bool is_in_internet; /* wholly */
};

struct sel_list {
    sel_id *v;
    size_t n;
};

struct port_range {
    uint16_t first;
    uint16_t last;
};
struct port_list {
    struct port_range *v;
    size_t n;
    size_t cap;
};

/* IP items of one protocol. 0: the default set. */
struct proto_ports {
    uint8_t proto;
    struct port_list ports;
};

struct rule_dst {
    sel_id sel;
    struct port_list ports; /* ACLs; grants have them by protocol */
};

typedef uint32_t posture_set_id; /* 0: none asked for */

struct rule {
    bool is_acl;
    size_t index;  /* in its section */
    size_t offset; /* of the text */
    struct sel_list src;
    struct rule_dst *dst; /* ACLs: in the order of 4.2 */
    size_t dst_n;
    struct proto_ports *ip; /* ACLs: one, without ports */
    size_t ip_n;
    struct str app; /* JSON object, or empty */
    bool has_drive; /* companions. src: docs/protocol/policy.md 4.3 */
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
    struct str *login;    /* literal names, root among them */
    size_t login_n;
    bool has_nonroot;
    struct str *local_domain; /* of the localpart: entries */
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
    struct str name; /* services */
    struct range route;
    struct sel_list by;
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
    struct policy_attr *value; /* names are empty */
    size_t value_n;
};

struct posture {
    struct str name;
    struct condition *all;
    size_t n;
};

struct posture_set {
    uint32_t *any; /* indices of postures */
    size_t n;
};

/* A text with its place. */
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

enum { DOC_WARNINGS_MAX = 40 };

struct policy_doc {
    atomic_uint refs;
    struct arena arena; /* everything below without a note */
    struct str text;
    struct str clean; /* without comments: what offsets and JSON point into */
    bool has_rules;   /* acls or grants are there, maybe empty */
    bool has_funnel;
    bool is_https_on;

    struct selector *sel; /* heap */
    size_t sel_n, sel_cap;
    struct entry *entry; /* heap */
    size_t entry_n, entry_cap;
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
    struct posture_set *posture_set; /* heap; [0] is none */
    size_t posture_set_n, posture_set_cap;
    struct acl_test *test;
    size_t test_n;
    struct ssh_test *ssh_test;
    size_t ssh_test_n;
    struct policy_network network;
    struct item warning[DOC_WARNINGS_MAX]; /* what has no effect here */
    size_t warning_n, warnings_left_out;
};

/* What may be wrong with a selector. */
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

/* What `text` (trimmed) means, whether or not it is one of the doc's selectors. */
enum sel_fault doc_classify(const struct policy_doc *doc, struct str text, struct selector *out);
/* The addresses of an address selector; canonical as it is added to an empty set. */
void doc_ranges(const struct policy_doc *doc, const struct selector *s, struct range_set *out);
/* Line and column (bytes) of an offset, both from 1. */
void doc_place(const struct policy_doc *doc, size_t offset, int *line, int *col);
int doc_line(const struct policy_doc *doc, size_t offset);
/* The selector that is written so, if the doc has it. */
bool doc_find_selector(const struct policy_doc *doc, struct str text, sel_id *out);

/* Whether a node with these attributes satisfies the set: any of its postures, all conditions of it. `more` is
 * looked at first. src: docs/protocol/policy.md 7 */
struct attr_view {
    const struct policy_attr *more;
    size_t more_n;
    const struct policy_attr *own;
    size_t own_n;
};
bool policy_posture_holds(const struct policy_doc *doc, posture_set_id set, const struct attr_view *attrs);

/* Numbers, and what begins with a sign: old clients take them for a user id or an option of login(1) and so let in whom
 * autogroup:nonroot keeps out. No login is called so. src: Tailscale security bulletins TS-2026-004, -006, -009 */
bool policy_login_is_misread(struct str name);

/* "22", "80-90", "22,80", "*". Returns null, or what is wrong in words. `out` lives in `a`. src:
 * docs/protocol/policy.md 3.1 */
const char *policy_ports_parse(struct arena *a, struct str text, struct port_list *out);
/* A name or number. "" gives 0, the default set. src: docs/protocol/policy.md 3.3 */
bool policy_proto_parse(struct str text, uint8_t *out);
bool policy_proto_has_ports(uint8_t proto);

/* Room for one more at the end of a heap array. */
void *vec_grow(void *v, size_t n, size_t *cap, size_t size);
#define VEC_PUSH(v, n, cap, item)                                                                                      \
    do {                                                                                                               \
        (v) = vec_grow((v), (n), &(cap), sizeof(*(v)));                                                                \
        (v)[(n)++] = (item);                                                                                           \
    } while (0)

#endif
