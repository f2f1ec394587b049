#include "control/turns.h"

void turns_init(struct turns *t)
{
    *t = (struct turns){0};
    for (unsigned i = 0; i < TURNS_LANES; i++)
        list_init(&t->waiting[i]);
    list_init(&t->running);
}

void turn_init(struct turn *turn)
{
    *turn = (struct turn){0};
    list_init(&turn->entry);
}

void turns_ask(struct turns *t, struct turn *turn, enum turns_lane lane)
{
    if (turn->is_running)
        turns_leave(t, turn);
    if (list_is_empty(&turn->entry))
        list_push_back(&t->waiting[lane], &turn->entry);
}

struct turn *turns_next(struct turns *t, int64_t now_ms)
{
    if (!turns_can_begin(t))
        return NULL;
    if (list_is_empty(&t->waiting[t->next_lane]))
        t->next_lane = (t->next_lane + 1) % TURNS_LANES;
    struct turn *turn = LIST_ENTRY(t->waiting[t->next_lane].next, struct turn, entry);
    t->next_lane = (t->next_lane + 1) % TURNS_LANES;
    list_remove(&turn->entry);
    list_push_back(&t->running, &turn->entry);
    turn->is_running = true;
    turn->began_ms = now_ms;
    t->running_n++;
    return turn;
}

void turns_leave(struct turns *t, struct turn *turn)
{
    list_remove(&turn->entry);
    if (turn->is_running)
        t->running_n--;
    turn->is_running = false;
}

void turns_expire(struct turns *t, int64_t now_ms)
{
    LIST_EACH_SAFE (it, &t->running) {
        struct turn *turn = LIST_ENTRY(it, struct turn, entry);
        if (now_ms - turn->began_ms < TURN_MS)
            return;
        turns_leave(t, turn);
    }
}

bool turns_can_begin(const struct turns *t)
{
    return t->running_n < TURNS_AT_ONCE && turns_wait(t);
}

bool turns_wait(const struct turns *t)
{
    for (unsigned i = 0; i < TURNS_LANES; i++) {
        if (!list_is_empty(&t->waiting[i]))
            return true;
    }
    return false;
}
