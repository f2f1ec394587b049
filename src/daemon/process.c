/* What `serve` and `relay` need of the process: limits, signals, directories, worker threads. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/show.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

LOG_MODULE("daemon");

/* --- before and after --- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("cannot raise the limit of open files", LOG_S("why", strerror(errno)));
}

/* In every thread but this one, signals wait for sigwait in process_wait. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void log_warnings(const struct config *cfg)
{
    for (size_t i = 0; config_warning(cfg, i) != NULL; i++)
        log_warn("configuration", LOG_S("warning", config_warning(cfg, i)));
}

void process_prepare(const struct config *cfg, sigset_t *signals_out)
{
    log_set_json(cfg->log_format == CONFIG_LOG_JSON);
    if (log_set_level(NULL, (enum log_level)cfg->log_level) != RC_OK)
        log_warn("log level not set");
    log_warnings(cfg);
    block_signals(signals_out);
    raise_file_limit();
    crypto_init();
}

int process_cannot_start(const struct err *err)
{
    char text[1024];
    struct buf shown = {0};
    err_format(err, text, sizeof(text));
    show_append(&shown, str_c(text), SHOW_TEXT);
    fprintf(stderr, "fullscale: cannot start: %s\n", buf_cstr(&shown));
    notify_manager(NOTIFY_STOPPING, buf_cstr(&shown));
    buf_fini(&shown);
    bool is_for_people = err->code == RC_INVALID || err->code == RC_NOT_FOUND || err->code == RC_UNSUPPORTED;
    return is_for_people ? EXIT_CONFIG : EXIT_FAILURE;
}

void process_wait(const sigset_t *signals, void (*reload)(struct daemon *d), void (*tick)(struct daemon *d),
                  struct daemon *d)
{
    static const struct timespec second = {.tv_sec = 1};
    for (;;) {
        int sig = tick != NULL ? sigtimedwait(signals, NULL, &second) : sigwaitinfo(signals, NULL);
        if (sig == SIGHUP)
            reload(d);
        else if (sig > 0)
            return;
        else if (tick != NULL && errno == EAGAIN)
            tick(d);
    }
}

/* --- directories --- */

enum rc daemon_make_directories(const char *path, mode_t mode, struct err *err)
{
    char part[4096];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return err_set(
                err, errno == EACCES ? RC_DENIED : RC_IO,
                "cannot make the directory %s: %s (set state_dir and unix_socket to places that you may write to)",
                part, strerror(errno));
        if (slash == NULL)
            return RC_OK;
        *slash = '/';
    }
}

enum rc daemon_make_parent(const char *path, struct err *err)
{
    char parent[4096];
    snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return RC_OK;
    *slash = '\0';
    return daemon_make_directories(parent, 0755, err);
}

/* --- workers --- */

static unsigned count_workers(const struct config *cfg)
{
    long n = cfg->workers > 0 ? (long)cfg->workers : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

void workers_create(struct daemon *d)
{
    d->worker_n = count_workers(d->cfg);
    for (unsigned i = 0; i < d->worker_n; i++)
        d->loops[i] = d->workers[i].loop = loop_create(i);
}

static void *worker_main(void *arg)
{
    struct daemon_worker *w = arg;
    char name[16];
    snprintf(name, sizeof(name), "worker-%u", loop_index(w->loop));
    pthread_setname_np(pthread_self(), name);
    loop_run(w->loop);
    return NULL;
}

void workers_start(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        pthread_create(&d->workers[i].thread, NULL, worker_main, &d->workers[i]);
}

void workers_stop(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        loop_stop(d->loops[i]);
    for (unsigned i = 0; i < d->worker_n; i++)
        pthread_join(d->workers[i].thread, NULL);
}

void workers_destroy(struct daemon *d)
{
    for (unsigned i = 0; i < d->worker_n; i++)
        loop_destroy(&d->workers[i].loop);
}
