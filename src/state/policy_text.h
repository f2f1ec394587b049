/* Versions of the policy in the database: immutable rows. */
#ifndef STATE_POLICY_TEXT_H
#define STATE_POLICY_TEXT_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/rcbuf.h"
#include "base/str.h"
#include "state/row.h"

enum { POLICY_AUTHOR_CAP = 64, POLICY_NOTE_CAP = 256 };
/* Versions beyond either limit are deleted, the oldest first; the newest never is. */
enum { POLICY_TEXTS_MAX = 200, POLICY_TEXTS_MAX_BYTES = 32 << 20 };

/* A version of the policy in the database. */
struct policy_text {
    ROW_HEAD; /* ids are 1, 2, ...; the highest is the active one */
    int64_t created_ms;
    char author[POLICY_AUTHOR_CAP]; /* as the caller says; may be "" */
    char note[POLICY_NOTE_CAP];     /* why; may be "" */
    struct rcbuf *text;             /* byte for byte; never null */
};

/* With a copy of `text`; the caller owns the one reference. */
struct policy_text *state_policy_text_create(struct str text);
/* Another reference to the version: the same pointer. */
const struct policy_text *state_policy_text_ref(const struct policy_text *t);
/* Drops a reference and nulls the pointer; null is fine. */
void state_policy_text_unref(const struct policy_text **t);

#endif
