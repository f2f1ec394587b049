/* Tables for people; JSON and YAML for scripts. */
#include "cli/cli_internal.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "codec/yaml.h"

const char *cli_printable(struct cli_run *run, const char *text)
{
    struct buf shown = {0};
    show_append(&shown, str_c(text), SHOW_LINE);
    const char *copy = arena_str(&run->arena, buf_str(&shown)).p;
    buf_fini(&shown);
    return copy;
}

void cli_table_init(struct cli_table *t, struct cli_run *run, const char *const *titles)
{
    *t = (struct cli_table){.run = run};
    while (titles[t->cols] != NULL)
        t->cols++;
    for (size_t i = 0; i < t->cols; i++)
        cli_table_add(t, titles[i]);
}

void cli_table_add(struct cli_table *t, const char *cell)
{
    VEC_ROOM(t->cells, t->n, t->cap, 64);
    t->cells[t->n++] = cli_printable(t->run, cell[0] != '\0' ? cell : "-");
}

/* Code points, which is columns for most names. */
static int columns(const char *text)
{
    int n = 0;
    for (const char *p = text; *p != '\0'; p++)
        n += ((uint8_t)*p & 0xc0) != 0x80;
    return n;
}

static int width_of(const struct cli_table *t, size_t col)
{
    int width = 0;
    for (size_t i = col; i < t->n; i += t->cols) {
        int n = columns(t->cells[i]);
        width = n > width ? n : width;
    }
    return width;
}

static void print_cells(const struct cli_table *t)
{
    FILE *out = t->run->out;
    int *widths = mem_zalloc(t->cols + 1, sizeof(*widths));
    for (size_t col = 0; col < t->cols; col++)
        widths[col] = width_of(t, col);
    for (size_t i = 0; i < t->n; i++) {
        size_t col = i % t->cols;
        bool is_bold = i < t->cols && t->run->is_coloured;
        bool is_last = col + 1 == t->cols;
        if (is_bold && col == 0)
            cli_sink_raw(&t->run->out_sink, STR("\033[1m"));
        fprintf(out, "%s%*s", t->cells[i], is_last ? 0 : widths[col] - columns(t->cells[i]) + 2, "");
        if (is_bold && is_last)
            cli_sink_raw(&t->run->out_sink, STR("\033[0m"));
        if (is_last)
            fputc('\n', out);
    }
    mem_free(widths);
}

void cli_table_finish(struct cli_table *t)
{
    assert(t->cols > 0);
    if (t->n == t->cols && t->if_empty != NULL)
        fprintf(t->run->err, "%s\n", cli_printable(t->run, t->if_empty));
    else
        print_cells(t);
    mem_free(t->cells);
    *t = (struct cli_table){0};
}

const char *cli_text(struct cli_run *run, const struct json *object, const char *key)
{
    const struct json *node = json_get(object, key);
    struct str text;
    if (json_type_of(node) == JSON_NUMBER)
        return arena_str(&run->arena, json_raw(node)).p;
    return json_str(node, &text) ? arena_str(&run->arena, text).p : "";
}

bool cli_is_true(const struct json *object, const char *key)
{
    bool v = false;
    return json_bool(json_get(object, key), &v) && v;
}

const char *cli_time(struct cli_run *run, const struct json *object, const char *key)
{
    const char *text = cli_text(run, object, key);
    if (strlen(text) < 19 || text[10] != 'T' || text[strlen(text) - 1] != 'Z')
        return "-";
    return arena_printf(&run->arena, "%.10s %.8s UTC", text, text + 11);
}

const char *cli_joined(struct cli_run *run, const struct json *object, const char *key)
{
    const char *all = "";
    struct str text;
    JSON_EACH (it, json_get(object, key)) {
        if (json_str(it, &text))
            all = arena_printf(&run->arena, "%s%s%.*s", all, all[0] != '\0' ? ", " : "", STR_ARG(text));
    }
    return all;
}

bool cli_emit(struct cli_run *run, const struct json *value)
{
    struct buf out = {0};
    struct json_writer w;
    if (run->output == CLI_OUTPUT_TABLE)
        return false;
    if (run->output == CLI_OUTPUT_YAML) {
        yaml_from_json(value, &out);
    } else {
        if (run->output == CLI_OUTPUT_JSON)
            json_w_init_pretty(&w, &out);
        else
            json_w_init(&w, &out);
        json_w_tree(&w, value);
        buf_append_byte(&out, '\n');
    }
    fwrite(buf_at(&out), 1, buf_len(&out), run->out);
    buf_fini(&out);
    return true;
}
