/* The frame reader inside a whole relay: the input is what a client, or a neighbour in the mesh, sends after its
 * login (or, by the first byte, instead of it), in pieces of a size that the first byte chooses. Another client must
 * not be affected, except by what a neighbour may do to it. */
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

static bool is_neighbour(const uint8_t *data)
{
    return (data[0] & 64) != 0;
}

static void feed(struct rig *r, struct rig_client *c, const uint8_t *data, size_t size)
{
    static const size_t chunks[] = {1, 2, 5, 37, 1000, 0, 0, 0};
    if (is_neighbour(data))
        rig_mesh_login(r, c, 1, mesh_rig_key);
    else
        rig_connect(r, c, 1, chunks[data[0] & 7]);
    if (!is_neighbour(data) && (data[0] & 8) == 0)
        rig_login(r, c, (data[0] & 16) != 0);
    stream_write(c->s, data + 1, size - 1);
    rig_run(r);
    if ((data[0] & 32) != 0)
        relay_test_advance(r->relay, 70 * 1000);
    rig_run(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || log_set_level(NULL, LOG_OFF) != RC_OK)
        return 0;
    struct rig r;
    struct rig_client fuzzed, other;
    struct relay_opts opts = rig_default_opts;
    memcpy(opts.mesh_key, mesh_rig_key, sizeof(opts.mesh_key));
    rig_start(&r, &opts, NULL);
    rig_join(&r, &other, 2);
    fuzz_bounds_mark();
    feed(&r, &fuzzed, data, size);
    fuzz_bounds_check(size, 1 << 20, 64);
    fuzz_bounds_check_steps(size, 100000, 600);
    buf_clear(&other.got); /* it may have been sent things */
    if (!is_neighbour(data) || !other.is_closed) {
        rig_send(&other, &other, "still here", 10);
        rig_run(&r);
        rig_expect_packet(&other, &other, "still here", 10);
    }
    rig_close(&fuzzed);
    rig_close(&other);
    rig_stop(&r);
    return 0;
}
