/* Certificates and keys from PEM. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "tls/tls_internal.h"

enum { MAX_FILE_BYTES = 1024 * 1024 };

const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text != NULL ? text : "unknown reason";
}

static enum rc errno_rc(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return RC_NOT_FOUND;
    case EACCES:
    case EPERM: return RC_DENIED;
    default: return RC_IO;
    }
}

enum rc pem_read_file(const char *path, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno_rc(errno), "cannot open %s: %s", path, strerror(errno));
    enum rc rc = RC_OK;
    ssize_t n = 1;
    while (rc == RC_OK && n > 0) {
        uint8_t *at = buf_reserve(out, 16 * 1024);
        n = read(fd, at, 16 * 1024);
        if (n > 0)
            buf_commit(out, (size_t)n);
        if (n < 0)
            rc = err_set(err, errno_rc(errno), "cannot read %s: %s", path, strerror(errno));
        else if (buf_len(out) > MAX_FILE_BYTES)
            rc = err_set(err, RC_TOO_LARGE, "%s is too large for a certificate or key", path);
    }
    close(fd);
    return rc;
}

enum rc pem_parse_chain(struct str pem, X509 **leaf_out, STACK_OF(X509) * *rest_out)
{
    *leaf_out = NULL;
    *rest_out = NULL;
    if (pem.len == 0 || pem.len > MAX_FILE_BYTES)
        return RC_INVALID;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    STACK_OF(X509) *rest = sk_X509_new_null();
    X509 *leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    X509 *cert = leaf;
    while (cert != NULL) {
        cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (cert != NULL)
            sk_X509_push(rest, cert);
    }
    BIO_free(bio);
    /* "No more PEM blocks" is how a chain ends. Anything else is a broken block, which must not be passed over. */
    unsigned long code = ERR_peek_last_error();
    bool is_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (leaf == NULL || !is_end) {
        X509_free(leaf);
        sk_X509_pop_free(rest, X509_free);
        return RC_INVALID;
    }
    ERR_clear_error();
    *leaf_out = leaf;
    *rest_out = rest;
    return RC_OK;
}

static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)user;
    return -1;
}

enum rc pem_parse_key(struct str pem, EVP_PKEY **out)
{
    *out = NULL;
    if (pem.len == 0 || pem.len > MAX_FILE_BYTES)
        return RC_INVALID;
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    *out = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    return *out != NULL ? RC_OK : RC_INVALID;
}

void cert_fingerprint(const X509 *cert, char out[TLS_FINGERPRINT_CAP])
{
    uint8_t digest[32] = {0};
    uint8_t *der = NULL;
    int n = i2d_X509(cert, &der);
    if (n > 0)
        sha256(der, (size_t)n, digest);
    OPENSSL_free(der);
    hex_encode(digest, sizeof(digest), out);
    out[2 * sizeof(digest)] = '\0';
}
