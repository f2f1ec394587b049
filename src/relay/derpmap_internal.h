/* What derpmap.c and the readers of the two notations share; only for this folder. */
#ifndef RELAY_DERPMAP_INTERNAL_H
#define RELAY_DERPMAP_INTERNAL_H

#include <stddef.h>

#include "relay/derpmap.h"

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

/* A node, and the region that it says it is in. */
struct derpmap_node_in {
    struct derpmap_node node;
    int region_id;
};

extern const struct derpmap_field derpmap_node_fields[];
extern const size_t derpmap_node_fields_n;
extern const struct derpmap_field derpmap_region_fields[]; /* of struct derpmap_region; "nodes" is special */
extern const size_t derpmap_region_fields_n;

struct derpmap_score {
    int id;
    double score;
};

/* What a document asks for; applied when all of it has been read. All owned. */
struct derpmap_merge {
    struct derpmap_region *regions; /* removals are empty but for `id` */
    bool *is_removal;
    unsigned n;
    struct derpmap_score *scores;
    unsigned score_n;
    bool omit_default_regions;
};

/* --- derpmap_hosts.c --- */
/* A DNS name or an address. */
bool derpmap_is_host(struct str text);
/* "hostname: derp.example.com and derpport: 30000" for what looks like a URL; "" when nothing helps. */
void derpmap_advise_host(const char *text, char out[300]);

/* Takes what the regions own. */
void derpmap_merge_apply(struct derpmap_merge *m, struct derpmap *map);
void derpmap_merge_fini(struct derpmap_merge *m);

#endif
