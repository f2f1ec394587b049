/* Users and nodes by what people call them. */
#include <string.h>

#include "cli/cli_internal.h"

static bool is_text(struct cli_run *run, const struct json *object, const char *key, const char *text, bool with_case)
{
    struct str value = str_c(cli_text(run, object, key));
    return value.len > 0 && (with_case ? str_eq_c(value, text) : str_eq_ci(value, str_c(text)));
}

static unsigned count_text(struct cli_run *run, const struct json *list, const char *key, const char *text,
                           bool with_case, const struct json **out)
{
    unsigned n = 0;
    JSON_EACH (it, list) {
        if (is_text(run, it, key, text, with_case)) {
            *out = it;
            n++;
        }
    }
    return n;
}

/* The object of `list` of which one of `keys` is `text`, whatever its case; as it is written wins, and so do earlier
 * keys. */
static enum cli_exit pick(struct cli_run *run, const struct json *list, const char *const *keys, const char *text,
                          const char *what, const struct json **out)
{
    for (; *keys != NULL; keys++) {
        unsigned n = count_text(run, list, *keys, text, true, out);
        if (n == 0)
            n = count_text(run, list, *keys, text, false, out);
        if (n > 1)
            return cli_fail(run, CLI_EXIT_ERROR, "there are %u %ss with the %s \"%s\": name one by its id", n, what,
                            *keys, text);
        if (n == 1)
            return CLI_EXIT_OK;
    }
    return cli_fail(run, CLI_EXIT_NOT_FOUND, "there is no %s \"%s\": see `fullscale %ss list`", what, text, what);
}

enum cli_exit cli_find_user(struct cli_run *run, const char *text, const struct json **out)
{
    static const char *const keys[] = {"id", "name", "email", NULL};
    const struct json *reply;
    enum cli_exit status = cli_operation(run, "users.list", CLI_GIVEN_NONE, &reply);
    return status != CLI_EXIT_OK ? status : pick(run, json_get(reply, "users"), keys, text, "user", out);
}

static const struct json *node_with_address(struct cli_run *run, const struct json *nodes, const char *text)
{
    JSON_EACH (node, nodes) {
        JSON_EACH (ip, json_get(node, "ipAddresses")) {
            struct str address;
            if (json_str(ip, &address) && str_eq_c(address, text))
                return node;
        }
    }
    (void)run;
    return NULL;
}

enum cli_exit cli_find_node(struct cli_run *run, const char *text, const struct json **out)
{
    static const char *const keys[] = {"id", "givenName", "name", NULL};
    const struct json *reply;
    enum cli_exit status = cli_operation(run, "nodes.list", CLI_GIVEN_NONE, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    *out = node_with_address(run, json_get(reply, "nodes"), text);
    return *out != NULL ? CLI_EXIT_OK : pick(run, json_get(reply, "nodes"), keys, text, "node", out);
}
