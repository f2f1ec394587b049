/* What relays on other machines ask of us: POST /verify (may this node key use you?) and POST /relay/announce (here I am).
 *
 * An announcement carries what nodes must know of the relay, and is its sign of life. It is answered when there is news
 * for the relay, or after a while: whoever runs a relay needs no way in to it, and a relay that dies is noticed by its
 * connection. News are numbered; who missed some is told to ask about all its clients anew.
 *
 * Both need the key that the relay was enrolled with: as a bearer token, or as the password of basic credentials for the Go
 * derper, whose -verify-client-url takes no header but https://relay:KEY@HOST/verify.
 * src: docs/protocol/derp-stun.md 4.4, 4.6; tailscale 1.102 derp/derpserver (verifyClient) */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "control/control_internal.h"
#include "crypto/crypto.h"
#include "proto/derp.h"

LOG_MODULE("relays");

#define VERIFY_METRIC(name, result)                                                                                    \
    METRIC_COUNTER(name, "fullscale_verify_requests_total", "result=\"" result "\"",                                   \
                   "Questions of relays whether a node may use them, by answer.")
VERIFY_METRIC(verify_allowed, "allowed");
VERIFY_METRIC(verify_refused, "refused");
VERIFY_METRIC(verify_denied, "unauthorised");
VERIFY_METRIC(verify_bad, "invalid");
METRIC_COUNTER(announced, "fullscale_relay_announcements_total", "result=\"ok\"",
               "Announcements of relays on other machines.");
METRIC_COUNTER(announce_denied, "fullscale_relay_announcements_total", "result=\"unauthorised\"", "");
METRIC_COUNTER(announce_twins, "fullscale_relay_announcements_total", "result=\"twin\"", "");
METRIC_COUNTER(announce_bad, "fullscale_relay_announcements_total", "result=\"invalid\"", "");

enum {
    HOLD_MS = 20 * 1000,            /* an announcement without news is answered then */
    LEASE_MS = HOLD_MS + 15 * 1000, /* without another one the relay counts as gone */
    /* Its connection broke: so long for another one. Clients of a relay that died look for another home by themselves, in
     * some ten seconds of failing to reach it; one that loses the region from its map before that stops trying, may choose
     * it once more at the end of the look that is under way, and then sits there until the next one.
     * src: tailscale 1.102 wgengine/magicsock/derp.go (runDerpReader, setDERPMap), net/netcheck
     * (addReportHistoryAndSetPreferredDERP) */
    LOST_GRACE_MS = 20 * 1000,
    REQUEST_MAX_BYTES = 4096,
    NEIGHBOURS_MAX = 64,
};

/* --- a request outside of Noise that waits for the core --- */

struct relay_call {
    struct core_job job;      /* first */
    struct http_exchange *ex; /* null: the relay went away */
    struct control_worker *worker;
    struct arena arena;
    struct str key; /* in the arena; wiped */
    enum rc rc;
    /* verify */
    node_key node;
    bool is_allowed;
    /* announce */
    struct relay_report report;
    bool is_starting; /* asks for what it needs to serve; not there yet */
    bool is_draining;
    bool is_late;  /* overtaken by a later one */
    uint64_t seen; /* the newest news that the relay has */
    uint64_t started_ms, turn;
    uint64_t id; /* of the relay */
    uint64_t serial;
    int64_t answer_by_ms; /* monotonic, of the loop */
    struct list entry;    /* of the worker's waiting announcements */
    struct buf reply;     /* JSON; empty: nothing to tell yet */
};

static void call_destroy(struct relay_call *c)
{
    list_remove(&c->entry);
    secret_wipe((void *)c->key.p, c->key.len);
    secret_wipe(c->reply.data, c->reply.cap);
    buf_fini(&c->reply);
    arena_fini(&c->arena);
    mem_free(c);
}

/* The password of "Basic" credentials, in the arena; empty when there is none. src: RFC 7617 2 */
static struct str basic_password(struct arena *a, struct str coded)
{
    struct str name, password;
    size_t n;
    uint8_t *text = arena_alloc(a, coded.len + 1);
    if (base64_decode(coded.p, coded.len, false, text, coded.len, &n) != RC_OK)
        return STR_EMPTY;
    return str_cut(str_n(text, n), ':', &name, &password) ? password : STR_EMPTY;
}

/* In the arena. */
static struct str find_key(struct arena *a, const struct http_request *req)
{
    struct str value;
    if (!http_header(req, "authorization", &value))
        return STR_EMPTY;
    if (str_starts(value, STR("Bearer ")))
        return arena_str(a, str_trim(str_n(value.p + 7, value.len - 7)));
    if (str_starts(value, STR("Basic ")))
        return basic_password(a, str_trim(str_n(value.p + 6, value.len - 6)));
    return STR_EMPTY;
}

static void on_call_closed(void *ctx);

static struct relay_call *call_create(struct control_worker *w, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = on_call_closed};
    struct relay_call *c = MEM_NEW(struct relay_call);
    c->ex = ex;
    c->worker = w;
    c->job.home = w->loop;
    c->job.is_presence = true;
    list_init(&c->entry);
    c->key = find_key(&c->arena, http_request(ex));
    http_set_events(ex, &events, c);
    return c;
}

/* --- whose questions they are --- */

static uint64_t hash_key(const struct relay_call *c)
{
    uint64_t seed[2];
    memcpy(seed, c->worker->control->relay_seed, sizeof(seed));
    return siphash13(seed, c->key.p, c->key.len);
}

static bool is_seen(const struct control_worker *w, uint64_t hash)
{
    for (size_t i = 0; i < RELAYS_SEEN; i++) {
        if (w->relays_seen[i] == hash)
            return hash != 0;
    }
    return false;
}

/* The core knows its key: from now on it does not stand in line with strangers, and its connection is nobody's to evict. */
static void note_seen(const struct relay_call *c)
{
    struct control_worker *w = c->worker;
    uint64_t hash = hash_key(c);
    if (c->key.len == 0)
        return;
    if (!is_seen(w, hash))
        w->relays_seen[w->relays_seen_next++ % RELAYS_SEEN] = hash;
    if (c->ex != NULL)
        http_know(c->ex, &hash, sizeof(hash));
}

static void post(struct relay_call *c)
{
    uint64_t hash = hash_key(c);
    struct wait_who who = is_seen(c->worker, hash) ? wait_who_key(WAIT_NODE, &hash, sizeof(hash))
                                                   : wait_who_address(&http_request(c->ex)->peer);
    if (core_offer(c->worker->control->core, &c->job, &who, sizeof(*c) + c->arena.held_bytes))
        return;
    control_respond_busy(c->ex);
    call_destroy(c);
}

static const struct json *parse(struct relay_call *c)
{
    static const struct json_limits limits = {.max_bytes = REQUEST_MAX_BYTES, .max_depth = 8, .max_nodes = 256};
    const struct json *body = NULL;
    if (json_parse(&c->arena, arena_str(&c->arena, http_request(c->ex)->body), &limits, &body, NULL) != RC_OK ||
        json_type_of(body) != JSON_OBJECT)
        return NULL;
    return body;
}

static void respond_json(struct relay_call *c, struct str json)
{
    http_set_header(c->ex, "Cache-Control", STR("no-store"));
    http_respond(c->ex, 200, "application/json", json);
}

static void respond_bad(struct relay_call *c, struct metric *count, const char *text)
{
    metric_inc(count);
    http_respond_text(c->ex, 400, text);
    call_destroy(c);
}

static void respond_denied(struct relay_call *c, struct metric *count)
{
    char from[ADDR_TEXT_CAP];
    metric_inc(count);
    addr_format(&http_request(c->ex)->peer, false, from);
    log_limited(LOG_WARN, "a relay whose key is not known here", LOG_S("from", from));
    http_respond_text(
        c->ex, 401,
        "the relay's key is not known here: enrol the relay with `fullscale relays create NAME` and give it "
        "the key that this shows");
}

/* --- POST /verify --- */

static void run_verify(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct relay_call *c = (struct relay_call *)job;
    (void)now_ms;
    bool is_open = c->worker->control->options.verify_unauthenticated && c->key.len == 0;
    if (!is_open && state_relay_by_key(st, c->key) == NULL)
        c->rc = RC_DENIED;
    else
        c->is_allowed = state_key_is_active(st, &c->node);
}

static void done_verify(struct core_job *job)
{
    struct relay_call *c = (struct relay_call *)job;
    if (c->rc == RC_OK)
        note_seen(c);
    if (c->ex != NULL && c->rc != RC_OK) {
        respond_denied(c, &verify_denied);
    } else if (c->ex != NULL) {
        metric_inc(c->is_allowed ? &verify_allowed : &verify_refused);
        respond_json(c, c->is_allowed ? STR("{\"Allow\":true}") : STR("{\"Allow\":false}"));
    }
    call_destroy(c);
}

void control_handle_verify(void *app, struct http_exchange *ex)
{
    struct relay_call *c = call_create(app, ex);
    const struct json *body = parse(c);
    struct str text;
    if (body == NULL || !json_str(json_get(body, "NodePublic"), &text) || node_key_parse(text, &c->node) != RC_OK) {
        respond_bad(c, &verify_bad, "the body must be {\"NodePublic\":\"nodekey:...\",\"Source\":\"ADDRESS\"}");
        return;
    }
    c->job.run = run_verify;
    c->job.done = done_verify;
    post(c);
}

/* Paths land in the logs of proxies, keys should not. */
void control_handle_verify_path(void *app, struct http_exchange *ex)
{
    (void)app;
    metric_inc(&verify_denied);
    log_limited(LOG_WARN, "a relay sends its key in the path, where proxies log it: its -verify-client-url must be "
                          "https://relay:KEY@HOST/verify");
    http_respond_text(ex, 410,
                      "the key must not be in the path, where proxies log it: use -verify-client-url "
                      "https://relay:KEY@HOST/verify");
}

/* --- news; core's thread --- */

void relay_desk_init(struct relay_desk *desk, int64_t now_ms)
{
    /* Above whatever a server before this one gave out. */
    desk->news = (uint64_t)now_ms * 1000;
    desk->oldest = desk->news;
}

/* However much news comes before a worker looks, it is told once. */
static void tell_waiting(struct control *c)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct control_worker *w = c->workers[i];
        if (!atomic_exchange(&w->is_news_posted, true))
            loop_post(w->loop, &w->news_msg);
    }
}

void control_key_revoked(struct control *c, const node_key *key)
{
    struct relay_desk *desk = &c->desk;
    desk->revoked[desk->news % RELAY_NEWS] = *key;
    desk->news++;
    if (desk->news - desk->oldest > RELAY_NEWS)
        desk->oldest = desk->news - RELAY_NEWS;
    tell_waiting(c);
}

void control_relays_changed(struct control *c)
{
    node_key none = {{0}};
    control_key_revoked(c, &none);
}

void control_own_relay_renewed(struct control *c, const char *cert_name)
{
    struct relay_report *r = &c->options.own_relay;
    if (r->host_name[0] == '\0' || strcmp(r->cert_name, cert_name) == 0)
        return;
    snprintf(r->cert_name, sizeof(r->cert_name), "%s", cert_name);
    control_relays_changed(c);
}

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

/* --- POST /relay/announce --- */

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

static void write_neighbours(struct json_writer *w, const struct control *c, const struct state *st,
                             const struct relay_host *self)
{
    const struct control_options *o = &c->options;
    const struct relay_host *r;
    unsigned n = 0;
    json_w_key(w, "neighbours");
    json_w_array(w);
    if (o->own_relay.host_name[0] != '\0' && o->own_region == self->region_id)
        write_neighbour(w, &o->own_relay);
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL && n < NEIGHBOURS_MAX;) {
        if (r == self || !r->is_up || r->region_id != self->region_id)
            continue;
        write_neighbour(w, &r->report);
        n++;
    }
    json_w_end_array(w);
}

static void write_mesh_key(struct json_writer *w, const struct control *c, uint16_t region_id)
{
    uint8_t key[DERP_MESH_KEY_BYTES];
    char text[2 * DERP_MESH_KEY_BYTES + 1] = "";
    if (c->options.own_relay.host_name[0] != '\0' && region_id == c->options.own_region)
        memcpy(key, c->options.own_mesh_key, sizeof(key));
    else
        control_mesh_key(&c->options.noise_key, region_id, key);
    hex_encode(key, sizeof(key), text);
    json_w_kv_cstr(w, "meshKey", text);
    secret_wipe(key, sizeof(key));
    secret_wipe(text, sizeof(text));
}

/* Keys that must go, or `resync`: some were missed. */
static void write_revoked(struct json_writer *w, const struct relay_desk *desk, uint64_t seen)
{
    bool is_current = seen >= desk->oldest && seen <= desk->news;
    json_w_kv_bool(w, "resync", !is_current);
    json_w_key(w, "revoked");
    json_w_array(w);
    for (uint64_t i = is_current ? seen : desk->news; i < desk->news; i++) {
        char text[KEY_TEXT_CAP];
        const node_key *key = &desk->revoked[i % RELAY_NEWS];
        if (key_is_zero(key->b))
            continue;
        node_key_format(key, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

static void write_reply(struct relay_call *call, const struct state *st, const struct relay_host *self)
{
    const struct control *c = call->worker->control;
    struct json_writer w;
    json_w_init(&w, &call->reply);
    json_w_object(&w);
    json_w_kv_cstr(&w, "name", self->name);
    json_w_kv_u64(&w, "regionId", self->region_id);
    json_w_kv_cstr(&w, "regionName", self->region_name);
    write_mesh_key(&w, c, self->region_id);
    write_neighbours(&w, c, st, self);
    write_revoked(&w, &c->desk, call->seen);
    json_w_kv_u64(&w, "news", c->desk.news);
    json_w_end_object(&w);
}

/* Returns the relay as it is now; null: this does not count. */
static const struct relay_host *take_announcement(struct relay_call *call, struct state *st, int64_t now_ms)
{
    enum rc rc = state_relay_turn(st, call->id, call->started_ms, call->turn);
    call->is_late = rc == RC_LIMIT;
    if (rc != RC_OK) {
        call->rc = call->is_late ? RC_OK : rc;
        return NULL;
    }
    call->rc = state_relay_announce(st, call->id, &call->report, now_ms + LEASE_MS, now_ms, &call->serial);
    if (call->is_draining)
        state_relay_leave(st, call->id, call->serial, now_ms, now_ms);
    return state_relay(st, call->id);
}

static void run_announce(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct relay_call *call = (struct relay_call *)job;
    struct relay_desk *desk = &call->worker->control->desk;
    const struct relay_host *self = state_relay_by_key(st, call->key);
    if (self == NULL) {
        call->rc = RC_DENIED;
        return;
    }
    call->id = self->id;
    buf_clear(&call->reply);
    /* Once: when news wake it, it may have said on another connection that it goes. */
    if (!call->is_starting && call->serial == 0)
        self = take_announcement(call, st, now_ms);
    if (self == NULL)
        return;
    if (call->is_starting || call->is_draining || call->seen != desk->news)
        write_reply(call, st, self);
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
static void note_lost(const struct relay_call *c)
{
    if (c->serial == 0) /* it only asked */
        return;
    struct leave_job *j = MEM_NEW(struct leave_job);
    *j = (struct leave_job){.job.run = run_leave, .id = c->id, .serial = c->serial};
    core_post(c->worker->control->core, &j->job);
}

static void on_call_closed(void *ctx)
{
    struct relay_call *c = ctx;
    c->ex = NULL;
    if (list_is_empty(&c->entry))
        return; /* the core has it */
    note_lost(c);
    call_destroy(c);
}

static void done_announce(struct core_job *job)
{
    struct relay_call *c = (struct relay_call *)job;
    if (c->rc == RC_OK)
        note_seen(c);
    if (c->ex == NULL) {
        note_lost(c);
    } else if (c->rc == RC_EXISTS) {
        metric_inc(&announce_twins);
        http_respond_text(c->ex, 409,
                          "another relay that was started later uses the same key: enrol each with a key of its own");
    } else if (c->rc != RC_OK) {
        respond_denied(c, &announce_denied);
    } else if (buf_len(&c->reply) == 0 && !c->is_late && loop_now_ms(c->worker->loop) < c->answer_by_ms) {
        list_push_back(&c->worker->announcements, &c->entry);
        return;
    } else {
        metric_inc(&announced);
        respond_json(c, buf_len(&c->reply) > 0 ? buf_str(&c->reply) : STR("{}"));
    }
    call_destroy(c);
}

/* Asks the core again whether there is news. */
static void ask_again(struct control_worker *w, bool only_late)
{
    int64_t now_ms = loop_now_ms(w->loop);
    LIST_EACH_SAFE (it, &w->announcements) {
        struct relay_call *c = LIST_ENTRY(it, struct relay_call, entry);
        if (only_late && now_ms < c->answer_by_ms)
            continue;
        list_remove(&c->entry);
        core_post(w->control->core, &c->job);
    }
}

static void on_news(struct loop *loop, struct loop_msg *msg)
{
    struct control_worker *w = CONTAINER_OF(msg, struct control_worker, news_msg);
    (void)loop;
    atomic_store(&w->is_news_posted, false);
    ask_again(w, false);
}

void announcements_init(struct control_worker *w)
{
    list_init(&w->announcements);
    w->news_msg.run = on_news;
}

void announcements_tick(struct control_worker *w)
{
    ask_again(w, true);
}

/* --- reading an announcement --- */

/* A DNS name or an address; nothing that would need quoting anywhere. */
static bool is_host(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '-' || c == '_' || c == ':';
        if (!is_fit)
            return false;
    }
    return s.len > 0 && s.len < HOSTNAME_CAP;
}

/* A missing member leaves "" or 0 behind. */
static bool read_text(const struct json *body, const char *name, char out[HOSTNAME_CAP])
{
    struct str s = STR_EMPTY;
    const struct json *node = json_get(body, name);
    if (!json_is_null(node) && !json_str(node, &s))
        return false;
    if (s.len > 0 && !is_host(s))
        return false;
    snprintf(out, HOSTNAME_CAP, "%.*s", STR_ARG(s));
    return true;
}

static bool read_flag(const struct json *body, const char *name, bool *out)
{
    const struct json *node = json_get(body, name);
    return json_is_null(node) || json_bool(node, out);
}

static bool read_number(const struct json *body, const char *name, uint64_t *out)
{
    const struct json *node = json_get(body, name);
    return json_is_null(node) || json_u64(node, out);
}

static bool read_port(const struct json *body, const char *name, uint16_t *out)
{
    uint64_t v = 0;
    const struct json *node = json_get(body, name);
    if (!json_is_null(node) && (!json_u64(node, &v) || v > UINT16_MAX))
        return false;
    *out = (uint16_t)v;
    return true;
}

static bool read_ip(const struct json *body, const char *name, uint8_t family, struct addr *out)
{
    char text[HOSTNAME_CAP];
    if (!read_text(body, name, text))
        return false;
    return text[0] == '\0' || (addr_parse_ip(str_c(text), out) == RC_OK && out->family == family);
}

/* Where the relay is, as far as one can see: behind a proxy that is what the proxy says. A relay may name any host as its own, so
 * a lie gains it nothing. Family 0: not to be seen. */
static struct addr seen_from(const struct relay_call *c)
{
    const struct addr *peer = &http_request(c->ex)->peer;
    const struct control_options *o = &c->worker->control->options;
    bool is_proxy = addr_is_loopback(peer) || (o->is_trusted != NULL && o->is_trusted(o->trusted_ctx, peer));
    return is_proxy ? (struct addr){0} : *peer;
}

/* A relay that was given no name is where it comes from; one on this machine is where it thinks it is. */
static bool choose_host(const struct json *body, const struct addr *from, struct relay_report *r)
{
    char local[HOSTNAME_CAP];
    struct addr ip = {0};
    if (!read_text(body, "hostname", r->host_name) || !read_text(body, "localIP", local))
        return false;
    if (r->host_name[0] == '\0' && !addr_is_loopback(from) && from->family != 0)
        addr_format(from, false, r->host_name);
    else if (r->host_name[0] == '\0')
        snprintf(r->host_name, sizeof(r->host_name), "%s", local);
    /* A literal spares clients the look-up. */
    if (addr_parse_ip(str_c(r->host_name), &ip) == RC_OK && ip.family == 4 && r->ipv4.family == 0)
        r->ipv4 = ip;
    if (ip.family == 6 && r->ipv6.family == 0)
        r->ipv6 = ip;
    return r->host_name[0] != '\0';
}

/* A pin that is none would keep the DERP map from being made, and with it all who depend on it. */
static bool read_cert_name(const struct json *body, char out[HOSTNAME_CAP])
{
    static const struct str pin = {"sha256-raw:", 11};
    uint8_t hash[32];
    if (!read_text(body, "certName", out))
        return false;
    struct str name = str_c(out);
    if (!str_starts(name, pin))
        return true;
    struct str hex = str_n(name.p + pin.len, name.len - pin.len);
    return hex_decode(hex, hash, sizeof(hash)) == RC_OK && strpbrk(hex.p, "ABCDEF") == NULL;
}

static bool read_announcement(struct relay_call *c, const struct json *body)
{
    struct relay_report *r = &c->report;
    const struct addr from = seen_from(c);
    return read_ip(body, "ipv4", 4, &r->ipv4) && read_ip(body, "ipv6", 6, &r->ipv6) &&
           read_cert_name(body, r->cert_name) && read_port(body, "derpPort", &r->derp_port) &&
           read_port(body, "stunPort", &r->stun_port) && r->derp_port != 0 && choose_host(body, &from, r) &&
           read_number(body, "news", &c->seen) && read_number(body, "started", &c->started_ms) &&
           read_number(body, "turn", &c->turn) && read_flag(body, "starting", &c->is_starting) &&
           read_flag(body, "draining", &c->is_draining);
}

void control_handle_announce(void *app, struct http_exchange *ex)
{
    struct relay_call *c = call_create(app, ex);
    const struct json *body = parse(c);
    if (body == NULL || !read_announcement(c, body)) {
        respond_bad(c, &announce_bad,
                    "this server did not understand the announcement: do both run the same version of Fullscale?");
        return;
    }
    c->answer_by_ms = loop_now_ms(c->worker->loop) + HOLD_MS;
    c->job.run = run_announce;
    c->job.done = done_announce;
    post(c);
}
