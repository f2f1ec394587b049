/* An HTTP/1.1 upgrade to DERP from the client's side. Pure. src: RFC 9110 7.8, RFC 9112 4 */
#ifndef BENCH_UPGRADE_INTERNAL_H
#define BENCH_UPGRADE_INTERNAL_H

#include "base/buf.h"
#include "base/rc.h"

enum { UPGRADE_HEAD_MAX_BYTES = 4096 };

/* Appends the request. `path` and `authority` are of a URL that was checked (bench_url_parse). */
void upgrade_append_request(struct buf *out, const char *path, const char *authority);
/* Reads the server's answer from the `n` bytes that have come. 1: granted, and `*used_out` bytes long. 0: more bytes
 * are needed. RC_UNSUPPORTED: another status; RC_INVALID, RC_TOO_LARGE; with a sentence in `err`. */
int upgrade_read_answer(const uint8_t *p, size_t n, size_t *used_out, struct err *err);

#endif
