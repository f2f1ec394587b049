#include "control/testing_maps.h"

const struct json *map_member(const struct json *map, const char *key, const char *id_key, uint64_t id)
{
    JSON_EACH (it, json_get(map, key)) {
        if (json_number(it, id_key) == id)
            return it;
    }
    return NULL;
}

static bool removes(const struct json *map, uint64_t id)
{
    uint64_t got;
    JSON_EACH (it, json_get(map, "PeersRemoved")) {
        if (json_u64(it, &got) && got == id)
            return true;
    }
    return false;
}

bool map_is_keep_alive(const struct json *map)
{
    return json_is_true(map, "KeepAlive");
}

bool map_is_past(const struct json *self)
{
    struct str text;
    int64_t at_ms;
    return json_str(json_get(self, "KeyExpiry"), &text) && time_parse(text, &at_ms) == RC_OK &&
           at_ms <= clock_wall_ms();
}

static void view_node(struct view *v, const struct json *node)
{
    v->is_there = true;
    v->is_online = json_is_true(node, "Online");
    v->home_derp = json_number(node, "HomeDERP");
    v->endpoints_n = json_len(json_get(node, "Endpoints"));
    json_str(json_get(node, "Key"), &v->key);
    json_str(json_get(node, "Name"), &v->name);
}

static void view_patch(struct view *v, const struct json *patch)
{
    if (json_get(patch, "Online") != NULL)
        v->is_online = json_is_true(patch, "Online");
    if (json_get(patch, "DERPRegion") != NULL)
        v->home_derp = json_number(patch, "DERPRegion");
    if (json_get(patch, "Endpoints") != NULL)
        v->endpoints_n = json_len(json_get(patch, "Endpoints"));
}

struct view poll_view(struct reply *poll, uint64_t id)
{
    struct view v = {0};
    const struct json *node;
    for (size_t i = 0; i < poll->frame_n; i++) {
        const struct json *map = reply_frame(poll, i);
        v.fulls += json_get(map, "Peers") != NULL;
        if (json_get(map, "Peers") != NULL)
            v.is_there = false;
        if ((node = map_member(map, "Peers", "ID", id)) != NULL ||
            (node = map_member(map, "PeersChanged", "ID", id)) != NULL)
            view_node(&v, node);
        if (removes(map, id))
            v.is_there = false;
        if ((node = map_member(map, "PeersChangedPatch", "NodeID", id)) != NULL)
            view_patch(&v, node);
    }
    return v;
}

uint64_t poll_begin(struct client *c, struct reply *poll, const struct device *d, unsigned flags)
{
    control_rig_client_poll(c, poll, d, flags);
    reply_wait_frames(poll, 1);
    return json_number(json_get(reply_frame(poll, 0), "Node"), "ID");
}

void poll_end(struct client *c, struct reply *poll)
{
    if (!poll->is_ended)
        h2_client_cancel(c->h2, poll->id);
    reply_fini(poll);
}

void poll_finish(struct client *c, struct reply *poll)
{
    reply_fini(poll);
    control_rig_client_close(c);
    control_rig_wait_idle(rig);
}

static void tick(struct control_worker *w, void *ctx)
{
    sessions_tick(w, w->wheel.now + 1 + *(int64_t *)ctx);
}

void control_rig_pass_seconds(unsigned worker, int64_t seconds)
{
    control_rig_on_worker(rig, worker, tick, &seconds);
}

void assert_first_map(const struct json *map, const struct device *d)
{
    const struct json *self = json_get(map, "Node");
    assert_true(json_says(self, "Key", key_text(rig, &d->key)));
    assert_true(json_is_true(self, "MachineAuthorized"));
    assert_true(json_len(json_get(self, "Addresses")) == 2);
    static const char *const keys[] = {"DERPMap",   "UserProfiles", "PacketFilters",
                                       "DNSConfig", "Domain",       "ControlTime"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_false(json_is_null(json_get(map, keys[i])));
    assert_false(map_is_keep_alive(map));
}
