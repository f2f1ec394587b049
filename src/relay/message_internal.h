/* Messages to a worker, for everything but packets (worker_pipe_internal.h). A message belongs to the receiver, and
 * is freed when its handler has run; all that are under way are listed, so that those which a stopped loop never
 * runs are freed.
 *
 * Each kind has a struct of its own that begins with `base`. The handlers stand in one table (worker.c), so that the
 * files below can send messages which the files above handle. */
#ifndef RELAY_MESSAGE_INTERNAL_H
#define RELAY_MESSAGE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "net/loop.h"
#include "crypto/keys.h"
#include "relay/relay.h"

struct relay_worker;

enum message_kind {
    MSG_ROUTE,
    MSG_EVICT,
    MSG_WATCH_LIST,
    MSG_ADMISSION,
    MSG_ASK_AGAIN,
    MSG_CLOSE_KEY,
    MSG_DRAIN,
    MSG_LINK_START,
    MSG_LINK_STOP,
    MSG_LINK_RESOLVED,
    MSG_KIND_N
};

struct message {
    struct loop_msg msg;
    struct list link; /* of relay->messages.all */
    struct relay_worker *to;
    enum message_kind kind;
};

/* What watchers are sent about a connection. */
struct presence {
    uint8_t ip[16]; /* IPv4 is mapped into IPv6 */
    uint16_t port;
    uint8_t flags; /* enum derp_present_flags */
};

/* Where packets for a key go: its active connection here, or else the link to a neighbour that has it. */
struct route {
    unsigned worker;         /* of the active connection; valid while `conn_id` is not 0 */
    uint64_t conn_id;        /* 0: the key has no connection here */
    unsigned conn_n;         /* connections of the key, over all workers */
    unsigned forward_worker; /* of the link; valid while `forward_id` is not 0 */
    uint64_t forward_id;     /* 0: no neighbour has the key */
};

/* The news about duplicates of a key, for its connections. */
enum route_health { HEALTH_SAME, HEALTH_DUPLICATE, HEALTH_DUPLICATE_TO_NEW, HEALTH_CLEAR };
/* The news for watchers. */
enum route_news { NEWS_NONE, NEWS_PRESENT, NEWS_GONE };

/* MSG_ROUTE, to every worker: the directory's entry of a key has changed. */
struct route_message {
    struct message base;
    node_key key;
    struct route route;
    enum route_health health;
    enum route_news news;
    struct presence presence; /* NEWS_PRESENT */
};

/* MSG_EVICT: the connection has been silent longest of too many with its key, and is closed. */
struct evict_message {
    struct message base;
    uint64_t conn_id;
};

/* MSG_WATCH_LIST: frames about all connected keys, for a watcher. */
struct watch_list_message {
    struct message base;
    uint64_t conn_id;  /* of the watcher */
    struct buf frames; /* owned */
};

/* MSG_ADMISSION: the program has decided about a client. */
struct relay_admission {
    struct message base;
    uint64_t conn_id;
    bool is_allowed;
    bool is_put_off; /* it could not decide */
};

/* MSG_ASK_AGAIN: ask the program again about every client that is in. Nothing else is in the message. */

/* MSG_CLOSE_KEY, to every worker. */
struct close_key_message {
    struct message base;
    node_key key;
    bool is_by_mesh; /* a neighbour asked for it */
};

/* MSG_DRAIN, to every worker. */
struct drain_message {
    struct message base;
    int64_t over_ms; /* see relay_drain */
};

/* MSG_LINK_START, MSG_LINK_STOP. */
struct link_message {
    struct message base;
    uint64_t link_id;
};

enum { MESH_ADDRS_MAX = 8 };

/* MSG_LINK_RESOLVED: the addresses of a neighbour that is given by name. */
struct link_resolved_message {
    struct message base;
    uint64_t link_id;
    struct addr addrs[MESH_ADDRS_MAX];
    unsigned addr_n; /* 0: there is no such name */
};

/* Runs on the receiver's loop; `m` is freed afterwards. */
typedef void message_handler(struct relay_worker *w, struct message *m);

/* The messages of a relay that are under way. */
struct messages {
    message_handler *const *handlers; /* by kind */
    pthread_mutex_t lock;
    struct list all; /* locked: struct message.link */
    atomic_uint n;   /* how many; a momentary figure */
};

/* `handlers`: what the workers do with each kind; borrowed. */
void messages_init(struct messages *all, message_handler *const handlers[MSG_KIND_N]);
/* Frees those that were never run. The loops have stopped. */
void messages_fini(struct messages *all);

/* The zeroed struct of this kind, the caller's until message_post. Any thread. */
void *message_create(struct relay_worker *to, enum message_kind kind);
/* Any thread; does not block. Messages of one thread arrive in the order in which they were posted. */
void message_post(struct message *m);
/* Closes the connections of a key on all workers. Any thread. */
void message_post_close_key(struct relay *relay, const node_key *key, bool is_by_mesh);

#endif
