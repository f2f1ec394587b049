#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

enum { INVITE_LIFE_MS = 3600 * 1000 };

struct invite_job {
    struct core_job job;
    struct daemon *d;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    char user[USER_NAME_CAP];
    char key[AUTH_KEY_TEXT_CAP]; /* "": none made */
};

/* The user with the lowest id, or a new one on the first start. */
static const struct user *first_user(struct state *st, int64_t now_ms)
{
    const struct snapshot *s = state_snapshot(st);
    const struct user *u = NULL;
    if (s->users->n > 0)
        return state_user(st, s->users->users[0]->id);
    struct user_spec spec = {.name = STR("default")};
    return state_user_create(st, &spec, now_ms, &u, NULL) == RC_OK ? u : NULL;
}

static void run(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct invite_job *j = (struct invite_job *)job;
    const struct auth_key *k;
    bool is_first = state_snapshot(st)->users->n == 0;
    if (!is_first && !isatty(STDOUT_FILENO))
        return;
    const struct user *u = first_user(st, now_ms);
    if (u == NULL)
        return;
    struct auth_key_spec spec = {.user = u->id, .expires_ms = now_ms + INVITE_LIFE_MS};
    if (state_key_create(st, &spec, j->random, now_ms, &k, j->key, NULL) == RC_OK)
        snprintf(j->user, sizeof(j->user), "%s", u->name);
}

static void done(struct core_job *job)
{
    struct invite_job *j = (struct invite_job *)job;
    const char *url = j->d->cfg->server_url;
    printf("\nFullscale %s serves %s\n\n", FULLSCALE_VERSION, url);
    if (j->key[0] != '\0')
        printf("On the next machine (the key is for one machine of user '%s', within the hour):\n\n"
               "    tailscale up --login-server %s --auth-key %s\n\n",
               j->user, url, j->key);
    else
        printf("To add a machine, make a key:  fullscale preauthkeys create --user NAME\n"
               "and type there:                tailscale up --login-server %s --auth-key KEY\n\n",
               url);
    fflush(stdout);
    secret_wipe(j, sizeof(*j));
    mem_free(j);
}

void invite_print(struct daemon *d)
{
    struct invite_job *j = MEM_NEW(struct invite_job);
    j->job = (struct core_job){.home = d->loops[0], .run = run, .done = done};
    j->d = d;
    rng_bytes(j->random, sizeof(j->random));
    core_post(d->core, &j->job);
}
