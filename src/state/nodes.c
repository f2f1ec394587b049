#include <stdio.h>

#include "base/mem.h"
#include "state/state_internal.h"

/* --- reports --- */

/* The members of a report that differ from the node, as a report without the others. */
static struct node_report news_of(const struct node *n, const struct node_report *r, bool only_missing)
{
    struct node_report news = *r;
    bool known_hostinfo = n->hostinfo != NULL && only_missing;
    if (r->cap_version == n->cap_version)
        news.cap_version = 0;
    if (r->disco != NULL &&
        (keys_equal(r->disco->b, n->disco.b) || key_is_zero(r->disco->b) || (only_missing && !key_is_zero(n->disco.b))))
        news.disco = NULL;
    if (r->endpoints != NULL && (node_has_endpoints(n, r->endpoints, r->endpoints_n) ||
                                 (only_missing && (n->endpoints_n > 0 || r->endpoints_n == 0))))
        news.endpoints = NULL;
    if (r->home_derp == n->home_derp || (only_missing && n->home_derp != 0))
        news.home_derp = 0;
    if (r->hostname.len == 0 || str_eq_c(r->hostname, n->hostname) || known_hostinfo)
        news.hostname = STR_EMPTY;
    if (r->hostinfo == NULL || known_hostinfo ||
        (rcbuf_eq(r->hostinfo, n->hostinfo) && rcbuf_eq(r->hostinfo_peers, n->hostinfo_peers) &&
         prefix_list_eq(r->routes, n->advertised)))
        news.hostinfo = NULL;
    return news;
}

/* The name that it gave up may be taken by another node at once, so both rows must be written in this order: the
 * event is durable. */
void node_record_follow_hostname(struct state *st, struct node_record *e)
{
    char base[NAME_CAP], name[NAME_CAP];
    if (e->node->is_renamed)
        return;
    node_name_from_hostname(str_c(e->node->hostname), base);
    node_name_make_unique(st, base, e, name);
    if (strcmp(name, e->node->name) == 0)
        return;
    undo_begin_node(st, e, UNDO_EVENT);
    struct node *n = node_edit(e->node, NULL, 0);
    memcpy(n->name, name, sizeof(n->name));
    node_record_replace(st, e, n);
    node_record_put_row(st, e);
    event_note_node_by(st, EVENT_BY_NODE, EVENT_NODE_RENAMED, e);
    node_record_mark_durable(st, e);
}

void node_record_apply_report(struct state *st, struct node_record *e, const struct node_report *report,
                              bool only_missing)
{
    struct node_report news = news_of(e->node, report, only_missing);
    if (news.cap_version == 0 && news.disco == NULL && news.endpoints == NULL && news.home_derp == 0 &&
        news.hostname.len == 0 && news.hostinfo == NULL)
        return;
    unsigned endpoints_n = news.endpoints_n > ENDPOINTS_MAX ? ENDPOINTS_MAX : news.endpoints_n;
    struct node *n = node_edit(e->node, news.endpoints, endpoints_n);
    if (news.cap_version != 0)
        n->cap_version = news.cap_version;
    if (news.disco != NULL)
        n->disco = *news.disco;
    if (news.home_derp != 0) {
        n->home_derp = news.home_derp;
        n->is_newcomer = false;
        e->announce_at_ms = 0;
    }
    if (news.hostinfo != NULL) {
        rcbuf_unref(&n->hostinfo);
        rcbuf_unref(&n->hostinfo_peers);
        n->hostinfo = rcbuf_ref(news.hostinfo);
        n->hostinfo_peers = news.hostinfo_peers != NULL ? rcbuf_ref(news.hostinfo_peers) : NULL;
    }
    bool routes_differ = news.hostinfo != NULL && !prefix_list_eq(news.routes, n->advertised);
    if (routes_differ) {
        prefix_list_unref(&n->advertised);
        n->advertised = prefix_list_ref(news.routes);
    }
    if (news.hostname.len > 0)
        snprintf(n->hostname, sizeof(n->hostname), "%.*s", (int)(news.hostname.len < 255 ? news.hostname.len : 255),
                 news.hostname.p);
    node_record_replace(st, e, n);
    node_record_mark_stale(st, e);
    if (news.hostname.len > 0)
        node_record_flag(st, e, SETTLE_NAME);
    if (routes_differ)
        node_record_flag(st, e, SETTLE_APPROVAL);
}

static enum rc authorise(const struct state *st, const node_key *key, const machine_key *machine,
                         struct node_record **out)
{
    struct node_record *e = map_get(&st->by_key, key->b, KEY_BYTES);
    if (e == NULL)
        return RC_NOT_FOUND;
    if (!keys_equal(e->node->machine.b, machine->b))
        return RC_DENIED;
    *out = e;
    return RC_OK;
}

enum rc state_authorise(const struct state *st, const node_key *key, const machine_key *machine,
                        const struct node **out)
{
    struct node_record *e;
    TRY(authorise(st, key, machine, &e));
    *out = e->node;
    return RC_OK;
}

enum rc state_node_report(struct state *st, const node_key *key, const machine_key *machine,
                          const struct node_report *report, const struct node **out)
{
    struct node_record *e;
    TRY(authorise(st, key, machine, &e));
    node_record_apply_report(st, e, report, false);
    e->is_from_disk = false;
    *out = e->node;
    return RC_OK;
}

/* --- polls: who is online --- */

static void set_online(struct state *st, struct node_record *e, bool online, int64_t now_ms)
{
    if (e->node->is_online == online)
        return;
    struct node *n = node_edit(e->node, NULL, 0);
    n->is_online = online;
    n->last_seen_ms = now_ms;
    node_record_replace(st, e, n);
    node_record_mark_stale(st, e);
}

enum rc state_poll_begin(struct state *st, const node_key *key, const machine_key *machine,
                         const struct node_report *report, int64_t now_ms, const struct node **out)
{
    struct node_record *e;
    TRY(authorise(st, key, machine, &e));
    e->polls++;
    e->offline_at_ms = 0;
    e->remove_at_ms = 0;
    e->remove_again_ms = 0;
    e->away_at_ms = 0;
    e->has_left = false;
    e->is_silent = false;
    e->awaited_until_ms = 0;
    set_online(st, e, true, now_ms);
    routes_follow_presence(st, e);
    /* A poll and an update that arrive together may be out of order, so the poll fills in only what is missing. But
     * what was loaded from disk is older than either. */
    node_record_apply_report(st, e, report, !e->is_from_disk);
    e->is_from_disk = false;
    *out = e->node;
    return RC_OK;
}

void state_poll_end(struct state *st, node_id id, int64_t now_ms)
{
    /* Finds also the record of a node whose removal waits for the disk, since the removal may be taken back. */
    struct node_record *e = id < st->records_cap ? st->records[id] : NULL;
    if (e == NULL || e->polls == 0 || --e->polls > 0)
        return;
    e->offline_at_ms = state_steady_ms(st, now_ms) + st->options.offline_grace_ms;
    state_due_at(st, e->offline_at_ms);
    if (e->node != NULL && e->node->advertised != NULL && e->node->approved != NULL) {
        e->away_at_ms = state_steady_ms(st, now_ms) + ROUTE_GRACE_MS;
        state_due_at(st, e->away_at_ms);
    }
}

/* Polls that are still open no longer count: when they end, the node is offline already. */
void node_record_go_offline(struct state *st, struct node_record *e, int64_t now_ms)
{
    e->offline_at_ms = 0;
    set_online(st, e, false, now_ms);
}

/* --- time --- */

void node_record_follow_date(struct state *st, struct node_record *e, int64_t now_ms)
{
    bool is_expired = node_is_past(e->node, now_ms);
    if (!is_expired && e->node->expires_ms != NO_EXPIRY)
        state_date_at(st, e->node->expires_ms);
    if (e->node->is_expired == is_expired)
        return;
    struct node *n = node_edit(e->node, NULL, 0);
    n->is_expired = is_expired;
    if (is_expired)
        state_revoke_key(st, &n->key);
    node_record_replace(st, e, n);
}

void node_record_set_expiry(struct state *st, struct node_record *e, int64_t expires_ms, int64_t now_ms,
                            enum event_kind ended)
{
    undo_begin_node(st, e, UNDO_EVENT);
    struct node *n = node_edit(e->node, NULL, 0);
    bool was_expired = n->is_expired;
    n->is_ended = expires_ms != NO_EXPIRY && expires_ms <= now_ms;
    n->is_expired = n->is_ended;
    n->expires_ms = n->is_ended ? now_ms : expires_ms;
    if (!was_expired && n->is_expired)
        state_revoke_key_durably(st, &n->key);
    node_record_replace(st, e, n);
    node_record_put_row(st, e);
    event_note_node(st, e->node->is_ended ? ended : EVENT_NODE_EXPIRY_SET, e);
    node_record_mark_durable(st, e);
    if (!e->node->is_expired && e->node->expires_ms != NO_EXPIRY)
        state_date_at(st, e->node->expires_ms);
}

static void announce(struct state *st, struct node_record *e)
{
    struct node *n = node_edit(e->node, NULL, 0);
    n->is_newcomer = false;
    e->announce_at_ms = 0;
    node_record_replace(st, e, n);
}

static void leave(struct state *st, struct node_record *e)
{
    e->away_at_ms = 0;
    e->has_left = true;
    routes_follow_presence(st, e);
}

/* The node was last seen when its poll ended, not when the grace was over. */
static void lose(struct state *st, struct node_record *e, int64_t now_ms)
{
    int64_t seen_steady_ms = e->offline_at_ms - st->options.offline_grace_ms;
    e->offline_at_ms = 0;
    set_online(st, e, false, now_ms - (state_steady_ms(st, now_ms) - seen_steady_ms));
    if (e->node->is_ephemeral)
        e->remove_at_ms = seen_steady_ms + st->options.ephemeral_timeout_ms;
}

static void tick_record(struct state *st, struct node_record *e, int64_t now_ms)
{
    int64_t steady_now_ms = state_steady_ms(st, now_ms);
    if (node_deadline_is_due(e->announce_at_ms, steady_now_ms))
        announce(st, e);
    if (node_deadline_is_due(e->offline_at_ms, steady_now_ms))
        lose(st, e, now_ms);
    if (node_deadline_is_due(e->remove_at_ms, steady_now_ms))
        node_record_flag(st, e, SETTLE_REMOVAL);
    if (node_deadline_is_due(e->away_at_ms, steady_now_ms))
        leave(st, e);
    if (node_deadline_is_due(e->awaited_until_ms, steady_now_ms)) {
        e->awaited_until_ms = 0;
        node_record_recount(st, e);
    }
    node_record_follow_date(st, e, now_ms);
    const int64_t at_ms[] = {e->announce_at_ms, e->offline_at_ms, e->away_at_ms, e->awaited_until_ms, e->remove_at_ms};
    for (size_t i = 0; i < ARRAY_LEN(at_ms); i++) {
        if (at_ms[i] > steady_now_ms) /* a removal that is due waits for state_settle */
            state_due_at(st, at_ms[i]);
    }
}

void state_tick(struct state *st, int64_t now_ms)
{
    if (state_steady_ms(st, now_ms) < st->next_due_ms && now_ms < st->next_date_ms)
        return;
    st->next_due_ms = INT64_MAX;
    st->next_date_ms = INT64_MAX;
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e != NULL)
            tick_record(st, e, now_ms);
    }
    state_relays_tick(st, now_ms);
}

/* --- what admins do --- */

static enum rc find(struct state *st, node_id id, struct node_record **out, struct err *err)
{
    *out = node_record_of(st, id);
    return *out != NULL ? RC_OK : node_not_found(id, err);
}

enum rc state_node_rename(struct state *st, node_id id, struct str name, const struct node **out, struct err *err)
{
    struct node_record *e;
    TRY(find(st, id, &e, err));
    if (!node_name_is_label(name))
        return err_set(
            err, RC_INVALID,
            "'%.*s' is no DNS label: use 1 to 63 lower-case letters, digits and dashes, no dash at either end",
            STR_ARG(name));
    const struct node_record *holder = map_get(&st->by_name, name.p, name.len);
    if (holder != NULL && holder != e)
        return err_set(err, RC_EXISTS, "node %llu is named '%.*s' already", (unsigned long long)holder->id,
                       STR_ARG(name));
    *out = e->node;
    if (e->node->is_renamed && str_eq_c(name, e->node->name))
        return RC_OK;
    undo_begin_node(st, e, UNDO_EVENT);
    struct node *n = node_edit(e->node, NULL, 0);
    snprintf(n->name, sizeof(n->name), "%.*s", STR_ARG(name));
    n->is_renamed = true;
    node_record_replace(st, e, n);
    node_record_put_row(st, e);
    event_note_node(st, EVENT_NODE_RENAMED, e);
    node_record_mark_durable(st, e);
    *out = e->node;
    return RC_OK;
}

enum rc state_node_expire(struct state *st, node_id id, int64_t expires_ms, int64_t now_ms, const struct node **out,
                          struct err *err)
{
    struct node_record *e;
    TRY(find(st, id, &e, err));
    if (expires_ms > DATE_MAX_MS)
        return err_set(err, RC_INVALID, "a key cannot expire after the year 9999: give an earlier date, or none");
    *out = e->node;
    bool is_past = expires_ms != NO_EXPIRY && expires_ms <= now_ms;
    if (expires_ms == e->node->expires_ms && !e->node->is_expired && !is_past)
        return RC_OK;
    node_record_set_expiry(st, e, expires_ms, now_ms, EVENT_NODE_EXPIRED);
    *out = e->node;
    return RC_OK;
}

enum rc state_node_delete(struct state *st, node_id id, struct err *err)
{
    struct node_record *e;
    TRY(find(st, id, &e, err));
    node_record_remove(st, e);
    return RC_OK;
}
