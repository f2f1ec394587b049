/* What the files of the DERP map share. From the bottom up; each file calls only those before it:
 *
 *   derpmap.c  the value: memory, merging, the members of a node and a region by name
 *   hosts.c    what can be a host name; warnings about addresses that lead nowhere
 *   check.c    whether a map can be given to clients
 *   yaml.c     reads the administrator's files
 *   json.c     reads what other servers send
 *   write.c    writes JSON for clients */
#ifndef DERPMAP_DERPMAP_INTERNAL_H
#define DERPMAP_DERPMAP_INTERNAL_H

#include <stddef.h>

#include "derpmap/derpmap.h"

enum {
    DERPMAP_REGION_ID_MAX = 65535,
    DERPMAP_REGIONS_MAX = 1024, /* of one document */
    DERPMAP_NODES_MAX = 64,     /* of one region */
    DERPMAP_ALL_NODES_MAX = 4096,
    DERPMAP_TEXT_MAX = 255,
};

enum derpmap_field_kind { FIELD_TEXT, FIELD_INT, FIELD_BOOL, FIELD_NUMBER, FIELD_SPECIAL };

struct derpmap_field {
    const char *key; /* matched whatever its case */
    enum derpmap_field_kind kind;
    size_t offset; /* of a char *, int, bool or double */
};

/* A node, and the region number that its text gives. */
struct derpmap_node_in {
    struct derpmap_node node;
    int region_id;
};

extern const struct derpmap_field derpmap_node_fields[]; /* of struct derpmap_node_in */
extern const size_t derpmap_node_fields_n;
extern const struct derpmap_field derpmap_region_fields[]; /* of struct derpmap_region; "nodes" is special */
extern const size_t derpmap_region_fields_n;

struct derpmap_score {
    int id;
    double score;
};

/* The changes that a document asks for; applied when all of it has been read without a fault. All owned. */
struct derpmap_merge {
    struct derpmap_region *regions; /* of a removal only `id` is set */
    bool *is_removal;
    unsigned n;
    struct derpmap_score *scores;
    unsigned score_n;
    bool omit_default_regions;
};

/* --- derpmap.c --- */
/* Makes the changes. What the regions own moves to `map`. */
void derpmap_merge_apply(struct derpmap_merge *m, struct derpmap *map);
/* Frees what was not applied. */
void derpmap_merge_fini(struct derpmap_merge *m);

/* --- hosts.c --- */
/* Whether it is a DNS name or an address. */
bool derpmap_is_host(struct str text);
/* What to write instead of something like a URL: "hostname: derp.example.com and derpport: 30000"; "" when there is no
 * advice. */
void derpmap_advise_host(const char *text, char out[300]);

#endif
