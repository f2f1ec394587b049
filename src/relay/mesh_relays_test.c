/* Links between two or three relays of ours, over in-memory streams and HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/mesh_rig_internal.h"

static const uint8_t disco[62] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

static void test_both_ways(void **state)
{
    (void)state;
    for (unsigned loops = 1; loops <= 3; loops++) {
        struct mesh_rig m;
        struct rig_client a, b;
        mesh_rig_start(&m, 2, loops);
        mesh_rig_link(&m);
        mesh_rig_join(&m, &a, 0, 0, 1);
        mesh_rig_join(&m, &b, 1, loops - 1, 2);
        assert_int_equal(rig_count("watchers", ""), 2);
        assert_int_equal(rig_count("clients_remote", ""), 2);
        int64_t out = rig_count("packets_forwarded_out_total", ""), in = rig_count("packets_forwarded_in_total", "");
        for (unsigned i = 0; i < 3; i++) {
            rig_send(&a, &b, "ping", 4);
            rig_send(&a, &b, disco, sizeof(disco));
            mesh_rig_run(&m);
            rig_expect_packet(&b, &a, disco, sizeof(disco));
            rig_expect_packet(&b, &a, "ping", 4);
            rig_send(&b, &a, "pong", 4);
            mesh_rig_run(&m);
            rig_expect_packet(&a, &b, "pong", 4);
        }
        assert_int_equal(rig_count("packets_forwarded_out_total", ""), out + 9);
        assert_int_equal(rig_count("packets_forwarded_in_total", ""), in + 9);
        rig_close(&b);
        mesh_rig_run(&m);
        rig_expect_gone(&a, &b, DERP_GONE_DISCONNECTED); /* it has left the region */
        rig_send(&a, &b, disco, sizeof(disco));
        mesh_rig_run(&m);
        rig_expect_gone(&a, &b, DERP_GONE_NOT_HERE);
        rig_expect_nothing(&a);
        rig_close(&a);
        mesh_rig_stop(&m);
        assert_int_equal(rig_count("clients_remote", ""), 0);
        assert_int_equal(rig_count("watchers", ""), 0);
    }
}

/* A key with connections at two relays has left the region only when it is at neither. */
static void test_gone_from_the_region(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, here, there;
    mesh_rig_start(&m, 2, 2);
    mesh_rig_link(&m);
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &here, 0, 1, 2);
    mesh_rig_join(&m, &there, 1, 0, 2);
    rig_send(&here, &a, "1", 1);
    rig_send(&a, &here, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &here, "1", 1);
    rig_expect_packet(&here, &a, "2", 1); /* a connection here is preferred */
    rig_expect_nothing(&there);
    rig_close(&here);
    mesh_rig_run(&m);
    rig_expect_nothing(&a);
    rig_send(&a, &there, "3", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&there, &a, "3", 1);
    rig_send(&there, &a, "4", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &there, "4", 1);
    rig_close(&there);
    mesh_rig_run(&m);
    rig_expect_gone(&a, &there, DERP_GONE_DISCONNECTED);
    rig_expect_nothing(&a);
    rig_close(&a);
    mesh_rig_stop(&m);
}

/* A key at two neighbours: the first that reported it gets the packets, then the other. */
static void test_first_seen_is_preferred(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, first, second;
    mesh_rig_start(&m, 3, 2);
    mesh_rig_link(&m);
    int64_t created = rig_count("multiforwarder_created_total", "");
    int64_t deleted = rig_count("multiforwarder_deleted_total", "");
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &first, 1, 0, 2);
    mesh_rig_join(&m, &second, 2, 1, 2);
    assert_int_equal(rig_count("multiforwarder_created_total", ""), created + 1);
    rig_send(&a, &first, "1", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&first, &a, "1", 1);
    rig_close(&first);
    mesh_rig_run(&m);
    assert_int_equal(rig_count("multiforwarder_deleted_total", ""), deleted + 1);
    rig_send(&a, &second, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&second, &a, "2", 1);
    mesh_rig_join(&m, &first, 1, 0, 2); /* again; now the other is older */
    rig_send(&a, &first, "3", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&second, &a, "3", 1);
    rig_expect_nothing(&first);
    rig_close(&first);
    rig_close(&second);
    rig_close(&a);
    mesh_rig_stop(&m);
}

static void cut_links(struct mesh_rig *m, unsigned i)
{
    m->is_cut[i] = true;
    for (unsigned k = 0; k < m->loop_n; k++)
        mesh_close_links(&m->relays[i]->workers[k]);
    relay_close_key(m->relays[i], (const node_key *)relay_public_key(m->relays[1 - i]));
    mesh_rig_run(m);
}

static void test_loss_and_return(void **state)
{
    (void)state;
    struct mesh_rig m;
    struct rig_client a, b;
    mesh_rig_start(&m, 2, 1);
    mesh_rig_link(&m);
    mesh_rig_join(&m, &a, 0, 0, 1);
    mesh_rig_join(&m, &b, 1, 0, 2);
    rig_send(&b, &a, "1", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&a, &b, "1", 1);
    cut_links(&m, 1);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(rig_count("clients_remote", ""), 0);
    rig_expect_gone(&a, &b, DERP_GONE_DISCONNECTED);
    rig_send(&a, &b, disco, sizeof(disco));
    relay_test_advance(m.relays[0], 6000); /* in vain */
    mesh_rig_run(&m);
    rig_expect_gone(&a, &b, DERP_GONE_NOT_HERE);
    m.is_cut[1] = false;
    relay_test_advance(m.relays[0], 4000);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0); /* not before 5 s */
    relay_test_advance(m.relays[0], 1500);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 1);
    rig_send(&a, &b, "2", 1);
    mesh_rig_run(&m);
    rig_expect_packet(&b, &a, "2", 1);
    rig_expect_nothing(&a);
    rig_close(&a);
    rig_close(&b);
    mesh_rig_stop(&m);
}

/* The list can be replaced at any time; what is in both lists lives on. */
static void test_lists(void **state)
{
    (void)state;
    static const struct relay_neighbour one = {.host = "r1", .dial = "192.0.2.1"};
    static const struct relay_neighbour two = {.host = "r2", .dial = "192.0.2.1"};
    struct mesh_rig m;
    mesh_rig_start(&m, 3, 2);
    struct relay_neighbour both[2] = {one, two};
    relay_mesh_set(m.relays[0], both, 2);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 2);
    unsigned accepts = (unsigned)rig_count("accepts_total", "");
    relay_mesh_set(m.relays[0], &two, 1);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 1);
    assert_int_equal(relay_client_count(m.relays[1]), 0);
    assert_int_equal(relay_client_count(m.relays[2]), 1);
    relay_mesh_set(m.relays[0], &two, 1);
    mesh_rig_run(&m);
    assert_int_equal(rig_count("accepts_total", ""), accepts);
    relay_mesh_set(m.relays[0], both, 2);
    relay_mesh_set(m.relays[0], NULL, 0); /* before the loops have run */
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(relay_client_count(m.relays[2]), 0);
    relay_mesh_set(m.relays[0], both, 2);
    mesh_rig_stop(&m); /* with messages under way */
}

static void test_draining_ends_links(void **state)
{
    (void)state;
    struct mesh_rig m;
    mesh_rig_start(&m, 2, 1);
    mesh_rig_link(&m);
    relay_drain(m.relays[0], 0);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[0]), 0);
    assert_int_equal(relay_mesh_links(m.relays[1]), 0);
    relay_test_advance(m.relays[1], 6000);
    mesh_rig_run(&m);
    assert_int_equal(relay_mesh_links(m.relays[1]), 0); /* refused */
    mesh_rig_stop(&m);
}

/* A relay without a mesh key makes no links. */
static void test_no_key_no_links(void **state)
{
    (void)state;
    static const struct relay_neighbour at = {.host = "192.0.2.1"};
    struct rig r;
    rig_start(&r, NULL, NULL);
    relay_mesh_set(r.relay, &at, 1);
    rig_run(&r);
    assert_true(list_is_empty(&r.relay->workers[0].mesh_links));
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_both_ways, rig_tear_down),
        cmocka_unit_test_teardown(test_gone_from_the_region, rig_tear_down),
        cmocka_unit_test_teardown(test_first_seen_is_preferred, rig_tear_down),
        cmocka_unit_test_teardown(test_loss_and_return, rig_tear_down),
        cmocka_unit_test_teardown(test_lists, rig_tear_down),
        cmocka_unit_test_teardown(test_draining_ends_links, rig_tear_down),
        cmocka_unit_test_teardown(test_no_key_no_links, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
