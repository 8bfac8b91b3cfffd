// What the parts of tcpcrypt-load share.
#pragma once
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

// Mirrors of what the command line says.
struct options {
    const char *mode;
    uint32_t address;  // host order, the first of `addresses`
    unsigned addresses;
    unsigned first_port, ports;
    unsigned threads, count, gap, flows;
    double seconds, warm_up;
    bool mptcp, tls, resume, join;
    const char *path;  // of HTTP; without it one byte is asked for and answered
};

// What a bulk connection says first, and what it is answered.
struct bulk_request {
    char letter;  // 'B'
    char unused[3];
    uint32_t warm_up;  // milliseconds
    uint32_t duration;
};
struct bulk_result {
    uint64_t bytes;        // in the time measured
    uint64_t nanoseconds;  // that time
    uint64_t all;          // warm-up and what came later included
};

int64_t now(void);
_Noreturn void fail(const char *what);

int run_server(const struct options *options);
int run_connections(const struct options *options);
int run_latency(const struct options *options);
int run_hold(const struct options *options);
int run_bulk(const struct options *options);
int run_download(const struct options *options);

// One visit: connect, ask, first byte of the answer, close.
struct visitor {
    const struct options *options;
    SSL_CTX *context;
    SSL_SESSION *session;
    uint64_t turn;
    int64_t first_byte;  // nanoseconds from connect() to it
    bool was_resumed;
    bool has_joined;
};
void visitor_begin(struct visitor *visitor, const struct options *options, unsigned number);
bool visit(struct visitor *visitor);
void visitor_end(struct visitor *visitor);

// A connected socket for turn number `turn`; negative when there is none.
int dial(const struct options *options, uint64_t turn);
SSL *wrap(struct visitor *visitor, int descriptor);
bool write_all(int descriptor, SSL *tls, const void *bytes, size_t length);
