/* Which links there are: the list of neighbours that was asked for, each on a worker of its own, and their names. */
#include "relay/mesh.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "relay/mesh_link_internal.h"
#include "relay/relay_internal.h"

LOG_MODULE("mesh");

enum { NAME_MAX_BYTES = 253 };

/* --- The resolver: a thread that outlives the relay when a name takes long, so that nobody waits for it --- */

struct resolver {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct list questions; /* locked: struct question */
    bool is_closed;        /* locked: the relay is gone, nobody may be answered */
};

struct question {
    struct list entry;
    char name[NAME_MAX_BYTES + 1];
    struct relay_worker *to;
    uint64_t link_id;
};

struct answer {
    struct relay_msg m;
    struct addr addrs[MESH_ADDRS_MAX];
    unsigned n;
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
    struct relay_msg *m = relay_msg_create(q->to->relay, sizeof(struct answer), q->to, worker_on_resolved);
    struct answer *a = CONTAINER_OF(m, struct answer, m);
    m->conn_id = q->link_id;
    memcpy(a->addrs, addrs, n * sizeof(*addrs));
    a->n = n;
    relay_msg_post(m);
}

static void resolver_free(struct resolver *r)
{
    LIST_EACH_SAFE (it, &r->questions)
        mem_free(LIST_ENTRY(it, struct question, entry));
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    mem_free(r);
}

static void *resolver_main(void *arg)
{
    struct resolver *r = arg;
    struct addr addrs[MESH_ADDRS_MAX];
    pthread_mutex_lock(&r->lock);
    while (!r->is_closed) {
        if (list_is_empty(&r->questions)) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        struct question *q = LIST_ENTRY(r->questions.next, struct question, entry);
        list_remove(&q->entry);
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

/* The lock of the mesh is held. Null: no thread could be made. */
static struct resolver *resolver_get(struct mesh *mesh)
{
    if (mesh->resolver != NULL)
        return mesh->resolver;
    struct resolver *r = MEM_NEW(struct resolver);
    pthread_t thread;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    list_init(&r->questions);
    if (pthread_create(&thread, NULL, resolver_main, r) != 0) {
        log_error("no thread to resolve names of neighbours");
        resolver_free(r);
        return NULL;
    }
    pthread_setname_np(thread, "mesh-names");
    pthread_detach(thread);
    mesh->resolver = r;
    return r;
}

static void resolver_close(struct resolver *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->is_closed = true; /* the thread frees it */
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

/* A link asks again when it has waited too long: while no name can be found, questions must not pile up. */
static bool is_asked(const struct resolver *r, uint64_t link_id)
{
    LIST_EACH (it, &r->questions) {
        if (LIST_ENTRY(it, struct question, entry)->link_id == link_id)
            return true;
    }
    return false;
}

void mesh_resolve(struct mesh_link *l, const char *name)
{
    struct mesh *mesh = &l->worker->relay->mesh;
    pthread_mutex_lock(&mesh->lock);
    struct resolver *r = resolver_get(mesh);
    pthread_mutex_unlock(&mesh->lock);
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    if (!is_asked(r, l->id)) {
        struct question *q = MEM_NEW(struct question);
        snprintf(q->name, sizeof(q->name), "%s", name);
        q->to = l->worker;
        q->link_id = l->id;
        list_push_back(&r->questions, &q->entry);
        pthread_cond_signal(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}

void worker_on_resolved(struct relay_worker *w, struct relay_msg *m)
{
    struct answer *a = CONTAINER_OF(m, struct answer, m);
    struct mesh_link *l = mesh_link_find(w, m->conn_id);
    if (l != NULL)
        mesh_link_resolved(l, a->addrs, a->n);
}

/* --- The list --- */

struct mesh_entry {
    struct list entry;
    uint64_t id;
    unsigned worker;
    struct relay_neighbour at; /* owns its texts, none of which is null */
    bool is_kept;
};

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

void mesh_neighbour_copy(struct relay_neighbour *to, const struct relay_neighbour *from)
{
    *to = *from;
    to->host = mem_strdup(text_of(from->host));
    to->dial = mem_strdup(text_of(from->dial));
    to->fingerprint = mem_strdup(text_of(from->fingerprint));
}

void mesh_neighbour_fini(struct relay_neighbour *n)
{
    mem_free((char *)n->host);
    mem_free((char *)n->dial);
    mem_free((char *)n->fingerprint);
}

static bool is_same(const struct relay_neighbour *a, const struct relay_neighbour *b)
{
    return strcmp(text_of(a->host), text_of(b->host)) == 0 && strcmp(text_of(a->dial), text_of(b->dial)) == 0 &&
           strcmp(text_of(a->fingerprint), text_of(b->fingerprint)) == 0 && a->port == b->port &&
           a->is_plain == b->is_plain;
}

static void entry_free(struct mesh_entry *e)
{
    list_remove(&e->entry);
    mesh_neighbour_fini(&e->at);
    mem_free(e);
}

static void post(struct relay *relay, const struct mesh_entry *e,
                 void (*run)(struct relay_worker *w, struct relay_msg *m))
{
    struct relay_msg *m = relay_msg_create(relay, sizeof(*m), &relay->workers[e->worker], run);
    m->conn_id = e->id;
    relay_msg_post(m);
}

static bool keep_known(struct mesh *mesh, const struct relay_neighbour *at)
{
    LIST_EACH (it, &mesh->entries) {
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, entry);
        if (!e->is_kept && is_same(&e->at, at)) {
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
    list_push_back(&mesh->entries, &e->entry);
    post(relay, e, worker_on_mesh_start);
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
        LIST_ENTRY(it, struct mesh_entry, entry)->is_kept = false;
    for (size_t i = 0; i < n; i++)
        if (!keep_known(mesh, &neighbours[i]))
            add(relay, &neighbours[i]);
    LIST_EACH_SAFE (it, &mesh->entries) {
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, entry);
        if (e->is_kept)
            continue;
        post(relay, e, worker_on_mesh_stop);
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
    list_init(&mesh->entries);
}

void mesh_fini(struct relay *relay)
{
    struct mesh *mesh = &relay->mesh;
    resolver_close(mesh->resolver);
    LIST_EACH_SAFE (it, &mesh->entries)
        entry_free(LIST_ENTRY(it, struct mesh_entry, entry));
    pthread_mutex_destroy(&mesh->lock);
}

/* --- On the worker's loop --- */

void worker_on_mesh_start(struct relay_worker *w, struct relay_msg *m)
{
    struct mesh *mesh = &w->relay->mesh;
    pthread_mutex_lock(&mesh->lock);
    LIST_EACH (it, &mesh->entries) { /* or it is not wanted any more */
        struct mesh_entry *e = LIST_ENTRY(it, struct mesh_entry, entry);
        if (e->id == m->conn_id)
            mesh_link_create(w, e->id, &e->at);
    }
    pthread_mutex_unlock(&mesh->lock);
    mesh_tick(w);
}

void worker_on_mesh_stop(struct relay_worker *w, struct relay_msg *m)
{
    struct mesh_link *l = mesh_link_find(w, m->conn_id);
    if (l != NULL)
        mesh_link_destroy(&l);
}

void mesh_tick(struct relay_worker *w)
{
    LIST_EACH_SAFE (it, &w->mesh_links)
        mesh_link_tick(LIST_ENTRY(it, struct mesh_link, entry), worker_now_ms(w));
}

void mesh_close_links(struct relay_worker *w)
{
    while (!list_is_empty(&w->mesh_links)) {
        struct mesh_link *l = LIST_ENTRY(w->mesh_links.next, struct mesh_link, entry);
        mesh_link_destroy(&l);
    }
}

/* --- Text --- */

static bool is_host(struct str s)
{
    struct addr ip;
    if (addr_parse_ip(s, &ip) == RC_OK)
        return true;
    if (s.len == 0 || s.len > NAME_MAX_BYTES || s.p[0] == '-' || s.p[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '-';
        if (!is_fit)
            return false;
    }
    return true;
}

static struct str cut(struct str *rest, char at)
{
    long i = str_index(*rest, at);
    struct str part = i < 0 ? *rest : str_n(rest->p, (size_t)i);
    *rest = i < 0 ? STR_EMPTY : str_n(rest->p + i + 1, rest->len - (size_t)i - 1);
    return part;
}

static enum rc read_host_port(struct str text, struct str *host_out, uint16_t *port_out)
{
    struct str host = text, port = STR_EMPTY;
    struct addr ip;
    uint64_t number = 0;
    bool has_port = false;
    if (str_starts(text, STR("["))) {
        if (str_index(text, ']') < 0)
            return RC_INVALID;
        port = str_n(text.p + 1, text.len - 1);
        host = cut(&port, ']');
        has_port = port.len > 0;
        if (addr_parse_ip(host, &ip) != RC_OK || (has_port && port.p[0] != ':'))
            return RC_INVALID;
        if (has_port)
            port = str_n(port.p + 1, port.len - 1);
    } else if (addr_parse_ip(text, &ip) != RC_OK && str_index(text, ':') >= 0) {
        port = text;
        host = cut(&port, ':');
        has_port = true;
    }
    if (!is_host(host))
        return RC_INVALID;
    if (has_port && (str_to_u64(port, &number) != RC_OK || number == 0 || number > UINT16_MAX))
        return RC_INVALID;
    *host_out = host;
    *port_out = (uint16_t)number;
    return RC_OK;
}

static bool is_pin(struct str hex)
{
    for (size_t i = 0; i < hex.len; i++)
        if (!((hex.p[i] >= '0' && hex.p[i] <= '9') || (hex.p[i] >= 'a' && hex.p[i] <= 'f')))
            return false;
    return hex.len == 64;
}

static const char *keep(char **store, struct str s)
{
    char *at = *store;
    memcpy(at, s.p, s.len);
    at[s.len] = '\0';
    *store += s.len + 1;
    return at;
}

enum rc relay_neighbour_parse(struct str text, char store[RELAY_NEIGHBOUR_CAP], struct relay_neighbour *out)
{
    const struct str pin_prefix = STR("sha256-raw:");
    struct relay_neighbour n = {0};
    struct str host, rest = text;
    if (text.len + 1 > RELAY_NEIGHBOUR_CAP)
        return RC_TOO_LARGE;
    if (str_ends(text, STR("/")))
        return RC_INVALID;
    TRY(read_host_port(cut(&rest, '/'), &host, &n.port));
    n.host = keep(&store, host);
    while (rest.len > 0) {
        struct str part = cut(&rest, '/');
        if (n.fingerprint != NULL) /* the last part */
            return RC_INVALID;
        if (str_starts(part, pin_prefix)) {
            part = str_n(part.p + pin_prefix.len, part.len - pin_prefix.len);
            if (!is_pin(part))
                return RC_INVALID;
            n.fingerprint = keep(&store, part);
        } else if (n.dial == NULL && is_host(part)) {
            n.dial = keep(&store, part);
        } else {
            return RC_INVALID;
        }
    }
    *out = n;
    return RC_OK;
}
