/* Which address selectors hold an address. */
#ifndef ENGINE_ADDRESS_INDEX_H
#define ENGINE_ADDRESS_INDEX_H

#include "policy/document.h"

struct address_index;
struct engine;
struct engine_node;

/* The document must outlive the index. */
struct address_index *address_index_create(const struct policy_doc *doc);
void address_index_destroy(struct address_index **x);
/* Sets the bits of the selectors that hold the single address `address`. Caches what it finds. */
void address_index_find(struct address_index *x, const struct range *address, uint64_t *in);

#endif
