/* `relays ...` */
#include "cli/cli_internal.h"

static void write_spec(struct cli_run *run, struct buf *body)
{
    static const char *const members[][2] = {
        {"region-id", "regionId"}, {"region-code", "regionCode"}, {"region-name", "regionName"}};
    struct json_writer w;
    json_w_init(&w, body);
    json_w_object(&w);
    json_w_kv_cstr(&w, "name", cli_arg(run, 0));
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (cli_value(run, members[i][0]) != NULL)
            json_w_kv_cstr(&w, members[i][1], cli_value(run, members[i][0]));
    }
    json_w_end_object(&w);
}

enum cli_exit cli_relays_create(struct cli_run *run)
{
    const struct json *reply;
    struct buf body = {0};
    write_spec(run, &body);
    enum cli_exit status = cli_api(run, "POST", "/relay", &body, &reply);
    buf_fini(&body);
    if (status != CLI_EXIT_OK)
        return status;
    const struct json *relay = json_get(reply, "relay");
    if (cli_emit(run, relay))
        return CLI_EXIT_OK;
    cli_say(run, "%s", cli_text(run, relay, "key"));
    if (run->cfg == NULL)
        return CLI_EXIT_OK;
    cli_hint(run, "On the machine of the relay (the command asks for this key):");
    cli_hint(run, "  fullscale relay --server %s --key -", run->cfg->server_url);
    return CLI_EXIT_OK;
}

enum cli_exit cli_relays_list(struct cli_run *run)
{
    static const char *const titles[] = {"ID", "NAME", "REGION", "REGION NAME", "UP", "HOST", "LAST SEEN", "KEY", NULL};
    const struct json *reply;
    struct cli_table table;
    enum cli_exit status = cli_api(run, "GET", "/relay", NULL, &reply);
    const struct json *relays = json_get(reply, "relays");
    if (status != CLI_EXIT_OK || cli_emit(run, relays))
        return status;
    cli_table_init(&table, run, titles);
    table.if_empty = "No relays on other machines. Enrol one with `fullscale relays create NAME`";
    JSON_EACH (it, relays) {
        cli_table_add(&table, cli_text(run, it, "id"));
        cli_table_add(&table, cli_text(run, it, "name"));
        cli_table_add(&table, cli_text(run, it, "regionId"));
        cli_table_add(&table, cli_text(run, it, "regionName"));
        cli_table_add(&table, cli_is_true(it, "up") ? "yes" : "no");
        cli_table_add(&table, cli_text(run, it, "hostname"));
        cli_table_add(&table, cli_time(run, it, "lastSeen"));
        cli_table_add(&table, cli_text(run, it, "key"));
    }
    cli_table_finish(&table);
    return CLI_EXIT_OK;
}

/* Finds the relay that --identifier or the argument names, by id or name. */
static enum cli_exit named_relay(struct cli_run *run, const struct json **out)
{
    const struct json *reply;
    const char *text = cli_value(run, "identifier");
    if (text == NULL)
        text = cli_arg(run, 0);
    if (text == NULL)
        return cli_usage(run, "name the relay by its id or name");
    enum cli_exit status = cli_api(run, "GET", "/relay", NULL, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    JSON_EACH (it, json_get(reply, "relays")) {
        *out = it;
        if (strcmp(cli_text(run, it, "id"), text) == 0 || strcmp(cli_text(run, it, "name"), text) == 0)
            return CLI_EXIT_OK;
    }
    return cli_fail(run, CLI_EXIT_NOT_FOUND, "there is no relay '%s': see `fullscale relays list`", text);
}

enum cli_exit cli_relays_delete(struct cli_run *run)
{
    const struct json *relay = NULL, *reply;
    enum cli_exit status = named_relay(run, &relay);
    if (status != CLI_EXIT_OK)
        return status;
    const char *name = cli_text(run, relay, "name");
    status = cli_confirm(run, "Delete the relay %s?", name);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_api(run, "DELETE", arena_printf(&run->arena, "/relay/%s", cli_text(run, relay, "id")), NULL, &reply);
    if (status == CLI_EXIT_OK && !cli_emit(run, reply))
        cli_say(run, "Relay %s deleted", name);
    return status;
}
