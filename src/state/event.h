/* What happened in a tailnet, as values that anybody may read: the log, an audit trail, webhooks, live pages.
 *
 * The functions of state/state.h record events as they happen. What waits for the disk is an event of the batch that
 * writes it: it is handed out when the batch is on disk, and dropped when the batch is refused, so that nothing is told
 * that never happened. Presence (online, offline, routes that move, relays that come and go) is handed out at once, but
 * never before the event that made the node. Events are handed out in the order in which they happened, each once.
 *
 * Who listens from the beginning knows who exists, how they are called and who is online. Who begins later takes a
 * snapshot first. What nobody takes is dropped beyond EVENTS_MAX.
 *
 * A kind is a row of the table in event.c and a line in the enum below; whoever causes it calls event_note
 * (state/events_internal.h). Events are immutable and shared by counted references: any thread may read them. Pure. */
#ifndef STATE_EVENT_H
#define STATE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/rcbuf.h"
#include "codec/json_write.h"
#include "state/entity.h"

enum event_kind {
    EVENT_NODE_JOINED,
    EVENT_NODE_REGISTERED, /* again: with another key, owner or date, or after it had expired */
    EVENT_NODE_RENAMED,
    EVENT_NODE_TAGGED,
    EVENT_NODE_EXPIRY_SET, /* its key gets another date, which has not come yet */
    EVENT_NODE_EXPIRED,    /* the date has come, or an admin has ended the key */
    EVENT_NODE_LOGGED_OUT,
    EVENT_NODE_DELETED, /* by an admin, by its own logout, or by the server: an ephemeral node that stayed away */
    EVENT_NODE_ONLINE,
    EVENT_NODE_OFFLINE,
    EVENT_ROUTES_ADVERTISED, /* the node offers other routes than before */
    EVENT_ROUTES_APPROVED,   /* an admin or the policy has decided which routes it may serve */
    EVENT_ROUTE_MOVED,       /* another node is the primary of a prefix: from `before` to `after` */
    EVENT_ROUTER_SILENT,     /* it answers no pings, and others can carry its routes */
    EVENT_ROUTER_ANSWERS,
    EVENT_USER_CREATED,
    EVENT_USER_RENAMED,
    EVENT_USER_ROLE_CHANGED,
    EVENT_USER_DELETED,
    EVENT_KEY_CREATED,
    EVENT_KEY_USED,  /* a node has joined with it, or come back */
    EVENT_KEY_ALARM, /* more nodes have joined with it within an hour than state_options.key_alarm_joins */
    EVENT_KEY_EXPIRED,
    EVENT_KEY_DELETED,
    EVENT_RELAY_ENROLLED,
    EVENT_RELAY_UP,
    EVENT_RELAY_DOWN,
    EVENT_RELAY_DELETED,
    EVENT_POLICY_CHANGED, /* a new version is stored */
    EVENT_POLICY_FILE,    /* the policy's file has changed, and is in force */
    EVENT_SETTING_CHANGED,
    EVENT_OPERATION, /* an admin's operation has changed something: for the audit trail */
    EVENT_KINDS_N
};

enum {
    EVENTS_MAX = 65536,   /* that wait to be taken; later ones are dropped, and counted */
    EVENT_FIELDS_MAX = 6, /* of a kind */
};

enum event_by { EVENT_BY_SERVER, EVENT_BY_NODE, EVENT_BY_ADMIN, EVENT_BY_POLICY };

/* Who did it. */
struct event_actor {
    enum event_by by;
    uint64_t id;        /* of the node; else 0 */
    struct rcbuf *name; /* of the admin: reference; null otherwise */
};

struct event {
    enum event_kind kind;
    int64_t at_ms; /* Unix time */
    struct event_actor actor;
    const struct entity *entity; /* of what its object is one; null: it has none */
    /* References. The object as it was and as it is: null before it was created and after it was deleted. */
    const struct row *before;
    const struct row *after;
    const char *operation; /* for EVENT_OPERATION its name, such as "users.rename"; static */
    struct rcbuf *text;    /* reference; what else is to be said of it: the prefix that moved, the audit text */
};

struct event_list {
    atomic_uint refs;
    size_t n, cap;
    struct event *v; /* owned; in the order in which they happened */
};
/* Another reference to the list: the same pointer. */
struct event_list *event_list_ref(struct event_list *l);
/* Drops a reference and nulls the pointer; null is fine. */
void event_list_unref(struct event_list **l);

/* --- what a kind looks like --- */

/* "node.joined": lower-case words with a dot between object and verb. Static. */
const char *event_kind_name(enum event_kind kind);
/* RC_NOT_FOUND: there is no kind of this name. */
MUST_CHECK enum rc event_kind_parse(struct str name, enum event_kind *out);
/* The sentence for the log, such as "node joined". Static. */
const char *event_sentence(enum event_kind kind);
/* At which level the log has it. LOG_DEBUG for what happens all the time. */
enum log_level event_level(enum event_kind kind);
/* Which log module's level decides whether it is logged: that of the file that logged it before events were values.
 * Static. */
const char *event_log_module(enum event_kind kind);

/* A member of an event that is worth showing. */
struct event_field {
    const char *key;
    enum { EVENT_NUMBER, EVENT_TEXT, EVENT_JSON } type;
    uint64_t number;
    struct str text; /* for EVENT_TEXT, and JSON for EVENT_JSON; borrowed from the event or the arena */
};
/* Fills in what the kind's row says, in its order; returns how many. */
unsigned event_fields(const struct event *e, struct arena *a, struct event_field out[EVENT_FIELDS_MAX]);
/* Writes {"event", "at", "actor": {"type", "id" or "name"}, "object": {"type", "id", "deleted" if it is gone},
 * "fields": {...}}. The caller gets no secret by it. */
void event_write_json(struct json_writer *w, const struct event *e);

/* --- recording and taking; core's thread --- */

struct state;
/* Whether events are recorded: not unless somebody takes them. */
void state_want_events(struct state *st, bool wanted);
/* Who does what follows, and when, until the next call. Null: the server. A reference to the name is taken. */
void state_set_actor(struct state *st, const struct event_actor *actor, int64_t now_ms);
/* The operation `name` (static), which the present actor called, has changed something. `text` says what, for the audit
 * trail. With `is_durable` it belongs to the pending batch, if there is one. */
void state_note_operation(struct state *st, const char *name, struct str text, bool is_durable);
/* The policy's file has changed and is in force: state_set_policy has been called. */
void state_note_policy_file(struct state *st, struct str path);
/* What may be told by now, the earliest first; null: nothing. Call until null. The caller owns the reference. */
struct event_list *state_take_events(struct state *st);
/* How many have been dropped so far because nobody took them. */
uint64_t state_events_dropped(const struct state *st);

#endif
