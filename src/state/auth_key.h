/* Auth keys: immutable rows. The functions that create, use and end them are in state/state.h. */
#ifndef STATE_AUTH_KEY_H
#define STATE_AUTH_KEY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/prefix_list.h"
#include "base/rcbuf.h"
#include "state/ids.h"
#include "state/row.h"

struct auth_key {
    ROW_HEAD;
    user_id user;
    uint8_t hash[KEY_HASH_BYTES]; /* SHA-256 of the whole key text, which is kept nowhere: the key is 256 random bits */
    char prefix[KEY_PREFIX_CAP];  /* what lists show of it */
    bool is_reusable;
    bool is_ephemeral;
    bool is_used;
    int64_t created_ms;
    int64_t expires_ms;          /* NO_EXPIRY = never */
    struct rcbuf *tags;          /* JSON array of strings, or null */
    uint32_t max_nodes;          /* that may join with it in all; 0: any number, if it is reusable */
    uint32_t joined_n;           /* nodes that have */
    struct prefix_list *sources; /* where they must come from; null: anywhere */
    /* For the alarm; not stored. */
    int64_t hour_from_ms; /* when the hour began that is counted */
    uint32_t hour_n;      /* nodes that have joined with it since */
};

/* Zeroed; the caller owns the one reference. */
struct auth_key *auth_key_create(void);
/* A copy to change before it is shared; the caller owns the one reference. */
struct auth_key *auth_key_edit(const struct auth_key *k);
/* Another reference to the key: the same pointer. */
const struct auth_key *auth_key_ref(const struct auth_key *k);
/* Drops a reference and nulls the pointer; null is fine. */
void auth_key_unref(const struct auth_key **k);

#endif
