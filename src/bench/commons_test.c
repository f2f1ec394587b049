/* Histograms, readings of processes, errors, URLs, reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/bench.h"
#include "support/test_random.h"

/* --- hist --- */

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Samples of all sizes, so that every power of two has some. */
static int64_t random_us(struct test_random *random)
{
    return (int64_t)(test_random_u64(random) >> (test_random_below(random, 40) + 24));
}

static void check_quantiles(const struct hist *h, const int64_t *sorted, size_t n)
{
    static const double qs[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < ARRAY_LEN(qs); i++) {
        double want = (double)sorted[(size_t)ceil(qs[i] * (double)n) - 1] / 1000, got = hist_quantile_ms(h, qs[i]);
        if (fabs(got - want) > want * 0.032 + 1e-9)
            fail_msg("quantile %g: %g instead of %g ms", qs[i], got, want);
    }
}

static void test_hist_is_as_a_sorted_list(void **state)
{
    (void)state;
    enum { N = 5000 };
    static int64_t samples[N];
    static struct hist h, half[2];
    struct test_random random = {1};
    uint64_t sum = 0;
    for (size_t i = 0; i < N; i++) {
        samples[i] = random_us(&random);
        sum += (uint64_t)samples[i];
        hist_add(&h, samples[i]);
        hist_add(&half[i % 2], samples[i]);
    }
    qsort(samples, N, sizeof(samples[0]), compare_i64);
    check_quantiles(&h, samples, N);
    struct hist_summary s = hist_summarise(&h);
    assert_int_equal(s.count, N);
    assert_true(fabs(s.max_ms - (double)samples[N - 1] / 1000) < 1e-9);
    assert_true(fabs(s.mean_ms / ((double)sum / (double)N / 1000) - 1) < 1e-9);
    hist_merge(&half[0], &half[1]);
    assert_memory_equal(&half[0], &h, sizeof(h));
}

static void test_hist_edges(void **state)
{
    (void)state;
    static struct hist h;
    struct hist_summary s = hist_summarise(&h);
    assert_true(s.count == 0 && s.p50_ms == 0 && s.max_ms == 0 && s.mean_ms == 0);
    hist_add(&h, -5);
    assert_true(hist_quantile_ms(&h, 1) == 0);
    hist_add(&h, INT64_MAX);
    assert_int_equal(h.n, 2);
    assert_int_equal(h.buckets[HIST_BUCKETS - 1], 1);
    assert_true(hist_quantile_ms(&h, 0) == 0);
    static struct hist one;
    hist_add(&one, 1000);
    assert_true(hist_quantile_ms(&one, 0.99) <= 1); /* never more than the largest */
}

/* --- proc --- */

static void test_proc_of_ourselves(void **state)
{
    (void)state;
    struct proc_cpu before = proc_cpu_self(), after;
    struct proc_memory memory = proc_memory_self();
    unsigned fds = 0, more = 0;
    for (volatile unsigned i = 0; i < 20 * 1000 * 1000; i++) {
    }
    assert_int_equal(proc_cpu_read(getpid(), &after), RC_OK);
    assert_true(after.total_ns > before.total_ns);
    assert_true(memory.rss_bytes > 100 * 1000 && memory.peak_rss_bytes >= memory.rss_bytes);
    assert_int_equal(proc_fds_count(getpid(), &fds), RC_OK);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(proc_fds_count(getpid(), &more), RC_OK);
    close(fd);
    assert_int_equal(more, fds + 1);
    assert_true(proc_is_alive(getpid()));
}

static void test_peak_is_reset(void **state)
{
    (void)state;
    enum { BYTES = 64 * 1024 * 1024 };
    void *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    memset(p, 1, BYTES);
    assert_int_equal(munmap(p, BYTES), 0);
    struct proc_memory high = proc_memory_self();
    if (proc_peak_reset(getpid()) == RC_DENIED)
        skip();
    struct proc_memory low = proc_memory_self();
    assert_true(high.peak_rss_bytes - low.peak_rss_bytes >= BYTES / 2);
}

static void test_proc_of_nobody(void **state)
{
    (void)state;
    struct proc_cpu cpu = {1, 1};
    struct proc_memory memory = {1, 1};
    unsigned fds = 1;
    assert_int_equal(proc_cpu_read(0, &cpu), RC_OK);
    assert_int_equal(proc_memory_read(0, &memory), RC_OK);
    assert_int_equal(proc_fds_count(0, &fds), RC_OK);
    assert_int_equal(proc_peak_reset(0), RC_OK);
    assert_true(cpu.total_ns == 0 && cpu.user_ns == 0 && memory.rss_bytes == 0 && fds == 0 && proc_is_alive(0));
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(proc_cpu_read(pid, &cpu), RC_NOT_FOUND);
    assert_int_equal(proc_memory_read(pid, &memory), RC_NOT_FOUND);
    assert_int_equal(proc_fds_count(pid, &fds), RC_NOT_FOUND);
    assert_int_equal(proc_peak_reset(pid), RC_NOT_FOUND);
    assert_false(proc_is_alive(pid));
}

static void test_cpu_between(void **state)
{
    (void)state;
    struct proc_cpu a = {1000, 900}, b = {5000, 2000}, d = proc_cpu_between(&a, &b);
    assert_true(d.total_ns == 4000 && d.user_ns == 1100);
    d = proc_cpu_between(&b, &a); /* the process id is that of a server that was started again */
    assert_true(d.total_ns == 0 && d.user_ns == 0);
    a = (struct proc_cpu){4000, 0}; /* a tick of 10 ms may be more than the whole */
    d = proc_cpu_between(&a, &b);
    assert_true(d.total_ns == 1000 && d.user_ns == 1000);
}

static void test_fd_limit(void **state)
{
    (void)state;
    struct rlimit was, now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    struct rlimit low = {64, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(proc_raise_fd_limit(10), 64); /* never lowers */
    assert_int_equal(proc_raise_fd_limit(128), 128);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(now.rlim_cur, 128);
    assert_int_equal(now.rlim_max, was.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

/* --- errors --- */

static void test_errors_are_counted_by_text(void **state)
{
    (void)state;
    static struct errors e, other;
    for (unsigned i = 0; i < 3; i++)
        errors_add(&e, "connect: %s", "refused");
    errors_add(&e, "closed");
    errors_add(&other, "closed");
    other.others = 2;
    errors_merge(&e, &other);
    assert_int_equal(errors_count(&e), 7);
    for (unsigned i = 0; i < 2; i++)
        errors_add(&e, "closed");
    errors_sort(&e);
    assert_int_equal(e.n, 2);
    assert_string_equal(e.rows[0].text, "closed");
    assert_int_equal(e.rows[0].count, 4);
    for (unsigned i = 0; i < 2 * ERRORS_MAX; i++)
        errors_add(&e, "number %u", i);
    assert_int_equal(e.n, ERRORS_MAX);
    assert_int_equal(errors_count(&e), 9 + 2 * ERRORS_MAX);
    errors_add(&e, "%0999d", 1); /* cut, or counted as another */
    assert_int_equal(errors_count(&e), 10 + 2 * ERRORS_MAX);
}

/* --- URLs --- */

static void test_urls(void **state)
{
    (void)state;
    struct bench_url u;
    struct err err;
    char text[ADDR_TEXT_CAP];
    assert_int_equal(bench_url_parse("http://127.0.0.1:3340/derp", &u, &err), RC_OK);
    assert_false(u.is_tls);
    assert_string_equal(u.authority, "127.0.0.1:3340");
    assert_string_equal(u.path, "/derp");
    assert_int_equal(u.addr.port, 3340);
    assert_int_equal(bench_url_parse("https://[::1]:443", &u, &err), RC_OK);
    assert_true(u.is_tls);
    assert_string_equal(u.path, "/");
    assert_int_equal(bench_url_parse("http://localhost:80/", &u, &err), RC_OK);
    addr_format(&u.addr, true, text);
    assert_string_equal(text, "127.0.0.1:80");
    assert_string_equal(u.authority, "localhost:80");
}

static void test_urls_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "127.0.0.1:80",
                                      "ftp://127.0.0.1:80/",
                                      "http://127.0.0.1/derp",
                                      "http://localhost/derp",
                                      "http://localhost:99999/",
                                      "http://example.com:80/",
                                      "http://127.0.0.1:80/a b",
                                      "http://127.0.0.1:80/\r\nX: y",
                                      "http://127.0.0.1.example.com:80/",
                                      "http://user@127.0.0.1:80/",
                                      "http://11111111111111111111111111111111111111111111111111111111111111111:80/"};
    static const char *const others[] = {"http://192.0.2.1:80/", "https://10.0.0.1:443/derp",
                                         "http://[2001:db8::1]:80/", "http://0.0.0.0:80/", "http://[::]:80/"};
    struct bench_url u;
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(bench_url_parse(bad[i], &u, &err), RC_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(bench_url_parse(others[i], &u, &err), RC_DENIED);
        assert_non_null(strstr(err.text, "loopback"));
    }
}

/* --- report --- */

static void fill(struct report *r)
{
    static struct hist h;
    static struct errors e;
    h = (struct hist){0};
    e = (struct errors){0};
    for (unsigned i = 1; i <= 4; i++)
        hist_add(&h, 10 * i);
    errors_add(&e, "one <\"x\">");
    errors_add(&e, "two");
    errors_add(&e, "two");
    report_init(r, "try", "a label", 1700000000123);
    report_u64(r, "pairs", 8, NULL);
    report_i64(r, "lost", -1, "may be less than none");
    report_f64(r, "rate_per_s", 1234.56789, "asked for");
    report_f64(r, "ratio", 2, NULL);
    report_bool(r, "tls", true, NULL);
    report_text(r, "mode", "x\"y", NULL);
    report_latency(r, "latency", &h, NULL);
    report_cpu(r, "cpu", &(struct proc_cpu){1234567890, 1000000000}, "server");
    report_raw(r, "verify", STR("{\"ok\":true}"), "ok=true", NULL);
    report_errors(r, "errors", &e);
}

static const char expected_json[] =
    "{\"scenario\":\"try\",\"label\":\"a label\",\"time\":\"2023-11-14T22:13:20Z\",\"pairs\":8,\"lost\":-1,"
    "\"rate_per_s\":1234.568,\"ratio\":2,\"tls\":true,\"mode\":\"x\\\"y\","
    "\"latency\":{\"count\":4,\"mean_ms\":0.025,\"p50_ms\":0.02,\"p90_ms\":0.04,\"p99_ms\":0.04,\"max_ms\":0.04},"
    "\"cpu_s\":1.235,\"cpu_user_s\":1,\"cpu_sys_s\":0.235,\"verify\":{\"ok\":true},"
    "\"errors\":[\"2 × two\",\"1 × one \\u003c\\\"x\\\"\\u003e\"]}\n";

static const char expected_table[] = "\n== try ==\n"
                                     "  label                        a label\n"
                                     "  pairs                        8\n"
                                     "  lost                         -1   (may be less than none)\n"
                                     "  rate_per_s                   1234.568   (asked for)\n"
                                     "  ratio                        2\n"
                                     "  tls                          true\n"
                                     "  mode                         x\"y\n"
                                     "  latency                      n=4 p50=0.0 p90=0.0 p99=0.0 max=0.0 ms\n"
                                     "  cpu_s                        1.235   (server)\n"
                                     "  cpu_user_s                   1\n"
                                     "  cpu_sys_s                    0.235\n"
                                     "  verify                       ok=true\n"
                                     "  errors                       \n    2 × two\n    1 × one <\"x\">\n";

static void test_report(void **state)
{
    (void)state;
    char *json = NULL, *table = NULL, path[] = "/tmp/fullscale-report-XXXXXX";
    size_t json_n, table_n;
    struct report r;
    struct err err = {0};
    struct buf appended = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct report_target target = {open_memstream(&json, &json_n), open_memstream(&table, &table_n), path, NULL};
    fill(&r);
    assert_int_equal(report_emit(&r, &target, &err), RC_OK);
    report_fini(&r);
    fclose(target.json);
    fclose(target.table);
    assert_string_equal(json, expected_json);
    assert_string_equal(table, expected_table);
    free(json);
    fill(&r);
    target = (struct report_target){open_memstream(&json, &json_n), NULL, path, NULL};
    assert_int_equal(report_emit(&r, &target, &err), RC_OK);
    report_fini(&r);
    fclose(target.json);
    assert_int_equal(file_read(path, 65536, &appended, NULL), RC_OK);
    assert_int_equal(buf_len(&appended), 2 * strlen(expected_json)); /* appended, not written over */
    buf_fini(&appended);
    free(json);
    free(table);
    close(fd);
    unlink(path);
}

static void test_report_without_errors_or_file(void **state)
{
    (void)state;
    char *json = NULL;
    size_t n;
    struct report r;
    struct errors none = {0};
    struct err err = {0};
    struct report_target target = {open_memstream(&json, &n), NULL, "/nonexistent/folder/file", NULL};
    report_init(&r, "try", "", 0);
    report_errors(&r, "errors", &none);
    assert_null(strstr(buf_cstr(&r.table), "errors"));
    assert_int_equal(report_emit(&r, &target, &err), RC_IO);
    assert_non_null(strstr(err.text, "/nonexistent/folder/file"));
    report_fini(&r);
    fclose(target.json);
    assert_string_equal(json, "{\"scenario\":\"try\",\"time\":\"1970-01-01T00:00:00Z\",\"errors\":[]}\n");
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hist_is_as_a_sorted_list),
        cmocka_unit_test(test_hist_edges),
        cmocka_unit_test(test_proc_of_ourselves),
        cmocka_unit_test(test_peak_is_reset),
        cmocka_unit_test(test_proc_of_nobody),
        cmocka_unit_test(test_cpu_between),
        cmocka_unit_test(test_fd_limit),
        cmocka_unit_test(test_errors_are_counted_by_text),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_urls_refused),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_report_without_errors_or_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
