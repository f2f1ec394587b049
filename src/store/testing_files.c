#include "store/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"

void test_scratch_make(char dir[TEST_SCRATCH_CAP])
{
    snprintf(dir, TEST_SCRATCH_CAP, "%s/fullscale-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
}

void test_scratch_remove_files(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        char name[3 * TEST_SCRATCH_CAP];
        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

const char *test_scratch_path(const char *dir)
{
    static char path[2 * TEST_SCRATCH_CAP];
    snprintf(path, sizeof(path), "%s/db.sqlite", dir);
    return path;
}

void test_scratch_remove(const char *dir)
{
    test_scratch_remove_files(test_scratch_path(dir));
    assert_int_equal(rmdir(dir), 0);
}

int test_scratch_set_up(void **state)
{
    char *dir = mem_zalloc(TEST_SCRATCH_CAP, 1);
    test_scratch_make(dir);
    *state = dir;
    return 0;
}

int test_scratch_tear_down(void **state)
{
    test_scratch_remove(*state);
    mem_free(*state);
    return 0;
}

struct store *test_store_open(const char *path, int64_t wal_autocheckpoint_pages)
{
    const struct store_options options = {path, wal_autocheckpoint_pages};
    struct store *s = NULL;
    struct err err = {0};
    enum rc rc = store_open_sqlite(&options, &s, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return s;
}

struct row_batch *test_batch_create(uint64_t seq)
{
    struct row_batch *b = MEM_NEW(struct row_batch);
    b->tailnet = 1;
    b->seq = seq;
    return b;
}

static void add(struct row_batch *b, struct row_op op)
{
    VEC_PUSH(b->ops, b->n, b->cap, op);
}

void test_batch_put(struct row_batch *b, const struct entity *entity, const struct row *object)
{
    add(b, (struct row_op){entity, object->id, object});
}

void test_batch_delete(struct row_batch *b, const struct entity *entity, uint64_t id)
{
    add(b, (struct row_op){entity, id, NULL});
}

void test_batch_count(struct row_batch *b, const struct entity *of, uint64_t next)
{
    struct counter *c = (struct counter *)entity_create(&entity_counter);
    c->id = of->number;
    c->next = next;
    test_batch_put(b, &entity_counter, &c->row);
}

enum rc test_store_write(struct store *s, struct row_batch *b)
{
    const struct row_op **plan;
    size_t n = store_plan(&b, 1, &plan);
    enum rc rc = s->ops->write(s, b->tailnet != 0 ? b->tailnet : 1, plan, n);
    mem_free(plan);
    row_batch_destroy(&b);
    return rc;
}

void test_quiet_logs(void)
{
    enum rc rc = log_set_level(NULL, LOG_OFF);
    (void)rc;
}
