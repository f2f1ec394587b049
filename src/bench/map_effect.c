#include "bench/map_effect.h"

#include "base/mem.h"

void map_effect_builder_fini(struct map_effect_builder *b)
{
    buf_fini(&b->ops);
    buf_fini(&b->marks);
}

void map_effect_builder_clear(struct map_effect_builder *b)
{
    buf_clear(&b->ops);
    buf_clear(&b->marks);
    b->has_unknown = false;
    b->self_id = -1;
    memset(b->self_addresses, 0, sizeof(b->self_addresses));
}

/* Joins one of the latest operations if that has the same kind and word: neighbours in a document are mostly
 * neighbours in the roster. */
static void add_op(struct map_effect_builder *b, enum map_effect_kind kind, unsigned index, bool with_endpoints)
{
    struct map_effect_op op = {.kind = kind, .word = index / 64, .peers = UINT64_C(1) << index % 64};
    op.endpoints = with_endpoints ? op.peers : 0;
    size_t n = buf_len(&b->ops) / sizeof(op);
    struct map_effect_op *ops = (struct map_effect_op *)b->ops.data;
    for (size_t i = n, tries = 8; i > 0 && tries > 0 && ops[i - 1].kind == (uint32_t)kind; i--, tries--) {
        if (ops[i - 1].word == op.word) {
            ops[i - 1].peers |= op.peers;
            ops[i - 1].endpoints |= op.endpoints;
            return;
        }
    }
    buf_append(&b->ops, &op, sizeof(op));
}

static void add_mark(struct map_effect_builder *b, const struct scan_record *r, unsigned index, bool is_patch)
{
    struct map_effect_mark m = {.index = index,
                                .endpoints = r->endpoints,
                                .endpoints_mark = r->endpoints_mark,
                                .hostinfo_mark = r->hostinfo_mark,
                                .derp = (uint16_t)r->derp};
    unsigned flags = 0;
    flags |= is_patch ? MAP_EFFECT_IS_PATCH : 0;
    flags |= r->has_endpoints ? MAP_EFFECT_HAS_ENDPOINTS : 0;
    flags |= r->has_hostinfo ? MAP_EFFECT_HAS_HOSTINFO : 0;
    flags |= r->derp != 0 ? MAP_EFFECT_HAS_DERP : 0;
    flags |= r->online != 0 ? MAP_EFFECT_HAS_ONLINE : 0;
    flags |= r->online == 2 ? MAP_EFFECT_IS_ONLINE : 0;
    m.flags = (uint16_t)flags;
    buf_append(&b->marks, &m, sizeof(m));
}

static void on_self(void *ctx, const struct scan_record *r)
{
    struct map_effect_builder *b = ctx;
    (void)roster_find(b->roster, r->id, str_n(r->key, r->key_n), false);
    b->self_id = r->id;
    memcpy(b->self_addresses, r->addresses, sizeof(b->self_addresses));
}

static void on_peer(void *ctx, const struct scan_record *r, bool replaces)
{
    struct map_effect_builder *b = ctx;
    int index = roster_find(b->roster, r->id, str_n(r->key, r->key_n), true);
    if (replaces)
        buf_append(&b->ops, &(struct map_effect_op){.kind = MAP_EFFECT_REPLACE}, sizeof(struct map_effect_op));
    add_op(b, MAP_EFFECT_ADD, (unsigned)index, r->endpoint_n > 0);
    if ((unsigned)index < b->roster->n)
        add_mark(b, r, (unsigned)index, false);
    if (b->look != NULL)
        b->look(b->look_ctx, r, index, false);
}

/* Patches of unknown nodes are ignored, as by the real client. */
static void on_patch(void *ctx, const struct scan_record *r)
{
    struct map_effect_builder *b = ctx;
    int index = roster_find(b->roster, r->id, STR_EMPTY, false);
    b->has_unknown |= index < 0;
    if (index < 0)
        return;
    if (r->endpoint_n > 0)
        add_op(b, MAP_EFFECT_PATCH, (unsigned)index, true);
    if ((unsigned)index < b->roster->n)
        add_mark(b, r, (unsigned)index, true);
    if (b->look != NULL)
        b->look(b->look_ctx, r, index, true);
}

static void on_removed(void *ctx, int64_t id)
{
    struct map_effect_builder *b = ctx;
    int index = roster_find(b->roster, id, STR_EMPTY, false);
    b->has_unknown |= index < 0;
    if (index >= 0)
        add_op(b, MAP_EFFECT_REMOVE, (unsigned)index, false);
}

const struct scan_events map_effect_builder_events = {on_self, on_peer, on_patch, on_removed};

struct map_effect *map_effect_build(const struct map_effect_builder *b)
{
    size_t ops = buf_len(&b->ops), marks = buf_len(&b->marks);
    struct map_effect *s = mem_zalloc(1, sizeof(*s) + ops + marks);
    s->self_id = b->self_id;
    memcpy(s->self_addresses, b->self_addresses, sizeof(s->self_addresses));
    s->op_n = (uint32_t)(ops / sizeof(struct map_effect_op));
    s->mark_n = (uint32_t)(marks / sizeof(struct map_effect_mark));
    s->ops = (struct map_effect_op *)(s + 1);
    s->marks = (struct map_effect_mark *)(s->ops + s->op_n);
    if (ops > 0)
        memcpy(s->ops, buf_at(&b->ops), ops);
    if (marks > 0)
        memcpy(s->marks, buf_at(&b->marks), marks);
    return s;
}

size_t map_effect_bytes(const struct map_effect *s)
{
    return sizeof(*s) + s->op_n * sizeof(struct map_effect_op) + s->mark_n * sizeof(struct map_effect_mark);
}
