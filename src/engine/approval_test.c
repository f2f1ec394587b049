/* Tags, approvals and attributes. */
#include "engine/approval.h"
#include "engine/testing.h"

static void test_tags_belong_to_owners(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{\"groups\":{\"group:g\":[\"cyd@other.org\"]},\"tagOwners\":{\"tag:a\":[\"tag:b\"],\"tag:b\":"
        "[\"tag:a\",\"group:g\"],\"tag:c\":[],\"tag:d\":[\"autogroup:member\"]}}");
    static const struct str b[] = {STR("tag:b"), STR("tag:zz")};
    assert_true(engine_user_may_tag(p, 3, STR("tag:a")));
    assert_true(engine_user_may_tag(p, 3, STR("tag:b")));
    assert_false(engine_user_may_tag(p, 3, STR("tag:c")));
    assert_true(engine_user_may_tag(p, 4, STR("tag:d")));
    assert_false(engine_user_may_tag(p, 4, STR("tag:a")));
    assert_true(engine_user_may_tag(p, 1, STR("tag:c")));
    assert_true(engine_user_may_tag(p, 2, STR("tag:c")));
    assert_false(engine_user_may_tag(p, 1, STR("tag:none")));
    assert_false(engine_user_may_tag(p, 99, STR("tag:d")));
    assert_true(engine_tags_may_tag(p, b, 2, STR("tag:a")));
    assert_false(engine_tags_may_tag(p, b, 2, STR("tag:c")));
    assert_false(engine_tags_may_tag(p, b, 0, STR("tag:a")));
    assert_true(engine_knows_tag(p, STR("tag:a")));
    assert_false(engine_knows_tag(p, STR("tag:zz")));
    engine_destroy(&p);
}

static void test_approvers_approve(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:router\"],\"0.0.0.0/0\":"
        "[\"ann@example.com\"],\"fd00::/16\":[\"autogroup:member\"]},\"exitNode\":[\"autogroup:tagged\"],"
        "\"services\":{\"svc:web\":[\"tag:server\"]}}}");
    struct addr net = test_addr("10.1.0.0"), six = test_addr("fd00:1::"), zero = test_addr("0.0.0.0");
    assert_true(engine_may_approve_route(p, ROUTER, &net, 16));
    assert_true(engine_may_approve_route(p, ROUTER, &net, 8));
    assert_false(engine_may_approve_route(p, ROUTER, &net, 7));
    assert_true(engine_may_approve_route(p, ANN, &net, 7));
    assert_false(engine_may_approve_route(p, SERVER, &net, 16));
    assert_true(engine_may_approve_route(p, BOB, &six, 32));
    assert_false(engine_may_approve_route(p, ROUTER, &six, 32));
    assert_true(engine_may_approve_route(p, EXIT, &zero, 0));
    assert_false(engine_may_approve_route(p, ANN, &zero, 0));
    assert_false(engine_may_approve_route(p, 99, &net, 16));
    assert_true(engine_may_approve_service(p, SERVER, STR("svc:web")));
    assert_false(engine_may_approve_service(p, SERVER, STR("svc:db")));
    assert_false(engine_may_approve_service(p, ANN, STR("svc:web")));
    engine_destroy(&p);
}

static void test_attributes_reach_their_targets(void **state)
{
    (void)state;
    struct engine *p = test_policy(
        "{" TEST_TAGS "\"nodeAttrs\":[{\"target\":[\"tag:server\",\"100.64.0.10\"],\"attr\":[\"a\",\"b\","
        "\"debug-disable-upnp\"],\"app\":{\"x.com/c\":[1.50]}},{\"target\":[\"*\"],\"attr\":[\"a\"],\"app\":{"
        "\"x.com/c\":[{\"k\":"
        "\"v\"}]}},{\"target\":[\"cyd@other.org\"],\"attr\":[\"disable-ipv4\"],\"ipPool\":"
        "[\"100.80.0.0/16\",\"100.81.0.0/24\"]}]}");
    struct buf out = {0};
    struct addr addr;
    uint8_t bits;
    engine_self_caps(p, SERVER, &out);
    assert_string_equal(buf_cstr(&out),
                        "{\"x.com/c\":[1.50,{\"k\":\"v\"}],\"a\":null,\"b\":null,\"debug-disable-upnp\":null}");
    buf_clear(&out);
    engine_self_caps(p, BOB, &out);
    assert_string_equal(buf_cstr(&out), "{\"x.com/c\":[{\"k\":\"v\"}],\"a\":null}");
    assert_true(engine_has_attr(p, ANN, STR("b")));
    assert_false(engine_has_attr(p, ANN2, STR("b")));
    assert_true(engine_hides_ipv4(p, CYD));
    assert_false(engine_hides_ipv4(p, BOB));
    assert_true(engine_ip_pool(p, CYD, 1, &addr, &bits));
    assert_int_equal(addr.ip[1], 81);
    assert_int_equal(bits, 24);
    assert_false(engine_ip_pool(p, CYD, 2, &addr, &bits));
    assert_false(engine_ip_pool(p, BOB, 0, &addr, &bits));
    buf_fini(&out);
    engine_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags_belong_to_owners),
        cmocka_unit_test(test_approvers_approve),
        cmocka_unit_test(test_attributes_reach_their_targets),
    };
    return cmocka_run_group_tests_name("engine approval", tests, NULL, NULL);
}
