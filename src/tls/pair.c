/* Checks a certificate and its key before they are used. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/addr.h"
#include "tls/tls_internal.h"

/* Clients ignore a subject without alternative names. src: Go 1.17 crypto/x509 */
static bool is_for(X509 *cert, const char *host)
{
    struct addr ip;
    if (addr_parse_ip(str_c(host), &ip) == RC_OK)
        return X509_check_ip_asc(cert, host, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT) == 1;
    return X509_check_host(cert, host, strlen(host), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

static void append(struct tls_pair *out, const char *text, size_t len)
{
    size_t used = strlen(out->names);
    snprintf(out->names + used, sizeof(out->names) - used, "%s%.*s", used > 0 ? ", " : "", (int)len, text);
}

static void append_ip(struct tls_pair *out, const ASN1_OCTET_STRING *ip)
{
    char text[ADDR_TEXT_CAP];
    struct addr a = {.family = ASN1_STRING_length(ip) == 4 ? 4 : 6};
    if (ASN1_STRING_length(ip) != 4 && ASN1_STRING_length(ip) != 16)
        return;
    memcpy(a.ip, ASN1_STRING_get0_data(ip), (size_t)ASN1_STRING_length(ip));
    addr_format(&a, false, text);
    append(out, text, strlen(text));
}

static void list_names(X509 *cert, struct tls_pair *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            append(out, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                   (size_t)ASN1_STRING_length(name->d.dNSName));
        else if (name->type == GEN_IPADD)
            append_ip(out, name->d.iPAddress);
    }
    GENERAL_NAMES_free(names);
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static enum rc describe(struct str pem, const char *host, struct tls_pair *out)
{
    X509 *leaf;
    STACK_OF(X509) * rest;
    TRY(pem_parse_chain(pem, &leaf, &rest));
    out->is_for_host = is_for(leaf, host);
    list_names(leaf, out);
    out->begins_s = seconds_of(X509_get0_notBefore(leaf));
    out->ends_s = seconds_of(X509_get0_notAfter(leaf));
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    ERR_clear_error();
    return RC_OK;
}

enum rc tls_pair_look(const char *cert_file, const char *key_file, const char *host, struct tls_pair *out,
                      struct err *err)
{
    struct tls_server_opts opts = {.cert_file = cert_file, .key_file = key_file};
    struct tls_server *t;
    struct buf pem = {0};
    *out = (struct tls_pair){0};
    TRY(tls_server_create(&opts, &t, err));
    tls_server_destroy(&t);
    enum rc rc = pem_read_file(cert_file, &pem, err);
    if (rc == RC_OK)
        rc = describe(buf_str(&pem), host, out);
    buf_fini(&pem);
    return rc;
}
