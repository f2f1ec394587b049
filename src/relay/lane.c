/* Packets from worker to worker: copied into a batch, which is posted at the end of the turn (or when full) and given back
 * when the receiver has read it. A record is: connection id (8), source key (32), length (4), destination key (32, only when
 * the id is that of a mesh link), packet. */
#include <string.h>

#include "base/fits.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

enum { RECORD_BYTES = 8 + KEY_BYTES + 4 };
_Static_assert(LANE_BATCH_BYTES >= RECORD_BYTES + KEY_BYTES + DERP_PACKET_MAX_BYTES, "the largest packet fits");

/* What a batch costs. Turns are short and make small batches, so that bytes are counted and not batches. */
static size_t batch_bytes(const struct lane_batch *b)
{
    return sizeof(*b) + b->len;
}

/* Any thread: the sender takes the whole stack at once, so that pushing needs no more than this. */
static void give_back(struct lane_batch *b)
{
    struct relay_worker *from = b->from;
    atomic_fetch_sub_explicit(&from->lanes[b->to->index].in_flight, batch_bytes(b), memory_order_relaxed);
    struct lane_batch *head = atomic_load_explicit(&from->returned, memory_order_relaxed);
    do {
        b->next = head;
    } while (
        !atomic_compare_exchange_weak_explicit(&from->returned, &head, b, memory_order_release, memory_order_relaxed));
}

/* `record`: the destination key, and the packet behind it. */
static void deliver_to_link(struct relay_worker *w, uint64_t id, const node_key *src, const uint8_t *record, uint32_t n)
{
    struct mesh_link *l = mesh_link_find(w, id);
    node_key dst;
    memcpy(dst.b, record, KEY_BYTES);
    if (l != NULL)
        mesh_link_forward(l, src, &dst, record + KEY_BYTES, n);
    else
        stats_drop(&w->stats, DROP_GONE, derp_is_disco(record + KEY_BYTES, n), n);
}

static void deliver_batch(struct loop *loop, struct loop_msg *msg)
{
    (void)loop;
    struct lane_batch *b = CONTAINER_OF(msg, struct lane_batch, msg);
    struct relay_worker *w = b->to;
    for (size_t at = 0; at < b->len;) {
        uint64_t conn_id;
        uint32_t n;
        node_key src;
        memcpy(&conn_id, b->data + at, sizeof(conn_id));
        memcpy(src.b, b->data + at + 8, KEY_BYTES);
        memcpy(&n, b->data + at + 8 + KEY_BYTES, sizeof(n));
        const uint8_t *packet = b->data + at + RECORD_BYTES;
        at += RECORD_BYTES + n;
        if (is_mesh_link_id(conn_id)) {
            at += KEY_BYTES;
            deliver_to_link(w, conn_id, &src, packet, n);
            continue;
        }
        struct client *dst = map_get(&w->clients, &conn_id, sizeof(conn_id));
        struct peer *known = dst != NULL ? dst->last_source : NULL;
        if (dst == NULL)
            stats_drop(&w->stats, DROP_GONE, derp_is_disco(packet, n), n);
        else if (known != NULL && keys_equal(known->key.b, src.b))
            worker_deliver(w, dst, known, &src, packet, n);
        else
            worker_deliver(w, dst, worker_peer_get(w, &src), &src, packet, n);
    }
    worker_touch(w);
    give_back(b);
}

static void batch_free(struct lane_batch *b)
{
    list_remove(&b->entry);
    mem_free(b->data);
    mem_free(b);
}

/* Moves what the receivers gave back to the free list, which stays short. */
static void collect(struct relay_worker *w)
{
    struct lane_batch *b = atomic_exchange_explicit(&w->returned, NULL, memory_order_acquire);
    while (b != NULL) {
        struct lane_batch *next = b->next;
        if (w->free_bytes + b->cap <= LANE_FREE_MAX_BYTES) {
            b->next = w->free;
            w->free = b;
            w->free_bytes += b->cap;
        } else {
            batch_free(b);
        }
        b = next;
    }
}

static struct lane_batch *batch_take(struct relay_worker *w)
{
    if (w->free == NULL)
        collect(w);
    struct lane_batch *b = w->free;
    if (b != NULL) {
        w->free = b->next;
        w->free_bytes -= b->cap;
        return b;
    }
    b = MEM_NEW(struct lane_batch);
    b->from = w;
    b->msg.run = deliver_batch;
    list_push_back(&w->batches, &b->entry);
    return b;
}

static void lane_post(struct relay_worker *w, unsigned to)
{
    struct lane *lane = &w->lanes[to];
    struct lane_batch *b = lane->open;
    if (b == NULL)
        return;
    lane->open = NULL;
    atomic_fetch_add_explicit(&lane->in_flight, batch_bytes(b), memory_order_relaxed);
    loop_post(w->relay->workers[to].loop, &b->msg);
}

void lanes_post(struct relay_worker *w)
{
    for (unsigned i = 0; i < w->relay->worker_n; i++)
        lane_post(w, i);
}

void lanes_fini(struct relay_worker *w)
{
    LIST_EACH_SAFE (it, &w->batches)
        batch_free(LIST_ENTRY(it, struct lane_batch, entry));
    mem_free(w->lanes);
}

static void batch_reserve(struct lane_batch *b, size_t n)
{
    if (fits(b->len, n, b->cap))
        return;
    size_t cap = b->cap < 4096 ? 4096 : b->cap;
    while (cap < b->len + n)
        cap *= 2;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
}

static bool lane_make_room(struct relay_worker *w, unsigned to, size_t n)
{
    struct lane *lane = &w->lanes[to];
    if (lane->open != NULL && LANE_BATCH_BYTES - lane->open->len < n)
        lane_post(w, to);
    if (lane->open == NULL) {
        if (atomic_load_explicit(&lane->in_flight, memory_order_relaxed) >= LANE_IN_FLIGHT_MAX_BYTES)
            return false;
        lane->open = batch_take(w);
        lane->open->to = &w->relay->workers[to];
        lane->open->len = 0;
    }
    batch_reserve(lane->open, n);
    return true;
}

bool lane_append(struct relay_worker *w, unsigned to, uint64_t conn_id, const node_key *src, const node_key *dst,
                 const uint8_t *packet, size_t n)
{
    size_t head_len = RECORD_BYTES + (dst != NULL ? KEY_BYTES : 0);
    if (!lane_make_room(w, to, head_len + n))
        return false;
    struct lane_batch *b = w->lanes[to].open;
    uint8_t *p = b->data + b->len;
    uint32_t len = (uint32_t)n;
    memcpy(p, &conn_id, sizeof(conn_id));
    memcpy(p + 8, src->b, KEY_BYTES);
    memcpy(p + 8 + KEY_BYTES, &len, sizeof(len));
    if (dst != NULL)
        memcpy(p + RECORD_BYTES, dst->b, KEY_BYTES);
    if (n > 0)
        memcpy(p + head_len, packet, n);
    b->len += head_len + n;
    return true;
}
