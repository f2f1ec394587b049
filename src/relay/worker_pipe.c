/* A record in a batch is: id of the connection or link (8 bytes), source key (32), length of the packet (4),
 * destination key (32, only for a link), packet. Numbers are in the order of this machine. */
#include "relay/worker_pipe_internal.h"

#include <string.h>

#include "base/fits.h"
#include "base/mem.h"
#include "relay/relay_internal.h"

enum { RECORD_BYTES = 8 + KEY_BYTES + 4 };
_Static_assert(PIPE_BATCH_BYTES >= RECORD_BYTES + KEY_BYTES + DERP_PACKET_MAX_BYTES, "the largest packet fits");

/* The memory of a batch. Short iterations make small batches, so bytes are counted, not batches. */
static size_t batch_bytes(const struct pipe_batch *b)
{
    return sizeof(*b) + b->len;
}

/* On the receiver's thread. The sender always takes the whole stack, so a push needs no more than this. */
static void give_back(struct pipe_batch *b)
{
    struct relay_worker *from = b->from;
    atomic_fetch_sub_explicit(&from->pipes.to[b->to->index].in_flight, batch_bytes(b), memory_order_relaxed);
    struct pipe_batch *head = atomic_load_explicit(&from->pipes.returned, memory_order_relaxed);
    do {
        b->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&from->pipes.returned, &head, b, memory_order_release,
                                                    memory_order_relaxed));
}

static void run_batch(struct loop *loop, struct loop_msg *msg)
{
    struct pipe_batch *b = CONTAINER_OF(msg, struct pipe_batch, msg);
    (void)loop;
    b->to->relay->on_batch(b->to, b);
    give_back(b);
}

static void batch_free(struct pipe_batch *b)
{
    list_remove(&b->link);
    mem_free(b->data);
    mem_free(b);
}

/* Moves what the receivers returned to the free list, which stays short. */
static void collect(struct worker_pipes *pipes)
{
    struct pipe_batch *b = atomic_exchange_explicit(&pipes->returned, NULL, memory_order_acquire);
    while (b != NULL) {
        struct pipe_batch *next = b->next;
        if (fits(pipes->free_bytes, b->cap, PIPE_FREE_MAX_BYTES)) {
            b->next = pipes->free;
            pipes->free = b;
            pipes->free_bytes += b->cap;
        } else {
            batch_free(b);
        }
        b = next;
    }
}

static struct pipe_batch *batch_take(struct relay_worker *w)
{
    struct worker_pipes *pipes = &w->pipes;
    if (pipes->free == NULL)
        collect(pipes);
    struct pipe_batch *b = pipes->free;
    if (b != NULL) {
        pipes->free = b->next;
        pipes->free_bytes -= b->cap;
        return b;
    }
    b = MEM_NEW(struct pipe_batch);
    b->from = w;
    b->msg.run = run_batch;
    list_push_back(&pipes->batches, &b->link);
    return b;
}

static void post(struct relay_worker *w, unsigned to)
{
    struct worker_pipe *pipe = &w->pipes.to[to];
    struct pipe_batch *b = pipe->open;
    if (b == NULL)
        return;
    pipe->open = NULL;
    atomic_fetch_add_explicit(&pipe->in_flight, batch_bytes(b), memory_order_relaxed);
    loop_post(w->relay->workers[to].loop, &b->msg);
}

void worker_pipes_init(struct relay_worker *w)
{
    w->pipes.to = mem_zalloc(w->relay->worker_n, sizeof(*w->pipes.to));
    list_init(&w->pipes.batches);
}

void worker_pipes_post(struct relay_worker *w)
{
    for (unsigned i = 0; i < w->relay->worker_n; i++)
        post(w, i);
}

void worker_pipes_fini(struct relay_worker *w)
{
    LIST_EACH_SAFE (it, &w->pipes.batches)
        batch_free(LIST_ENTRY(it, struct pipe_batch, link));
    mem_free(w->pipes.to);
}

static void batch_reserve(struct pipe_batch *b, size_t n)
{
    if (fits(b->len, n, b->cap))
        return;
    size_t cap = b->cap < 4096 ? 4096 : b->cap;
    while (cap < b->len + n)
        cap *= 2;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
}

/* The batch to `to`, with room for a record of `n` bytes. Null: too much is under way. */
static struct pipe_batch *make_room(struct relay_worker *w, unsigned to, size_t n)
{
    struct worker_pipe *pipe = &w->pipes.to[to];
    if (pipe->open != NULL && !fits(pipe->open->len, n, PIPE_BATCH_BYTES))
        post(w, to);
    if (pipe->open == NULL) {
        if (atomic_load_explicit(&pipe->in_flight, memory_order_relaxed) >= PIPE_IN_FLIGHT_MAX_BYTES)
            return NULL;
        pipe->open = batch_take(w);
        pipe->open->to = &w->relay->workers[to];
        pipe->open->len = 0;
    }
    batch_reserve(pipe->open, n);
    return pipe->open;
}

bool worker_pipe_append(struct relay_worker *w, unsigned to, uint64_t id, const struct packet *p)
{
    bool is_for_link = is_mesh_link_id(id);
    size_t head_len = RECORD_BYTES + (is_for_link ? KEY_BYTES : 0);
    struct pipe_batch *b = make_room(w, to, head_len + p->n);
    if (b == NULL)
        return false;
    uint8_t *at = b->data + b->len;
    uint32_t len = (uint32_t)p->n;
    memcpy(at, &id, sizeof(id));
    memcpy(at + 8, p->src->b, KEY_BYTES);
    memcpy(at + 8 + KEY_BYTES, &len, sizeof(len));
    if (is_for_link)
        memcpy(at + RECORD_BYTES, p->dst->b, KEY_BYTES);
    if (p->n > 0)
        memcpy(at + head_len, p->bytes, p->n);
    b->len += head_len + p->n;
    return true;
}

bool pipe_batch_next(const struct pipe_batch *b, size_t *at, uint64_t *id_out, struct packet *out)
{
    uint32_t len;
    if (*at >= b->len)
        return false;
    const uint8_t *record = b->data + *at, *bytes = record + RECORD_BYTES;
    memcpy(id_out, record, sizeof(*id_out));
    memcpy(&len, record + 8 + KEY_BYTES, sizeof(len));
    const node_key *dst = NULL;
    if (is_mesh_link_id(*id_out)) {
        dst = (const node_key *)bytes;
        bytes += KEY_BYTES;
    }
    *out = packet_of((const node_key *)(record + 8), dst, bytes, len);
    *at = (size_t)(bytes - b->data) + len;
    return true;
}
