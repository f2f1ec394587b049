#include "control/seats.h"

#include "base/mem.h"

_Static_assert(sizeof(struct viewer_key) == 16, "padding would be part of the key");

void seats_init(struct seats *s, const uint8_t seed[16])
{
    map_init(&s->by_seat, seed);
    list_init(&s->groups);
}

void seats_fini(struct seats *s)
{
    seats_sweep(s);
    map_fini(&s->by_seat);
}

void seated_init(struct seated *who)
{
    *who = (struct seated){0};
    list_init(&who->entry);
}

struct seat_group *seats_find(const struct seats *s, struct viewer_key seat)
{
    return map_get(&s->by_seat, &seat, sizeof(seat));
}

void seats_put(struct seats *s, struct seated *who, struct viewer_key seat)
{
    if (who->group != NULL && viewer_keys_equal(who->group->seat, seat))
        return;
    struct seat_group *g = seats_find(s, seat);
    if (g == NULL) {
        g = MEM_NEW(struct seat_group);
        g->seat = seat;
        list_init(&g->members);
        list_push_back(&s->groups, &g->entry);
        map_put(&s->by_seat, &g->seat, sizeof(g->seat), g);
    }
    list_remove(&who->entry);
    list_push_back(&g->members, &who->entry);
    who->group = g;
}

void seats_leave(struct seated *who)
{
    list_remove(&who->entry);
    who->group = NULL;
}

void seats_sweep(struct seats *s)
{
    LIST_EACH_SAFE (it, &s->groups) {
        struct seat_group *g = LIST_ENTRY(it, struct seat_group, entry);
        if (!list_is_empty(&g->members))
            continue;
        map_remove(&s->by_seat, &g->seat, sizeof(g->seat));
        list_remove(&g->entry);
        mem_free(g);
    }
}
