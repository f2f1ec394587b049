#include "bench/derp_client_internal.h"

#include <string.h>

#include "base/clock.h"
#include "bench/upgrade_internal.h"

enum {
    KEY_FRAME_MAX_BYTES = 1024,
    INFO_FRAME_MAX_BYTES = 64 * 1024,
    FRAME_MAX_BYTES = KEY_BYTES + DERP_PACKET_MAX_BYTES,
};

static void end(struct bench_derp_client *c, const char *why)
{
    const struct bench_derp_client_events *events = c->events;
    bench_derp_client_stop(c);
    events->ended(c->ctx, why);
}

/* --- login --- */

static void on_server_key(struct bench_derp_client *c, const uint8_t *payload, size_t n)
{
    struct derp_client_info info = {.key = c->public_key, .version = DERP_VERSION};
    struct buf out = {0};
    uint8_t nonce[BOX_NONCE_BYTES];
    rng_bytes(nonce, sizeof(nonce));
    if (derp_server_key_parse(payload, n, c->server_key) != RC_OK ||
        derp_append_client_info(&out, &c->key, c->server_key, nonce, &info) != RC_OK) {
        end(c, "login: the server's key is no key");
    } else {
        c->phase = BENCH_DERP_CLIENT_LOGIN;
        stream_write(c->stream, buf_at(&out), buf_len(&out));
    }
    buf_fini(&out);
}

static void on_server_info(struct bench_derp_client *c, const uint8_t *payload, size_t n)
{
    struct derp_server_info info;
    if (derp_server_info_open(&c->key, c->server_key, payload, n, &info) != RC_OK) {
        end(c, "login: ServerInfo is not sealed to this client's key");
        return;
    }
    c->phase = BENCH_DERP_CLIENT_UP;
    c->events->up(c->ctx);
}

/* --- frames --- */

static void answer_ping(struct bench_derp_client *c, const uint8_t *payload)
{
    struct buf out = {0};
    derp_append_frame(&out, DERP_PONG, payload, DERP_PING_BYTES);
    stream_write(c->stream, buf_at(&out), buf_len(&out));
    buf_fini(&out);
}

/* Null when a frame with this header may come now. */
static const char *refuse(const struct bench_derp_client *c, struct derp_header h)
{
    if (c->phase == BENCH_DERP_CLIENT_GREETING && (h.type != DERP_SERVER_KEY || h.len > KEY_FRAME_MAX_BYTES))
        return "login: no ServerKey";
    if (c->phase == BENCH_DERP_CLIENT_LOGIN && (h.type != DERP_SERVER_INFO || h.len > INFO_FRAME_MAX_BYTES))
        return "login: no ServerInfo";
    if (h.len > FRAME_MAX_BYTES)
        return "a frame that is too large";
    if (h.type == DERP_RECV_PACKET && h.len < KEY_BYTES)
        return "a RecvPacket that is too short";
    if (h.type == DERP_PING && h.len < DERP_PING_BYTES)
        return "a Ping that is too short";
    return NULL;
}

static enum frame_verdict on_header(void *ctx, struct derp_header h)
{
    const char *why = refuse(ctx, h);
    if (why == NULL)
        return FRAME_READ;
    end(ctx, why);
    return FRAME_STOP;
}

static bool on_frame(void *ctx, struct derp_header h, const uint8_t *payload)
{
    struct bench_derp_client *c = ctx;
    if (c->phase == BENCH_DERP_CLIENT_GREETING)
        on_server_key(c, payload, h.len);
    else if (c->phase == BENCH_DERP_CLIENT_LOGIN)
        on_server_info(c, payload, h.len);
    else if (h.type == DERP_RECV_PACKET)
        c->events->packet(c->ctx, payload, payload + KEY_BYTES, h.len - KEY_BYTES);
    else if (h.type == DERP_PING)
        answer_ping(c, payload);
    return c->stream != NULL;
}

/* --- the stream --- */

/* The answer of HTTP, and what came behind it. */
static void feed_answer(struct bench_derp_client *c, const uint8_t *p, size_t n)
{
    struct err err = {0};
    size_t used = 0;
    buf_append(&c->answer, p, n); /* a stream hands over some tens of kilobytes at once */
    int rc = upgrade_read_answer(buf_at(&c->answer), buf_len(&c->answer), &used, &err);
    if (rc < 0) {
        end(c, err.text);
        return;
    }
    if (rc == 0)
        return;
    struct buf rest = c->answer; /* a frame may end the client */
    c->answer = (struct buf){0};
    buf_consume(&rest, used);
    c->phase = BENCH_DERP_CLIENT_GREETING;
    frame_reader_feed(&c->reader, buf_at(&rest), buf_len(&rest));
    buf_fini(&rest);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct bench_derp_client *c = ctx;
    if (c->phase == BENCH_DERP_CLIENT_UPGRADING)
        feed_answer(c, p, n);
    else
        frame_reader_feed(&c->reader, p, n);
}

static void on_closed(void *ctx, enum rc why)
{
    static const char *const at[] = {"upgrade", "login", "login", "connection"};
    struct bench_derp_client *c = ctx;
    char text[128];
    snprintf(text, sizeof(text), "%s: %s", at[c->phase], rc_text(why));
    end(c, text);
}

void bench_derp_client_start(struct bench_derp_client *c, struct stream *s, struct frame_pool *pool,
                             const struct bench_url *at, const uint8_t random[KEY_BYTES],
                             const struct bench_derp_client_events *events, void *ctx)
{
    static const struct stream_events stream_events = {on_data, NULL, on_closed};
    static const struct frame_reader_ops reader_ops = {on_header, on_frame};
    struct buf out = {0};
    *c = (struct bench_derp_client){.stream = s, .events = events, .ctx = ctx};
    c->reader = (struct frame_reader){.ops = &reader_ops, .ctx = c, .pool = pool};
    private_key_from_bytes(random, &c->key);
    private_key_public(&c->key, c->public_key.b);
    stream_set_events(s, &stream_events, c);
    upgrade_append_request(&out, at->path, at->authority);
    stream_write(s, buf_at(&out), buf_len(&out));
    buf_fini(&out);
}

void bench_derp_client_stop(struct bench_derp_client *c)
{
    stream_close(&c->stream, false);
    buf_fini(&c->answer);
    if (c->reader.pool != NULL)
        frame_reader_reset(&c->reader);
    secret_wipe(&c->key, sizeof(c->key));
}
