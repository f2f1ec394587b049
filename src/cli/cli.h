/* The command line: one table of commands (commands.c) from which parsing, help, completion and the man page come.
 * Everything but `serve` and `config` talks HTTP to the running server over its unix socket. Blocking; main thread. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"

struct config;
struct cli_spec;

/* What users and scripts may rely on. */
enum cli_exit {
    CLI_EXIT_OK,
    CLI_EXIT_ERROR,
    CLI_EXIT_USAGE,
    CLI_EXIT_NOT_FOUND,
    CLI_EXIT_DENIED,
    CLI_EXIT_CONFIG =
        78, /* `serve` and `relay`: starting again is in vain until somebody mends it. src: sysexits.h EX_CONFIG */
};

/* What main wires in, because the command line stands below the daemon. */
struct cli_program {
    const struct cli_spec *spec;
    const char *version;
    /* Serves until told to stop; returns the exit status. `cfg` is borrowed. */
    int (*serve)(const struct config *cfg);
    /* The same for a relay alone. Texts are borrowed; null where nothing was said. */
    int (*relay)(const struct config *cfg, const char *server, const char *key);
    /* What is wrong with configuration and machine, a line each; returns the exit status. Null: not looked at. */
    int (*check)(const struct config *cfg, bool asks_urls, struct buf *report);
};

/* The command line of `fullscale`. */
extern const struct cli_spec cli_fullscale;

/* The whole program: returns the exit status. */
int cli_main(int argc, char **argv, const struct cli_program *program);

#endif
