/* What a tailnet is made of: users, auth keys, relays, policy texts and nodes, each in a header of its own, and the
 * snapshot that holds them together.
 *
 * All of it is immutable once it has been handed out, and shared by counted references: any thread may read what it
 * holds a reference to. Only the functions of state/state.h make new versions. Pure: no clock, no randomness, no
 * I/O. */
#ifndef STATE_MODEL_H
#define STATE_MODEL_H

#include "state/auth_key.h"
#include "state/ids.h"
#include "state/node.h"
#include "state/policy_text.h"
#include "state/relay_host.h"
#include "state/settings.h"
#include "state/snapshot.h"
#include "state/user.h"

#endif
