/* Dates as RFC 3339 text. Pure; any thread. */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"

/* Room for a date as text, with its NUL. */
#define TIME_TEXT_CAP 32

/* Writes Unix milliseconds as "2026-11-23T01:02:03.123Z", without the fraction when it is zero. Years outside 1..9999
 * are clamped to the first or last millisecond that the format can write. */
void time_format(int64_t unix_ms, char out[TIME_TEXT_CAP]);

/* Reads "2026-11-23T01:02:03.123Z", also with an offset such as +01:30, as Unix milliseconds. A date in year 1 or
 * before is 0 (Go's zero time), and nothing else is: the start of 1970 is 1. A date that its offset moves beyond the
 * year 9999 is the last second of 9999. RC_INVALID for any other text. src: RFC 3339 5.6 */
MUST_CHECK enum rc time_parse(struct str text, int64_t *out_ms);

#endif
