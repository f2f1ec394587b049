/* All entities: how the state takes their rows in, finds them, and makes them what they were. To add one, describe it
 * in the file of its struct (entity.h), and add a line below. */
#include <stdlib.h>

#include "state/setting.h"
#include "state/state_internal.h"

/* Of rows that the state keeps as they are (kept.c) only `check` is needed: the other functions are null. */
struct entry {
    const struct entity *entity;
    /* Takes the reference if the row can be used; otherwise RC_INVALID and why. */
    enum rc (*load)(struct state *st, struct row *object, struct err *err);
    /* The row as it is, borrowed; null: there is none. The function may be null for an entity that is never undone or
     * walked through. */
    const struct row *(*get)(const struct state *st, uint64_t id);
    const struct row *(*next)(const struct state *st, size_t *pos);
    /* Makes the row what it was; `before` null: it did not exist. */
    void (*restore)(struct state *st, uint64_t id, const struct row *before, int64_t now_ms);
    /* The row, as it is now, is in the batch that is being taken. May be null. */
    void (*written)(struct state *st, uint64_t id);
    /* RC_INVALID, and why: it has values that nothing here writes. */
    enum rc (*check)(const struct row *object, struct err *err);
};

static bool is_kept(const struct entry *e)
{
    return e->load == NULL;
}

/* --- counters --- */

/* A counter out of range is ignored: the ids of the rows say where to go on. */
static enum rc load_counter(struct state *st, struct row *object, struct err *err)
{
    const struct counter *c = (const struct counter *)object;
    const struct entity *of = state_entity_by_number(c->id);
    if (of == NULL || !of->is_counted)
        return err_set(err, RC_INVALID, "its id is no number of an entity");
    uint64_t *next = &st->counters.next[of->number];
    if (c->next > *next && c->next - 1 <= of->id_max)
        *next = c->next;
    const struct row *taken = object;
    row_unref(&entity_counter, &taken);
    return RC_OK;
}

/* --- nodes --- */

static const struct node *next_node(const struct state *st, size_t *pos)
{
    while (*pos < st->records_cap) {
        const struct node_record *e = node_record_of(st, (*pos)++);
        if (e != NULL)
            return e->node;
    }
    return NULL;
}

static void node_written(struct state *st, uint64_t id)
{
    node_record_of(st, id)->written_seq = st->next_seq;
}

static void relay_written(struct state *st, uint64_t id)
{
    struct relay_record *r = state_relay_record(st, id);
    r->written_seq = st->next_seq;
    r->is_stale_on_disk = false;
}

/* --- the table --- */

/* Functions of the entry for those of the struct. */
#define ADAPT(type, load_fn, get_fn, next_fn)                                                                          \
    static enum rc type##_load(struct state *st, struct row *object, struct err *err)                                  \
    {                                                                                                                  \
        return load_fn(st, (struct type *)object, err);                                                                \
    }                                                                                                                  \
    static const struct row *type##_get(const struct state *st, uint64_t id)                                           \
    {                                                                                                                  \
        return (const struct row *)get_fn(st, id);                                                                     \
    }                                                                                                                  \
    static const struct row *type##_next(const struct state *st, size_t *pos)                                          \
    {                                                                                                                  \
        return (const struct row *)next_fn(st, pos);                                                                   \
    }
#define ADAPT_RESTORE(type, restore_fn)                                                                                \
    static void type##_back(struct state *st, uint64_t id, const struct row *before, int64_t now_ms)                   \
    {                                                                                                                  \
        restore_fn(st, id, (const struct type *)before, now_ms);                                                       \
    }

ADAPT(user, state_load_user, state_user, state_user_next)
ADAPT_RESTORE(user, user_restore)
ADAPT(auth_key, state_load_key, state_key, state_key_next)
ADAPT_RESTORE(auth_key, auth_key_restore)
ADAPT(relay_host, state_load_relay, state_relay, state_relay_next)
ADAPT_RESTORE(relay_host, state_relay_restore)
ADAPT(policy_text, state_load_policy_text, state_policy_text, state_policy_text_next)
ADAPT_RESTORE(policy_text, state_policy_text_restore)
ADAPT(node, state_load_node, state_node, next_node)

/* In the order in which they are loaded. */
static const struct entry entries[] = {
    {&entity_user, user_load, user_get, user_next, user_back, NULL, NULL},
    {&entity_auth_key, auth_key_load, auth_key_get, auth_key_next, auth_key_back, NULL, NULL},
    {&entity_relay_host, relay_host_load, relay_host_get, relay_host_next, relay_host_back, relay_written, NULL},
    {&entity_policy_text, policy_text_load, policy_text_get, policy_text_next, policy_text_back, NULL, NULL},
    {&entity_node, node_load, node_get, node_next, NULL, node_written, NULL},
    {.entity = &entity_setting, .check = setting_check},
    {&entity_counter, load_counter, NULL, NULL, NULL, NULL, NULL},
};

static const struct entry *entry_of(const struct entity *entity)
{
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (entries[i].entity == entity)
            return &entries[i];
    }
    abort(); /* an entity without a line above */
}

const struct entity *state_entity(size_t i)
{
    return i < ARRAY_LEN(entries) ? entries[i].entity : NULL;
}

const struct entity *state_entity_by_number(uint64_t number)
{
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        if (entries[i].entity->number == number)
            return entries[i].entity;
    }
    return NULL;
}

int state_schema_version(void)
{
    int version = 0;
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        const struct entity *e = entries[i].entity;
        version = e->since > version ? e->since : version;
        for (size_t k = 0; k < e->column_n; k++)
            version = e->columns[k].since > version ? e->columns[k].since : version;
    }
    return version;
}

static enum rc load_kept(struct state *st, const struct entry *e, struct row *object, struct err *err)
{
    TRY(e->check(object, err));
    return kept_load(st, e->entity, object, err);
}

enum rc state_load(struct state *st, const struct entity *entity, struct row *object, struct err *err)
{
    uint64_t id = object->id;
    const struct entry *e = entry_of(entity);
    enum rc rc = is_kept(e) ? load_kept(st, e, object, err) : e->load(st, object, err);
    if (rc != RC_OK) {
        const struct row *dropped = object;
        row_unref(entity, &dropped);
        return rc;
    }
    if (entity->is_counted && id >= st->counters.next[entity->number])
        st->counters.next[entity->number] = id + 1;
    return RC_OK;
}

const struct row *state_row(const struct state *st, const struct entity *entity, uint64_t id)
{
    const struct entry *e = entry_of(entity);
    return is_kept(e) ? kept_row(st, entity, id) : e->get(st, id);
}

const struct row *state_row_next(const struct state *st, const struct entity *entity, size_t *pos)
{
    const struct entry *e = entry_of(entity);
    if (is_kept(e))
        return kept_next(st, entity, pos);
    return e->next != NULL ? e->next(st, pos) : NULL;
}

void entity_restore(struct state *st, const struct entity *entity, uint64_t id, const struct row *before,
                    int64_t now_ms)
{
    const struct entry *e = entry_of(entity);
    if (is_kept(e))
        kept_install(st, entity, id, row_ref(before));
    else
        e->restore(st, id, before, now_ms);
}

void entity_note_written(struct state *st, const struct entity *entity, uint64_t id)
{
    const struct entry *e = entry_of(entity);
    if (e->written != NULL)
        e->written(st, id);
}
