/* What one node gets of a change: what its audience gets, and what only concerns itself. */
#include "netmap/netmap_internal.h"

#include "base/mem.h"

METRIC_COUNTER(encoded_private, "fullscale_netmap_encoded_total", "what=\"delta_private\"", "");
METRIC_COUNTER(encoded_filter, "fullscale_netmap_encoded_total", "what=\"filter\"", "");

static struct watcher watcher_of(const struct change *c, node_id id)
{
    return (struct watcher){netmap_viewer(c->before, id), netmap_viewer(c->after, id)};
}

/* --- what the node gets of others --- */

static void push_common(struct netmap_ctx *ctx, struct change *c, const struct node *n, enum netmap_coding coding,
                        struct netmap_pieces *out)
{
    struct rcbuf *frame = netmap_common_frame(ctx, c, netmap_wants_unpinned(c, n), coding);
    if (frame != NULL)
        netmap_pieces_push(out, frame);
}

/* The messages of the audience, without the node's own item, which is in one of them at most. */
static void push_messages(struct netmap_ctx *ctx, struct change *c, const struct watcher *v,
                          const struct change_item *self, enum netmap_coding coding, struct netmap_pieces *out)
{
    const struct change_audience *a = netmap_audience(c, v);
    size_t own = self != NULL ? (size_t)(self - c->items) : SIZE_MAX;
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
            netmap_pieces_push(out, netmap_message_frame(ctx, c, m, coding));
        } else if (n > 0) {
            netmap_pieces_push(out, netmap_encode_items(ctx, c, c->items, rest, n, coding));
            metric_inc(&encoded_private);
        }
    }
}

/* The node has another viewer key, so that what it sees of all others is compared. */
static void push_all(struct netmap_ctx *ctx, struct change *c, const struct watcher *v, node_id self,
                     enum netmap_coding coding, struct netmap_pieces *out)
{
    size_t cap = c->after->group_n * GROUP_NODES, n = 0;
    struct change_item *items = mem_zalloc(cap, sizeof(*items));
    struct message_item *message = mem_zalloc(cap, sizeof(*message));
    for (node_id id = 1; id < cap; id++) {
        const struct change_item *item = netmap_find_item(c, id);
        items[id] = (struct change_item){
            .id = id, .before = snapshot_node(c->before, id), .after = snapshot_node(c->after, id)};
        items[id].owner_differs = item != NULL && item->owner_differs;
        uint32_t code = id != self ? netmap_item_code(c, v, &items[id]) : 0;
        if (code != 0)
            message[n++] = (struct message_item){(uint32_t)id, code};
    }
    if (n > 0) {
        netmap_pieces_push(out, netmap_encode_items(ctx, c, items, message, n, coding));
        metric_inc(&encoded_private);
    }
    mem_free(items);
    mem_free(message);
}

/* --- what the node gets of itself --- */

/* A self node is in a message of its own: it makes the client rebuild everything, the rest does not. `s`: which has the
 * node. `expired_ms`: as for netmap_write_self. */
static void push_self(struct netmap_ctx *ctx, const struct change *c, const struct snapshot *s, const struct node *n,
                      int64_t expired_ms, enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    netmap_object_begin(ctx, &w);
    json_w_key(&w, "Node");
    netmap_write_self(&w, n, c->after->settings, access_of_node(s->access, n->id), expired_ms);
    metric_inc(&encoded_private);
    netmap_pieces_push(out, netmap_object_end(ctx, &w, coding));
}

/* The profile of the node's own owner, when that is another one now. `self`: the node's item, or null. */
static void push_own_profile(struct netmap_ctx *ctx, const struct change *c, const struct change_item *self,
                             enum netmap_coding coding, struct netmap_pieces *out)
{
    struct json_writer w;
    const struct user *owner = self != NULL && self->owner_differs ? snapshot_owner(c->after, self->after) : NULL;
    if (owner == NULL)
        return;
    netmap_object_begin(ctx, &w);
    json_w_key(&w, "UserProfiles");
    json_w_array(&w);
    netmap_write_profile(&w, owner);
    json_w_end_array(&w);
    netmap_pieces_push(out, netmap_object_end(ctx, &w, coding));
}

/* `text` as one message, which is kept with the text: nodes of a class often have the same. */
static void push_text(struct netmap_ctx *ctx, const struct cached_text *text, const char *before, const char *after,
                      enum netmap_coding coding, struct netmap_pieces *out)
{
    struct rcbuf *_Atomic *frame = &netmap_frames_in(&text->cache)->of[coding];
    struct rcbuf *held = atomic_load_explicit(frame, memory_order_acquire);
    if (held == NULL) {
        buf_clear(&ctx->json);
        buf_append_c(&ctx->json, before);
        buf_append(&ctx->json, text->json->data, text->json->len);
        buf_append_c(&ctx->json, after);
        metric_inc(&encoded_filter);
        held = rcbuf_slot_offer(frame, netmap_encode_message(ctx, coding, &ctx->json));
    }
    netmap_pieces_push(out, rcbuf_ref(held));
}

/* An empty list is a filter that lets nothing in; null would mean "as before". src: docs/protocol/control.md 6.7 */
static void push_access(struct netmap_ctx *ctx, const struct node_access *was, const struct node_access *is,
                        enum netmap_coding coding, struct netmap_pieces *out)
{
    if (was == is)
        return;
    if (was == NULL || was->filter != is->filter)
        push_text(ctx, is->filter, "{\"PacketFilters\":{\"base\":", "}}", coding, out);
    if (was == NULL || was->ssh != is->ssh)
        push_text(ctx, is->ssh, "{\"SSHPolicy\":", "}", coding, out);
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
    if (after == NULL) {
        if (before != NULL)
            push_self(ctx, c, c->before, before, c->after->made_ms - 60000, coding, out);
        return;
    }
    const struct node_access *was = access_of_node(c->before->access, id), *is = access_of_node(c->after->access, id);
    const struct change_item *self = netmap_find_item(c, id);
    struct watcher v = watcher_of(c, id);
    push_common(ctx, c, after, coding, out);
    netmap_push_other_derp_map(ctx, c, self, coding, out);
    if (c->policy_changed || viewer_keys_equal(v.before.key, v.after.key))
        push_messages(ctx, c, &v, self, coding, out);
    else
        push_all(ctx, c, &v, id, coding, out);
    push_access(ctx, was, is, coding, out);
    netmap_push_dns(ctx, c, id, coding, out);
    push_own_profile(ctx, c, self, coding, out);
    if (before != NULL && ((before != after && netmap_self_differs(before, after)) || own_access_differs(was, is)))
        push_self(ctx, c, c->after, after, 0, coding, out);
}
