/* Registration: the state machine of docs/protocol/control.md 5.4, top to bottom. */
#include <stdio.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"

static void refuse(struct register_result *out, enum rc code, const char *text)
{
    out->outcome = REGISTER_REFUSED;
    err_set(&out->err, code, "%s", text);
}

static void succeed(struct state *st, struct register_result *out, const struct node_record *e)
{
    out->outcome = REGISTER_OK;
    out->node = e->node;
    out->user = e->node->tags == NULL ? state_user(st, e->node->user) : NULL;
}

/* Rows 3 and 4. The date that the client gives (1970) is not kept: peers would show it. */
static void logout(struct state *st, struct node_record *e, int64_t now_ms, struct register_result *out)
{
    out->outcome = REGISTER_KEY_EXPIRED;
    if (e == NULL)
        return;
    if (e->node->is_ephemeral) {
        node_record_remove(st, e);
        return;
    }
    if (e->node->is_ended) {
        node_record_go_offline(st, e, now_ms);
        return;
    }
    undo_begin_node(st, e, UNDO_EVENT); /* so that undoing covers its going offline as well */
    node_record_go_offline(st, e, now_ms);
    node_record_set_expiry(st, e, now_ms, now_ms, EVENT_NODE_LOGGED_OUT);
    undo_end_node(st, e);
}

/* Row 6: the client shortens its expiry. */
static void shorten_expiry(struct state *st, struct node_record *e, int64_t asked_ms, int64_t now_ms,
                           struct register_result *out)
{
    int64_t expiry_ms = asked_ms < DATE_MAX_MS ? asked_ms : DATE_MAX_MS;
    if (e->node->expires_ms != NO_EXPIRY && expiry_ms > e->node->expires_ms) {
        refuse(out, RC_DENIED, "the key's expiry can only be brought forward; an admin may extend it");
        return;
    }
    node_record_set_expiry(st, e, expiry_ms, now_ms, EVENT_NODE_EXPIRED);
    succeed(st, out, e);
}

static bool is_from(const struct auth_key *k, const struct addr *from)
{
    for (size_t i = 0; k->sources != NULL && i < k->sources->n; i++) {
        if (from->family != 0 && addr_in_prefix(from, &k->sources->v[i].ip, k->sources->v[i].bits))
            return true;
    }
    return k->sources == NULL;
}

/* Null, with a refusal, if the key cannot be used. */
static const struct auth_key *check_key(struct state *st, const struct registration *reg, int64_t now_ms,
                                        struct register_result *out)
{
    const struct auth_key *k = state_key_by_text(st, reg->auth_key);
    const char *why = NULL;
    if (k == NULL)
        why = "this auth key is not known here: check that it is complete and of this server, or ask for a new one";
    else if (k->expires_ms != NO_EXPIRY && k->expires_ms <= now_ms)
        why = "this auth key has expired: ask for a new one";
    else if (k->is_used && !k->is_reusable)
        why = "this auth key was for a single use and has been used: ask for a new one";
    if (why != NULL) {
        refuse(out, k == NULL ? RC_NOT_FOUND : k->is_used && !k->is_reusable ? RC_USED : RC_EXPIRED, why);
        return NULL;
    }
    if (!is_from(k, &reg->from)) {
        char from[ADDR_TEXT_CAP] = "an address that is not known";
        if (reg->from.family != 0)
            addr_format(&reg->from, false, from);
        out->outcome = REGISTER_REFUSED;
        out->key_limit = KEY_LIMIT_SOURCE;
        err_set(&out->err, RC_DENIED, "this auth key is for other networks than yours (%s): ask for one without", from);
        return NULL;
    }
    return k;
}

/* Counts a node that joined, and raises the alarm when the number is reached: at most once an hour. */
static void count_join(const struct state *st, struct auth_key *k, int64_t now_ms, struct register_result *out)
{
    const int64_t hour_ms = 3600 * 1000;
    if (k->joined_n < UINT32_MAX)
        k->joined_n++;
    if (k->hour_n == 0 || now_ms < k->hour_from_ms || now_ms - k->hour_from_ms >= hour_ms) {
        k->hour_from_ms = now_ms;
        k->hour_n = 0;
    }
    if (++k->hour_n == st->options.key_alarm_joins)
        out->alarm_joins = k->hour_n;
}

static void consume_key(struct state *st, const struct auth_key *k, int64_t now_ms, struct register_result *out)
{
    if (k->is_used && !out->is_new)
        return;
    struct auth_key *used = auth_key_edit(k);
    used->is_used = true;
    if (out->is_new)
        count_join(st, used, now_ms, out);
    state_put(st, &entity_auth_key, &k->row, &used->row);
    event_note(st, EVENT_KEY_USED, &entity_auth_key, k, used);
    if (out->alarm_joins > 0)
        event_note(st, EVENT_KEY_ALARM, &entity_auth_key, k, used);
    map_remove(&st->keys, &k->id, sizeof(k->id));
    map_remove(&st->keys_by_hash, k->hash, sizeof(k->hash));
    auth_key_unref(&k);
    map_put(&st->keys, &used->id, sizeof(used->id), used);
    map_put(&st->keys_by_hash, used->hash, sizeof(used->hash), used);
}

/* The node that this machine had before with this owner; its addresses and name are kept. */
static struct node_record *find_earlier(struct state *st, const struct registration *reg, user_id owner_id)
{
    struct node_record *e = map_get(&st->by_key, reg->old_key.b, KEY_BYTES);
    if (e != NULL && keys_equal(e->node->machine.b, reg->machine.b))
        return e;
    struct machine_user owner = {reg->machine, owner_id};
    return map_get(&st->by_machine, &owner, sizeof(owner));
}

/* A client may ask for less time than the admin's node.expiry, never for more. */
static int64_t expiry_for(const struct state *st, const struct registration *reg, const struct node *n, int64_t now_ms)
{
    bool is_limited = n->tags == NULL && st->options.node_expiry_ms != 0;
    int64_t limit_ms = is_limited ? now_ms + st->options.node_expiry_ms : DATE_MAX_MS;
    if (limit_ms > DATE_MAX_MS)
        limit_ms = DATE_MAX_MS;
    if (reg->expiry_ms > now_ms)
        return reg->expiry_ms < limit_ms ? reg->expiry_ms : limit_ms;
    return is_limited ? limit_ms : NO_EXPIRY;
}

static void make_stable_id(const uint8_t random[16], char out[24])
{
    char hex[17] = "";
    hex_encode(random, 8, hex);
    snprintf(out, 24, "n%s", hex);
}

/* A registration that is granted. Borrowed. */
struct admission {
    const struct registration *reg;
    const struct auth_key *key;
    struct rcbuf *tags; /* null: none */
};

/* What the key and the client decide about a node, new or returning. */
static void fill_node(struct state *st, struct node *n, const struct admission *a, int64_t now_ms)
{
    const struct registration *reg = a->reg;
    const struct auth_key *k = a->key;
    n->machine = reg->machine;
    n->key = reg->key;
    n->nl = reg->nl;
    n->user = k->user;
    n->auth_key = k->id;
    n->is_ephemeral = k->is_ephemeral || reg->is_ephemeral;
    rcbuf_unref(&n->tags);
    n->tags = a->tags != NULL ? rcbuf_ref(a->tags) : NULL;
    n->expires_ms = expiry_for(st, reg, n, now_ms);
    n->is_ended = false;
    n->is_expired = false;
}

/* A user's node is that user's; tagged ones belong to the users that may give these tags. */
static bool is_same_owner(const struct node *n, const struct admission *a)
{
    if (n->tags != NULL || a->tags != NULL)
        return rcbuf_eq(n->tags, a->tags);
    return n->user == a->key->user;
}

/* A new owner does not inherit the approvals and the name that were given for the former. */
static void forget_owner(struct state *st, struct node *n, const struct node_record *e, struct str hostname)
{
    char base[NAME_CAP];
    prefix_list_unref(&n->approved);
    n->is_renamed = false;
    node_name_from_hostname(hostname.len > 0 ? hostname : str_c(n->hostname), base);
    node_name_make_unique(st, base, e, n->name);
}

static struct node_record *rotate(struct state *st, struct node_record *e, const struct admission *a, int64_t now_ms)
{
    undo_begin_node(st, e, UNDO_EVENT);
    if (!keys_equal(e->node->key.b, a->reg->key.b))
        state_revoke_key_durably(st, &e->node->key);
    struct node *n = node_edit(e->node, NULL, 0);
    if (!is_same_owner(n, a))
        forget_owner(st, n, e, a->reg->report.hostname);
    fill_node(st, n, a, now_ms);
    if (!n->is_ephemeral)
        e->remove_at_ms = 0;
    node_record_replace(st, e, n);
    return e;
}

/* 0: all ids are in use. */
static node_id next_id(struct state *st)
{
    if (st->counters.next[entity_node.number] <= NODE_ID_MAX)
        return row_next_id(st, &entity_node);
    for (node_id id = 1; id <= NODE_ID_MAX; id++) {
        if (id >= st->records_cap || st->records[id] == NULL)
            return id;
    }
    return 0;
}

static struct node_record *create(struct state *st, const struct admission *a, int64_t now_ms,
                                  struct register_result *out)
{
    const struct registration *reg = a->reg;
    struct addr v4, v6;
    if (addresses_allocate(st, &v4, &v6) != RC_OK) {
        refuse(out, RC_LIMIT, "this network has no free address left: an admin must delete nodes or widen prefixes.v4");
        return NULL;
    }
    node_id id = next_id(st);
    if (id == 0) {
        refuse(out, RC_LIMIT, "this network has as many nodes as there can be: an admin must delete some");
        return NULL;
    }
    struct node *n = node_create(0);
    char base[NAME_CAP];
    n->id = id;
    make_stable_id(reg->random, n->stable_id);
    n->v4 = v4;
    n->v6 = v6;
    n->created_ms = now_ms;
    n->last_seen_ms = now_ms;
    snprintf(n->hostname, sizeof(n->hostname), "%.*s", STR_ARG(reg->report.hostname));
    node_name_from_hostname(reg->report.hostname, base);
    node_name_make_unique(st, base, NULL, n->name);
    fill_node(st, n, a, now_ms);
    if (state_policy_pool_address(st, n, &n->v4) == RC_LIMIT) {
        refuse(out, RC_LIMIT, "the policy's ipPool for this node has no free address left: an admin must widen it");
        const struct node *refused = n;
        node_unref(&refused);
        return NULL;
    }
    n->is_newcomer = st->options.newcomer_ms > 0;
    struct node_record *e = node_record_add(st, n);
    undo_begin_node(st, e, UNDO_NEW);
    st->events.actor.id = id;
    if (n->is_newcomer) {
        e->announce_at_ms = state_steady_ms(st, now_ms) + st->options.newcomer_ms;
        state_due_at(st, e->announce_at_ms);
    }
    if (e->node->is_ephemeral) {
        /* it may never poll, and so never go offline */
        e->remove_at_ms = state_steady_ms(st, now_ms) + st->options.ephemeral_timeout_ms;
        state_due_at(st, e->remove_at_ms);
    }
    out->is_new = true;
    return e;
}

/* Row 9. */
static void register_with_key(struct state *st, const struct registration *reg, int64_t now_ms,
                              struct register_result *out)
{
    struct admission a = {.reg = reg, .key = check_key(st, reg, now_ms, out)};
    if (a.key == NULL)
        return;
    if (node_tags_for_registration(st, reg, a.key, &a.tags, &out->err) != RC_OK) {
        out->outcome = REGISTER_REFUSED;
        return;
    }
    /* A known node key means its node, whatever its next owner: no two nodes have the same key. */
    struct node_record *e = map_get(&st->by_key, reg->key.b, KEY_BYTES);
    if (e == NULL)
        e = find_earlier(st, reg, a.tags != NULL ? TAGGED_DEVICES_USER : a.key->user);
    if (e != NULL) {
        e = rotate(st, e, &a, now_ms);
    } else if (a.key->max_nodes > 0 && a.key->joined_n >= a.key->max_nodes) {
        out->key_limit = KEY_LIMIT_NODES;
        refuse(out, RC_LIMIT, "as many nodes have joined with this auth key as it is for: ask for a new one");
    } else {
        e = create(st, &a, now_ms, out);
    }
    rcbuf_unref(&a.tags);
    if (e == NULL)
        return;
    node_record_apply_report(st, e, &reg->report, false);
    if (e->node->expires_ms != NO_EXPIRY)
        state_date_at(st, e->node->expires_ms);
    node_record_settle(st, e);
    node_record_put_row(st, e);
    event_note_node(st, out->is_new ? EVENT_NODE_JOINED : EVENT_NODE_REGISTERED, e);
    node_record_mark_durable(st, e);
    routes_auto_approve(st, e); /* its owner or tags may be others now */
    consume_key(st, a.key, now_ms, out);
    succeed(st, out, e);
}

static void refuse_without_key(struct register_result *out)
{
    refuse(out, RC_UNAUTHORIZED,
           "this server admits nodes by auth key: ask its admin for one (fullscale preauthkeys create --user NAME) "
           "and run tailscale up --login-server URL --auth-key KEY");
}

/* Only a client with a good auth key learns that another machine has the node key; to others it is as if it were
 * unknown. */
static void refuse_foreign(struct state *st, const struct registration *reg, int64_t now_ms,
                           struct register_result *out)
{
    if (reg->auth_key.len == 0)
        refuse_without_key(out);
    else if (check_key(st, reg, now_ms, out) != NULL)
        refuse(out, RC_DENIED, "this node key belongs to another machine: log out and in again to get a new one");
}

/* For an answer that grants nothing: whether the request would get it even if all that waits for the disk were
 * refused. */
static bool is_firm(const struct state *st, const struct registration *reg)
{
    uint8_t hash[KEY_HASH_BYTES];
    if (st->undo.n == 0)
        return true;
    sha256(reg->auth_key.p, reg->auth_key.len, hash);
    return !undo_has_node_key(st, &reg->key) && !undo_has_auth_key(st, hash);
}

static void decide(struct state *st, const struct registration *reg, int64_t now_ms, struct register_result *out)
{
    struct node_record *e = map_get(&st->by_key, reg->key.b, KEY_BYTES);
    bool is_foreign = e != NULL && !keys_equal(e->node->machine.b, reg->machine.b);
    bool past = reg->expiry_ms != 0 && reg->expiry_ms <= now_ms;
    st->events.actor = (struct event_actor){.by = EVENT_BY_NODE, .id = e != NULL ? e->id : 0};
    if (e != NULL)
        node_record_follow_date(st, e, now_ms);
    if (key_is_zero(reg->key.b)) {
        refuse(out, RC_INVALID, "the request has no node key");
    } else if (past) {
        logout(st, is_foreign ? NULL : e, now_ms, out);
    } else if (is_foreign) {
        refuse_foreign(st, reg, now_ms, out);
    } else if (e != NULL && !e->node->is_expired && reg->expiry_ms > now_ms) {
        shorten_expiry(st, e, reg->expiry_ms, now_ms, out);
    } else if (e != NULL && !e->node->is_expired) {
        /* A restart, or a retry whose answer was lost: no key is consumed. */
        node_record_apply_report(st, e, &reg->report, false);
        event_note_news(st, EVENT_NODE_REGISTERED, e);
        succeed(st, out, e);
    } else if (reg->auth_key.len > 0) {
        register_with_key(st, reg, now_ms, out);
    } else if (e != NULL) {
        out->outcome = REGISTER_KEY_EXPIRED;
    } else {
        refuse_without_key(out);
    }
}

bool state_register_is_local(const struct state *st, const struct registration *reg, int64_t now_ms)
{
    const struct node_record *e = map_get(&st->by_key, reg->key.b, KEY_BYTES);
    if (e == NULL || key_is_zero(reg->key.b) || e->visible_seq > st->committed_seq)
        return false;
    return keys_equal(e->node->machine.b, reg->machine.b) && reg->expiry_ms == 0 && !node_is_past(e->node, now_ms);
}

void state_register(struct state *st, const struct registration *reg, int64_t now_ms, struct register_result *out)
{
    struct event_actor caller = st->events.actor;
    *out = (struct register_result){0};
    decide(st, reg, now_ms, out);
    st->events.actor = caller;
    out->is_firm = out->outcome != REGISTER_OK && is_firm(st, reg);
}
