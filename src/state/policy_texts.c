/* The versions of the policy in the database, and when the newest becomes the active policy. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

/* Nearly always the newest. */
static void insert(struct state *st, const struct policy_text *t)
{
    size_t at = st->text_n;
    VEC_ROOM(st->texts, st->text_n, st->text_cap, 1);
    while (at > 0 && st->texts[at - 1]->id > t->id)
        at--;
    memmove(st->texts + at + 1, st->texts + at, (st->text_n - at) * sizeof(*st->texts));
    st->texts[at] = t;
    st->text_n++;
    st->text_bytes += t->text->len;
}

static void drop(struct state *st, size_t at)
{
    st->text_bytes -= st->texts[at]->text->len;
    state_policy_text_unref(&st->texts[at]);
    st->text_n--;
    memmove(st->texts + at, st->texts + at + 1, (st->text_n - at) * sizeof(*st->texts));
}

enum rc state_load_policy_text(struct state *st, struct policy_text *t, struct err *err)
{
    TRY(state_load_check_id(t->id, err));
    if (state_policy_text(st, t->id) != NULL)
        return err_set(err, RC_INVALID, "another row has the same id");
    state_load_fit_time(&t->created_ms);
    insert(st, t);
    return RC_OK;
}

/* The last of them, if it is that of text `id` or `id` is 0. */
static void drop_next_policy(struct state *st, uint64_t id)
{
    if (st->next_policy_n > 0 && (id == 0 || st->next_policies[st->next_policy_n - 1].id == id))
        policy_doc_unref(&st->next_policies[--st->next_policy_n].doc);
}

void state_policy_texts_fini(struct state *st)
{
    for (size_t i = 0; i < st->text_n; i++)
        state_policy_text_unref(&st->texts[i]);
    mem_free(st->texts);
    while (st->next_policy_n > 0)
        drop_next_policy(st, 0);
    mem_free(st->next_policies);
}

/* --- a new version --- */

static void drop_oldest(struct state *st)
{
    state_put(st, &entity_policy_text, &st->texts[0]->row, NULL);
    drop(st, 0);
}

static enum rc copy_remark(char *out, size_t cap, const char *what, struct str text, struct err *err)
{
    if (text.len >= cap)
        return err_set(err, RC_INVALID, "the %s is longer than %zu bytes", what, cap - 1);
    for (size_t i = 0; i < text.len; i++) {
        if ((uint8_t)text.p[i] < ' ' || text.p[i] == 0x7f)
            return err_set(err, RC_INVALID, "the %s must be one line, without control characters", what);
    }
    snprintf(out, cap, "%.*s", STR_ARG(text));
    return RC_OK;
}

enum rc state_policy_store(struct state *st, struct policy_doc *doc, struct str author, struct str note, int64_t now_ms,
                           const struct policy_text **out, struct err *err)
{
    struct policy_text head = {0};
    TRY(copy_remark(head.author, sizeof(head.author), "author", author, err));
    TRY(copy_remark(head.note, sizeof(head.note), "note", note, err));
    const struct policy_text *newest = state_policy_text_newest(st);
    struct policy_text *t = state_policy_text_create(policy_doc_text(doc));
    t->id = newest != NULL ? newest->id + 1 : 1;
    t->created_ms = now_ms;
    memcpy(t->author, head.author, sizeof(t->author));
    memcpy(t->note, head.note, sizeof(t->note));
    insert(st, t);
    state_put(st, &entity_policy_text, NULL, &t->row);
    event_note(st, EVENT_POLICY_CHANGED, &entity_policy_text, newest, t);
    while (st->text_n > 1 && (st->text_n > POLICY_TEXTS_MAX || st->text_bytes > POLICY_TEXTS_MAX_BYTES))
        drop_oldest(st);
    struct next_policy next = {t->id, policy_doc_ref(doc), state_durable_seq(st)};
    VEC_PUSH(st->next_policies, st->next_policy_n, st->next_policy_cap, next);
    *out = t;
    return RC_OK;
}

void state_policy_text_restore(struct state *st, uint64_t id, const struct policy_text *before, int64_t now_ms)
{
    (void)now_ms;
    for (size_t i = 0; i < st->text_n; i++) {
        if (st->texts[i]->id == id)
            drop(st, i--);
    }
    if (before != NULL)
        insert(st, state_policy_text_ref(before));
    else
        drop_next_policy(st, id);
}

void state_set_policy(struct state *st, struct policy_doc *doc)
{
    state_policy_install(st, doc);
    if (doc != NULL)
        routes_flag_approvals(st);
}

bool state_take_policy_changed(struct state *st)
{
    bool changed = st->policy_changed;
    st->policy_changed = false;
    return changed;
}

void state_policy_texts_committed(struct state *st)
{
    size_t n = st->next_policy_n;
    if (n == 0 || st->committed_seq < st->next_policies[n - 1].seq)
        return;
    struct policy_doc *doc = policy_doc_ref(st->next_policies[n - 1].doc);
    while (st->next_policy_n > 0)
        drop_next_policy(st, 0);
    state_set_policy(st, doc);
}
