/* A request to an operation of the API: its members are read as the row says, or refused in words. The first line names
 * the operation, the second is what stands in its path and query, the rest is the body. */
#include <stdint.h>
#include <stdlib.h>

#include "api/call_internal.h"
#include "base/fuzz_bounds.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take_query(void *ctx, const char *name, struct str *out)
{
    (void)name;
    *out = *(const struct str *)ctx;
    return out->len > 0;
}

/* What the row promises of a member that was given. */
static void check_member(const struct api_call *call, const struct op_member *m)
{
    const char *value = (const char *)call->params + m->offset;
    const struct str *text = (const void *)value;
    const struct op_texts *list = (const void *)value;
    const uint64_t *number = (const void *)value;
    if (m->type == OP_TEXT &&
        (text->len < m->min || (m->max != 0 && text->len > m->max) || strlen(text->p) != text->len))
        abort();
    if (m->type == OP_NUMBER && (*number < m->min || *number > m->max))
        abort();
    if ((m->type == OP_TEXTS || m->type == OP_ROUTES || m->type == OP_NETWORKS) && list->n > m->max)
        abort();
    if (m->type == OP_ID && m->is_required && *number == 0)
        abort();
}

static void read_request(const struct operation *op, struct str in_url, struct str body)
{
    struct str params[HTTP_MAX_PARAMS];
    struct api_call call = {.op = op};
    const struct api_input in = {api_operation_path(op, 1)->path, params, take_query, &in_url, body};
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(params); i++)
        params[i] = in_url;
    call.params = arena_zalloc(&call.arena, 1, op->params_size + 1);
    if (api_request_read(&call, &in, &err) != RC_OK) {
        if (err.code != RC_INVALID || err.text[0] == '\0')
            abort();
    } else {
        for (size_t i = 0; i < op->member_n; i++) {
            if ((call.given >> i & 1) != 0)
                check_member(&call, &op->members[i]);
        }
        if (op->audit != NULL && api_audit_text(&call).len == 0)
            abort();
    }
    arena_fini(&call.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str name, in_url, rest = str_n(data, size);
    const struct operation *op;
    if (!str_cut(rest, '\n', &name, &rest) || !str_cut(rest, '\n', &in_url, &rest))
        return 0;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL && !str_eq_c(name, op->name); i++)
        continue;
    if (op == NULL || op->v1.path == NULL)
        return 0;
    fuzz_bounds_mark();
    read_request(op, in_url, rest);
    fuzz_bounds_check(size, 64 << 10, 50);
    fuzz_bounds_check_steps(size, 32000, 60);
    return 0;
}
