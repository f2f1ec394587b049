#include "tls/selfsigned.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/addr.h"
#include "tls/tls_internal.h"

LOG_MODULE("tls");

enum {
    DAY_S = 24 * 3600,
    VALID_S = 365 * DAY_S,
    RENEW_BEFORE_S = 30 * DAY_S,
    BACKDATE_S = 3600, /* for peers whose clock is behind */
    CN_MAX = 64,       /* src: X.520 ub-common-name */
};

/* --- making one --- */

static bool is_host_name(struct str host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_';
        if (!ok)
            return false;
    }
    return host.len > 0 && host.len <= 253;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool set_serial(X509 *cert)
{
    uint8_t bytes[16];
    rng_bytes(bytes, sizeof(bytes));
    bytes[0] &= 0x7f; /* positive */
    bytes[0] |= 0x40; /* and never short */
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static bool set_names(X509 *cert, const char *host, bool is_ip)
{
    char san[300];
    snprintf(san, sizeof(san), "%s:%s", is_ip ? "IP" : "DNS", host);
    const char *cn = strlen(host) <= CN_MAX ? host : "fullscale";
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING, (const unsigned char *)cn, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && add_extension(cert, NID_subject_alt_name, san);
}

static X509 *sign(EVP_PKEY *key, const char *host, bool is_ip, int64_t now_s)
{
    X509 *cert = X509_new();
    bool ok = cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
              ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(now_s - BACKDATE_S)) != NULL &&
              ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(now_s + VALID_S)) != NULL &&
              X509_set_pubkey(cert, key) == 1 && set_names(cert, host, is_ip) &&
              add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(cert, NID_key_usage, "critical,digitalSignature") &&
              add_extension(cert, NID_ext_key_usage, "serverAuth") && X509_sign(cert, key, EVP_sha256()) > 0;
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

static bool append_bio(BIO *bio, struct buf *out)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    if (n <= 0)
        return false;
    buf_append(out, p, (size_t)n);
    OPENSSL_cleanse(p, (size_t)n);
    return true;
}

static bool write_pem(X509 *cert, EVP_PKEY *key, struct buf *cert_pem, struct buf *key_pem)
{
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_mem());
    bool ok = PEM_write_bio_X509(cert_bio, cert) == 1 &&
              PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
              append_bio(cert_bio, cert_pem) && append_bio(key_bio, key_pem);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    return ok;
}

enum rc selfsigned_make(const char *host, int64_t now_s, struct buf *cert_pem, struct buf *key_pem)
{
    struct addr ip;
    bool is_ip = addr_parse_ip(str_c(host), &ip) == RC_OK;
    if (!is_ip && !is_host_name(str_c(host)))
        return RC_INVALID;
    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key != NULL ? sign(key, host, is_ip, now_s) : NULL;
    bool ok = cert != NULL && write_pem(cert, key, cert_pem, key_pem);
    X509_free(cert);
    EVP_PKEY_free(key);
    if (!ok)
        ERR_clear_error();
    return ok ? RC_OK : RC_CRYPTO;
}

/* --- keeping one --- */

static bool is_for_host(X509 *cert, const char *host)
{
    struct addr ip;
    if (addr_parse_ip(str_c(host), &ip) == RC_OK)
        return X509_check_ip_asc(cert, host, 0) == 1;
    return X509_check_host(cert, host, strlen(host), 0, NULL) == 1;
}

static bool is_long_valid(const X509 *cert, int64_t now_s)
{
    time_t now = (time_t)now_s;
    time_t later = (time_t)(now_s + RENEW_BEFORE_S);
    return X509_cmp_time(X509_get0_notBefore(cert), &now) < 0 && X509_cmp_time(X509_get0_notAfter(cert), &later) > 0;
}

static bool is_usable(struct str cert_pem, struct str key_pem, const char *host, int64_t now_s,
                      char fingerprint[TLS_FINGERPRINT_CAP])
{
    X509 *cert;
    STACK_OF(X509) * rest;
    EVP_PKEY *key = NULL;
    if (pem_parse_chain(cert_pem, &cert, &rest) != RC_OK)
        return false;
    bool ok = pem_parse_key(key_pem, &key) == RC_OK && X509_check_private_key(cert, key) == 1 &&
              is_for_host(cert, host) && is_long_valid(cert, now_s);
    if (ok)
        cert_fingerprint(cert, fingerprint);
    EVP_PKEY_free(key);
    X509_free(cert);
    sk_X509_pop_free(rest, X509_free);
    ERR_clear_error();
    return ok;
}

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        OPENSSL_cleanse(b->data, b->cap);
    buf_fini(b);
}

/* RC_OK also when there are no files: then both are empty. */
static enum rc load_pair(const char *cert_path, const char *key_path, struct buf *cert, struct buf *key,
                         struct err *err)
{
    struct err local;
    struct err *why = err != NULL ? err : &local;
    enum rc rc = pem_read_file(cert_path, cert, why);
    if (rc == RC_OK)
        rc = pem_read_file(key_path, key, why);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc selfsigned_ensure(const char *cert_path, const char *key_path, const char *host, int64_t now_s,
                          char fingerprint[TLS_FINGERPRINT_CAP], bool *made_out, struct err *err)
{
    struct buf cert = {0};
    struct buf key = {0};
    enum rc rc = load_pair(cert_path, key_path, &cert, &key, err);
    bool is_good = rc == RC_OK && is_usable(buf_str(&cert), buf_str(&key), host, now_s, fingerprint);
    if (rc == RC_OK && made_out != NULL)
        *made_out = !is_good;
    if (rc == RC_OK && !is_good) {
        buf_clear(&cert);
        wipe(&key);
        rc = selfsigned_make(host, now_s, &cert, &key);
        if (rc != RC_OK)
            err_set(err, rc, "cannot make a certificate for \"%s\"", host);
        /* If only the first is saved, the pair does not fit together, and the next start makes another. */
        if (rc == RC_OK)
            rc = file_save(key_path, buf_str(&key), err);
        if (rc == RC_OK)
            rc = file_save(cert_path, buf_str(&cert), err);
        if (rc == RC_OK && !is_usable(buf_str(&cert), buf_str(&key), host, now_s, fingerprint))
            rc = err_set(err, RC_CRYPTO, "the certificate made for \"%s\" is not usable", host);
        if (rc == RC_OK)
            log_info("self-signed certificate made", LOG_S("host", host), LOG_S("file", cert_path),
                     LOG_S("sha256", fingerprint));
    }
    buf_fini(&cert);
    wipe(&key);
    return rc;
}
