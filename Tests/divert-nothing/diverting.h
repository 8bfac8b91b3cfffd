// What the ways to user space have in common.
#pragma once
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

// One thread's keys.
struct cipher {
    EVP_CIPHER_CTX *seal, *open;
    uint64_t nonce;
    uint8_t *scratch;
};

extern bool accept_only, with_cipher;

void fail(const char *what);

void prepare_cipher(struct cipher *cipher);
// Where the TCP header of an IP packet begins, 0 if this is none we understand; the addresses' part of the pseudo header in `sum`.
uint32_t transport(const uint8_t *ip, uint32_t length, uint64_t *sum);
uint64_t add_words(uint64_t sum, const uint8_t *bytes, uint64_t length);
// The work of a tcpcrypt daemon on the payload, frame by frame. What comes out is thrown away: the other end need know nothing.
void encrypt_or_decrypt(struct cipher *cipher, const uint8_t *ip, uint32_t length, bool inbound);

// Start threads and return.
void serve_queues(const uint16_t *queues, int count);
void serve_tunnel(const char *tunnel, const char *device, const char *peer, int workers);
