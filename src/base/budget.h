/* Budgets: how many bytes connections and workers hold, how many places addresses and keys hold. They keep a party that
 * makes many connections from taking what others need.
 *
 * Bytes: a `struct budget` limits what one holder may allocate, and may be part of a larger budget. That of a
 * connection is below the share of its kind on its worker:
 *
 *     struct budget strangers, conn;
 *     budget_init(&strangers, NULL, 0, 16 << 20);           for all strangers of this worker together
 *     budget_init(&conn, &strangers, 32 << 10, 128 << 10);  128 KiB at most, of which 32 KiB are not shared
 *     if (!budget_take(&conn, n)) ... refuse                from this budget and all above it, or from none
 *     budget_give(&conn, n);
 *     budget_move(&conn, &known, 32 << 10, 4 << 20);        the peer has proved who it is
 *
 * Places: a connection takes a place as a stranger, counted for its address. Once the peer has proved to hold a known
 * key, the place is counted for that key instead. Strangers and known peers have separate shares, so that neither group
 * can use up the places of the other:
 *
 *     budget_place_take(places, &peer, &conn->place);       at accept, before anything is spent
 *     budget_place_know(&conn->place, key, sizeof(key));    after login; when refused it stays a stranger's place
 *     budget_place_leave(&conn->place);                     at the end
 *
 * Thread-safe: budgets by one atomic addition per level, places by a lock that is taken when a connection begins, logs
 * in and ends. No call is made per packet. No clock, no randomness, no I/O. */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* --- bytes --- */

/* Part of its owner's struct; must not move while other budgets are below it. */
struct budget {
    struct budget *above; /* borrowed; null: none */
    size_t own_bytes;     /* so much of `used_bytes` is not charged above */
    size_t limit_bytes;
    _Atomic size_t used_bytes;
};

/* A budget of `limit_bytes` below `above` (borrowed; null: none). The first `own_bytes` are not charged to `above`. */
void budget_init(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes);
/* Takes `bytes` here and from every budget above. False, and nothing has changed, when one of them has no room. A
 * budget that has one above it may be used by one thread at a time (a connection belongs to its worker); those above
 * may be shared by any threads. */
MUST_CHECK bool budget_take(struct budget *b, size_t bytes);
/* Takes `bytes` also beyond the limit, for memory that is allocated already. Nothing more fits then until it is given
 * back. */
void budget_force(struct budget *b, size_t bytes);
/* Gives back what was taken (asserted). */
void budget_give(struct budget *b, size_t bytes);
/* Moves the budget, with what it holds, below another one and gives it other limits, even if it holds more than fits
 * there (see budget_force). To be called on the thread that uses `b`. */
void budget_move(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes);
/* Bytes held now; any thread. */
size_t budget_used(const struct budget *b);

/* --- places --- */

struct budget_places;

struct budget_places_limits {
    unsigned strangers;   /* of all peers that have not proved their identity */
    unsigned known;       /* of all peers that have */
    unsigned per_address; /* of strangers with one IPv4 address or in one IPv6 /64. 0: no limit */
    unsigned per_key;     /* of known peers with one key. 0: no limit */
};

/* Whether a place was given, or which limit was reached. */
enum budget_answer {
    BUDGET_OK,
    BUDGET_ADDRESS_FULL,   /* the address holds `per_address` places */
    BUDGET_STRANGERS_FULL, /* all places of strangers are taken */
    BUDGET_KEY_FULL,       /* the key holds `per_key` places */
    BUDGET_KNOWN_FULL,     /* all places of known peers are taken */
};

struct budget_holder;

/* One place, part of its owner's struct. Zero-initialised: none is held. */
struct budget_place {
    struct budget_places *places; /* null: none is held */
    struct budget_holder *holder; /* null: it is counted for no address */
    bool is_known;
};

/* `seed`: 16 secret bytes, so that a peer cannot choose addresses that collide. */
struct budget_places *budget_places_create(const struct budget_places_limits *limits, const uint8_t seed[16]);
/* Places that are still held must not be given back afterwards. Null is fine; nulls the pointer. */
void budget_places_destroy(struct budget_places **places);

/* Takes a stranger's place. With `from` null or of family 0 it is counted for no address (a reverse proxy, until a
 * request names its client). On refusal `out` holds no place. */
MUST_CHECK enum budget_answer budget_place_take(struct budget_places *places, const struct addr *from,
                                                struct budget_place *out);
/* Counts a stranger's place for another address, which a trusted proxy has named. On refusal nothing changes. For a
 * place that is not held, or is a known peer's: BUDGET_OK, and nothing changes. */
MUST_CHECK enum budget_answer budget_place_readdress(struct budget_place *place, const struct addr *from);
/* Counts the place for a known key (at most 32 bytes) instead of the strangers and its address: the peer has proved
 * that it holds the key. On refusal nothing changes. For a place that is a known peer's already, also under another
 * key, or that is not held: BUDGET_OK, and nothing changes. */
MUST_CHECK enum budget_answer budget_place_know(struct budget_place *place, const void *key, size_t key_len);
/* Gives the place back. Twice is fine. */
void budget_place_leave(struct budget_place *place);

/* What is held now. */
struct budget_places_use {
    unsigned strangers;
    unsigned known;
    size_t holders; /* addresses and keys with at least one place */
};
/* Reads how many places are held now. Any thread. */
void budget_places_use(struct budget_places *places, struct budget_places_use *out);

#endif
