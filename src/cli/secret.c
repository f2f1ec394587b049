/* Secrets that commands take. Everyone on the machine can read the command line in the list of processes, and the shell
 * keeps it in its history. Therefore secrets can come from a file, the environment or standard input, and those on the
 * command line are overwritten there before anything else is done. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli_internal.h"
#include "crypto/crypto.h"

enum { SECRET_MAX_BYTES = 4096 };

/* The first line without white space around it; null when empty. */
static const char *keep(struct cli_run *run, struct str text)
{
    long end = str_index(text, '\n');
    struct str line = str_trim(end < 0 ? text : str_n(text.p, (size_t)end));
    return line.len > 0 ? arena_str(&run->arena, line).p : NULL;
}

static enum cli_exit from_input(struct cli_run *run, const struct cli_secret *what, const char **out)
{
    char line[SECRET_MAX_BYTES];
    if (run->is_in_tty && run->is_err_tty) {
        fprintf(run->err, "%s: ", what->title);
        fflush(run->err);
    }
    if (fgets(line, sizeof(line), stdin) != NULL)
        *out = keep(run, str_c(line));
    secret_wipe(line, sizeof(line));
    return *out != NULL ? CLI_EXIT_OK : cli_fail(run, CLI_EXIT_ERROR, "there is no key on standard input");
}

static enum cli_exit from_file(struct cli_run *run, const char *path, const char **out)
{
    struct buf text = {0};
    struct err err;
    enum rc rc = file_read(path, SECRET_MAX_BYTES, &text, &err);
    if (rc == RC_OK)
        *out = keep(run, buf_str(&text));
    secret_wipe(text.data, text.cap);
    buf_fini(&text);
    if (rc != RC_OK)
        return cli_fail(run, rc == RC_DENIED ? CLI_EXIT_DENIED : CLI_EXIT_ERROR, "%s", err.text);
    return *out != NULL ? CLI_EXIT_OK : cli_fail(run, CLI_EXIT_ERROR, "%s: there is no key in the file", path);
}

static void from_environment(struct cli_run *run, const struct cli_secret *what, const char **out)
{
    char *value = what->env != NULL ? getenv(what->env) : NULL;
    if (value == NULL)
        return;
    *out = keep(run, str_c(value));
    secret_wipe(value, strlen(value)); /* root and this user could read it in /proc as long as the process runs */
}

enum cli_exit cli_secret(struct cli_run *run, const struct cli_secret *what, const char *given, const char **out)
{
    const char *file = what->file_option != NULL ? cli_value(run, what->file_option) : NULL;
    *out = NULL;
    if (given != NULL && file != NULL)
        return cli_usage(run, "give either the key or --%s, not both", what->file_option);
    if (given != NULL && strcmp(given, "-") == 0)
        return from_input(run, what, out);
    if (file != NULL)
        return from_file(run, file, out);
    *out = given;
    if (given == NULL)
        from_environment(run, what, out);
    else if (cli_key_in(given) != NULL && !str_ends(str_c(given), STR("***")))
        fprintf(
            run->err,
            "warning: until now everyone on this machine could read the key in the list of processes, and the shell "
            "keeps it in "
            "its history: better give it %s\n",
            what->better);
    return CLI_EXIT_OK;
}
