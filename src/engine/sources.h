/* The addresses of source lists, and their texts. src: docs/protocol/policy.md 4.1 */
#ifndef ENGINE_SOURCES_H
#define ENGINE_SOURCES_H

#include "engine/tables.h"

/* Counts the node, which has its class, into the lists of its class (`delta` 1) or out of them (-1). */
void sources_count(struct engine *e, const struct engine_node *n, int delta);
/* The clock of the last change that the text depends on. */
uint64_t sources_version(const struct engine *e, const struct source_list *l);
/* The SrcIPs, a JSON array; and the principals of an SSH rule. Borrowed until the next write. */
struct str sources_text(struct engine *e, struct source_list *l);
struct str sources_principals(struct engine *e, struct source_list *l);
/* A hash of the addresses: two lists with equal hashes have equal texts. Makes the text only with a posture set. */
void sources_hash(struct engine *e, struct source_list *l, uint64_t out[2]);
/* Whether it has no address and no route at all. */
bool sources_is_empty(struct engine *e, struct source_list *l);
/* The sources of a rule with autogroup:self: the owner's nodes that are in the list, or, with `all`, all its nodes.
 * Appends a JSON array. */
void sources_own_text(const struct owner *o, uint32_t list, bool all, struct buf *out, uint64_t hash_out[2]);

#endif
