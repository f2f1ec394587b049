/* Neighbours that watch which clients come and go. On the worker's loop. */
#ifndef RELAY_WATCH_INTERNAL_H
#define RELAY_WATCH_INTERNAL_H

#include "relay/message_internal.h"

/* Before a worker takes over a change of a route: its watchers get the news. May close watchers. */
void watch_send(struct relay_worker *w, const struct route_message *m);
/* The list that one of its watchers asked for. */
void watch_on_list(struct relay_worker *w, struct message *m);

#endif
