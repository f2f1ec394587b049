/* A whole relay under a program: each two bytes of the input are a step of one of eight connections (it connects,
 * logs in, sends, stops reading, sends half a frame, leaves), of the clock, or of the program around it (an
 * admission, a revocation). After each run of the loop everything that is bounded must be within its bounds; in the
 * end nothing may be left. */
#include <stdlib.h>

#define assert_true(x)                                                                                                 \
    do {                                                                                                               \
        if (!(x))                                                                                                      \
            abort();                                                                                                   \
    } while (0)
#define assert_false(x) assert_true(!(x))
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_memory_equal(a, b, n) assert_true(memcmp((a), (b), (n)) == 0)

#include "base/fuzz_bounds.h"
#include "base/log.h"
#include "relay/mesh_rig_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SLOTS = 8,
    KEYS = 4,
    GATE = 16,
    MAX_CONNS = 6,
    MAX_LOGINS = 3,
    MAX_PER_KEY = 2,
    MAX_GONE = 3,
    QUEUE_BYTES = 128 * 1024,
    STEPS_MAX = 400,
    LAST_TURNS = 2000,
    WINDOW_BYTES = 256 * 1024, /* what may be on its way to a client that does not read, as with TCP */
    /* Eight connections with all queues full, each of which may have twice the room that it uses, what waits below
     * them, and the pool: not more for a longer input. */
    MEMORY_MAX_BYTES = SLOTS * 2 * (QUEUE_BYTES + 4 * 64 * 1024 + 2 * WINDOW_BYTES) + (8 << 20),
};

struct world {
    struct rig rig;
    struct rig_client c[SLOTS];
    bool is_used[SLOTS];
    bool is_deferred; /* admissions wait until a step answers them */
    struct relay_admission *waiting[GATE];
    unsigned waiting_n;
};

/* --- the program around it --- */

static void admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct world *w = ctx;
    (void)from;
    if (w->is_deferred && w->waiting_n < GATE)
        w->waiting[w->waiting_n++] = login;
    else
        relay_admit(login, (key->b[0] & 1) != 0);
}

static void answer(struct world *w, bool is_allowed)
{
    if (w->waiting_n > 0)
        relay_admit(w->waiting[--w->waiting_n], is_allowed);
}

/* --- what must hold --- */

static void check_client(const struct client *c)
{
    assert_true(frame_endpoint_waiting(&c->endpoint, FRAME_CONTROL) <= CLIENT_CONTROL_QUEUE_BYTES + DERP_HEADER_BYTES);
    assert_true(frame_endpoint_waiting(&c->endpoint, FRAME_DISCO) <=
                CLIENT_DISCO_QUEUE_BYTES + DERP_HEADER_BYTES + KEY_BYTES);
    assert_true(frame_endpoint_waiting(&c->endpoint, FRAME_DATA) <= QUEUE_BYTES);
    assert_true(frame_endpoint_waiting(&c->endpoint, FRAME_UPDATE) <= c->watch_limit);
    size_t partial = buf_len(&c->endpoint.reader.in);
    assert_true(partial <= DERP_HEADER_BYTES + 2 * KEY_BYTES + DERP_PACKET_MAX_BYTES);
    assert_true(c->phase != CLIENT_LOGIN || partial <= DERP_HEADER_BYTES + DERP_CLIENT_INFO_MAX_BYTES);
    assert_true(buf_len(&c->held) <= CLIENT_HELD_MAX_BYTES);
    assert_true(c->sender_n <= MAX_GONE);
    assert_true(c->place.places != NULL);
    assert_int_equal(c->place.is_known, c->phase >= CLIENT_JOINING && !c->is_guest);
    assert_int_equal(c->place.places == c->worker->relay->guests, c->phase >= CLIENT_JOINING && c->is_guest);
    assert_true(stream_queued(c->endpoint.stream) <= STREAM_HIGH_WATER + 2 * (DERP_PACKET_MAX_BYTES + 2 * KEY_BYTES));
}

static void check_keys(const struct relay_worker *w)
{
    const struct peer *p;
    for (size_t pos = 0; (p = map_next(&w->peers, &pos)) != NULL;) {
        unsigned in = 0;
        LIST_EACH (it, &p->clients)
            in += LIST_ENTRY(it, struct client, of_peer)->phase >= CLIENT_JOINING;
        assert_true(in <= MAX_PER_KEY && p->route.conn_n <= MAX_PER_KEY);
        assert_int_equal(p->local != NULL, p->route.conn_id != 0);
    }
}

static void check(const struct world *world)
{
    const struct relay *relay = world->rig.relay;
    const struct relay_worker *w = &relay->workers[0];
    struct budget_places_use use, guests;
    const struct client *c;
    unsigned members = 0;
    size_t held = 0;
    budget_places_use(w->places, &use);
    for (size_t pos = 0; (c = map_next(&w->clients, &pos)) != NULL;) {
        check_client(c);
        members += c->phase >= CLIENT_JOINING;
        held += buf_len(&c->held);
    }
    check_keys(w);
    assert_true(use.strangers <= MAX_LOGINS && members <= MAX_CONNS);
    budget_places_use(relay->guests, &guests);
    assert_int_equal(use.known + guests.strangers, members);
    assert_int_equal(use.strangers + members, w->clients.n);
    assert_int_equal(relay->member_n, members);
    assert_true(guests.strangers <= MAX_CONNS - MAX_CONNS / 4);
    assert_int_equal(w->held_bytes, held);
    assert_true(relay_is_draining(relay) || relay_has_room(relay) == (members < MAX_CONNS));
    assert_true(fuzz_bounds_peak_bytes() <= MEMORY_MAX_BYTES);
}

static void settle(struct world *w)
{
    rig_run(&w->rig);
    for (unsigned i = 0; i < SLOTS; i++)
        buf_fini(&w->c[i].got);
    check(w);
}

/* --- steps --- */

static void leave(struct world *w, unsigned slot)
{
    if (w->is_used[slot])
        rig_close(&w->c[slot]);
    w->is_used[slot] = false;
}

static void come(struct world *w, unsigned slot, uint8_t arg)
{
    static const char *const from[] = {NULL, "192.0.2.1", "192.0.2.2", "2001:db8::1"};
    leave(w, slot);
    rig_connect_as(&w->rig, &w->c[slot], 1 + arg % KEYS, (arg & 4) != 0 ? 97 : 0, from[arg >> 3 & 3]);
    w->is_used[slot] = true;
}

static void log_in(struct world *w, struct rig_client *c, uint8_t arg)
{
    struct derp_client_info info = {
        .key = c->public, .version = 2, .can_ack_pings = (arg & 1) != 0, .has_mesh_key = (arg & 2) != 0};
    uint8_t nonce[BOX_NONCE_BYTES] = {arg};
    struct buf b = {0};
    memcpy(info.mesh_key, mesh_rig_key, sizeof(info.mesh_key));
    assert_true(derp_append_client_info(&b, &c->key, relay_public_key(w->rig.relay), nonce, &info) == RC_OK);
    if ((arg & 12) == 12)
        buf_at(&b)[buf_len(&b) - 1] ^= 1;
    rig_write(c, &b);
}

static void packet(struct world *w, struct rig_client *c, uint8_t type, uint8_t arg)
{
    static uint8_t bytes[DERP_PACKET_MAX_BYTES] = {0x54, 0x53, 0xf0,
                                                   0x9f, 0x92, 0xac}; /* disco when it is long enough */
    size_t n = (size_t)(arg >> 3) * (arg >> 3) * 67;
    struct buf b = {0};
    if (type == DERP_FORWARD_PACKET)
        buf_append(&b, w->c[arg >> 5].public.b, KEY_BYTES);
    buf_append(&b, w->c[arg & 7].public.b, KEY_BYTES);
    if (type != DERP_CLOSE_PEER)
        buf_append(&b, (arg & 8) != 0 ? bytes : bytes + 8, n < sizeof(bytes) - 8 ? n : sizeof(bytes) - 8);
    rig_frame(c, type, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

/* The beginning of a frame of any type and length. */
static void part(struct rig_client *c, uint8_t arg)
{
    static const uint8_t types[] = {DERP_CLIENT_INFO, DERP_SEND_PACKET, DERP_FORWARD_PACKET, 0x7f};
    static const uint32_t lengths[] = {0, 8, 55, 4096, 4097, 65000, 65568, UINT32_MAX};
    static const uint8_t body[4096];
    uint8_t header[DERP_HEADER_BYTES];
    derp_header_build(types[arg & 3], lengths[arg >> 2 & 7], header);
    stream_write(c->s, header, sizeof(header));
    stream_write(c->s, body, (arg & 32) != 0 ? sizeof(body) : 3);
}

static void others(struct world *w, uint8_t arg)
{
    struct relay *relay = w->rig.relay;
    switch (arg & 7) {
    case 0: answer(w, true); break;
    case 1: answer(w, false); break;
    case 2: relay_close_key(relay, &w->c[arg >> 3 & 7].public); break;
    case 3: relay_ask_again(relay); break;
    case 4: w->is_deferred = !w->is_deferred; break;
    case 5: relay_test_advance(relay, (arg >> 3) * (int64_t)1000); break;
    case 6: relay_test_advance(relay, 1 + (arg >> 3)); break;
    default: settle(w);
    }
}

static void step(struct world *w, uint8_t op, uint8_t arg)
{
    unsigned slot = op & 7;
    struct rig_client *c = &w->c[slot];
    unsigned what = op >> 3 & 15;
    if (what == 0 || (what < 13 && !w->is_used[slot])) {
        come(w, slot, arg);
        return;
    }
    if (what < 11 && stream_queued(c->s) > WINDOW_BYTES) {
        settle(w);
        return;
    }
    switch (what) {
    case 1: log_in(w, c, arg); break;
    case 2: log_in(w, c, arg & 1); break;
    case 3: packet(w, c, DERP_SEND_PACKET, arg); break;
    case 4: packet(w, c, DERP_FORWARD_PACKET, arg); break;
    case 5: rig_frame(c, DERP_NOTE_PREFERRED, &arg, 1); break;
    case 6: rig_frame(c, DERP_PING, "12345678", 8); break;
    case 7: rig_frame(c, DERP_WATCH_CONNS, NULL, 0); break;
    case 8: packet(w, c, DERP_CLOSE_PEER, arg); break;
    case 9: part(c, arg); break;
    case 10: stream_write(c->s, &arg, 1); break;
    case 11: stream_pause(c->s, (arg & 1) != 0); break;
    case 12: leave(w, slot); break;
    case 13: others(w, arg); break;
    default: settle(w);
    }
}

static void start(struct world *w, uint8_t how)
{
    const struct relay_ops ops = {.ctx = w, .admit = (how & 1) != 0 ? admit : NULL, .is_open = (how & 2) != 0};
    struct relay_opts opts = rig_default_opts;
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    opts.max_conns = MAX_CONNS;
    opts.max_logins = MAX_LOGINS;
    opts.max_logins_per_address = 2;
    opts.max_conns_per_key = MAX_PER_KEY;
    opts.max_gone_sources = MAX_GONE;
    opts.queue_bytes = QUEUE_BYTES;
    opts.client_rate_bytes = (how & 4) != 0 ? 64 * 1024 : 0;
    *w = (struct world){.is_deferred = (how & 8) != 0};
    rig_start(&w->rig, &opts, &ops);
}

static void stop(struct world *w)
{
    const struct relay_worker *worker = &w->rig.relay->workers[0];
    while (w->waiting_n > 0)
        answer(w, false);
    for (unsigned i = 0; i < SLOTS; i++)
        leave(w, i);
    /* What is on its way in small pieces, or is not read for a while, comes first. */
    for (unsigned i = 0; i < LAST_TURNS && worker->clients.n > 0; i++) {
        relay_test_advance(w->rig.relay, 100);
        settle(w);
    }
    settle(w);
    assert_int_equal(w->rig.relay->directory.keys.n, 0);
    assert_int_equal(worker->peers.n + worker->clients.n + worker->gone_links.n + worker->held_bytes, 0);
    rig_stop(&w->rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    if (size < 1 || log_set_level(NULL, LOG_OFF) != RC_OK)
        return 0;
    fuzz_bounds_mark();
    start(&w, data[0]);
    for (size_t i = 1; i + 1 < size && i < 2 * (size_t)STEPS_MAX; i += 2)
        step(&w, data[i], data[i + 1]);
    settle(&w);
    stop(&w);
    /* Queues of all clients that are full; and two bytes of input are a packet of up to 64 KiB. */
    fuzz_bounds_check(size, 12 << 20, 0);
    fuzz_bounds_check_steps(size, 1000000, 80000);
    return 0;
}
