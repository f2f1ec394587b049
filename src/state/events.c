/* What has happened and nobody has been told yet. */
#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

_Static_assert(EVENT_ROUTER_ANSWERS < 32, "news of a node are a set of bits");

/* --- recording --- */

/* Null: nobody wants it, or too much waits. Borrowed until the next. */
static struct event *add(struct state *st, struct event_list **list, enum event_kind kind)
{
    struct event_log *log = &st->events;
    if (!log->wanted)
        return NULL;
    if (log->waiting_n >= EVENTS_MAX) {
        log->dropped_n++;
        return NULL;
    }
    if (*list == NULL)
        *list = event_list_create();
    struct event_list *l = *list;
    VEC_ROOM(l->v, l->n, l->cap, 8);
    struct event *e = &l->v[l->n++];
    *e = (struct event){.kind = kind, .at_ms = log->now_ms, .actor = log->actor};
    if (e->actor.name != NULL)
        rcbuf_ref(e->actor.name);
    log->waiting_n++;
    return e;
}

static void set_objects(struct event *e, const struct entity *entity, const void *before, const void *after)
{
    if (e == NULL)
        return;
    e->entity = entity;
    e->before = row_ref(before);
    e->after = row_ref(after);
}

static void set_actor(struct event *e, enum event_by by, node_id id)
{
    if (e == NULL)
        return;
    rcbuf_unref(&e->actor.name);
    e->actor = (struct event_actor){.by = by, .id = by == EVENT_BY_NODE ? id : 0};
}

static struct event *add_pending(struct state *st, enum event_kind kind)
{
    return st->events.wanted ? add(st, &row_pending(st)->events, kind) : NULL;
}

void event_note(struct state *st, enum event_kind kind, const struct entity *entity, const void *before,
                const void *after)
{
    set_objects(add_pending(st, kind), entity, before, after);
}

void event_note_at_once(struct state *st, enum event_kind kind, const struct entity *entity, const void *before,
                        const void *after)
{
    set_objects(add(st, &st->events.at_once, kind), entity, before, after);
}

/* Of a node that joins, only that: the event has it with the name and the approvals that it ends up with. */
static struct event *add_of_node(struct state *st, enum event_kind kind, const struct node_record *e)
{
    const struct row *before = st->undo.v[e->undo_at - 1].before;
    struct event *event = before != NULL || kind == EVENT_NODE_JOINED ? add_pending(st, kind) : NULL;
    set_objects(event, &entity_node, before, e->node);
    return event;
}

void event_note_node(struct state *st, enum event_kind kind, const struct node_record *e)
{
    add_of_node(st, kind, e);
}

void event_note_node_by(struct state *st, enum event_by by, enum event_kind kind, const struct node_record *e)
{
    set_actor(add_of_node(st, kind, e), by, e->id);
}

void event_note_moved(struct state *st, const struct prefix *p, node_id from, node_id to)
{
    struct event_log *log = &st->events;
    if (!log->wanted || from == 0 || to == 0)
        return;
    if (log->move_n >= EVENTS_MAX) {
        log->dropped_n++;
        return;
    }
    struct event_move move = {*p, from, to};
    VEC_PUSH(log->moves, log->move_n, log->move_cap, move);
}

void state_note_policy_file(struct state *st, struct str path)
{
    struct event *e = add(st, &st->events.at_once, EVENT_POLICY_FILE);
    if (e != NULL)
        e->text = rcbuf_create(path.p, path.len);
}

void state_note_operation(struct state *st, const char *name, struct str text, bool is_durable)
{
    bool is_pending = is_durable && st->pending != NULL;
    struct event *e = add(st, is_pending ? &st->pending->events : &st->events.at_once, EVENT_OPERATION);
    if (e == NULL)
        return;
    e->operation = name;
    e->text = rcbuf_create(text.p, text.len);
}

/* --- presence of nodes --- */

static void list_news(struct state *st, struct node_record *e)
{
    if (e->news.is_listed)
        return;
    e->news.is_listed = true;
    id_list_push(&st->events.news, e->id);
}

void event_note_news(struct state *st, enum event_kind kind, struct node_record *e)
{
    if (!st->events.wanted)
        return;
    e->news.kinds |= 1u << kind;
    list_news(st, e);
}

void events_follow_node(struct state *st, struct node_record *e, const struct node *next)
{
    const struct node *now = e->node;
    if (!st->events.wanted)
        return;
    if (now->is_online != next->is_online || now->is_expired != next->is_expired)
        list_news(st, e);
    if (now->advertised != next->advertised && !prefix_list_eq(now->advertised, next->advertised))
        event_note_news(st, EVENT_ROUTES_ADVERTISED, e);
}

/* Only what is so by now: who came and went within a turn has done neither. */
static void tell_presence(struct state *st, struct node_record *e, struct event_list **list)
{
    const struct node *n = e->node;
    struct node_news *news = &e->news;
    if (n->is_online != news->told_online)
        news->kinds |= 1u << (n->is_online ? EVENT_NODE_ONLINE : EVENT_NODE_OFFLINE);
    /* That a key was ended has been told by the event that ended it. */
    if (n->is_expired && !news->told_expired && !n->is_ended)
        news->kinds |= 1u << EVENT_NODE_EXPIRED;
    news->told_online = n->is_online;
    news->told_expired = n->is_expired;
    for (; news->kinds != 0; news->kinds &= news->kinds - 1) {
        enum event_kind kind = (enum event_kind)__builtin_ctz(news->kinds);
        struct event *event = add(st, list, kind);
        bool by_server = kind == EVENT_NODE_OFFLINE || kind == EVENT_NODE_EXPIRED || kind == EVENT_ROUTER_SILENT;
        set_objects(event, &entity_node, n, n);
        set_actor(event, by_server ? EVENT_BY_SERVER : EVENT_BY_NODE, e->id);
    }
}

/* Whether an event of this node is on its way to the disk: what is to be told of it waits. */
static bool is_hidden(const struct state *st, node_id id)
{
    const struct node_record *e = id < st->records_cap ? st->records[id] : NULL;
    return e != NULL && e->visible_seq > st->committed_seq;
}

static void tell_move(struct state *st, const struct event_move *m, struct event_list **list)
{
    char text[PREFIX_TEXT_CAP];
    const struct node *to = state_node(st, m->to);
    struct event *e = to != NULL ? add(st, list, EVENT_ROUTE_MOVED) : NULL;
    if (e == NULL)
        return;
    prefix_format(&m->prefix, text);
    e->text = rcbuf_create(text, strlen(text));
    set_objects(e, &entity_node, state_node(st, m->from), to);
    set_actor(e, EVENT_BY_SERVER, 0);
}

/* In their order: those behind one that waits wait as well. */
static struct event_list *take_moves(struct state *st)
{
    struct event_log *log = &st->events;
    struct event_list *list = NULL;
    size_t n = 0;
    for (; n < log->move_n && !is_hidden(st, log->moves[n].from) && !is_hidden(st, log->moves[n].to); n++)
        tell_move(st, &log->moves[n], &list);
    log->move_n -= n;
    if (n > 0)
        memmove(log->moves, log->moves + n, log->move_n * sizeof(*log->moves));
    return list;
}

static struct event_list *take_news(struct state *st)
{
    struct id_list *l = &st->events.news;
    struct event_list *list = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct node_record *e = l->ids[i] < st->records_cap ? st->records[l->ids[i]] : NULL;
        if (e == NULL)
            continue;
        if (is_hidden(st, e->id)) {
            l->ids[kept++] = l->ids[i];
            continue;
        }
        e->news.is_listed = false;
        if (e->node != NULL)
            tell_presence(st, e, &list);
    }
    l->n = kept;
    return list;
}

/* --- batches --- */

void events_batch_taken(struct state *st, const struct row_batch *b)
{
    struct event_log *log = &st->events;
    if (b->events == NULL)
        return;
    struct event_batch taken = {b->seq, event_list_ref(b->events)};
    VEC_PUSH(log->batches, log->batch_n, log->batch_cap, taken);
}

void events_drop(struct state *st, uint64_t from_seq)
{
    struct event_log *log = &st->events;
    while (log->batch_n > 0 && log->batches[log->batch_n - 1].seq >= from_seq) {
        struct event_batch *b = &log->batches[--log->batch_n];
        log->waiting_n -= b->list->n;
        event_list_unref(&b->list);
    }
    if (st->pending != NULL && st->pending->events != NULL)
        log->waiting_n -= st->pending->events->n;
}

/* --- taking --- */

static struct event_list *take_committed(struct state *st)
{
    struct event_log *log = &st->events;
    if (log->batch_n == 0 || log->batches[0].seq > st->committed_seq)
        return NULL;
    struct event_list *list = log->batches[0].list;
    log->batch_n--;
    memmove(log->batches, log->batches + 1, log->batch_n * sizeof(*log->batches));
    return list;
}

static struct event_list *take_at_once(struct state *st)
{
    struct event_list *list = st->events.at_once;
    st->events.at_once = NULL;
    return list;
}

struct event_list *state_take_events(struct state *st)
{
    struct event_list *list = take_committed(st);
    if (list == NULL)
        list = take_at_once(st);
    if (list == NULL)
        list = take_moves(st);
    if (list == NULL)
        list = take_news(st);
    if (list != NULL)
        st->events.waiting_n -= list->n;
    return list;
}

uint64_t state_events_dropped(const struct state *st)
{
    return st->events.dropped_n;
}

/* --- who listens, who acts --- */

void state_want_events(struct state *st, bool wanted)
{
    st->events.wanted = wanted;
    for (node_id id = 1; id < st->records_cap; id++) {
        struct node_record *e = node_record_of(st, id);
        if (e == NULL)
            continue;
        e->news.told_online = e->node->is_online;
        e->news.told_expired = e->node->is_expired;
        e->news.kinds = 0;
    }
}

void state_set_actor(struct state *st, const struct event_actor *actor, int64_t now_ms)
{
    rcbuf_unref(&st->events.actor.name);
    st->events.actor = actor != NULL ? *actor : (struct event_actor){0};
    if (st->events.actor.name != NULL)
        rcbuf_ref(st->events.actor.name);
    st->events.now_ms = now_ms;
}

void events_fini(struct state *st)
{
    struct event_log *log = &st->events;
    events_drop(st, 0);
    event_list_unref(&log->at_once);
    rcbuf_unref(&log->actor.name);
    mem_free(log->batches);
    mem_free(log->moves);
    mem_free(log->news.ids);
}
