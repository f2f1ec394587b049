#include "relay/derpmap.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "codec/json_write.h"
#include "codec/yaml.h"
#include "relay/derpmap_internal.h"
#include "base/addr.h"

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

/* Where the region of this number stands, or would. */
static unsigned place_of(const struct derpmap *map, int id)
{
    unsigned i = 0;
    while (i < map->region_n && map->regions[i].id < id)
        i++;
    return i;
}

static bool stands_at(const struct derpmap *map, unsigned i, int id)
{
    return i < map->region_n && map->regions[i].id == id;
}

static void remove_region(struct derpmap *map, int id)
{
    unsigned i = place_of(map, id);
    if (!stands_at(map, i, id))
        return;
    region_fini(&map->regions[i]);
    map->region_n--;
    memmove(&map->regions[i], &map->regions[i + 1], (map->region_n - i) * sizeof(*map->regions));
}

/* Takes over what the region owns. */
static void put_region(struct derpmap *map, struct derpmap_region *region)
{
    remove_region(map, region->id);
    unsigned i = place_of(map, region->id);
    map->regions = mem_realloc_array(map->regions, map->region_n + 1, sizeof(*map->regions));
    memmove(&map->regions[i + 1], &map->regions[i], (map->region_n - i) * sizeof(*map->regions));
    map->regions[i] = *region;
    map->region_n++;
    *region = (struct derpmap_region){0};
}

/* --- The relay inside --- */

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

/* --- What several documents come to --- */

void derpmap_merge_apply(struct derpmap_merge *m, struct derpmap *map)
{
    for (unsigned i = 0; i < m->n; i++) {
        if (m->is_removal[i])
            remove_region(map, m->regions[i].id);
        else
            put_region(map, &m->regions[i]);
    }
    for (unsigned i = 0; i < m->score_n; i++) {
        unsigned at = place_of(map, m->scores[i].id);
        if (stands_at(map, at, m->scores[i].id))
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
        if (!stands_at(map, place_of(map, from->id), from->id)) {
            struct derpmap_region made = *from;
            made.code = dup_or_null(from->code);
            made.name = dup_or_null(from->name);
            made.nodes = NULL;
            made.node_n = 0;
            put_region(map, &made);
        }
        append_nodes(&map->regions[place_of(map, from->id)], from);
    }
}

/* --- Reading --- */

struct reader {
    const char *file;
    struct err *err;
};

static enum rc complain(const struct reader *r, const struct yaml *at, const char *text)
{
    bool has_key = at->key_line > 0;
    int line = has_key ? at->key_line : at->line;
    int col = has_key ? at->key_col : at->col;
    if (!has_key)
        return err_set_at(r->err, RC_INVALID, r->file, line, col, "%s", text);
    return err_set_at(r->err, RC_INVALID, r->file, line, col, "%.*s: %s", STR_ARG(at->key), text);
}

static enum rc read_text(const struct reader *r, const struct yaml *value, char **out)
{
    if (value->type != YAML_SCALAR)
        return complain(r, value, "must be a text");
    mem_free(*out);
    *out = value->text.len > 0 ? mem_strndup(value->text.p, value->text.len) : NULL;
    return RC_OK;
}

static enum rc read_int(const struct reader *r, const struct yaml *value, int *out)
{
    int64_t v;
    if (value->type != YAML_SCALAR || str_to_i64(value->text, &v) != RC_OK || v < INT32_MIN || v > INT32_MAX)
        return complain(r, value, "must be a whole number");
    *out = (int)v;
    return RC_OK;
}

static enum rc read_bool(const struct reader *r, const struct yaml *value, bool *out)
{
    bool is_true = value->type == YAML_SCALAR && str_eq_c(value->text, "true");
    if (!is_true && !(value->type == YAML_SCALAR && str_eq_c(value->text, "false")))
        return complain(r, value, "must be true or false");
    *out = is_true;
    return RC_OK;
}

/* JSON's reader knows what a number is. */
static enum rc read_number(const struct reader *r, const struct yaml *value, double *out)
{
    struct arena a = {0};
    const struct json *number = NULL;
    bool ok = value->type == YAML_SCALAR && json_parse(&a, value->text, NULL, &number, NULL) == RC_OK &&
              json_f64(number, out);
    arena_fini(&a);
    return ok ? RC_OK : complain(r, value, "must be a number");
}

static const struct derpmap_field *find_field(const struct derpmap_field *fields, size_t n, struct str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_ci(key, str_c(fields[i].key)))
            return &fields[i];
    return NULL;
}

/* Null values leave the field as it is. `special` gets what is no plain field. */
static enum rc read_fields(const struct reader *r, const struct yaml *map, const struct derpmap_field *fields, size_t n,
                           void *object,
                           enum rc (*special)(const struct reader *r, const struct yaml *value, void *object))
{
    YAML_EACH (value, map) {
        const struct derpmap_field *f = find_field(fields, n, value->key);
        if (f == NULL)
            return complain(r, value, "unknown key");
        if (value->type == YAML_NULL)
            continue;
        void *at = (char *)object + f->offset;
        switch (f->kind) {
        case FIELD_TEXT: TRY(read_text(r, value, at)); break;
        case FIELD_INT: TRY(read_int(r, value, at)); break;
        case FIELD_BOOL: TRY(read_bool(r, value, at)); break;
        case FIELD_NUMBER: TRY(read_number(r, value, at)); break;
        case FIELD_SPECIAL: TRY(special(r, value, object)); break;
        }
    }
    return RC_OK;
}

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

/* Said here, where the line is known. */
static enum rc check_host(const struct reader *r, const struct yaml *node, const char *host)
{
    char better[300], text[512];
    const struct yaml *at = node;
    if (host == NULL || derpmap_is_host(str_c(host)))
        return RC_OK;
    YAML_EACH (it, node) {
        if (str_eq_ci(it->key, STR("hostname")))
            at = it;
    }
    derpmap_advise_host(host, better);
    snprintf(text, sizeof(text), "must be a host name alone, not \"%.100s\"%s%s", host,
             better[0] != '\0' ? ": write " : "", better);
    return complain(r, at, text);
}

static enum rc read_nodes(const struct reader *r, const struct yaml *list, void *object)
{
    struct derpmap_region *region = object;
    if (list->type != YAML_SEQ)
        return complain(r, list, "must be a list of nodes");
    if (region->nodes != NULL)
        return complain(r, list, "is there twice");
    region->nodes = mem_zalloc(list->n + 1, sizeof(*region->nodes));
    YAML_EACH (item, list) {
        struct derpmap_node_in in = {.region_id = region->id};
        if (item->type != YAML_MAP)
            return complain(r, item, "each node must be a map");
        enum rc rc = read_fields(r, item, derpmap_node_fields, derpmap_node_fields_n, &in, NULL);
        in.node.line = item->line;
        region->nodes[region->node_n++] = in.node;
        TRY(rc);
        TRY(check_host(r, item, in.node.host_name));
        if (in.region_id != region->id)
            return complain(r, item, "the node's regionid is not that of its region");
    }
    return RC_OK;
}

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

static enum rc read_region(const struct reader *r, const struct yaml *value, int id, struct derpmap_region *region)
{
    if (value->type != YAML_MAP)
        return complain(r, value, "a region must be a map, or null to remove it");
    region->id = id;
    region->line = value->key_line;
    TRY(read_fields(r, value, derpmap_region_fields, derpmap_region_fields_n, region, read_nodes));
    return region->id == id ? RC_OK : complain(r, value, "regionid differs from the key");
}

static enum rc read_region_id(const struct reader *r, const struct yaml *value, int *out)
{
    int64_t id;
    if (str_to_i64(value->key, &id) != RC_OK || id < 1 || id > DERPMAP_REGION_ID_MAX)
        return complain(r, value, "a region's number must be from 1 to 65535");
    *out = (int)id;
    return RC_OK;
}

static enum rc read_regions(const struct reader *r, const struct yaml *list, struct derpmap_merge *m)
{
    if (list->type != YAML_MAP)
        return complain(r, list, "must be a map from region numbers to regions");
    if (m->regions != NULL)
        return complain(r, list, "is there twice");
    m->regions = mem_zalloc(list->n + 1, sizeof(*m->regions));
    m->is_removal = mem_zalloc(list->n + 1, sizeof(*m->is_removal));
    YAML_EACH (value, list) {
        int id = 0;
        TRY(read_region_id(r, value, &id));
        unsigned i = m->n++;
        m->regions[i].id = id;
        m->is_removal[i] = value->type == YAML_NULL;
        if (!m->is_removal[i])
            TRY(read_region(r, value, id, &m->regions[i]));
    }
    return RC_OK;
}

static enum rc read_scores(const struct reader *r, const struct yaml *list, struct derpmap_merge *m)
{
    mem_free(m->scores);
    m->scores = mem_zalloc(list->n + 1, sizeof(*m->scores));
    m->score_n = 0;
    YAML_EACH (value, list) {
        struct derpmap_score *score = &m->scores[m->score_n++];
        TRY(read_region_id(r, value, &score->id));
        TRY(read_number(r, value, &score->score));
    }
    return RC_OK;
}

static enum rc read_home_params(const struct reader *r, const struct yaml *value, struct derpmap_merge *m)
{
    if (value->type != YAML_MAP)
        return complain(r, value, "must be a map");
    YAML_EACH (it, value) {
        if (!str_eq_ci(it->key, STR("regionscore")))
            return complain(r, it, "unknown key");
        if (it->type != YAML_MAP)
            return complain(r, it, "must be a map from region numbers to factors");
        TRY(read_scores(r, it, m));
    }
    return RC_OK;
}

static enum rc read_top(const struct reader *r, const struct yaml *value, void *object)
{
    struct derpmap_merge *m = object;
    return str_eq_ci(value->key, STR("regions")) ? read_regions(r, value, m) : read_home_params(r, value, m);
}

static const struct derpmap_field map_fields[] = {
    {"regions", FIELD_SPECIAL, 0},
    {"homeparams", FIELD_SPECIAL, 0},
    {"omitdefaultregions", FIELD_BOOL, offsetof(struct derpmap_merge, omit_default_regions)},
};

static enum rc merge_tree(struct derpmap *map, const struct yaml *root, const struct reader *r)
{
    if (root->type == YAML_NULL)
        return RC_OK;
    if (root->type != YAML_MAP)
        return complain(r, root, "a DERP map must be a map with the key \"regions\"");
    struct derpmap_merge m = {0};
    enum rc rc = read_fields(r, root, map_fields, ARRAY_LEN(map_fields), &m, read_top);
    if (rc == RC_OK)
        derpmap_merge_apply(&m, map);
    derpmap_merge_fini(&m);
    return rc;
}

enum rc derpmap_merge_text(struct derpmap *map, struct str text, const char *file, struct err *err)
{
    struct arena a = {0};
    const struct yaml *root = NULL;
    struct reader r = {file, err};
    enum rc rc = yaml_parse(&a, text, file, &root, err);
    if (rc == RC_OK)
        rc = merge_tree(map, root, &r);
    arena_fini(&a);
    return rc;
}

/* --- Checks --- */

/* A literal of the right family, or a word that switches the family off; an address of the other family is a mistake. */
static bool is_address_fit(const char *text, int family)
{
    struct addr a;
    return text == NULL || addr_parse_ip(str_c(text), &a) != RC_OK || a.family == family;
}

static bool is_cert_name_fit(const char *name)
{
    static const char prefix[] = "sha256-raw:";
    if (name == NULL || strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return true;
    const char *hex = name + sizeof(prefix) - 1;
    return strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64;
}

static const char *node_fault(const struct derpmap_node *n)
{
    if (n->host_name == NULL)
        return "hostname is required";
    if (!derpmap_is_host(str_c(n->host_name)))
        return "hostname must be a host name alone: no https://, no path, and the port is derpport";
    if (n->stun_port < -1 || n->stun_port > 65535)
        return "stunport must be from 0 to 65535, or -1 for none";
    if (n->derp_port < 0 || n->derp_port > 65535)
        return "derpport must be from 0 to 65535";
    if (!is_address_fit(n->ipv4, 4))
        return "ipv4 is an IPv6 address";
    if (!is_address_fit(n->ipv6, 6))
        return "ipv6 is an IPv4 address";
    if (!is_cert_name_fit(n->cert_name))
        return "certname must have 64 lower-case hex digits after sha256-raw:";
    return NULL;
}

static bool is_name_taken(const struct derpmap *map, unsigned region, unsigned node)
{
    const char *name = map->regions[region].nodes[node].name;
    for (unsigned i = 0; i <= region; i++)
        for (unsigned k = 0; k < (i < region ? map->regions[i].node_n : node); k++)
            if (strcmp(map->regions[i].nodes[k].name, name) == 0)
                return true;
    return false;
}

static enum rc check_node(const struct derpmap *map, unsigned region, unsigned node, struct err *err)
{
    int id = map->regions[region].id;
    const struct derpmap_node *n = &map->regions[region].nodes[node];
    if (n->name == NULL)
        return err_set(err, RC_INVALID, "DERP region %d: node %u has no name", id, node + 1);
    if (is_name_taken(map, region, node))
        return err_set(err, RC_INVALID, "DERP region %d: there is another node named %s", id, n->name);
    const char *fault = node_fault(n);
    return fault == NULL ? RC_OK : err_set(err, RC_INVALID, "DERP region %d, node %s: %s", id, n->name, fault);
}

enum rc derpmap_check_nodes(const struct derpmap *map, struct err *err)
{
    for (unsigned i = 0; i < map->region_n; i++) {
        const struct derpmap_region *r = &map->regions[i];
        if (r->id < 1 || r->id > DERPMAP_REGION_ID_MAX)
            return err_set(err, RC_INVALID, "DERP region %d: the number must be from 1 to %d", r->id,
                           DERPMAP_REGION_ID_MAX);
        for (unsigned k = 0; k < r->node_n; k++)
            TRY(check_node(map, i, k, err));
    }
    return RC_OK;
}

static bool has_relay(const struct derpmap *map)
{
    for (unsigned i = 0; i < map->region_n; i++)
        for (unsigned k = 0; k < map->regions[i].node_n; k++)
            if (!map->regions[i].nodes[k].stun_only && !map->regions[i].no_measure_no_home)
                return true;
    return false;
}

enum rc derpmap_check(const struct derpmap *map, struct err *err)
{
    TRY(derpmap_check_nodes(map, err));
    return has_relay(map) ? RC_OK
                          : err_set(err, RC_INVALID,
                                    "the DERP map has no relay that a node could have as its home: enable "
                                    "the one inside (derp.server.enabled) or name others (derp.paths, derp.urls)");
}

/* --- Writing --- */

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
