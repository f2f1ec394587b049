#include "state/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"

struct tailnet_settings *test_settings(void)
{
    struct tailnet_settings *t = tailnet_settings_create();
    t->derp_map_json = rcbuf_create("{}", 2);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    return t;
}

struct state_options test_options(void)
{
    struct state_options o = {
        .v4_bits = 10, .v6_bits = 48, .ephemeral_timeout_ms = TEST_EPHEMERAL_MS, .offline_grace_ms = TEST_GRACE_MS};
    assert_int_equal(addr_parse_ip(STR("100.64.0.0"), &o.v4_prefix), RC_OK);
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::"), &o.v6_prefix), RC_OK);
    return o;
}

void test_tailnet_open(struct test_tailnet *f, const struct state_options *options)
{
    struct user_spec anna = {.name = STR("anna")};
    f->random.state = 4711;
    f->st = state_create(options, test_settings());
    assert_int_equal(state_user_create(f->st, &anna, TEST_NOW_MS, &f->anna, NULL), RC_OK);
}

int test_tailnet_set_up(void **state)
{
    struct test_tailnet *f = MEM_NEW(struct test_tailnet);
    struct state_options options = test_options();
    crypto_init();
    test_tailnet_open(f, &options);
    *state = f;
    return 0;
}

int test_tailnet_tear_down(void **state)
{
    struct test_tailnet *f = *state;
    state_destroy(&f->st);
    mem_free(f);
    return 0;
}

void test_tailnet_random(struct test_tailnet *f, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)test_random_u64(&f->random);
}

uint64_t test_tailnet_key(struct test_tailnet *f, struct auth_key_spec spec, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    test_tailnet_random(f, random, sizeof(random));
    if (spec.user == 0)
        spec.user = f->anna->id;
    assert_int_equal(state_key_create(f->st, &spec, random, TEST_NOW_MS, &k, text, NULL), RC_OK);
    return k->id;
}

struct registration test_tailnet_request(struct test_tailnet *f, const char *key_text, const char *hostname)
{
    struct registration reg = {.auth_key = str_c(key_text), .report.hostname = str_c(hostname)};
    test_tailnet_random(f, &reg.machine, sizeof(reg.machine));
    test_tailnet_random(f, &reg.key, sizeof(reg.key));
    test_tailnet_random(f, reg.random, sizeof(reg.random));
    return reg;
}

struct register_result test_tailnet_register(struct test_tailnet *f, const struct registration *reg, int64_t when_ms)
{
    struct register_result r;
    state_register(f->st, reg, when_ms, &r);
    return r;
}

void test_tailnet_settle(struct test_tailnet *f, int64_t when_ms)
{
    state_settle(f->st, when_ms);
    struct row_batch *b = state_take_batch(f->st);
    if (b != NULL)
        state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, when_ms);
    change_unref(&c);
}

void test_tailnet_refused(struct test_tailnet *f, const struct registration *reg, int64_t when_ms, const char *word)
{
    struct register_result r = test_tailnet_register(f, reg, when_ms);
    assert_int_equal(r.outcome, REGISTER_REFUSED);
    if (strstr(r.err.text, word) == NULL)
        fail_msg("'%s' does not say '%s'", r.err.text, word);
}
