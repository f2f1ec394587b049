/* The working state; only for this folder.
 *
 * The files form a stack: each calls only files above it in this list (tools/check-shape finds circles).
 *   lookup                                    reading; calls nothing here
 *   names addresses clock rows row_checks revoked
 *                                             parts of the state that need no other
 *   events                                    what has happened and nobody has been told yet
 *   undo_log put                              how rows were before events that wait for the disk; durable changes
 *   kept                                      rows of entities that need no structure of their own
 *   sealed                                    what snapshots show besides nodes
 *   policy_facts active_policy                the active policy, and what it is fed
 *   elections                                 which router is the primary of a prefix
 *   node_records                              nodes and their indexes, the active policy and elections kept up to date
 *   routes tags                               approvals, failover; what nodes and keys are tagged with
 *   keys users relays policy_texts            the other kinds of rows
 *   nodes                                     what nodes do, what admins do to them, time
 *   settle                                    what presence asks for and all servers must agree on
 *   register                                  nodes join, log out and come back
 *   node_load entities                        rows that are loaded; all kinds of rows
 *   node_follow follow                        rows that others committed
 *   undo                                      taking back what could not be written
 *   batches                                   rows are taken, and on disk
 *   policy_access policy_scope publish        the next snapshot and change
 *   load state                                the beginning and the end
 * Above all of them, known outside as well: what snapshots are made of (model.h, access.h). */
#ifndef STATE_STATE_INTERNAL_H
#define STATE_STATE_INTERNAL_H

#include "base/map.h"
#include "state/active_policy_internal.h"
#include "state/events_internal.h"
#include "state/nodes_internal.h"
#include "state/rows_internal.h"
#include "state/state.h"
#include "state/undo_internal.h"

struct state {
    struct state_options options;
    struct tailnet_settings *settings;
    struct snapshot *snapshot;
    struct row_counters counters;

    struct node_record **records; /* by id; null: no such node. Owned, as what they point to */
    size_t records_cap;
    size_t node_n;

    struct map by_key;     /* node key -> node_record */
    struct map by_machine; /* machine_user -> node_record: one machine may be a node of several users */
    struct map by_name;
    struct map by_addr; /* "ip" bytes (4 or 16) -> node_record */
    struct map users;   /* id -> user (reference) */
    struct map users_by_name;
    struct map keys; /* id -> auth key (reference) */
    struct map keys_by_hash;

    bool is_installing; /* rows are loaded or followed: elections meanwhile are provisional */
    struct map routes;  /* prefix -> route, owned: see elections.c */

    struct relay_record *relays; /* owned; ascending by id; few */
    size_t relay_n, relay_cap;
    struct deleted_relay *deleted_relays; /* owned */
    size_t deleted_relay_n, deleted_relay_cap;
    bool relays_changed; /* since state_take_relays_changed */
    bool policy_changed; /* since state_take_policy_changed */

    const struct policy_text **texts; /* owned array of references; ascending by id; the last is in force */
    size_t text_n, text_cap;
    size_t text_bytes;
    struct next_policy *next_policies; /* owned; ascending by id: stored, and not active yet */
    size_t next_policy_n, next_policy_cap;

    struct id_list dirty;                /* nodes to look at when publishing */
    struct id_list stale;                /* nodes whose row on disk lags; may name deleted ones */
    struct id_list unsettled;            /* nodes that state_settle looks at; may name deleted ones */
    bool relays_unsettled;               /* relays came, went or report something else */
    struct kept_rows kept[ENTITIES_MAX]; /* by the number of the entity */
    bool users_dirty;                    /* they have changed since the last batch was taken; here and below */
    bool kept_dirty;
    struct sealed *sealed; /* owned; ascending by seq: what is not published yet */
    size_t sealed_n, sealed_cap;
    bool settings_dirty;

    struct row_batch *pending;      /* null: nothing to write */
    struct row_batch *pending_lazy; /* presence; its seq is given when it is taken */
    uint64_t next_seq;              /* of the pending batch */
    uint64_t durable_seq;           /* of the last batch taken that is not presence */
    uint64_t committed_seq;
    struct undo_log undo;
    struct row_batch *suspects; /* rows that undone batches would have written, and may have; null: none */
    struct event_log events;

    struct engine *policy;      /* owned; null: none */
    uint64_t policy_serial;     /* of `policy`: counts those made */
    uint64_t policy_sets;       /* counts state_policy_install */
    bool policy_is_stale;       /* users changed since it was made */
    struct access *open_access; /* reference; of every snapshot while there is no policy */

    struct revoked_list revoked;
    int64_t ahead_ms;             /* of Unix time before steady time, see state_set_clock */
    int64_t next_due_ms;          /* steady time: the first deadline */
    int64_t next_date_ms;         /* Unix time: the first date that changes something */
    struct addr last_v4, last_v6; /* where sequential allocation goes on */
    uint64_t random_state;        /* for random addresses */
};

/* --- clock.c --- */
/* Deadlines are measured by a clock that is never set: what `now_ms` is on it. */
static inline int64_t state_steady_ms(const struct state *st, int64_t now_ms)
{
    return now_ms - st->ahead_ms;
}
/* state_tick has something to do at this steady time. */
void state_due_at(struct state *st, int64_t steady_ms);
/* The same for a date, which follows Unix time when that is set. */
void state_date_at(struct state *st, int64_t unix_ms);

#endif
