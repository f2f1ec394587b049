/* The command line. Parsing, help, completion and the man page are made from one table of commands (spec.c): those of
 * commands.c, which have code, and those that an operation of the API describes as a whole. All commands but `serve`,
 * `relay` and `config` talk HTTP to the running server over its unix socket.
 * Main thread; calls block. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"

struct config;
struct cli_spec;

/* Exit statuses; scripts may rely on them. */
enum cli_exit {
    CLI_EXIT_OK,
    CLI_EXIT_ERROR,
    CLI_EXIT_USAGE,
    CLI_EXIT_NOT_FOUND,
    CLI_EXIT_DENIED,
    CLI_EXIT_CONFIG =
        78, /* `serve` and `relay`: no start succeeds until the configuration is corrected. src: sysexits.h */
};

/* What main passes in: the command line may not include the daemon, which is above it. */
struct cli_program {
    const struct cli_spec *spec;
    const char *version;
    /* Runs the server until it receives SIGINT or SIGTERM; returns the exit status. `cfg` is borrowed. */
    int (*serve)(const struct config *cfg);
    /* Runs only a relay. `server` and `key` are those of the command line, borrowed; null where not given. */
    int (*relay)(const struct config *cfg, const char *server, const char *key);
    /* Checks the configuration against this machine: appends a line to `report` for each finding, and returns the exit
     * status. `asks_urls`: fetch derp.urls as well. The member is null where nothing is checked (tests). */
    int (*check)(const struct config *cfg, bool asks_urls, struct buf *report);
};

/* The commands of `fullscale`; static. Any thread. */
const struct cli_spec *cli_fullscale(void);

/* Runs the command line from argv, whose secrets it overwrites; returns the exit status. */
int cli_main(int argc, char **argv, const struct cli_program *program);

#endif
