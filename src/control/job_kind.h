/* What a job of the core is about, and so what its answer has to wait for. Constant: any thread. */
#ifndef CONTROL_JOB_KIND_H
#define CONTROL_JOB_KIND_H

/* Each kind may do what the ones before it may. */
enum job_kind {
    /* Presence, and answers that grant what this server's memory already shows: answered at once, also while the disk
     * is slow or full. */
    JOB_LOCAL = 1,
    /* Reads, and every answer that denies something ("no such node", "unknown key"): answered when all that it was
     * read from is on disk. */
    JOB_FRESH,
    /* Writes rows that must survive a crash: answered when they are on disk. The pen is the right to write, which
     * one of several servers has at a time; a server that is alone always has it. */
    JOB_PEN,
};

enum { JOB_KINDS = JOB_PEN + 1 };

#endif
