/* `TARGET --worst CORPUS...`: generated worst cases of growing sizes, and the files of the corpora repeated. The
 * target's own bounds must hold for each, and four times the input may cost five times the steps at most: n log n
 * passes, n * n does not. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "bounds.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SMALLEST = 1 << 10,
    LARGEST = 1 << 16,
    BODY_MAX = 1 << 20, /* the largest request body, and policy */
    RATIO = 5,          /* of steps, for four times the input */
    SLACK = 20000,      /* steps that growing a buffer or making a table may cost at once */
    FILE_MAX = 1 << 16,
    SMALL_MAX = 2 << 10,
    LARGE_MIN = 8 << 10,
};

/* An input is `head`, `unit` as often as it fits, `close` as often as `unit`, and `tail`. In `unit`, a ~ is replaced by
 * the number of the repetition, and ^ and ` by the two low bytes of that number. */
struct pattern {
    const char *targets; /* the targets whose name contains this; null: all */
    const char *name;
    struct str head, unit, close, tail;
};

/* What several patterns begin with, or have in them. */
#define GET "GET / HTTP/1.1\r\nHost: h\r\n"
#define POST_CHUNKED "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
#define HOSTINFO "{\"Version\":90,\"Hostinfo\":{"
#define ACCEPT_FROM "{\"action\":\"accept\",\"src\":["
#define TO "],\"dst\":["
#define TEST_FROM "{\"src\":\"100.64.0.1\",\"accept\":["
#define IPSET "{\"ipsets\":{\"ipset:s\":["
#define POSTURE "{\"postures\":{\"posture:p\":["

#define DUMP "{\"format\":\"fullscale-dump-1\",\"schema\":7,\"secrets\":true}\n{\"entity\":"

static const struct pattern patterns[] = {
    {"store_dump", "rows", STR(DUMP), STR("\"counter\",\"id\":~,\"next\":4}\n{\"entity\":"), {0}, STR("0}")},
    {"store_dump", "many prefixes", STR(DUMP "\"node\",\"advertised\":\""), STR("10.0.0.0/8 "), {0}, STR("\"}")},
    {"store_dump", "many columns", STR(DUMP "\"node\""), STR(",\"c~\":1"), {0}, STR("}")},
    {"store_dump", "hexadecimal", STR(DUMP "\"policy_text\",\"text\":{\"hex\":\""), STR("ff"), {0}, STR("\"}}")},
    {NULL, "zeros", {0}, STR("\0"), {0}, {0}},
    {NULL, "ones", {0}, STR("\xff"), {0}, {0}},
    {NULL, "line ends", {0}, STR("\n"), {0}, {0}},
    {NULL, "blanks", {0}, STR(" "), {0}, STR("1")},
    {NULL, "commas", {0}, STR(","), {0}, {0}},
    {NULL, "letters", {0}, STR("a"), {0}, {0}},
    {NULL, "open brackets", {0}, STR("["), {0}, {0}},
    {NULL, "open braces", {0}, STR("{\"\":"), {0}, {0}},
    {NULL, "deep lists", {0}, STR("["), STR("]"), {0}},
    {NULL, "deep objects", {0}, STR("{\"a\":"), STR("}"), {0}},
    {NULL, "a list of numbers", STR("["), STR("1,"), {0}, STR("1]")},
    {NULL, "a list of empty lists", STR("["), STR("[],"), {0}, STR("[]]")},
    {NULL, "lists of lists", STR("["), STR("[[[[[[[[1]]]]]]]],"), {0}, STR("[]]")},
    {NULL, "a list of strings", STR("["), STR("\"~\","), {0}, STR("\"\"]")},
    {NULL, "a list of empty objects", STR("["), STR("{},"), {0}, STR("{}]")},
    {NULL, "many keys", STR("{"), STR("\"k~\":1,"), {0}, STR("\"\":1}")},
    {NULL, "equal keys", STR("{"), STR("\"k\":1,"), {0}, STR("\"\":1}")},
    {NULL, "keys of one case or another", STR("{"), STR("\"Hostinfo\":{},\"hostinfo\":{},"), {0}, STR("\"\":1}")},
    {NULL, "a long string", STR("\""), STR("a"), {0}, STR("\"")},
    {NULL, "a long key", STR("{\""), STR("a"), {0}, STR("\":1}")},
    {NULL, "escapes", STR("[\""), STR("\\\""), {0}, STR("\"]")},
    {NULL, "escaped characters", STR("[\""), STR("\\u00e9"), {0}, STR("\"]")},
    {NULL, "surrogates", STR("[\""), STR("\\ud83d\\ude00"), {0}, STR("\"]")},
    {NULL, "lone surrogates", STR("[\""), STR("\\ud83d"), {0}, STR("\"]")},
    {NULL, "UTF-8", STR("[\""), STR("\xf0\x9f\x98\x80"), {0}, STR("\"]")},
    {NULL, "no UTF-8", STR("[\""), STR("\x80\xc0"), {0}, STR("\"]")},
    {NULL, "a string without an end", STR("[\""), STR("a"), {0}, {0}},
    {NULL, "a long number", {0}, STR("1"), {0}, {0}},
    {NULL, "a long fraction", STR("[0."), STR("1"), {0}, STR("]")},
    {NULL, "a long exponent", STR("[1e"), STR("1"), {0}, STR("]")},
    {NULL, "comments", STR("["), STR("/**/"), {0}, STR("]")},
    {NULL, "line comments", STR("["), STR("//\n"), {0}, STR("]")},
    {NULL, "a comment without an end", STR("[/*"), STR("*"), {0}, {0}},
    {NULL, "comment openers", {0}, STR("/*"), {0}, {0}},
    {NULL, "commas that trail", STR("["), STR("[1,],"), {0}, STR("]")},
    {NULL, "commas and comments", STR("["), STR("1/*,*/,//,\n"), {0}, STR("]")},
    {NULL, "YAML keys", {0}, STR("k~: 1\n"), {0}, {0}},
    {NULL, "equal YAML keys", {0}, STR("k: 1\n"), {0}, {0}},
    {NULL, "a YAML list", {0}, STR("- a\n"), {0}, {0}},
    {NULL, "deep YAML lists", {0}, STR("- "), {0}, {0}},
    {NULL, "deep YAML keys", {0}, STR("? "), {0}, {0}},
    {NULL, "YAML aliases", STR("a: &a [1]\nb: ["), STR("*a,"), {0}, STR("*a]\n")},
    {NULL, "YAML anchors", STR("["), STR("&a~ 1,"), {0}, STR("1]\n")},
    {NULL, "YAML anchors and aliases", {0}, STR("a~: &a [1]\nb~: *a\n"), {0}, {0}},
    {NULL, "nested YAML aliases", STR("a0: &a [1,1]\n"), STR("a~: &a [*a,*a]\n"), {0}, {0}},
    {NULL, "YAML documents", {0}, STR("---\n"), {0}, {0}},
    {NULL, "YAML comments", {0}, STR("# x\n"), {0}, STR("a: 1\n")},
    {NULL, "YAML block text", STR("a: |\n"), STR("  b\n"), {0}, {0}},
    {NULL, "YAML folded text", STR("a: >\n"), STR("  b\n\n"), {0}, {0}},
    {NULL, "YAML quotes", STR("a: '"), STR("''"), {0}, STR("'\n")},
    {NULL, "YAML tags", STR("["), STR("!a b,"), {0}, STR("c]\n")},
    {NULL, "ports", STR("1"), STR(",1-2"), {0}, {0}},
    {NULL, "headers", STR(GET), STR("a~: b\r\n"), {0}, STR("\r\n")},
    {NULL, "equal headers", STR(GET), STR("a: b\r\n"), {0}, STR("\r\n")},
    {NULL, "a long header", STR(GET "a: "), STR("b"), {0}, STR("\r\n\r\n")},
    {NULL, "a long path", STR("GET /"), STR("a/"), {0}, STR(" HTTP/1.1\r\nHost: h\r\n\r\n")},
    {NULL, "a long query", STR("GET /?"), STR("v~=%20&"), {0}, STR(" HTTP/1.1\r\nHost: h\r\n\r\n")},
    {NULL, "requests", {0}, STR(GET "\r\n"), {0}, {0}},
    {NULL, "chunks", STR(POST_CHUNKED), STR("1\r\na\r\n"), {0}, STR("0\r\n\r\n")},
    {NULL, "trailers", STR(POST_CHUNKED "0\r\n"), STR("a: b\r\n"), {0}, STR("\r\n")},
    {NULL, "answers", {0}, STR("HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n"), {0}, {0}},
    {"h2",
     "pings",
     STR("\x1f"),
     STR("\0\0\x08\x06\0\0\0\0\0"
         "12345678"),
     {0},
     {0}},
    {"h2", "settings", STR("\x1f"), STR("\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\1"), {0}, {0}},
    {"h2", "resets", STR("\x1f"), STR("\0\0\4\3\0\0\0\0\1\0\0\0\1"), {0}, {0}},
    {"h2", "empty DATA", STR("\x1f"), STR("\0\0\0\0\0\0\0\0\1"), {0}, {0}},
    {"h2", "CONTINUATIONs", STR("\x1f\0\0\0\1\0\0\0\0\1"), STR("\0\0\0\x09\0\0\0\0\1"), {0}, {0}},
    {"h2", "unknown frames", STR("\x1f"), STR("\0\0\0\x20\0\0\0\0\0"), {0}, {0}},
    {"h2", "window updates", STR("\x1f"), STR("\0\0\4\x08\0\0\0\0\0\0\0\0\1"), {0}, {0}},
    {"ws", "pings", {0}, STR("\x89\x80\0\0\0\0"), {0}, {0}},
    {"ws", "empty messages", {0}, STR("\x82\x80\0\0\0\0"), {0}, {0}},
    {"ws", "continuations", STR("\x02\x80\0\0\0\0"), STR("\0\x80\0\0\0\0"), {0}, {0}},
    {"derp", "keepalives", {0}, STR("\x06\0\0\0\0"), {0}, {0}},
    {"relay_",
     "pings",
     {0},
     STR("\x12\0\0\0\x08"
         "12345678"),
     {0},
     {0}},
    {"relay_",
     "tiny packets",
     {0},
     STR("\x04\0\0\0\x21"
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0"),
     {0},
     {0}},
    {"relay_", "unknown frames", {0}, STR("\x7f\0\0\0\0"), {0}, {0}},
    {"relay_", "watch", {0}, STR("\x10\0\0\0\0"), {0}, {0}},
    {"derp_client",
     "pings",
     {0},
     STR("\x12\0\0\0\x08"
         "12345678"),
     {0},
     {0}},
    {"noise_records", "empty records", {0}, STR("\x04\0\0"), {0}, {0}},
    {"tailcfg", "services", STR(HOSTINFO "\"Services\":["), STR("{\"Proto\":\"tcp\",\"Port\":~},"), {0}, STR("{}]}}")},
    {"tailcfg", "routes", STR(HOSTINFO "\"RoutableIPs\":["), STR("\"10.0.0.0/8\","), {0}, STR("\"10.0.0.0/8\"]}}")},
    {"tailcfg", "tags", STR(HOSTINFO "\"RequestTags\":["), STR("\"tag:a~\","), {0}, STR("\"tag:b\"]}}")},
    {"tailcfg",
     "endpoints",
     STR("{\"Version\":90,\"Endpoints\":["),
     STR("\"192.0.2.1:~\","),
     {0},
     STR("\"192.0.2.1:1\"]}")},
    {"tailcfg", "members of Hostinfo", STR(HOSTINFO), STR("\"k~\":1,"), {0}, STR("\"OS\":\"linux\"}}")},
    {"tailcfg", "a long host name", STR(HOSTINFO "\"Hostname\":\""), STR("\\u00e9"), {0}, STR("\"}}")},
    {"tailcfg",
     "latencies",
     STR(HOSTINFO "\"NetInfo\":{\"DERPLatency\":{"),
     STR("\"~-v4\":1.5,"),
     {0},
     STR("\"1-v4\":1}}}}")},
    {"session", "reports", {0}, STR("\0{\"OS\":\"a~\"}\n"), {0}, {0}},
    {"session", "registrations", {0}, STR("\x03\x0b"), {0}, {0}},
    {"session", "maps", {0}, STR("\x06"), {0}, {0}},
    {"session", "polls", {0}, STR("\x02{\"OS\":\"a~\"}\n\x04"), {0}, {0}},
    {"policy", "rules", STR("{\"acls\":["), STR(ACCEPT_FROM "\"*\"" TO "\"*:~\"]},"), {0}, STR("]}")},
    {"policy",
     "rules of addresses",
     STR("{\"acls\":["),
     STR(ACCEPT_FROM "\"10.^.`.1\"" TO "\"10.0.0.1:1\"]},"),
     {0},
     STR("]}")},
    {"policy", "grants", STR("{\"grants\":["), STR("{\"src\":[\"*\"" TO "\"*\"],\"ip\":[\"~\"]},"), {0}, STR("]}")},
    {"policy",
     "apps",
     STR("{\"grants\":[{\"src\":[\"*\"" TO "\"*\"],\"app\":{"),
     STR("\"example.com/c~\":[{}],"),
     {0},
     STR("}}]}")},
    {"policy", "sources", STR("{\"acls\":[" ACCEPT_FROM), STR("\"10.0.^.`\","), {0}, STR(TO "\"*:*\"]}]}")},
    {"policy", "destinations", STR("{\"acls\":[" ACCEPT_FROM "\"*\"" TO), STR("\"100.64.0.1:~\","), {0}, STR("]}]}")},
    {"policy", "ports of a rule", STR("{\"acls\":[" ACCEPT_FROM "\"*\"" TO "\"*:1"), STR(",~"), {0}, STR("\"]}]}")},
    {"policy", "groups", STR("{\"groups\":{"), STR("\"group:g~\":[\"ann@example.com\"],"), {0}, STR("}}")},
    {"policy", "members", STR("{\"groups\":{\"group:g\":["), STR("\"a~@example.com\","), {0}, STR("]}}")},
    {"policy", "equal groups", STR("{\"groups\":{"), STR("\"group:g\":[\"ann@example.com\"],"), {0}, STR("}}")},
    {"policy",
     "groups of groups",
     STR("{\"groups\":{\"group:g0\":[],"),
     STR("\"group:g~\":[\"group:g0\",\"group:g1\"],"),
     {0},
     STR("}}")},
    {"policy", "hosts", STR("{\"hosts\":{"), STR("\"h~\":\"10.0.0.1\","), {0}, STR("}}")},
    {"policy", "owners", STR("{\"tagOwners\":{"), STR("\"tag:t~\":[\"tag:t1\"],"), {0}, STR("}}")},
    {"policy", "ipsets", STR("{\"ipsets\":{"), STR("\"ipset:s~\":[\"10.0.0.1\"],"), {0}, STR("}}")},
    {"policy", "members of an ipset", STR(IPSET), STR("\"10.^.`.1\","), {0}, STR("]}}")},
    {"policy", "removals of an ipset", STR(IPSET "\"0.0.0.0/0\","), STR("\"remove 10.^.`.1\","), {0}, STR("]}}")},
    {"policy", "attributes", STR("{\"nodeAttrs\":["), STR("{\"target\":[\"*\"],\"attr\":[\"a~\"]},"), {0}, STR("]}")},
    {"policy", "postures", STR("{\"postures\":{"), STR("\"posture:p~\":[\"node:os == 'linux'\"],"), {0}, STR("}}")},
    {"policy", "conditions", STR(POSTURE), STR("\"node:os == 'linux'\","), {0}, STR("]}}")},
    {"policy", "a list of a condition", STR(POSTURE "\"node:os IN ["), STR("'a~',"), {0}, STR("'b']\"]}}")},
    {"policy",
     "SSH rules",
     STR("{\"ssh\":["),
     STR(ACCEPT_FROM "\"autogroup:member\"" TO "\"autogroup:self\"],\"users\":[\"u~\"]},"),
     {0},
     STR("]}")},
    {"policy",
     "users of an SSH rule",
     STR("{\"ssh\":[" ACCEPT_FROM "\"autogroup:member\"" TO "\"autogroup:self\"],\"users\":["),
     STR("\"u~\","),
     {0},
     STR("]}]}")},
    {"policy", "tests", STR("{\"tests\":["), STR(TEST_FROM "\"100.64.0.2:~\"]},"), {0}, STR("]}")},
    {"policy", "targets of a test", STR("{\"tests\":[" TEST_FROM), STR("\"100.64.0.2:~\","), {0}, STR("]}]}")},
    {"policy",
     "approvers",
     STR("{\"autoApprovers\":{\"routes\":{"),
     STR("\"10.^.`.0/24\":[\"ann@example.com\"],"),
     {0},
     STR("}}}")},
    {"policy", "unknown sections", STR("{"), STR("\"x~\":1,"), {0}, STR("}")},
    {"policy",
     "faults",
     STR("{\"acls\":["),
     STR("{\"action\":\"no\",\"src\":[\"group:no~\"" TO "\"x\"]},"),
     {0},
     STR("]}")},
    {"derpmap",
     "regions",
     STR("{\"Regions\":{"),
     STR("\"~\":{\"RegionID\":~,\"RegionCode\":\"r~\",\"RegionName\":\"R\",\"Nodes\":[]},"),
     {0},
     STR("\"0\":null}}")},
    {"derpmap",
     "nodes",
     STR("{\"Regions\":{\"1\":{\"RegionID\":1,\"RegionCode\":\"r\",\"Nodes\":["),
     STR("{\"Name\":\"n~\",\"RegionID\":1,\"HostName\":\"h~.example.com\"},"),
     {0},
     STR("null]}}}")},
    {"announcement",
     "neighbours",
     STR("{\"neighbours\":["),
     STR("{\"host\":\"h~\",\"dial\":\"192.0.2.1\"},"),
     {0},
     STR("{}]}")},
    {"api_request", "tags", STR("nodes.set_tags\n1\n{\"tags\":["), STR("\"tag:a~\","), {0}, STR("\"tag:b\"]}")},
    {"api_request",
     "routes",
     STR("nodes.approve_routes\n1\n{\"routes\":["),
     STR("\"10.^.`.0/24\","),
     {0},
     STR("\"0.0.0.0/0\"]}")},
    {"api_request", "unknown members", STR("auth_keys.create\n\n{"), STR("\"k~\":1,"), {0}, STR("\"user\":1}")},
    {"api_request", "a long policy", STR("policy.set\n\n{\"policy\":\""), STR("\\u00e9"), {0}, STR("\"}")},
    {"api_request", "a long name", STR("users.rename\n1"), STR("1"), {0}, STR("\n")},
    {"scan", "peers", STR("a{\"Peers\":["), STR("{\"ID\":~,\"Key\":\"nodekey:1\"},"), {0}, STR("{}]}")},
    {"scan", "removed peers", STR("a{\"PeersRemoved\":["), STR("~,"), {0}, STR("1]}")},
};

/* Targets whose first bytes choose something, how many bytes these are, and the choices to try. */
static const struct {
    const char *target;
    size_t bytes;
    struct str choices;
} choosers[] = {
    {"policy_selector", 1, STR("\0\1\2\3")},
    {"relay_frames", 1, STR("\0\5\x08\x15\x45\x25")},
    {"relay_mesh", 1, STR("\0\1\2\3\7\x0f")},
    {"relay_websocket", 1, STR("\0\5")},
    {"relay_worker", 1, STR("\3")},
    {"http_ws", 2, STR("\0\0\1\0\2\1")},
    {"bench_derp_client", 2, STR("\5\0\5\1\5\2\5\3\0\3")},
};

/* The highest value that was seen, and with which input. */
struct highest {
    double value;
    char where[100];
};

static struct {
    bool failed;
    unsigned inputs;
    struct highest small_steps, small_bytes; /* of inputs up to SMALL_MAX, in all: what a target's `base` is for */
    struct highest steps, bytes;             /* of inputs from LARGE_MIN, for each byte of input */
} result;

static size_t max_bytes(void)
{
    static const char *const bodies[] = {"codec_json", "codec_hujson", "proto_tailcfg", "reach_policy"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (strcmp(FUZZ_TARGET, bodies[i]) == 0)
            return BODY_MAX;
    }
    return LARGEST;
}

/* --- making inputs --- */

static void put_unit(struct buf *out, struct str unit, unsigned number)
{
    for (size_t i = 0; i < unit.len; i++) {
        if (unit.p[i] == '~')
            buf_printf(out, "%u", number);
        else if (unit.p[i] == '^')
            buf_printf(out, "%u", number / 256 % 256);
        else if (unit.p[i] == '`')
            buf_printf(out, "%u", number % 256);
        else
            buf_append_byte(out, (uint8_t)unit.p[i]);
    }
}

static void make(const struct pattern *p, struct str choice, size_t size, struct buf *out)
{
    buf_clear(out);
    buf_append(out, choice.p, choice.len);
    buf_append(out, p->head.p, p->head.len);
    unsigned n = 0;
    do
        put_unit(out, p->unit, n++);
    while (buf_len(out) + p->unit.len + n * p->close.len + p->tail.len < size);
    for (unsigned i = 0; i < n; i++)
        buf_append(out, p->close.p, p->close.len);
    buf_append(out, p->tail.p, p->tail.len);
}

/* --- trying inputs --- */

static void keep_highest(struct highest *h, double value, const char *name, size_t size)
{
    if (value <= h->value)
        return;
    h->value = value;
    snprintf(h->where, sizeof(h->where), "%s, %zu bytes", name, size);
}

/* The input is copied, so that AddressSanitizer sees what is read beyond its end. */
static uint64_t steps_of(const struct buf *input, const char *name)
{
    uint8_t *copy = malloc(buf_len(input));
    memcpy(copy, input->data, buf_len(input));
    fuzz_seen = (struct fuzz_seen){0};
    LLVMFuzzerTestOneInput(copy, buf_len(input));
    free(copy);
    result.inputs++;
    size_t n = buf_len(input);
    if (n <= SMALL_MAX) {
        keep_highest(&result.small_steps, (double)fuzz_seen.steps, name, n);
        keep_highest(&result.small_bytes, (double)fuzz_seen.peak_bytes, name, n);
    } else if (n >= LARGE_MIN) {
        keep_highest(&result.steps, (double)fuzz_seen.steps / (double)n, name, n);
        keep_highest(&result.bytes, (double)fuzz_seen.peak_bytes / (double)n, name, n);
    }
    return fuzz_seen.steps;
}

static void try(const struct pattern *p, struct str choice, size_t largest)
{
    struct buf input = {0};
    uint64_t before = 0;
    for (size_t size = SMALLEST; size <= largest; size *= 4) {
        make(p, choice, size, &input);
        fprintf(stderr, "%s: %s, %zu bytes\n", FUZZ_TARGET, p->name, buf_len(&input));
        uint64_t steps = steps_of(&input, p->name);
        if (size > SMALLEST && steps > RATIO * before + SLACK) {
            printf("%s: superlinear: %s: %llu steps for %zu bytes, %llu for a quarter\n", FUZZ_TARGET, p->name,
                   (unsigned long long)steps, buf_len(&input), (unsigned long long)before);
            result.failed = true;
            break;
        }
        before = steps;
    }
    buf_fini(&input);
}

static void try_choices(const struct pattern *p)
{
    for (size_t i = 0; i < ARRAY_LEN(choosers); i++) {
        if (strcmp(choosers[i].target, FUZZ_TARGET) != 0)
            continue;
        for (size_t at = 0; at < choosers[i].choices.len; at += choosers[i].bytes)
            try(p, str_n(choosers[i].choices.p + at, choosers[i].bytes), LARGEST);
        return;
    }
    try(p, (struct str){0}, max_bytes());
}

/* Repeats the whole file, and repeats it without the first bytes, which may choose something. */
static void try_file(const char *path, const char *name)
{
    static char bytes[FILE_MAX];
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(bytes, 1, sizeof(bytes), f) : 0;
    if (f != NULL)
        fclose(f);
    for (size_t head = 0; head < n && head <= 2; head++) {
        const struct pattern p = {NULL, name, str_n(bytes, head), str_n(bytes + head, n - head), {0}, {0}};
        try(&p, (struct str){0}, LARGEST);
    }
}

static void try_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL) {
        printf("%s: no folder %s\n", FUZZ_TARGET, path);
        result.failed = true;
        return;
    }
    for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (e->d_type == DT_REG)
            try_file(name, e->d_name);
    }
    closedir(folder);
}

/* The fuzzer itself ignores flags with two dashes. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc < 2 || strcmp((*argv)[1], "--worst") != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        if (patterns[i].targets == NULL || strstr(FUZZ_TARGET, patterns[i].targets) != NULL)
            try_choices(&patterns[i]);
    }
    for (int i = 2; i < *argc; i++)
        try_folder((*argv)[i]);
    printf("%s: %u worst cases; small ones up to %.0f steps (%s) and %.0f bytes (%s), "
           "large ones for each byte up to %.1f steps (%s) and %.1f bytes (%s)\n",
           FUZZ_TARGET, result.inputs, result.small_steps.value, result.small_steps.where, result.small_bytes.value,
           result.small_bytes.where, result.steps.value, result.steps.where, result.bytes.value, result.bytes.where);
    exit(result.failed ? 1 : 0);
}
