/* Pairs of clients, one sending to the other: as fast as a window of packets in flight allows, or at a fixed rate. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/relay_load_internal.h"
#include "bench/relay_pair_internal.h"

enum {
    SETTLE_MS = 100, /* between the last login and the first packet */
    STALL_LOOK_MS = 50,
    STALL_MS = 250, /* without a packet: what is in flight is lost */
    DRAIN_STEP_MS = 10,
    TICK_MIN_NS = 50 * 1000,
    TICK_MAX_NS = 10 * 1000 * 1000,
    BURST_MAX = 32,            /* packets of all pairs in one tick */
    QUEUE_MAX_BYTES = 4 << 20, /* waiting to be written, above which a sender is held back */
};

struct flow {
    struct bench_relay_pair pair;
    struct traffic *traffic;
    struct bench_derp_client *sender;
    struct loop_task task; /* sends at the end of a loop iteration in which packets arrived */
    struct loop_msg more;  /* sends in the next iteration what the window still allows */
    bool is_more_posted;
    int64_t heard_ms;
};

struct traffic {
    struct bench_relay_load *load;
    struct flow *flows; /* owned; flow i has the links 2 i, which sends, and 2 i + 1 */
    struct hist latency;
    struct buf out; /* packets of one write */
    bool is_latency;
    bool is_sending;
    /* latency: packet `next` of all pairs together goes at start_us + next / rate */
    int timer_fd;
    struct loop_poll *timer_poll;
    int64_t start_us;
    uint64_t next;
};

/* --- sending --- */

static void send_packets(struct flow *f, unsigned n)
{
    struct buf *out = &f->traffic->out;
    if (f->sender->stream == NULL)
        return;
    if (stream_queued(f->sender->stream) > QUEUE_MAX_BYTES) {
        errors_add(&f->traffic->load->errors, "packet held back: the server does not read");
        return;
    }
    int64_t now_us = f->pair.latency != NULL ? clock_mono_us() : 0;
    buf_clear(out);
    for (unsigned i = 0; i < n; i++)
        bench_relay_pair_append(&f->pair, out, now_us);
    stream_write(f->sender->stream, buf_at(out), buf_len(out));
}

/* Sends one batch: what an iteration writes leaves in one system call. */
static void flood(struct flow *f)
{
    const struct bench_relay_opts *opts = f->traffic->load->opts;
    if (!f->traffic->is_sending)
        return;
    unsigned room = bench_relay_pair_room(&f->pair, opts->window), n = room < opts->batch ? room : opts->batch;
    if (n > 0)
        send_packets(f, n);
    if (n < room && !f->is_more_posted) {
        f->is_more_posted = true;
        loop_post(f->traffic->load->loop, &f->more);
    }
}

static void flood_task(struct loop_task *task)
{
    flood(CONTAINER_OF(task, struct flow, task));
}

static void flood_more(struct loop *loop, struct loop_msg *msg)
{
    struct flow *f = CONTAINER_OF(msg, struct flow, more);
    (void)loop;
    f->is_more_posted = false;
    flood(f);
}

static void on_packet(void *ctx, unsigned index, const uint8_t src[KEY_BYTES], const uint8_t *p, size_t n)
{
    struct traffic *t = ctx;
    struct flow *f = &t->flows[index / 2];
    if (index % 2 == 0) { /* the sending client of a pair must receive nothing */
        f->pair.bad++;
        return;
    }
    bench_relay_pair_take(&f->pair, src, p, n, t->is_latency ? clock_mono_us() : 0);
    f->heard_ms = loop_now_ms(t->load->loop);
    if (!t->is_latency && t->is_sending)
        loop_defer(t->load->loop, &f->task);
}

static void look_for_stalls(void *ctx)
{
    struct traffic *t = ctx;
    int64_t now_ms = loop_now_ms(t->load->loop);
    for (unsigned i = 0; i < t->load->opts->pairs; i++) {
        struct flow *f = &t->flows[i];
        if (bench_relay_pair_room(&f->pair, t->load->opts->window) > 0 || now_ms - f->heard_ms < STALL_MS)
            continue;
        bench_relay_pair_give_up(&f->pair);
        f->heard_ms = now_ms;
        flood(f);
    }
}

static void run_flood(struct traffic *t)
{
    struct loop_timer *stalls = loop_timer_create(t->load->loop, look_for_stalls, t);
    loop_timer_start(stalls, STALL_LOOK_MS, STALL_LOOK_MS);
    t->is_sending = true;
    for (unsigned i = 0; i < t->load->opts->pairs; i++) {
        t->flows[i].heard_ms = loop_now_ms(t->load->loop);
        flood(&t->flows[i]);
    }
    bench_relay_load_run_for(t->load, t->load->opts->duration_ms);
    t->is_sending = false;
    loop_timer_destroy(&stalls);
}

/* --- at a fixed rate --- */

static int64_t due_us(const struct traffic *t)
{
    return t->start_us + (int64_t)((double)t->next / t->load->opts->rate_per_s * 1e6);
}

static void on_tick(void *ctx, int events)
{
    struct traffic *t = ctx;
    uint64_t expirations;
    (void)events;
    if (read(t->timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    int64_t now_us = clock_mono_us();
    for (unsigned n = 0; n < BURST_MAX && due_us(t) <= now_us; n++)
        send_packets(&t->flows[t->next++ % t->load->opts->pairs], 1);
}

/* The loop's timers tick in milliseconds, which would send packets in bursts. So would sending at once all that
 * became due while this thread had no core. */
static enum rc start_ticking(struct traffic *t, struct err *err)
{
    double gap_ns = 1e9 / t->load->opts->rate_per_s;
    int64_t tick_ns = gap_ns < (double)TICK_MAX_NS ? (int64_t)gap_ns : TICK_MAX_NS;
    tick_ns = tick_ns > TICK_MIN_NS ? tick_ns : TICK_MIN_NS;
    struct itimerspec when = {{0, tick_ns}, {0, tick_ns}};
    t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->timer_fd < 0 || timerfd_settime(t->timer_fd, 0, &when, NULL) != 0)
        return err_set(err, RC_IO, "no timer: %s", strerror(errno));
    t->timer_poll = loop_poll_create(t->load->loop, t->timer_fd, on_tick, t);
    loop_poll_set(t->timer_poll, LOOP_READ);
    return RC_OK;
}

static enum rc run_pace(struct traffic *t, struct err *err)
{
    t->start_us = clock_mono_us();
    enum rc rc = start_ticking(t, err);
    if (rc == RC_OK)
        bench_relay_load_run_for(t->load, t->load->opts->duration_ms);
    loop_poll_destroy(&t->timer_poll);
    if (t->timer_fd >= 0)
        close(t->timer_fd);
    return rc;
}

/* --- the run --- */

struct totals {
    uint64_t sent, received, bad;
};

static struct totals add_up(const struct traffic *t)
{
    struct totals sum = {0};
    for (unsigned i = 0; i < t->load->opts->pairs; i++) {
        sum.sent += t->flows[i].pair.sent;
        sum.received += t->flows[i].pair.received;
        sum.bad += t->flows[i].pair.bad;
    }
    return sum;
}

static void drain(struct traffic *t)
{
    for (int64_t ms = 0; ms < t->load->hooks.drain_ms; ms += DRAIN_STEP_MS) {
        struct totals sum = add_up(t);
        if (sum.received >= sum.sent)
            return;
        bench_relay_load_run_for(t->load, DRAIN_STEP_MS);
    }
}

static void report_costs(struct report *r, const struct traffic *t, const struct proc_cpu *cpu, uint64_t received)
{
    double cpu_s = (double)cpu->total_ns / 1e9, packets = (double)received, size = t->load->opts->size_bytes;
    struct proc_memory memory;
    report_cpu(r, "cpu", cpu, "server");
    if (received > 0) {
        report_f64(r, "cpu_s_per_gb", cpu_s / (packets * size / 1e9), "server CPU per 10^9 payload bytes relayed");
        report_f64(r, "cpu_us_per_packet", cpu_s * 1e6 / packets, NULL);
    }
    if (proc_memory_read(t->load->opts->server_pid, &memory) == RC_OK)
        report_f64(r, "rss_peak_mb", (double)memory.peak_rss_bytes / 1e6, NULL);
}

static enum rc write_report(struct traffic *t, const struct bench_relay_load_reading *start, double wall_s,
                            struct err *err)
{
    const struct bench_relay_opts *o = t->load->opts;
    struct bench_relay_load_reading end = bench_relay_load_read(t->load);
    struct proc_cpu cpu = proc_cpu_between(&start->server, &end.server),
                    self = proc_cpu_between(&start->self, &end.self);
    struct totals sum = add_up(t);
    struct report r;
    report_init(&r, t->is_latency ? "derp-latency" : "derp-throughput", t->load->target->label, clock_wall_ms());
    report_u64(&r, "pairs", o->pairs, NULL);
    report_u64(&r, "size", o->size_bytes, NULL);
    if (t->is_latency)
        report_f64(&r, "rate_per_s", o->rate_per_s, NULL);
    else
        report_u64(&r, "window", o->window, NULL);
    report_bool(&r, "tls", t->load->at.is_tls, NULL);
    report_f64(&r, "seconds", wall_s, NULL);
    report_u64(&r, "sent", sum.sent, NULL);
    report_u64(&r, "received", sum.received, NULL);
    report_i64(&r, "lost", (int64_t)(sum.sent - sum.received), NULL);
    report_u64(&r, "bad", sum.bad, "wrong sender, size, content or order");
    report_f64(&r, "packets_per_s", (double)sum.received / wall_s, NULL);
    report_f64(&r, "gbit_per_s", (double)sum.received * o->size_bytes * 8 / wall_s / 1e9, "payload");
    if (t->is_latency)
        report_latency(&r, "latency", &t->latency, NULL);
    report_costs(&r, t, &cpu, sum.received);
    report_f64(&r, "loadgen_cpu_s", (double)self.total_ns / 1e9, NULL);
    report_errors(&r, "errors", &t->load->errors);
    enum rc rc = report_emit(&r, t->load->target, err);
    report_fini(&r);
    return rc;
}

static void make_flows(struct traffic *t)
{
    const struct bench_relay_opts *o = t->load->opts;
    for (unsigned i = 0; i < o->pairs; i++) {
        struct bench_derp_client *from = &t->load->links[2 * i].client, *to = &t->load->links[2 * i + 1].client;
        struct flow *f = &t->flows[i];
        f->traffic = t;
        f->sender = from;
        f->task.run = flood_task;
        f->more.run = flood_more;
        bench_relay_pair_init(&f->pair, from->public_key.b, to->public_key.b, o->size_bytes, i,
                              t->is_latency ? &t->latency : NULL);
    }
    t->load->packet = on_packet;
    t->load->ctx = t;
}

static enum rc run(struct traffic *t, struct err *err)
{
    struct bench_relay_load *load = t->load;
    TRY(bench_relay_load_connect(load, 2 * load->opts->pairs, err));
    make_flows(t);
    bench_relay_load_run_for(load, SETTLE_MS);
    if (proc_peak_reset(load->opts->server_pid) != RC_OK)
        errors_add(&load->errors, "rss_peak_mb is since the server's start: its peak cannot be reset");
    struct bench_relay_load_reading start = bench_relay_load_read(load);
    if (t->is_latency)
        TRY(run_pace(t, err));
    else
        run_flood(t);
    double wall_s = (double)(clock_mono_us() - start.at_us) / 1e6;
    drain(t);
    return write_report(t, &start, wall_s, err);
}

enum rc bench_relay_traffic_run(struct bench_relay_load *load, enum bench_relay_mode mode, struct err *err)
{
    struct traffic t = {.load = load, .is_latency = mode == BENCH_RELAY_LATENCY};
    t.flows = mem_zalloc(load->opts->pairs, sizeof(*t.flows));
    enum rc rc = run(&t, err);
    load->packet = NULL;
    for (unsigned i = 0; i < load->opts->pairs; i++) {
        loop_defer_cancel(&t.flows[i].task);
        bench_relay_pair_fini(&t.flows[i].pair);
    }
    buf_fini(&t.out);
    mem_free(t.flows);
    return rc;
}
