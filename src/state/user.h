/* Users: immutable rows, and the table of them that a snapshot has. */
#ifndef STATE_USER_H
#define STATE_USER_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/str.h"
#include "state/cache_slot.h"
#include "state/ids.h"
#include "state/row.h"

/* Which of the policy's role autogroups a user is in. In the order of enum policy_role; stored by number. */
enum user_role {
    USER_MEMBER,
    USER_OWNER,
    USER_ADMIN,
    USER_NETWORK_ADMIN,
    USER_IT_ADMIN,
    USER_BILLING_ADMIN,
    USER_AUDITOR,
};
enum { USER_ROLES_N = USER_AUDITOR + 1 };
/* "member", "owner", "network-admin"... Static. */
const char *user_role_name(enum user_role role);
/* RC_INVALID: there is no role of this name. */
MUST_CHECK enum rc user_role_parse(struct str name, enum user_role *out);
/* "owner, admin, ... or member", for messages. */
#define USER_ROLE_NAMES "owner, admin, network-admin, it-admin, billing-admin, auditor or member"

struct user {
    ROW_HEAD;
    char name[USER_NAME_CAP]; /* login name */
    char display_name[USER_NAME_CAP];
    char email[USER_NAME_CAP];
    char picture_url[256];
    int64_t created_ms;
    enum user_role role; /* the first user of a tailnet is its owner */
};

/* Zeroed; the caller owns the one reference. */
struct user *user_create(void);
/* A copy to change before it is shared; the caller owns the one reference. */
struct user *user_edit(const struct user *u);
/* Another reference to the user: the same pointer. */
const struct user *user_ref(const struct user *u);
/* Drops a reference and nulls the pointer; null is fine. */
void user_unref(const struct user **u);
/* Both null, or the same user with the same profile, which peers of the user's nodes see. */
bool user_looks_same(const struct user *a, const struct user *b);

/* All users of a snapshot. */
struct user_table {
    atomic_uint refs;
    size_t n;
    struct cache_slot cache;
    const struct user *users[]; /* ascending by id. References */
};

/* Another reference to the table: the same pointer. */
struct user_table *user_table_ref(struct user_table *t);
/* Drops a reference and nulls the pointer; null is fine. */
void user_table_unref(struct user_table **t);
/* The index of the user in t->users; t->n: it is not there. */
size_t user_table_find(const struct user_table *t, user_id id);

#endif
