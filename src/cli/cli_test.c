/* The command line: the table, parsing, what is made from the table, and each command against a server that plays a
 * part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli_internal.h"
#include "codec/yaml.h"

/* --- running the command line --- */

struct result {
    enum cli_exit status;
    char *out;
    char *err;
};

static char socket_path[64];
static const struct config *served;

static int fake_serve(const struct config *cfg)
{
    served = cfg;
    return strcmp(cfg->server_url, "http://10.0.0.1:8080") == 0 ? 0 : 1;
}

static const struct cli_program program = {.spec = &cli_fullscale, .version = "1.2.3", .serve = fake_serve};

static void result_free(struct result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct result){0};
}

/* Splits at spaces; '' is an empty word. */
static struct result run(const char *line)
{
    char words[512];
    char *argv[32];
    int argc = 0;
    char *rest;
    struct result r;
    size_t n;
    snprintf(words, sizeof(words), "%s", line);
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = strcmp(w, "''") == 0 ? w + 2 : w;
    argv[argc] = NULL;
    FILE *out = open_memstream(&r.out, &n);
    FILE *err = open_memstream(&r.err, &n);
    r.status = cli_run_args(argc, argv, &program, out, err);
    fclose(out);
    fclose(err);
    return r;
}

static void expect(const char *line, enum cli_exit status, const char *in_out, const char *in_err)
{
    struct result r = run(line);
    if (r.status != status || (in_out != NULL && strstr(r.out, in_out) == NULL) ||
        (in_err != NULL && strstr(r.err, in_err) == NULL))
        fail_msg("%s: status %d\n--- out\n%s\n--- err\n%s", line, (int)r.status, r.out, r.err);
    result_free(&r);
}

/* --- the table --- */

static void check_options(const struct cli_option *options)
{
    unsigned n = 0;
    for (const struct cli_option *o = options; o->name != NULL; o++, n++) {
        assert_non_null(o->help);
        assert_true(strlen(o->help) > 3);
        for (const struct cli_option *other = options; other != o; other++) {
            assert_string_not_equal(o->name, other->name);
            assert_true(o->letter == 0 || o->letter != other->letter);
        }
    }
    assert_true(n < CLI_MAX_OPTIONS);
}

static void test_table_is_consistent(void **state)
{
    (void)state;
    check_options(cli_fullscale.options);
    for (const struct cli_command *c = cli_fullscale.commands; c->name != NULL; c++) {
        char call[64];
        snprintf(call, sizeof(call), "fullscale %s%s%s", c->group, c->group[0] != '\0' ? " " : "", c->name);
        assert_non_null(c->run);
        assert_true(strlen(c->summary) > 5);
        assert_true(c->summary[strlen(c->summary) - 1] != '.');
        if (strstr(c->examples, call) == NULL)
            fail_msg("%s has no example", call);
        assert_true(c->args_max < CLI_MAX_ARGS && c->args_min <= c->args_max);
        assert_true((c->args_max > 0) == (c->args[0] != '\0'));
        check_options(c->options);
        for (const struct cli_command *other = cli_fullscale.commands; other != c; other++) {
            if (strcmp(other->group, c->group) == 0)
                assert_false(cli_word_is(c->name, other->name, other->aliases));
        }
        bool is_group_known = c->group[0] == '\0';
        for (const struct cli_group *g = cli_fullscale.groups; g->name != NULL; g++)
            is_group_known = is_group_known || strcmp(g->name, c->group) == 0;
        assert_true(is_group_known);
    }
}

static void test_each_command_has_help(void **state)
{
    (void)state;
    for (const struct cli_command *c = cli_fullscale.commands; c->name != NULL; c++) {
        char line[128];
        snprintf(line, sizeof(line), "fullscale %s %s --help", c->group, c->name);
        struct result r = run(line);
        assert_int_equal(r.status, CLI_EXIT_OK);
        assert_non_null(strstr(r.out, c->summary));
        assert_non_null(strstr(r.out, "Examples:"));
        for (const struct cli_option *o = c->options; o->name != NULL; o++)
            assert_non_null(strstr(r.out, o->name));
        assert_null(strchr(r.out, '\033'));
        result_free(&r);
    }
    expect("fullscale", CLI_EXIT_OK, "preauthkeys", NULL);
    expect("fullscale help users create", CLI_EXIT_OK, "fullscale users create - ", NULL);
    expect("fullscale help nodes", CLI_EXIT_OK, "expire a node's key", NULL);
    expect("fullscale nodes", CLI_EXIT_USAGE, "Usage:", NULL);
    expect("fullscale --version", CLI_EXIT_OK, "fullscale 1.2.3\n", NULL);
    expect("fullscale version -o json", CLI_EXIT_OK, "\"version\": \"1.2.3\"", NULL);
    expect("fullscale version -oyaml", CLI_EXIT_OK, "version: ", NULL);
}

/* --- parsing --- */

static struct cli_call parse_ok(struct arena *a, const char *line)
{
    struct cli_call call;
    struct err err;
    char *words = (char *)(uintptr_t)arena_str(a, str_c(line)).p;
    char *argv[32];
    int argc = 0;
    char *rest;
    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = w;
    if (cli_parse(a, &cli_fullscale, argc, argv, &call, &err) != RC_OK)
        fail_msg("%s: %s", line, err.text);
    return call;
}

static void test_parsing(void **state)
{
    (void)state;
    struct arena a = {0};
    struct cli_run r = {.program = &program};
    r.call = parse_ok(&a, "fullscale -c x.yaml pre new -u anna --reusable -e24h --tags=tag:a -t tag:b,tag:c -o json");
    assert_string_equal(r.call.command->group, "preauthkeys");
    assert_string_equal(r.call.command->name, "create");
    assert_string_equal(cli_value(&r, "config"), "x.yaml");
    assert_string_equal(cli_value(&r, "user"), "anna");
    assert_string_equal(cli_value(&r, "expiration"), "24h");
    assert_string_equal(cli_value(&r, "tags"), "tag:a,tag:b,tag:c");
    assert_true(cli_flag(&r, "reusable"));
    assert_false(cli_flag(&r, "ephemeral"));

    r.call = parse_ok(&a, "fullscale n mv --id 3 --force -- --odd-name");
    assert_string_equal(r.call.command->name, "rename");
    assert_string_equal(cli_value(&r, "identifier"), "3");
    assert_string_equal(cli_arg(&r, 0), "--odd-name");
    assert_true(cli_flag(&r, "force"));

    r.call = parse_ok(&a, "fullscale preauthkeys create --reusable=false --ephemeral=true --user=1");
    assert_false(cli_flag(&r, "reusable"));
    assert_true(cli_flag(&r, "ephemeral"));
    assert_string_equal(cli_value(&r, "user"), "1");

    r.call = parse_ok(&a, "fullscale users create - --disp=A");
    assert_string_equal(cli_arg(&r, 0), "-");
    assert_string_equal(cli_value(&r, "display-name"), "A");
    arena_fini(&a);
}

static void test_usage_errors_teach(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"fullscale usres list", "did you mean \"fullscale users\"?"},
        {"fullscale users lsit", "did you mean \"fullscale users list\"?"},
        {"fullscale nodes zzzzzzzzzzz", "there is no command \"fullscale nodes zzzzzzzzzzz\""},
        {"fullscale users create", "\"fullscale users create\" needs NAME\nSee `fullscale users create --help`."},
        {"fullscale users create a b", "\"b\" is one argument too many"},
        {"fullscale users list --nmae x", "did you mean --name?"},
        {"fullscale users list --zzzzzzz", "has no option --zzzzzzz"},
        {"fullscale users list -z", "has no option -z"},
        {"fullscale users list --name", "--name needs a value: --name NAME"},
        {"fullscale users list -o xml", "--output must be one of table json json-line yaml, not \"xml\""},
        {"fullscale serve --force=maybe", "--force takes no value"},
        {"fullscale completion tcsh", "SHELL must be one of bash zsh fish"},
        {"fullscale log level a b c", "one argument too many"},
        {"fullscale nodes expire x --disable --expiry 3d", "give either --disable or --expiry, not both"},
        {"fullscale nodes expire x --expiry soon", "must be a time such as"},
        {"fullscale preauthkeys create --expiration soon", "must be a duration"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(rows[i][0], CLI_EXIT_USAGE, NULL, rows[i][1]);
    expect("fullscale users create -o json", CLI_EXIT_USAGE, NULL, "needs NAME");
    expect("fullscale --", CLI_EXIT_OK, "Usage:", NULL);
}

/* --- completion and manual --- */

/* Runs a program with a file as its last argument; what it writes goes to `out`. -1: there is no such program. */
static int run_program(const char *const *argv, char *out, size_t out_cap)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], out + n, out_cap - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(ends[0]);
    int status;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_completions_name_everything(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
        char line[64];
        char path[64];
        char out[4096];
        snprintf(line, sizeof(line), "fullscale completion %s", shells[i]);
        struct result r = run(line);
        assert_int_equal(r.status, CLI_EXIT_OK);
        for (const struct cli_command *c = cli_fullscale.commands; c->name != NULL; c++) {
            assert_true(c->is_hidden || strstr(r.out, c->name) != NULL);
            for (const struct cli_option *o = c->options; o->name != NULL; o++)
                assert_non_null(strstr(r.out, o->name));
        }
        snprintf(path, sizeof(path), "/tmp/fullscale-completion-%d", (int)getpid());
        write_file(path, r.out);
        int status = run_program((const char *const[]){shells[i], "-n", path, NULL}, out, sizeof(out));
        if (status > 0 || (status == 0 && out[0] != '\0'))
            fail_msg("%s: %s", shells[i], out);
        unlink(path);
        result_free(&r);
    }
}

static void test_bash_completes(void **state)
{
    (void)state;
    static const struct {
        const char *words; /* the last one is being typed */
        const char *reply;
    } rows[] = {
        {"fullscale us", "users"},
        {"fullscale users re", "rename"},
        {"fullscale user mv --new", "--new-name"},
        {"fullscale pre c --reu", "--reusable"},
        {"fullscale -o js", "json json-line"},
        {"fullscale config reference -o mark", "markdown"},
        {"fullscale completion z", "zsh"},
    };
    char out[4096];
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fullscale-completion-%d", (int)getpid());
    struct result r = run("fullscale completion bash");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf script = {0};
        buf_printf(&script,
                   "%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_fullscale\necho \"${COMPREPLY[*]}\"\n",
                   r.out, rows[i].words);
        write_file(path, buf_cstr(&script));
        buf_fini(&script);
        int status = run_program((const char *const[]){"bash", path, NULL}, out, sizeof(out));
        if (status == -1)
            break;
        assert_int_equal(status, 0);
        out[strcspn(out, "\n")] = '\0';
        assert_string_equal(out, rows[i].reply);
    }
    unlink(path);
    result_free(&r);
}

static void test_manual_renders(void **state)
{
    (void)state;
    char out[65536];
    char path[64];
    snprintf(path, sizeof(path), "/tmp/fullscale-man-%d", (int)getpid());
    struct result r = run("fullscale man");
    assert_int_equal(r.status, CLI_EXIT_OK);
    write_file(path, r.out);
    int status = run_program((const char *const[]){"groff", "-man", "-ww", "-z", "-Tutf8", path, NULL}, out,
                             sizeof(out));
    if (status > 0 || (status == 0 && out[0] != '\0'))
        fail_msg("%s", out);
    status = run_program((const char *const[]){"mandoc", "-T", "lint", "-W", "error", path, NULL}, out, sizeof(out));
    if (status > 0)
        fail_msg("%s", out);
    for (const struct cli_group *g = cli_fullscale.groups; g->name != NULL; g++)
        assert_non_null(strstr(r.out, g->name));
    unlink(path);
    result_free(&r);
}

/* --- commands that need no server --- */

static void test_config_commands(void **state)
{
    (void)state;
    char path[64];
    char line[128];
    snprintf(path, sizeof(path), "/tmp/fullscale-config-%d.yaml", (int)getpid());
    write_file(path, "server_url: http://10.0.0.1:8080\nwokers: 2\n");
    snprintf(line, sizeof(line), "fullscale config check -c %s", path);
    expect(line, CLI_EXIT_OK, ": good. Clients connect to http://10.0.0.1:8080\n", "did you mean workers?");
    snprintf(line, sizeof(line), "fullscale config show --config=%s", path);
    expect(line, CLI_EXIT_OK, "server_url: \"http://10.0.0.1:8080\"\n", NULL);
    snprintf(line, sizeof(line), "fullscale serve --config %s", path);
    expect(line, CLI_EXIT_OK, NULL, NULL);
    assert_non_null(served);
    write_file(path, "server_url: nonsense\n");
    snprintf(line, sizeof(line), "fullscale configtest -c %s", path);
    expect(line, CLI_EXIT_ERROR, NULL, ":1:13: server_url must be http:// or https://");
    snprintf(line, sizeof(line), "fullscale serve -c %s", path);
    expect(line, CLI_EXIT_CONFIG, NULL, ":1:13: server_url must be");
    unlink(path);
    expect(line, CLI_EXIT_CONFIG, NULL, "No such file");
    expect("fullscale config reference", CLI_EXIT_OK, "environment: FULLSCALE_LISTEN_ADDR", NULL);
    expect("fullscale config reference -o markdown", CLI_EXIT_OK, "| `listen_addr` | address |", NULL);
    expect("fullscale config reference -o json", CLI_EXIT_OK, "\"name\": \"listen_addr\"", NULL);
    expect("fullscale config reference -o yaml", CLI_EXIT_OK, "#listen_addr: \"[::]:8080\"", NULL);
}

static void test_no_server(void **state)
{
    (void)state;
    expect("fullscale nodes list --socket /nonexistent/x.sock", CLI_EXIT_ERROR, NULL,
           "no server answers at /nonexistent/x.sock: start one with `fullscale serve`");
    expect("fullscale nodes list --socket /nonexistent/x.sock -o json", CLI_EXIT_ERROR, NULL,
           "{\"error\":\"no server answers at /nonexistent/x.sock");
}

/* --- a server that plays a part --- */

#define ANNA                                                                                                           \
    "{\"id\":\"1\",\"name\":\"anna\",\"displayName\":\"Anna N\",\"email\":\"a@b.c\",\"role\":\"owner\",\"createdAt\":\"2026-11-23T01:02:03.5Z\"}"
#define BERT "{\"id\":\"2\",\"name\":\"bert\",\"displayName\":\"\\u001b[31mred\",\"email\":\"\",\"createdAt\":null}"
#define KEY1                                                                                                           \
    "{\"id\":\"7\",\"key\":\"fskey-auth-0123456789ab-***\",\"user\":" ANNA                                             \
    ",\"reusable\":true,\"ephemeral\":false,\"used\":false,\"expiration\":null,\"createdAt\":null,\"aclTags\":[\"tag:a\",\"tag:b\"]}"
#define NODE1                                                                                                          \
    "{\"id\":\"3\",\"givenName\":\"laptop\",\"name\":\"Laptop\",\"user\":" ANNA                                        \
    ",\"ipAddresses\":[\"100.64.0.1\",\"fd7a::1\"],\"online\":true,\"lastSeen\":\"2026-11-23T01:02:03Z\"}"
#define NODE2                                                                                                                        \
    "{\"id\":\"4\",\"givenName\":\"web\",\"name\":\"web\",\"user\":null,\"tags\":[\"tag:web\"],\"ipAddresses\":[],\"expired\":true," \
    "\"availableRoutes\":[\"10.0.0.0/8\",\"::/0\"],\"approvedRoutes\":[\"10.0.0.0/8\"],\"subnetRoutes\":[]}"

#define RELAY1                                                                                                               \
    "{\"id\":\"1\",\"name\":\"fra\",\"key\":\"fskey-relay-0123456789ab-***\",\"regionId\":901,\"regionName\":\"Frankfurt\"," \
    "\"up\":true,\"hostname\":\"192.0.2.1\",\"lastSeen\":\"2026-11-23T01:02:03Z\"}"

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
     "{\"versions\":[{\"version\":\"4\",\"updatedAt\":\"2026-11-23T01:02:03Z\",\"author\":\"anna\",\"note\":\"\",\"bytes\":7}]}"},
    {"GET /api/v1/policy/why?src=a&dst=b%3A22&proto=", 200,
     "{\"allowed\":true,\"hasPolicy\":true,\"file\":\"/etc/p.hujson\",\"rules\":[{\"line\":4,\"section\":\"acls\",\"index\":0},"
     "{\"line\":9,\"section\":\"grants\",\"index\":2}]}"},
    {"GET /api/v1/policy/why?src=a&dst=c&proto=udp", 200,
     "{\"allowed\":false,\"hasPolicy\":true,\"file\":\"policy\",\"rules\":[{\"line\":4,\"section\":\"acls\",\"index\":1,"
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

static bool is_hostile;      /* strings of all answers end with EVIL */
static bool are_lists_empty; /* the server has nothing yet */

/* Behind every string that is a value, but for ids. */
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
    if (are_lists_empty)
        body = "{\"users\":[],\"nodes\":[],\"preAuthKeys\":[],\"relays\":[],\"versions\":[]}";
    if (is_hostile) {
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

static int fake_start(void **state)
{
    (void)state;
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

static int fake_stop(void **state)
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

/* The last request held this. */
static void asked(const char *text)
{
    pthread_mutex_lock(&fake.lock);
    bool is_there = strstr(fake.last, text) != NULL;
    pthread_mutex_unlock(&fake.lock);
    if (!is_there)
        fail_msg("asked: %s\nexpected: %s", fake.last, text);
}

static void test_users_commands(void **state)
{
    (void)state;
    expect("fullscale users list", CLI_EXIT_OK,
           "ID  NAME  DISPLAY NAME  EMAIL  ROLE   CREATED\n"
           "1   anna  Anna N        a@b.c  owner  2026-11-23 01:02:03 UTC\n"
           "2   bert  \\x1b[31mred   -      -      -\n",
           NULL);
    expect("fullscale users list -o json", CLI_EXIT_OK, "[\n  {\n    \"id\": \"1\",", NULL);
    expect("fullscale users list -o json-line", CLI_EXIT_OK, "[{\"id\":\"1\",", NULL);
    expect("fullscale user ls -o yaml", CLI_EXIT_OK, "name: anna", NULL);
    expect("fullscale users create anna --display-name X", CLI_EXIT_OK, "User anna created, id 1\n", NULL);
    asked("{\"name\":\"anna\",\"displayName\":\"X\"}");
    expect("fullscale users rename bert bert/2", CLI_EXIT_OK, "User renamed to bert/2\n", NULL);
    expect("fullscale users rename -i 2 -r bert/2", CLI_EXIT_OK, "User renamed", NULL);
    expect("fullscale users rename --name bert bert/2 -o json", CLI_EXIT_OK, "\"name\": \"bert\"", NULL);
    expect("fullscale users rename", CLI_EXIT_USAGE, NULL, "give the new name");
    expect("fullscale users rename x", CLI_EXIT_USAGE, NULL, "name the user");
    expect("fullscale users set-role bert it-admin", CLI_EXIT_OK, "User bert is now it-admin\n", NULL);
    asked("{\"role\":\"it-admin\"}");
    expect("fullscale users set-role -i 2 auditor -o json", CLI_EXIT_OK, "\"name\": \"bert\"", NULL);
    expect("fullscale users set-role admin", CLI_EXIT_USAGE, NULL, "name the user");
    expect("fullscale users set-role", CLI_EXIT_USAGE, NULL, "needs [USER] ROLE");
    expect("fullscale users delete bert --force", CLI_EXIT_OK, "User bert deleted\n", NULL);
    expect("fullscale users destroy a@b.c --force", CLI_EXIT_ERROR, NULL, "fullscale: anna has nodes\n");
    expect("fullscale users delete nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no user \"nobody\"");
    expect("fullscale users delete", CLI_EXIT_USAGE, NULL, "name the user");
}

static void test_nodes_commands(void **state)
{
    (void)state;
    expect("fullscale nodes list", CLI_EXIT_OK,
           "3   laptop  anna     100.64.0.1, fd7a::1  online   2026-11-23 01:02:03 UTC  -\n"
           "4   web     tag:web  -                    expired  -                        -\n",
           NULL);
    expect("fullscale nodes list --user nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no user nobody");
    expect("fullscale nodes show fd7a::1", CLI_EXIT_OK, "Name         laptop\n", NULL);
    expect("fullscale nodes show Laptop -o json", CLI_EXIT_OK, "\"givenName\": \"laptop\"", NULL);
    expect("fullscale nodes show zzz", CLI_EXIT_NOT_FOUND, NULL, "there is no node \"zzz\"");
    expect("fullscale nodes rename laptop new-name", CLI_EXIT_OK, "renamed to new-name\n", NULL);
    expect("fullscale nodes rename -i 3 new-name", CLI_EXIT_OK, "renamed to new-name\n", NULL);
    expect("fullscale nodes expire web", CLI_EXIT_OK, "Node web expired\n", NULL);
    asked("\r\n\r\n{}");
    expect("fullscale nodes expire web --disable", CLI_EXIT_OK, "never expires", NULL);
    asked("{\"disableExpiry\":true}");
    expect("fullscale nodes expire web -e 2030-01-01T00:00:00Z", CLI_EXIT_OK, "new expiry", NULL);
    asked("{\"expiry\":\"2030-01-01T00:00:00Z\"}");
    expect("fullscale nodes expire web -e 30d", CLI_EXIT_OK, "new expiry", NULL);
    asked("{\"expiry\":\"2");
    expect("fullscale nodes delete --identifier 4 --force", CLI_EXIT_OK, "deleted\n", NULL);
    expect("fullscale nodes delete", CLI_EXIT_USAGE, NULL, "name the node");
}

static void test_tags_and_routes(void **state)
{
    (void)state;
    expect("fullscale nodes tag web tag:a,tag:b", CLI_EXIT_OK, "Node web is tagged tag:a,tag:b\n", NULL);
    asked("{\"tags\":[\"tag:a\",\"tag:b\"]}");
    expect("fullscale nodes tags -i 4 -t tag:a -t tag:b", CLI_EXIT_OK, "Node web is tagged tag:a,tag:b\n", NULL);
    asked("{\"tags\":[\"tag:a\",\"tag:b\"]}");
    expect("fullscale nodes tag -i 4", CLI_EXIT_USAGE, NULL, "give the tags");
    expect("fullscale nodes tag tag:a", CLI_EXIT_USAGE, NULL, "give the node and its tags, not only \"tag:a\"");
    expect("fullscale nodes tag -t tag:a", CLI_EXIT_USAGE, NULL, "name the node: `fullscale nodes tag [NODE] [TAGS]`");
    expect("fullscale nodes approve-routes a", CLI_EXIT_USAGE, NULL,
           "give the node and its routes, not only \"a\": `fullscale nodes approve-routes NODE 10.0.0.0/8");
    expect("fullscale nodes tag -i 4 --tags=", CLI_EXIT_USAGE, NULL, "give the tags");
    expect("fullscale nodes approve-routes -i web -r 10.0.0.0/8,::/0", CLI_EXIT_OK,
           "Node web may serve 10.0.0.0/8,::/0\n", NULL);
    asked("{\"routes\":[\"10.0.0.0/8\",\"::/0\"]}");
    expect("fullscale nodes approve-routes web --routes=", CLI_EXIT_OK, "Node web may serve no routes\n", NULL);
    asked("{\"routes\":[]}");
    expect("fullscale nodes approve-routes -i web -o json", CLI_EXIT_USAGE, NULL, "give the routes");
    expect("fullscale nodes approve-routes -r 10.0.0.0/8", CLI_EXIT_USAGE, NULL, "name the node");
    expect("fullscale nodes list-routes", CLI_EXIT_OK,
           "ID  NAME  ADVERTISED        APPROVED    SERVING\n"
           "4   web   10.0.0.0/8, ::/0  10.0.0.0/8  -\n",
           NULL);
    expect("fullscale nodes lsr -i laptop", CLI_EXIT_OK, "3   laptop  -           -         -\n", NULL);
    expect("fullscale nodes routes -o json-line", CLI_EXIT_OK, "[{\"id\":\"4\",", NULL);
    expect("fullscale nodes list-routes nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no node \"nobody\"");
}

static void test_preauthkeys_commands(void **state)
{
    (void)state;
    expect("fullscale preauthkeys create --user anna --reusable --tags tag:a,tag:b -e 0", CLI_EXIT_OK,
           "fskey-auth-whole\n", NULL);
    asked("{\"user\":\"1\",\"reusable\":true,\"ephemeral\":false,\"aclTags\":[\"tag:a\",\"tag:b\"]}");
    expect("fullscale preauthkeys create -u 2 -o json", CLI_EXIT_OK, "\"key\": \"fskey-auth-whole\"", NULL);
    asked("\"expiration\":\"2");
    expect("fullscale preauthkeys create", CLI_EXIT_USAGE, NULL, "name the key's user: --user NAME");
    expect("fullscale preauthkeys create --user nobody", CLI_EXIT_NOT_FOUND, NULL, "no user \"nobody\"");
    expect("fullscale preauthkeys list", CLI_EXIT_OK, "fskey-auth-0123456789ab-***  anna  yes", NULL);
    expect("fullscale preauthkeys list", CLI_EXIT_OK, "tag:a, tag:b\n", NULL);
    expect("fullscale preauthkeys list --user anna", CLI_EXIT_DENIED, NULL, "the server answered with status 403");
    expect("fullscale preauthkeys expire 7", CLI_EXIT_OK, "Key 7 expired\n", NULL);
    expect("fullscale preauthkeys expire fskey-auth-0123456789ab-abcdef --user anna", CLI_EXIT_OK, "Key 7 expired\n",
           NULL);
    asked("{\"id\":\"7\"}");
    expect("fullscale preauthkeys expire --id 9", CLI_EXIT_NOT_FOUND, NULL, "there is no such auth key");
    expect("fullscale preauthkeys expire", CLI_EXIT_USAGE, NULL, "name the key");
    expect("fullscale preauthkeys rm 7 --force", CLI_EXIT_OK, "Key 7 deleted\n", NULL);
}

static void test_relays_commands(void **state)
{
    (void)state;
    expect("fullscale relays create fra-2 --region-id 901", CLI_EXIT_OK, "fskey-relay-whole\n", NULL);
    asked("{\"name\":\"fra-2\",\"regionId\":\"901\"}");
    expect("fullscale relays create fra --region-name Frankfurt -o json", CLI_EXIT_OK, "\"key\": \"fskey-relay-whole\"",
           NULL);
    asked("{\"name\":\"fra\",\"regionName\":\"Frankfurt\"}");
    expect("fullscale relays create", CLI_EXIT_USAGE, NULL, "NAME");
    expect("fullscale relays list", CLI_EXIT_OK,
           "1   fra   901     Frankfurt    yes  192.0.2.1  2026-11-23 01:02:03 UTC  fskey-relay-0123456789ab-***\n",
           NULL);
    expect("fullscale relays delete fra --force", CLI_EXIT_OK, "Relay fra deleted\n", NULL);
    expect("fullscale relays rm -i 1 --force", CLI_EXIT_OK, "Relay fra deleted\n", NULL);
    expect("fullscale relays delete nyc", CLI_EXIT_NOT_FOUND, NULL, "there is no relay 'nyc'");
    expect("fullscale relays delete", CLI_EXIT_USAGE, NULL, "name the relay");
}

/* What is wrong is told before anything is sent, also where there is no server. */
static void test_policy_files(void **state)
{
    (void)state;
    const char *path = "/tmp/fullscale-cli-test.hujson";
    setenv("FULLSCALE_UNIX_SOCKET", "/nonexistent/socket", 1);
    write_file(path, "{\n  \"acls\": [}");
    expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
           "/tmp/fullscale-cli-test.hujson:2:12: ");
    expect("fullscale policy set /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL, "this policy cannot be used\n");
    expect("fullscale policy diff /tmp/fullscale-cli-test.hujson -o json", CLI_EXIT_ERROR, NULL,
           "\"errors\":[{\"file\":\"/tmp/fullscale-cli-test.hujson\",\"line\":2,\"column\":12,\"message\":\"");
    write_file(path, "{} // good");
    expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_OK, ": good\n", "No server runs here");
    expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson -o json-line", CLI_EXIT_OK, "{\"warnings\":[]}\n",
           "No server runs here");
    expect("fullscale policy set -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL, "no server answers");
    expect("fullscale policy set -f /nonexistent", CLI_EXIT_ERROR, NULL, "/nonexistent");
    expect("fullscale policy set", CLI_EXIT_USAGE, NULL, "name the file");
    unsetenv("FULLSCALE_UNIX_SOCKET");
    unlink(path);
}

static void test_policy_commands(void **state)
{
    (void)state;
    const char *path = "/tmp/fullscale-cli-test.hujson";
    write_file(path, "{} // \"new\"\n");
    expect("fullscale policy get", CLI_EXIT_OK, "{} // now\n", "p.hujson:1:2: oh\nfullscale: this is the last good");
    expect("fullscale policy get -n 2", CLI_EXIT_OK, "{} // then\n", NULL);
    expect("fullscale policy get -n 9", CLI_EXIT_NOT_FOUND, NULL, "there is no version 9");
    expect("fullscale policy set -f /tmp/fullscale-cli-test.hujson -m why", CLI_EXIT_OK,
           "Policy version 4 is in force\n", "/tmp/fullscale-cli-test.hujson: warning: nobody is zoe@\n");
    asked("{\"policy\":\"{} // \\\"new\\\"\\n\",\"author\":\"");
    asked("\"note\":\"why\"}");
    expect("fullscale policy check /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
           "/tmp/fullscale-cli-test.hujson: test(s) failed\n"
           "/tmp/fullscale-cli-test.hujson:3:7: expected \\x1b[31mDENIED\nfullscale: test(s) failed\n");
    expect("fullscale policy rollback 2 --force", CLI_EXIT_OK, "Policy version 5 is in force", NULL);
    expect("fullscale policy rollback 3 --force", CLI_EXIT_ERROR, NULL, "version 3:1:2: bad\nfullscale: no\n");
    expect("fullscale policy rollback", CLI_EXIT_USAGE, NULL, "needs N");
    expect("fullscale policy history", CLI_EXIT_OK,
           "VERSION  SET AT                   BY    BYTES  NOTE\n4        2026-11-23 01:02:03 UTC  anna  7      -\n",
           NULL);
    expect("fullscale policy diff -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_OK,
           "CHANGE   SOURCE    DESTINATION  PROTOCOL  PORTS\n"
           "granted  10.0.0.1  10.0.0.3     tcp,udp   *\n"
           "revoked  10.0.0.1  10.0.0.2     47        1-9\n"
           "revoked  10.0.0.1  10.0.0.2     udp       22\n",
           "and 2 more\n");
    expect("fullscale policy diff -f /tmp/fullscale-cli-test.hujson -o json", CLI_EXIT_OK, "\"leftOut\": 2", NULL);
    unlink(path);
}

static void test_policy_why(void **state)
{
    (void)state;
    expect("fullscale policy why a b:22", CLI_EXIT_OK,
           "Allowed by\n  /etc/p.hujson:4  acls[0]\n  /etc/p.hujson:9  grants[2]\n", NULL);
    expect(
        "fullscale policy why a c --proto udp", CLI_EXIT_ERROR,
        "Not allowed. The closest rule is\n  policy:4  acls[1]: matches all but the destination and the port or protocol\n",
        NULL);
    expect("fullscale policy why a d", CLI_EXIT_ERROR, "no rule that allows anything", NULL);
    expect("fullscale policy why a d -o json", CLI_EXIT_ERROR, "\"allowed\": false", NULL);
    expect("fullscale policy why a e", CLI_EXIT_OK, "there is no policy", NULL);
    expect("fullscale policy why a f", CLI_EXIT_OK, "the policy has no rules", NULL);
    expect("fullscale policy why x y", CLI_EXIT_NOT_FOUND, NULL, "x names nothing");
    expect("fullscale policy why x", CLI_EXIT_USAGE, NULL, "needs SRC DST");
}

static void test_server_commands(void **state)
{
    (void)state;
    expect("fullscale health", CLI_EXIT_OK, "healthy\n", NULL);
    expect("fullscale health -o json-line", CLI_EXIT_OK, "{\"databaseConnectivity\":true}\n", NULL);
    expect("fullscale log level", CLI_EXIT_OK, "relay   info\n", NULL);
    expect("fullscale log level relay debug", CLI_EXIT_OK, "relay   debug\n", NULL);
    asked("{\"module\":\"relay\",\"level\":\"debug\"}");
    expect("fullscale log level debug", CLI_EXIT_OK, NULL, NULL);
    asked("\r\n\r\n{\"level\":\"debug\"}");
}

/* --- hostile text --- */

static void assert_plain(const char *line, const char *what, const char *text)
{
    for (const char *p = text, *end = text + strlen(text); p < end;) {
        unsigned n = (uint8_t)*p < 0x80 ? 1 : utf8_seq_len(p, end);
        uint32_t code = n == 0 ? 0 : n == 1 ? (uint8_t)*p : utf8_decode(p, n);
        if (code != '\n' && !show_is_plain(code))
            fail_msg("%s: code %x in %s: %s", line, code, what, text);
        p += n;
    }
    if (strncmp(text, "FORGED", 6) == 0 || strstr(text, "\nFORGED") != NULL)
        fail_msg("%s: a line was forged in %s: %s", line, what, text);
}

/* JSON and YAML must be what they are, with the value as the server said it. */
static void assert_reads_back(const char *line, const char *format, const char *text)
{
    struct arena a = {0};
    const struct json *root;
    const struct yaml *map;
    struct err err = {0};
    if (strncmp(format, "json", 4) == 0 && json_parse(&a, str_c(text), NULL, &root, NULL) != RC_OK)
        fail_msg("%s: no JSON: %s", line, text);
    if (strcmp(format, "yaml") == 0 && yaml_parse(&a, str_c(text), "out", &map, &err) != RC_OK)
        fail_msg("%s: no YAML: %s: %s", line, err.text, text);
    arena_fini(&a);
}

static void try_hostile(const char *command, const char *format)
{
    char line[512];
    snprintf(line, sizeof(line), "%s -o %s", command, format);
    struct result r = run(line);
    assert_true(r.out[0] != '\0' || r.err[0] != '\0');
    assert_plain(line, "the output", r.out);
    assert_plain(line, "the errors", r.err);
    if (r.status == CLI_EXIT_OK)
        assert_reads_back(line, format, r.out);
    result_free(&r);
}

/* Nothing that nodes, users, files or arguments hold reaches the terminal as more than text, by no command and no
 * format. */
static void test_hostile_text_is_shown(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "fullscale users create anna",
        "fullscale users list",
        "fullscale users list --name e\x1b[31m\xff\u202e",
        "fullscale users rename -i 2 bert/2",
        "fullscale users set-role -i 2 admin",
        "fullscale users delete -i 2 --force",
        "fullscale users delete -i 2",
        "fullscale users delete e\x1b[31m\xff\u202e",
        "fullscale nodes list",
        "fullscale nodes list -u nobody",
        "fullscale nodes show -i 3",
        "fullscale nodes show e\x1b[31m\xff\u202e",
        "fullscale nodes rename -i 3 new-name",
        "fullscale nodes rename -i 3 e\x1b[31m\xff\u202e",
        "fullscale nodes expire -i 4",
        "fullscale nodes expire -i 4 --expiry \x1b",
        "fullscale nodes tag -i 4 tag:\x1b[31m\xff\u202e",
        "fullscale nodes approve-routes -i 4 \x1b[31m\xff\u202e",
        "fullscale nodes list-routes",
        "fullscale nodes delete -i 4 --force",
        "fullscale nodes delete -i 4",
        "fullscale relays create fra",
        "fullscale relays list",
        "fullscale relays delete -i 1 --force",
        "fullscale relays delete \x1b\u202e",
        "fullscale preauthkeys create -u 2",
        "fullscale preauthkeys list",
        "fullscale preauthkeys expire 7",
        "fullscale preauthkeys delete 7 --force",
        "fullscale policy set -f /tmp/fullscale-cli-test.hujson",
        "fullscale policy check -f /tmp/fullscale-cli-test.hujson",
        "fullscale policy diff -f /tmp/fullscale-cli-test.hujson",
        "fullscale policy set -f /tmp/\x1b[31m\xff\u202e",
        "fullscale policy why a b:22",
        "fullscale policy why a c --proto udp",
        "fullscale policy why x y",
        "fullscale policy history",
        "fullscale policy rollback 2 --force",
        "fullscale policy rollback 3 --force",
        "fullscale log level",
        "fullscale log level relay debug",
        "fullscale config check --config /tmp/\x1b[31m\xff\u202e",
        "fullscale config show --config /tmp/\x1b[31m\xff\u202e",
        "fullscale \x1b[31m\xff\u202e",
        "fullscale users list --\x1b[31m\xff\u202e=\x1b",
        "fullscale users list -\x1b",
    };
    static const char *const formats[] = {"table", "json", "json-line", "yaml"};
    write_file("/tmp/fullscale-cli-test.hujson", "{}");
    is_hostile = true;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        for (size_t k = 0; k < ARRAY_LEN(formats); k++)
            try_hostile(commands[i], formats[k]);
    }
    is_hostile = false;
    unlink("/tmp/fullscale-cli-test.hujson");
}

/* A policy that is piped is the policy, byte for byte. */
static void test_policy_get_is_exact(void **state)
{
    (void)state;
    is_hostile = true;
    struct result r = run("fullscale policy get -n 2");
    is_hostile = false;
    assert_non_null(strstr(r.out, "{} // then\n\x1b[31m"));
    result_free(&r);
}

static void test_sink_joins_pieces(void **state)
{
    (void)state;
    struct cli_sink sink;
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    assert_true(cli_sink_open(&sink, to, false));
    for (const char *p = "a\u00e9\u202e\U0001f468\xc3"; *p != '\0'; p++) {
        fputc(*p, sink.stream);
        fflush(sink.stream);
    }
    cli_sink_raw(&sink, STR("\033[1m"));
    assert_true(cli_sink_close(&sink));
    fclose(to);
    assert_string_equal(text, "a\u00e9\\u202e\U0001f468\033[1m\\xc3");
    free(text);
}

/* --- what must be said --- */

static void test_deletes_need_a_yes(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "fullscale users delete bert", "fullscale nodes delete web",  "fullscale preauthkeys delete 7",
        "fullscale relays delete fra", "fullscale policy rollback 2",
    };
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        expect(commands[i], CLI_EXIT_USAGE, NULL,
               "? There is no terminal to ask on, so nothing was changed: use --force\n");
        pthread_mutex_lock(&fake.lock);
        assert_true(strncmp(fake.last, "GET ", 4) == 0 || fake.last[0] == '\0');
        pthread_mutex_unlock(&fake.lock);
    }
}

/* "" names nothing: neither everything, nor a path that does not exist. */
static void test_empty_words_are_refused(void **state)
{
    (void)state;
    expect("fullscale nodes rename web ''", CLI_EXIT_USAGE, NULL,
           "\"fullscale nodes rename\" was given an empty argument: it needs [NODE] NEW-NAME");
    expect("fullscale users rename bert ''", CLI_EXIT_USAGE, NULL, "empty argument");
    expect("fullscale users rename bert --new-name ''", CLI_EXIT_USAGE, NULL, "--new-name is empty: --new-name NAME");
    expect("fullscale users create ''", CLI_EXIT_USAGE, NULL, "empty argument");
    expect("fullscale nodes show ''", CLI_EXIT_USAGE, NULL, "empty argument");
    expect("fullscale nodes delete --identifier= --force", CLI_EXIT_USAGE, NULL, "--identifier is empty");
    expect("fullscale preauthkeys list --user ''", CLI_EXIT_USAGE, NULL, "--user is empty");
    expect("fullscale policy get -n ''", CLI_EXIT_USAGE, NULL, "--version-number is empty");
    expect("fullscale policy rollback '' --force", CLI_EXIT_USAGE, NULL, "empty argument");
    expect("fullscale log level ''", CLI_EXIT_USAGE, NULL, "empty argument");
    expect("fullscale nodes list -c ''", CLI_EXIT_USAGE, NULL, "--config is empty");
    expect("fullscale nodes approve-routes web ''", CLI_EXIT_OK, "may serve no routes", NULL);
}

static void test_empty_tables_speak(void **state)
{
    (void)state;
    are_lists_empty = true;
    expect("fullscale users list", CLI_EXIT_OK, "", "No users yet. Create one with");
    expect("fullscale nodes list", CLI_EXIT_OK, "", "No nodes yet. Make a key with");
    expect("fullscale preauthkeys list", CLI_EXIT_OK, "", "No auth keys. Create one with");
    expect("fullscale relays list", CLI_EXIT_OK, "", "No relays on other machines. Enrol one with");
    expect("fullscale nodes list-routes", CLI_EXIT_OK, "", "No node advertises routes");
    expect("fullscale policy history", CLI_EXIT_OK, "", "No policy has been set yet");
    expect("fullscale nodes list -o json-line", CLI_EXIT_OK, "[]\n", NULL);
    are_lists_empty = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_consistent),
        cmocka_unit_test(test_each_command_has_help),
        cmocka_unit_test(test_parsing),
        cmocka_unit_test(test_usage_errors_teach),
        cmocka_unit_test(test_completions_name_everything),
        cmocka_unit_test(test_bash_completes),
        cmocka_unit_test(test_manual_renders),
        cmocka_unit_test(test_config_commands),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test_setup_teardown(test_users_commands, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_nodes_commands, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_preauthkeys_commands, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_relays_commands, fake_start, fake_stop),
        cmocka_unit_test(test_policy_files),
        cmocka_unit_test_setup_teardown(test_policy_commands, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_policy_why, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_server_commands, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_hostile_text_is_shown, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_policy_get_is_exact, fake_start, fake_stop),
        cmocka_unit_test(test_sink_joins_pieces),
        cmocka_unit_test_setup_teardown(test_deletes_need_a_yes, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_empty_words_are_refused, fake_start, fake_stop),
        cmocka_unit_test_setup_teardown(test_empty_tables_speak, fake_start, fake_stop),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
