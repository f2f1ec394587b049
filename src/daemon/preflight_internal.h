/* What `serve` needs of the machine, checked before anything is changed; only for this folder.
 *
 * One list (preflight.c) for `serve`, which refuses to start over an error, and for `config check`, which also fails
 * over faults. Every finding names the key, where it was set and what to do. */
#ifndef DAEMON_PREFLIGHT_INTERNAL_H
#define DAEMON_PREFLIGHT_INTERNAL_H

#include "config/config.h"

enum finding_level {
    FINDING_WARNING,
    FINDING_FAULT, /* the server starts, but clients will not work */
    FINDING_ERROR, /* the server does not start */
};

struct finding {
    enum finding_level level;
    struct err err;
};

enum { FINDINGS_MAX = 200 };

struct preflight {
    const struct config *cfg; /* borrowed */
    int64_t now_s;            /* Unix time */
    bool asks_urls;           /* also checks what other servers hold */
    struct finding *found;    /* owned; at most FINDINGS_MAX, an error is never left out for a warning */
    size_t found_n, found_cap;
    size_t left_out;
};

/* --- findings.c --- */
/* Adds a finding: "KEY ..." with the position where the key was set. */
void preflight_report(struct preflight *p, enum finding_level level, enum rc code, const char *key, const char *fmt,
                      ...) PRINTF_LIKE(5, 6);
/* Adds a finding that has a position of its own (a line of the file that `key` names). */
void preflight_report_err(struct preflight *p, enum finding_level level, const char *key, const struct err *err);
/* The first finding of this level or a worse one; null: there is none. */
const struct finding *preflight_first(const struct preflight *p, enum finding_level level);
/* Frees the findings. */
void preflight_fini(struct preflight *p);

/* --- preflight.c --- */
/* Runs the list. `is_check`: also what `serve` does by itself a moment later. Blocks on files, and on other servers
 * when `asks_urls`. */
void preflight_run(struct preflight *p, bool is_check);
/* For `serve`: logs warnings and faults. The first error is returned in `err`, further ones are logged. */
MUST_CHECK enum rc preflight_serve(const struct config *cfg, struct err *err);

/* --- preflight_files.c: files that are read --- */
void preflight_keys(struct preflight *p);
void preflight_certificates(struct preflight *p);
void preflight_database(struct preflight *p);
void preflight_relays(struct preflight *p);
void preflight_policy(struct preflight *p);
void preflight_urls(struct preflight *p);

/* --- preflight_paths.c: folders, sockets and ports --- */
void preflight_folders(struct preflight *p);
void preflight_moved(struct preflight *p);
void preflight_socket(struct preflight *p);
void preflight_listeners(struct preflight *p);
void preflight_ports(struct preflight *p);

#endif
