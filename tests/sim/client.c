/* Applies messages to what a client knows. */
#include "sim/client_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/vec.h"

/* --- applying messages --- */

static size_t peer_place(const struct client *c, uint32_t id)
{
    size_t low = 0, high = c->peer_n;
    if (high > 0 && c->peers[high - 1].id < id)
        return high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->peers[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

look_id client_peer(const struct client *c, node_id id)
{
    size_t at = peer_place(c, (uint32_t)id);
    return at < c->peer_n && c->peers[at].id == id ? c->peers[at].look : 0;
}

static void set_peer(struct client *c, size_t at, const struct op *op)
{
    assert_true(op->id != c->id); /* no node gets itself as a peer */
    if (at < c->peer_n && c->peers[at].id == op->id) {
        c->peers[at].look = op->look;
        return;
    }
    VEC_ROOM(c->peers, c->peer_n, c->peer_cap, 32);
    memmove(&c->peers[at + 1], &c->peers[at], (c->peer_n - at) * sizeof(c->peers[0]));
    c->peers[at] = (struct client_peer){op->id, op->look};
    c->peer_n++;
}

static void patch_peer(struct client_peer *p, const struct patch *patch)
{
    struct look look = *look_of(p->look);
    for (uint32_t mask = patch->mask; mask != 0; mask &= mask - 1) {
        unsigned f = (unsigned)__builtin_ctz(mask);
        look.f[f] = patch->look.f[f];
    }
    p->look = look_number(&look);
}

static void do_op(struct client *c, const struct message *t, const struct op *op)
{
    size_t at = peer_place(c, op->id);
    bool is_there = at < c->peer_n && c->peers[at].id == op->id;
    client_counts.peer_ops++;
    if (op->kind == OP_SET) {
        set_peer(c, at, op);
    } else if (!is_there) {
        client_counts.idle_patches += op->kind == OP_PATCH;
        client_counts.idle_removals += op->kind == OP_REMOVE;
    } else if (op->kind == OP_PATCH) {
        patch_peer(&c->peers[at], &t->patches[op->patch]);
    } else {
        c->peer_n--;
        memmove(&c->peers[at], &c->peers[at + 1], (c->peer_n - at) * sizeof(c->peers[0]));
    }
}

static void do_ops(struct client *c, const struct message *t)
{
    for (size_t i = 0; i < t->op_n; i++)
        do_op(c, t, &t->ops[i]);
}

/* Profiles come before or with the first node that refers to them. src: docs/protocol/control.md 6.7 */
static void check_owners(const struct client *c, const struct message *t)
{
    uint64_t last = 0;
    for (size_t i = 0; i < t->op_n; i++) {
        const struct op *op = &t->ops[i];
        if (op->kind != OP_SET || op->user == last)
            continue;
        last = op->user;
        if (client_profile(c, op->user) == 0)
            fail_msg("node %u got a node of user %u before that user's profile", (unsigned)c->id, (unsigned)op->user);
    }
}

static void replace(text_id *at, text_id message)
{
    if (message != 0)
        *at = message;
}

static void do_rest(struct client *c, const struct message *t)
{
    if (t->self != 0) {
        assert_int_equal(t->self_id, c->id);
        c->self = t->self;
    }
    replace(&c->derp_map, t->derp_map);
    replace(&c->dns, t->dns);
    replace(&c->ssh, t->ssh);
    replace(&c->domain, t->domain);
    if (t->profiles != 0)
        c->profiles = profiles_merge(c->profiles, t->profiles);
    if (t->filter != NULL) {
        rcbuf_unref(&c->filter);
        c->filter = rcbuf_ref(t->filter);
    }
}

static void do_message(struct client *c, const struct message *t)
{
    client_counts.messages++;
    if (t->is_all_peers)
        c->peer_n = 0;
    do_ops(c, t);
    do_rest(c, t);
    check_owners(c, t);
}

/* --- streams --- */

static void take_whole(struct client *c, struct rcbuf *b)
{
    bool is_kept;
    struct read_bytes *r = read_get(b, c->coding, true, &is_kept);
    for (size_t i = 0; i < r->message_n; i++)
        do_message(c, &r->message[i]);
    if (!is_kept)
        read_destroy(r);
}

/* One message from several pieces, put together as they come from the wire. */
static void take_joined(struct client *c, struct rcbuf *const *items, size_t n, size_t bytes)
{
    struct rcbuf *whole = rcbuf_create(NULL, bytes);
    size_t pos = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(whole->data + pos, items[i]->data, items[i]->len);
        pos += items[i]->len;
    }
    assert_true(read_is_whole(whole));
    take_whole(c, whole);
    rcbuf_unref(&whole);
}

/* The pieces after the head: lists of peers with commas between, and the end. False, and nothing done: they are not. */
static bool take_lists(struct client *c, struct rcbuf *const *items, size_t n)
{
    bool is_good = true;
    c->peer_n = 0;
    for (size_t i = 0; is_good && i < n; i++) {
        bool is_kept;
        struct read_bytes *r = read_get(items[i], c->coding, false, &is_kept);
        is_good = i % 2 == 0 ? r->is_list : r->glue == (i + 1 == n ? ']' : ',');
        if (is_good && r->is_list) {
            uint32_t last = c->peer_n > 0 ? c->peers[c->peer_n - 1].id : 0;
            assert_true(r->message[0].ops[0].id > last); /* ascending */
            do_ops(c, &r->message[0]);
        }
        if (!is_kept)
            read_destroy(r);
    }
    return is_good && n % 2 == 0;
}

/* A message of several pieces. The same as take_joined, but what is shared is read once. */
static void take_full(struct client *c, struct rcbuf *const *items, size_t n, size_t bytes)
{
    static struct buf text;
    static const struct str open = STR(",\"Peers\":[");
    struct message head = {0};
    client_counts.full_maps++;
    message_decode(c->coding, str_n(items[0]->data + 4, items[0]->len - 4), &text);
    bool is_open = str_ends(buf_str(&text), open);
    if (client_counts.full_maps % 64 == 0 || !is_open || !take_lists(c, items + 1, n - 1)) {
        take_joined(c, items, n, bytes);
        return;
    }
    text.end -= open.len;
    buf_append_byte(&text, '}');
    message_read(&head, buf_str(&text));
    do_message(c, &head);
    message_fini(&head);
    buf_reset(&text, 1 << 20);
}

/* How many of the pieces make the message that begins with the first. */
static size_t count_pieces(const struct netmap_pieces *p, size_t first, size_t *bytes_out)
{
    assert_true(p->items[first]->len >= 4);
    size_t want = 4 + message_length_at(p->items[first]->data), have = 0, n = 0;
    while (have < want) {
        assert_true(first + n < p->n);
        have += p->items[first + n++]->len;
    }
    assert_int_equal(have, want);
    *bytes_out = have;
    return n;
}

void client_take(struct client *c, struct netmap_pieces *p)
{
    size_t total = 0, bytes;
    for (size_t i = 0; i < p->n; i++)
        total += p->items[i]->len;
    assert_int_equal(total, p->bytes);
    for (size_t i = 0; i < p->n;) {
        if (read_find(p->items[i]) != NULL || read_is_whole(p->items[i])) {
            take_whole(c, p->items[i++]);
            continue;
        }
        size_t n = count_pieces(p, i, &bytes);
        take_full(c, p->items + i, n, bytes);
        i += n;
    }
    netmap_pieces_clear(p);
}

void client_clear(struct client *c)
{
    mem_free(c->peers);
    rcbuf_unref(&c->filter);
    *c = (struct client){.id = c->id, .key = c->key, .coding = c->coding};
}
