/* The reader on any bytes; and JSON, which we write as YAML, must read back. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer of its own on some faulty documents. Leaks of ours are still found. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

static void check_tree(const struct yaml *node)
{
    size_t n = 0;
    YAML_EACH (it, node) {
        check_tree(it);
        n++;
    }
    if (n != node->n || node->line < 1 || node->text.p[node->text.len] != '\0')
        abort();
}

static void check_output(const struct json *root)
{
    struct arena a = {0};
    struct buf out = {0};
    struct err err;
    const struct yaml *tree;
    yaml_from_json(root, &out);
    enum rc rc = yaml_parse(&a, buf_str(&out), NULL, &tree, &err);
    if (rc != RC_OK && rc != RC_TOO_DEEP && rc != RC_TOO_LARGE)
        abort();
    buf_fini(&out);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json_limits limits = {.max_bytes = 1 << 16, .max_depth = 20, .max_nodes = 10000};
    struct arena a = {0};
    struct err err;
    const struct yaml *tree;
    const struct json *root;
    fuzz_bounds_mark();
    if (yaml_parse(&a, str_n(data, size), "fuzz", &tree, &err) == RC_OK)
        check_tree(tree);
    if (json_parse(&a, str_n(data, size), &limits, &root, NULL) == RC_OK)
        check_output(root);
    arena_fini(&a);
    /* Most of the memory is libfyaml's. */
    fuzz_bounds_check(size, 256 << 10, 1280);
    fuzz_bounds_check_steps(size, 50000, 400);
    return 0;
}
