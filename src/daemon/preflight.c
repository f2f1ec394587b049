#include "daemon/preflight_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/show.h"
#include "crypto/crypto.h"
#include "daemon/daemon.h"

LOG_MODULE("daemon");

static const struct {
    void (*run)(struct preflight *p);
    bool is_check_only; /* `serve` does the same with its own hands */
} checks[] = {
    {preflight_folders, false},      {preflight_moved, false},     {preflight_socket, false}, {preflight_keys, false},
    {preflight_certificates, false}, {preflight_listeners, false}, {preflight_relays, false}, {preflight_policy, false},
    {preflight_database, true},      {preflight_urls, true},       {preflight_ports, true},
};

/* --- telling --- */

static void add(struct preflight *p, enum finding_level level, const struct err *err)
{
    if (p->found_n == FINDINGS_MAX && level != FINDING_ERROR) {
        p->left_out++;
        return;
    }
    if (p->found_n >= 2 * (size_t)FINDINGS_MAX)
        return;
    p->found = mem_realloc_array(p->found, p->found_n + 1, sizeof(*p->found));
    p->found[p->found_n++] = (struct finding){level, *err};
}

void preflight_tell(struct preflight *p, enum finding_level level, enum rc code, const char *key, const char *fmt, ...)
{
    char text[sizeof(((struct err *)0)->text)];
    struct err err = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)config_err(p->cfg, key, code, &err, "%s", text);
    add(p, level, &err);
}

void preflight_tell_err(struct preflight *p, enum finding_level level, const char *key, const struct err *err)
{
    struct err told = *err;
    size_t n = strlen(told.text);
    if (told.file[0] == '\0') {
        preflight_tell(p, level, err->code, key, "does not serve: %s", err->text);
        return;
    }
    snprintf(told.text + n, sizeof(told.text) - n, " (%s)", key);
    add(p, level, &told);
}

const struct finding *preflight_first(const struct preflight *p, enum finding_level level)
{
    for (size_t i = 0; i < p->found_n; i++) {
        if (p->found[i].level >= level)
            return &p->found[i];
    }
    return NULL;
}

/* --- running --- */

void preflight_run(struct preflight *p, bool is_check)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (is_check || !checks[i].is_check_only)
            checks[i].run(p);
    }
}

void preflight_fini(struct preflight *p)
{
    mem_free(p->found);
    *p = (struct preflight){0};
}

enum rc preflight_serve(const struct config *cfg, struct err *err)
{
    struct preflight p = {.cfg = cfg, .now_s = clock_wall_ms() / 1000};
    preflight_run(&p, false);
    const struct finding *first = preflight_first(&p, FINDING_ERROR);
    for (size_t i = 0; i < p.found_n; i++) {
        char text[sizeof(struct err)];
        err_format(&p.found[i].err, text, sizeof(text));
        if (p.found[i].level == FINDING_WARNING)
            log_warn("configuration", LOG_S("warning", text));
        else if (&p.found[i] != first)
            log_error("configuration", LOG_S("error", text));
    }
    enum rc rc = RC_OK;
    if (first != NULL) {
        *err = first->err;
        rc = first->err.code;
    }
    preflight_fini(&p);
    return rc;
}

int daemon_check(const struct config *cfg, bool asks_urls, struct buf *report)
{
    static const char *const words[] = {"warning", "error", "error"};
    struct preflight p = {.cfg = cfg, .now_s = clock_wall_ms() / 1000, .asks_urls = asks_urls};
    crypto_init();
    preflight_run(&p, true);
    for (size_t i = 0; i < p.found_n; i++) {
        char text[sizeof(struct err)];
        err_format(&p.found[i].err, text, sizeof(text));
        buf_printf(report, "%s: ", words[p.found[i].level]);
        show_append(report, str_c(text), SHOW_LINE);
        buf_append_c(report, "\n");
    }
    if (p.left_out > 0)
        buf_printf(report, "... and %zu more\n", p.left_out);
    bool is_good = preflight_first(&p, FINDING_FAULT) == NULL;
    preflight_fini(&p);
    return is_good ? 0 : 1;
}
