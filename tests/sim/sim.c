/* Ten thousand nodes, whatever happens to them, and clients that follow by what they are sent alone: in the end, and
 * at moments between, each has what a naive reading of state and policy says.
 *
 * Two tailnets: one of 10,000 nodes under policies that let each see about a hundred others (and a few see all),
 * and one of 1,500 in which there may be no policy at all. Joins, keys, log-outs, expiry, tags, names, routes and who
 * takes them over, users, policies, settings, presence and time are drawn from a seed; publications gather as many
 * events as they happen to; the disk is behind; clients hang up, come back, and some are too slow for each step.
 *
 * What is compared: of every client all peers (of 10,000 x 10,000 pairs which are there, of those that are, each
 * member of the node), itself, profiles, DERP map and DNS; of some hundred, half of them such that something has
 * happened to them, the packet filter as a set and the SSH policy. Between, the same of samples. The sessions' rules
 * (what is sent when) are those of control/session.c, written again here: that file is not part of this.
 *
 * SIM_SEED, SIM_NODES, SIM_STEPS: another run than that of `make test`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "crypto/crypto.h"
#include "sim/sim.h"

enum { SEED = 1, NODES = 10000, STEPS = 36, OPEN_NODES = 1500, OPEN_STEPS = 60, OPEN_USERS = 40 };

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t v;
    return text != NULL && str_to_u64(str_c(text), &v) == RC_OK && v > 0 ? v : otherwise;
}

#define U(x) ((unsigned long long)(x))

static void print_counts(const struct sim *s, int64_t started_us)
{
    const struct sim_counts *c = &s->counts;
    const struct client_counts *k = &client_counts;
    print_message("# seed %llu: %zu nodes, %llu events, %llu publications of %llu items, %llu policies\n", U(s->seed),
                  state_node_count(s->st), U(c->events), U(c->publications), U(c->items), U(c->policies));
    print_message("# %llu polls, %llu full maps (%llu fell behind, %llu began afresh), %llu deltas, %llu messages "
                  "read, %llu of %llu buffers again\n",
                  U(c->polls), U(c->fulls), U(c->behind), U(c->afresh), U(c->deltas), U(k->messages), U(k->read_again),
                  U(k->read_again + k->read_once));
    print_message("# %llu ephemeral nodes gone, %llu nodes that learnt that they are gone, %llu refused\n",
                  U(c->ephemeral_gone), U(c->gone), U(c->refused));
    print_message("# compared: %llu views, %llu peers in them (%llu of routers, %llu routes not shown; without %llu "
                  "newcomers), %llu filters of %llu entries, %llu SSH rules\n",
                  U(c->views), U(c->pairs), U(c->router_pairs), U(c->hidden_routes), U(c->newcomers), U(c->filters),
                  U(c->filter_whats), U(c->ssh_rules));
    print_message("# %llu patches and %llu removals of peers that were not there; %zu looks; %.1f s\n",
                  U(k->idle_patches), U(k->idle_removals), look_count(),
                  (double)(clock_thread_cpu_us() - started_us) / 1e6);
}

/* Events of every kind have happened in the run. */
static void check_counts(const struct sim_counts *c, bool has_plan)
{
    assert_true(c->behind > 0 && c->gone > 0 && c->policies > 2 && c->ephemeral_gone > 0);
    assert_true(c->router_pairs > 0 && c->hidden_routes > 0 && c->ssh_rules > 0 && c->newcomers > 0);
    assert_true(!has_plan || c->afresh > 0);
}

/* `every` so many steps a sample is compared: some faults are undone by what comes next. */
static void run(size_t nodes, size_t users, size_t steps, bool has_plan, size_t every)
{
    static struct sim sim;
    struct sim *s = &sim;
    int64_t started_us = clock_thread_cpu_us();
    client_counts = (struct client_counts){0};
    print_message("# SIM_SEED=%llu SIM_NODES=%zu SIM_STEPS=%zu\n", U(from_env("SIM_SEED", SEED)), nodes, steps);
    sim_init(s, from_env("SIM_SEED", SEED), nodes, users, has_plan);
    for (size_t i = 0; i < steps; i++) {
        sim_step(s);
        if (i % every == every - 1) {
            sim_settle(s);
            reference_compare(s, nodes / 50, 40);
        }
        if (i == steps / 2) {
            sim_settle(s);
            reference_compare(s, nodes, 300);
        }
    }
    sim_join_some(s, nodes / 20); /* newcomers, whatever the steps were */
    sim_settle(s);
    reference_compare(s, nodes, 400);
    print_counts(s, started_us);
    if (nodes >= 1000 && steps >= OPEN_STEPS / 2)
        check_counts(&s->counts, has_plan);
    sim_fini(s);
}

static void test_each_sees_about_a_hundred(void **state)
{
    (void)state;
    run(from_env("SIM_NODES", NODES), PLAN_USERS, from_env("SIM_STEPS", STEPS), true, 10);
}

static void test_all_see_all(void **state)
{
    (void)state;
    size_t nodes = from_env("SIM_NODES", OPEN_NODES);
    run(nodes < OPEN_NODES ? nodes : OPEN_NODES, OPEN_USERS, from_env("SIM_STEPS", OPEN_STEPS), false, 2);
}

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_sees_about_a_hundred),
        cmocka_unit_test(test_all_see_all),
    };
    return cmocka_run_group_tests_name("sim", tests, set_up, NULL);
}
