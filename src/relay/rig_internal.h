/* What the tests of the relay share: clients over in-memory streams, on one loop that the test runs for some turns. */
#ifndef RELAY_RIG_INTERNAL_H
#define RELAY_RIG_INTERNAL_H

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

struct rig_client {
    struct stream *s;
    private_key key;
    node_key public;
    struct buf got; /* not looked at yet */
    bool is_closed;
};

struct rig {
    struct loop *loop;
    struct relay *relay;
    uint8_t next_key;
};

static const struct relay_opts rig_default_opts = {.key = {{[0] = 8, [31] = 0x40}}};

static inline void rig_start(struct rig *r, const struct relay_opts *opts, const struct relay_ops *ops)
{
    crypto_init();
    *r = (struct rig){.loop = loop_create(0)};
    r->relay = relay_create(opts != NULL ? opts : &rig_default_opts, ops, &r->loop, 1);
}

static inline void rig_stop(struct rig *r)
{
    relay_destroy(&r->relay);
    loop_destroy(&r->loop);
}

struct rig_turns {
    struct loop_msg msg;
    unsigned left;
};

static inline void rig_turn(struct loop *loop, struct loop_msg *msg)
{
    struct rig_turns *t = CONTAINER_OF(msg, struct rig_turns, msg);
    if (--t->left == 0)
        loop_stop(loop);
    else
        loop_post(loop, msg);
}

/* Runs the loop until what was started has gone its way: messages of a turn run in the next one. */
static inline void rig_run(struct rig *r)
{
    struct rig_turns t = {.msg.run = rig_turn, .left = 8};
    loop_post(r->loop, &t.msg);
    loop_run(r->loop);
}

static inline void rig_on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct rig_client *c = ctx;
    buf_append(&c->got, p, n);
}

static inline void rig_on_closed(void *ctx, enum rc why)
{
    struct rig_client *c = ctx;
    (void)why;
    c->is_closed = true;
}

/* Connects without a login, with a key of its own (the same `number`, the same key). `from`: null is nowhere. */
static inline void rig_connect_as(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk, const char *from)
{
    static const struct stream_events events = {rig_on_data, NULL, rig_on_closed};
    *c = (struct rig_client){0};
    uint8_t random[KEY_BYTES] = {[1] = number}; /* the first byte is not all key: clamping */
    private_key_from_bytes(random, &c->key);
    private_key_public(&c->key, c->public.b);
    struct stream *server_end;
    stream_pair_create(r->loop, chunk, &c->s, &server_end);
    stream_set_events(c->s, &events, c);
    if (from != NULL)
        assert_int_equal(addr_parse_ip(str_c(from), &server_end->peer), RC_OK);
    relay_attach(r->relay, server_end, NULL, 0, false);
}

static inline void rig_connect(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk)
{
    rig_connect_as(r, c, number, chunk, NULL);
}

static inline void rig_connect_from(struct rig *r, struct rig_client *c, uint8_t number, const char *from)
{
    rig_connect_as(r, c, number, 0, from);
}

static inline void rig_close(struct rig_client *c)
{
    stream_close(&c->s, true);
    buf_fini(&c->got);
}

static inline void rig_append_login(struct rig *r, struct rig_client *c, struct buf *out, bool can_ack_pings)
{
    struct derp_client_info info = {.key = c->public, .version = 2, .can_ack_pings = can_ack_pings};
    uint8_t nonce[BOX_NONCE_BYTES];
    rng_bytes(nonce, sizeof(nonce));
    assert_int_equal(derp_append_client_info(out, &c->key, relay_public_key(r->relay), nonce, &info), RC_OK);
}

static inline void rig_write(struct rig_client *c, struct buf *b)
{
    stream_write(c->s, buf_at(b), buf_len(b));
    buf_fini(b);
}

static inline void rig_login(struct rig *r, struct rig_client *c, bool can_ack_pings)
{
    struct buf b = {0};
    rig_append_login(r, c, &b, can_ack_pings);
    rig_write(c, &b);
}

static inline void rig_send(struct rig_client *c, const struct rig_client *to, const void *packet, size_t n)
{
    struct buf b = {0};
    derp_append_send_packet(&b, &to->public, packet, n);
    rig_write(c, &b);
}

static inline void rig_frame(struct rig_client *c, uint8_t type, const void *payload, size_t n)
{
    struct buf b = {0};
    derp_append_frame(&b, type, payload, n);
    rig_write(c, &b);
}

/* The next frame that the client got; the payload is valid until the next call. False: none. */
static inline bool rig_next(struct rig_client *c, struct derp_header *h, const uint8_t **payload)
{
    if (buf_len(&c->got) < DERP_HEADER_BYTES)
        return false;
    *h = derp_header_parse(buf_at(&c->got));
    assert_true(buf_len(&c->got) >= DERP_HEADER_BYTES + h->len);
    *payload = buf_at(&c->got) + DERP_HEADER_BYTES;
    buf_consume(&c->got, DERP_HEADER_BYTES + h->len);
    return true;
}

/* The next frame must be of this type and length; returns the payload. */
static inline const uint8_t *rig_expect(struct rig_client *c, uint8_t type, size_t n)
{
    struct derp_header h = {0};
    const uint8_t *payload = NULL;
    assert_true(rig_next(c, &h, &payload));
    assert_int_equal(h.type, type);
    assert_int_equal(h.len, n);
    return payload;
}

static inline void rig_expect_packet(struct rig_client *c, const struct rig_client *from, const void *packet, size_t n)
{
    const uint8_t *p = rig_expect(c, DERP_RECV_PACKET, KEY_BYTES + n);
    assert_memory_equal(p, from->public.b, KEY_BYTES);
    if (n > 0)
        assert_memory_equal(p + KEY_BYTES, packet, n);
}

static inline void rig_expect_gone(struct rig_client *c, const struct rig_client *who, enum derp_gone_reason reason)
{
    const uint8_t *p = rig_expect(c, DERP_PEER_GONE, KEY_BYTES + 1);
    assert_memory_equal(p, who->public.b, KEY_BYTES);
    assert_int_equal(p[KEY_BYTES], reason);
}

static inline void rig_expect_nothing(struct rig_client *c)
{
    assert_int_equal(buf_len(&c->got), 0);
    assert_false(c->is_closed);
}

/* The server's two frames of a login. */
static inline void rig_expect_welcome(struct rig *r, struct rig_client *c)
{
    const uint8_t *p = rig_expect(c, DERP_SERVER_KEY, 40);
    assert_memory_equal(p + 8, relay_public_key(r->relay), KEY_BYTES);
    struct derp_header h = {0};
    struct derp_server_info info;
    assert_true(rig_next(c, &h, &p));
    assert_int_equal(h.type, DERP_SERVER_INFO);
    assert_int_equal(derp_server_info_open(&c->key, relay_public_key(r->relay), p, h.len, &info), RC_OK);
    assert_int_equal(info.version, 2);
}

/* Connects and logs in. */
static inline void rig_join(struct rig *r, struct rig_client *c, uint8_t number)
{
    rig_connect(r, c, number, 0);
    rig_login(r, c, false);
    rig_run(r);
    rig_expect_welcome(r, c);
    rig_expect_nothing(c);
}

/* The server has closed the connection, and has said nothing more. */
static inline void rig_expect_closed(struct rig_client *c)
{
    assert_int_equal(buf_len(&c->got), 0);
    assert_true(c->is_closed);
}

static inline int64_t rig_count(const char *name, const char *labels)
{
    char whole[96] = "fullscale_derp_";
    strncat(whole, name, sizeof(whole) - strlen(whole) - 1);
    return metric_read(whole, labels);
}

#endif
