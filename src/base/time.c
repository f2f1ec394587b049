#include "base/time.h"

#include <stdio.h>
#include <time.h>

void time_format(int64_t unix_ms, char out[TIME_TEXT_CAP])
{
    const int64_t first = -62135596800000, last = 253402300799999;
    unix_ms = unix_ms < first ? first : unix_ms > last ? last : unix_ms;
    int64_t s = unix_ms / 1000, ms = unix_ms % 1000;
    if (ms < 0) {
        ms += 1000;
        s--;
    }
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    int n = snprintf(out, TIME_TEXT_CAP, "%04d-%02d-%02dT%02d:%02d:%02d", (tm.tm_year + 1900) % 10000, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (ms != 0)
        snprintf(out + n, (size_t)(TIME_TEXT_CAP - n), ".%03dZ", (int)ms);
    else
        snprintf(out + n, (size_t)(TIME_TEXT_CAP - n), "Z");
}

static const int64_t LAST_SECOND = 253402300799; /* of the year 9999: the last that RFC 3339 can write */

static enum rc two_digits(const char *p, int low, int high, int *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return RC_INVALID;
    *out = (p[0] - '0') * 10 + p[1] - '0';
    return *out >= low && *out <= high ? RC_OK : RC_INVALID;
}

/* Days since 1970-01-01 of a proleptic Gregorian date. The usual arithmetic of eras: 400 years are 146097 days. */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* "Z", "+01:30" or "-08:00" to seconds. */
static enum rc zone_parse(struct str zone, int64_t *out_s)
{
    int hours, minutes;
    *out_s = 0;
    if (str_eq(zone, STR("Z")))
        return RC_OK;
    if (zone.len != 6 || (zone.p[0] != '+' && zone.p[0] != '-') || zone.p[3] != ':')
        return RC_INVALID;
    TRY(two_digits(zone.p + 1, 0, 23, &hours));
    TRY(two_digits(zone.p + 4, 0, 59, &minutes));
    *out_s = (zone.p[0] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return RC_OK;
}

enum rc time_parse(struct str text, int64_t *out_ms)
{
    int century, year, month, day, hour, minute, second;
    int64_t zone_s, ms = 0;
    const char *p = text.p;
    if (text.len < 20 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':')
        return RC_INVALID;
    TRY(two_digits(p, 0, 99, &century));
    TRY(two_digits(p + 2, 0, 99, &year));
    TRY(two_digits(p + 5, 1, 12, &month));
    TRY(two_digits(p + 8, 1, 31, &day));
    TRY(two_digits(p + 11, 0, 23, &hour));
    TRY(two_digits(p + 14, 0, 59, &minute));
    TRY(two_digits(p + 17, 0, 60, &second));
    size_t at = 19;
    if (p[at] == '.') {
        size_t digits = 0;
        for (at++; at < text.len && p[at] >= '0' && p[at] <= '9'; at++, digits++) {
            if (digits < 3)
                ms = ms * 10 + p[at] - '0';
        }
        if (digits == 0 || digits > 9)
            return RC_INVALID;
        for (; digits < 3; digits++)
            ms *= 10;
    }
    TRY(zone_parse(str_n(p + at, text.len - at), &zone_s));
    year += century * 100;
    int64_t s = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - zone_s;
    if (s > LAST_SECOND) /* its offset moves it beyond year 9999: the last second of that year */
        s = LAST_SECOND;
    ms += s * 1000;
    *out_ms = year <= 1 ? 0 : ms == 0 ? 1 : ms;
    return RC_OK;
}
