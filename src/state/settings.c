#include "state/settings.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/model_internal.h"

struct tailnet_settings *tailnet_settings_create(void)
{
    struct tailnet_settings *t = MEM_NEW(struct tailnet_settings);
    atomic_init(&t->refs, 1);
    return t;
}

struct tailnet_settings *tailnet_settings_edit(const struct tailnet_settings *t)
{
    struct tailnet_settings *made = tailnet_settings_create();
    memcpy(made->domain, t->domain, sizeof(made->domain));
    memcpy(made->server_url, t->server_url, sizeof(made->server_url));
    made->derp_map_json = ref_or_null(t->derp_map_json);
    made->derp_map_unpinned_json = ref_or_null(t->derp_map_unpinned_json);
    made->dns_config_json = ref_or_null(t->dns_config_json);
    memcpy(made->dns_hole, t->dns_hole, sizeof(made->dns_hole));
    made->dns_hole_n = t->dns_hole_n;
    made->self_caps_json = ref_or_null(t->self_caps_json);
    made->collect_logs = t->collect_logs;
    return made;
}

struct tailnet_settings *tailnet_settings_ref(struct tailnet_settings *t)
{
    refs_take(&t->refs);
    return t;
}

void tailnet_settings_unref(struct tailnet_settings **at)
{
    struct tailnet_settings *t = *at;
    *at = NULL;
    if (t == NULL || !refs_drop(&t->refs))
        return;
    rcbuf_unref(&t->derp_map_json);
    rcbuf_unref(&t->derp_map_unpinned_json);
    rcbuf_unref(&t->dns_config_json);
    rcbuf_unref(&t->self_caps_json);
    mem_free(t);
}
