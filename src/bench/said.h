/* What a piece of a map response says, in a form that is applied to a node in a few steps: words of bitsets over indexes
 * (roster.h), and a mark for each record. Immutable once made. */
#ifndef BENCH_SAID_H
#define BENCH_SAID_H

#include "base/buf.h"
#include "bench/roster.h"
#include "bench/scan.h"

enum said_kind {
    SAID_REPLACE, /* forget all peers */
    SAID_ADD,     /* these are known now; of those in `endpoints`, endpoints are */
    SAID_PATCH,   /* of those in `endpoints`, if they are known, endpoints are */
    SAID_REMOVE,  /* these are gone */
};

struct said_op {
    uint32_t kind; /* enum said_kind */
    uint32_t word;
    uint64_t peers;
    uint64_t endpoints;
};

enum {
    SAID_IS_PATCH = 1,
    SAID_HAS_ENDPOINTS = 2,
    SAID_HAS_HOSTINFO = 4,
    SAID_HAS_DERP = 8,
    SAID_HAS_ONLINE = 16,
    SAID_IS_ONLINE = 32,
};

/* What one record, of a peer or a patch, says. */
struct said_mark {
    uint32_t index;
    uint32_t endpoints;      /* digest, as in scan.h */
    uint32_t endpoints_mark; /* number of a change, 0: none */
    uint32_t hostinfo_mark;
    uint16_t derp;
    uint16_t flags;
};

struct said {
    uint64_t key[2];    /* memo.h */
    uint32_t next_mark; /* of the scanner, behind this piece */
    uint32_t json_bytes;
    struct scan_counts counts;
    int64_t self_id; /* of Node; -1: it is not in here */
    uint32_t self_addresses[SCAN_ADDRESSES_MAX];
    uint32_t op_n;
    uint32_t mark_n;
    struct said_op *ops;     /* behind this struct, */
    struct said_mark *marks; /* as these: the whole is one allocation */
};

/* Gathers what a scanner tells. `look` (may be null) sees each record of a peer or a patch once, as it is scanned. */
struct said_builder {
    struct roster *roster;
    void (*look)(void *ctx, const struct scan_record *r, int index, bool is_patch);
    void *look_ctx;
    struct buf ops, marks;
    bool has_unknown; /* an id that may be known by the next time */
    int64_t self_id;
    uint32_t self_addresses[SCAN_ADDRESSES_MAX];
};

void said_builder_fini(struct said_builder *b);
void said_builder_clear(struct said_builder *b);
/* Events for scan_feed with a said_builder as context. */
extern const struct scan_events said_builder_events;
/* To free with mem_free. */
struct said *said_build(const struct said_builder *b);
size_t said_bytes(const struct said *s);

#endif
