/* From the server's node ids, and from node keys, to indexes. Simulated nodes are members and have 0 to n - 1.
 * Foreign nodes (of an earlier run, or real ones) get indexes from roster_foreign_base on, ROSTER_FOREIGN_MAX at
 * most; the last of these stands for all further ones. Not thread-safe. */
#ifndef BENCH_ROSTER_H
#define BENCH_ROSTER_H

#include "base/arena.h"
#include "base/bits.h"
#include "base/map.h"
#include "base/str.h"

enum { ROSTER_FOREIGN_MAX = 1024 };

struct roster {
    unsigned n;         /* members */
    unsigned foreign_n; /* that have indexes */
    struct map by_key;  /* text of the node key -> index + 1 */
    uint32_t *by_id;    /* owned: of small ids, index + 1; 0: not known */
    size_t by_id_cap;
    struct map by_big_id; /* struct roster_id */
    struct arena arena;
};

/* A roster of `n` members without keys; ends with roster_fini. */
void roster_init(struct roster *r, unsigned n);
/* Frees all that it has learnt; keys are borrowed. */
void roster_fini(struct roster *r);
/* Member `index` has this node key ("nodekey:...") from now on. `key` is borrowed as long as the roster lives, or until
 * roster_forget_key. */
void roster_add_key(struct roster *r, struct str key, unsigned index);
/* The key names no member any more. */
void roster_forget_key(struct roster *r, struct str key);
/* The index of the node with this id, or -1. A member is found by its key the first time; without a known key (empty
 * in a patch) the id must have been seen before. `may_add`: an unknown node becomes a foreign one. */
int roster_find(struct roster *r, int64_t id, struct str key, bool may_add);

/* The first foreign index: in bitsets they begin with a word of their own. */
static inline unsigned roster_foreign_base(unsigned n)
{
    return BITS_WORDS(n) * 64;
}

/* 64-bit words of a bitset over all indexes. */
static inline unsigned roster_words(unsigned n)
{
    return (roster_foreign_base(n) + ROSTER_FOREIGN_MAX) / 64;
}

#endif
