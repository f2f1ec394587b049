#include "bench/errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/show.h"

static void add(struct errors *e, const char *text, uint64_t count)
{
    for (unsigned i = 0; i < e->n; i++) {
        if (strcmp(e->rows[i].text, text) == 0) {
            e->rows[i].count += count;
            return;
        }
    }
    if (e->n == ERRORS_MAX) {
        e->others += count;
        return;
    }
    struct errors_row *row = &e->rows[e->n++];
    row->count = count;
    snprintf(row->text, sizeof(row->text), "%s", text);
}

void errors_add(struct errors *e, const char *fmt, ...)
{
    char text[ERRORS_TEXT_CAP];
    struct buf shown = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    show_append(&shown, str_c(text), SHOW_LINE);
    add(e, buf_cstr(&shown), 1);
    buf_fini(&shown);
}

uint64_t errors_count(const struct errors *e)
{
    uint64_t n = e->others;
    for (unsigned i = 0; i < e->n; i++)
        n += e->rows[i].count;
    return n;
}

void errors_merge(struct errors *to, const struct errors *from)
{
    for (unsigned i = 0; i < from->n; i++)
        add(to, from->rows[i].text, from->rows[i].count);
    to->others += from->others;
}

static int compare(const void *a, const void *b)
{
    const struct errors_row *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->text, y->text);
}

void errors_sort(struct errors *e)
{
    qsort(e->rows, e->n, sizeof(e->rows[0]), compare);
}
