/* `fullscale relay`: a relay alone, for a control server elsewhere. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "crypto/crypto.h"
#include "daemon/daemon.h"
#include "daemon/daemon_internal.h"

LOG_MODULE("daemon");

enum {
    ENROLMENT_MAX_BYTES = 4096,
    TEXT_CAP = 512,
    CERTIFICATE_CHECK_MS = 60 * 1000, /* soon after the clock was set, too */
    CERTIFICATE_SPREAD_MS = 1000,     /* from the control server's answer until nodes have the new map */
    LAST_WORDS_MS = 200,              /* between closing the last client and the end */
};

/* --- the control server, the key and the region of this relay --- */

struct enrolment {
    char server[TEXT_CAP];
    char key[TEXT_CAP]; /* secret */
};

static void enrolment_path(const struct config *cfg, char out[4096])
{
    snprintf(out, 4096, "%s/relay.json", cfg->state_dir);
}

static bool copy_text(const struct json *root, const char *name, char out[TEXT_CAP])
{
    struct str s;
    if (!json_str(json_get(root, name), &s) || s.len == 0 || s.len >= TEXT_CAP || memchr(s.p, '\0', s.len) != NULL)
        return false;
    snprintf(out, TEXT_CAP, "%.*s", STR_ARG(s));
    return true;
}

static enum rc enrolment_parse(struct str text, const char *path, struct enrolment *out, struct err *err)
{
    struct arena a = {0};
    const struct json *root;
    bool ok = json_parse(&a, text, NULL, &root, NULL) == RC_OK && copy_text(root, "server", out->server) &&
              copy_text(root, "key", out->key);
    arena_fini(&a);
    return ok ? RC_OK : err_set(err, RC_INVALID, "%s is damaged: start with --server URL --key - again", path);
}

/* Values that are not given now are those of the last start. */
static enum rc enrolment_load(const struct config *cfg, const char *server, const char *key, struct enrolment *out,
                              struct err *err)
{
    char path[4096];
    struct buf text = {0};
    enum rc rc = RC_NOT_FOUND;
    enrolment_path(cfg, path);
    if (server == NULL || key == NULL)
        rc = file_read(path, ENROLMENT_MAX_BYTES, &text, err);
    if (rc == RC_OK)
        rc = enrolment_parse(buf_str(&text), path, out, err);
    else if (rc == RC_NOT_FOUND && server != NULL && key != NULL)
        rc = RC_OK;
    else if (rc == RC_NOT_FOUND)
        err_set(
            err, rc,
            "this relay belongs to no control server yet: make a key there with `fullscale relays create NAME`, and "
            "start this one with --server URL --key - (it asks for the key; --key-file FILE and $FULLSCALE_RELAY_KEY "
            "do as well)");
    secret_wipe(text.data, text.cap);
    buf_fini(&text);
    if (rc == RC_OK && server != NULL)
        snprintf(out->server, sizeof(out->server), "%s", server);
    if (rc == RC_OK && key != NULL)
        snprintf(out->key, sizeof(out->key), "%s", key);
    return rc;
}

static enum rc enrolment_check(struct enrolment *e, struct err *err)
{
    size_t n = strlen(e->server);
    while (n > 0 && e->server[n - 1] == '/')
        e->server[--n] = '\0';
    if (strncmp(e->server, "https://", 8) != 0 && strncmp(e->server, "http://", 7) != 0)
        return err_set(err, RC_INVALID, "--server must be a URL such as https://hs.example.com, not '%s'", e->server);
    return RC_OK;
}

static enum rc enrolment_save(const struct config *cfg, const struct enrolment *e, struct err *err)
{
    char path[4096];
    struct buf text = {0};
    struct json_writer w;
    json_w_init(&w, &text);
    json_w_object(&w);
    json_w_kv_cstr(&w, "server", e->server);
    json_w_kv_cstr(&w, "key", e->key);
    json_w_end_object(&w);
    buf_append_byte(&text, '\n');
    enrolment_path(cfg, path);
    enum rc rc = file_save(path, buf_str(&text), err);
    secret_wipe(text.data, text.cap);
    buf_fini(&text);
    return rc;
}

/* --- the program --- */

struct relay_program {
    struct daemon d; /* first */
    struct enrolment enrolment;
    struct derp_certificate certificate;
    struct loop_timer *certificate_timer;
    struct loop_timer *use_timer; /* until nodes know the pin of a renewed certificate */
    struct loop_msg check_msg;    /* SIGHUP came */
    atomic_bool is_check_posted;
    char cert_name[TLS_FINGERPRINT_CAP + 16];
};

static void on_neighbours(void *ctx, const struct relay_neighbour *all, size_t n)
{
    struct err err;
    (void)!daemon_mesh_set(ctx, all, n, &err); /* the listed neighbours were checked at the start */
}

/* A private address is only a guess of this machine; the control server sees the public one. */
static struct announcement describe(const struct relay_program *p)
{
    const struct config *cfg = p->d.cfg;
    struct addr ip;
    bool is_guess = addr_parse_ip(str_c(cfg->derp_server_hostname), &ip) == RC_OK && addr_is_private(&ip);
    return (struct announcement){
        .hostname = is_guess ? "" : cfg->derp_server_hostname,
        .local_ip = is_guess ? cfg->derp_server_hostname : "",
        .ipv4 = cfg->derp_server_ipv4,
        .ipv6 = cfg->derp_server_ipv6,
        .cert_name = "",
        .derp_port = cfg->derp_server_listen_addr.addr.port,
        .stun_port = cfg->derp_server_stun_listen_addr.addr.family != 0 ? cfg->derp_server_stun_listen_addr.addr.port
                                                                        : 0,
    };
}

static void name_certificate(struct relay_program *p, const char *pin)
{
    snprintf(p->cert_name, sizeof(p->cert_name), pin[0] != '\0' ? "sha256-raw:%s" : "%s", pin);
}

/* Waits for SIGTERM or SIGINT; SIGHUP has no meaning yet. */
static bool has_end_signal(const sigset_t *signals, const struct timespec *wait)
{
    int sig = sigtimedwait(signals, NULL, wait);
    return sig > 0 && sig != SIGHUP;
}

/* The secret of the mesh and the control server's consent are needed before the relay is made. While the server does
 * not answer, this waits. */
static enum rc ask_server(struct relay_program *p, const sigset_t *signals, struct err *err)
{
    const struct timespec pause = {.tv_sec = 2};
    struct daemon *d = &p->d;
    struct announcement_reply reply;
    enum rc rc;
    bool has_warned = false;
    while ((rc = announcer_ask(d->announcer, &reply, err)) != RC_OK && rc != RC_DENIED && rc != RC_INVALID) {
        if (!has_warned) {
            log_warn("waiting for the control server", LOG_S("url", p->enrolment.server), LOG_S("why", err->text));
            /* This machine is fine: the service manager must not wait for a control server elsewhere. */
            notify_manager(NOTIFY_READY, "waiting for the control server");
        }
        has_warned = true;
        if (has_end_signal(signals, &pause))
            return err_set(err, RC_CLOSED, "told to end before the control server answered");
    }
    if (rc != RC_OK)
        return rc;
    if (d->cfg->derp_server_mesh_key_path[0] == '\0')
        memcpy(d->mesh_key, reply.mesh_key, sizeof(d->mesh_key));
    log_info("enrolled", LOG_S("as", reply.name), LOG_U("region", reply.region_id), LOG_S("in", reply.region_name));
    secret_wipe(&reply, sizeof(reply));
    return RC_OK;
}

/* The control server knows the new certificate, so nodes know it in a moment. */
static void on_certificate_announced(void *ctx)
{
    struct relay_program *p = ctx;
    loop_timer_start(p->use_timer, CERTIFICATE_SPREAD_MS, 0);
}

static void make_announcer(struct relay_program *p)
{
    struct announcer_opts opts = {
        .server_url = p->enrolment.server,
        .key = p->enrolment.key,
        .about = describe(p),
        .fail_open = p->d.cfg->relay_fail_open,
        .neighbours = on_neighbours,
        .cert_announced = on_certificate_announced,
        .ctx = &p->d,
    };
    p->d.fetch = fetch_create();
    p->d.announcer = announcer_create(&opts, p->d.fetch);
}

static void use_certificate(void *ctx)
{
    struct relay_program *p = ctx;
    tls_server_use_prepared(p->d.derp_tls, p->certificate.pin);
    log_info("the relay's certificate is renewed", LOG_S("sha256", p->certificate.pin));
}

/* A new certificate is served once nodes know its pin: while the control server does not answer, the old one stays. */
static void on_certificate_timer(void *ctx)
{
    struct relay_program *p = ctx;
    if (!daemon_derp_certificate_check(&p->certificate, clock_wall_ms() / 1000))
        return;
    name_certificate(p, p->certificate.pin);
    announcer_set_cert_name(p->d.announcer, p->cert_name);
}

static void watch_certificate(struct relay_program *p)
{
    const struct config *cfg = p->d.cfg;
    if (!daemon_derp_certificate_is_ours(cfg))
        return;
    p->certificate = (struct derp_certificate){.tls = p->d.derp_tls,
                                               .cert_path = cfg->derp_server_tls_cert_path,
                                               .key_path = cfg->derp_server_tls_key_path,
                                               .host = cfg->derp_server_hostname};
    snprintf(p->certificate.pin, sizeof(p->certificate.pin), "%s", p->d.derp_fingerprint);
    p->use_timer = loop_timer_create(p->d.loops[0], use_certificate, p);
    p->certificate_timer = loop_timer_create(p->d.loops[0], on_certificate_timer, p);
    loop_timer_start(p->certificate_timer, CERTIFICATE_CHECK_MS, CERTIFICATE_CHECK_MS);
}

static void on_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    const struct daemon *d = ctx;
    announcer_admit(d->announcer, login, key, from);
}

static enum rc start(struct relay_program *p, const char *server, const char *key, const sigset_t *signals,
                     struct err *err)
{
    struct daemon *d = &p->d;
    if (!daemon_relay_part_has_port(d->cfg))
        return err_set(err, RC_INVALID, "derp.server.listen_addr must say where the relay listens, e.g. [::]:8443");
    TRY(daemon_make_directories(d->cfg->state_dir, 0700, err));
    TRY(enrolment_load(d->cfg, server, key, &p->enrolment, err));
    TRY(enrolment_check(&p->enrolment, err));
    TRY(daemon_mesh_key_read(d->cfg, d->mesh_key, err));
    make_announcer(p);
    TRY(ask_server(p, signals, err));
    TRY(enrolment_save(d->cfg, &p->enrolment, err));
    workers_create(d);
    listeners_prepare(d);
    const struct relay_ops ops = {.ctx = d, .admit = on_admit, .is_proxy = daemon_is_proxy};
    TRY(daemon_relay_part_create(d, &ops, err));
    TRY(daemon_relay_part_certificate(d, err));
    name_certificate(p, d->derp_fingerprint);
    TRY(daemon_relay_part_open(d, err));
    listeners_open_metrics(d);
    watch_certificate(p);
    announcer_start(d->announcer, d->relay, d->loops[0], p->cert_name);
    return RC_OK;
}

/* --- the end --- */

/* Drains the relay, so that clients have time to connect elsewhere; a second signal ends that. */
static void drain(struct relay_program *p, const sigset_t *signals)
{
    struct daemon *d = &p->d;
    int64_t over_ms = d->cfg->relay_drain_ms;
    log_info("draining: a second signal ends it at once", LOG_I("over_ms", over_ms));
    announcer_leave(d->announcer); /* STUN answers until nodes look for another home relay */
    stun_server_set_silent(d->stun, true);
    relay_drain(d->relay, over_ms);
    for (int64_t end_ms = clock_mono_ms() + over_ms; clock_mono_ms() < end_ms && relay_client_count(d->relay) > 0;) {
        const struct timespec step = {.tv_nsec = 100 * 1000 * 1000};
        if (has_end_signal(signals, &step))
            break;
    }
    usleep(LAST_WORDS_MS * 1000);
}

static void clean_up(struct relay_program *p)
{
    struct daemon *d = &p->d;
    fetch_destroy(&d->fetch);
    if (d->worker_n > 0) { /* messages that fetch posted last */
        loop_stop(d->loops[0]);
        loop_run(d->loops[0]);
    }
    loop_timer_destroy(&p->certificate_timer);
    loop_timer_destroy(&p->use_timer);
    announcer_destroy(&d->announcer);
    listeners_close(d);
    daemon_relay_part_destroy(d);
    workers_destroy(d);
    listeners_forget(d);
    secret_wipe(&p->enrolment, sizeof(p->enrolment));
    mem_free(p);
}

static void check_certificate(struct loop *loop, struct loop_msg *msg)
{
    struct relay_program *p = CONTAINER_OF(msg, struct relay_program, check_msg);
    (void)loop;
    atomic_store(&p->is_check_posted, false);
    if (p->certificate_timer != NULL)
        on_certificate_timer(p);
}

static void reload(struct daemon *d)
{
    struct relay_program *p = (struct relay_program *)d;
    log_info("SIGHUP: looking at the certificate again");
    daemon_relay_part_reload(d);
    p->check_msg.run = check_certificate;
    if (!atomic_exchange(&p->is_check_posted, true))
        loop_post(d->loops[0], &p->check_msg);
}

int daemon_relay(const struct config *cfg, const char *server, const char *key)
{
    struct relay_program *p = MEM_NEW(struct relay_program);
    struct err err = {0};
    sigset_t signals;
    p->d.cfg = cfg;
    process_prepare(cfg, &signals);
    if (start(p, server, key, &signals, &err) != RC_OK) {
        clean_up(p);
        return process_cannot_start(&err);
    }
    workers_start(&p->d);
    log_info("relaying", LOG_S("version", FULLSCALE_VERSION), LOG_S("for", p->enrolment.server),
             LOG_S("listen", cfg->derp_server_listen_addr.text), LOG_U("workers", p->d.worker_n));
    notify_manager(NOTIFY_READY, p->enrolment.server);
    process_wait(&signals, reload, NULL, &p->d);
    notify_manager(NOTIFY_STOPPING, "draining");
    drain(p, &signals);
    workers_stop(&p->d);
    clean_up(p);
    return EXIT_SUCCESS;
}
