/* How an operation is a command of `fullscale`: names, arguments, options, and what is printed of the answer. With a
 * row that says how the answer is shown, the command line makes the command from the row: parsing, help, completion,
 * manual page, request and output. Other operations are called by commands that have code of their own (src/cli).
 *
 * Sentences may hold {NAME}: the member of that name of the answer's object, else of the object that was found
 * (`find`), else what was given for the member of the request.
 *
 * Constant: any thread. */
#ifndef API_OP_CLI_H
#define API_OP_CLI_H

#include <stdbool.h>

/* What is printed unless -o names a format: then it is the answer. */
enum op_cli_show {
    OP_SHOW_BY_CODE, /* there is no command, or it has code of its own */
    OP_SHOW_LIST,    /* a table: a line for each object of the answer's list, with `columns` */
    OP_SHOW_OBJECT,  /* a table of two columns: a line for each of `columns`; null: for each field */
    OP_SHOW_DONE,    /* the sentence `done` */
    OP_SHOW_JSON,    /* the answer as JSON */
};

struct op_cli_option {
    const char *name;   /* null ends a list */
    char letter;        /* -X; 0: none */
    const char *value;  /* placeholder for the value in the help; null: a flag, for a member that is true or false */
    const char *member; /* of the request */
    const char *help;
    bool may_be_empty; /* --name '' is allowed */
};

struct op_cli_column {
    const char *title; /* null ends a list */
    const char *field; /* of the answer's object; "user.name" is a field of a field */
};

/* The command names an object in other ways than by its id: it is looked up first. */
struct op_cli_find {
    const char *list;    /* operation that lists them: "relays.list"; null: nothing is looked up */
    const char *member;  /* of the request: what is given for it is looked up, and the id of what was found is sent */
    const char *keys;    /* fields that are compared, separated by spaces: "id name" */
    const char *ask;     /* sentence when nothing was given */
    const char *missing; /* sentence when there is none; {} stands for what was given */
};

struct op_cli {
    const char *command;                 /* "users rename"; null: none */
    const char *aliases;                 /* of the last word, separated by spaces; null: none */
    const char *args;                    /* for the help: "USER [NEW-NAME]", optional ones in brackets; null: none */
    const char *arg_members;             /* members of the request, one for each of them, separated by spaces */
    const char *summary;                 /* a few words, no full stop; null: the operation's */
    const char *details;                 /* null: nothing to add */
    const char *examples;                /* lines of "command" or "# comment" */
    const struct op_cli_option *options; /* null: none */
    enum op_cli_show show;
    const struct op_cli_column *columns;
    const char *if_empty; /* sentence instead of a table without lines */
    const char *if_none;  /* the same when an option was given; null: `if_empty` */
    const char *done;     /* sentence */
    const char *hint;     /* sentence for a person, on a terminal; null: none */
    const char *confirm;  /* question that is asked before; null: none */
    struct op_cli_find find;
};

#endif
