#include "state/state.h"

#include "base/mem.h"
#include "state/access.h"
#include "state/state_internal.h"

static struct snapshot *empty_snapshot(struct state *st)
{
    struct snapshot *s = MEM_NEW(struct snapshot);
    atomic_init(&s->refs, 1);
    s->version = 1;
    s->users = state_user_table_make(st);
    s->kept = row_set_create(0);
    s->settings = tailnet_settings_ref(st->settings);
    s->access = access_ref(st->open_access);
    return s;
}

struct state *state_create(const struct state_options *options, struct tailnet_settings *settings)
{
    struct state *st = MEM_NEW(struct state);
    st->options = *options;
    st->settings = settings;
    for (unsigned i = 0; i < ENTITIES_MAX; i++)
        st->counters.next[i] = 1;
    st->undo.next.counters = st->counters;
    st->next_seq = 1;
    st->next_due_ms = INT64_MAX;
    st->next_date_ms = INT64_MAX;
    memcpy(&st->random_state, options->seed + 16, sizeof(st->random_state));
    struct map *maps[] = {&st->by_key,        &st->by_machine, &st->by_name,      &st->by_addr, &st->users,
                          &st->users_by_name, &st->keys,       &st->keys_by_hash, &st->routes};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_init(maps[i], options->seed);
    st->open_access = access_create_open();
    st->snapshot = empty_snapshot(st);
    return st;
}

void state_destroy(struct state **at)
{
    struct state *st = *at;
    *at = NULL;
    if (st == NULL)
        return;
    for (size_t i = 0; i < st->records_cap; i++) {
        if (st->records[i] == NULL)
            continue;
        node_unref(&st->records[i]->node);
        routes_forget(st->records[i]);
        mem_free(st->records[i]);
    }
    for (size_t pos = 0;;) {
        const struct user *u = map_next(&st->users, &pos);
        if (u == NULL)
            break;
        user_unref(&u);
    }
    for (size_t pos = 0;;) {
        const struct auth_key *k = map_next(&st->keys, &pos);
        if (k == NULL)
            break;
        auth_key_unref(&k);
    }
    struct map *maps[] = {&st->by_key, &st->by_machine,    &st->by_name, &st->by_addr,
                          &st->users,  &st->users_by_name, &st->keys,    &st->keys_by_hash};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_fini(maps[i]);
    state_relays_fini(st);
    state_policy_texts_fini(st);
    routes_fini(st);
    state_policy_fini(st);
    undo_fini(st);
    events_fini(st);
    row_batch_destroy(&st->pending);
    row_batch_destroy(&st->pending_lazy);
    state_sealed_fini(st);
    kept_fini(st);
    snapshot_unref(&st->snapshot);
    access_unref(&st->open_access);
    tailnet_settings_unref(&st->settings);
    mem_free(st->records);
    mem_free(st->dirty.ids);
    mem_free(st->stale.ids);
    mem_free(st->unsettled.ids);
    mem_free(st->revoked.v);
    mem_free(st);
}

void state_set_settings(struct state *st, struct tailnet_settings *settings)
{
    tailnet_settings_unref(&st->settings);
    st->settings = settings;
    st->settings_dirty = true;
}
