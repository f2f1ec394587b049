/* Durable columns and those of presence, apart; only for this folder. */
#ifndef STATE_PRESENCE_INTERNAL_H
#define STATE_PRESENCE_INTERNAL_H

#include "state/entity.h"

/* Makes all columns of `to` what they are in `from`, except those of presence and those with hooks. */
void entity_copy_durable(const struct entity *e, struct row *to, const struct row *from);
/* What an event reported beside its durable changes is taken back, unless it has been reported anew since: each column
 * of presence that is as the event left it (`after`) becomes as it was before. Columns with hooks stay. */
void entity_take_back_presence(const struct entity *e, struct row *now, const struct row *before,
                               const struct row *after);

#endif
