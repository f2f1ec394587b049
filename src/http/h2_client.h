/* A small HTTP/2 client over any byte stream, for tests and benches: drives /machine/... over Noise. Not part of the
 * server. Loop thread only. */
#ifndef HTTP_H2_CLIENT_H
#define HTTP_H2_CLIENT_H

#include "http/http.h"

struct h2_client;

struct h2_client_events {
    /* May be null, all of them. `id` is what h2_client_request returned. */
    void (*response)(void *ctx, int32_t id, int status);
    void (*header)(void *ctx, int32_t id, struct str name, struct str value); /* before `response` */
    void (*data)(void *ctx, int32_t id, const uint8_t *p, size_t n);
    /* The stream is over; `error` is the HTTP/2 error code, 0 when the response came whole. */
    void (*ended)(void *ctx, int32_t id, uint32_t error);
    void (*goaway)(void *ctx, uint32_t error);
    /* The connection is gone, after `ended` of each open stream. Still to be destroyed. */
    void (*closed)(void *ctx, enum rc why);
};

/* Takes over `s` and sends preface and settings. `manual_window`: data is not acknowledged until h2_client_consume,
 * which plays a stalled reader. */
struct h2_client *h2_client_create(struct stream *s, bool manual_window, const struct h2_client_events *events,
                                   void *ctx);
/* Sends a request; the body is copied and may be empty. Returns the stream's id, or a negative number when the session
 * takes no more. */
int32_t h2_client_request(struct h2_client *c, const char *method, const char *authority, const char *path,
                          struct str body);
/* The same without END_STREAM after `body`: the request stays incomplete until h2_client_cancel. */
int32_t h2_client_request_open(struct h2_client *c, const char *method, const char *authority, const char *path,
                               struct str body);
/* RST_STREAM(CANCEL). */
void h2_client_cancel(struct h2_client *c, int32_t id);
void h2_client_ping(struct h2_client *c);
/* Gives back `n` bytes of both windows; with manual_window only. */
void h2_client_consume(struct h2_client *c, int32_t id, size_t n);
/* The same, and sends the window update at once; h2_client_consume leaves that until half a window is due. */
void h2_client_grant(struct h2_client *c, int32_t id, size_t n);
/* Closes the connection. Null is fine. */
void h2_client_destroy(struct h2_client **c);

#endif
