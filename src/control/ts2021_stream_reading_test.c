/* The Noise layer reading: records that come whole, in pieces, early, damaged, or while it is paused or closed. */
#include "control/testing_streams.h"

/* --- an owner that writes down what happens to it --- */

static void assert_got(const struct owner *o, const char *want)
{
    assert_true(str_eq_c(buf_str(&o->got), want));
}

/* --- a layer below, worked by hand --- */

/* One record for each word arrives, all in one piece. */
static void arrive(struct fake *f, const char *const words[], unsigned n)
{
    struct buf wire = {0};
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(noise_seal(&f->sealer, words[i], strlen(words[i]), &wire), RC_OK);
    stream_emit_data(&f->s, buf_at(&wire), buf_len(&wire));
    buf_fini(&wire);
}

/* --- reading --- */

static void test_reads_records(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    arrive(&f, (const char *const[]){"one ", "", "two ", "three"}, 4);
    assert_got(&o, "one two three");
    assert_int_equal(o.pieces, 3); /* nothing is not handed up */
    fake_finish(&f, &o);
}

static void test_early_bytes_come_first(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, "early ");
    assert_int_equal(o.pieces, 0);
    arrive(&f, (const char *const[]){"later"}, 1);
    assert_int_equal(o.pieces, 0);
    fake_settle();
    assert_got(&o, "early later");
    arrive(&f, (const char *const[]){" at once"}, 1);
    assert_got(&o, "early later at once");
    fake_finish(&f, &o);
}

static void test_early_bytes_before_the_end(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, "early");
    stream_emit_closed(&f.s, RC_CLOSED);
    assert_got(&o, "early");
    assert_int_equal(o.closed, 1);
    fake_finish(&f, &o);
}

static void test_closed_before_early_bytes(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, "early");
    stream_close(&o.s, true);
    fake_settle();
    assert_int_equal(o.pieces, 0);
    fake_finish(&f, &o);
}

static void test_close_inside_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    o.close_at = 2;
    arrive(&f, (const char *const[]){"a", "b", "c", "d"}, 4);
    assert_got(&o, "ab");
    assert_null(o.s);
    fake_settle();
    assert_int_equal(o.pieces, 2);
    assert_int_equal(o.closed, 0);
    fake_finish(&f, &o);
}

static void test_close_inside_early_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, "early");
    arrive(&f, (const char *const[]){"a", "b"}, 2);
    o.close_at = 1;
    fake_settle();
    assert_got(&o, "early");
    assert_null(o.s);
    fake_finish(&f, &o);
}

static void test_pause_inside_data(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    o.pause_at = 2;
    arrive(&f, (const char *const[]){"a", "b", "c", "d"}, 4);
    assert_got(&o, "ab");
    assert_true(f.is_paused);
    arrive(&f, (const char *const[]){"e"}, 1); /* was on its way */
    fake_settle();
    assert_got(&o, "ab");
    o.pause_at = 4;
    stream_pause(o.s, false);
    assert_false(f.is_paused);
    assert_got(&o, "ab"); /* never from within the call */
    fake_settle();
    assert_got(&o, "abcd");
    stream_pause(o.s, false);
    arrive(&f, (const char *const[]){"f"}, 1);
    fake_settle();
    assert_got(&o, "abcdef");
    arrive(&f, (const char *const[]){"g"}, 1);
    assert_got(&o, "abcdefg");
    fake_finish(&f, &o);
}

static void test_another_owner(void **state)
{
    (void)state;
    struct fake f;
    struct owner first;
    struct owner second = {0};
    fake_start(&f, &first, NULL);
    arrive(&f, (const char *const[]){"a"}, 1);
    stream_set_events(first.s, &owner_events, &second);
    arrive(&f, (const char *const[]){"b"}, 1);
    assert_got(&first, "a");
    assert_got(&second, "b");
    buf_fini(&second.got);
    fake_finish(&f, &first);
}

/* --- ends --- */

static void end_with(const uint8_t *p, size_t n, enum rc why)
{
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    stream_write(o.s, "queued", 6);
    arrive(&f, (const char *const[]){"good"}, 1);
    stream_emit_data(&f.s, p, n);
    assert_got(&o, "good");
    assert_int_equal(o.closed, 1);
    assert_int_equal(o.why, why);
    assert_int_equal(f.closes, 1);
    assert_false(f.flushed);
    /* Dead, but still the owner's. */
    stream_write(o.s, "more", 4);
    stream_pause(o.s, true);
    assert_int_equal(stream_queued(o.s), 0);
    fake_settle();
    assert_int_equal(f.writes, 0);
    assert_int_equal(o.closed, 1);
    fake_finish(&f, &o);
}

static void test_bad_records(void **state)
{
    (void)state;
    static const uint8_t forged[] = {4, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    end_with(forged, sizeof(forged), RC_CRYPTO);
    end_with((const uint8_t *)"GET / HTTP/1.1", 14, RC_INVALID);
    end_with((const uint8_t *)"\x04\x00\x0f", 3, RC_INVALID);
    end_with((const uint8_t *)"\x04\x0f\xfe", 3, RC_TOO_LARGE);
}

static void test_close_inside_closed(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    o.close_when_closed = true;
    stream_emit_data(&f.s, (const uint8_t *)"junk", 4);
    assert_int_equal(o.closed, 1);
    assert_null(o.s);
    fake_finish(&f, &o);
    fake_start(&f, &o, NULL);
    o.close_when_closed = true;
    stream_emit_closed(&f.s, RC_TIMEOUT);
    assert_int_equal(o.why, RC_TIMEOUT);
    assert_null(o.s);
    fake_finish(&f, &o);
}

static void test_below_ends_within_a_record(void **state)
{
    (void)state;
    struct fake f;
    struct owner o;
    fake_start(&f, &o, NULL);
    stream_emit_data(&f.s, (const uint8_t *)"\x04\x00\x20half", 7);
    stream_emit_closed(&f.s, RC_CLOSED);
    assert_int_equal(o.pieces, 0);
    assert_int_equal(o.closed, 1);
    assert_int_equal(o.why, RC_CLOSED);
    fake_finish(&f, &o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_records, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_early_bytes_come_first, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_early_bytes_before_the_end, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_closed_before_early_bytes, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_inside_data, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_inside_early_data, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_pause_inside_data, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_another_owner, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_bad_records, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_close_inside_closed, fake_setup, fake_teardown),
        cmocka_unit_test_setup_teardown(test_below_ends_within_a_record, fake_setup, fake_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
