/* Which addresses are reverse proxies, whose requests name the address of their client. */
#include "daemon/daemon_internal.h"

bool daemon_is_trusted_proxy(const struct config *cfg, const struct addr *from)
{
    const struct config_prefixes *p = &cfg->trusted_proxies;
    for (size_t i = 0; i < p->n; i++) {
        if (addr_in_prefix(from, &p->items[i].ip, p->items[i].bits))
            return true;
    }
    return false;
}

bool daemon_trusts(const void *ctx, const struct addr *from)
{
    return daemon_is_trusted_proxy(ctx, from);
}

bool daemon_is_proxy(void *ctx, const struct addr *from)
{
    const struct daemon *d = ctx;
    return daemon_is_trusted_proxy(d->cfg, from);
}
