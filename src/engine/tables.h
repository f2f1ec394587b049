/* The engine from inside: its tables, for the files of this module and for modules that look into an engine (reach).
 * Each table has a header of its own, which says what it is for.
 *
 *     document ──> source_table, rule_index, address_index   made once
 *     users    ──> owners
 *     nodes    ──> nodes, route_index, classes               change with each node
 *     classes  ──> sources (texts), view_builder, filter ... made from them when asked for */
#ifndef ENGINE_TABLES_H
#define ENGINE_TABLES_H

#include "base/arena.h"
#include "base/bits.h"
#include "engine/access.h"
#include "engine/address_index.h"
#include "engine/approval.h"
#include "engine/classes.h"
#include "engine/engine.h"
#include "engine/merge_slots.h"
#include "engine/nodes.h"
#include "engine/owners.h"
#include "engine/route_index.h"
#include "engine/rule_index.h"
#include "engine/source_table.h"
#include "engine/view_builder.h"

struct engine {
    struct policy_doc *doc; /* reference */
    struct arena arena;     /* what lives as long as the engine */
    uint64_t clock;         /* counts writes */
    size_t sel_words;       /* of a set of selectors */
    struct source_table sources;
    struct rule_index rules;
    struct address_index *addresses; /* owned */
    struct owner_table owners;
    struct node_table nodes;
    struct route_index routes;
    struct class_table classes;
    struct view_builder views;
    struct merge_table merges;
};

#endif
