/* The list of what `serve` and `config check` look at, and what each does with the findings. */
#include "daemon/preflight_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/show.h"
#include "crypto/crypto.h"
#include "daemon/daemon.h"

LOG_MODULE("daemon");

static const struct {
    void (*run)(struct preflight *p);
    bool is_check_only; /* `serve` finds these when it opens or reads the same things itself */
} checks[] = {
    {preflight_folders, false},      {preflight_moved, false},     {preflight_socket, false}, {preflight_keys, false},
    {preflight_certificates, false}, {preflight_listeners, false}, {preflight_relays, false}, {preflight_policy, false},
    {preflight_database, true},      {preflight_urls, true},       {preflight_ports, true},
};

void preflight_run(struct preflight *p, bool is_check)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (is_check || !checks[i].is_check_only)
            checks[i].run(p);
    }
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
