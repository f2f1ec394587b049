/* The objects of the API v1, as tables of fields, and what writes one. src: Headscale 0.30-dev, REST API v1: Node,
 * User, PreAuthKey; members that it lacks come last. Each call writes one value. Pure; any thread that holds references
 * to the rows. */
#ifndef API_ROWS_H
#define API_ROWS_H

#include "api/object.h"
#include "base/rc.h"
#include "policy/errors.h"
#include "state/model.h"

/* The roles of users, in the order of enum user_role. */
#define API_ROLES "member owner admin network-admin it-admin billing-admin auditor"

/* Rows of the state. */
extern const struct op_object api_user_object, api_key_object, api_relay_object, api_node_object;
/* A version of the policy, without its text. */
extern const struct op_object api_version_object;
/* The part of it that is shown with the text. */
extern const struct op_object api_version_head_object;
/* What is wrong with a policy, or may be. */
extern const struct op_object api_policy_error_object;
/* The answer to a request that is refused. */
extern const struct op_object api_problem_object;
/* A struct log_module; a struct reach_reason; a struct reach_difference. */
extern const struct op_object api_log_level_object, api_policy_reason_object, api_policy_difference_object;
/* Answers that are no row: described here, written by their operations. */
extern const struct op_object api_health_object;
/* The policy that is in force, or a version; what is answered when it has been set, and tried. */
extern const struct op_object api_policy_object, api_policy_stored_object, api_policy_checked_object;
extern const struct op_object api_policy_why_object, api_policy_diff_object;

/* Null writes JSON null. */
void api_write_user(struct json_writer *w, const struct user *u);
/* `text`: the whole key, once; null shows its beginning only. `owner` may be null. */
void api_write_key(struct json_writer *w, const struct auth_key *k, const struct user *owner, const char *text);
/* `text`: as for keys. */
void api_write_relay(struct json_writer *w, const struct relay_host *r, const char *text);
/* `owner` and `key` (that it registered with) may be null. `scratch` is used for the node's Hostinfo. */
void api_write_node(struct json_writer *w, const struct node *n, const struct user *owner, const struct auth_key *key,
                    struct arena *scratch);
/* `newest`: the id of the version that is in force. */
void api_write_version(struct json_writer *w, const struct policy_text *t, uint64_t newest);

/* The array of errors or warnings of a policy: message, line, column. */
void api_write_policy_errors(struct json_writer *w, const struct policy_errors *errors);

/* The answer to a request that is refused with `rc`. `errors` may be empty. */
void api_write_problem(struct json_writer *w, int status, enum rc rc, const char *detail,
                       const struct policy_errors *errors);

#endif
