/* `serve`, `relay`, `health` and `log ...`. */
#include "cli/cli_internal.h"

enum cli_exit cli_serve(struct cli_run *run)
{
    if (!cli_need_config(run, false))
        return CLI_EXIT_CONFIG;
    return (enum cli_exit)run->program->serve(run->cfg);
}

enum cli_exit cli_relay(struct cli_run *run)
{
    if (!cli_need_relay_config(run))
        return CLI_EXIT_CONFIG;
    static const struct cli_secret secret = {
        "the relay's key", "key-file", "FULLSCALE_RELAY_KEY",
        "with --key-file FILE, in $FULLSCALE_RELAY_KEY, or on standard input (--key -)"};
    const char *key;
    enum cli_exit got = cli_secret(run, &secret, cli_value(run, "key"), &key);
    if (got != CLI_EXIT_OK)
        return got;
    return (enum cli_exit)run->program->relay(run->cfg, cli_value(run, "server"), key);
}

static void print_health(struct cli_run *run, const struct json *reply, bool is_good)
{
    struct str text;
    const char *fault = cli_text(run, reply, "databaseFault");
    cli_say(run, "%s", is_good ? "healthy" : fault[0] != '\0' ? fault : "the database does not answer");
    JSON_EACH (it, json_get(reply, "troubles")) {
        if (json_str(it, &text))
            cli_say(run, "but: %.*s", STR_ARG(text));
    }
}

enum cli_exit cli_health(struct cli_run *run)
{
    const struct json *reply;
    enum cli_exit status = cli_operation(run, "health.get", CLI_GIVEN_NONE, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    bool is_good = cli_is_true(reply, "databaseConnectivity");
    if (!cli_emit(run, reply))
        print_health(run, reply, is_good);
    return is_good ? CLI_EXIT_OK : CLI_EXIT_ERROR;
}

static enum cli_exit show_levels(struct cli_run *run, const struct json *reply)
{
    static const char *const titles[] = {"MODULE", "LEVEL", NULL};
    struct cli_table table;
    if (cli_emit(run, json_get(reply, "modules")))
        return CLI_EXIT_OK;
    cli_table_init(&table, run, titles);
    JSON_EACH (it, json_get(reply, "modules")) {
        cli_table_add(&table, cli_text(run, it, "module"));
        cli_table_add(&table, cli_text(run, it, "level"));
    }
    cli_table_finish(&table);
    return CLI_EXIT_OK;
}

enum cli_exit cli_log_level(struct cli_run *run)
{
    const struct json *reply;
    unsigned n = run->call.args_n;
    enum cli_exit status = n == 0 ? cli_operation(run, "log_levels.list", CLI_GIVEN_NONE, &reply)
                                  : cli_operation(run, "log_levels.set",
                                                  CLI_GIVEN({"module", n == 2 ? cli_arg(run, 0) : NULL},
                                                            {"level", cli_arg(run, n - 1)}),
                                                  &reply);
    return status == CLI_EXIT_OK ? show_levels(run, reply) : status;
}
