#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/time.h"
#include "base/show.h"

enum {
    LIMIT_BURST = 5,
    FIELD_MAX_BYTES = 1024, /* longest text of a field: peers choose some of them */
};

static struct log_module *modules;
static atomic_bool as_json;

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error", "off"};

void log_register(struct log_module *m)
{
    m->next = modules;
    modules = m;
}

const struct log_module *log_module_next(const struct log_module *m)
{
    return m == NULL ? modules : m->next;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

enum rc log_level_parse(const char *text, enum log_level *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return RC_OK;
        }
    }
    return RC_INVALID;
}

enum rc log_set_level(const char *module, enum log_level level)
{
    bool found = module == NULL;
    for (struct log_module *m = modules; m != NULL; m = m->next) {
        if (module == NULL || strcmp(m->name, module) == 0) {
            atomic_store(&m->level, level);
            found = true;
        }
    }
    return found ? RC_OK : RC_NOT_FOUND;
}

void log_set_json(bool json)
{
    atomic_store(&as_json, json);
}

/* Whether the line is to be written; `*held` gets how many were held back in the seconds before. */
static bool limit_pass(struct log_limit *limit, unsigned *held)
{
    int64_t now_s = clock_mono_ms() / 1000;
    int64_t window = atomic_load(&limit->window_s);
    if (window != now_s && atomic_compare_exchange_strong(&limit->window_s, &window, now_s)) {
        /* After a quiet second a whole burst is allowed again; after a busy one, a single line. */
        atomic_store(&limit->count, now_s - window > 10 ? 0 : LIMIT_BURST - 1);
        *held = atomic_exchange(&limit->held_back, 0);
    }
    if (atomic_fetch_add(&limit->count, 1) < LIMIT_BURST)
        return true;
    atomic_fetch_add(&limit->held_back, 1 + *held);
    return false;
}

/* How much comes before the next byte that has an escape of its own. */
static size_t ordinary(const char *p, size_t len)
{
    size_t n = 0;
    while (n < len && p[n] != '"' && p[n] != '\\' && p[n] != '\n' && p[n] != '\t')
        n++;
    return n;
}

/* Quoted, so that text of a peer cannot forge a line or control a terminal. */
static void put_quoted(struct buf *b, bool json, const char *p, size_t len)
{
    buf_append_byte(b, '"');
    for (size_t i = 0, n; i < len; i += n) {
        n = ordinary(p + i, len - i);
        show_append(b, str_n(p + i, n), json ? SHOW_JSON : SHOW_LINE);
        if (i + n == len)
            break;
        buf_append_byte(b, '\\');
        buf_append_byte(b, p[i + n] == '\n' ? 'n' : p[i + n] == '\t' ? 't' : (uint8_t)p[i + n]);
        n++;
    }
    buf_append_byte(b, '"');
}

static bool is_plain(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '"' || p[i] == '=' || p[i] == '\\')
            return false;
    }
    return len > 0;
}

static void put_text(struct buf *b, bool json, const char *p, size_t len)
{
    if (!json && is_plain(p, len))
        buf_append(b, p, len);
    else
        put_quoted(b, json, p, len);
}

static void put_field(struct buf *b, bool json, const struct log_field *f)
{
    if (json)
        buf_printf(b, ",\"%s\":", f->key);
    else
        buf_printf(b, " %s=", f->key);
    if (f->kind == LOG_F_INT) {
        buf_printf(b, "%lld", (long long)f->v.i);
    } else if (f->kind == LOG_F_UINT) {
        buf_printf(b, "%llu", (unsigned long long)f->v.u);
    } else {
        const char *p = f->v.s.p != NULL ? f->v.s.p : "";
        size_t len = f->v.s.len == (size_t)-1 || f->v.s.p == NULL ? strlen(p) : f->v.s.len;
        put_text(b, json, p, len < FIELD_MAX_BYTES ? len : FIELD_MAX_BYTES);
        if (len > FIELD_MAX_BYTES)
            put_field(b, json, &LOG_U("cut_from", len));
    }
}

void log_write(struct log_module *m, enum log_level level, struct log_limit *limit, const char *event,
               const struct log_field *fields, unsigned n)
{
    unsigned held = 0;
    if (limit != NULL && !limit_pass(limit, &held))
        return;
    bool json = atomic_load_explicit(&as_json, memory_order_relaxed);
    char when[TIME_TEXT_CAP];
    time_format(clock_wall_ms(), when);
    struct buf b = {0};
    if (json)
        buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"module\":\"%s\",\"msg\":", when, level_names[level],
                   m->name);
    else
        buf_printf(&b, "%s %-5s %s: ", when, level_names[level], m->name);
    if (json)
        put_quoted(&b, json, event, strlen(event));
    else
        buf_append_c(&b, event);
    for (unsigned i = 0; i < n; i++)
        put_field(&b, json, &fields[i]);
    if (held > 0)
        put_field(&b, json, &LOG_U("held_back", held));
    buf_append_c(&b, json ? "}\n" : "\n");
    /* One write a line, so that threads do not mix theirs. A full or closed stderr loses the line, never the server. */
    if (write(STDERR_FILENO, buf_at(&b), buf_len(&b)) < 0) {
    }
    buf_fini(&b);
}
