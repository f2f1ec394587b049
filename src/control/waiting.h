/* How many requests of each sender wait for the core, or for the commit of their effect: counted as jobs and as bytes.
 *
 * The core answers within a millisecond, unless it is busy or the disk is slow. Requests that come meanwhile wait, even
 * after their senders are gone. Strangers, nodes and admins have shares of their own, so that none of them takes what
 * the others need, and within a share one sender has a small part.
 *
 * Thread-safe; one lock, taken once when a request comes and once when it is answered. */
#ifndef CONTROL_WAITING_H
#define CONTROL_WAITING_H

#include "base/addr.h"
#include "base/budget.h"

enum waiting_kind { WAIT_STRANGER, WAIT_NODE, WAIT_ADMIN, WAIT_KINDS };

enum {
    WAIT_STRANGERS_JOBS = 2048, /* of all of them */
    WAIT_STRANGERS_BYTES = 16 << 20,
    WAIT_STRANGER_JOBS = 1024, /* of one address: a house that joins at once */
    WAIT_STRANGER_BYTES = 8 << 20,
    WAIT_NODES_JOBS = 64 << 10, /* all polls of a large tailnet, twice */
    WAIT_NODES_BYTES = 128 << 20,
    WAIT_NODE_JOBS = 64, /* of one machine */
    WAIT_NODE_BYTES = 2 << 20,
    WAIT_ADMIN_JOBS = 1024,
    WAIT_ADMIN_BYTES = 64 << 20,
};

/* The sender of a request. */
struct waiting_sender {
    enum waiting_kind kind;
    uint32_t name_len;
    uint8_t name[32]; /* within the kind; zero from name_len on */
};
/* `key`: at most 32 bytes. */
struct waiting_sender waiting_sender_key(enum waiting_kind kind, const void *key, size_t key_len);
/* A stranger: an IPv4 address, or an IPv6 /64. */
struct waiting_sender waiting_sender_address(const struct addr *from);

struct waiting;
struct waiting_party;

/* What one job is charged to. Zero: nothing. */
struct waiting_ticket {
    struct waiting_party *party;
    size_t bytes;
};

/* `seed`: 16 secret bytes, for names that peers choose. */
struct waiting *waiting_create(const uint8_t seed[16]);
/* Tickets that are still held are void. Null is fine; nulls the pointer. */
void waiting_destroy(struct waiting **w);
/* False, counted, and nothing is charged: this sender, or all of its kind, have as much waiting as they may. */
MUST_CHECK bool waiting_take(struct waiting *w, const struct waiting_sender *sender, size_t bytes,
                             struct waiting_ticket *out);
/* Gives it back. Twice is fine. */
void waiting_leave(struct waiting *w, struct waiting_ticket *ticket);
/* For tests: sets how many jobs of a kind may wait. */
void waiting_set_limit(struct waiting *w, enum waiting_kind kind, size_t jobs);
/* Jobs of a kind that wait now. */
size_t waiting_jobs(struct waiting *w, enum waiting_kind kind);

#endif
