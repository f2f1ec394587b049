/* The users and nodes of a case, read from JSON and put into a policy: shared by goldens.c and cases.c.
 *
 * A user has `id`, `name`, `email`, `role`. A node has `name`; `user` (a user's name) or `tags`; `ip4`, `ip6`;
 * `approved` (routes) and `primary` (those it is the global primary of); `attrs` (what postures ask about: text,
 * number or boolean), and `is_online` (true unless said otherwise). What is absent is empty. Node ids count from 1
 * in order, which is also the order of creation. */
#ifndef TESTS_GOLDENS_TAILNET_H
#define TESTS_GOLDENS_TAILNET_H

#include "codec/json.h"
#include "engine/engine.h"

enum { TAILNET_NODES_MAX = 64, TAILNET_USERS_MAX = 16, TAILNET_LIST_MAX = 32 };

struct tailnet_node {
    struct str name;
    struct engine_facts facts; /* points into this struct */
    struct str tags[TAILNET_LIST_MAX];
    struct engine_route routes[TAILNET_LIST_MAX];
    struct str route_text[TAILNET_LIST_MAX];
    struct policy_attr attrs[TAILNET_LIST_MAX];
    const struct json *at;
};

/* Texts are borrowed from the JSON. Not to be copied: nodes point into themselves. */
struct tailnet {
    struct tailnet_node node[TAILNET_NODES_MAX];
    size_t node_n;
    struct engine_user user[TAILNET_USERS_MAX];
    size_t user_n;
};

void tailnet_add_users(struct tailnet *t, const struct json *list);
/* A node whose name is there already is replaced, and keeps its id. */
void tailnet_add_node(struct tailnet *t, const struct json *node);
/* Null: there is none of this name. */
const struct engine_user *tailnet_user(const struct tailnet *t, struct str name);
const struct tailnet_node *tailnet_node(const struct tailnet *t, struct str name);
/* A policy with these users and nodes; takes the reference to `doc`. */
struct engine *tailnet_policy(const struct tailnet *t, struct policy_doc *doc);

/* "ADDRESS/BITS"; ends the program when it is something else. */
void tailnet_parse_prefix(struct str text, struct addr *addr_out, uint8_t *bits_out);

#endif
