/* Relays on other machines, as the map and the mesh see them. */
#include "daemon/testing.h"

#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

enum { NOW_MS = 1000000 };

#define HEX32 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct state *make_state(void)
{
    struct state_options options = {.own_region = 999};
    crypto_init();
    return state_create(&options, tailnet_settings_create());
}

/* Null texts: the relay has none. */
static void add(struct state *st, const char *name, const char *host, const char *ip, const char *cert, bool is_up)
{
    static uint8_t random[AUTH_KEY_RANDOM_BYTES];
    char text[AUTH_KEY_TEXT_CAP];
    const struct relay_host *r;
    struct relay_report report = {.derp_port = 443, .stun_port = 3478};
    struct relay_spec spec = {.name = str_c(name), .region_id = 905};
    uint64_t serial;
    random[0]++;
    assert_int_equal(state_relay_create(st, &spec, random, NOW_MS, &r, text, NULL), RC_OK);
    uint64_t id = r->id;
    snprintf(report.host_name, sizeof(report.host_name), "%s", host);
    snprintf(report.cert_name, sizeof(report.cert_name), "%s", cert);
    if (ip != NULL)
        assert_int_equal(addr_parse_ip(str_c(ip), &report.ipv4), RC_OK);
    assert_int_equal(state_relay_announce(st, id, &report, NOW_MS + 1000, NOW_MS, &serial), RC_OK);
    if (!is_up)
        state_relay_leave(st, id, serial, NOW_MS, NOW_MS);
}

static void test_neighbours(void **state)
{
    struct relay_neighbour all[DAEMON_NEIGHBOURS_MAX];
    char dials[DAEMON_NEIGHBOURS_MAX][ADDR_TEXT_CAP];
    struct state *st = make_state();
    (void)state;
    add(st, "a", "a.example.com", "192.0.2.1", "sha256-raw:" HEX32, true);
    add(st, "b", "b.example.com", "192.0.2.2", "", false);
    add(st, "c", "c.example.com", NULL, "other.example.com", true);
    assert_int_equal(daemon_relays_neighbours(st, 905, all, dials), 2);
    assert_string_equal(all[0].host, "a.example.com");
    assert_string_equal(all[0].dial, "192.0.2.1");
    assert_string_equal(all[0].fingerprint, HEX32);
    /* The address of the relay that is down is not in the mesh. */
    assert_string_equal(all[1].dial, "c.example.com");
    assert_string_equal(all[1].host, "other.example.com");
    assert_null(all[1].fingerprint);
    assert_int_equal(daemon_relays_neighbours(st, 906, all, dials), 0);
    state_destroy(&st);
}

static void ignore(void *ctx, const struct daemon_derpmap_texts *texts)
{
    (void)ctx;
    (void)texts;
}

/* Invalid values of one relay keep neither the server from starting nor the others from the map. */
static void test_one_bad_of_several(void **state)
{
    struct test_folder *folder = *state;
    struct config *cfg = test_config(folder, "");
    struct daemon d = {.cfg = cfg};
    struct err err = {0};
    struct daemon_derpmap_options options = {.cfg = cfg, .pin = "", .changed = ignore};
    assert_int_equal(daemon_derpmap_create(&options, &d.derpmap, &err), RC_OK);
    struct state *st = make_state();
    add(st, "bad", "bad.example.com", NULL, "sha256-raw:abc", true);
    add(st, "good", "good.example.com", NULL, "sha256-raw:" HEX32, true);
    assert_int_equal(daemon_relays_load(&d, st, &err), RC_OK);
    const struct rcbuf *map = daemon_derpmap_first(d.derpmap)->pinned;
    assert_null(memmem(map->data, map->len, "bad.example.com", 15));
    assert_non_null(memmem(map->data, map->len, "good.example.com", 16));
    state_destroy(&st);
    daemon_derpmap_destroy(&d.derpmap);
    config_destroy(&cfg);
}

static int set_up(void **state)
{
    static struct test_folder folder;
    test_folder_make(&folder);
    *state = &folder;
    return 0;
}

static int tear_down(void **state)
{
    test_folder_remove(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test_setup_teardown(test_one_bad_of_several, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
