/* Map sessions, the long polls of clients: what each session of a worker is sent, and when.
 *
 * A session follows the worker's snapshot: it starts with a full map of one version and then gets every change in
 * order. When its client reads slower than changes come, nothing more is queued; once the queue has drained it gets
 * one full map of the newest version instead of the steps between. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "control/control_internal.h"

LOG_MODULE("session");
METRIC_GAUGE(sessions_open, "fullscale_map_sessions", "", "Polls that are open now.");
METRIC_COUNTER(full_maps, "fullscale_map_messages_total", "kind=\"full\"", "Map messages sent, by kind.");
METRIC_COUNTER(deltas, "fullscale_map_messages_total", "kind=\"delta\"", "");
METRIC_COUNTER(keep_alives, "fullscale_map_messages_total", "kind=\"keep_alive\"", "");
METRIC_COUNTER(pings, "fullscale_map_messages_total", "kind=\"ping\"", "");
METRIC_COUNTER(gone_sent, "fullscale_map_messages_total", "kind=\"gone\"", "");
METRIC_COUNTER(delta_bytes, "fullscale_map_delta_bytes_total", "", "Bytes of delta messages handed to all sessions.");
METRIC_COUNTER(full_bytes, "fullscale_map_full_bytes_total", "", "Bytes of full maps handed to all sessions.");
METRIC_COUNTER(fallen_behind, "fullscale_map_sessions_behind_total", "",
               "Times a slow reader was switched from changes to a new full map.");
METRIC_COUNTER(fanout_us, "fullscale_map_fanout_cpu_microseconds_total", "",
               "CPU time of workers for sending changes to all their sessions.");

enum {
    KEEP_ALIVE_S = 50, /* up to JITTER_S more; clients give up after 120 s. src: docs/protocol/control.md 6.6, 8.1 */
    JITTER_S = 10,
    SLACK_BYTES = 256 * 1024, /* deltas that may wait behind a full map */
    FULL_PER_ITERATION = 16,  /* full maps that begin in one iteration of the loop: what they write waits for its end */
    GONE_MAX = 1000,          /* streams a worker holds open for nodes that are gone */
    GONE_S = 600,             /* how long these are held; then the client may ask again */
};

enum session_state {
    SESSION_WAITING, /* for a snapshot that shows its node */
    SESSION_QUEUED,  /* in worker->map_queue */
    SESSION_ACTIVE,
    SESSION_BEHIND, /* waits for its queue to drain, then for a full map */
    SESSION_GONE,   /* its node is deleted: keep-alives only */
};

struct session {
    struct tailnet_part *part;
    struct http_exchange *ex;
    struct list part_link;             /* in part->sessions */
    struct list wheel_link;            /* in the wheel */
    struct map_waiter waiter;          /* to get a full map */
    struct viewer_group_member member; /* in a group, or part->newer, while active; in part->waiting while it waits */
    enum session_state state;
    uint64_t number; /* 0: not in the map */
    node_id node;
    node_key key;
    enum netmap_coding coding;
    bool omit_peers;
    bool holds_poll; /* the core counts it */
    bool has_map;    /* it has had one: the next replaces what it knows */
    bool is_once;    /* ends with the first map */
    int64_t sent_s;  /* last message, loop seconds */
    int64_t until_s; /* when a gone one ends */
    uint8_t jitter_s;
    size_t limit_bytes; /* of the queue */
    uint64_t version;   /* of the snapshot that its full map was made of */
};

/* The second that has begun, as the wheel counts. */
static int64_t now_s(const struct control_worker *w)
{
    return w->wheel.now + 1;
}

/* --- life --- */

static void session_free(struct session *s)
{
    struct control_worker *w = s->part->worker;
    list_remove(&s->part_link);
    list_remove(&s->wheel_link);
    map_queue_leave(&w->map_queue, &s->waiter);
    viewer_groups_leave(&s->member);
    if (s->number != 0)
        map_remove(&w->sessions_by_number, &s->number, sizeof(s->number));
    if (s->state == SESSION_GONE)
        w->gone_n--;
    if (s->holds_poll)
        poll_ends_post(s->part, s->node);
    metric_add(&sessions_open, -1);
    mem_free(s);
}

static void session_end(struct session *s)
{
    http_stream_end(s->ex);
    session_free(s);
}

static void on_closed(void *ctx)
{
    session_free(ctx);
}

/* The node has another key by now, and polls with it. */
static bool has_other_key(const struct session *s)
{
    const struct node *n = snapshot_node(s->part->snapshot, s->node);
    return n != NULL && !keys_equal(n->key.b, s->key.b);
}

static void want_full(struct session *s);
static void serve_map_queue_soon(struct control_worker *w);

static void on_drained(void *ctx)
{
    struct session *s = ctx;
    if (s->waiter.is_sending) {
        map_queue_leave(&s->part->worker->map_queue, &s->waiter);
        serve_map_queue_soon(s->part->worker);
    }
    if (s->state == SESSION_BEHIND)
        want_full(s);
}

static struct session *session_new(struct tailnet_part *part, struct http_exchange *ex, const node_key *key,
                                   enum netmap_coding coding)
{
    static const struct http_events events = {.closed = on_closed, .drained = on_drained};
    struct session *s = MEM_NEW(struct session);
    s->part = part;
    s->ex = ex;
    s->key = *key;
    s->coding = coding;
    s->jitter_s = (uint8_t)(key->b[31] % JITTER_S);
    s->sent_s = now_s(part->worker);
    list_init(&s->wheel_link);
    map_waiter_init(&s->waiter);
    viewer_group_member_init(&s->member);
    list_push_back(&part->waiting, &s->member.link);
    list_push_back(&part->sessions, &s->part_link);
    wheel_put(&part->worker->wheel, &s->wheel_link, s->sent_s + KEEP_ALIVE_S + s->jitter_s);
    http_set_events(ex, &events, s);
    http_stream_start(ex, 200, NULL);
    metric_add(&sessions_open, 1);
    return s;
}

/* --- sending --- */

/* Moves the references of worker->pieces to the stream. */
static void push_pieces(struct session *s)
{
    struct netmap_pieces *p = &s->part->worker->pieces;
    for (size_t i = 0; i < p->n; i++)
        http_stream_push(s->ex, p->items[i]);
    p->n = 0;
    p->bytes = 0;
    s->sent_s = now_s(s->part->worker);
}

static void become_gone(struct session *s)
{
    struct control_worker *w = s->part->worker;
    s->state = SESSION_GONE;
    viewer_groups_leave(&s->member);
    w->gone_n++;
    s->until_s = now_s(w) + GONE_S;
    metric_inc(&gone_sent);
}

/* A node that is logged out or expired gets only itself: its machine may have another owner by now. */
static bool may_see_peers(const struct snapshot *snapshot, node_id id)
{
    const struct node *n = snapshot_node(snapshot, id);
    return n != NULL && !n->is_expired;
}

static void join_group(struct session *s)
{
    viewer_groups_put(&s->part->viewer_groups, &s->member, netmap_viewer_key(s->part->sent, s->node));
}

/* It has a full map of the newest snapshot, and is sent the changes that come after that. */
static void follow_changes(struct session *s)
{
    struct tailnet_part *part = s->part;
    s->version = part->snapshot->version;
    if (part->sent == part->snapshot)
        join_group(s);
    else
        list_push_back(&part->newer, &s->member.link);
}

static void send_full(struct session *s)
{
    struct control_worker *w = s->part->worker;
    const struct snapshot *snapshot = s->part->snapshot;
    bool with_peers = !s->omit_peers && may_see_peers(snapshot, s->node);
    /* There is no peer left to replace those that the client knows, and an empty list means "as before": the session
     * ends, and the client starts afresh. */
    bool cannot_resync = s->has_map && with_peers && !netmap_has_peers(&w->netmap, snapshot, s->node);
    if (netmap_full(&w->netmap, snapshot, s->node, s->coding, with_peers, &w->pieces) != RC_OK) {
        http_stream_push(s->ex, netmap_expired_self(&w->netmap, &s->key, clock_wall_ms(), s->coding));
        become_gone(s);
        return;
    }
    if (cannot_resync) {
        netmap_pieces_clear(&w->pieces);
        session_end(s);
        return;
    }
    s->state = SESSION_ACTIVE;
    s->has_map = true;
    follow_changes(s);
    s->limit_bytes = w->pieces.bytes + SLACK_BYTES;
    metric_inc(&full_maps);
    metric_add(&full_bytes, (int64_t)w->pieces.bytes);
    push_pieces(s);
    if (s->is_once)
        session_end(s);
    else if (http_stream_queued(s->ex) <= STREAM_HIGH_WATER)
        map_queue_leave(&w->map_queue, &s->waiter); /* `drained` would not come */
}

/* --- the queue for full maps --- */

static void begin_full_map(struct session *s)
{
    if (has_other_key(s))
        session_end(s);
    else
        send_full(s);
}

static void serve_map_queue(struct control_worker *w)
{
    struct map_waiter *waiter;
    map_queue_expire(&w->map_queue, loop_now_ms(w->loop));
    for (unsigned n = 0;
         n < FULL_PER_ITERATION && (waiter = map_queue_next(&w->map_queue, loop_now_ms(w->loop))) != NULL; n++)
        begin_full_map(LIST_ENTRY(waiter, struct session, waiter));
    if (map_queue_has_waiters(&w->map_queue) != w->is_map_queue_timed) {
        w->is_map_queue_timed = !w->is_map_queue_timed;
        if (w->is_map_queue_timed)
            loop_timer_start(w->map_queue_timer, MAP_QUEUE_HOLD_MS / 4, MAP_QUEUE_HOLD_MS / 4);
        else
            loop_timer_stop(w->map_queue_timer);
    }
    if (map_queue_can_begin(&w->map_queue))
        serve_map_queue_soon(w);
}

static void on_map_queue_msg(struct loop *loop, struct loop_msg *msg)
{
    struct control_worker *w = CONTAINER_OF(msg, struct control_worker, map_queue_msg);
    (void)loop;
    w->is_map_queue_posted = false;
    serve_map_queue(w);
}

/* In the next iteration of the loop: what this one has written leaves first. */
static void serve_map_queue_soon(struct control_worker *w)
{
    if (w->is_map_queue_posted)
        return;
    w->is_map_queue_posted = true;
    loop_post(w->loop, &w->map_queue_msg);
}

static void on_map_queue_timer(void *ctx)
{
    serve_map_queue(ctx);
}

static void want_full(struct session *s)
{
    const struct node *n = snapshot_node(s->part->snapshot, s->node);
    s->state = SESSION_QUEUED;
    viewer_groups_leave(&s->member);
    map_queue_join(&s->part->worker->map_queue, &s->waiter,
                   n != NULL && n->is_newcomer ? MAP_QUEUE_NEWCOMERS : MAP_QUEUE_RETURNING);
    serve_map_queue_soon(s->part->worker);
}

/* The worker's snapshot may not have a node that has just registered. */
static void try_attach(struct session *s)
{
    const struct node *n = snapshot_node(s->part->snapshot, s->node);
    if (n != NULL && keys_equal(n->key.b, s->key.b))
        want_full(s);
}

static void fall_behind(struct session *s)
{
    s->state = SESSION_BEHIND;
    viewer_groups_leave(&s->member);
    metric_inc(&fallen_behind);
    log_limited(LOG_INFO, "slow reader: it gets a full map when it has caught up", LOG_U("node", s->node));
}

static void send_change(struct session *s, struct change *c)
{
    struct control_worker *w = s->part->worker;
    const struct node *before = snapshot_node(c->before, s->node), *n = snapshot_node(c->after, s->node);
    if (n != NULL && !keys_equal(n->key.b, s->key.b)) {
        session_end(s); /* the node has another key now, and polls with it */
        return;
    }
    if (http_stream_queued(s->ex) > s->limit_bytes) {
        fall_behind(s);
        return;
    }
    if (n != NULL && before != NULL && (n->is_expired || before->is_expired)) {
        /* It gets a full map when its key expires and when that ends; in between, nothing of others. */
        if (n != before)
            want_full(s);
        return;
    }
    netmap_delta(&w->netmap, c, s->node, s->coding, &w->pieces);
    if (w->pieces.n > 0) {
        metric_add(&deltas, (int64_t)w->pieces.n);
        metric_add(&delta_bytes, (int64_t)w->pieces.bytes);
        push_pieces(s);
    }
    if (n == NULL)
        become_gone(s);
}

/* --- the worker's side --- */

/* Runs in the iteration after: what the sessions wrote has been sealed and sent by then, and is counted. */
static void on_fanout_over(struct loop *loop, struct loop_msg *msg)
{
    struct control_worker *w = CONTAINER_OF(msg, struct control_worker, fanout.msg);
    int64_t took_us = clock_thread_cpu_us() - w->fanout.began_cpu_us;
    (void)loop;
    w->fanout.is_posted = false;
    metric_add(&fanout_us, took_us);
    core_fanout_took(w->control->core, took_us);
}

/* Several changes in one iteration are measured as one. */
static void measure(struct control_worker *w)
{
    if (w->fanout.is_posted)
        return;
    w->fanout.is_posted = true;
    w->fanout.began_cpu_us = clock_thread_cpu_us();
    w->fanout.msg.run = on_fanout_over;
    loop_post(w->loop, &w->fanout.msg);
}

static void regroup_all(struct tailnet_part *part)
{
    LIST_EACH (it, &part->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, part_link);
        if (s->member.group != NULL)
            join_group(s);
    }
    viewer_groups_sweep(&part->viewer_groups);
}

static void send_to_all(struct tailnet_part *part, struct change *c)
{
    LIST_EACH_SAFE (it, &part->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, part_link);
        if (s->member.group != NULL)
            send_change(s, c);
    }
    if (c->before->access != c->after->access)
        regroup_all(part);
}

static void touch_group(struct tailnet_part *part, struct viewer_key key)
{
    struct viewer_group *g = viewer_groups_find(&part->viewer_groups, key);
    if (g != NULL)
        g->is_touched = true;
}

/* Viewer keys change only with the access, and only those of members of touched groups. */
static void regroup_touched(struct tailnet_part *part, const struct change *c)
{
    bool may_move = c->before->access != c->after->access;
    LIST_EACH (it, &part->viewer_groups.groups) {
        struct viewer_group *g = LIST_ENTRY(it, struct viewer_group, link);
        if (!g->is_touched)
            continue;
        g->is_touched = false;
        if (!may_move)
            continue;
        LIST_EACH_SAFE (member, &g->members)
            join_group(LIST_ENTRY(member, struct session, member.link));
    }
    viewer_groups_sweep(&part->viewer_groups);
}

/* A group to which the change means nothing is passed over as a whole. */
static void send_to_groups(struct tailnet_part *part, struct change *c)
{
    for (size_t i = 0; i < c->item_n; i++)
        touch_group(part, netmap_viewer_key(c->before, c->items[i].id));
    for (node_id id = 0; (id = netmap_next_access(c, id)) != 0;)
        touch_group(part, netmap_viewer_key(c->before, id));
    LIST_EACH (it, &part->viewer_groups.groups) {
        struct viewer_group *g = LIST_ENTRY(it, struct viewer_group, link);
        if (!list_is_empty(&g->members) &&
            (g->is_touched || netmap_concerns(c, LIST_ENTRY(g->members.next, struct session, member.link)->node))) {
            LIST_EACH_SAFE (member, &g->members)
                send_change(LIST_ENTRY(member, struct session, member.link), c);
        }
    }
    regroup_touched(part, c);
}

void sessions_follow(struct tailnet_part *part, struct change *c)
{
    snapshot_unref(&part->snapshot);
    part->snapshot = snapshot_ref(c->after);
    VEC_PUSH(part->unsent, part->unsent_n, part->unsent_cap, change_ref(c));
    LIST_EACH_SAFE (it, &part->waiting)
        try_attach(LIST_ENTRY(it, struct session, member.link));
}

/* A session that began meanwhile is sent the single changes: only those that its full map did not have. */
static void send_to_newer(struct tailnet_part *part)
{
    for (size_t i = 0; i < part->unsent_n; i++) {
        LIST_EACH_SAFE (it, &part->newer) {
            struct session *s = LIST_ENTRY(it, struct session, member.link);
            if (s->version <= part->unsent[i]->before->version)
                send_change(s, part->unsent[i]);
        }
        change_unref(&part->unsent[i]);
    }
    part->unsent_n = 0;
    LIST_EACH_SAFE (it, &part->newer)
        join_group(LIST_ENTRY(it, struct session, member.link));
}

void sessions_send(struct tailnet_part *part, struct change *all)
{
    measure(part->worker);
    snapshot_unref(&part->sent);
    part->sent = snapshot_ref(all->after);
    if (netmap_is_by_viewer_key(all))
        send_to_groups(part, all);
    else
        send_to_all(part, all);
    send_to_newer(part);
}

void sessions_supersede(struct control_worker *w, uint64_t number)
{
    struct session *s = map_get(&w->sessions_by_number, &number, sizeof(number));
    if (s != NULL)
        session_end(s);
}

/* Whether the session may be sent what is not a map, which can come at any time. */
static bool takes_more(const struct session *s)
{
    return s->state != SESSION_GONE && http_stream_queued(s->ex) <= s->limit_bytes + SLACK_BYTES;
}

void sessions_ping(struct control_worker *w, uint64_t number, struct str url)
{
    struct session *s = map_get(&w->sessions_by_number, &number, sizeof(number));
    if (s == NULL || !takes_more(s))
        return;
    http_stream_push(s->ex, netmap_ping(&w->netmap, url, s->coding));
    s->sent_s = now_s(w);
    metric_inc(&pings);
}

static void send_time_of(struct tailnet_part *part, struct rcbuf *const coded[2])
{
    LIST_EACH (it, &part->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, part_link);
        if (!takes_more(s) || s->is_once)
            continue;
        http_stream_push(s->ex, rcbuf_ref(coded[s->coding]));
        s->sent_s = now_s(part->worker);
        metric_inc(&keep_alives);
    }
}

void sessions_send_time(struct control_worker *w, int64_t now_ms)
{
    struct rcbuf *coded[2] = {netmap_time(&w->netmap, now_ms, NETMAP_PLAIN),
                              netmap_time(&w->netmap, now_ms, NETMAP_ZSTD)};
    for (size_t i = 0; i < w->part_n; i++)
        send_time_of(&w->parts[i], coded);
    rcbuf_unref(&coded[0]);
    rcbuf_unref(&coded[1]);
}

static void keep_alive(struct session *s, int64_t second)
{
    int64_t due_s = s->sent_s + KEEP_ALIVE_S + s->jitter_s;
    bool is_over = s->state == SESSION_GONE && second >= s->until_s;
    /* Its node got another key, or was deleted, before any snapshot had it, so that no change will ever say so. */
    bool waits_in_vain = s->state == SESSION_WAITING && due_s <= second;
    if (is_over || (waits_in_vain && (s->is_once || has_other_key(s)))) {
        session_end(s);
        return;
    }
    if (due_s <= second) {
        if (waits_in_vain) {
            want_full(s);
        } else if (http_stream_queued(s->ex) <= s->limit_bytes + SLACK_BYTES) {
            http_stream_push(s->ex, netmap_keep_alive(&s->part->worker->netmap, s->coding));
            metric_inc(&keep_alives);
        }
        s->sent_s = second;
        due_s = second + KEEP_ALIVE_S + s->jitter_s;
    }
    wheel_put(&s->part->worker->wheel, &s->wheel_link, due_s);
}

void sessions_tick(struct control_worker *w, int64_t second)
{
    struct list due;
    wheel_advance(&w->wheel, second - 1, &due); /* a second that has begun is not over */
    while (!list_is_empty(&due))
        keep_alive(LIST_ENTRY(due.next, struct session, wheel_link), second);
}

void sessions_init(struct control_worker *w)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    wheel_init(&w->wheel, loop_now_ms(w->loop) / 1000 - 1);
    map_init(&w->sessions_by_number, seed);
    w->next_session = 1;
    map_queue_init(&w->map_queue);
    w->map_queue_msg.run = on_map_queue_msg;
    w->map_queue_timer = loop_timer_create(w->loop, on_map_queue_timer, w);
}

void sessions_fini(struct control_worker *w)
{
    loop_timer_destroy(&w->map_queue_timer);
    map_fini(&w->sessions_by_number);
}

/* --- beginnings --- */

struct session *session_create(struct tailnet_part *part, struct http_exchange *ex, uint64_t number, node_id id,
                               const node_key *key, enum netmap_coding coding, bool omit_peers)
{
    struct session *s = session_new(part, ex, key, coding);
    s->number = number;
    s->node = id;
    s->omit_peers = omit_peers;
    s->holds_poll = true;
    map_put(&part->worker->sessions_by_number, &s->number, sizeof(s->number), s);
    try_attach(s);
    return s;
}

void session_create_gone(struct tailnet_part *part, struct http_exchange *ex, const node_key *key,
                         enum netmap_coding coding)
{
    if (part->worker->gone_n >= GONE_MAX) {
        http_respond_text(ex, 404, "this node is not registered here");
        return;
    }
    struct session *s = session_new(part, ex, key, coding);
    http_stream_push(ex, netmap_expired_self(&part->worker->netmap, key, clock_wall_ms(), coding));
    become_gone(s);
}

void session_answer_once(struct tailnet_part *part, struct http_exchange *ex, node_id id, const node_key *key,
                         enum netmap_coding coding, bool with_peers)
{
    struct session *s = session_new(part, ex, key, coding);
    s->node = id;
    s->omit_peers = !with_peers;
    s->is_once = true;
    try_attach(s);
}
