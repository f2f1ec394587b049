/* `relays create` */
#include "cli/cli_internal.h"

enum cli_exit cli_relays_create(struct cli_run *run)
{
    const struct json *reply;
    enum cli_exit status = cli_operation(run, "relays.create",
                                         CLI_GIVEN({"name", cli_arg(run, 0)}, {"regionId", cli_value(run, "region-id")},
                                                   {"regionCode", cli_value(run, "region-code")},
                                                   {"regionName", cli_value(run, "region-name")}),
                                         &reply);
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
