/* All of base in one program: each part against its vectors, its refusals, and a naive twin where it keeps state. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/time.h"
#include "base/cursor.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rcbuf.h"
#include "support/oom_sweep.h"
#include "support/test_random.h"

LOG_MODULE("base_test");
METRIC_COUNTER(test_b, "base_test_b_total", "kind=\"x\"", "A test counter.");
METRIC_COUNTER(test_a, "base_test_a_total", "", "A test counter.");
METRIC_COUNTER(test_b2, "base_test_b_total", "kind=\"y\"", "");
METRIC_GAUGE(test_gauge, "base_test_gauge", "", "A test gauge.");

/* rc */

static void test_result_codes(void **state UNUSED)
{
    assert_string_equal(rc_text(RC_OK), "ok");
    assert_string_equal(rc_name(RC_NOT_FOUND), "NOT_FOUND");
    assert_int_equal(rc_http_status(RC_TOO_LARGE), 413);
    assert_string_equal(rc_text(1), "unknown error");
    assert_string_equal(rc_name(-RCI_COUNT), "UNKNOWN");
    assert_int_equal(rc_http_status(-1000), 500);
    for (int i = 0; i < RCI_COUNT; i++)
        assert_true(rc_text(-i)[0] != '\0' && rc_name(-i)[0] != '\0' && rc_http_status(-i) >= 200);
}

static void test_errors_for_people(void **state UNUSED)
{
    struct err err;
    char text[1024];
    char tiny[8];
    assert_int_equal(err_set(&err, RC_INVALID, "bad %d", 7), RC_INVALID);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "bad 7");
    assert_int_equal(err_set_at(&err, RC_EXISTS, "a.yaml", 3, 5, "twice"), RC_EXISTS);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "a.yaml:3:5: twice");
    err_format(&err, tiny, sizeof(tiny));
    assert_string_equal(tiny, "a.yaml:");
    assert_int_equal(err_set_at(&err, RC_EXISTS, NULL, 3, 5, "twice"), RC_EXISTS);
    err_format(&err, text, sizeof(text));
    assert_string_equal(text, "3:5: twice");
    assert_int_equal(err_set(NULL, RC_INVALID, "nobody listens"), RC_INVALID);
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(err_set_at(&err, RC_INVALID, text, 1, 1, "%s", text), RC_INVALID);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(strlen(err.file), sizeof(err.file) - 1);
}

/* str */

static void test_text_basics(void **state UNUSED)
{
    struct str head, rest;
    assert_true(str_eq(STR_EMPTY, (struct str){NULL, 0}));
    assert_true(str_eq(STR("a\0b"), STR("a\0b")) && !str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_eq_c(STR("abc"), "abc") && !str_eq_c(STR("abc"), "ab"));
    assert_true(str_eq_ci(STR("aBc-[9"), STR("AbC-[9")) && !str_eq_ci(STR("a@"), STR("a`")) &&
                !str_eq_ci(STR("a"), STR("ab")));
    assert_true(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR_EMPTY) &&
                !str_starts(STR("a"), STR("ab")));
    assert_true(str_ends(STR("abc"), STR("bc")) && str_ends(STR("abc"), STR_EMPTY) && !str_ends(STR("c"), STR("bc")));
    assert_true(str_eq_c(str_trim(STR(" \t a b\r\n")), "a b") && str_trim(STR("  ")).len == 0);
    assert_int_equal(str_index(STR("abc"), 'c'), 2);
    assert_int_equal(str_index(STR("abc"), 'd'), -1);
    assert_int_equal(str_index(STR_EMPTY, 'd'), -1);
    assert_true(str_cut(STR("a:b:c"), ':', &head, &rest) && str_eq_c(head, "a") && str_eq_c(rest, "b:c"));
    assert_true(str_cut(STR(":"), ':', &head, &rest) && head.len == 0 && rest.len == 0);
    assert_false(str_cut(STR("abc"), ':', &head, &rest));
    assert_true(str_eq_c(head, "abc") && rest.len == 0);
    assert_true(str_c(NULL).len == 0 && str_c("ab").len == 2);
}

static void test_text_distance(void **state UNUSED)
{
    char long_text[200];
    memset(long_text, 'a', sizeof(long_text));
    assert_int_equal(str_distance(STR(""), STR("")), 0);
    assert_int_equal(str_distance(STR("abc"), STR("")), 3);
    assert_int_equal(str_distance(STR("Users"), STR("users")), 0);
    assert_int_equal(str_distance(STR("nodes"), STR("ndoes")), 1);
    assert_int_equal(str_distance(STR("list"), STR("lists")), 1);
    assert_int_equal(str_distance(STR("kitten"), STR("sitting")), 3);
    assert_int_equal(str_distance(str_n(long_text, 200), STR("")), 63);
    assert_int_equal(str_distance(str_n(long_text, 200), str_n(long_text, 100)), 0);
}

static void test_integers(void **state UNUSED)
{
    static const char *const bad[] = {"",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "-",
                                      "--1",
                                      "0x1",
                                      "1.0",
                                      "1e3",
                                      "a",
                                      "1_0",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    uint64_t u = 7;
    int64_t i = 7;
    for (size_t n = 0; n < ARRAY_LEN(bad); n++) {
        assert_int_equal(str_to_u64(str_c(bad[n]), &u), RC_INVALID);
        assert_int_equal(str_to_i64(str_c(bad[n]), &i), RC_INVALID);
    }
    assert_int_equal(str_to_u64(STR("-1"), &u), RC_INVALID);
    assert_int_equal(str_to_i64(STR("9223372036854775808"), &i), RC_INVALID);
    assert_int_equal(str_to_i64(STR("-9223372036854775809"), &i), RC_INVALID);
    assert_true(u == 7 && i == 7);
    assert_true(str_to_u64(STR("18446744073709551615"), &u) == RC_OK && u == UINT64_MAX);
    assert_true(str_to_u64(STR("007"), &u) == RC_OK && u == 7);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) == RC_OK && i == INT64_MAX);
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) == RC_OK && i == INT64_MIN);
    assert_true(str_to_i64(STR("-0"), &i) == RC_OK && i == 0);
}

static void test_hexadecimal(void **state UNUSED)
{
    uint8_t bytes[4];
    char text[8];
    assert_int_equal(hex_decode(STR("00fFaB9c"), bytes, 4), RC_OK);
    assert_memory_equal(bytes, "\x00\xff\xab\x9c", 4);
    hex_encode(bytes, 4, text);
    assert_memory_equal(text, "00ffab9c", 8);
    assert_int_equal(hex_decode(STR_EMPTY, bytes, 0), RC_OK);
    assert_int_equal(hex_decode(STR("00ffab9"), bytes, 4), RC_INVALID);
    assert_int_equal(hex_decode(STR("00ffab9c0"), bytes, 4), RC_INVALID);
    assert_int_equal(hex_decode(STR("00ffab"), bytes, 4), RC_INVALID);
    for (unsigned c = 0; c < 256; c++) {
        char two[2] = {'0', (char)c};
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        assert_int_equal(hex_decode(str_n(two, 2), bytes, 1) == RC_OK, digit);
    }
}

static void test_durations(void **state UNUSED)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"30s", 30000},
        {"1h30m", 5400000},
        {"90m", 5400000},
        {"1d", 86400000},
        {"2w", 1209600000},
        {"1y", 31536000000},
        {"250ms", 250},
        {"1m1ms", 60001},
        {"1.5h", 5400000},
        {".5s", 500},
        {"0.001s", 1},
        {"1d2h3m4s5ms", 93784005},
        {"1.0000001s", 1000},
        {"292471208y", 9223372015488000000},
    };
    static const char *const bad[] = {
        "",
        "5",
        "s",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1x",
        "1.2.3s",
        ".s",
        ".",
        "1h-5m",
        "1S",
        "00",
        "1us",
        "1h5",
        "h1",
        "9223372036854775808ms",
        "292471209y",
        "99999999999999999999s",
        "9223372036854775807ms1ms",
        "inf",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t ms = -1;
        if (str_to_duration_ms(str_c(good[i].text), &ms) != RC_OK || ms != good[i].ms)
            fail_msg("%s: %lld", good[i].text, (long long)ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t ms = -1;
        if (str_to_duration_ms(str_c(bad[i]), &ms) != RC_INVALID || ms != -1)
            fail_msg("accepted: %s", bad[i]);
    }
}

/* buf */

enum { SHADOW_CAP = 1 << 16 };

/* Every operation is done on the buffer and on a plain array, which must agree. */
static void test_buffers_follow_a_shadow(void **state UNUSED)
{
    static uint8_t shadow[SHADOW_CAP];
    struct test_random r = {31};
    for (int round = 0; round < 30; round++) {
        struct buf b = {0};
        struct buf other = {0};
        size_t start = 0, end = 0;
        for (int step = 0; step < 400; step++) {
            uint8_t piece[300];
            size_t n = test_random_below(&r, sizeof(piece));
            for (size_t i = 0; i < n; i++)
                piece[i] = (uint8_t)test_random_u64(&r);
            switch (end + 1000 < SHADOW_CAP ? test_random_below(&r, 9) : 8) {
            case 0:
                buf_append(&b, piece, n);
                memcpy(shadow + end, piece, n);
                end += n;
                break;
            case 1:
                n = n < end - start ? n : end - start;
                buf_consume(&b, n);
                start += n;
                break;
            case 2:
                buf_append_byte(&b, 0xa5);
                shadow[end++] = 0xa5;
                break;
            case 3:
                buf_append_u32be(&b, 0x01020304);
                buf_append_u16be(&b, 0x0506);
                memcpy(shadow + end, "\1\2\3\4\5\6", 6);
                end += 6;
                break;
            case 4:
                buf_printf(&b, "%05u|%s", (unsigned)step, "text");
                end += (size_t)snprintf((char *)shadow + end, SHADOW_CAP - end, "%05u|%s", (unsigned)step, "text");
                break;
            case 5:
                memcpy(buf_reserve(&b, n + 7), piece, n);
                buf_commit(&b, n);
                memcpy(shadow + end, piece, n);
                end += n;
                break;
            case 6:
                buf_append_str(&b, STR("a\0b"));
                buf_append_c(&b, "c");
                memcpy(shadow + end, "a\0bc", 4);
                end += 4;
                break;
            case 7:
                assert_int_equal(buf_cstr(&b)[end - start], '\0');
                buf_move(&other, &b);
                assert_true(buf_len(&b) == 0 && b.data == NULL);
                buf_move(&b, &other);
                break;
            default:
                if (end + 1000 < SHADOW_CAP && test_random_below(&r, 10) > 0)
                    break;
                buf_reset(&b, test_random_below(&r, 2) == 0 ? 0 : SIZE_MAX);
                start = end = 0;
                break;
            }
            assert_int_equal(buf_len(&b), end - start);
            if (end > start)
                assert_memory_equal(buf_at(&b), shadow + start, end - start);
            assert_true(b.start <= b.end && b.end <= b.cap);
        }
        buf_fini(&other);
        buf_fini(&b);
    }
}

static void test_buffers_read_as_fast_as_filled_do_not_grow(void **state UNUSED)
{
    struct buf b = {0};
    uint8_t block[1000] = {0};
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, block, sizeof(block));
        buf_append(&b, block, sizeof(block));
        buf_consume(&b, i % 2 == 0 ? 1500 : 2500);
    }
    assert_true(b.cap < 10000);
    buf_reset(&b, 100);
    assert_null(b.data);
    assert_int_equal(buf_str(&b).len, 0);
    assert_non_null(buf_str(&b).p);
    buf_fini(&b);
}

/* arena */

static void test_arenas(void **state UNUSED)
{
    struct arena a = {0};
    struct test_random r = {37};
    struct {
        uint8_t *p;
        size_t n;
    } pieces[200];
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        pieces[i].n = test_random_below(&r, i % 50 == 0 ? 20000 : 200);
        pieces[i].p = arena_alloc(&a, pieces[i].n);
        assert_int_equal((uintptr_t)pieces[i].p % _Alignof(max_align_t), 0);
        memset(pieces[i].p, (int)i, pieces[i].n);
    }
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        for (size_t k = 0; k < pieces[i].n; k++)
            assert_int_equal(pieces[i].p[k], (uint8_t)i);
    }
    const uint8_t *zeros = arena_zalloc(&a, 10, 30);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(zeros[i], 0);
    struct str copy = arena_str(&a, STR("a\0b"));
    assert_memory_equal(copy.p, "a\0b", 4);
    assert_string_equal(arena_str(&a, (struct str){NULL, 0}).p, "");
    assert_string_equal(arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    assert_true(a.used_bytes > 300);
    arena_fini(&a);
    assert_int_equal(a.used_bytes, 0);
    arena_fini(&a);
}

/* cursor */

static void test_cursors_stick_to_their_error(void **state UNUSED)
{
    static const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct cursor c = cursor_of(wire, sizeof(wire));
    uint8_t copy[2] = {9, 9};
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16be(&c), 0x0203);
    assert_int_equal(cursor_u32be(&c), 0x04050607);
    assert_int_equal(c.left, 2);
    assert_int_equal(cursor_u32be(&c), 0);
    assert_true(c.failed);
    assert_int_equal(c.left, 2);
    assert_int_equal(cursor_u8(&c), 0);
    assert_null(cursor_take(&c, 0));
    cursor_copy(&c, copy, 2);
    assert_true(copy[0] == 0 && copy[1] == 0);
    c = cursor_of(wire, 2);
    cursor_copy(&c, copy, 2);
    assert_true(copy[1] == 2 && !c.failed && c.left == 0);
    assert_non_null(cursor_take(&c, 0));
    assert_null(cursor_take(&c, SIZE_MAX));
}

/* list */

static void test_lists(void **state UNUSED)
{
    struct item {
        int n;
        struct list link;
    } items[5];
    struct list head;
    int sum = 0;
    list_init(&head);
    assert_true(list_is_empty(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_push_back(&head, &items[i].link);
    }
    list_remove(&items[0].link);
    list_remove(&items[0].link);
    LIST_EACH (it, &head)
        sum = sum * 10 + LIST_ENTRY(it, struct item, link)->n;
    assert_int_equal(sum, 1234);
    LIST_EACH_SAFE (it, &head)
        list_remove(it);
    assert_true(list_is_empty(&head));
}

/* map */

enum { TWIN_KEYS = 300 };

/* Against an array of flags, with keys few enough that all of them come and go. */
static void test_maps_follow_a_twin(void **state UNUSED)
{
    static char keys[TWIN_KEYS][16];
    static int values[2][TWIN_KEYS];
    void *twin[TWIN_KEYS] = {0};
    struct test_random r = {41};
    struct map m;
    size_t n = 0;
    map_init(&m, (const uint8_t *)"0123456789abcdef");
    assert_null(map_get(&m, "x", 1));
    assert_null(map_remove(&m, "x", 1));
    for (int i = 0; i < TWIN_KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "%d", i * i % 1000000);
    for (int step = 0; step < 60000; step++) {
        uint32_t i = test_random_below(&r, TWIN_KEYS);
        uint32_t which = test_random_below(&r, 2);
        /* Phases of filling and of emptying, so that long runs form and are broken up. */
        if (test_random_below(&r, 10) < (step / 5000 % 2 == 0 ? 7u : 3u)) {
            assert_ptr_equal(map_put(&m, keys[i], strlen(keys[i]), &values[which][i]), twin[i]);
            n += twin[i] == NULL;
            twin[i] = &values[which][i];
        } else {
            assert_ptr_equal(map_remove(&m, keys[i], strlen(keys[i])), twin[i]);
            n -= twin[i] != NULL;
            twin[i] = NULL;
        }
        assert_int_equal(m.n, n);
        i = test_random_below(&r, TWIN_KEYS);
        assert_ptr_equal(map_get(&m, keys[i], strlen(keys[i])), twin[i]);
        if (step % 1000 != 0)
            continue;
        size_t pos = 0, seen = 0;
        while (map_next(&m, &pos) != NULL)
            seen++;
        assert_int_equal(seen, n);
        for (i = 0; i < TWIN_KEYS; i++)
            assert_ptr_equal(map_get(&m, keys[i], strlen(keys[i])), twin[i]);
    }
    map_fini(&m);
    assert_null(map_get(&m, "x", 1));
}

static void test_maps_take_any_bytes_as_keys(void **state UNUSED)
{
    struct map m;
    int a, b;
    map_init(&m, NULL);
    assert_null(map_put(&m, "", 0, &a));
    assert_null(map_put(&m, "\0", 1, &b));
    assert_ptr_equal(map_get(&m, "", 0), &a);
    assert_ptr_equal(map_get(&m, "\0", 1), &b);
    assert_null(map_get(&m, "\0\0", 2));
    map_fini(&m);
}

/* src: CPython 3.11, which hashes bytes so, PYTHONHASHSEED=0 being the zero seed. */
static void test_hashes_have_their_reference_values(void **state UNUSED)
{
    const uint64_t zero[2] = {0, 0};
    assert_true(siphash13(zero, "a", 1) == 0x407448d2b89b1813u);
    assert_true(siphash13(zero, "abcdefg", 7) == 0x6db12aae9070f506u);
    assert_true(siphash13(zero, "abcdefgh", 8) == 0x3f7b849c0b8e35eau);
    assert_true(siphash13(zero, "the quick brown fox", 19) == 0x5a17575ad3449cbau);
}

/* What a seeded hash promises: length, seed and every bit of the input count. */
static void test_hashes_depend_on_everything(void **state UNUSED)
{
    const uint64_t seed[2] = {1, 2}, other[2] = {1, 3};
    uint8_t text[32] = {0};
    for (size_t len = 0; len < sizeof(text); len++) {
        uint64_t h = siphash13(seed, text, len);
        assert_true(h != siphash13(seed, text, len + 1));
        assert_true(h != siphash13(other, text, len));
        for (size_t bit = 0; bit < len * 8; bit++) {
            text[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(h != siphash13(seed, text, len));
            text[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

/* mem */

static void test_memory(void **state UNUSED)
{
    char *p = mem_strndup("abcdef", 3);
    assert_string_equal(p, "abc");
    p = mem_realloc(p, 100);
    assert_string_equal(p, "abc");
    mem_free_secret(p, 100);
    mem_free_secret(NULL, 5);
    mem_free(NULL);
    p = mem_dup("xyz", 4);
    assert_string_equal(p, "xyz");
    mem_free(p);
    p = mem_zalloc(0, 10);
    assert_non_null(p);
    mem_free(p);
    int *numbers = mem_realloc_array(NULL, 10, sizeof(int));
    mem_free(numbers);
    p = mem_strdup("");
    assert_string_equal(p, "");
    mem_free(p);
}

static void overflow_zalloc(void *ctx UNUSED)
{
    volatile size_t huge = SIZE_MAX / 2;
    mem_free(mem_zalloc(huge, 4));
}

static void overflow_realloc(void *ctx UNUSED)
{
    volatile size_t huge = SIZE_MAX / 2;
    mem_free(mem_realloc_array(NULL, huge, 4));
}

static void test_overflowing_sizes_end_cleanly(void **state UNUSED)
{
    int status = oom_sweep_child(overflow_zalloc, NULL, 0, true);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MEM_OOM_EXIT_STATUS);
    status = oom_sweep_child(overflow_realloc, NULL, 0, true);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MEM_OOM_EXIT_STATUS);
}

/* rcbuf */

static void test_counted_buffers(void **state UNUSED)
{
    struct rcbuf *_Atomic slot = NULL;
    struct rcbuf *a = rcbuf_create("abc", 3);
    struct rcbuf *b = rcbuf_ref(a);
    assert_memory_equal(b->data, "abc", 3);
    rcbuf_unref(&a);
    assert_null(a);
    rcbuf_unref(&a);
    assert_int_equal(b->len, 3);
    struct rcbuf *first = b;
    assert_ptr_equal(rcbuf_slot_offer(&slot, b), first);
    assert_ptr_equal(rcbuf_slot_offer(&slot, rcbuf_create("late", 4)), first);
    b = slot;
    rcbuf_unref(&b);
    a = rcbuf_create(NULL, 10);
    memset(a->data, 1, 10);
    rcbuf_unref(&a);
}

/* clock */

static void test_times_are_formatted(void **state UNUSED)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59Z"},
        {1795395723123, "2026-11-23T01:02:03.123Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {-62135596800000, "0001-01-01T00:00:00Z"},
        {-62135596800001, "0001-01-01T00:00:00Z"},
        {INT64_MIN, "0001-01-01T00:00:00Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[TIME_TEXT_CAP];
        time_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void test_clocks_and_randomness(void **state UNUSED)
{
    uint8_t a[40] = {0}, b[40] = {0};
    int64_t before = clock_mono_us();
    assert_true(clock_mono_us() >= before);
    assert_true(clock_mono_ms() >= before / 1000);
    assert_true(clock_wall_ms() > 1700000000000);
    assert_true(clock_thread_cpu_us() >= 0);
    rng_bytes(a, sizeof(a));
    rng_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    rng_bytes(a, 0);
}

/* log */

static int log_pipe[2];
static int saved_stderr;

static void capture_start(void)
{
    assert_int_equal(pipe(log_pipe), 0);
    assert_int_equal(fcntl(log_pipe[0], F_SETFL, O_NONBLOCK), 0);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(log_pipe[1], STDERR_FILENO);
}

/* What was logged, without the leading times. */
static void capture_end(struct buf *out)
{
    ssize_t n;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_pipe[1]);
    while ((n = read(log_pipe[0], buf_reserve(out, 65536), 65536)) > 0)
        buf_commit(out, (size_t)n);
    close(log_pipe[0]);
}

static void assert_logged(struct buf *got, const char *want)
{
    /* "2026-11-23T01:02:03.123Z ", without the fraction on a whole second */
    struct str when, rest;
    assert_true(str_cut(buf_str(got), ' ', &when, &rest));
    assert_true(str_ends(when, STR("Z")));
    if (!str_eq_c(rest, want))
        fail_msg("logged: %s", buf_cstr(got));
    buf_fini(got);
}

static void test_log_lines_are_plain_text(void **state UNUSED)
{
    struct buf got = {0};
    capture_start();
    log_warn("event", LOG_S("plain", "a-b"), LOG_S("text", "a \"b\"\n\x1b\xff\xc3\xa9"), LOG_STR("str", STR("=")),
             LOG_I("i", -5), LOG_U("u", UINT64_MAX), LOG_S("null", NULL), LOG_RC(RC_EXPIRED));
    capture_end(&got);
    assert_logged(&got, "warn  base_test: event plain=a-b text=\"a \\\"b\\\"\\n\\x1b\\xff\xc3\xa9\" str=\"=\" i=-5 "
                        "u=18446744073709551615 null=\"\" error=expired\n");
}

static void test_log_lines_are_json(void **state UNUSED)
{
    struct buf got = {0};
    capture_start();
    log_set_json(true);
    log_error("it's \"an\" event", LOG_S("k", "v\\\t\x1b\xff\u202e"), LOG_I("i", 1));
    log_set_json(false);
    capture_end(&got);
    struct str line = buf_str(&got);
    assert_true(str_starts(line, STR("{\"time\":\"2")));
    assert_true(str_ends(line, STR("\",\"level\":\"error\",\"module\":\"base_test\",\"msg\":\"it's \\\"an\\\" event\","
                                   "\"k\":\"v\\\\\\t\\u001b\\ufffd\\u202e\",\"i\":1}\n")));
    buf_fini(&got);
}

static void test_log_levels(void **state UNUSED)
{
    struct buf got = {0};
    enum log_level level = LOG_OFF;
    assert_int_equal(log_level_parse("debug", &level), RC_OK);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("Debug", &level), RC_INVALID);
    assert_int_equal(log_level_parse("", &level), RC_INVALID);
    assert_string_equal(log_level_name(LOG_OFF), "off");
    assert_int_equal(log_set_level("no such module", LOG_WARN), RC_NOT_FOUND);
    capture_start();
    log_debug("below the default");
    assert_int_equal(log_set_level("base_test", LOG_DEBUG), RC_OK);
    log_debug("now");
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    log_error("off");
    assert_int_equal(log_set_level("base_test", LOG_INFO), RC_OK);
    capture_end(&got);
    assert_logged(&got, "debug base_test: now\n");
    bool found = false;
    for (const struct log_module *m = log_module_next(NULL); m != NULL; m = log_module_next(m))
        found = found || strcmp(m->name, "base_test") == 0;
    assert_true(found);
}

static void test_provoked_lines_are_limited(void **state UNUSED)
{
    struct buf got = {0};
    size_t lines = 0;
    capture_start();
    for (int i = 0; i < 1000; i++)
        log_limited(LOG_WARN, "flood");
    log_limited(LOG_WARN, "another place");
    capture_end(&got);
    struct str all = buf_str(&got);
    for (size_t i = 0; i < all.len; i++)
        lines += all.p[i] == '\n';
    /* A burst of 5, one line when a second ends meanwhile, and the other place's own. */
    assert_in_range(lines, 6, 12);
    assert_true(str_ends(all, STR("another place\n")));
    buf_fini(&got);
}

/* What a peer sent may be as long as a body: it must not fill the disk. */
static void test_long_fields_are_cut(void **state UNUSED)
{
    struct buf got = {0};
    char text[5000];
    memset(text, 1, sizeof(text));
    capture_start();
    log_info("long", LOG_STR("field", str_n(text, sizeof(text))));
    capture_end(&got);
    assert_true(buf_len(&got) < 7000);
    assert_true(str_ends(buf_str(&got), STR("\\x01\" cut_from=5000\n")));
    buf_fini(&got);
}

static void test_a_closed_stderr_harms_nothing(void **state UNUSED)
{
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    log_error("to nobody");
    dup2(saved, STDERR_FILENO);
    close(saved);
}

/* metric */

static void test_metrics_count(void **state UNUSED)
{
    metric_inc(&test_a);
    metric_add(&test_a, 4);
    metric_set(&test_gauge, 10);
    metric_add(&test_gauge, -3);
    metric_inc(&test_b2);
    assert_int_equal(metric_get(&test_a), 5);
    assert_int_equal(metric_read("base_test_gauge", ""), 7);
    assert_int_equal(metric_read("base_test_b_total", "kind=\"y\""), 1);
    assert_int_equal(metric_read("base_test_b_total", "kind=\"x\""), 0);
    assert_int_equal(metric_read("base_test_none", ""), 0);
    /* Rows of one name stand together. */
    assert_true(metric_next(&test_b) == &test_b2 || metric_next(&test_b2) == &test_b);
    const char *before = "";
    for (const struct metric *m = metric_next(NULL); m != NULL; before = m->name, m = metric_next(m))
        assert_true(strcmp(before, m->name) <= 0);
}

static void *count_up(void *ctx UNUSED)
{
    for (int i = 0; i < 10000; i++)
        metric_inc(&test_b);
    return NULL;
}

static void test_metrics_count_from_any_thread(void **state UNUSED)
{
    pthread_t threads[4];
    metric_set(&test_b, 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_get(&test_b), 40000);
}

/* addr */

static void test_addresses_with_ports(void **state UNUSED)
{
    static const char *const good[][2] = {
        {"1.2.3.4:80", "1.2.3.4:80"},
        {"[::1]:443", "[::1]:443"},
        {"[2001:DB8::0001]:0", "[2001:db8::1]:0"},
        {"[::ffff:1.2.3.4]:65535", "1.2.3.4:65535"},
    };
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:80x",
        "1.2.3:80",
        "01.2.3.4:80",
        "1.2.3.4:+80",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1",
        "[]:80",
        "[::g]:80",
        "1.2.3.4.5:80",
        "localhost:80",
        "[fe80::1%eth0]:80",
        " 1.2.3.4:80",
        "256.1.1.1:80",
        "[::1]]:80",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct addr a, b;
        struct sockaddr_storage sa;
        char text[ADDR_TEXT_CAP];
        assert_int_equal(addr_parse(str_c(good[i][0]), &a), RC_OK);
        addr_format(&a, true, text);
        assert_string_equal(text, good[i][1]);
        addr_to_sockaddr(&a, &sa);
        addr_from_sockaddr((const struct sockaddr *)&sa, &b);
        assert_true(addr_eq(&a, &b));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct addr a = {.port = 7};
        if (addr_parse(str_c(bad[i]), &a) != RC_INVALID || a.port != 7)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void test_addresses_alone_and_to_listen(void **state UNUSED)
{
    struct addr a, b;
    char text[ADDR_TEXT_CAP];
    assert_int_equal(addr_parse_ip(STR("fd7a:115c:a1e0::1"), &a), RC_OK);
    addr_format(&a, false, text);
    assert_string_equal(text, "fd7a:115c:a1e0::1");
    assert_int_equal(addr_parse_ip(STR("1.2.3.4\0"), &a), RC_INVALID);
    assert_int_equal(addr_parse_ip(STR("1.2.3.4:80"), &a), RC_INVALID);
    assert_int_equal(addr_parse_ip(STR("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"), &a), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":8080"), &a), RC_OK);
    assert_true(a.family == 6 && a.port == 8080 && a.ip[15] == 0);
    assert_int_equal(addr_parse_listen(STR("localhost:1"), &b), RC_OK);
    assert_true(b.family == 4 && addr_is_loopback(&b) && !addr_eq(&a, &b));
    assert_int_equal(addr_parse_listen(STR("0.0.0.0:1"), &b), RC_OK);
    assert_int_equal(addr_parse_listen(STR("example.com:1"), &b), RC_INVALID);
    assert_int_equal(addr_parse_listen(STR(":"), &b), RC_INVALID);
    a = (struct addr){0};
    addr_format(&a, true, text);
    assert_string_equal(text, "-");
}

static void test_private_addresses(void **state UNUSED)
{
    static const struct {
        const char *ip;
        bool is_private;
    } rows[] = {
        {"10.0.0.1", true},
        {"11.0.0.1", false},
        {"172.15.0.1", false},
        {"172.16.0.1", true},
        {"172.31.0.1", true},
        {"172.32.0.1", false},
        {"192.168.1.1", true},
        {"192.169.1.1", false},
        {"169.254.0.1", true},
        {"100.63.0.1", false},
        {"100.64.0.1", true},
        {"100.127.0.1", true},
        {"100.128.0.1", false},
        {"127.1.2.3", true},
        {"8.8.8.8", false},
        {"::1", true},
        {"::2", false},
        {"fc00::1", true},
        {"fdff::1", true},
        {"fe00::1", false},
        {"fe80::1", true},
        {"febf::1", true},
        {"fec0::1", false},
        {"2001:db8::1", false},
        {"::ffff:10.0.0.1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a;
        assert_int_equal(addr_parse_ip(str_c(rows[i].ip), &a), RC_OK);
        if (addr_is_private(&a) != rows[i].is_private)
            fail_msg("%s", rows[i].ip);
    }
}

/* allocation failures */

static void all_of_base(void *ctx UNUSED)
{
    static char keys[100][16];
    struct buf b = {0};
    struct arena a = {0};
    struct map m;
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%d and %s", i, "some more text to make it grow");
    for (int i = 0; i < 100; i++)
        arena_printf(&a, "%s", buf_cstr(&b));
    arena_zalloc(&a, 100, 100);
    map_init(&m, NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%d", i);
        map_put(&m, keys[i], strlen(keys[i]), &b);
    }
    struct rcbuf *counted = rcbuf_create(buf_at(&b), buf_len(&b));
    log_info("something", LOG_STR("text", buf_str(&b)));
    char *copy = mem_strdup(buf_cstr(&b));
    void *grown = mem_realloc_array(mem_zalloc(1, 1), 10, 10);
    mem_free(grown);
    mem_free_secret(copy, strlen(copy));
    rcbuf_unref(&counted);
    map_fini(&m);
    arena_fini(&a);
    buf_fini(&b);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(all_of_base, NULL) > 50);
}

static void test_prefixes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *shown; /* null: refused */
        bool had_host_bits;
    } rows[] = {
        {"10.0.0.0/8", "10.0.0.0/8", false},
        {"10.1.2.3/8", "10.0.0.0/8", true},
        {"10.1.2.3/32", "10.1.2.3/32", false},
        {"0.0.0.0/0", "0.0.0.0/0", false},
        {"1.2.3.4/0", "0.0.0.0/0", true},
        {"::/0", "::/0", false},
        {"fd00::1/9", "fd00::/9", true},
        {"2001:db8::1/128", "2001:db8::1/128", false},
        {"10.0.0.0", NULL, false},
        {"10.0.0.0/", NULL, false},
        {"10.0.0.0/33", NULL, false},
        {"10.0.0.0/08", NULL, false},
        {"10.0.0.0/-1", NULL, false},
        {"::/129", NULL, false},
        {"/8", NULL, false},
        {"", NULL, false},
        {"10.0.0/8", NULL, false},
        {"::ffff:10.0.0.0/8", NULL, false},
        {"10.0.0.0/8/8", NULL, false},
        {"fe80::1%eth0/64", NULL, false},
        {"10.0.0.0/9999", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct prefix p;
        char shown[PREFIX_TEXT_CAP];
        bool had_host_bits;
        assert_int_equal(prefix_parse(str_c(rows[i].text), &p, &had_host_bits),
                         rows[i].shown != NULL ? RC_OK : RC_INVALID);
        if (rows[i].shown == NULL)
            continue;
        prefix_format(&p, shown);
        assert_string_equal(shown, rows[i].shown);
        assert_int_equal(had_host_bits, rows[i].had_host_bits);
        assert_int_equal(prefix_compare(&p, &p), 0);
    }
    struct prefix four, six, longer;
    assert_int_equal(prefix_parse(STR("10.0.0.0/8"), &four, NULL), RC_OK);
    assert_int_equal(prefix_parse(STR("10.0.0.0/16"), &longer, NULL), RC_OK);
    assert_int_equal(prefix_parse(STR("::/0"), &six, NULL), RC_OK);
    assert_true(prefix_compare(&four, &longer) < 0 && prefix_compare(&six, &four) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_codes),
        cmocka_unit_test(test_errors_for_people),
        cmocka_unit_test(test_text_basics),
        cmocka_unit_test(test_text_distance),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_hexadecimal),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_buffers_follow_a_shadow),
        cmocka_unit_test(test_buffers_read_as_fast_as_filled_do_not_grow),
        cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_cursors_stick_to_their_error),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_maps_follow_a_twin),
        cmocka_unit_test(test_maps_take_any_bytes_as_keys),
        cmocka_unit_test(test_hashes_have_their_reference_values),
        cmocka_unit_test(test_hashes_depend_on_everything),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_overflowing_sizes_end_cleanly),
        cmocka_unit_test(test_counted_buffers),
        cmocka_unit_test(test_times_are_formatted),
        cmocka_unit_test(test_clocks_and_randomness),
        cmocka_unit_test(test_log_lines_are_plain_text),
        cmocka_unit_test(test_log_lines_are_json),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_provoked_lines_are_limited),
        cmocka_unit_test(test_long_fields_are_cut),
        cmocka_unit_test(test_a_closed_stderr_harms_nothing),
        cmocka_unit_test(test_metrics_count),
        cmocka_unit_test(test_metrics_count_from_any_thread),
        cmocka_unit_test(test_addresses_with_ports),
        cmocka_unit_test(test_addresses_alone_and_to_listen),
        cmocka_unit_test(test_private_addresses),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
