#include "derpmap/derpmap.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "derpmap/derpmap_internal.h"

enum { OWN_REGION_ID = 999 };

/* --- Memory --- */

static void node_fini(struct derpmap_node *n)
{
    mem_free(n->name);
    mem_free(n->host_name);
    mem_free(n->cert_name);
    mem_free(n->ipv4);
    mem_free(n->ipv6);
    mem_free(n->stun_test_ip);
}

static void region_fini(struct derpmap_region *r)
{
    for (unsigned i = 0; i < r->node_n; i++)
        node_fini(&r->nodes[i]);
    mem_free(r->nodes);
    mem_free(r->code);
    mem_free(r->name);
    *r = (struct derpmap_region){0};
}

void derpmap_fini(struct derpmap *map)
{
    for (unsigned i = 0; i < map->region_n; i++)
        region_fini(&map->regions[i]);
    mem_free(map->regions);
    *map = (struct derpmap){0};
}

/* The index at which the region of this number is, or would be inserted. */
static unsigned region_index(const struct derpmap *map, int id)
{
    unsigned i = 0;
    while (i < map->region_n && map->regions[i].id < id)
        i++;
    return i;
}

static bool has_region_at(const struct derpmap *map, unsigned i, int id)
{
    return i < map->region_n && map->regions[i].id == id;
}

static void remove_region(struct derpmap *map, int id)
{
    unsigned i = region_index(map, id);
    if (!has_region_at(map, i, id))
        return;
    region_fini(&map->regions[i]);
    map->region_n--;
    memmove(&map->regions[i], &map->regions[i + 1], (map->region_n - i) * sizeof(*map->regions));
}

/* What the region owns moves to the map. */
static void put_region(struct derpmap *map, struct derpmap_region *region)
{
    remove_region(map, region->id);
    unsigned i = region_index(map, region->id);
    map->regions = mem_realloc_array(map->regions, map->region_n + 1, sizeof(*map->regions));
    memmove(&map->regions[i + 1], &map->regions[i], (map->region_n - i) * sizeof(*map->regions));
    map->regions[i] = *region;
    map->region_n++;
    *region = (struct derpmap_region){0};
}

/* --- The embedded relay --- */

static char *dup_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? mem_strdup(text) : NULL;
}

enum rc derpmap_add_own(struct derpmap *map, const struct derpmap_own *own, struct err *err)
{
    int id = own->region_id != 0 ? own->region_id : OWN_REGION_ID;
    if (id < 1 || id > DERPMAP_REGION_ID_MAX)
        return err_set(err, RC_INVALID, "DERP region %d: the number must be from 1 to %d", id, DERPMAP_REGION_ID_MAX);
    if (own->host_name == NULL || own->host_name[0] == '\0')
        return err_set(err, RC_INVALID, "DERP region %d: the relay has no host name", id);
    char name[16];
    snprintf(name, sizeof(name), "%da", id);
    struct derpmap_region region = {
        .id = id,
        .code = mem_strdup(own->region_code != NULL ? own->region_code : "fullscale"),
        .name = mem_strdup(own->region_name != NULL ? own->region_name : "Fullscale embedded relay"),
        .nodes = MEM_NEW(struct derpmap_node),
        .node_n = 1,
    };
    region.nodes[0] = (struct derpmap_node){
        .name = mem_strdup(own->node_name != NULL ? own->node_name : name),
        .host_name = mem_strdup(own->host_name),
        .cert_name = dup_or_null(own->cert_name),
        .ipv4 = dup_or_null(own->ipv4),
        .ipv6 = dup_or_null(own->ipv6),
        .stun_port = own->stun_port,
        .derp_port = own->derp_port,
        .can_port80 = own->can_port80,
    };
    put_region(map, &region);
    return RC_OK;
}

/* --- Merging --- */

void derpmap_merge_apply(struct derpmap_merge *m, struct derpmap *map)
{
    for (unsigned i = 0; i < m->n; i++) {
        if (m->is_removal[i])
            remove_region(map, m->regions[i].id);
        else
            put_region(map, &m->regions[i]);
    }
    for (unsigned i = 0; i < m->score_n; i++) {
        unsigned at = region_index(map, m->scores[i].id);
        if (has_region_at(map, at, m->scores[i].id))
            map->regions[at].score = m->scores[i].score;
    }
    map->omit_default_regions = map->omit_default_regions || m->omit_default_regions;
}

void derpmap_merge_fini(struct derpmap_merge *m)
{
    for (unsigned i = 0; i < m->n; i++)
        region_fini(&m->regions[i]);
    mem_free(m->regions);
    mem_free(m->is_removal);
    mem_free(m->scores);
    *m = (struct derpmap_merge){0};
}

static struct derpmap_node copy_node(const struct derpmap_node *n)
{
    struct derpmap_node made = *n;
    made.name = dup_or_null(n->name);
    made.host_name = dup_or_null(n->host_name);
    made.cert_name = dup_or_null(n->cert_name);
    made.ipv4 = dup_or_null(n->ipv4);
    made.ipv6 = dup_or_null(n->ipv6);
    made.stun_test_ip = dup_or_null(n->stun_test_ip);
    return made;
}

static void append_nodes(struct derpmap_region *region, const struct derpmap_region *more)
{
    region->nodes = mem_realloc_array(region->nodes, region->node_n + more->node_n + 1, sizeof(*region->nodes));
    for (unsigned i = 0; i < more->node_n; i++)
        region->nodes[region->node_n++] = copy_node(&more->nodes[i]);
}

void derpmap_append(struct derpmap *map, const struct derpmap *more)
{
    for (unsigned i = 0; i < more->region_n; i++) {
        const struct derpmap_region *from = &more->regions[i];
        if (!has_region_at(map, region_index(map, from->id), from->id)) {
            struct derpmap_region made = *from;
            made.code = dup_or_null(from->code);
            made.name = dup_or_null(from->name);
            made.nodes = NULL;
            made.node_n = 0;
            put_region(map, &made);
        }
        append_nodes(&map->regions[region_index(map, from->id)], from);
    }
}

/* --- The members that both notations have --- */

const struct derpmap_field derpmap_node_fields[] = {
    {"name", FIELD_TEXT, offsetof(struct derpmap_node_in, node.name)},
    {"regionid", FIELD_INT, offsetof(struct derpmap_node_in, region_id)},
    {"hostname", FIELD_TEXT, offsetof(struct derpmap_node_in, node.host_name)},
    {"certname", FIELD_TEXT, offsetof(struct derpmap_node_in, node.cert_name)},
    {"ipv4", FIELD_TEXT, offsetof(struct derpmap_node_in, node.ipv4)},
    {"ipv6", FIELD_TEXT, offsetof(struct derpmap_node_in, node.ipv6)},
    {"stunport", FIELD_INT, offsetof(struct derpmap_node_in, node.stun_port)},
    {"stunonly", FIELD_BOOL, offsetof(struct derpmap_node_in, node.stun_only)},
    {"derpport", FIELD_INT, offsetof(struct derpmap_node_in, node.derp_port)},
    {"insecurefortests", FIELD_BOOL, offsetof(struct derpmap_node_in, node.insecure_for_tests)},
    {"stuntestip", FIELD_TEXT, offsetof(struct derpmap_node_in, node.stun_test_ip)},
    {"canport80", FIELD_BOOL, offsetof(struct derpmap_node_in, node.can_port80)},
};
const size_t derpmap_node_fields_n = ARRAY_LEN(derpmap_node_fields);

const struct derpmap_field derpmap_region_fields[] = {
    {"regionid", FIELD_INT, offsetof(struct derpmap_region, id)},
    {"regioncode", FIELD_TEXT, offsetof(struct derpmap_region, code)},
    {"regionname", FIELD_TEXT, offsetof(struct derpmap_region, name)},
    {"latitude", FIELD_NUMBER, offsetof(struct derpmap_region, latitude)},
    {"longitude", FIELD_NUMBER, offsetof(struct derpmap_region, longitude)},
    {"avoid", FIELD_BOOL, offsetof(struct derpmap_region, avoid)},
    {"nomeasurenohome", FIELD_BOOL, offsetof(struct derpmap_region, no_measure_no_home)},
    {"nodes", FIELD_SPECIAL, 0},
};
const size_t derpmap_region_fields_n = ARRAY_LEN(derpmap_region_fields);
