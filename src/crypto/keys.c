#include "crypto/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/crypto.h"

LOG_MODULE("keys");

#define PREFIX_MACHINE STR("mkey:")
#define PREFIX_NODE STR("nodekey:")
#define PREFIX_DISCO STR("discokey:")
#define PREFIX_NL STR("nlpub:")
#define PREFIX_NL_CLI STR("tlpub:")
#define PREFIX_CHALLENGE STR("chalpub:")
#define PREFIX_PRIVATE STR("privkey:")

/* --- text forms --- */

static void format(struct str prefix, const uint8_t k[KEY_BYTES], char out[KEY_TEXT_CAP])
{
    memcpy(out, prefix.p, prefix.len);
    hex_encode(k, KEY_BYTES, out + prefix.len);
    out[prefix.len + 2 * KEY_BYTES] = '\0';
}

void machine_key_format(const machine_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_MACHINE, k->b, out);
}

void node_key_format(const node_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_NODE, k->b, out);
}

void disco_key_format(const disco_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_DISCO, k->b, out);
}

void nl_key_format(const nl_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_NL, k->b, out);
}

void challenge_key_format(const challenge_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_CHALLENGE, k->b, out);
}

void private_key_format(const private_key *k, char out[KEY_TEXT_CAP])
{
    format(PREFIX_PRIVATE, k->b, out);
}

static enum rc parse(struct str text, struct str prefix, uint8_t out[KEY_BYTES])
{
    if (!str_starts(text, prefix))
        return RC_INVALID;
    return hex_decode(str_n(text.p + prefix.len, text.len - prefix.len), out, KEY_BYTES);
}

enum rc machine_key_parse(struct str text, machine_key *out)
{
    return parse(text, PREFIX_MACHINE, out->b);
}

enum rc node_key_parse(struct str text, node_key *out)
{
    return parse(text, PREFIX_NODE, out->b);
}

enum rc disco_key_parse(struct str text, disco_key *out)
{
    return parse(text, PREFIX_DISCO, out->b);
}

enum rc nl_key_parse(struct str text, nl_key *out)
{
    if (str_starts(text, PREFIX_NL_CLI))
        return parse(text, PREFIX_NL_CLI, out->b);
    return parse(text, PREFIX_NL, out->b);
}

enum rc private_key_parse(struct str text, private_key *out)
{
    return parse(text, PREFIX_PRIVATE, out->b);
}

static void format_short(const uint8_t k[KEY_BYTES], char out[KEY_SHORT_CAP])
{
    char base64[BASE64_CAP(4)];
    base64_encode(k, 4, base64);
    snprintf(out, KEY_SHORT_CAP, "[%.5s]", base64);
}

void machine_key_short(const machine_key *k, char out[KEY_SHORT_CAP])
{
    format_short(k->b, out);
}

void node_key_short(const node_key *k, char out[KEY_SHORT_CAP])
{
    format_short(k->b, out);
}

void disco_key_short(const disco_key *k, char out[KEY_SHORT_CAP])
{
    memcpy(out, "d:", 2);
    hex_encode(k->b, 8, out + 2);
    out[2 + 16] = '\0';
}

/* --- values --- */

bool keys_equal(const uint8_t a[KEY_BYTES], const uint8_t b[KEY_BYTES])
{
    return memcmp(a, b, KEY_BYTES) == 0;
}

bool key_is_zero(const uint8_t k[KEY_BYTES])
{
    static const uint8_t zero[KEY_BYTES];
    return memcmp(k, zero, KEY_BYTES) == 0;
}

/* src: RFC 7748 5 */
void private_key_from_bytes(const uint8_t random[KEY_BYTES], private_key *out)
{
    memcpy(out->b, random, KEY_BYTES);
    out->b[0] &= 0xf8;
    out->b[31] &= 0x7f;
    out->b[31] |= 0x40;
}

void private_key_public(const private_key *k, uint8_t out[KEY_BYTES])
{
    crypto_scalarmult_curve25519_base(out, k->b);
}

/* --- the key file --- */

enum { FILE_MAX_BYTES = 256 }; /* a key, and the white space that an editor may leave */

static enum rc io_error(struct err *err, const char *what, const char *path)
{
    return err_set(err, RC_IO, "%s key file %s: %s", what, path, strerror(errno));
}

static enum rc read_all(int fd, char *out, size_t cap, size_t *out_len)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t n = read(fd, out + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return RC_IO;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *out_len = len;
    return RC_OK;
}

static enum rc write_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return RC_IO;
        p += n;
        len -= (size_t)n;
    }
    return RC_OK;
}

/* RC_NOT_FOUND when there is no file. */
static enum rc load(const char *path, private_key *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return RC_NOT_FOUND;
    if (fd < 0)
        return io_error(err, "cannot open", path);
    char text[FILE_MAX_BYTES];
    size_t len = 0;
    enum rc rc = read_all(fd, text, sizeof(text), &len);
    if (rc != RC_OK)
        rc = io_error(err, "cannot read", path);
    else if (len == sizeof(text) || private_key_parse(str_trim(str_n(text, len)), out) != RC_OK || key_is_zero(out->b))
        rc = err_set(err, RC_INVALID, "%s holds no private key (\"privkey:\" and 64 hex digits)", path);
    secret_wipe(text, sizeof(text));
    close(fd);
    return rc;
}

static enum rc sync_directory_of(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    snprintf(dir, sizeof(dir), "%.*s", len, slash == NULL ? "." : path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return RC_IO;
    enum rc rc = fsync(fd) == 0 ? RC_OK : RC_IO;
    close(fd);
    return rc;
}

/* Gives the finished file its name, unless that is taken (EEXIST). */
static enum rc publish(const char *temporary, const char *path)
{
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return RC_OK;
    /* NFS and some others do not know the flag. */
    if ((errno == EINVAL || errno == ENOSYS) && link(temporary, path) == 0)
        return RC_OK;
    return errno == EEXIST ? RC_EXISTS : RC_IO;
}

static enum rc write_key(int fd, const private_key *k)
{
    char text[KEY_TEXT_CAP + 1];
    private_key_format(k, text);
    size_t len = strlen(text);
    text[len] = '\n';
    enum rc rc = write_all(fd, text, len + 1);
    if (rc == RC_OK && fsync(fd) != 0)
        rc = RC_IO;
    secret_wipe(text, sizeof(text));
    return rc;
}

/* Written aside and then named, so that a crash leaves the whole key or none, and of two processes that start together
 * one wins. RC_EXISTS for the other. */
static enum rc save(const char *path, const private_key *k, struct err *err)
{
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
        return err_set(err, RC_IO, "the path of the key file is too long");
    int fd = mkostemp(temporary, O_CLOEXEC); /* O_EXCL, mode 0600 */
    if (fd < 0)
        return io_error(err, "cannot create", path);
    enum rc rc = write_key(fd, k);
    if (rc == RC_OK)
        rc = publish(temporary, path);
    if (rc == RC_OK)
        rc = sync_directory_of(path);
    if (rc == RC_IO)
        io_error(err, "cannot write", path);
    close(fd);
    unlink(temporary); /* gone already if it was renamed */
    return rc;
}

enum rc private_key_check(const char *path, struct err *err)
{
    private_key key;
    enum rc rc = load(path, &key, err);
    secret_wipe(&key, sizeof(key));
    return rc;
}

/* Closes a key file that others may read, perhaps because it was copied or the umask was wrong. */
static enum rc close_to_others(const char *path, struct err *err)
{
    struct stat st;
    if (stat(path, &st) != 0 || (st.st_mode & 077) == 0)
        return RC_OK;
    if (st.st_uid != geteuid())
        return err_set(err, RC_DENIED, "key file %s may be read or changed by others: chmod 600 it", path);
    if (chmod(path, 0600) != 0)
        return io_error(err, "cannot close to others", path);
    log_warn("a key file was open to others on this machine and is closed to them now; whoever has read it has the key",
             LOG_S("file", path));
    return RC_OK;
}

enum rc private_key_load_or_create(const char *path, private_key *out, struct err *err)
{
    enum rc rc = load(path, out, err);
    if (rc == RC_OK)
        rc = close_to_others(path, err);
    if (rc != RC_OK && rc != RC_NOT_FOUND)
        secret_wipe(out, sizeof(*out));
    if (rc != RC_NOT_FOUND)
        return rc;
    uint8_t random[KEY_BYTES];
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, out);
    secret_wipe(random, sizeof(random));
    rc = save(path, out, err);
    if (rc == RC_EXISTS)
        rc = load(path, out, err);
    if (rc == RC_NOT_FOUND)
        rc = err_set(err, RC_IO, "key file %s comes and goes", path);
    if (rc != RC_OK)
        secret_wipe(out, sizeof(*out));
    return rc;
}
