/* The life of a fleet. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum { SPARE_FDS = 64 };

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

static void init_sims(struct fleet *f)
{
    unsigned *class_of = fleet_classes_deal(f);
    roster_init(&f->roster, f->n);
    frame_cache_init(&f->frames, &f->roster, fleet_check_record, f);
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
    TRY(log_set_level(NULL, LOG_ERROR)); /* errors are counted and reported */
    struct fleet *f = MEM_NEW(struct fleet);
    *out = f;
    f->opts = opts;
    f->target = target;
    f->url = url;
    f->n = opts->nodes;
    f->pid = opts->server_pid;
    f->is_deep = is_deep;
    f->keeps_facts = keeps_facts;
    f->loop = loop_create(0);
    fleet_gate_init(f, sim_connect);
    fleet_wait_init(f, sim_check_deadline);
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
