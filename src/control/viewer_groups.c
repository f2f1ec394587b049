#include "control/viewer_groups.h"

#include "base/mem.h"

_Static_assert(sizeof(struct viewer_key) == 16, "padding would be part of the key");

void viewer_groups_init(struct viewer_groups *groups, const uint8_t seed[16])
{
    map_init(&groups->by_key, seed);
    list_init(&groups->groups);
}

void viewer_groups_fini(struct viewer_groups *groups)
{
    viewer_groups_sweep(groups);
    map_fini(&groups->by_key);
}

void viewer_group_member_init(struct viewer_group_member *member)
{
    *member = (struct viewer_group_member){0};
    list_init(&member->link);
}

struct viewer_group *viewer_groups_find(const struct viewer_groups *groups, struct viewer_key key)
{
    return map_get(&groups->by_key, &key, sizeof(key));
}

void viewer_groups_put(struct viewer_groups *groups, struct viewer_group_member *member, struct viewer_key key)
{
    if (member->group != NULL && viewer_keys_equal(member->group->key, key))
        return;
    struct viewer_group *group = viewer_groups_find(groups, key);
    if (group == NULL) {
        group = MEM_NEW(struct viewer_group);
        group->key = key;
        list_init(&group->members);
        list_push_back(&groups->groups, &group->link);
        map_put(&groups->by_key, &group->key, sizeof(group->key), group);
    }
    list_remove(&member->link);
    list_push_back(&group->members, &member->link);
    member->group = group;
}

void viewer_groups_leave(struct viewer_group_member *member)
{
    list_remove(&member->link);
    member->group = NULL;
}

void viewer_groups_sweep(struct viewer_groups *groups)
{
    LIST_EACH_SAFE (it, &groups->groups) {
        struct viewer_group *group = LIST_ENTRY(it, struct viewer_group, link);
        if (!list_is_empty(&group->members))
            continue;
        map_remove(&groups->by_key, &group->key, sizeof(group->key));
        list_remove(&group->link);
        mem_free(group);
    }
}
