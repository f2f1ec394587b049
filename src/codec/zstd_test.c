#include "codec/zstd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/json.h"
#include "support/oom_sweep.h"
#include "support/test_file.h"
#include "support/test_random.h"

enum { MIB = 1 << 20 };

static struct zstd_ctx ctx;

static int fini_ctx(void **state UNUSED)
{
    zstd_ctx_fini(&ctx);
    return 0;
}

/* The input gets an exact heap copy; what was in `out` before must still be there. */
static enum rc decompress(struct str in, size_t max_out, struct buf *out)
{
    char *copy = mem_dup(in.p, in.len);
    buf_clear(out);
    buf_append_c(out, "before");
    enum rc rc = zstd_decompress(&ctx, copy, in.len, max_out, out);
    mem_free(copy);
    assert_memory_equal(buf_at(out), "before", 6);
    assert_true(rc == RC_OK || buf_len(out) == 6);
    buf_consume(out, 6);
    return rc;
}

static struct buf from_hex(const struct json *node)
{
    struct buf bytes = {0};
    struct str hex = STR_EMPTY;
    assert_true(json_str(node, &hex));
    assert_int_equal(hex_decode(hex, buf_reserve(&bytes, hex.len / 2), hex.len / 2), RC_OK);
    buf_commit(&bytes, hex.len / 2);
    return bytes;
}

static void test_framing_vectors(void **state UNUSED)
{
    struct buf file = test_file_read(VECTORS_DIR, "map_framing.json");
    struct arena a = {0};
    const struct json *root;
    struct buf out = {0};
    assert_int_equal(json_parse(&a, buf_str(&file), NULL, &root, NULL), RC_OK);
    assert_true(json_len(json_get(root, "samples")) >= 9);
    assert_true(json_len(json_get(root, "rejected")) >= 4);
    JSON_EACH (it, json_get(root, "samples")) {
        struct str want = STR_EMPTY;
        struct buf in = from_hex(json_get(it, "zstd_hex"));
        assert_true(json_str(json_get(it, "json"), &want));
        assert_int_equal(decompress(buf_str(&in), MIB, &out), RC_OK);
        assert_true(str_eq(buf_str(&out), want));
        assert_int_equal(decompress(buf_str(&in), want.len, &out), RC_OK);
        assert_int_equal(decompress(buf_str(&in), want.len - 1, &out), RC_TOO_LARGE);
        for (size_t len = 1; len < buf_len(&in); len++) {
            /* Cut between frames, what is left is whole; there the content is shorter. */
            enum rc rc = decompress(str_n(buf_at(&in), len), MIB, &out);
            assert_true(rc == RC_TRUNCATED || rc == RC_INVALID || (rc == RC_OK && buf_len(&out) <= want.len));
        }
        buf_fini(&in);
    }
    JSON_EACH (it, json_get(root, "rejected")) {
        struct buf in = from_hex(json_get(it, "zstd_hex"));
        assert_int_not_equal(decompress(buf_str(&in), MIB, &out), RC_OK);
        buf_fini(&in);
    }
    buf_fini(&out);
    arena_fini(&a);
    buf_fini(&file);
}

static void test_refusals(void **state UNUSED)
{
#define MAGIC "\x28\xb5\x2f\xfd"
    static const struct {
        struct str in;
        enum rc rc;
    } rows[] = {
        {{"", 0}, RC_OK},
        {{MAGIC "\x20\x00\x01\x00\x00", 9}, RC_OK},               /* empty content */
        {{MAGIC "\x21\x00\x00\x01\x00\x00", 10}, RC_OK},          /* dictionary 0 */
        {{MAGIC "\x21\x07\x00\x01\x00\x00", 10}, RC_UNSUPPORTED}, /* dictionary 7 */
        {{MAGIC "\x00\x68\x01\x00\x00", 9}, RC_OK},               /* window of 8 MiB */
        {{MAGIC "\x00\x70\x01\x00\x00", 9}, RC_TOO_LARGE},        /* 16 MiB */
        {{MAGIC "\x20\x01\x09\x00\x00x", 10}, RC_OK},             /* raw block */
        {{MAGIC "\x20\x01\x0b\x00\x00x", 10}, RC_OK},             /* run */
        {{MAGIC "\x20\x01\x0f\x00\x00x", 10}, RC_INVALID},        /* reserved block type */
        {{MAGIC "\x28\x01\x09\x00\x00x", 10}, RC_INVALID},        /* reserved bit */
        {{MAGIC, 4}, RC_TRUNCATED},
        {{MAGIC "\x20\x01\x09\x00\x00", 9}, RC_TRUNCATED},
        {{MAGIC "\x24\x01\x09\x00\x00x\x00\x00\x00\x00", 14}, RC_INVALID}, /* wrong checksum */
        {{"\x28\xb5\x2f", 3}, RC_TRUNCATED},
        {{"\x50\x2a\x4d\x18\x03\x00\x00\x00", 8}, RC_TRUNCATED}, /* skippable, cut */
        {{"\x5f\x2a\x4d\x18\x01\x00\x00\x00z", 9}, RC_OK},       /* skippable only */
        {{"\x5f\x2a\x4d\x18\x00\x00\x00\x00", 8}, RC_OK},
        {{"\x60\x2a\x4d\x18\x00\x00\x00\x00", 8}, RC_INVALID},     /* just not skippable */
        {{"\x27\xb5\x2f\xfd\x20\x00\x01\x00\x00", 9}, RC_INVALID}, /* the format of 0.7 */
        {{"\x1f\x8b\x08\x00\x00\x00\x00\x00", 8}, RC_INVALID},     /* gzip */
        {{"{\"a\":1}", 7}, RC_INVALID},
        {{MAGIC "\x20\x00\x01\x00\x00\x00\x00\x00\x00", 13}, RC_INVALID}, /* zeros behind */
        {{MAGIC "\x20\x00\x01\x00\x00\x28", 10}, RC_TRUNCATED},           /* a second frame, cut */
    };
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum rc rc = decompress(rows[i].in, 100, &out);
        if (rc != rows[i].rc)
            fail_msg("row %zu: %s, want %s", i, rc_name(rc), rc_name(rows[i].rc));
    }
    buf_fini(&out);
}

static void fill(struct buf *b, struct test_random *r, size_t n)
{
    uint8_t *at = buf_reserve(b, n);
    for (size_t i = 0; i < n; i++)
        at[i] = (uint8_t)(test_random_below(r, 4) > 0 ? 'a' : test_random_below(r, 256));
    buf_commit(b, n);
}

static void test_compressed_reads_back(void **state UNUSED)
{
    static const size_t sizes[] = {0, 1, 18, 255, 256, 65791, 65792, 131072, 131073, 3000000};
    static const int levels[] = {-5, 1, 3, 9};
    struct test_random r = {11};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf in = {0};
        fill(&in, &r, sizes[i]);
        for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
            struct buf packed = {0};
            struct buf out = {0};
            buf_append_c(&packed, "x");
            assert_int_equal(zstd_compress(&ctx, levels[l], buf_at(&in), sizes[i], &packed), RC_OK);
            buf_consume(&packed, 1);
            /* Content size present (a flag or a single segment), no checksum, no dictionary. */
            uint8_t descriptor = buf_at(&packed)[4];
            assert_true((descriptor & 0xe0) != 0);
            assert_int_equal(descriptor & 0x07, 0);
            assert_int_equal(decompress(buf_str(&packed), sizes[i], &out), RC_OK);
            assert_true(str_eq(buf_str(&out), buf_str(&in)));
            buf_fini(&out);
            buf_fini(&packed);
        }
        buf_fini(&in);
    }
}

static void test_windows_stay_small(void **state UNUSED)
{
    struct buf in = {0};
    struct buf packed = {0};
    struct buf out = {0};
    memset(buf_reserve(&in, 20 * MIB), 'w', 20 * MIB);
    buf_commit(&in, 20 * MIB);
    assert_int_equal(zstd_compress(&ctx, 22, buf_at(&in), 20 * MIB, &packed), RC_OK);
    assert_int_equal(decompress(buf_str(&packed), 20 * MIB, &out), RC_OK);
    assert_int_equal(buf_len(&out), 20 * MIB);
    buf_clear(&packed);
    assert_int_equal(zstd_compress(&ctx, 1, buf_at(&in), 20 * MIB, &packed), RC_OK);
    assert_int_equal(decompress(buf_str(&packed), 20 * MIB, &out), RC_OK);
    buf_fini(&out);
    buf_fini(&packed);
    buf_fini(&in);
}

static void test_bombs_are_refused_early(void **state UNUSED)
{
    struct buf in = {0};
    struct buf bomb = {0};
    struct buf out = {0};
    memset(buf_reserve(&in, 50 * MIB), 0, 50 * MIB);
    buf_commit(&in, 50 * MIB);
    assert_int_equal(zstd_compress(&ctx, 1, buf_at(&in), 50 * MIB, &bomb), RC_OK);
    assert_true(buf_len(&bomb) < 10000);
    assert_int_equal(decompress(buf_str(&bomb), MIB, &out), RC_TOO_LARGE);
    assert_true(out.cap < 3 * MIB);
    assert_int_equal(decompress(buf_str(&bomb), 50 * MIB - 1, &out), RC_TOO_LARGE);
    assert_int_equal(decompress(buf_str(&bomb), 50 * MIB, &out), RC_OK);
    /* The limit is over all frames together. */
    struct buf many = {0};
    for (int i = 0; i < 10; i++)
        zstd_append_raw(&many, "0123456789", 10);
    assert_int_equal(decompress(buf_str(&many), 99, &out), RC_TOO_LARGE);
    assert_int_equal(decompress(buf_str(&many), 100, &out), RC_OK);
    assert_int_equal(decompress(buf_str(&many), 0, &out), RC_TOO_LARGE);
    buf_fini(&many);
    buf_fini(&out);
    buf_fini(&bomb);
    buf_fini(&in);
}

static void test_raw_frames(void **state UNUSED)
{
    static const struct {
        size_t n, overhead;
    } rows[] = {{0, 9},      {1, 9},       {255, 9},     {256, 10},        {65791, 10},
                {65792, 12}, {131072, 12}, {131073, 15}, {3 * 131072, 18}, {3 * 131072 + 1, 21}};
    struct test_random r = {13};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf in = {0};
        struct buf framed = {0};
        struct buf out = {0};
        fill(&in, &r, rows[i].n);
        zstd_append_raw(&framed, buf_len(&in) > 0 ? buf_at(&in) : NULL, rows[i].n);
        assert_int_equal(buf_len(&framed), rows[i].n + rows[i].overhead);
        assert_int_equal(decompress(buf_str(&framed), rows[i].n, &out), RC_OK);
        assert_true(str_eq(buf_str(&out), buf_str(&in)));
        buf_fini(&out);
        buf_fini(&framed);
        buf_fini(&in);
    }
}

/* A message as the map stream splices it: glue, cached fragments, empty and skippable frames, in any number. */
static void test_frames_of_all_kinds_concatenate(void **state UNUSED)
{
    struct test_random r = {17};
    for (int round = 0; round < 200; round++) {
        struct buf message = {0};
        struct buf want = {0};
        struct buf out = {0};
        for (uint32_t n = test_random_below(&r, 12); n > 0; n--) {
            size_t len = test_random_below(&r, 700);
            size_t before = buf_len(&want);
            if (test_random_below(&r, 5) == 0) {
                buf_append(&message, "\x53\x2a\x4d\x18\x02\x00\x00\x00zz", 10);
                continue;
            }
            fill(&want, &r, len);
            const uint8_t *piece = buf_at(&want) + before;
            if (test_random_below(&r, 2) == 0)
                zstd_append_raw(&message, piece, len);
            else
                assert_int_equal(zstd_compress(&ctx, ZSTD_LEVEL_DEFAULT, piece, len, &message), RC_OK);
        }
        assert_int_equal(decompress(buf_str(&message), buf_len(&want), &out), RC_OK);
        assert_true(str_eq(buf_str(&out), buf_str(&want)));
        buf_fini(&out);
        buf_fini(&want);
        buf_fini(&message);
    }
}

static void test_mutations_are_survived(void **state UNUSED)
{
    struct test_random r = {19};
    struct buf in = {0};
    struct buf good = {0};
    struct buf out = {0};
    fill(&in, &r, 2000);
    assert_int_equal(zstd_compress(&ctx, 1, buf_at(&in), 2000, &good), RC_OK);
    for (int i = 0; i < 5000; i++) {
        uint8_t *copy = mem_dup(buf_at(&good), buf_len(&good));
        copy[test_random_below(&r, (uint32_t)buf_len(&good))] ^= (uint8_t)(1 << test_random_below(&r, 8));
        enum rc rc = decompress(str_n(copy, buf_len(&good)), 4000, &out);
        assert_true(rc != RC_OK || buf_len(&out) <= 4000);
        mem_free(copy);
    }
    /* The context still works after every kind of failure. */
    assert_int_equal(decompress(buf_str(&good), 4000, &out), RC_OK);
    buf_fini(&out);
    buf_fini(&good);
    buf_fini(&in);
}

static void round_trip_for_sweep(void *unused UNUSED)
{
    struct zstd_ctx own = {0};
    struct buf packed = {0};
    struct buf out = {0};
    char text[5000];
    memset(text, 's', sizeof(text));
    for (int i = 0; i < 10; i++)
        zstd_append_raw(&packed, text, sizeof(text));
    if (zstd_compress(&own, 1, text, sizeof(text), &packed) != RC_OK ||
        zstd_decompress(&own, buf_at(&packed), buf_len(&packed), MIB, &out) != RC_OK ||
        buf_len(&out) != 11 * sizeof(text))
        abort();
    buf_fini(&packed);
    buf_fini(&out);
    zstd_ctx_fini(&own);
}

static void test_allocation_failures(void **state UNUSED)
{
    assert_true(oom_sweep(round_trip_for_sweep, NULL) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing_vectors),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_compressed_reads_back),
        cmocka_unit_test(test_windows_stay_small),
        cmocka_unit_test(test_bombs_are_refused_early),
        cmocka_unit_test(test_raw_frames),
        cmocka_unit_test(test_frames_of_all_kinds_concatenate),
        cmocka_unit_test(test_mutations_are_survived),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, fini_ctx);
}
