/* `policy why` and `policy diff` */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli_internal.h"

/* --- policy why --- */

/* "policy.hujson:12  acls[0]" */
static void print_position(struct cli_run *run, const struct json *reply, const struct json *rule)
{
    static const char *const members[] = {"line", "section", "index"};
    const char *text[ARRAY_LEN(members)];
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        text[i] = cli_printable(run, cli_text(run, rule, members[i]));
    fprintf(run->out, "  %s:%s  %s[%s]", cli_printable(run, cli_text(run, reply, "file")), text[0], text[1], text[2]);
}

static void print_missing(struct cli_run *run, const struct json *rule)
{
    static const char *const parts[][2] = {
        {"hasSource", "the source"}, {"hasDestination", "the destination"}, {"hasPort", "the port or protocol"}};
    const char *sep = ": matches all but ";
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (cli_is_true(rule, parts[i][0]))
            continue;
        fprintf(run->out, "%s%s", sep, parts[i][1]);
        sep = " and ";
    }
    fputc('\n', run->out);
}

static enum cli_exit print_allowed(struct cli_run *run, const struct json *reply)
{
    const struct json *first = json_first(json_get(reply, "rules"));
    if (!cli_is_true(reply, "hasPolicy")) {
        cli_say(run, "Allowed: there is no policy, every node reaches every other");
    } else if (first == NULL || cli_text(run, first, "section")[0] == '\0') {
        cli_say(run, "Allowed: the policy has no rules, so every node reaches every other");
    } else {
        cli_say(run, "Allowed by");
        JSON_EACH (rule, json_get(reply, "rules")) {
            print_position(run, reply, rule);
            fputc('\n', run->out);
        }
    }
    return CLI_EXIT_OK;
}

enum cli_exit cli_policy_why(struct cli_run *run)
{
    const struct json *reply;
    const char *proto = cli_value(run, "proto");
    enum cli_exit status = cli_operation(
        run, "policy.why",
        CLI_GIVEN({"src", cli_arg(run, 0)}, {"dst", cli_arg(run, 1)}, {"proto", proto != NULL ? proto : ""}), &reply);
    if (status != CLI_EXIT_OK)
        return status;
    bool is_allowed = cli_is_true(reply, "allowed");
    if (cli_emit(run, reply))
        return is_allowed ? CLI_EXIT_OK : CLI_EXIT_ERROR;
    if (is_allowed)
        return print_allowed(run, reply);
    const struct json *closest = json_first(json_get(reply, "rules"));
    if (closest == NULL) {
        cli_say(run, "Not allowed: the policy has no rule that allows anything");
        return CLI_EXIT_ERROR;
    }
    cli_say(run, "Not allowed. The closest rule is");
    print_position(run, reply, closest);
    print_missing(run, closest);
    return CLI_EXIT_ERROR;
}

/* --- policy diff --- */

struct change {
    bool is_gained;
    const char *source;
    const char *destination;
    int64_t protocol, first_port, last_port;
};

static int compare_reach(const struct change *a, const struct change *b)
{
    int order = (b->is_gained > a->is_gained) - (b->is_gained < a->is_gained);
    if (order == 0)
        order = strcmp(a->source, b->source);
    if (order == 0)
        order = strcmp(a->destination, b->destination);
    if (order == 0)
        order = (a->first_port > b->first_port) - (a->first_port < b->first_port);
    return order != 0 ? order : (a->last_port > b->last_port) - (a->last_port < b->last_port);
}

static int compare_changes(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int order = compare_reach(x, y);
    return order != 0 ? order : (x->protocol > y->protocol) - (x->protocol < y->protocol);
}

static size_t read_changes(struct cli_run *run, const struct json *list, struct change **out)
{
    struct change *all = arena_zalloc(&run->arena, json_len(list) + 1, sizeof(*all));
    size_t n = 0;
    JSON_EACH (it, list) {
        struct change *c = &all[n++];
        *c = (struct change){.is_gained = cli_is_true(it, "gained"),
                             .source = cli_text(run, it, "source"),
                             .destination = cli_text(run, it, "destination")};
        (void)(json_i64(json_get(it, "protocol"), &c->protocol) &&
               json_i64(json_get(it, "firstPort"), &c->first_port) &&
               json_i64(json_get(it, "lastPort"), &c->last_port));
    }
    if (n > 1)
        qsort(all, n, sizeof(*all), compare_changes);
    *out = all;
    return n;
}

static const char *protocol_name(struct cli_run *run, int64_t number)
{
    switch (number) {
    case 1: return "icmp";
    case 6: return "tcp";
    case 17: return "udp";
    case 58: return "ipv6-icmp";
    case 132: return "sctp";
    default: return arena_printf(&run->arena, "%lld", (long long)number);
    }
}

static const char *ports(struct cli_run *run, const struct change *c)
{
    if (c->first_port == 0 && c->last_port == 65535)
        return "*";
    if (c->first_port == c->last_port)
        return arena_printf(&run->arena, "%lld", (long long)c->first_port);
    return arena_printf(&run->arena, "%lld-%lld", (long long)c->first_port, (long long)c->last_port);
}

/* One row for all protocols with the same source, destination and ports. */
static void print_changes(struct cli_run *run, const struct change *all, size_t n)
{
    static const char *const titles[] = {"CHANGE", "SOURCE", "DESTINATION", "PROTOCOL", "PORTS", NULL};
    struct cli_table table;
    cli_table_init(&table, run, titles);
    for (size_t i = 0; i < n;) {
        const struct change *c = &all[i];
        const char *protocols = protocol_name(run, c->protocol);
        for (i++; i < n && compare_reach(c, &all[i]) == 0; i++)
            protocols = arena_printf(&run->arena, "%s,%s", protocols, protocol_name(run, all[i].protocol));
        cli_table_add(&table, c->is_gained ? "granted" : "revoked");
        cli_table_add(&table, c->source);
        cli_table_add(&table, c->destination);
        cli_table_add(&table, protocols);
        cli_table_add(&table, ports(run, c));
    }
    cli_table_finish(&table);
}

enum cli_exit cli_policy_diff_print(struct cli_run *run, const struct json *reply)
{
    struct change *all;
    int64_t left_out = 0;
    if (cli_emit(run, reply))
        return CLI_EXIT_OK;
    size_t n = read_changes(run, json_get(reply, "changes"), &all);
    if (n == 0) {
        cli_say(run, "This policy grants and revokes nothing");
        return CLI_EXIT_OK;
    }
    print_changes(run, all, n);
    if (json_i64(json_get(reply, "leftOut"), &left_out) && left_out > 0)
        fprintf(run->err, "and %lld more\n", (long long)left_out);
    return CLI_EXIT_OK;
}
