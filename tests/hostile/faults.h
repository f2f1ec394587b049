/* What can be made to fail below a server: the disk, statements, commits and actions of SQLite, its allocations and
 * ours. A fault is installed before the server starts, armed when a phase of its life begins, and ended after it. */
#ifndef TESTS_HOSTILE_FAULTS_H
#define TESTS_HOSTILE_FAULTS_H

#include <stdatomic.h>

#include "hostile/life.h"
#include "store/faulty_vfs.h"

struct fault {
    void (*install)(void);
    void (*arm)(const struct fault *f);
    void (*end)(void);
    enum phase phase;
    bool is_for_ever;
    unsigned long n;         /* the number of the point, counted from the beginning of the phase */
    unsigned ops;            /* of the disk */
    enum disk_answer answer; /* of the disk */
    bool kills;              /* the process ends itself, in an orderly way */
};

/* Whether the fault happened. */
extern atomic_bool fault_struck;

/* The operations of the disk. */
void fault_disk_arm(const struct fault *f);
void fault_disk_end(void);
/* Everything else is a point that is passed: the one with the number of the fault fails, or all from it on. */
void fault_points_arm(const struct fault *f);
void fault_points_end(void);
/* Passes a point: whether it fails. Any thread. */
bool fault_point(void);
/* Each makes something of SQLite's a point: statements, commits, the actions of statements, allocations. */
void fault_install_statements(void);
void fault_install_commits(void);
void fault_install_actions(void);
void fault_install_memory(void);
/* The allocations of our own: the one that fails ends the process. */
void fault_our_memory_arm(const struct fault *f);
void fault_our_memory_end(void);

#endif
