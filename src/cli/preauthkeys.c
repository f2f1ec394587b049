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
    enum cli_exit status = cli_api(run, "GET", "/user", NULL, &reply);
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

static void write_key(struct cli_run *run, const char *user, int64_t life_ms, uint64_t max_nodes, struct buf *body)
{
    char text[TIME_TEXT_CAP];
    struct json_writer w;
    json_w_init(&w, body);
    json_w_object(&w);
    json_w_kv_cstr(&w, "user", user);
    json_w_kv_bool(&w, "reusable", cli_flag(run, "reusable"));
    json_w_kv_bool(&w, "ephemeral", cli_flag(run, "ephemeral"));
    if (life_ms > 0) {
        time_format(clock_wall_ms() + life_ms, text);
        json_w_kv_cstr(&w, "expiration", text);
    }
    json_w_key(&w, "aclTags");
    cli_write_list(&w, cli_flag(run, "tags") ? cli_value(run, "tags") : "");
    if (max_nodes > 0)
        json_w_kv_u64(&w, "maxNodes", max_nodes);
    if (cli_flag(run, "source")) {
        json_w_key(&w, "sources");
        cli_write_list(&w, cli_value(run, "source"));
    }
    json_w_end_object(&w);
}

enum cli_exit cli_preauthkeys_create(struct cli_run *run)
{
    const char *user = "";
    const char *expiration = cli_value(run, "expiration");
    const struct json *reply;
    struct buf body = {0};
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
    write_key(run, user, life_ms, max_nodes, &body);
    status = cli_api(run, "POST", "/preauthkey", &body, &reply);
    buf_fini(&body);
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

static const char *yes(const struct json *key, const char *name)
{
    return cli_is_true(key, name) ? "yes" : "no";
}

enum cli_exit cli_preauthkeys_list(struct cli_run *run)
{
    static const char *const titles[] = {"ID",   "KEY",     "USER",    "REUSABLE", "EPHEMERAL",
                                         "USED", "EXPIRES", "CREATED", "TAGS",     NULL};
    const char *user = cli_value(run, "user");
    const char *path = "/preauthkey";
    const struct json *reply;
    struct cli_table table;
    if (user != NULL)
        path = arena_printf(&run->arena, "/preauthkey?user=%s", cli_escape(run, user));
    enum cli_exit status = cli_api(run, "GET", path, NULL, &reply);
    const struct json *keys = json_get(reply, "preAuthKeys");
    if (status != CLI_EXIT_OK || cli_emit(run, keys))
        return status;
    cli_table_init(&table, run, titles);
    table.if_empty = user != NULL ? arena_printf(&run->arena, "The user %s has no auth keys", user)
                                  : "No auth keys. Create one with `fullscale preauthkeys create`";
    JSON_EACH (it, keys) {
        cli_table_add(&table, cli_text(run, it, "id"));
        cli_table_add(&table, cli_text(run, it, "key"));
        cli_table_add(&table, cli_text(run, json_get(it, "user"), "name"));
        cli_table_add(&table, yes(it, "reusable"));
        cli_table_add(&table, yes(it, "ephemeral"));
        cli_table_add(&table, yes(it, "used"));
        cli_table_add(&table, cli_time(run, it, "expiration"));
        cli_table_add(&table, cli_time(run, it, "createdAt"));
        cli_table_add(&table, cli_joined(run, it, "aclTags"));
    }
    cli_table_finish(&table);
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
    status = cli_api(run, "GET", "/preauthkey", NULL, &reply);
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
    struct buf body = {0};
    buf_printf(&body, "{\"id\":\"%s\"}", id);
    status = cli_api(run, "POST", "/preauthkey/expire", &body, &reply);
    buf_fini(&body);
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
    status = cli_api(run, "DELETE", arena_printf(&run->arena, "/preauthkey?id=%s", id), NULL, &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "Key %s deleted", id);
    return status;
}
