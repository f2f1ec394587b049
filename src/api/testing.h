/* For the tests of this module: the API from outside, over its socket: a real core on a memory store, a real HTTP
 * server. */
#ifndef API_TESTING_H
#define API_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/api.h"
#include "api/call_internal.h"
#include "api/rows.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "crypto/crypto.h"
#include "net/tcp.h"

struct fixture {
    char path[64];
    struct store *store;
    struct core *core;
    struct tailnet *other; /* that the API does not tell of, unless a test makes it */
    struct api api;
    struct api_listener listener;
    struct loop *loop;
    struct http_server *server;
    struct tcp_listener *socket;
    pthread_t thread;
    /* what has happened, as the core handed it out; under `lock` while the core runs */
    pthread_mutex_t lock;
    struct event_list **events; /* references */
    size_t events_n, events_cap;
    /* of the last request */
    struct arena arena;
    int status;
    const char *head;
    const struct json *reply;
};

/* A server of the API with `policy_path` and `fault` of struct policy_source; sets `*state`. For setup functions. */
int fixture_setup_with(void **state, const char *policy_path, const char *fault);

/* The same, whose requests are those of `caller`. */
int fixture_setup_as(void **state, const struct api_caller *caller);

/* For cmocka: a server whose policy is in the database. */
int fixture_setup(void **state);

/* For cmocka: ends the server. */
int fixture_teardown(void **state);

/* Connects to the socket; the caller closes it. */
int fixture_dial(const struct fixture *f);

/* Writes a request to a connection. */
void fixture_send_request(int fd, const char *method, const char *path, const char *body);

/* "GET"; the test fails for a method that no operation should have. Static. */
const char *fixture_method_name(enum http_method method);

enum { ANY_STATUS = 0 };

/* Sends one request and reads the answer to the end. */
const struct json *fixture_call(struct fixture *f, int status, const char *method, const char *path, const char *body);

/* How many operations have left an event for the audit trail so far; all that were answered are counted. The last one
 * is *last, borrowed; null if there was none. Creates a user, which is not counted. */
size_t fixture_operations(struct fixture *f, const struct event **last);

/* A member as text; the test fails if there is none. In the fixture's arena. */
const char *fixture_text_of(struct fixture *f, const struct json *object, const char *key);

/* A member that is true or false; the test fails if there is none. */
bool fixture_flag_of(const struct json *object, const char *key);

/* A refusal says why, in the forms that old and new tools read. */
void fixture_refused(struct fixture *f, int status, const char *method, const char *path, const char *body,
                     const char *detail);

struct join {
    struct core_job job; /* first */
    char key[AUTH_KEY_TEXT_CAP];
    char hostname[32];
    uint8_t number;
};

/* A node of this number joins with an auth key. */
void fixture_join(struct fixture *f, const char *key, const char *hostname, uint8_t number);

/* The text of a new auth key; `body` is that of the request. In the fixture's arena. */
const char *fixture_new_key(struct fixture *f, const char *body);

/* The answer of GET /policy/why. */
const struct json *fixture_why(struct fixture *f, const char *query);

#endif
