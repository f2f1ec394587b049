/* Classes: nodes that the document cannot tell apart, because they have equal selectors, posture results and routes. A
 * class has two sets of rule parts, `src` and `dst`: A and B see each other when the `src` of one and the `dst` of the
 * other intersect (src: docs/protocol/policy.md 6.1). The row of a class has a bit for each class that it sees. The
 * only thing that classes do not cover is autogroup:self, which makes peers of a user's own nodes.
 *
 * Routes that overlap tailnet addresses match address selectors only: an identity stands for its nodes' own
 * addresses. */
#ifndef ENGINE_CLASSES_H
#define ENGINE_CLASSES_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"

struct engine;
struct engine_facts;
struct engine_node;

/* Sets are bits. */
struct class {
    uint8_t *key; /* owned; the key in class_table.by_key */
    size_t key_len;
    uint32_t index;
    uint64_t *in;        /* selectors. Owned: one block that has all sets of the class except the row */
    uint64_t *member;    /* source lists that hold its nodes' addresses */
    uint64_t *src;       /* rule parts that it is a source of */
    uint64_t *dst;       /* rule parts that it is a destination of */
    uint64_t *postures;  /* posture sets that its nodes satisfy */
    uint64_t *row;       /* classes that it sees; owned */
    bool is_self_source; /* a source of a rule with autogroup:self */
    bool is_exit;        /* has exit routes */
    struct list nodes;   /* engine_node.class_link */
    size_t node_n;
    uint64_t version; /* clock when it was made */
    struct buf caps;  /* of nodeAttrs: JSON object, made when it is first asked for */
};

struct class_table {
    struct class **at; /* by index; heap; null: unused */
    size_t cap;
    size_t n;
    struct map by_key;
};

/* Runs the body for each class of the engine. */
#define CLASS_EACH(it, e)                                                                                              \
    for (size_t it##_i = 0; it##_i < (e)->classes.cap; it##_i++)                                                       \
        for (struct class *it = (e)->classes.at[it##_i]; it != NULL; it = NULL)

/* The class that a node with these facts belongs to; made when there is none. The node, which has its routes, is not
 * in it yet. */
struct class *class_get(struct engine *e, const struct engine_node *n, const struct engine_facts *f);
/* Frees a class, whose last node is gone. */
void class_drop(struct engine *e, struct class *c);

#endif
