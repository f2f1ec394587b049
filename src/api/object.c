/* Fields to JSON. */
#include "api/object.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/time.h"

static uint64_t unsigned_at(const void *at, size_t size)
{
    uint8_t one;
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    switch (size) {
    case sizeof(one): memcpy(&one, at, size); return one;
    case sizeof(two): memcpy(&two, at, size); return two;
    case sizeof(four): memcpy(&four, at, size); return four;
    default: memcpy(&eight, at, sizeof(eight)); return eight;
    }
}

static void write_id(struct json_writer *w, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, id);
    json_w_cstr(w, text);
}

static void write_time(struct json_writer *w, int64_t ms)
{
    char text[TIME_TEXT_CAP];
    if (ms == 0) {
        json_w_null(w);
        return;
    }
    time_format(ms, text);
    json_w_cstr(w, text);
}

static void write_prefixes(struct json_writer *w, const struct prefix_list *l)
{
    char text[PREFIX_TEXT_CAP];
    json_w_array(w);
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        prefix_format(&l->v[i], text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

static void write_texts(struct json_writer *w, const struct rcbuf *json)
{
    json_w_raw(w, json != NULL && json->len > 0 ? str_n(json->data, json->len) : STR("[]"));
}

static void write_value(struct json_writer *w, const struct op_field *f, const void *at)
{
    const char *text = f->type == FIELD_CSTR ? *(const char *const *)at : NULL;
    switch (f->type) {
    case FIELD_ID: write_id(w, unsigned_at(at, f->size)); return;
    case FIELD_TEXT: json_w_cstr(w, at); return;
    case FIELD_CSTR: json_w_cstr(w, text != NULL ? text : ""); return;
    case FIELD_STR: json_w_str(w, *(const struct str *)at); return;
    case FIELD_BOOL: json_w_bool(w, *(const bool *)at); return;
    case FIELD_NUMBER: json_w_u64(w, unsigned_at(at, f->size)); return;
    case FIELD_INT: json_w_i64(w, *(const int *)at); return;
    case FIELD_TIME: write_time(w, *(const int64_t *)at); return;
    case FIELD_TEXTS: write_texts(w, *(struct rcbuf *const *)at); return;
    case FIELD_PREFIXES: write_prefixes(w, *(struct prefix_list *const *)at); return;
    case FIELD_OBJECT:
    case FIELD_OBJECTS: break;
    }
    json_w_null(w);
}

void op_fields_write(struct json_writer *w, const struct op_object *object, const struct op_view *v)
{
    for (size_t i = 0; i < object->field_n; i++) {
        const struct op_field *f = &object->fields[i];
        json_w_key(w, f->name);
        if (f->write != NULL)
            f->write(w, v);
        else
            write_value(w, f, (const uint8_t *)v->row + f->offset);
    }
}

void op_object_write(struct json_writer *w, const struct op_object *object, const struct op_view *v)
{
    if (v->row == NULL) {
        json_w_null(w);
        return;
    }
    json_w_object(w);
    op_fields_write(w, object, v);
    json_w_end_object(w);
}
