/* For the tests of HTTP/1.1: a server with some handlers, and a client whose bytes the test writes. */
#ifndef HTTP_H1_TESTING_H
#define HTTP_H1_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "http/testing.h"

struct app {
    struct loop *loop;
    struct http_server *server;
    struct peer peer;
    size_t chunk;
    /* what handlers saw and did */
    struct http_exchange *waiting; /* to be answered by the test */
    unsigned closed_n;
    unsigned drained_n;
    unsigned handled_n;
    struct stream *taken;
    struct buf leftover;
};

/* Connects another client. */
void h1_app_connect(struct app *a);

/* A server and a client over a stream that carries `chunk` bytes at a time (0: all). */
void h1_app_open(struct app *a, size_t chunk);

/* Ends all. */
void h1_app_close(struct app *a);

/* The client sends a text. */
void h1_app_say(struct app *a, const char *text);

/* Whether the client has got this text. */
bool h1_app_heard(struct app *a, const char *text);

/* Streams `n` bytes `fill` as the answer that waits. */
void h1_app_push(struct app *a, char fill, size_t n);

#endif
