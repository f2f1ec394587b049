/* The one way to compare with a limit. `limit - used` wraps as soon as `used` has grown beyond the limit, and then
 * everything fits: so nothing is ever subtracted from a limit (tools/check-house looks for it). Pure; any thread. */
#ifndef BASE_FITS_H
#define BASE_FITS_H

#include <stdbool.h>
#include <stddef.h>

/* Whether `more` may be added to what is `used` without going beyond `limit`. True for any three numbers only if the
 * true sum is at most `limit`. */
static inline bool fits(size_t used, size_t more, size_t limit)
{
    size_t sum;
    return !__builtin_add_overflow(used, more, &sum) && sum <= limit;
}

/* How much more may be added; 0 when `used` is beyond the limit already. */
static inline size_t room_under(size_t used, size_t limit)
{
    return used < limit ? limit - used : 0;
}

#endif
