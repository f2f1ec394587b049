/* Requests of relays on other machines: POST /verify (may this node key use the relay?) and POST /relay/announce
 * (here I am).
 *
 * Both need the key that the relay was enrolled with: as a bearer token, or as the password of basic credentials for
 * the Go derper, whose -verify-client-url takes no header but https://relay:KEY@HOST/verify. */
#ifndef CONTROL_RELAYS_INTERNAL_H
#define CONTROL_RELAYS_INTERNAL_H

#include "codec/json.h"
#include "codec/json_write.h"
#include "control/control_internal.h"

struct metric;

/* A request outside of Noise that waits for the core. */
struct relays_call {
    struct core_job job;      /* first */
    struct http_exchange *ex; /* null: the relay went away */
    struct control_worker *worker;
    struct arena arena;
    struct str key; /* in the arena; wiped */
    /* verify */
    node_key node;
    /* announce */
    struct relay_report report;
    bool is_starting; /* asks for what it needs to serve; not there yet */
    bool is_draining;
    bool is_late;        /* overtaken by a later one */
    uint64_t seen;       /* the newest news that the relay has */
    uint64_t started_ms; /* when the relay started */
    uint64_t number;     /* of the announcement, counted from then on */
    uint64_t id;         /* of the relay */
    uint64_t serial;
    int64_t answer_by_ms; /* monotonic, of the loop */
    struct list link;     /* in the announcements that wait, of its tailnet's part */
    struct buf reply;     /* JSON; empty: there is no news yet */
};

/* --- relays_call.c; loop's thread --- */
/* `events` get the call as their context; static. */
struct relays_call *relays_call_create(struct control_worker *w, struct http_exchange *ex,
                                       const struct http_events *events);
/* Wipes its secrets and frees it. */
void relays_call_destroy(struct relays_call *c);
/* The body as a JSON object, or null if it is none. It lives in the call's arena. */
const struct json *relays_call_body(struct relays_call *c);
/* Hands the call to the core, or answers that the server is busy: then the call is gone. */
void relays_call_post(struct relays_call *c);
/* The core knows the relay's key: from now on its requests do not wait in line with those of strangers, and its
 * connection is not evicted for others. */
void relays_call_note_seen(const struct relays_call *c);
/* Answers 200. */
void relays_call_respond(struct relays_call *c, struct str json);
/* Answers 400 with a sentence, counts it, and frees the call. */
void relays_call_respond_bad(struct relays_call *c, struct metric *count, const char *text);
/* Answers 401: the key is not known. Counts it. */
void relays_call_respond_denied(struct relays_call *c, struct metric *count);

/* --- relays_report.c --- */
/* Reads an announcement into the call. False: it is none. */
bool relays_report_read(struct relays_call *c, const struct json *body);

#endif
