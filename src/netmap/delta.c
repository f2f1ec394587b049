/* What one node gets of a change: what its audience gets, and what only concerns itself. */
#include "netmap/netmap_internal.h"

#include "base/mem.h"

METRIC_COUNTER(encoded_private, "fullscale_netmap_encoded_total", "what=\"delta_private\"", "");
METRIC_COUNTER(encoded_filter, "fullscale_netmap_encoded_total", "what=\"filter\"", "");

static struct watcher watcher_of(const struct change *c, node_id id)
{
    return (struct watcher){netmap_viewer(c->before, id), netmap_viewer(c->after, id)};
}

/* The delta that is made for one node. Borrowed. */
struct delta {
    struct netmap_ctx *ctx;
    struct change *c;
    node_id id;
    struct watcher v;
    const struct change_item *self; /* the node's own item, or null */
    enum netmap_coding coding;
    struct netmap_pieces *out;
};

/* --- what the node gets of others --- */

/* `n`: the node after the change. */
static void push_common(const struct delta *d, const struct node *n)
{
    struct rcbuf *frame = netmap_common_frame(d->ctx, d->c, netmap_wants_unpinned(d->c, n), d->coding);
    if (frame != NULL)
        netmap_pieces_push(d->out, frame);
}

/* The messages of the audience, without the node's own item, which is in one of them at most. */
static void push_messages(const struct delta *d)
{
    const struct change_audience *a = netmap_audience(d->c, &d->v);
    size_t own = d->self != NULL ? (size_t)(d->self - d->c->items) : SIZE_MAX;
    for (size_t i = 0; i < a->n; i++) {
        struct audience_message *m = a->messages[i];
        struct message_item rest[MESSAGE_ITEMS_MAX];
        bool may_be_here = m->v[0].index <= own && own <= m->v[m->n - 1].index;
        size_t n = 0;
        for (size_t k = 0; may_be_here && k < m->n; k++) {
            if (m->v[k].index != own)
                rest[n++] = m->v[k];
        }
        if (!may_be_here || n == m->n) {
            netmap_pieces_push(d->out, netmap_message_frame(d->ctx, d->c, m, d->coding));
        } else if (n > 0) {
            netmap_pieces_push(d->out, netmap_encode_items(d->ctx, d->c, d->c->items, rest, n, d->coding));
            metric_inc(&encoded_private);
        }
    }
}

/* The node has another viewer key, so that what it sees of all others is compared. */
static void push_all(const struct delta *d)
{
    const struct change *c = d->c;
    size_t cap = c->after->group_n * GROUP_NODES, n = 0;
    struct change_item *items = mem_zalloc(cap, sizeof(*items));
    struct message_item *message = mem_zalloc(cap, sizeof(*message));
    for (node_id id = 1; id < cap; id++) {
        const struct change_item *item = netmap_find_item(c, id);
        items[id] = (struct change_item){
            .id = id, .before = snapshot_node(c->before, id), .after = snapshot_node(c->after, id)};
        items[id].owner_differs = item != NULL && item->owner_differs;
        uint32_t code = id != d->id ? netmap_item_code(c, &d->v, &items[id]) : 0;
        if (code != 0)
            message[n++] = (struct message_item){(uint32_t)id, code};
    }
    if (n > 0) {
        netmap_pieces_push(d->out, netmap_encode_items(d->ctx, c, items, message, n, d->coding));
        metric_inc(&encoded_private);
    }
    mem_free(items);
    mem_free(message);
}

/* --- what the node gets of itself --- */

/* A self node is in a message of its own: it makes the client rebuild everything, the rest does not. `s`: which has the
 * node. `expired_ms`: as for netmap_write_self. */
static void push_self(const struct delta *d, const struct snapshot *s, int64_t expired_ms)
{
    struct json_writer w;
    netmap_object_begin(d->ctx, &w);
    json_w_key(&w, "Node");
    netmap_write_self(&w, snapshot_node(s, d->id), d->c->after->settings, access_of_node(s->access, d->id), expired_ms);
    metric_inc(&encoded_private);
    netmap_pieces_push(d->out, netmap_object_end(d->ctx, &w, d->coding));
}

/* The profile of the node's own owner, when that is another one now. */
static void push_own_profile(const struct delta *d)
{
    struct json_writer w;
    const struct user *owner = d->self != NULL && d->self->owner_differs ? snapshot_owner(d->c->after, d->self->after)
                                                                         : NULL;
    if (owner == NULL)
        return;
    netmap_object_begin(d->ctx, &w);
    json_w_key(&w, "UserProfiles");
    json_w_array(&w);
    netmap_write_profile(&w, owner);
    json_w_end_array(&w);
    netmap_pieces_push(d->out, netmap_object_end(d->ctx, &w, d->coding));
}

/* `text` as one message, which is kept with the text: nodes of a class often have the same. */
static void push_text(const struct delta *d, const struct cached_text *text, const char *before, const char *after)
{
    struct netmap_ctx *ctx = d->ctx;
    struct rcbuf *_Atomic *frame = &netmap_frames_in(&text->cache)->of[d->coding];
    struct rcbuf *held = atomic_load_explicit(frame, memory_order_acquire);
    if (held == NULL) {
        buf_clear(&ctx->json);
        buf_append_c(&ctx->json, before);
        buf_append(&ctx->json, text->json->data, text->json->len);
        buf_append_c(&ctx->json, after);
        metric_inc(&encoded_filter);
        held = rcbuf_slot_offer(frame, netmap_encode_message(ctx, d->coding, &ctx->json));
    }
    netmap_pieces_push(d->out, rcbuf_ref(held));
}

/* An empty list is a filter that lets nothing in; null would mean "as before". src: docs/protocol/control.md 6.7 */
static void push_access(const struct delta *d, const struct node_access *was, const struct node_access *is)
{
    if (was == is)
        return;
    if (was == NULL || was->filter != is->filter)
        push_text(d, is->filter, "{\"PacketFilters\":{\"base\":", "}}");
    if (was == NULL || was->ssh != is->ssh)
        push_text(d, is->ssh, "{\"SSHPolicy\":", "}");
}

/* Whether anything that the node's own map shows has changed. A policy that knows none of its routes has no table for
 * them. */
static bool own_access_differs(const struct node_access *was, const struct node_access *is)
{
    if (was == is || was == NULL)
        return false;
    const struct prefix_list *a = was->routes != NULL ? was->routes->prefixes : NULL;
    const struct prefix_list *b = is->routes != NULL ? is->routes->prefixes : NULL;
    bool has_caps = was->caps->len > 2, will_have = is->caps->len > 2;
    return has_caps != will_have || (will_have && !rcbuf_eq(was->caps, is->caps)) || was->hides_v4 != is->hides_v4 ||
           !prefix_list_eq(a, b);
}

/* --- of a change --- */

bool netmap_is_by_viewer_key(const struct change *c)
{
    return !c->policy_changed && !c->users_changed && !c->settings_changed;
}

node_id netmap_next_access(const struct change *c, node_id after)
{
    const struct access *a = c->before->access, *b = c->after->access;
    if (a == b)
        return 0;
    for (node_id id = after + 1; id < b->group_n * GROUP_NODES; id++) {
        if (access_same_group(a, b, id / GROUP_NODES))
            id |= GROUP_NODES - 1; /* to the end of the group */
        else if (access_of_node(a, id) != access_of_node(b, id))
            return id;
    }
    return 0;
}

/* Whether the viewer sees no item of the change, neither before nor after. */
static bool sees_no_item(const struct change *c, const struct watcher *v)
{
    for (size_t i = 0; i < c->item_n; i++) {
        node_id id = c->items[i].id;
        if (netmap_sees(c->before, &v->before, id) || netmap_sees(c->after, &v->after, id))
            return false;
    }
    return true;
}

bool netmap_concerns(struct change *c, node_id id)
{
    enum { FEW = 8 }; /* most changes are about one node, which most do not see: no audience is made for them */
    struct watcher v = watcher_of(c, id);
    if (c->item_n <= FEW && sees_no_item(c, &v))
        return false;
    return netmap_audience(c, &v)->n > 0;
}

void netmap_delta(struct netmap_ctx *ctx, struct change *c, node_id id, enum netmap_coding coding,
                  struct netmap_pieces *out)
{
    const struct node *before = snapshot_node(c->before, id), *after = snapshot_node(c->after, id);
    struct delta d = {.ctx = ctx, .c = c, .id = id, .coding = coding, .out = out};
    if (after == NULL) {
        if (before != NULL)
            push_self(&d, c->before, c->after->made_ms - 60000);
        return;
    }
    d.v = watcher_of(c, id);
    d.self = netmap_find_item(c, id);
    const struct node_access *was = access_of_node(c->before->access, id), *is = access_of_node(c->after->access, id);
    push_common(&d, after);
    netmap_push_other_derp_map(ctx, c, d.self, coding, out);
    if (c->policy_changed || viewer_keys_equal(d.v.before.key, d.v.after.key))
        push_messages(&d);
    else
        push_all(&d);
    push_access(&d, was, is);
    netmap_push_dns(ctx, c, id, coding, out);
    push_own_profile(&d);
    if (before != NULL && ((before != after && netmap_self_differs(before, after)) || own_access_differs(was, is)))
        push_self(&d, c->after, 0);
}
