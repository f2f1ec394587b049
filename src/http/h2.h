/* HTTP/2 server sessions over any byte stream (nghttp2). Handlers use http.h; this is for http_server_attach_h2 and
 * tests.
 *
 * Memory: nghttp2's header compression state is switched off in our direction and a session shares its frame buffer
 * with all others of the thread; h2_hostile_test has the figure. Output is made in a deferred task, only while less
 * than STREAM_HIGH_WATER waits below. A peer that floods (resets, pings, settings, empty frames) gets GOAWAY.
 * src: RFC 9113; docs/protocol/control.md 12.1: clients keep one stream open for ever and up to three sessions each */
#ifndef HTTP_H2_H
#define HTTP_H2_H

#include "http/http.h"

/* Takes over `s`. The session owns itself, and leaves the server's list when it ends. */
struct http_conn *h2_session_create(struct http_server *server, struct stream *s, void *conn_ctx);

#endif
