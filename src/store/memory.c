#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/store_internal.h"

/* One kept row; exactly one of the references is set. */
struct memory_row {
    uint64_t id;
    const struct user *user;
    const struct auth_key *key;
    const struct relay_host *relay;
    const struct policy_text *policy_text;
    const struct node *node;
};

struct memory_store {
    struct store base;
    struct map users; /* id -> struct memory_row */
    struct map keys;
    struct map relays;
    struct map policy_texts;
    struct map nodes;
    struct row_counters counters;
    _Atomic enum rc refusal;
    pthread_mutex_t gate; /* each write takes it once */
};

static struct memory_store *of(struct store *s)
{
    return CONTAINER_OF(s, struct memory_store, base);
}

static void row_destroy(struct memory_row *row)
{
    if (row == NULL)
        return;
    user_unref(&row->user);
    auth_key_unref(&row->key);
    state_relay_host_unref(&row->relay);
    state_policy_text_unref(&row->policy_text);
    node_unref(&row->node);
    mem_free(row);
}

static void drop(struct map *m, uint64_t id)
{
    row_destroy(map_remove(m, &id, sizeof(id)));
}

static struct memory_row *put(struct map *m, uint64_t id)
{
    drop(m, id);
    struct memory_row *row = MEM_NEW(struct memory_row);
    row->id = id;
    map_put(m, &row->id, sizeof(row->id), row);
    return row;
}

static enum rc memory_write(struct store *s, const struct row_op *const *ops, size_t n)
{
    struct memory_store *m = of(s);
    pthread_mutex_lock(&m->gate);
    pthread_mutex_unlock(&m->gate);
    enum rc refusal = atomic_load(&m->refusal);
    if (refusal != RC_OK)
        return refusal;
    for (size_t i = 0; i < n; i++) {
        const struct row_op *op = ops[i];
        switch (op->kind) {
        case ROW_PUT_USER: put(&m->users, op->id)->user = user_ref(op->user); break;
        case ROW_DEL_USER: drop(&m->users, op->id); break;
        case ROW_PUT_KEY: put(&m->keys, op->id)->key = auth_key_ref(op->key); break;
        case ROW_DEL_KEY: drop(&m->keys, op->id); break;
        case ROW_PUT_RELAY: put(&m->relays, op->id)->relay = state_relay_host_ref(op->relay); break;
        case ROW_DEL_RELAY: drop(&m->relays, op->id); break;
        case ROW_PUT_POLICY_TEXT:
            put(&m->policy_texts, op->id)->policy_text = state_policy_text_ref(op->policy_text);
            break;
        case ROW_DEL_POLICY_TEXT: drop(&m->policy_texts, op->id); break;
        case ROW_PUT_NODE: put(&m->nodes, op->id)->node = node_ref(op->node); break;
        case ROW_DEL_NODE: drop(&m->nodes, op->id); break;
        case ROW_PUT_COUNTERS: m->counters = op->counters; break;
        }
    }
    return RC_OK;
}

static int compare_rows(const void *a, const void *b)
{
    const struct memory_row *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

/* A node as it is read from a disk: not connected yet. */
static struct node *node_at_rest(const struct node *n)
{
    struct node *copy = node_edit(n, NULL, 0);
    copy->is_online = false;
    return copy;
}

static struct policy_text *text_copy(const struct policy_text *t)
{
    struct policy_text *copy = state_policy_text_create(str_n(t->text->data, t->text->len));
    copy->id = t->id;
    copy->created_ms = t->created_ms;
    memcpy(copy->author, t->author, sizeof(copy->author));
    memcpy(copy->note, t->note, sizeof(copy->note));
    return copy;
}

static void load_table(const struct map *m, const struct row_sink *sink)
{
    const struct memory_row **rows = mem_zalloc(m->n + 1, sizeof(struct memory_row *));
    size_t pos = 0;
    for (size_t i = 0; i < m->n; i++)
        rows[i] = map_next(m, &pos);
    qsort(rows, m->n, sizeof(struct memory_row *), compare_rows);
    for (size_t i = 0; i < m->n; i++) {
        if (rows[i]->user != NULL)
            sink->user(sink->ctx, user_edit(rows[i]->user));
        else if (rows[i]->key != NULL)
            sink->key(sink->ctx, auth_key_edit(rows[i]->key));
        else if (rows[i]->relay != NULL)
            sink->relay(sink->ctx, state_relay_host_edit(rows[i]->relay));
        else if (rows[i]->policy_text != NULL)
            sink->policy_text(sink->ctx, text_copy(rows[i]->policy_text));
        else
            sink->node(sink->ctx, node_at_rest(rows[i]->node));
    }
    mem_free(rows);
}

static enum rc memory_load(struct store *s, const struct row_sink *sink, struct row_counters *counters_out,
                           struct err *err)
{
    struct memory_store *m = of(s);
    (void)err;
    load_table(&m->users, sink);
    load_table(&m->keys, sink);
    load_table(&m->relays, sink);
    load_table(&m->policy_texts, sink);
    load_table(&m->nodes, sink);
    *counters_out = m->counters;
    return RC_OK;
}

static enum rc memory_ping(struct store *s)
{
    (void)s;
    return RC_OK;
}

static void memory_destroy(struct store *s, bool is_sound)
{
    struct memory_store *m = of(s);
    struct map *maps[] = {&m->users, &m->keys, &m->relays, &m->policy_texts, &m->nodes};
    (void)is_sound;
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        for (size_t pos = 0;;) {
            struct memory_row *row = map_next(maps[i], &pos);
            if (row == NULL)
                break;
            row_destroy(row);
        }
        map_fini(maps[i]);
    }
    pthread_mutex_destroy(&m->gate);
    mem_free(m);
}

void store_memory_fail(struct store *s, enum rc why)
{
    atomic_store(&of(s)->refusal, why);
}

void store_memory_hold(struct store *s)
{
    pthread_mutex_lock(&of(s)->gate);
}

void store_memory_release(struct store *s)
{
    pthread_mutex_unlock(&of(s)->gate);
}

enum rc store_open_memory(struct store **out)
{
    static const struct store_ops ops = {memory_write, memory_load, memory_ping, memory_destroy};
    struct memory_store *m = MEM_NEW(struct memory_store);
    pthread_mutex_init(&m->gate, NULL);
    map_init(&m->users, NULL);
    map_init(&m->keys, NULL);
    map_init(&m->relays, NULL);
    map_init(&m->policy_texts, NULL);
    map_init(&m->nodes, NULL);
    store_init(&m->base, &ops);
    *out = &m->base;
    return RC_OK;
}
