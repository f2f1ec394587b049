/* What nodes know, and whether its check notices everything that a server could do wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/mem.h"
#include "bench/frame_cache.h"
#include "bench/view.h"

enum { MEMBERS = 70, VIEWER = 3 };

struct fixture {
    struct roster roster;
    struct frame_cache frames;
    struct view view;
    struct view_class class;
    struct view_facts stated[MEMBERS]; /* the truth */
    char keys[MEMBERS][24];
    struct view_report report;
    char fault[64]; /* the first */
    unsigned fault_peer;
};

static uint32_t endpoints_of(unsigned i, unsigned change)
{
    char text[32];
    snprintf(text, sizeof(text), "10.0.%u.%u:1", change, i);
    return scan_digest(str_c(text));
}

static int set_up(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    roster_init(&f->roster, MEMBERS);
    frame_cache_init(&f->frames, &f->roster, NULL, NULL);
    view_init(&f->view, VIEWER, MEMBERS, true);
    f->class.visible = mem_zalloc(roster_words(MEMBERS), sizeof(*f->class.visible));
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(f->keys[i], sizeof(f->keys[i]), "nodekey:%u", i);
        roster_add_key(&f->roster, str_c(f->keys[i]), i);
        bit_put(f->class.visible, i);
        f->stated[i] = (struct view_facts){.endpoints = endpoints_of(i, 0), .derp = 5, .online = 2};
    }
    f->class.expected = MEMBERS - 1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    view_fini(&f->view);
    mem_free(f->class.visible);
    frame_cache_fini(&f->frames);
    roster_fini(&f->roster);
    mem_free(f);
    return 0;
}

static void feed(struct fixture *f, const char *text)
{
    struct buf frame = {0};
    struct scan s = {0};
    const struct map_effect *effect;
    zstd_append_raw(&frame, text, strlen(text));
    assert_int_equal(frame_cache_read(&f->frames, &s, buf_at(&frame), buf_len(&frame), &effect), RC_OK);
    assert_true(scan_is_done(&s));
    assert_int_equal(view_apply(&f->view, effect, &f->class, MEMBERS), 0);
    buf_fini(&frame);
}

static void write_peer(struct buf *out, unsigned i)
{
    buf_printf(out, "{\"ID\":%u,\"Key\":\"nodekey:%u\",\"Endpoints\":[\"10.0.0.%u:1\"],\"HomeDERP\":5,\"Online\":true}",
               i + 1, i, i);
}

/* A full map without member `without`; -1: with all. */
static void feed_all(struct fixture *f, int but)
{
    struct buf text = {0};
    buf_append_c(&text, "{\"Node\":{\"ID\":4},\"Peers\":[");
    for (unsigned i = 0, n = 0; i < MEMBERS; i++) {
        if (i == VIEWER || (int)i == but)
            continue;
        buf_append_c(&text, n++ > 0 ? "," : "");
        write_peer(&text, i);
    }
    buf_append_c(&text, "]}");
    feed(f, buf_cstr(&text));
    buf_fini(&text);
}

static void note_fault(void *ctx, unsigned viewer, unsigned peer, const char *what)
{
    struct fixture *f = ctx;
    assert_int_equal(viewer, VIEWER);
    if (f->fault[0] == '\0') {
        snprintf(f->fault, sizeof(f->fault), "%s", what);
        f->fault_peer = peer;
    }
}

static void check(struct fixture *f)
{
    struct view_truth truth = {&f->class, MEMBERS, f->stated, note_fault, f};
    f->report = (struct view_report){0};
    f->fault[0] = '\0';
    view_check(&f->view, &truth, &f->report);
    assert_int_equal(f->report.pairs, MEMBERS - 1);
}

static void assert_all_well(struct fixture *f)
{
    check(f);
    assert_string_equal(f->fault, "");
    assert_int_equal(f->report.missing + f->report.extra + f->report.differing + f->report.without_endpoints, 0);
    assert_true(view_is_complete(&f->view, &f->class));
}

static void assert_fault(struct fixture *f, const char *what, unsigned peer)
{
    check(f);
    assert_string_equal(f->fault, what);
    assert_int_equal(f->fault_peer, peer);
}

static void test_a_full_map_is_complete(void **state)
{
    struct fixture *f = *state;
    assert_false(view_is_complete(&f->view, &f->class));
    feed_all(f, -1);
    assert_all_well(f);
    assert_int_equal(f->view.endpoints_n, MEMBERS - 1);
    feed_all(f, -1); /* again, from the cache */
    assert_all_well(f);
    assert_int_equal(f->frames.hits, 1);
    view_clear(&f->view, MEMBERS);
    check(f);
    assert_int_equal(f->report.missing, MEMBERS - 1);
}

static void test_a_peer_left_out_is_noticed(void **state)
{
    struct fixture *f = *state;
    feed_all(f, 66);
    assert_false(view_is_complete(&f->view, &f->class));
    assert_fault(f, "does not know", 66);
    assert_int_equal(f->report.missing, 1);
    feed(f, "{\"PeersChanged\":[{\"ID\":67,\"Key\":\"nodekey:66\"}]}");
    assert_true(view_is_complete(&f->view, &f->class));
    assert_fault(f, "was last sent other endpoints of", 66);
    assert_int_equal(f->report.without_endpoints, 1);
}

static void test_a_new_full_map_replaces(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    feed_all(f, 10);
    assert_fault(f, "does not know", 10);
}

static void test_a_peer_too_many_is_noticed(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    f->class.visible[0] &= ~(UINT64_C(1) << 20);
    f->class.expected--;
    assert_fault(f, "knows, against the policy,", 20);
    assert_int_equal(f->report.extra, 1);
}

static void test_a_removed_peer_is_missing(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    feed(f, "{\"PeersRemoved\":[31]}");
    assert_int_equal(f->view.known_n, MEMBERS - 2);
    assert_int_equal(f->view.endpoints_n, MEMBERS - 2);
    assert_fault(f, "does not know", 30);
}

static void test_a_lost_change_is_noticed(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    f->stated[9].endpoints = endpoints_of(9, 1); /* its update reaches no peer */
    assert_fault(f, "was last sent other endpoints of", 9);
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":10,\"Endpoints\":[\"10.0.1.9:1\"]}]}");
    assert_all_well(f);
    f->stated[9].hostinfo_mark = 12;
    assert_fault(f, "was last sent another Hostinfo of", 9);
    feed(f, "{\"PeersChanged\":[{\"ID\":10,\"Key\":\"nodekey:9\",\"Endpoints\":[\"10.0.1.9:1\"],\"HomeDERP\":5,"
            "\"Online\":true,"
            "\"Hostinfo\":{\"OSVersion\":\"lgmark12\"}}]}");
    assert_all_well(f);
}

static void test_an_old_change_after_a_new_one_is_noticed(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    f->stated[9].endpoints = endpoints_of(9, 2);
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":10,\"Endpoints\":[\"10.0.2.9:1\"]}]}");
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":10,\"Endpoints\":[\"10.0.1.9:1\"]}]}");
    assert_fault(f, "was last sent other endpoints of", 9);
}

static void test_other_wrongs_are_noticed(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":false}]}");
    assert_fault(f, "thinks offline", 1);
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"Online\":true,\"DERPRegion\":6}]}");
    assert_fault(f, "was last sent another home relay of", 1);
    feed(f, "{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":5}]}");
    assert_all_well(f);
    f->stated[1].online = 1;
    assert_fault(f, "thinks online", 1);
}

static void test_patches_of_unknown_peers_are_ignored(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    feed(f, "{\"PeersRemoved\":[10]}");
    feed(f,
         "{\"PeersChangedPatch\":[{\"NodeID\":10,\"Endpoints\":[\"10.0.0.9:1\"]},{\"NodeID\":999,\"Online\":true}]}");
    assert_int_equal(f->view.endpoints_n, MEMBERS - 2);
    assert_fault(f, "does not know", 9);
}

static void test_foreign_peers_are_counted_apart(void **state)
{
    struct fixture *f = *state;
    feed_all(f, -1);
    feed(f, "{\"PeersChanged\":[{\"ID\":500,\"Key\":\"nodekey:other\",\"Endpoints\":[\"1.2.3.4:5\"]},{\"ID\":501}]}");
    assert_all_well(f);
    assert_int_equal(f->report.foreign, 2);
    assert_int_equal(f->view.extra_n, 0);
    feed(f, "{\"PeersRemoved\":[500]}");
    check(f);
    assert_int_equal(f->report.foreign, 1);
}

static void test_a_node_is_no_peer_of_itself(void **state)
{
    struct fixture *f = *state;
    struct buf frame = {0};
    struct scan s = {0};
    const struct map_effect *effect;
    const char text[] = "{\"PeersChanged\":[{\"ID\":4,\"Key\":\"nodekey:3\"}]}";
    feed_all(f, -1);
    zstd_append_raw(&frame, text, strlen(text));
    assert_int_equal(frame_cache_read(&f->frames, &s, buf_at(&frame), buf_len(&frame), &effect), RC_OK);
    assert_int_equal(view_apply(&f->view, effect, &f->class, MEMBERS), 1);
    assert_all_well(f);
    buf_fini(&frame);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_full_map_is_complete),
        TEST(test_a_peer_left_out_is_noticed),
        TEST(test_a_new_full_map_replaces),
        TEST(test_a_peer_too_many_is_noticed),
        TEST(test_a_removed_peer_is_missing),
        TEST(test_a_lost_change_is_noticed),
        TEST(test_an_old_change_after_a_new_one_is_noticed),
        TEST(test_other_wrongs_are_noticed),
        TEST(test_patches_of_unknown_peers_are_ignored),
        TEST(test_foreign_peers_are_counted_apart),
        TEST(test_a_node_is_no_peer_of_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
