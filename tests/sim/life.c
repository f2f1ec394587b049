/* How the simulated tailnet begins and ends. */
#include "sim/world_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

#include "crypto/crypto.h"

static void make_machines(struct sim *s)
{
    unsigned user = 0;
    int tag = -1;
    for (size_t i = 0; i < s->machine_n; i++) {
        struct machine *m = &s->machines[i];
        /* Half of them come in runs of one owner. */
        if (i / 64 % 2 == 0 || i % 16 == 0) {
            user = sim_below(s, (uint32_t)s->user_n);
            tag = sim_below(s, 100) < 35 ? (int)sim_below(s, PLAN_TAGS) : -1;
        }
        sim_random_bytes(s, &m->key, sizeof(m->key));
        *m = (struct machine){.key = m->key, .user = user, .tag = tag, .router = -1};
        m->is_ephemeral = sim_below(s, 16) == 0;
        if (i % 80 == 5 || i % 80 == 9) {
            m->router = (int)(i / 80);
            m->tag = sim_below(s, 2) == 0 ? m->router % 4 : (int)sim_below(s, 4);
        }
        if (i < 5)
            m->tag = i < 3 ? PLAN_TAG_MONITOR : PLAN_TAG_PUBLIC;
    }
}

static void make_state(struct sim *s)
{
    struct state_options options = {.v4_bits = 10,
                                    .v6_bits = 48,
                                    .ephemeral_timeout_ms = SIM_EPHEMERAL_MS,
                                    .offline_grace_ms = SIM_OFFLINE_GRACE_MS,
                                    .newcomer_ms = SIM_NEWCOMER_MS};
    char tag[16];
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &options.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &options.v6_prefix), RC_OK);
    s->st = state_create(&options, sim_make_settings(s));
    for (unsigned i = 0; i < s->user_n; i++)
        sim_make_user(s, i);
    for (unsigned i = 0; i < PLAN_TAGS_N; i++) {
        plan_tag_name(i, tag);
        sim_make_key(s, 0, tag, s->tag_keys[i]);
    }
}

/* Most of them poll; those after the first half see each other come. */
static void make_nodes(struct sim *s)
{
    for (size_t i = 0; i < s->machine_n; i++) {
        sim_join(s, &s->machines[i], true, sim_below(s, 8) == 0 ? s->now_ms + 1000 + sim_below(s, 400000) : 0);
        if (s->machines[i].router >= 0)
            sim_approve(s, &s->machines[i]);
        if (sim_below(s, 2) == 0)
            sim_poll_begin(s, &s->machines[i]);
    }
    sim_commit_all(s);
    sim_publish(s);
    for (size_t i = 0; i < s->machine_n; i++) {
        if (s->machines[i].poll == POLL_NONE && sim_below(s, 3) != 0)
            sim_poll_begin(s, &s->machines[i]);
        if (i == s->machine_n / 2)
            sim_publish(s);
    }
    sim_publish(s);
}

void sim_init(struct sim *s, uint64_t seed, size_t nodes, size_t users, bool has_plan)
{
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->random.state = seed * 2654435761u + 1;
    s->now_ms = 1800000000000;
    s->user_n = users;
    s->machine_n = nodes;
    s->machines = mem_zalloc(nodes, sizeof(*s->machines));
    s->may_have_no_plan = !has_plan;
    for (unsigned i = 0; i < PLANS; i++)
        plan_make(&s->plans[i], i, users, &s->random);
    make_state(s);
    make_machines(s);
    sim_commit_all(s);
    if (has_plan)
        sim_set_plan(s, &s->plans[0]);
    make_nodes(s);
}

void sim_fini(struct sim *s)
{
    for (size_t i = 0; i < s->machine_n; i++)
        sim_poll_end(s, &s->machines[i]);
    sim_commit_all(s);
    state_destroy(&s->st);
    netmap_pieces_fini(&s->pieces);
    netmap_ctx_fini(&s->netmap);
    mem_free(s->machines);
    for (size_t i = 0; i < s->disk_cap; i++) {
        if (s->disk[i] != NULL)
            node_unref(&s->disk[i]);
    }
    mem_free(s->disk);
    client_fini();
    look_fini();
}
