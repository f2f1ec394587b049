#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/store_internal.h"

struct memory_store {
    struct store base;
    struct map rows[ENTITIES_MAX]; /* by number of the entity: id -> object (reference) */
    _Atomic enum rc refusal;
    _Atomic uint64_t refused_tailnet; /* which is refused; 0: all are */
    pthread_mutex_t gate;             /* each write takes it once */
};

static struct memory_store *of(struct store *s)
{
    return CONTAINER_OF(s, struct memory_store, base);
}

static void drop(struct map *m, const struct entity *entity, uint64_t id)
{
    const struct row *object = map_remove(m, &id, sizeof(id));
    row_unref(entity, &object);
}

static enum rc memory_write(struct store *s, uint64_t tailnet, const struct row_op *const *ops, size_t n)
{
    struct memory_store *m = of(s);
    pthread_mutex_lock(&m->gate);
    pthread_mutex_unlock(&m->gate);
    enum rc refusal = atomic_load(&m->refusal);
    uint64_t refused = atomic_load(&m->refused_tailnet);
    if (refusal != RC_OK && (refused == 0 || refused == tailnet))
        return refusal;
    for (size_t i = 0; i < n; i++) {
        const struct row_op *op = ops[i];
        struct map *rows = &m->rows[op->entity->number];
        drop(rows, op->entity, op->id);
        if (op->object != NULL)
            map_put(rows, &op->object->id, sizeof(op->object->id), (void *)row_ref(op->object));
    }
    return RC_OK;
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *const *x = a, *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static void load_rows(const struct map *m, const struct entity *entity, const struct row_sink *sink)
{
    const struct row **rows = mem_zalloc(m->n + 1, sizeof(struct row *));
    struct err err;
    size_t pos = 0;
    for (size_t i = 0; i < m->n; i++)
        rows[i] = map_next(m, &pos);
    qsort(rows, m->n, sizeof(struct row *), compare_rows);
    for (size_t i = 0; i < m->n; i++) {
        enum rc rc = sink->take(sink->ctx, entity, entity->copy(rows[i]), &err);
        (void)rc; /* there is nowhere to set a row aside */
    }
    mem_free(rows);
}

static enum rc memory_load(struct store *s, const struct row_sink *sink, struct err *err)
{
    const struct entity *entity;
    (void)err;
    for (size_t i = 0; (entity = state_entity(i)) != NULL; i++)
        load_rows(&of(s)->rows[entity->number], entity, sink);
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
    const struct entity *entity;
    (void)is_sound;
    for (size_t i = 0; (entity = state_entity(i)) != NULL; i++) {
        struct map *rows = &m->rows[entity->number];
        for (size_t pos = 0;;) {
            const struct row *object = map_next(rows, &pos);
            if (object == NULL)
                break;
            row_unref(entity, &object);
        }
        map_fini(rows);
    }
    pthread_mutex_destroy(&m->gate);
    mem_free(m);
}

void store_memory_fail(struct store *s, enum rc why)
{
    store_memory_fail_tailnet(s, 0, why);
}

void store_memory_fail_tailnet(struct store *s, uint64_t tailnet, enum rc why)
{
    atomic_store(&of(s)->refused_tailnet, tailnet);
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
    for (size_t i = 0; i < ENTITIES_MAX; i++)
        map_init(&m->rows[i], NULL);
    store_init(&m->base, &ops);
    *out = &m->base;
    return RC_OK;
}
