/* Lines of the log that say what has happened. What they say is in the table of kinds: state/event.c. */
#include "base/log.h"
#include "base/mem.h"
#include "control/control.h"

/* As the kinds name them. Other files have modules of the same names: a level is set for all of a name. */
static struct log_module modules[] = {
    {.name = "events", .level = LOG_INFO},
    {.name = "register", .level = LOG_INFO},
    {.name = "pings", .level = LOG_INFO},
    {.name = "policy", .level = LOG_INFO},
};

__attribute__((constructor)) static void register_modules(void)
{
    for (size_t i = 0; i < ARRAY_LEN(modules); i++)
        log_register(&modules[i]);
}

static struct log_module *module_of(enum event_kind kind)
{
    for (size_t i = 1; i < ARRAY_LEN(modules); i++) {
        if (strcmp(modules[i].name, event_log_module(kind)) == 0)
            return &modules[i];
    }
    return &modules[0];
}

static struct log_field log_field_of(const struct event_field *f)
{
    return f->type == EVENT_NUMBER ? LOG_U(f->key, f->number) : LOG_STR(f->key, f->text);
}

static void write_line(struct log_module *m, const struct event *e)
{
    struct event_field shown[EVENT_FIELDS_MAX];
    struct log_field fields[EVENT_FIELDS_MAX];
    struct arena a = {0};
    unsigned n = event_fields(e, &a, shown);
    for (unsigned i = 0; i < n; i++)
        fields[i] = log_field_of(&shown[i]);
    log_write(m, event_level(e->kind), NULL, event_sentence(e->kind), fields, n);
    arena_fini(&a);
}

/* With who did it, and in the form in which other programs will get it. */
static void trace(const struct event *e)
{
    struct buf json = {0};
    struct json_writer w;
    json_w_init(&w, &json);
    event_write_json(&w, e);
    log_write(&modules[0], LOG_TRACE, NULL, "event", &LOG_STR("json", buf_str(&json)), 1);
    buf_fini(&json);
}

void control_log_events(void *ctx, struct tailnet *t, struct event_list *events)
{
    (void)ctx;
    (void)t;
    for (size_t i = 0; i < events->n; i++) {
        const struct event *e = &events->v[i];
        struct log_module *m = module_of(e->kind);
        if (log_enabled(m, event_level(e->kind)))
            write_line(m, e);
        if (log_enabled(&modules[0], LOG_TRACE))
            trace(e);
    }
}
