// What is done with a packet, whichever way it came.
#include "diverting.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAME = 16384,
    TAG = 16,
};

void prepare_cipher(struct cipher *cipher) {
    static const uint8_t key[16] = "no secret at all";
    cipher->scratch = malloc(FRAME + TAG);
    cipher->seal = EVP_CIPHER_CTX_new();
    cipher->open = EVP_CIPHER_CTX_new();
    if (!cipher->scratch || !cipher->seal || !cipher->open) fail("start");
    EVP_EncryptInit_ex(cipher->seal, EVP_aes_128_gcm(), NULL, key, NULL);
    EVP_DecryptInit_ex(cipher->open, EVP_aes_128_gcm(), NULL, key, NULL);
}

uint64_t add_words(uint64_t sum, const uint8_t *bytes, uint64_t length) {
    uint64_t other = 0;
    for (; length >= 8; bytes += 8, length -= 8) {
        uint32_t words[2];
        memcpy(words, bytes, 8);
        sum += words[0];
        other += words[1];
    }
    sum += other;
    for (; length >= 2; bytes += 2, length -= 2) {
        uint16_t word;
        memcpy(&word, bytes, 2);
        sum += word;
    }
    if (length == 1) sum += bytes[0];
    return sum;
}

uint32_t transport(const uint8_t *ip, uint32_t length, uint64_t *sum) {
    if (length >= 40 && ip[0] >> 4 == 4 && ip[9] == IPPROTO_TCP) {
        *sum = add_words(0, ip + 12, 8);
        return (ip[0] & 15u) * 4;
    }
    if (length >= 60 && ip[0] >> 4 == 6 && ip[6] == IPPROTO_TCP) {
        *sum = add_words(0, ip + 8, 32);
        return 40;
    }
    return 0;
}

void encrypt_or_decrypt(struct cipher *cipher, const uint8_t *ip, uint32_t end, bool inbound) {
    uint64_t sum;
    uint32_t start = transport(ip, end, &sum);
    if (start == 0 || start + 20 > end) return;
    start += (ip[start + 12] >> 4) * 4u;
    EVP_CIPHER_CTX *context = inbound ? cipher->open : cipher->seal;
    for (uint32_t length; start < end; start += length) {
        length = end - start < FRAME ? end - start : FRAME;
        uint8_t nonce[12] = {0}, tag[TAG] = {0};
        int done = 0;
        cipher->nonce++;
        memcpy(nonce + 4, &cipher->nonce, 8);
        if (inbound) {
            // The tag is wrong, which costs as much to find out as that it is right.
            EVP_DecryptInit_ex(context, NULL, NULL, NULL, nonce);
            EVP_DecryptUpdate(context, cipher->scratch, &done, ip + start, (int)length);
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, tag);
            EVP_DecryptFinal_ex(context, cipher->scratch, &done);
        } else {
            EVP_EncryptInit_ex(context, NULL, NULL, NULL, nonce);
            EVP_EncryptUpdate(context, cipher->scratch, &done, ip + start, (int)length);
            EVP_EncryptFinal_ex(context, cipher->scratch, &done);
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, TAG, tag);
        }
    }
}
