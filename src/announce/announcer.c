#include "announce/announcer.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"

LOG_MODULE("announce");

METRIC_GAUGE(connected, "fullscale_relay_control_connected", "", "1 while the control server answers this relay.");
METRIC_COUNTER(answered, "fullscale_relay_control_requests_total", "result=\"ok\"",
               "Requests of this relay to its control server.");
METRIC_COUNTER(failed, "fullscale_relay_control_requests_total", "result=\"failed\"", "");
METRIC_COUNTER(crowded_out, "fullscale_relay_admissions_crowded_out_total", "",
               "Logins refused because too many others waited for the control server's answer.");
METRIC_COUNTER(admitted_from_memory, "fullscale_relay_admissions_unasked_total", "",
               "Clients admitted while the control server did not answer.");

enum {
    ANNOUNCE_TIMEOUT_MS = 30 * 1000, /* the server holds an announcement for 20 s */
    ASK_TIMEOUT_MS = 10 * 1000,
    LEAVE_TIMEOUT_MS = 3 * 1000,
    VERIFY_TIMEOUT_MS = 5 * 1000,
    RETRY_FIRST_MS = 1000,
    RETRY_MAX_MS = 15 * 1000,
    ROUND_FAST_MS = 100,    /* an answer that comes sooner is fast */
    ROUNDS_FAST_MAX = 20,   /* in a row: from then on there is a pause between announcements */
    KNOWN_MAX = 200 * 1000, /* node keys that are remembered as admitted */
    QUESTIONS_MAX = 32,     /* under way; the others wait in a list, where they cost little and do not time out */
    WAITING_MAX =
        4096, /* logins in that list; for one more the oldest is refused: its client has given up, or tries again */
    URL_CAP = 512,
};

struct announcer {
    char announce_url[URL_CAP], verify_url[URL_CAP];
    char *key;                  /* secret */
    struct announcer_opts opts; /* without the key and the URL */
    struct announcement about;
    struct fetch *fetch;
    atomic_bool is_leaving;
    atomic_uint_least64_t number; /* of the last announcement */
    /* on the loop */
    struct relay *relay;
    struct loop *loop;
    struct loop_timer *timer;
    int64_t retry_ms; /* the next pause; 0: none failed */
    int64_t announced_ms;
    unsigned fast_n; /* answers in a row that were fast */
    uint64_t news;
    unsigned round;   /* of announcements: an answer to an earlier one is ignored */
    bool is_reported; /* a log line says that the server does not answer */
    bool is_cert_new; /* the server has not confirmed it */
    bool is_stranger; /* the server does not know this relay any more */
    /* any thread, under the lock */
    pthread_mutex_t lock;
    struct map known; /* node key -> itself: admitted, and not revoked since */
    /* struct question.link: not asked yet. Nodes that were admitted before stand in front of the others. */
    struct list waiting;
    struct list *last_known; /* the last such node in the list; the list's head: none */
    unsigned waiting_n;
    unsigned asked_n;    /* questions under way */
    char cert_name[256]; /* the loop, which alone changes it, may read it without the lock */
};

struct announcer *announcer_create(const struct announcer_opts *opts, struct fetch *fetch)
{
    struct announcer *a = MEM_NEW(struct announcer);
    uint8_t seed[16];
    rng_bytes(seed, sizeof(seed));
    snprintf(a->announce_url, sizeof(a->announce_url), "%s/relay/announce", opts->server_url);
    snprintf(a->verify_url, sizeof(a->verify_url), "%s/verify", opts->server_url);
    a->key = mem_strdup(opts->key);
    a->opts = *opts;
    a->opts.key = a->opts.server_url = NULL;
    a->about = opts->about;
    a->about.cert_name = a->cert_name;
    a->about.started_ms = (uint64_t)clock_wall_ms();
    a->fetch = fetch;
    pthread_mutex_init(&a->lock, NULL);
    map_init(&a->known, seed);
    list_init(&a->waiting);
    a->last_known = &a->waiting;
    if (a->opts.max_waiting == 0)
        a->opts.max_waiting = WAITING_MAX;
    return a;
}

struct question {
    struct list link; /* of announcer.waiting */
    struct announcer *a;
    struct relay_admission *login;
    node_key key;
    char source[ADDR_TEXT_CAP];
};

void announcer_destroy(struct announcer **at)
{
    struct announcer *a = *at;
    void *key;
    *at = NULL;
    if (a == NULL)
        return;
    loop_timer_destroy(&a->timer);
    for (size_t pos = 0; (key = map_next(&a->known, &pos)) != NULL;)
        mem_free(key);
    map_fini(&a->known);
    LIST_EACH_SAFE (it, &a->waiting) /* the relay frees the logins itself */
        mem_free(LIST_ENTRY(it, struct question, link));
    pthread_mutex_destroy(&a->lock);
    secret_wipe(a->key, strlen(a->key));
    mem_free(a->key);
    mem_free(a);
}

/* --- clients that the server has admitted --- */

static void remember(struct announcer *a, const node_key *key, bool is_allowed)
{
    pthread_mutex_lock(&a->lock);
    node_key *kept = map_get(&a->known, key->b, KEY_BYTES);
    if (is_allowed && kept == NULL && a->known.n < KNOWN_MAX) {
        kept = MEM_NEW(node_key);
        *kept = *key;
        map_put(&a->known, kept->b, KEY_BYTES, kept);
    } else if (!is_allowed && kept != NULL) {
        map_remove(&a->known, kept->b, KEY_BYTES);
        mem_free(kept);
    }
    pthread_mutex_unlock(&a->lock);
}

static bool is_known(struct announcer *a, const node_key *key)
{
    pthread_mutex_lock(&a->lock);
    bool found = map_get(&a->known, key->b, KEY_BYTES) != NULL;
    pthread_mutex_unlock(&a->lock);
    return found;
}

/* --- one POST --- */

static void post(struct announcer *a, const char *url, const struct buf *body, int64_t timeout_ms, fetch_done done,
                 void *ctx)
{
    struct fetch_request req = {.url = url, .bearer = a->key, .body = buf_str(body), .timeout_ms = timeout_ms};
    fetch_start(a->fetch, &req, done, ctx);
}

static void post_announcement(struct announcer *a, const struct announcement *about, int64_t timeout_ms,
                              fetch_done done, void *ctx)
{
    struct announcement numbered = *about;
    struct buf body = {0};
    numbered.number = atomic_fetch_add(&a->number, 1) + 1;
    announcement_write(&numbered, &body);
    post(a, a->announce_url, &body, timeout_ms, done, ctx);
    buf_fini(&body);
}

/* What a reply other than 200 means. */
static enum rc refusal(const struct fetch_reply *reply, struct err *err)
{
    if (reply->rc != RC_OK)
        return err_set(err, reply->rc, "%s", reply->error);
    if (reply->status == 401)
        return err_set(
            err, RC_DENIED,
            "the control server does not know this relay's key: make one there with `fullscale relays create "
            "NAME`, and start this relay with --key");
    if (reply->status == 409)
        return err_set(err, RC_EXISTS,
                       "another relay that was started later uses the same key: enrol each with a key of its own "
                       "(`fullscale relays create NAME` there)");
    if (reply->status >= 500 || reply->status == 429) /* what a proxy answers while the server behind it restarts */
        return err_set(err, RC_IO, "the control server, or a proxy in front of it, answers with status %d",
                       reply->status);
    if (reply->status != 200)
        return err_set(err, RC_INVALID, "the control server answers with status %d (is --server its URL?)",
                       reply->status);
    return RC_OK;
}

/* --- blocking --- */

struct wait {
    sem_t done;
    enum rc rc;
    struct err err;
    struct announcement_reply reply; /* without its lists */
};

static void on_awaited(void *ctx, const struct fetch_reply *reply)
{
    struct wait *w = ctx;
    struct arena arena = {0};
    w->rc = refusal(reply, &w->err);
    if (w->rc == RC_OK)
        w->rc = announcement_reply_parse(&arena, reply->body, &w->reply, &w->err);
    w->reply.revoked_n = w->reply.neighbour_n = 0;
    arena_fini(&arena);
    sem_post(&w->done);
}

static void post_and_wait(struct announcer *a, const struct announcement *about, int64_t timeout_ms, struct wait *w)
{
    *w = (struct wait){.rc = RC_OK};
    sem_init(&w->done, 0, 0);
    post_announcement(a, about, timeout_ms, on_awaited, w);
    while (sem_wait(&w->done) != 0) {
    }
    sem_destroy(&w->done);
}

enum rc announcer_ask(struct announcer *a, struct announcement_reply *out, struct err *err)
{
    struct announcement about = a->about;
    struct wait w;
    about.is_starting = true;
    post_and_wait(a, &about, ASK_TIMEOUT_MS, &w);
    if (w.rc == RC_OK && w.reply.is_empty)
        w.rc = err_set(&w.err, RC_INVALID, "the control server answered nothing");
    *out = w.reply;
    *err = w.err;
    return w.rc;
}

void announcer_leave(struct announcer *a)
{
    struct announcement about = a->about;
    char cert_name[sizeof(a->cert_name)];
    struct wait w;
    atomic_store(&a->is_leaving, true);
    pthread_mutex_lock(&a->lock);
    memcpy(cert_name, a->cert_name, sizeof(cert_name));
    pthread_mutex_unlock(&a->lock);
    about.cert_name = cert_name;
    about.is_draining = true;
    post_and_wait(a, &about, LEAVE_TIMEOUT_MS, &w);
    if (w.rc != RC_OK)
        log_warn("the control server did not get the notice that this relay stops; it will notice by itself",
                 LOG_S("why", w.err.text));
}

/* --- announcing, on the loop --- */

struct reply_msg {
    struct loop_msg msg;
    struct announcer *a;
    unsigned round;
    enum rc rc;
    struct err err;
    struct arena arena;
    struct announcement_reply reply;
};

static void announce(struct announcer *a);

static void pause_then_announce(struct announcer *a, enum rc rc, const struct err *why)
{
    uint32_t chance;
    rng_bytes(&chance, sizeof(chance));
    a->retry_ms = a->retry_ms == 0 ? RETRY_FIRST_MS : a->retry_ms * 2 < RETRY_MAX_MS ? a->retry_ms * 2 : RETRY_MAX_MS;
    loop_timer_start(a->timer, a->retry_ms / 2 + (int64_t)chance % a->retry_ms, 0);
    metric_inc(&failed);
    metric_set(&connected, 0);
    if (!a->is_reported && rc == RC_EXISTS)
        log_error("this relay is not in the map", LOG_S("why", why->text));
    else if (!a->is_reported && !a->is_stranger)
        log_warn("the control server does not answer: clients that it admitted before are served, trying again",
                 LOG_S("why", why->text));
    a->is_reported = true;
}

/* The server does not know this relay any more. It would not report keys that are revoked from now on, so no client may
 * stay. */
static void note_stranger(struct announcer *a)
{
    if (a->is_stranger)
        return;
    a->is_stranger = true;
    a->news = 0; /* if it knows this relay again, everything is news */
    log_error("the control server does not know this relay any more (was it deleted?): its clients are sent away");
    a->opts.neighbours(a->opts.ctx, NULL, 0);
    relay_ask_again(a->relay);
}

static void take_news(struct announcer *a, const struct announcement_reply *r)
{
    if (r->is_empty)
        return;
    a->news = r->news;
    for (size_t i = 0; i < r->revoked_n; i++) {
        remember(a, &r->revoked[i], false);
        relay_close_key(a->relay, &r->revoked[i]);
    }
    if (r->resync)
        relay_ask_again(a->relay);
    a->opts.neighbours(a->opts.ctx, r->neighbours, r->neighbour_n);
}

/* The next announcement is sent at once and waits at the server, so that a relay that ends is noticed by its
 * connection. A server that always has news at once is asked with pauses. */
static void announce_next(struct announcer *a)
{
    bool is_fast = loop_now_ms(a->loop) - a->announced_ms < ROUND_FAST_MS;
    a->fast_n = is_fast ? a->fast_n + 1 : 0;
    if (a->fast_n > ROUNDS_FAST_MAX)
        loop_timer_start(a->timer, ROUND_FAST_MS, 0);
    else
        announce(a);
}

static void on_answer(struct announcer *a, const struct announcement_reply *r)
{
    if (a->is_reported || a->retry_ms != 0)
        log_info("the control server answers again");
    a->retry_ms = 0;
    a->is_reported = a->is_stranger = false;
    metric_inc(&answered);
    metric_set(&connected, 1);
    take_news(a, r);
    if (a->is_cert_new && a->opts.cert_announced != NULL)
        a->opts.cert_announced(a->opts.ctx);
    a->is_cert_new = false;
    announce_next(a);
}

static void on_reply(struct loop *loop, struct loop_msg *msg)
{
    struct reply_msg *m = CONTAINER_OF(msg, struct reply_msg, msg);
    struct announcer *a = m->a;
    bool is_current = m->round == a->round && !atomic_load(&a->is_leaving);
    (void)loop;
    if (m->rc == RC_OK && is_current) {
        on_answer(a, &m->reply);
    } else if (is_current) {
        if (m->rc == RC_DENIED)
            note_stranger(a);
        pause_then_announce(a, m->rc, &m->err);
    }
    secret_wipe(&m->reply, sizeof(m->reply));
    arena_fini(&m->arena);
    mem_free(m);
}

static void on_announced(void *ctx, const struct fetch_reply *reply)
{
    struct reply_msg *m = ctx;
    if (reply->rc == RC_CLOSED) { /* the program ends: the loop has stopped */
        mem_free(m);
        return;
    }
    m->rc = refusal(reply, &m->err);
    if (m->rc == RC_OK)
        m->rc = announcement_reply_parse(&m->arena, reply->body, &m->reply, &m->err);
    loop_post(m->a->loop, &m->msg);
}

/* Not after announcer_leave: that would take it back. */
static void announce(struct announcer *a)
{
    struct announcement about = a->about;
    if (atomic_load(&a->is_leaving))
        return;
    struct reply_msg *m = MEM_NEW(struct reply_msg);
    a->announced_ms = loop_now_ms(a->loop);
    loop_timer_stop(a->timer);
    m->msg.run = on_reply;
    m->a = a;
    m->round = ++a->round;
    about.news = a->news;
    post_announcement(a, &about, ANNOUNCE_TIMEOUT_MS, on_announced, m);
}

static void set_cert_name(struct announcer *a, const char *cert_name)
{
    pthread_mutex_lock(&a->lock);
    snprintf(a->cert_name, sizeof(a->cert_name), "%s", cert_name);
    pthread_mutex_unlock(&a->lock);
}

void announcer_set_cert_name(struct announcer *a, const char *cert_name)
{
    set_cert_name(a, cert_name);
    a->is_cert_new = true;
    announce(a);
}

static void on_timer(void *ctx)
{
    announce(ctx);
}

void announcer_start(struct announcer *a, struct relay *relay, struct loop *loop, const char *cert_name)
{
    set_cert_name(a, cert_name);
    a->relay = relay;
    a->loop = loop;
    a->timer = loop_timer_create(loop, on_timer, a);
    loop_timer_start(a->timer, 0, 0);
}

/* --- admission; any loop --- */

static void ask(struct question *q);

/* The lock is held. */
static void leave_queue(struct announcer *a, struct question *q)
{
    if (a->last_known == &q->link)
        a->last_known = q->link.prev;
    list_remove(&q->link);
    a->waiting_n--;
}

/* Nodes that were admitted before do not wait behind others. The lock is held. */
static void join_queue(struct announcer *a, struct question *q, bool is_known)
{
    struct list *behind = is_known ? a->last_known : a->waiting.prev;
    list_push_back(behind->next, &q->link);
    if (is_known)
        a->last_known = &q->link;
    a->waiting_n++;
}

/* The oldest question about an unknown node, or else the oldest of all. The lock is held, and there are some. */
static struct question *pop_oldest(struct announcer *a)
{
    struct list *first = a->last_known->next != &a->waiting ? a->last_known->next : a->waiting.next;
    struct question *q = LIST_ENTRY(first, struct question, link);
    leave_queue(a, q);
    return q;
}

/* A question has ended: the next one may be asked. */
static void ask_next(struct announcer *a)
{
    struct question *next = NULL;
    pthread_mutex_lock(&a->lock);
    if (list_is_empty(&a->waiting)) {
        a->asked_n--;
    } else {
        next = LIST_ENTRY(a->waiting.next, struct question, link);
        leave_queue(a, next);
    }
    pthread_mutex_unlock(&a->lock);
    if (next != NULL)
        ask(next);
}

static void answer_from_memory(struct question *q)
{
    bool is_allowed = q->a->opts.fail_open || is_known(q->a, &q->key);
    metric_inc(&failed);
    metric_add(&admitted_from_memory, is_allowed);
    relay_admit(q->login, is_allowed);
    mem_free(q);
}

/* The server has not answered a question, so it will not answer those that wait either. */
static void answer_all(struct announcer *a)
{
    struct list all;
    list_init(&all);
    pthread_mutex_lock(&a->lock);
    while (!list_is_empty(&a->waiting)) {
        struct question *first = LIST_ENTRY(a->waiting.next, struct question, link);
        leave_queue(a, first);
        list_push_back(&all, &first->link);
    }
    a->asked_n--;
    pthread_mutex_unlock(&a->lock);
    LIST_EACH_SAFE (it, &all)
        answer_from_memory(LIST_ENTRY(it, struct question, link));
}

static void on_verdict(void *ctx, const struct fetch_reply *reply)
{
    struct question *q = ctx;
    struct announcer *a = q->a;
    bool is_allowed = false;
    struct err err;
    enum rc rc = refusal(reply, &err);
    if (reply->rc == RC_CLOSED) { /* the loops have stopped, and the relay frees the login itself */
        mem_free(q);
        return;
    }
    if (rc == RC_OK)
        rc = announcement_verify_reply_parse(reply->body, &is_allowed);
    if (rc != RC_OK && rc != RC_DENIED) {
        answer_from_memory(q);
        answer_all(a);
        return;
    }
    if (rc == RC_OK) {
        metric_inc(&answered);
        remember(a, &q->key, is_allowed);
    }
    relay_admit(q->login, is_allowed);
    mem_free(q);
    ask_next(a);
}

static void ask(struct question *q)
{
    struct buf body = {0};
    announcement_verify_request_write(&q->key, q->source, &body);
    post(q->a, q->a->verify_url, &body, VERIFY_TIMEOUT_MS, on_verdict, q);
    buf_fini(&body);
}

void announcer_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from)
{
    struct announcer *a = ctx;
    if (atomic_load(&a->is_leaving))
        return; /* no client is let in any more, and the relay frees the login itself */
    struct question *q = MEM_NEW(struct question);
    *q = (struct question){.a = a, .login = login, .key = *key};
    list_init(&q->link);
    if (from->family != 0)
        addr_format(from, false, q->source);
    struct question *refused = NULL;
    pthread_mutex_lock(&a->lock);
    bool is_now = a->asked_n < QUESTIONS_MAX;
    if (is_now)
        a->asked_n++;
    else
        join_queue(a, q, map_get(&a->known, key->b, KEY_BYTES) != NULL);
    if (a->waiting_n > a->opts.max_waiting)
        refused = pop_oldest(a);
    pthread_mutex_unlock(&a->lock);
    if (is_now)
        ask(q);
    if (refused != NULL) {
        metric_inc(&crowded_out);
        relay_admit(refused->login, false);
        mem_free(refused);
    }
}
