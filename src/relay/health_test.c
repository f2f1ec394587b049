#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/metric.h"
#include "relay/health.h"
#include "relay/rig_internal.h"

enum { START_MS = 1000000 };

struct fixture {
    struct rig rig;
    struct relay_health *health;
};

static void free_health(void *obj)
{
    struct relay_health *health = obj;
    relay_health_destroy(&health);
}

static void start(struct fixture *f, unsigned max_conns)
{
    struct relay_opts opts = rig_default_opts;
    opts.max_conns = max_conns;
    rig_start(&f->rig, &opts, NULL);
    f->health = relay_health_create(f->rig.relay, 2, START_MS);
    rig_cleanup_add(free_health, f->health, f->health);
}

static void stop(struct fixture *f)
{
    rig_cleanup_now(f->health);
    rig_stop(&f->rig);
}

static void expect(struct fixture *f, int64_t now_ms, bool is_good)
{
    assert_int_equal(relay_health_check(f->health, now_ms), is_good);
    assert_int_equal(metric_read("fullscale_derp_healthy", ""), is_good);
}

static void test_a_listener_that_takes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 0);
    expect(&f, START_MS, true);
    relay_health_report(f.health, 1, false, START_MS + 1000);
    expect(&f, START_MS + 1000, true); /* a client that comes to it tries again, and gets to the other */
    relay_health_report(f.health, 0, false, START_MS + 1000);
    expect(&f, START_MS + 1000, false);
    relay_health_report(f.health, 1, true, START_MS + 2000);
    expect(&f, START_MS + 2000, true);
    stop(&f);
}

static void test_a_worker_that_is_stuck(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 0);
    relay_health_report(f.health, 0, true, START_MS + RELAY_HEALTH_STALE_MS);
    expect(&f, START_MS + RELAY_HEALTH_STALE_MS, true);
    expect(&f, START_MS + RELAY_HEALTH_STALE_MS + 1, false); /* worker 1 has not reported */
    relay_health_report(f.health, 1, true, START_MS + RELAY_HEALTH_STALE_MS + 2);
    expect(&f, START_MS + RELAY_HEALTH_STALE_MS + 2, true);
    stop(&f);
}

static void test_a_full_relay(void **state)
{
    (void)state;
    struct fixture f;
    struct rig_client c;
    start(&f, 1);
    rig_connect(&f.rig, &c, 1, 0);
    expect(&f, START_MS, true); /* a stranger takes no place of a known client */
    rig_login(&f.rig, &c, false);
    rig_run(&f.rig);
    expect(&f, START_MS, false);
    rig_close(&c);
    rig_run(&f.rig);
    expect(&f, START_MS, true);
    stop(&f);
}

static void test_a_relay_that_drains(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 0);
    relay_drain(f.rig.relay, 0);
    expect(&f, START_MS, false);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_a_listener_that_takes_nothing, rig_tear_down),
        cmocka_unit_test_teardown(test_a_worker_that_is_stuck, rig_tear_down),
        cmocka_unit_test_teardown(test_a_full_relay, rig_tear_down),
        cmocka_unit_test_teardown(test_a_relay_that_drains, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
