/* The log of rows as they were before the events that wait for the disk. undo.c uses it to take events back. */
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"

/* --- writing it --- */

static struct undo *add(struct state *st, enum row_op_kind kind, uint64_t id)
{
    struct undo_log *log = &st->undo;
    VEC_ROOM(log->v, log->n, log->cap, 16);
    struct undo *u = &log->v[log->n++];
    *u = (struct undo){.seq = st->next_seq, .kind = kind, .id = id};
    return u;
}

void undo_drop(struct undo *u)
{
    user_unref(&u->user);
    auth_key_unref(&u->key);
    state_relay_host_unref(&u->relay.host);
    state_policy_text_unref(&u->policy_text);
    policy_doc_unref(&u->next_policy.doc);
    node_unref(&u->node);
    node_unref(&u->after);
}

void undo_fini(struct state *st)
{
    for (size_t i = 0; i < st->undo.n; i++)
        undo_drop(&st->undo.v[i]);
    mem_free(st->undo.v);
    mem_free(st->undo.marks);
    row_batch_destroy(&st->suspects);
}

void undo_note_user(struct state *st, user_id id)
{
    const struct user *u = state_user(st, id);
    add(st, ROW_PUT_USER, id)->user = u != NULL ? user_ref(u) : NULL;
}

void undo_note_key(struct state *st, uint64_t id)
{
    const struct auth_key *k = state_key(st, id);
    add(st, ROW_PUT_KEY, id)->key = k != NULL ? auth_key_ref(k) : NULL;
}

void undo_note_relay(struct state *st, uint64_t id)
{
    const struct relay_record *e = state_relay_record(st, id);
    struct undo *u = add(st, ROW_PUT_RELAY, id);
    if (e == NULL)
        return;
    u->relay = *e;
    state_relay_host_ref(e->host);
}

void undo_note_policy_text(struct state *st, uint64_t id)
{
    const struct policy_text *t = state_policy_text(st, id);
    struct undo *u = add(st, ROW_PUT_POLICY_TEXT, id);
    u->policy_text = t != NULL ? state_policy_text_ref(t) : NULL;
    if (t != NULL)
        return;
    u->next_policy = st->next_policy;
    if (u->next_policy.doc != NULL)
        policy_doc_ref(u->next_policy.doc);
}

void undo_begin_node(struct state *st, struct node_record *e, enum undo_cause cause)
{
    if (e->undo_at != 0) {
        e->undo_depth++;
        return;
    }
    struct undo *u = add(st, ROW_PUT_NODE, e->id);
    u->cause = cause;
    u->visible_seq = e->visible_seq;
    u->offline_at_ms = e->offline_at_ms;
    u->name_lags = e->name_lags;
    u->approval_lags = e->approval_lags;
    u->policy_sets = st->policy_sets;
    u->node = cause != UNDO_NEW ? node_ref(e->node) : NULL;
    e->undo_at = st->undo.n;
}

void undo_end_node(struct state *st, struct node_record *e)
{
    if (e->undo_depth > 0) {
        e->undo_depth--;
        return;
    }
    st->undo.v[e->undo_at - 1].after = e->node != NULL ? node_ref(e->node) : NULL;
    e->undo_at = 0;
}

void undo_begin_batch(struct state *st)
{
    st->undo.next = (struct undo_mark){.counters = st->counters, .last_v4 = st->last_v4, .last_v6 = st->last_v6};
    st->counters_dirty = false;
}

void undo_mark_batch(struct state *st, uint64_t seq)
{
    struct undo_log *log = &st->undo;
    VEC_ROOM(log->marks, log->mark_n, log->mark_cap, 16);
    log->marks[log->mark_n++] = seq;
    undo_begin_batch(st);
}

void undo_committed(struct state *st)
{
    struct undo_log *log = &st->undo;
    size_t gone = 0, marks = 0;
    for (; gone < log->n && log->v[gone].seq <= st->committed_seq; gone++)
        undo_drop(&log->v[gone]);
    if (gone > 0)
        memmove(log->v, log->v + gone, (log->n - gone) * sizeof(*log->v));
    log->n -= gone;
    while (marks < log->mark_n && log->marks[marks] <= st->committed_seq)
        marks++;
    if (marks > 0)
        memmove(log->marks, log->marks + marks, (log->mark_n - marks) * sizeof(*log->marks));
    log->mark_n -= marks;
}

/* --- asking it --- */

bool undo_has_auth_key(const struct state *st, const uint8_t hash[KEY_HASH_BYTES])
{
    for (size_t i = 0; i < st->undo.n; i++) {
        const struct undo *u = &st->undo.v[i];
        if (u->kind != ROW_PUT_KEY)
            continue;
        const struct auth_key *now = state_key(st, u->id);
        if ((u->key != NULL && secret_equal(u->key->hash, hash, KEY_HASH_BYTES)) ||
            (now != NULL && secret_equal(now->hash, hash, KEY_HASH_BYTES)))
            return true;
    }
    return false;
}

bool undo_has_node_key(const struct state *st, const node_key *key)
{
    for (size_t i = 0; i < st->undo.n; i++) {
        const struct undo *u = &st->undo.v[i];
        if ((u->node != NULL && keys_equal(u->node->key.b, key->b)) ||
            (u->after != NULL && keys_equal(u->after->key.b, key->b)))
            return true;
    }
    return false;
}

bool undo_deletes_relay(const struct state *st)
{
    for (size_t i = 0; i < st->undo.n; i++) {
        const struct undo *u = &st->undo.v[i];
        if (u->kind == ROW_PUT_RELAY && u->relay.host != NULL)
            return true;
    }
    return false;
}
