#include "hostile/life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* --- requests --- */

static unsigned life_try_kept(const struct books *b, enum step s)
{
    for (unsigned t = 0; t < TRIES; t++) {
        if (b->fates[s][t] == KEPT)
            return t;
    }
    world_check(false, "it was acknowledged before");
    return 0;
}

static struct str life_user_name(enum step s, unsigned t, char out[32])
{
    snprintf(out, 32, "user-%u-%u", (unsigned)s, t);
    return str_c(out);
}

static const struct user *life_user(const struct state *st, enum step s, unsigned t)
{
    char name[32];
    return state_user_by_name(st, life_user_name(s, t, name));
}

static struct str life_policy_text(unsigned t, char out[128])
{
    snprintf(out, 128, "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:%u\"]}]}", 1000 + t);
    return str_c(out);
}

static struct prefix life_route(unsigned t)
{
    return (struct prefix){.ip = {.family = 4, .ip = {10, (uint8_t)t}}, .bits = 16};
}

static const struct node *life_node(const struct state *st, enum step s, unsigned t)
{
    node_key key;
    world_key((unsigned)s * TRIES + t, &key);
    return state_node_by_key(st, &key);
}

static bool life_ask_user(struct state *st, enum step s, unsigned t, int64_t now_ms)
{
    char name[32];
    const struct user *u;
    struct err err;
    struct user_spec spec = {.name = life_user_name(s, t, name)};
    return state_user_create(st, &spec, now_ms, &u, &err) == RC_OK;
}

static bool life_ask_key(struct books *b, struct state *st, unsigned t, int64_t now_ms)
{
    const uint8_t random[AUTH_KEY_RANDOM_BYTES] = {(uint8_t)(t + 1)};
    const struct user *u = life_user(st, STEP_USER, life_try_kept(b, STEP_USER));
    struct auth_key_spec spec = {.user = u != NULL ? u->id : 0, .is_reusable = true};
    const struct auth_key *k;
    struct err err;
    return state_key_create(st, &spec, random, now_ms, &k, b->key_texts[t], &err) == RC_OK;
}

static bool life_ask_policy(struct state *st, unsigned t, int64_t now_ms)
{
    char text[128];
    struct policy_doc *doc = NULL;
    struct policy_errors errors = {0};
    const struct policy_text *out;
    struct err err;
    CHECK(policy_parse(life_policy_text(t, text), NULL, &doc, &errors) == RC_OK);
    enum rc rc = state_policy_store(st, doc, STR("ann"), STR("why"), now_ms, &out, &err);
    policy_doc_unref(&doc);
    return rc == RC_OK;
}

static bool life_ask_route(const struct books *b, struct state *st, unsigned t)
{
    const struct node *n = life_node(st, STEP_JOIN, life_try_kept(b, STEP_JOIN));
    const struct prefix route = life_route(t);
    struct err err;
    return n != NULL && state_node_approve_routes(st, n->id, &route, 1, &n, &err) == RC_OK;
}

/* On the core's thread. False: the state refuses it. */
static bool life_do(struct books *b, struct state *st, enum step s, unsigned t, int64_t now_ms)
{
    switch (s) {
    case STEP_USER:
    case STEP_SECOND_USER: return life_ask_user(st, s, t, now_ms);
    case STEP_KEY: return life_ask_key(b, st, t, now_ms);
    case STEP_POLICY: return life_ask_policy(st, t, now_ms);
    case STEP_ROUTE: return life_ask_route(b, st, t);
    case STEP_JOIN:
    case STEP_SECOND_JOIN:
    case STEP_THIRD_JOIN:
        return world_join(st, (unsigned)s * TRIES + t, b->key_texts[life_try_kept(b, STEP_KEY)]) != NULL;
    case STEP_RESTART:
    case STEPS: break;
    }
    return false;
}

/* --- checks of what a request has left --- */

static bool life_has_policy(const struct state *st, unsigned t)
{
    char text[128];
    size_t pos = 0;
    const struct policy_text *p;
    struct str want = life_policy_text(t, text);
    while ((p = state_policy_text_next(st, &pos)) != NULL) {
        if (str_eq(str_n((const char *)p->text->data, p->text->len), want))
            return true;
    }
    return false;
}

static bool life_has_route(const struct books *b, const struct state *st, unsigned t)
{
    const struct prefix route = life_route(t);
    if (b->fates[STEP_ROUTE][t] == NOT_ASKED)
        return false;
    const struct node *n = life_node(st, STEP_JOIN, life_try_kept(b, STEP_JOIN));
    return n != NULL && prefix_list_has(n->approved, &route);
}

static bool life_has(const struct books *b, const struct state *st, enum step s, unsigned t)
{
    switch (s) {
    case STEP_USER:
    case STEP_SECOND_USER: return life_user(st, s, t) != NULL;
    case STEP_KEY: return b->key_texts[t][0] != '\0' && state_key_by_text(st, str_c(b->key_texts[t])) != NULL;
    case STEP_POLICY: return life_has_policy(st, t);
    case STEP_ROUTE: return life_has_route(b, st, t);
    case STEP_JOIN:
    case STEP_SECOND_JOIN:
    case STEP_THIRD_JOIN: return life_node(st, s, t) != NULL;
    case STEP_RESTART:
    case STEPS: break;
    }
    return false;
}

/* Everything acknowledged is there, and nothing that was refused. */
static void life_look(const struct books *b, const struct state *st)
{
    for (unsigned s = 0; s < STEPS; s++) {
        for (unsigned t = 0; t < TRIES; t++) {
            bool has = life_has(b, st, (enum step)s, t);
            if (b->fates[s][t] == ASKED || has == (b->fates[s][t] == KEPT))
                continue;
            fprintf(stderr, "step %u, try %u was %s, and is %s\n", s, t,
                    b->fates[s][t] == KEPT      ? "acknowledged"
                    : b->fates[s][t] == REFUSED ? "refused"
                                                : "never asked for",
                    has ? "there" : "not there");
            abort();
        }
    }
}

/* --- the server --- */

static void life_published(void *ctx, struct tailnet *t, struct change *c)
{
    (void)t;
    (void)ctx;
    (void)c;
}

static void life_revoked(void *ctx, struct tailnet *t, const node_key *key)
{
    (void)t;
    (void)ctx;
    (void)key;
}

static enum rc life_open(const char *path, struct store **store_out, struct state **st_out, struct err *err)
{
    const struct store_options options = {.sqlite_path = path, .wal_autocheckpoint_pages = 20};
    TRY(store_open_sqlite(&options, store_out, err));
    *st_out = world_state();
    enum rc rc = store_load(*store_out, 1, *st_out, clock_wall_ms(), err);
    if (rc == RC_OK)
        return RC_OK;
    store_close(store_out);
    state_destroy(st_out);
    return rc;
}

static void life_check_reason(const struct life *l, enum rc rc, const char *text)
{
    if (rc == RC_OK || l->trouble->why == RC_OK || rc == l->trouble->why)
        return;
    fprintf(stderr, "the reason is said to be: %s\n", text);
    abort();
}

/* A start that fails gives the reason and has no other effect; the service manager starts the server again. */
static void life_start(struct life *l)
{
    const struct core_hooks hooks = {.published = life_published, .key_revoked = life_revoked};
    const struct tailnet_options tailnet = {.id = 1, .name = "default", .server_url = "https://example.com"};
    struct state *st;
    struct err err = {0};
    for (unsigned i = 0; life_open(l->path, &l->store, &st, &err) != RC_OK; i++) {
        CHECK(i == 0 && err.text[0] != '\0');
        life_check_reason(l, err.code, err.text);
        l->books->failed_starts++;
        if (l->trouble->is_for_ever)
            l->trouble->end(l->trouble->ctx);
    }
    life_look(l->books, st);
    l->core = core_create(l->store, core_clocks_apart_ms(), &hooks);
    l->tailnet = core_add_tailnet(l->core, &tailnet, st);
    core_start(l->core);
}

static void life_stop(struct life *l)
{
    core_stop(l->core);
    store_close(&l->store);
    core_destroy(&l->core);
}

/* --- asking --- */

static void life_job_run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct life_job *j = (struct life_job *)job;
    if (j->is_look)
        life_look(j->life->books, st);
    else
        j->is_good = life_do(j->life->books, st, j->step, j->try, now_ms);
}

static void life_job_done(struct core_job *job)
{
    struct life_job *j = (struct life_job *)job;
    j->is_done = true;
    loop_stop(j->life->loop);
}

/* Returns why the core refuses it. */
static enum rc life_post(struct life *l, struct life_job *j)
{
    j->life = l;
    j->job = (struct core_job){.tailnet = l->tailnet,
                               .home = l->loop,
                               .kind = j->is_look ? JOB_FRESH : JOB_PEN,
                               .run = life_job_run,
                               .done = life_job_done};
    core_post(l->core, &j->job);
    while (!j->is_done)
        loop_run(l->loop);
    return j->job.refused;
}

static bool life_ask(struct life *l, enum step s, unsigned t)
{
    enum fate *fate = &l->books->fates[s][t];
    struct life_job j = {.step = s, .try = t};
    *fate = ASKED;
    enum rc rc = life_post(l, &j);
    CHECK(rc != RC_OK || j.is_good);
    life_check_reason(l, rc, store_refusal_text(rc));
    *fate = rc == RC_OK ? KEPT : REFUSED;
    l->books->refusals += rc != RC_OK;
    return rc == RC_OK;
}

static void life_wait_recovered(struct life *l)
{
    loop_timer_start(l->look_again, LOOK_AGAIN_MS, LOOK_AGAIN_MS);
    do
        loop_run(l->loop);
    while (core_fault(l->core) != RC_OK);
    loop_timer_stop(l->look_again);
}

static void life_step(struct life *l, enum step s)
{
    for (unsigned t = 0; !life_ask(l, s, t); t++) {
        CHECK(t + 1 < TRIES);
        if (l->trouble->is_for_ever && t == 0)
            continue; /* refused as well */
        if (l->trouble->is_for_ever)
            l->trouble->end(l->trouble->ctx);
        life_wait_recovered(l);
    }
}

static void life_guard(void *ctx)
{
    (void)ctx;
    world_check(false, "it goes on");
}

static void life_wake(void *ctx)
{
    loop_stop(((struct life *)ctx)->loop);
}

static void life_begins(struct life *l, enum phase phase)
{
    const struct trouble *t = l->trouble;
    if (t->phase == PHASE_STEPS && phase == PHASE_RESTART)
        t->end(t->ctx);
    if (t->phase == phase)
        t->begin(t->ctx);
}

static void life_restart(struct life *l)
{
    life_stop(l);
    life_begins(l, PHASE_RESTART);
    life_start(l);
}

void life_live(struct life *l)
{
    l->loop = loop_create(0);
    l->guard = loop_timer_create(l->loop, life_guard, l);
    l->look_again = loop_timer_create(l->loop, life_wake, l);
    loop_timer_start(l->guard, LIFE_GUARD_MS, 0);
    life_begins(l, PHASE_START);
    life_start(l);
    life_begins(l, PHASE_STEPS);
    for (unsigned s = 0; s < STEPS; s++) {
        if (s == STEP_RESTART)
            life_restart(l);
        else
            life_step(l, (enum step)s);
    }
    CHECK(life_post(l, &(struct life_job){.is_look = true}) == RC_OK);
    life_stop(l);
    loop_timer_destroy(&l->guard);
    loop_timer_destroy(&l->look_again);
    loop_destroy(&l->loop);
}

void life_inspect(const char *path, const struct books *b)
{
    struct store *store;
    struct state *st;
    struct err err = {0};
    if (life_open(path, &store, &st, &err) != RC_OK)
        fprintf(stderr, "%s\n", err.text);
    CHECK(err.text[0] == '\0');
    life_look(b, st);
    store_close(&store);
    state_destroy(&st);
}
