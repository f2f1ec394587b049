/* The rules of a document, cut into parts. A rule part is what has sources and destinations of its own. Everything
 * that asks "which rules concern this node" looks parts up here by selector. Made once, with the engine. */
#ifndef ENGINE_RULE_INDEX_H
#define ENGINE_RULE_INDEX_H

#include "engine/source_table.h"

enum rule_part_kind {
    PART_RULE,      /* the grant or ACL itself, without autogroup:self */
    PART_VIA,       /* a grant with `via`, which chooses the router */
    PART_COMPANION, /* the companion of an app grant, in the opposite direction. src: docs/protocol/policy.md 4.3 */
};

struct rule_part {
    enum rule_part_kind kind;
    uint32_t rule; /* index in the document */
    uint32_t list; /* its sources: index of the source list */
};

struct rule_index {
    struct rule_part *part; /* heap */
    size_t part_n, part_cap;
    size_t words;                 /* of a set of parts */
    struct index_list *dst_parts; /* by selector: parts that it is a destination of, except PART_VIA */
    struct index_list via_parts;  /* all PART_VIA */
    struct index_list self_rules; /* rules with autogroup:self */
    uint32_t *rule_list;          /* by rule: its source list */
    uint32_t *ssh_list;           /* by SSH rule */
    uint32_t *recorder_list;      /* by SSH rule: its recorders */
    bool has_own;                 /* what a node is granted may depend on its owner's other nodes */
};

/* Adds the sources of all rules to `sources`, and finishes that table. Arrays without a note are in its arena. */
void rule_index_init(struct rule_index *r, const struct policy_doc *doc, struct source_table *sources);
void rule_index_fini(struct rule_index *r);

#endif
