/* Which connections each key has, over all workers. Changed only when a client comes, goes, or takes over from a twin, so
 * one lock does; nobody looks here to pass a packet on. Each change is posted to every worker while the lock is held, so
 * that all see the changes of a key in the same order. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

/* Twins that take turns more often than a client which moves from an old connection to a new one. */
enum { SWITCHES_OF_RIVALS = 2 };

struct dir_key {
    node_key key;
    struct list conns; /* struct dir_conn.entry; who spoke last stands first, and is the active one */
    unsigned conn_n;
    unsigned switches; /* while there have been twins */
    bool is_unwell;    /* the twins were told of each other */
};

struct dir_conn {
    struct list entry;
    struct dir_key *of;
    unsigned worker;
    uint64_t conn_id;
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
    return LIST_ENTRY(k->conns.next, struct dir_conn, entry);
}

/* Tells all workers how the key stands now. The lock is held. */
static void publish(struct relay *relay, const struct dir_key *k, int health)
{
    for (unsigned i = 0; i < relay->worker_n && !relay->is_ending; i++) {
        struct relay_msg *m = relay_msg_create(relay, sizeof(*m), &relay->workers[i], worker_on_route);
        m->key = k->key;
        m->conn_n = k->conn_n;
        m->health = health;
        if (k->conn_n > 0) {
            m->worker = active_of(k)->worker;
            m->conn_id = active_of(k)->conn_id;
        }
        relay_msg_post(m);
    }
}

/* The gauges count keys with more than one connection, and these connections. */
static void count_twins(unsigned before, unsigned after)
{
    int64_t conns = (after > 1 ? (int64_t)after : 0) - (before > 1 ? (int64_t)before : 0);
    int64_t keys = (after > 1) - (before > 1);
    metric_add(&relay_gauge_dup_conns, conns);
    metric_add(&relay_gauge_dup_keys, keys);
}

static void push_front(struct dir_key *k, struct dir_conn *conn)
{
    list_push_back(k->conns.next, &conn->entry); /* before the first */
}

static struct dir_key *key_make(struct directory *d, const node_key *key)
{
    struct dir_key *k = map_get(&d->keys, key->b, KEY_BYTES);
    if (k != NULL)
        return k;
    k = MEM_NEW(struct dir_key);
    k->key = *key;
    list_init(&k->conns);
    map_put(&d->keys, k->key.b, KEY_BYTES, k);
    return k;
}

struct dir_conn *directory_add(struct relay *relay, const node_key *key, unsigned worker, uint64_t conn_id)
{
    struct directory *d = &relay->directory;
    struct dir_conn *conn = MEM_NEW(struct dir_conn);
    conn->worker = worker;
    conn->conn_id = conn_id;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = key_make(d, key);
    conn->of = k;
    push_front(k, conn);
    k->conn_n++;
    count_twins(k->conn_n - 1, k->conn_n);
    publish(relay, k, k->is_unwell ? HEALTH_DUPLICATE : HEALTH_SAME);
    pthread_mutex_unlock(&d->lock);
    return conn;
}

void directory_speak(struct relay *relay, struct dir_conn *conn)
{
    struct directory *d = &relay->directory;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = conn->of;
    if (active_of(k) != conn) {
        list_remove(&conn->entry);
        push_front(k, conn);
        k->switches++;
        bool is_news = !k->is_unwell && k->switches >= SWITCHES_OF_RIVALS;
        k->is_unwell = k->is_unwell || is_news;
        publish(relay, k, is_news ? HEALTH_DUPLICATE : HEALTH_SAME);
    }
    pthread_mutex_unlock(&d->lock);
}

void directory_remove(struct relay *relay, struct dir_conn **at)
{
    struct directory *d = &relay->directory;
    struct dir_conn *conn = *at;
    *at = NULL;
    pthread_mutex_lock(&d->lock);
    struct dir_key *k = conn->of;
    list_remove(&conn->entry);
    k->conn_n--;
    count_twins(k->conn_n + 1, k->conn_n);
    bool is_well_again = k->conn_n == 1 && k->is_unwell;
    if (k->conn_n <= 1) {
        k->switches = 0;
        k->is_unwell = false;
    }
    publish(relay, k, is_well_again ? HEALTH_CLEAR : HEALTH_SAME);
    if (k->conn_n == 0) {
        map_remove(&d->keys, k->key.b, KEY_BYTES);
        mem_free(k);
    }
    pthread_mutex_unlock(&d->lock);
    mem_free(conn);
}
