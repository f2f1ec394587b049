/* `preauthkeys ...` */
#include "cli/cli_internal.h"

#include "base/clock.h"
#include "base/time.h"

/* "anna, bert and 12 more" */
static const char *names_of(struct cli_run *run, const struct json *users)
{
    enum { SHOWN = 10 };
    struct buf out = {0};
    size_t n = 0, all = json_len(users);
    JSON_EACH (it, users) {
        if (n++ == SHOWN)
            break;
        buf_printf(&out, "%s%s", n > 1 ? ", " : "", cli_printable(run, cli_text(run, it, "name")));
    }
    if (all > SHOWN)
        buf_printf(&out, " and %zu more", all - SHOWN);
    const char *text = arena_str(&run->arena, buf_str(&out)).p;
    buf_fini(&out);
    return text;
}

/* The id of the user that --user names, or of the only user. */
static enum cli_exit owner_id(struct cli_run *run, const char **out)
{
    const struct json *user;
    const struct json *reply;
    const char *named = cli_value(run, "user");
    if (named != NULL) {
        enum cli_exit status = cli_find_user(run, named, &user);
        *out = status == CLI_EXIT_OK ? cli_text(run, user, "id") : "";
        return status;
    }
    /* Tagged nodes have no owner. */
    if (cli_flag(run, "tags")) {
        *out = "0";
        return CLI_EXIT_OK;
    }
    enum cli_exit status = cli_operation(run, "users.list", CLI_GIVEN_NONE, &reply);
    const struct json *users = json_get(reply, "users");
    if (status != CLI_EXIT_OK)
        return status;
    if (json_len(users) == 0)
        return cli_fail(run, CLI_EXIT_ERROR, "there is no user yet: create one with `fullscale users create NAME`");
    if (json_len(users) > 1)
        return cli_usage(run, "name the key's user: --user NAME, one of %s", names_of(run, users));
    *out = cli_text(run, json_first(users), "id");
    return CLI_EXIT_OK;
}

static const char *yes_or_no(const struct cli_run *run, const char *flag)
{
    return cli_flag(run, flag) ? "true" : "false";
}

/* `life_ms` 0: for ever. */
static enum cli_exit create(struct cli_run *run, const char *user, int64_t life_ms, const struct json **reply_out)
{
    char expiration[TIME_TEXT_CAP];
    const char *tags = cli_value(run, "tags");
    time_format(clock_wall_ms() + life_ms, expiration);
    return cli_operation(
        run, "auth_keys.create",
        CLI_GIVEN({"user", user}, {"reusable", yes_or_no(run, "reusable")}, {"ephemeral", yes_or_no(run, "ephemeral")},
                  {"expiration", life_ms > 0 ? expiration : NULL}, {"aclTags", tags != NULL ? tags : ""},
                  {"maxNodes", cli_value(run, "max-nodes")}, {"sources", cli_value(run, "source")}),
        reply_out);
}

enum cli_exit cli_preauthkeys_create(struct cli_run *run)
{
    const char *user = "";
    const char *expiration = cli_value(run, "expiration");
    const struct json *reply;
    int64_t life_ms = 3600000;
    if (expiration != NULL && strcmp(expiration, "never") == 0)
        life_ms = 0;
    else if (expiration != NULL && str_to_duration_ms(str_c(expiration), &life_ms) != RC_OK)
        return cli_usage(run, "--expiration must be a duration such as 30m, 24h or 90d, or 0 for ever");
    const char *most = cli_value(run, "max-nodes");
    uint64_t max_nodes = 0;
    if (most != NULL && (str_to_u64(str_c(most), &max_nodes) != RC_OK || max_nodes == 0 || max_nodes > UINT32_MAX))
        return cli_usage(run, "--max-nodes must be a whole number, 1 or more");
    if (most != NULL && !cli_flag(run, "reusable"))
        return cli_usage(run, "--max-nodes needs --reusable: other keys are for one node");
    enum cli_exit status = owner_id(run, &user);
    if (status != CLI_EXIT_OK)
        return status;
    status = create(run, user, life_ms, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    const struct json *key = json_get(reply, "preAuthKey");
    if (cli_emit(run, key))
        return CLI_EXIT_OK;
    cli_say(run, "%s", cli_text(run, key, "key"));
    if (run->cfg == NULL)
        return CLI_EXIT_OK;
    cli_hint(run, "On the machine that should join (with --force-reauth if it is logged in elsewhere):");
    cli_hint(run, "  tailscale up --login-server %s --auth-key %s", run->cfg->server_url, cli_text(run, key, "key"));
    return CLI_EXIT_OK;
}

/* "hskey-auth-0123456789ab-***" stands for every key that begins so. */
static bool is_key(struct cli_run *run, const struct json *key, const char *text)
{
    struct str shown = str_c(cli_text(run, key, "key"));
    if (strcmp(cli_text(run, key, "id"), text) == 0 || str_eq_c(shown, text))
        return true;
    while (shown.len > 0 && shown.p[shown.len - 1] == '*')
        shown.len--;
    return shown.len > 8 && str_starts(str_c(text), shown);
}

/* The id of the key that --id or the argument names. */
static enum cli_exit named_key(struct cli_run *run, const char **id)
{
    const struct json *reply;
    static const struct cli_secret secret = {"the auth key", NULL, NULL,
                                             "as an id (--id ID), or on standard input (-)"};
    const char *given = cli_value(run, "id"), *text;
    enum cli_exit status = cli_secret(run, &secret, given != NULL ? given : cli_arg(run, 0), &text);
    if (status != CLI_EXIT_OK)
        return status;
    if (text == NULL)
        return cli_usage(run, "name the key: --id ID");
    status = cli_operation(run, "auth_keys.list", CLI_GIVEN_NONE, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    JSON_EACH (it, json_get(reply, "preAuthKeys")) {
        if (is_key(run, it, text)) {
            *id = cli_text(run, it, "id");
            return CLI_EXIT_OK;
        }
    }
    return cli_fail(run, CLI_EXIT_NOT_FOUND, "there is no such auth key: see `fullscale preauthkeys list`");
}

enum cli_exit cli_preauthkeys_expire(struct cli_run *run)
{
    const char *id = "";
    const struct json *reply;
    enum cli_exit status = named_key(run, &id);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_operation(run, "auth_keys.expire", CLI_GIVEN({"id", id}), &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "Key %s expired", id);
    return status;
}

enum cli_exit cli_preauthkeys_delete(struct cli_run *run)
{
    const char *id = "";
    const struct json *reply;
    enum cli_exit status = named_key(run, &id);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_confirm(run, "Delete the auth key %s?", id);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_operation(run, "auth_keys.delete", CLI_GIVEN({"id", id}), &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "Key %s deleted", id);
    return status;
}
