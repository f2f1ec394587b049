/* Classes of nodes, from a file: which nodes see each other under the server's policy. */
#include "base/bits.h"
#include "base/file.h"
#include "base/mem.h"
#include "bench/fleet.h"
#include "codec/json.h"

enum { FILE_MAX_BYTES = 4 * 1024 * 1024, CLASSES_MAX = 1000, WEIGHT_MAX = 1000 };

static char *text_of(const struct json *object, const char *key)
{
    struct str text = STR_EMPTY;
    (void)json_str(json_get(object, key), &text);
    return mem_strndup(text.p, text.len);
}

/* The list of strings, ended by null; null when the member is missing. */
static char **texts_of(const struct json *object, const char *key)
{
    const struct json *list = json_get(object, key);
    size_t n = 0;
    if (json_is_null(list))
        return NULL;
    char **out = mem_zalloc(json_len(list) + 1, sizeof(*out));
    JSON_EACH (it, list) {
        struct str text = STR_EMPTY;
        (void)json_str(it, &text);
        out[n++] = mem_strndup(text.p, text.len);
    }
    return out;
}

static void read_class(const struct json *object, struct fleet_class *c)
{
    uint64_t weight = 0;
    (void)json_u64(json_get(object, "weight"), &weight);
    c->name = text_of(object, "name");
    c->authkey = text_of(object, "authkey");
    c->sees = texts_of(object, "sees");
    c->tags = texts_of(object, "tags");
    c->weight = weight == 0 ? 1 : weight > WEIGHT_MAX ? WEIGHT_MAX : (unsigned)weight;
}

static enum rc parse_classes(struct fleet *f, struct str text, struct err *err)
{
    struct arena arena = {0};
    const struct json *root;
    enum rc rc = json_parse(&arena, text, NULL, &root, err);
    size_t n = rc == RC_OK && json_type_of(root) == JSON_ARRAY ? json_len(root) : 0;
    if (rc == RC_OK && (n == 0 || n > CLASSES_MAX))
        rc = err_set(err, RC_INVALID, "%s: wanted is an array of 1 to %d classes", f->opts->classes, CLASSES_MAX);
    if (rc == RC_OK) {
        f->classes = mem_zalloc(n, sizeof(*f->classes));
        JSON_EACH (it, root)
            read_class(it, &f->classes[f->class_n++]);
    }
    arena_fini(&arena);
    return rc;
}

static enum rc load_file(struct fleet *f, struct err *err)
{
    struct buf text = {0};
    enum rc rc = file_read(f->opts->classes, FILE_MAX_BYTES, &text, err);
    if (rc == RC_OK)
        rc = parse_classes(f, buf_str(&text), err);
    secret_wipe(buf_at(&text), buf_len(&text));
    buf_fini(&text);
    return rc;
}

static int find_class(const struct fleet *f, const char *name)
{
    for (unsigned i = 0; i < f->class_n; i++) {
        if (strcmp(f->classes[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static enum rc check_names(const struct fleet *f, struct err *err)
{
    for (unsigned i = 0; i < f->class_n; i++) {
        const struct fleet_class *c = &f->classes[i];
        for (char **seen = c->sees; seen != NULL && *seen != NULL; seen++) {
            if (find_class(f, *seen) < 0)
                return err_set(err, RC_INVALID, "%s: class \"%s\" sees \"%s\", which is no class", f->opts->classes,
                               c->name, *seen);
        }
        if (c->authkey[0] == '\0')
            return err_set(err, RC_INVALID, "%s: class \"%s\" has no authkey", f->opts->classes, c->name);
    }
    return RC_OK;
}

enum rc fleet_classes_load(struct fleet *f, struct err *err)
{
    if (f->opts->classes != NULL) {
        TRY(load_file(f, err));
        return check_names(f, err);
    }
    if (f->opts->authkey == NULL || f->opts->authkey[0] == '\0')
        return err_set(err, RC_INVALID,
                       "an auth key is needed: `fullscale preauthkeys create --reusable`, then --authkey - or "
                       "FULLSCALE_BENCH_AUTHKEY");
    f->class_n = 1;
    f->classes = mem_zalloc(1, sizeof(*f->classes));
    f->classes[0] = (struct fleet_class){
        .name = mem_strdup("all"), .authkey = mem_strdup(f->opts->authkey), .weight = 1};
    return RC_OK;
}

static void free_texts(char **texts)
{
    for (char **t = texts; t != NULL && *t != NULL; t++)
        mem_free(*t);
    mem_free(texts);
}

void fleet_classes_fini(struct fleet *f)
{
    for (unsigned i = 0; i < f->class_n; i++) {
        struct fleet_class *c = &f->classes[i];
        mem_free(c->name);
        if (c->authkey != NULL)
            mem_free_secret(c->authkey, strlen(c->authkey));
        free_texts(c->tags);
        free_texts(c->sees);
        mem_free(c->view.visible);
    }
    mem_free(f->classes);
}

static bool sees(const struct fleet_class *viewer, const struct fleet_class *peer)
{
    for (char **seen = viewer->sees; seen != NULL && *seen != NULL; seen++) {
        if (strcmp(*seen, peer->name) == 0)
            return true;
    }
    return viewer->sees == NULL;
}

static void set_visible(struct fleet *f, const unsigned *class_of)
{
    for (unsigned v = 0; v < f->class_n; v++) {
        struct fleet_class *c = &f->classes[v];
        c->view.visible = mem_zalloc(roster_words(f->n), sizeof(*c->view.visible));
        for (unsigned i = 0; i < f->n; i++) {
            if (!sees(c, &f->classes[class_of[i]]))
                continue;
            bit_put(c->view.visible, i);
            c->view.expected++;
        }
        c->view.expected -= c->size > 0 && sees(c, c); /* a node is not its own peer */
    }
}

unsigned *fleet_classes_deal(struct fleet *f)
{
    unsigned *class_of = mem_zalloc(f->n, sizeof(*class_of));
    unsigned round = 0;
    for (unsigned i = 0; i < f->n; round = (round + 1) % WEIGHT_MAX) {
        bool dealt = false;
        for (unsigned c = 0; c < f->class_n && i < f->n; c++) {
            if (f->classes[c].weight <= round)
                continue;
            class_of[i++] = c;
            f->classes[c].size++;
            dealt = true;
        }
        if (!dealt)
            round = WEIGHT_MAX - 1;
    }
    set_visible(f, class_of);
    return class_of;
}
