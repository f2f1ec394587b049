/* `fullscale-bench`: the load generator, a program of its own so that a server has nothing of it. */
#include "bench/commands.h"

int main(int argc, char **argv)
{
    static const struct cli_program program = {.spec = &bench_spec, .version = FULLSCALE_VERSION};
    return cli_main(argc, argv, &program);
}
