/* States as text, to compare them. */
#include "state/testing_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "state/setting.h"

static void print_list(struct buf *out, const struct prefix_list *l)
{
    char text[PREFIX_TEXT_CAP];
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        prefix_format(&l->v[i], text);
        buf_printf(out, " %s", text);
    }
}

static void print_node(struct buf *out, const struct state *st, const struct node *n, bool with_seen)
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
               (int)n->auth_key, (long long)n->expires_ms, with_seen ? (long long)n->last_seen_ms : 0,
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

static void print_rows(struct buf *out, const struct state *st, bool with_seen)
{
    for (user_id id = 1; id < st->counters.next[entity_user.number]; id++) {
        const struct user *u = state_user(st, id);
        if (u != NULL)
            buf_printf(out, "user %d %s role %d found %d\n", (int)id, u->name, u->role,
                       state_user_by_name(st, str_c(u->name)) == u);
    }
    for (uint64_t id = 1; id < st->counters.next[entity_auth_key.number]; id++) {
        const struct auth_key *k = state_key(st, id);
        if (k != NULL)
            buf_printf(out, "key %d %s user %d used %d expires %lld found %d\n", (int)id, k->prefix, (int)k->user,
                       k->is_used, (long long)k->expires_ms, map_get(&st->keys_by_hash, k->hash, sizeof(k->hash)) == k);
    }
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;)
        buf_printf(out, "relay %d %s region %d\n", (int)r->id, r->name, r->region_id);
    const struct setting *set;
    for (size_t pos = 0; (set = state_setting_next(st, &pos)) != NULL;)
        buf_printf(out, "setting %d %s=%s\n", (int)set->id, set->name, set->value);
    const struct policy_text *t;
    for (size_t pos = 0; (t = state_policy_text_next(st, &pos)) != NULL;)
        buf_printf(out, "text %d %.*s\n", (int)t->id, (int)t->text->len, (const char *)t->text->data);
    buf_printf(out, "nodes %zu bytes %zu\n", state_node_count(st), st->text_bytes);
    for (node_id id = 1; id < st->counters.next[entity_node.number]; id++) {
        if (state_node(st, id) != NULL)
            print_node(out, st, state_node(st, id), with_seen);
    }
}

void test_print_state(struct buf *out, struct state *st, bool with_seen)
{
    print_rows(out, st, with_seen);
    const struct engine *p = state_policy(st);
    struct str text = p != NULL ? policy_doc_text(engine_doc(p)) : STR("none");
    buf_printf(out, "policy %.*s counters %d %d %d %d\n", STR_ARG(text), (int)st->counters.next[entity_node.number],
               (int)st->counters.next[entity_user.number], (int)st->counters.next[entity_auth_key.number],
               (int)st->counters.next[entity_relay_host.number]);
}

void test_print_snapshot(struct buf *out, const struct state *st, bool with_seen)
{
    const struct snapshot *s = state_snapshot(st);
    buf_printf(out, "snapshot %zu users %zu\n", s->node_n, s->users->n);
    for (node_id id = 1; id < s->group_n * GROUP_NODES; id++) {
        if (snapshot_node(s, id) != NULL)
            print_node(out, st, snapshot_node(s, id), with_seen);
    }
    for (size_t i = 0; i < s->users->n; i++)
        buf_printf(out, "user %s %d\n", s->users->users[i]->name, s->users->users[i]->role);
    const struct row *row;
    for (size_t pos = 0; (row = row_set_next(s->kept, &entity_setting, &pos)) != NULL;)
        buf_printf(out, "setting %d=%s\n", (int)row->id, ((const struct setting *)row)->value);
}

/* Line by line: the first that differs is printed. */
void test_assert_same(struct buf *a, struct buf *b)
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
