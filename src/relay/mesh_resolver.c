/* The names of neighbours, looked up on a thread that starts with the first question. When a name takes long the
 * thread outlives the relay, so that relay_destroy does not wait for it. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "relay/mesh_internal.h"

LOG_MODULE("mesh");

struct mesh_resolver {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list questions; /* locked: struct question */
    bool has_thread;       /* locked: it runs, and frees the resolver when it is closed */
    bool is_closed;        /* locked: the relay is gone, no answer may be posted */
};

struct question {
    struct list link; /* of questions */
    char name[MESH_NAME_MAX_BYTES + 1];
    struct relay_worker *to;
    uint64_t link_id;
};

static unsigned resolve(const char *name, struct addr out[MESH_ADDRS_MAX])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    unsigned n = 0;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return 0;
    for (struct addrinfo *a = found; a != NULL && n < MESH_ADDRS_MAX; a = a->ai_next)
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
            addr_from_sockaddr(a->ai_addr, &out[n++]);
    freeaddrinfo(found);
    return n;
}

static void post_answer(const struct question *q, const struct addr *addrs, unsigned n)
{
    struct link_resolved_message *m = message_create(q->to, MSG_LINK_RESOLVED);
    m->link_id = q->link_id;
    memcpy(m->addrs, addrs, n * sizeof(*addrs));
    m->addr_n = n;
    message_post(&m->base);
}

static void resolver_free(struct mesh_resolver *r)
{
    LIST_EACH_SAFE (it, &r->questions)
        mem_free(LIST_ENTRY(it, struct question, link));
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    mem_free(r);
}

static void *resolver_main(void *arg)
{
    struct mesh_resolver *r = arg;
    struct addr addrs[MESH_ADDRS_MAX];
    pthread_mutex_lock(&r->lock);
    while (!r->is_closed) {
        if (list_is_empty(&r->questions)) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        struct question *q = LIST_ENTRY(r->questions.next, struct question, link);
        list_remove(&q->link);
        pthread_mutex_unlock(&r->lock);
        unsigned n = resolve(q->name, addrs);
        pthread_mutex_lock(&r->lock);
        if (!r->is_closed)
            post_answer(q, addrs, n);
        mem_free(q);
    }
    pthread_mutex_unlock(&r->lock);
    resolver_free(r);
    return NULL;
}

struct mesh_resolver *mesh_resolver_create(void)
{
    struct mesh_resolver *r = MEM_NEW(struct mesh_resolver);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    list_init(&r->questions);
    return r;
}

void mesh_resolver_close(struct mesh_resolver **at)
{
    struct mesh_resolver *r = *at;
    *at = NULL;
    pthread_mutex_lock(&r->lock);
    bool has_thread = r->has_thread;
    r->is_closed = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (!has_thread)
        resolver_free(r);
}

/* The lock is held. False: there is no thread, and none could be made. */
static bool start_thread(struct mesh_resolver *r)
{
    pthread_t thread;
    if (r->has_thread)
        return true;
    if (pthread_create(&thread, NULL, resolver_main, r) != 0) {
        log_error("no thread to resolve names of neighbours");
        return false;
    }
    pthread_setname_np(thread, "mesh-names");
    pthread_detach(thread);
    r->has_thread = true;
    return true;
}

/* The lock is held. A link asks again when it has waited too long; while names cannot be found, its questions must
 * not pile up. */
static bool is_asked(const struct mesh_resolver *r, uint64_t link_id)
{
    LIST_EACH (it, &r->questions) {
        if (LIST_ENTRY(it, struct question, link)->link_id == link_id)
            return true;
    }
    return false;
}

void mesh_resolver_ask(struct mesh_resolver *r, const char *name, struct relay_worker *to, uint64_t link_id)
{
    pthread_mutex_lock(&r->lock);
    if (start_thread(r) && !is_asked(r, link_id)) {
        struct question *q = MEM_NEW(struct question);
        snprintf(q->name, sizeof(q->name), "%s", name);
        q->to = to;
        q->link_id = link_id;
        list_push_back(&r->questions, &q->link);
        pthread_cond_signal(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}
