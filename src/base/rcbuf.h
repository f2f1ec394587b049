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

/* One reference, contents as given; `bytes` may be null to leave them for the caller to fill before sharing. */
struct rcbuf *rcbuf_create(const void *bytes, size_t len);
struct rcbuf *rcbuf_ref(struct rcbuf *b);
/* Drops one reference and nulls the pointer; null is fine. */
void rcbuf_unref(struct rcbuf **b);

/* The same bytes; null equals null only. */
bool rcbuf_eq(const struct rcbuf *a, const struct rcbuf *b);

/* A slot that any thread may fill once (a cache): returns what the slot holds after offering `made`, whose reference is
 * consumed. The result is borrowed from the slot. */
struct rcbuf *rcbuf_slot_offer(struct rcbuf *_Atomic *slot, struct rcbuf *made);

#endif
