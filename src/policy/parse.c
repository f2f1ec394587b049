/* Reading a policy: from text to JSON, then the sections, in an order in which names are known before they are used. */
#include <stdlib.h>

#include "base/mem.h"
#include "codec/hujson.h"
#include "policy/document.h"
#include "policy/policy.h"
#include "policy/reader_internal.h"

enum { FEW_MEMBERS = 8 };

const struct policy_limits policy_limits_default = {
    .text_bytes = 4u << 20,
    .depth = 64,
    .rules = 20000,
    .groups = 10000,
    .memberships = 100000,
    .tags = 10000,
    .hosts = 10000,
    .list = 1000,
    .selectors = 200000,
    .tests = 10000,
    .app_bytes = 1u << 20,
};

/* --- the text --- */

static void check_few(struct reader *r, const struct json *obj)
{
    JSON_EACH (it, obj) {
        for (const struct json *other = json_next(it); other != NULL; other = json_next(other)) {
            if (str_eq(json_key_of(it), json_key_of(other)))
                reader_fail(r, other, "duplicate field: %s", reader_quote(r, json_key_of(other)));
        }
    }
}

static void check_many(struct reader *r, const struct json *obj)
{
    struct map seen;
    map_init(&seen, NULL);
    JSON_EACH (it, obj) {
        struct str key = json_key_of(it);
        if (map_put(&seen, key.p, key.len, &seen) != NULL)
            reader_fail(r, it, "duplicate field: %s", reader_quote(r, key));
    }
    map_fini(&seen);
}

/* Reports names that an object has twice, at any depth (which json_parse has limited). */
static void check_names(struct reader *r, const struct json *node)
{
    if (json_type_of(node) == JSON_OBJECT && json_len(node) <= FEW_MEMBERS)
        check_few(r, node);
    else if (json_type_of(node) == JSON_OBJECT)
        check_many(r, node);
    JSON_EACH (it, node)
        check_names(r, it);
}

static const char *const section_names[SECTION_N] = {
    [SECTION_GROUPS] = "groups",
    [SECTION_HOSTS] = "hosts",
    [SECTION_IPSETS] = "ipsets",
    [SECTION_TAG_OWNERS] = "tagOwners",
    [SECTION_ACLS] = "acls",
    [SECTION_GRANTS] = "grants",
    [SECTION_SSH] = "ssh",
    [SECTION_AUTO_APPROVERS] = "autoApprovers",
    [SECTION_NODE_ATTRS] = "nodeAttrs",
    [SECTION_POSTURES] = "postures",
    [SECTION_DEFAULT_POSTURE] = "defaultSrcPosture",
    [SECTION_ATTR_CONFIG] = "attrConfig",
    [SECTION_TESTS] = "tests",
    [SECTION_SSH_TESTS] = "sshTests",
    [SECTION_DERP_MAP] = "derpMap",
    [SECTION_DISABLE_IPV4] = "disableIPv4",
    [SECTION_ONE_CGNAT] = "OneCGNATRoute",
    [SECTION_RANDOM_PORT] = "randomizeClientPort",
};

static void read_sections(struct reader *r, const struct json *root)
{
    if (json_type_of(root) != JSON_OBJECT) {
        reader_fail(r, root, "a policy must be an object");
        return;
    }
    check_names(r, root);
    if (r->found_n > 0)
        return;
    /* Without rules every node reaches every node. Then an unknown section is an error: it may have been meant to
     * hold the rules. */
    bool has_rules = json_get(root, "acls") != NULL || json_get(root, "grants") != NULL;
    reader_fields(r, root, section_names, SECTION_N, has_rules ? FIELDS_LOOSE : FIELDS_KNOWN, r->section);
    reader_groups(r);
    reader_hosts(r);
    reader_ipsets(r);
    reader_tags(r);
    reader_tag_owners(r);
    reader_postures(r);
    reader_rules(r);
    reader_ssh(r);
    reader_node_attrs(r);
    reader_approvers(r);
    reader_tests(r);
    reader_ssh_tests(r);
    reader_network(r);
}

static enum rc fail_syntax(struct policy_errors *errors, const struct err *err)
{
    policy_errors_add(errors, err->line, err->col, arena_str(&errors->arena, str_c(err->text)).p);
    return RC_INVALID;
}

static bool is_empty(const struct policy_doc *doc)
{
    return str_trim(doc->clean).len == 0;
}

static enum rc read_text(struct reader *r, const struct json **root_out)
{
    struct policy_doc *doc = r->doc;
    struct err err = {0};
    struct json_limits limits = {
        .max_bytes = r->limits->text_bytes,
        .max_depth = r->limits->depth,
        .max_nodes = r->limits->text_bytes,
        .strict_text = true,
    };
    *root_out = NULL;
    if (hujson_blank(&doc->arena, doc->text, &doc->clean, &err) != RC_OK)
        return fail_syntax(r->errors, &err);
    if (is_empty(doc))
        return RC_OK;
    if (json_parse(&doc->arena, doc->clean, &limits, root_out, &err) != RC_OK)
        return fail_syntax(r->errors, &err);
    return RC_OK;
}

static enum rc read_all(struct reader *r, struct str text)
{
    const struct json *root;
    if (text.len > r->limits->text_bytes) {
        policy_errors_add(
            r->errors, 1, 1,
            arena_printf(&r->errors->arena, "the policy has %zu bytes (limit %zu)", text.len, r->limits->text_bytes));
        return RC_INVALID;
    }
    r->doc->text = arena_str(&r->doc->arena, text);
    TRY(read_text(r, &root));
    if (root != NULL)
        read_sections(r, root);
    else if (r->opts->is_stored)
        reader_rules(r);
    else
        reader_fail(r, NULL, "the policy is empty; to let every node reach every other, write {}");
    reader_sort_errors(r);
    return r->errors->n == 0 ? RC_OK : RC_INVALID;
}

enum rc policy_parse(struct str text, const struct policy_options *opts, struct policy_doc **doc_out,
                     struct policy_errors *errors)
{
    static const struct policy_options no_options = {0};
    struct reader r = {.doc = doc_create(), .opts = opts != NULL ? opts : &no_options, .errors = errors};
    r.limits = r.opts->limits != NULL ? r.opts->limits : &policy_limits_default;
    r.doc->has_funnel = r.opts->has_funnel;
    r.doc->is_https_on = r.opts->is_https_on;
    enum rc rc = read_all(&r, text);
    mem_free(r.found);
    if (rc == RC_OK)
        *doc_out = r.doc;
    else
        policy_doc_unref(&r.doc);
    return rc;
}

struct policy_doc *policy_doc_allow_all(void)
{
    struct policy_errors none = {0};
    struct policy_doc *doc = NULL;
    if (policy_parse(STR("{}"), NULL, &doc, &none) != RC_OK)
        abort();
    doc->text = STR_EMPTY;
    return doc;
}
