/* Bytes to YAML to schema: the file of somebody careless or hostile. What is accepted must dump and load again. */
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer of its own on some faulty documents. Leaks of ours are still found. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const no_env[] = {NULL};
    const struct config_source src = {.env = no_env, .primary_ip = "192.168.1.5"};
    struct config *cfg;
    struct config *again;
    struct err err;
    struct buf dump = {0};
    if (config_parse(&src, str_n(data, size), "c.yaml", &cfg, &err) != RC_OK)
        return 0;
    config_dump(cfg, &dump);
    if (config_parse(&src, buf_str(&dump), "", &again, &err) != RC_OK)
        abort();
    config_destroy(&again);
    config_destroy(&cfg);
    buf_fini(&dump);
    return 0;
}
