/* `users ...` */
#include "cli/cli_internal.h"

static enum cli_exit show_users(struct cli_run *run, const struct json *users)
{
    static const char *const titles[] = {"ID", "NAME", "DISPLAY NAME", "EMAIL", "ROLE", "CREATED", NULL};
    struct cli_table table;
    if (cli_emit(run, users))
        return CLI_EXIT_OK;
    cli_table_init(&table, run, titles);
    table.if_empty = cli_value(run, "name") != NULL || cli_value(run, "email") != NULL ||
                             cli_value(run, "identifier") != NULL
                         ? "There is no such user: see `fullscale users list`"
                         : "No users yet. Create one with `fullscale users create NAME`";
    JSON_EACH (it, users) {
        cli_table_add(&table, cli_text(run, it, "id"));
        cli_table_add(&table, cli_text(run, it, "name"));
        cli_table_add(&table, cli_text(run, it, "displayName"));
        cli_table_add(&table, cli_text(run, it, "email"));
        cli_table_add(&table, cli_text(run, it, "role"));
        cli_table_add(&table, cli_time(run, it, "createdAt"));
    }
    cli_table_finish(&table);
    return CLI_EXIT_OK;
}

enum cli_exit cli_users_create(struct cli_run *run)
{
    struct buf body = {0};
    struct json_writer w;
    const struct json *reply;
    static const char *const members[][2] = {
        {"display-name", "displayName"}, {"email", "email"}, {"picture-url", "pictureUrl"}};
    json_w_init(&w, &body);
    json_w_object(&w);
    json_w_kv_cstr(&w, "name", cli_arg(run, 0));
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (cli_flag(run, members[i][0]))
            json_w_kv_cstr(&w, members[i][1], cli_value(run, members[i][0]));
    }
    json_w_end_object(&w);
    enum cli_exit status = cli_api(run, "POST", "/user", &body, &reply);
    buf_fini(&body);
    if (status != CLI_EXIT_OK)
        return status;
    const struct json *user = json_get(reply, "user");
    if (!cli_emit(run, user))
        cli_say(run, "User %s created, id %s", cli_text(run, user, "name"), cli_text(run, user, "id"));
    cli_hint(run, "Next: `fullscale preauthkeys create --user %s`", cli_text(run, user, "name"));
    return CLI_EXIT_OK;
}

enum cli_exit cli_users_list(struct cli_run *run)
{
    static const char *const members[][2] = {{"identifier", "id"}, {"name", "name"}, {"email", "email"}};
    const char *path = "/user";
    const struct json *reply;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const char *value = cli_value(run, members[i][0]);
        if (value != NULL)
            path = arena_printf(&run->arena, "%s%c%s=%s", path, strcmp(path, "/user") == 0 ? '?' : '&', members[i][1],
                                cli_escape(run, value));
    }
    enum cli_exit status = cli_api(run, "GET", path, NULL, &reply);
    return status == CLI_EXIT_OK ? show_users(run, json_get(reply, "users")) : status;
}

/* Finds the user that --identifier, --name or the argument names. */
static enum cli_exit named_user(struct cli_run *run, const char *arg, const struct json **out)
{
    const char *text = cli_value(run, "identifier");
    if (text == NULL)
        text = cli_value(run, "name");
    if (text == NULL)
        text = arg;
    if (text == NULL)
        return cli_usage(run, "name the user: `fullscale users %s %s`, or --identifier ID", run->call.command->name,
                         run->call.command->args);
    return cli_find_user(run, text, out);
}

enum cli_exit cli_users_rename(struct cli_run *run)
{
    const struct json *user;
    const struct json *reply;
    const char *new_name = cli_value(run, "new-name");
    unsigned n = run->call.args_n;
    if (new_name == NULL && n > 0)
        new_name = cli_arg(run, --n);
    if (new_name == NULL)
        return cli_usage(run, "give the new name: `fullscale users rename USER NEW-NAME`");
    enum cli_exit status = named_user(run, n > 0 ? cli_arg(run, 0) : NULL, &user);
    if (status != CLI_EXIT_OK)
        return status;
    const char *path = arena_printf(&run->arena, "/user/%s/rename/%s", cli_text(run, user, "id"),
                                    cli_escape(run, new_name));
    status = cli_api(run, "POST", path, NULL, &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, json_get(reply, "user")))
        cli_say(run, "User renamed to %s", new_name);
    return status;
}

enum cli_exit cli_users_set_role(struct cli_run *run)
{
    const struct json *user;
    const struct json *reply;
    struct buf body = {0};
    struct json_writer w;
    unsigned last = run->call.args_n - 1;
    const char *role = cli_arg(run, last);
    enum cli_exit status = named_user(run, last > 0 ? cli_arg(run, 0) : NULL, &user);
    if (status != CLI_EXIT_OK)
        return status;
    json_w_init(&w, &body);
    json_w_object(&w);
    json_w_kv_cstr(&w, "role", role);
    json_w_end_object(&w);
    const char *path = arena_printf(&run->arena, "/user/%s/role", cli_text(run, user, "id"));
    status = cli_api(run, "POST", path, &body, &reply);
    buf_fini(&body);
    if (status == CLI_EXIT_OK && !cli_emit(run, json_get(reply, "user")))
        cli_say(run, "User %s is now %s", cli_text(run, user, "name"), role);
    return status;
}

enum cli_exit cli_users_delete(struct cli_run *run)
{
    const struct json *user;
    const struct json *reply;
    enum cli_exit status = named_user(run, cli_arg(run, 0), &user);
    if (status != CLI_EXIT_OK)
        return status;
    const char *name = cli_text(run, user, "name");
    status = cli_confirm(run, "Delete the user %s and their auth keys?", name);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_api(run, "DELETE", arena_printf(&run->arena, "/user/%s", cli_text(run, user, "id")), NULL, &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "User %s deleted", name);
    return status;
}
