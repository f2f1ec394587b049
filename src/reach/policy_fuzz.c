/* Whole policies. A refused one has an error with a sentence. An accepted one gives every node of a small tailnet
 * JSON that reads back and a filter in which no rule is empty, and does not differ from itself. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/json.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "reach/reach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NODES = 5, DIFF_MAX_BYTES = 4096 };

static const struct engine_user users[] = {
    {1, STR("ann"), STR("ann@example.com"), STR("id"), POLICY_OWNER},
    {2, STR("bob"), STR("bob@other.org"), STR(""), POLICY_MEMBER},
};

static void put_nodes(struct engine *p)
{
    static const struct str tags[] = {STR("tag:a"), STR("tag:b")};
    for (uint64_t id = 1; id <= NODES; id++) {
        struct engine_route routes[] = {{{4, 0, {10, 1}}, 16, true}, {{4, 0, {0}}, 0, false}};
        struct policy_attr attr = {STR("node:os"), POLICY_ATTR_STRING, STR("linux"), 0, false};
        struct engine_facts n = {.id = id, .user = 1 + id % 2, .routes = routes, .attrs = &attr, .attr_n = 1};
        n.v4 = (struct addr){4, 0, {100, 64, 0, (uint8_t)id}};
        n.v6 = (struct addr){6, 0, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = (uint8_t)id}};
        n.tags = tags;
        n.tag_n = id > 3 ? id - 3 : 0;
        n.route_n = id == 5 ? 2 : 0;
        engine_put_node(p, &n);
    }
}

static void check_json(struct buf *out, enum json_type type)
{
    struct arena a = {0};
    const struct json *root;
    if (json_parse(&a, buf_str(out), &json_limits_trusted, &root, NULL) != RC_OK || json_type_of(root) != type)
        abort();
    JSON_EACH (rule, root) {
        if (json_get_exact(rule, "SrcIPs") != NULL &&
            json_len(json_get_exact(rule, "DstPorts")) + json_len(json_get_exact(rule, "CapGrant")) == 0)
            abort();
    }
    arena_fini(&a);
    buf_clear(out);
}

static void no_reach(void *ctx, const struct reach_difference *reach)
{
    (void)ctx;
    (void)reach;
    abort();
}

static void use(struct engine *p)
{
    struct buf out = {0};
    struct policy_errors errors = {0}, warnings = {0};
    for (uint64_t id = 1; id <= NODES; id++) {
        engine_filter(p, id, &out);
        check_json(&out, JSON_ARRAY);
        engine_ssh(p, id, "https://s", &out);
        check_json(&out, JSON_ARRAY);
        engine_self_caps(p, id, &out);
        check_json(&out, JSON_OBJECT);
        for (uint64_t peer = 1; peer <= NODES; peer++) {
            uint64_t routes;
            engine_routes(p, id, peer, &routes, 2);
            if (engine_sees(p, id, peer) != engine_sees(p, peer, id))
                abort();
        }
    }
    if (reach_run_tests(p, &errors) != RC_OK && errors.n < 2)
        abort();
    engine_warnings(p, &warnings);
    policy_errors_fini(&errors);
    policy_errors_fini(&warnings);
    buf_fini(&out);
}

/* The difference is not bounded: it is exact, costs as much as classes of addresses times rules, and is computed
 * only for an admin, on a thread of its own. */
static void check_bounds(size_t size)
{
    fuzz_bounds_check(size, 512 << 10, 640);
    fuzz_bounds_check_steps(size, 1000000, 2000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Stored texts may be more work than the bounds allow, so only short ones are. */
    struct policy_options opts = {.has_funnel = true, .is_stored = size < 512};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    fuzz_bounds_mark();
    if (policy_parse(str_n(data, size), &opts, &doc, &errors) == RC_OK) {
        struct engine *p = engine_create(doc, users, ARRAY_LEN(users), NULL);
        put_nodes(p);
        use(p);
        engine_remove_node(p, 2);
        use(p);
        check_bounds(size);
        if (size <= DIFF_MAX_BYTES)
            reach_diff(p, p, no_reach, NULL);
        engine_destroy(&p);
    } else if (errors.n == 0 || errors.v[0].text[0] == '\0' || doc != NULL) {
        abort();
    } else {
        check_bounds(size);
    }
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    return 0;
}
