/* What the readers of the sections share. A reader goes on after an error, so that all errors of a text are reported
 * at once. */
#ifndef POLICY_READER_INTERNAL_H
#define POLICY_READER_INTERNAL_H

#include "policy/document.h"

enum section {
    SECTION_GROUPS,
    SECTION_HOSTS,
    SECTION_IPSETS,
    SECTION_TAG_OWNERS,
    SECTION_ACLS,
    SECTION_GRANTS,
    SECTION_SSH,
    SECTION_AUTO_APPROVERS,
    SECTION_NODE_ATTRS,
    SECTION_POSTURES,
    SECTION_DEFAULT_POSTURE,
    SECTION_ATTR_CONFIG,
    SECTION_TESTS,
    SECTION_SSH_TESTS,
    SECTION_DERP_MAP,
    SECTION_DISABLE_IPV4,
    SECTION_ONE_CGNAT,
    SECTION_RANDOM_PORT,
    SECTION_N,
};

/* Further errors are only counted. */
enum { FOUND_MAX = 2000 };

struct found_error {
    size_t rank; /* the offset by which it is sorted */
    size_t order;
    size_t offset;
    const char *text;
};

struct reader {
    struct policy_doc *doc;
    const struct policy_options *opts;
    const struct policy_limits *limits;
    struct policy_errors *errors;
    struct found_error *found; /* heap */
    size_t found_n, found_cap, found_left_out;
    const struct json *section[SECTION_N];
    size_t rules_read;
    size_t selectors_read;
    size_t ipset_ranges; /* processed so far, to bound the work */
    size_t app_bytes;
    posture_set_id default_posture;
    bool wrote_member, wrote_members;
};

struct read_item {
    struct str text; /* trimmed */
    const struct json *at;
};
struct read_items {
    struct read_item *v;
    size_t n;
};

/* --- errors. `at`: the value that is wrong; null: the beginning of the text --- */

/* Reports an error at a value. */
void reader_fail(struct reader *r, const struct json *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same, but sorted among the errors as if the error were at offset `rank`. */
void reader_fail_ranked(struct reader *r, const struct json *rank, const struct json *at, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Reports what is read but has no effect here. Kept in the document; those beyond DOC_WARNINGS_MAX are only counted. */
void reader_warn(struct reader *r, const struct json *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The text in double quotes with JSON's escapes, shortened when very long. Valid as long as the errors. */
const char *reader_quote(struct reader *r, struct str s);
/* Puts the errors into the order of the text, and the first of them into `errors`. */
void reader_sort_errors(struct reader *r);
/* The offset of a value in the text. */
size_t reader_offset(const struct reader *r, const struct json *node);

/* --- values. `name` is what error messages call the field --- */

/* How unknown names are treated. One that is nearly a known one is always an error. */
enum fields {
    FIELDS_KNOWN, /* as an error: to leave it out might let more through */
    FIELDS_NOTES, /* as an error, except names that begin with '#' */
    FIELDS_LOOSE, /* as a warning */
};
/* Sorts the members of `obj` into `out`, one for each of `names` ("name" or "name|legacy name"), null when it is
 * absent. Reports unknown and duplicate ones. */
void reader_fields(struct reader *r, const struct json *obj, const char *const *names, size_t n, enum fields kind,
                   const struct json **out);
/* Whether there is a value of this type to read. False when it is absent or null, and, after an error, when it has
 * another type. */
bool reader_is(struct reader *r, const struct json *node, enum json_type type, const char *name);
/* The value as a list of strings, a string, a boolean; empty or false when there is none, or after an error. */
struct read_items reader_strings(struct reader *r, const struct json *node, const char *name);
struct str reader_string(struct reader *r, const struct json *node, const char *name);
bool reader_bool(struct reader *r, const struct json *node, const char *name);
/* The same list for the document: with offsets instead of JSON values. */
struct items reader_keep(struct reader *r, const struct read_items *items);
/* Adds `more` to a count. False when it exceeds the limit, which is reported the first time. */
bool reader_counted(struct reader *r, const struct json *at, size_t *count, size_t more, size_t limit,
                    const char *what);
/* Counts a selector in a list; an ipset counts with all its ranges. False when there are too many, which is
 * reported. */
bool reader_count_selector(struct reader *r, const struct json *at, sel_id sel);

/* --- selectors --- */

/* Makes the text a selector of the document. */
enum sel_fault reader_selector(struct reader *r, const struct read_item *item, sel_id *out);
/* The sentence about a fault. */
const char *reader_fault_text(struct reader *r, enum sel_fault fault, struct str text);
/* Warns that this server has no services. */
void reader_warn_service(struct reader *r, const struct json *at, struct str text);
/* Reads a list in which only selectors of the kinds `allowed` (SEL_BIT) are valid; others are reported as
 * "PREFIX..." and "... is not allowed as ROLE". */
struct sel_list reader_selectors(struct reader *r, const struct json *node, const char *name, unsigned allowed,
                                 const char *prefix, const char *role);
/* Whether users of this e-mail domain belong to the tailnet. */
bool reader_domain_is_ours(const struct reader *r, struct str domain);
/* Reads a list of postures as a set; without a list of its own: the default set. */
posture_set_id reader_posture_list(struct reader *r, const struct json *node, const char *name);
/* Reads srcPostureAttrs of a test. */
struct policy_attr *reader_posture_attrs(struct reader *r, const struct json *node, size_t *n_out);

/* --- sections, each into the document, in the order in which they are read --- */

void reader_groups(struct reader *r);
void reader_hosts(struct reader *r);
void reader_ipsets(struct reader *r);
void reader_tags(struct reader *r);
void reader_tag_owners(struct reader *r);
void reader_postures(struct reader *r);
void reader_rules(struct reader *r);
void reader_ssh(struct reader *r);
void reader_node_attrs(struct reader *r);
void reader_approvers(struct reader *r);
void reader_tests(struct reader *r);
void reader_ssh_tests(struct reader *r);
void reader_network(struct reader *r);

#endif
