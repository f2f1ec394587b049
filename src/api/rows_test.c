/* Objects of the API, byte for byte. */
#include "api/testing.h"

/* --- what is written --- */

struct objects {
    struct user *anna, *bare;
    struct auth_key *key, *open;
    struct relay_host *relay, *silent;
    struct node *node, *tagged;
    struct policy_text *text;
    struct buf out;
    struct json_writer w;
    struct arena scratch;
};

enum { DAY_MS = 86400000 };
#define SET(member, text) snprintf((member), sizeof(member), "%s", (text))

static struct addr address(const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse_ip(str_c(text), &a), RC_OK);
    return a;
}

static struct prefix_list *prefixes(const char *a, const char *b)
{
    struct prefix v[2];
    assert_int_equal(prefix_parse(str_c(a), &v[0], NULL), RC_OK);
    assert_int_equal(prefix_parse(str_c(b), &v[1], NULL), RC_OK);
    return prefix_list_create(v, 2);
}

static void make_users(struct objects *o)
{
    o->anna = user_create();
    o->anna->id = 18446744073709551615u;
    o->anna->created_ms = 365 * (int64_t)DAY_MS + 250;
    o->anna->role = USER_NETWORK_ADMIN;
    SET(o->anna->name, "anna");
    SET(o->anna->display_name, "Anna \"<N>\"\n");
    SET(o->anna->email, "anna@example.com");
    SET(o->anna->picture_url, "https://example.com/?a&b");
    o->bare = user_create();
    o->bare->id = 2;
}

static void make_keys(struct objects *o)
{
    o->key = auth_key_create();
    o->key->id = 7;
    SET(o->key->prefix, "fskey-auth-0123456789ab");
    o->key->is_reusable = o->key->is_used = true;
    o->key->created_ms = DAY_MS;
    o->key->expires_ms = 2 * DAY_MS;
    o->key->tags = rcbuf_create("[\"tag:a\",\"tag:b\"]", 17);
    o->key->max_nodes = 4294967295u;
    o->key->joined_n = 3;
    o->key->sources = prefixes("10.0.0.0/8", "fd00::/8");
    o->open = auth_key_create();
    o->open->id = 8;
    o->open->is_ephemeral = true;
}

static void make_relays(struct objects *o)
{
    o->relay = state_relay_host_create();
    o->relay->id = 3;
    SET(o->relay->name, "fra");
    SET(o->relay->prefix, "fskey-relay-0123456789ab");
    o->relay->region_id = 65535;
    SET(o->relay->region_code, "eu");
    SET(o->relay->region_name, "Frankfurt");
    o->relay->is_up = true;
    o->relay->created_ms = DAY_MS;
    o->relay->last_seen_ms = 3 * DAY_MS;
    SET(o->relay->report.host_name, "relay.example.com");
    SET(o->relay->report.cert_name, "sha256-raw:ab");
    o->relay->report.ipv4 = address("192.0.2.1");
    o->relay->report.ipv6 = address("2001:db8::1");
    o->relay->report.derp_port = 8443;
    o->relay->report.stun_port = 3478;
    o->silent = state_relay_host_create();
    o->silent->id = 4;
}

static void make_nodes(struct objects *o)
{
    static const char host[] = "{\"OS\":\"linux\",\"IPNVersion\":\"1.102.5\"}";
    o->node = node_create(0);
    o->node->id = 12;
    o->node->user = o->key->user = 1;
    o->node->auth_key = 7;
    memset(o->node->machine.b, 1, KEY_BYTES);
    memset(o->node->key.b, 2, KEY_BYTES);
    memset(o->node->disco.b, 3, KEY_BYTES);
    o->node->v4 = address("100.64.0.1");
    o->node->v6 = address("fd7a:115c:a1e0::1");
    SET(o->node->name, "laptop");
    SET(o->node->hostname, "Anna's Laptop");
    o->node->is_online = o->node->is_ephemeral = true;
    o->node->created_ms = DAY_MS;
    o->node->expires_ms = 5 * DAY_MS;
    o->node->last_seen_ms = 4 * DAY_MS;
    o->node->hostinfo = rcbuf_create(host, sizeof(host) - 1);
    o->node->advertised = prefixes("10.0.0.0/8", "0.0.0.0/0");
    o->node->approved = prefixes("10.0.0.0/8", "0.0.0.0/0");
    o->node->primary = prefixes("10.0.0.0/8", "10.0.0.0/8");
    o->tagged = node_create(0);
    o->tagged->id = 13;
    o->tagged->v4 = address("100.64.0.2");
    o->tagged->tags = rcbuf_create("[\"tag:web\"]", 11);
    o->tagged->is_expired = true;
    o->tagged->approved = prefixes("10.0.0.0/8", "11.0.0.0/8");
}

static int make_objects(void **state)
{
    struct objects *o = MEM_NEW(struct objects);
    *state = o;
    make_users(o);
    make_keys(o);
    make_relays(o);
    make_nodes(o);
    o->text = state_policy_text_create(STR("{} // all"));
    o->text->id = 5;
    o->text->created_ms = DAY_MS;
    SET(o->text->author, "anna");
    SET(o->text->note, "why not");
    json_w_init(&o->w, &o->out);
    return 0;
}

static int drop_objects(void **state)
{
    struct objects *o = *state;
    user_unref((const struct user **)&o->anna);
    user_unref((const struct user **)&o->bare);
    auth_key_unref((const struct auth_key **)&o->key);
    auth_key_unref((const struct auth_key **)&o->open);
    state_relay_host_unref((const struct relay_host **)&o->relay);
    state_relay_host_unref((const struct relay_host **)&o->silent);
    node_unref((const struct node **)&o->node);
    node_unref((const struct node **)&o->tagged);
    state_policy_text_unref((const struct policy_text **)&o->text);
    buf_fini(&o->out);
    arena_fini(&o->scratch);
    mem_free(o);
    return 0;
}

static void assert_written(struct objects *o, const char *want)
{
    assert_string_equal(buf_cstr(&o->out), want);
    buf_clear(&o->out);
    json_w_init(&o->w, &o->out);
}

/* --- tests --- */

#define BARE                                                                                                           \
    "{\"id\":\"2\",\"name\":\"\",\"createdAt\":null,\"displayName\":\"\",\"email\":\"\","                              \
    "\"providerId\":\"\",\"provider\":\"\",\"profilePicUrl\":\"\",\"role\":\"member\"}"
#define TAGGED                                                                                                         \
    "{\"id\":\"2147455555\",\"name\":\"tagged-devices\",\"createdAt\":null,"                                           \
    "\"displayName\":\"Tagged Devices\",\"email\":\"\",\"providerId\":\"\",\"provider\":\"\","                         \
    "\"profilePicUrl\":\"\",\"role\":\"member\"}"
#define KEY_REST                                                                                                       \
    "\"id\":\"7\",\"key\":\"fskey-auth-0123456789ab-***\",\"reusable\":true,\"ephemeral\":false,"                      \
    "\"used\":true,\"expiration\":\"1970-01-03T00:00:00Z\","                                                           \
    "\"createdAt\":\"1970-01-02T00:00:00Z\",\"aclTags\":[\"tag:a\",\"tag:b\"],"                                        \
    "\"maxNodes\":4294967295,\"joined\":3,\"sources\":[\"10.0.0.0/8\",\"fd00::/8\"]}"
#define NO_KEYS                                                                                                        \
    "\"machineKey\":\"mkey:0000000000000000000000000000000000000000000000000000000000000"                              \
    "000\","                                                                                                           \
    "\"nodeKey\":\"nodekey:0000000000000000000000000000000000000000000000000000000000000"                              \
    "000\","                                                                                                           \
    "\"discoKey\":\"discokey:00000000000000000000000000000000000000000000000000000000000"                              \
    "00000\""

static void test_users_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    api_write_user(&o->w, o->anna);
    assert_written(o, "{\"id\":\"18446744073709551615\",\"name\":\"anna\","
                      "\"createdAt\":\"1971-01-01T00:00:00.250Z\",\"displayName\":\"Anna \\\"\\u003cN\\u003e\\\"\\n\","
                      "\"email\":\"anna@example.com\",\"providerId\":\"\",\"provider\":\"\","
                      "\"profilePicUrl\":\"https://example.com/?a\\u0026b\",\"role\":\"network-admin\"}");
    api_write_user(&o->w, o->bare);
    assert_written(o, BARE);
    api_write_user(&o->w, NULL);
    assert_written(o, "null");
}

static void test_keys_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    api_write_key(&o->w, o->key, o->bare, NULL);
    assert_written(o, "{\"user\":" BARE "," KEY_REST);
    api_write_key(&o->w, o->open, NULL, "fskey-auth-whole");
    assert_written(o, "{\"user\":null,\"id\":\"8\",\"key\":\"fskey-auth-whole\",\"reusable\":false,"
                      "\"ephemeral\":true,\"used\":false,\"expiration\":null,\"createdAt\":null,\"aclTags\":[],"
                      "\"maxNodes\":0,\"joined\":0,\"sources\":[]}");
}

static void test_relays_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    api_write_relay(&o->w, o->relay, NULL);
    assert_written(o, "{\"id\":\"3\",\"name\":\"fra\",\"key\":\"fskey-relay-0123456789ab-***\",\"regionId\":65535,"
                      "\"regionCode\":\"eu\",\"regionName\":\"Frankfurt\",\"up\":true,"
                      "\"hostname\":\"relay.example.com\",\"ipAddresses\":[\"192.0.2.1\",\"2001:db8::1\"],"
                      "\"derpPort\":8443,\"stunPort\":3478,\"certName\":\"sha256-raw:ab\","
                      "\"lastSeen\":\"1970-01-04T00:00:00Z\",\"createdAt\":\"1970-01-02T00:00:00Z\"}");
    api_write_relay(&o->w, o->silent, "fskey-relay-whole");
    assert_written(o, "{\"id\":\"4\",\"name\":\"\",\"key\":\"fskey-relay-whole\",\"regionId\":0,\"regionCode\":\"\","
                      "\"regionName\":\"\",\"up\":false,\"hostname\":\"\",\"ipAddresses\":[],\"derpPort\":0,"
                      "\"stunPort\":0,\"certName\":\"\",\"lastSeen\":null,\"createdAt\":null}");
}

static void test_nodes_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    api_write_node(&o->w, o->node, o->bare, o->key, &o->scratch);
    assert_written(o, "{\"id\":\"12\","
                      "\"machineKey\":\"mkey:0101010101010101010101010101010101010101010101010101010101010"
                      "101\","
                      "\"nodeKey\":\"nodekey:0202020202020202020202020202020202020202020202020202020202020"
                      "202\","
                      "\"discoKey\":\"discokey:03030303030303030303030303030303030303030303030303030303030"
                      "30303\",\"ipAddresses\":[\"100.64.0.1\",\"fd7a:115c:a1e0::1\"],\"name\":\"Anna's Laptop\","
                      "\"user\":" BARE ",\"lastSeen\":\"1970-01-05T00:00:00Z\",\"expiry\":\"1970-01-06T00:00:00Z\","
                      "\"preAuthKey\":{\"user\":" BARE "," KEY_REST
                      ",\"createdAt\":\"1970-01-02T00:00:00Z\",\"registerMethod\":\"REGISTER_METHOD_AUTH_KEY\","
                      "\"givenName\":\"laptop\",\"online\":true,\"approvedRoutes\":[\"0.0.0.0/0\",\"10.0.0.0/8\"],"
                      "\"availableRoutes\":[\"0.0.0.0/0\",\"10.0.0.0/8\"],\"subnetRoutes\":[\"0.0.0.0/0\","
                      "\"10.0.0.0/8\"],\"tags\":[],\"expired\":false,\"ephemeral\":true,\"os\":\"linux\","
                      "\"clientVersion\":\"1.102.5\"}");
    o->key->user = 5; /* a key of somebody else: its owner is not at hand */
    api_write_node(&o->w, o->tagged, NULL, o->key, &o->scratch);
    assert_written(o, "{\"id\":\"13\"," NO_KEYS ",\"ipAddresses\":[\"100.64.0.2\"],\"name\":\"\",\"user\":" TAGGED
                      ",\"lastSeen\":null,\"expiry\":null,\"preAuthKey\":{\"user\":null," KEY_REST
                      ",\"createdAt\":null,\"registerMethod\":\"REGISTER_METHOD_AUTH_KEY\",\"givenName\":\"\","
                      "\"online\":false,\"approvedRoutes\":[\"10.0.0.0/8\",\"11.0.0.0/8\"],"
                      "\"availableRoutes\":[],\"subnetRoutes\":[],\"tags\":[\"tag:web\"],\"expired\":true,"
                      "\"ephemeral\":false,\"os\":\"\",\"clientVersion\":\"\"}");
    api_write_node(&o->w, o->tagged, o->bare, NULL, &o->scratch);
    assert_written(o, "{\"id\":\"13\"," NO_KEYS ",\"ipAddresses\":[\"100.64.0.2\"],\"name\":\"\",\"user\":" TAGGED
                      ",\"lastSeen\":null,\"expiry\":null,\"preAuthKey\":null,\"createdAt\":null,"
                      "\"registerMethod\":\"REGISTER_METHOD_AUTH_KEY\",\"givenName\":\"\",\"online\":false,"
                      "\"approvedRoutes\":[\"10.0.0.0/8\",\"11.0.0.0/8\"],\"availableRoutes\":[],"
                      "\"subnetRoutes\":[],\"tags\":[\"tag:web\"],\"expired\":true,\"ephemeral\":false,\"os\":\"\","
                      "\"clientVersion\":\"\"}");
}

static void test_errors_of_a_policy_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    struct policy_errors errors = {.n = 2};
    errors.v[0] = (struct policy_error){3, 7, "expected \"]\""};
    errors.v[1] = (struct policy_error){0, 0, "nobody is zoe@"};
    api_write_policy_errors(&o->w, &errors);
    assert_written(o, "[{\"message\":\"expected \\\"]\\\"\",\"location\":\"policy:3:7\",\"line\":3,\"column\":7},"
                      "{\"message\":\"nobody is zoe@\",\"location\":\"policy\",\"line\":0,\"column\":0}]");
}

static void test_a_refusal_is_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    static const struct policy_errors none;
    api_write_problem(&o->w, 404, RC_NOT_FOUND, "there is no node \"x\"", &none);
    assert_written(o, "{\"title\":\"Not Found\",\"status\":404,\"detail\":\"there is no node \\\"x\\\"\",\"errors\":[],"
                      "\"reason\":\"NOT_FOUND\",\"code\":5,\"message\":\"there is no node \\\"x\\\"\",\"details\":[]}");
}

static void test_versions_of_the_policy_are_written_byte_for_byte(void **state)
{
    struct objects *o = *state;
    api_write_version(&o->w, o->text, 5);
    assert_written(o, "{\"version\":\"5\",\"updatedAt\":\"1970-01-02T00:00:00Z\",\"author\":\"anna\","
                      "\"note\":\"why not\",\"bytes\":9,\"current\":true}");
    api_write_version(&o->w, o->text, 6);
    assert_non_null(strstr(buf_cstr(&o->out), "\"current\":false"));
}

/* The choices of the document are the roles that there are, in the order of their numbers. */
static void test_roles_are_those_of_users(void **state)
{
    struct str rest = STR(API_ROLES), name;
    enum user_role role;
    unsigned n = 0;
    (void)state;
    for (; rest.len > 0; n++) {
        str_cut(rest, ' ', &name, &rest);
        assert_int_equal(user_role_parse(name, &role), RC_OK);
        assert_int_equal(role, n);
    }
    assert_int_equal(n, USER_ROLES_N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_users_are_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_keys_are_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_relays_are_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_nodes_are_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_errors_of_a_policy_are_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_a_refusal_is_written_byte_for_byte, make_objects, drop_objects),
        cmocka_unit_test_setup_teardown(test_versions_of_the_policy_are_written_byte_for_byte, make_objects,
                                        drop_objects),
        cmocka_unit_test(test_roles_are_those_of_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
