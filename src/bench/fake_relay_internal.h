/* A relay for tests, on the loop of its clients, over in-memory streams. It forwards packets; its faults, when they
 * are set, are what a relay must not do. */
#ifndef BENCH_FAKE_RELAY_INTERNAL_H
#define BENCH_FAKE_RELAY_INTERNAL_H

#include <string.h>

#include "base/mem.h"
#include "bench/relay_load_internal.h"

enum { FAKE_CONNS_MAX = 64, FAKE_EVERY = 7 };

enum fake_fault {
    FAKE_NONE,
    /* with each seventh packet */
    FAKE_CORRUPTS, /* its last byte */
    FAKE_FORGES_NUMBER,
    FAKE_CUTS,
    FAKE_DROPS,
    FAKE_DOUBLES,
    FAKE_FORGES_SOURCE,
    FAKE_SWAPS,       /* sends it after the next */
    FAKE_MISDELIVERS, /* to the sender */
    /* once */
    FAKE_CLOSES, /* the connection to which a packet goes */
    /* at the login */
    FAKE_PINGS,
    FAKE_REFUSES,
    FAKE_SPEAKS_WEBSOCKET,
    FAKE_HAS_NO_KEY,
    FAKE_SEALS_FOR_OTHERS,
    FAKE_SENDS_LARGE_FRAME,
    FAKE_HANGS_UP,
};

struct fake_conn {
    struct fake_relay *relay;
    struct stream *s;
    struct buf in, out;
    node_key key;
    bool is_greeted;
};

struct fake_relay {
    struct loop *loop;
    enum fake_fault fault;
    size_t chunk; /* largest piece that a stream hands over at once; 0: no limit */
    private_key key;
    struct fake_conn conns[FAKE_CONNS_MAX];
    unsigned n, packets, faults, pongs;
    struct buf late; /* FAKE_SWAPS: the frame that waits */
    /* What one iteration of the loop brought goes out in the next: else an iteration would have no end. */
    struct loop_msg flush;
    bool is_flush_posted;
};

static inline void fake_flush(struct loop *loop, struct loop_msg *msg)
{
    struct fake_relay *r = CONTAINER_OF(msg, struct fake_relay, flush);
    (void)loop;
    r->is_flush_posted = false;
    for (unsigned i = 0; i < r->n; i++) {
        struct fake_conn *c = &r->conns[i];
        if (c->s != NULL)
            stream_write(c->s, buf_at(&c->out), buf_len(&c->out));
        buf_clear(&c->out);
    }
}

static inline void fake_schedule(struct fake_relay *r)
{
    if (r->is_flush_posted)
        return;
    r->is_flush_posted = true;
    r->flush.run = fake_flush;
    loop_post(r->loop, &r->flush);
}

/* --- login --- */

static inline void fake_greet(struct fake_conn *c)
{
    static const char granted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n";
    struct fake_relay *r = c->relay;
    uint8_t public[KEY_BYTES];
    private_key_public(&r->key, public);
    if (r->fault == FAKE_REFUSES) {
        buf_append_c(&c->out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    buf_printf(&c->out, granted, r->fault == FAKE_SPEAKS_WEBSOCKET ? "websocket" : "DERP");
    if (r->fault == FAKE_HAS_NO_KEY)
        derp_append_frame(&c->out, DERP_SERVER_KEY, "no key at all", 13);
    else
        derp_append_server_key(&c->out, public);
}

static inline bool fake_login(struct fake_conn *c, const uint8_t *payload, size_t n)
{
    struct fake_relay *r = c->relay;
    struct derp_client_info info;
    struct derp_server_info answer = {.version = DERP_VERSION};
    uint8_t nonce[BOX_NONCE_BYTES] = {1}, header[DERP_HEADER_BYTES];
    if (derp_client_info_open(&r->key, payload, n, &info) != RC_OK)
        return false;
    c->key = info.key;
    if (r->fault == FAKE_SEALS_FOR_OTHERS)
        private_key_public(&r->key, info.key.b);
    if (r->fault == FAKE_SENDS_LARGE_FRAME) {
        derp_header_build(DERP_SERVER_INFO, UINT32_MAX, header);
        buf_append(&c->out, header, sizeof(header));
    }
    if (derp_append_server_info(&c->out, &r->key, &info.key, nonce, &answer) != RC_OK)
        return false;
    if (r->fault == FAKE_PINGS)
        derp_append_frame(&c->out, DERP_PING, "12345678", DERP_PING_BYTES);
    return true;
}

/* --- packets --- */

static inline struct fake_conn *fake_find(struct fake_relay *r, const uint8_t key[KEY_BYTES])
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->conns[i].s != NULL && keys_equal(r->conns[i].key.b, key))
            return &r->conns[i];
    }
    return NULL;
}

static inline void fake_deliver(struct fake_conn *from, struct fake_conn *to, uint8_t *p, size_t n)
{
    struct fake_relay *r = from->relay;
    node_key src = from->key;
    switch (r->fault) {
    case FAKE_CORRUPTS: p[n - 1] ^= 1; break;
    case FAKE_FORGES_NUMBER: p[8] = 0xff; break;
    case FAKE_CUTS: n--; break;
    case FAKE_DROPS: return;
    case FAKE_DOUBLES: derp_append_recv_packet(&to->out, &src, p, n); break;
    case FAKE_FORGES_SOURCE: src.b[0] ^= 1; break;
    case FAKE_SWAPS: derp_append_recv_packet(&r->late, &src, p, n); return;
    case FAKE_MISDELIVERS: derp_append_recv_packet(&from->out, &src, p, n); return;
    case FAKE_CLOSES: stream_close(&to->s, false); return;
    default: break;
    }
    derp_append_recv_packet(&to->out, &src, p, n);
}

static inline void fake_forward(struct fake_conn *from, uint8_t *payload, size_t n)
{
    struct fake_relay *r = from->relay;
    struct fake_conn *to = n > KEY_BYTES ? fake_find(r, payload) : NULL;
    if (to == NULL)
        return;
    if (r->fault != FAKE_NONE && r->fault <= FAKE_CLOSES && ++r->packets % FAKE_EVERY == 0) {
        r->faults++;
        fake_deliver(from, to, payload + KEY_BYTES, n - KEY_BYTES);
        return;
    }
    derp_append_recv_packet(&to->out, &from->key, payload + KEY_BYTES, n - KEY_BYTES);
    buf_append_str(&to->out, buf_str(&r->late));
    buf_clear(&r->late);
}

static inline void fake_frame(struct fake_conn *c, struct derp_header h, uint8_t *payload)
{
    if (h.type == DERP_CLIENT_INFO && !fake_login(c, payload, h.len))
        stream_close(&c->s, false);
    else if (h.type == DERP_SEND_PACKET)
        fake_forward(c, payload, h.len);
    else if (h.type == DERP_PONG)
        c->relay->pongs++;
}

static inline void fake_read(struct fake_conn *c)
{
    while (c->s != NULL && buf_len(&c->in) >= DERP_HEADER_BYTES) {
        struct derp_header h = derp_header_parse(buf_at(&c->in));
        if (buf_len(&c->in) < DERP_HEADER_BYTES + h.len)
            return;
        fake_frame(c, h, buf_at(&c->in) + DERP_HEADER_BYTES);
        buf_consume(&c->in, DERP_HEADER_BYTES + h.len);
    }
}

static inline void fake_data(void *ctx, const uint8_t *p, size_t n)
{
    struct fake_conn *c = ctx;
    buf_append(&c->in, p, n);
    fake_schedule(c->relay);
    if (c->is_greeted) {
        fake_read(c);
        return;
    }
    const char *end = memmem(buf_at(&c->in), buf_len(&c->in), "\r\n\r\n", 4);
    if (end == NULL)
        return;
    buf_consume(&c->in, (size_t)((const uint8_t *)end + 4 - buf_at(&c->in)));
    c->is_greeted = true;
    if (c->relay->fault == FAKE_HANGS_UP)
        stream_close(&c->s, false);
    else
        fake_greet(c);
}

static inline void fake_closed(void *ctx, enum rc why)
{
    struct fake_conn *c = ctx;
    (void)why;
    stream_close(&c->s, false);
}

/* A bench_relay_load_hooks.dial: `ctx` is the relay. */
static inline struct stream *fake_dial(void *ctx, struct loop *loop)
{
    static const struct stream_events events = {fake_data, NULL, fake_closed};
    struct fake_relay *r = ctx;
    struct stream *theirs;
    if (r->n == FAKE_CONNS_MAX)
        return NULL;
    struct fake_conn *c = &r->conns[r->n++];
    r->loop = loop;
    *c = (struct fake_conn){.relay = r};
    stream_pair_create(loop, r->chunk, &theirs, &c->s);
    stream_set_events(c->s, &events, c);
    return theirs;
}

static inline void fake_init(struct fake_relay *r, enum fake_fault fault, size_t chunk)
{
    uint8_t random[KEY_BYTES] = {7};
    *r = (struct fake_relay){.fault = fault, .chunk = chunk};
    private_key_from_bytes(random, &r->key);
}

/* Before the loop is destroyed. */
static inline void fake_hang_up(struct fake_relay *r)
{
    for (unsigned i = 0; i < r->n; i++)
        stream_close(&r->conns[i].s, false);
}

static inline void fake_fini(struct fake_relay *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        buf_fini(&r->conns[i].in);
        buf_fini(&r->conns[i].out);
    }
    buf_fini(&r->late);
}

#endif
