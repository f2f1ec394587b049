/* A disk under SQLite that can be made to fail or to lose power, for tests. There is one; one thread uses it at a time.
 *
 * It wraps SQLite's own file access and is the default while installed. Operations are numbered from 1: those that
 * change a disk (write, sync, truncate, delete), or those that faulty_choose names; the fault happens at a chosen
 * number. As on a real disk, what was written and not yet synced can be read from the file, but is not safe: when power
 * is lost any part of it may be lost. */
#ifndef STORE_FAULTY_VFS_H
#define STORE_FAULTY_VFS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_ONCE,     /* this operation fails, the next works again */
    FAULT_FOR_EVER, /* this one and all later ones fail: the disk is full or gone */
    FAULT_POWER,    /* as for ever; then faulty_power_back */
};

/* Operations of the disk. */
enum disk_op {
    OP_WRITE = 1,
    OP_SYNC = 2,
    OP_TRUNCATE = 4,
    OP_DELETE = 8,
    OP_OPEN = 16,
    OP_READ = 32,
    OP_LOCK = 64,
    OP_INDEX = 128, /* a page of the log's index, which is shared memory */
};
enum { OPS_THAT_CHANGE = OP_WRITE | OP_SYNC | OP_TRUNCATE | OP_DELETE };

/* How an operation fails. */
enum disk_answer {
    ANSWER_USUAL, /* writes as on a full disk, everything else as on a broken one */
    ANSWER_FULL,
    ANSWER_BROKEN,
};

/* Becomes SQLite's default. */
void faulty_install(void);
/* SQLite's own file access is the default again. */
void faulty_remove(void);
/* Forgets which files there are: they have been removed. */
void faulty_forget(void);
/* The fault happens at operation `at` from now on, counted from 1. */
void faulty_arm(enum fault_kind kind, unsigned long at, uint64_t seed);
/* After faulty_arm: which operations count (enum disk_op), and what those that fail say. */
void faulty_choose(unsigned ops, enum disk_answer answer);
/* Whether the fault happened. */
bool faulty_struck(void);
/* Another kind of fault from now on, without counting anew. */
void faulty_set_kind(enum fault_kind kind);
/* Makes the disk what it is when power comes back: what was synced, and of the rest any writes, each wholly or up to a
 * sector. With all connections closed. */
void faulty_power_back(void);

#endif
