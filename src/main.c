/* Wires the command line to the daemon, which stands above it. */
#include "cli/cli.h"
#include "daemon/daemon.h"

int main(int argc, char **argv)
{
    const struct cli_program program = {.spec = cli_fullscale(),
                                        .version = FULLSCALE_VERSION,
                                        .serve = daemon_serve,
                                        .relay = daemon_relay,
                                        .check = daemon_check};
    return cli_main(argc, argv, &program);
}
