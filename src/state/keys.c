#include <stdio.h>

#include "base/buf.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"

/* A look-up by the hash takes no longer for a nearly right key, so nothing can be learnt from the time it takes. */
const struct auth_key *state_key_by_text(const struct state *st, struct str text)
{
    uint8_t hash[KEY_HASH_BYTES];
    sha256(text.p, text.len, hash);
    return map_get(&st->keys_by_hash, hash, sizeof(hash));
}

static void index_key(struct state *st, const struct auth_key *k)
{
    map_put(&st->keys, &k->id, sizeof(k->id), (void *)k);
    map_put(&st->keys_by_hash, k->hash, sizeof(k->hash), (void *)k);
}

static void unindex_key(struct state *st, const struct auth_key *k)
{
    map_remove(&st->keys, &k->id, sizeof(k->id));
    map_remove(&st->keys_by_hash, k->hash, sizeof(k->hash));
}

static enum rc check_row(const struct state *st, const struct auth_key *k, struct err *err)
{
    TRY(state_load_check_id(k->id, err));
    if (state_key(st, k->id) != NULL || map_get(&st->keys_by_hash, k->hash, sizeof(k->hash)) != NULL)
        return err_set(err, RC_INVALID, "another row has the same id or hash");
    if (k->user != 0 ? state_user(st, k->user) == NULL : k->tags == NULL)
        return err_set(err, RC_INVALID, "its user is not there");
    return state_load_check_tags(k->tags, err);
}

enum rc state_load_key(struct state *st, struct auth_key *k, struct err *err)
{
    TRY(check_row(st, k, err));
    state_load_fit_time(&k->created_ms);
    state_load_fit_expiry(&k->expires_ms);
    index_key(st, k);
    return RC_OK;
}

void auth_key_text_make(const char *kind, const uint8_t random[AUTH_KEY_RANDOM_BYTES], char prefix[KEY_PREFIX_CAP],
                        char text[AUTH_KEY_TEXT_CAP], uint8_t hash[KEY_HASH_BYTES])
{
    char shown[13] = "", secret[65] = "";
    hex_encode(random, 6, shown);
    hex_encode(random + 6, 32, secret);
    snprintf(prefix, KEY_PREFIX_CAP, "%s-%s", kind, shown);
    snprintf(text, AUTH_KEY_TEXT_CAP, "%s-%s", prefix, secret);
    sha256(text, strlen(text), hash);
    secret_wipe(secret, sizeof(secret));
}

enum rc state_key_create(struct state *st, const struct auth_key_spec *spec,
                         const uint8_t random[AUTH_KEY_RANDOM_BYTES], int64_t now_ms, const struct auth_key **out,
                         char text[AUTH_KEY_TEXT_CAP], struct err *err)
{
    struct rcbuf *tags;
    if (state_user(st, spec->user) == NULL && (spec->user != 0 || spec->tag_n == 0))
        return err_set(err, RC_NOT_FOUND, "there is no user with id %llu (list them: users list)",
                       (unsigned long long)spec->user);
    if (spec->expires_ms != NO_EXPIRY && spec->expires_ms <= now_ms)
        return err_set(err, RC_INVALID, "the key would have expired already");
    if (spec->max_nodes > 0 && !spec->is_reusable)
        return err_set(err, RC_INVALID, "a key that is not reusable is for one node: leave out the number of nodes");
    if (spec->sources != NULL && spec->sources->n > KEY_SOURCES_MAX)
        return err_set(err, RC_INVALID, "a key has at most %d source networks", KEY_SOURCES_MAX);
    TRY(node_tags_make(st, spec->tags, spec->tag_n, &tags, err));
    struct auth_key *k = auth_key_create();
    k->id = row_next_id(st, &entity_auth_key);
    k->user = spec->user;
    k->is_reusable = spec->is_reusable;
    k->is_ephemeral = spec->is_ephemeral;
    k->created_ms = now_ms;
    k->expires_ms = spec->expires_ms;
    k->tags = tags;
    k->max_nodes = spec->max_nodes;
    k->sources = prefix_list_ref(spec->sources);
    auth_key_text_make("fskey-auth", random, k->prefix, text, k->hash);
    event_note(st, EVENT_KEY_CREATED, &entity_auth_key, NULL, k);
    index_key(st, k);
    state_put(st, &entity_auth_key, NULL, &k->row);
    *out = k;
    return RC_OK;
}

static enum rc no_such_key(uint64_t id, struct err *err)
{
    return err_set(err, RC_NOT_FOUND, "there is no auth key with id %llu (list them: preauthkeys list)",
                   (unsigned long long)id);
}

/* A date that stays in the past: now, unless the clock was set ahead and may be set back. */
static int64_t end_date(const struct state *st, const struct auth_key *k, int64_t now_ms)
{
    int64_t at_ms = state_steady_ms(st, now_ms) < now_ms ? state_steady_ms(st, now_ms) : now_ms;
    int64_t earliest_ms = k->created_ms < now_ms ? k->created_ms : now_ms;
    return at_ms > earliest_ms ? at_ms : earliest_ms;
}

enum rc state_key_expire(struct state *st, uint64_t id, int64_t now_ms, struct err *err)
{
    const struct auth_key *old = state_key(st, id);
    if (old == NULL)
        return no_such_key(id, err);
    int64_t end_ms = end_date(st, old, now_ms);
    if (old->expires_ms != NO_EXPIRY && old->expires_ms <= end_ms)
        return RC_OK;
    struct auth_key *k = auth_key_edit(old);
    k->expires_ms = end_ms;
    state_put(st, &entity_auth_key, &old->row, &k->row);
    event_note(st, EVENT_KEY_EXPIRED, &entity_auth_key, old, k);
    unindex_key(st, old);
    auth_key_unref(&old);
    index_key(st, k);
    return RC_OK;
}

enum rc state_key_delete(struct state *st, uint64_t id, struct err *err)
{
    const struct auth_key *k = state_key(st, id);
    if (k == NULL)
        return no_such_key(id, err);
    state_put(st, &entity_auth_key, &k->row, NULL);
    event_note(st, EVENT_KEY_DELETED, &entity_auth_key, k, NULL);
    unindex_key(st, k);
    auth_key_unref(&k);
    return RC_OK;
}

void auth_key_restore(struct state *st, uint64_t id, const struct auth_key *before, int64_t now_ms)
{
    (void)now_ms;
    const struct auth_key *now = state_key(st, id);
    if (now != NULL)
        unindex_key(st, now);
    auth_key_unref(&now);
    if (before != NULL)
        index_key(st, auth_key_ref(before));
}
