/* From a TCP connection to HTTP/2 inside Noise. src: docs/protocol/control.md 3 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"
#include "net/tcp.h"

enum {
    CONNECT_LIMIT_MS = 10 * 1000, /* as the real client's */
    HEAD_MAX_BYTES = 8 * 1024,
    EARLY_MAX_BYTES = 1024 * 1024,
};

static const char early_magic[] = "\xff\xff\xffTS";

/* Inside Noise, before HTTP/2: the early payload, if the server sends one. src: docs/protocol/control.md 3.7 */
static void on_early(void *ctx, const uint8_t *p, size_t n)
{
    struct sim *s = ctx;
    enum { EARLY_HEAD = sizeof(early_magic) - 1 + 4 };
    buf_append(&s->in, p, n);
    if (buf_len(&s->in) < EARLY_HEAD)
        return;
    const uint8_t *head = buf_at(&s->in);
    if (memcmp(head, early_magic, sizeof(early_magic) - 1) != 0) {
        sim_greeted(s);
        return;
    }
    size_t len = (size_t)head[5] << 24 | (size_t)head[6] << 16 | (size_t)head[7] << 8 | head[8];
    if (len > EARLY_MAX_BYTES) {
        sim_fail(s, "connect: an early payload of %zu bytes", len);
        return;
    }
    if (buf_len(&s->in) < EARLY_HEAD + len)
        return;
    buf_consume(&s->in, EARLY_HEAD + len);
    sim_greeted(s);
}

static void secure(struct sim *s)
{
    static const struct stream_events events = {on_early, NULL, sim_on_closed};
    struct noise_result keys;
    struct str text;
    size_t used;
    int got = noise_initiate_finish(s->handshake, buf_at(&s->in), buf_len(&s->in), &keys, &used, &text);
    if (got == 0)
        return;
    if (got < 0) {
        sim_fail(s, "connect: Noise: %s", rc_text(got));
        return;
    }
    sim_drop_handshake(s);
    struct stream *below = s->stream;
    s->state = SIM_GREETING;
    ts2021_stream_client(below, &keys, buf_at(&s->in) + used, buf_len(&s->in) - used, &s->stream);
    noise_result_wipe(&keys);
    buf_fini(&s->in);
    stream_set_events(s->stream, &events, s);
}

/* The answer to the upgrade, and message 2. */
static void on_upgrade(void *ctx, const uint8_t *p, size_t n)
{
    struct sim *s = ctx;
    buf_append(&s->in, p, n);
    const uint8_t *at = buf_at(&s->in);
    const uint8_t *end = memmem(at, buf_len(&s->in), "\r\n\r\n", 4);
    if (end == NULL) {
        if (buf_len(&s->in) > HEAD_MAX_BYTES)
            sim_fail(s, "connect: a head of more than %d bytes", HEAD_MAX_BYTES);
        return;
    }
    if (!str_starts(buf_str(&s->in), STR("HTTP/1.1 101 "))) {
        const uint8_t *line = memchr(at, '\r', buf_len(&s->in));
        sim_fail(s, "connect: the upgrade is refused: %.*s", (int)(line - at < 60 ? line - at : 60), (const char *)at);
        return;
    }
    size_t head = (size_t)(end + 4 - at);
    if (buf_len(&s->in) < head + NOISE_RESPONSE_BYTES)
        return;
    buf_consume(&s->in, head);
    secure(s);
}

static void write_upgrade(struct sim *s)
{
    uint8_t msg1[NOISE_INITIATION_BYTES], ephemeral[32];
    char text[BASE64_CAP(NOISE_INITIATION_BYTES)];
    struct buf out = {0};
    s->handshake = MEM_NEW(struct noise_initiator);
    rng_bytes(ephemeral, sizeof(ephemeral));
    /* The server's key was looked at when it was fetched. */
    if (noise_initiate(s->handshake, &s->machine, ephemeral, &s->fleet->server_key, SIM_CAP_VERSION, msg1) != RC_OK)
        return;
    secret_wipe(ephemeral, sizeof(ephemeral));
    base64_encode(msg1, sizeof(msg1), text);
    buf_printf(&out,
               "POST /ts2021 HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n"
               "Connection: upgrade\r\nUpgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: %s\r\n\r\n",
               s->fleet->url.authority, text);
    stream_write(s->stream, buf_at(&out), buf_len(&out));
    buf_fini(&out);
}

void sim_connect(struct sim *s)
{
    static const struct stream_events events = {on_upgrade, NULL, sim_on_closed};
    struct fleet *f = s->fleet;
    struct stream *tcp;
    s->dialled_us = clock_mono_us();
    if (tcp_connect(f->loop, &f->url.addr, &tcp) != RC_OK) {
        sim_fail(s, "connect: no socket");
        return;
    }
    s->state = SIM_UPGRADING;
    s->deadline_ms = loop_now_ms(f->loop) + CONNECT_LIMIT_MS;
    f->connected++;
    s->stream = wire_create(tcp, &f->wire);
    stream_set_events(s->stream, &events, s);
    write_upgrade(s);
}
