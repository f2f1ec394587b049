/* One DERP connection; everything runs on its worker's loop. From the bottom up; each file calls only those before it:
 *
 *   client_timers.c  when its next timer is due (a wheel of seconds)
 *   client_queue.c   frames out
 *   rate.c           how much it may send
 *   places.c         how many connections there may be
 *   client.c         its life: login, admission, end
 *   client_frames.c  frames in, and what each of them does */
#ifndef RELAY_CLIENT_INTERNAL_H
#define RELAY_CLIENT_INTERNAL_H

#include "base/limiter.h"
#include "relay/packet_internal.h"
#include "relay/peers_internal.h"
#include "relay/worker_internal.h"

enum {
    CLIENT_DISCO_QUEUE_BYTES = 64 * 1024,
    CLIENT_CONTROL_QUEUE_BYTES = 64 * 1024,
    CLIENT_HELD_MAX_BYTES = 64 * 1024,           /* what a client may send ahead of its admission */
    CLIENT_HELD_ALL_MAX_BYTES = 8 * 1024 * 1024, /* and all such clients of a worker together */
    CLIENT_FRAME_TIMEOUT_MS = 30 * 1000,         /* from the first byte of a frame to its last */
    CLIENT_HOME_SETTLED_MS = 5 * 1000,           /* a choice of home within this time is no move */
    CLIENT_PINGS_UNANSWERED_MAX = 3,
    CLIENT_NEIGHBOUR_WRITE_TIMEOUT_MS = 30 * 1000, /* src: tailscale 1.102 derpserver privilegedWriteTimeout */
};

enum client_phase {
    CLIENT_LOGIN,     /* ClientInfo is due */
    CLIENT_ADMISSION, /* the program decides; reading is paused */
    CLIENT_JOINING,   /* on its way into the directory */
    CLIENT_ACTIVE,
    CLIENT_CLOSED, /* its memory is freed at the end of the iteration */
};

struct dir_conn;

struct client {
    struct relay_worker *worker;
    struct frame_endpoint endpoint;
    uint64_t id; /* unique in the process, never 0 */
    node_key key;
    struct peer *peer;          /* of the key; from ADMISSION on */
    struct dir_conn *directory; /* from JOINING on */
    enum client_phase phase;
    bool can_ack_pings;
    bool is_home;      /* the client says that this relay is its home */
    bool is_claiming;  /* it has sent a frame, and the directory has not made it the active one of its key yet */
    bool is_guest;     /* let in though the program does not know its key */
    bool has_pong;     /* a Pong waits to be sent */
    bool is_mesh;      /* it has the mesh key: a neighbour */
    bool is_prober;    /* it says that it is one */
    bool is_not_ideal; /* it would have preferred another node of the region */
    bool is_listing;   /* the list of all connections is on its way to this watcher */

    struct buf held;    /* what came ahead of admission */
    size_t watch_limit; /* bytes that may wait in the queue of updates */

    struct budget_place place;
    struct list of_peer;
    struct list in_wheel;
    struct list in_watchers; /* of the worker; linked when it watches */
    struct list senders;     /* struct peer_gone_link.of_client */
    unsigned sender_n;
    struct peer *last_source; /* of the newest of these: nearly every packet is from it */

    int64_t opened_ms;
    int64_t not_here_ms; /* when all not-here replies sent so far are paid for */
    /* When something is due; 0: nothing is. Also endpoint.write_due_ms. */
    int64_t login_due_ms;
    int64_t frame_due_ms; /* the frame that came in part */
    int64_t keep_alive_due_ms;
    int64_t ping_due_ms;
    int64_t drain_due_ms;
    int64_t keep_alive_every_ms; /* with the random part of this connection */
    uint8_t ping[DERP_PING_BYTES];
    int64_t ping_sent_ms; /* 0: every ping has been answered */
    unsigned pings_unanswered;
    int64_t rtt_ms;           /* of the last answered ping; -1 before */
    int64_t waiting_since_ms; /* since when frames wait because it does not read; 0: no frame waits */

    struct bucket rate; /* bytes that it may send */
    int64_t resume_ms;  /* when it is read again; 0: it is read */
    union {
        struct list in_logins;    /* of the worker, until it is let in */
        struct list in_held_back; /* afterwards */
    };
};

/* A connection of this worker; null: it has closed. */
static inline struct client *client_find(const struct relay_worker *w, uint64_t conn_id)
{
    return map_get(&w->clients, &conn_id, sizeof(conn_id));
}

/* --- client_timers.c --- */

/* To be called when one of the due times has changed. Each client is in the wheel once, for its earliest due time. */
void client_timers_schedule(struct client *c);
/* To be called when data has come: when a frame has come in part, the rest is due. */
void client_timers_watch_frame(struct client *c);
/* Calls `on_due` for each client that was put on the wheel for now or earlier. */
void client_timers_tick(struct relay_worker *w, int64_t now_ms, void (*on_due)(struct client *c, int64_t now_ms));

/* --- client_queue.c --- */

/* Those ops of a client's endpoint that concern its queues. */
void client_queue_on_flush(void *ctx);
void client_queue_on_written(void *ctx, enum frame_priority priority, size_t frame_n, size_t bytes);
void client_queue_on_dropped(void *ctx, enum frame_priority priority, size_t bytes, bool is_closing);

/* Queues a packet for the client; the oldest packets are dropped when too much waits. */
void client_queue_packet(struct client *c, const struct packet *p);
/* Queues a frame. False: too much waits, it is not sent. */
bool client_queue_control(struct client *c, uint8_t type, const void *payload, size_t n);
/* Queues a PeerGone. */
void client_queue_gone(struct client *c, const node_key *key, enum derp_gone_reason reason);
/* Whole frames for a watcher. False: too much waits; it must be closed, since its view would be wrong from now on. */
bool client_queue_watch(struct client *c, const void *frames, size_t n);
/* The time within which the client has to take some of the bytes that wait, in ms; negative: no limit. */
int64_t client_queue_timeout_ms(const struct client *c);
/* Writes what the stream takes. */
void client_queue_flush(struct client *c);

/* --- rate.c --- */

/* A frame with this length of payload came. */
void rate_charge(struct client *c, uint32_t frame_len);
/* After frames were charged: stops reading when the client is in debt. */
void rate_check(struct client *c);
/* The client is no longer held back: it is read again, or has closed. */
void rate_forget(struct client *c);
/* Reads again from the clients that have waited long enough. */
void rate_tick(struct relay_worker *w);

/* --- places.c --- */

/* To be called after the workers have been made. */
void places_init(struct relay *relay);
void places_fini(struct relay *relay);
/* Takes a place for a connection that begins. False: there is none. Then `*oldest_out` is the login that has lasted
 * longest among those that a new connection may replace: close it and try once more; null: refuse the new one. */
bool places_take(struct relay_worker *w, const struct addr *from, struct budget_place *out, struct client **oldest_out);
/* The client is let in: its place is counted for its key now. False: the limit of such clients is reached. */
bool places_enter(struct client *c);
/* The client has closed. `is_in`: places_enter was true. */
void places_leave(struct client *c, bool is_in);

/* --- client.c --- */

/* Makes a client in the phase LOGIN. It owns the stream from here on. `place`: what places_take gave. `ops`, `events`:
 * those of client_frames.c. */
struct client *client_open(struct relay_worker *w, struct stream *s, const struct budget_place *place,
                           const struct frame_endpoint_ops *ops, const struct stream_events *events);
/* Closes it; harmless when it is closed. `why`: a COUNT_CLOSED_...; `flush`: sends what waits first. */
void client_close(struct client *c, enum relay_counter why, bool flush);
/* The same after a frame that no client of ours sends; logs `what`, and the type of the frame. */
void client_reject(struct client *c, enum relay_counter why, const char *what, uint8_t type);
/* Bytes from the client: reads frames, or holds the bytes until it is let in. */
void client_feed(struct client *c, const uint8_t *p, size_t n);
/* The payload of its ClientInfo. */
void client_on_login(struct client *c, const uint8_t *payload, size_t n);
/* Asks the program whether the client may use the relay. */
void client_ask_admission(struct client *c);
/* The program's answer. */
void client_on_admission(struct client *c, bool is_allowed);
/* It could not decide. */
void client_put_off(struct client *c);
/* Every worker has the client in its replica of the directory now. */
void client_on_joined(struct client *c);
/* Handles what is due for this client; harmless when nothing is. */
void client_on_timer(struct client *c, int64_t now_ms);

/* --- client_frames.c --- */

/* A connection begins; see relay_attach. */
void client_create(struct relay_worker *w, struct stream *s, const struct budget_place *place, const void *leftover,
                   size_t leftover_len, bool is_not_ideal);

#endif
