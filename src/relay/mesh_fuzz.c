/* What a hostile neighbour sends over our link to it: an answer of HTTP, a greeting, frames. The first byte chooses
 * how far the link has come before the input begins, how large the pieces are, and whether time passes afterwards. A
 * client of ours must not be affected, and the relay must forget all keys of the neighbour when it goes. */
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

struct neighbour {
    struct rig_client far;
    size_t chunk;
};

static struct stream *dial(void *ctx, struct loop *loop, const struct relay_neighbour *to)
{
    struct neighbour *n = ctx;
    struct stream *near;
    (void)to;
    if (n->far.s != NULL)
        return NULL; /* once is enough */
    stream_pair_create(loop, n->chunk, &near, &n->far.s);
    stream_set_events(n->far.s, &rig_client_events, &n->far);
    return near;
}

/* How far the login goes, by the input: 0 nothing, 1 the upgrade, 2 the key, 3 the whole login. */
static void come_up(struct rig *r, struct neighbour *n, unsigned stage)
{
    static const char granted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n";
    struct derp_server_info info = {.version = DERP_VERSION};
    struct buf b = {0};
    uint8_t nonce[BOX_NONCE_BYTES] = {1};
    node_key us;
    memcpy(us.b, relay_public_key(r->relay), KEY_BYTES);
    if (stage >= 1)
        buf_append(&b, granted, sizeof(granted) - 1);
    if (stage >= 2)
        derp_append_server_key(&b, n->far.public.b);
    if (stage >= 3)
        assert_true(derp_append_server_info(&b, &n->far.key, &us, nonce, &info) == RC_OK);
    if (buf_len(&b) > 0)
        rig_write(&n->far, &b);
    rig_run(r);
    assert_int_equal(relay_mesh_links(r->relay), stage == 3);
}

static void run(const uint8_t *data, size_t size)
{
    static const size_t chunks[] = {0, 1, 7, 1000};
    static const struct relay_neighbour at = {.host = "192.0.2.1"};
    struct neighbour n = {.chunk = 0};
    struct relay_opts opts = rig_default_opts;
    struct rig r;
    struct rig_client a;
    uint8_t random[KEY_BYTES] = {[1] = 99};
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    rig_start(&r, &opts, NULL);
    private_key_from_bytes(random, &n.far.key);
    private_key_public(&n.far.key, n.far.public.b);
    n.chunk = chunks[data[0] >> 2 & 3];
    r.relay->mesh.test_dial = dial;
    r.relay->mesh.test_dial_ctx = &n;
    rig_join(&r, &a, 1);
    relay_mesh_set(r.relay, &at, 1);
    rig_run(&r);
    come_up(&r, &n, data[0] & 3);
    stream_write(n.far.s, data + 1, size - 1);
    rig_run(&r);
    if ((data[0] & 16) != 0)
        relay_test_advance(r.relay, 70 * 1000);
    rig_run(&r);
    buf_clear(&a.got);
    rig_send(&a, &a, "still here", 10);
    rig_run(&r);
    rig_expect_packet(&a, &a, "still here", 10);
    rig_close(&n.far);
    rig_run(&r);
    rig_run(&r);
    rig_close(&a);
    rig_run(&r);
    assert_int_equal(r.relay->directory.keys.n, 0);
    assert_int_equal(r.relay->workers[0].peers.n, 0);
    rig_stop(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || log_set_level(NULL, LOG_OFF) != RC_OK)
        return 0;
    fuzz_bounds_mark();
    run(data, size);
    fuzz_bounds_check(size, 1 << 20, 64);
    fuzz_bounds_check_steps(size, 400000, 600);
    return 0;
}
