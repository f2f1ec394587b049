/* The records of nodes and relays in the working state; only for this folder. */
#ifndef STATE_RECORDS_INTERNAL_H
#define STATE_RECORDS_INTERNAL_H

#include "base/vec.h"
#include "state/state.h"

struct id_list {
    uint64_t *ids; /* owned */
    size_t n;
    size_t cap;
};
/* Appends `id`; the list grows as needed. */
static inline void id_list_push(struct id_list *l, uint64_t id)
{
    VEC_PUSH(l->ids, l->n, l->cap, id);
}

/* The key of `by_machine`. The owner is a user's id; all tagged nodes of a machine have TAGGED_DEVICES_USER. */
struct machine_user {
    machine_key machine;
    user_id user;
};

/* What elections.c has counted of a node. The lists are references. */
struct counted_routes {
    struct prefix_list *advertised;
    struct prefix_list *approved;
    bool can_serve;
};

/* What listeners have been told of a node, and what they have not. */
struct node_news {
    uint32_t kinds; /* bits of enum event_kind that happened and are not told yet */
    bool told_online;
    bool told_expired;
    bool is_listed; /* in st->events.news */
};

/* What presence events leave to state_settle: bits of node_record.unsettled. */
enum {
    SETTLE_NAME = 1,     /* its host name may ask for another name */
    SETTLE_APPROVAL = 2, /* the policy may approve routes of it */
    SETTLE_PRIMARY = 4,  /* its row says of other routes that it is their primary */
    SETTLE_REMOVAL = 8,  /* an ephemeral node: it has been away for as long as it may be */
};

/* A node of the working state: its current version, and what is known about it that snapshots do not show. */
struct node_record {
    const struct node *node; /* reference; null: deleted, until the publication that shows its removal */
    node_id id;
    struct machine_user owner;         /* the key in `by_machine` */
    struct node_record *next_of_owner; /* the next with the same `owner`, ascending by id */
    uint64_t visible_seq;              /* hidden from snapshots until this batch is committed; 0: visible */
    unsigned polls;                    /* open now */
    /* Deadlines: steady time, see state_steady_ms. */
    int64_t offline_at_ms;    /* without a poll: when it counts as offline; 0 while polls are open or it is offline */
    int64_t away_at_ms;       /* without a poll: when another node may take over its routes; 0: no such deadline */
    int64_t awaited_until_ms; /* the primary of a route before a restart: until then no other takes over; 0: never */
    bool has_left;            /* away_at_ms has passed: it may still count as online */
    bool is_silent;           /* it has a poll, but does not answer pings */
    bool is_failing;          /* only during state_routers_silent: it is among those that did not answer */
    struct counted_routes counted;
    struct prefix_list *claims; /* of which routes its row says that it is the primary; reference. Null: this server has
                                 * elected otherwise since */
    int64_t announce_at_ms;     /* a newcomer: when its peers get it at the latest; 0: it is no newcomer */
    int64_t remove_at_ms;       /* an ephemeral node that is offline: when it is removed; 0: no such deadline */
    int64_t remove_again_ms;    /* its removal could not be written: the delay until the last new attempt; 0: never */
    bool is_dirty;              /* in `dirty` */
    bool is_stale_on_disk;      /* presence changed since the row was last written */
    bool is_in_stale;           /* in `stale`, where each is once, however often it is written and taken back */
    bool is_from_disk;          /* no report since it was loaded: it may have changed since it was written */
    bool is_in_unsettled;       /* in `unsettled` of the state */
    uint8_t unsettled;          /* SETTLE_ bits: what state_settle has to look at */
    uint64_t written_seq;       /* of the last batch that has its row */
    size_t undo_at;             /* of an event that has begun: its index in the undo log, plus 1; 0: none */
    unsigned undo_depth;        /* how many events have begun within that one */
    struct node_news news;
};

/* What a relay's announcements were counted by. */
struct relay_numbers {
    uint64_t started_ms, number; /* of the announcement that counted last; see state_relay_accept_number */
    uint64_t serial;             /* of its last announcement; 0: none */
};

/* A relay of the working state. */
struct relay_record {
    const struct relay_host *host; /* reference */
    struct relay_numbers numbers;
    int64_t until_ms;      /* steady time; while it is up: when it counts as gone, unless it announces itself */
    uint64_t written_seq;  /* of the last batch that has its row */
    bool is_stale_on_disk; /* it is not in a batch yet, or in one that could not be written */
};

struct relay_list {
    struct relay_record *v; /* owned, with references */
    size_t n, cap;
};

/* The same of a relay whose deletion waits for the disk. */
struct deleted_relay {
    uint64_t id;
    struct relay_numbers numbers;
};

/* A stored policy that becomes the active one when batch `seq` is on disk. */
struct next_policy {
    uint64_t id;            /* of its text */
    struct policy_doc *doc; /* reference */
    uint64_t seq;
};

/* --- lookup.c --- */
/* Null: no such node, or it has been deleted. */
struct node_record *node_record_of(const struct state *st, node_id id);
/* Null: no such relay. Borrowed until the next change of the list of relays. */
struct relay_record *state_relay_record(const struct state *st, uint64_t id);

/* --- node_records.c --- */
/* Installs a new version of a node (consumes the reference), keeps the indexes true, and marks it for the next
 * publication. Where that elects another primary of a route, e->node is yet another version afterwards; the same holds
 * for node_record_add. */
void node_record_replace(struct state *st, struct node_record *e, const struct node *next);
/* Makes the record of a node that has none (consumes the reference). */
struct node_record *node_record_add(struct state *st, const struct node *n);
/* Deletes the node, durably: its row, its indexes, its key. The record stays until the removal is published. */
void node_record_remove(struct state *st, struct node_record *e);
/* Takes back a node_record_add that was never published. `e` is freed. */
void node_record_forget(struct state *st, struct node_record *e);
/* Takes back a node_record_remove (consumes the reference). */
void node_record_bring_back(struct state *st, struct node_record *e, const struct node *n);
/* Marks the node for the next publication. */
void node_record_mark_dirty(struct state *st, struct node_record *e);
/* Ends a durable event, which undo_begin_node began: its effects stay hidden until the pending batch is on disk. */
void node_record_mark_durable(struct state *st, struct node_record *e);
/* Marks the node's row to be written lazily, by state_flush_lazy. */
void node_record_mark_stale(struct state *st, struct node_record *e);
/* Leaves these SETTLE_ bits of the node to the next state_settle. */
void node_record_flag(struct state *st, struct node_record *e, unsigned bits);
/* Puts the node as it is now into the pending batch. */
void node_record_put_row(struct state *st, struct node_record *e);
/* Makes the node the primary of those of `primary` that it serves, unless it cannot serve and the present one can
 * (`by_row`: even then). */
void node_record_claim_routes(struct state *st, struct node_record *e, const struct prefix_list *primary, bool by_row);
/* For versions that come from elsewhere, several nodes at once: each leaves the indexes, then each enters them with its
 * next version (consumes the reference; null: it is deleted), then each is counted again. */
void node_record_leave(struct state *st, struct node_record *e);
void node_record_enter(struct state *st, struct node_record *e, const struct node *n);
/* Elects anew what depends on the node or its record. */
void node_record_recount(struct state *st, struct node_record *e);
/* A record without a node, for node_record_enter. */
struct node_record *node_record_make(struct state *st, node_id id);
/* Sets the message for an id that no node has. Always RC_NOT_FOUND. */
enum rc node_not_found(node_id id, struct err *err);
/* Whether the node is connected and its key is valid; pings are not considered. False for null. */
static inline bool node_record_is_reachable(const struct node_record *e)
{
    return e != NULL && e->polls > 0 && e->node->is_online && !e->node->is_expired;
}

#endif
