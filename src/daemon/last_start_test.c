/* A guessed server_url stays, and a change is logged. */
#include "daemon/testing.h"

#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/daemon_internal.h"

struct fixture {
    struct test_folder folder;
    struct buf log;
};

static int set_up(void **state)
{
    static struct fixture x;
    x = (struct fixture){0};
    test_folder_make(&x.folder);
    *state = &x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    unlink(test_path(&x->folder, CONFIG_LAST_START));
    test_folder_remove(&x->folder);
    return 0;
}

static struct config *load(struct fixture *x, const char *yaml, const char *ip)
{
    struct config_source src = {.is_root = true};
    struct config *cfg;
    struct err err = {0};
    struct buf text = {0};
    snprintf(src.primary_ip, sizeof(src.primary_ip), "%s", ip);
    buf_printf(&text, "state_dir: %s\n%s", x->folder.path, yaml);
    if (config_parse(&src, buf_str(&text), "test.yaml", &cfg, &err) != RC_OK)
        fail_msg("%s", err.text);
    buf_fini(&text);
    return cfg;
}

static void assert_url(struct fixture *x, const char *yaml, const char *ip, const char *want)
{
    struct config *cfg = load(x, yaml, ip);
    assert_string_equal(cfg->server_url, want);
    config_destroy(&cfg);
}

static void start(struct fixture *x, const char *yaml, const char *ip)
{
    struct config *cfg = load(x, yaml, ip);
    last_start_compare(cfg, 3);
    config_destroy(&cfg);
}

static void test_guess_is_made_once(void **state)
{
    struct fixture *x = *state;
    assert_url(x, "", "10.0.0.5", "http://10.0.0.5:8080");
    start(x, "", "10.0.0.5");
    assert_url(x, "", "10.0.0.7", "http://10.0.0.5:8080");
    start(x, "", "10.0.0.7");
    assert_url(x, "", "10.0.0.7", "http://10.0.0.5:8080");
    /* An address that this machine no longer has. */
    assert_url(x, "listen_addr: ':9080'\n", "10.0.0.7", "http://10.0.0.7:9080");
    assert_url(x, "server_url: http://10.0.0.8\n", "10.0.0.7", "http://10.0.0.8");
    /* A value that was set is not remembered once the key is removed. */
    start(x, "server_url: http://10.0.0.8:8080\n", "10.0.0.7");
    assert_url(x, "", "10.0.0.7", "http://10.0.0.7:8080");
}

static void test_damaged_memory_is_none(void **state)
{
    struct fixture *x = *state;
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"guessed\":true}",
                                        "{\"guessed\":true,\"server_url\":\"x\"}",
                                        "{\"guessed\":true,\"server_url\":\"http://127.0.0.1:8080\"}",
                                        "{\"guessed\":1,\"server_url\":\"http://10.0.0.5:8080\"}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        test_write(&x->folder, CONFIG_LAST_START, texts[i]);
        assert_url(x, "", "10.0.0.7", "http://10.0.0.7:8080");
    }
}

/* What goes to standard error between two moments. */
static void logged(struct fixture *x, const char *yaml, struct buf *out)
{
    FILE *f = tmpfile();
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    assert_true(dup2(fileno(f), STDERR_FILENO) >= 0);
    start(x, yaml, "10.0.0.5");
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    rewind(f);
    buf_commit(out, fread(buf_reserve(out, 65536), 1, 65536, f));
    fclose(f);
}

static void test_changes_are_said(void **state)
{
    struct fixture *x = *state;
    struct buf out = {0};
    logged(x, "server_url: http://10.0.0.8\n", &out);
    logged(x, "server_url: http://10.0.0.8\n", &out);
    assert_int_equal(buf_len(&out), 0);
    logged(x, "server_url: http://10.0.0.9\n", &out);
    assert_non_null(strstr(buf_cstr(&out), "server_url has changed"));
    assert_non_null(strstr(buf_cstr(&out), "was=http://10.0.0.8 is=http://10.0.0.9 nodes=3"));
    buf_clear(&out);
    test_write(&x->folder, CONFIG_LAST_START, "{\"server_url\":\"http://10.0.0.9\",\"state_dir\":\"/srv/old\"}");
    logged(x, "server_url: http://10.0.0.9\n", &out);
    assert_non_null(strstr(buf_cstr(&out), "the state directory lies elsewhere than at the last start"));
    assert_non_null(strstr(buf_cstr(&out), "was=/srv/old"));
    buf_clear(&out);
    logged(x, "server_url: http://10.0.0.9\n", &out);
    assert_int_equal(buf_len(&out), 0);
    buf_fini(&out);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_guess_is_made_once),
        TEST(test_damaged_memory_is_none),
        TEST(test_changes_are_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
