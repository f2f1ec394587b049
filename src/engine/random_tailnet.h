/* A tailnet with a random policy, users, nodes and events, repeatable by its seed. For property tests. */
#ifndef ENGINE_RANDOM_TAILNET_H
#define ENGINE_RANDOM_TAILNET_H

#include "engine/tables.h"
#include "engine/testing.h"
#include "support/test_random.h"

enum { USERS = 6, IDS = 24 };

struct random_tailnet {
    struct test_random random;
    struct buf text; /* the policy */
    struct engine_user user[USERS];
    struct policy_doc *doc; /* reference */
    struct engine *p;       /* owned */
    /* The facts of every node now; id 0: there is no such node. */
    struct engine_facts node[IDS];
    struct str tag[IDS][2];
    struct engine_route route[IDS][3];
    struct policy_attr attr[IDS][1];
};

/* Runs the body for each node. */
#define NODE_EACH(it, f)                                                                                               \
    for (const struct engine_facts *it = (f)->node; it < (f)->node + IDS; it++)                                        \
        if (it->id != 0)
/* One element of an array. */
#define PICK(f, list) ((list)[random_below(f, ARRAY_LEN(list))])

/* Set-up and tear-down of a test: `*state` is the tailnet, with users; no policy and no engine yet. */
int random_setup(void **state);
int random_teardown(void **state);
/* 0 to n - 1. */
uint32_t random_below(struct random_tailnet *f, uint32_t n);
/* Writes a random policy to `text`. */
void random_policy(struct random_tailnet *f);
/* A random policy with an engine of its own, and some nodes; replaces those that there were. */
void random_begin(struct random_tailnet *f);
/* Makes the node of this index, or gives it other facts. */
void random_node(struct random_tailnet *f, uint32_t slot);
/* A node comes, changes or goes. */
void random_event(struct random_tailnet *f);
/* One of the nodes; null: there are none, or hardly any. */
const struct engine_facts *random_some_node(struct random_tailnet *f);
/* Everything that a node is sent of its access. */
void random_append_access(struct engine *p, uint64_t id, struct buf *out);
/* Prints policy and nodes, to explain a failure. */
void random_print(struct random_tailnet *f);

#endif
