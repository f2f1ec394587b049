/* For the tests of map requests and sessions: what clients read from maps. */
#ifndef CONTROL_TESTING_MAPS_H
#define CONTROL_TESTING_MAPS_H

#include "base/time.h"
#include "control/testing.h"

/* The element of the list `key` whose `id_key` is `id`; null when there is none. */
const struct json *map_member(const struct json *map, const char *key, const char *id_key, uint64_t id);

/* Whether a message is a keep-alive. */
bool map_is_keep_alive(const struct json *map);

/* Whether the self node of a map has a key that has expired. */
bool map_is_past(const struct json *self);

/* What a client makes of frames: is the peer there, and what was last said of it. */
struct view {
    bool is_there;
    bool is_online;
    uint64_t home_derp;
    size_t endpoints_n;
    struct str key, name;
    uint64_t fulls; /* maps with a self node and peers */
};

/* What the poll has said of a node so far. src: docs/protocol/control.md 6.7: order of application */
struct view poll_view(struct reply *poll, uint64_t id);

/* Until what the poll says of the node makes `condition` (of `v`) true. */
#define WAIT_VIEW(poll, id, condition)                                                                                 \
    do {                                                                                                               \
        struct view v;                                                                                                 \
        RIG_WAIT(rig, (v = poll_view((poll), (id)), (condition)) || (poll)->is_ended);                                 \
        assert_true(condition);                                                                                        \
    } while (0)

/* Its poll, with the first map there; gives the node's id. */
uint64_t poll_begin(struct client *c, struct reply *poll, const struct device *d, unsigned flags);

/* Ends the poll and waits until the server has noticed. */
void poll_end(struct client *c, struct reply *poll);

/* Ends the poll and its connection. */
void poll_finish(struct client *c, struct reply *poll);

/* As if so many seconds had passed. */
void control_rig_pass_seconds(unsigned worker, int64_t seconds);

/* A first map is complete: the device itself, and all that a client needs. */
void assert_first_map(const struct json *map, const struct device *d);

#endif
