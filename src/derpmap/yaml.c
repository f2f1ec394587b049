/* Reads a DERP map from a file of the administrator: YAML, of which JSON is a part. Faults name the line. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "derpmap/derpmap_internal.h"

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

/* Numbers have the syntax of JSON. */
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

/* Null values leave the member as it is. `special` reads members that are not plain values. */
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

/* Checked here already, where the line is known. */
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
