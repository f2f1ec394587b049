#include "control/testing_crowd.h"

void crowd_join(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    for (size_t i = 0; i < crowd->n; i++) {
        struct registration reg = {
            .machine = crowd->machine, .key = crowd->keys[i], .auth_key = str_c(crowd->auth_key)};
        struct register_result result;
        if (i > 0)
            reg.machine.b[1] = (uint8_t)i, reg.machine.b[2] = 99;
        state_register(st, &reg, now_ms, &result);
        RIG_CHECK(result.outcome == REGISTER_OK);
    }
}

void crowd_leave(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    (void)now_ms;
    for (size_t i = 0; i < crowd->n; i++) {
        struct err err;
        RIG_CHECK(state_node_delete(st, state_node_by_key(st, &crowd->keys[i])->id, &err) == RC_OK);
    }
}

void crowd_move(struct state *st, int64_t now_ms, void *ctx)
{
    struct crowd *crowd = ctx;
    struct addr at[ENDPOINTS_MAX] = {{0}};
    const struct node *n;
    (void)now_ms;
    crowd->round++;
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        at[i] = (struct addr){.family = 4, .port = crowd->round, .ip = {192, 0, 2, (uint8_t)i}};
    for (size_t i = 0; i < crowd->n; i++) {
        struct node_report report = {.endpoints = at, .endpoints_n = ARRAY_LEN(at)};
        machine_key machine = state_node_by_key(st, &crowd->keys[i])->machine;
        RIG_CHECK(state_node_report(st, &crowd->keys[i], &machine, &report, &n) == RC_OK);
    }
}

void crowd_init(struct crowd *crowd, size_t n)
{
    *crowd = (struct crowd){.n = n, .auth_key = control_rig_key(rig, &(struct auth_key_spec){.is_reusable = true})};
    rng_bytes(&crowd->machine, sizeof(crowd->machine));
    rng_bytes(crowd->keys, sizeof(crowd->keys));
    crowd->machine.b[2] = 0; /* which distinguishes the first from the others, see crowd_join */
}

void crowd_move_and_send(struct crowd *crowd)
{
    int64_t before = metric_read("fullscale_core_fanouts_total", "");
    control_rig_on_core(rig, crowd_move, crowd);
    while (metric_read("fullscale_core_fanouts_total", "") == before)
        control_rig_settle(rig);
    control_rig_settle(rig);
}

void crowd_move_and_publish(struct crowd *crowd)
{
    int64_t before = metric_read("fullscale_core_publications_total", "");
    control_rig_on_core(rig, crowd_move, crowd);
    while (metric_read("fullscale_core_publications_total", "") == before)
        control_rig_settle(rig);
    control_rig_settle(rig);
}
