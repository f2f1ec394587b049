/* Structured logs: one line each, key=value or JSON, to stderr. Any thread; blocking only on stderr.
 *
 * A file that logs declares its module once: LOG_MODULE("relay");
 * Levels are per module and changeable while running. Lines that a peer can provoke use log_limited, which writes a
 * burst and then one line a second per call site, with the number of lines held back. Secrets are never arguments. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log_module {
    const char *name;
    atomic_int level; /* enum log_level; messages below it are dropped */
    struct log_module *next;
};

struct log_limit {
    _Atomic int64_t window_s; /* the second that `count` is of */
    atomic_uint count;
    atomic_uint held_back;
};

/* For LOG_MODULE. */
void log_register(struct log_module *m);

#define LOG_MODULE(module_name)                                                                                        \
    static struct log_module log_this_module = {.name = (module_name), .level = LOG_INFO};                             \
    __attribute__((constructor)) static void log_register_this_module(void)                                            \
    {                                                                                                                  \
        log_register(&log_this_module);                                                                                \
    }                                                                                                                  \
    _Static_assert(1, "")

/* `event` is a short fixed sentence; fields follow, each a key and a value made by the macros below:
 *     log_info("node joined", LOG_U("node", id), LOG_S("name", name)); */
struct log_field {
    const char *key;
    enum { LOG_F_STR, LOG_F_INT, LOG_F_UINT } kind;
    union {
        struct {
            const char *p;
            size_t len;
        } s;
        int64_t i;
        uint64_t u;
    } v;
};

#define LOG_S(k, text) ((struct log_field){.key = (k), .kind = LOG_F_STR, .v.s = {(text), (size_t)-1}})
#define LOG_STR(k, str_) ((struct log_field){.key = (k), .kind = LOG_F_STR, .v.s = {(str_).p, (str_).len}})
#define LOG_I(k, n) ((struct log_field){.key = (k), .kind = LOG_F_INT, .v.i = (int64_t)(n)})
#define LOG_U(k, n) ((struct log_field){.key = (k), .kind = LOG_F_UINT, .v.u = (uint64_t)(n)})
#define LOG_RC(rc_) LOG_S("error", rc_text(rc_))

/* For the macros below: writes one line. `limit`: null, or what holds lines back. */
void log_write(struct log_module *m, enum log_level level, struct log_limit *limit, const char *event,
               const struct log_field *fields, unsigned n);

/* For the macros below: whether lines of this level are written. */
static inline bool log_enabled(const struct log_module *m, enum log_level level)
{
    return (int)level >= atomic_load_explicit(&m->level, memory_order_relaxed);
}

#define LOG_AT_(level_, limit_, event, ...)                                                                            \
    do {                                                                                                               \
        if (log_enabled(&log_this_module, (level_))) {                                                                 \
            const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                                               \
            log_write(&log_this_module, (level_), (limit_), (event), log_fields_ + 1, ARRAY_LEN(log_fields_) - 1);     \
        }                                                                                                              \
    } while (0)

#define log_trace(event, ...) LOG_AT_(LOG_TRACE, NULL, event, ##__VA_ARGS__)
#define log_debug(event, ...) LOG_AT_(LOG_DEBUG, NULL, event, ##__VA_ARGS__)
#define log_info(event, ...) LOG_AT_(LOG_INFO, NULL, event, ##__VA_ARGS__)
#define log_warn(event, ...) LOG_AT_(LOG_WARN, NULL, event, ##__VA_ARGS__)
#define log_error(event, ...) LOG_AT_(LOG_ERROR, NULL, event, ##__VA_ARGS__)

/* For lines that a peer can provoke. (Texts longer than a kilobyte are cut in all lines.) */
#define log_limited(level_, event, ...)                                                                                \
    do {                                                                                                               \
        static struct log_limit log_limit_here_;                                                                       \
        LOG_AT_(level_, &log_limit_here_, event, ##__VA_ARGS__);                                                       \
    } while (0)

/* "trace".."error", "off". RC_INVALID for anything else. */
MUST_CHECK enum rc log_level_parse(const char *text, enum log_level *out);
/* The name that log_level_parse reads (static). */
const char *log_level_name(enum log_level level);
/* Sets one module's level, or all with null. RC_NOT_FOUND when there is no such module. */
MUST_CHECK enum rc log_set_level(const char *module, enum log_level level);
/* Lines as JSON objects instead of key=value, from now on. Any thread. */
void log_set_json(bool json);
/* Walks the modules: null gives the first. */
const struct log_module *log_module_next(const struct log_module *m);

#endif
