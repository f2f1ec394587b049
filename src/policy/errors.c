#include "policy/errors.h"

void policy_errors_fini(struct policy_errors *e)
{
    arena_fini(&e->arena);
    e->n = 0;
    e->left_out = 0;
}

void policy_errors_add(struct policy_errors *e, int line, int col, const char *text)
{
    e->v[e->n++] = (struct policy_error){line, col, text};
}

void policy_errors_format(const struct policy_errors *e, const char *file, struct buf *out)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct policy_error *err = &e->v[i];
        if (file != NULL)
            buf_printf(out, "%s:", file);
        if (err->line > 0)
            buf_printf(out, "%d:%d:", err->line, err->col);
        buf_printf(out, "%s%s\n", file != NULL || err->line > 0 ? " " : "", err->text);
    }
}
