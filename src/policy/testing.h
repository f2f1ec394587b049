/* For the tests of this module and of those above it. */
#ifndef POLICY_TESTING_H
#define POLICY_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "policy/policy.h"

#define TEST_TAGS "\"tagOwners\":{\"tag:server\":[],\"tag:client\":[],\"tag:router\":[],\"tag:exit\":[]},"

/* Reads a policy, which must be accepted. The caller owns the document. */
struct policy_doc *test_parse(const char *text);
/* Asserts that the policy is refused, and that its first error has this position and contains `sentence`. */
void test_refused(const char *text, const char *sentence, int line, int col);

#endif
