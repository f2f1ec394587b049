/* Who may call what. src: Tailscale API v2, scopes; docs of Tailscale, user roles */
#include "api/operation.h"
#include "base/compiler.h"

static const char read_form[] = ":read";

static bool is_read_form(const char *scope)
{
    return str_ends(str_c(scope), str_c(read_form));
}

/* Whether who has `scope` may do what needs `wanted`. */
static bool includes(const char *scope, const char *wanted)
{
    size_t n = strlen(scope);
    if (strcmp(scope, wanted) == 0 || strcmp(scope, "all") == 0)
        return true;
    if (strcmp(scope, "all:read") == 0)
        return is_read_form(wanted);
    return strncmp(scope, wanted, n) == 0 && strcmp(wanted + n, read_form) == 0;
}

bool api_caller_has(const struct api_caller *caller, const char *scope)
{
    for (size_t i = 0; i < caller->scope_n; i++) {
        if (includes(caller->scopes[i], scope))
            return true;
    }
    return false;
}

/* Roles are no chain: each has the scopes of its work. Owners and admins have all. */
static const char *const network_admin[] = {"policy_file", "devices:routes", "relays", "all:read"};
static const char *const it_admin[] = {"users", "devices:core", "auth_keys", "all:read"};
static const char *const auditor[] = {"all:read"};
static const char *const everything[] = {"all"};

struct api_caller api_caller_with_all(const char *name)
{
    return (struct api_caller){.name = name, .scopes = everything, .scope_n = ARRAY_LEN(everything)};
}

struct api_caller api_caller_of_role(enum user_role role, const char *name)
{
    static const struct {
        const char *const *scopes;
        size_t n;
    } rows[USER_ROLES_N] = {
        [USER_OWNER] = {everything, ARRAY_LEN(everything)},
        [USER_ADMIN] = {everything, ARRAY_LEN(everything)},
        [USER_NETWORK_ADMIN] = {network_admin, ARRAY_LEN(network_admin)},
        [USER_IT_ADMIN] = {it_admin, ARRAY_LEN(it_admin)},
        [USER_AUDITOR] = {auditor, ARRAY_LEN(auditor)},
    };
    return (struct api_caller){.name = name, .scopes = rows[role].scopes, .scope_n = rows[role].n};
}
