/* `users ...` */
#include "cli/cli_internal.h"

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
    status = cli_operation(run, "users.rename", CLI_GIVEN({"id", cli_text(run, user, "id")}, {"name", new_name}),
                           &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, json_get(reply, "user")))
        cli_say(run, "User renamed to %s", new_name);
    return status;
}

enum cli_exit cli_users_set_role(struct cli_run *run)
{
    const struct json *user;
    const struct json *reply;
    unsigned last = run->call.args_n - 1;
    const char *role = cli_arg(run, last);
    enum cli_exit status = named_user(run, last > 0 ? cli_arg(run, 0) : NULL, &user);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_operation(run, "users.set_role", CLI_GIVEN({"id", cli_text(run, user, "id")}, {"role", role}), &reply);
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
    status = cli_operation(run, "users.delete", CLI_GIVEN({"id", cli_text(run, user, "id")}), &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "User %s deleted", name);
    return status;
}
