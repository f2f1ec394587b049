/* Which links there are: the list of neighbours that was given, each of which has a link on one of the workers. */
#include "relay/mesh.h"

#include "base/log.h"
#include "base/mem.h"
#include "relay/mesh_link_internal.h"
#include "relay/relay_internal.h"

LOG_MODULE("mesh");

struct mesh_entry {
    struct list link;
    uint64_t id;
    unsigned worker;
    struct relay_neighbour at; /* owns its texts, none of which is null */
    bool is_kept;
};

static void entry_free(struct mesh_entry *e)
{
    list_remove(&e->link);
    mesh_neighbour_fini(&e->at);
    mem_free(e);
}

static void post(struct relay *relay, const struct mesh_entry *e, enum message_kind kind)
{
    struct link_message *m = message_create(&relay->workers[e->worker], kind);
    m->link_id = e->id;
    message_post(&m->base);
}

static bool keep_known(struct mesh *mesh, const struct relay_neighbour *at)
{
    LIST_EACH (it, &mesh->entries) {
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, link);
        if (!e->is_kept && mesh_neighbour_equal(&e->at, at)) {
            e->is_kept = true;
            return true;
        }
    }
    return false;
}

static void add(struct relay *relay, const struct relay_neighbour *at)
{
    struct mesh *mesh = &relay->mesh;
    struct mesh_entry *e = MEM_NEW(struct mesh_entry);
    mesh_neighbour_copy(&e->at, at);
    e->id = 1ull << 63 | ++mesh->next_id;
    e->worker = (unsigned)(mesh->next_id % relay->worker_n);
    e->is_kept = true;
    list_push_back(&mesh->entries, &e->link);
    post(relay, e, MSG_LINK_START);
}

void relay_mesh_set(struct relay *relay, const struct relay_neighbour *neighbours, size_t n)
{
    struct mesh *mesh = &relay->mesh;
    if (n > 0 && key_is_zero(relay->opts.mesh_key)) {
        log_error("no links to neighbours: this relay has no mesh key");
        n = 0;
    }
    pthread_mutex_lock(&mesh->lock);
    LIST_EACH (it, &mesh->entries)
        LIST_ENTRY(it, struct mesh_entry, link)->is_kept = false;
    for (size_t i = 0; i < n; i++)
        if (!keep_known(mesh, &neighbours[i]))
            add(relay, &neighbours[i]);
    LIST_EACH_SAFE (it, &mesh->entries) {
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, link);
        if (e->is_kept)
            continue;
        post(relay, e, MSG_LINK_STOP);
        entry_free(e);
    }
    pthread_mutex_unlock(&mesh->lock);
}

unsigned relay_mesh_links(const struct relay *relay)
{
    return atomic_load_explicit(&relay->mesh.link_n, memory_order_relaxed);
}

void mesh_init(struct mesh *mesh)
{
    pthread_mutex_init(&mesh->lock, NULL);
    mesh->resolver = mesh_resolver_create();
    list_init(&mesh->entries);
}

void mesh_fini(struct mesh *mesh)
{
    mesh_resolver_close(&mesh->resolver);
    LIST_EACH_SAFE (it, &mesh->entries)
        entry_free(LIST_ENTRY(it, struct mesh_entry, link));
    pthread_mutex_destroy(&mesh->lock);
}

/* --- On the worker's loop --- */

static uint64_t link_id_of(struct message *m)
{
    return CONTAINER_OF(m, struct link_message, base)->link_id;
}

void mesh_on_link_start(struct relay_worker *w, struct message *m)
{
    struct mesh *mesh = &w->relay->mesh;
    pthread_mutex_lock(&mesh->lock);
    LIST_EACH (it, &mesh->entries) { /* if it is still wanted */
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, link);
        if (e->id == link_id_of(m))
            mesh_link_create(w, e->id, &e->at);
    }
    pthread_mutex_unlock(&mesh->lock);
    mesh_tick(w);
}

void mesh_on_link_stop(struct relay_worker *w, struct message *m)
{
    struct mesh_link *l = mesh_link_find(w, link_id_of(m));
    if (l != NULL)
        mesh_link_destroy(&l);
}

void mesh_on_link_resolved(struct relay_worker *w, struct message *msg)
{
    const struct link_resolved_message *m = CONTAINER_OF(msg, struct link_resolved_message, base);
    struct mesh_link *l = mesh_link_find(w, m->link_id);
    if (l != NULL)
        mesh_link_resolved(l, m->addrs, m->addr_n);
}

void mesh_tick(struct relay_worker *w)
{
    LIST_EACH_SAFE (it, &w->mesh_links)
        mesh_link_tick(LIST_ENTRY(it, struct mesh_link, of_worker), worker_now_ms(w));
}

void mesh_close_links(struct relay_worker *w)
{
    while (!list_is_empty(&w->mesh_links)) {
        struct mesh_link *l = LIST_ENTRY(w->mesh_links.next, struct mesh_link, of_worker);
        mesh_link_destroy(&l);
    }
}
