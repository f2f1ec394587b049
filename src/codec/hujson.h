/* HuJSON: JSON with C comments and trailing commas, the form policies are written in.
 * src: github.com/tailscale/hujson README */
#ifndef CODEC_HUJSON_H
#define CODEC_HUJSON_H

#include "codec/json.h"

/* A copy of `text` in `a` with comments and trailing commas blanked by spaces (line ends kept), so that every offset,
 * line and column is that of the original. Only comments are checked (RC_TRUNCATED: one is not closed); what is left
 * may still be no JSON. */
MUST_CHECK enum rc hujson_blank(struct arena *a, struct str text, struct str *clean_out, struct err *err);

/* Blanks, then json_parse, with its limits and errors. `text` need not outlive the call: the tree borrows the blanked
 * copy, which `*clean_out` (may be null) gets for json_pos. */
MUST_CHECK enum rc hujson_parse(struct arena *a, struct str text, const struct json_limits *limits,
                                const struct json **root_out, struct str *clean_out, struct err *err);

#endif
