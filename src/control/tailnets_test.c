/* Two tailnets in one process, alike in all that may be alike: ids, names and addresses of nodes, ids of users. */
#include "control/admission.h"
#include "control/testing_joins.h"
#include "control/testing_maps.h"
#include "support/test_random.h"

enum { ALPHA, BETA, NETS };
enum { MEMBERS = 4, STEPS = 160, HEARD_MAX = 4096 };

static const struct tailnet_options options[NETS] = {
    {.id = 1, .name = "alpha", .server_url = "https://one.control.example"},
    {.id = 2, .name = "beta", .server_url = "https://two.control.example:8443"},
};

/* A machine of a tailnet, and the node that it is now. */
struct member {
    struct client c;
    struct device d;
    struct reply poll;
    node_id id;
};

/* What must not be in the other: keys that its nodes have had, and its name. */
struct net {
    struct member members[MEMBERS];
    const char *secrets[512];
    size_t secret_n;
    const char *heard[HEARD_MAX]; /* all that its clients were sent */
    size_t heard_n;
    unsigned serial;
};

static struct net nets[NETS];

static int set_up(void **state)
{
    (void)state;
    memset(nets, 0, sizeof(nets));
    rig = control_rig_create_with(2, options, NETS);
    return 0;
}

static void settle_all(void)
{
    for (unsigned i = 0; i < NETS; i++) {
        control_rig_enter(rig, i);
        control_rig_settle(rig);
    }
}

static void enter(unsigned net)
{
    control_rig_enter(rig, net);
}

/* --- members --- */

static void add_secret(struct net *net, const char *text)
{
    assert_true(net->secret_n < ARRAY_LEN(net->secrets));
    net->secrets[net->secret_n++] = text;
}

static void add_secrets(struct net *net, const struct member *m)
{
    char disco[KEY_TEXT_CAP], machine[KEY_TEXT_CAP];
    disco_key_format(&m->d.disco, disco);
    machine_key_format(&m->c.public, machine);
    add_secret(net, key_text(rig, &m->d.key));
    add_secret(net, arena_str(&rig->arena, str_c(disco)).p);
    add_secret(net, arena_str(&rig->arena, str_c(machine)).p);
}

static void hear(struct net *net, const char *text)
{
    assert_true(net->heard_n < HEARD_MAX);
    net->heard[net->heard_n++] = text;
}

static void hear_poll(struct net *net, struct reply *poll)
{
    for (size_t i = 0; i < poll->frame_n; i++)
        hear(net, poll->frames[i]);
}

/* A new node on the machine, which streams. */
static void join(unsigned i, struct member *m)
{
    struct net *net = &nets[i];
    const char *text, *key = control_rig_key(rig, &(struct auth_key_spec){0});
    device_init(&m->d, "laptop");
    m->d.marker = options[i].name;
    m->d.endpoints_n = 2;
    m->d.port = (uint16_t)(20000 + 10000 * i + net->serial++);
    add_secrets(net, m);
    assert_int_equal(
        control_rig_client_call(&m->c, "POST", "/machine/register", register_body(rig, &m->d, key, NULL), &text), 200);
    hear(net, text);
    m->id = poll_begin(&m->c, &m->poll, &m->d, 0);
}

static void leave(unsigned i, struct member *m)
{
    hear_poll(&nets[i], &m->poll);
    poll_end(&m->c, &m->poll);
}

static void fill(void)
{
    for (unsigned i = 0; i < NETS; i++) {
        enter(i);
        for (unsigned k = 0; k < MEMBERS; k++) {
            control_rig_client_open(&nets[i].members[k].c, rig, k % 2);
            join(i, &nets[i].members[k]);
        }
    }
}

static void empty(void)
{
    for (unsigned i = 0; i < NETS; i++) {
        for (unsigned k = 0; k < MEMBERS; k++) {
            leave(i, &nets[i].members[k]);
            control_rig_client_close(&nets[i].members[k].c);
        }
    }
    control_rig_wait_idle(rig);
}

/* --- events --- */

/* An event of an admin. */
struct event_of {
    const struct member *member;
    const char *name; /* of the tailnet */
    unsigned number;  /* that this event alone has */
    user_id user;
};

static void rename_node(struct state *st, int64_t now_ms, void *ctx)
{
    const struct event_of *e = ctx;
    const struct node *n;
    char name[NAME_CAP];
    (void)now_ms;
    snprintf(name, sizeof(name), "box-%u", e->number);
    RIG_CHECK(state_node_rename(st, e->member->id, str_c(name), &n, NULL) == RC_OK);
}

static void delete_node(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    RIG_CHECK(state_node_delete(st, ((const struct event_of *)ctx)->member->id, NULL) == RC_OK);
}

static void expire_node(struct state *st, int64_t now_ms, void *ctx)
{
    const struct node *n;
    RIG_CHECK(state_node_expire(st, ((const struct event_of *)ctx)->member->id, now_ms, now_ms, &n, NULL) == RC_OK);
}

static void rename_user(struct state *st, int64_t now_ms, void *ctx)
{
    const struct event_of *e = ctx;
    const struct user *u;
    char name[USER_NAME_CAP];
    (void)now_ms;
    snprintf(name, sizeof(name), "%s-user-%u", e->name, e->number);
    RIG_CHECK(state_user_rename(st, e->user, str_c(name), &u, NULL) == RC_OK);
}

static void change_settings(struct state *st, int64_t now_ms, void *ctx)
{
    const struct event_of *e = ctx;
    struct tailnet_settings *t = tailnet_settings_edit(state_settings(st));
    (void)now_ms;
    snprintf(t->domain, sizeof(t->domain), "%s-%u.example", e->name, e->number);
    state_set_settings(st, t);
}

static void change_policy(struct state *st, int64_t now_ms, void *ctx)
{
    const struct event_of *e = ctx;
    struct policy_doc *doc = NULL;
    struct policy_errors errors = {0};
    char text[512];
    (void)now_ms;
    snprintf(text, sizeof(text),
             "{\"acls\":[{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"*:%u\"]}],\"grants\":[{\"src\":[\"*\"],"
             "\"dst\":[\"*\"],\"app\":{\"example.com/cap/%s\":[{\"n\":%u}]}}]}",
             e->number + 1, e->name, e->number);
    RIG_CHECK(e->number % 3 == 0 || policy_parse(str_c(text), NULL, &doc, &errors) == RC_OK);
    policy_errors_fini(&errors);
    state_set_policy(st, doc);
}

/* Ends its poll; the next node is another. */
static void replace(unsigned i, struct member *m, void (*end)(struct state *st, int64_t now_ms, void *ctx))
{
    struct event_of e = {.member = m};
    control_rig_on_core(rig, end, &e);
    leave(i, m);
    join(i, m);
}

static void step(struct test_random *random)
{
    unsigned i = test_random_below(random, NETS);
    struct net *net = &nets[i];
    struct member *m = &net->members[test_random_below(random, MEMBERS)];
    enter(i);
    struct event_of e = {.member = m, .name = options[i].name, .number = net->serial++, .user = rig->user};
    switch (test_random_below(random, 10)) {
    case 0: control_rig_on_core(rig, rename_node, &e); break;
    case 1: control_rig_on_core(rig, rename_user, &e); break;
    case 2: control_rig_on_core(rig, change_settings, &e); break;
    case 3: control_rig_on_core(rig, change_policy, &e); break;
    case 4: replace(i, m, delete_node); break;
    case 5: replace(i, m, expire_node); break;
    case 6:
        leave(i, m);
        poll_begin(&m->c, &m->poll, &m->d, 0);
        break;
    default:
        m->d.port = (uint16_t)(20000 + 10000 * i + net->serial++);
        m->d.home_derp = (uint16_t)(1 + test_random_below(random, 9));
        assert_int_equal(control_rig_client_update(&m->c, &m->d), 200);
    }
}

/* --- what is where --- */

struct facts {
    char name[MEMBERS][NAME_CAP];
    struct addr v4[MEMBERS];
    node_id id[MEMBERS];
    size_t node_n;
};

static void read_facts(struct state *st, int64_t now_ms, void *ctx)
{
    struct facts *f = ctx;
    (void)now_ms;
    f->node_n = state_node_count(st);
    for (unsigned k = 0; k < MEMBERS; k++) {
        const struct node *n = state_node(st, f->id[k]);
        RIG_CHECK(n != NULL);
        memcpy(f->name[k], n->name, sizeof(n->name));
        f->v4[k] = n->v4;
    }
}

static struct facts facts_of(unsigned i)
{
    struct facts f = {0};
    enter(i);
    for (unsigned k = 0; k < MEMBERS; k++)
        f.id[k] = nets[i].members[k].id;
    control_rig_on_core(rig, read_facts, &f);
    return f;
}

/* Equal as far as they may be, so that what follows would mix them up if anything did. */
static void assert_alike(void)
{
    struct facts a = facts_of(ALPHA), b = facts_of(BETA);
    assert_int_equal(a.node_n, b.node_n);
    for (unsigned k = 0; k < MEMBERS; k++) {
        assert_int_equal(a.id[k], b.id[k]);
        assert_string_equal(a.name[k], b.name[k]);
        assert_true(addr_eq(&a.v4[k], &b.v4[k]));
    }
    assert_int_equal(rig->users[ALPHA], rig->users[BETA]);
}

static bool is_heard(const struct net *net, const char *words)
{
    for (size_t i = 0; i < net->heard_n; i++) {
        if (strstr(net->heard[i], words) != NULL)
            return true;
    }
    return false;
}

static void assert_own(const struct net *own, unsigned i)
{
    size_t n = 0;
    for (size_t k = 0; k < own->secret_n; k++)
        n += is_heard(own, own->secrets[k]);
    assert_true(n > own->secret_n / 2); /* what is looked for below can be found */
    assert_true(is_heard(own, options[i].name));
}

static void assert_foreign(const struct net *own, unsigned i)
{
    const struct net *other = &nets[1 - i];
    for (size_t k = 0; k < other->secret_n; k++)
        assert_false(is_heard(own, other->secrets[k]));
    assert_false(is_heard(own, options[1 - i].name));
    for (unsigned k = 0; k < other->serial; k++) {
        char port[16];
        snprintf(port, sizeof(port), ":%u\"", 20000 + 10000 * (1 - i) + k);
        assert_false(is_heard(own, port));
    }
}

static void test_no_byte_of_a_tailnet_is_in_another(void **state)
{
    (void)state;
    struct test_random random = {.state = 12};
    fill();
    assert_alike();
    for (unsigned n = 0; n < STEPS; n++)
        step(&random);
    settle_all();
    empty();
    for (unsigned i = 0; i < NETS; i++) {
        assert_own(&nets[i], i);
        assert_foreign(&nets[i], i);
    }
}

static void test_what_is_deleted_in_one_is_still_in_the_other(void **state)
{
    (void)state;
    fill();
    assert_alike();
    settle_all();
    struct member *here = &nets[ALPHA].members[0], *there = &nets[BETA].members[0];
    enter(ALPHA);
    control_rig_on_core(rig, delete_node, &(struct event_of){.member = here});
    WAIT_VIEW(&nets[ALPHA].members[1].poll, here->id, !v.is_there);
    settle_all();
    assert_int_equal(control_rig_client_update(&here->c, &here->d), 404);
    assert_int_equal(control_rig_client_update(&there->c, &there->d), 200);
    assert_true(poll_view(&nets[BETA].members[1].poll, there->id).is_there);
    assert_int_equal(facts_of(BETA).node_n, MEMBERS);
    empty();
}

struct sight {
    const struct state *st;
    bool has_own, has_other;
    node_key own, other;
};

static void look(struct state *st, int64_t now_ms, void *ctx)
{
    struct sight *s = ctx;
    (void)now_ms;
    s->st = st;
    s->has_own = state_node_by_key(st, &s->own) != NULL;
    s->has_other = state_node_by_key(st, &s->other) != NULL;
}

static void test_a_job_sees_its_own_tailnet_alone(void **state)
{
    (void)state;
    fill();
    for (unsigned i = 0; i < NETS; i++) {
        struct sight s = {.own = nets[i].members[0].d.key, .other = nets[1 - i].members[0].d.key};
        enter(i);
        control_rig_on_core(rig, look, &s);
        assert_ptr_equal(s.st, rig->tailnets[i]->state);
        assert_true(s.has_own);
        assert_false(s.has_other);
    }
    empty();
}

/* One machine with one node key may be a node of both. */
static void test_one_machine_is_a_node_of_both(void **state)
{
    (void)state;
    struct client c[NETS];
    struct reply polls[NETS];
    struct device d;
    device_init(&d, "laptop");
    for (unsigned i = 0; i < NETS; i++) {
        enter(i);
        if (i == ALPHA)
            control_rig_client_open(&c[i], rig, 0);
        else
            control_rig_client_open_same(&c[i], &c[ALPHA], 0);
        assert_true(
            json_is_true(control_rig_client_register(&c[i], &d, control_rig_key(rig, &(struct auth_key_spec){0}), NULL),
                         "MachineAuthorized"));
        assert_int_equal(poll_begin(&c[i], &polls[i], &d, 0), 1);
    }
    settle_all();
    assert_false(polls[ALPHA].is_ended); /* the second did not supersede it */
    enter(ALPHA);
    control_rig_on_core(rig, delete_node, &(struct event_of){.member = &(struct member){.id = 1}});
    settle_all();
    assert_int_equal(control_rig_client_update(&c[ALPHA], &d), 404);
    assert_int_equal(control_rig_client_update(&c[BETA], &d), 200);
    for (unsigned i = 0; i < NETS; i++) {
        reply_fini(&polls[i]);
        control_rig_client_close(&c[i]);
    }
}

static void test_a_key_of_one_is_unknown_at_the_host_of_the_other(void **state)
{
    (void)state;
    struct client c;
    fill();
    for (unsigned i = 0; i < NETS; i++) {
        const struct member *m = &nets[i].members[0];
        enter(1 - i);
        control_rig_client_open_same(&c, &m->c, 0);
        assert_int_equal(control_rig_client_update(&c, &m->d), 404);
        enter(i);
        const char *key = control_rig_key(rig, &(struct auth_key_spec){0});
        struct device d;
        device_init(&d, "intruder");
        assert_false(json_is_true(control_rig_client_register(&c, &d, key, NULL), "MachineAuthorized"));
        control_rig_client_close(&c);
    }
    empty();
}

/* --- the disk --- */

static void make_user(struct state *st, int64_t now_ms, void *ctx)
{
    const struct user *u;
    RIG_CHECK(state_user_create(st, &(struct user_spec){.name = str_c(ctx)}, now_ms, &u, NULL) == RC_OK);
}

static void has_user(struct state *st, int64_t now_ms, void *ctx)
{
    struct sight *s = ctx;
    (void)now_ms;
    s->has_own = state_user_by_name(st, STR("ben")) != NULL;
}

static bool has_ben(unsigned i)
{
    struct sight s = {0};
    enter(i);
    control_rig_on_core(rig, has_user, &s);
    return s.has_own;
}

/* Batches of both wait at the same time; that of one tailnet is refused. */
static void test_a_batch_that_is_refused_undoes_nothing_of_the_other(void **state)
{
    (void)state;
    struct control_rig_core_call calls[NETS], before;
    store_memory_hold(rig->store);
    enter(BETA);
    control_rig_core_begin(rig, &before, make_user, "adam"); /* while this is written, others come */
    for (unsigned i = 0; i < NETS; i++) {
        enter(i);
        control_rig_core_begin(rig, &calls[i], make_user, "ben");
    }
    store_memory_fail_tailnet(rig->store, options[ALPHA].id, RC_FULL);
    store_memory_release(rig->store);
    RIG_WAIT(rig, before.is_done && calls[ALPHA].is_done && calls[BETA].is_done);
    assert_int_equal(calls[ALPHA].job.refused, RC_FULL);
    assert_int_equal(calls[BETA].job.refused, RC_OK);
    assert_false(has_ben(ALPHA));
    assert_true(has_ben(BETA));
    enter(BETA); /* which goes on, while the other waits for its repair */
    control_rig_core_begin(rig, &calls[BETA], make_user, "carl");
    RIG_WAIT(rig, calls[BETA].is_done);
    assert_int_equal(calls[BETA].job.refused, RC_OK);
    store_memory_fail_tailnet(rig->store, options[ALPHA].id, RC_OK);
    do {
        enter(ALPHA);
        control_rig_core_begin(rig, &calls[ALPHA], make_user, "ben");
        RIG_WAIT(rig, calls[ALPHA].is_done);
    } while (calls[ALPHA].job.refused != RC_OK);
    assert_true(has_ben(ALPHA));
}

/* --- the relay --- */

struct admitted {
    bool is_done, is_allowed;
};

static void take_admission(void *ctx, enum admission_answer answer)
{
    struct admitted *a = ctx;
    a->is_allowed = answer == ADMISSION_GRANTED;
    __atomic_store_n(&a->is_done, true, __ATOMIC_SEQ_CST);
    control_rig_wake(rig);
}

static bool is_admitted(const node_key *key)
{
    struct admitted a = {0};
    control_ask_admission(rig->core, rig->loop, key, &(struct addr){0}, take_admission, &a);
    while (!__atomic_load_n(&a.is_done, __ATOMIC_SEQ_CST))
        control_rig_settle(rig);
    return a.is_allowed;
}

static void test_the_relay_admits_the_nodes_of_all(void **state)
{
    (void)state;
    node_key stranger = {{1, 2, 3}};
    fill();
    settle_all();
    for (unsigned i = 0; i < NETS; i++)
        assert_true(is_admitted(&nets[i].members[0].d.key));
    assert_false(is_admitted(&stranger));
    enter(BETA);
    control_rig_on_core(rig, delete_node, &(struct event_of){.member = &nets[BETA].members[0]});
    assert_false(is_admitted(&nets[BETA].members[0].d.key));
    assert_true(is_admitted(&nets[ALPHA].members[0].d.key));
    empty();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, control_rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_no_byte_of_a_tailnet_is_in_another),
        TEST(test_what_is_deleted_in_one_is_still_in_the_other),
        TEST(test_a_job_sees_its_own_tailnet_alone),
        TEST(test_one_machine_is_a_node_of_both),
        TEST(test_a_key_of_one_is_unknown_at_the_host_of_the_other),
        TEST(test_a_batch_that_is_refused_undoes_nothing_of_the_other),
        TEST(test_the_relay_admits_the_nodes_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
