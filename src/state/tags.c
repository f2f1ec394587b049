/* Tags: what nodes and keys have instead of an owner. src: docs/protocol/policy.md 11; docs/protocol/control.md 5.5;
 * Headscale 0.30-dev (tags) */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine/approval.h"
#include "state/state_internal.h"

static enum rc check_tag(const struct state *st, struct str tag, struct err *err)
{
    const struct engine *policy = state_policy(st);
    if (!node_tag_is_valid(tag))
        return err_set(err, RC_INVALID,
                       "'%.*s' is no tag: write tag:NAME, where NAME begins with a letter and has letters, digits "
                       "and dashes",
                       STR_ARG(tag));
    if (policy != NULL && !engine_knows_tag(policy, tag))
        return err_set(err, RC_INVALID, "the policy does not know '%.*s': define it in tagOwners first", STR_ARG(tag));
    return RC_OK;
}

static int compare_tags(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->p, y->p, n);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* A JSON array, sorted, without duplicates. */
static struct rcbuf *write_tags(const struct str *tags, size_t n)
{
    struct str sorted[TAGS_MAX];
    struct buf json = {0};
    memcpy(sorted, tags, n * sizeof(sorted[0]));
    qsort(sorted, n, sizeof(sorted[0]), compare_tags);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || !str_eq(sorted[i], sorted[i - 1]))
            buf_printf(&json, "%s\"%.*s\"", i == 0 ? "[" : ",", STR_ARG(sorted[i]));
    }
    buf_append_byte(&json, ']');
    struct rcbuf *made = rcbuf_create(buf_at(&json), buf_len(&json));
    buf_fini(&json);
    return made;
}

enum rc node_tags_make(const struct state *st, const struct str *tags, size_t n, struct rcbuf **out, struct err *err)
{
    *out = NULL;
    if (n > TAGS_MAX)
        return err_set(err, RC_LIMIT, "there can be %d tags", TAGS_MAX);
    for (size_t i = 0; i < n; i++)
        TRY(check_tag(st, tags[i], err));
    if (n > 0)
        *out = write_tags(tags, n);
    return RC_OK;
}

/* --- what a client asks for --- */

/* Whether the holder of the key may apply the tag. */
static bool may_apply(const struct state *st, const struct auth_key *k, struct str tag)
{
    const struct engine *policy = state_policy(st);
    struct str own[TAGS_MAX];
    size_t n = node_tags_split(k->tags, own);
    for (size_t i = 0; i < n; i++) {
        if (str_eq(own[i], tag))
            return true;
    }
    if (policy == NULL)
        return false;
    return n > 0 ? engine_tags_may_tag(policy, own, n, tag) : engine_user_may_tag(policy, k->user, tag);
}

enum rc node_tags_for_registration(const struct state *st, const struct registration *reg, const struct auth_key *k,
                                   struct rcbuf **out, struct err *err)
{
    *out = k->tags != NULL ? rcbuf_ref(k->tags) : NULL;
    if (reg->tag_n == 0)
        return RC_OK;
    rcbuf_unref(out);
    if (reg->tag_n > TAGS_MAX)
        return err_set(err, RC_LIMIT, "a node can have %d tags", TAGS_MAX);
    for (size_t i = 0; i < reg->tag_n; i++) {
        struct str tag = reg->tags[i];
        if (node_tag_is_valid(tag) && may_apply(st, k, tag))
            continue;
        /* The text begins as Headscale's does, for scripts that look for it. */
        return err_set(err, RC_DENIED, "requested tags [%.*s] are invalid or not permitted: %s",
                       (int)(tag.len < 128 ? tag.len : 128), tag.p,
                       state_policy(st) == NULL ? "there is no policy whose tagOwners could allow it; an auth key made "
                                                  "with --tags brings its tags"
                                                : "the policy's tagOwners must let the owner of the auth key apply it");
    }
    *out = write_tags(reg->tags, reg->tag_n);
    return RC_OK;
}

/* --- what admins do --- */

enum rc state_node_set_tags(struct state *st, node_id id, const struct str *tags, size_t n, const struct node **out,
                            struct err *err)
{
    struct node_record *e = node_record_of(st, id);
    struct rcbuf *made;
    if (e == NULL)
        return node_not_found(id, err);
    if (n == 0)
        return err_set(
            err, RC_INVALID,
            "a node keeps at least one tag: to give it back to a user, let it join again with that user's key");
    TRY(node_tags_make(st, tags, n, &made, err));
    *out = e->node;
    if (rcbuf_eq(made, e->node->tags)) {
        rcbuf_unref(&made);
        return RC_OK;
    }
    undo_begin_node(st, e, UNDO_EVENT);
    struct node *next = node_edit(e->node, NULL, 0);
    /* A tagged node has no user who could log in again. src: Headscale 0.30-dev: tagged nodes never expire */
    if (next->tags == NULL && !next->is_expired)
        next->expires_ms = NO_EXPIRY;
    rcbuf_unref(&next->tags);
    next->tags = made;
    node_record_replace(st, e, next);
    node_record_put_row(st, e);
    event_note_node(st, EVENT_NODE_TAGGED, e);
    node_record_mark_durable(st, e);
    routes_auto_approve(st, e);
    *out = e->node;
    return RC_OK;
}
