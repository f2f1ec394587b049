/* Immutable bytes shared between threads by counted references: encode once, send many. */
#ifndef BASE_RCBUF_H
#define BASE_RCBUF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rcbuf {
    atomic_uint refs;
    size_t len;
    uint8_t data[];
};

/* A buffer with one reference and a copy of `bytes`; null leaves the content for the caller to fill before sharing. */
struct rcbuf *rcbuf_create(const void *bytes, size_t len);
/* One more reference; returns `b`. */
struct rcbuf *rcbuf_ref(struct rcbuf *b);
/* Drops one reference and nulls the pointer; null is fine. */
void rcbuf_unref(struct rcbuf **b);

/* Whether both hold the same bytes; null equals null only. */
bool rcbuf_eq(const struct rcbuf *a, const struct rcbuf *b);

/* Fills a slot that any thread may fill, but only once (a cache). Takes the reference of `made` and returns what the
 * slot holds then, which is `made` or what another thread put there first; borrowed from the slot. */
struct rcbuf *rcbuf_slot_offer(struct rcbuf *_Atomic *slot, struct rcbuf *made);

#endif
