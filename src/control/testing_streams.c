#include "control/testing_streams.h"

const struct noise_result fake_keys = {.client_to_server = {1}, .server_to_client = {2}};
struct loop *fake_loop;

void fake_settle(void)
{
    loop_stop(fake_loop);
    loop_run(fake_loop);
}

static void owner_data(void *ctx, const uint8_t *p, size_t n)
{
    struct owner *o = ctx;
    buf_append(&o->got, p, n);
    o->pieces++;
    if (o->pieces == o->pause_at)
        stream_pause(o->s, true);
    if (o->pieces == o->close_at)
        stream_close(&o->s, false);
}

static void owner_drained(void *ctx)
{
    struct owner *o = ctx;
    o->drained++;
    if (o->close_when_drained)
        stream_close(&o->s, false);
}

static void owner_closed(void *ctx, enum rc why)
{
    struct owner *o = ctx;
    o->closed++;
    o->why = why;
    if (o->close_when_closed)
        stream_close(&o->s, false);
}

const struct stream_events owner_events = {owner_data, owner_drained, owner_closed};

void owner_fini(struct owner *o)
{
    stream_close(&o->s, false);
    fake_settle();
    buf_fini(&o->got);
}

static void fake_write(struct stream *s, const uint8_t *p, size_t n)
{
    struct fake *f = (struct fake *)s;
    buf_append(&f->written, p, n);
    f->writes++;
    f->queued += n;
}

static size_t fake_queued(const struct stream *s)
{
    return ((const struct fake *)s)->queued;
}

static void fake_pause(struct stream *s, bool paused)
{
    ((struct fake *)s)->is_paused = paused;
}

static void fake_close(struct stream *s, bool flush)
{
    struct fake *f = (struct fake *)s;
    f->closes++;
    f->flushed = flush;
}

void fake_start(struct fake *f, struct owner *o, const char *early)
{
    static const struct stream_ops ops = {fake_write, fake_queued, fake_pause, fake_close};
    struct buf wire = {0};
    *f = (struct fake){0};
    *o = (struct owner){0};
    stream_init(&f->s, &ops, fake_loop, NULL);
    noise_sealer_init(&f->sealer, fake_keys.client_to_server);
    noise_opener_init(&f->opener, fake_keys.server_to_client);
    if (early != NULL)
        assert_int_equal(noise_seal(&f->sealer, early, strlen(early), &wire), RC_OK);
    ts2021_stream_server(&f->s, &fake_keys, wire.data, buf_len(&wire), &o->s);
    stream_set_events(o->s, &owner_events, o);
    buf_fini(&wire);
}

void fake_finish(struct fake *f, struct owner *o)
{
    owner_fini(o);
    assert_int_equal(f->closes, 1);
    noise_sealer_fini(&f->sealer);
    noise_opener_fini(&f->opener);
    buf_fini(&f->written);
    assert_int_equal(metric_read("fullscale_noise_connections", ""), 0);
}

int fake_setup(void **state)
{
    (void)state;
    crypto_init();
    fake_loop = loop_create(0);
    return log_set_level("noise", LOG_OFF) == RC_OK ? 0 : -1;
}

int fake_teardown(void **state)
{
    (void)state;
    loop_destroy(&fake_loop);
    return 0;
}
