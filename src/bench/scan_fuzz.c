/* The body of a map poll from any bytes; and the document in any two pieces. */
#include <stdlib.h>

#include "base/bits.h"
#include "base/fuzz_bounds.h"
#include "bench/map_stream.h"
#include "bench/view.h"

enum { MEMBERS = 4 };

struct target {
    struct roster roster;
    struct frame_cache frames;
    struct view view;
    struct view_class class;
    size_t read_bytes; /* that came out of frames */
    uint64_t visible[BITS_WORDS(MEMBERS) + ROSTER_FOREIGN_MAX / 64];
};

static void on_piece(void *ctx, const struct map_effect *s)
{
    struct target *t = ctx;
    view_apply(&t->view, s, &t->class, MEMBERS);
    t->read_bytes += s->json_bytes;
}

static enum rc on_message(void *ctx, const struct map_stream *in)
{
    (void)ctx;
    (void)in;
    return RC_OK;
}

static void target_init(struct target *t)
{
    static const char *const keys[MEMBERS] = {"nodekey:0", "nodekey:1", "nodekey:2", "nodekey:3"};
    roster_init(&t->roster, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i++)
        roster_add_key(&t->roster, str_c(keys[i]), i);
    frame_cache_init(&t->frames, &t->roster, NULL, NULL);
    view_init(&t->view, 0, MEMBERS, true);
    t->visible[0] = 7;
    t->class = (struct view_class){t->visible, 2};
}

static void read_body(struct target *t, const uint8_t *data, size_t size, size_t piece)
{
    static const struct map_stream_events events = {on_piece, on_message};
    struct map_stream in = {0};
    enum rc rc = RC_OK;
    for (size_t i = 0; i < size && rc == RC_OK; i += piece)
        rc = map_stream_feed(&in, &t->frames, data + i, size - i < piece ? size - i : piece, &events, t);
    t->read_bytes += buf_len(&t->frames.content); /* of a frame that could not be read */
    map_stream_fini(&in);
}

static void ignore_record(void *ctx, const struct scan_record *r)
{
    *(uint32_t *)ctx += r->endpoints + (uint32_t)r->id;
}

static void ignore_peer(void *ctx, const struct scan_record *r, bool replaces)
{
    ignore_record(ctx, r);
    *(uint32_t *)ctx += replaces;
}

static void ignore_id(void *ctx, int64_t id)
{
    *(uint32_t *)ctx += (uint32_t)id;
}

static enum rc scan_two(const uint8_t *data, size_t size, size_t cut, uint32_t *sum)
{
    static const struct scan_events events = {ignore_record, ignore_peer, ignore_record, ignore_id};
    struct scan s = {0};
    TRY(scan_feed(&s, data, cut, &events, sum));
    TRY(scan_feed(&s, data + cut, size - cut, &events, sum));
    return scan_is_done(&s) ? RC_OK : RC_TRUNCATED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t whole = 0, cut = 0;
    if (size == 0)
        return 0;
    fuzz_bounds_mark();
    struct target *t = calloc(1, sizeof(*t));
    target_init(t);
    read_body(t, data + 1, size - 1, size);
    read_body(t, data + 1, size - 1, 1 + data[0]); /* from the cache */
    enum rc one = scan_two(data + 1, size - 1, 0, &whole);
    enum rc two = scan_two(data + 1, size - 1, (size - 1) * data[0] / 255, &cut);
    if (one != two || (one == RC_OK && whole != cut))
        abort();
    size_t read_bytes = t->read_bytes;
    view_fini(&t->view);
    frame_cache_fini(&t->frames);
    roster_fini(&t->roster);
    free(t);
    /* A table of a million ids, with what it grew from; four bytes of a frame stand for 128 KiB. */
    fuzz_bounds_check(size, 16 << 20, 128 << 10);
    fuzz_bounds_check_steps(100 * size + read_bytes, 4000000, 200);
    return 0;
}
