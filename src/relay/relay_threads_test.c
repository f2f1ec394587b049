/* Two workers on two threads: packets, departures, duplicates and closings that cross from one to the other. The test's
 * thread starts things by messages and waits for counts; nothing depends on time. Meant to be run under
 * ThreadSanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "relay/mesh_rig_internal.h"

enum { PAIRS = 6, ROUNDS = 400 };

struct worker_thread {
    struct loop *loop;
    pthread_t thread;
};

struct world {
    struct worker_thread workers[2];
    struct relay *relay;
};

/* A client that lives on one worker. It answers each packet with the next number, up to ROUNDS. */
struct player {
    struct world *world;
    struct rig_client c;
    struct loop *loop;
    const node_key *other;
    uint32_t next;
    sem_t *done;      /* a number of round trips reached, a PeerGone received, a login done, or the end: see `on_...` */
    bool is_starting; /* sends first */
    bool is_bad;
};

static void *run_worker(void *arg)
{
    struct worker_thread *t = arg;
    loop_run(t->loop);
    return NULL;
}

static void world_start(struct world *w, const struct relay_opts *opts)
{
    crypto_init();
    struct loop *loops[2];
    for (unsigned i = 0; i < 2; i++)
        w->workers[i].loop = loops[i] = loop_create(i);
    w->relay = relay_create(opts, NULL, loops, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&w->workers[i].thread, NULL, run_worker, &w->workers[i]), 0);
}

static void world_stop(struct world *w)
{
    for (unsigned i = 0; i < 2; i++)
        loop_stop(w->workers[i].loop);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(w->workers[i].thread, NULL);
    relay_destroy(&w->relay);
    for (unsigned i = 0; i < 2; i++)
        loop_destroy(&w->workers[i].loop);
}

/* Runs `fn` on the loop's thread and waits for it. */
struct call {
    struct loop_msg msg;
    void (*fn)(struct player *p);
    struct player *p;
    sem_t done;
};

static void run_call(struct loop *loop, struct loop_msg *msg)
{
    struct call *c = CONTAINER_OF(msg, struct call, msg);
    (void)loop;
    c->fn(c->p);
    sem_post(&c->done);
}

static void call_on_its_loop(struct player *p, void (*fn)(struct player *p))
{
    struct call c = {.msg.run = run_call, .fn = fn, .p = p};
    sem_init(&c.done, 0, 0);
    loop_post(p->loop, &c.msg);
    while (sem_wait(&c.done) != 0) {
    }
    sem_destroy(&c.done);
}

static void wait_for(sem_t *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        while (sem_wait(s) != 0) {
        }
}

static void send_number(struct player *p, uint32_t number)
{
    struct buf b = {0};
    uint8_t packet[1200];
    memset(packet, (int)number, sizeof(packet));
    memcpy(packet, &number, sizeof(number));
    derp_append_send_packet(&b, p->other, packet, sizeof(packet));
    rig_write(&p->c, &b);
}

static void on_number(struct player *p, const uint8_t *payload, size_t n)
{
    uint32_t number;
    memcpy(&number, payload + KEY_BYTES, sizeof(number));
    p->is_bad = p->is_bad || n != KEY_BYTES + 1200 || memcmp(payload, p->other->b, KEY_BYTES) != 0 ||
                number != p->next || payload[KEY_BYTES + 1199] != (uint8_t)number;
    p->next++;
    if (p->next == ROUNDS)
        sem_post(p->done);
    if (!p->is_starting)
        send_number(p, number);
    else if (p->next < ROUNDS)
        send_number(p, p->next);
}

static void on_player_data(void *ctx, const uint8_t *bytes, size_t n)
{
    struct player *p = ctx;
    struct derp_header h = {0};
    const uint8_t *payload = NULL;
    buf_append(&p->c.got, bytes, n);
    while (buf_len(&p->c.got) >= DERP_HEADER_BYTES &&
           buf_len(&p->c.got) >= DERP_HEADER_BYTES + derp_header_parse(buf_at(&p->c.got)).len) {
        rig_next(&p->c, &h, &payload);
        if (h.type == DERP_RECV_PACKET)
            on_number(p, payload, h.len);
        else if (h.type == DERP_SERVER_INFO || h.type == DERP_PEER_GONE)
            sem_post(p->done);
    }
}

static void on_player_closed(void *ctx, enum rc why)
{
    struct player *p = ctx;
    (void)why;
    p->c.is_closed = true;
    sem_post(p->done);
}

static void join_now(struct player *p)
{
    static const struct stream_events events = {on_player_data, NULL, on_player_closed};
    struct stream *server_end;
    struct rig like = {.relay = p->world->relay};
    stream_pair_create(p->loop, 0, &p->c.s, &server_end);
    stream_set_events(p->c.s, &events, p);
    relay_attach(p->world->relay, server_end, NULL, 0, false);
    rig_login(&like, &p->c, false);
}

static void leave_now(struct player *p)
{
    rig_close(&p->c);
}

static void start_now(struct player *p)
{
    send_number(p, 0);
}

/* Logs in on worker number `worker` with key number `key`, and waits until all workers know it. */
static void player_join(struct world *w, struct player *p, unsigned worker, uint8_t key, sem_t *done)
{
    uint8_t random[KEY_BYTES] = {[1] = key};
    *p = (struct player){.world = w, .loop = w->workers[worker].loop, .done = done};
    private_key_from_bytes(random, &p->c.key);
    private_key_public(&p->c.key, p->c.public.b);
    call_on_its_loop(p, join_now);
    wait_for(done, 1);
}

static void nothing(struct player *p)
{
    (void)p;
}

/* What was posted to a worker before has been run when this returns. */
static void settle(struct world *w)
{
    for (unsigned i = 0; i < 2; i++) {
        struct player p = {.loop = w->workers[i].loop};
        call_on_its_loop(&p, nothing);
    }
}

static void make_pair(struct player *a, struct player *b)
{
    a->other = &b->c.public;
    b->other = &a->c.public;
    a->is_starting = true;
}

static const struct relay_opts opts = {.key = {{[0] = 8, [31] = 0x40}}};

static void test_packets_cross(void **state)
{
    (void)state;
    struct world w;
    static struct player players[PAIRS][2];
    sem_t done;
    sem_init(&done, 0, 0);
    int64_t crossed = rig_count("packets_crossed_total", "");
    world_start(&w, &opts);
    for (unsigned i = 0; i < PAIRS; i++) {
        player_join(&w, &players[i][0], 0, (uint8_t)(2 * i + 1), &done);
        player_join(&w, &players[i][1], 1, (uint8_t)(2 * i + 2), &done);
        make_pair(&players[i][0], &players[i][1]);
    }
    settle(&w);
    assert_int_equal(relay_client_count(w.relay), 2 * PAIRS);
    for (unsigned i = 0; i < PAIRS; i++)
        call_on_its_loop(&players[i][0], start_now);
    wait_for(&done, 2 * PAIRS); /* both of each pair have had all numbers, in order */
    for (unsigned i = 0; i < PAIRS; i++) {
        call_on_its_loop(&players[i][0], leave_now);
        wait_for(&done, 1); /* the other client, on the other worker, gets a PeerGone */
        call_on_its_loop(&players[i][1], leave_now);
    }
    world_stop(&w);
    for (unsigned i = 0; i < PAIRS; i++)
        assert_false(players[i][0].is_bad || players[i][1].is_bad);
    assert_int_equal(rig_count("packets_crossed_total", ""), crossed + 2 * PAIRS * ROUNDS);
    sem_destroy(&done);
}

/* While pairs talk, others come, take keys over from each other, are closed from outside, and go. */
static void test_comings_and_goings(void **state)
{
    (void)state;
    struct world w;
    static struct player a, b, duplicates[2];
    sem_t done, other_done;
    sem_init(&done, 0, 0);
    sem_init(&other_done, 0, 0);
    world_start(&w, &opts);
    player_join(&w, &a, 0, 1, &done);
    player_join(&w, &b, 1, 2, &done);
    make_pair(&a, &b);
    settle(&w);
    call_on_its_loop(&a, start_now);
    for (unsigned i = 0; i < 50; i++) {
        player_join(&w, &duplicates[0], i % 2, 3, &other_done);
        player_join(&w, &duplicates[1], 1 - i % 2, 3, &other_done);
        if (i % 3 == 0) {
            relay_close_key(w.relay, &duplicates[0].c.public);
            wait_for(&other_done, 2);
        }
        call_on_its_loop(&duplicates[0], leave_now);
        call_on_its_loop(&duplicates[1], leave_now);
    }
    wait_for(&done, 2);
    settle(&w);
    call_on_its_loop(&a, leave_now);
    call_on_its_loop(&b, leave_now);
    world_stop(&w);
    assert_false(a.is_bad || b.is_bad);
    assert_int_equal(rig_count("current_dup_client_conns", ""), 0);
    assert_int_equal(rig_count("current_connections", ""), 0);
    sem_destroy(&done);
    sem_destroy(&other_done);
}

/* The loops stop with packets and messages under way; nothing leaks. */
static void test_end_under_way(void **state)
{
    (void)state;
    struct world w;
    static struct player a, b;
    sem_t done;
    sem_init(&done, 0, 0);
    world_start(&w, &opts);
    player_join(&w, &a, 0, 1, &done);
    player_join(&w, &b, 1, 2, &done);
    make_pair(&a, &b);
    settle(&w);
    for (int i = 0; i < 200; i++)
        call_on_its_loop(&a, start_now); /* numbers out of order: not looked at */
    relay_close_key(w.relay, &b.c.public);
    relay_drain(w.relay, 0);
    for (unsigned i = 0; i < 2; i++)
        loop_stop(w.workers[i].loop);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(w.workers[i].thread, NULL);
    relay_destroy(&w.relay);
    leave_now(&a);
    leave_now(&b);
    for (unsigned i = 0; i < 2; i++)
        loop_destroy(&w.workers[i].loop);
    sem_destroy(&done);
}

/* Until this many keys are known to be at neighbours, by all workers. */
static void wait_for_remotes(struct world *w, const struct mesh_rig *m, int64_t n)
{
    while (relay_mesh_links(m->relays[0]) + relay_mesh_links(m->relays[1]) < 2 || rig_count("clients_remote", "") != n)
        settle(w);
    settle(w);
    settle(w);
}

/* Two relays on the same two workers: packets go from a client's worker to the link's, over the link, and from there
 * to the worker of the other client. */
static void test_packets_cross_the_mesh(void **state)
{
    (void)state;
    static struct player players[PAIRS][2];
    static const struct relay_neighbour both[] = {{.host = "r0", .dial = "192.0.2.1"},
                                                  {.host = "r1", .dial = "192.0.2.1"}};
    struct mesh_rig m;
    struct world w[2];
    sem_t done;
    sem_init(&done, 0, 0);
    mesh_rig_start(&m, 2, 2);
    for (unsigned i = 0; i < 2; i++) {
        w[i].relay = m.relays[i];
        w[0].workers[i].loop = w[1].workers[i].loop = m.loops[i];
        assert_int_equal(pthread_create(&w[0].workers[i].thread, NULL, run_worker, &w[0].workers[i]), 0);
        relay_mesh_set(m.relays[i], both, 2);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        player_join(&w[0], &players[i][0], i % 2, (uint8_t)(2 * i + 1), &done);
        player_join(&w[1], &players[i][1], i / 2 % 2, (uint8_t)(2 * i + 2), &done);
        make_pair(&players[i][0], &players[i][1]);
    }
    wait_for_remotes(&w[0], &m, 2 * PAIRS);
    int64_t forwarded = rig_count("packets_forwarded_in_total", "");
    for (unsigned i = 0; i < PAIRS; i++)
        call_on_its_loop(&players[i][0], start_now);
    wait_for(&done, 2 * PAIRS);
    for (unsigned i = 0; i < PAIRS; i++) {
        call_on_its_loop(&players[i][0], leave_now);
        wait_for(&done, 1); /* the other client, at the other relay, gets a PeerGone: the first has left the region */
        call_on_its_loop(&players[i][1], leave_now);
        assert_false(players[i][0].is_bad || players[i][1].is_bad);
    }
    relay_mesh_set(m.relays[0], NULL, 0); /* with the other way's link under way to notice */
    for (unsigned i = 0; i < 2; i++)
        loop_stop(m.loops[i]);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(w[0].workers[i].thread, NULL);
    assert_int_equal(rig_count("packets_forwarded_in_total", ""), forwarded + 2 * PAIRS * ROUNDS);
    mesh_rig_stop(&m);
    sem_destroy(&done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_packets_cross, rig_tear_down),
        cmocka_unit_test_teardown(test_comings_and_goings, rig_tear_down),
        cmocka_unit_test_teardown(test_packets_cross_the_mesh, rig_tear_down),
        cmocka_unit_test_teardown(test_end_under_way, rig_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
