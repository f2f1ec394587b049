#include "bench/fleet.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    TICK_MS = 5,
    SWEEP_MS = 1000,
    PEAK_MS = 100,
    PROGRESS_TTY_MS = 500,
    PROGRESS_MS = 10 * 1000,
    STARTS_PER_TURN = 32, /* a handshake begins with 0.1 ms of cryptography: others get their turn */
    SPARE_FDS = 64,
    EXAMPLES_MAX = 8,
    BUSY_NS_PER_S = 30 * 1000 * 1000,
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool fleet_is_interrupted(void)
{
    return interrupted != 0;
}

/* --- the server's process --- */

struct proc_cpu fleet_server_cpu(const struct fleet *f)
{
    struct proc_cpu cpu;
    return proc_cpu_read(f->pid, &cpu) == RC_OK ? cpu : (struct proc_cpu){0};
}

int64_t fleet_server_rss(const struct fleet *f)
{
    struct proc_memory memory;
    return proc_memory_read(f->pid, &memory) == RC_OK ? memory.rss_bytes : 0;
}

void fleet_reset_peak(struct fleet *f)
{
    f->peak_rss_bytes = fleet_server_rss(f);
}

static void watch_peak(struct fleet *f)
{
    int64_t rss = fleet_server_rss(f);
    if (rss > f->peak_rss_bytes)
        f->peak_rss_bytes = rss;
}

/* --- who may connect --- */

static bool may_start(const struct fleet *f)
{
    if (!f->is_gate_open || list_is_empty(&f->ready) || (f->concurrency > 0 && f->starting >= f->concurrency))
        return false;
    if (f->opts->rate_per_s <= 0)
        return true;
    double since_s = (double)(loop_now_ms(f->loop) - f->rate_since_ms) / 1000;
    return (double)f->rate_started < since_s * f->opts->rate_per_s;
}

static void wake_starter(struct fleet *f)
{
    if (f->is_starter_on || !may_start(f))
        return;
    f->is_starter_on = true;
    loop_timer_start(f->starter, 0, 0);
}

static void run_starter(void *ctx)
{
    struct fleet *f = ctx;
    f->is_starter_on = false;
    for (unsigned i = 0; i < STARTS_PER_TURN && may_start(f); i++) {
        struct sim *s = LIST_ENTRY(f->ready.next, struct sim, entry);
        list_remove(&s->entry);
        s->holds_slot = true;
        f->starting++;
        f->rate_started++;
        sim_connect(s);
    }
    wake_starter(f);
}

void fleet_ready(struct fleet *f, struct sim *s)
{
    list_remove(&s->entry);
    s->state = SIM_READY;
    list_push_back(&f->ready, &s->entry);
    wake_starter(f);
}

void fleet_wait_until(struct fleet *f, struct sim *s, int64_t due_ms)
{
    list_remove(&s->entry);
    s->state = SIM_WAITING;
    s->due_ms = due_ms;
    list_push_back(&f->waiting, &s->entry);
}

void fleet_release_slot(struct fleet *f, struct sim *s)
{
    if (!s->holds_slot)
        return;
    s->holds_slot = false;
    f->starting--;
    wake_starter(f);
}

void fleet_open_gate(struct fleet *f)
{
    f->is_gate_open = true;
    wake_starter(f);
}

void fleet_close_gate(struct fleet *f)
{
    f->is_gate_open = false;
}

void fleet_start(struct fleet *f)
{
    f->rate_since_ms = loop_now_ms(f->loop);
    f->rate_started = 0;
    for (unsigned i = 0; i < f->n; i++)
        fleet_ready(f, &f->sims[i]);
    fleet_open_gate(f);
}

/* --- what nodes know --- */

void fleet_sim_changed(struct sim *s)
{
    struct fleet *f = s->fleet;
    const struct view_class *class = &f->classes[s->class].view;
    bool is_complete = s->has_first_map && view_is_complete(&s->view, class);
    if (s->has_first_map && !s->knows_all_endpoints && s->view.endpoints_n == class->expected) {
        s->knows_all_endpoints = true;
        f->last_endpoints_us = f->now_us;
    }
    if (is_complete == s->is_complete)
        return;
    s->is_complete = is_complete;
    if (!is_complete) {
        f->complete--;
        return;
    }
    f->complete++;
    f->last_complete_us = f->now_us;
    hist_add(&f->stats.converge, f->now_us - f->converge_since_us);
}

static void count_fault(struct fleet *f, const char *what)
{
    f->stats.wrong_records++;
    errors_add(&f->errors, "a record of a node: %s", what);
}

static bool has_sent(const struct sim *s, uint32_t endpoints)
{
    for (unsigned i = 0; i < s->sent_n; i++) {
        if (s->sent[i] == endpoints)
            return true;
    }
    return false;
}

static bool is_among(uint32_t wanted, const uint32_t *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i] == wanted)
            return true;
    }
    return false;
}

static const char *addresses_fault(const struct sim *s, const struct scan_record *r)
{
    if (r->address_n == 0)
        return "no addresses";
    for (unsigned i = 0; i < r->address_n; i++) {
        if (s->id != 0 && !is_among(r->addresses[i], s->addresses, SCAN_ADDRESSES_MAX))
            return "an address that is not its own";
        if (r->allowed_n < SCAN_ALLOWED_MAX && !is_among(r->addresses[i], r->allowed, r->allowed_n))
            return "an address that is not in AllowedIPs";
    }
    return NULL;
}

/* What of a whole record never changes, or must be there. */
static const char *record_fault(const struct sim *s, const struct scan_record *r)
{
    static uint32_t linux_digest;
    if (linux_digest == 0)
        linux_digest = scan_digest(STR("linux"));
    struct str key = str_n(r->key, r->key_n);
    if (!str_eq_c(key, s->key_text) && !str_eq_c(key, s->old_key_text))
        return "another node key";
    if (r->machine != 0 && r->machine != s->machine_digest) /* peers are shown without one */
        return "another machine key";
    if (r->disco != 0 && r->disco != s->disco_digest)
        return "another disco key";
    if (!r->has_name || !r->has_stable_id)
        return "no Name or StableID";
    if (!r->has_user)
        return "no User";
    if (r->is_refused)
        return "the machine is not authorised";
    if (!r->has_hostinfo || r->hostinfo_os != linux_digest)
        return "Hostinfo without its OS";
    return addresses_fault(s, r);
}

/* Each record once, however many nodes it is sent to. */
static void look(void *ctx, const struct scan_record *r, int index, bool is_patch)
{
    struct fleet *f = ctx;
    if (index < 0 || (unsigned)index >= f->n)
        return;
    const struct sim *s = &f->sims[index];
    if (r->endpoint_n > 0 && !has_sent(s, r->endpoints))
        count_fault(f, "endpoints that it never told");
    const char *what = f->is_deep && !is_patch ? record_fault(s, r) : NULL;
    if (what != NULL)
        count_fault(f, what);
}

struct examples {
    struct fleet *fleet;
    struct errors *out;
};

static void add_example(void *ctx, unsigned viewer, unsigned peer, const char *what)
{
    struct examples *e = ctx;
    char a[64], b[64];
    if (e->out == NULL || e->out->n >= EXAMPLES_MAX)
        return;
    sim_host_name(&e->fleet->sims[viewer], a);
    sim_host_name(&e->fleet->sims[peer], b);
    errors_add(e->out, "%s %s %s", a, what, b);
}

void fleet_verify(struct fleet *f, struct view_report *r, struct errors *examples)
{
    struct examples e = {f, examples};
    struct view_facts *stated = f->keeps_facts ? mem_zalloc(f->n, sizeof(*stated)) : NULL;
    *r = (struct view_report){0};
    for (unsigned i = 0; stated != NULL && i < f->n; i++)
        sim_describe(&f->sims[i], &stated[i]);
    for (unsigned i = 0; i < f->n; i++) {
        const struct sim *s = &f->sims[i];
        struct view_truth truth = {&f->classes[s->class].view, f->n, stated, add_example, &e};
        if (!s->is_paused)
            view_check(&s->view, &truth, r);
    }
    mem_free(stated);
}

uint64_t fleet_visible_pairs(const struct fleet *f)
{
    uint64_t pairs = 0;
    for (unsigned i = 0; i < f->class_n; i++)
        pairs += (uint64_t)f->classes[i].size * f->classes[i].view.expected;
    return pairs;
}

unsigned fleet_receivers(const struct fleet *f, const struct sim *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < f->class_n; i++) {
        if (bit_get(f->classes[i].view.visible, s->index))
            n += f->classes[i].size - (i == s->class);
    }
    return n;
}

uint64_t fleet_random(uint64_t *random)
{
    uint64_t x = *random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *random = x;
}

unsigned *fleet_shuffle(const struct fleet *f, uint64_t *random)
{
    unsigned *order = mem_zalloc(f->n, sizeof(*order));
    for (unsigned i = 0; i < f->n; i++) {
        unsigned k = (unsigned)(fleet_random(random) % (i + 1));
        order[i] = order[k];
        order[k] = i;
    }
    return order;
}

/* --- waiting --- */

static void say_progress(struct fleet *f)
{
    bool is_tty = f->target->table != NULL && isatty(fileno(f->target->table));
    int64_t now = loop_now_ms(f->loop);
    if (f->target->table == NULL || f->doing == NULL ||
        now - f->progress_at_ms < (is_tty ? PROGRESS_TTY_MS : PROGRESS_MS))
        return;
    f->progress_at_ms = now;
    f->has_progress = is_tty;
    fprintf(f->target->table, "%s%s: %u of %u nodes connected, %u know all their peers, %.0f MB received%s",
            is_tty ? "\r" : "", f->doing, f->connected, f->n, f->complete, (double)f->wire.in / 1e6,
            is_tty ? "\033[K" : "\n");
    fflush(f->target->table);
}

static void clear_progress(struct fleet *f)
{
    if (f->has_progress)
        fputs("\r\033[K", f->target->table);
    f->has_progress = false;
}

static void run_tick(void *ctx)
{
    struct fleet *f = ctx;
    int64_t now = loop_now_ms(f->loop);
    LIST_EACH_SAFE (it, &f->waiting) {
        struct sim *s = LIST_ENTRY(it, struct sim, entry);
        if (s->due_ms <= now)
            fleet_ready(f, s);
    }
    if (now - f->swept_at_ms >= SWEEP_MS) {
        f->swept_at_ms = now;
        for (unsigned i = 0; f->sims != NULL && i < f->n; i++)
            sim_check_deadline(&f->sims[i], now);
    }
    if (now - f->peak_at_ms >= PEAK_MS) {
        f->peak_at_ms = now;
        watch_peak(f);
    }
    if (f->on_tick != NULL)
        f->on_tick(f, f->on_tick_ctx);
    wake_starter(f);
    say_progress(f);
    loop_stop(f->loop);
}

bool fleet_wait(struct fleet *f, const char *doing, int64_t limit_ms, bool (*is_done)(struct fleet *f, void *ctx),
                void *ctx)
{
    int64_t end = clock_mono_ms() + limit_ms;
    bool done = false;
    f->doing = doing;
    f->progress_at_ms = loop_now_ms(f->loop);
    while (!(done = is_done != NULL && is_done(f, ctx)) && clock_mono_ms() < end && !fleet_is_interrupted() &&
           proc_is_alive(f->pid))
        loop_run(f->loop);
    clear_progress(f);
    f->doing = NULL;
    return done;
}

static bool is_complete(struct fleet *f, void *ctx)
{
    (void)ctx;
    return f->complete == f->n;
}

bool fleet_wait_complete(struct fleet *f, int64_t limit_ms)
{
    return fleet_wait(f, "waiting", limit_ms, is_complete, NULL);
}

bool fleet_settle(struct fleet *f, int64_t quiet_ms, int64_t limit_ms)
{
    int64_t end = clock_mono_ms() + limit_ms;
    struct proc_cpu last = fleet_server_cpu(f);
    while (clock_mono_ms() < end && !fleet_is_interrupted() && proc_is_alive(f->pid)) {
        (void)fleet_wait(f, "settling", 1000, NULL, NULL);
        struct proc_cpu cpu = fleet_server_cpu(f);
        bool is_busy = proc_cpu_between(&last, &cpu).total_ns >= BUSY_NS_PER_S;
        last = cpu;
        if (!is_busy && clock_mono_us() - f->last_data_us >= quiet_ms * 1000)
            return true;
    }
    return false;
}

/* --- life --- */

void fleet_reset_stats(struct fleet *f)
{
    f->stats = (struct fleet_stats){0};
    f->converge_since_us = clock_mono_us();
}

static enum rc check_limits(const struct bench_fleet_opts *o, bool keeps_facts, struct err *err)
{
    enum { NODES_MAX = 100000, FACTS_NODES_MAX = 4000 };
    if (o->nodes == 0 || o->nodes > NODES_MAX)
        return err_set(err, RC_INVALID, "between 1 and %d nodes can be simulated", NODES_MAX);
    if (keeps_facts && o->nodes > FACTS_NODES_MAX)
        return err_set(err, RC_INVALID, "with every pair of nodes checked in depth, %d nodes are the most",
                       FACTS_NODES_MAX);
    uint64_t limit = proc_raise_fd_limit((uint64_t)o->nodes + 1024);
    if (limit < (uint64_t)o->nodes + SPARE_FDS)
        return err_set(err, RC_LIMIT,
                       "%u nodes need %u open files, and %llu is this process's hard limit: raise it (ulimit -Hn) or "
                       "simulate fewer",
                       o->nodes, o->nodes + SPARE_FDS, (unsigned long long)limit);
    return RC_OK;
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static void init_sims(struct fleet *f)
{
    unsigned *class_of = fleet_classes_deal(f);
    roster_init(&f->roster, f->n);
    frame_cache_init(&f->frames, &f->roster, look, f);
    f->sims = mem_zalloc(f->n, sizeof(*f->sims));
    for (unsigned i = 0; i < f->n; i++)
        sim_init(&f->sims[i], f, i, class_of[i]);
    mem_free(class_of);
}

enum rc fleet_create(const struct bench_fleet_opts *opts, const struct report_target *target, struct fleet **out,
                     struct err *err)
{
    bool is_deep = strcmp(opts->check, "deep") == 0;
    bool keeps_facts = is_deep || strstr(opts->steps, "soak") != NULL;
    struct bench_url url;
    TRY(bench_url_parse(opts->server, &url, err));
    if (url.is_tls)
        return err_set(err, RC_INVALID, "only http:// is measured: %s", opts->server);
    TRY(check_limits(opts, keeps_facts, err));
    crypto_init();
    TRY(log_set_level(NULL, LOG_ERROR)); /* what goes wrong is counted and told in the report */
    catch_signals();
    struct fleet *f = MEM_NEW(struct fleet);
    *out = f;
    f->opts = opts;
    f->target = target;
    f->url = url;
    f->n = opts->nodes;
    f->pid = opts->server_pid;
    f->is_deep = is_deep;
    f->keeps_facts = keeps_facts;
    f->concurrency = opts->concurrency;
    list_init(&f->waiting);
    list_init(&f->ready);
    f->loop = loop_create(0);
    f->tick = loop_timer_create(f->loop, run_tick, f);
    f->starter = loop_timer_create(f->loop, run_starter, f);
    loop_timer_start(f->tick, TICK_MS, TICK_MS);
    enum rc rc = fleet_classes_load(f, err);
    if (rc == RC_OK)
        rc = fleet_fetch_key(f, err);
    if (rc == RC_OK)
        init_sims(f);
    else
        fleet_destroy(out);
    return rc;
}

void fleet_destroy(struct fleet **at)
{
    struct fleet *f = *at;
    *at = NULL;
    if (f == NULL)
        return;
    f->is_gate_open = false;
    for (unsigned i = 0; f->sims != NULL && i < f->n; i++)
        sim_fini(&f->sims[i]);
    mem_free(f->sims);
    if (f->sims != NULL) {
        frame_cache_fini(&f->frames);
        roster_fini(&f->roster);
    }
    fleet_classes_fini(f);
    loop_timer_destroy(&f->tick);
    loop_timer_destroy(&f->starter);
    loop_destroy(&f->loop);
    mem_free(f);
}
