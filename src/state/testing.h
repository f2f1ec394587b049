/* For the tests of this module: a tailnet of one user, and one of routers. */
#ifndef STATE_TESTING_H
#define STATE_TESTING_H

#include "state/state.h"
#include "support/test_random.h"

enum { TEST_GRACE_MS = 10000, TEST_EPHEMERAL_MS = 60000, TEST_AWAY_MS = 2000 };
#define TEST_NOW_MS INT64_C(1800000000000)

/* Settings that are as small as possible. The caller owns the reference. */
struct tailnet_settings *test_settings(void);
/* Both address families, with the deadlines above. */
struct state_options test_options(void);

/* --- a tailnet with the user anna --- */

struct test_tailnet {
    struct state *st;
    struct test_random random;
    const struct user *anna;
};

/* For cmocka: `*state` is a test_tailnet with test_options(). */
int test_tailnet_set_up(void **state);
int test_tailnet_tear_down(void **state);
/* Makes the state of `f`, with other options. */
void test_tailnet_open(struct test_tailnet *f, const struct state_options *options);
/* Fills `out` with the next random bytes. */
void test_tailnet_random(struct test_tailnet *f, void *out, size_t n);
/* Creates an auth key, of anna if `spec` names no user. Returns its id. */
uint64_t test_tailnet_key(struct test_tailnet *f, struct auth_key_spec spec, char text[AUTH_KEY_TEXT_CAP]);
/* The registration of a new machine. The texts are borrowed. */
struct registration test_tailnet_request(struct test_tailnet *f, const char *key_text, const char *hostname);
struct register_result test_tailnet_register(struct test_tailnet *f, const struct registration *reg, int64_t when_ms);
/* The registration is refused with a message that contains `word`. */
void test_tailnet_refused(struct test_tailnet *f, const struct registration *reg, int64_t when_ms, const char *word);
/* Commits everything and publishes. */
void test_tailnet_settle(struct test_tailnet *f, int64_t when_ms);

/* --- a tailnet with the users olga, anna and bert, and six nodes of anna --- */

enum { TEST_ROUTERS = 6 };

struct test_routers {
    struct state *st;
    struct test_random random;
    int64_t now_ms;
    struct registration nodes[TEST_ROUTERS]; /* the one at i has id i + 1 */
    char key[AUTH_KEY_TEXT_CAP];
};

/* For cmocka: `*state` is a test_routers. */
int test_routers_set_up(void **state);
int test_routers_tear_down(void **state);
/* Fills `out` with the next random bytes. */
void test_routers_random(struct test_routers *f, void *out, size_t n);
/* Creates a reusable auth key; `tag` "": without tags. */
void test_routers_key(struct test_routers *f, user_id user, const char *tag, char text[AUTH_KEY_TEXT_CAP]);
/* The registration of a new machine. `key` is borrowed. */
struct registration test_routers_request(struct test_routers *f, const char *key);
struct register_result test_routers_join(struct test_routers *f, const struct registration *reg);
/* Routes as "10.0.0.0/8 ::/0". Returns how many were written. */
size_t test_parse_routes(const char *text, struct prefix *out);
/* The node advertises exactly these routes; a deleted node is left alone. */
void test_routers_advertise(struct test_routers *f, node_id id, const char *routes);
enum rc test_routers_approve(struct test_routers *f, node_id id, const char *routes);
/* A poll of the node begins. */
void test_routers_poll(struct test_routers *f, node_id id);
/* The list is exactly this, in its order. */
void test_assert_prefixes(const struct prefix_list *l, const char *want);
/* Makes `text` the active policy. */
void test_routers_set_policy(struct test_routers *f, const char *text);
/* Commits everything and publishes. */
void test_routers_publish(struct test_routers *f);
void test_routers_set_tag(struct test_routers *f, node_id id, struct str tag);

#endif
