#include "engine/nodes.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void engine_nodes_init(struct node_table *t, const struct policy_doc *doc, struct arena *arena)
{
    size_t words = bits_words(doc->sel_n);
    map_init(&t->by_id, NULL);
    list_init(&t->by_version);
    t->everyone = arena_zalloc(arena, words, sizeof(*t->everyone));
    t->tagged = arena_zalloc(arena, words, sizeof(*t->tagged));
    for (sel_id sel = 0; sel < doc->sel_n; sel++) {
        enum sel_kind kind = doc->sel[sel].kind;
        if (kind == SEL_STAR || kind == SEL_DANGER_ALL)
            bit_put(t->everyone, sel);
        if (kind == SEL_TAGGED)
            bit_put(t->tagged, sel);
    }
}

static void put_bytes(struct buf *b, const void *v, size_t n)
{
    buf_append(b, v, n);
}

static void put_text(struct buf *b, struct str s)
{
    uint64_t len = s.len;
    put_bytes(b, &len, sizeof(len));
    buf_append_str(b, s);
}

static void put_addr(struct buf *b, const struct addr *a)
{
    buf_append_byte(b, a->family);
    put_bytes(b, a->ip, sizeof(a->ip));
}

struct str engine_node_facts(const struct engine_facts *f)
{
    struct buf b = {0};
    put_bytes(&b, &f->user, sizeof(f->user));
    put_bytes(&b, &f->created_ms, sizeof(f->created_ms));
    buf_append_byte(&b, f->is_online);
    buf_append_byte(&b, f->has_old_ssh);
    put_addr(&b, &f->v4);
    put_addr(&b, &f->v6);
    put_bytes(&b, &f->tag_n, sizeof(f->tag_n));
    for (size_t i = 0; i < f->tag_n; i++)
        put_text(&b, f->tags[i]);
    put_bytes(&b, &f->route_n, sizeof(f->route_n));
    for (size_t i = 0; i < f->route_n; i++) {
        put_addr(&b, &f->routes[i].addr);
        buf_append_byte(&b, f->routes[i].bits);
        buf_append_byte(&b, f->routes[i].is_primary);
    }
    for (size_t i = 0; i < f->attr_n; i++) {
        put_text(&b, f->attrs[i].name);
        put_text(&b, f->attrs[i].text);
        put_bytes(&b, &f->attrs[i].number, sizeof(f->attrs[i].number));
        buf_append_byte(&b, (uint8_t)f->attrs[i].type);
        buf_append_byte(&b, f->attrs[i].truth);
    }
    return str_n(b.data, buf_len(&b));
}

static void set_address(struct range *range, char text[IP_TEXT_CAP], const struct addr *a)
{
    char long_text[RANGE_TEXT_CAP] = "";
    *range = range_of_addr(a);
    if (range->family != 0)
        range_format(range, long_text);
    snprintf(text, IP_TEXT_CAP, "%.47s", long_text);
}

static struct str put_copy(char **at, struct str s)
{
    struct str copy = str_n(*at, s.len);
    if (s.len > 0)
        memcpy(*at, s.p, s.len);
    *at += s.len;
    return copy;
}

/* Tests of a policy evaluate postures with further attributes, so the node's own are kept when the document has
 * postures. One block of memory. */
static void copy_attrs(const struct policy_doc *doc, struct engine_node *n, const struct engine_facts *f)
{
    size_t bytes = 0;
    if (doc->posture_set_n <= 1 || f->attr_n == 0)
        return;
    for (size_t i = 0; i < f->attr_n; i++)
        bytes += f->attrs[i].name.len + f->attrs[i].text.len;
    n->attr_n = f->attr_n;
    n->attr = mem_alloc(f->attr_n * sizeof(*n->attr) + bytes);
    char *at = (char *)(n->attr + f->attr_n);
    for (size_t i = 0; i < f->attr_n; i++) {
        n->attr[i] = f->attrs[i];
        n->attr[i].name = put_copy(&at, f->attrs[i].name);
        n->attr[i].text = put_copy(&at, f->attrs[i].text);
    }
}

/* All tags, also those that no rule has: tests and questions may name them. */
static void copy_tags(struct engine_node *n, const struct engine_facts *f)
{
    size_t bytes = 0;
    if (f->tag_n == 0)
        return;
    for (size_t i = 0; i < f->tag_n; i++)
        bytes += f->tags[i].len;
    n->tag_n = f->tag_n;
    n->tag = mem_alloc(f->tag_n * sizeof(*n->tag) + bytes);
    char *at = (char *)(n->tag + f->tag_n);
    for (size_t i = 0; i < f->tag_n; i++)
        n->tag[i] = put_copy(&at, f->tags[i]);
}

struct engine_node *engine_node_create(const struct policy_doc *doc, struct owner_table *owners,
                                       const struct engine_facts *f, struct str facts)
{
    struct engine_node *n = MEM_NEW(struct engine_node);
    n->id = f->id;
    n->facts = facts;
    n->owner = f->tag_n == 0 ? owners_get(owners, f->user) : NULL;
    n->is_online = f->is_online;
    n->has_old_ssh = f->has_old_ssh;
    n->created_ms = f->created_ms;
    for (size_t i = 0; i < f->attr_n; i++)
        n->is_mac = n->is_mac || (str_eq(f->attrs[i].name, STR("node:os")) && str_eq(f->attrs[i].text, STR("macos")));
    copy_attrs(doc, n, f);
    copy_tags(n, f);
    list_init(&n->class_link);
    list_init(&n->owner_link);
    list_init(&n->version_link);
    list_init(&n->stray_link);
    set_address(&n->v4, n->text4, &f->v4);
    set_address(&n->v6, n->text6, &f->v6);
    n->route_n = f->route_n < ENGINE_ROUTES_MAX ? f->route_n : ENGINE_ROUTES_MAX;
    n->route = mem_zalloc(n->route_n + 1, sizeof(*n->route));
    for (size_t i = 0; i < n->route_n; i++) {
        const struct engine_route *r = &f->routes[i];
        n->route[i] = (struct node_route){.range = range_of_prefix(&r->addr, r->bits), .is_exit = r->bits == 0};
        n->route[i].is_primary = r->is_primary;
    }
    return n;
}

void engine_node_free(struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++)
        mem_free(n->route[i].parts.to);
    mem_free(n->route);
    mem_free(n->attr);
    mem_free(n->tag);
    mem_free((void *)n->facts.p);
    mem_free(n);
}

struct engine_node *engine_node_find(const struct node_table *t, uint64_t id)
{
    return map_get(&t->by_id, &id, sizeof(id));
}

bool engine_node_routes_meet(const struct engine_node *n, const struct range *r)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (!n->route[i].is_exit && range_meets(&n->route[i].range, r))
            return true;
    }
    return false;
}

bool engine_node_has_exit(const struct engine_node *n)
{
    for (size_t i = 0; i < n->route_n; i++) {
        if (n->route[i].is_exit)
            return true;
    }
    return false;
}

bool engine_node_keeps(const struct engine_node *n, const struct sel_range *r)
{
    return range_holds(&r->range, &n->v4) || range_holds(&r->range, &n->v6) || engine_node_routes_meet(n, &r->range) ||
           (r->is_in_internet && engine_node_has_exit(n));
}
