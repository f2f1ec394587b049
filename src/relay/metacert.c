#include "relay/metacert.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/str.h"
#include "proto/derp.h"

enum { VALID_S = 30 * 24 * 3600 };

/* "derpkey" and 64 digits are longer than the 64 characters that X.520 allows a common name. OpenSSL checks that
 * only when it may choose the string type itself, so the type is given: the one that the reference has. */
static bool set_names(X509 *cert, const uint8_t server_public[32])
{
    char cn[7 + 2 * KEY_BYTES] = "derpkey";
    hex_encode(server_public, KEY_BYTES, cn + 7);
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_PRINTABLESTRING, (const uint8_t *)cn, sizeof(cn), -1, 0) ==
               1 &&
           X509_set_issuer_name(cert, name) == 1;
}

/* Apple's verifiers require the extension that says: this is not the certificate of an authority. */
static bool add_constraints(X509 *cert)
{
    BASIC_CONSTRAINTS *none = BASIC_CONSTRAINTS_new();
    bool ok = none != NULL && X509_add1_ext_i2d(cert, NID_basic_constraints, none, 1, X509V3_ADD_DEFAULT) == 1;
    BASIC_CONSTRAINTS_free(none);
    return ok;
}

static bool fill(X509 *cert, EVP_PKEY *key, const uint8_t server_public[32], int64_t now_s)
{
    return X509_set_version(cert, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(cert), DERP_VERSION) == 1 && set_names(cert, server_public) &&
           ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)(now_s - VALID_S)) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)(now_s + VALID_S)) != NULL &&
           X509_set_pubkey(cert, key) == 1 && add_constraints(cert) && X509_sign(cert, key, NULL) > 0;
}

enum rc metacert_build(const uint8_t server_public[32], const uint8_t seed[32], int64_t now_s,
                       uint8_t out[METACERT_CAP_BYTES], size_t *len_out)
{
    enum rc rc = RC_CRYPTO;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    X509 *cert = X509_new();
    if (key != NULL && cert != NULL && fill(cert, key, server_public, now_s)) {
        int len = i2d_X509(cert, NULL);
        if (len > 0 && len <= METACERT_CAP_BYTES) {
            uint8_t *p = out;
            *len_out = (size_t)i2d_X509(cert, &p);
            rc = RC_OK;
        }
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    return rc;
}
