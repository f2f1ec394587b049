/* What the database holds is checked like anything from outside: disks fail, people edit. These checks are common to
 * several kinds of rows. */
#include "codec/json.h"
#include "state/state_internal.h"

enum rc state_load_check_id(uint64_t id, struct err *err)
{
    if (id == 0 || id >> ROW_ID_BITS != 0)
        return err_set(err, RC_INVALID, "its id is no id");
    return RC_OK;
}

static int64_t year_of_calendar(int64_t unix_ms)
{
    const int64_t last = 253402300799999; /* of the year 9999 */
    return unix_ms < 0 ? 0 : unix_ms > last ? last : unix_ms;
}

void state_load_fit_time(int64_t *unix_ms)
{
    *unix_ms = year_of_calendar(*unix_ms);
}

/* A date before 1970 becomes 1 ms, not 0, which would mean never. */
void state_load_fit_expiry(int64_t *unix_ms)
{
    if (*unix_ms != NO_EXPIRY)
        *unix_ms = *unix_ms <= 0 ? 1 : year_of_calendar(*unix_ms);
}

enum rc state_load_check_tags(const struct rcbuf *tags, struct err *err)
{
    struct arena a = {0};
    const struct json *root;
    struct str tag;
    enum rc rc = RC_OK;
    if (tags == NULL)
        return RC_OK;
    if (json_parse(&a, str_n(tags->data, tags->len), NULL, &root, NULL) != RC_OK || json_type_of(root) != JSON_ARRAY ||
        json_len(root) == 0 || json_len(root) > TAGS_MAX)
        rc = err_set(err, RC_INVALID, "column tags is no list of tags");
    for (const struct json *it = rc == RC_OK ? json_first(root) : NULL; it != NULL && rc == RC_OK; it = json_next(it)) {
        /* Without escapes: tags are sent to clients, and compared, as bytes. */
        if (!json_str(it, &tag) || !node_tag_is_valid(tag) || json_raw(it).len != tag.len + 2)
            rc = err_set(err, RC_INVALID, "column tags has something that is no tag");
    }
    arena_fini(&a);
    return rc;
}
