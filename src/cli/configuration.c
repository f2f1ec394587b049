/* `config ...`: without a server. */
#include "cli/cli_internal.h"

#include <string.h>

enum cli_exit cli_config_check(struct cli_run *run)
{
    struct config_source src;
    struct buf report = {0};
    config_source_system(cli_value(run, "config"), &src);
    enum rc rc = config_check(&src, &report);
    fwrite(buf_at(&report), 1, buf_len(&report), run->err);
    buf_fini(&report);
    if (rc != RC_OK)
        return CLI_EXIT_ERROR;
    if (!cli_need_config(run, false))
        return CLI_EXIT_ERROR;
    const char *path = config_path(run->cfg);
    cli_say(run, "%s: good. Clients connect to %s", path[0] != '\0' ? path : "no file, defaults", run->cfg->server_url);
    return CLI_EXIT_OK;
}

enum cli_exit cli_config_reference(struct cli_run *run)
{
    static const struct {
        const char *name;
        enum config_reference_format format;
    } formats[] = {{"table", CONFIG_REFERENCE_TEXT},
                   {"markdown", CONFIG_REFERENCE_MARKDOWN},
                   {"yaml", CONFIG_REFERENCE_YAML},
                   {"json", CONFIG_REFERENCE_JSON}};
    const char *name = cli_value(run, "output");
    struct buf out = {0};
    enum config_reference_format format = CONFIG_REFERENCE_TEXT;
    for (size_t i = 0; name != NULL && i < ARRAY_LEN(formats); i++) {
        if (strcmp(name, formats[i].name) == 0)
            format = formats[i].format;
    }
    config_reference(format, &out);
    fwrite(buf_at(&out), 1, buf_len(&out), run->out);
    buf_fini(&out);
    return CLI_EXIT_OK;
}

enum cli_exit cli_config_show(struct cli_run *run)
{
    struct buf out = {0};
    if (!cli_need_config(run, false))
        return CLI_EXIT_ERROR;
    config_dump(run->cfg, &out);
    fwrite(buf_at(&out), 1, buf_len(&out), run->out);
    buf_fini(&out);
    return CLI_EXIT_OK;
}
