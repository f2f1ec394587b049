/* The versions of the policy in the database, and when the newest becomes the active policy. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/vec.h"
#include "state/state_internal.h"

static void append(struct state *st, const struct policy_text *t)
{
    VEC_PUSH(st->texts, st->text_n, st->text_cap, t);
    st->text_bytes += t->text->len;
}

enum rc state_load_policy_text(struct state *st, struct policy_text *t, struct err *err)
{
    const struct policy_text *newest = state_policy_text_newest(st);
    enum rc rc = state_load_check_id(t->id, err);
    if (rc == RC_OK && newest != NULL && t->id <= newest->id)
        rc = err_set(err, RC_INVALID, "another row has the same id");
    if (rc != RC_OK) {
        const struct policy_text *dropped = t;
        state_policy_text_unref(&dropped);
        return rc;
    }
    state_load_fit_time(&t->created_ms);
    append(st, t);
    return RC_OK;
}

void state_policy_texts_fini(struct state *st)
{
    for (size_t i = 0; i < st->text_n; i++)
        state_policy_text_unref(&st->texts[i]);
    mem_free(st->texts);
    policy_doc_unref(&st->next_policy.doc);
}

/* --- a new version --- */

static void drop_oldest(struct state *st)
{
    undo_note_policy_text(st, st->texts[0]->id);
    row_put(st, ROW_DEL_POLICY_TEXT, st->texts[0]->id);
    st->text_bytes -= st->texts[0]->text->len;
    state_policy_text_unref(&st->texts[0]);
    st->text_n--;
    memmove(st->texts, st->texts + 1, st->text_n * sizeof(*st->texts));
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
    undo_note_policy_text(st, t->id);
    append(st, t);
    row_put(st, ROW_PUT_POLICY_TEXT, t->id)->policy_text = state_policy_text_ref(t);
    event_note(st, EVENT_POLICY_CHANGED, newest, t);
    while (st->text_n > 1 && (st->text_n > POLICY_TEXTS_MAX || st->text_bytes > POLICY_TEXTS_MAX_BYTES))
        drop_oldest(st);
    policy_doc_unref(&st->next_policy.doc);
    st->next_policy = (struct next_policy){policy_doc_ref(doc), state_durable_seq(st)};
    *out = t;
    return RC_OK;
}

/* Events add the newest and drop the oldest, so taking them back drops the newest and adds the oldest. */
void state_policy_text_restore(struct state *st, uint64_t id, const struct policy_text *before)
{
    const struct policy_text *newest = state_policy_text_newest(st);
    if (before == NULL && newest != NULL && newest->id == id) {
        st->text_bytes -= newest->text->len;
        state_policy_text_unref(&st->texts[--st->text_n]);
    }
    if (before == NULL)
        return;
    append(st, state_policy_text_ref(before));
    memmove(st->texts + 1, st->texts, (st->text_n - 1) * sizeof(*st->texts));
    st->texts[0] = before;
}

void state_set_policy(struct state *st, struct policy_doc *doc)
{
    state_policy_install(st, doc);
    if (doc != NULL)
        routes_auto_approve_all(st);
}

bool state_take_policy_changed(struct state *st)
{
    bool changed = st->policy_changed;
    st->policy_changed = false;
    return changed;
}

void state_policy_texts_committed(struct state *st)
{
    struct policy_doc *doc = st->next_policy.doc;
    if (doc == NULL || st->committed_seq < st->next_policy.seq)
        return;
    st->next_policy.doc = NULL;
    state_set_policy(st, doc);
}
