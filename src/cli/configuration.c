/* `config ...`: needs no running server. */
#include "cli/cli_internal.h"

#include <string.h>

/* Prints where nodes will look for the relay, which follows from several keys. */
static void print_relay(struct cli_run *run)
{
    const struct config *cfg = run->cfg;
    const char *host = cfg->derp_server_hostname;
    bool is_v6 = strchr(host, ':') != NULL;
    if (!cfg->derp_server_enabled || !cfg->derp_server_add_region)
        return;
    bool has_port = cfg->derp_server_listen_addr.addr.family != 0;
    cli_say(run, "The relay is at https://%s%s%s:%u/derp (%s), STUN at UDP port %u", is_v6 ? "[" : "", host,
            is_v6 ? "]" : "", cfg->derp_public_port,
            has_port                        ? "a port of its own: derp.server.listen_addr"
            : cfg->tls_cert_path[0] == '\0' ? "through the TLS proxy, at listen_addr"
                                            : "at listen_addr",
            cfg->derp_server_stun_listen_addr.addr.port);
}

/* Checks what depends on this machine: files, folders, addresses. */
static bool is_machine_fit(struct cli_run *run)
{
    struct buf report = {0};
    if (run->program->check == NULL)
        return true;
    int status = run->program->check(run->cfg, cli_flag(run, "fetch"), &report);
    fputs(buf_cstr(&report), run->err);
    buf_fini(&report);
    return status == 0;
}

enum cli_exit cli_config_check(struct cli_run *run)
{
    struct config_source src;
    struct buf report = {0};
    config_source_system(cli_value(run, "config"), &src);
    enum rc rc = config_check(&src, &report);
    fputs(buf_cstr(&report), run->err);
    buf_fini(&report);
    if (rc != RC_OK)
        return CLI_EXIT_ERROR;
    if (!cli_need_config(run, false) || !is_machine_fit(run))
        return CLI_EXIT_ERROR;
    const char *path = config_path(run->cfg);
    cli_say(run, "%s: good. Clients connect to %s", path[0] != '\0' ? path : "no file, defaults", run->cfg->server_url);
    print_relay(run);
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
