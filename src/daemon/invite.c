#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/show.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

enum { INVITE_LIFE_MS = 3600 * 1000 };

struct invite_job {
    struct core_job job;
    struct daemon *d;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    char user[USER_NAME_CAP];
    char key[AUTH_KEY_TEXT_CAP]; /* "": none made */
    bool has_users;
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
    j->has_users = state_snapshot(st)->users->n > 0;
    if (!isatty(STDOUT_FILENO))
        return;
    const struct user *u = first_user(st, now_ms);
    if (u == NULL)
        return;
    struct auth_key_spec spec = {.user = u->id, .expires_ms = now_ms + INVITE_LIFE_MS};
    if (state_key_create(st, &spec, j->random, now_ms, &k, j->key, NULL) == RC_OK)
        snprintf(j->user, sizeof(j->user), "%s", u->name);
}

static void print_shown(const char *fmt, ...) PRINTF_LIKE(1, 2);

static void print_shown(const char *fmt, ...)
{
    struct buf text = {0};
    struct buf shown = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    show_append(&shown, buf_str(&text), SHOW_TEXT);
    fputs(buf_cstr(&shown), stdout);
    secret_wipe(text.data, text.cap);
    secret_wipe(shown.data, shown.cap);
    buf_fini(&shown);
    buf_fini(&text);
}

static void print_invitation(const struct invite_job *j)
{
    const char *url = j->d->cfg->server_url;
    if (j->key[0] != '\0')
        print_shown("On the next machine (the key is for one machine of user '%s', within the hour):\n\n"
                    "    tailscale up --login-server %s --auth-key %s\n\n"
                    "If it is logged in elsewhere, add --force-reauth.\n\n",
                    j->user, url, j->key);
    else
        print_shown("To add a machine, make %sa key:  %sfullscale preauthkeys create --user NAME\n"
                    "and type there:%s                tailscale up --login-server %s --auth-key KEY\n\n",
                    j->has_users ? "" : "a user and ", j->has_users ? "" : "fullscale users create NAME && ",
                    j->has_users ? "" : "           ", url);
}

static void done(struct core_job *job)
{
    struct invite_job *j = (struct invite_job *)job;
    if (job->refused != RC_OK)
        j->key[0] = '\0';
    print_shown("\nFullscale %s serves %s\n\n", FULLSCALE_VERSION, j->d->cfg->server_url);
    print_invitation(j);
    fflush(stdout);
    secret_wipe(j, sizeof(*j));
    mem_free(j);
}

void invite_print(struct daemon *d)
{
    struct invite_job *j = MEM_NEW(struct invite_job);
    j->job = (struct core_job){.tailnet = d->tailnet, .home = d->loops[0], .kind = JOB_PEN, .run = run, .done = done};
    j->d = d;
    rng_bytes(j->random, sizeof(j->random));
    core_post(d->core, &j->job);
}
