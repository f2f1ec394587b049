/* Who holds how much: bytes by connection and worker, places by address and key. So that no party, however many connections
 * it makes, takes what others need.
 *
 * Bytes: a `struct budget` is what one party may hold, and may be part of a larger one. A connection's lies below the share
 * of its kind on its worker:
 *
 *     struct budget strangers, conn;
 *     budget_init(&strangers, NULL, 0, 16 << 20);             what all strangers of this worker may hold
 *     budget_init(&conn, &strangers, 32 << 10, 128 << 10);    128 KiB at most; the first 32 KiB are nothing to the others
 *     if (!budget_take(&conn, n)) ... refuse                  from it and from all above it, or from none
 *     budget_give(&conn, n);
 *     budget_move(&conn, &known, 32 << 10, 4 << 20);          it has said who it is
 *
 * Places: a connection (or whatever is counted) takes a place as a stranger, on its address; when it has proved to be someone
 * known, the place goes over to its key's account. Strangers and known parties have separate shares, so that neither can
 * take the places of the other:
 *
 *     budget_place_take(places, &peer, &conn->place);         at accept, before anything is spent
 *     budget_place_know(&conn->place, key, sizeof(key));      after login. Refused: it stays a stranger's
 *     budget_place_leave(&conn->place);                       at the end
 *
 * Thread-safe: budgets by one atomic addition per level, places by a lock that is taken when a connection begins, logs in and
 * ends. Nothing here is for each packet. No clock, no randomness, no I/O. */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* --- bytes --- */

/* In place; stays where it is while anything lies below it. */
struct budget {
    struct budget *above; /* borrowed; null: none */
    size_t own_bytes;     /* so much of `used` is not charged above */
    size_t limit_bytes;
    _Atomic size_t used_bytes;
};

void budget_init(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes);
/* False, and nothing has changed, when this or one above has no room. Below one budget that has a parent only one thread at a
 * time may take and give (a connection is its worker's); the ones above may be shared by any threads. */
MUST_CHECK bool budget_take(struct budget *b, size_t bytes);
/* Takes without asking, for what is there already: may go beyond the limit; then nothing more fits until it is given back. */
void budget_force(struct budget *b, size_t bytes);
/* What was taken; asserts that it was. */
void budget_give(struct budget *b, size_t bytes);
/* Puts it below another with other limits, with what it holds, even if that is more than fits there (see budget_force). The
 * thread that owns `b`. */
void budget_move(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes);
size_t budget_used(const struct budget *b);

/* --- places --- */

struct budget_places;

struct budget_places_limits {
    unsigned strangers;   /* of all who have not proved who they are */
    unsigned known;       /* of all who have */
    unsigned per_address; /* of strangers, from one IPv4 address or one IPv6 /64. 0: no limit */
    unsigned per_key;     /* of known parties. 0: no limit */
};

/* Why not. */
enum budget_answer {
    BUDGET_OK,
    BUDGET_ADDRESS_FULL,   /* this address holds as many strangers' places as one may */
    BUDGET_STRANGERS_FULL, /* strangers together do */
    BUDGET_KEY_FULL,
    BUDGET_KNOWN_FULL,
};

struct budget_holder;

/* One place, in its owner's struct. Zero: none is held. */
struct budget_place {
    struct budget_places *places; /* null: none is held */
    struct budget_holder *holder; /* null: counts for no address */
    bool is_known;
};

/* `seed`: 16 secret bytes, so that nobody chooses addresses that collide. */
struct budget_places *budget_places_create(const struct budget_places_limits *limits, const uint8_t seed[16]);
/* Places that are still held are forgotten, and must not be left afterwards. Null is fine; nulls the pointer. */
void budget_places_destroy(struct budget_places **places);

/* A stranger's place. `from` null or of family 0: it counts for no address, only for the share (a reverse proxy, until it
 * has said for whom it speaks). On refusal `out` holds no place. */
MUST_CHECK enum budget_answer budget_place_take(struct budget_places *places, const struct addr *from,
                                                struct budget_place *out);
/* The stranger behind it has another address than was thought (a trusted proxy says so). Refused: nothing changes. Of a place
 * that is not held, or is known: BUDGET_OK, and nothing changes. */
MUST_CHECK enum budget_answer budget_place_readdress(struct budget_place *place, const struct addr *from);
/* It has proved that it is `key` (at most 32 bytes), who is known: the place leaves the strangers and its address and is the
 * key's. Refused: it stays what it was. Known already (also by another key), or no place held: BUDGET_OK, nothing changes. */
MUST_CHECK enum budget_answer budget_place_know(struct budget_place *place, const void *key, size_t key_len);
/* Gives it back. Twice is fine. */
void budget_place_leave(struct budget_place *place);

/* What is held now. */
struct budget_places_use {
    unsigned strangers;
    unsigned known;
    size_t holders; /* addresses and keys with at least one place */
};
void budget_places_use(struct budget_places *places, struct budget_places_use *out);

#endif
