/* POST /relay/announce: a relay on another machine says that it is there.
 *
 * An announcement carries what nodes must know of the relay, and is its sign of life. It is answered when there is
 * news for the relay, or after a while: the operator of a relay needs no way in to it, and a relay that dies is
 * noticed by its connection. News is numbered (relays_news.c); a relay that missed some must ask about all its
 * clients anew.
 * src: docs/protocol/derp-stun.md 4.6 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json_write.h"
#include "control/relays_internal.h"
#include "crypto/crypto.h"

METRIC_COUNTER(announced, "fullscale_relay_announcements_total", "result=\"ok\"",
               "Announcements of relays on other machines.");
METRIC_COUNTER(announce_denied, "fullscale_relay_announcements_total", "result=\"unauthorised\"", "");
METRIC_COUNTER(announce_twins, "fullscale_relay_announcements_total", "result=\"twin\"", "");
METRIC_COUNTER(announce_bad, "fullscale_relay_announcements_total", "result=\"invalid\"", "");

enum {
    HOLD_MS = 20 * 1000,            /* an announcement without news is answered then */
    LEASE_MS = HOLD_MS + 15 * 1000, /* without another one the relay counts as gone */
    /* After its connection broke, the time for another one. Clients of a relay that died look for another home by
     * themselves, in some ten seconds of failing to reach it. A client whose map loses the region before that stops
     * trying, may choose it once more at the end of the check that is under way, and then stays with it until the next
     * one.
     * src: tailscale 1.102 wgengine/magicsock/derp.go (runDerpReader, setDERPMap), net/netcheck
     * (addReportHistoryAndSetPreferredDERP) */
    LOST_GRACE_MS = 20 * 1000,
    NEIGHBOURS_MAX = 64,
};

void control_mesh_key(const private_key *noise, uint16_t region_id, uint8_t out[DERP_MESH_KEY_BYTES])
{
    static const char label[] = "fullscale mesh key of a region";
    uint8_t text[sizeof(label) + KEY_BYTES + 2];
    memcpy(text, label, sizeof(label));
    memcpy(text + sizeof(label), noise->b, KEY_BYTES);
    text[sizeof(label) + KEY_BYTES] = (uint8_t)(region_id >> 8);
    text[sizeof(label) + KEY_BYTES + 1] = (uint8_t)region_id;
    _Static_assert(DERP_MESH_KEY_BYTES == 32, "a SHA-256");
    sha256(text, sizeof(text), out);
    secret_wipe(text, sizeof(text));
}

static void write_neighbour(struct json_writer *w, const struct relay_report *r)
{
    char ip[ADDR_TEXT_CAP] = "";
    if (r->ipv4.family != 0)
        addr_format(&r->ipv4, false, ip);
    else if (r->ipv6.family != 0)
        addr_format(&r->ipv6, false, ip);
    json_w_object(w);
    json_w_kv_cstr(w, "hostname", r->host_name);
    json_w_kv_cstr(w, "ip", ip);
    json_w_kv_u64(w, "derpPort", r->derp_port);
    json_w_kv_cstr(w, "certName", r->cert_name);
    json_w_end_object(w);
}

/* The relay inside is a neighbour of the relays of the first tailnet alone: a mesh tells its members which keys are
 * there. */
static bool has_own_relay(const struct control *c, const struct tailnet *t, uint16_t region_id)
{
    return c->options.own_relay.host_name[0] != '\0' && c->options.own_region == region_id && t->index == 0;
}

static void write_neighbours(struct json_writer *w, const struct control *c, const struct tailnet *t,
                             const struct relay_host *self)
{
    const struct relay_host *r;
    unsigned n = 0;
    json_w_key(w, "neighbours");
    json_w_array(w);
    if (has_own_relay(c, t, self->region_id))
        write_neighbour(w, &c->options.own_relay);
    for (size_t pos = 0; (r = state_relay_next(t->state, &pos)) != NULL && n < NEIGHBOURS_MAX;) {
        if (r == self || !r->is_up || r->region_id != self->region_id)
            continue;
        write_neighbour(w, &r->report);
        n++;
    }
    json_w_end_array(w);
}

/* Regions of two tailnets may have the same number. */
static void mix_in_tailnet(uint8_t key[DERP_MESH_KEY_BYTES], uint64_t id)
{
    uint8_t text[DERP_MESH_KEY_BYTES + sizeof(id)];
    memcpy(text, key, DERP_MESH_KEY_BYTES);
    memcpy(text + DERP_MESH_KEY_BYTES, &id, sizeof(id));
    sha256(text, sizeof(text), key);
    secret_wipe(text, sizeof(text));
}

static void write_mesh_key(struct json_writer *w, const struct control *c, const struct tailnet *t, uint16_t region_id)
{
    uint8_t key[DERP_MESH_KEY_BYTES];
    char text[2 * DERP_MESH_KEY_BYTES + 1] = "";
    if (has_own_relay(c, t, region_id))
        memcpy(key, c->options.own_mesh_key, sizeof(key));
    else
        control_mesh_key(&c->options.noise_key, region_id, key);
    if (t->index != 0)
        mix_in_tailnet(key, t->id);
    hex_encode(key, sizeof(key), text);
    json_w_kv_cstr(w, "meshKey", text);
    secret_wipe(key, sizeof(key));
    secret_wipe(text, sizeof(text));
}

static void write_reply(struct relays_call *call, const struct relay_host *self)
{
    const struct control *c = call->worker->control;
    const struct tailnet *t = call->job.tailnet;
    struct json_writer w;
    json_w_init(&w, &call->reply);
    json_w_object(&w);
    json_w_kv_cstr(&w, "name", self->name);
    json_w_kv_u64(&w, "regionId", self->region_id);
    json_w_kv_cstr(&w, "regionName", self->region_name);
    write_mesh_key(&w, c, t, self->region_id);
    write_neighbours(&w, c, t, self);
    relays_news_write(&w, &t->news, call->seen);
    json_w_kv_u64(&w, "news", t->news.next);
    json_w_end_object(&w);
}

/* Returns the relay as it is now; null: this announcement does not count. */
static const struct relay_host *take_announcement(struct relays_call *call, struct state *st, int64_t now_ms)
{
    enum rc rc = state_relay_accept_number(st, call->id, call->started_ms, call->number);
    call->is_late = rc == RC_LIMIT;
    if (rc == RC_OK)
        rc = state_relay_announce(st, call->id, &call->report, now_ms + LEASE_MS, now_ms, &call->serial);
    if (rc != RC_OK && !call->is_late)
        core_deny(&call->job, rc);
    if (rc != RC_OK)
        return NULL;
    if (call->is_draining)
        state_relay_leave(st, call->id, call->serial, now_ms, now_ms);
    return state_relay(st, call->id);
}

static void run_announce(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct relays_call *call = (struct relays_call *)job;
    const struct relays_news *news = &job->tailnet->news;
    const struct relay_host *self = state_relay_by_key(st, call->key);
    if (self == NULL) {
        core_deny(job, RC_UNAUTHORIZED);
        return;
    }
    call->id = self->id;
    buf_clear(&call->reply);
    /* Only the first time: when news wakes the announcement, the relay may have said on another connection that it
     * leaves. */
    if (!call->is_starting && call->serial == 0)
        self = take_announcement(call, st, now_ms);
    if (self == NULL)
        return;
    if (call->is_starting || call->is_draining || call->seen != news->next)
        write_reply(call, self);
}

struct leave_job {
    struct core_job job;
    uint64_t id;
    uint64_t serial;
};

static void run_leave(struct core_job *job, struct state *st, int64_t now_ms)
{
    const struct leave_job *j = (const struct leave_job *)job;
    state_relay_leave(st, j->id, j->serial, now_ms + LOST_GRACE_MS, now_ms);
}

/* Its connection broke while it waited. */
static void note_lost(const struct relays_call *c)
{
    if (c->serial == 0) /* it has not announced itself, only asked */
        return;
    struct leave_job *j = MEM_NEW(struct leave_job);
    *j = (struct leave_job){
        .job = {.tailnet = c->job.tailnet, .kind = JOB_LOCAL, .run = run_leave}, .id = c->id, .serial = c->serial};
    core_post(c->worker->control->core, &j->job);
}

static void on_closed(void *ctx)
{
    struct relays_call *c = ctx;
    c->ex = NULL;
    if (list_is_empty(&c->link))
        return; /* the core has it */
    note_lost(c);
    relays_call_destroy(c);
}

static void done_announce(struct core_job *job)
{
    struct relays_call *c = (struct relays_call *)job;
    if (job->denied == RC_OK)
        relays_call_note_seen(c);
    if (c->ex == NULL) {
        note_lost(c);
    } else if (job->refused != RC_OK) {
        control_respond_refused(c->ex, job->refused);
    } else if (job->denied == RC_EXISTS) {
        metric_inc(&announce_twins);
        http_respond_text(c->ex, 409,
                          "another relay that was started later uses the same key: enrol each with a key of its own");
    } else if (job->denied != RC_OK) {
        relays_call_respond_denied(c, &announce_denied);
    } else if (buf_len(&c->reply) == 0 && !c->is_late && loop_now_ms(c->worker->loop) < c->answer_by_ms) {
        list_push_back(&control_part(c->worker, job->tailnet)->announcements, &c->link);
        return;
    } else {
        metric_inc(&announced);
        relays_call_respond(c, buf_len(&c->reply) > 0 ? buf_str(&c->reply) : STR("{}"));
    }
    relays_call_destroy(c);
}

/* Asks the core again whether there is news. */
static void ask_again(struct tailnet_part *part, bool only_late)
{
    const struct control_worker *w = part->worker;
    int64_t now_ms = loop_now_ms(w->loop);
    LIST_EACH_SAFE (it, &part->announcements) {
        struct relays_call *c = LIST_ENTRY(it, struct relays_call, link);
        if (only_late && now_ms < c->answer_by_ms)
            continue;
        list_remove(&c->link);
        c->job.kind = JOB_LOCAL;
        core_post(w->control->core, &c->job);
    }
}

static void on_news(struct loop *loop, struct loop_msg *msg)
{
    struct tailnet_part *part = CONTAINER_OF(msg, struct tailnet_part, news_msg);
    (void)loop;
    atomic_store(&part->is_news_posted, false);
    ask_again(part, false);
}

/* However much news comes before a worker looks, it gets one message. */
static void wake_announcements(struct control *c, const struct tailnet *t)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct tailnet_part *part = control_part(c->workers[i], t);
        if (!atomic_exchange(&part->is_news_posted, true))
            loop_post(c->workers[i]->loop, &part->news_msg);
    }
}

void control_key_revoked(struct control *c, struct tailnet *t, const node_key *key)
{
    relays_news_add(&t->news, key);
    wake_announcements(c, t);
}

void control_relays_changed(struct control *c, struct tailnet *t)
{
    const node_key none = {{0}};
    control_key_revoked(c, t, &none);
}

void control_own_relay_renewed(struct control *c, const char *cert_name)
{
    struct relay_report *r = &c->options.own_relay;
    struct tailnet *t;
    if (r->host_name[0] == '\0' || strcmp(r->cert_name, cert_name) == 0)
        return;
    snprintf(r->cert_name, sizeof(r->cert_name), "%s", cert_name);
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++)
        control_relays_changed(c, t);
}

void relays_announcements_init(struct tailnet_part *part)
{
    list_init(&part->announcements);
    part->news_msg.run = on_news;
}

void relays_announcements_tick(struct tailnet_part *part)
{
    ask_again(part, true);
}

void control_handle_announce(void *app, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = on_closed};
    struct relays_call *c = relays_call_create(app, ex, &events);
    const struct json *body = relays_call_body(c);
    if (body == NULL || !relays_report_read(c, body)) {
        relays_call_respond_bad(
            c, &announce_bad,
            "this server did not understand the announcement: do both run the same version of Fullscale?");
        return;
    }
    c->answer_by_ms = loop_now_ms(c->worker->loop) + HOLD_MS;
    c->job.run = run_announce;
    c->job.done = done_announce;
    relays_call_post(c);
}
