/* Limits on the number of connections. Those that have not logged in have a small share of their own, over all and by
 * address, in which a new one replaces the oldest: strangers that hold on to connections only lose them to each
 * other. Those that have logged in are bounded by the key (directory.c) and all together. Guests, whose key the
 * program does not know, are also bounded by the address, and leave a quarter of the places to clients that it does
 * know. */
#include "base/clock.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

enum { QUARTER = 4 };

static struct budget_places *create(const struct budget_places_limits *limits)
{
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    return budget_places_create(limits, seed);
}

static unsigned part_of(unsigned all, unsigned n)
{
    return all / n + (all % n != 0);
}

/* A worker can replace only connections of its own, so each has a part of the strangers' share. */
void places_init(struct relay *relay)
{
    const struct relay_opts *opts = &relay->opts;
    const struct budget_places_limits own = {.strangers = part_of(opts->max_logins, relay->worker_n),
                                             .known = opts->max_conns,
                                             .per_address = part_of(opts->max_logins_per_address, relay->worker_n)};
    const struct budget_places_limits guests = {.strangers = opts->max_conns - opts->max_conns / QUARTER,
                                                .per_address = opts->max_conns / QUARTER + 1};
    for (unsigned i = 0; i < relay->worker_n; i++)
        relay->workers[i].places = create(&own);
    relay->guests = create(&guests);
}

void places_fini(struct relay *relay)
{
    for (unsigned i = 0; i < relay->worker_n; i++)
        budget_places_destroy(&relay->workers[i].places);
    budget_places_destroy(&relay->guests);
}

/* A reverse proxy, on this machine or on another, has all kinds of clients behind it: its address is not counted. */
static bool is_counted(const struct relay *relay, const struct addr *from)
{
    return from->family != 0 && !addr_is_loopback(from) &&
           (relay->ops.is_proxy == NULL || !relay->ops.is_proxy(relay->ops.ctx, from));
}

/* Same address, or same /64. */
static bool is_neighbour_of(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && addr_in_prefix(a, b, b->family == 6 ? 64 : 32);
}

/* The oldest login of this worker; with `from`, of that address. Null: none. */
static struct client *oldest_login(const struct relay_worker *w, const struct addr *from)
{
    LIST_EACH (it, &w->logins) {
        struct client *c = LIST_ENTRY(it, struct client, in_logins);
        if (from == NULL || is_neighbour_of(&c->endpoint.stream->peer, from))
            return c;
    }
    return NULL;
}

bool places_take(struct relay_worker *w, const struct addr *from, struct budget_place *out, struct client **oldest_out)
{
    const struct addr *counted = is_counted(w->relay, from) ? from : NULL;
    enum budget_answer answer = budget_place_take(w->places, counted, out);
    *oldest_out = answer == BUDGET_OK ? NULL : oldest_login(w, answer == BUDGET_ADDRESS_FULL ? counted : NULL);
    return answer == BUDGET_OK;
}

static bool enter_as_guest(struct client *c)
{
    struct relay *relay = c->worker->relay;
    const struct addr *from = &c->endpoint.stream->peer;
    struct budget_place place;
    if (budget_place_take(relay->guests, is_counted(relay, from) ? from : NULL, &place) != BUDGET_OK)
        return false;
    budget_place_leave(&c->place);
    c->place = place;
    return true;
}

bool places_enter(struct client *c)
{
    struct relay *relay = c->worker->relay;
    bool is_in = atomic_fetch_add(&relay->member_n, 1) < relay->opts.max_conns;
    if (is_in && c->is_guest)
        is_in = enter_as_guest(c);
    else if (is_in) /* the directory bounds the connections of a key: here all keys are one holder */
        is_in = budget_place_know(&c->place, "", 0) == BUDGET_OK;
    if (is_in)
        list_remove(&c->in_logins);
    else
        atomic_fetch_sub(&relay->member_n, 1);
    return is_in;
}

void places_leave(struct client *c, bool is_in)
{
    if (is_in)
        atomic_fetch_sub(&c->worker->relay->member_n, 1);
    else
        list_remove(&c->in_logins);
    budget_place_leave(&c->place);
}
