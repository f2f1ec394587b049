/* What a piece of a map response changes in what a node knows, in a form that is quick to apply: operations on words
 * of bitsets over indexes (roster.h), and a mark for each record. Immutable. */
#ifndef BENCH_MAP_EFFECT_H
#define BENCH_MAP_EFFECT_H

#include "base/buf.h"
#include "bench/roster.h"
#include "bench/scan.h"

enum map_effect_kind {
    MAP_EFFECT_REPLACE, /* forget all peers */
    MAP_EFFECT_ADD,     /* the node knows `peers` from now on, and the endpoints of those in `endpoints` */
    MAP_EFFECT_PATCH,   /* the node knows the endpoints of those peers in `endpoints` that it knows already */
    MAP_EFFECT_REMOVE,  /* `peers` are gone */
};

struct map_effect_op {
    uint32_t kind; /* enum map_effect_kind */
    uint32_t word;
    uint64_t peers;
    uint64_t endpoints;
};

enum {
    MAP_EFFECT_IS_PATCH = 1,
    MAP_EFFECT_HAS_ENDPOINTS = 2,
    MAP_EFFECT_HAS_HOSTINFO = 4,
    MAP_EFFECT_HAS_DERP = 8,
    MAP_EFFECT_HAS_ONLINE = 16,
    MAP_EFFECT_IS_ONLINE = 32,
};

/* What one record, of a peer or of a patch, says. */
struct map_effect_mark {
    uint32_t index;
    uint32_t endpoints;      /* digest, as in scan.h */
    uint32_t endpoints_mark; /* number of a change, 0: none */
    uint32_t hostinfo_mark;
    uint16_t derp;
    uint16_t flags;
};

struct map_effect {
    uint64_t key[2];    /* of the cache */
    uint32_t next_mark; /* the scanner's state after this piece */
    uint32_t json_bytes;
    struct scan_counts counts;
    int64_t self_id; /* Node's id; -1: Node is not in this piece */
    uint32_t self_addresses[SCAN_ADDRESSES_MAX];
    uint32_t op_n;
    uint32_t mark_n;
    struct map_effect_op *ops;     /* in the same allocation, after this struct */
    struct map_effect_mark *marks; /* the same */
};

/* Collects the events of a scanner. `look` (may be null) is called for each record of a peer or a patch as it is
 * scanned. */
struct map_effect_builder {
    struct roster *roster;
    void (*look)(void *ctx, const struct scan_record *r, int index, bool is_patch);
    void *look_ctx;
    struct buf ops, marks;
    bool has_unknown; /* the piece has an id that is unknown now, but may be known when the piece comes again */
    int64_t self_id;
    uint32_t self_addresses[SCAN_ADDRESSES_MAX];
};

/* Frees what was collected. */
void map_effect_builder_fini(struct map_effect_builder *b);
/* Empties it for the next piece. */
void map_effect_builder_clear(struct map_effect_builder *b);
/* Events for scan_feed, with a map_effect_builder as context. */
extern const struct scan_events map_effect_builder_events;
/* What was collected; to be freed with mem_free. */
struct map_effect *map_effect_build(const struct map_effect_builder *b);
/* The memory that it takes. */
size_t map_effect_bytes(const struct map_effect *s);

#endif
