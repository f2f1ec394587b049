/* A two-way byte stream on a loop: TCP, TLS over TCP, WebSocket, Noise - each layer is a stream and owns the one below.
 *
 * Reading is pushed: `data` hands over bytes as they come, borrowed for the call. Writing queues: stream_write copies
 * to the layer's buffer, and a deferred task sends what the iteration gathered. stream_queued gives how much waits in
 * this layer and all below; a producer of bulk data stops above STREAM_HIGH_WATER and continues in `drained`.
 *
 * Life: the owner closes the stream exactly once, with stream_close; that detaches the callbacks at once (also from
 * inside one), so that none follows. After `closed` the stream is dead but still has to be closed by its owner.
 * Loop thread only; nothing blocks. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/budget.h"
#include "base/list.h"
#include "base/str.h"
#include "net/loop.h"

enum { STREAM_HIGH_WATER = 64 * 1024 };

struct stream;

struct stream_events {
    /* Bytes arrived. May close the stream. */
    void (*data)(void *ctx, const uint8_t *p, size_t n);
    /* The queue, having been above STREAM_HIGH_WATER, is below half of it. May be null. */
    void (*drained)(void *ctx);
    /* The peer closed (RC_CLOSED) or something failed. The last callback. */
    void (*closed)(void *ctx, enum rc why);
};

/* The place that a connection takes in a budget: held by its lowest layer, used by all above. */
struct stream_place {
    struct budget_place place;
    struct list link; /* among the strangers of its listener, the oldest first */
};

/* What a layer implements. */
struct stream_ops {
    void (*write)(struct stream *s, const uint8_t *p, size_t n);
    size_t (*queued)(const struct stream *s);
    void (*pause)(struct stream *s, bool paused);
    /* Callbacks are detached already. `flush`: send what is queued first (bounded in time), else drop it. Frees the
     * stream when it can: use loop_free_later. */
    void (*close)(struct stream *s, bool flush);
};

/* Embedded first in each layer's struct. */
struct stream {
    const struct stream_ops *ops;
    const struct stream_events *events; /* null once closed by the owner */
    void *ctx;                          /* of the events */
    struct loop *loop;
    struct stream *below;       /* the next layer, owned by this one; null: this is the lowest */
    struct stream_place *place; /* of the lowest layer; null: it is not counted */
    struct addr peer;           /* address of the TCP peer, or the one set by stream_comes_from; family 0: none */
    struct addr local;          /* the address it connected to */
    bool is_tls;                /* some layer below is TLS */
    bool is_dead;               /* `closed` was given, or the owner closed */
    bool was_high;              /* went above the high-water mark since the last `drained` */
};

/* For layers: fills the common part; peer, local, is_tls are taken from `below` when not null. */
void stream_init(struct stream *s, const struct stream_ops *ops, struct loop *loop, struct stream *below);
/* For layers: call the owner's callback, if the stream still has an owner. stream_emit_data returns false when the
 * owner closed the stream meanwhile: then touch nothing that the close may have freed (freeing waits for the end of the
 * iteration). */
bool stream_emit_data(struct stream *s, const uint8_t *p, size_t n);
void stream_emit_drained(struct stream *s);
void stream_emit_closed(struct stream *s, enum rc why);
/* For layers: call when the queue shrank; emits `drained` when it is due. */
void stream_check_drained(struct stream *s);

/* Takes over the callbacks; may be called again to hand the stream to another owner. */
void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx);
/* Queues a copy. On a dead stream it does nothing. */
void stream_write(struct stream *s, const void *p, size_t n);
/* Bytes that were written and have not left yet. */
size_t stream_queued(const struct stream *s);
/* Stops or resumes reading: back pressure towards the peer. */
void stream_pause(struct stream *s, bool paused);
/* The peer has proved to hold `key` (at most 32 bytes), and the key is known here: the place is counted for the key
 * from now on, and no longer given to new connections. Refused (this key, or all known peers, have their places): it
 * stays a stranger's place. A stream that is not counted: BUDGET_OK. Twice is fine. */
enum budget_answer stream_know(struct stream *s, const void *key, size_t key_len);
/* Gives the place back: the new owner counts the stream itself. */
void stream_uncount(struct stream *s);
/* A trusted proxy has named the client's address: the place is counted for `from`, which is also `peer` of this layer,
 * and of layers put on it later. Refused: that address has all its places, and nothing has changed. */
MUST_CHECK enum budget_answer stream_comes_from(struct stream *s, const struct addr *from);
/* Ends the stream and nulls the pointer. Null is fine. */
void stream_close(struct stream **s, bool flush);

/* An in-memory pair for tests: what is written to one end is read at the other in a later task of the same iteration.
 * `chunk`: largest piece handed over at once, 0 = no limit. */
void stream_pair_create(struct loop *loop, size_t chunk, struct stream **a, struct stream **b);

#endif
