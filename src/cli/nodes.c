/* `nodes ...` */
#include "cli/cli_internal.h"

#include "base/clock.h"
#include "base/time.h"

static const char *status_of(const struct json *node)
{
    if (cli_is_true(node, "expired"))
        return "expired";
    return cli_is_true(node, "online") ? "online" : "offline";
}

static const char *owner_of(struct cli_run *run, const struct json *node)
{
    const char *tags = cli_joined(run, node, "tags");
    return tags[0] != '\0' ? tags : cli_text(run, json_get(node, "user"), "name");
}

enum cli_exit cli_nodes_list(struct cli_run *run)
{
    static const char *const titles[] = {"ID", "NAME", "OWNER", "ADDRESSES", "STATUS", "LAST SEEN", "EXPIRES", NULL};
    const char *user = cli_value(run, "user");
    const struct json *reply;
    struct cli_table table;
    enum cli_exit status = cli_operation(run, "nodes.list", CLI_GIVEN({"user", user}), &reply);
    const struct json *nodes = json_get(reply, "nodes");
    if (status != CLI_EXIT_OK || cli_emit(run, nodes))
        return status;
    cli_table_init(&table, run, titles);
    table.if_empty = user != NULL ? arena_printf(&run->arena, "The user %s has no nodes", user)
                                  : "No nodes yet. Make a key with `fullscale preauthkeys create`, then join";
    JSON_EACH (it, nodes) {
        cli_table_add(&table, cli_text(run, it, "id"));
        cli_table_add(&table, cli_text(run, it, "givenName"));
        cli_table_add(&table, owner_of(run, it));
        cli_table_add(&table, cli_joined(run, it, "ipAddresses"));
        cli_table_add(&table, status_of(it));
        cli_table_add(&table, cli_time(run, it, "lastSeen"));
        cli_table_add(&table, cli_time(run, it, "expiry"));
    }
    cli_table_finish(&table);
    return CLI_EXIT_OK;
}

enum cli_exit cli_named_node(struct cli_run *run, const char *arg, const struct json **out)
{
    const char *text = cli_value(run, "identifier");
    if (text == NULL)
        text = arg;
    if (text == NULL)
        return cli_usage(run, "name the node: `fullscale nodes %s %s`, or --identifier NODE", run->call.command->name,
                         run->call.command->args);
    return cli_find_node(run, text, out);
}

static void show_node(struct cli_run *run, const struct json *node)
{
    const struct {
        const char *title;
        const char *text;
    } rows[] = {
        {"Id", cli_text(run, node, "id")},
        {"Name", cli_text(run, node, "givenName")},
        {"Host name", cli_text(run, node, "name")},
        {"Owner", owner_of(run, node)},
        {"Addresses", cli_joined(run, node, "ipAddresses")},
        {"Status", status_of(node)},
        {"Last seen", cli_time(run, node, "lastSeen")},
        {"Created", cli_time(run, node, "createdAt")},
        {"Key expires", cli_time(run, node, "expiry")},
        {"Routes", cli_joined(run, node, "availableRoutes")},
        {"Approved", cli_joined(run, node, "approvedRoutes")},
        {"Serving", cli_joined(run, node, "subnetRoutes")},
        {"Ephemeral", cli_is_true(node, "ephemeral") ? "yes" : "no"},
        {"Machine key", cli_text(run, node, "machineKey")},
        {"Node key", cli_text(run, node, "nodeKey")},
        {"Disco key", cli_text(run, node, "discoKey")},
    };
    static const char *const titles[] = {"FIELD", "VALUE", NULL};
    struct cli_table table;
    cli_table_init(&table, run, titles);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cli_table_add(&table, rows[i].title);
        cli_table_add(&table, rows[i].text);
    }
    cli_table_finish(&table);
}

enum cli_exit cli_nodes_show(struct cli_run *run)
{
    const struct json *node;
    enum cli_exit status = cli_named_node(run, cli_arg(run, 0), &node);
    if (status == CLI_EXIT_OK && !cli_emit(run, node))
        show_node(run, node);
    return status;
}

enum cli_exit cli_node_call(struct cli_run *run, const struct json *node, const char *operation, struct cli_given given,
                            const char *done)
{
    const struct json *reply;
    enum cli_exit status = cli_operation(run, operation, CLI_GIVEN({"id", cli_text(run, node, "id")}, given), &reply);
    if (status != CLI_EXIT_OK)
        return status;
    const struct json *value = json_get(reply, "node");
    if (!cli_emit(run, value != NULL ? value : reply))
        cli_say(run, "Node %s %s", cli_text(run, node, "givenName"), done);
    return CLI_EXIT_OK;
}

enum cli_exit cli_nodes_rename(struct cli_run *run)
{
    const struct json *node;
    unsigned last = run->call.args_n - 1;
    const char *new_name = cli_arg(run, last);
    enum cli_exit status = cli_named_node(run, last > 0 ? cli_arg(run, 0) : NULL, &node);
    if (status != CLI_EXIT_OK)
        return status;
    return cli_node_call(run, node, "nodes.rename", (struct cli_given){"name", new_name},
                         arena_printf(&run->arena, "renamed to %s", new_name));
}

/* What an expire call says. False: --expiry is neither a time nor a duration. */
static bool take_expiry(struct cli_run *run, struct cli_given *out)
{
    char text[TIME_TEXT_CAP];
    int64_t ms;
    const char *expiry = cli_value(run, "expiry");
    *out = (struct cli_given){"expiry", expiry};
    if (cli_flag(run, "disable"))
        *out = (struct cli_given){"disableExpiry", "true"};
    if (expiry == NULL || strchr(expiry, 'T') != NULL)
        return true;
    if (str_to_duration_ms(str_c(expiry), &ms) != RC_OK)
        return false;
    time_format(clock_wall_ms() + ms, text);
    out->text = arena_str(&run->arena, str_c(text)).p;
    return true;
}

enum cli_exit cli_nodes_expire(struct cli_run *run)
{
    const struct json *node;
    struct cli_given when;
    bool is_never = cli_flag(run, "disable");
    if (is_never && cli_flag(run, "expiry"))
        return cli_usage(run, "give either --disable or --expiry, not both");
    if (!take_expiry(run, &when))
        return cli_usage(run, "--expiry must be a time such as 2026-12-31T00:00:00Z or a duration such as 30d");
    enum cli_exit status = cli_named_node(run, cli_arg(run, 0), &node);
    if (status != CLI_EXIT_OK)
        return status;
    return cli_node_call(run, node, "nodes.expire", when,
                         is_never                  ? "never expires"
                         : cli_flag(run, "expiry") ? "has a new expiry date"
                                                   : "expired");
}

enum cli_exit cli_nodes_delete(struct cli_run *run)
{
    const struct json *node;
    enum cli_exit status = cli_named_node(run, cli_arg(run, 0), &node);
    if (status != CLI_EXIT_OK)
        return status;
    status = cli_confirm(run, "Delete the node %s?", cli_text(run, node, "givenName"));
    if (status != CLI_EXIT_OK)
        return status;
    return cli_node_call(run, node, "nodes.delete", (struct cli_given){0}, "deleted");
}
