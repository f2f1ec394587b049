/* Random comings, goings and packets on up to three meshed relays, compared with a model that knows nothing of
 * workers, queues, messages or frames: which client gets which packet, which clients each watcher sees, which
 * PeerGone frames are sent, and what every worker knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"

#include "relay/mesh_rig_internal.h"
#include "support/test_random.h"

enum {
    SLOTS = 14,
    CLIENT_KEYS = 6,                   /* that clients share */
    KEYS = CLIENT_KEYS + MESH_RIG_MAX, /* and those of the relays, which come with the links */
};

static const uint8_t disco_head[62] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

/* A client, and what it must get in this step. */
struct slot {
    bool is_used;
    struct rig_client c;
    unsigned relay, key;
    bool is_mesh, is_watching;
    uint64_t spoke;          /* when: the last one among those of a key is the active one */
    bool has_heard_of[KEYS]; /* has had a packet from it */
    bool believes[KEYS];     /* that the key is there: by the frames that came */
    unsigned presents[KEYS], gones[KEYS], not_heres[KEYS];
    unsigned packet_n;
    uint8_t packet[80];
    size_t packet_len;
    unsigned packet_src;
};

struct model {
    struct mesh_rig rig;
    struct test_random random;
    node_key keys[KEYS];
    struct slot slots[SLOTS];
    bool is_linked[MESH_RIG_MAX][MESH_RIG_MAX];         /* from, to */
    unsigned forward[MESH_RIG_MAX][KEYS][MESH_RIG_MAX]; /* of relay, for key: neighbours, oldest first */
    unsigned forward_n[MESH_RIG_MAX][KEYS];
    uint64_t now;
    unsigned step;
};

static unsigned below(struct model *m, unsigned n)
{
    return test_random_below(&m->random, n);
}

/* --- The model --- */

static unsigned count_here(const struct model *m, unsigned relay, unsigned key)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        n += m->slots[i].is_used && m->slots[i].relay == relay && m->slots[i].key == key;
    if (key >= CLIENT_KEYS)
        n += m->is_linked[key - CLIENT_KEYS][relay];
    return n;
}

static bool is_known(const struct model *m, unsigned relay, unsigned key)
{
    return count_here(m, relay, key) > 0 || m->forward_n[relay][key] > 0;
}

/* Whether a client here has had a packet from the key, before the relay knew it or since it left. */
static bool is_remembered(const struct model *m, unsigned relay, unsigned key)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (m->slots[i].is_used && m->slots[i].relay == relay && m->slots[i].has_heard_of[key])
            return true;
    }
    return false;
}

static struct slot *active_of(struct model *m, unsigned relay, unsigned key)
{
    struct slot *best = NULL;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &m->slots[i];
        if (s->is_used && s->relay == relay && s->key == key && (best == NULL || s->spoke > best->spoke))
            best = s;
    }
    return best;
}

/* `key` may just have left the region, as `relay` sees it. */
static void check_departure(struct model *m, unsigned relay, unsigned key)
{
    if (is_known(m, relay, key))
        return;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &m->slots[i];
        if (!s->is_used || s->relay != relay || !s->has_heard_of[key])
            continue;
        s->gones[key]++;
        s->has_heard_of[key] = false;
    }
}

static void learn(struct model *m, unsigned relay, unsigned from, unsigned key)
{
    unsigned *list = m->forward[relay][key], n = m->forward_n[relay][key];
    for (unsigned i = 0; i < n; i++)
        if (list[i] == from)
            return;
    if (key == CLIENT_KEYS + relay) /* itself */
        return;
    list[n] = from;
    m->forward_n[relay][key]++;
}

static void unlearn(struct model *m, unsigned relay, unsigned from, unsigned key)
{
    unsigned *list = m->forward[relay][key], kept = 0;
    unsigned n = m->forward_n[relay][key];
    for (unsigned i = 0; i < n; i++)
        if (list[i] != from)
            list[kept++] = list[i];
    m->forward_n[relay][key] = kept;
    if (kept < n)
        check_departure(m, relay, key);
}

/* A connection of `key` has come to `relay`, and is counted there already. */
static void came(struct model *m, unsigned relay, unsigned key)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (m->slots[i].is_used && m->slots[i].relay == relay && m->slots[i].is_watching)
            m->slots[i].presents[key]++;
    for (unsigned i = 0; i < m->rig.relay_n; i++)
        if (m->is_linked[i][relay])
            learn(m, i, relay, key);
}

/* ...has left it, and is not counted any more. */
static void left(struct model *m, unsigned relay, unsigned key)
{
    if (count_here(m, relay, key) > 0)
        return;
    for (unsigned i = 0; i < SLOTS; i++)
        if (m->slots[i].is_used && m->slots[i].relay == relay && m->slots[i].is_watching)
            m->slots[i].gones[key]++;
    for (unsigned i = 0; i < m->rig.relay_n; i++)
        if (m->is_linked[i][relay])
            unlearn(m, i, relay, key);
    check_departure(m, relay, key);
}

static void spoke(struct model *m, struct slot *s)
{
    s->spoke = ++m->now;
}

static void receives(struct slot *dst, unsigned src, const uint8_t *packet, size_t n)
{
    assert_int_equal(dst->packet_n, 0);
    dst->packet_n = 1;
    memcpy(dst->packet, packet, n);
    dst->packet_len = n;
    dst->packet_src = src;
    dst->has_heard_of[src] = true;
}

/* --- What happens, to the relays and to the model --- */

static struct slot *free_slot(struct model *m)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (!m->slots[i].is_used)
            return &m->slots[i];
    return NULL;
}

/* One of those in use, with the mesh key if that is asked for; null: none. */
static struct slot *any_slot(struct model *m, bool must_be_mesh)
{
    unsigned at = below(m, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = &m->slots[(at + i) % SLOTS];
        if (s->is_used && (s->is_mesh || !must_be_mesh))
            return s;
    }
    return NULL;
}

static void expect_login_frames(struct slot *s)
{
    struct derp_header h = {0};
    const uint8_t *p = NULL;
    assert_true(rig_next(&s->c, &h, &p) && h.type == DERP_SERVER_KEY);
    assert_true(rig_next(&s->c, &h, &p) && h.type == DERP_SERVER_INFO);
}

static void do_connect(struct model *m)
{
    struct slot *s = free_slot(m);
    if (s == NULL)
        return;
    *s = (struct slot){.relay = below(m, m->rig.relay_n), .key = below(m, CLIENT_KEYS), .is_mesh = below(m, 3) == 0};
    struct rig r = mesh_rig_of(&m->rig, s->relay, below(m, m->rig.loop_n));
    if (s->is_mesh) {
        rig_mesh_login(&r, &s->c, (uint8_t)s->key, mesh_rig_key);
    } else {
        rig_connect(&r, &s->c, (uint8_t)s->key, below(m, 4) == 0 ? 7 : 0);
        rig_login(&r, &s->c, false);
    }
    s->is_used = true;
    spoke(m, s);
    came(m, s->relay, s->key);
    mesh_rig_run(&m->rig);
    expect_login_frames(s);
}

static void end_slot(struct model *m, struct slot *s)
{
    rig_close(&s->c);
    s->is_used = false;
    left(m, s->relay, s->key);
}

static void do_close(struct model *m)
{
    struct slot *s = any_slot(m, false);
    if (s != NULL)
        end_slot(m, s);
}

static void do_watch(struct model *m)
{
    struct slot *s = any_slot(m, true);
    if (s == NULL)
        return;
    rig_frame(&s->c, DERP_WATCH_CONNS, NULL, 0);
    spoke(m, s);
    s->is_watching = true;
    for (unsigned key = 0; key < KEYS; key++)
        s->presents[key] += count_here(m, s->relay, key) > 0;
}

/* A packet that no other step has. */
static size_t make_packet(struct model *m, uint8_t packet[80], bool is_disco)
{
    size_t n = is_disco ? sizeof(disco_head) : below(m, 3) * 4;
    if (is_disco)
        memcpy(packet, disco_head, n);
    memcpy(packet + n, &m->step, sizeof(m->step));
    return n + sizeof(m->step);
}

/* Replies to disco are limited to one in a second, after three. */
static void pass_a_second(struct model *m)
{
    for (unsigned i = 0; i < m->rig.relay_n; i++)
        relay_test_advance(m->rig.relays[i], 1000);
}

static void do_send(struct model *m)
{
    struct slot *s = any_slot(m, false);
    uint8_t packet[80];
    if (s == NULL)
        return;
    unsigned key = below(m, CLIENT_KEYS), at = s->relay;
    bool is_disco = below(m, 2) == 0;
    size_t n = make_packet(m, packet, is_disco);
    struct rig_client to = {.public = m->keys[key]};
    rig_send(&s->c, &to, packet, n);
    struct slot *dst = active_of(m, at,
                                 key); /* as before: a connection that takes over gets what comes after this frame */
    spoke(m, s);
    if (dst == NULL && m->forward_n[at][key] > 0) {
        dst = active_of(m, m->forward[at][key][0], key);
        assert_non_null(dst);
    }
    if (dst != NULL)
        receives(dst, s->key, packet, n);
    else if (is_disco)
        s->not_heres[key]++;
    pass_a_second(m);
}

static void do_forward(struct model *m)
{
    struct slot *s = any_slot(m, true);
    uint8_t packet[80];
    if (s == NULL)
        return;
    unsigned src = below(m, CLIENT_KEYS), key = below(m, CLIENT_KEYS);
    bool is_disco = below(m, 2) == 0;
    size_t n = make_packet(m, packet, is_disco);
    struct rig_client from = {.public = m->keys[src]}, to = {.public = m->keys[key]};
    rig_forward(&s->c, &from, &to, packet, n);
    struct slot *dst = active_of(m, s->relay, key);
    spoke(m, s);
    if (dst != NULL)
        receives(dst, src, packet, n);
    else if (is_disco)
        s->not_heres[key]++;
    pass_a_second(m);
}

/* A neighbour, or the program, closes all connections that a key has at one relay. */
static void do_close_key(struct model *m)
{
    struct slot *s = any_slot(m, below(m, 2) == 0);
    if (s == NULL)
        return;
    unsigned relay = s->relay, key = below(m, CLIENT_KEYS);
    if (s->is_mesh) {
        rig_frame(&s->c, DERP_CLOSE_PEER, m->keys[key].b, KEY_BYTES);
        spoke(m, s);
    } else {
        relay_close_key(m->rig.relays[relay], &m->keys[key]);
    }
    mesh_rig_run(&m->rig);
    for (unsigned i = 0; i < SLOTS; i++) {
        s = &m->slots[i];
        if (!s->is_used || s->relay != relay || s->key != key)
            continue;
        assert_true(s->c.is_closed);
        end_slot(m, s);
    }
}

/* A link comes or goes. */
static void do_link(struct model *m)
{
    static const struct relay_neighbour hosts[] = {
        {.host = "r0", .dial = "192.0.2.1"}, {.host = "r1", .dial = "192.0.2.1"}, {.host = "r2", .dial = "192.0.2.1"}};
    struct relay_neighbour list[MESH_RIG_MAX];
    unsigned from = below(m, m->rig.relay_n), to = below(m, m->rig.relay_n), n = 0;
    if (from == to)
        return;
    bool is_up = m->is_linked[from][to] = !m->is_linked[from][to];
    for (unsigned i = 0; i < m->rig.relay_n; i++)
        if (m->is_linked[from][i])
            list[n++] = hosts[i];
    relay_mesh_set(m->rig.relays[from], list, n);
    if (is_up) {
        came(m, to, CLIENT_KEYS + from);
        for (unsigned key = 0; key < KEYS; key++)
            if (count_here(m, to, key) > 0)
                learn(m, from, to, key);
    } else {
        for (unsigned key = 0; key < KEYS; key++)
            unlearn(m, from, to, key);
        left(m, to, CLIENT_KEYS + from);
    }
    mesh_rig_run(&m->rig); /* a dialogue of several messages */
}

/* --- The comparison --- */

static unsigned key_number(const struct model *m, const uint8_t *key)
{
    unsigned i = 0;
    while (i < KEYS && !keys_equal(m->keys[i].b, key))
        i++;
    assert_in_range(i, 0, KEYS - 1);
    return i;
}

static void take_packet(struct model *m, struct slot *s, const uint8_t *p, size_t n)
{
    assert_int_equal(s->packet_n, 1);
    s->packet_n = 0;
    assert_int_equal(key_number(m, p), s->packet_src);
    assert_int_equal(n, KEY_BYTES + s->packet_len);
    assert_memory_equal(p + KEY_BYTES, s->packet, s->packet_len);
}

static void take_one(unsigned *expected)
{
    assert_true(*expected > 0);
    --*expected;
}

static void check_frames(struct model *m, struct slot *s)
{
    struct derp_header h = {0};
    const uint8_t *p = NULL;
    while (rig_next(&s->c, &h, &p)) {
        switch (h.type) {
        case DERP_RECV_PACKET: take_packet(m, s, p, h.len); break;
        case DERP_PEER_PRESENT:
            take_one(&s->presents[key_number(m, p)]);
            s->believes[key_number(m, p)] = true;
            break;
        case DERP_PEER_GONE:
            take_one(p[KEY_BYTES] == DERP_GONE_NOT_HERE ? &s->not_heres[key_number(m, p)]
                                                        : &s->gones[key_number(m, p)]);
            s->believes[key_number(m, p)] = s->believes[key_number(m, p)] && p[KEY_BYTES] == DERP_GONE_NOT_HERE;
            break;
        default: assert_true(h.type == DERP_HEALTH || h.type == DERP_KEEP_ALIVE);
        }
    }
    assert_false(s->c.is_closed);
    assert_int_equal(s->packet_n, 0);
    for (unsigned key = 0; key < KEYS; key++) {
        assert_int_equal(s->presents[key], 0);
        assert_int_equal(s->gones[key], 0);
        assert_int_equal(s->not_heres[key], 0);
        if (s->is_watching)
            assert_int_equal(s->believes[key], count_here(m, s->relay, key) > 0);
    }
}

static void check_peer(struct model *m, unsigned relay, struct relay_worker *w, unsigned key)
{
    struct peer *p = peers_get(w, &m->keys[key]);
    struct relay *r = m->rig.relays[relay];
    if (p == NULL) {
        assert_false(is_known(m, relay, key));
        return;
    }
    assert_true(is_known(m, relay, key) || is_remembered(m, relay, key));
    assert_int_equal(p->route.conn_id != 0, count_here(m, relay, key) > 0);
    assert_int_equal(p->route.forward_id != 0, m->forward_n[relay][key] > 0);
    assert_int_equal(p->local != NULL, p->route.conn_id != 0 && p->route.worker == w->index);
    if (p->route.forward_id != 0) {
        struct mesh_link *l = mesh_link_find(&r->workers[p->route.forward_worker], p->route.forward_id);
        assert_non_null(l);
        assert_int_equal(l->at.host[1] - '0', m->forward[relay][key][0]);
    }
}

static void check_relay(struct model *m, unsigned relay, unsigned *remote)
{
    struct relay *r = m->rig.relays[relay];
    unsigned known = 0, remembered = 0, conns = 0;
    for (unsigned key = 0; key < KEYS; key++) {
        known += is_known(m, relay, key);
        remembered += !is_known(m, relay, key) && is_remembered(m, relay, key);
        conns += count_here(m, relay, key);
        *remote += is_known(m, relay, key) && count_here(m, relay, key) == 0;
        for (unsigned k = 0; k < m->rig.loop_n; k++)
            check_peer(m, relay, &r->workers[k], key);
    }
    for (unsigned k = 0; k < m->rig.loop_n; k++)
        assert_in_range(r->workers[k].peers.n, known, known + remembered);
    assert_int_equal(r->directory.keys.n, known);
    assert_int_equal(relay_client_count(r), conns);
}

static void check_all(struct model *m)
{
    unsigned remote = 0, watchers = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (!m->slots[i].is_used)
            continue;
        check_frames(m, &m->slots[i]);
        watchers += m->slots[i].is_watching;
    }
    for (unsigned i = 0; i < m->rig.relay_n; i++) {
        check_relay(m, i, &remote);
        for (unsigned k = 0; k < m->rig.relay_n; k++)
            watchers += m->is_linked[i][k];
    }
    assert_int_equal(rig_count("clients_remote", ""), remote);
    assert_int_equal(rig_count("watchers", ""), watchers);
}

static void run(unsigned relays, unsigned loops, uint64_t seed, unsigned steps)
{
    static void (*const ops[])(struct model *m) = {do_connect, do_connect, do_connect, do_close,     do_close,
                                                   do_watch,   do_send,    do_send,    do_send,      do_send,
                                                   do_send,    do_forward, do_forward, do_close_key, do_link};
    static struct model m;
    m = (struct model){.random = {seed}};
    mesh_rig_start(&m.rig, relays, loops);
    for (unsigned i = 0; i < CLIENT_KEYS; i++) {
        uint8_t random[KEY_BYTES] = {[1] = (uint8_t)i};
        private_key key;
        private_key_from_bytes(random, &key);
        private_key_public(&key, m.keys[i].b);
    }
    for (unsigned i = 0; i < MESH_RIG_MAX; i++)
        memcpy(m.keys[CLIENT_KEYS + i].b, i < relays ? relay_public_key(m.rig.relays[i]) : (const uint8_t *)disco_head,
               KEY_BYTES);
    m.keys[KEYS - 1].b[31] ^= relays < MESH_RIG_MAX; /* those that are not used differ too */
    for (m.step = 0; m.step < steps; m.step++) {
        ops[below(&m, ARRAY_LEN(ops))](&m);
        mesh_rig_run(&m.rig);
        check_all(&m);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        if (m.slots[i].is_used)
            rig_close(&m.slots[i].c);
    mesh_rig_stop(&m.rig);
    assert_int_equal(rig_count("clients_remote", ""), 0);
    assert_int_equal(rig_count("watchers", ""), 0);
    assert_int_equal(rig_count("current_connections", ""), 0);
}

static void test_one_relay(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        for (unsigned loops = 1; loops <= 3; loops++)
            run(1, loops, seed, 2000);
}

static void test_two_relays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++)
        for (unsigned loops = 1; loops <= 3; loops++)
            run(2, loops, seed, 2000);
}

static void test_three_relays(void **state)
{
    (void)state;
    for (unsigned loops = 1; loops <= 3; loops++)
        run(3, loops, 7 + loops, 2500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_one_relay, rig_tear_down),
        cmocka_unit_test_teardown(test_two_relays, rig_tear_down),
        cmocka_unit_test_teardown(test_three_relays, rig_tear_down),
    };
    if (log_set_level(NULL, LOG_OFF) != RC_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
