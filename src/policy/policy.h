/* The policy language: reads a policy file (HuJSON) into a document, or says what is wrong with it and where.
 * src: docs/protocol/policy.md
 *
 *     policy_parse(text, &opts, &doc, &errors)   refused: every error with its position
 *
 * A document (struct policy_doc) is a text that was read and accepted. It is immutable and counted; any thread may
 * read it. What it means for users and nodes is computed by the module above (engine/engine.h); what it contains is
 * in policy/document.h.
 *
 * Pure: no I/O, no clock, no randomness, no global state. Nothing blocks. Out of memory ends the process
 * (base/mem.h); what a text can make this module allocate is bounded by policy_limits. */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"
#include "policy/errors.h"

/* The most that a text may contain; the error of a text that exceeds one names the limit.
 * src: docs/protocol/policy.md 14.4 */
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
    const struct policy_limits *limits; /* null: policy_limits_default */
    const struct str *domains;          /* the tailnet's e-mail domains; none: any. src: docs/protocol/policy.md 8.1 */
    size_t domain_n;
    bool has_funnel;  /* else `funnel` has no effect, with a warning. src: docs/protocol/policy.md 9 */
    bool is_https_on; /* the tailnet's nodes can have certificates; changes what `funnel` adds */
    bool is_stored;   /* an older version may have accepted the text: what only new texts may not have is let through */
};

struct policy_doc;

/* Reads and checks a whole policy. A blank text (only white space and comments) is refused, because a file that was
 * emptied by accident must not open the network; {} lets every node reach every node. A stored text may be blank (it
 * has no rules), may name SSH users that are numbers or begin with a sign (they are left out, with a warning), and
 * its ipsets may be ten times the work. `opts` may be null. The caller owns `*doc_out` (policy_doc_unref), which
 * keeps a copy of the text. RC_INVALID: the text is refused, and `errors` (which must be empty before) has at least
 * one entry; `*doc_out` is untouched. */
MUST_CHECK enum rc policy_parse(struct str text, const struct policy_options *opts, struct policy_doc **doc_out,
                                struct policy_errors *errors);
/* The policy of a tailnet that has none: every node reaches every node, as {} says. Its text is empty. The caller
 * owns it. */
struct policy_doc *policy_doc_allow_all(void);
/* One more reference to the same document. */
struct policy_doc *policy_doc_ref(struct policy_doc *doc);
/* Drops a reference and nulls the pointer. Null is fine. */
void policy_doc_unref(struct policy_doc **doc);
/* The text that policy_parse was given, byte for byte. Borrowed from the document. */
struct str policy_doc_text(const struct policy_doc *doc);

/* The options for the whole network. src: docs/protocol/policy.md 13 */
struct policy_network {
    bool is_ipv4_disabled;
    bool is_client_port_random;
    struct str one_cgnat_route; /* "", "mac-always", "mac-never" */
    struct str derp_map;        /* a JSON object, or empty */
};
/* The texts are borrowed from the document. */
struct policy_network policy_doc_network(const struct policy_doc *doc);
/* Whether any of nodeAttrs has an ipPool. */
bool policy_doc_has_pools(const struct policy_doc *doc);

/* The role of a user. src: docs/protocol/policy.md 2.6 */
enum policy_role {
    POLICY_MEMBER,
    POLICY_OWNER, /* counts as an admin too */
    POLICY_ADMIN,
    POLICY_NETWORK_ADMIN,
    POLICY_IT_ADMIN,
    POLICY_BILLING_ADMIN,
    POLICY_AUDITOR,
};

/* An attribute of a node, which the conditions of a posture compare. src: docs/protocol/policy.md 7.1 */
enum policy_attr_type { POLICY_ATTR_STRING, POLICY_ATTR_NUMBER, POLICY_ATTR_BOOL };
struct policy_attr {
    struct str name; /* "node:os", "custom:level" */
    enum policy_attr_type type;
    struct str text;
    double number;
    bool truth;
};

#endif
