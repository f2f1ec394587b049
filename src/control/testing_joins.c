#include "control/testing_joins.h"

int64_t join_counter(const char *labels)
{
    return metric_read("fullscale_registrations_total", labels);
}

static void count_nodes(struct state *st, int64_t now_ms, void *ctx)
{
    (void)now_ms;
    *(size_t *)ctx = state_node_count(st);
}

size_t control_rig_node_count(void)
{
    size_t n = 0;
    control_rig_on_core(rig, count_nodes, &n);
    return n;
}

void assert_join_refused(struct client *c, const char *body, const char *words)
{
    size_t before_n = control_rig_node_count();
    int64_t before = join_counter("result=\"refused\"");
    const char *text;
    struct str error;
    assert_int_equal(control_rig_client_call(c, "POST", "/machine/register", body, &text), 200);
    const struct json *answer = control_rig_json(rig, text);
    assert_true(json_str(json_get(answer, "Error"), &error));
    assert_non_null(strstr(arena_str(&rig->arena, error).p, words));
    assert_false(json_is_true(answer, "MachineAuthorized"));
    assert_true(json_says(answer, "AuthURL", ""));
    assert_int_equal(join_counter("result=\"refused\""), before + 1);
    assert_int_equal(control_rig_node_count(), before_n);
}
