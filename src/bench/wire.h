/* A stream layer (net/stream.h) that passes everything on and counts the bytes of all connections together. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include "net/stream.h"

struct wire_count {
    uint64_t in, out; /* bytes */
};

/* Takes over `below` and its callbacks. `count` must outlive the stream. */
struct stream *wire_create(struct stream *below, struct wire_count *count);

#endif
