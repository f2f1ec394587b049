/* A DERP map that another server sent: JSON as clients read it. */
#include "base/arena.h"
#include "base/mem.h"
#include "codec/json.h"
#include "derpmap/derpmap_internal.h"

static const struct json_limits limits = {.max_bytes = 1 << 20, .max_depth = 32, .max_nodes = 256 * 1024};

struct reader {
    struct str text;
    const char *source;
    struct err *err;
    size_t node_n;
};

static enum rc complain(const struct reader *r, const struct json *at, enum rc rc, const char *sentence)
{
    int line, col;
    struct str key = json_key_of(at);
    json_pos(at, r->text, &line, &col);
    if (key.len == 0 || key.len > DERPMAP_TEXT_MAX)
        return err_set_at(r->err, rc, r->source, line, col, "%s", sentence);
    return err_set_at(r->err, rc, r->source, line, col, "%.*s: %s", STR_ARG(key), sentence);
}

static enum rc read_text(const struct reader *r, const struct json *value, char **out)
{
    struct str text;
    if (!json_str(value, &text) || text.len > DERPMAP_TEXT_MAX || str_index(text, '\0') >= 0)
        return complain(r, value, RC_INVALID, "must be a text of at most 255 bytes");
    mem_free(*out);
    *out = text.len > 0 ? mem_strndup(text.p, text.len) : NULL;
    return RC_OK;
}

static enum rc read_int(const struct reader *r, const struct json *value, int *out)
{
    int64_t v;
    if (!json_i64(value, &v) || v < INT32_MIN || v > INT32_MAX)
        return complain(r, value, RC_INVALID, "must be a whole number");
    *out = (int)v;
    return RC_OK;
}

static enum rc read_field(const struct reader *r, const struct derpmap_field *f, const struct json *value, void *at)
{
    switch (f->kind) {
    case FIELD_TEXT: return read_text(r, value, at);
    case FIELD_INT: return read_int(r, value, at);
    case FIELD_BOOL: return json_bool(value, at) ? RC_OK : complain(r, value, RC_INVALID, "must be true or false");
    case FIELD_NUMBER: return json_f64(value, at) ? RC_OK : complain(r, value, RC_INVALID, "must be a number");
    case FIELD_SPECIAL: break;
    }
    return RC_OK;
}

/* Null values leave the member as it is. Members that are not plain values are left to the caller. */
static enum rc read_fields(const struct reader *r, const struct json *from, const struct derpmap_field *fields,
                           size_t n, void *object)
{
    if (json_type_of(from) != JSON_OBJECT)
        return complain(r, from, RC_INVALID, "must be an object");
    for (size_t i = 0; i < n; i++) {
        const struct json *value = json_get(from, fields[i].key);
        if (!json_is_null(value))
            TRY(read_field(r, &fields[i], value, (char *)object + fields[i].offset));
    }
    return RC_OK;
}

static enum rc read_nodes(struct reader *r, const struct json *list, struct derpmap_region *region)
{
    if (json_is_null(list))
        return RC_OK;
    if (json_type_of(list) != JSON_ARRAY)
        return complain(r, list, RC_INVALID, "must be a list of nodes");
    r->node_n += json_len(list);
    if (json_len(list) > DERPMAP_NODES_MAX || r->node_n > DERPMAP_ALL_NODES_MAX)
        return complain(r, list, RC_TOO_LARGE, "has more than 64 nodes, or all regions more than 4096");
    region->nodes = mem_zalloc(json_len(list) + 1, sizeof(*region->nodes));
    JSON_EACH (item, list) {
        struct derpmap_node_in in = {.region_id = region->id};
        enum rc rc = read_fields(r, item, derpmap_node_fields, derpmap_node_fields_n, &in);
        region->nodes[region->node_n++] = in.node;
        TRY(rc);
        if (in.region_id != region->id)
            return complain(r, item, RC_INVALID, "the node's RegionID is not that of its region");
    }
    return RC_OK;
}

static enum rc read_region(struct reader *r, const struct json *value, struct derpmap_region *region)
{
    int id = region->id;
    TRY(read_fields(r, value, derpmap_region_fields, derpmap_region_fields_n, region));
    if (region->id != id)
        return complain(r, value, RC_INVALID, "RegionID differs from the key");
    return read_nodes(r, json_get(value, "nodes"), region);
}

static enum rc read_region_id(const struct reader *r, const struct json *value, int *out)
{
    int64_t id;
    if (str_to_i64(json_key_of(value), &id) != RC_OK || id < 1 || id > DERPMAP_REGION_ID_MAX)
        return complain(r, value, RC_INVALID, "a region's number must be from 1 to 65535");
    *out = (int)id;
    return RC_OK;
}

static enum rc read_regions(struct reader *r, const struct json *list, struct derpmap_merge *m)
{
    if (json_is_null(list))
        return RC_OK;
    if (json_type_of(list) != JSON_OBJECT)
        return complain(r, list, RC_INVALID, "must be an object of regions");
    if (json_len(list) > DERPMAP_REGIONS_MAX)
        return complain(r, list, RC_TOO_LARGE, "has more than 1024 regions");
    m->regions = mem_zalloc(json_len(list) + 1, sizeof(*m->regions));
    m->is_removal = mem_zalloc(json_len(list) + 1, sizeof(*m->is_removal));
    JSON_EACH (value, list) {
        int id;
        TRY(read_region_id(r, value, &id));
        unsigned i = m->n++;
        m->regions[i].id = id;
        m->is_removal[i] = json_is_null(value);
        if (!m->is_removal[i])
            TRY(read_region(r, value, &m->regions[i]));
    }
    return RC_OK;
}

static enum rc read_scores(const struct reader *r, const struct json *params, struct derpmap_merge *m)
{
    const struct json *list = json_get(params, "regionscore");
    if (!json_is_null(params) && json_type_of(params) != JSON_OBJECT)
        return complain(r, params, RC_INVALID, "must be an object");
    if (json_is_null(list))
        return RC_OK;
    if (json_type_of(list) != JSON_OBJECT || json_len(list) > DERPMAP_REGIONS_MAX)
        return complain(r, list, RC_INVALID, "must be an object of at most 1024 factors");
    m->scores = mem_zalloc(json_len(list) + 1, sizeof(*m->scores));
    JSON_EACH (value, list) {
        struct derpmap_score *score = &m->scores[m->score_n++];
        TRY(read_region_id(r, value, &score->id));
        if (!json_f64(value, &score->score))
            return complain(r, value, RC_INVALID, "must be a number");
    }
    return RC_OK;
}

static enum rc read_map(struct reader *r, const struct json *root, struct derpmap_merge *m)
{
    static const struct derpmap_field fields[] = {
        {"omitdefaultregions", FIELD_BOOL, offsetof(struct derpmap_merge, omit_default_regions)}};
    if (json_is_null(root))
        return RC_OK;
    TRY(read_fields(r, root, fields, ARRAY_LEN(fields), m));
    TRY(read_regions(r, json_get(root, "regions"), m));
    return read_scores(r, json_get(root, "homeparams"), m);
}

enum rc derpmap_merge_json(struct derpmap *map, struct str text, const char *source, struct err *err)
{
    struct arena a = {0};
    struct derpmap_merge m = {0};
    struct reader r = {.text = text, .source = source, .err = err};
    const struct json *root = NULL;
    enum rc rc = json_parse(&a, text, &limits, &root, err);
    if (rc == RC_OK)
        rc = read_map(&r, root, &m);
    if (rc == RC_OK)
        derpmap_merge_apply(&m, map);
    derpmap_merge_fini(&m);
    arena_fini(&a);
    return rc;
}
