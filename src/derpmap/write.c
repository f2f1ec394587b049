/* Writes a DERP map as JSON, as clients read it. */
#include <stdio.h>

#include "codec/json_write.h"
#include "derpmap/derpmap.h"

static void write_text(struct json_writer *w, const char *key, const char *text)
{
    if (text != NULL)
        json_w_kv_cstr(w, key, text);
}

static void write_int(struct json_writer *w, const char *key, int v)
{
    if (v != 0)
        json_w_kv_i64(w, key, v);
}

static void write_true(struct json_writer *w, const char *key, bool v)
{
    if (v)
        json_w_kv_bool(w, key, true);
}

static void write_number(struct json_writer *w, const char *key, double v)
{
    if (v == 0)
        return;
    json_w_key(w, key);
    json_w_f64(w, v);
}

static void write_node(struct json_writer *w, const struct derpmap_node *n, int region_id)
{
    json_w_object(w);
    json_w_kv_cstr(w, "Name", n->name != NULL ? n->name : "");
    json_w_kv_i64(w, "RegionID", region_id);
    json_w_kv_cstr(w, "HostName", n->host_name != NULL ? n->host_name : "");
    write_text(w, "CertName", n->cert_name);
    write_text(w, "IPv4", n->ipv4);
    write_text(w, "IPv6", n->ipv6);
    write_int(w, "STUNPort", n->stun_port);
    write_true(w, "STUNOnly", n->stun_only);
    write_int(w, "DERPPort", n->derp_port);
    write_true(w, "InsecureForTests", n->insecure_for_tests);
    write_text(w, "STUNTestIP", n->stun_test_ip);
    write_true(w, "CanPort80", n->can_port80);
    json_w_end_object(w);
}

static void write_region(struct json_writer *w, const struct derpmap_region *r)
{
    json_w_object(w);
    json_w_kv_i64(w, "RegionID", r->id);
    json_w_kv_cstr(w, "RegionCode", r->code != NULL ? r->code : "");
    json_w_kv_cstr(w, "RegionName", r->name != NULL ? r->name : "");
    write_number(w, "Latitude", r->latitude);
    write_number(w, "Longitude", r->longitude);
    write_true(w, "Avoid", r->avoid);
    write_true(w, "NoMeasureNoHome", r->no_measure_no_home);
    json_w_key(w, "Nodes");
    json_w_array(w);
    for (unsigned i = 0; i < r->node_n; i++)
        write_node(w, &r->nodes[i], r->id);
    json_w_end_array(w);
    json_w_end_object(w);
}

static void write_key_of(struct json_writer *w, const struct derpmap_region *r)
{
    char key[16];
    snprintf(key, sizeof(key), "%d", r->id);
    json_w_key(w, key);
}

/* Scores are always written: an empty object takes back what a client had before. */
static void write_scores(struct json_writer *w, const struct derpmap *map)
{
    json_w_key(w, "HomeParams");
    json_w_object(w);
    json_w_key(w, "RegionScore");
    json_w_object(w);
    for (unsigned i = 0; i < map->region_n; i++) {
        if (map->regions[i].score == 0)
            continue;
        write_key_of(w, &map->regions[i]);
        json_w_f64(w, map->regions[i].score);
    }
    json_w_end_object(w);
    json_w_end_object(w);
}

void derpmap_write_json(const struct derpmap *map, struct buf *out)
{
    struct json_writer w;
    json_w_init(&w, out);
    json_w_object(&w);
    write_scores(&w, map);
    json_w_key(&w, "Regions");
    json_w_object(&w);
    for (unsigned i = 0; i < map->region_n; i++) {
        write_key_of(&w, &map->regions[i]);
        write_region(&w, &map->regions[i]);
    }
    json_w_end_object(&w);
    write_true(&w, "omitDefaultRegions", map->omit_default_regions);
    json_w_end_object(&w);
}
