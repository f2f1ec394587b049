/* The other relays of the region. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crypto/crypto.h"
#include "daemon/daemon_internal.h"

enum { KEY_FILE_MAX_BYTES = 1024 };

enum rc daemon_mesh_key_read(const struct config *cfg, uint8_t out[32], struct err *err)
{
    const char *path = cfg->derp_server_mesh_key_path;
    char text[KEY_FILE_MAX_BYTES];
    memset(out, 0, 32);
    if (path[0] == '\0')
        return RC_OK;
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return err_set(err, RC_IO, "derp.server.mesh_key_path: %s: %s", path, strerror(errno));
    setvbuf(f, NULL, _IONBF, 0); /* no copy of the secret stays behind */
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    enum rc rc = n < sizeof(text) ? relay_mesh_key_parse(str_n(text, n), out) : RC_INVALID;
    secret_wipe(text, sizeof(text));
    if (rc != RC_OK)
        return err_set(err, RC_INVALID, "derp.server.mesh_key_path: %s must hold 64 hex digits, not all of them 0",
                       path);
    return RC_OK;
}

enum rc daemon_mesh_set(struct daemon *d, const struct relay_neighbour *more, size_t more_n, struct err *err)
{
    const struct config_strings *with = &d->cfg->derp_server_mesh_with;
    struct relay_neighbour *all = mem_zalloc(with->n + more_n + 1, sizeof(*all));
    char(*stores)[RELAY_NEIGHBOUR_CAP] = mem_zalloc(with->n + 1, sizeof(*stores));
    enum rc rc = RC_OK;
    for (size_t i = 0; i < with->n && rc == RC_OK; i++) {
        rc = relay_neighbour_parse(str_c(with->items[i]), stores[i], &all[i]);
        if (rc != RC_OK)
            err_set(err, rc, "derp.server.mesh_with: no such neighbour can be: %s", with->items[i]);
    }
    for (size_t i = 0; i < more_n; i++)
        all[with->n + i] = more[i];
    if (rc == RC_OK)
        relay_mesh_set(d->relay, all, with->n + more_n);
    mem_free(stores);
    mem_free(all);
    return rc;
}
