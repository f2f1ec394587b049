/* A policy at work: how users, nodes and the doc hang together.
 *
 *   unit     a part of a rule that has sources and destinations: the grant or ACL itself (without autogroup:self), what a
 *            grant with `via` steers, or the companion of an app grant, which runs backwards (src: docs/protocol/policy.md 4.3)
 *   list     a set of source selectors with a posture set: equal ones are one list, which keeps its text
 *   class    nodes that the doc cannot tell apart: equal selectors, posture results and routes
 *
 * A class has two sets of units, `src` and `dst`; A and B are peers when one's `src` meets the other's `dst` (src:
 * docs/protocol/policy.md 6.1), so `row` holds, for each class, the classes that it sees. autogroup:self is the one
 * thing that classes do not know: it makes peers within a user's own nodes.
 *
 * Routes that lie over tailnet addresses match address selectors only: an identity stands for its nodes' own
 * addresses. */
#ifndef ENGINE_PARTS_H
#define ENGINE_PARTS_H

#include "base/list.h"
#include "engine/access.h"
#include "engine/approval.h"
#include "base/bits.h"
#include "engine/engine.h"
#include "policy/document.h"
#include "engine/rolls.h"
#include "engine/view.h"

enum { IP_TEXT_CAP = 48 };

struct owner {
    uint64_t id;
    uint32_t number; /* from 1 */
    struct str name;
    struct str email;
    struct str provider_id;
    enum policy_role role;
    uint64_t *in;      /* bits of selectors */
    struct list nodes; /* its owned nodes, by `of_owner` */
    size_t self_sources;
    uint64_t version; /* of its owned nodes; stays 0 without has_own */
    struct list by_version;
};

enum unit_kind { UNIT_RULE, UNIT_VIA, UNIT_BACK };

struct unit {
    enum unit_kind kind;
    uint32_t rule;
    uint32_t list;
};

struct source_list {
    struct sel_list sels;
    posture_set_id posture;
    bool has_star;
    bool has_danger;        /* every address, without a posture: just "*" */
    bool is_self;           /* of a rule with autogroup:self */
    bool is_recorder;       /* of an SSH rule's recorders: its nodes are told one by one, however they are named */
    struct range_set fixed; /* what address selectors give; canonical */
    uint32_t *unit;         /* whose sources it is */
    size_t unit_n, unit_cap;
    size_t node_n;    /* nodes that are in it by themselves, not by a route */
    uint64_t hash[2]; /* of the set of addresses: a sum, so that nodes come and go; unused with a posture */
    uint64_t version;
    struct buf text; /* SrcIPs: a JSON array; good when text_version is what it would be made of */
    uint64_t text_version;
    struct buf principals; /* of an SSH rule */
    uint64_t principals_version;
};

/* What a router's route is to the units. Made when it is first asked for. */
struct route_units {
    uint64_t *to;    /* the router's filter has a destination over it */
    uint64_t *from;  /* sources over it */
    uint64_t *via;   /* via grants that steer it */
    uint64_t *plain; /* grants and ACLs that reach it without */
};

/* The nodes that hold a route. */
struct route_holders {
    struct range_key key;
    struct range range;
    struct engine_node **v; /* heap */
    size_t n, cap;
};

struct node_route {
    struct range range;
    bool is_exit;
    bool is_primary;
    struct route_holders *holders;
    struct route_units units; /* null pointers: not made yet. One block, owned through `to` */
};

struct class {
    uint8_t *key; /* owned; in `class_by_key` */
    size_t key_len;
    uint32_t index;
    uint64_t *in;     /* selectors; the block that holds all sets of this class but the row, owned */
    uint64_t *member; /* lists that hold its nodes' addresses */
    uint64_t *src;    /* units */
    uint64_t *dst;    /* units */
    uint64_t *fit;    /* posture sets that its nodes satisfy */
    uint64_t *row;    /* classes; owned */
    bool is_self_source;
    bool is_exit;
    struct list nodes; /* by `of_class` */
    size_t node_n;
    uint64_t version; /* when it was made */
    struct buf caps;  /* of nodeAttrs; JSON object, made when asked for */
};

struct engine_node {
    uint64_t id;
    struct class *class;
    struct owner *owner; /* null: tagged */
    struct list of_class;
    struct list of_owner;
    struct list by_version;
    struct list of_strays; /* in `strays`, when an address of it is outside of the tailnet's ranges */
    struct range v4, v6;   /* family 0: none */
    char text4[IP_TEXT_CAP];
    char text6[IP_TEXT_CAP];
    bool is_online;
    bool is_mac;
    bool has_old_ssh;
    int64_t created_ms;
    struct node_route *route; /* owned */
    size_t route_n;
    struct policy_attr *attr; /* owned, with the texts behind it; null when the doc has no postures */
    size_t attr_n;
    struct str *tag; /* owned, with the texts behind it */
    size_t tag_n;
    struct str facts; /* what it was made from, owned: equal facts are no change */
    uint64_t version;
    uint64_t routes_version;
};

/* Where a merged rule stands: the first with its sources and protocol. src: docs/protocol/policy.md 4.4 */
struct place {
    uint64_t hash[2];
    uint32_t proto;
    uint32_t order; /* 0: free */
};

struct class_table; /* view.c */

struct engine {
    struct policy_doc *doc; /* reference */
    struct arena arena;     /* what lives as long as this */
    uint64_t clock;         /* counts writes */

    struct owner *owner;
    size_t owner_n;
    struct map owner_by_id;
    struct map owner_by_provider;
    struct map owner_by_email;      /* lower case */
    struct map owner_by_name;       /* as it is written: older versions let two differ by case */
    struct map owner_by_lower_name; /* and lower case */

    struct range_set tailnet; /* canonical: what `*` is besides routes and the addresses of strays */
    struct list strays;       /* nodes, by `of_strays` */
    uint64_t *everyone;       /* selectors that hold every node */

    struct unit *unit; /* heap */
    size_t unit_n, unit_cap;
    struct source_list *list; /* heap */
    size_t list_n, list_cap;
    struct map list_by_key;
    size_t sel_words, unit_words, list_words;
    uint32_t **dst_units; /* by selector: units of which it is a destination */
    size_t *dst_units_n;
    uint32_t **src_lists; /* by selector */
    size_t *src_lists_n;
    uint32_t *via_unit; /* all of them */
    size_t via_unit_n;
    uint32_t *posture_list; /* lists with a posture */
    size_t posture_list_n;
    uint32_t *rule_list;     /* by rule: the list of its sources */
    uint32_t *ssh_list;      /* by SSH rule */
    uint32_t *recorder_list; /* by SSH rule */
    uint32_t *self_rule;     /* rules with autogroup:self */
    size_t self_rule_n;
    bool has_own;         /* what a node is told may depend on its owner's other nodes */
    uint64_t *self_lists; /* bits */

    struct cover *cover; /* owned */
    uint64_t *tagged;    /* selectors that hold every tagged node */

    /* What the next view is made of. */
    struct pages seats;
    struct pages in_class, of_owner;
    struct class_table *classes; /* reference; null: a class came or went since */
    struct engine_view *view;    /* reference; null: something was written since */

    struct map node_by_id;
    struct list nodes_by_version, owners_by_version; /* ascending */
    struct map class_by_key;
    struct class **class_at; /* by index; heap; null: free */
    size_t class_cap;
    size_t class_n;
    struct map holders_by_route;
    uint64_t star_hash;      /* of what `*` is besides the tailnet's ranges: approved prefixes, addresses of strays */
    uint64_t star_version;   /* when it last changed */
    uint64_t routes_touched; /* when a router was last written */

    struct place *place; /* hash table; heap */
    size_t place_cap;
    uint64_t place_version;
};

/* --- users --- */
void owners_create(struct engine *p, const struct engine_user *users, size_t n);
/* Never null: an id that is not known gets an owner with no name. */
struct owner *owner_get(struct engine *p, uint64_t id);
/* Null: nobody, or several. */
struct owner *owner_find(const struct engine *p, struct str selector, bool *is_ambiguous);
/* Whether the selector (of an identity kind) holds the user. */
bool owner_is(const struct engine *p, const struct owner *o, const struct selector *s);

/* --- source lists --- */
uint32_t sources_intern(struct engine *p, const struct sel_list *sels, posture_set_id posture);
void sources_finish(struct engine *p);
void sources_fini(struct source_list *l);
/* The node with its class comes into the lists of its class (`delta` 1), or leaves them (-1). */
void sources_count(struct engine *p, const struct engine_node *n, int delta);
/* What the text depends on. */
uint64_t sources_version(const struct engine *p, const struct source_list *l);
/* The SrcIPs; borrowed until the next write. */
struct str sources_text(struct engine *p, struct source_list *l);
struct str sources_principals(struct engine *p, struct source_list *l);
/* Two lists with equal hashes hold the same addresses. Text is made when need be. */
void sources_hash(struct engine *p, struct source_list *l, uint64_t out[2]);
/* Whether there is an address or route at all. */
bool sources_is_empty(struct engine *p, struct source_list *l);
/* The sources of a rule narrowed to the owner's nodes; with `all`, its nodes whatever the list. JSON array. */
void sources_own_text(const struct engine *p, const struct owner *o, uint32_t list, bool all, struct buf *out,
                      uint64_t hash[2]);
/* Sources over the range. */
bool sources_meets(const struct source_list *l, const struct range *range);
void hash_range(uint64_t sum[2], const struct range *r, int sign);

/* --- which address selectors hold an address: the space is cut at the ends of all ranges --- */
struct cover *cover_create(const struct policy_doc *doc);
void cover_destroy(struct cover **c);
/* Sets the bits of the selectors whose entries hold it. Remembers what it found. */
void cover_find(struct cover *c, const struct range *address, uint64_t *in);

/* The selectors that hold one address, of a node or (null) of none: identities by the node, others by the address
 * alone. */
void address_selectors(struct engine *p, const struct engine_node *n, const struct range *at, uint64_t *in);

/* --- view.c --- */
/* The node, which is not seated, takes the seat of its class and owner; and leaves it. */
void seat_node(struct engine *p, const struct engine_node *n);
void unseat_node(struct engine *p, const struct engine_node *n);
/* Null is fine; nulls the pointer. */
void class_table_unref(struct class_table **t);

/* --- classes --- */
/* The class with this key, made when there is none. `n`: a node of it, for its routes; not yet in it. */
struct class *class_get(struct engine *p, const struct engine_node *n, const struct str *key, const uint64_t *in,
                        const uint64_t *fit);
void class_drop(struct engine *p, struct class *c);
/* When something changed that the filter or SSH policy of its nodes is made of. */
uint64_t class_version(const struct engine *p, const struct class *c);
struct engine_node *engine_node_find(const struct engine *p, uint64_t id);
/* Whether the node is in a list by itself. */
static inline bool engine_node_in_list(const struct engine_node *n, uint32_t list)
{
    return bit_get(n->class->member, list);
}
static inline bool engine_node_is(const struct engine_node *n, sel_id sel)
{
    return bit_get(n->class->in, sel);
}
static inline struct range engine_node_range(const struct engine_node *n, int family)
{
    return family == 4 ? n->v4 : n->v6;
}
/* Whether an entry stays in the filter of the node. src: docs/protocol/policy.md 4.5 */
bool engine_node_keeps(const struct engine_node *n, const struct sel_range *e);
/* Adds those of its addresses that are outside of the tailnet's ranges. */
void engine_node_add_stray(const struct engine *p, const struct engine_node *n, struct range_set *out);
bool engine_node_routes_meet(const struct engine_node *n, const struct range *r);

#define CLASS_EACH(it, p)                                                                                              \
    for (size_t it##_i = 0; it##_i < (p)->class_cap; it##_i++)                                                         \
        for (struct class *it = (p)->class_at[it##_i]; it != NULL; it = NULL)

#endif
