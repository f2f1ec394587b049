/* Commands that are made from the rows of operations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <string.h>

#include "api/object.h"
#include "api/operation.h"
#include "cli/testing.h"

/* --- the rows --- */

static const struct cli_command *find_command(const char *words)
{
    char name[80];
    for (const struct cli_command *c = cli_fullscale()->commands; c->name != NULL; c++) {
        snprintf(name, sizeof(name), "%s%s%s", c->group, c->group[0] != '\0' ? " " : "", c->name);
        if (strcmp(name, words) == 0)
            return c;
    }
    return NULL;
}

static void assert_member(const struct operation *op, struct str name)
{
    char text[64];
    snprintf(text, sizeof(text), "%.*s", STR_ARG(name));
    if (api_operation_member(op, text) == NULL)
        fail_msg("%s has no member %s", op->name, text);
}

static void assert_field(const struct operation *op, const char *path)
{
    const struct op_object *object = op->answer.object;
    struct str first, rest = str_c(path);
    while (rest.len > 0) {
        const struct op_field *f = NULL;
        str_cut(rest, '.', &first, &rest);
        for (size_t i = 0; object != NULL && i < object->field_n; i++) {
            if (str_eq_c(first, object->fields[i].name))
                f = &object->fields[i];
        }
        if (f == NULL)
            fail_msg("%s: its answer has no %s", op->name, path);
        object = f->object;
    }
}

static void check_row(const struct operation *op, const struct cli_command *c)
{
    const struct op_cli *cli = &op->cli;
    struct str name, rest = str_c(cli->arg_members != NULL ? cli->arg_members : "");
    unsigned n = 0;
    for (; rest.len > 0; n++) {
        str_cut(rest, ' ', &name, &rest);
        assert_member(op, name);
    }
    assert_int_equal(n, c->args_max);
    for (const struct op_cli_option *o = cli->options; o != NULL && o->name != NULL; o++)
        assert_member(op, str_c(o->member));
    for (const struct op_cli_column *column = cli->columns; column != NULL && column->title != NULL; column++)
        assert_field(op, column->field);
    assert_non_null(cli->examples);
    assert_true(cli->show != OP_SHOW_LIST || (cli->columns != NULL && cli->if_empty != NULL && op->answer.is_list));
    assert_true(cli->show != OP_SHOW_DONE || cli->done != NULL);
    assert_true(cli->show != OP_SHOW_OBJECT || op->answer.object != NULL);
    if (cli->find.list == NULL)
        return;
    assert_non_null(api_operation(cli->find.list));
    assert_member(op, str_c(cli->find.member));
    assert_non_null(strstr(cli->find.missing, "{}"));
    assert_non_null(cli->find.ask);
}

/* --- tests --- */

static void test_every_row_that_shows_its_answer_is_a_whole_command(void **state)
{
    const struct operation *op;
    (void)state;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (op->cli.show == OP_SHOW_BY_CODE)
            continue;
        const struct cli_command *c = find_command(op->cli.command);
        assert_non_null(c);
        assert_ptr_equal(c->operation, op);
        check_row(op, c);
    }
}

static void test_every_operation_names_a_command_that_exists(void **state)
{
    const struct operation *op;
    (void)state;
    for (size_t i = 0; (op = api_operation_at(i)) != NULL; i++) {
        if (op->cli.command == NULL || find_command(op->cli.command) == NULL)
            fail_msg("%s: no command \"%s\"", op->name, op->cli.command != NULL ? op->cli.command : "");
    }
}

/* Commands that are made stand where those with code would: what makes first, what deletes last. */
static void test_made_commands_stand_in_the_order_of_their_group(void **state)
{
    static const char *const wanted[] = {"create", "list", "rename", "set-role", "delete"};
    size_t n = 0;
    (void)state;
    for (const struct cli_command *c = cli_fullscale()->commands; c->name != NULL; c++) {
        if (strcmp(c->group, "users") != 0)
            continue;
        assert_true(n < ARRAY_LEN(wanted));
        assert_string_equal(c->name, wanted[n]);
        n++;
    }
    assert_int_equal(n, ARRAY_LEN(wanted));
}

static void test_a_made_command_has_help_of_its_row(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays delete --help", CLI_EXIT_OK, "RELAY is an id or a name.", NULL);
    cli_test_expect("fullscale relays delete --help", CLI_EXIT_OK, "--identifier RELAY", NULL);
    cli_test_expect("fullscale users create", CLI_EXIT_USAGE, NULL, "\"fullscale users create\" needs NAME");
    cli_test_expect("fullscale users create a b", CLI_EXIT_USAGE, NULL, NULL);
    cli_test_expect("fullscale users create a --emial b", CLI_EXIT_USAGE, NULL, "did you mean --email?");
    cli_test_expect("fullscale man", CLI_EXIT_OK, "fullscale relays delete", NULL);
    cli_test_expect("fullscale --help", CLI_EXIT_OK, "The admin API", NULL);
}

static void test_an_option_wins_over_the_argument(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays delete nobody -i fra --force", CLI_EXIT_OK, "Relay fra deleted\n", NULL);
    cli_test_asked("DELETE /api/v1/relay/1 ");
}

static void test_a_question_is_asked_before_anything_changes(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays delete fra", CLI_EXIT_USAGE, NULL, "Delete the relay fra?");
    assert_true(cli_test_has_only_read());
}

static void test_the_document_is_printed_as_json_unless_told_otherwise(void **state)
{
    (void)state;
    cli_test_expect("fullscale api openapi", CLI_EXIT_OK, "{\n  \"openapi\": \"3.1.0\",", NULL);
    cli_test_expect("fullscale api openapi -o json-line", CLI_EXIT_OK, "{\"openapi\":\"3.1.0\",", NULL);
    cli_test_expect("fullscale api openapi -o yaml", CLI_EXIT_OK, "title: the API", NULL);
}

/* What is given stays one value: a segment of the path, a value of the query. */
static void test_arguments_cannot_leave_their_place_in_the_address(void **state)
{
    char line[] = "fullscale users list -i 2 --name a&email=b\r\nX:~y -e #";
    (void)state;
    cli_test_expect("fullscale users rename bert ..", CLI_EXIT_OK, "User renamed to ..\n", NULL);
    cli_test_expect("fullscale users rename bert a?b#c&d=e%f", CLI_EXIT_OK, "User renamed", NULL);
    cli_test_expect("fullscale policy get -n ..", CLI_EXIT_ERROR, NULL, "\"..\" is no id");
    cli_test_expect(line, CLI_EXIT_OK, NULL, NULL);
    cli_test_asked("GET /api/v1/user?id=2&name=a%26email%3Db%0D%0AX%3A~y&email=%23 HTTP/1.1\r\n");
}

static int name_no_server(void **state)
{
    (void)state;
    return setenv("FULLSCALE_UNIX_SOCKET", "/nowhere/sock", 1);
}

static int forget_server(void **state)
{
    (void)state;
    return unsetenv("FULLSCALE_UNIX_SOCKET");
}

/* What the server would refuse is refused without one, by the same sentence. */
static void test_wrong_values_need_no_server(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays create fra --region-id 70000", CLI_EXIT_ERROR, NULL,
                    "fullscale: regionId must be a whole number up to 65535\n");
    cli_test_expect("fullscale log level loud", CLI_EXIT_ERROR, NULL,
                    "fullscale: level must be one of trace, debug, info, warn, error or off\n");
    cli_test_expect("fullscale users list -i x\x1b", CLI_EXIT_ERROR, NULL, "id: \"x\\x1b\" is no id");
    cli_test_expect("fullscale relays create fra --region-id 902", CLI_EXIT_ERROR, NULL, "no server answers at");
}

/* A text that looks like a member in braces is a text. */
static void test_braces_in_what_is_given_are_not_filled_in(void **state)
{
    (void)state;
    cli_test_expect("fullscale relays delete {name}", CLI_EXIT_NOT_FOUND, NULL, "there is no relay '{name}': see");
}

/* --- rows that no operation has --- */

static const struct op_cli_column user_columns[] = {{"Name", "name"}, {"Since", "createdAt"}, {0}};

/* What `fullscale users create anna` prints if the row is shown so. */
static struct cli_test_result run_row(struct op_cli cli, const char *format)
{
    struct operation op = *api_operation("users.create");
    struct cli_spec spec = *cli_fullscale();
    struct cli_program program = {.spec = &spec, .version = "1"};
    char *argv[] = {"fullscale", "users", "create", "anna", "-o", (char *)(uintptr_t)format, NULL};
    struct cli_test_result r;
    size_t n;
    op.cli = cli;
    if (op.cli.arg_members == NULL)
        op.cli.arg_members = "name";
    struct cli_command commands[] = {*find_command("users create"), {0}};
    commands[0].operation = &op;
    spec.commands = commands;
    FILE *out = open_memstream(&r.out, &n);
    FILE *err = open_memstream(&r.err, &n);
    r.status = cli_run_args((int)ARRAY_LEN(argv) - 1, argv, &program, out, err);
    fclose(out);
    fclose(err);
    return r;
}

static void assert_row_prints(struct op_cli cli, const char *format, enum cli_exit status, const char *text)
{
    struct cli_test_result r = run_row(cli, format);
    assert_int_equal(r.status, status);
    assert_string_equal(status == CLI_EXIT_OK ? r.out : r.err, text);
    cli_test_result_free(&r);
}

static void test_an_object_is_a_line_for_each_column(void **state)
{
    const struct op_cli cli = {.show = OP_SHOW_OBJECT, .columns = user_columns};
    (void)state;
    assert_row_prints(cli, "table", CLI_EXIT_OK, "FIELD  VALUE\nName   anna\nSince  2026-11-23 01:02:03 UTC\n");
    assert_row_prints(
        cli, "json-line", CLI_EXIT_OK,
        "{\"id\":\"1\",\"name\":\"anna\",\"displayName\":\"Anna N\",\"email\":\"a@b.c\",\"role\":\"owner\","
        "\"createdAt\":\"2026-11-23T01:02:03.5Z\"}\n");
}

static void test_an_object_without_columns_is_a_line_for_each_field(void **state)
{
    (void)state;
    assert_row_prints((struct op_cli){.show = OP_SHOW_OBJECT}, "table", CLI_EXIT_OK,
                      "FIELD          VALUE\nid             1\nname           anna\n"
                      "createdAt      2026-11-23 01:02:03 UTC\ndisplayName    Anna N\nemail          a@b.c\n"
                      "providerId     -\nprovider       -\nprofilePicUrl  -\nrole           owner\n");
}

static void test_what_must_be_given_is_asked_for(void **state)
{
    static const struct op_cli_option options[] = {{"called", 0, "NAME", "name", "the name"}, {0}};
    (void)state;
    assert_row_prints((struct op_cli){.show = OP_SHOW_OBJECT, .arg_members = ""}, "table", CLI_EXIT_USAGE,
                      "fullscale: give the name: the login name, such as anna or anna@example.com\n"
                      "See `fullscale users create --help`.\n");
    assert_row_prints((struct op_cli){.show = OP_SHOW_OBJECT, .arg_members = "", .options = options}, "table",
                      CLI_EXIT_USAGE,
                      "fullscale: give --called: the login name, such as anna or anna@example.com\n"
                      "See `fullscale users create --help`.\n");
    assert_true(cli_test_has_only_read());
}

static void test_a_sentence_takes_the_answer_before_what_was_given(void **state)
{
    (void)state;
    cli_test_server.is_hostile = true;
    struct cli_test_result r = run_row((struct op_cli){.show = OP_SHOW_DONE, .done = "{id}{nothing}: {name}"}, "table");
    assert_int_equal(strncmp(r.out, "1: anna\\x1b[31m", 15), 0);
    assert_ptr_equal(strchr(r.out, '\n'), r.out + strlen(r.out) - 1);
    cli_test_result_free(&r);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, cli_test_server_start, cli_test_server_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_that_shows_its_answer_is_a_whole_command),
        cmocka_unit_test(test_every_operation_names_a_command_that_exists),
        cmocka_unit_test(test_made_commands_stand_in_the_order_of_their_group),
        cmocka_unit_test(test_a_made_command_has_help_of_its_row),
        WITH_SERVER(test_an_option_wins_over_the_argument),
        WITH_SERVER(test_a_question_is_asked_before_anything_changes),
        WITH_SERVER(test_the_document_is_printed_as_json_unless_told_otherwise),
        WITH_SERVER(test_arguments_cannot_leave_their_place_in_the_address),
        cmocka_unit_test_setup_teardown(test_wrong_values_need_no_server, name_no_server, forget_server),
        WITH_SERVER(test_an_object_is_a_line_for_each_column),
        WITH_SERVER(test_an_object_without_columns_is_a_line_for_each_field),
        WITH_SERVER(test_what_must_be_given_is_asked_for),
        WITH_SERVER(test_a_sentence_takes_the_answer_before_what_was_given),
        WITH_SERVER(test_braces_in_what_is_given_are_not_filled_in),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
