/* Reads messages, once for each buffer, into the changes that a client has to make. */
#include "sim/client_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

enum { MESSAGE_MAX = 256 << 20 };

struct client_counts client_counts;

static struct zstd_ctx zstd;

static struct map read_before; /* by address: struct read_bytes */
static bool has_read_before;
void message_fini(struct message *t)
{
    mem_free(t->ops);
    mem_free(t->patches);
    rcbuf_unref(&t->filter);
}

void read_destroy(struct read_bytes *r)
{
    for (size_t i = 0; i < r->message_n; i++)
        message_fini(&r->message[i]);
    mem_free(r->message);
    rcbuf_unref(&r->bytes);
    mem_free(r);
}

static void add_op(struct message *t, struct op op)
{
    VEC_ROOM(t->ops, t->op_n, t->op_cap, 8);
    t->ops[t->op_n++] = op;
}

static struct message *add_message(struct read_bytes *r)
{
    VEC_ROOM(r->message, r->message_n, r->message_cap, 1);
    r->message[r->message_n] = (struct message){0};
    return &r->message[r->message_n++];
}

void message_decode(enum netmap_coding coding, struct str bytes, struct buf *out)
{
    buf_clear(out);
    if (coding == NETMAP_PLAIN)
        buf_append_str(out, bytes);
    else if (zstd_decompress(&zstd, bytes.p, bytes.len, MESSAGE_MAX, out) != RC_OK)
        fail_msg("%zu bytes are no zstd frames", bytes.len);
}

static const struct json *parse(struct arena *a, struct str text)
{
    const struct json *root;
    struct err err;
    if (json_parse(a, text, &json_limits_trusted, &root, &err) != RC_OK)
        fail_msg("%s in %.*s", err.text, (int)(text.len < 2000 ? text.len : 2000), text.p);
    return root;
}

/* --- peers --- */

static void skip_string(struct str s, size_t *pos)
{
    bool is_escaped = true;
    while (is_escaped) {
        const char *from = s.p + *pos + 1, *quote = memchr(from, '"', s.len - *pos - 1);
        assert_non_null(quote);
        is_escaped = false;
        for (const char *p = quote; p > from && p[-1] == '\\'; p--)
            is_escaped = !is_escaped;
        *pos = (size_t)(quote - s.p);
    }
    ++*pos;
}

/* To the comma or bracket behind the value. */
static void skip_value(struct str s, size_t *pos)
{
    unsigned depth = 0;
    for (; *pos < s.len; ++*pos) {
        char c = s.p[*pos];
        while (c == '"') {
            skip_string(s, pos);
            c = *pos < s.len ? s.p[*pos] : '\0';
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            return;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
    }
    fail_msg("a message ends early");
}

/* A node of a message, read once: many messages have the same node in the same bytes. */
struct known_node {
    look_id look;
    uint32_t id;
    uint64_t user;
};

static struct known_node *known_nodes; /* heap; by the number of its text */
static size_t known_cap;

static struct known_node read_node(struct str text)
{
    text_id number = text_number(text);
    if (number >= known_cap) {
        size_t cap = number * 2;
        known_nodes = mem_realloc_array(known_nodes, cap, sizeof(*known_nodes));
        memset(known_nodes + known_cap, 0, (cap - known_cap) * sizeof(*known_nodes));
        known_cap = cap;
    }
    if (known_nodes[number].look == 0) {
        struct arena a = {0};
        struct look look;
        uint64_t id, user;
        look_read(parse(&a, text), &look, &id, &user);
        known_nodes[number] = (struct known_node){look_number(&look), (uint32_t)id, user};
        arena_fini(&a);
    }
    return known_nodes[number];
}

/* An array of nodes, from its bracket on. */
static void read_peers(struct message *t, struct str list)
{
    size_t pos = 0;
    assert_true(list.len > 2 && list.p[0] == '['); /* [] means different things to clients */
    while (list.p[pos] != ']') {
        size_t at = ++pos;
        skip_value(list, &pos);
        struct known_node n = read_node(str_n(list.p + at, pos - at));
        add_op(t, (struct op){.kind = OP_SET, .id = n.id, .look = n.look, .user = n.user});
    }
    assert_int_equal(pos + 1, list.len);
}

static void read_removed(struct message *t, const struct json *list)
{
    JSON_EACH (it, list) {
        uint64_t id;
        assert_true(json_u64(it, &id));
        add_op(t, (struct op){.kind = OP_REMOVE, .id = (uint32_t)id});
    }
}

static void patch_field(struct patch *p, enum look_field f, const struct json *value)
{
    if (value == NULL)
        return;
    p->mask |= 1u << f;
    p->look.f[f] = look_value(f, value);
}

/* src: docs/protocol/control.md 6.8 */
static void read_patch(struct message *t, const struct json *change)
{
    uint64_t id;
    struct patch p = {0};
    size_t known = 1;
    static const struct {
        const char *name;
        enum look_field field;
    } members[] = {{"DERPRegion", LOOK_HOME_DERP},
                   {"Cap", LOOK_CAP},
                   {"Endpoints", LOOK_ENDPOINTS},
                   {"DiscoKey", LOOK_DISCO},
                   {"Online", LOOK_ONLINE},
                   {"LastSeen", LOOK_LAST_SEEN},
                   {"Key", LOOK_KEY},
                   {"KeyExpiry", LOOK_KEY_EXPIRY},
                   {"CapMap", LOOK_CAPS}};
    assert_int_equal(json_type_of(change), JSON_OBJECT);
    assert_true(json_u64(json_get_exact(change, "NodeID"), &id));
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const struct json *value = json_get_exact(change, members[i].name);
        known += value != NULL;
        patch_field(&p, members[i].field, value);
    }
    assert_int_equal(known, json_len(change)); /* whatever else there may be is not simulated */
    /* Clients 1.98 to 1.103 may discard it. */
    bool is_online = true;
    if (json_bool(json_get_exact(change, "Online"), &is_online) && !is_online)
        assert_null(json_get_exact(change, "DiscoKey"));
    if (json_get_exact(change, "Online") != NULL && is_online)
        p.mask |= 1u << LOOK_LAST_SEEN; /* only message of those offline */
    VEC_ROOM(t->patches, t->patch_n, t->patch_cap, 8);
    add_op(t, (struct op){.kind = OP_PATCH, .id = (uint32_t)id, .patch = (uint32_t)t->patch_n});
    t->patches[t->patch_n++] = p;
}

/* --- profiles of users: a table of (user, text of the profile), ascending, as one numbered text --- */

struct profile {
    uint64_t user;
    text_id text;
    uint32_t zero;
};

static const struct profile *profiles_of(text_id table, size_t *n_out)
{
    struct str s = text_of(table);
    *n_out = s.len / sizeof(struct profile);
    return (const struct profile *)(const void *)s.p;
}

text_id profiles_merge(text_id table, text_id more)
{
    static struct {
        text_id table, more, made;
    } last;
    size_t a_n, b_n, i = 0, k = 0;
    const struct profile *a = profiles_of(table, &a_n), *b = profiles_of(more, &b_n);
    struct buf made = {0};
    if (table == last.table && more == last.more && last.made != 0)
        return last.made;
    while (i < a_n || k < b_n) {
        bool is_new = k < b_n && (i == a_n || b[k].user <= a[i].user);
        if (is_new && i < a_n && a[i].user == b[k].user)
            i++;
        buf_append(&made, is_new ? &b[k++] : &a[i++], sizeof(*a));
    }
    last.table = table;
    last.more = more;
    last.made = text_number(buf_str(&made));
    buf_fini(&made);
    return last.made;
}

static text_id read_profiles(struct str list)
{
    static text_id last_list, last_table;
    struct arena a = {0};
    text_id id = text_number(list), table = 0;
    if (id == last_list && last_table != 0)
        return last_table;
    JSON_EACH (it, parse(&a, list)) {
        struct profile p = {.text = text_number(json_raw(it))};
        assert_true(json_u64(json_get_exact(it, "ID"), &p.user));
        table = profiles_merge(table, text_number(str_n(&p, sizeof(p))));
    }
    arena_fini(&a);
    last_list = id;
    last_table = table;
    return table;
}

text_id client_profile(const struct client *c, uint64_t user)
{
    size_t low = 0, high;
    const struct profile *v = profiles_of(c->profiles, &high);
    size_t n = high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (v[mid].user < user)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && v[low].user == user ? v[low].text : 0;
}

/* --- reading a message --- */

/* The next member of an object, found without reading what is in it: most clients are message what others were
 * message. Start with *pos = 0; false at the end. */
static bool next_member(struct str s, size_t *pos, struct str *key, struct str *value)
{
    if (*pos == 0)
        assert_true(s.len >= 2 && s.p[0] == '{');
    if (s.p[*pos] == '}' || (*pos == 0 && s.p[1] == '}'))
        return false;
    size_t at = ++*pos;
    assert_true(s.p[at] == '"');
    skip_string(s, pos);
    *key = str_n(s.p + at + 1, *pos - at - 2);
    assert_true(s.p[*pos] == ':');
    at = ++*pos;
    skip_value(s, pos);
    *value = str_n(s.p + at, *pos - at);
    return true;
}

static void read_self(struct message *t, struct str value)
{
    struct arena a = {0};
    struct look look;
    uint64_t user;
    look_read(parse(&a, value), &look, &t->self_id, &user);
    assert_true(str_eq_c(text_of(look.f[LOOK_AUTHORIZED]), "true"));
    t->self = look_number(&look);
    arena_fini(&a);
}

static void read_filter(struct message *t, struct str value)
{
    struct str key, base;
    size_t pos = 0;
    while (next_member(value, &pos, &key, &base)) {
        assert_true(str_eq_c(key, "base") && base.p[0] == '['); /* null would mean: as before */
        rcbuf_unref(&t->filter);
        t->filter = rcbuf_create(base.p, base.len);
    }
}

static void read_list(struct message *t, struct str value, void (*read)(struct message *, const struct json *))
{
    struct arena a = {0};
    const struct json *list = parse(&a, value);
    assert_true(json_type_of(list) == JSON_ARRAY && json_len(list) > 0);
    read(t, list);
    arena_fini(&a);
}

static void read_patches(struct message *t, const struct json *list)
{
    JSON_EACH (it, list)
        read_patch(t, it);
}

static bool read_peers_member(struct message *t, struct str key, struct str value)
{
    if (str_eq_c(key, "Peers")) {
        t->is_all_peers = true;
        read_peers(t, value);
    } else if (str_eq_c(key, "PeersRemoved")) {
        read_list(t, value, read_removed);
    } else if (str_eq_c(key, "PeersChanged")) {
        read_peers(t, value);
    } else if (str_eq_c(key, "PeersChangedPatch")) {
        read_list(t, value, read_patches);
    } else {
        return false;
    }
    return true;
}

static bool is_ignored(struct str key)
{
    return str_eq_c(key, "CollectServices") || str_eq_c(key, "Debug") || str_eq_c(key, "ControlTime");
}

static void read_member(struct message *t, struct str key, struct str value)
{
    if (read_peers_member(t, key, value))
        return;
    if (str_eq_c(key, "Node"))
        read_self(t, value);
    else if (str_eq_c(key, "UserProfiles"))
        t->profiles = read_profiles(value);
    else if (str_eq_c(key, "PacketFilters"))
        read_filter(t, value);
    else if (str_eq_c(key, "SSHPolicy"))
        t->ssh = text_number(value);
    else if (str_eq_c(key, "DERPMap"))
        t->derp_map = text_number(value);
    else if (str_eq_c(key, "DNSConfig"))
        t->dns = text_number(value);
    else if (str_eq_c(key, "Domain"))
        t->domain = text_number(value);
    else if (!is_ignored(key))
        fail_msg("the simulation does not know what %.*s of a map is", STR_ARG(key));
}

static int op_rank(const struct op *op)
{
    return (int)op->kind;
}

void message_read(struct message *t, struct str text)
{
    struct str key, value;
    size_t pos = 0;
    while (next_member(text, &pos, &key, &value))
        read_member(t, key, value);
    assert_int_equal(pos + 1, text.len > 2 ? text.len : pos + 1);
    /* They are written in the order in which clients do them. */
    for (size_t i = 1; i < t->op_n; i++)
        assert_true(op_rank(&t->ops[i - 1]) <= op_rank(&t->ops[i]));
}

size_t message_length_at(const uint8_t *at)
{
    return (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
}

bool read_is_whole(const struct rcbuf *b)
{
    size_t pos = 0;
    while (b->len - pos >= 4 && message_length_at(b->data + pos) <= b->len - pos - 4)
        pos += 4 + message_length_at(b->data + pos);
    return pos == b->len;
}

/* --- reading buffers, once each --- */

struct read_bytes *read_find(const struct rcbuf *b)
{
    return has_read_before ? map_get(&read_before, &b, sizeof(b)) : NULL;
}

static void keep_read(struct read_bytes *r, struct rcbuf *b)
{
    if (!has_read_before)
        map_init(&read_before, NULL);
    has_read_before = true;
    r->bytes = rcbuf_ref(b);
    map_put(&read_before, &r->bytes, sizeof(struct rcbuf *), r);
}

static void read_whole(struct read_bytes *r, const struct rcbuf *b, enum netmap_coding coding)
{
    static struct buf text;
    for (size_t pos = 0; pos < b->len; pos += 4 + message_length_at(b->data + pos)) {
        size_t len = message_length_at(b->data + pos);
        assert_true(len > 0);
        message_decode(coding, str_n(b->data + pos + 4, len), &text);
        message_read(add_message(r), buf_str(&text));
    }
    buf_reset(&text, 1 << 20);
}

static void read_part(struct read_bytes *r, const struct rcbuf *b, enum netmap_coding coding)
{
    struct buf text = {0}, list = {0};
    message_decode(coding, str_n(b->data, b->len), &text);
    if (str_eq_c(buf_str(&text), ",") || str_eq_c(buf_str(&text), "]}")) {
        r->glue = *(const char *)buf_at(&text);
    } else if (buf_at(&text)[0] == '{') {
        r->is_list = true;
        buf_append_byte(&list, '[');
        buf_append_str(&list, buf_str(&text));
        buf_append_byte(&list, ']');
        read_peers(add_message(r), buf_str(&list));
    }
    buf_fini(&list);
    buf_fini(&text);
}

struct read_bytes *read_get(struct rcbuf *b, enum netmap_coding coding, bool whole, bool *is_kept_out)
{
    struct read_bytes *r = read_find(b);
    *is_kept_out = true;
    if (r != NULL) {
        client_counts.read_again++;
        return r;
    }
    client_counts.read_once++;
    r = MEM_NEW(struct read_bytes);
    if (whole)
        read_whole(r, b, coding);
    else
        read_part(r, b, coding);
    *is_kept_out = atomic_load_explicit(&b->refs, memory_order_relaxed) > 1;
    if (*is_kept_out)
        keep_read(r, b);
    return r;
}

void client_sweep(void)
{
    struct read_bytes **gone = NULL, *r;
    size_t n = 0, pos = 0;
    if (!has_read_before)
        return;
    gone = mem_zalloc(read_before.n + 1, sizeof(struct read_bytes *));
    while ((r = map_next(&read_before, &pos)) != NULL) {
        if (atomic_load_explicit(&r->bytes->refs, memory_order_relaxed) == 1)
            gone[n++] = r;
    }
    for (size_t i = 0; i < n; i++) {
        map_remove(&read_before, &gone[i]->bytes, sizeof(struct rcbuf *));
        read_destroy(gone[i]);
    }
    mem_free(gone);
}

void client_fini(void)
{
    struct read_bytes *r;
    size_t pos = 0;
    while (has_read_before && (r = map_next(&read_before, &pos)) != NULL)
        read_destroy(r);
    if (has_read_before)
        map_fini(&read_before);
    has_read_before = false;
    mem_free(known_nodes);
    known_nodes = NULL;
    known_cap = 0;
    zstd_ctx_fini(&zstd);
}
