/* The tailnet of the simulation: its disk, and its polls, as control/session.c runs them. */
#include "sim/world_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

uint32_t sim_below(struct sim *s, uint32_t n)
{
    return test_random_below(&s->random, n);
}

void sim_random_bytes(struct sim *s, void *out, size_t n)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = test_random_u64(&s->random);
        memcpy(p + i, &v, n - i < 8 ? n - i : 8);
    }
}

void sim_mark_hot(struct sim *s, node_id id)
{
    s->hot[s->hot_n++ % SIM_HOT] = id;
}

/* --- the disk --- */

static void write_row(struct sim *s, const struct row_op *op)
{
    if (op->entity != &entity_node)
        return;
    if (op->id >= s->disk_cap) {
        size_t cap = (op->id + 1) * 2;
        s->disk = mem_realloc_array(s->disk, cap, sizeof(*s->disk));
        memset(s->disk + s->disk_cap, 0, (cap - s->disk_cap) * sizeof(*s->disk));
        s->disk_cap = cap;
    }
    if (s->disk[op->id] != NULL)
        node_unref(&s->disk[op->id]);
    s->disk[op->id] = (const struct node *)row_ref(op->object);
}

/* Nothing is published that a crash could undo, presence apart. */
static void check_on_disk(const struct sim *s, const struct change_item *item)
{
    const struct node *shown = item->after, *written = item->id < s->disk_cap ? s->disk[item->id] : NULL;
    if (shown == item->before)
        return; /* only the set of nodes that see it may differ */
    assert_int_equal(shown != NULL, written != NULL);
    if (shown == NULL || shown == written)
        return;
    assert_true(keys_equal(shown->key.b, written->key.b) && shown->user == written->user);
    assert_true(rcbuf_eq(shown->tags, written->tags) && prefix_list_eq(shown->approved, written->approved));
    assert_string_equal(shown->name, written->name);
    assert_true(shown->expires_ms == written->expires_ms && addr_eq(&shown->v4, &written->v4));
}

void sim_commit_one(struct sim *s)
{
    if (s->in_flight_n == 0)
        return;
    for (size_t i = 0; i < s->in_flight[0]->n; i++)
        write_row(s, &s->in_flight[0]->ops[i]);
    state_committed(s->st, s->in_flight[0]->seq);
    row_batch_destroy(&s->in_flight[0]);
    s->in_flight_n--;
    memmove(s->in_flight, s->in_flight + 1, s->in_flight_n * sizeof(s->in_flight[0]));
}

void sim_seal(struct sim *s)
{
    node_key keys[16];
    if (s->in_flight_n == SIM_IN_FLIGHT)
        sim_commit_one(s);
    state_settle(s->st, s->now_ms);
    struct row_batch *b = state_take_batch(s->st);
    if (b != NULL)
        s->in_flight[s->in_flight_n++] = b;
    while (state_take_revoked(s->st, keys, ARRAY_LEN(keys)) > 0) {
    }
    state_take_policy_changed(s->st);
}

void sim_commit_all(struct sim *s)
{
    sim_seal(s);
    while (s->in_flight_n > 0)
        sim_commit_one(s);
    /* A policy that is in force since that commit has approved routes. */
    sim_seal(s);
    while (s->in_flight_n > 0)
        sim_commit_one(s);
}

/* --- polls, as control/session.c runs them --- */

void sim_poll_end(struct sim *s, struct machine *m)
{
    if (m->poll == POLL_NONE)
        return;
    m->poll = POLL_NONE;
    state_poll_end(s->st, m->client.id, s->now_ms);
    client_clear(&m->client);
}

static void send_full(struct sim *s, struct machine *m)
{
    const struct snapshot *snapshot = state_snapshot(s->st);
    const struct node *n = snapshot_node(snapshot, m->client.id);
    if (n == NULL) {
        struct rcbuf *expired = netmap_expired_self(&s->netmap, &m->client.key, s->now_ms, m->client.coding);
        rcbuf_unref(&expired);
        m->poll = POLL_GONE;
        s->counts.gone++;
        return;
    }
    if (m->poll != POLL_WAITING && !n->is_expired && !netmap_has_peers(&s->netmap, snapshot, n->id)) {
        sim_poll_end(s, m);
        s->counts.afresh++;
        return;
    }
    assert_int_equal(netmap_full(&s->netmap, snapshot, n->id, m->client.coding, !n->is_expired, &s->pieces), RC_OK);
    client_take(&m->client, &s->pieces);
    m->poll = POLL_ACTIVE;
    s->counts.fulls++;
}

void sim_try_attach(struct sim *s, struct machine *m)
{
    const struct node *n = snapshot_node(state_snapshot(s->st), m->client.id);
    if (n != NULL && keys_equal(n->key.b, m->client.key.b))
        send_full(s, m);
}

static bool has_other_key(const struct sim *s, const struct machine *m)
{
    const struct node *n = snapshot_node(state_snapshot(s->st), m->client.id);
    return n != NULL && !keys_equal(n->key.b, m->client.key.b);
}

/* A deleted node gets a self node whose key has expired. */
static void learn_of_end(struct sim *s, struct machine *m)
{
    text_id key = look_of(m->client.self)->f[LOOK_KEY];
    assert_int_equal(s->pieces.n, 1);
    client_take(&m->client, &s->pieces);
    const struct look *now = look_of(m->client.self);
    assert_true(now->f[LOOK_KEY] == key && now->f[LOOK_KEY_EXPIRY] != 0);
    m->poll = POLL_GONE;
    s->counts.gone++;
}

static void send_change(struct sim *s, struct machine *m, struct change *c)
{
    const struct node *before = snapshot_node(c->before, m->client.id), *n = snapshot_node(c->after, m->client.id);
    if (n != NULL && !keys_equal(n->key.b, m->client.key.b)) {
        sim_poll_end(s, m);
        return;
    }
    if (m->is_slow && sim_below(s, 3) == 0) {
        m->poll = POLL_BEHIND;
        s->counts.behind++;
        return;
    }
    if (n != NULL && before != NULL && (n->is_expired || before->is_expired)) {
        if (n != before)
            send_full(s, m);
        return;
    }
    netmap_delta(&s->netmap, c, m->client.id, m->client.coding, &s->pieces);
    s->counts.deltas += s->pieces.n;
    if (n == NULL)
        learn_of_end(s, m);
    else
        client_take(&m->client, &s->pieces);
}

static void sim_drain(struct sim *s, struct machine *m)
{
    if (has_other_key(s, m))
        sim_poll_end(s, m);
    else
        send_full(s, m);
}

void sim_publish(struct sim *s)
{
    struct change *c = state_publish(s->st, s->now_ms);
    if (c == NULL)
        return;
    s->counts.publications++;
    s->counts.items += c->item_n;
    for (size_t i = 0; i < c->item_n; i++)
        check_on_disk(s, &c->items[i]);
    for (size_t i = 0; i < s->machine_n; i++) {
        struct machine *m = &s->machines[i];
        if (m->poll == POLL_WAITING)
            sim_try_attach(s, m);
        else if (m->poll == POLL_ACTIVE)
            send_change(s, m, c);
        else if (m->poll == POLL_BEHIND && sim_below(s, 3) == 0)
            sim_drain(s, m);
    }
    change_unref(&c);
    client_sweep();
}

void sim_settle(struct sim *s)
{
    sim_commit_all(s);
    sim_publish(s);
    assert_false(state_is_dirty(s->st));
    for (size_t i = 0; i < s->machine_n; i++) {
        if (s->machines[i].poll == POLL_BEHIND)
            sim_drain(s, &s->machines[i]);
    }
    client_sweep();
}
