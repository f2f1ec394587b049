/* Changes, and how long each takes to reach every node. A change has a number that its origin puts into an
 * endpoint's address or its Hostinfo, so that each receiver can tell which change it sees. */
#include <stdio.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum { SETTLE_QUIET_MS = 1000, SETTLE_LIMIT_MS = 30 * 1000, CHANGES_MAX = 1 << 22 };

struct change {
    unsigned origin;
    int prev; /* the same origin's change before this one; -1: none */
    int64_t at_us;
    uint64_t *got; /* owned: receivers that know of it */
    unsigned got_n, due_n;
};

struct churn {
    struct fleet *fleet;
    bool is_hostinfo;
    uint32_t base; /* number of the first change */
    struct change *changes;
    unsigned total, n; /* n: made so far */
    unsigned tried;
    unsigned skipped; /* not made, because the node was not connected */
    int *last;        /* of each node, its latest change */
    unsigned *order;
    int64_t start_us;
    uint64_t expected, delivered, superseded;
    int64_t last_arrival_us;
    struct hist latency, all_know, acks;
};

/* --- receiving --- */

/* Index of the change whose number the record carries; -1: of no change of this run. */
static int change_of(const struct churn *c, const struct map_effect_mark *m)
{
    bool says = (m->flags & (c->is_hostinfo ? MAP_EFFECT_HAS_HOSTINFO : MAP_EFFECT_HAS_ENDPOINTS)) != 0;
    uint32_t seq = c->is_hostinfo ? m->hostinfo_mark : m->endpoints_mark;
    return says && seq >= c->base && seq - c->base < c->n ? (int)(seq - c->base) : -1;
}

/* A receiver that knows of a change knows of all earlier ones of that node. */
static void on_mark(void *ctx, struct sim *receiver, const struct map_effect_mark *m)
{
    struct churn *c = ctx;
    struct fleet *f = c->fleet;
    bool is_first = true;
    if (m->index == receiver->index || !bit_get(f->classes[receiver->class].view.visible, m->index) ||
        !bit_get(receiver->view.known, m->index))
        return;
    for (int i = change_of(c, m); i >= 0; i = c->changes[i].prev) {
        struct change *change = &c->changes[i];
        if (change->origin != m->index || bit_get(change->got, receiver->index))
            return;
        bit_put(change->got, receiver->index);
        c->delivered++;
        if (++change->got_n == change->due_n)
            hist_add(&c->all_know, f->now_us - change->at_us);
        c->superseded += !is_first;
        if (is_first)
            hist_add(&c->latency, f->now_us - change->at_us);
        is_first = false;
        c->last_arrival_us = f->now_us;
    }
}

/* --- changing --- */

static void make_change(struct churn *c, struct sim *s)
{
    struct fleet *f = c->fleet;
    struct change *change = &c->changes[c->n];
    *change = (struct change){.origin = s->index, .prev = c->last[s->index], .at_us = clock_mono_us()};
    change->got = mem_zalloc(bits_words(f->n), sizeof(*change->got));
    c->last[s->index] = (int)c->n;
    f->seq = c->base + c->n++;
    if (c->is_hostinfo)
        s->hostinfo_seq = f->seq;
    else
        s->endpoints_seq = f->seq;
    change->due_n = fleet_receivers(f, s);
    c->expected += change->due_n;
    sim_update(s);
}

/* Makes the changes that are due. Returns whether all have been made. */
static bool change_due(struct fleet *f, void *ctx)
{
    struct churn *c = ctx;
    double passed_s = (double)(clock_mono_us() - c->start_us) / 1e6;
    for (; c->tried < c->total && (double)c->tried <= passed_s * f->opts->churn_rate_per_s; c->tried++) {
        struct sim *s = &f->sims[c->order[c->tried % f->n]];
        if (s->state == SIM_UP)
            make_change(c, s);
        else
            c->skipped++;
    }
    return c->tried == c->total;
}

static bool is_delivered(struct fleet *f, void *ctx)
{
    const struct churn *c = ctx;
    (void)f;
    return c->delivered >= c->expected;
}

static struct churn *churn_create(struct fleet *f)
{
    struct churn *c = MEM_NEW(struct churn);
    double total = f->opts->churn_rate_per_s * (double)f->opts->churn_for_ms / 1000;
    uint64_t random;
    rng_bytes(&random, sizeof(random));
    random |= 1;
    c->fleet = f;
    c->is_hostinfo = strcmp(f->opts->kind, "hostinfo") == 0;
    c->total = total < 1 ? 1 : total < (double)CHANGES_MAX ? (unsigned)total : CHANGES_MAX;
    c->base = f->seq + 1;
    c->changes = mem_zalloc(c->total, sizeof(*c->changes));
    c->last = mem_zalloc(f->n, sizeof(*c->last));
    for (unsigned i = 0; i < f->n; i++)
        c->last[i] = -1;
    c->order = fleet_shuffle(f, &random);
    return c;
}

static void churn_destroy(struct churn *c)
{
    for (unsigned i = 0; i < c->n; i++)
        mem_free(c->changes[i].got);
    mem_free(c->changes);
    mem_free(c->last);
    mem_free(c->order);
    mem_free(c);
}

/* --- the scenario --- */

static void report_deliveries(const struct churn *c, struct report *r, double send_s)
{
    double span_s = (double)(c->last_arrival_us - c->start_us) / 1e6;
    report_u64(r, "expected", c->expected, "deliveries due");
    report_u64(r, "delivered", c->delivered, NULL);
    report_i64(r, "missed", (int64_t)(c->expected - c->delivered), NULL);
    report_u64(r, "superseded", c->superseded, "known only through a later change of the same node");
    report_latency(r, "latency", &c->latency, "change sent to received by each other node");
    report_latency(r, "all_know", &c->all_know, "change sent until the last of them knew of it");
    report_f64(r, "deliveries_per_s", (double)c->delivered / (span_s > send_s ? span_s : send_s), NULL);
}

static void report_costs(const struct churn *c, struct report *r, const struct proc_cpu *cpu, uint64_t wire)
{
    double ms = (double)cpu->total_ns / 1e6;
    report_u64(r, "map_messages", c->fleet->stats.messages, NULL);
    report_u64(r, "peer_records", c->fleet->stats.peer_records, "full node objects received");
    report_u64(r, "patches", c->fleet->stats.patches, NULL);
    report_u64(r, "wire_bytes", wire, "TCP payload received, all nodes");
    if (c->delivered > 0)
        report_f64(r, "wire_bytes_per_delivery", (double)wire / (double)c->delivered, NULL);
    report_cpu(r, "cpu", cpu, "server, until settled");
    if (c->delivered == 0)
        return;
    report_f64(r, "cpu_ms_per_1000_deliveries", ms * 1000 / (double)c->delivered, NULL);
    report_f64(r, "cpu_ms_per_change", ms / (c->n > 0 ? c->n : 1), NULL);
}

static enum rc report_churn(struct churn *c, const struct fleet_start *s, double send_s, struct err *err)
{
    struct fleet *f = c->fleet;
    struct report r;
    char note[64];
    struct proc_cpu cpu = fleet_cpu_since(f, &s->server);
    fleet_report_begin(f, &r, "churn");
    report_text(&r, "kind", f->opts->kind, NULL);
    report_f64(&r, "rate_per_s", f->opts->churn_rate_per_s, "changes asked for");
    snprintf(note, sizeof(note), "%u skipped: node not connected", c->skipped);
    report_u64(&r, "changes", c->n, note);
    report_f64(&r, "send_s", send_s, NULL);
    report_latency(&r, "ack", &c->acks, "update to HTTP 200");
    report_deliveries(c, &r, send_s);
    report_costs(c, &r, &cpu, f->wire.in - s->wire_in);
    fleet_report_peak(f, &r);
    fleet_report_generator(&r, &s->self);
    fleet_report_ends(f, &r);
    report_u64(&r, "update_errors", f->stats.update_errors, NULL);
    report_u64(&r, "wrong_records", f->stats.wrong_records, "records with data that the node never sent");
    return fleet_report_emit(f, &r, err);
}

enum rc fleet_churn(struct fleet *f, struct err *err)
{
    struct churn *c = churn_create(f);
    f->errors = (struct errors){0};
    struct fleet_start s = fleet_begin(f);
    f->on_mark = on_mark;
    f->on_mark_ctx = c;
    f->acks = &c->acks;
    c->start_us = clock_mono_us();
    (void)fleet_wait(f, "churn", f->opts->churn_for_ms * 2 + f->opts->timeout_ms, change_due, c);
    double send_s = (double)(clock_mono_us() - c->start_us) / 1e6;
    (void)fleet_wait(f, "last deliveries", f->opts->churn_grace_ms, is_delivered, c);
    (void)fleet_settle(f, SETTLE_QUIET_MS, SETTLE_LIMIT_MS);
    enum rc rc = report_churn(c, &s, send_s, err);
    f->on_mark = NULL;
    f->acks = NULL;
    churn_destroy(c);
    return rc;
}
