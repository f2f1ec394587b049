/* The users as owners of nodes, and which selectors hold them. */
#ifndef ENGINE_OWNERS_H
#define ENGINE_OWNERS_H

#include "base/list.h"
#include "base/map.h"
#include "engine/engine.h"
#include "policy/document.h"

struct owner {
    uint64_t id;
    uint32_t number; /* from 1 */
    struct str name;
    struct str email;
    struct str provider_id;
    enum policy_role role;
    uint64_t *in;        /* bits: selectors that hold the user */
    struct list nodes;   /* engine_node.owner_link: the nodes without tags */
    size_t self_sources; /* how many of them are sources of a rule with autogroup:self */
    uint64_t version; /* clock of the last change among them; 0 while no rule depends on owners (rule_index.has_own) */
    struct list version_link;
};

struct owner_table {
    const struct policy_doc *doc;
    struct arena *arena; /* the engine's */
    struct owner *v;     /* the users that the engine was made with */
    size_t n;
    struct map by_id; /* those, and owners of nodes that are no known users */
    struct map by_provider;
    struct map by_email;      /* lower case */
    struct map by_name;       /* as written: older versions allowed two names that differ by case */
    struct map by_lower_name; /* lower case */
    struct list by_version;   /* ascending */
};

/* Copies the users into the arena. */
void owners_init(struct owner_table *t, const struct policy_doc *doc, struct arena *arena,
                 const struct engine_user *users, size_t n);
void owners_fini(struct owner_table *t);
/* The owner with this id. Never null: an unknown id gets an owner without a name. */
struct owner *owners_get(struct owner_table *t, uint64_t id);
/* The user that a selector, or a member of a group, names. Null: there is none, or there are several. */
struct owner *owners_find(const struct owner_table *t, struct str selector, bool *is_ambiguous_out);
/* Whether the selector, of a kind that names users, holds the owner. */
bool owners_match(const struct owner_table *t, const struct owner *o, const struct selector *s);

#endif
