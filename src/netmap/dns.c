/* The DNS configuration of a node. It is the same for all nodes but for resolvers of NextDNS: their address has the
 * node in it, and nodeAttrs choose the profile.
 * src: docs/protocol/policy.md 9; Headscale 0.30-dev hscontrol/mapper (NextDNS) */
#include <string.h>

#include "base/mem.h"
#include "codec/json.h"
#include "netmap/netmap_internal.h"

#define NEXTDNS "https://dns.nextdns.io/"

bool netmap_dns_is_own(const struct tailnet_settings *s)
{
    return s->dns_hole_n > 0;
}

/* Percent-encoded, so that whatever a node reports stays one value of the query. */
static void put_escaped(struct buf *out, struct str text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = (uint8_t)text.p[i];
        bool is_plain = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                        c == '.' || c == '~';
        if (is_plain) {
            buf_append_byte(out, c);
        } else {
            buf_append_byte(out, '%');
            buf_append_byte(out, (uint8_t)hex[c >> 4]);
            buf_append_byte(out, (uint8_t)hex[c & 15]);
        }
    }
}

static void put_value(struct buf *out, char before, const char *name, struct str value)
{
    buf_append_byte(out, (uint8_t)before);
    buf_append_c(out, name);
    buf_append_byte(out, '=');
    put_escaped(out, value);
}

static void put_device(struct buf *out, const struct node *n, bool hides_v4, char before)
{
    const struct addr *ip = n->v4.family != 0 && !hides_v4 ? &n->v4 : &n->v6;
    const struct json *root;
    struct arena a = {0};
    struct str os = STR_EMPTY;
    char text[ADDR_TEXT_CAP];
    if (ip->family != 0) {
        addr_format(ip, false, text);
        put_value(out, before, "device_ip", str_c(text));
        before = '&';
    }
    if (n->hostinfo != NULL && json_parse(&a, str_n(n->hostinfo->data, n->hostinfo->len), NULL, &root, NULL) == RC_OK)
        (void)json_str(json_get(root, "OS"), &os);
    put_value(out, before, "device_model", os);
    put_value(out, '&', "device_name", str_c(n->hostname[0] != '\0' ? n->hostname : n->name));
    arena_fini(&a);
}

/* Appends the address of a resolver, inside the quotes of a JSON string. `own`: what the configuration has there. */
static void put_resolver(struct buf *out, struct str own, const struct node *n, const struct node_access *access)
{
    size_t start = buf_len(out);
    if (access->nextdns != NULL) {
        buf_append_c(out, NEXTDNS);
        put_escaped(out, str_n(access->nextdns->data, access->nextdns->len));
    } else {
        buf_append_str(out, own);
    }
    if (access->hides_device)
        return;
    bool has_query = memchr(buf_at(out) + start, '?', buf_len(out) - start) != NULL;
    put_device(out, n, access->hides_v4, has_query ? '&' : '?');
}

static void compose(struct buf *out, const struct tailnet_settings *s, const struct node *n,
                    const struct node_access *access)
{
    const struct rcbuf *all = s->dns_config_json;
    size_t at = 0;
    for (size_t i = 0; i < s->dns_hole_n; i++) {
        const struct dns_hole *h = &s->dns_hole[i];
        buf_append(out, all->data + at, h->at - at);
        put_resolver(out, str_n(all->data + h->at, h->len), n, access);
        at = h->at + h->len;
    }
    buf_append(out, all->data + at, all->len - at);
}

void netmap_write_dns(struct json_writer *w, const struct tailnet_settings *s, const struct node *n,
                      const struct node_access *access)
{
    struct buf text = {0};
    compose(&text, s, n, access);
    json_w_key(w, "DNSConfig");
    json_w_raw(w, buf_str(&text));
    buf_fini(&text);
}

static bool may_differ(const struct change *c, const struct node *before, const struct node *after,
                       const struct node_access *was, const struct node_access *is)
{
    if (!netmap_dns_is_own(c->before->settings) && !netmap_dns_is_own(c->after->settings))
        return false;
    return before != after || was != is || c->settings_changed;
}

void netmap_push_dns(struct netmap_ctx *ctx, const struct change *c, node_id id, enum netmap_coding coding,
                     struct netmap_pieces *out)
{
    const struct node *before = snapshot_node(c->before, id), *after = snapshot_node(c->after, id);
    const struct node_access *was = access_of_node(c->before->access, id), *is = access_of_node(c->after->access, id);
    struct buf old = {0}, new = {0};
    struct json_writer w;
    /* What is the same for all nodes is in the common message. */
    if (before == NULL || after == NULL || !may_differ(c, before, after, was, is) ||
        !netmap_dns_is_own(c->after->settings))
        return;
    compose(&old, c->before->settings, before, was);
    compose(&new, c->after->settings, after, is);
    if (!str_eq(buf_str(&old), buf_str(&new))) {
        netmap_object_begin(ctx, &w);
        json_w_key(&w, "DNSConfig");
        json_w_raw(&w, buf_str(&new));
        netmap_pieces_push(out, netmap_object_end(ctx, &w, coding));
    }
    buf_fini(&old);
    buf_fini(&new);
}
