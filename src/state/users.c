#include <stdio.h>

#include "base/mem.h"
#include "state/state_internal.h"

static const struct user *find_exact(const struct state *st, struct str name)
{
    return map_get(&st->users_by_name, name.p, name.len);
}

/* Rows of older versions may differ in case alone: each is found by its exact name, and else the first by id. */
static const struct user *find_whatever_case(const struct state *st, struct str name)
{
    const struct user *u, *found = NULL;
    for (size_t pos = 0; (u = state_user_next(st, &pos)) != NULL;) {
        if (str_eq_ci(str_c(u->name), name) && (found == NULL || u->id < found->id))
            found = u;
    }
    return found;
}

const struct user *state_user_by_name(const struct state *st, struct str name)
{
    const struct user *u = find_exact(st, name);
    if (u == NULL)
        u = find_whatever_case(st, name);
    /* The form in which policies write a user without a domain. */
    if (u == NULL && str_ends(name, STR("@")))
        u = find_whatever_case(st, str_n(name.p, name.len - 1));
    return u;
}

/* src: Headscale 0.30-dev hscontrol/util: at least two characters, begins with a letter, letters digits - . _ and one
 * @. A single letter is accepted as well: it was there. */
static enum rc check_name(struct str name, struct err *err)
{
    if (name.len == 0)
        return err_set(err, RC_INVALID, "the user name is empty");
    if (name.len >= USER_NAME_CAP)
        return err_set(err, RC_INVALID, "the user name is longer than %d bytes", USER_NAME_CAP - 1);
    char first = (char)(name.p[0] | 0x20);
    if (first < 'a' || first > 'z')
        return err_set(err, RC_INVALID, "the user name '%.*s' does not begin with a letter", STR_ARG(name));
    unsigned ats = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        ats += c == '@';
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_' && c != '@')
            return err_set(err, RC_INVALID,
                           "the user name '%.*s' has a character other than letters, digits, '-', '.', '_' and '@'",
                           STR_ARG(name));
    }
    if (name.p[name.len - 1] == '@')
        return err_set(err, RC_INVALID,
                       "the user name '%.*s' ends with '@': that is how a policy writes the user '%.*s'", STR_ARG(name),
                       (int)(name.len - 1), name.p);
    if (ats > 1)
        return err_set(err, RC_INVALID, "the user name '%.*s' has more than one '@'", STR_ARG(name));
    return RC_OK;
}

static void copy_text(char *out, size_t cap, struct str text)
{
    snprintf(out, cap, "%.*s", STR_ARG(text));
}

static void index_user(struct state *st, const struct user *u)
{
    map_put(&st->users, &u->id, sizeof(u->id), (void *)u);
    map_put(&st->users_by_name, u->name, strlen(u->name), (void *)u);
}

static void unindex_user(struct state *st, const struct user *u)
{
    map_remove(&st->users, &u->id, sizeof(u->id));
    map_remove(&st->users_by_name, u->name, strlen(u->name));
}

static void users_changed(struct state *st)
{
    st->users_dirty = true;
    state_policy_users_changed(st);
}

static enum rc check_row(const struct state *st, const struct user *u, struct err *err)
{
    TRY(state_load_check_id(u->id, err));
    if (u->id == TAGGED_DEVICES_USER)
        return err_set(err, RC_INVALID, "its id is that of tagged devices");
    if (u->name[0] == '\0')
        return err_set(err, RC_INVALID, "column name is empty");
    if (state_user(st, u->id) != NULL || find_exact(st, str_c(u->name)) != NULL)
        return err_set(err, RC_INVALID, "another row has the same id or name");
    return RC_OK;
}

enum rc state_load_user(struct state *st, struct user *u, struct err *err)
{
    TRY(check_row(st, u, err));
    state_load_fit_time(&u->created_ms);
    index_user(st, u);
    state_policy_users_changed(st);
    return RC_OK;
}

enum rc state_user_create(struct state *st, const struct user_spec *spec, int64_t now_ms, const struct user **out,
                          struct err *err)
{
    TRY(check_name(spec->name, err));
    if (state_user_by_name(st, spec->name) != NULL)
        return err_set(err, RC_EXISTS, "there is a user named '%.*s' already", STR_ARG(spec->name));
    if (spec->display_name.len >= USER_NAME_CAP || spec->email.len >= USER_NAME_CAP || spec->picture_url.len >= 256)
        return err_set(err, RC_INVALID, "display name, e-mail (%d bytes each) or picture URL (255) is too long",
                       USER_NAME_CAP - 1);
    struct user *u = user_create();
    u->id = row_next_id(st, &entity_user);
    if (u->id == TAGGED_DEVICES_USER)
        u->id = row_next_id(st, &entity_user);
    copy_text(u->name, sizeof(u->name), spec->name);
    copy_text(u->display_name, sizeof(u->display_name), spec->display_name);
    copy_text(u->email, sizeof(u->email), spec->email);
    copy_text(u->picture_url, sizeof(u->picture_url), spec->picture_url);
    u->created_ms = now_ms;
    u->role = st->users.n == 0 ? USER_OWNER : USER_MEMBER;
    index_user(st, u);
    state_put(st, &entity_user, NULL, &u->row);
    event_note(st, EVENT_USER_CREATED, &entity_user, NULL, u);
    users_changed(st);
    *out = u;
    return RC_OK;
}

/* Puts the changed copy in place of `old`. */
static void user_replace(struct state *st, const struct user *old, struct user *u, enum event_kind what)
{
    state_put(st, &entity_user, &old->row, &u->row);
    event_note(st, what, &entity_user, old, u);
    unindex_user(st, old);
    user_unref(&old);
    index_user(st, u);
    users_changed(st);
}

enum rc state_user_rename(struct state *st, user_id id, struct str name, const struct user **out, struct err *err)
{
    const struct user *old = state_user(st, id);
    if (old == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no user with id %llu", (unsigned long long)id);
    TRY(check_name(name, err));
    const struct user *holder = state_user_by_name(st, name);
    if (holder != NULL && holder != old)
        return err_set(err, RC_EXISTS, "there is a user named '%.*s' already", STR_ARG(name));
    *out = old;
    if (str_eq_c(name, old->name))
        return RC_OK;
    struct user *u = user_edit(old);
    copy_text(u->name, sizeof(u->name), name);
    user_replace(st, old, u, EVENT_USER_RENAMED);
    *out = u;
    return RC_OK;
}

enum rc state_user_set_role(struct state *st, user_id id, enum user_role role, const struct user **out, struct err *err)
{
    const struct user *old = state_user(st, id);
    if (old == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no user with id %llu", (unsigned long long)id);
    *out = old;
    if (role == old->role)
        return RC_OK;
    struct user *u = user_edit(old);
    u->role = role;
    user_replace(st, old, u, EVENT_USER_ROLE_CHANGED);
    *out = u;
    return RC_OK;
}

static unsigned count_nodes(const struct state *st, user_id id)
{
    unsigned n = 0;
    for (node_id i = 1; i < st->records_cap; i++) {
        const struct node_record *e = node_record_of(st, i);
        n += e != NULL && e->node->user == id && e->node->tags == NULL;
    }
    return n;
}

static void delete_keys_of(struct state *st, user_id id)
{
    struct id_list doomed = {0};
    for (size_t pos = 0;;) {
        const struct auth_key *k = state_key_next(st, &pos);
        if (k == NULL)
            break;
        if (k->user == id)
            id_list_push(&doomed, k->id);
    }
    for (size_t i = 0; i < doomed.n; i++) {
        enum rc rc = state_key_delete(st, doomed.ids[i], NULL);
        (void)rc; /* it was there a moment ago */
    }
    mem_free(doomed.ids);
}

enum rc state_user_delete(struct state *st, user_id id, struct err *err)
{
    const struct user *u = state_user(st, id);
    if (u == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no user with id %llu", (unsigned long long)id);
    unsigned nodes = count_nodes(st, id);
    if (nodes > 0)
        return err_set(err, RC_IN_USE, "user '%s' still has %u node%s; delete them first (nodes list --user %s)",
                       u->name, nodes, nodes == 1 ? "" : "s", u->name);
    delete_keys_of(st, id);
    state_put(st, &entity_user, &u->row, NULL);
    event_note(st, EVENT_USER_DELETED, &entity_user, u, NULL);
    unindex_user(st, u);
    user_unref(&u);
    users_changed(st);
    return RC_OK;
}

void user_restore(struct state *st, user_id id, const struct user *before, int64_t now_ms)
{
    (void)now_ms;
    const struct user *now = state_user(st, id);
    if (now != NULL)
        unindex_user(st, now);
    user_unref(&now);
    if (before != NULL)
        index_user(st, user_ref(before));
    state_policy_users_changed(st);
}
