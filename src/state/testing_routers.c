#include "state/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "policy/policy.h"

void test_routers_random(struct test_routers *f, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)test_random_u64(&f->random);
}

void test_routers_key(struct test_routers *f, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP])
{
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    const struct auth_key *k;
    struct str tags = str_c(tag);
    struct auth_key_spec spec = {.user = user, .is_reusable = true, .tags = &tags, .tag_n = tag[0] != '\0'};
    test_routers_random(f, random, sizeof(random));
    assert_int_equal(state_key_create(f->st, &spec, random, f->now_ms, &k, text, NULL), RC_OK);
}

struct registration test_routers_request(struct test_routers *f, const char *key)
{
    struct registration reg = {.auth_key = str_c(key), .report.hostname = STR("node")};
    test_routers_random(f, &reg.machine, sizeof(reg.machine));
    test_routers_random(f, &reg.key, sizeof(reg.key));
    test_routers_random(f, reg.random, sizeof(reg.random));
    return reg;
}

struct register_result test_routers_join(struct test_routers *f, const struct registration *reg)
{
    struct register_result r;
    state_register(f->st, reg, f->now_ms, &r);
    return r;
}

int test_routers_set_up(void **state)
{
    struct test_routers *f = MEM_NEW(struct test_routers);
    struct state_options options = {
        .v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10, .offline_grace_ms = TEST_GRACE_MS};
    const struct user *u;
    static const char *const names[] = {"olga", "anna", "bert"};
    crypto_init();
    f->random.state = 99;
    f->now_ms = 1800000000000;
    f->st = state_create(&options, test_settings());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct user_spec spec = {.name = str_c(names[i])};
        assert_int_equal(state_user_create(f->st, &spec, f->now_ms, &u, NULL), RC_OK);
        assert_int_equal(u->role, i == 0 ? USER_OWNER : USER_MEMBER);
    }
    test_routers_key(f, 2, "", f->key);
    for (size_t i = 0; i < TEST_ROUTERS; i++) {
        f->nodes[i] = test_routers_request(f, f->key);
        assert_int_equal(test_routers_join(f, &f->nodes[i]).node->id, i + 1);
    }
    *state = f;
    return 0;
}

int test_routers_tear_down(void **state)
{
    struct test_routers *f = *state;
    state_destroy(&f->st);
    mem_free(f);
    return 0;
}

size_t test_parse_routes(const char *text, struct prefix *out)
{
    struct str rest = str_c(text), one;
    size_t n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        assert_int_equal(prefix_parse(one, &out[n++], NULL), RC_OK);
    }
    return n;
}

void test_routers_advertise(struct test_routers *f, node_id id, const char *routes)
{
    struct prefix v[16];
    const struct node *n;
    struct node_report report = {.hostinfo = rcbuf_create(routes, strlen(routes))};
    report.routes = prefix_list_create(v, test_parse_routes(routes, v));
    const struct registration *reg = &f->nodes[id - 1];
    enum rc rc = state_node_report(f->st, &reg->key, &reg->machine, &report, &n);
    assert_true(rc == RC_OK || state_node(f->st, id) == NULL);
    rcbuf_unref(&report.hostinfo);
    prefix_list_unref(&report.routes);
    state_settle(f->st, f->now_ms);
}

enum rc test_routers_approve(struct test_routers *f, node_id id, const char *routes)
{
    struct prefix v[16];
    const struct node *n;
    return state_node_approve_routes(f->st, id, v, test_parse_routes(routes, v), &n, NULL);
}

void test_routers_poll(struct test_routers *f, node_id id)
{
    const struct registration *reg = &f->nodes[id - 1];
    struct node_report none = {0};
    const struct node *n;
    assert_int_equal(state_poll_begin(f->st, &reg->key, &reg->machine, &none, f->now_ms, &n), RC_OK);
}

void test_assert_prefixes(const struct prefix_list *l, const char *want)
{
    char text[512] = "", one[PREFIX_TEXT_CAP];
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        size_t at = strlen(text);
        prefix_format(&l->v[i], one);
        snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? " " : "", one);
    }
    assert_string_equal(text, want);
}

void test_routers_set_policy(struct test_routers *f, const char *text)
{
    struct policy_doc *doc;
    static struct policy_errors errors;
    enum rc rc = policy_parse(str_c(text), NULL, &doc, &errors);
    if (rc != RC_OK)
        fail_msg("%s", errors.v[0].text);
    state_set_policy(f->st, doc);
    state_settle(f->st, f->now_ms);
}

void test_routers_publish(struct test_routers *f)
{
    state_settle(f->st, f->now_ms);
    struct row_batch *b = state_take_batch(f->st);
    if (b != NULL)
        state_committed(f->st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(f->st, f->now_ms);
    change_unref(&c);
}

void test_routers_set_tag(struct test_routers *f, node_id id, struct str tag)
{
    const struct node *n;
    assert_int_equal(state_node_set_tags(f->st, id, &tag, 1, &n, NULL), RC_OK);
}
