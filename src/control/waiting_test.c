#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fits.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/waiting.h"

static const uint8_t seed[16] = {1};

static struct waiting_sender sender_number(enum waiting_kind kind, uint32_t i)
{
    return waiting_sender_key(kind, &i, sizeof(i));
}

/* As many as fit, of `bytes` each. */
static size_t take_all(struct waiting *w, const struct waiting_sender *sender, size_t bytes, struct waiting_ticket *out,
                       size_t cap)
{
    for (size_t n = 0; n < cap; n++) {
        if (!waiting_take(w, sender, bytes, &out[n]))
            return n;
    }
    fail_msg("no bound");
    return cap;
}

static void leave_all(struct waiting *w, struct waiting_ticket *tickets, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        waiting_leave(w, &tickets[i]);
        waiting_leave(w, &tickets[i]); /* twice is fine */
    }
}

/* One sender has its part, by number and by bytes, and gets it again when it was answered. */
static void test_one_sender(void **state)
{
    (void)state;
    static const size_t jobs[WAIT_KINDS] = {WAIT_STRANGER_JOBS, WAIT_NODE_JOBS, WAIT_ADMIN_JOBS};
    static const size_t bytes[WAIT_KINDS] = {WAIT_STRANGER_BYTES, WAIT_NODE_BYTES, WAIT_ADMIN_BYTES};
    static struct waiting_ticket tickets[WAIT_ADMIN_JOBS + 1];
    struct waiting *w = waiting_create(seed);
    for (int kind = 0; kind < WAIT_KINDS; kind++) {
        struct waiting_sender sender = sender_number(kind, 1), other = sender_number(kind, 2);
        struct waiting_ticket t;
        for (int round = 0; round < 2; round++) {
            size_t n = take_all(w, &sender, 10, tickets, ARRAY_LEN(tickets));
            assert_int_equal(n, jobs[kind]);
            assert_int_equal(waiting_jobs(w, kind), n);
            leave_all(w, tickets, n);
            n = take_all(w, &sender, bytes[kind] / 4, tickets, ARRAY_LEN(tickets));
            assert_int_equal(n, 4);
            assert_int_equal(waiting_take(w, &other, 10, &t), kind != WAIT_ADMIN);
            waiting_leave(w, &t);
            leave_all(w, tickets, n);
            assert_int_equal(waiting_jobs(w, kind), 0);
        }
        assert_false(waiting_take(w, &sender, bytes[kind] + 1, &t));
        assert_false(waiting_take(w, &sender, SIZE_MAX, &t));
    }
    waiting_destroy(&w);
}

/* However many senders there are of a kind, the others have their share. */
static void test_kinds_do_not_take_each_others_share(void **state)
{
    (void)state;
    static struct waiting_ticket t[WAIT_NODES_JOBS + 1];
    int64_t before = metric_read("fullscale_core_crowded_out_total", "who=\"stranger\"");
    struct waiting *w = waiting_create(seed);
    size_t n = 0;
    for (uint32_t i = 0; i <= WAIT_STRANGERS_JOBS; i++) {
        struct waiting_sender sender = sender_number(WAIT_STRANGER, i);
        n += waiting_take(w, &sender, 10, &t[n]);
    }
    assert_int_equal(n, WAIT_STRANGERS_JOBS);
    assert_int_equal(metric_read("fullscale_core_crowded_out_total", "who=\"stranger\""), before + 1);
    assert_int_equal(metric_read("fullscale_core_waiting_jobs", "who=\"stranger\""), n);
    struct waiting_sender node = sender_number(WAIT_NODE, 1), admin = sender_number(WAIT_ADMIN, 0);
    struct waiting_ticket of_node, of_admin;
    assert_true(waiting_take(w, &node, WAIT_NODE_BYTES, &of_node));
    assert_true(waiting_take(w, &admin, WAIT_ADMIN_BYTES, &of_admin));
    waiting_leave(w, &of_node);
    leave_all(w, t, n);
    n = 0;
    for (uint32_t i = 0; i <= WAIT_NODES_JOBS; i++) {
        struct waiting_sender sender = sender_number(WAIT_NODE, i);
        n += waiting_take(w, &sender, 1000, &t[n]);
    }
    assert_int_equal(n, WAIT_NODES_JOBS);
    struct waiting_sender stranger = sender_number(WAIT_STRANGER, 1);
    struct waiting_ticket late;
    assert_true(waiting_take(w, &stranger, 10, &late));
    waiting_destroy(&w); /* whatever is still held */
    assert_int_equal(metric_read("fullscale_core_waiting_jobs", "who=\"stranger\""), 0);
    assert_int_equal(metric_read("fullscale_core_waiting_jobs", "who=\"node\""), 0);
    assert_null(w);
    waiting_destroy(&w);
}

/* Strangers are counted by address: a host with a network of IPv6 addresses is one sender. */
static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool is_same;
    } rows[] = {
        {"192.0.2.1:1", "192.0.2.1:2", true},
        {"192.0.2.1:1", "192.0.2.2:1", false},
        {"[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:1", true},
        {"[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", false},
        {"[c000:201::]:1", "192.0.2.1:1", false}, /* the same bytes */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a, b;
        assert_int_equal(addr_parse(str_c(rows[i].a), &a), RC_OK);
        assert_int_equal(addr_parse(str_c(rows[i].b), &b), RC_OK);
        struct waiting_sender x = waiting_sender_address(&a), y = waiting_sender_address(&b);
        assert_int_equal(memcmp(&x, &y, sizeof(x)) == 0, rows[i].is_same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_sender),
        cmocka_unit_test(test_kinds_do_not_take_each_others_share),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
