/* Who reads events, and nothing else, knows the tailnet. A naive listener is told the events of random histories, in
 * which batches are refused now and then; each time when nothing waits for the disk it knows which nodes, users, auth
 * keys and relays there are, how they are called, and which nodes are online. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "state/setting.h"
#include "state/testing_history.h"

enum { HISTORIES = 100, EPISODES = 60, KNOWN_MAX = 8192 };

/* --- the listener --- */

struct known {
    bool is_there;
    bool is_online, has_ended;
    char name[USER_NAME_CAP];
};

struct listener {
    struct known nodes[KNOWN_MAX], users[KNOWN_MAX], keys[KNOWN_MAX], relays[KNOWN_MAX], settings[KNOWN_MAX];
    uint64_t policy;
    size_t heard[EVENT_KINDS_N];
};

static struct known *known_of(struct known *table, const struct event *e)
{
    const struct user *object = (const void *)(e->after != NULL ? e->after : e->before); /* all begin alike */
    assert_true(object->id < KNOWN_MAX);
    return &table[object->id];
}

static void hear_of(struct known *k, const struct event *e, const char *was, const char *name)
{
    if (k->is_there != (e->before != NULL))
        fail_msg("%s comes when %s is %s", event_kind_name(e->kind), k->name, k->is_there ? "there" : "not there");
    if (was != NULL)
        assert_string_equal(k->name, was);
    k->is_there = e->after != NULL;
    snprintf(k->name, sizeof(k->name), "%s", name != NULL ? name : "");
    if (!k->is_there)
        *k = (struct known){0};
}

static void hear_of_node(struct listener *l, const struct event *e)
{
    const struct node *before = (const void *)e->before, *after = (const void *)e->after;
    struct known *k = known_of(l->nodes, e);
    bool is_presence = before == after || e->kind == EVENT_ROUTE_MOVED;
    if (is_presence) {
        assert_true(k->is_there);
        assert_string_equal(k->name, after->name);
        if (e->kind == EVENT_NODE_ONLINE || e->kind == EVENT_NODE_OFFLINE) {
            assert_int_equal(k->is_online, e->kind == EVENT_NODE_OFFLINE);
            k->is_online = e->kind == EVENT_NODE_ONLINE;
        }
    } else {
        hear_of(k, e, e->kind != EVENT_NODE_REGISTERED && before != NULL ? before->name : NULL,
                after != NULL ? after->name : NULL);
    }
    if (after != NULL)
        k->has_ended = after->is_ended;
}

static void hear_of_user(struct listener *l, const struct event *e)
{
    const struct user *before = (const void *)e->before, *after = (const void *)e->after;
    hear_of(known_of(l->users, e), e, before != NULL ? before->name : NULL, after != NULL ? after->name : NULL);
}

static void hear_of_key(struct listener *l, const struct event *e)
{
    const struct auth_key *before = (const void *)e->before, *after = (const void *)e->after;
    hear_of(known_of(l->keys, e), e, before != NULL ? before->prefix : NULL, after != NULL ? after->prefix : NULL);
}

static void hear_of_relay(struct listener *l, const struct event *e)
{
    const struct relay_host *before = (const void *)e->before, *after = (const void *)e->after;
    hear_of(known_of(l->relays, e), e, before != NULL ? before->name : NULL, after != NULL ? after->name : NULL);
}

/* What is known of a setting is its value. */
static void hear_of_setting(struct listener *l, const struct event *e)
{
    const struct setting *before = (const void *)e->before, *after = (const void *)e->after;
    hear_of(known_of(l->settings, e), e, before != NULL ? before->value : NULL, after != NULL ? after->value : NULL);
}

static void hear(struct listener *l, const struct event *e)
{
    l->heard[e->kind]++;
    if (e->kind <= EVENT_ROUTER_ANSWERS)
        hear_of_node(l, e);
    else if (e->kind <= EVENT_USER_DELETED)
        hear_of_user(l, e);
    else if (e->kind <= EVENT_KEY_DELETED)
        hear_of_key(l, e);
    else if (e->kind <= EVENT_RELAY_DELETED)
        hear_of_relay(l, e);
    else if (e->kind == EVENT_SETTING_CHANGED)
        hear_of_setting(l, e);
    else
        l->policy = ((const struct policy_text *)(const void *)e->after)->id;
}

static void hear_all(struct listener *l, struct state *st)
{
    struct event_list *events;
    while ((events = state_take_events(st)) != NULL) {
        for (size_t i = 0; i < events->n; i++)
            hear(l, &events->v[i]);
        event_list_unref(&events);
    }
}

/* --- the truth --- */

static void assert_known(const struct known *k, bool is_there, const char *name)
{
    assert_int_equal(k->is_there, is_there);
    assert_string_equal(k->name, name != NULL ? name : "");
}

static void assert_knows(const struct listener *l, const struct state *st)
{
    for (uint64_t id = 1; id < KNOWN_MAX; id++) {
        const struct node *n = state_node(st, id);
        const struct user *u = state_user(st, id);
        const struct auth_key *k = state_key(st, id);
        const struct relay_host *r = state_relay(st, id);
        assert_known(&l->nodes[id], n != NULL, n != NULL ? n->name : NULL);
        assert_int_equal(l->nodes[id].is_online, n != NULL && n->is_online);
        assert_int_equal(l->nodes[id].has_ended, n != NULL && n->is_ended);
        assert_known(&l->users[id], u != NULL, u != NULL ? u->name : NULL);
        assert_known(&l->keys[id], k != NULL, k != NULL ? k->prefix : NULL);
        const struct setting *s = (const struct setting *)kept_row(st, &entity_setting, id);
        assert_known(&l->settings[id], s != NULL, s != NULL ? s->value : NULL);
        assert_known(&l->relays[id], r != NULL, r != NULL ? r->name : NULL);
    }
    const struct policy_text *newest = state_policy_text_newest(st);
    assert_int_equal(l->policy, newest != NULL ? newest->id : 0);
}

/* --- the story --- */

struct tale {
    struct test_story story;
    struct state *st;
    struct listener *listener;
};

static void something_happens(struct tale *t)
{
    struct test_story *s = &t->story;
    struct test_event e = test_event_make(s, TEST_DURABLE_KINDS), p = test_event_make(s, TEST_PRESENCE_KINDS);
    const struct node *n = test_story_node(t->st, p.x);
    if (test_story_pick(s, 3) == 0 && n != NULL)
        test_event_presence(s, t->st, &p, n);
    else
        test_event_durable(s, t->st, &e);
    s->now_ms += test_story_pick(s, 20);
    state_tick(t->st, s->now_ms);
    if (test_story_pick(s, 2) == 0)
        state_settle(t->st, s->now_ms);
    if (test_story_pick(s, 2) == 0)
        hear_all(t->listener, t->st);
}

static void refused(struct tale *t, uint64_t seq)
{
    if (!state_refused(t->st, seq, t->story.now_ms))
        return;
    hear_all(t->listener, t->st);
    struct row_batch *repair = state_take_repair(t->st);
    state_committed(t->st, repair->seq);
    row_batch_destroy(&repair);
    state_repaired(t->st);
    t->story.refused++;
}

/* Some batches are in flight. Each is written, until one is not. */
static void batches(struct tale *t)
{
    struct row_batch *flying[64];
    size_t n = 0;
    uint64_t refused_seq = 0;
    bool is_bad = test_story_pick(&t->story, 3) == 0;
    for (uint32_t i = 1 + test_story_pick(&t->story, 4); i > 0; i--) {
        for (uint32_t k = test_story_pick(&t->story, 6); k > 0; k--)
            something_happens(t);
        while (n < ARRAY_LEN(flying) && (flying[n] = state_take_batch(t->st)) != NULL)
            n++;
    }
    something_happens(t);
    for (size_t i = 0; i < n; i++) {
        if (refused_seq == 0 && is_bad && test_story_pick(&t->story, 2) == 0 && !flying[i]->is_lazy)
            refused_seq = flying[i]->seq;
        if (refused_seq == 0)
            state_committed(t->st, flying[i]->seq);
        row_batch_destroy(&flying[i]);
        if (test_story_pick(&t->story, 2) == 0)
            hear_all(t->listener, t->st);
    }
    if (refused_seq != 0)
        refused(t, refused_seq);
}

static void settle(struct tale *t)
{
    struct row_batch *b;
    for (int i = 0; i < 3; i++) { /* a policy that becomes active approves routes */
        state_settle(t->st, t->story.now_ms);
        while ((b = state_take_batch(t->st)) != NULL) {
            state_committed(t->st, b->seq);
            row_batch_destroy(&b);
        }
    }
    struct change *c = state_publish(t->st, t->story.now_ms);
    change_unref(&c);
    hear_all(t->listener, t->st);
    assert_knows(t->listener, t->st);
}

static struct tale tale;

static int set_up(void **state)
{
    (void)state;
    tale = (struct tale){.listener = MEM_NEW(struct listener)};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    state_destroy(&tale.st);
    mem_free(tale.listener);
    return 0;
}

static void test_a_listener_knows_the_tailnet(void **state)
{
    const char *asked = getenv("HISTORIES");
    uint64_t histories = asked != NULL ? strtoull(asked, NULL, 10) : HISTORIES;
    size_t heard[EVENT_KINDS_N] = {0};
    unsigned refusals = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= histories; seed++) {
        *tale.listener = (struct listener){0};
        tale.story = (struct test_story){.random = {seed * 6271}, .now_ms = 1700000000000};
        tale.st = test_story_state();
        state_want_events(tale.st, true);
        for (int i = 0; i < EPISODES; i++) {
            batches(&tale);
            if (test_story_pick(&tale.story, 3) == 0)
                settle(&tale);
        }
        settle(&tale);
        assert_int_equal(state_events_dropped(tale.st), 0);
        state_destroy(&tale.st);
        refusals += tale.story.refused;
        for (int i = 0; i < EVENT_KINDS_N; i++)
            heard[i] += tale.listener->heard[i];
    }
    assert_true(refusals > histories * EPISODES / 10);
    static const enum event_kind must_be_heard[] = {
        EVENT_NODE_JOINED,     EVENT_NODE_REGISTERED, EVENT_NODE_RENAMED,      EVENT_NODE_DELETED,
        EVENT_NODE_ONLINE,     EVENT_NODE_OFFLINE,    EVENT_NODE_LOGGED_OUT,   EVENT_NODE_EXPIRED,
        EVENT_ROUTES_APPROVED, EVENT_USER_RENAMED,    EVENT_USER_ROLE_CHANGED, EVENT_USER_DELETED,
        EVENT_KEY_USED,        EVENT_KEY_DELETED,     EVENT_RELAY_DELETED,     EVENT_SETTING_CHANGED};
    for (size_t i = 0; i < ARRAY_LEN(must_be_heard); i++)
        assert_true(heard[must_be_heard[i]] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_listener_knows_the_tailnet, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
