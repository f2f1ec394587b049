/* What the next view is made of: tables that are copied on write, so that views share what has not changed. */
#ifndef ENGINE_VIEW_BUILDER_H
#define ENGINE_VIEW_BUILDER_H

#include "engine/cow_sets.h"
#include "engine/view.h"

struct class_rows;
struct engine_node;

struct view_builder {
    struct cow_table members;  /* by node id: its membership */
    struct cow_table in_class; /* by class index: set of nodes */
    struct cow_table of_owner; /* by number of the owner: set of nodes; empty while no rule depends on owners */
    struct class_rows *rows;   /* reference; null: a class came or went since they were copied */
    struct engine_view *view;  /* reference; null: a write has made it stale */
};

/* Drops all references. */
void view_builder_fini(struct view_builder *b);
/* The node, which is in no set, joins those of its class and owner. `has_own`: owners matter (rule_index.has_own). */
void view_builder_add(struct view_builder *b, const struct engine_node *n, bool has_own);
void view_builder_remove(struct view_builder *b, const struct engine_node *n, bool has_own);
/* The last view, or the rows as well, are stale. */
void view_builder_forget_view(struct view_builder *b);
void view_builder_forget_rows(struct view_builder *b);

#endif
