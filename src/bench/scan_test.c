/* The scanner, the effects of map responses, and the cache of frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bench/map_stream.h"
#include "support/test_random.h"

enum { MEMBERS = 100 };

static struct test_random random_state = {1};

static uint32_t random_below(uint32_t n)
{
    return test_random_below(&random_state, n);
}

/* All events of a scanner, as text. */
static void note_record(struct buf *out, const char *what, const struct scan_record *r)
{
    buf_printf(out,
               "%s %lld key=%.*s eps=%d/%u/%x/%u host=%d/%u/%x derp=%u online=%u addr=%u allowed=%u name=%d%d%d%d;",
               what, (long long)r->id, r->key_n, r->key, r->has_endpoints, r->endpoint_n, r->endpoints,
               r->endpoints_mark, r->has_hostinfo, r->hostinfo_mark, r->hostinfo_os, r->derp, r->online, r->address_n,
               r->allowed_n, r->has_name, r->has_stable_id, r->has_user, r->is_refused);
}

static void on_self(void *ctx, const struct scan_record *r)
{
    note_record(ctx, "self", r);
}

static void on_peer(void *ctx, const struct scan_record *r, bool replaces)
{
    note_record(ctx, replaces ? "first" : "peer", r);
}

static void on_patch(void *ctx, const struct scan_record *r)
{
    note_record(ctx, "patch", r);
}

static void on_removed(void *ctx, int64_t id)
{
    buf_printf(ctx, "removed %lld;", (long long)id);
}

static const struct scan_events notes = {on_self, on_peer, on_patch, on_removed};

static enum rc scan_in_pieces(const char *text, size_t piece, struct scan *s, struct buf *out)
{
    size_t n = strlen(text);
    *s = (struct scan){0};
    for (size_t i = 0; i < n; i += piece)
        TRY(scan_feed(s, text + i, n - i < piece ? n - i : piece, &notes, out));
    return scan_is_done(s) ? RC_OK : RC_TRUNCATED;
}

static const char document[] =
    "{\"Node\":{\"ID\":7,\"Key\":\"nodekey:77\",\"Addresses\":[\"100.64.0.7/32\"]},"
    "\"DERPMap\":{\"Peers\":[{\"ID\":9}]},"
    "\"Peers\":[{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"a\\\"\\u00e4.\",\"User\":12,\"Key\":\"nodekey:11\","
    "\"Machine\":\"mkey:1\","
    "\"DiscoKey\":\"discokey:1\",\"Addresses\":[\"100.64.0.1/32\",\"fd7a::1/128\"],\"AllowedIPs\":[\"100.64.0.1/32\"],"
    "\"Endpoints\":[\"10.0.1.2:40000\",\"192.168.0.1:41641\"],\"HomeDERP\":999,\"Online\":true,"
    "\"MachineAuthorized\":true,"
    "\"Hostinfo\":{\"OS\":\"linux\",\"OSVersion\":\"lgmark77\",\"X\":{\"OS\":[1,-2.5e+3,null]}}},\n"
    " {\"ID\":2,\"Key\":null,\"Endpoints\":[]}],\"PeersChanged\":[{\"NodeID\":3}],\"PeersRemoved\":[4,5],"
    "\"PeersChangedPatch\":[{\"NodeID\":1,\"Endpoints\":[\"10.0.0.9:1\"],\"DERPRegion\":3,\"Online\":false}],"
    "\"PingRequest\":{\"URL\":\"x\"},\"KeepAlive\":false}";

static void test_events_of_a_document(void **state)
{
    struct buf out = {0};
    struct scan s;
    (void)state;
    assert_int_equal(scan_in_pieces(document, sizeof(document), &s, &out), RC_OK);
    const char *text = buf_cstr(&out);
    assert_non_null(strstr(text, "self 7 key=nodekey:77"));
    assert_non_null(strstr(text, "first 1 key=nodekey:11 eps=1/2/"));
    assert_non_null(strstr(text, "/258 host=1/77/"));
    assert_non_null(strstr(text, "derp=999 online=2 addr=2 allowed=1 name=1110;"));
    assert_non_null(strstr(text, "peer 2 key= eps=1/0/0/0"));
    assert_non_null(strstr(text, "peer 3 key= eps=0"));
    assert_non_null(strstr(text, "removed 4;removed 5;patch 1 key="));
    assert_non_null(strstr(text, "derp=3 online=1"));
    assert_int_equal(s.counts.full, 2);
    assert_int_equal(s.counts.changed, 1);
    assert_int_equal(s.counts.patched, 1);
    assert_int_equal(s.counts.removed, 2);
    assert_int_equal(s.counts.node, 1);
    assert_int_equal(s.counts.ping, 1);
    assert_int_equal(s.counts.keep_alive, 0);
    buf_fini(&out);
}

static void test_endpoints_in_any_order_are_the_same(void **state)
{
    struct buf a = {0}, b = {0};
    struct scan s;
    (void)state;
    assert_int_equal(
        scan_in_pieces("{\"PeersChanged\":[{\"ID\":1,\"Endpoints\":[\"1.2.3.4:5\",\"6.7.8.9:1\"]}]}", 99, &s, &a),
        RC_OK);
    assert_int_equal(
        scan_in_pieces("{\"PeersChanged\":[{\"ID\":1,\"Endpoints\":[\"6.7.8.9:1\",\"1.2.3.4:5\"]}]}", 99, &s, &b),
        RC_OK);
    assert_string_equal(buf_cstr(&a), buf_cstr(&b));
    buf_fini(&a);
    buf_fini(&b);
}

static void test_any_cut_reads_the_same(void **state)
{
    struct buf whole = {0}, out = {0};
    struct scan s;
    (void)state;
    assert_int_equal(scan_in_pieces(document, sizeof(document), &s, &whole), RC_OK);
    uint64_t bytes = s.counts.peer_bytes;
    for (size_t piece = 1; piece < sizeof(document); piece++) {
        buf_clear(&out);
        assert_int_equal(scan_in_pieces(document, piece, &s, &out), RC_OK);
        assert_string_equal(buf_cstr(&out), buf_cstr(&whole));
        assert_int_equal(s.counts.peer_bytes, bytes);
    }
    buf_fini(&whole);
    buf_fini(&out);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "1",
        "null",
        "{",
        "{}}",
        "{} x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":tru}",
        "{\"a\":nulll}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\x01\"}",
        "{\"a\":[1 2]}",
        "{\"a\":[1}",
        "{\"a\":{]}",
        "{\"a\":[,1]}",
        "{\"Peers\":{}}",
        "{\"Peers\":1}",
        "{\"Peers\":[1]}",
        "{\"Peers\":[[]]}",
        "{\"Peers\":[{\"ID\":\"1\"}]}",
        "{\"Peers\":[{\"ID\":1.5}]}",
        "{\"Peers\":[{\"ID\":99999999999999999999}]}",
        "{\"Peers\":[{\"ID\":{}}]}",
        "{\"Peers\":[{\"Key\":1}]}",
        "{\"Node\":[]}",
        "{\"PeersRemoved\":[\"1\"]}",
        "{\"PeersRemoved\":[{}]}",
        "{\"KeepAlive\":1}",
        "{\"KeepAlive\":{}}",
    };
    struct buf out = {0};
    struct scan s;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (scan_in_pieces(bad[i], 3, &s, &out) == RC_OK)
            fail_msg("accepted: %s", bad[i]);
    }
    buf_fini(&out);
}

static void test_depth_is_bounded(void **state)
{
    struct buf text = {0}, out = {0};
    struct scan s;
    (void)state;
    buf_append_c(&text, "{\"a\":");
    for (int i = 0; i < 100; i++)
        buf_append_byte(&text, '[');
    assert_int_equal(scan_in_pieces(buf_cstr(&text), 7, &s, &out), RC_TOO_DEEP);
    buf_fini(&text);
    buf_fini(&out);
}

static void test_marks_are_between_records_only(void **state)
{
    struct buf out = {0};
    uint32_t mark;
    (void)state;
    for (size_t n = 0; n < sizeof(document); n++) {
        struct scan s = {0}, other = {0};
        buf_clear(&out);
        assert_int_equal(scan_feed(&s, document, n, &notes, &out), RC_OK);
        if (!scan_mark(&s, &mark))
            continue;
        /* Another scanner that starts from the mark has the same events. */
        struct buf rest = {0}, expected = {0};
        scan_restart(&other, mark);
        size_t left = sizeof(document) - 1 - n;
        assert_int_equal(scan_feed(&s, document + n, left, &notes, &expected), RC_OK);
        assert_int_equal(scan_feed(&other, document + n, left, &notes, &rest), RC_OK);
        assert_string_equal(buf_cstr(&rest), buf_cstr(&expected));
        assert_true(scan_is_done(&other));
        buf_fini(&rest);
        buf_fini(&expected);
    }
    buf_fini(&out);
}

/* --- the memory of pieces: random documents, in random frames, to several readers --- */

static void write_peer(struct buf *out, unsigned id, bool is_patch)
{
    buf_printf(out, is_patch ? "{\"NodeID\":%u" : "{\"ID\":%u,\"Key\":\"nodekey:%u\"", id, id);
    if (random_below(2) == 0)
        buf_printf(out, ",\"Endpoints\":[\"10.0.%u.%u:40000\"]", random_below(4), random_below(256));
    if (random_below(3) == 0)
        buf_printf(out, is_patch ? ",\"DERPRegion\":%u" : ",\"HomeDERP\":%u", random_below(5));
    if (random_below(3) == 0)
        buf_append_c(out, random_below(2) == 0 ? ",\"Online\":true" : ",\"Online\":false");
    if (!is_patch && random_below(3) == 0)
        buf_printf(out, ",\"Hostinfo\":{\"OS\":\"linux\",\"OSVersion\":\"lgmark%u\"}", random_below(9));
    buf_append_byte(out, '}');
}

static void write_list(struct buf *out, const char *name, unsigned kind)
{
    unsigned n = random_below(6);
    buf_printf(out, "\"%s\":[", name);
    for (unsigned i = 0; i < n; i++) {
        buf_append_c(out, i > 0 ? "," : "");
        if (kind == 2)
            buf_printf(out, "%u", 1 + random_below(MEMBERS + 20));
        else
            write_peer(out, 1 + random_below(MEMBERS + 20), kind == 1);
    }
    buf_append_c(out, "],");
}

static void write_document(struct buf *out)
{
    buf_append_byte(out, '{');
    if (random_below(3) == 0)
        buf_append_c(out, "\"Node\":{\"ID\":1,\"Key\":\"nodekey:1\"},");
    if (random_below(2) == 0)
        write_list(out, "Peers", 0);
    if (random_below(2) == 0)
        write_list(out, "PeersRemoved", 2);
    if (random_below(2) == 0)
        write_list(out, "PeersChanged", 0);
    if (random_below(2) == 0)
        write_list(out, "PeersChangedPatch", 1);
    buf_append_c(out, "\"Domain\":\"x\"}");
}

/* One message: length, and the document in frames cut anywhere. */
static void write_message(struct buf *out, struct str text)
{
    static struct zstd_ctx zstd;
    struct buf frames = {0};
    while (text.len > 0) {
        size_t n = 1 + random_below((unsigned)text.len);
        if (random_below(2) == 0)
            zstd_append_raw(&frames, text.p, n);
        else
            assert_int_equal(zstd_compress(&zstd, 1, text.p, n, &frames), RC_OK);
        text = str_n(text.p + n, text.len - n);
    }
    size_t len = buf_len(&frames);
    for (int i = 0; i < 4; i++)
        buf_append_byte(out, (uint8_t)(len >> 8 * i));
    buf_append(out, buf_at(&frames), len);
    buf_fini(&frames);
    zstd_ctx_fini(&zstd);
}

static char keys[MEMBERS][24];

struct reader {
    struct roster roster;
    struct frame_cache frames;
    struct map_stream map_stream;
    struct buf events;
    unsigned messages;
};

static void on_piece(void *ctx, const struct map_effect *s)
{
    struct reader *r = ctx;
    for (uint32_t i = 0; i < s->mark_n; i++) {
        const struct map_effect_mark *m = &s->marks[i];
        buf_printf(&r->events, "m%u/%x/%u/%u/%u/%u;", m->index, m->endpoints, m->endpoints_mark, m->hostinfo_mark,
                   m->derp, m->flags);
    }
    for (uint32_t i = 0; i < s->op_n; i++) {
        const struct map_effect_op *o = &s->ops[i];
        buf_printf(&r->events, "o%u/%u/%llx/%llx;", o->kind, o->word, (unsigned long long)o->peers,
                   (unsigned long long)o->endpoints);
    }
    if (s->self_id >= 0)
        buf_printf(&r->events, "self %lld;", (long long)s->self_id);
}

static enum rc on_message(void *ctx, const struct map_stream *in)
{
    struct reader *r = ctx;
    r->messages++;
    buf_printf(&r->events, "end %u %llu %u %u %u %u %llu\n", in->message_n, (unsigned long long)in->json_n,
               in->counts.full, in->counts.changed, in->counts.patched, in->counts.removed,
               (unsigned long long)in->counts.peer_bytes);
    return RC_OK;
}

static const struct map_stream_events reading = {on_piece, on_message};

static void reader_init(struct reader *r, size_t generation_bytes)
{
    *r = (struct reader){0};
    roster_init(&r->roster, MEMBERS);
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(keys[i], sizeof(keys[i]), "nodekey:%u", i + 1);
        roster_add_key(&r->roster, str_c(keys[i]), i);
    }
    frame_cache_init(&r->frames, &r->roster, NULL, NULL);
    r->frames.generation_bytes = generation_bytes;
}

static void reader_fini(struct reader *r)
{
    map_stream_fini(&r->map_stream);
    frame_cache_fini(&r->frames);
    roster_fini(&r->roster);
    buf_fini(&r->events);
}

static enum rc read_in_pieces(struct reader *r, const struct buf *bytes)
{
    map_stream_clear(&r->map_stream);
    for (size_t i = 0; i < buf_len(bytes);) {
        size_t n = 1 + random_below(300);
        n = n < buf_len(bytes) - i ? n : buf_len(bytes) - i;
        TRY(map_stream_feed(&r->map_stream, &r->frames, buf_at(bytes) + i, n, &reading, r));
        i += n;
    }
    return RC_OK;
}

static void test_memory_changes_nothing(void **state)
{
    struct reader with, small, without;
    (void)state;
    reader_init(&with, FRAME_CACHE_GENERATION_BYTES);
    reader_init(&small, 3000);
    reader_init(&without, 0);
    for (unsigned round = 0; round < 400; round++) {
        struct buf text = {0}, bytes = {0};
        for (unsigned i = 1 + random_below(3); i > 0; i--) {
            buf_clear(&text);
            write_document(&text);
            write_message(&bytes, buf_str(&text));
        }
        for (unsigned again = 0; again < 2; again++) {
            assert_int_equal(read_in_pieces(&with, &bytes), RC_OK);
            assert_int_equal(read_in_pieces(&small, &bytes), RC_OK);
            assert_int_equal(read_in_pieces(&without, &bytes), RC_OK);
        }
        assert_string_equal(buf_cstr(&with.events), buf_cstr(&without.events));
        assert_string_equal(buf_cstr(&small.events), buf_cstr(&without.events));
        buf_clear(&with.events);
        buf_clear(&small.events);
        buf_clear(&without.events);
        buf_fini(&text);
        buf_fini(&bytes);
    }
    assert_true(with.frames.hits > 400);
    assert_true(small.frames.hits > 0);
    assert_int_equal(without.frames.hits, 0);
    assert_int_equal(with.messages, without.messages);
    reader_fini(&with);
    reader_fini(&small);
    reader_fini(&without);
}

static enum rc read_bytes(const void *bytes, size_t n)
{
    struct reader r;
    reader_init(&r, FRAME_CACHE_GENERATION_BYTES);
    enum rc rc = map_stream_feed(&r.map_stream, &r.frames, bytes, n, &reading, &r);
    reader_fini(&r);
    return rc;
}

static void test_refused_bodies(void **state)
{
    struct buf b = {0};
    (void)state;
    assert_int_equal(read_bytes("\0\0\0\0", 4), RC_INVALID);
    assert_int_equal(read_bytes("\xff\xff\xff\xff", 4), RC_TOO_LARGE);
    assert_int_equal(read_bytes("\x08\0\0\0{\"a\":1}\n", 12), RC_INVALID); /* not compressed */
    write_message(&b, STR("{\"a\":1}"));
    buf_at(&b)[0]--; /* the message ends within its frame */
    assert_int_equal(read_bytes(buf_at(&b), buf_len(&b)), RC_TRUNCATED);
    buf_clear(&b);
    write_message(&b, STR("{\"a\":")); /* the document does not end */
    assert_int_equal(read_bytes(buf_at(&b), buf_len(&b)), RC_TRUNCATED);
    buf_fini(&b);
}

static void test_roster(void **state)
{
    struct roster r;
    (void)state;
    roster_init(&r, 2);
    roster_add_key(&r, STR("k0"), 0);
    roster_add_key(&r, STR("k1"), 1);
    assert_int_equal(roster_find(&r, 5, STR_EMPTY, false), -1);
    assert_int_equal(roster_find(&r, 5, STR("k1"), true), 1);
    assert_int_equal(roster_find(&r, 5, STR_EMPTY, false), 1);
    assert_int_equal(roster_find(&r, INT64_C(1) << 50, STR("k0"), true), 0);
    assert_int_equal(roster_find(&r, INT64_C(1) << 50, STR_EMPTY, false), 0);
    assert_int_equal(roster_find(&r, -3, STR("other"), true), 64);
    assert_int_equal(roster_find(&r, -3, STR_EMPTY, false), 64);
    for (int64_t id = 100; id < 100 + 2 * ROSTER_FOREIGN_MAX; id++)
        assert_in_range(roster_find(&r, id, STR("other"), true), 64, 64 + ROSTER_FOREIGN_MAX - 1);
    roster_forget_key(&r, STR("k1"));
    assert_int_equal(roster_find(&r, 5, STR("k1"), false), 1);
    roster_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_of_a_document),
        cmocka_unit_test(test_endpoints_in_any_order_are_the_same),
        cmocka_unit_test(test_any_cut_reads_the_same),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_marks_are_between_records_only),
        cmocka_unit_test(test_memory_changes_nothing),
        cmocka_unit_test(test_refused_bodies),
        cmocka_unit_test(test_roster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
