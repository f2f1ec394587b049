#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "engine/access.h"
#include "state/testing.h"

enum { NOW_MS = 1000000 };

static int set_up(void **state)
{
    struct state_options options = {0};
    crypto_init();
    *state = state_create(&options, test_settings());
    return 0;
}

static int tear_down(void **state)
{
    struct state *st = *state;
    state_destroy(&st);
    return 0;
}

static struct policy_doc *doc_of(const char *text)
{
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    assert_int_equal(policy_parse(str_c(text), NULL, &doc, &errors), RC_OK);
    policy_errors_fini(&errors);
    return doc;
}

static const struct policy_text *store(struct state *st, const char *text, const char *note, int64_t now_ms)
{
    const struct policy_text *t;
    struct err err;
    struct policy_doc *doc = doc_of(text);
    assert_int_equal(state_policy_store(st, doc, STR("anna"), str_c(note), now_ms, &t, &err), RC_OK);
    policy_doc_unref(&doc);
    return t;
}

static bool is_at_work(const struct state *st, const char *text)
{
    const struct engine *p = state_policy(st);
    return p != NULL && str_eq_c(policy_doc_text(engine_doc(p)), text);
}

static void commit(struct state *st)
{
    struct row_batch *b = state_take_batch(st);
    assert_non_null(b);
    uint64_t seq = b->seq;
    row_batch_destroy(&b);
    state_committed(st, seq);
}

/* A policy that a crash may take back does not become active. */
static void test_at_work_when_on_disk(void **state)
{
    struct state *st = *state;
    assert_null(state_policy(st));
    assert_null(state_policy_text_newest(st));
    const struct policy_text *t = store(st, "{} // one", "first", NOW_MS);
    assert_int_equal(t->id, 1);
    assert_string_equal(t->author, "anna");
    assert_string_equal(t->note, "first");
    assert_null(state_policy(st));
    struct row_batch *b = state_take_batch(st);
    assert_int_equal(b->n, 1);
    assert_ptr_equal(b->ops[0].entity, &entity_policy_text);
    assert_ptr_equal(b->ops[0].object, t);
    uint64_t first = b->seq;
    row_batch_destroy(&b);
    store(st, "{} // two", "", NOW_MS + 1);
    state_committed(st, first); /* the second has replaced it, and is not on disk yet */
    assert_null(state_policy(st));
    commit(st);
    assert_true(is_at_work(st, "{} // two"));
    assert_int_equal(state_policy_text_newest(st)->id, 2);
    store(st, "{} // three", "", NOW_MS + 2);
    assert_true(is_at_work(st, "{} // two"));
}

static void test_remarks_are_one_line(void **state)
{
    struct state *st = *state;
    struct policy_doc *doc = doc_of("{}");
    const struct policy_text *t;
    char longest[POLICY_NOTE_CAP + 1];
    struct err err;
    memset(longest, 'x', sizeof(longest));
    longest[POLICY_NOTE_CAP] = '\0';
    assert_int_equal(state_policy_store(st, doc, STR("a\nb"), STR_EMPTY, NOW_MS, &t, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "author must be one line"));
    assert_int_equal(state_policy_store(st, doc, STR_EMPTY, STR("a\x7f"), NOW_MS, &t, &err), RC_INVALID);
    assert_int_equal(state_policy_store(st, doc, STR_EMPTY, str_c(longest), NOW_MS, &t, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "note is longer than 255 bytes"));
    longest[POLICY_NOTE_CAP - 1] = '\0';
    assert_null(state_policy_text_newest(st));
    assert_null(state_take_batch(st));
    assert_int_equal(state_policy_store(st, doc, STR_EMPTY, str_c(longest), NOW_MS, &t, &err), RC_OK);
    assert_int_equal(strlen(t->note), POLICY_NOTE_CAP - 1);
    policy_doc_unref(&doc);
}

static size_t count(const struct state *st)
{
    size_t n = 0;
    for (size_t pos = 0; state_policy_text_next(st, &pos) != NULL;)
        n++;
    return n;
}

/* The history is limited in versions and in bytes; what it drops is deleted on disk, too. */
static void test_old_ones_are_forgotten(void **state)
{
    struct state *st = *state;
    size_t deleted = 0, put = 0;
    for (int i = 0; i < POLICY_TEXTS_MAX + 10; i++)
        store(st, "{}", "", NOW_MS + i);
    assert_int_equal(count(st), POLICY_TEXTS_MAX);
    assert_null(state_policy_text(st, 10));
    assert_int_equal(state_policy_text(st, 11)->created_ms, NOW_MS + 10);
    struct row_batch *b = state_take_batch(st);
    for (size_t i = 0; i < b->n; i++) {
        put += b->ops[i].entity == &entity_policy_text && b->ops[i].object != NULL;
        deleted += b->ops[i].entity == &entity_policy_text && b->ops[i].object == NULL;
    }
    assert_int_equal(put, POLICY_TEXTS_MAX + 10);
    assert_int_equal(deleted, 10);
    row_batch_destroy(&b);

    size_t big = 3 << 20;
    char *text = mem_alloc(big + 1);
    memset(text, ' ', big);
    memcpy(text, "{}", 2);
    text[big] = '\0';
    for (int i = 0; i < 12; i++)
        store(st, text, "", NOW_MS);
    assert_int_equal(count(st), POLICY_TEXTS_MAX_BYTES / big);
    mem_free(text);
    store(st, "{}", "", NOW_MS);
    assert_int_equal(state_policy_text_newest(st)->id, POLICY_TEXTS_MAX + 10 + 13);
}

static void test_loading(void **state)
{
    static const struct {
        uint64_t id;
        enum rc rc;
    } rows[] = {{3, RC_OK}, {3, RC_INVALID}, {2, RC_OK}, {7, RC_OK}};
    struct state *st = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct policy_text *t = state_policy_text_create(STR("{}"));
        t->id = rows[i].id;
        assert_int_equal(state_load(st, &entity_policy_text, &t->row, NULL), rows[i].rc);
    }
    state_load_done(st, NOW_MS);
    assert_int_equal(state_policy_text_newest(st)->id, 7);
    assert_null(state_policy(st)); /* whether the database's policy counts is the daemon's decision */
    assert_null(state_take_batch(st));
    assert_int_equal(store(st, "{}", "", NOW_MS)->id, 8);
}

/* A policy that is only tried has the users, addresses and tags as well. */
static void test_try(void **state)
{
    struct state *st = *state;
    struct err err;
    const struct user *u;
    struct buf filter = {0};
    struct user_spec spec = {.name = STR("anna"), .email = STR("anna@example.com")};
    assert_int_equal(state_user_create(st, &spec, NOW_MS, &u, &err), RC_OK);
    for (uint8_t i = 1; i <= 2; i++) {
        struct node *node = node_create(0);
        node->id = i;
        node->user = u->id;
        node->key.b[0] = node->machine.b[0] = i;
        snprintf(node->name, sizeof(node->name), "n%u", i);
        assert_int_equal(addr_parse_ip(i == 1 ? STR("100.64.0.1") : STR("100.64.0.2"), &node->v4), RC_OK);
        node->tags = i == 2 ? rcbuf_create("[\"tag:web\"]", 11) : NULL;
        assert_int_equal(state_load(st, &entity_node, &node->row, NULL), RC_OK);
    }
    struct policy_doc *doc = doc_of(
        "{\"tagOwners\":{\"tag:web\":[]},\n"
        "\"grants\":[{\"src\":[\"anna@example.com\"],\"dst\":[\"tag:web\"],\"ip\":[\"443\"]}]}");
    struct engine *p = state_policy_try(st, doc);
    policy_doc_unref(&doc);
    assert_int_equal(engine_node_count(p), 2);
    engine_filter(p, 2, &filter);
    assert_string_equal(buf_cstr(&filter),
                        "[{\"SrcIPs\":[\"100.64.0.1\"],"
                        "\"DstPorts\":[{\"IP\":\"100.64.0.2\",\"Ports\":{\"First\":443,\"Last\":443}}]}]");
    buf_clear(&filter);
    engine_filter(p, 1, &filter);
    assert_string_equal(buf_cstr(&filter), "[]");
    buf_fini(&filter);
    engine_destroy(&p);
    assert_null(state_policy(st));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_at_work_when_on_disk),
        TEST(test_remarks_are_one_line),
        TEST(test_old_ones_are_forgotten),
        TEST(test_loading),
        TEST(test_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
