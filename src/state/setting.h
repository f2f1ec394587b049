/* Settings of the tailnet that are kept in the database: a name and a value, which this program does not interpret.
 * Immutable rows; the two functions that change them are below.
 *
 * Pure. The functions of the state are for the core's thread; what a snapshot shows may be read by any thread. */
#ifndef STATE_SETTING_H
#define STATE_SETTING_H

#include "state/entity.h"
#include "state/state.h"

enum {
    SETTINGS_MAX = 1000,
    SETTING_NAME_CAP = 64 + 1,
    SETTING_VALUE_CAP = 4096 + 1,
};

struct setting {
    ROW_HEAD;
    char name[SETTING_NAME_CAP];   /* unique; lower-case letters, digits, '.', '_' and '-' */
    char value[SETTING_VALUE_CAP]; /* UTF-8 */
};

extern const struct entity entity_setting;
/* RC_INVALID: a name or value that nothing here writes. */
MUST_CHECK enum rc setting_check(const struct row *object, struct err *err);

/* Makes the setting have this value; it is made if it is not there. `*out` is borrowed until the next event.
 * RC_INVALID: no name, or a value that is too long or no UTF-8; RC_LIMIT: there are SETTINGS_MAX. */
MUST_CHECK enum rc state_setting_set(struct state *st, struct str name, struct str value, const struct setting **out,
                                     struct err *err);
/* RC_NOT_FOUND. */
MUST_CHECK enum rc state_setting_delete(struct state *st, struct str name, struct err *err);
/* Borrowed until the next event. Null: there is none of this name. */
const struct setting *state_setting(const struct state *st, struct str name);
/* Walks all settings, the oldest first: start with *pos = 0. Null at the end. Borrowed as above. */
const struct setting *state_setting_next(const struct state *st, size_t *pos);
/* What the snapshot shows, borrowed from it. Null: there is none of this name. */
const struct setting *snapshot_setting(const struct snapshot *s, struct str name);

#endif
