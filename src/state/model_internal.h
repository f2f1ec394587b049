/* What the files of the model share; only for this folder. */
#ifndef STATE_MODEL_INTERNAL_H
#define STATE_MODEL_INTERNAL_H

#include <string.h>

#include "base/rcbuf.h"

/* Copies the members from offset `start` to `end`. The count of references at the start of an object is left out: it
 * belongs to all threads. */
static inline void copy_members(void *to, const void *from, size_t start, size_t end)
{
    memcpy((char *)to + start, (const char *)from + start, end - start);
}

/* Another reference; null is fine. */
static inline struct rcbuf *ref_or_null(struct rcbuf *b)
{
    return b != NULL ? rcbuf_ref(b) : NULL;
}

#endif
