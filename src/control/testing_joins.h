/* For the tests of registration and of what bounds it. */
#ifndef CONTROL_TESTING_JOINS_H
#define CONTROL_TESTING_JOINS_H

#include "control/testing.h"

/* The counter of registrations with these labels. */
int64_t join_counter(const char *labels);

/* How many nodes there are; settles what the core was asked before. */
size_t control_rig_node_count(void);

/* A register request with this body gets 200, an error with these words, nothing else, and makes no node. */
void assert_join_refused(struct client *c, const char *body, const char *words);

#endif
