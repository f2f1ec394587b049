#include <stdio.h>
#include <stdlib.h>

#include "relay/rig_internal.h"

void rig_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}
