#include "relay/mesh_rig_internal.h"

const uint8_t mesh_rig_key[32] = {[0] = 7, [31] = 9};

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

static void free_http(void *obj)
{
    struct http_server *http = obj;
    http_server_destroy(&http);
}

static struct stream *dial(void *ctx, struct loop *loop, const struct relay_neighbour *to)
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

void mesh_rig_start(struct mesh_rig *m, unsigned relay_n, unsigned loop_n)
{
    crypto_init();
    *m = (struct mesh_rig){.relay_n = relay_n, .loop_n = loop_n};
    for (unsigned k = 0; k < loop_n; k++) {
        m->loops[k] = loop_create(k);
        rig_cleanup_add(free_loop, m->loops[k], m->loops[k]);
    }
    for (unsigned i = 0; i < relay_n; i++) {
        struct relay_opts opts = {.key = {{[0] = 8, [1] = (uint8_t)i, [31] = 0x40}}};
        memcpy(opts.mesh_key, mesh_rig_key, sizeof(mesh_rig_key));
        m->relays[i] = relay_create(&opts, NULL, m->loops, loop_n);
        rig_cleanup_add(free_relay, m->relays[i], m->relays[i]);
        m->relays[i]->mesh.test_dial = dial;
        m->relays[i]->mesh.test_dial_ctx = m;
        m->apps[i] = (struct relay_http){.relay = m->relays[i]};
        for (unsigned k = 0; k < loop_n; k++) {
            struct http_server_opts http = {
                .loop = m->loops[k], .routes = relay_http_routes, .routes_n = relay_http_routes_n, .app = &m->apps[i]};
            m->https[i][k] = http_server_create(&http);
            rig_cleanup_add(free_http, m->https[i][k], m->https[i][k]);
        }
    }
}

void mesh_rig_stop(struct mesh_rig *m)
{
    for (unsigned i = 0; i < m->relay_n; i++) {
        for (unsigned k = 0; k < m->loop_n; k++)
            rig_cleanup_now(m->https[i][k]);
        rig_cleanup_now(m->relays[i]);
    }
    for (unsigned k = 0; k < m->loop_n; k++)
        rig_cleanup_now(m->loops[k]);
}

void mesh_rig_run(struct mesh_rig *m)
{
    for (unsigned round = 0; round < (m->loop_n > 1 ? 6 : 2); round++) {
        for (unsigned k = 0; k < m->loop_n; k++) {
            struct rig like = {.loop = m->loops[k]};
            rig_run(&like);
        }
    }
}

struct rig mesh_rig_of(struct mesh_rig *m, unsigned i, unsigned k)
{
    return (struct rig){.loop = m->loops[k], .relay = m->relays[i]};
}

void mesh_rig_link(struct mesh_rig *m)
{
    static const struct relay_neighbour all[MESH_RIG_MAX] = {
        {.host = "r0", .dial = "192.0.2.1"}, {.host = "r1", .dial = "192.0.2.1"}, {.host = "r2", .dial = "192.0.2.1"}};
    for (unsigned i = 0; i < m->relay_n; i++)
        relay_mesh_set(m->relays[i], all, m->relay_n);
    mesh_rig_run(m);
    mesh_rig_run(m);
    for (unsigned i = 0; i < m->relay_n; i++)
        RIG_ASSERT(relay_mesh_links(m->relays[i]) == m->relay_n - 1);
}

void mesh_rig_join(struct mesh_rig *m, struct rig_client *c, unsigned i, unsigned k, uint8_t number)
{
    struct rig r = mesh_rig_of(m, i, k);
    rig_connect(&r, c, number, 0);
    rig_login(&r, c, false);
    mesh_rig_run(m);
    rig_expect_welcome(&r, c);
    rig_expect_nothing(c);
}

void rig_mesh_login(struct rig *r, struct rig_client *c, uint8_t number, const uint8_t mesh_key[32])
{
    struct derp_client_info info = {.version = 2, .has_mesh_key = true};
    struct buf b = {0};
    uint8_t nonce[BOX_NONCE_BYTES] = {number};
    rig_connect(r, c, number, 0);
    info.key = c->public;
    memcpy(info.mesh_key, mesh_key, sizeof(info.mesh_key));
    RIG_ASSERT(derp_append_client_info(&b, &c->key, relay_public_key(r->relay), nonce, &info) == RC_OK);
    rig_write(c, &b);
}

void rig_forward(struct rig_client *c, const struct rig_client *src, const struct rig_client *dst, const void *packet,
                 size_t n)
{
    struct buf b = {0};
    buf_append(&b, src->public.b, KEY_BYTES);
    buf_append(&b, dst->public.b, KEY_BYTES);
    buf_append(&b, packet, n);
    rig_frame(c, DERP_FORWARD_PACKET, buf_at(&b), buf_len(&b));
    buf_fini(&b);
}

void rig_expect_present(struct rig_client *c, const struct rig_client *who, uint8_t flags)
{
    const uint8_t *p = rig_expect(c, DERP_PEER_PRESENT, DERP_PEER_PRESENT_BYTES);
    RIG_ASSERT(memcmp(p, who->public.b, KEY_BYTES) == 0);
    RIG_ASSERT(p[DERP_PEER_PRESENT_BYTES - 1] == flags);
}
