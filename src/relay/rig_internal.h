/* What the tests and fuzz targets of the relay share: a relay and its clients, over in-memory streams, on one loop
 * that the test runs for some iterations.
 *
 * What is not as expected fails the test (rig_cmocka.c) or the fuzz target (rig_abort.c). Give tests rig_tear_down as
 * their teardown: it frees what a test that failed has left behind, so that the next one starts afresh. */
#ifndef RELAY_RIG_INTERNAL_H
#define RELAY_RIG_INTERNAL_H

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

/* Ends the test or the process. */
void rig_fail(const char *what, const char *file, int line);
#define RIG_ASSERT(is_so) ((is_so) ? (void)0 : rig_fail(#is_so, __FILE__, __LINE__))

/* --- Cleaning up --- */

/* `run(obj)` is to be called in the end; `owner` names it. */
void rig_cleanup_add(void (*run)(void *obj), void *obj, const void *owner);
/* Calls what was added for the owner; harmless when there is nothing any more. */
void rig_cleanup_now(const void *owner);
/* Drops what was added for the owner without calling it: the test has cleaned up itself. */
void rig_cleanup_forget(const void *owner);
/* For cmocka: does all that is left, the newest first. */
int rig_tear_down(void **state);

/* --- A relay and its clients --- */

struct rig_client {
    struct stream *s;
    private_key key;
    node_key public;
    struct buf got; /* received, and not read by the test yet */
    bool is_closed; /* by the relay */
};

struct rig {
    struct loop *loop;
    struct relay *relay;
};

/* A key, and defaults. */
extern const struct relay_opts rig_default_opts;
/* Collects what a `struct rig_client` gets; for streams that a test connects itself. */
extern const struct stream_events rig_client_events;

/* Keeps the clients that ask to be let in, until the test decides with relay_admit:
 *
 *     struct rig_gate gate = {0};
 *     struct relay_ops ops = {&gate, rig_gate_admit}; */
struct rig_gate {
    struct relay_admission *waiting[4];
    unsigned n;
    node_key last; /* of the client that asked last */
};
void rig_gate_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from);

/* A relay on a loop. `opts` null: rig_default_opts; `ops` null: all are let in. */
void rig_start(struct rig *r, const struct relay_opts *opts, const struct relay_ops *ops);
void rig_stop(struct rig *r);
/* Runs the loop until everything that was started has come through: messages of an iteration run in the next one. */
void rig_run(struct rig *r);

/* Connects without a login, with a key of its own (the same `number`, the same key). `chunk`: see stream_pair_create;
 * `from`: its address; null: none. */
void rig_connect_as(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk, const char *from);
void rig_connect(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk);
void rig_connect_from(struct rig *r, struct rig_client *c, uint8_t number, const char *from);
/* Closes the client's end; harmless when that has been done. */
void rig_close(struct rig_client *c);
/* Sends ClientInfo. */
void rig_append_login(struct rig *r, struct rig_client *c, struct buf *out, bool can_ack_pings);
void rig_login(struct rig *r, struct rig_client *c, bool can_ack_pings);
/* Connects, logs in and reads the welcome. */
void rig_join(struct rig *r, struct rig_client *c, uint8_t number);

/* Sends the bytes of `b` and empties it; a packet; any frame. */
void rig_write(struct rig_client *c, struct buf *b);
void rig_send(struct rig_client *c, const struct rig_client *to, const void *packet, size_t n);
void rig_frame(struct rig_client *c, uint8_t type, const void *payload, size_t n);

/* The next frame that the client got; the payload is valid until the next call. False: none. */
bool rig_next(struct rig_client *c, struct derp_header *h, const uint8_t **payload);
/* The next frame must be of this type and length; returns the payload. */
const uint8_t *rig_expect(struct rig_client *c, uint8_t type, size_t n);
void rig_expect_packet(struct rig_client *c, const struct rig_client *from, const void *packet, size_t n);
void rig_expect_gone(struct rig_client *c, const struct rig_client *who, enum derp_gone_reason reason);
/* The server's two frames of a login. */
void rig_expect_welcome(struct rig *r, struct rig_client *c);
/* The client has received nothing more, and its connection is open. */
void rig_expect_nothing(struct rig_client *c);
/* The server has closed the connection, and has sent nothing more. */
void rig_expect_closed(struct rig_client *c);

/* A metric of the relay; `name` without "fullscale_derp_". */
int64_t rig_count(const char *name, const char *labels);

#endif
