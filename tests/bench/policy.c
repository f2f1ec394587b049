/* How long the policy takes: to read it, to add the nodes, for the peers and filters of all, and for one node more.
 * Prints a Markdown table; each figure is the CPU time of one thread.
 *
 * usage: policy_bench [NODES...]        without NODES: 1000 3000 10000 30000 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/mem.h"
#include "engine/access.h"
#include "engine/engine.h"
#include "engine/view.h"
#include "support/test_random.h"

enum { USERS = 500, GROUPS = 100, GROUP_USERS = 20, TAGS = 50, RULES = 1000, JOINS = 200, SIZES_MAX = 8 };

struct figures {
    size_t nodes, classes, peers;
    size_t filter_bytes;
    double parse_ms, create_ms, nodes_ms, visibility_ms, class_filters_ms, node_filters_ms;
    double join_us, join_max_us, join_filter_us, tag_us, view_us, prints_ms;
    double memory_mb;
};

struct bench {
    struct test_random random;
    struct buf text;
    struct engine_user user[USERS];
    char name[USERS][24];
    char email[USERS][32];
    struct str tag[TAGS];
    char tag_name[TAGS][16];
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void make_users(struct bench *b)
{
    for (uint32_t i = 0; i < USERS; i++) {
        snprintf(b->name[i], sizeof(b->name[i]), "user%u", i);
        snprintf(b->email[i], sizeof(b->email[i]), "user%u@example.com", i);
        b->user[i] = (struct engine_user){i + 1, str_c(b->name[i]), str_c(b->email[i]), STR_EMPTY, POLICY_MEMBER};
    }
    for (uint32_t i = 0; i < TAGS; i++) {
        snprintf(b->tag_name[i], sizeof(b->tag_name[i]), "tag:t%u", i);
        b->tag[i] = str_c(b->tag_name[i]);
    }
}

static uint32_t below(struct bench *b, uint32_t n)
{
    return test_random_below(&b->random, n);
}

static void put_source(struct bench *b)
{
    uint32_t kind = below(b, 100);
    if (kind < 60)
        buf_printf(&b->text, "\"group:g%u\"", below(b, GROUPS));
    else if (kind < 80)
        buf_printf(&b->text, "\"tag:t%u\"", below(b, TAGS));
    else if (kind < 99)
        buf_printf(&b->text, "\"user%u@example.com\"", below(b, USERS));
    else
        buf_append_c(&b->text, "\"autogroup:member\"");
}

static void put_destination(struct bench *b, const char *ports)
{
    uint32_t kind = below(b, 100);
    if (kind < 85)
        buf_printf(&b->text, "\"tag:t%u%s\"", below(b, TAGS), ports);
    else if (kind < 95)
        buf_printf(&b->text, "\"net%u%s\"", below(b, 20), ports);
    else
        buf_printf(&b->text, "\"group:g%u%s\"", below(b, GROUPS), ports);
}

static void put_some(struct bench *b, const char *name, const char *ports, bool is_source)
{
    uint32_t n = 1 + below(b, 3);
    buf_printf(&b->text, "\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_append_byte(&b->text, ',');
        if (is_source)
            put_source(b);
        else
            put_destination(b, ports);
    }
    buf_append_c(&b->text, "],");
}

static void make_text(struct bench *b)
{
    static const char *const ports[] = {":22", ":80,443", ":*", ":1000-2000"};
    buf_append_c(&b->text, "{\"groups\":{");
    for (uint32_t g = 0; g < GROUPS; g++) {
        buf_printf(&b->text, "%s\"group:g%u\":[", g > 0 ? "," : "", g);
        for (uint32_t i = 0; i < GROUP_USERS; i++)
            buf_printf(&b->text, "%s\"user%u@example.com\"", i > 0 ? "," : "", below(b, USERS));
        buf_append_c(&b->text, "]");
    }
    buf_append_c(&b->text, "},\"hosts\":{");
    for (uint32_t i = 0; i < 20; i++)
        buf_printf(&b->text, "%s\"net%u\":\"10.%u.0.0/16\"", i > 0 ? "," : "", i, i);
    buf_append_c(&b->text, "},\"tagOwners\":{");
    for (uint32_t i = 0; i < TAGS; i++)
        buf_printf(&b->text, "%s\"tag:t%u\":[]", i > 0 ? "," : "", i);
    buf_append_c(&b->text,
                 "},\"grants\":[{\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]}");
    for (uint32_t i = 1; i < RULES / 2; i++) {
        buf_append_c(&b->text, ",{");
        put_some(b, "src", "", true);
        put_some(b, "dst", "", false);
        buf_printf(&b->text, "\"ip\":[\"tcp:%u\",\"udp:53\"]}", 1 + below(b, 60000));
    }
    buf_append_c(&b->text, "],\"acls\":[");
    for (uint32_t i = 0; i < RULES / 2; i++) {
        buf_append_c(&b->text, i > 0 ? ",{" : "{");
        put_some(b, "src", "", true);
        put_some(b, "dst", ports[below(b, 4)], false);
        buf_append_c(&b->text, "\"action\":\"accept\"}");
    }
    buf_append_c(&b->text, "]}");
}

/* Half of the nodes have a tag, the others a user; one in fifty routes a network. */
static void put_node(struct bench *b, struct engine *p, uint32_t i, uint32_t shift)
{
    struct engine_route route = {{4, 0, {10, (uint8_t)(i % 20), (uint8_t)(i / 20)}}, 24, true};
    struct engine_facts n = {.id = i + 1, .user = 1 + i / 2 % USERS, .created_ms = i, .is_online = true};
    n.v4 = (struct addr){4, 0, {100, (uint8_t)(64 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i}};
    n.v6 = (struct addr){
        6, 0, {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [13] = (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
    n.tags = &b->tag[(i / 2 + shift) % TAGS];
    n.tag_n = i % 2;
    n.routes = &route;
    n.route_n = i % 50 == 49 && i / 20 < 256;
    engine_put_node(p, &n);
}

static size_t render(struct engine *p, uint64_t id, struct buf *out)
{
    buf_clear(out);
    engine_filter(p, id, out);
    return buf_len(out);
}

static void measure_filters(struct engine *p, size_t n, struct figures *f)
{
    struct buf out = {0};
    double start = now_ms();
    /* The first two hundred are of nearly two hundred classes: they make the texts of their source lists. */
    for (uint64_t id = 1; id <= 200; id++)
        render(p, id, &out);
    f->class_filters_ms = now_ms() - start;
    start = now_ms();
    for (uint64_t id = 1; id <= n; id++)
        f->filter_bytes += render(p, id, &out);
    f->node_filters_ms = now_ms() - start;
    buf_fini(&out);
}

static void measure_joins(struct bench *b, struct engine *p, size_t n, struct figures *f)
{
    struct buf out = {0};
    for (uint32_t i = 0; i < JOINS; i++) {
        uint32_t id = (uint32_t)n + i;
        double start = now_ms();
        put_node(b, p, id, 0);
        size_t peers = engine_peer_count(p, id + 1);
        double took = now_ms() - start;
        if (peers == 0)
            f->peers++;
        f->join_us += took * 1e3 / (double)JOINS;
        f->join_max_us = took * 1e3 > f->join_max_us ? took * 1e3 : f->join_max_us;
        start = now_ms();
        render(p, id + 1, &out);
        f->join_filter_us += (now_ms() - start) * 1e3 / (double)JOINS;
    }
    double start = now_ms();
    struct engine_view *view = engine_view_get(p);
    f->view_us = (now_ms() - start) * 1e3;
    engine_view_unref(&view);
    start = now_ms();
    for (uint32_t i = 0; i < JOINS; i++)
        put_node(b, p, 2 * i + 1, 7);
    f->tag_us = (now_ms() - start) * 1e3 / (double)JOINS;
    buf_fini(&out);
}

static double peak_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

static struct figures measure(struct bench *b, size_t n)
{
    struct figures f = {.nodes = n};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    double start = now_ms();
    if (policy_parse(buf_str(&b->text), NULL, &doc, &errors) != RC_OK) {
        fprintf(stderr, "%s\n", errors.v[0].text);
        exit(1);
    }
    f.parse_ms = now_ms() - start;
    start = now_ms();
    struct engine *p = engine_create(doc, b->user, USERS, NULL);
    f.create_ms = now_ms() - start;
    start = now_ms();
    for (uint32_t i = 0; i < n; i++)
        put_node(b, p, i, 0);
    f.nodes_ms = now_ms() - start;
    start = now_ms();
    for (uint64_t id = 1; id <= n; id++)
        f.peers += engine_peer_count(p, id);
    f.visibility_ms = now_ms() - start;
    f.classes = engine_class_count(p);
    f.memory_mb = peak_mb();
    start = now_ms();
    for (uint64_t id = 1; id <= n; id++)
        f.filter_bytes += engine_fingerprint(p, id) & 0;
    f.prints_ms = now_ms() - start;
    measure_filters(p, n, &f);
    measure_joins(b, p, n, &f);
    engine_destroy(&p);
    policy_doc_unref(&doc);
    policy_errors_fini(&errors);
    return f;
}

#define ROW(title, format, value)                                                                                      \
    do {                                                                                                               \
        printf("| " title " |");                                                                                       \
        for (size_t i = 0; i < n; i++)                                                                                 \
            printf(" " format " |", value);                                                                            \
        printf("\n");                                                                                                  \
    } while (0)

static void print_table(const struct figures *f, size_t n)
{
    printf("|  |");
    for (size_t i = 0; i < n; i++)
        printf(" %zu nodes |", f[i].nodes);
    printf("\n| --- |");
    for (size_t i = 0; i < n; i++)
        printf(" --- |");
    printf("\n");
    ROW("classes", "%zu", f[i].classes);
    ROW("peers of all nodes, in all", "%zu", f[i].peers);
    ROW("read and check the policy, ms", "%.2f", f[i].parse_ms);
    ROW("selectors, lists, users, ms", "%.2f", f[i].create_ms);
    ROW("all nodes put in: classes and who sees whom, ms", "%.1f", f[i].nodes_ms);
    ROW("everyone's peers counted, ms", "%.1f", f[i].visibility_ms);
    ROW("**compile and full visibility, ms** (the four above)", "**%.1f**",
        f[i].parse_ms + f[i].create_ms + f[i].nodes_ms + f[i].visibility_ms);
    ROW("a node joins, its peers counted: mean, us", "%.1f", f[i].join_us);
    ROW("the slowest of 200 joins, us", "%.0f", f[i].join_max_us);
    ROW("its packet filter as JSON, us", "%.0f", f[i].join_filter_us);
    ROW("a node's tag changes, us", "%.1f", f[i].tag_us);
    ROW("who sees whom as an immutable copy, us", "%.0f", f[i].view_us);
    ROW("fingerprints of all nodes, ms", "%.0f", f[i].prints_ms);
    ROW("first 200 filters, with the source lists' texts, ms", "%.0f", f[i].class_filters_ms);
    ROW("the filters of all nodes as JSON, ms", "%.0f", f[i].node_filters_ms);
    ROW("their size, MB", "%.0f", (double)f[i].filter_bytes / 1e6);
    ROW("peak memory of the process before filters, MB", "%.0f", f[i].memory_mb);
}

int main(int argc, char **argv)
{
    static const size_t usual[] = {1000, 3000, 10000, 30000};
    struct figures f[SIZES_MAX];
    struct bench *b = MEM_NEW(struct bench);
    size_t n = 0;
    b->random.state = 1;
    make_users(b);
    make_text(b);
    for (int i = 1; i < argc && n < SIZES_MAX; i++)
        f[n++] = measure(b, (size_t)strtoul(argv[i], NULL, 10));
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(usual); i++)
        f[n++] = measure(b, usual[i]);
    print_table(f, n);
    buf_fini(&b->text);
    mem_free(b);
    return 0;
}
