#include "bench/fleet.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "codec/json.h"

enum {
    WATCHDOG_MS = 120 * 1000, /* of a poll, as the real client has it */
    ANSWER_MAX_BYTES = 256 * 1024,
    ERROR_BODY_BYTES = 100,
    GRANT_BYTES = 4 * 1024, /* Go's HTTP/2 client returns credit in steps of at least this */
    BACK_OFF_STEP_MS = 10,
    BACK_OFF_MAX_MS = 30 * 1000,
};

static int64_t now_ms(const struct sim *s)
{
    return loop_now_ms(s->fleet->loop);
}

/* --- life --- */

void sim_init(struct sim *s, struct fleet *f, unsigned index, unsigned class)
{
    uint8_t random[KEY_BYTES];
    char text[KEY_TEXT_CAP];
    *s = (struct sim){.fleet = f, .index = index, .class = class};
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, &s->machine);
    private_key_public(&s->machine, s->machine_public.b);
    machine_key_format(&s->machine_public, text);
    s->machine_digest = scan_digest(str_c(text));
    rng_bytes(&s->key, sizeof(s->key));
    node_key_format(&s->key, s->key_text);
    rng_bytes(&s->disco, sizeof(s->disco));
    disco_key_format(&s->disco, text);
    s->disco_digest = scan_digest(str_c(text));
    s->knows = f->opts->join_updates == 0 ? SIM_KNOWS_ALL : 0;
    list_init(&s->link);
    view_init(&s->view, index, f->n, f->keeps_facts);
    roster_add_key(&f->roster, str_c(s->key_text), index);
}

void sim_drop_handshake(struct sim *s)
{
    if (s->handshake != NULL)
        noise_initiator_wipe(s->handshake);
    mem_free(s->handshake);
    s->handshake = NULL;
}

static bool is_connected(const struct sim *s)
{
    return s->state >= SIM_UPGRADING;
}

/* Ends the connection; the caller decides what the node does next. */
static void disconnect(struct sim *s)
{
    struct fleet *f = s->fleet;
    h2_client_destroy(&s->h2);
    stream_close(&s->stream, false);
    sim_drop_handshake(s);
    buf_fini(&s->in);
    map_stream_clear(&s->map_stream);
    list_remove(&s->link);
    f->connected -= is_connected(s);
    s->state = SIM_OFF;
    s->register_id = s->poll_id = s->update_id = 0;
    s->owes_update |= s->is_updating;
    s->is_updating = s->is_dirty = false;
    s->has_first_map = s->knows_all_endpoints = false;
    s->unacked = 0;
    s->deadline_ms = 0;
    view_clear(&s->view, f->n);
    fleet_release_slot(f, s);
    fleet_sim_changed(s);
}

void sim_fini(struct sim *s)
{
    disconnect(s);
    view_fini(&s->view);
    secret_wipe(&s->machine, sizeof(s->machine));
}

void sim_drop(struct sim *s)
{
    disconnect(s);
    s->fails = 0;
    if (!s->is_paused)
        fleet_ready(s->fleet, s);
}

/* As the real client: n * n * 10 ms, 30 s at most, and then between half and one and a half of that. */
static int64_t back_off_ms(unsigned fails)
{
    uint32_t random;
    int64_t ms = fails < 100 ? (int64_t)fails * fails * BACK_OFF_STEP_MS : BACK_OFF_MAX_MS;
    rng_bytes(&random, sizeof(random));
    return (ms < BACK_OFF_MAX_MS ? ms : BACK_OFF_MAX_MS) * (int64_t)(512 + random % 1024) / 1024;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    struct fleet *f = s->fleet;
    char text[ERRORS_TEXT_CAP];
    bool had_map = s->has_first_map;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    errors_add(&f->errors, "%s", text);
    if (had_map)
        f->stats.sessions_lost++;
    else
        f->stats.failed_starts++;
    disconnect(s);
    s->fails = had_map ? 1 : s->fails + 1;
    if (!s->is_paused || s->is_logging_out)
        fleet_wait_until(f, s, now_ms(s) + back_off_ms(s->fails));
}

void sim_check_deadline(struct sim *s, int64_t at_ms)
{
    static const char *const doing[] = {[SIM_UPGRADING] = "connect",
                                        [SIM_GREETING] = "connect",
                                        [SIM_REGISTERING] = "registration",
                                        [SIM_POLLING] = "first map",
                                        [SIM_UP] = "map poll"};
    if (s->deadline_ms != 0 && at_ms > s->deadline_ms && is_connected(s))
        sim_fail(s, "%s: nothing came for too long", doing[s->state]);
}

/* --- requests --- */

static int32_t post(struct sim *s, const char *path, const struct buf *body)
{
    return h2_client_request(s->h2, "POST", s->fleet->url.authority, path, buf_str(body));
}

static void register_now(struct sim *s)
{
    struct buf body = {0};
    s->state = SIM_REGISTERING;
    s->deadline_ms = now_ms(s) + s->fleet->opts->request_timeout_ms;
    s->asked_us = clock_mono_us();
    sim_write_register(s, s->is_logging_out, &body);
    s->register_status = 0;
    s->register_id = post(s, "/machine/register", &body);
    secret_wipe(buf_at(&body), buf_len(&body));
    buf_fini(&body);
}

bool sim_log_out(struct sim *s)
{
    if (s->state != SIM_UP)
        return false;
    s->is_paused = s->is_logging_out = true;
    register_now(s);
    return true;
}

void sim_log_in(struct sim *s)
{
    roster_forget_key(&s->fleet->roster, str_c(s->key_text));
    memcpy(s->old_key_text, s->key_text, sizeof(s->old_key_text));
    rng_bytes(&s->key, sizeof(s->key));
    node_key_format(&s->key, s->key_text);
    roster_add_key(&s->fleet->roster, str_c(s->key_text), s->index);
    s->is_paused = s->is_registered = false;
    if (s->state == SIM_OFF)
        fleet_ready(s->fleet, s);
}

/* From now on peers may receive these endpoints. */
static void note_sent(struct sim *s)
{
    struct view_facts facts;
    sim_describe(s, &facts);
    if (s->sent_n > 0 && s->sent[s->sent_n - 1] == facts.endpoints)
        return;
    if (s->sent_n == SIM_SENT_MAX)
        memmove(s->sent, s->sent + 1, --s->sent_n * sizeof(s->sent[0]));
    s->sent[s->sent_n++] = facts.endpoints;
}

static int32_t post_map(struct sim *s, bool is_stream)
{
    struct buf body = {0};
    note_sent(s);
    sim_write_map_request(s, is_stream, &body);
    int32_t id = post(s, "/machine/map", &body);
    buf_fini(&body);
    return id;
}

static void poll_now(struct sim *s)
{
    s->state = SIM_POLLING;
    s->deadline_ms = now_ms(s) + WATCHDOG_MS;
    s->asked_us = clock_mono_us();
    map_stream_clear(&s->map_stream);
    s->poll_status = 0;
    s->poll_id = post_map(s, true);
}

/* One update at a time is under way, as with a real client: changes meanwhile go with the next. */
void sim_update(struct sim *s)
{
    if (s->h2 == NULL)
        return;
    s->is_dirty = s->is_updating;
    if (s->is_updating)
        return;
    s->is_updating = true;
    s->owes_update = false;
    s->updated_us = clock_mono_us();
    s->fleet->stats.updates_sent++;
    s->update_status = 0;
    s->update_id = post_map(s, false);
}

/* The next of the updates that a client sends as it finds out about itself; the answer to one triggers the next. */
static void join_update(struct sim *s)
{
    unsigned all = s->fleet->opts->join_updates;
    if (s->updates >= all)
        return;
    s->updates++;
    s->knows = (SIM_KNOWS_ALL * s->updates + all - 1) / all;
    sim_update(s);
}

/* --- answers --- */

static void end_update(struct sim *s, uint32_t error)
{
    struct fleet *f = s->fleet;
    int64_t took_us = clock_mono_us() - s->updated_us;
    bool is_again = s->is_dirty;
    s->is_updating = s->is_dirty = false;
    s->update_id = 0;
    if (error != 0 || s->update_status != 200) {
        f->stats.update_errors++;
        s->owes_update = true;
        errors_add(&f->errors, error != 0 ? "update: HTTP/2 error %u" : "update: HTTP %u",
                   error != 0 ? error : (unsigned)s->update_status);
        return;
    }
    hist_add(f->acks != NULL ? f->acks : &f->stats.update, took_us);
    if (is_again)
        sim_update(s);
    else
        join_update(s);
}

/* Why the answer to a registration is a refusal, or null. In the arena. */
static const char *refusal(struct arena *a, struct str body, bool is_logout)
{
    const struct json *root;
    struct str text = STR_EMPTY;
    bool is_authorized = false, is_expired = false;
    if (json_parse(a, body, NULL, &root, NULL) != RC_OK || json_type_of(root) != JSON_OBJECT)
        return "the answer is no JSON object";
    if (json_str(json_get(root, "Error"), &text) && text.len > 0)
        return arena_printf(a, "%.*s", (int)(text.len < 150 ? text.len : 150), text.p);
    if (is_logout)
        return NULL;
    if (json_str(json_get(root, "AuthURL"), &text) && text.len > 0)
        return "the server wants an interactive login: is the auth key right?";
    (void)json_bool(json_get(root, "MachineAuthorized"), &is_authorized);
    (void)json_bool(json_get(root, "NodeKeyExpired"), &is_expired);
    return is_authorized && !is_expired ? NULL : "the machine is not authorised, or its key has expired";
}

static void end_register(struct sim *s, uint32_t error)
{
    struct fleet *f = s->fleet;
    struct arena arena = {0};
    const char *why = NULL;
    bool was_logout = s->is_logging_out;
    if (error != 0)
        why = arena_printf(&arena, "HTTP/2 error %u", error);
    else if (s->register_status != 200)
        why = arena_printf(&arena, "HTTP %d", s->register_status);
    else
        why = refusal(&arena, buf_str(&s->in), was_logout);
    if (why != NULL) {
        f->stats.register_errors++;
        sim_fail(s, "register: %s", why);
    } else if (was_logout) {
        s->is_logging_out = s->is_registered = false;
        disconnect(s);
    } else {
        hist_add(&f->stats.registered, clock_mono_us() - s->asked_us);
        s->is_registered = true;
        s->register_id = 0;
        buf_fini(&s->in);
        poll_now(s);
    }
    arena_fini(&arena);
}

static void end_poll(struct sim *s, uint32_t error)
{
    s->poll_id = 0;
    if (s->is_logging_out)
        return; /* the answer to the logout is still to come */
    if (s->poll_status != 200 && s->poll_status != 0)
        sim_fail(s, "map: HTTP %d: %.*s", s->poll_status, (int)buf_len(&s->in), (const char *)buf_str(&s->in).p);
    else if (error != 0)
        sim_fail(s, "map: the connection broke, or the stream ended with HTTP/2 error %u", error);
    else
        sim_fail(s, "map: the server ended the stream");
}

/* --- map responses --- */

static void on_piece(void *ctx, const struct map_effect *effect)
{
    struct sim *s = ctx;
    struct fleet *f = s->fleet;
    f->stats.self_as_peer += view_apply(&s->view, effect, &f->classes[s->class].view, f->n);
    if (effect->self_id >= 0) {
        s->id = effect->self_id;
        memcpy(s->addresses, effect->self_addresses, sizeof(s->addresses));
    }
    for (uint32_t i = 0; f->on_mark != NULL && i < effect->mark_n; i++)
        f->on_mark(f->on_mark_ctx, s, &effect->marks[i]);
}

static void count_message(struct fleet *f, const struct map_stream *in)
{
    struct fleet_stats *st = &f->stats;
    st->zstd_bytes += in->message_n;
    st->json_bytes += in->json_n;
    st->pings += in->counts.ping > 0;
    st->keep_alives += in->counts.keep_alive > 0;
    if (in->counts.keep_alive > 0)
        return;
    st->messages++;
    st->peer_records += in->counts.full + in->counts.changed;
    st->peer_bytes += in->counts.peer_bytes;
    st->patches += in->counts.patched;
    st->removals += in->counts.removed;
    f->last_data_us = f->now_us;
}

static void first_map(struct sim *s, const struct map_stream *in)
{
    struct fleet_stats *st = &s->fleet->stats;
    s->state = SIM_UP;
    s->has_first_map = true;
    s->fails = 0;
    st->full_maps++;
    st->full_zstd += in->message_n;
    st->full_json += in->json_n;
    st->full_peers += in->counts.full + in->counts.changed;
    hist_add(&st->first_map, s->fleet->now_us - s->asked_us);
    fleet_release_slot(s->fleet, s);
    if (s->owes_update)
        sim_update(s);
    else
        join_update(s);
}

static enum rc on_message(void *ctx, const struct map_stream *in)
{
    struct sim *s = ctx;
    struct fleet *f = s->fleet;
    f->now_us = clock_mono_us();
    s->deadline_ms = now_ms(s) + WATCHDOG_MS;
    count_message(f, in);
    if (in->counts.keep_alive > 0)
        return RC_OK;
    s->last_map_us = f->now_us;
    /* A real client ends a stream whose first message has no Node. */
    if (!s->has_first_map && in->counts.node == 0) {
        f->stats.first_without_node++;
        return RC_NOT_FOUND;
    }
    if (!s->has_first_map)
        first_map(s, in);
    fleet_sim_changed(s);
    return RC_OK;
}

static void read_poll(struct sim *s, const uint8_t *p, size_t n)
{
    static const struct map_stream_events events = {on_piece, on_message};
    struct fleet *f = s->fleet;
    if (s->poll_status != 200) {
        size_t room = ERROR_BODY_BYTES - buf_len(&s->in);
        buf_append(&s->in, p, n < room ? n : room);
        return;
    }
    f->now_us = clock_mono_us();
    enum rc rc = map_stream_feed(&s->map_stream, &f->frames, p, n, &events, s);
    if (rc == RC_NOT_FOUND) {
        sim_fail(s, "map: the first response of a stream has no Node");
    } else if (rc != RC_OK) {
        f->stats.decode_errors++;
        sim_fail(s, "map: %s", rc_text(rc));
    }
}

/* --- HTTP/2 --- */

static void on_response(void *ctx, int32_t id, int status)
{
    struct sim *s = ctx;
    if (id == s->register_id)
        s->register_status = status;
    else if (id == s->poll_id)
        s->poll_status = status;
    else if (id == s->update_id)
        s->update_status = status;
}

static void grant(struct sim *s, int32_t id, size_t n)
{
    if (id != s->poll_id) {
        h2_client_consume(s->h2, id, n);
        return;
    }
    s->unacked += n;
    if (s->unacked < GRANT_BYTES)
        return;
    h2_client_grant(s->h2, id, s->unacked);
    s->unacked = 0;
}

static void on_h2_data(void *ctx, int32_t id, const uint8_t *p, size_t n)
{
    struct sim *s = ctx;
    grant(s, id, n);
    if (id == s->poll_id)
        read_poll(s, p, n);
    else if (id == s->register_id && buf_len(&s->in) + n > ANSWER_MAX_BYTES)
        sim_fail(s, "register: the answer is too large");
    else if (id == s->register_id)
        buf_append(&s->in, p, n);
}

static void on_ended(void *ctx, int32_t id, uint32_t error)
{
    struct sim *s = ctx;
    if (id == s->register_id)
        end_register(s, error);
    else if (id == s->poll_id)
        end_poll(s, error);
    else if (id == s->update_id)
        end_update(s, error);
}

void sim_on_closed(void *ctx, enum rc why)
{
    struct sim *s = ctx;
    sim_fail(s, s->has_first_map ? "session: %s" : "connect: %s", rc_text(why));
}

void sim_greeted(struct sim *s)
{
    static const struct h2_client_events events = {
        .response = on_response, .data = on_h2_data, .ended = on_ended, .closed = sim_on_closed};
    struct stream *noise = s->stream;
    struct buf rest = {0};
    hist_add(&s->fleet->stats.connect, clock_mono_us() - s->dialled_us);
    buf_move(&rest, &s->in);
    s->stream = NULL;
    s->h2 = h2_client_create(noise, true, &events, s);
    if (!s->is_registered || s->is_logging_out || s->fleet->opts->re_registers)
        register_now(s);
    else
        poll_now(s);
    if (buf_len(&rest) > 0)
        (void)stream_emit_data(noise, buf_at(&rest), buf_len(&rest));
    buf_fini(&rest);
}
