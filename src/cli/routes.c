/* `nodes tag`, `nodes list-routes`, `nodes approve-routes` */
#include "cli/cli_internal.h"

/* The list from the option, else from the last argument; null: neither was given. `n_out`: how many arguments before it
 * name the node. */
static const char *list_of(struct cli_run *run, const char *option, unsigned *n_out)
{
    const char *list = cli_value(run, option);
    *n_out = run->call.args_n;
    return list == NULL && *n_out > 0 ? cli_arg(run, --*n_out) : list;
}

/* Whether only one word was given where a node and a list are needed. `n`: how many arguments name the node. */
static bool is_one_of_two(const struct cli_run *run, unsigned n)
{
    return n == 0 && run->call.args_n > 0 && !cli_flag(run, "identifier");
}

enum cli_exit cli_nodes_tag(struct cli_run *run)
{
    const struct json *node;
    unsigned n;
    const char *tags = list_of(run, "tags", &n);
    if (tags == NULL || tags[0] == '\0')
        return cli_usage(run, "give the tags: `fullscale nodes tag NODE tag:web,tag:prod`");
    if (is_one_of_two(run, n))
        return cli_usage(
            run, "give the node and its tags, not only \"%s\": `fullscale nodes tag NODE tag:web,tag:prod`", tags);
    enum cli_exit status = cli_named_node(run, n > 0 ? cli_arg(run, 0) : NULL, &node);
    if (status != CLI_EXIT_OK)
        return status;
    return cli_node_call(run, node, "nodes.set_tags", (struct cli_given){"tags", tags},
                         arena_printf(&run->arena, "is tagged %s", tags));
}

enum cli_exit cli_nodes_approve_routes(struct cli_run *run)
{
    const struct json *node;
    unsigned n;
    const char *routes = list_of(run, "routes", &n);
    if (routes == NULL)
        return cli_usage(run, "give the routes: --routes 10.0.0.0/8,192.168.0.0/24, or --routes '' for none");
    if (is_one_of_two(run, n))
        return cli_usage(run,
                         "give the node and its routes, not only \"%s\": `fullscale nodes approve-routes NODE "
                         "10.0.0.0/8,192.168.0.0/24`, or '' for none",
                         routes);
    enum cli_exit status = cli_named_node(run, n > 0 ? cli_arg(run, 0) : NULL, &node);
    if (status != CLI_EXIT_OK)
        return status;
    return cli_node_call(run, node, "nodes.approve_routes", (struct cli_given){"routes", routes},
                         routes[0] != '\0' ? arena_printf(&run->arena, "may serve %s", routes) : "may serve no routes");
}

/* --- list-routes --- */

static bool has_routes(const struct json *node)
{
    return json_len(json_get(node, "availableRoutes")) > 0 || json_len(json_get(node, "approvedRoutes")) > 0;
}

static void show_routes(struct cli_run *run, const struct json *nodes, const char *id)
{
    static const char *const titles[] = {"ID", "NAME", "ADVERTISED", "APPROVED", "SERVING", NULL};
    struct cli_table table;
    cli_table_init(&table, run, titles);
    table.if_empty = "No node advertises routes. A machine does after `tailscale set --advertise-routes=10.0.0.0/8`";
    JSON_EACH (it, nodes) {
        if (id != NULL ? strcmp(cli_text(run, it, "id"), id) != 0 : !has_routes(it))
            continue;
        cli_table_add(&table, cli_text(run, it, "id"));
        cli_table_add(&table, cli_text(run, it, "givenName"));
        cli_table_add(&table, cli_joined(run, it, "availableRoutes"));
        cli_table_add(&table, cli_joined(run, it, "approvedRoutes"));
        cli_table_add(&table, cli_joined(run, it, "subnetRoutes"));
    }
    cli_table_finish(&table);
}

/* Writes the nodes that have routes, or the one with this id, as JSON. */
static void write_routes(struct cli_run *run, const struct json *nodes, const char *id, struct buf *out)
{
    struct json_writer w;
    json_w_init(&w, out);
    json_w_array(&w);
    JSON_EACH (it, nodes) {
        if (id != NULL ? strcmp(cli_text(run, it, "id"), id) == 0 : has_routes(it))
            json_w_tree(&w, it);
    }
    json_w_end_array(&w);
}

static enum cli_exit emit_routes(struct cli_run *run, const struct json *nodes, const char *id)
{
    struct buf text = {0};
    const struct json *chosen;
    write_routes(run, nodes, id, &text);
    enum rc rc = json_parse(&run->arena, arena_str(&run->arena, buf_str(&text)), &json_limits_trusted, &chosen, NULL);
    buf_fini(&text);
    if (rc != RC_OK)
        return cli_fail(run, CLI_EXIT_ERROR, "the server's answer is too large");
    if (!cli_emit(run, chosen))
        show_routes(run, nodes, id);
    return CLI_EXIT_OK;
}

enum cli_exit cli_nodes_list_routes(struct cli_run *run)
{
    const struct json *reply, *node;
    const char *id = NULL;
    if (cli_flag(run, "identifier") || run->call.args_n > 0) {
        enum cli_exit found = cli_named_node(run, cli_arg(run, 0), &node);
        if (found != CLI_EXIT_OK)
            return found;
        id = cli_text(run, node, "id");
    }
    enum cli_exit status = cli_operation(run, "nodes.list", CLI_GIVEN_NONE, &reply);
    return status == CLI_EXIT_OK ? emit_routes(run, json_get(reply, "nodes"), id) : status;
}
