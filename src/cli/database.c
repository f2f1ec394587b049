/* Commands that open the database themselves, while no server runs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/cli_internal.h"
#include "store/store.h"

enum { TAILNET = 1, DUMP_MAX_BYTES = 1 << 30 };

static struct store *open_store(struct cli_run *run)
{
    const struct store_options options = {.sqlite_path = run->cfg->database_sqlite_path,
                                          .wal_autocheckpoint_pages = run->cfg->database_sqlite_wal_autocheckpoint};
    struct store *s = NULL;
    struct err err = {0};
    enum rc quiet = log_set_level(NULL, LOG_WARN); /* that the schema was brought up to date is no news here */
    (void)quiet;
    if (store_open_sqlite(&options, &s, &err) == RC_OK)
        return s;
    cli_fail(run, CLI_EXIT_ERROR, "%s%s", err.text, err.code == RC_IN_USE ? "; stop the server first" : "");
    return NULL;
}

/* --- dump --- */

struct dump_target {
    struct cli_run *run;
    FILE *file; /* null: standard output */
};

static enum rc write_piece(void *ctx, struct str piece)
{
    struct dump_target *t = ctx;
    if (t->file != NULL)
        return fwrite(piece.p, 1, piece.len, t->file) == piece.len ? RC_OK : RC_IO;
    if (t->run->is_out_tty)
        fwrite(piece.p, 1, piece.len, t->run->out); /* escaped */
    else
        cli_sink_raw(&t->run->out_sink, piece);
    return ferror(t->run->out) ? RC_IO : RC_OK;
}

/* Readable by its owner only. Null: it has been said why. */
static FILE *make_file(struct cli_run *run, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL)
        cli_fail(run, CLI_EXIT_ERROR, "%s: %s", path, strerror(errno));
    if (file == NULL && fd >= 0)
        close(fd);
    return file;
}

static enum cli_exit dump_to(struct cli_run *run, struct store *s, const char *path)
{
    struct dump_target t = {.run = run};
    struct err err = {0};
    if (path != NULL && (t.file = make_file(run, path)) == NULL)
        return CLI_EXIT_ERROR;
    enum rc rc = store_dump(s, TAILNET, cli_flag(run, "secrets"), write_piece, &t, &err);
    bool is_kept = t.file == NULL || (fflush(t.file) == 0 && fsync(fileno(t.file)) == 0);
    is_kept = (t.file == NULL || fclose(t.file) == 0) && is_kept;
    if (rc != RC_OK || !is_kept)
        return cli_fail(run, CLI_EXIT_ERROR, "%s", rc != RC_OK ? err.text : "the dump cannot be written");
    if (path != NULL)
        cli_say(run, "Dumped %s to %s", run->cfg->database_sqlite_path, path);
    return CLI_EXIT_OK;
}

enum cli_exit cli_database_dump(struct cli_run *run)
{
    const char *path = cli_arg(run, 0);
    struct err err = {0};
    if (!cli_need_config(run, false))
        return CLI_EXIT_ERROR;
    if (store_check_sqlite(run->cfg->database_sqlite_path, &err) == RC_NOT_FOUND)
        return cli_fail(run, CLI_EXIT_ERROR, "there is no database %s", run->cfg->database_sqlite_path);
    struct store *s = open_store(run);
    if (s == NULL)
        return CLI_EXIT_ERROR;
    enum cli_exit status = dump_to(run, s, path != NULL && strcmp(path, "-") != 0 ? path : NULL);
    store_close(&s);
    return status;
}

/* --- import --- */

enum cli_exit cli_database_import(struct cli_run *run)
{
    const char *path = cli_arg(run, 0);
    struct buf dump = {0};
    struct err err = {0};
    if (!cli_need_config(run, false))
        return CLI_EXIT_ERROR;
    if (file_read(path, DUMP_MAX_BYTES, &dump, &err) != RC_OK)
        return cli_fail(run, CLI_EXIT_ERROR, "%s", err.text);
    struct store *s = open_store(run);
    enum rc rc = s != NULL ? store_import(s, TAILNET, buf_str(&dump), &err) : RC_STORE;
    buf_fini(&dump);
    if (s == NULL)
        return CLI_EXIT_ERROR;
    store_close(&s);
    if (rc != RC_OK && err.line > 0)
        return cli_fail(run, CLI_EXIT_ERROR, "%s:%d:%d: %s; nothing has been imported", path, err.line, err.col,
                        err.text);
    if (rc != RC_OK)
        return cli_fail(run, CLI_EXIT_ERROR, "%s; nothing has been imported", err.text);
    cli_say(run, "Imported %s into %s", path, run->cfg->database_sqlite_path);
    return CLI_EXIT_OK;
}
