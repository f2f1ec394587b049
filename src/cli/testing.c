#include "cli/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- running the command line --- */

static char socket_path[64];
const struct config *cli_test_served;

static int fake_serve(const struct config *cfg)
{
    cli_test_served = cfg;
    return strcmp(cfg->server_url, "http://10.0.0.1:8080") == 0 ? 0 : 1;
}

static struct cli_program program = {.version = "1.2.3", .serve = fake_serve};

void cli_test_result_free(struct cli_test_result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct cli_test_result){0};
}

/* Splits at spaces; '' is an empty word. */
struct cli_test_result cli_test_run(const char *line)
{
    char words[512];
    char *argv[32];
    int argc = 0;
    char *rest;
    struct cli_test_result r;
    size_t n;
    snprintf(words, sizeof(words), "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = strcmp(w, "''") == 0 ? w + 2 : w;
    argv[argc] = NULL;
    FILE *out = open_memstream(&r.out, &n);
    FILE *err = open_memstream(&r.err, &n);
    program.spec = cli_fullscale();
    r.status = cli_run_args(argc, argv, &program, out, err);
    fclose(out);
    fclose(err);
    return r;
}

void cli_test_expect(const char *line, enum cli_exit status, const char *in_out, const char *in_err)
{
    struct cli_test_result r = cli_test_run(line);
    if (r.status != status || (in_out != NULL && strstr(r.out, in_out) == NULL) ||
        (in_err != NULL && strstr(r.err, in_err) == NULL))
        fail_msg("%s: status %d\n--- out\n%s\n--- err\n%s", line, (int)r.status, r.out, r.err);
    cli_test_result_free(&r);
}

void cli_test_write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* --- a server with prepared answers --- */

#define ANNA                                                                                                           \
    "{\"id\":\"1\",\"name\":\"anna\",\"displayName\":\"Anna N\",\"email\":\"a@b.c\",\"role\":\"owner\","               \
    "\"createdAt\":\"2026-11-23T01:02:03.5Z\"}"
#define BERT "{\"id\":\"2\",\"name\":\"bert\",\"displayName\":\"\\u001b[31mred\",\"email\":\"\",\"createdAt\":null}"
#define KEY1                                                                                                           \
    "{\"id\":\"7\",\"key\":\"fskey-auth-0123456789ab-***\",\"user\":" ANNA                                             \
    ",\"reusable\":true,\"ephemeral\":false,\"used\":false,\"expiration\":null,\"createdAt\":null,"                    \
    "\"aclTags\":[\"tag:a\",\"tag:b\"]}"
#define NODE1                                                                                                          \
    "{\"id\":\"3\",\"givenName\":\"laptop\",\"name\":\"Laptop\",\"user\":" ANNA                                        \
    ",\"ipAddresses\":[\"100.64.0.1\",\"fd7a::1\"],\"online\":true,\"lastSeen\":\"2026-11-23T01:02:03Z\"}"
#define NODE2                                                                                                          \
    "{\"id\":\"4\",\"givenName\":\"web\",\"name\":\"web\",\"user\":null,\"tags\":[\"tag:web\"],\"ipAddresses\":[],"    \
    "\"expired\":true,\"availableRoutes\":[\"10.0.0.0/8\",\"::/0\"],\"approvedRoutes\":[\"10.0.0.0/8\"],"              \
    "\"subnetRoutes\":[]}"

#define RELAY1                                                                                                         \
    "{\"id\":\"1\",\"name\":\"fra\",\"key\":\"fskey-relay-0123456789ab-***\",\"regionId\":901,"                        \
    "\"regionName\":\"Frankfurt\",\"up\":true,\"hostname\":\"192.0.2.1\",\"lastSeen\":\"2026-11-23T01:02:03Z\"}"

#define REACH(gained, to, protocol, first, last)                                                                       \
    "{\"gained\":" gained ",\"source\":\"10.0.0.1\",\"destination\":\"" to "\",\"protocol\":" #protocol                \
    ",\"firstPort\":" #first ",\"lastPort\":" #last "}"

static const struct {
    const char *request;
    int status;
    const char *body;
} answers[] = {
    {"GET /api/v1/user", 200, "{\"users\":[" ANNA "," BERT "]}"},
    {"GET /api/v1/user?name=a%20b", 200, "{\"users\":[]}"},
    {"POST /api/v1/user", 200, "{\"user\":" ANNA "}"},
    {"POST /api/v1/user/2/rename/bert%2F2", 200, "{\"user\":" BERT "}"},
    {"POST /api/v1/user/2/role", 200, "{\"user\":" BERT "}"},
    {"DELETE /api/v1/user/1", 400, "{\"detail\":\"anna has nodes\"}"},
    {"DELETE /api/v1/user/2", 200, "{}"},
    {"GET /api/v1/node", 200, "{\"nodes\":[" NODE1 "," NODE2 "]}"},
    {"GET /api/v1/node?user=nobody", 404, "{\"detail\":\"there is no user nobody\"}"},
    {"POST /api/v1/node/3/rename/new-name", 200, "{\"node\":" NODE1 "}"},
    {"POST /api/v1/node/4/expire", 200, "{\"node\":" NODE2 "}"},
    {"POST /api/v1/node/4/tags", 200, "{\"node\":" NODE2 "}"},
    {"POST /api/v1/node/4/approve_routes", 200, "{\"node\":" NODE2 "}"},
    {"DELETE /api/v1/node/4", 200, "{}"},
    {"GET /api/v1/relay", 200, "{\"relays\":[" RELAY1 "]}"},
    {"POST /api/v1/relay", 200, "{\"relay\":{\"id\":\"2\",\"key\":\"fskey-relay-whole\"}}"},
    {"DELETE /api/v1/relay/1", 200, "{}"},
    {"GET /api/v1/policy", 200, "{\"policy\":\"{} // now\",\"fault\":\"p.hujson:1:2: oh\\n\"}"},
    {"GET /api/v1/policy/history/2", 200, "{\"policy\":\"{} // then\\n\"}"},
    {"GET /api/v1/policy/history/9", 404, "{\"detail\":\"there is no version 9\"}"},
    {"PUT /api/v1/policy", 200,
     "{\"version\":\"4\",\"warnings\":[{\"line\":0,\"column\":0,\"message\":\"nobody is zoe@\"}]}"},
    {"POST /api/v1/policy/check", 400,
     "{\"detail\":\"test(s) failed\",\"errors\":[{\"message\":\"test(s) failed\"},"
     "{\"line\":3,\"column\":7,\"message\":\"expected \\u001b[31mDENIED\"}]}"},
    {"POST /api/v1/policy/rollback/2", 200, "{\"version\":\"5\",\"warnings\":[]}"},
    {"POST /api/v1/policy/rollback/3", 400,
     "{\"detail\":\"no\",\"errors\":[{\"line\":1,\"column\":2,\"message\":\"bad\"}]}"},
    {"GET /api/v1/policy/history", 200,
     "{\"versions\":[{\"version\":\"4\",\"updatedAt\":\"2026-11-23T01:02:03Z\",\"author\":\"anna\","
     "\"note\":\"\",\"bytes\":7}]}"},
    {"GET /api/v1/policy/why?src=a&dst=b%3A22&proto=", 200,
     "{\"allowed\":true,\"hasPolicy\":true,\"file\":\"/etc/p.hujson\",\"rules\":[{\"line\":4,"
     "\"section\":\"acls\",\"index\":0},"
     "{\"line\":9,\"section\":\"grants\",\"index\":2}]}"},
    {"GET /api/v1/policy/why?src=a&dst=c&proto=udp", 200,
     "{\"allowed\":false,\"hasPolicy\":true,\"file\":\"policy\",\"rules\":[{\"line\":4,\"section\":\"acls\","
     "\"index\":1,"
     "\"hasSource\":true}]}"},
    {"GET /api/v1/policy/why?src=a&dst=d&proto=", 200, "{\"allowed\":false,\"hasPolicy\":true,\"rules\":[]}"},
    {"GET /api/v1/policy/why?src=a&dst=e&proto=", 200, "{\"allowed\":true,\"hasPolicy\":false,\"rules\":[]}"},
    {"GET /api/v1/policy/why?src=a&dst=f&proto=", 200,
     "{\"allowed\":true,\"hasPolicy\":true,\"rules\":[{\"line\":0,\"section\":\"\",\"index\":0}]}"},
    {"GET /api/v1/policy/why?src=x&dst=y&proto=", 404, "{\"detail\":\"x names nothing\"}"},
    {"POST /api/v1/policy/diff", 200,
     "{\"changes\":[" REACH("false", "10.0.0.2", 17, 22, 22) "," REACH("true", "10.0.0.3", 17, 0, 65535) "," //
     REACH("true", "10.0.0.3", 6, 0, 65535) "," REACH("false", "10.0.0.2", 47, 1, 9) "],\"leftOut\":2}"},
    {"GET /api/v1/preauthkey", 200, "{\"preAuthKeys\":[" KEY1 "]}"},
    {"GET /api/v1/preauthkey?user=anna", 403, "not JSON"},
    {"POST /api/v1/preauthkey", 200, "{\"preAuthKey\":{\"id\":\"8\",\"key\":\"fskey-auth-whole\"}}"},
    {"POST /api/v1/preauthkey/expire", 200, "{}"},
    {"DELETE /api/v1/preauthkey?id=7", 200, "{}"},
    {"GET /api/v1/health", 200, "{\"databaseConnectivity\":true}"},
    {"GET /api/v1/openapi.json", 200,
     "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"the API\"},\"paths\":{\"/api/v1/user\":{}}}"},
    {"POST /api/v1/user/2/rename/..", 200, "{\"user\":" BERT "}"},
    {"POST /api/v1/user/2/rename/a%3Fb%23c%26d%3De%25f", 200, "{\"user\":" BERT "}"},
    {"GET /api/v1/policy/history/..", 400, "{\"detail\":\"\\\"..\\\" is no id\"}"},
    {"GET /api/v1/user?id=2&name=a%26email%3Db%0D%0AX%3A~y&email=%23", 200, "{\"users\":[" BERT "]}"},
    {"GET /api/v1/log/level", 200, "{\"modules\":[{\"module\":\"relay\",\"level\":\"info\"}]}"},
    {"POST /api/v1/log/level", 200, "{\"modules\":[{\"module\":\"relay\",\"level\":\"debug\"}]}"},
};

static struct {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    char last[4096]; /* the last request */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What a hostile node, user or note may hold. */
#define EVIL                                                                                                           \
    "\\u001b[31m\xc2\x9b"                                                                                              \
    "2J\\nFORGED\u202e\\u0000\\u007f\u2066\\r\\t\u200b"

struct cli_test_server cli_test_server;

/* Copies an answer, and appends hostile characters to every string in it that is a value, but for ids. */
static void make_hostile(const char *body, char *out, size_t cap)
{
    size_t n = 0;
    bool is_in = false;
    const char *start = body;
    for (const char *p = body; *p != '\0'; p++) {
        bool is_id = start - body >= 5 && strncmp(start - 5, "\"id\":", 5) == 0;
        if (*p == '"' && is_in && p[1] != ':' && !is_id)
            n += (size_t)snprintf(out + n, cap - n, "%s", EVIL);
        if (*p == '"' && !is_in)
            start = p;
        is_in = (*p == '"') != is_in;
        out[n++] = *p;
        assert_true(n < cap);
        if (*p == '\\' && is_in)
            out[n++] = *++p;
    }
    out[n] = '\0';
}

static size_t content_length(const char *head)
{
    const char *at = strcasestr(head, "Content-Length:");
    return at != NULL ? (size_t)strtoul(at + 15, NULL, 10) : 0;
}

static void read_request(int fd, char *out, size_t cap)
{
    size_t n = 0;
    ssize_t got;
    while (n + 1 < cap && (got = read(fd, out + n, cap - 1 - n)) > 0) {
        n += (size_t)got;
        out[n] = '\0';
        const char *end = strstr(out, "\r\n\r\n");
        if (end != NULL && strlen(end + 4) >= content_length(out))
            return;
    }
}

static void answer(int fd, const char *request)
{
    char reply[8192];
    char hostile[4096];
    int status = 404;
    const char *body = "{\"detail\":\"no such path\"}";
    size_t n = strcspn(request, " ");
    n += 1 + strcspn(request + n + 1, " ");
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (strlen(answers[i].request) == n && strncmp(answers[i].request, request, n) == 0) {
            status = answers[i].status;
            body = answers[i].body;
        }
    }
    if (cli_test_server.has_empty_lists)
        body = "{\"users\":[],\"nodes\":[],\"preAuthKeys\":[],\"relays\":[],\"versions\":[]}";
    if (cli_test_server.is_hostile) {
        make_hostile(body, hostile, sizeof(hostile));
        body = hostile;
    }
    int len = snprintf(reply, sizeof(reply), "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       status, strlen(body), body);
    assert_int_equal(write(fd, reply, (size_t)len), len);
}

static void *fake_main(void *arg)
{
    (void)arg;
    for (;;) {
        char request[4096] = "";
        int fd = accept(fake.fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        read_request(fd, request, sizeof(request));
        pthread_mutex_lock(&fake.lock);
        memcpy(fake.last, request, sizeof(request));
        pthread_mutex_unlock(&fake.lock);
        if (strncmp(request, "END", 3) == 0) {
            close(fd);
            return NULL;
        }
        answer(fd, request);
        close(fd);
    }
}

static int dial(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", socket_path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

int cli_test_server_start(void **state)
{
    (void)state;
    cli_test_server = (struct cli_test_server){0};
    fake.last[0] = '\0';
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(socket_path, sizeof(socket_path), "/tmp/fullscale-cli-%d.sock", (int)getpid());
    unlink(socket_path);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", socket_path);
    fake.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake.fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fake.fd, 8), 0);
    setenv("FULLSCALE_UNIX_SOCKET", socket_path, 1);
    assert_int_equal(pthread_create(&fake.thread, NULL, fake_main, NULL), 0);
    return 0;
}

int cli_test_server_stop(void **state)
{
    (void)state;
    int fd = dial();
    assert_int_equal(write(fd, "END\r\n\r\n", 7), 7);
    close(fd);
    pthread_join(fake.thread, NULL);
    close(fake.fd);
    unlink(socket_path);
    unsetenv("FULLSCALE_UNIX_SOCKET");
    return 0;
}

void cli_test_asked(const char *text)
{
    pthread_mutex_lock(&fake.lock);
    bool is_there = strstr(fake.last, text) != NULL;
    pthread_mutex_unlock(&fake.lock);
    if (!is_there)
        fail_msg("asked: %s\nexpected: %s", fake.last, text);
}

bool cli_test_has_only_read(void)
{
    pthread_mutex_lock(&fake.lock);
    bool is = strncmp(fake.last, "GET ", 4) == 0 || fake.last[0] == '\0';
    pthread_mutex_unlock(&fake.lock);
    return is;
}
