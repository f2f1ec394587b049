#include "control/machines.h"

#include "base/mem.h"

/* One machine may be several nodes, of several users. */
struct machine {
    machine_key key;
    unsigned nodes_n;
};

static void add(struct machines *m, const machine_key *key)
{
    struct machine *found = map_get(&m->by_key, key->b, sizeof(key->b));
    if (found == NULL) {
        found = MEM_NEW(struct machine);
        found->key = *key;
        map_put(&m->by_key, found->key.b, sizeof(found->key.b), found);
    }
    found->nodes_n++;
}

static void remove_one(struct machines *m, const machine_key *key)
{
    struct machine *found = map_get(&m->by_key, key->b, sizeof(key->b));
    if (found == NULL || --found->nodes_n > 0)
        return;
    map_remove(&m->by_key, key->b, sizeof(key->b));
    mem_free(found);
}

void machines_init(struct machines *m, const uint8_t seed[16], const struct snapshot *first)
{
    pthread_mutex_init(&m->lock, NULL);
    map_init(&m->by_key, seed);
    for (size_t g = 0; g < first->group_n; g++) {
        for (size_t i = 0; i < GROUP_NODES; i++) {
            const struct node *n = snapshot_node(first, g * GROUP_NODES + i);
            if (n != NULL)
                add(m, &n->machine);
        }
    }
}

void machines_fini(struct machines *m)
{
    struct machine *found;
    for (size_t pos = 0; (found = map_next(&m->by_key, &pos)) != NULL;)
        mem_free(found);
    map_fini(&m->by_key);
    pthread_mutex_destroy(&m->lock);
}

static bool is_same_machine(const struct change_item *item)
{
    return item->before != NULL && item->after != NULL && keys_equal(item->before->machine.b, item->after->machine.b);
}

void machines_apply(struct machines *m, const struct change *c)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < c->item_n; i++) {
        const struct change_item *item = &c->items[i];
        if (is_same_machine(item))
            continue;
        if (item->after != NULL)
            add(m, &item->after->machine);
        if (item->before != NULL)
            remove_one(m, &item->before->machine);
    }
    pthread_mutex_unlock(&m->lock);
}

bool machines_has(struct machines *m, const machine_key *key)
{
    pthread_mutex_lock(&m->lock);
    bool has = map_get(&m->by_key, key->b, sizeof(key->b)) != NULL;
    pthread_mutex_unlock(&m->lock);
    return has;
}
