/* `bench ...`: options into the structs of bench/bench.h. */
#include "bench/bench.h"

#include <stdlib.h>

#include "cli/cli_internal.h"

enum field_kind { FIELD_TEXT, FIELD_COUNT, FIELD_PID, FIELD_RATE, FIELD_DURATION };

/* Where an option's value goes. What stands there before is the default. */
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

/* False when the text is no value of that kind. */
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

static struct report_target target_of(struct cli_run *run)
{
    return (struct report_target){run->out, run->err, cli_value(run, "out"), cli_value(run, "label")};
}

static enum cli_exit finish(struct cli_run *run, enum rc rc, const struct err *err)
{
    if (rc == RC_OK)
        return CLI_EXIT_OK;
    if (rc == RC_INVALID)
        return cli_usage(run, "%s", err->text);
    return cli_fail(run, rc == RC_DENIED ? CLI_EXIT_DENIED : CLI_EXIT_ERROR, "%s", err->text);
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

enum cli_exit cli_bench_relay(struct cli_run *run)
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

enum cli_exit cli_bench_stun(struct cli_run *run)
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
