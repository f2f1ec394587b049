#include "crypto/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "crypto/crypto.h"

/* The module stands below the JSON reader, and the file is plain: `"name": "text"` and `"name": true` are found by
 * search from `*at` on, which moves behind. */
static char *vectors;

static bool find_value(const char **at, const char *name, char *out, size_t cap)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\": ", name);
    const char *p = strstr(*at, quoted);
    if (p == NULL)
        return false;
    p += strlen(quoted);
    size_t n = *p == '"' ? strcspn(++p, "\"") : strspn(p, "truefals");
    assert_true(n < cap);
    memcpy(out, p, n);
    out[n] = '\0';
    *at = p + n;
    return true;
}

static void value_of(const char *section, const char *name, char *out, size_t cap)
{
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\": {", section);
    const char *at = strstr(vectors, quoted);
    assert_non_null(at);
    assert_true(find_value(&at, name, out, cap));
}

static void bytes_of(const char *section, const char *name, uint8_t out[KEY_BYTES])
{
    char hex[256];
    value_of(section, name, hex, sizeof(hex));
    assert_int_equal(hex_decode(str_c(hex), out, KEY_BYTES), RC_OK);
}

static enum rc parse_kind(const char *kind, const char *text, uint8_t out[KEY_BYTES])
{
    machine_key m;
    node_key n;
    disco_key d;
    nl_key l;
    enum rc rc = RC_INTERNAL;
    const void *from = NULL;
    if (strcmp(kind, "machine") == 0) {
        rc = machine_key_parse(str_c(text), &m);
        from = m.b;
    } else if (strcmp(kind, "node") == 0) {
        rc = node_key_parse(str_c(text), &n);
        from = n.b;
    } else if (strcmp(kind, "disco") == 0) {
        rc = disco_key_parse(str_c(text), &d);
        from = d.b;
    } else if (strcmp(kind, "nl") == 0) {
        rc = nl_key_parse(str_c(text), &l);
        from = l.b;
    }
    if (rc == RC_OK)
        memcpy(out, from, KEY_BYTES);
    return rc;
}

static void test_parse_vectors(void **state)
{
    (void)state;
    static const char want[] = "93d25891ed0bdebee18b447801d1cbc2bc1c2a4657524c401b7c86ec00c9fb79";
    const char *at = strstr(vectors, "\"parse_cases\"");
    char accepted[8];
    char kind[16];
    char text[128];
    unsigned rows = 0;
    assert_non_null(at);
    while (find_value(&at, "accepted", accepted, sizeof(accepted))) {
        assert_true(find_value(&at, "kind", kind, sizeof(kind)));
        assert_true(find_value(&at, "text", text, sizeof(text)));
        uint8_t key[KEY_BYTES];
        enum rc rc = parse_kind(kind, text, key);
        bool ok = strcmp(accepted, "true") == 0;
        if (rc != (ok ? RC_OK : RC_INVALID))
            fail_msg("%s \"%s\": %s", kind, text, rc_name(rc));
        if (ok) {
            char hex[2 * KEY_BYTES + 1] = {0};
            hex_encode(key, KEY_BYTES, hex);
            assert_string_equal(hex, want);
        }
        rows++;
    }
    assert_int_equal(rows, 17);
}

static void test_text_vectors(void **state)
{
    (void)state;
    char want[256];
    char got[KEY_TEXT_CAP];
    char got_short[KEY_SHORT_CAP];
    machine_key m;
    node_key n;
    disco_key d;
    bytes_of("machine", "public_hex", m.b);
    value_of("machine", "public_text", want, sizeof(want));
    machine_key_format(&m, got);
    assert_string_equal(got, want);
    value_of("machine", "short", want, sizeof(want));
    machine_key_short(&m, got_short);
    assert_string_equal(got_short, want);

    bytes_of("node", "public_hex", n.b);
    value_of("node", "public_text", want, sizeof(want));
    node_key_format(&n, got);
    assert_string_equal(got, want);
    value_of("node", "short", want, sizeof(want));
    node_key_short(&n, got_short);
    assert_string_equal(got_short, want);

    bytes_of("disco", "public_hex", d.b);
    value_of("disco", "public_text", want, sizeof(want));
    disco_key_format(&d, got);
    assert_string_equal(got, want);
    value_of("disco", "short", want, sizeof(want));
    disco_key_short(&d, got_short);
    assert_string_equal(got_short, want);
}

static void test_expired_mutation_short(void **state)
{
    (void)state;
    char text[128];
    char want[16];
    char got[KEY_SHORT_CAP];
    node_key n;
    value_of("node", "expired_mutation_text", text, sizeof(text));
    value_of("node", "expired_mutation_short", want, sizeof(want));
    assert_int_equal(node_key_parse(str_c(text), &n), RC_OK);
    node_key_short(&n, got);
    assert_string_equal(got, want);
}

static void test_other_texts(void **state)
{
    (void)state;
    char want[256];
    char text[KEY_TEXT_CAP];
    nl_key l;
    nl_key from_cli;
    challenge_key c;
    value_of("tailnet_lock", "public_text", want, sizeof(want));
    assert_int_equal(nl_key_parse(str_c(want), &l), RC_OK);
    nl_key_format(&l, text);
    assert_string_equal(text, want);
    value_of("tailnet_lock", "cli_text", want, sizeof(want));
    assert_int_equal(nl_key_parse(str_c(want), &from_cli), RC_OK);
    assert_true(keys_equal(l.b, from_cli.b));
    value_of("challenge", "public_text", want, sizeof(want));
    assert_int_equal(hex_decode(str_c(want + strlen("chalpub:")), c.b, KEY_BYTES), RC_OK);
    challenge_key_format(&c, text);
    assert_string_equal(text, want);
}

static void test_private(void **state)
{
    (void)state;
    static const char *const sections[] = {"machine", "node"};
    for (unsigned i = 0; i < ARRAY_LEN(sections); i++) {
        char text[128];
        char again[KEY_TEXT_CAP];
        uint8_t want[KEY_BYTES];
        uint8_t got[KEY_BYTES];
        private_key k;
        value_of(sections[i], "private_text", text, sizeof(text));
        assert_int_equal(private_key_parse(str_c(text), &k), RC_OK);
        private_key_format(&k, again);
        assert_string_equal(again, text);
        bytes_of(sections[i], "private_hex", want);
        assert_true(keys_equal(k.b, want));
        bytes_of(sections[i], "public_hex", want);
        private_key_public(&k, got);
        assert_true(keys_equal(got, want));
    }
    private_key k;
    char text[256];
    value_of("machine", "public_text", text, sizeof(text));
    assert_int_equal(private_key_parse(str_c(text), &k), RC_INVALID);
    value_of("tailnet_lock", "private_text", text, sizeof(text));
    assert_int_equal(private_key_parse(str_c(text), &k), RC_INVALID);
}

static void test_zero(void **state)
{
    (void)state;
    const char *at = vectors;
    char text[128];
    node_key n;
    assert_true(find_value(&at, "zero_node_text", text, sizeof(text)));
    assert_int_equal(node_key_parse(str_c(text), &n), RC_OK);
    assert_true(key_is_zero(n.b));
    n.b[31] = 1;
    assert_false(key_is_zero(n.b));
}

static void test_clamping(void **state)
{
    (void)state;
    uint8_t ones[KEY_BYTES];
    uint8_t zeros[KEY_BYTES] = {0};
    private_key k;
    memset(ones, 0xff, sizeof(ones));
    private_key_from_bytes(ones, &k);
    assert_int_equal(k.b[0], 0xf8);
    assert_int_equal(k.b[31], 0x7f);
    private_key_from_bytes(zeros, &k);
    assert_int_equal(k.b[0], 0);
    assert_int_equal(k.b[31], 0x40);
}

/* --- the key file --- */

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static unsigned files_in_dir(void)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/keys_test.XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (unlinkat(dirfd(d), e->d_name, 0) != 0)
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    return rmdir(dir);
}

static void test_file_create(void **state)
{
    (void)state;
    const char *path = in_dir("noise.key");
    private_key first;
    private_key second;
    struct err err;
    struct stat st;
    assert_int_equal(private_key_load_or_create(path, &first, &err), RC_OK);
    assert_false(key_is_zero(first.b));
    assert_int_equal(first.b[0] & 7, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(files_in_dir(), 1);
    /* A copy that others may read is closed to them. */
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(private_key_load_or_create(path, &second, NULL), RC_OK);
    struct stat open_to;
    assert_int_equal(stat(path, &open_to), 0);
    assert_int_equal(open_to.st_mode & 0777, 0600);
    assert_int_equal(private_key_load_or_create(path, &second, NULL), RC_OK);
    assert_true(keys_equal(first.b, second.b));
    assert_int_equal(private_key_load_or_create(in_dir("other.key"), &second, NULL), RC_OK);
    assert_false(keys_equal(first.b, second.b));
}

static void test_file_relative(void **state)
{
    (void)state;
    char before[256];
    private_key k;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(private_key_load_or_create("noise.key", &k, NULL), RC_OK);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(files_in_dir(), 1);
}

static void test_file_white_space(void **state)
{
    (void)state;
    char text[KEY_TEXT_CAP];
    char file[256];
    char want[128];
    private_key k;
    value_of("machine", "private_text", want, sizeof(want));
    snprintf(file, sizeof(file), "\n  %s \r\n\n", want);
    put_file(in_dir("noise.key"), file);
    assert_int_equal(private_key_load_or_create(in_dir("noise.key"), &k, NULL), RC_OK);
    private_key_format(&k, text);
    assert_string_equal(text, want);
}

static void test_file_refusals(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "\n",
        "privkey:",
        "30d509b1533e5ee03c6a5c2aaf7b118bedfede456a7077a185b67dbdbf1fea67",
        "mkey:30d509b1533e5ee03c6a5c2aaf7b118bedfede456a7077a185b67dbdbf1fea67",
        "privkey:30d509b1533e5ee03c6a5c2aaf7b118bedfede456a7077a185b67dbdbf1fea6",
        "privkey:30d509b1533e5ee03c6a5c2aaf7b118bedfede456a7077a185b67dbdbf1fea6x",
        "privkey:0000000000000000000000000000000000000000000000000000000000000000",
        "privkey:30d509b1533e5ee03c6a5c2aaf7b118bedfede456a7077a185b67dbdbf1fea67 # ours",
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        private_key k;
        struct stat st;
        put_file(in_dir("noise.key"), rows[i]);
        assert_int_equal(private_key_load_or_create(in_dir("noise.key"), &k, &err), RC_INVALID);
        assert_non_null(strstr(err.text, "noise.key"));
        assert_null(strstr(err.text, "30d509"));
        assert_int_equal(stat(in_dir("noise.key"), &st), 0);
        assert_int_equal((size_t)st.st_size, strlen(rows[i])); /* left as it was */
    }
}

static void test_file_too_long(void **state)
{
    (void)state;
    char want[128];
    char file[512];
    private_key k;
    value_of("machine", "private_text", want, sizeof(want));
    snprintf(file, sizeof(file), "%s%300s", want, "");
    put_file(in_dir("noise.key"), file);
    assert_int_equal(private_key_load_or_create(in_dir("noise.key"), &k, NULL), RC_INVALID);
}

static void test_file_io_errors(void **state)
{
    (void)state;
    struct err err = {0};
    private_key k;
    char longest[5000];
    assert_int_equal(private_key_load_or_create(in_dir("no/such/dir.key"), &k, &err), RC_IO);
    assert_true(key_is_zero(k.b));
    assert_true(strlen(err.text) > 0);
    assert_int_equal(mkdir(in_dir("dir.key"), 0700), 0);
    assert_int_equal(private_key_load_or_create(in_dir("dir.key"), &k, &err), RC_IO);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(private_key_load_or_create(longest, &k, &err), RC_IO);
    /* A link to nowhere is a name that is taken, and no key. */
    assert_int_equal(symlink("/nonexistent/noise.key", in_dir("link.key")), 0);
    assert_int_equal(private_key_load_or_create(in_dir("link.key"), &k, &err), RC_IO);
}

static int load_vectors(void **state)
{
    (void)state;
    enum { CAP = 64 * 1024 };
    crypto_init();
    FILE *f = fopen(VECTORS_DIR "/keys.json", "r");
    if (f == NULL)
        return -1;
    vectors = mem_alloc(CAP);
    vectors[fread(vectors, 1, CAP - 1, f)] = '\0';
    fclose(f);
    return 0;
}

static int free_vectors(void **state)
{
    (void)state;
    mem_free(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_vectors),
        cmocka_unit_test(test_text_vectors),
        cmocka_unit_test(test_expired_mutation_short),
        cmocka_unit_test(test_other_texts),
        cmocka_unit_test(test_private),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_clamping),
        cmocka_unit_test_setup_teardown(test_file_create, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_file_relative, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_file_white_space, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_file_refusals, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_file_too_long, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_file_io_errors, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
