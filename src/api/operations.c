/* The table of operations: one list of all subjects. */
#include "api/operation.h"

#include "api/call_internal.h"

#define SUBJECT(subject) &api_##subject##_operations,
static const struct operations *const subjects[] = {API_SUBJECTS(SUBJECT)};
#undef SUBJECT

const struct operation *api_operation_at(size_t index)
{
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (index < subjects[i]->n)
            return &subjects[i]->v[index];
        index -= subjects[i]->n;
    }
    return NULL;
}

const struct operations *api_subject_at(size_t index)
{
    return index < ARRAY_LEN(subjects) ? subjects[index] : NULL;
}

const struct operation *api_operation(const char *name)
{
    const struct operation *op;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (strcmp(op->name, name) == 0)
            return op;
    }
    return NULL;
}

const struct op_path *api_operation_path(const struct operation *op, unsigned version)
{
    return version == 1 ? &op->v1 : &op->v2;
}

const struct op_member *api_operation_member(const struct operation *op, const char *name)
{
    for (size_t i = 0; i < op->member_n; i++) {
        if (strcmp(op->members[i].name, name) == 0)
            return &op->members[i];
    }
    return NULL;
}
