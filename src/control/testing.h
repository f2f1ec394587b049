/* For the tests of this module: a server of worker threads, core and memory store, and clients that come to it over
 * loopback TCP, through the whole of ts2021. The clients run on the test's own loop; every wait ends by an event or,
 * when none comes, by the guard, which ends the process. */
#ifndef CONTROL_TESTING_H
#define CONTROL_TESTING_H

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"
#include "control/control_internal.h"
#include "control/ts2021_stream.h"
#include "crypto/crypto.h"
#include "http/h2_client.h"
#include "net/tcp.h"

enum {
    RIG_WORKERS_MAX = 2,
    RIG_TAILNETS_MAX = 2,
    RIG_GUARD_MS = 20000,
    RIG_BODY_MAX = 64 * 1024,
    RIG_VERSION = 142,
};

struct rig {
    struct store *store;
    struct core *core;
    struct tailnet *tailnet; /* what the test does concerns this one: control_rig_enter */
    struct tailnet *tailnets[RIG_TAILNETS_MAX];
    user_id users[RIG_TAILNETS_MAX];
    struct control *control;
    unsigned worker_n;
    struct loop *loops[RIG_WORKERS_MAX];
    struct tcp_listener *listeners[RIG_WORKERS_MAX];
    pthread_t threads[RIG_WORKERS_MAX];
    struct addr at[RIG_WORKERS_MAX];
    machine_key server;
    struct loop *loop; /* of the clients */
    struct loop_timer *guard;
    struct arena arena;  /* for strings of the test */
    user_id user;        /* of `tailnet` */
    int64_t wrong_kinds; /* jobs that wrote and must not, as the counter should be at the end */
    unsigned open_n;     /* clients that are connected, or were when their test failed */
    struct {
        struct core_job job;
        sem_t held, release;
        bool is_held, is_done;
    } hold;                      /* see control_rig_hold_core */
    atomic_bool is_sending_held; /* snapshots are published, and sessions are not sent what has changed */
};

/* --- waiting --- */

/* On threads that are not the test's: cmocka cannot jump from there. */
#define RIG_CHECK(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Something happened to a client: RIG_WAIT looks again. Harmless when the clients' loop is being destroyed. */
void control_rig_wake(struct rig *r);
/* Runs the clients' loop until the condition holds; ends the process if it never does. */
#define RIG_WAIT(r, condition)                                                                                         \
    do {                                                                                                               \
        loop_timer_start((r)->guard, RIG_GUARD_MS, 0);                                                                 \
        while (!(condition))                                                                                           \
            loop_run((r)->loop);                                                                                       \
        loop_timer_stop((r)->guard);                                                                                   \
    } while (0)

/* A call of `fn` on the core's thread, which is done when everything before it is durable and answered. */
struct control_rig_core_call {
    struct core_job job;
    struct rig *rig;
    void (*fn)(struct state *st, int64_t now_ms, void *ctx);
    void *ctx;
    bool is_done;
};
/* Fills a call for core_post or core_offer; `fn` may be null. */
void control_rig_core_call_init(struct control_rig_core_call *c, struct rig *r,
                                void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx);
/* Posts a call and does not wait: `c` lives until it is done. */
void control_rig_core_begin(struct rig *r, struct control_rig_core_call *c,
                            void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx);
/* Runs `fn` on the core's thread, and returns when everything before it is durable and answered. */
void control_rig_on_core(struct rig *r, void (*fn)(struct state *st, int64_t now_ms, void *ctx), void *ctx);
/* Runs `fn` on a worker's thread, and waits for that. */
void control_rig_on_worker(struct rig *r, unsigned i, void (*fn)(struct control_worker *w, void *ctx), void *ctx);
/* Waits until everything asked so far has been applied, handed to the workers and answered. */
void control_rig_settle(struct rig *r);
/* The core runs nothing more until control_rig_release_core; returns when it has stopped. */
void control_rig_hold_core(struct rig *r);
/* Lets the core go on, and waits until it has done what waited. */
void control_rig_release_core(struct rig *r);

/* --- the server --- */

/* An empty tailnet. Its domain and its DERP map contain `marker`, unless that is null. */
struct state *control_rig_state(const char *marker);
/* What the only tailnet is called. */
extern const struct tailnet_options control_rig_tailnet;
/* A server with so many workers, and a user. */
struct rig *control_rig_create(unsigned worker_n);
/* The same with several tailnets, each with a user, whose settings contain the name of the tailnet. */
struct rig *control_rig_create_with(unsigned worker_n, const struct tailnet_options *tailnets, unsigned tailnet_n);
/* From now on clients are made, and jobs are run, in this tailnet. */
void control_rig_enter(struct rig *r, unsigned tailnet);
/* Ends the server and frees the rig. For the tear-down of a test, also of one that failed: what its clients hold is
 * then left behind with their loop. */
void control_rig_destroy(struct rig *r);
/* So many jobs of the test write although they are of a kind that must not; else none may. */
void control_rig_expect_wrong_kinds(struct rig *r, int64_t n);
/* The server of the test that runs, for tests whose set-up and tear-down are these. */
extern struct rig *rig;
/* With one worker. */
int control_rig_set_up(void **state);
/* With two. */
int control_rig_set_up_two(void **state);
/* Ends the server and what the test has left of its clients. */
int control_rig_tear_down(void **state);
/* Map sessions that have been opened since the newest server was made, and are open. */
int64_t control_rig_sessions(void);
/* The same of Noise connections; both ends count. */
int64_t control_rig_conns(void);
/* Until all polls and connections have ended at the server. */
void control_rig_wait_idle(struct rig *r);

/* --- clients --- */

/* One request and what came back. */
struct reply {
    struct client *client;
    int32_t id;
    int status;
    bool is_ended;
    uint32_t error;          /* of HTTP/2, once ended */
    bool is_zstd;            /* how frames are coded */
    struct buf body;         /* of a poll: what is no whole frame yet */
    size_t bytes;            /* of the body, all in all */
    const char *frames[512]; /* JSON, in the rig's arena */
    size_t frame_n;
    bool is_poll;
    bool is_stalled; /* reads nothing any more */
};

struct client {
    struct rig *rig;
    private_key machine;
    machine_key public;
    uint16_t version;
    struct stream *s; /* until HTTP/2 has it */
    struct h2_client *h2;
    struct noise_initiator hs;
    struct buf in;
    bool is_closed;
    bool is_noise;  /* the handshake is done */
    bool stays_raw; /* no HTTP/2: what comes out of Noise stays in `in` */
    bool is_manual; /* window */
    bool is_goaway;
    bool is_open;              /* counted in the rig's open_n */
    struct reply *replies[64]; /* by id / 2, borrowed */
};
/* "POST /ts2021" with message 1 for `server`. */
const char *control_rig_client_upgrade(struct client *c, const machine_key *server);
/* A machine with a new key, not connected. */
void control_rig_client_init(struct client *c, struct rig *r);
/* Connects to a worker and asks for the upgrade. */
void control_rig_client_begin(struct client *c, unsigned worker);
/* Connects to a worker and waits for HTTP/2. */
void control_rig_client_dial(struct client *c, unsigned worker);
/* A machine's first connection. */
void control_rig_client_open(struct client *c, struct rig *r, unsigned worker);
/* Another one of the same machine. */
void control_rig_client_open_same(struct client *c, const struct client *first, unsigned worker);
/* Ends the connection; it can be dialled again. */
void control_rig_client_close(struct client *c);

/* --- requests --- */

/* Forgets the request; what comes for it is dropped. */
void reply_fini(struct reply *r);
/* Sends; does not wait. */
void control_rig_client_send(struct client *c, struct reply *r, const char *method, const char *path, const char *body);
/* Sends, waits for the end, and gives status and body (in the rig's arena; may be null). */
int control_rig_client_call(struct client *c, const char *method, const char *path, const char *body,
                            const char **text_out);

/* --- nodes --- */

struct device {
    node_key key;
    node_key old_key;
    disco_key disco;
    const char *name;
    const char *marker; /* Hostinfo.OSVersion; null: "" */
    unsigned endpoints_n;
    uint16_t port; /* of its endpoints; 0: 41641 */
    uint16_t home_derp;
};
/* A node with new keys. */
void device_init(struct device *d, const char *name);
/* "nodekey:...", in the rig's arena. */
const char *key_text(struct rig *r, const node_key *k);
/* The text of a new auth key, in the rig's arena. */
const char *control_rig_key(struct rig *r, const struct auth_key_spec *spec);
/* The body of a register request, in the rig's arena. `expiry` may be null. */
const char *register_body(struct rig *r, const struct device *d, const char *auth_key, const char *expiry);
/* Bits for map_body. */
enum map_flags { MAP_POLL = 1, MAP_OMIT_PEERS = 2, MAP_READ_ONLY = 4, MAP_ZSTD = 8 };
/* The body of a map request with enum map_flags, in the rig's arena. */
const char *map_body(struct rig *r, const struct device *d, unsigned flags);
/* The answer's JSON in the rig's arena; the test fails if it is none. */
const struct json *control_rig_json(struct rig *r, const char *text);
/* Whether a member is this text. */
bool json_says(const struct json *obj, const char *key, const char *want);
/* Whether a member is true. */
bool json_is_true(const struct json *obj, const char *key);
/* A member that is a whole number; 0 if it is none. */
uint64_t json_number(const struct json *obj, const char *key);
/* Registers; the answer must be status 200. */
const struct json *control_rig_client_register(struct client *c, const struct device *d, const char *auth_key,
                                               const char *expiry);
/* A new device that has joined, with its machine's first connection. */
void control_rig_join(struct rig *r, struct client *c, struct device *d, const char *name, unsigned worker);
/* Begins a poll; does not wait. */
void control_rig_client_poll(struct client *c, struct reply *r, const struct device *d, unsigned flags);
/* Waits until a poll has had `n` messages. */
void reply_wait_frames(struct reply *r, size_t n);
/* Message number `i` of a poll, parsed. */
const struct json *reply_frame(struct reply *r, size_t i);
/* A map request that only updates; returns the status. */
int control_rig_client_update(struct client *c, const struct device *d);

#endif
