#include "control/waiting.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"

#define CROWDED_METRIC(name, who)                                                                                      \
    METRIC_COUNTER(name, "fullscale_core_crowded_out_total", "who=\"" who "\"",                                        \
                   "Requests that were refused because too many others of their kind waited.")
CROWDED_METRIC(crowded_strangers, "stranger");
CROWDED_METRIC(crowded_nodes, "node");
CROWDED_METRIC(crowded_admins, "admin");

#define WAITING_METRIC(name, who)                                                                                      \
    METRIC_GAUGE(name, "fullscale_core_waiting_jobs", "who=\"" who "\"",                                               \
                 "Requests that wait for the core, or for the commit of what they asked.")
WAITING_METRIC(waiting_strangers, "stranger");
WAITING_METRIC(waiting_nodes, "node");
WAITING_METRIC(waiting_admins, "admin");

static const struct {
    size_t jobs, bytes, party_jobs, party_bytes;
    struct metric *crowded, *waiting;
} kinds[WAIT_KINDS] = {
    [WAIT_STRANGER] = {WAIT_STRANGERS_JOBS, WAIT_STRANGERS_BYTES, WAIT_STRANGER_JOBS, WAIT_STRANGER_BYTES,
                       &crowded_strangers, &waiting_strangers},
    [WAIT_NODE] = {WAIT_NODES_JOBS, WAIT_NODES_BYTES, WAIT_NODE_JOBS, WAIT_NODE_BYTES, &crowded_nodes, &waiting_nodes},
    [WAIT_ADMIN] = {WAIT_ADMIN_JOBS, WAIT_ADMIN_BYTES, WAIT_ADMIN_JOBS, WAIT_ADMIN_BYTES, &crowded_admins,
                    &waiting_admins},
};

/* It is compared as bytes. */
_Static_assert(sizeof(struct waiting_sender) == sizeof(enum waiting_kind) + 4 + 32, "no padding");

/* A number of jobs and one of bytes. */
struct share {
    struct budget jobs, bytes;
};

/* A sender that has at least one job waiting. */
struct waiting_party {
    struct waiting_sender sender; /* the key in the map */
    struct share share;           /* below its kind's */
};

struct waiting {
    pthread_mutex_t lock; /* guards all that follows */
    struct share of[WAIT_KINDS];
    struct map parties;
};

struct waiting_sender waiting_sender_key(enum waiting_kind kind, const void *key, size_t key_len)
{
    struct waiting_sender sender = {.kind = kind, .name_len = (uint32_t)key_len};
    assert(key_len <= sizeof(sender.name));
    memcpy(sender.name, key, key_len);
    return sender;
}

struct waiting_sender waiting_sender_address(const struct addr *from)
{
    return waiting_sender_key(WAIT_STRANGER, from->ip, from->family == 4 ? 4 : from->family == 6 ? 8 : 0);
}

struct waiting *waiting_create(const uint8_t seed[16])
{
    struct waiting *w = MEM_NEW(struct waiting);
    pthread_mutex_init(&w->lock, NULL);
    map_init(&w->parties, seed);
    for (int i = 0; i < WAIT_KINDS; i++) {
        budget_init(&w->of[i].jobs, NULL, 0, kinds[i].jobs);
        budget_init(&w->of[i].bytes, NULL, 0, kinds[i].bytes);
    }
    return w;
}

void waiting_destroy(struct waiting **at)
{
    struct waiting *w = *at;
    *at = NULL;
    if (w == NULL)
        return;
    struct waiting_party *p;
    for (size_t pos = 0; (p = map_next(&w->parties, &pos)) != NULL;)
        mem_free(p);
    map_fini(&w->parties);
    for (int i = 0; i < WAIT_KINDS; i++)
        metric_add(kinds[i].waiting, -(int64_t)budget_used(&w->of[i].jobs));
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

static bool share_take(struct share *s, size_t bytes)
{
    if (!budget_take(&s->jobs, 1))
        return false;
    if (budget_take(&s->bytes, bytes))
        return true;
    budget_give(&s->jobs, 1);
    return false;
}

static struct waiting_party *find(struct waiting *w, const struct waiting_sender *sender)
{
    struct waiting_party *p = map_get(&w->parties, sender, sizeof(*sender));
    if (p != NULL)
        return p;
    p = MEM_NEW(struct waiting_party);
    p->sender = *sender;
    budget_init(&p->share.jobs, &w->of[sender->kind].jobs, 0, kinds[sender->kind].party_jobs);
    budget_init(&p->share.bytes, &w->of[sender->kind].bytes, 0, kinds[sender->kind].party_bytes);
    map_put(&w->parties, &p->sender, sizeof(p->sender), p);
    return p;
}

static void forget_if_idle(struct waiting *w, struct waiting_party *p)
{
    if (budget_used(&p->share.jobs) > 0)
        return;
    map_remove(&w->parties, &p->sender, sizeof(p->sender));
    mem_free(p);
}

bool waiting_take(struct waiting *w, const struct waiting_sender *sender, size_t bytes, struct waiting_ticket *out)
{
    pthread_mutex_lock(&w->lock);
    struct waiting_party *p = find(w, sender);
    bool is_taken = share_take(&p->share, bytes);
    *out = is_taken ? (struct waiting_ticket){p, bytes} : (struct waiting_ticket){0};
    forget_if_idle(w, p);
    pthread_mutex_unlock(&w->lock);
    metric_inc(is_taken ? kinds[sender->kind].waiting : kinds[sender->kind].crowded);
    return is_taken;
}

void waiting_leave(struct waiting *w, struct waiting_ticket *ticket)
{
    struct waiting_party *p = ticket->party;
    if (p == NULL)
        return;
    metric_add(kinds[p->sender.kind].waiting, -1);
    pthread_mutex_lock(&w->lock);
    budget_give(&p->share.jobs, 1);
    budget_give(&p->share.bytes, ticket->bytes);
    forget_if_idle(w, p);
    pthread_mutex_unlock(&w->lock);
    *ticket = (struct waiting_ticket){0};
}

void waiting_set_limit(struct waiting *w, enum waiting_kind kind, size_t jobs)
{
    pthread_mutex_lock(&w->lock);
    w->of[kind].jobs.limit_bytes = jobs;
    pthread_mutex_unlock(&w->lock);
}

size_t waiting_jobs(struct waiting *w, enum waiting_kind kind)
{
    return budget_used(&w->of[kind].jobs);
}
