#include "state/user.h"

#include <string.h>

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"

struct user *user_create(void)
{
    struct user *u = MEM_NEW(struct user);
    atomic_init(&u->refs, 1);
    return u;
}

struct user *user_edit(const struct user *u)
{
    return (struct user *)row_copy(&entity_user, &u->row);
}

static const char *const role_names[USER_ROLES_N] = {
    [USER_MEMBER] = "member",     [USER_OWNER] = "owner",
    [USER_ADMIN] = "admin",       [USER_NETWORK_ADMIN] = "network-admin",
    [USER_IT_ADMIN] = "it-admin", [USER_BILLING_ADMIN] = "billing-admin",
    [USER_AUDITOR] = "auditor",
};

const char *user_role_name(enum user_role role)
{
    return role_names[role];
}

enum rc user_role_parse(struct str name, enum user_role *out)
{
    for (int i = 0; i < USER_ROLES_N; i++) {
        if (!str_eq_c(name, role_names[i]))
            continue;
        *out = (enum user_role)i;
        return RC_OK;
    }
    return RC_INVALID;
}

const struct user *user_ref(const struct user *u)
{
    refs_take(&u->refs);
    return u;
}

void user_unref(const struct user **at)
{
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_user, &row);
}

bool user_looks_same(const struct user *a, const struct user *b)
{
    if (a == b || a == NULL || b == NULL)
        return a == b;
    return a->id == b->id && strcmp(a->name, b->name) == 0 && strcmp(a->display_name, b->display_name) == 0 &&
           strcmp(a->email, b->email) == 0 && strcmp(a->picture_url, b->picture_url) == 0;
}

struct user_table *user_table_ref(struct user_table *t)
{
    refs_take(&t->refs);
    return t;
}

void user_table_unref(struct user_table **at)
{
    struct user_table *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    for (size_t i = 0; i < t->n; i++)
        user_unref(&t->users[i]);
    cache_slot_fini(&t->cache);
    mem_free(t);
}

size_t user_table_find(const struct user_table *t, user_id id)
{
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->users[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n && t->users[low]->id == id ? low : t->n;
}

/* --- rows --- */

static const struct column columns[] = {
    {COLUMN_OF("name", COLUMN_TEXT, struct user, name), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("display_name", COLUMN_TEXT, struct user, display_name)},
    {COLUMN_OF("email", COLUMN_TEXT, struct user, email)},
    {COLUMN_OF("picture_url", COLUMN_TEXT, struct user, picture_url)},
    {COLUMN_OF("created_ms", COLUMN_INT, struct user, created_ms)},
    {COLUMN_OF("role", COLUMN_INT, struct user, role), .max = USER_ROLES_N - 1, .since = 3},
};

const struct entity entity_user = {
    .name = "user",
    .table = "users",
    .number = 2,
    .since = 1,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .is_in_snapshot = true,
    .size = sizeof(struct user),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
};
