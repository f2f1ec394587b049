/* All calls of the API. */
#include "api/api.h"

#include "api/call_internal.h"

static const struct api_calls *const subjects[] = {
    &api_health_calls, &api_log_level_calls, &api_user_calls,       &api_node_calls, &api_route_calls,
    &api_relay_calls,  &api_policy_calls,    &api_policy_ask_calls, &api_key_calls,
};

void api_mount(struct api *api, struct http_server *server)
{
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
        http_server_mount(server, subjects[i]->routes, subjects[i]->n, api);
}

const struct http_route *api_route_at(size_t index)
{
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (index < subjects[i]->n)
            return &subjects[i]->routes[index];
        index -= subjects[i]->n;
    }
    return NULL;
}
