/* What could not be written never was. Two twins live through the same random histories; one of them also has events that are
 * refused, now and then, in batches or at once, while nodes go on reporting to both. After each refusal nobody can tell them
 * apart. A disk on which the refused batches are found all the same agrees with the memory after the repair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"
#include "support/test_random.h"

enum { MACHINES = 6, KEYS = 3, KEY_TEXTS = 12, DISK_ROWS = 4000, HISTORIES = 40, EPISODES = 60 };

static const char *const policies[] = {
    "{}",
    "{\"tagOwners\":{\"tag:a\":[\"ann@\"],\"tag:b\":[]},\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:a\"]}}}",
    "{\"tagOwners\":{\"tag:a\":[],\"tag:b\":[]},\"grants\":[{\"src\":[\"ann@\"],\"dst\":[\"tag:a\"],\"ip\":[\"*\"]}]}",
};
static const char *const names[] = {"ann", "bob", "eve", "laptop", "phone", "server"};
static const char *const prefixes[] = {"10.1.0.0/16", "10.2.0.0/16", "192.168.0.0/24", "0.0.0.0/0"};

/* --- a disk --- */

struct disk {
    struct row_op rows[DISK_ROWS]; /* references; PUT kinds */
    size_t n;
    struct row_counters counters;
};

static void op_drop(struct row_op *op)
{
    user_unref(&op->user);
    auth_key_unref(&op->key);
    state_relay_host_unref(&op->relay);
    state_policy_text_unref(&op->policy_text);
    node_unref(&op->node);
}

static void disk_remove(struct disk *d, enum row_op_kind put, uint64_t id)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->rows[i].kind != put || d->rows[i].id != id)
            continue;
        op_drop(&d->rows[i]);
        d->rows[i] = d->rows[--d->n];
        return;
    }
}

static bool is_put(enum row_op_kind kind)
{
    return kind == ROW_PUT_USER || kind == ROW_PUT_KEY || kind == ROW_PUT_RELAY || kind == ROW_PUT_POLICY_TEXT ||
           kind == ROW_PUT_NODE;
}

static struct row_op op_ref(const struct row_op *op)
{
    struct row_op copy = *op;
    if (op->user != NULL)
        user_ref(op->user);
    if (op->key != NULL)
        auth_key_ref(op->key);
    if (op->relay != NULL)
        state_relay_host_ref(op->relay);
    if (op->policy_text != NULL)
        state_policy_text_ref(op->policy_text);
    if (op->node != NULL)
        node_ref(op->node);
    return copy;
}

static void disk_write(struct disk *d, const struct row_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct row_op *op = &b->ops[i];
        if (op->kind == ROW_PUT_COUNTERS) {
            d->counters = op->counters;
            continue;
        }
        disk_remove(d, is_put(op->kind) ? op->kind : op->kind - 1, op->id);
        assert_true(d->n < DISK_ROWS);
        if (is_put(op->kind))
            d->rows[d->n++] = op_ref(op);
    }
}

static int compare_ops(const void *a, const void *b)
{
    const struct row_op *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : (x->id > y->id) - (x->id < y->id);
}

static void disk_fini(struct disk *d)
{
    for (size_t i = 0; i < d->n; i++)
        op_drop(&d->rows[i]);
    d->n = 0;
}

/* --- twins --- */

struct twin {
    struct state *st;
    struct row_batch *waiting[32]; /* taken, in order */
    size_t waiting_n;
};

struct story {
    struct test_random random;
    int64_t now_ms;
    struct twin a, b;   /* `a` is refused now and then */
    struct disk *disk;  /* of `a` */
    struct disk *found; /* what a crash might leave of it: with refused batches */
    char keys[KEY_TEXTS][AUTH_KEY_TEXT_CAP];
    size_t key_n;
    unsigned refused;
};

static uint32_t pick(struct story *s, uint32_t n)
{
    return test_random_below(&s->random, n);
}

static struct state *make_state(void)
{
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                    .v4_bits = 10,
                                    .v6_prefix = {.family = 6, .ip = {0xfd}},
                                    .v6_bits = 48,
                                    .node_expiry_ms = 1000000,
                                    .ephemeral_timeout_ms = 1000000000,
                                    .offline_grace_ms = 10};
    struct tailnet_settings *t = tailnet_settings_create();
    t->derp_map_json = rcbuf_create("{}", 2);
    t->dns_config_json = rcbuf_create("{}", 2);
    t->self_caps_json = rcbuf_create("{}", 2);
    return state_create(&options, t);
}

/* --- events. The same words make the same event. --- */

struct event {
    uint32_t kind, x, y, z;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    bool is_new_text;
};

static struct event make_event(struct story *s, uint32_t kinds)
{
    struct event e = {.kind = pick(s, kinds), .x = pick(s, 1u << 30), .y = pick(s, 1u << 30), .z = pick(s, 1u << 30)};
    for (size_t i = 0; i < sizeof(e.random); i++)
        e.random[i] = (uint8_t)pick(s, 256);
    return e;
}

static const struct node *some_node(const struct state *st, uint32_t x)
{
    const struct node *n = NULL;
    for (node_id i = 0; i < st->counters.next_node && n == NULL; i++)
        n = state_node(st, 1 + (x + i) % st->counters.next_node);
    return n;
}

static const struct user *some_user(const struct state *st, uint32_t x)
{
    const struct user *u = NULL;
    for (user_id i = 0; i < st->counters.next_user && u == NULL; i++)
        u = state_user(st, 1 + (x + i) % st->counters.next_user);
    return u;
}

static const struct auth_key *some_key(const struct state *st, uint32_t x)
{
    const struct auth_key *k = NULL;
    for (uint64_t i = 0; i < st->counters.next_key && k == NULL; i++)
        k = state_key(st, 1 + (x + i) % st->counters.next_key);
    return k;
}

static void do_register(const struct story *s, struct state *st, const struct event *e)
{
    struct registration reg = {.machine = {{(uint8_t)(1 + e->x % MACHINES)}}};
    struct register_result out;
    struct prefix p;
    struct str tag = STR("tag:a");
    reg.key.b[0] = (uint8_t)(reg.machine.b[0] * 16 + e->y % KEYS);
    if (e->y % 5 == 0)
        reg.old_key.b[0] = (uint8_t)(reg.machine.b[0] * 16 + e->z % KEYS);
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

static void do_user(const struct story *s, struct state *st, const struct event *e)
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

static void do_key(struct story *s, struct state *st, struct event *e)
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
            memcpy(s->keys[s->key_n < KEY_TEXTS ? s->key_n++ : e->x % KEY_TEXTS], text, sizeof(text));
        }
    }
    (void)rc;
}

static void do_node(const struct story *s, struct state *st, const struct event *e)
{
    const struct node *n = some_node(st, e->x);
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

static void do_relay(const struct story *s, struct state *st, const struct event *e)
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

static void do_policy(const struct story *s, struct state *st, const struct event *e)
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

enum { DURABLE_KINDS = 16 };

static void do_durable(struct story *s, struct state *st, struct event *e)
{
    switch (e->kind) {
    case 0:
    case 1: do_user(s, st, e); break;
    case 2:
    case 3: do_key(s, st, e); break;
    case 4: do_relay(s, st, e); break;
    case 5: do_policy(s, st, e); break;
    case 6:
    case 7:
    case 8:
    case 9: do_node(s, st, e); break;
    default: do_register(s, st, e);
    }
}

enum { PRESENCE_KINDS = 6 };

/* Of a node that both twins have with the same key, and of relays that both have. */
static void do_presence(const struct story *s, struct state *st, const struct event *e, const struct node *of)
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

static void both_presence(struct story *s)
{
    struct event e = make_event(s, PRESENCE_KINDS);
    const struct node *a = some_node(s->a.st, e.x);
    const struct node *b = a != NULL ? state_node_by_key(s->b.st, &a->key) : NULL;
    if (b == NULL || b->id != a->id || !keys_equal(a->machine.b, b->machine.b))
        return;
    const struct node *of = node_ref(b);
    do_presence(s, s->a.st, &e, of);
    do_presence(s, s->b.st, &e, of);
    node_unref(&of);
}

/* --- batches --- */

static void take(struct twin *t)
{
    struct row_batch *b;
    while (t->waiting_n < ARRAY_LEN(t->waiting) && (b = state_take_batch(t->st)) != NULL)
        t->waiting[t->waiting_n++] = b;
}

static void commit_all(struct story *s, struct twin *t)
{
    for (size_t i = 0; i < t->waiting_n; i++) {
        if (t == &s->a) {
            disk_write(s->disk, t->waiting[i]);
            disk_write(s->found, t->waiting[i]);
        }
        state_committed(t->st, t->waiting[i]->seq);
        row_batch_destroy(&t->waiting[i]);
    }
    t->waiting_n = 0;
}

static void settle(struct story *s, struct twin *t)
{
    for (int i = 0; i < 3; i++) { /* a policy that is put to work approves routes */
        take(t);
        commit_all(s, t);
    }
}

/* --- telling them apart --- */

static void print_list(struct buf *out, const struct prefix_list *l)
{
    char text[PREFIX_TEXT_CAP];
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        prefix_format(&l->v[i], text);
        buf_printf(out, " %s", text);
    }
}

static void print_node(struct buf *out, const struct state *st, const struct node *n)
{
    char v4[ADDR_TEXT_CAP], v6[ADDR_TEXT_CAP], at[ADDR_TEXT_CAP] = "";
    addr_format(&n->v4, false, v4);
    addr_format(&n->v6, false, v6);
    if (n->endpoints_n > 0)
        addr_format(&n->endpoints[0], true, at);
    buf_printf(out, "node %d %s user %d machine %d key %d disco %d %s %s %s host %s %d%d%d%d%d%d%d", (int)n->id,
               n->stable_id, (int)n->user, n->machine.b[0], n->key.b[0], n->disco.b[0], v4, v6, n->name, n->hostname,
               n->is_renamed, n->is_ephemeral, n->is_expired, n->is_ended, n->is_online, n->is_newcomer, n->is_away);
    buf_printf(out, " derp %d auth %d expires %lld seen %lld tags %.*s info %zu at %s adv", n->home_derp,
               (int)n->auth_key, (long long)n->expires_ms, (long long)n->last_seen_ms,
               n->tags != NULL ? (int)n->tags->len : 0, n->tags != NULL ? (const char *)n->tags->data : "",
               n->hostinfo != NULL ? n->hostinfo->len : 0, at);
    print_list(out, n->advertised);
    buf_printf(out, " app");
    print_list(out, n->approved);
    buf_printf(out, " prim");
    print_list(out, n->primary);
    size_t len;
    const void *v4_key = addresses_map_key(&n->v4, &len);
    const struct node_record *by_addr = map_get(&st->by_addr, v4_key, len),
                             *by_name = map_get(&st->by_name, n->name, strlen(n->name));
    buf_printf(out, " index %d %d %d\n", (int)(state_node_by_key(st, &n->key) == n),
               (int)(by_addr != NULL && by_addr->id == n->id), (int)(by_name != NULL && by_name->id == n->id));
}

static void print_rows(struct buf *out, const struct state *st)
{
    for (user_id id = 1; id < st->counters.next_user; id++) {
        const struct user *u = state_user(st, id);
        if (u != NULL)
            buf_printf(out, "user %d %s role %d found %d\n", (int)id, u->name, u->role,
                       state_user_by_name(st, str_c(u->name)) == u);
    }
    for (uint64_t id = 1; id < st->counters.next_key; id++) {
        const struct auth_key *k = state_key(st, id);
        if (k != NULL)
            buf_printf(out, "key %d %s user %d used %d expires %lld found %d\n", (int)id, k->prefix, (int)k->user,
                       k->is_used, (long long)k->expires_ms, map_get(&st->keys_by_hash, k->hash, sizeof(k->hash)) == k);
    }
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;)
        buf_printf(out, "relay %d %s region %d\n", (int)r->id, r->name, r->region_id);
    const struct policy_text *t;
    for (size_t pos = 0; (t = state_policy_text_next(st, &pos)) != NULL;)
        buf_printf(out, "text %d %.*s\n", (int)t->id, (int)t->text->len, (const char *)t->text->data);
    buf_printf(out, "nodes %zu bytes %zu\n", state_node_count(st), st->text_bytes);
    for (node_id id = 1; id < st->counters.next_node; id++) {
        if (state_node(st, id) != NULL)
            print_node(out, st, state_node(st, id));
    }
}

static void print_state(struct buf *out, struct state *st)
{
    print_rows(out, st);
    const struct engine *p = state_policy(st);
    struct str text = p != NULL ? policy_doc_text(engine_doc(p)) : STR("none");
    buf_printf(out, "policy %.*s counters %d %d %d %d\n", STR_ARG(text), (int)st->counters.next_node,
               (int)st->counters.next_user, (int)st->counters.next_key, (int)st->counters.next_relay);
}

static void print_snapshot(struct buf *out, const struct state *st)
{
    const struct snapshot *s = state_snapshot(st);
    buf_printf(out, "snapshot %zu users %zu\n", s->node_n, s->users->n);
    for (node_id id = 1; id < s->group_n * GROUP_NODES; id++) {
        if (snapshot_node(s, id) != NULL)
            print_node(out, st, snapshot_node(s, id));
    }
    for (size_t i = 0; i < s->users->n; i++)
        buf_printf(out, "user %s %d\n", s->users->users[i]->name, s->users->users[i]->role);
}

/* Line by line: the first that differs tells enough. */
static void assert_same(struct buf *a, struct buf *b)
{
    struct str x = buf_str(a), y = buf_str(b), p, q;
    while (str_cut(x, '\n', &p, &x) && str_cut(y, '\n', &q, &y)) {
        if (!str_eq(p, q))
            print_error("%.*s\n%.*s\n", STR_ARG(p), STR_ARG(q));
        assert_true(str_eq(p, q));
    }
    assert_int_equal(buf_len(a), buf_len(b));
    buf_fini(a);
    buf_fini(b);
}

static void assert_twins(struct story *s)
{
    struct buf a = {0}, b = {0}, c = {0}, d = {0};
    print_state(&a, s->a.st);
    print_state(&b, s->b.st);
    assert_same(&a, &b);
    struct change *x = state_publish(s->a.st, s->now_ms), *y = state_publish(s->b.st, s->now_ms);
    change_unref(&x);
    change_unref(&y);
    print_snapshot(&c, s->a.st);
    print_snapshot(&d, s->b.st);
    assert_same(&c, &d);
    node_key gone[64];
    size_t n = state_take_revoked(s->a.st, gone, 64);
    assert_int_equal(n, state_take_revoked(s->b.st, gone, 64));
}

static struct policy_text *text_copy(const struct policy_text *t)
{
    struct policy_text *copy = state_policy_text_create(str_n(t->text->data, t->text->len));
    copy->id = t->id;
    copy->created_ms = t->created_ms;
    return copy;
}

/* A server that starts from the disk has what this one has. */
static void assert_disk(struct story *s, struct disk *d, struct state *st)
{
    struct state *next = make_state();
    struct buf a = {0}, b = {0};
    enum rc rc = RC_OK;
    qsort(d->rows, d->n, sizeof(d->rows[0]), compare_ops);
    for (size_t i = 0; i < d->n && rc == RC_OK; i++) {
        const struct row_op *op = &d->rows[i];
        if (op->kind == ROW_PUT_USER)
            rc = state_load_user(next, user_edit(op->user), NULL);
        else if (op->kind == ROW_PUT_KEY)
            rc = state_load_key(next, auth_key_edit(op->key), NULL);
        else if (op->kind == ROW_PUT_RELAY)
            rc = state_load_relay(next, state_relay_host_edit(op->relay), NULL);
        else if (op->kind == ROW_PUT_POLICY_TEXT)
            rc = state_load_policy_text(next, text_copy(op->policy_text), NULL);
        else
            rc = state_load_node(next, node_edit(op->node, NULL, 0), NULL);
    }
    assert_int_equal(rc, RC_OK);
    state_load_done(next, &d->counters, s->now_ms);
    assert_memory_equal(&next->counters, &st->counters, sizeof(st->counters));
    for (node_id id = 1; id < st->counters.next_node; id++) {
        const struct node *x = state_node(st, id), *y = state_node(next, id);
        assert_int_equal(x != NULL, y != NULL);
        if (x == NULL)
            continue;
        assert_string_equal(x->name, y->name);
        assert_true(keys_equal(x->key.b, y->key.b) && x->expires_ms == y->expires_ms && rcbuf_eq(x->tags, y->tags) &&
                    prefix_list_eq(x->approved, y->approved) && x->home_derp == y->home_derp);
    }
    buf_printf(&a, "%zu %zu %zu %zu", next->users.n, next->keys.n, next->relay_n, next->text_n);
    buf_printf(&b, "%zu %zu %zu %zu", st->users.n, st->keys.n, st->relay_n, st->text_n);
    assert_same(&a, &b);
    state_destroy(&next);
}

/* --- the story --- */

static void live(struct story *s)
{
    for (uint32_t n = 1 + pick(s, 8); n > 0; n--) {
        struct event e = make_event(s, DURABLE_KINDS);
        if (pick(s, 3) == 0)
            both_presence(s);
        do_durable(s, s->a.st, &e);
        do_durable(s, s->b.st, &e);
    }
    s->now_ms += pick(s, 50);
    state_tick(s->a.st, s->now_ms);
    state_tick(s->b.st, s->now_ms);
}

/* A node that registers again says what it says in a poll, one that has logged out only goes offline: nothing of it waits for
 * the disk. */
static bool is_presence(const struct story *s, const struct event *e)
{
    const node_key key = {{(uint8_t)((1 + e->x % MACHINES) * 16 + e->y % KEYS)}};
    const struct node *n = state_node_by_key(s->a.st, &key);
    if (e->kind < 10 || n == NULL)
        return false;
    return e->z % 7 == 0 ? n->is_ended && !n->is_ephemeral : e->z % 7 > 1 && !n->is_expired;
}

/* Events that the other never hears of. Those before them may be in flight. */
static void doomed(struct story *s, bool at_once)
{
    for (uint32_t n = 1 + pick(s, 6); n > 0; n--) {
        struct event e = make_event(s, DURABLE_KINDS);
        if (!is_presence(s, &e))
            do_durable(s, s->a.st, &e);
        if (at_once)
            state_undo_pending(s->a.st, s->now_ms);
        if (pick(s, 2) == 0)
            both_presence(s);
        if (!at_once && pick(s, 3) == 0)
            take(&s->a);
    }
}

static void refuse(struct story *s)
{
    uint64_t from = state_durable_seq(s->a.st) + 1, seq = 0;
    take(&s->a);
    for (size_t i = 0; i < s->a.waiting_n; i++) {
        struct row_batch *b = s->a.waiting[i];
        seq = !b->is_lazy && seq == 0 ? b->seq : seq;
        if (pick(s, 2) == 0 && from > 0) /* whole, in order, or not */
            disk_write(s->found, b);
        else
            from = 0;
        row_batch_destroy(&s->a.waiting[i]);
    }
    s->a.waiting_n = 0;
    if (seq == 0)
        return;
    assert_true(state_refused(s->a.st, seq, s->now_ms));
    s->refused++;
    s->b.st->counters = s->a.st->counters; /* ids are not given again */
    s->b.st->last_v4 = s->a.st->last_v4;
    s->b.st->last_v6 = s->a.st->last_v6;
    undo_begin_batch(s->b.st);
}

static void repair(struct story *s)
{
    struct row_batch *b = state_take_repair(s->a.st);
    disk_write(s->disk, b);
    disk_write(s->found, b);
    state_committed(s->a.st, b->seq);
    row_batch_destroy(&b);
    state_repaired(s->a.st);
}

static void flush(struct story *s, struct twin *t)
{
    state_flush_lazy(t->st, SIZE_MAX);
    settle(s, t);
}

static void episode(struct story *s)
{
    bool at_once = pick(s, 3) == 0;
    live(s);
    if (at_once || pick(s, 2) == 0) {
        settle(s, &s->a);
    } else {
        take(&s->a); /* in flight while the next come */
        struct row_batch *early[ARRAY_LEN(s->a.waiting)];
        size_t early_n = s->a.waiting_n;
        memcpy(early, s->a.waiting, sizeof(early));
        s->a.waiting_n = 0;
        settle(s, &s->b);
        doomed(s, false);
        struct twin late = s->a;
        memcpy(s->a.waiting, early, sizeof(early));
        s->a.waiting_n = early_n;
        commit_all(s, &s->a);
        s->a = late;
        refuse(s);
        repair(s); /* a policy that was put to work meanwhile has approved routes, in vain */
        settle(s, &s->a);
        assert_twins(s);
    }
    settle(s, &s->b);
    doomed(s, at_once);
    if (!at_once)
        refuse(s);
    assert_twins(s);
    repair(s);
    flush(s, &s->a);
    flush(s, &s->b);
    assert_twins(s);
    assert_disk(s, s->disk, s->a.st);
    assert_disk(s, s->found, s->a.st);
}

static void test_refused_never_was(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        struct story s = {.random = {seed * 7919}, .now_ms = 1700000000000, .a.st = make_state(), .b.st = make_state()};
        s.disk = MEM_NEW(struct disk);
        s.found = MEM_NEW(struct disk);
        s.disk->counters = s.found->counters = s.a.st->counters;
        for (int i = 0; i < EPISODES; i++)
            episode(&s);
        refused += s.refused;
        disk_fini(s.disk);
        disk_fini(s.found);
        mem_free(s.disk);
        mem_free(s.found);
        state_destroy(&s.a.st);
        state_destroy(&s.b.st);
    }
    assert_true(refused > HISTORIES * EPISODES / 2);
}

/* --- ephemeral nodes, while the disk is full --- */

enum { EPHEMERAL_MS = 60000, GRACE_MS = 1000, AGAIN_MAX_MS = 300000 };

/* A tailnet with one ephemeral node, which is on disk. */
struct lone {
    struct state *st;
    int64_t now_ms;
    node_id id;
    struct registration reg;
    char key[AUTH_KEY_TEXT_CAP], lasting_key[AUTH_KEY_TEXT_CAP];
};

static void write_lone(struct lone *l)
{
    struct row_batch *b;
    while ((b = state_take_batch(l->st)) != NULL) {
        state_committed(l->st, b->seq);
        row_batch_destroy(&b);
    }
}

static void refuse_lone(struct lone *l)
{
    struct row_batch *b = state_take_batch(l->st);
    assert_non_null(b);
    assert_true(state_refused(l->st, b->seq, l->now_ms));
    row_batch_destroy(&b);
}

static void make_lone_key(struct lone *l, bool is_ephemeral, char text[AUTH_KEY_TEXT_CAP])
{
    const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {(uint8_t)(1 + is_ephemeral)};
    struct auth_key_spec spec = {.user = 1, .is_reusable = true, .is_ephemeral = is_ephemeral};
    const struct auth_key *k;
    assert_int_equal(state_key_create(l->st, &spec, random, l->now_ms, &k, text, NULL), RC_OK);
}

static void register_lone(struct lone *l, const char *key)
{
    struct register_result r;
    l->reg.auth_key = str_c(key);
    state_register(l->st, &l->reg, l->now_ms, &r);
    assert_int_equal(r.outcome, REGISTER_OK);
    l->id = r.node->id;
}

static void open_lone(struct lone *l)
{
    struct user_spec ann = {.name = STR("ann")};
    const struct user *u;
    *l = (struct lone){.st = make_state(), .now_ms = 1700000000000};
    l->st->options.ephemeral_timeout_ms = EPHEMERAL_MS;
    l->st->options.offline_grace_ms = GRACE_MS;
    l->reg = (struct registration){.machine = {{1}}, .key = {{2}}, .random = {3}, .report.hostname = STR("runner")};
    assert_int_equal(state_user_create(l->st, &ann, l->now_ms, &u, NULL), RC_OK);
    make_lone_key(l, true, l->key);
    make_lone_key(l, false, l->lasting_key);
    register_lone(l, l->key);
    write_lone(l);
}

static void begin_lone_poll(struct lone *l)
{
    const struct node *n;
    struct node_report none = {0};
    assert_int_equal(state_poll_begin(l->st, &l->reg.key, &l->reg.machine, &none, l->now_ms, &n), RC_OK);
}

static void end_lone_poll(struct lone *l)
{
    state_poll_end(l->st, l->id, l->now_ms);
    l->now_ms += GRACE_MS;
    state_tick(l->st, l->now_ms);
    assert_false(state_node(l->st, l->id)->is_online);
}

/* Not earlier, not later. */
static void assert_removed_after(struct lone *l, int64_t ms)
{
    l->now_ms += ms - 1;
    state_tick(l->st, l->now_ms);
    assert_non_null(state_node(l->st, l->id));
    l->now_ms++;
    state_tick(l->st, l->now_ms);
    assert_null(state_node(l->st, l->id));
}

static void test_removals_refused_for_days_leave_nothing_behind(void **state)
{
    (void)state;
    struct lone l;
    int64_t wait_ms = EPHEMERAL_MS;
    open_lone(&l);
    for (int i = 0; i < 1000; i++) {
        assert_removed_after(&l, wait_ms);
        refuse_lone(&l);
        assert_non_null(state_node(l.st, l.id));
        wait_ms = i == 0 ? 5000 : wait_ms * 2 < AGAIN_MAX_MS ? wait_ms * 2 : AGAIN_MAX_MS;
        assert_int_equal(l.st->stale.n, 1);
        assert_int_equal(l.st->undo.n, 0);
    }
    assert_int_equal(wait_ms, AGAIN_MAX_MS);
    assert_int_equal(state_flush_lazy(l.st, SIZE_MAX), 1);
    write_lone(&l);
    begin_lone_poll(&l); /* its next end is an ordinary one */
    end_lone_poll(&l);
    assert_removed_after(&l, EPHEMERAL_MS - GRACE_MS);
    refuse_lone(&l);
    assert_removed_after(&l, 5000);
    state_destroy(&l.st);
}

static void test_refused_writes_of_a_node_wait_once_for_the_disk(void **state)
{
    (void)state;
    struct lone l;
    open_lone(&l);
    begin_lone_poll(&l);
    for (int i = 0; i < 1000; i++) {
        const struct node *n;
        assert_int_equal(state_node_rename(l.st, l.id, str_c(names[i % 3]), &n, NULL), RC_OK);
        refuse_lone(&l);
        assert_int_equal(l.st->stale.n, 1);
    }
    assert_int_equal(state_flush_lazy(l.st, SIZE_MAX), 1);
    assert_int_equal(state_flush_lazy(l.st, SIZE_MAX), 0);
    state_destroy(&l.st);
}

/* A flush passes it over while its removal waits for the disk. */
static void test_brought_back_is_written_by_the_next_flush(void **state)
{
    (void)state;
    struct lone l;
    open_lone(&l);
    begin_lone_poll(&l);
    assert_int_equal(state_node_delete(l.st, l.id, NULL), RC_OK);
    assert_int_equal(state_flush_lazy(l.st, SIZE_MAX), 0);
    refuse_lone(&l);
    assert_int_equal(state_flush_lazy(l.st, SIZE_MAX), 1);
    state_destroy(&l.st);
}

/* Its client leaves while an event that does not concern its end waits for the disk. */
static void test_undone_rename_leaves_an_ephemeral_node_its_end(void **state)
{
    (void)state;
    struct lone l;
    const struct node *n;
    open_lone(&l);
    begin_lone_poll(&l);
    assert_int_equal(state_node_rename(l.st, l.id, STR("other"), &n, NULL), RC_OK);
    end_lone_poll(&l);
    refuse_lone(&l);
    assert_string_equal(state_node(l.st, l.id)->name, "runner");
    assert_removed_after(&l, EPHEMERAL_MS - GRACE_MS);
    state_destroy(&l.st);
}

/* Its client came and left once more meanwhile: the time counts from then. */
static void test_undone_rename_does_not_shorten_an_ephemeral_nodes_time(void **state)
{
    (void)state;
    struct lone l;
    const struct node *n;
    open_lone(&l);
    begin_lone_poll(&l);
    state_poll_end(l.st, l.id, l.now_ms);
    assert_int_equal(state_node_rename(l.st, l.id, STR("other"), &n, NULL), RC_OK);
    begin_lone_poll(&l);
    l.now_ms += EPHEMERAL_MS / 2;
    end_lone_poll(&l);
    refuse_lone(&l);
    state_tick(l.st, l.now_ms);
    assert_removed_after(&l, EPHEMERAL_MS - GRACE_MS);
    state_destroy(&l.st);
}

static void register_anew(struct lone *l, const char *key)
{
    l->reg.old_key = l->reg.key;
    l->reg.key.b[0]++;
    register_lone(l, key);
}

/* Made a lasting node in vain it ends after all; made an ephemeral one in vain it does not. */
static void test_undone_registration_settles_whether_a_node_ends(void **state)
{
    (void)state;
    struct lone l;
    open_lone(&l);
    begin_lone_poll(&l);
    register_anew(&l, l.lasting_key);
    assert_false(state_node(l.st, l.id)->is_ephemeral);
    end_lone_poll(&l);
    refuse_lone(&l);
    assert_true(state_node(l.st, l.id)->is_ephemeral);
    assert_removed_after(&l, EPHEMERAL_MS);
    refuse_lone(&l);

    register_anew(&l, l.lasting_key);
    write_lone(&l);
    begin_lone_poll(&l);
    register_anew(&l, l.key);
    end_lone_poll(&l);
    refuse_lone(&l);
    assert_false(state_node(l.st, l.id)->is_ephemeral);
    l.now_ms += EPHEMERAL_MS * 10;
    state_tick(l.st, l.now_ms);
    assert_non_null(state_node(l.st, l.id));
    state_destroy(&l.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_never_was),
        cmocka_unit_test(test_removals_refused_for_days_leave_nothing_behind),
        cmocka_unit_test(test_refused_writes_of_a_node_wait_once_for_the_disk),
        cmocka_unit_test(test_brought_back_is_written_by_the_next_flush),
        cmocka_unit_test(test_undone_rename_leaves_an_ephemeral_node_its_end),
        cmocka_unit_test(test_undone_rename_does_not_shorten_an_ephemeral_nodes_time),
        cmocka_unit_test(test_undone_registration_settles_whether_a_node_ends),
    };
    crypto_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
