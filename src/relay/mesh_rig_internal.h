/* Several relays in one process, on one or several loops of one thread, that reach each other over in-memory streams
 * and real HTTP: for the tests of the mesh. Relay number i is the neighbour "r<i>". */
#ifndef RELAY_MESH_RIG_INTERNAL_H
#define RELAY_MESH_RIG_INTERNAL_H

#include "relay/mesh_link_internal.h"
#include "relay/relay_http.h"
#include "relay/rig_internal.h"

enum { MESH_RIG_MAX = 3 };

static const uint8_t mesh_rig_key[32] = {[0] = 7, [31] = 9};

struct mesh_rig {
    unsigned loop_n, relay_n;
    struct loop *loops[MESH_RIG_MAX];
    struct relay *relays[MESH_RIG_MAX];
    struct relay_http apps[MESH_RIG_MAX];
    struct http_server *https[MESH_RIG_MAX][MESH_RIG_MAX]; /* of relay, of loop */
    bool is_cut[MESH_RIG_MAX];                             /* nobody reaches it */
};

static inline struct stream *mesh_rig_dial(void *ctx, struct loop *loop, const struct relay_neighbour *to)
{
    struct mesh_rig *m = ctx;
    unsigned i = (unsigned)(to->host[1] - '0');
    struct stream *near, *far;
    if (m->is_cut[i])
        return NULL;
    stream_pair_create(loop, 0, &near, &far);
    http_server_accept(m->https[i][loop_index(loop)], far);
    return near;
}

static inline void mesh_rig_start(struct mesh_rig *m, unsigned relay_n, unsigned loop_n)
{
    crypto_init();
    *m = (struct mesh_rig){.relay_n = relay_n, .loop_n = loop_n};
    for (unsigned k = 0; k < loop_n; k++)
        m->loops[k] = loop_create(k);
    for (unsigned i = 0; i < relay_n; i++) {
        struct relay_opts opts = {.key = {{[0] = 8, [1] = (uint8_t)i, [31] = 0x40}}};
        memcpy(opts.mesh_key, mesh_rig_key, sizeof(mesh_rig_key));
        m->relays[i] = relay_create(&opts, NULL, m->loops, loop_n);
        m->relays[i]->mesh.test_dial = mesh_rig_dial;
        m->relays[i]->mesh.test_dial_ctx = m;
        m->apps[i] = (struct relay_http){.relay = m->relays[i]};
        for (unsigned k = 0; k < loop_n; k++) {
            struct http_server_opts http = {
                .loop = m->loops[k], .routes = relay_http_routes, .routes_n = relay_http_routes_n, .app = &m->apps[i]};
            m->https[i][k] = http_server_create(&http);
        }
    }
}

static inline void mesh_rig_stop(struct mesh_rig *m)
{
    for (unsigned i = 0; i < m->relay_n; i++) {
        for (unsigned k = 0; k < m->loop_n; k++)
            http_server_destroy(&m->https[i][k]);
        relay_destroy(&m->relays[i]);
    }
    for (unsigned k = 0; k < m->loop_n; k++)
        loop_destroy(&m->loops[k]);
}

/* Until what was started has gone its way, between the loops too. */
static inline void mesh_rig_run(struct mesh_rig *m)
{
    for (unsigned round = 0; round < (m->loop_n > 1 ? 6 : 2); round++) {
        for (unsigned k = 0; k < m->loop_n; k++) {
            struct rig like = {.loop = m->loops[k]};
            rig_run(&like);
        }
    }
}

/* Relay number `i` as a rig, whose clients come to loop number `k`. */
static inline struct rig mesh_rig_of(struct mesh_rig *m, unsigned i, unsigned k)
{
    return (struct rig){.loop = m->loops[k], .relay = m->relays[i]};
}

/* All relays get all as neighbours, themselves included. */
static inline void mesh_rig_link(struct mesh_rig *m)
{
    static const struct relay_neighbour all[MESH_RIG_MAX] = {
        {.host = "r0", .dial = "192.0.2.1"}, {.host = "r1", .dial = "192.0.2.1"}, {.host = "r2", .dial = "192.0.2.1"}};
    for (unsigned i = 0; i < m->relay_n; i++)
        relay_mesh_set(m->relays[i], all, m->relay_n);
    mesh_rig_run(m);
    mesh_rig_run(m);
    for (unsigned i = 0; i < m->relay_n; i++)
        assert_int_equal(relay_mesh_links(m->relays[i]), m->relay_n - 1);
}

static inline void mesh_rig_join(struct mesh_rig *m, struct rig_client *c, unsigned i, unsigned k, uint8_t number)
{
    struct rig r = mesh_rig_of(m, i, k);
    rig_connect(&r, c, number, 0);
    rig_login(&r, c, false);
    mesh_rig_run(m);
    rig_expect_welcome(&r, c);
    rig_expect_nothing(c);
}

/* Connects and logs in with this mesh key. */
static inline void rig_mesh_login(struct rig *r, struct rig_client *c, uint8_t number, const uint8_t mesh_key[32])
{
    struct derp_client_info info = {.version = 2, .has_mesh_key = true};
    struct buf b = {0};
    uint8_t nonce[BOX_NONCE_BYTES] = {number};
    rig_connect(r, c, number, 0);
    info.key = c->public;
    memcpy(info.mesh_key, mesh_key, sizeof(info.mesh_key));
    assert_int_equal(derp_append_client_info(&b, &c->key, relay_public_key(r->relay), nonce, &info), RC_OK);
    rig_write(c, &b);
}

static inline void rig_forward(struct rig_client *c, const struct rig_client *src, const struct rig_client *dst,
                               const void *packet, size_t n)
{
    struct buf b = {0};
    buf_append(&b, src->public.b, KEY_BYTES);
    buf_append(&b, dst->public.b, KEY_BYTES);
    buf_append(&b, packet, n);
    rig_frame(c, DERP_FORWARD_PACKET, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

static inline void rig_expect_present(struct rig_client *c, const struct rig_client *who, uint8_t flags)
{
    const uint8_t *p = rig_expect(c, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
    assert_memory_equal(p, who->public.b, KEY_BYTES);
    assert_int_equal(p[DERP_PEER_PRESENT_BYTES - 1], flags);
}

#endif
