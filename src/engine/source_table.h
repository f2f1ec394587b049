/* The lists of sources of all rules. A source list is a set of selectors with a posture set; rules with equal ones
 * share a list, and the list keeps the text of its addresses (SrcIPs). */
#ifndef ENGINE_SOURCE_TABLE_H
#define ENGINE_SOURCE_TABLE_H

#include "base/map.h"
#include "policy/document.h"

/* Indexes, in the arena. */
struct index_list {
    uint32_t *v;
    size_t n;
};

struct source_list {
    struct sel_list sels;
    posture_set_id posture;
    bool has_star;
    bool has_danger;        /* every address, without a posture: just "*" */
    bool is_self;           /* of a rule with autogroup:self */
    bool is_recorder;       /* recorders of an SSH rule, which are sent as single addresses however they are named */
    struct range_set fixed; /* the addresses of address selectors; canonical */
    uint32_t *part;         /* heap: indexes of the rule parts whose sources these are */
    size_t part_n, part_cap;
    size_t node_n;    /* nodes that are in it by themselves, not by a route */
    uint64_t hash[2]; /* of the set of addresses: a sum, so that nodes can come and go; unused with a posture */
    uint64_t version; /* clock of the last change of the set */
    struct buf text;  /* SrcIPs as a JSON array, made at text_version */
    uint64_t text_version;
    struct buf principals; /* of an SSH rule, made at principals_version */
    uint64_t principals_version;
};

struct source_table {
    const struct policy_doc *doc;
    struct arena *arena;      /* the engine's */
    struct source_list *list; /* heap */
    size_t n, cap;
    size_t words;                   /* of a set of lists */
    struct map by_key;              /* posture and selectors; the values are indexes from 1 */
    struct index_list *by_selector; /* lists that contain the selector */
    struct index_list with_posture; /* lists with a posture set */
    uint64_t *self_lists;           /* bits: lists of rules with autogroup:self */
};

/* Makes an empty table; frees a table with its lists. */
void source_table_init(struct source_table *t, const struct policy_doc *doc, struct arena *arena);
void source_table_fini(struct source_table *t);
/* The index of the list with these selectors and posture set, which is added when it is new. */
uint32_t source_table_intern(struct source_table *t, const struct sel_list *sels, posture_set_id posture);
/* To be called when all lists are in. */
void source_table_finish(struct source_table *t);

/* Adds (`sign` 1) the hash of a range to a sum, or subtracts it (-1). */
void source_hash_range(uint64_t sum[2], const struct range *r, int sign);
/* Mixes the bits of a number. */
uint64_t source_hash_mix(uint64_t x);
/* Whether the list has sources in the range that are no nodes' own addresses: a router is a source for those behind
 * it. */
bool source_list_meets(const struct source_list *l, const struct range *range);

#endif
