#include "relay/message_internal.h"

#include "base/mem.h"
#include "relay/relay_internal.h"

static const size_t sizes[MSG_KIND_N] = {
    [MSG_ROUTE] = sizeof(struct route_message),
    [MSG_EVICT] = sizeof(struct evict_message),
    [MSG_WATCH_LIST] = sizeof(struct watch_list_message),
    [MSG_ADMISSION] = sizeof(struct relay_admission),
    [MSG_ASK_AGAIN] = sizeof(struct message),
    [MSG_CLOSE_KEY] = sizeof(struct close_key_message),
    [MSG_DRAIN] = sizeof(struct drain_message),
    [MSG_LINK_START] = sizeof(struct link_message),
    [MSG_LINK_STOP] = sizeof(struct link_message),
    [MSG_LINK_RESOLVED] = sizeof(struct link_resolved_message),
};

void messages_init(struct messages *all, message_handler *const handlers[MSG_KIND_N])
{
    all->handlers = handlers;
    pthread_mutex_init(&all->lock, NULL);
    list_init(&all->all);
}

static void message_free(struct message *m)
{
    if (m->kind == MSG_WATCH_LIST)
        buf_fini(&CONTAINER_OF(m, struct watch_list_message, base)->frames);
    mem_free(m);
}

void messages_fini(struct messages *all)
{
    LIST_EACH_SAFE (it, &all->all)
        message_free(LIST_ENTRY(it, struct message, link));
    pthread_mutex_destroy(&all->lock);
}

void *message_create(struct relay_worker *to, enum message_kind kind)
{
    struct messages *all = &to->relay->messages;
    struct message *m = mem_zalloc(1, sizes[kind]);
    m->to = to;
    m->kind = kind;
    pthread_mutex_lock(&all->lock);
    list_push_back(&all->all, &m->link);
    pthread_mutex_unlock(&all->lock);
    atomic_fetch_add_explicit(&all->n, 1, memory_order_relaxed);
    return m;
}

static void run_message(struct loop *loop, struct loop_msg *msg)
{
    struct message *m = CONTAINER_OF(msg, struct message, msg);
    struct messages *all = &m->to->relay->messages;
    (void)loop;
    all->handlers[m->kind](m->to, m);
    pthread_mutex_lock(&all->lock);
    list_remove(&m->link);
    pthread_mutex_unlock(&all->lock);
    atomic_fetch_sub_explicit(&all->n, 1, memory_order_relaxed);
    message_free(m);
}

void message_post(struct message *m)
{
    m->msg.run = run_message;
    loop_post(m->to->loop, &m->msg);
}

void message_post_close_key(struct relay *relay, const node_key *key, bool is_by_mesh)
{
    for (unsigned i = 0; i < relay->worker_n; i++) {
        struct close_key_message *m = message_create(&relay->workers[i], MSG_CLOSE_KEY);
        m->key = *key;
        m->is_by_mesh = is_by_mesh;
        message_post(&m->base);
    }
}
