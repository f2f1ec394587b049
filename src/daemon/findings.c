/* What a preflight has found. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "daemon/preflight_internal.h"

static void add(struct preflight *p, enum finding_level level, const struct err *err)
{
    if (p->found_n == FINDINGS_MAX && level != FINDING_ERROR) {
        p->left_out++;
        return;
    }
    if (p->found_n >= 2 * (size_t)FINDINGS_MAX)
        return;
    VEC_ROOM(p->found, p->found_n, p->found_cap, 16);
    p->found[p->found_n++] = (struct finding){level, *err};
}

void preflight_report(struct preflight *p, enum finding_level level, enum rc code, const char *key, const char *fmt,
                      ...)
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

void preflight_report_err(struct preflight *p, enum finding_level level, const char *key, const struct err *err)
{
    struct err located = *err;
    size_t n = strlen(located.text);
    if (located.file[0] == '\0') {
        preflight_report(p, level, err->code, key, "does not serve: %s", err->text);
        return;
    }
    snprintf(located.text + n, sizeof(located.text) - n, " (%s)", key);
    add(p, level, &located);
}

const struct finding *preflight_first(const struct preflight *p, enum finding_level level)
{
    for (size_t i = 0; i < p->found_n; i++) {
        if (p->found[i].level >= level)
            return &p->found[i];
    }
    return NULL;
}

void preflight_fini(struct preflight *p)
{
    mem_free(p->found);
    *p = (struct preflight){0};
}
