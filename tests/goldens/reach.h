/* Whether packets get through, asked of packet filters as clients read them. */
#ifndef TESTS_GOLDENS_REACH_H
#define TESTS_GOLDENS_REACH_H

#include "goldens/tailnet.h"

/* `want`: an object of questions and answers, "SOURCE -> NODE:PORT/PROTOCOL": true or false (tests/vectors/policy_cases
 * describes them). Appends to `why` what is answered otherwise, and what cannot be asked. */
void case_check_reach(const struct tailnet *t, struct engine *p, const struct json *want, struct buf *why);

#endif
