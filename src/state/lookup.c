/* Reads the working state. Changes nothing and calls no other file of this folder, so that all may call it. */
#include "state/state_internal.h"

struct snapshot *state_snapshot(const struct state *st)
{
    return st->snapshot;
}

const struct tailnet_settings *state_settings(const struct state *st)
{
    return st->settings;
}

uint64_t state_durable_seq(const struct state *st)
{
    return st->pending != NULL ? st->next_seq : st->durable_seq;
}

/* --- nodes --- */

struct node_record *node_record_of(const struct state *st, node_id id)
{
    if (id >= st->records_cap || st->records[id] == NULL || st->records[id]->node == NULL)
        return NULL;
    return st->records[id];
}

const struct node *state_node(const struct state *st, node_id id)
{
    const struct node_record *e = node_record_of(st, id);
    return e != NULL ? e->node : NULL;
}

const struct node *state_node_by_key(const struct state *st, const node_key *key)
{
    const struct node_record *e = map_get(&st->by_key, key->b, KEY_BYTES);
    return e != NULL ? e->node : NULL;
}

size_t state_node_count(const struct state *st)
{
    return st->node_n;
}

bool state_key_is_active(const struct state *st, const node_key *key)
{
    const struct node *n = state_node_by_key(st, key);
    return n != NULL && !n->is_expired;
}

/* --- users, auth keys, relays, policy texts --- */

const struct user *state_user(const struct state *st, user_id id)
{
    return map_get(&st->users, &id, sizeof(id));
}

const struct user *state_user_next(const struct state *st, size_t *pos)
{
    return map_next(&st->users, pos);
}

const struct auth_key *state_key(const struct state *st, uint64_t id)
{
    return map_get(&st->keys, &id, sizeof(id));
}

const struct auth_key *state_key_next(const struct state *st, size_t *pos)
{
    return map_next(&st->keys, pos);
}

struct relay_record *state_relay_record(const struct state *st, uint64_t id)
{
    for (size_t i = 0; i < st->relay_n; i++) {
        if (st->relays[i].host->id == id)
            return &st->relays[i];
    }
    return NULL;
}

const struct relay_host *state_relay(const struct state *st, uint64_t id)
{
    const struct relay_record *e = state_relay_record(st, id);
    return e != NULL ? e->host : NULL;
}

const struct relay_host *state_relay_next(const struct state *st, size_t *pos)
{
    return *pos < st->relay_n ? st->relays[(*pos)++].host : NULL;
}

const struct policy_text *state_policy_text_newest(const struct state *st)
{
    return st->text_n > 0 ? st->texts[st->text_n - 1] : NULL;
}

const struct policy_text *state_policy_text(const struct state *st, uint64_t id)
{
    for (size_t i = 0; i < st->text_n; i++) {
        if (st->texts[i]->id == id)
            return st->texts[i];
    }
    return NULL;
}

const struct policy_text *state_policy_text_next(const struct state *st, size_t *pos)
{
    return *pos < st->text_n ? st->texts[(*pos)++] : NULL;
}
