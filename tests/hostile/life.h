/* A short life of a server on a machine that fails: a core and a database, a tailnet that begins, a restart in the
 * middle, and books of what was acknowledged and what was refused. For processes of their own: a failed CHECK ends
 * them. */
#ifndef TESTS_HOSTILE_LIFE_H
#define TESTS_HOSTILE_LIFE_H

#include "control/core.h"
#include "hostile/world.h"
#include "store/store.h"

enum step {
    STEP_USER,
    STEP_KEY,
    STEP_JOIN,
    STEP_POLICY,
    STEP_ROUTE,
    STEP_SECOND_JOIN,
    STEP_RESTART, /* of the server; no request */
    STEP_THIRD_JOIN,
    STEP_SECOND_USER,
    STEPS
};

/* Each step is requested until it is acknowledged, each time with other names. */
enum { TRIES = 4, LOOK_AGAIN_MS = 10, LIFE_GUARD_MS = 60000 };

enum fate { NOT_ASKED, ASKED, KEPT, REFUSED };

/* In memory that outlives the process. */
struct books {
    enum fate fates[STEPS][TRIES];
    char key_texts[TRIES][AUTH_KEY_TEXT_CAP];
    unsigned failed_starts;
    unsigned refusals;
    bool struck; /* the life met its fault */
};

enum phase { PHASE_START, PHASE_STEPS, PHASE_RESTART };

/* What a life has to know about its fault. */
struct trouble {
    enum phase phase; /* when it begins; one of the steps before the restart ends with them */
    bool is_for_ever; /* until it is ended */
    enum rc why;      /* the reason that is reported; RC_OK: any */
    void (*begin)(void *ctx);
    void (*end)(void *ctx);
    void *ctx;
};

struct life {
    const char *path;
    struct books *books;
    const struct trouble *trouble;
    struct loop *loop; /* of the client */
    struct loop_timer *guard, *look_again;
    struct core *core;
    struct tailnet *tailnet;
    struct store *store;
};

/* --- requests --- */

/* --- checks of what a request has left --- */

/* --- the server --- */

/* --- asking --- */

struct life_job {
    struct core_job job;
    struct life *life;
    enum step step;
    unsigned try;
    bool is_look; /* no request */
    bool is_good;
    bool is_done;
};

/* Runs the whole life, from the first start to an orderly end. */
void life_live(struct life *l);
/* After the fault: a server that starts finds everything acknowledged, and nothing that was refused. */
void life_inspect(const char *path, const struct books *b);

#endif
