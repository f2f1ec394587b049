/* Pings to routers that have a standby: a link that is cut, or a process that is frozen, leaves the connection open, so
 * such routers are asked, over their polls, to call a URL of this server.
 *
 * A round has three steps, about half of the timeout apart: all are asked; those that have not answered are asked
 * again; those that still have not are silent, and the state decides whether others carry their routes. Rounds begin at
 * each interval.
 *
 * The URL is made for one node and one round, and cannot be forged: it has a code under a key that only this process
 * has, so that a false one is refused without asking the core. The timer is the first worker's; all else that changes
 * is used on the core's thread only.
 * src: docs/protocol/control.md 6.15; tailscale 1.102 control/controlclient/direct.go answerPing, 1.80 likewise: HEAD,
 * and a URL is called once */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/vec.h"
#include "control/control_internal.h"
#include "crypto/crypto.h"

METRIC_COUNTER(
    pings_sent, "fullscale_router_pings_total", "result=\"sent\"",
    "Pings to routers that others stand by for; those that were answered; routers that left two unanswered.");
METRIC_COUNTER(pings_answered, "fullscale_router_pings_total", "result=\"answered\"", "");
METRIC_COUNTER(pings_missed, "fullscale_router_pings_total", "result=\"missed\"", "");
METRIC_COUNTER(pings_foreign, "fullscale_router_pings_total", "result=\"unknown\"", "");
METRIC_COUNTER(fell_silent, "fullscale_routers_silent_total", "",
               "Times a silent router's routes were given to another.");

enum { PING_CODE_BYTES = 16, PING_FACTS_BYTES = 4 + 4 + 8 + 1 };

static void write_number(uint8_t *out, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
}

static uint64_t read_number(const uint8_t *in, int bytes)
{
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number = number << 8 | in[i];
    return number;
}

static void write_facts(const struct ping_id *id, uint8_t out[PING_FACTS_BYTES])
{
    write_number(out, id->tailnet, 4);
    write_number(out + 4, id->index, 4);
    write_number(out + 8, id->round, 8);
    out[16] = id->attempt;
}

static void read_facts(const uint8_t in[PING_FACTS_BYTES], struct ping_id *out)
{
    *out = (struct ping_id){.tailnet = (uint32_t)read_number(in, 4),
                            .index = (uint32_t)read_number(in + 4, 4),
                            .round = read_number(in + 8, 8),
                            .attempt = in[16]};
}

void pings_id_text(const struct pings *p, const struct ping_id *id, char out[PING_TEXT_CAP])
{
    uint8_t bytes[PING_FACTS_BYTES + PING_CODE_BYTES], code[32];
    write_facts(id, bytes);
    hmac_blake2s(p->secret, bytes, PING_FACTS_BYTES, "", 0, code);
    memcpy(bytes + PING_FACTS_BYTES, code, PING_CODE_BYTES);
    hex_encode(bytes, sizeof(bytes), out);
    out[2 * sizeof(bytes)] = '\0';
}

static bool parse_id(const struct pings *p, struct str text, struct ping_id *out)
{
    uint8_t bytes[PING_FACTS_BYTES + PING_CODE_BYTES], code[32];
    if (text.len != 2 * sizeof(bytes) || hex_decode(text, bytes, sizeof(bytes)) != RC_OK)
        return false;
    hmac_blake2s(p->secret, bytes, PING_FACTS_BYTES, "", 0, code);
    read_facts(bytes, out);
    return secret_equal(code, bytes + PING_FACTS_BYTES, PING_CODE_BYTES);
}

/* --- asking: core's thread --- */

struct ask_msg {
    struct loop_msg msg;
    struct control_worker *worker;
    const struct tailnet *tailnet;
    uint64_t session;
    char id[PING_TEXT_CAP];
};

static void on_ask(struct loop *loop, struct loop_msg *msg)
{
    struct ask_msg *m = CONTAINER_OF(msg, struct ask_msg, msg);
    struct buf url = {0};
    (void)loop;
    buf_printf(&url, "%s/machine/ping/%s", m->tailnet->server_url, m->id);
    sessions_ping(m->worker, m->session, buf_str(&url));
    buf_fini(&url);
    mem_free(m);
}

static void ask(const struct control *c, const struct tailnet *t, uint32_t index, uint8_t attempt)
{
    const struct ping_id id = {t->index, index, t->pings->number, attempt};
    const struct newest_poll *poll = newest_polls_get(&t->polls, t->pings->probes[index].node);
    if (poll == NULL)
        return;
    struct ask_msg *m = MEM_NEW(struct ask_msg);
    *m = (struct ask_msg){.msg.run = on_ask, .worker = poll->worker, .tailnet = t, .session = poll->session};
    pings_id_text(&c->pings, &id, m->id);
    metric_inc(&pings_sent);
    loop_post(poll->worker->loop, &m->msg);
}

static void add_probe(struct tailnet *t, node_id id)
{
    struct ping_round *round = t->pings;
    const struct newest_poll *poll = newest_polls_get(&t->polls, id);
    VEC_ROOM(round->probes, round->n, round->cap, 16);
    round->probes[round->n++] = (struct ping_probe){.node = id, .session = poll != NULL ? poll->session : 0};
}

static void begin_round(const struct control *c, struct tailnet *t)
{
    struct ping_round *round = t->pings;
    round->n = 0;
    round->number++;
    for (node_id id = 0; (id = state_router_next(t->state, id)) != 0;)
        add_probe(t, id);
    for (size_t i = 0; i < round->n; i++)
        ask(c, t, (uint32_t)i, 1);
}

static void ask_again(const struct control *c, const struct tailnet *t)
{
    for (size_t i = 0; i < t->pings->n; i++) {
        if (!t->pings->probes[i].has_answered)
            ask(c, t, (uint32_t)i, 2);
    }
}

/* A poll that began meanwhile shows that the router is there, and the question may have missed it. */
static bool is_missed(const struct tailnet *t, const struct ping_probe *probe)
{
    const struct newest_poll *poll = newest_polls_get(&t->polls, probe->node);
    return !probe->has_answered && poll != NULL && poll->session == probe->session;
}

static void judge(const struct tailnet *t)
{
    const struct ping_round *p = t->pings;
    struct state *st = t->state;
    node_id *missed = mem_zalloc(p->n + 1, sizeof(*missed));
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct node *node = state_node(st, p->probes[i].node);
        if (node != NULL && is_missed(t, &p->probes[i]))
            missed[n++] = node->id;
    }
    metric_add(&pings_missed, (int64_t)n);
    metric_add(&fell_silent, (int64_t)state_routers_silent(st, missed, n));
    mem_free(missed);
}

/* --- steps --- */

struct step_job {
    struct core_job job;
    struct control *control;
    enum ping_step step;
};

static void run_step(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct step_job *j = (struct step_job *)job;
    (void)st;
    (void)now_ms;
    switch (j->step) {
    case PING_ASK: begin_round(j->control, job->tailnet); break;
    case PING_ASK_AGAIN: ask_again(j->control, job->tailnet); break;
    case PING_JUDGE: judge(job->tailnet); break;
    }
}

void pings_step(struct control *c, enum ping_step step)
{
    struct tailnet *t;
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++) {
        struct step_job *j = MEM_NEW(struct step_job);
        *j = (struct step_job){.job = {.tailnet = t, .kind = JOB_LOCAL, .run = run_step}, .control = c, .step = step};
        core_post(c->core, &j->job);
    }
}

static void on_timer(void *ctx)
{
    struct control *c = ctx;
    struct pings *p = &c->pings;
    /* A tenth is left for sending the change to peers: routes have moved within interval and timeout. */
    int64_t half_ms = c->options.probe_timeout_ms * 9 / 20, rest_ms = c->options.probe_interval_ms - 2 * half_ms;
    pings_step(c, p->next);
    loop_timer_start(p->timer, p->next == PING_JUDGE ? rest_ms : half_ms, 0);
    p->next = p->next == PING_JUDGE ? PING_ASK : p->next + 1;
}

void pings_init(struct control *c)
{
    struct tailnet *t;
    rng_bytes(c->pings.secret, sizeof(c->pings.secret));
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++)
        t->pings = MEM_NEW(struct ping_round);
    if (c->options.probe_interval_ms == 0)
        return;
    c->pings.timer = loop_timer_create(c->workers[0]->loop, on_timer, c);
    loop_timer_start(c->pings.timer, c->options.probe_interval_ms, 0);
}

void pings_fini(struct control *c)
{
    struct tailnet *t;
    loop_timer_destroy(&c->pings.timer);
    for (unsigned i = 0; (t = core_tailnet(c->core, i)) != NULL; i++) {
        mem_free(t->pings->probes);
        mem_free(t->pings);
        t->pings = NULL;
    }
    explicit_bzero(c->pings.secret, sizeof(c->pings.secret));
}

/* --- HEAD /machine/ping/{id} --- */

struct answer_job {
    struct core_job job;
    struct http_exchange *ex; /* null once the client went away */
    struct ping_id id;
    bool is_known;
};

static void run_answer(struct core_job *job, struct state *st, int64_t now_ms)
{
    struct answer_job *j = (struct answer_job *)job;
    struct ping_round *p = job->tailnet->pings;
    (void)now_ms;
    j->is_known = j->id.round == p->number && j->id.index < p->n;
    if (!j->is_known || p->probes[j->id.index].has_answered)
        return;
    struct ping_probe *probe = &p->probes[j->id.index];
    probe->has_answered = true;
    metric_inc(&pings_answered);
    state_router_answered(st, probe->node);
}

static void refuse_ping(struct http_exchange *ex)
{
    metric_inc(&pings_foreign);
    http_respond_text(ex, 404, "there is no such ping: it was asked for long ago, or by nobody");
}

static void done_answer(struct core_job *job)
{
    struct answer_job *j = (struct answer_job *)job;
    if (j->ex != NULL && j->is_known)
        http_respond(j->ex, 200, NULL, STR_EMPTY);
    else if (j->ex != NULL)
        refuse_ping(j->ex);
    mem_free(j);
}

static void answer_closed(void *ctx)
{
    ((struct answer_job *)ctx)->ex = NULL;
}

void control_handle_ping(void *app, struct http_exchange *ex)
{
    static const struct http_events events = {.closed = answer_closed};
    struct control_worker *w = app;
    struct ping_id id;
    struct tailnet *t = NULL;
    if (parse_id(&w->control->pings, http_request(ex)->params[0], &id))
        t = core_tailnet(w->control->core, id.tailnet);
    if (t == NULL) {
        refuse_ping(ex);
        return;
    }
    struct answer_job *j = MEM_NEW(struct answer_job);
    *j = (struct answer_job){
        .job = {.tailnet = t, .home = w->loop, .kind = JOB_LOCAL, .run = run_answer, .done = done_answer},
        .ex = ex,
        .id = id};
    http_set_events(ex, &events, j);
    /* The code shows that the request comes from a node; finding out which one is not worth a look-up. */
    struct waiting_sender sender = waiting_sender_address(&http_request(ex)->peer);
    sender.kind = WAIT_NODE;
    if (core_offer(w->control->core, &j->job, &sender, sizeof(*j)))
        return;
    control_respond_busy(ex);
    mem_free(j);
}
