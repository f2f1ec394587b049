#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/store_internal.h"

/* A kept row. */
struct memory_row {
    struct memory_name {
        uint64_t tailnet, entity, id;
    } name;
    const struct entity *entity;
    const struct row *object; /* reference */
};

struct memory_store {
    struct store base;
    struct map rows; /* memory_name -> memory_row, owned */
    _Atomic enum rc refusal;
    _Atomic uint64_t refused_tailnet; /* which is refused; 0: all are */
    pthread_mutex_t gate;             /* each write takes it once */
};

static struct memory_store *of(struct store *s)
{
    return CONTAINER_OF(s, struct memory_store, base);
}

static void row_drop(struct memory_row *row)
{
    if (row == NULL)
        return;
    row_unref(row->entity, &row->object);
    mem_free(row);
}

static void put(struct map *rows, uint64_t tailnet, const struct row_op *op)
{
    struct memory_name name = {tailnet, op->entity->number, op->id};
    row_drop(map_remove(rows, &name, sizeof(name)));
    if (op->object == NULL)
        return;
    struct memory_row *row = MEM_NEW(struct memory_row);
    *row = (struct memory_row){name, op->entity, row_ref(op->object)};
    map_put(rows, &row->name, sizeof(row->name), row);
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
    for (size_t i = 0; i < n; i++)
        put(&m->rows, tailnet, ops[i]);
    return RC_OK;
}

static int compare_rows(const void *a, const void *b)
{
    const struct memory_row *const *x = a, *const *y = b;
    return ((*x)->name.id > (*y)->name.id) - ((*x)->name.id < (*y)->name.id);
}

static void load_rows(const struct map *all, uint64_t tailnet, const struct entity *entity, const struct row_sink *sink)
{
    const struct memory_row **rows = mem_zalloc(all->n + 1, sizeof(struct memory_row *)), *row;
    struct err err;
    size_t n = 0;
    for (size_t pos = 0; (row = map_next(all, &pos)) != NULL;) {
        if (row->name.tailnet == tailnet && row->entity == entity)
            rows[n++] = row;
    }
    qsort(rows, n, sizeof(struct memory_row *), compare_rows);
    for (size_t i = 0; i < n; i++) {
        enum rc rc = sink->take(sink->ctx, entity, row_copy(entity, rows[i]->object), &err);
        (void)rc; /* there is nowhere to set a row aside */
    }
    mem_free(rows);
}

static enum rc memory_load(struct store *s, uint64_t tailnet, const struct row_sink *sink, struct err *err)
{
    const struct entity *entity;
    (void)err;
    for (size_t i = 0; (entity = state_entity(i)) != NULL; i++)
        load_rows(&of(s)->rows, tailnet, entity, sink);
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
    (void)is_sound;
    for (size_t pos = 0;;) {
        struct memory_row *row = map_next(&m->rows, &pos);
        if (row == NULL)
            break;
        row_drop(row);
    }
    map_fini(&m->rows);
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
    map_init(&m->rows, NULL);
    store_init(&m->base, &ops);
    *out = &m->base;
    return RC_OK;
}
