#include "bench/roster.h"

#include "base/mem.h"
#include "base/vec.h"

enum { SMALL_ID_MAX = 1 << 20 };

struct roster_id {
    int64_t id;
    uint32_t index;
};

void roster_init(struct roster *r, unsigned n)
{
    *r = (struct roster){.n = n};
    map_init(&r->by_key, NULL);
    map_init(&r->by_big_id, NULL);
}

void roster_fini(struct roster *r)
{
    map_fini(&r->by_key);
    map_fini(&r->by_big_id);
    mem_free(r->by_id);
    arena_fini(&r->arena);
}

void roster_add_key(struct roster *r, struct str key, unsigned index)
{
    map_put(&r->by_key, key.p, key.len, (void *)(uintptr_t)(index + 1));
}

void roster_forget_key(struct roster *r, struct str key)
{
    map_remove(&r->by_key, key.p, key.len);
}

static void learn(struct roster *r, int64_t id, uint32_t index)
{
    if (id < 0 || id >= SMALL_ID_MAX) {
        struct roster_id *row = arena_alloc(&r->arena, sizeof(*row));
        *row = (struct roster_id){id, index};
        map_put(&r->by_big_id, &row->id, sizeof(row->id), row);
        return;
    }
    VEC_COVER(r->by_id, r->by_id_cap, (size_t)id, 1024);
    r->by_id[id] = index + 1;
}

static int look_up(const struct roster *r, int64_t id)
{
    if (id >= 0 && id < SMALL_ID_MAX)
        return (size_t)id < r->by_id_cap ? (int)r->by_id[id] - 1 : -1;
    const struct roster_id *row = map_get(&r->by_big_id, &id, sizeof(id));
    return row != NULL ? (int)row->index : -1;
}

int roster_find(struct roster *r, int64_t id, struct str key, bool may_add)
{
    uintptr_t member = key.len > 0 ? (uintptr_t)map_get(&r->by_key, key.p, key.len) : 0;
    int found = look_up(r, id);
    if (member > 0) {
        if (found != (int)member - 1)
            learn(r, id, (uint32_t)member - 1);
        return (int)member - 1;
    }
    if (found >= 0 || !may_add)
        return found;
    if (r->foreign_n == ROSTER_FOREIGN_MAX)
        return (int)(roster_foreign_base(r->n) + ROSTER_FOREIGN_MAX - 1);
    uint32_t index = roster_foreign_base(r->n) + r->foreign_n++;
    learn(r, id, index);
    return (int)index;
}
