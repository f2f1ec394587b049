/* Each command against a server with prepared answers: what it asks, and what it prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <string.h>
#include <unistd.h>

#include "cli/testing.h"

static void test_users_commands(void **state)
{
    (void)state;
    cli_test_expect("fullscale users list", CLI_EXIT_OK,
                    "ID  NAME  DISPLAY NAME  EMAIL  ROLE   CREATED\n"
                    "1   anna  Anna N        a@b.c  owner  2026-11-23 01:02:03 UTC\n"
                    "2   bert  \\x1b[31mred   -      -      -\n",
                    NULL);
    cli_test_expect("fullscale users list -o json", CLI_EXIT_OK, "[\n  {\n    \"id\": \"1\",", NULL);
    cli_test_expect("fullscale users list -o json-line", CLI_EXIT_OK, "[{\"id\":\"1\",", NULL);
    cli_test_expect("fullscale user ls -o yaml", CLI_EXIT_OK, "name: anna", NULL);
    cli_test_expect("fullscale users create anna --display-name X", CLI_EXIT_OK, "User anna created, id 1\n", NULL);
    cli_test_asked("{\"name\":\"anna\",\"displayName\":\"X\"}");
    cli_test_expect("fullscale users rename bert bert/2", CLI_EXIT_OK, "User renamed to bert/2\n", NULL);
    cli_test_expect("fullscale users rename -i 2 -r bert/2", CLI_EXIT_OK, "User renamed", NULL);
    cli_test_expect("fullscale users rename --name bert bert/2 -o json", CLI_EXIT_OK, "\"name\": \"bert\"", NULL);
    cli_test_expect("fullscale users rename", CLI_EXIT_USAGE, NULL, "give the new name");
    cli_test_expect("fullscale users rename x", CLI_EXIT_USAGE, NULL, "name the user");
    cli_test_expect("fullscale users set-role bert it-admin", CLI_EXIT_OK, "User bert is now it-admin\n", NULL);
    cli_test_asked("{\"role\":\"it-admin\"}");
    cli_test_expect("fullscale users set-role -i 2 auditor -o json", CLI_EXIT_OK, "\"name\": \"bert\"", NULL);
    cli_test_expect("fullscale users set-role admin", CLI_EXIT_USAGE, NULL, "name the user");
    cli_test_expect("fullscale users set-role", CLI_EXIT_USAGE, NULL, "needs [USER] ROLE");
    cli_test_expect("fullscale users delete bert --force", CLI_EXIT_OK, "User bert deleted\n", NULL);
    cli_test_expect("fullscale users destroy a@b.c --force", CLI_EXIT_ERROR, NULL, "fullscale: anna has nodes\n");
    cli_test_expect("fullscale users delete nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no user \"nobody\"");
    cli_test_expect("fullscale users delete", CLI_EXIT_USAGE, NULL, "name the user");
}

static void test_nodes_commands(void **state)
{
    (void)state;
    cli_test_expect("fullscale nodes list", CLI_EXIT_OK,
                    "3   laptop  anna     100.64.0.1, fd7a::1  online   2026-11-23 01:02:03 UTC  -\n"
                    "4   web     tag:web  -                    expired  -                        -\n",
                    NULL);
    cli_test_expect("fullscale nodes list --user nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no user nobody");
    cli_test_expect("fullscale nodes show fd7a::1", CLI_EXIT_OK, "Name         laptop\n", NULL);
    cli_test_expect("fullscale nodes show Laptop -o json", CLI_EXIT_OK, "\"givenName\": \"laptop\"", NULL);
    cli_test_expect("fullscale nodes show zzz", CLI_EXIT_NOT_FOUND, NULL, "there is no node \"zzz\"");
    cli_test_expect("fullscale nodes rename laptop new-name", CLI_EXIT_OK, "renamed to new-name\n", NULL);
    cli_test_expect("fullscale nodes rename -i 3 new-name", CLI_EXIT_OK, "renamed to new-name\n", NULL);
    cli_test_expect("fullscale nodes expire web", CLI_EXIT_OK, "Node web expired\n", NULL);
    cli_test_asked("\r\n\r\n{}");
    cli_test_expect("fullscale nodes expire web --disable", CLI_EXIT_OK, "never expires", NULL);
    cli_test_asked("{\"disableExpiry\":true}");
    cli_test_expect("fullscale nodes expire web -e 2030-01-01T00:00:00Z", CLI_EXIT_OK, "new expiry", NULL);
    cli_test_asked("{\"expiry\":\"2030-01-01T00:00:00Z\"}");
    cli_test_expect("fullscale nodes expire web -e 30d", CLI_EXIT_OK, "new expiry", NULL);
    cli_test_asked("{\"expiry\":\"2");
    cli_test_expect("fullscale nodes delete --identifier 4 --force", CLI_EXIT_OK, "deleted\n", NULL);
    cli_test_expect("fullscale nodes delete", CLI_EXIT_USAGE, NULL, "name the node");
}

static void test_tags_and_routes(void **state)
{
    (void)state;
    cli_test_expect("fullscale nodes tag web tag:a,tag:b", CLI_EXIT_OK, "Node web is tagged tag:a,tag:b\n", NULL);
    cli_test_asked("{\"tags\":[\"tag:a\",\"tag:b\"]}");
    cli_test_expect("fullscale nodes tags -i 4 -t tag:a -t tag:b", CLI_EXIT_OK, "Node web is tagged tag:a,tag:b\n",
                    NULL);
    cli_test_asked("{\"tags\":[\"tag:a\",\"tag:b\"]}");
    cli_test_expect("fullscale nodes tag -i 4", CLI_EXIT_USAGE, NULL, "give the tags");
    cli_test_expect("fullscale nodes tag tag:a", CLI_EXIT_USAGE, NULL,
                    "give the node and its tags, not only \"tag:a\"");
    cli_test_expect("fullscale nodes tag -t tag:a", CLI_EXIT_USAGE, NULL,
                    "name the node: `fullscale nodes tag [NODE] [TAGS]`");
    cli_test_expect("fullscale nodes approve-routes a", CLI_EXIT_USAGE, NULL,
                    "give the node and its routes, not only \"a\": `fullscale nodes approve-routes NODE 10.0.0.0/8");
    cli_test_expect("fullscale nodes tag -i 4 --tags=", CLI_EXIT_USAGE, NULL, "give the tags");
    cli_test_expect("fullscale nodes approve-routes -i web -r 10.0.0.0/8,::/0", CLI_EXIT_OK,
                    "Node web may serve 10.0.0.0/8,::/0\n", NULL);
    cli_test_asked("{\"routes\":[\"10.0.0.0/8\",\"::/0\"]}");
    cli_test_expect("fullscale nodes approve-routes web --routes=", CLI_EXIT_OK, "Node web may serve no routes\n",
                    NULL);
    cli_test_asked("{\"routes\":[]}");
    cli_test_expect("fullscale nodes approve-routes -i web -o json", CLI_EXIT_USAGE, NULL, "give the routes");
    cli_test_expect("fullscale nodes approve-routes -r 10.0.0.0/8", CLI_EXIT_USAGE, NULL, "name the node");
    cli_test_expect("fullscale nodes list-routes", CLI_EXIT_OK,
                    "ID  NAME  ADVERTISED        APPROVED    SERVING\n"
                    "4   web   10.0.0.0/8, ::/0  10.0.0.0/8  -\n",
                    NULL);
    cli_test_expect("fullscale nodes lsr -i laptop", CLI_EXIT_OK, "3   laptop  -           -         -\n", NULL);
    cli_test_expect("fullscale nodes routes -o json-line", CLI_EXIT_OK, "[{\"id\":\"4\",", NULL);
    cli_test_expect("fullscale nodes list-routes nobody", CLI_EXIT_NOT_FOUND, NULL, "there is no node \"nobody\"");
}

static void test_preauthkeys_commands(void **state)
{
    (void)state;
    cli_test_expect("fullscale preauthkeys create --user anna --reusable --tags tag:a,tag:b -e 0", CLI_EXIT_OK,
                    "fskey-auth-whole\n", NULL);
    cli_test_asked("{\"user\":\"1\",\"reusable\":true,\"ephemeral\":false,\"aclTags\":[\"tag:a\",\"tag:b\"]}");
    cli_test_expect("fullscale preauthkeys create -u 2 -o json", CLI_EXIT_OK, "\"key\": \"fskey-auth-whole\"", NULL);
    cli_test_asked("\"expiration\":\"2");
    cli_test_expect("fullscale preauthkeys create", CLI_EXIT_USAGE, NULL, "name the key's user: --user NAME");
    cli_test_expect("fullscale preauthkeys create --user nobody", CLI_EXIT_NOT_FOUND, NULL, "no user \"nobody\"");
    cli_test_expect("fullscale preauthkeys list", CLI_EXIT_OK, "fskey-auth-0123456789ab-***  anna  yes", NULL);
    cli_test_expect("fullscale preauthkeys list", CLI_EXIT_OK, "tag:a, tag:b\n", NULL);
    cli_test_expect("fullscale preauthkeys list --user anna", CLI_EXIT_DENIED, NULL,
                    "the server answered with status 403");
    cli_test_expect("fullscale preauthkeys expire 7", CLI_EXIT_OK, "Key 7 expired\n", NULL);
    cli_test_expect("fullscale preauthkeys expire fskey-auth-0123456789ab-abcdef --user anna", CLI_EXIT_OK,
                    "Key 7 expired\n", NULL);
    cli_test_asked("{\"id\":\"7\"}");
    cli_test_expect("fullscale preauthkeys expire --id 9", CLI_EXIT_NOT_FOUND, NULL, "there is no such auth key");
    cli_test_expect("fullscale preauthkeys expire", CLI_EXIT_USAGE, NULL, "name the key");
    cli_test_expect("fullscale preauthkeys rm 7 --force", CLI_EXIT_OK, "Key 7 deleted\n", NULL);
}

static void test_relays_commands(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays create fra-2 --region-id 901", CLI_EXIT_OK, "fskey-relay-whole\n", NULL);
    cli_test_asked("{\"name\":\"fra-2\",\"regionId\":\"901\"}");
    cli_test_expect("fullscale relays create fra --region-name Frankfurt -o json", CLI_EXIT_OK,
                    "\"key\": \"fskey-relay-whole\"", NULL);
    cli_test_asked("{\"name\":\"fra\",\"regionName\":\"Frankfurt\"}");
    cli_test_expect("fullscale relays create", CLI_EXIT_USAGE, NULL, "NAME");
    cli_test_expect(
        "fullscale relays list", CLI_EXIT_OK,
        "1   fra   901     Frankfurt    yes  192.0.2.1  2026-11-23 01:02:03 UTC  fskey-relay-0123456789ab-***\n", NULL);
    cli_test_expect("fullscale relays delete fra --force", CLI_EXIT_OK, "Relay fra deleted\n", NULL);
    cli_test_expect("fullscale relays rm -i 1 --force", CLI_EXIT_OK, "Relay fra deleted\n", NULL);
    cli_test_expect("fullscale relays delete nyc", CLI_EXIT_NOT_FOUND, NULL, "there is no relay 'nyc'");
    cli_test_expect("fullscale relays delete", CLI_EXIT_USAGE, NULL, "name the relay");
}

/* Mistakes are reported before anything is sent, also where there is no server. */
static void test_policy_files(void **state)
{
    (void)state;
    const char *path = "/tmp/fullscale-cli-test.hujson";
    setenv("FULLSCALE_UNIX_SOCKET", "/nonexistent/socket", 1);
    cli_test_write_file(path, "{\n  \"acls\": [}");
    cli_test_expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
                    "/tmp/fullscale-cli-test.hujson:2:12: ");
    cli_test_expect("fullscale policy set /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
                    "this policy cannot be used\n");
    cli_test_expect("fullscale policy diff /tmp/fullscale-cli-test.hujson -o json", CLI_EXIT_ERROR, NULL,
                    "\"errors\":[{\"file\":\"/tmp/fullscale-cli-test.hujson\",\"line\":2,\"column\":12,\"message\":\"");
    cli_test_write_file(path, "{} // good");
    cli_test_expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_OK, ": good\n",
                    "No server runs here");
    cli_test_expect("fullscale policy check -f /tmp/fullscale-cli-test.hujson -o json-line", CLI_EXIT_OK,
                    "{\"warnings\":[]}\n", "No server runs here");
    cli_test_expect("fullscale policy set -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
                    "no server answers");
    cli_test_expect("fullscale policy set -f /nonexistent", CLI_EXIT_ERROR, NULL, "/nonexistent");
    cli_test_expect("fullscale policy set", CLI_EXIT_USAGE, NULL, "name the file");
    unsetenv("FULLSCALE_UNIX_SOCKET");
    unlink(path);
}

static void test_policy_commands(void **state)
{
    (void)state;
    const char *path = "/tmp/fullscale-cli-test.hujson";
    cli_test_write_file(path, "{} // \"new\"\n");
    cli_test_expect("fullscale policy get", CLI_EXIT_OK, "{} // now\n",
                    "p.hujson:1:2: oh\nfullscale: this is the last good");
    cli_test_expect("fullscale policy get -n 2", CLI_EXIT_OK, "{} // then\n", NULL);
    cli_test_expect("fullscale policy get -n 9", CLI_EXIT_NOT_FOUND, NULL, "there is no version 9");
    cli_test_expect("fullscale policy set -f /tmp/fullscale-cli-test.hujson -m why", CLI_EXIT_OK,
                    "Policy version 4 is in force\n", "/tmp/fullscale-cli-test.hujson: warning: nobody is zoe@\n");
    cli_test_asked("{\"policy\":\"{} // \\\"new\\\"\\n\",\"author\":\"");
    cli_test_asked("\"note\":\"why\"}");
    cli_test_expect("fullscale policy check /tmp/fullscale-cli-test.hujson", CLI_EXIT_ERROR, NULL,
                    "/tmp/fullscale-cli-test.hujson: test(s) failed\n"
                    "/tmp/fullscale-cli-test.hujson:3:7: expected \\x1b[31mDENIED\nfullscale: test(s) failed\n");
    cli_test_expect("fullscale policy rollback 2 --force", CLI_EXIT_OK, "Policy version 5 is in force", NULL);
    cli_test_expect("fullscale policy rollback 3 --force", CLI_EXIT_ERROR, NULL, "version 3:1:2: bad\nfullscale: no\n");
    cli_test_expect("fullscale policy rollback", CLI_EXIT_USAGE, NULL, "needs N");
    cli_test_expect(
        "fullscale policy history", CLI_EXIT_OK,
        "VERSION  SET AT                   BY    BYTES  NOTE\n4        2026-11-23 01:02:03 UTC  anna  7      -\n",
        NULL);
    cli_test_expect("fullscale policy diff -f /tmp/fullscale-cli-test.hujson", CLI_EXIT_OK,
                    "CHANGE   SOURCE    DESTINATION  PROTOCOL  PORTS\n"
                    "granted  10.0.0.1  10.0.0.3     tcp,udp   *\n"
                    "revoked  10.0.0.1  10.0.0.2     47        1-9\n"
                    "revoked  10.0.0.1  10.0.0.2     udp       22\n",
                    "and 2 more\n");
    cli_test_expect("fullscale policy diff -f /tmp/fullscale-cli-test.hujson -o json", CLI_EXIT_OK, "\"leftOut\": 2",
                    NULL);
    unlink(path);
}

static void test_policy_why(void **state)
{
    (void)state;
    cli_test_expect("fullscale policy why a b:22", CLI_EXIT_OK,
                    "Allowed by\n  /etc/p.hujson:4  acls[0]\n  /etc/p.hujson:9  grants[2]\n", NULL);
    cli_test_expect(
        "fullscale policy why a c --proto udp", CLI_EXIT_ERROR,
        "Not allowed. The closest rule is\n  policy:4  acls[1]: matches all but the destination and the port or "
        "protocol\n",
        NULL);
    cli_test_expect("fullscale policy why a d", CLI_EXIT_ERROR, "no rule that allows anything", NULL);
    cli_test_expect("fullscale policy why a d -o json", CLI_EXIT_ERROR, "\"allowed\": false", NULL);
    cli_test_expect("fullscale policy why a e", CLI_EXIT_OK, "there is no policy", NULL);
    cli_test_expect("fullscale policy why a f", CLI_EXIT_OK, "the policy has no rules", NULL);
    cli_test_expect("fullscale policy why x y", CLI_EXIT_NOT_FOUND, NULL, "x names nothing");
    cli_test_expect("fullscale policy why x", CLI_EXIT_USAGE, NULL, "needs SRC DST");
}

static void test_server_commands(void **state)
{
    (void)state;
    cli_test_expect("fullscale health", CLI_EXIT_OK, "healthy\n", NULL);
    cli_test_expect("fullscale health -o json-line", CLI_EXIT_OK, "{\"databaseConnectivity\":true}\n", NULL);
    cli_test_expect("fullscale log level", CLI_EXIT_OK, "relay   info\n", NULL);
    cli_test_expect("fullscale log level relay debug", CLI_EXIT_OK, "relay   debug\n", NULL);
    cli_test_asked("{\"module\":\"relay\",\"level\":\"debug\"}");
    cli_test_expect("fullscale log level debug", CLI_EXIT_OK, NULL, NULL);
    cli_test_asked("\r\n\r\n{\"level\":\"debug\"}");
}

/* --- what must be said --- */

static void test_deletes_need_a_yes(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "fullscale users delete bert", "fullscale nodes delete web",  "fullscale preauthkeys delete 7",
        "fullscale relays delete fra", "fullscale policy rollback 2",
    };
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        cli_test_expect(commands[i], CLI_EXIT_USAGE, NULL,
                        "? There is no terminal to ask on, so nothing was changed: use --force\n");
        assert_true(cli_test_has_only_read());
    }
}

/* "" names nothing: neither everything, nor a path that does not exist. */
static void test_empty_words_are_refused(void **state)
{
    (void)state;
    cli_test_expect("fullscale nodes rename web ''", CLI_EXIT_USAGE, NULL,
                    "\"fullscale nodes rename\" was given an empty argument: it needs [NODE] NEW-NAME");
    cli_test_expect("fullscale users rename bert ''", CLI_EXIT_USAGE, NULL, "empty argument");
    cli_test_expect("fullscale users rename bert --new-name ''", CLI_EXIT_USAGE, NULL,
                    "--new-name is empty: --new-name NAME");
    cli_test_expect("fullscale users create ''", CLI_EXIT_USAGE, NULL, "empty argument");
    cli_test_expect("fullscale nodes show ''", CLI_EXIT_USAGE, NULL, "empty argument");
    cli_test_expect("fullscale nodes delete --identifier= --force", CLI_EXIT_USAGE, NULL, "--identifier is empty");
    cli_test_expect("fullscale preauthkeys list --user ''", CLI_EXIT_USAGE, NULL, "--user is empty");
    cli_test_expect("fullscale policy get -n ''", CLI_EXIT_USAGE, NULL, "--version-number is empty");
    cli_test_expect("fullscale policy rollback '' --force", CLI_EXIT_USAGE, NULL, "empty argument");
    cli_test_expect("fullscale log level ''", CLI_EXIT_USAGE, NULL, "empty argument");
    cli_test_expect("fullscale nodes list -c ''", CLI_EXIT_USAGE, NULL, "--config is empty");
    cli_test_expect("fullscale nodes approve-routes web ''", CLI_EXIT_OK, "may serve no routes", NULL);
}

static void test_empty_tables_speak(void **state)
{
    (void)state;
    cli_test_server.has_empty_lists = true;
    cli_test_expect("fullscale users list", CLI_EXIT_OK, "", "No users yet. Create one with");
    cli_test_expect("fullscale nodes list", CLI_EXIT_OK, "", "No nodes yet. Make a key with");
    cli_test_expect("fullscale preauthkeys list", CLI_EXIT_OK, "", "No auth keys. Create one with");
    cli_test_expect("fullscale relays list", CLI_EXIT_OK, "", "No relays on other machines. Enrol one with");
    cli_test_expect("fullscale nodes list-routes", CLI_EXIT_OK, "", "No node advertises routes");
    cli_test_expect("fullscale policy history", CLI_EXIT_OK, "", "No policy has been set yet");
    cli_test_expect("fullscale nodes list -o json-line", CLI_EXIT_OK, "[]\n", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_users_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_nodes_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_tags_and_routes, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_preauthkeys_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_relays_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test(test_policy_files),
        cmocka_unit_test_setup_teardown(test_policy_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_policy_why, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_server_commands, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_deletes_need_a_yes, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_empty_words_are_refused, cli_test_server_start, cli_test_server_stop),
        cmocka_unit_test_setup_teardown(test_empty_tables_speak, cli_test_server_start, cli_test_server_stop),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
