#include "state/testing_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "policy/policy.h"
#include "state/setting.h"
#include "state/testing.h"

static const char *const policies[] = {
    "{}",
    "{\"tagOwners\":{\"tag:a\":[\"ann@\"],\"tag:b\":[]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:a\"]}}}",
    "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"grants\":[{\"src\":[\"ann@\"],\"dst\":[\"tag:a\"],\"ip\":[\"*\"]}]}",
};
static const char *const names[] = {"ann", "bob", "eve", "laptop", "phone", "server"};
static const char *const prefixes[] = {"10.1.0.0/16", "10.2.0.0/16", "192.168.0.0/24", "0.0.0.0/0"};

static void disk_remove(struct test_disk *d, const struct row_op *op)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->rows[i].entity != op->entity || d->rows[i].id != op->id)
            continue;
        row_unref(op->entity, &d->rows[i].object);
        d->rows[i] = d->rows[--d->n];
        return;
    }
}

void test_disk_write(struct test_disk *d, const struct row_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct row_op *op = &b->ops[i];
        disk_remove(d, op);
        assert_true(d->n < TEST_DISK_ROWS);
        if (op->object != NULL)
            d->rows[d->n++] = (struct row_op){op->entity, op->id, row_ref(op->object)};
    }
}

static int load_order(const struct entity *e)
{
    size_t i = 0;
    while (state_entity(i) != e)
        i++;
    return (int)i;
}

int test_disk_compare(const void *a, const void *b)
{
    const struct row_op *x = a, *y = b;
    int order = load_order(x->entity) - load_order(y->entity);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

void test_disk_fini(struct test_disk *d)
{
    for (size_t i = 0; i < d->n; i++)
        row_unref(d->rows[i].entity, &d->rows[i].object);
    d->n = 0;
}

uint32_t test_story_pick(struct test_story *s, uint32_t n)
{
    return test_random_below(&s->random, n);
}

struct state *test_story_state(void)
{
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                    .v4_bits = 10,
                                    .v6_prefix = {.family = 6, .ip = {0xfd}},
                                    .v6_bits = 48,
                                    .node_expiry_ms = 1000000,
                                    .ephemeral_timeout_ms = 1000000000,
                                    .offline_grace_ms = 10};
    crypto_init();
    return state_create(&options, test_settings());
}

struct test_event test_event_make(struct test_story *s, uint32_t kinds)
{
    struct test_event e = {.kind = test_story_pick(s, kinds),
                           .x = test_story_pick(s, 1u << 30),
                           .y = test_story_pick(s, 1u << 30),
                           .z = test_story_pick(s, 1u << 30)};
    for (size_t i = 0; i < sizeof(e.random); i++)
        e.random[i] = (uint8_t)test_story_pick(s, 256);
    return e;
}

const struct node *test_story_node(const struct state *st, uint32_t x)
{
    const struct node *n = NULL;
    for (node_id i = 0; i < st->counters.next[entity_node.number] && n == NULL; i++)
        n = state_node(st, 1 + (x + i) % st->counters.next[entity_node.number]);
    return n;
}

static const struct user *some_user(const struct state *st, uint32_t x)
{
    const struct user *u = NULL;
    for (user_id i = 0; i < st->counters.next[entity_user.number] && u == NULL; i++)
        u = state_user(st, 1 + (x + i) % st->counters.next[entity_user.number]);
    return u;
}

static const struct auth_key *some_key(const struct state *st, uint32_t x)
{
    const struct auth_key *k = NULL;
    for (uint64_t i = 0; i < st->counters.next[entity_auth_key.number] && k == NULL; i++)
        k = state_key(st, 1 + (x + i) % st->counters.next[entity_auth_key.number]);
    return k;
}

static void do_register(const struct test_story *s, struct state *st, const struct test_event *e)
{
    struct registration reg = {.machine = {{(uint8_t)(1 + e->x % TEST_MACHINES)}}};
    struct register_result out;
    struct prefix p;
    struct str tag = STR("tag:a");
    reg.key.b[0] = (uint8_t)(reg.machine.b[0] * 16 + e->y % TEST_MACHINE_KEYS);
    if (e->y % 5 == 0)
        reg.old_key.b[0] = (uint8_t)(reg.machine.b[0] * 16 + e->z % TEST_MACHINE_KEYS);
    if (s->key_n > 0)
        reg.auth_key = str_c(s->keys[e->z % s->key_n]);
    reg.expiry_ms = e->z % 7 == 0 ? 1 : e->z % 7 == 1 ? s->now_ms + 500000 : 0;
    reg.tags = &tag;
    reg.tag_n = e->z % 11 == 0;
    memcpy(reg.random, e->random, sizeof(reg.random));
    reg.report.hostname = str_c(names[e->x % ARRAY_LEN(names)]);
    reg.report.home_derp = (uint16_t)(1 + e->x % 3);
    reg.report.hostinfo = rcbuf_create("{\"OS\":\"linux\"}", 14);
    assert_int_equal(prefix_parse(str_c(prefixes[e->y % 4]), &p, NULL), RC_OK);
    reg.report.routes = e->y % 2 == 0 ? prefix_list_create(&p, 1) : NULL;
    state_register(st, &reg, s->now_ms, &out);
    rcbuf_unref(&reg.report.hostinfo);
    prefix_list_unref(&reg.report.routes);
}

static void do_user(const struct test_story *s, struct state *st, const struct test_event *e)
{
    const struct user *u = some_user(st, e->y);
    struct err err;
    struct user_spec spec = {.name = str_c(names[e->x % ARRAY_LEN(names)])};
    enum rc rc = RC_OK;
    if (u == NULL || e->z % 4 == 0)
        rc = state_user_create(st, &spec, s->now_ms, &u, &err);
    else if (e->z % 4 == 1)
        rc = state_user_rename(st, u->id, spec.name, &u, &err);
    else if (e->z % 4 == 2)
        rc = state_user_set_role(st, u->id, (enum user_role)(e->x % USER_ROLES_N), &u, &err);
    else
        rc = state_user_delete(st, u->id, &err);
    (void)rc; /* refusals are events too */
}

static void do_key(struct test_story *s, struct state *st, struct test_event *e)
{
    const struct user *u = some_user(st, e->x);
    const struct auth_key *k = some_key(st, e->y);
    char text[AUTH_KEY_TEXT_CAP];
    struct err err;
    struct str tag = STR("tag:b");
    enum rc rc = RC_OK;
    if (k != NULL && e->z % 6 == 0)
        rc = state_key_delete(st, k->id, &err);
    else if (k != NULL && e->z % 6 == 1)
        rc = state_key_expire(st, k->id, s->now_ms, &err);
    else if (u != NULL) {
        struct auth_key_spec spec = {.user = u->id,
                                     .is_reusable = e->z % 2 == 0,
                                     .is_ephemeral = e->z % 5 == 0,
                                     .tags = &tag,
                                     .tag_n = e->x % 7 == 0};
        rc = state_key_create(st, &spec, e->random, s->now_ms, &k, text, &err);
        if (rc == RC_OK && !e->is_new_text) {
            e->is_new_text = true;
            memcpy(s->keys[s->key_n < TEST_KEY_TEXTS ? s->key_n++ : e->x % TEST_KEY_TEXTS], text, sizeof(text));
        }
    }
    (void)rc;
}

static void do_node(const struct test_story *s, struct state *st, const struct test_event *e)
{
    const struct node *n = test_story_node(st, e->x);
    struct err err;
    struct prefix p[2];
    struct str tag = e->y % 2 == 0 ? STR("tag:a") : STR("tag:b");
    enum rc rc = RC_OK;
    if (n == NULL)
        return;
    assert_int_equal(prefix_parse(str_c(prefixes[e->y % 4]), &p[0], NULL), RC_OK);
    assert_int_equal(prefix_parse(str_c(prefixes[e->z % 4]), &p[1], NULL), RC_OK);
    switch (e->z % 6) {
    case 0: rc = state_node_delete(st, n->id, &err); break;
    case 1:
        rc = state_node_expire(st, n->id, s->now_ms + (int64_t)(e->y % 3) * 1000 - 1000, s->now_ms, &n, &err);
        break;
    case 2: rc = state_node_set_tags(st, n->id, &tag, 1, &n, &err); break;
    case 3: rc = state_node_rename(st, n->id, str_c(names[e->y % ARRAY_LEN(names)]), &n, &err); break;
    default: rc = state_node_approve_routes(st, n->id, p, e->y % 3, &n, &err);
    }
    (void)rc;
}

static void do_relay(const struct test_story *s, struct state *st, const struct test_event *e)
{
    size_t pos = st->relay_n > 0 ? e->x % st->relay_n : 0;
    const struct relay_host *r = state_relay_next(st, &pos);
    char text[AUTH_KEY_TEXT_CAP];
    struct err err;
    struct relay_spec spec = {.name = str_c(names[e->y % ARRAY_LEN(names)])};
    enum rc rc = r != NULL && e->z % 2 == 0 ? state_relay_delete(st, r->id, &err)
                                            : state_relay_create(st, &spec, e->random, s->now_ms, &r, text, &err);
    (void)rc;
}

static void do_setting(struct state *st, const struct test_event *e)
{
    static const char *const values[] = {"", "one", "two", "three"};
    const struct setting *s;
    struct err err;
    struct str name = str_c(names[e->y % ARRAY_LEN(names)]);
    enum rc rc = e->z % 3 == 0 ? state_setting_delete(st, name, &err)
                               : state_setting_set(st, name, str_c(values[e->z % ARRAY_LEN(values)]), &s, &err);
    (void)rc; /* refusals are events too */
}

static void do_policy(const struct test_story *s, struct state *st, const struct test_event *e)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    const struct policy_text *t;
    struct err err;
    assert_int_equal(policy_parse(str_c(policies[e->x % ARRAY_LEN(policies)]), NULL, &doc, &errors), RC_OK);
    assert_int_equal(state_policy_store(st, doc, STR("ann"), STR("why"), s->now_ms, &t, &err), RC_OK);
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
}

void test_event_durable(struct test_story *s, struct state *st, struct test_event *e)
{
    switch (e->kind) {
    case 0:
    case 1: do_user(s, st, e); break;
    case 2:
    case 3: do_key(s, st, e); break;
    case 4: e->y % 2 == 0 ? do_relay(s, st, e) : do_setting(st, e); break;
    case 5: do_policy(s, st, e); break;
    case 6:
    case 7:
    case 8:
    case 9: do_node(s, st, e); break;
    default: do_register(s, st, e);
    }
}

void test_event_presence(const struct test_story *s, struct state *st, const struct test_event *e,
                         const struct node *of)
{
    const struct addr at = {.family = 4, .ip = {192, 0, 2, (uint8_t)e->y}, .port = 1};
    disco_key disco = {{(uint8_t)(1 + e->y % 200)}};
    struct node_report report = {
        .disco = &disco, .endpoints = &at, .endpoints_n = 1, .home_derp = (uint16_t)(11 + e->y % 5)};
    const struct node *n;
    enum rc rc = RC_OK;
    if (e->kind < 2)
        rc = state_poll_begin(st, &of->key, &of->machine, &report, s->now_ms, &n);
    else if (e->kind < 4)
        state_poll_end(st, of->id, s->now_ms);
    else
        rc = state_node_report(st, &of->key, &of->machine, &report, &n);
    assert_int_equal(rc, RC_OK);
}

void test_event_report(struct state *st, const struct test_event *e, const struct node *of)
{
    struct prefix p;
    const struct node *n;
    struct node_report report = {.hostname = str_c(names[e->z % ARRAY_LEN(names)]),
                                 .hostinfo = rcbuf_create("{\"OS\":\"linux\"}", 14)};
    assert_int_equal(prefix_parse(str_c(prefixes[e->y % 4]), &p, NULL), RC_OK);
    report.routes = e->x % 4 != 0 ? prefix_list_create(&p, 1) : NULL;
    assert_int_equal(state_node_report(st, &of->key, &of->machine, &report, &n), RC_OK);
    rcbuf_unref(&report.hostinfo);
    prefix_list_unref(&report.routes);
}

/* --- how many histories --- */

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t n = otherwise;
    if (text != NULL)
        assert_int_equal(str_to_u64(str_c(text), &n), RC_OK);
    return n;
}

uint64_t test_history_count(void)
{
    return number_from("HISTORY_COUNT", 10000);
}

uint64_t test_history_seed(void)
{
    return number_from("HISTORY_SEED", 1);
}

/* 0: none fails. */
static uint64_t present_seed;

void test_history_begins(uint64_t seed)
{
    present_seed = seed;
}

int test_history_tear_down(void **state)
{
    (void)state;
    if (present_seed != 0)
        print_error("HISTORY_SEED=%llu HISTORY_COUNT=1 shows this failure again\n", (unsigned long long)present_seed);
    return 0;
}
