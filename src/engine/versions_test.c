/* Random events: views stay as they are, and what has an old version has not changed. */
#include "engine/random_tailnet.h"
#include "support/filter_set.h"

enum { ROUNDS = 500 };

/* --- views --- */

/* What `engine_sees` says of all pairs, as bits. */
static void all_pairs(const struct random_tailnet *f, bool out[IDS][IDS])
{
    for (uint32_t a = 0; a < IDS; a++) {
        for (uint32_t b = 0; b < IDS; b++)
            out[a][b] = engine_sees(f->p, a + 1, b + 1);
    }
}

/* Whether engine_view_mark gives the peers of the node. */
static bool marks_as(const struct engine_view *v, uint64_t id, const bool want[IDS])
{
    struct viewer_key key = engine_view_key(v, id);
    uint64_t set[IDS / 64 + 2] = {0}, none[1] = {0};
    engine_view_mark(v, key, set, ARRAY_LEN(set));
    engine_view_mark(v, key, none, 0);
    if (key.class_index != ENGINE_NO_CLASS && engine_view_keys_see(v, key, key) != bit_get(set, id))
        return false;
    for (uint64_t b = 1; b < ARRAY_LEN(set) * 64; b++) {
        if (b != id && bit_get(set, b) != (b <= IDS && want[b - 1]))
            return false;
    }
    return !bit_get(set, 0) && none[0] == 0;
}

static bool view_says(const struct engine_view *v, bool want[IDS][IDS])
{
    for (uint32_t a = 0; a < IDS; a++) {
        if (!marks_as(v, a + 1, want[a]))
            return false;
        for (uint32_t b = 0; b < IDS; b++) {
            if (engine_view_sees(v, a + 1, b + 1) != want[a][b])
                return false;
            struct viewer_key x = engine_view_key(v, a + 1), y = engine_view_key(v, b + 1);
            if (a != b && engine_view_keys_see(v, x, y) != want[a][b])
                return false;
        }
    }
    return !engine_view_sees(v, 0, 1) && engine_view_class(v, 0) == -1 && engine_view_class(v, IDS + 1) == -1;
}

/* A view shows which nodes see which at the time when it was made, whatever is written later. */
static bool same_views(struct random_tailnet *f)
{
    bool before[IDS][IDS], after[IDS][IDS];
    struct engine_view *old = engine_view_get(f->p), *again = engine_view_get(f->p);
    all_pairs(f, before);
    bool same = old == again && view_says(old, before);
    for (int i = 0; i < 5; i++)
        random_event(f);
    struct engine_view *new = engine_view_get(f->p);
    all_pairs(f, after);
    same = same && view_says(old, before) && view_says(new, after);
    engine_view_unref(&old);
    engine_view_unref(&again);
    engine_view_unref(&new);
    return same;
}

static void test_views_stay_as_they_are(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        bool same = true;
        random_begin(f);
        for (int i = 0; same && i < 1; i++)
            same = same_views(f);
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

/* --- versions --- */

static void read_filter(struct random_tailnet *f, uint64_t id, struct filter_set *out)
{
    struct buf text = {0};
    struct arena a = {0};
    const struct json *json;
    engine_filter(f->p, id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(out);
    filter_set_add_json(out, json);
    buf_fini(&text);
    arena_fini(&a);
}

/* engine_mark_moved gives exactly the nodes whose version is above the clock before an event. */
static bool names_who_moved(const struct random_tailnet *f, uint64_t since)
{
    uint64_t set[IDS / 64 + 1] = {0};
    engine_mark_moved(f->p, since, set, ARRAY_LEN(set));
    for (uint32_t i = 0; i < IDS; i++) {
        if (engine_version(f->p, i + 1) > since && !bit_get(set, i + 1))
            return false;
        if (engine_version(f->p, i + 1) <= since && bit_get(set, i + 1))
            return false;
    }
    memset(set, 0, sizeof(set));
    engine_mark_moved(f->p, engine_clock(f->p), set, ARRAY_LEN(set));
    for (size_t i = 0; i < ARRAY_LEN(set); i++) {
        if (set[i] != 0)
            return false;
    }
    return true;
}

/* A node whose version has not changed has the same access after an event as before. */
static bool same_while_version_stays(struct random_tailnet *f)
{
    struct filter_set before[IDS], after;
    struct buf ssh[IDS] = {0}, ssh_after = {0};
    uint64_t version[IDS];
    bool same = true;
    for (uint32_t i = 0; i < IDS; i++) {
        version[i] = engine_version(f->p, i + 1);
        read_filter(f, i + 1, &before[i]);
        engine_ssh(f->p, i + 1, "", &ssh[i]);
    }
    uint64_t since = engine_clock(f->p);
    random_event(f);
    same = names_who_moved(f, since);
    for (uint32_t i = 0; i < IDS; i++) {
        if (version[i] == engine_version(f->p, i + 1)) {
            read_filter(f, i + 1, &after);
            buf_clear(&ssh_after);
            engine_ssh(f->p, i + 1, "", &ssh_after);
            same = same && filter_sets_equal(&before[i], &after) && str_eq(buf_str(&ssh[i]), buf_str(&ssh_after));
            filter_set_fini(&after);
        }
        filter_set_fini(&before[i]);
        buf_fini(&ssh[i]);
    }
    buf_fini(&ssh_after);
    return same;
}

static void test_access_stays_while_versions_stay(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        bool same = true;
        random_begin(f);
        for (int i = 0; same && i < 3; i++)
            same = same_while_version_stays(f);
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

/* --- rows: which routes of a router the nodes of a class get --- */

enum { CLASSES = 4 * IDS };

struct rows {
    uint64_t version[IDS];
    uint64_t row[IDS][CLASSES]; /* by router and class; 0 when the class has no other node */
    bool has[IDS][CLASSES];
    uint64_t made[CLASSES]; /* 0: no such class */
};

static void read_rows(const struct random_tailnet *f, struct rows *out)
{
    struct engine_view *view = engine_view_get(f->p);
    assert_true(engine_view_class_cap(view) <= CLASSES);
    memset(out, 0, sizeof(*out));
    for (size_t c = 0; c < CLASSES; c++)
        (void)engine_view_class_made(view, c, &out->made[c]);
    for (uint32_t i = 0; i < IDS; i++) {
        out->version[i] = engine_routes_version(f->p, i + 1);
        for (size_t c = 0; c < CLASSES; c++) {
            uint64_t member = out->made[c] != 0 ? engine_class_member(f->p, c, i + 1) : 0;
            out->has[i][c] = member != 0;
            if (member != 0)
                engine_routes(f->p, member, i + 1, &out->row[i][c], 3);
        }
    }
    engine_view_unref(&view);
}

/* While the version of a router has not changed, the classes that still exist get the same routes. */
static bool same_rows_while_version_stays(struct random_tailnet *f)
{
    static struct rows before, after;
    bool same = true;
    read_rows(f, &before);
    random_event(f);
    read_rows(f, &after);
    for (uint32_t i = 0; i < IDS; i++) {
        for (size_t c = 0; c < CLASSES && before.version[i] == after.version[i]; c++) {
            bool is_kept = before.made[c] != 0 && before.made[c] == after.made[c] && after.has[i][c];
            same = same && (!is_kept || before.row[i][c] == after.row[i][c]);
        }
    }
    return same;
}

static void test_routes_stay_while_versions_stay(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        bool same = true;
        random_begin(f);
        for (int i = 0; same && i < 3; i++)
            same = same_rows_while_version_stays(f);
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_views_stay_as_they_are, random_setup, random_teardown),
        cmocka_unit_test_setup_teardown(test_access_stays_while_versions_stay, random_setup, random_teardown),
        cmocka_unit_test_setup_teardown(test_routes_stay_while_versions_stay, random_setup, random_teardown),
    };
    return cmocka_run_group_tests_name("engine versions", tests, NULL, NULL);
}
