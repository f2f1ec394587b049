#include "config/testing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const no_env[] = {NULL};
const struct config_source testing_source = {.env = no_env, .primary_ip = "192.168.1.5", .is_root = true};

struct config *testing_parse(const struct config_source *src, const char *yaml)
{
    struct config *cfg;
    struct err err = {0};
    if (config_parse(src, str_c(yaml), "/etc/fs/c.yaml", &cfg, &err) != RC_OK)
        fail_msg("%d:%d: %s", err.line, err.col, err.text);
    return cfg;
}

bool testing_warns(const struct config *cfg, const char *text)
{
    const char *warning;
    for (size_t i = 0; (warning = config_warning(cfg, i)) != NULL; i++) {
        if (strstr(warning, text) != NULL)
            return true;
    }
    return false;
}

void testing_refused(const struct config_source *src, const char *yaml, int line, int col, const char *text)
{
    struct config *cfg;
    struct err err = {0};
    if (config_parse(src, str_c(yaml), "c.yaml", &cfg, &err) == RC_OK)
        fail_msg("accepted: %s", yaml);
    assert_null(cfg);
    if ((line >= 0 && err.line != line) || (col >= 0 && err.col != col) || strstr(err.text, text) == NULL)
        fail_msg("for \"%s\": got %d:%d: %s", yaml, err.line, err.col, err.text);
}
