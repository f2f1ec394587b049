#include "relay/rig_internal.h"

#include "base/clock.h"
#include "base/mem.h"

const struct relay_opts rig_default_opts = {.key = {{[0] = 8, [31] = 0x40}}};

/* --- What a test that fails leaves behind --- */

enum { CLEANUPS_MAX = 256 };

static struct {
    void (*run)(void *obj);
    void *obj;
    const void *owner;
} cleanups[CLEANUPS_MAX];
static unsigned cleanup_n;

void rig_cleanup_add(void (*run)(void *obj), void *obj, const void *owner)
{
    RIG_ASSERT(cleanup_n < CLEANUPS_MAX);
    cleanups[cleanup_n].run = run;
    cleanups[cleanup_n].obj = obj;
    cleanups[cleanup_n++].owner = owner;
}

/* Takes out the newest of this owner; null: there is none. */
static void *take_out(const void *owner, void (**run_out)(void *obj))
{
    unsigned i = cleanup_n;
    while (i > 0 && cleanups[i - 1].owner != owner)
        i--;
    if (i == 0)
        return NULL;
    void *obj = cleanups[i - 1].obj;
    *run_out = cleanups[i - 1].run;
    memmove(&cleanups[i - 1], &cleanups[i], (cleanup_n - i) * sizeof(cleanups[0]));
    cleanup_n--;
    return obj;
}

void rig_cleanup_forget(const void *owner)
{
    void (*run)(void *obj);
    (void)take_out(owner, &run);
}

void rig_cleanup_now(const void *owner)
{
    void (*run)(void *obj) = NULL;
    void *obj = take_out(owner, &run);
    if (obj != NULL)
        run(obj);
}

int rig_tear_down(void **state)
{
    (void)state;
    while (cleanup_n > 0)
        rig_cleanup_now(cleanups[cleanup_n - 1].owner);
    return 0;
}

static void free_loop(void *obj)
{
    struct loop *loop = obj;
    loop_destroy(&loop);
}

static void free_relay(void *obj)
{
    struct relay *relay = obj;
    relay_destroy(&relay);
}

static void close_stream(void *obj)
{
    struct stream *s = obj;
    stream_close(&s, true);
}

/* --- A relay and its clients --- */

void rig_start(struct rig *r, const struct relay_opts *opts, const struct relay_ops *ops)
{
    crypto_init();
    *r = (struct rig){.loop = loop_create(0)};
    rig_cleanup_add(free_loop, r->loop, r->loop);
    r->relay = relay_create(opts != NULL ? opts : &rig_default_opts, ops, &r->loop, 1);
    rig_cleanup_add(free_relay, r->relay, r->relay);
}

void rig_stop(struct rig *r)
{
    rig_cleanup_now(r->relay);
    rig_cleanup_now(r->loop);
    *r = (struct rig){0};
}

struct iterations {
    struct loop_msg msg;
    unsigned left;
};

static void iterate(struct loop *loop, struct loop_msg *msg)
{
    struct iterations *t = CONTAINER_OF(msg, struct iterations, msg);
    if (--t->left == 0)
        loop_stop(loop);
    else
        loop_post(loop, msg);
}

void rig_run(struct rig *r)
{
    struct iterations t = {.msg.run = iterate, .left = 8};
    loop_post(r->loop, &t.msg);
    loop_run(r->loop);
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    struct rig_client *c = ctx;
    buf_append(&c->got, p, n);
}

static void on_closed(void *ctx, enum rc why)
{
    struct rig_client *c = ctx;
    (void)why;
    c->is_closed = true;
}

const struct stream_events rig_client_events = {on_data, NULL, on_closed};

void rig_connect_as(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk, const char *from)
{
    *c = (struct rig_client){0};
    uint8_t random[KEY_BYTES] = {[1] = number}; /* the first byte is not all key: clamping */
    private_key_from_bytes(random, &c->key);
    private_key_public(&c->key, c->public.b);
    struct stream *server_end;
    stream_pair_create(r->loop, chunk, &c->s, &server_end);
    stream_set_events(c->s, &rig_client_events, c);
    rig_cleanup_add(close_stream, c->s, c);
    if (from != NULL)
        RIG_ASSERT(addr_parse_ip(str_c(from), &server_end->peer) == RC_OK);
    relay_attach(r->relay, server_end, NULL, 0, false);
}

void rig_connect(struct rig *r, struct rig_client *c, uint8_t number, size_t chunk)
{
    rig_connect_as(r, c, number, chunk, NULL);
}

void rig_connect_from(struct rig *r, struct rig_client *c, uint8_t number, const char *from)
{
    rig_connect_as(r, c, number, 0, from);
}

void rig_close(struct rig_client *c)
{
    rig_cleanup_forget(c);
    stream_close(&c->s, true);
    buf_fini(&c->got);
}

void rig_append_login(struct rig *r, struct rig_client *c, struct buf *out, bool can_ack_pings)
{
    struct derp_client_info info = {.key = c->public, .version = 2, .can_ack_pings = can_ack_pings};
    uint8_t nonce[BOX_NONCE_BYTES];
    rng_bytes(nonce, sizeof(nonce));
    RIG_ASSERT(derp_append_client_info(out, &c->key, relay_public_key(r->relay), nonce, &info) == RC_OK);
}

void rig_write(struct rig_client *c, struct buf *b)
{
    stream_write(c->s, buf_at(b), buf_len(b));
    buf_fini(b);
}

void rig_login(struct rig *r, struct rig_client *c, bool can_ack_pings)
{
    struct buf b = {0};
    rig_append_login(r, c, &b, can_ack_pings);
    rig_write(c, &b);
}

void rig_send(struct rig_client *c, const struct rig_client *to, const void *packet, size_t n)
{
    struct buf b = {0};
    derp_append_send_packet(&b, &to->public, packet, n);
    rig_write(c, &b);
}

void rig_frame(struct rig_client *c, uint8_t type, const void *payload, size_t n)
{
    struct buf b = {0};
    derp_append_frame(&b, type, payload, n);
    rig_write(c, &b);
}

bool rig_next(struct rig_client *c, struct derp_header *h, const uint8_t **payload)
{
    if (buf_len(&c->got) < DERP_HEADER_BYTES)
        return false;
    *h = derp_header_parse(buf_at(&c->got));
    RIG_ASSERT(buf_len(&c->got) >= DERP_HEADER_BYTES + h->len);
    *payload = buf_at(&c->got) + DERP_HEADER_BYTES;
    buf_consume(&c->got, DERP_HEADER_BYTES + h->len);
    return true;
}

const uint8_t *rig_expect(struct rig_client *c, uint8_t type, size_t n)
{
    struct derp_header h = {0};
    const uint8_t *payload = NULL;
    RIG_ASSERT(rig_next(c, &h, &payload));
    RIG_ASSERT(h.type == type);
    RIG_ASSERT(h.len == n);
    return payload;
}

void rig_expect_packet(struct rig_client *c, const struct rig_client *from, const void *packet, size_t n)
{
    const uint8_t *p = rig_expect(c, DERP_RECV_PACKET, KEY_BYTES + n);
    RIG_ASSERT(memcmp(p, from->public.b, KEY_BYTES) == 0);
    if (n > 0)
        RIG_ASSERT(memcmp(p + KEY_BYTES, packet, n) == 0);
}

void rig_expect_gone(struct rig_client *c, const struct rig_client *who, enum derp_gone_reason reason)
{
    const uint8_t *p = rig_expect(c, DERP_PEER_GONE, KEY_BYTES + 1);
    RIG_ASSERT(memcmp(p, who->public.b, KEY_BYTES) == 0);
    RIG_ASSERT(p[KEY_BYTES] == reason);
}

void rig_expect_nothing(struct rig_client *c)
{
    RIG_ASSERT(buf_len(&c->got) == 0);
    RIG_ASSERT(!(c->is_closed));
}

void rig_expect_welcome(struct rig *r, struct rig_client *c)
{
    const uint8_t *p = rig_expect(c, DERP_SERVER_KEY, 40);
    RIG_ASSERT(memcmp(p + 8, relay_public_key(r->relay), KEY_BYTES) == 0);
    struct derp_header h = {0};
    struct derp_server_info info;
    RIG_ASSERT(rig_next(c, &h, &p));
    RIG_ASSERT(h.type == DERP_SERVER_INFO);
    RIG_ASSERT(derp_server_info_open(&c->key, relay_public_key(r->relay), p, h.len, &info) == RC_OK);
    RIG_ASSERT(info.version == 2);
}

void rig_join(struct rig *r, struct rig_client *c, uint8_t number)
{
    rig_connect(r, c, number, 0);
    rig_login(r, c, false);
    rig_run(r);
    rig_expect_welcome(r, c);
    rig_expect_nothing(c);
}

void rig_expect_closed(struct rig_client *c)
{
    RIG_ASSERT(buf_len(&c->got) == 0);
    RIG_ASSERT(c->is_closed);
}

void rig_gate_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct rig_gate *gate = ctx;
    (void)from;
    RIG_ASSERT(gate->n < ARRAY_LEN(gate->waiting));
    gate->last = *key;
    gate->waiting[gate->n++] = login;
}

int64_t rig_count(const char *name, const char *labels)
{
    char whole[96] = "fullscale_derp_";
    strncat(whole, name, sizeof(whole) - strlen(whole) - 1);
    return metric_read(whole, labels);
}
