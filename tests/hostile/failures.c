/* Everything below the server fails, at every point: each operation of the disk, as broken and as full, each
 * statement and commit, each allocation of SQLite and of ours, each accept. Whatever happens the answer is right or
 * a refusal, never a wrong acknowledgement; when it is over writing resumes; and after a restart everything
 * acknowledged is there, and nothing that was refused. Each fault has a life of a server of its own (life.h), in a
 * process of its own, some side by side. FAILURES_STRIDE=1 leaves no point out where there are thousands. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/test_random.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "crypto/crypto.h"
#include "hostile/faults.h"
#include "hostile/life.h"
#include "net/tcp.h"

enum { SLOTS = 8 };

/* --- a life with a fault --- */

static char dir[] = "/tmp/fs-failures-XXXXXX";
static char base_path[64]; /* a database as it is before a life */

/* One of the processes that run side by side. */
struct slot {
    pid_t pid; /* 0: free */
    struct fault fault;
    char path[96], said[96]; /* the database; what the process prints */
    struct books *books;
};

static struct slot slots[SLOTS];

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".lock"};
    char name[128];
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static void copy_file(const char *from, const char *to)
{
    char bytes[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n;
    CHECK(in != NULL && out != NULL);
    while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
        CHECK(fwrite(bytes, 1, n, out) == n);
    CHECK(fclose(in) == 0 && fclose(out) == 0);
}

/* In a process of its own, because SQLite must not be used in this one yet. */
static void make_base(void)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        life_inspect(base_path, &(struct books){0});
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void fault_begin(void *ctx)
{
    const struct fault *f = ctx;
    f->arm(f);
}

static void fault_end(void *ctx)
{
    const struct fault *f = ctx;
    f->end();
}

static void live(struct slot *s)
{
    struct fault *f = &s->fault;
    const enum rc why = f->answer == ANSWER_FULL ? RC_FULL : RC_OK;
    const struct trouble trouble = {f->phase, f->is_for_ever, why, fault_begin, fault_end, f};
    struct life l = {.path = s->path, .books = s->books, .trouble = &trouble};
    life_live(&l);
    f->end();
    s->books->struck = fault_struck;
}

static bool says(const char *path, const char *words)
{
    char text[4096] = "";
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    return n > 0 && strstr(text, words) != NULL;
}

/* In a process of its own, which either lives to the end, or dies as its fault demands. */
static void live_or_die(struct slot *s)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        live(s);
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == MEM_OOM_EXIT_STATUS);
    s->books->struck = WEXITSTATUS(status) != 0;
    CHECK(!s->books->struck || says(s->said, "fullscale: out of memory (asked for "));
}

/* The life, and what is found afterwards. */
static NORETURN void live_and_inspect(struct slot *s)
{
    const struct fault *f = &s->fault;
    FILE *said = freopen(s->said, "w", stderr);
    CHECK(said != NULL);
    setvbuf(said, NULL, _IONBF, 0);
    if (f->install != NULL)
        f->install();
    faulty_install();
    if (f->kills)
        live_or_die(s);
    else
        live(s);
    life_inspect(s->path, s->books);
    _exit(0);
}

static void show(const struct slot *s)
{
    char text[4096];
    FILE *f = fopen(s->said, "r");
    size_t n = f != NULL ? fread(text, 1, sizeof(text), f) : 0;
    if (f != NULL)
        fclose(f);
    print_error("fault %lu of phase %u:\n%.*s\n", s->fault.n, s->fault.phase, (int)n, text);
}

struct tally {
    unsigned struck;
    unsigned refusals;
    unsigned failed_starts;
    unsigned bad;
    bool is_past_the_end; /* a life has ended without its fault */
};

static void begin(struct slot *s, const struct fault *f, unsigned long n)
{
    s->fault = *f;
    s->fault.n = n;
    *s->books = (struct books){0};
    remove_database(s->path);
    if (f->phase != PHASE_START)
        copy_file(base_path, s->path);
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0)
        live_and_inspect(s);
}

static void finish(struct slot *s, int status, struct tally *t)
{
    s->pid = 0;
    t->bad += status != 0;
    if (status != 0)
        show(s);
    t->struck += s->books->struck;
    t->refusals += s->books->refusals;
    t->failed_starts += s->books->failed_starts;
    t->is_past_the_end |= !s->books->struck || t->bad >= 3;
}

/* Waits until one of the lives is over. */
static void wait_for_one(struct tally *t)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].pid == pid)
            finish(&slots[i], status, t);
    }
}

static struct slot *free_slot(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].pid == 0)
            return &slots[i];
    }
    return NULL;
}

static bool is_any_busy(void)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].pid != 0)
            return true;
    }
    return false;
}

static unsigned long stride_or(unsigned long usual)
{
    const char *set = getenv("FAILURES_STRIDE");
    unsigned long stride = set != NULL ? strtoul(set, NULL, 10) : 0;
    return stride > 0 ? stride : usual;
}

/* A life with the fault at the first point of its phase, and at each `stride`th after that, until a life ends
 * without it. */
static void sweep_phase(const struct fault *f, unsigned long stride, struct tally *sum)
{
    struct tally t = {0};
    unsigned long n = 1;
    while (!t.is_past_the_end) {
        struct slot *s = free_slot();
        if (s == NULL) {
            wait_for_one(&t);
            continue;
        }
        begin(s, f, n);
        n += stride;
    }
    while (is_any_busy())
        wait_for_one(&t);
    assert_int_equal(t.bad, 0);
    sum->struck += t.struck;
    sum->refusals += t.refusals;
    sum->failed_starts += t.failed_starts;
}

/* Each phase has its stride; a start on an empty disk has most points by far. */
struct strides {
    unsigned long start, steps, restart;
};
static const struct strides each = {.start = 5, .steps = 1, .restart = 1};
/* For faults that last; odd, because SQLite alternates between a page and what belongs to it. */
static const struct strides some = {.start = 7, .steps = 3, .restart = 3};

static void sweep(const char *what, struct fault f, struct strides strides, unsigned least)
{
    const unsigned long by_phase[] = {strides.start, strides.steps, strides.restart};
    struct tally t = {0};
    for (f.phase = PHASE_START; f.phase <= PHASE_RESTART; f.phase++)
        sweep_phase(&f, stride_or(by_phase[f.phase]), &t);
    print_message("# %s: %u faults, %u refusals, %u starts failed\n", what, t.struck, t.refusals, t.failed_starts);
    assert_true(t.struck >= least);
    assert_true(f.kills || t.refusals + t.failed_starts > 0);
}

/* --- the disk --- */

static void sweep_disk(unsigned ops, enum disk_answer answer, bool is_for_ever, unsigned least)
{
    const struct fault f = {
        .arm = fault_disk_arm, .end = fault_disk_end, .is_for_ever = is_for_ever, .ops = ops, .answer = answer};
    sweep(answer == ANSWER_FULL ? "full" : "broken", f, is_for_ever ? some : each, least);
}

static void test_every_write_fails_once(void **state)
{
    (void)state;
    sweep_disk(OP_WRITE, ANSWER_BROKEN, false, 100);
}

static void test_every_write_finds_the_disk_full_once(void **state)
{
    (void)state;
    sweep_disk(OP_WRITE, ANSWER_FULL, false, 100);
}

static void test_everything_fails_from_some_write_on(void **state)
{
    (void)state;
    sweep_disk(OPS_THAT_CHANGE, ANSWER_BROKEN, true, 50);
}

static void test_the_disk_is_full_from_some_write_on(void **state)
{
    (void)state;
    sweep_disk(OPS_THAT_CHANGE | OP_INDEX, ANSWER_FULL, true, 50);
}

static void test_every_sync_fails(void **state)
{
    (void)state;
    sweep_disk(OP_SYNC, ANSWER_BROKEN, false, 10);
    sweep_disk(OP_SYNC, ANSWER_FULL, false, 10);
}

static void test_every_truncation_and_removal_fails(void **state)
{
    (void)state;
    sweep_disk(OP_TRUNCATE | OP_DELETE, ANSWER_BROKEN, false, 2);
    sweep_disk(OP_TRUNCATE | OP_DELETE, ANSWER_FULL, false, 2);
}

static void test_every_opening_of_a_file_fails(void **state)
{
    (void)state;
    sweep_disk(OP_OPEN, ANSWER_BROKEN, false, 3);
    sweep_disk(OP_OPEN, ANSWER_FULL, false, 3);
    sweep_disk(OP_OPEN, ANSWER_BROKEN, true, 1);
}

static void test_every_read_fails(void **state)
{
    (void)state;
    sweep_disk(OP_READ, ANSWER_BROKEN, false, 20);
    sweep_disk(OP_READ, ANSWER_BROKEN, true, 10);
}

static void test_every_lock_fails(void **state)
{
    (void)state;
    sweep_disk(OP_LOCK | OP_INDEX, ANSWER_BROKEN, false, 50);
}

/* --- SQL, memory --- */

static void sweep_points(const char *what, void (*install)(void), bool is_for_ever, struct strides strides,
                         unsigned least)
{
    const struct fault f = {
        .install = install, .arm = fault_points_arm, .end = fault_points_end, .is_for_ever = is_for_ever};
    sweep(what, f, strides, least);
}

static void test_every_statement_fails(void **state)
{
    (void)state;
    sweep_points("statements", fault_install_statements, false, each, 50);
    sweep_points("statements from one on", fault_install_statements, true, some, 20);
}

static void test_every_commit_fails(void **state)
{
    (void)state;
    sweep_points("commits", fault_install_commits, false, each, 8);
    sweep_points("commits from one on", fault_install_commits, true, each, 8);
}

/* SQLite asks for permission before it compiles each part of a statement. */
static void test_every_action_is_denied(void **state)
{
    (void)state;
    sweep_points("actions", fault_install_actions, false, (struct strides){41, 1, 7}, 20);
}

static void test_every_allocation_of_sqlite_fails(void **state)
{
    (void)state;
    sweep_points("allocations of SQLite", fault_install_memory, false, (struct strides){301, 1, 61}, 50);
    sweep_points("allocations of SQLite from one on", fault_install_memory, true, (struct strides){501, 5, 101}, 20);
}

/* An allocation of ours that fails ends the process with a message. What it had acknowledged is there. */
static void test_every_allocation_of_ours_ends_the_server(void **state)
{
    (void)state;
    const struct fault f = {.arm = fault_our_memory_arm, .end = fault_our_memory_end, .kills = true};
    sweep("allocations of ours", f, (struct strides){29, 5, 11}, 50);
}

/* --- accept --- */

static int accept_error;
static unsigned accept_failures;

int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *from, socklen_t *len, int flags)
{
    if (!fault_point())
        return (int)syscall(SYS_accept4, fd, from, len, flags);
    errno = accept_error;
    accept_failures++;
    return -1;
}

static void serve(void *ctx, struct stream *s)
{
    (void)ctx;
    stream_write(s, "x", 1);
    stream_close(&s, true);
}

static void wake(void *ctx)
{
    loop_stop(ctx);
}

static int dial(const struct addr *at)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(at, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, len), 0);
    return fd;
}

enum { SOME_TURNS = 5, MANY_TURNS = 1000, FEW_TRIES = 200 };

/* Whether the client is served; false: closed, or not within so many iterations of the loop. */
static bool is_served(struct loop *loop, int fd, unsigned iterations)
{
    char c;
    while (recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN && iterations-- > 0)
        loop_run(loop);
    return recv(fd, &c, 1, MSG_DONTWAIT) == 1;
}

/* Three clients come; one accept fails, or all until the fault ends. Returns how many were served. */
static unsigned serve_three(struct loop *loop, const struct addr *at, const struct fault *f)
{
    int fds[3];
    unsigned served = 0;
    fault_points_arm(f);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = dial(at);
    if (f->is_for_ever) {
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
            assert_false(is_served(loop, fds[i], SOME_TURNS));
        fault_points_end();
    }
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        served += is_served(loop, fds[i], MANY_TURNS);
        close(fds[i]);
    }
    fault_points_end();
    return served;
}

/* No client is forgotten, and the next are served; without a descriptor one is turned away. While accept keeps
 * failing the loop does not spin: it tries some times a second. */
static void test_every_accept_fails(void **state)
{
    (void)state;
    static const int errors[] = {EMFILE, ENFILE, ECONNABORTED, EINTR, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN};
    struct loop *loop = loop_create(0);
    struct loop_timer *timer = loop_timer_create(loop, wake, loop);
    struct tcp_listener *l;
    struct addr at;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), RC_OK);
    assert_int_equal(tcp_listen(loop, &at, NULL, serve, NULL, &l, NULL), RC_OK);
    tcp_listener_addr(l, &at);
    loop_timer_start(timer, LOOK_AGAIN_MS, LOOK_AGAIN_MS);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        accept_error = errors[i];
        bool is_turned_away = errors[i] == EMFILE || errors[i] == ENFILE;
        for (unsigned n = 1; n <= 3; n++)
            assert_int_equal(serve_three(loop, &at, &(struct fault){.n = n}), is_turned_away ? 2 : 3);
        accept_failures = 0;
        assert_int_equal(serve_three(loop, &at, &(struct fault){.n = 1, .is_for_ever = true}), 3);
        if (!is_turned_away && errors[i] != EINTR && errors[i] != ECONNABORTED)
            assert_in_range(accept_failures, 1, FEW_TRIES);
    }
    loop_timer_destroy(&timer);
    tcp_listener_destroy(&l);
    loop_destroy(&loop);
}

/* --- */

static int set_up(void **state)
{
    (void)state;
    crypto_init();
    assert_int_equal(log_set_level(NULL, LOG_OFF), RC_OK);
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(base_path, sizeof(base_path), "%s/base.db", dir);
    make_base();
    for (size_t i = 0; i < SLOTS; i++) {
        snprintf(slots[i].path, sizeof(slots[i].path), "%s/%zu.db", dir, i);
        snprintf(slots[i].said, sizeof(slots[i].said), "%s/%zu.said", dir, i);
        slots[i].books = mmap(NULL, sizeof(struct books), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(slots[i].books, MAP_FAILED);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < SLOTS; i++) {
        remove_database(slots[i].path);
        unlink(slots[i].said);
        munmap(slots[i].books, sizeof(struct books));
    }
    remove_database(base_path);
    return rmdir(dir);
}

/* With an argument: the tests whose names it matches (*). */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_write_fails_once),
        cmocka_unit_test(test_every_write_finds_the_disk_full_once),
        cmocka_unit_test(test_everything_fails_from_some_write_on),
        cmocka_unit_test(test_the_disk_is_full_from_some_write_on),
        cmocka_unit_test(test_every_sync_fails),
        cmocka_unit_test(test_every_truncation_and_removal_fails),
        cmocka_unit_test(test_every_opening_of_a_file_fails),
        cmocka_unit_test(test_every_read_fails),
        cmocka_unit_test(test_every_lock_fails),
        cmocka_unit_test(test_every_statement_fails),
        cmocka_unit_test(test_every_commit_fails),
        cmocka_unit_test(test_every_action_is_denied),
        cmocka_unit_test(test_every_allocation_of_sqlite_fails),
        cmocka_unit_test(test_every_allocation_of_ours_ends_the_server),
        cmocka_unit_test(test_every_accept_fails),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
