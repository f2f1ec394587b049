/* Rows of the state as the JSON of API v1. src: Headscale 0.30-dev, REST API v1: Node, User, PreAuthKey.
 * Each writes one value. Pure; any thread that holds references to the rows. */
#ifndef API_ROWS_H
#define API_ROWS_H

#include "base/arena.h"
#include "codec/json_write.h"
#include "policy/errors.h"
#include "state/model.h"

/* A member: an id as text. */
void api_write_id(struct json_writer *w, const char *key, uint64_t id);
/* A member: a time in milliseconds since 1970 as RFC 3339 text; 0 as null. */
void api_write_time(struct json_writer *w, const char *key, int64_t ms);
/* Null writes JSON null. */
void api_write_user(struct json_writer *w, const struct user *u);
/* `text`: the whole key, once; null shows its beginning only. `owner` may be null. */
void api_write_key(struct json_writer *w, const struct auth_key *k, const struct user *owner, const char *text);
/* `text`: as for keys. */
void api_write_relay(struct json_writer *w, const struct relay_host *r, const char *text);
/* `owner` and `key` (that it registered with) may be null. `scratch` is used for the node's Hostinfo. */
void api_write_node(struct json_writer *w, const struct node *n, const struct user *owner, const struct auth_key *key,
                    struct arena *scratch);

/* The array of errors or warnings of a policy: message, line, column. */
void api_write_policy_errors(struct json_writer *w, const struct policy_errors *errors);

#endif
