/* Capabilities and attributes of nodes. src: docs/protocol/policy.md 9 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/json_write.h"
#include "engine/tables.h"

/* --- nodeAttrs --- */

static bool is_target(const struct class *c, const struct node_attr *a)
{
    for (size_t i = 0; i < a->target.n; i++) {
        if (bit_get(c->in, a->target.v[i]))
            return true;
    }
    return false;
}

/* The object of capabilities under construction. Each name appears once, with the values of all nodeAttrs that have
 * it, in order. */
struct caps {
    struct json_writer w;
    struct map seen;
    const struct engine *e;
    const struct class *c;
};

static void put_cap(struct caps *caps, struct str name)
{
    if (map_put(&caps->seen, name.p, name.len, caps) != NULL)
        return;
    json_w_key_str(&caps->w, name);
    json_w_null(&caps->w);
}

static void put_app(struct caps *caps, struct str name)
{
    const struct policy_doc *doc = caps->e->doc;
    if (map_put(&caps->seen, name.p, name.len, caps) != NULL)
        return;
    json_w_key_str(&caps->w, name);
    json_w_array(&caps->w);
    for (size_t i = 0; i < doc->node_attr_n; i++) {
        const struct node_attr *a = &doc->node_attr[i];
        for (size_t k = 0; is_target(caps->c, a) && k < a->app_n; k++) {
            if (!str_eq(a->app[k].name, name))
                continue;
            JSON_EACH (value, a->app[k].values)
                json_w_tree(&caps->w, value);
        }
    }
    json_w_end_array(&caps->w);
}

/* Attributes that come with `funnel`. src: docs/protocol/policy.md 9 */
static void put_funnel(struct caps *caps)
{
    put_cap(caps, STR("https://tailscale.com/cap/funnel-ports?ports=443,8443,10000"));
    if (!caps->e->doc->is_https_on)
        put_cap(caps, STR("https://tailscale.com/cap/warn-funnel-no-https"));
}

static void make_caps(const struct engine *e, struct class *c)
{
    struct caps caps = {.e = e, .c = c};
    map_init(&caps.seen, NULL);
    json_w_init(&caps.w, &c->caps);
    json_w_object(&caps.w);
    /* `app` before `attr`: a name that is in both keeps its values. */
    for (int with_app = 1; with_app >= 0; with_app--) {
        for (size_t i = 0; i < e->doc->node_attr_n; i++) {
            const struct node_attr *a = &e->doc->node_attr[i];
            if (!is_target(c, a))
                continue;
            for (size_t k = 0; with_app == 1 && k < a->app_n; k++)
                put_app(&caps, a->app[k].name);
            for (size_t k = 0; with_app == 0 && k < a->attr_n; k++) {
                put_cap(&caps, a->attr[k]);
                if (str_eq(a->attr[k], STR("funnel")))
                    put_funnel(&caps);
            }
        }
    }
    if (e->doc->network.is_client_port_random)
        put_cap(&caps, STR("randomize-client-port"));
    json_w_end_object(&caps.w);
    map_fini(&caps.seen);
}

void engine_self_caps(struct engine *e, uint64_t id, struct buf *out)
{
    struct engine_node *n = engine_node_find(&e->nodes, id);
    if (n == NULL) {
        buf_append_c(out, "{}");
        return;
    }
    if (buf_len(&n->class->caps) == 0)
        make_caps(e, n->class);
    struct str caps = buf_str(&n->class->caps);
    if (!n->is_mac || e->doc->network.one_cgnat_route.len == 0) {
        buf_append_str(out, caps);
        return;
    }
    /* src: docs/protocol/policy.md 13 */
    buf_append(out, caps.p, caps.len - 1);
    buf_printf(out, "%s\"one-cgnat?v=%s\":null}", caps.len > 2 ? "," : "",
               str_eq(e->doc->network.one_cgnat_route, STR("mac-always")) ? "true" : "false");
}

bool engine_has_attr(const struct engine *e, uint64_t id, struct str attr)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    for (size_t i = 0; n != NULL && i < e->doc->node_attr_n; i++) {
        const struct node_attr *a = &e->doc->node_attr[i];
        for (size_t k = 0; k < a->attr_n; k++) {
            if (str_eq(a->attr[k], attr) && is_target(n->class, a))
                return true;
        }
    }
    return false;
}

struct str engine_nextdns(const struct engine *e, uint64_t id, bool *hides_device_out)
{
    const struct str prefix = STR("nextdns:");
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    struct str profile = STR_EMPTY;
    *hides_device_out = false;
    for (size_t i = 0; n != NULL && i < e->doc->node_attr_n; i++) {
        const struct node_attr *a = &e->doc->node_attr[i];
        for (size_t k = 0; k < a->attr_n; k++) {
            if (!str_starts(a->attr[k], prefix) || !is_target(n->class, a))
                continue;
            struct str what = str_n(a->attr[k].p + prefix.len, a->attr[k].len - prefix.len);
            if (str_eq(what, STR("no-device-info")))
                *hides_device_out = true;
            else if (profile.len == 0)
                profile = what;
        }
    }
    return profile;
}

bool engine_hides_ipv4(const struct engine *e, uint64_t id)
{
    return e->doc->network.is_ipv4_disabled || engine_has_attr(e, id, STR("disable-ipv4"));
}

bool engine_ip_pool(const struct engine *e, uint64_t id, size_t index, struct addr *addr_out, uint8_t *bits_out)
{
    const struct engine_node *n = engine_node_find(&e->nodes, id);
    for (size_t i = 0; n != NULL && i < e->doc->node_attr_n; i++) {
        const struct node_attr *a = &e->doc->node_attr[i];
        if (!is_target(n->class, a))
            continue;
        if (index >= a->pool_n) {
            index -= a->pool_n;
            continue;
        }
        unsigned bits;
        const struct range *r = &a->pool[index];
        if (!range_prefix_bits(r, &bits))
            return false;
        *addr_out = (struct addr){.family = 4};
        for (int k = 0; k < 4; k++)
            addr_out->ip[k] = (uint8_t)(r->lo >> (24 - 8 * k));
        *bits_out = (uint8_t)bits;
        return true;
    }
    return false;
}
