/* Bytes to YAML to schema: a careless or hostile file. What is accepted must dump and load again. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer of its own on some faulty documents. Leaks of ours are still found. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

static void load(struct str text)
{
    static const char *const no_env[] = {NULL};
    const struct config_source src = {.env = no_env, .primary_ip = "192.168.1.5"};
    struct config *cfg;
    struct config *again;
    struct err err;
    struct buf dump = {0};
    if (config_parse(&src, text, "c.yaml", &cfg, &err) != RC_OK)
        return;
    config_dump(cfg, &dump);
    if (config_parse(&src, buf_str(&dump), "", &again, &err) != RC_OK)
        abort();
    config_destroy(&again);
    config_destroy(&cfg);
    buf_fini(&dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bounds_mark();
    load(str_n(data, size));
    /* An unknown key is compared with all known ones, for a suggestion. */
    fuzz_bounds_check(size, 1 << 20, 1280);
    fuzz_bounds_check_steps(size, 4000000, 8000);
    return 0;
}
