/* What the commands do: options into the structs of bench.h, the scenario, and its result into an exit status. */
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/commands.h"

enum field_kind { FIELD_TEXT, FIELD_COUNT, FIELD_PID, FIELD_RATE, FIELD_DURATION };

/* Where an option's value is stored. The value before is the default. */
struct field {
    const char *option;
    enum field_kind kind;
    void *to; /* const char *, unsigned, int, double or int64_t milliseconds */
};

static bool read_number(const char *text, double *out)
{
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0 && *out <= 1e9;
}

/* Stores the value. False when the text is no value of that kind. */
static bool read_field(const struct field *f, const char *text)
{
    uint64_t n = 0;
    switch (f->kind) {
    case FIELD_TEXT: *(const char **)f->to = text; return true;
    case FIELD_RATE: return read_number(text, f->to);
    case FIELD_DURATION: return str_to_duration_ms(str_c(text), f->to) == RC_OK;
    case FIELD_COUNT:
    case FIELD_PID: break;
    }
    if (str_to_u64(str_c(text), &n) != RC_OK || n > INT32_MAX)
        return false;
    if (f->kind == FIELD_PID)
        *(int *)f->to = (int)n;
    else
        *(unsigned *)f->to = (unsigned)n;
    return true;
}

/* The list ends with a null option. */
static enum cli_exit read_fields(struct cli_run *run, const struct field *fields)
{
    static const char *const wanted[] = {"text", "a whole number", "the number of a process", "a number",
                                         "a duration such as 10s or 5m"};
    for (const struct field *f = fields; f->option != NULL; f++) {
        const char *text = cli_value(run, f->option);
        if (text != NULL && !read_field(f, text))
            return cli_usage(run, "--%s must be %s, not \"%s\"", f->option, wanted[f->kind], text);
    }
    return CLI_EXIT_OK;
}

/* The table draws its own progress on the terminal. Nothing in it comes from the server: errors_add escapes. */
static struct report_target target_of(struct cli_run *run)
{
    run->out_sink.how = SHOW_JSON;
    return (struct report_target){run->out, run->err_sink.to, cli_value(run, "out"), cli_value(run, "label")};
}

static enum cli_exit finish(struct cli_run *run, enum rc rc, const struct err *err)
{
    if (rc == RC_OK)
        return CLI_EXIT_OK;
    if (rc == RC_INVALID)
        return cli_usage(run, "%s", err->text);
    return cli_fail(run, rc == RC_DENIED ? CLI_EXIT_DENIED : CLI_EXIT_ERROR, "%s", err->text);
}

/* --- simulated nodes --- */

static void set_defaults(struct cli_run *run, struct bench_fleet_opts *o)
{
    *o = (struct bench_fleet_opts){.server = "http://127.0.0.1:8080",
                                   .nodes = 100,
                                   .prefix = "lg",
                                   .concurrency = 100,
                                   .join_updates = 1,
                                   .derp_region = 999,
                                   .check = "scan",
                                   .request_timeout_ms = 60 * 1000,
                                   .timeout_ms = 5 * 60 * 1000,
                                   .quiet_ms = 2 * 1000,
                                   .settle_ms = 90 * 1000,
                                   .idle_for_ms = 60 * 1000,
                                   .hold_for_ms = 60 * 1000,
                                   .kind = "endpoints",
                                   .churn_rate_per_s = 10,
                                   .churn_for_ms = 20 * 1000,
                                   .churn_grace_ms = 30 * 1000,
                                   .mode = "drop",
                                   .reconnect_count = 1,
                                   .api_paths = "/api/v1/node",
                                   .api_count = 20,
                                   .soak_for_ms = 30 * 60 * 1000,
                                   .soak_check_every_ms = 60 * 1000,
                                   .seed = 1};
    o->re_registers = cli_flag(run, "re-register");
    o->is_ephemeral = cli_flag(run, "ephemeral");
}

static enum cli_exit read_fleet(struct cli_run *run, struct bench_fleet_opts *o)
{
    const struct field fields[] = {{"steps", FIELD_TEXT, &o->steps},
                                   {"server", FIELD_TEXT, &o->server},
                                   {"classes", FIELD_TEXT, &o->classes},
                                   {"server-pid", FIELD_PID, &o->server_pid},
                                   {"nodes", FIELD_COUNT, &o->nodes},
                                   {"prefix", FIELD_TEXT, &o->prefix},
                                   {"concurrency", FIELD_COUNT, &o->concurrency},
                                   {"rate", FIELD_RATE, &o->rate_per_s},
                                   {"join-updates", FIELD_COUNT, &o->join_updates},
                                   {"derp-region", FIELD_COUNT, &o->derp_region},
                                   {"check", FIELD_TEXT, &o->check},
                                   {"request-timeout", FIELD_DURATION, &o->request_timeout_ms},
                                   {"timeout", FIELD_DURATION, &o->timeout_ms},
                                   {"quiet", FIELD_DURATION, &o->quiet_ms},
                                   {"settle", FIELD_DURATION, &o->settle_ms},
                                   {"idle-for", FIELD_DURATION, &o->idle_for_ms},
                                   {"hold-for", FIELD_DURATION, &o->hold_for_ms},
                                   {"kind", FIELD_TEXT, &o->kind},
                                   {"churn-rate", FIELD_RATE, &o->churn_rate_per_s},
                                   {"churn-for", FIELD_DURATION, &o->churn_for_ms},
                                   {"churn-grace", FIELD_DURATION, &o->churn_grace_ms},
                                   {"mode", FIELD_TEXT, &o->mode},
                                   {"restart-cmd", FIELD_TEXT, &o->restart_cmd},
                                   {"reconnect-concurrency", FIELD_COUNT, &o->reconnect_concurrency},
                                   {"reconnect-count", FIELD_COUNT, &o->reconnect_count},
                                   {"policy-cmd", FIELD_TEXT, &o->policy_cmd},
                                   {"api-paths", FIELD_TEXT, &o->api_paths},
                                   {"api-socket", FIELD_TEXT, &o->api_socket},
                                   {"api-count", FIELD_COUNT, &o->api_count},
                                   {"for", FIELD_DURATION, &o->soak_for_ms},
                                   {"check-every", FIELD_DURATION, &o->soak_check_every_ms},
                                   {"seed", FIELD_COUNT, &o->seed},
                                   {0}};
    static const struct cli_secret secret = {"the auth key", NULL, "FULLSCALE_BENCH_AUTHKEY",
                                             "in $FULLSCALE_BENCH_AUTHKEY, or on standard input (--authkey -)"};
    enum cli_exit status = cli_secret(run, &secret, cli_value(run, "authkey"), &o->authkey);
    return status == CLI_EXIT_OK ? read_fields(run, fields) : status;
}

static enum cli_exit find_api(struct cli_run *run, struct bench_fleet_opts *o)
{
    if (o->api_socket == NULL && strstr(o->steps, "api") != NULL)
        o->api_socket = cli_socket_path(run);
    return o->api_socket != NULL || strstr(o->steps, "api") == NULL ? CLI_EXIT_OK : CLI_EXIT_ERROR;
}

/* The name of a command is its only step after the join; `suite` has several. */
enum cli_exit bench_run_fleet(struct cli_run *run)
{
    const char *name = run->call.command->name;
    bool is_suite = strcmp(name, "suite") == 0;
    struct bench_fleet_opts o;
    struct report_target target = target_of(run);
    struct err err = {0};
    set_defaults(run, &o);
    o.steps = is_suite ? "idle,churn,reconnect" : name;
    o.hides_join = !is_suite && strcmp(name, "join") != 0;
    enum cli_exit status = read_fleet(run, &o);
    if (status == CLI_EXIT_OK)
        status = find_api(run, &o);
    return status == CLI_EXIT_OK ? finish(run, bench_fleet(&o, &target, &err), &err) : status;
}

/* --- relay --- */

static const char *const relay_modes[] = {"throughput", "latency", "idle"};

static enum cli_exit read_modes(struct cli_run *run, const char *list, unsigned *out)
{
    struct str rest = str_c(list), word;
    *out = 0;
    for (bool more = true; more;) {
        unsigned i = 0;
        more = str_cut(rest, ',', &word, &rest);
        while (i < ARRAY_LEN(relay_modes) && !str_eq_c(word, relay_modes[i]))
            i++;
        if (i == ARRAY_LEN(relay_modes))
            return cli_usage(run, "--modes must be of throughput, latency, idle, not \"%.*s\"", STR_ARG(word));
        *out |= 1u << i;
    }
    return CLI_EXIT_OK;
}

enum cli_exit bench_run_relay(struct cli_run *run)
{
    struct bench_relay_opts o = {.url = "http://127.0.0.1:3340/derp",
                                 .pairs = 8,
                                 .size_bytes = 1200,
                                 .window = 32,
                                 .batch = 16,
                                 .duration_ms = 10 * 1000,
                                 .rate_per_s = 2000,
                                 .idle_conns = 1000,
                                 .idle_for_ms = 10 * 1000};
    const char *modes = "throughput,latency,idle";
    const struct field fields[] = {{"url", FIELD_TEXT, &o.url},
                                   {"server-pid", FIELD_PID, &o.server_pid},
                                   {"modes", FIELD_TEXT, &modes},
                                   {"pairs", FIELD_COUNT, &o.pairs},
                                   {"size", FIELD_COUNT, &o.size_bytes},
                                   {"window", FIELD_COUNT, &o.window},
                                   {"batch", FIELD_COUNT, &o.batch},
                                   {"duration", FIELD_DURATION, &o.duration_ms},
                                   {"rate", FIELD_RATE, &o.rate_per_s},
                                   {"idle-conns", FIELD_COUNT, &o.idle_conns},
                                   {"idle-for", FIELD_DURATION, &o.idle_for_ms},
                                   {0}};
    struct report_target target = target_of(run);
    struct err err = {0};
    enum cli_exit status = read_fields(run, fields);
    if (status == CLI_EXIT_OK)
        status = read_modes(run, modes, &o.modes);
    return status == CLI_EXIT_OK ? finish(run, bench_relay(&o, &target, &err), &err) : status;
}

/* --- stun --- */

enum cli_exit bench_run_stun(struct cli_run *run)
{
    struct bench_stun_opts o = {.addr = "127.0.0.1:3478", .sockets = 4, .window = 32, .duration_ms = 10 * 1000};
    const struct field fields[] = {{"addr", FIELD_TEXT, &o.addr},
                                   {"server-pid", FIELD_PID, &o.server_pid},
                                   {"sockets", FIELD_COUNT, &o.sockets},
                                   {"window", FIELD_COUNT, &o.window},
                                   {"rate", FIELD_RATE, &o.rate_per_s},
                                   {"duration", FIELD_DURATION, &o.duration_ms},
                                   {0}};
    struct report_target target = target_of(run);
    struct err err = {0};
    enum cli_exit status = read_fields(run, fields);
    return status == CLI_EXIT_OK ? finish(run, bench_stun(&o, &target, &err), &err) : status;
}
