#include "relay/directory_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

METRIC_COUNTER(multi_created, "fullscale_derp_multiforwarder_created_total", "",
               "Times that a key was at a second neighbour.");
METRIC_COUNTER(multi_deleted, "fullscale_derp_multiforwarder_deleted_total", "",
               "Times that a key was at one neighbour again.");

/* A client that moves from an old connection to a new one makes fewer switches; these are two devices with one key. */
enum { SWITCHES_OF_DUPLICATES = 2 };

struct dir_key {
    node_key key;
    struct list conns; /* struct dir_conn.of_key; the one that sent a frame last is first, and active */
    unsigned conn_n;
    unsigned switches;      /* of the active connection, while there have been several */
    bool is_duplicate;      /* its connections know that another device has their key */
    struct list forwarders; /* struct dir_forwarder.of_key, oldest first: that one is used */
    unsigned forwarder_n;
};

struct dir_conn {
    struct list of_key;
    struct dir_key *key; /* null: evicted, and about to close */
    unsigned worker;
    uint64_t conn_id;
    struct presence presence;
};

struct dir_forwarder {
    struct list of_key;
    struct dir_key *key;
    unsigned worker;
    uint64_t link_id;
};

void directory_init(struct directory *d)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    map_init(&d->keys, seed);
    pthread_mutex_init(&d->lock, NULL);
}

void directory_fini(struct directory *d)
{
    map_fini(&d->keys);
    pthread_mutex_destroy(&d->lock);
}

static struct dir_conn *active_of(const struct dir_key *k)
{
    return LIST_ENTRY(k->conns.next, struct dir_conn, of_key);
}

static struct dir_forwarder *oldest_of(const struct dir_key *k)
{
    return LIST_ENTRY(k->forwarders.next, struct dir_forwarder, of_key);
}

static struct route route_of(const struct dir_key *k)
{
    struct route route = {.conn_n = k->conn_n};
    if (k->conn_n > 0) {
        route.worker = active_of(k)->worker;
        route.conn_id = active_of(k)->conn_id;
    }
    if (k->forwarder_n > 0) {
        route.forward_worker = oldest_of(k)->worker;
        route.forward_id = oldest_of(k)->link_id;
    }
    return route;
}

/* Sends all workers the route of the key as it is now, with the rest of `news`. The lock is held. */
static void publish(struct relay *relay, const struct dir_key *k, const struct route_message *news)
{
    for (unsigned i = 0; i < relay->worker_n && !relay->is_ending; i++) {
        struct route_message *m = message_create(&relay->workers[i], MSG_ROUTE);
        m->key = k->key;
        m->route = route_of(k);
        m->health = news->health;
        m->news = news->news;
        m->presence = news->presence;
        message_post(&m->base);
    }
}

/* The gauges count keys with more than one connection, and these connections. */
static void count_duplicates(unsigned before, unsigned after)
{
    int64_t conns = (after > 1 ? (int64_t)after : 0) - (before > 1 ? (int64_t)before : 0);
    int64_t keys = (after > 1) - (before > 1);
    metric_add(&relay_gauge_dup_conns, conns);
    metric_add(&relay_gauge_dup_keys, keys);
}

static void push_front(struct dir_key *k, struct dir_conn *conn)
{
    list_push_back(k->conns.next, &conn->of_key); /* before the first */
}

static struct dir_key *key_make(struct directory *d, const node_key *key)
{
    struct dir_key *k = map_get(&d->keys, key->b, KEY_BYTES);
    if (k != NULL)
        return k;
    k = MEM_NEW(struct dir_key);
    k->key = *key;
    list_init(&k->conns);
    list_init(&k->forwarders);
    map_put(&d->keys, k->key.b, KEY_BYTES, k);
    return k;
}

static void key_tidy(struct directory *d, struct dir_key *k)
{
    if (k->conn_n > 0 || k->forwarder_n > 0)
        return;
    map_remove(&d->keys, k->key.b, KEY_BYTES);
    mem_free(k);
}

static int is_remote(const struct dir_key *k)
{
    return k->conn_n == 0 && k->forwarder_n > 0;
}

static struct dir_conn *most_silent_of(const struct dir_key *k)
{
    return LIST_ENTRY(k->conns.prev, struct dir_conn, of_key);
}

/* The lock is held, and the key has other connections. */
static void evict_most_silent(struct relay *relay, struct dir_key *k)
{
    struct dir_conn *conn = most_silent_of(k);
    list_remove(&conn->of_key);
    conn->key = NULL;
    k->conn_n--;
    count_duplicates(k->conn_n + 1, k->conn_n);
    if (relay->is_ending)
        return;
    struct evict_message *m = message_create(&relay->workers[conn->worker], MSG_EVICT);
    m->conn_id = conn->conn_id;
    message_post(&m->base);
}

struct dir_conn *directory_add(struct relay *relay, const node_key *key, unsigned worker, uint64_t conn_id,
                               const struct presence *presence)
{
    struct directory *d = &relay->directory;
    struct dir_conn *conn = MEM_NEW(struct dir_conn);
    conn->worker = worker;
    conn->conn_id = conn_id;
    conn->presence = *presence;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = key_make(d, key);
    conn->key = k;
    metric_add(&relay_gauge_remote, -is_remote(k));
    push_front(k, conn);
    k->conn_n++;
    count_duplicates(k->conn_n - 1, k->conn_n);
    if (k->conn_n > relay->opts.max_conns_per_key)
        evict_most_silent(relay, k);
    const struct route_message news = {.health = k->is_duplicate ? HEALTH_DUPLICATE_TO_NEW : HEALTH_SAME,
                                       .news = NEWS_PRESENT,
                                       .presence = conn->presence};
    publish(relay, k, &news);
    pthread_mutex_unlock(&d->lock);
    return conn;
}

void directory_speak(struct relay *relay, struct dir_conn *conn)
{
    struct directory *d = &relay->directory;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = conn->key;
    if (k != NULL && active_of(k) != conn) {
        list_remove(&conn->of_key);
        push_front(k, conn);
        k->switches++;
        bool is_news = !k->is_duplicate && k->switches >= SWITCHES_OF_DUPLICATES;
        k->is_duplicate = k->is_duplicate || is_news;
        publish(relay, k, &(struct route_message){.health = is_news ? HEALTH_DUPLICATE : HEALTH_SAME});
    }
    pthread_mutex_unlock(&d->lock);
}

/* The lock is held. */
static void leave(struct relay *relay, struct dir_conn *conn)
{
    struct dir_key *k = conn->key;
    list_remove(&conn->of_key);
    k->conn_n--;
    count_duplicates(k->conn_n + 1, k->conn_n);
    bool is_single_again = k->conn_n == 1 && k->is_duplicate;
    if (k->conn_n <= 1) {
        k->switches = 0;
        k->is_duplicate = false;
    }
    metric_add(&relay_gauge_remote, is_remote(k));
    const struct route_message news = {.health = is_single_again ? HEALTH_CLEAR : HEALTH_SAME,
                                       .news = k->conn_n == 0 ? NEWS_GONE : NEWS_NONE};
    publish(relay, k, &news);
    key_tidy(&relay->directory, k);
}

void directory_remove(struct relay *relay, struct dir_conn **at)
{
    struct directory *d = &relay->directory;
    struct dir_conn *conn = *at;
    *at = NULL;
    pthread_mutex_lock(&d->lock);
    if (conn->key != NULL)
        leave(relay, conn);
    pthread_mutex_unlock(&d->lock);
    mem_free(conn);
}

/* --- The mesh --- */

struct dir_forwarder *directory_forward(struct relay *relay, const node_key *key, unsigned worker, uint64_t link_id)
{
    struct directory *d = &relay->directory;
    struct dir_forwarder *f = MEM_NEW(struct dir_forwarder);
    f->worker = worker;
    f->link_id = link_id;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = key_make(d, key);
    f->key = k;
    list_push_back(&k->forwarders, &f->of_key);
    k->forwarder_n++;
    if (k->forwarder_n == 1) {
        metric_add(&relay_gauge_remote, is_remote(k));
        publish(relay, k, &(struct route_message){0});
    } else if (k->forwarder_n == 2) {
        metric_inc(&multi_created);
    }
    pthread_mutex_unlock(&d->lock);
    return f;
}

void directory_unforward(struct relay *relay, struct dir_forwarder **at)
{
    struct directory *d = &relay->directory;
    struct dir_forwarder *f = *at;
    *at = NULL;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = f->key;
    bool was_used = oldest_of(k) == f;
    int was_remote = is_remote(k);
    list_remove(&f->of_key);
    k->forwarder_n--;
    metric_add(&relay_gauge_remote, is_remote(k) - was_remote);
    if (k->forwarder_n == 1)
        metric_inc(&multi_deleted);
    if (was_used)
        publish(relay, k, &(struct route_message){0});
    key_tidy(d, k);
    pthread_mutex_unlock(&d->lock);
    mem_free(f);
}

const node_key *directory_forwarder_key(const struct dir_forwarder *f)
{
    return &f->key->key;
}

void directory_list(struct relay *relay, unsigned worker, uint64_t conn_id)
{
    struct directory *d = &relay->directory;
    struct watch_list_message *m = message_create(&relay->workers[worker], MSG_WATCH_LIST);
    m->conn_id = conn_id;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k;
    size_t pos = 0;
    while ((k = map_next(&d->keys, &pos)) != NULL) {
        const struct presence *p = k->conn_n > 0 ? &active_of(k)->presence : NULL;
        if (p != NULL)
            derp_append_peer_present(&m->frames, &k->key, p->ip, p->port, p->flags);
    }
    message_post(&m->base); /* in the same order as the changes */
    pthread_mutex_unlock(&d->lock);
}
