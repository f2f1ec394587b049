/* The order of the rules in a filter. A merged rule has the position of the first fragment of the whole tailnet with
 * the same sources and protocol; the table of these is made anew after a write. src: docs/protocol/policy.md 4.4 */
#ifndef ENGINE_MERGE_SLOTS_H
#define ENGINE_MERGE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct policy_doc;
struct rule;

/* What a rule contributes to a filter, in this order. The first three are followed by one for each further element
 * of rule->ip. */
enum filter_phase {
    PHASE_BEFORE_SELF = 0, /* of an ACL: destinations before autogroup:self; of a grant: all */
    PHASE_SELF = 300,
    PHASE_AFTER_SELF = 600,
    PHASE_APP = 900,
    PHASE_APP_SELF = 901,
    PHASE_DRIVE = 902,
    PHASE_RELAY = 903,
    PHASE_DRIVE_SELF = 904,
    PHASE_RELAY_SELF = 905,
    PHASES = 1024,
};

struct merge_slot {
    uint64_t hash[2]; /* of the sources */
    uint32_t proto;
    uint32_t order; /* 0: free */
};

/* A hash table. */
struct merge_table {
    struct merge_slot *slot; /* heap */
    size_t cap;              /* a power of two */
    uint64_t version;        /* clock when it was filled */
};

/* The order of what a rule contributes, not 0. `phase`: an enum filter_phase, plus the index in rule->ip. */
uint32_t merge_order(const struct policy_doc *doc, const struct rule *rule, uint32_t phase);
/* Whether something comes before autogroup:self among the destinations of the rule, which are in the order of
 * docs/protocol/policy.md 4.2. */
bool merge_has_before_self(const struct policy_doc *doc, const struct rule *rule);
/* The slot with these sources and protocol, or a free one. */
struct merge_slot *merge_slot_find(const struct merge_table *t, const uint64_t hash[2], uint32_t proto);
/* Fills the engine's table, unless it is up to date. */
void merge_slots_fill(struct engine *e);

#endif
