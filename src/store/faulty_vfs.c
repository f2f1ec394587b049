#include "store/faulty_vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/vec.h"
#include "support/test_random.h"

struct unsynced {
    sqlite3_int64 at; /* -1: a truncation to `to` */
    sqlite3_int64 to;
    struct buf bytes;
};

/* What is known of one path. */
struct disk_file {
    char path[256];
    struct buf safe; /* its content at the last sync */
    struct unsynced *later;
    size_t later_n, later_cap;
};

enum { DISK_FILES = 4 };

static struct {
    _Atomic enum fault_kind kind;
    unsigned ops;            /* enum disk_op: those that are numbered */
    enum disk_answer answer; /* when one fails */
    unsigned long at;        /* number of the operation */
    atomic_ulong seen;       /* operations so far */
    atomic_int last_errno;   /* of the last that failed; 0: none */
    struct test_random random;
    struct disk_file files[DISK_FILES];
    size_t file_n;
    sqlite3_vfs vfs;
    sqlite3_vfs *below;
} disk;

struct faulty_file {
    sqlite3_file base;
    struct disk_file *of; /* null: a file that need not survive */
    sqlite3_file *below;
};

static bool disk_fails(enum disk_op op)
{
    if ((disk.ops & op) == 0)
        return false;
    unsigned long n = ++disk.seen;
    return disk.kind == FAULT_ONCE ? n == disk.at : disk.kind != FAULT_NONE && n >= disk.at;
}

/* The error code that SQLite's own file access returns. src: sqlite 3.40 os_unix.c */
static int disk_says(enum disk_op op)
{
    errno = disk.last_errno = disk.answer == ANSWER_FULL ? ENOSPC : EIO;
    switch (op) {
    case OP_WRITE: return disk.answer == ANSWER_BROKEN ? SQLITE_IOERR_WRITE : SQLITE_FULL;
    case OP_SYNC: return SQLITE_IOERR_FSYNC;
    case OP_TRUNCATE: return SQLITE_IOERR_TRUNCATE;
    case OP_DELETE: return SQLITE_IOERR_DELETE;
    case OP_OPEN: return SQLITE_CANTOPEN;
    case OP_READ: return SQLITE_IOERR_READ;
    case OP_LOCK: return SQLITE_IOERR_LOCK;
    case OP_INDEX: break;
    }
    return disk.answer == ANSWER_FULL ? SQLITE_IOERR_SHMSIZE : SQLITE_IOERR_SHMMAP;
}

/* --- what is safe --- */

static void forget_later(struct disk_file *f)
{
    for (size_t i = 0; i < f->later_n; i++)
        buf_fini(&f->later[i].bytes);
    mem_free(f->later);
    f->later = NULL;
    f->later_n = f->later_cap = 0;
}

static struct disk_file *disk_file_of(const char *path)
{
    for (size_t i = 0; i < disk.file_n; i++) {
        if (strcmp(disk.files[i].path, path) == 0)
            return &disk.files[i];
    }
    assert_true(disk.file_n < DISK_FILES);
    struct disk_file *f = &disk.files[disk.file_n++];
    snprintf(f->path, sizeof(f->path), "%s", path);
    return f;
}

static void note(struct disk_file *f, sqlite3_int64 at, sqlite3_int64 to, const void *p, size_t n)
{
    if (f == NULL)
        return;
    VEC_ROOM(f->later, f->later_n, f->later_cap, 16);
    struct unsynced *u = &f->later[f->later_n++];
    *u = (struct unsynced){.at = at, .to = to};
    buf_append(&u->bytes, p, n);
}

static void resize(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    if (len < n)
        memset(buf_reserve(b, n - len), 0, n - len);
    b->end = b->start + n;
}

static void apply(struct buf *content, const struct unsynced *u)
{
    if (u->at < 0) {
        if (buf_len(content) > (size_t)u->to)
            resize(content, (size_t)u->to);
        return;
    }
    size_t n = buf_len(&u->bytes);
    if (n == 0)
        return;
    if (buf_len(content) < (size_t)u->at + n)
        resize(content, (size_t)u->at + n);
    memcpy(buf_at(content) + u->at, buf_at(&u->bytes), n);
}

static void make_safe(struct disk_file *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->later_n; i++)
        apply(&f->safe, &f->later[i]);
    forget_later(f);
}

void faulty_forget(void)
{
    for (size_t i = 0; i < disk.file_n; i++) {
        forget_later(&disk.files[i]);
        buf_fini(&disk.files[i].safe);
    }
    disk.file_n = 0;
}

/* --- files --- */

static struct faulty_file *file_of(sqlite3_file *f)
{
    return (struct faulty_file *)f;
}

static int faulty_close(sqlite3_file *f)
{
    return file_of(f)->below->pMethods->xClose(file_of(f)->below);
}

static int faulty_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    if (disk_fails(OP_READ))
        return disk_says(OP_READ);
    return file_of(f)->below->pMethods->xRead(file_of(f)->below, p, n, at);
}

/* A write that fails has written a part. */
static int faulty_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    bool fails = disk_fails(OP_WRITE);
    if (fails)
        n = (int)test_random_below(&disk.random, (uint32_t)n + 1);
    int code = n > 0 ? file_of(f)->below->pMethods->xWrite(file_of(f)->below, p, n, at) : SQLITE_OK;
    note(file_of(f)->of, at, 0, p, (size_t)n);
    return fails ? disk_says(OP_WRITE) : code;
}

static int faulty_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (disk_fails(OP_TRUNCATE))
        return disk_says(OP_TRUNCATE);
    note(file_of(f)->of, -1, size, "", 0);
    return file_of(f)->below->pMethods->xTruncate(file_of(f)->below, size);
}

/* The real disk need not be synced. */
static int faulty_sync(sqlite3_file *f, int flags)
{
    (void)flags;
    if (disk_fails(OP_SYNC))
        return disk_says(OP_SYNC);
    make_safe(file_of(f)->of);
    return SQLITE_OK;
}

static int faulty_file_size(sqlite3_file *f, sqlite3_int64 *out)
{
    return file_of(f)->below->pMethods->xFileSize(file_of(f)->below, out);
}

static int faulty_lock(sqlite3_file *f, int level)
{
    if (disk_fails(OP_LOCK))
        return disk_says(OP_LOCK);
    return file_of(f)->below->pMethods->xLock(file_of(f)->below, level);
}

static int faulty_unlock(sqlite3_file *f, int level)
{
    return file_of(f)->below->pMethods->xUnlock(file_of(f)->below, level);
}

static int faulty_check_reserved_lock(sqlite3_file *f, int *out)
{
    return file_of(f)->below->pMethods->xCheckReservedLock(file_of(f)->below, out);
}

static int faulty_file_control(sqlite3_file *f, int op, void *arg)
{
    if (op == SQLITE_FCNTL_LAST_ERRNO && disk.last_errno != 0) {
        *(int *)arg = disk.last_errno;
        return SQLITE_OK;
    }
    return file_of(f)->below->pMethods->xFileControl(file_of(f)->below, op, arg);
}

static int faulty_sector_size(sqlite3_file *f)
{
    return file_of(f)->below->pMethods->xSectorSize(file_of(f)->below);
}

/* The disk gives no guarantees. */
static int faulty_characteristics(sqlite3_file *f)
{
    (void)f;
    return 0;
}

static int faulty_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    if (disk_fails(OP_INDEX))
        return disk_says(OP_INDEX);
    return file_of(f)->below->pMethods->xShmMap(file_of(f)->below, page, size, extend, out);
}

static int faulty_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    if ((flags & SQLITE_SHM_LOCK) != 0 && disk_fails(OP_LOCK))
        return SQLITE_IOERR_SHMLOCK;
    return file_of(f)->below->pMethods->xShmLock(file_of(f)->below, offset, n, flags);
}

static void faulty_shm_barrier(sqlite3_file *f)
{
    file_of(f)->below->pMethods->xShmBarrier(file_of(f)->below);
}

static int faulty_shm_unmap(sqlite3_file *f, int delete)
{
    return file_of(f)->below->pMethods->xShmUnmap(file_of(f)->below, delete);
}

static const sqlite3_io_methods faulty_methods = {
    .iVersion = 2,
    .xClose = faulty_close,
    .xRead = faulty_read,
    .xWrite = faulty_write,
    .xTruncate = faulty_truncate,
    .xSync = faulty_sync,
    .xFileSize = faulty_file_size,
    .xLock = faulty_lock,
    .xUnlock = faulty_unlock,
    .xCheckReservedLock = faulty_check_reserved_lock,
    .xFileControl = faulty_file_control,
    .xSectorSize = faulty_sector_size,
    .xDeviceCharacteristics = faulty_characteristics,
    .xShmMap = faulty_shm_map,
    .xShmLock = faulty_shm_lock,
    .xShmBarrier = faulty_shm_barrier,
    .xShmUnmap = faulty_shm_unmap,
};

/* --- the whole --- */

static int faulty_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags, int *out_flags)
{
    struct faulty_file *file = file_of(f);
    (void)vfs;
    if (disk_fails(OP_OPEN))
        return disk_says(OP_OPEN);
    *file = (struct faulty_file){.below = (sqlite3_file *)(file + 1)};
    int code = disk.below->xOpen(disk.below, path, file->below, flags, out_flags);
    if (code != SQLITE_OK)
        return code;
    file->base.pMethods = &faulty_methods;
    if (path != NULL && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL)) != 0)
        file->of = disk_file_of(path);
    return SQLITE_OK;
}

static int faulty_delete(sqlite3_vfs *vfs, const char *path, int sync_directory)
{
    (void)vfs;
    if (disk_fails(OP_DELETE))
        return disk_says(OP_DELETE);
    struct disk_file *f = disk_file_of(path);
    forget_later(f);
    buf_clear(&f->safe);
    return disk.below->xDelete(disk.below, path, sync_directory);
}

void faulty_install(void)
{
    disk.below = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.below;
    disk.vfs.zName = "faulty";
    disk.vfs.szOsFile = (int)sizeof(struct faulty_file) + disk.below->szOsFile;
    disk.vfs.xOpen = faulty_open;
    disk.vfs.xDelete = faulty_delete;
    sqlite3_vfs_register(&disk.vfs, 1);
}

void faulty_remove(void)
{
    faulty_forget();
    sqlite3_vfs_unregister(&disk.vfs);
}

void faulty_arm(enum fault_kind kind, unsigned long at, uint64_t seed)
{
    disk.ops = OPS_THAT_CHANGE;
    disk.answer = ANSWER_USUAL;
    disk.at = at;
    disk.seen = 0;
    disk.last_errno = 0;
    disk.random.state = seed;
    disk.kind = kind;
}

void faulty_choose(unsigned ops, enum disk_answer answer)
{
    disk.ops = ops;
    disk.answer = answer;
}

bool faulty_struck(void)
{
    return disk.kind != FAULT_NONE && disk.seen >= disk.at;
}

void faulty_set_kind(enum fault_kind kind)
{
    disk.kind = kind;
}

void faulty_power_back(void)
{
    for (size_t i = 0; i < disk.file_n; i++) {
        struct disk_file *f = &disk.files[i];
        for (size_t k = 0; k < f->later_n; k++) {
            struct unsynced *u = &f->later[k];
            uint32_t fate = test_random_below(&disk.random, 3);
            if (fate == 0)
                continue;
            size_t sectors = buf_len(&u->bytes) / 512;
            if (fate == 1 && sectors > 0)
                resize(&u->bytes, 512 * test_random_below(&disk.random, (uint32_t)sectors + 1));
            apply(&f->safe, u);
        }
        forget_later(f);
        if (access(f->path, F_OK) != 0)
            continue;
        FILE *out = fopen(f->path, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(buf_str(&f->safe).p, 1, buf_len(&f->safe), out), buf_len(&f->safe));
        assert_int_equal(fclose(out), 0);
    }
    faulty_arm(FAULT_NONE, 0, 1);
}
