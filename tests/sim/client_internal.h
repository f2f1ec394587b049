/* Inside the client: a message, read. */
#ifndef SIM_CLIENT_INTERNAL_H
#define SIM_CLIENT_INTERNAL_H

#include "sim/client.h"

enum op_kind { OP_REMOVE, OP_SET, OP_PATCH };

struct op {
    enum op_kind kind;
    uint32_t id;
    look_id look;
    uint32_t patch; /* index */
    uint64_t user;
};

struct patch {
    uint32_t mask; /* of fields */
    struct look look;
};

struct message {
    struct op *ops; /* in the order in which a client does them */
    size_t op_n, op_cap;
    struct patch *patches;
    size_t patch_n, patch_cap;
    bool is_all_peers; /* they replace what was there */
    node_id self_id;
    look_id self;
    text_id derp_map, dns, ssh, domain, profiles;
    struct rcbuf *filter;
};

/* A buffer, read: whole messages, or a part of the list of peers of one. */
struct read_bytes {
    struct rcbuf *bytes;     /* reference */
    struct message *message; /* heap */
    size_t message_n, message_cap;
    bool is_list;
    char glue; /* ',' or ']': nothing but that */
};

/* --- client_read.c --- */

/* Frees what they hold. */
void message_fini(struct message *t);
void read_destroy(struct read_bytes *r);
/* Decompresses a message, if it is compressed. */
void message_decode(enum netmap_coding coding, struct str bytes, struct buf *out);
/* Members of `more` replace those of `table`. */
text_id profiles_merge(text_id table, text_id more);
/* Appends what a client has to do after the message. */
void message_read(struct message *t, struct str text);
/* The length in front of a message. */
size_t message_length_at(const uint8_t *at);
/* The buffer is one message or several, with their lengths. */
bool read_is_whole(const struct rcbuf *b);
/* Null: it has not been read, or is forgotten. */
struct read_bytes *read_find(const struct rcbuf *b);
/* Kept when another reference to the bytes exists: other clients may be sent them. `*is_kept_out`: else the caller
 * destroys it. */
struct read_bytes *read_get(struct rcbuf *b, enum netmap_coding coding, bool whole, bool *is_kept_out);

#endif
