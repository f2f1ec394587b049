/* What a client knows of a node, as a number: equal looks have equal numbers, so that a million of them compare as
 * fast as they are counted. Texts are numbered the same way. Nothing is forgotten until look_fini. */
#ifndef SIM_LOOK_H
#define SIM_LOOK_H

#include <stdint.h>

#include "base/buf.h"
#include "codec/json.h"

/* 0: absent. */
typedef uint32_t text_id;
typedef uint32_t look_id;

/* The number of a text, and back. 0 is the empty text. */
text_id text_number(struct str s);
struct str text_of(text_id id);

/* The members of a node as they stand on the wire; lists as sets. */
enum look_field {
    LOOK_STABLE_ID,
    LOOK_NAME,
    LOOK_USER,
    LOOK_KEY,
    LOOK_MACHINE,
    LOOK_ADDRESSES,
    LOOK_ALLOWED,
    LOOK_PRIMARY,
    LOOK_CREATED,
    LOOK_AUTHORIZED,
    LOOK_TAGS,
    LOOK_KEY_EXPIRY,
    LOOK_DISCO,
    LOOK_ENDPOINTS,
    LOOK_HOME_DERP,
    LOOK_HOSTINFO,
    LOOK_CAP,
    LOOK_ONLINE,
    LOOK_LAST_SEEN,
    LOOK_EXPIRED,
    LOOK_CAPS,
    LOOK_FIELDS
};
struct look {
    text_id f[LOOK_FIELDS];
};
extern const char *const look_names[LOOK_FIELDS];

/* The number of a look, and back. */
look_id look_number(const struct look *l);
const struct look *look_of(look_id id);
/* Reads a node. Ends the test when it has a member that is not known here. */
void look_read(const struct json *node, struct look *out, uint64_t *id_out, uint64_t *user_out);
/* One member's value in the form in which looks keep it. */
text_id look_value(enum look_field f, const struct json *value);
/* The elements, sorted: sets of texts as one text. 0 for none. */
text_id look_set(struct str *v, size_t n);
/* Appends the members that are there, for messages. */
void look_format(look_id id, struct buf *out);
/* How many looks have a number. */
size_t look_count(void);
/* Forgets all looks and texts. */
void look_fini(void);

#endif
