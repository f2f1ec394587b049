/* For the tests of ts2021_stream.h: an owner above that notes what happens to it, and a fake stream below. */
#ifndef CONTROL_TESTING_STREAMS_H
#define CONTROL_TESTING_STREAMS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/ts2021_stream.h"

/* The keys of both ends. */
extern const struct noise_result fake_keys;

/* The loop of the test that runs. */
extern struct loop *fake_loop;

/* Runs what is deferred, and what that defers, until nothing is; then the frees. */
void fake_settle(void);

/* The stream's owner. */
struct owner {
    struct stream *s;
    struct buf got;
    unsigned pieces;
    unsigned drained;
    unsigned closed;
    enum rc why;
    unsigned pause_at; /* pauses in this piece, from 1 */
    unsigned close_at; /* closes in this piece */
    bool close_when_closed;
    bool close_when_drained;
};

extern const struct stream_events owner_events;

/* Frees what it noted. */
void owner_fini(struct owner *o);

/* The layer below, worked by hand. */
struct fake {
    struct stream s;
    struct buf written;
    unsigned writes;
    size_t queued; /* grows by what is written */
    bool is_paused;
    unsigned closes;
    bool flushed;
    struct noise_sealer sealer; /* the peer */
    struct noise_opener opener;
};

/* Makes a server stream over the fake, owned by `o`, with records for `early` having come already. */
void fake_start(struct fake *f, struct owner *o, const char *early);

/* Ends both; neither may be in use. */
void fake_finish(struct fake *f, struct owner *o);

/* For cmocka. */
int fake_setup(void **state);

/* For cmocka. */
int fake_teardown(void **state);

#endif
