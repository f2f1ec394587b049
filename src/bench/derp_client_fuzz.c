/* What a relay may send to the load generator's client: the input is its answer to the upgrade and what follows, in
 * pieces of a size that the first byte chooses. By the second byte the client is put into a later phase first, which
 * it would reach only with the right keys. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "bench/derp_client_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzzed {
    struct loop *loop;
    struct frame_pool pool;
    struct bench_derp_client client;
    unsigned packets;
};

static void on_up(void *ctx)
{
    (void)ctx;
}

/* Stops the client from within an event, as a run that is over does. */
static void on_packet(void *ctx, const uint8_t src[KEY_BYTES], const uint8_t *p, size_t n)
{
    struct fuzzed *f = ctx;
    unsigned sum = src[0];
    for (size_t i = 0; i < n; i++)
        sum += p[i];
    if (++f->packets == 100 + (sum & 1))
        bench_derp_client_stop(&f->client);
}

static void on_ended(void *ctx, const char *why)
{
    struct fuzzed *f = ctx;
    if (why == NULL || f->client.stream != NULL)
        abort();
}

static void on_data(void *ctx, const uint8_t *p, size_t n)
{
    (void)ctx;
    (void)p;
    (void)n;
}

static void on_closed(void *ctx, enum rc why)
{
    (void)ctx;
    (void)why;
}

struct stopper {
    struct loop_msg msg;
    unsigned iterations;
};

static void stop(struct loop *loop, struct loop_msg *msg)
{
    struct stopper *s = CONTAINER_OF(msg, struct stopper, msg);
    if (s->iterations-- == 0)
        loop_stop(loop);
    else
        loop_post(loop, msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct bench_derp_client_events events = {on_up, on_packet, on_ended};
    static const struct stream_events server_events = {on_data, NULL, on_closed};
    static const size_t chunks[] = {1, 2, 5, 37, 1000, 0, 0, 0};
    static const uint8_t random[KEY_BYTES] = {7};
    static const struct bench_url at = {.authority = "127.0.0.1:1", .path = "/derp"};
    struct fuzzed f = {.loop = loop_create(0)};
    struct stopper s = {.msg.run = stop, .iterations = 2};
    struct stream *client_end, *server_end;
    if (size < 2) {
        loop_destroy(&f.loop);
        return 0;
    }
    crypto_init();
    fuzz_bounds_mark();
    stream_pair_create(f.loop, chunks[data[0] & 7], &client_end, &server_end);
    stream_set_events(server_end, &server_events, &f);
    bench_derp_client_start(&f.client, client_end, &f.pool, &at, random, &events, &f);
    f.client.phase = data[1] & 3;
    stream_write(server_end, data + 2, size - 2);
    loop_post(f.loop, &s.msg);
    loop_run(f.loop);
    bench_derp_client_stop(&f.client);
    stream_close(&server_end, false);
    frame_pool_fini(&f.pool);
    loop_destroy(&f.loop);
    /* In pieces of a byte, each in an iteration of the loop of its own. */
    fuzz_bounds_check(size, 256 << 10, 32);
    fuzz_bounds_check_steps(size, 50000, 480);
    return 0;
}
