/* Settings of the tailnet: DERP maps for old and new clients, resolvers of NextDNS. */
#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"

/* Clients before 1.82 cannot pin the relay's certificate: they get another DERP map, also when it changes. */
static void test_old_clients_get_no_pins(void **state)
{
    struct world *w = *state;
    world_small(w, 2);
    struct node_report old = {.cap_version = 113}, new = {.cap_version = 115};
    const struct node *n;
    for (unsigned round = 0; round < 2; round++) {
        struct tailnet_settings *t = world_settings();
        rcbuf_unref(&t->derp_map_json);
        t->derp_map_json = round == 0 ? rcbuf_create("\"pin0\"", 6) : rcbuf_create("\"pin1\"", 6);
        t->derp_map_unpinned_json = round == 0 ? rcbuf_create("\"any0\"", 6) : rcbuf_create("\"any1\"", 6);
        state_set_settings(w->st, t);
        if (round == 0) {
            assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &old, &n), RC_OK);
            assert_int_equal(state_node_report(w->st, &w->machines[1].key, &w->machines[1].machine, &new, &n), RC_OK);
            world_publish(w);
        }
        struct change *c = round == 0 ? NULL : state_publish(w->st, w->now_ms);
        for (unsigned i = 0; i < 2; i++) {
            if (c == NULL)
                assert_int_equal(
                    netmap_full(&world_ctx, state_snapshot(w->st), w->machines[i].id, NETMAP_PLAIN, true, &w->pieces),
                    RC_OK);
            else
                netmap_delta(&world_ctx, c, w->machines[i].id, NETMAP_PLAIN, &w->pieces);
            const char *want = i == 0 ? (round == 0 ? "any0" : "any1") : (round == 0 ? "pin0" : "pin1");
            assert_non_null(memmem(w->pieces.items[0]->data, w->pieces.items[0]->len, want, 4));
            assert_null(memmem(w->pieces.items[0]->data, w->pieces.items[0]->len, i == 0 ? "pin" : "any", 3));
            netmap_pieces_clear(&w->pieces);
        }
        change_unref(&c);
    }
}

/* A client that was downgraded may poll before its new version is published. */
static void test_another_version_gets_its_derp_map(void **state)
{
    struct world *w = *state;
    for (unsigned has_policy = 0; has_policy < 2; has_policy++) {
        world_small(w, 2);
        struct tailnet_settings *t = world_settings();
        const struct node *n;
        rcbuf_unref(&t->derp_map_json);
        t->derp_map_json = rcbuf_create("\"pin\"", 5);
        t->derp_map_unpinned_json = rcbuf_create("\"any\"", 5);
        state_set_settings(w->st, t);
        if (has_policy == 1)
            world_put_policy(w, "{\"grants\":[]}");
        world_publish(w);
        for (uint32_t version = 113; version <= 116; version++) {
            struct node_report r = {.cap_version = version};
            const char *want = version == 113   ? "{\"DERPMap\":\"any\"}"
                               : version == 115 ? "{\"DERPMap\":\"pin\"}"
                                                : NULL;
            assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &r, &n), RC_OK);
            struct change *c = state_publish(w->st, w->now_ms);
            netmap_delta(&world_ctx, c, w->machines[0].id, NETMAP_PLAIN, &w->pieces);
            assert_int_equal(w->pieces.n, want != NULL);
            if (want != NULL)
                assert_true(str_eq_c(str_n(w->pieces.items[0]->data + 4, w->pieces.items[0]->len - 4), want));
            netmap_pieces_clear(&w->pieces);
            change_unref(&c);
        }
        world_fini(w);
    }
}

/* When only the DERP map has changed, the message has nothing else; it is made once for each of the two kinds of
 * client. */
static void test_settings_change_says_no_more(void **state)
{
    struct world *w = *state;
    world_small(w, 8);
    struct node_report old = {.cap_version = 113}, new = {.cap_version = 115};
    const struct node *n;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(
            state_node_report(w->st, &w->machines[i].key, &w->machines[i].machine, i < 4 ? &old : &new, &n), RC_OK);
    world_publish(w);
    for (unsigned round = 0; round < 4; round++) {
        /* Pinned and not; only the pin differs; as it was; all get the same. */
        static const char *const pinned[] = {"[\"pin0\"]", "[\"pin1\"]", "[\"pin1\"]", "[\"pin1\"]"};
        struct tailnet_settings *t = tailnet_settings_edit(state_settings(w->st));
        rcbuf_unref(&t->derp_map_json);
        rcbuf_unref(&t->derp_map_unpinned_json);
        t->derp_map_json = rcbuf_create(pinned[round], 8);
        t->derp_map_unpinned_json = round < 3 ? rcbuf_create("[\"any\"]", 7) : NULL;
        state_set_settings(w->st, t);
        struct change *c = state_publish(w->st, w->now_ms);
        int64_t shared = metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"");
        for (unsigned i = 0; i < 8; i++) {
            const char *want = i < 4 ? (round == 0   ? "{\"DERPMap\":[\"any\"]}"
                                        : round == 3 ? "{\"DERPMap\":[\"pin1\"]}"
                                                     : NULL)
                                     : (round == 0   ? "{\"DERPMap\":[\"pin0\"]}"
                                        : round == 1 ? "{\"DERPMap\":[\"pin1\"]}"
                                                     : NULL);
            netmap_delta(&world_ctx, c, w->machines[i].id, NETMAP_PLAIN, &w->pieces);
            assert_int_equal(w->pieces.n, want != NULL);
            if (want != NULL)
                assert_true(str_eq_c(str_n(w->pieces.items[0]->data + 4, w->pieces.items[0]->len - 4), want));
            netmap_pieces_clear(&w->pieces);
        }
        assert_int_equal(metric_read("fullscale_netmap_encoded_total", "what=\"delta_shared\"") - shared, 2);
        change_unref(&c);
    }
}

static struct rcbuf *hostinfo_of(const char *os)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"OS\":\"%s\"}", os);
    return rcbuf_create(text, (size_t)n);
}

/* What a full map says of the resolvers; borrowed until the next call. */
static const char *resolver_of(struct world *w, node_id id)
{
    static char text[800];
    struct netmap_pieces pieces = {0};
    assert_int_equal(netmap_full(&world_ctx, state_snapshot(w->st), id, NETMAP_PLAIN, false, &pieces), RC_OK);
    struct str head = str_n(pieces.items[0]->data, pieces.items[0]->len);
    const char *at = memmem(head.p, head.len, "\"Addr\":\"", 8);
    assert_non_null(at);
    size_t n = (size_t)(head.p + head.len - at);
    at += 8;
    const char *end = memchr(at, '"', n - 8);
    snprintf(text, sizeof(text), "%.*s", (int)(end - at), at);
    netmap_pieces_fini(&pieces);
    return text;
}

/* nextdns:PROFILE is the node's own resolver, whose address has the node in it unless the policy forbids that. */
static void test_nextdns_is_each_nodes_own(void **state)
{
    struct world *w = *state;
    world_ruled(w);
    node_id anna = w->machines[0].id, server = w->machines[100].id;
    struct node_report report = {.hostname = STR("my box"), .hostinfo = hostinfo_of("linux&x=\\\"")};
    const struct node *n;
    world_set_dns(w, "https://dns.nextdns.io/abc123");
    world_send(w, server);
    assert_true(world_pieces_have(w, "https://dns.nextdns.io/abc123?device_ip=100."));
    assert_int_equal(state_node_report(w->st, &w->machines[0].key, &w->machines[0].machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    char want[200], ip[ADDR_TEXT_CAP];
    addr_format(&n->v4, false, ip);
    snprintf(want, sizeof(want),
             "https://dns.nextdns.io/abc123?device_ip=%s&device_model=linux%%26x%%3D%%22&device_name=my%%20box", ip);
    world_send(w, anna);
    assert_true(world_pieces_have(w, want));
    assert_string_equal(resolver_of(w, anna), want);

#define KIDS(attrs)                                                                                                    \
    "{\"tagOwners\":{\"tag:a\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"anna@\"],\"dst\":[\"tag:a:*\"]}],"      \
    "\"nodeAttrs\":[{\"target\":[\"tag:a\"],\"attr\":[" attrs "]}]}"
    world_put_policy(w, KIDS("\"nextdns:fedcba\",\"nextdns:no-device-info\""));
    world_send(w, server);
    assert_true(world_pieces_have(w, "\"Addr\":\"https://dns.nextdns.io/fedcba\""));
    assert_true(world_pieces_have(w, "\"nextdns:fedcba\":null"));
    assert_string_equal(resolver_of(w, server), "https://dns.nextdns.io/fedcba");
    assert_string_equal(resolver_of(w, anna), want);
    world_put_policy(w, KIDS("\"nextdns:a/b?c\""));
    world_send(w, anna);
    assert_false(world_pieces_have(w, "DNSConfig"));
    assert_non_null(strstr(resolver_of(w, server), "https://dns.nextdns.io/a%2Fb%3Fc?device_ip="));
    /* Without a resolver of NextDNS there is none to choose a profile of. */
    world_set_dns(w, NULL);
    world_send(w, server);
    assert_true(world_pieces_have(w, "\"DNSConfig\":{\"Proxied\":true}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_old_clients_get_no_pins),
        WORLD_TEST(test_another_version_gets_its_derp_map),
        WORLD_TEST(test_settings_change_says_no_more),
        WORLD_TEST(test_nextdns_is_each_nodes_own),
    };
    return cmocka_run_group_tests_name("settings", tests, world_group_setup, world_group_teardown);
}
