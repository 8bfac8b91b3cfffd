// The asking end, connection by connection.
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <linux/mptcp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_MPTCP
#define SOL_MPTCP 284
#endif

int dial(const struct options *options, uint64_t turn) {
    int one = 1, descriptor = socket(AF_INET, SOCK_STREAM, options->mptcp ? IPPROTO_MPTCP : 0);
    struct timeval limit = {.tv_sec = 10};
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)(options->first_port + turn % options->ports)),
        .sin_addr.s_addr = htonl(options->address + (uint32_t)(turn / options->ports % options->addresses)),
    };
    if (descriptor < 0) return -1;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0) return descriptor;
    close(descriptor);
    return -1;
}

SSL *wrap(struct visitor *visitor, int descriptor) {
    SSL *tls = SSL_new(visitor->context);
    if (!tls) return NULL;
    SSL_set_fd(tls, descriptor);
    SSL_set_quiet_shutdown(tls, 1);
    if (visitor->session) SSL_set_session(tls, visitor->session);
    if (SSL_connect(tls) == 1) return tls;
    SSL_free(tls);
    return NULL;
}

bool write_all(int descriptor, SSL *tls, const void *bytes, size_t length) {
    if (tls) return SSL_write(tls, bytes, (int)length) == (int)length;
    return send(descriptor, bytes, length, 0) == (ssize_t)length;
}

static ssize_t read_some(int descriptor, SSL *tls, void *bytes, size_t length) {
    return tls ? SSL_read(tls, bytes, (int)length) : recv(descriptor, bytes, length, 0);
}

// The whole answer: one byte, or what HTTP's Content-Length says.
static bool ask(struct visitor *visitor, int descriptor, SSL *tls, int64_t began) {
    char text[16384], *head, *length;
    const char *path = visitor->options->path;
    size_t filled = 1, got = 0, wanted = 1;
    text[0] = '?';
    if (path) filled = (size_t)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: b\r\n\r\n", path);
    if (!write_all(descriptor, tls, text, filled)) return false;
    if (path) wanted = 0;
    do {
        // Of a long answer only the head is kept.
        size_t place = wanted > 0 && got > sizeof text / 2 ? sizeof text / 2 : got;
        ssize_t count = read_some(descriptor, tls, text + place, sizeof text - 1 - place);
        if (count <= 0) return false;
        if (got == 0) visitor->first_byte = now() - began;
        got += (size_t)count;
        if (wanted > 0) continue;
        text[got] = '\0';
        head = strstr(text, "\r\n\r\n");
        if (!head) continue;
        if (strncmp(text, "HTTP/1.1 20", 11) != 0) return false;
        length = strcasestr(text, "content-length:");
        wanted = (size_t)(head + 4 - text) + (length && length < head ? strtoul(length + 15, NULL, 10) : 0);
    } while (wanted == 0 || got < wanted);
    return true;
}

static bool wait_for_join(int descriptor) {
    struct { struct mptcp_subflow_data head; struct tcp_info flows[4]; } data;
    for (int64_t end = now() + 1000000000; now() < end;) {
        socklen_t size = sizeof data;
        memset(&data, 0, sizeof data);
        data.head.size_subflow_data = sizeof data.head;
        data.head.size_user = sizeof data.flows[0];
        if (getsockopt(descriptor, SOL_MPTCP, MPTCP_TCPINFO, &data, &size) < 0) return false;
        if (data.head.num_subflows > 1 && data.flows[1].tcpi_state == TCP_ESTABLISHED) return true;
        usleep(200);
    }
    return false;
}

void visitor_begin(struct visitor *visitor, const struct options *options, unsigned number) {
    // Threads begin at different addresses.
    *visitor = (struct visitor){.options = options, .turn = (uint64_t)number * 7};
    if (!options->tls) return;
    visitor->context = SSL_CTX_new(TLS_client_method());
    if (!visitor->context) fail("TLS");
    SSL_CTX_set_min_proto_version(visitor->context, TLS1_3_VERSION);
    // Else every record is two system calls.
    SSL_CTX_set_read_ahead(visitor->context, 1);
    SSL_CTX_set_default_read_buffer_len(visitor->context, 1 << 17);
    SSL_CTX_set_ciphersuites(visitor->context, "TLS_AES_128_GCM_SHA256");
}

bool visit(struct visitor *visitor) {
    int64_t began = now();
    SSL *tls = NULL;
    int descriptor = dial(visitor->options, visitor->turn++);
    visitor->was_resumed = visitor->has_joined = false;
    if (descriptor < 0) return false;
    bool good = !visitor->options->tls || (tls = wrap(visitor, descriptor));
    good = good && ask(visitor, descriptor, tls, began);
    if (good && visitor->options->join) visitor->has_joined = wait_for_join(descriptor);
    if (tls) {
        visitor->was_resumed = SSL_session_reused(tls);
        if (good && visitor->options->resume) {
            if (visitor->session) SSL_SESSION_free(visitor->session);
            visitor->session = SSL_get1_session(tls);
        }
        // Says nothing to the peer; a session that did not end like this would not be resumed.
        SSL_shutdown(tls);
        SSL_free(tls);
    }
    close(descriptor);
    return good;
}

void visitor_end(struct visitor *visitor) {
    if (visitor->session) SSL_SESSION_free(visitor->session);
    if (visitor->context) SSL_CTX_free(visitor->context);
}

// MARK: connections per second

struct crew {
    const struct options *options;
    unsigned number;
    uint64_t visits, errors, resumed, joined;
};

static atomic_bool is_over;

static void *keep_visiting(void *argument) {
    struct crew *crew = argument;
    struct visitor visitor;
    visitor_begin(&visitor, crew->options, crew->number);
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        bool good = visit(&visitor);
        crew->visits += good;
        crew->errors += !good;
        crew->resumed += visitor.was_resumed;
        crew->joined += visitor.has_joined;
    }
    visitor_end(&visitor);
    return NULL;
}

int run_connections(const struct options *options) {
    unsigned threads = options->threads;
    pthread_t *ids = calloc(threads, sizeof *ids);
    struct crew *crews = calloc(threads, sizeof *crews), sum = {0};
    if (!ids || !crews) fail("memory");
    int64_t began = now();
    for (unsigned i = 0; i < threads; i++) {
        crews[i] = (struct crew){.options = options, .number = i};
        if (pthread_create(&ids[i], NULL, keep_visiting, &crews[i]) != 0) fail("thread");
    }
    usleep((useconds_t)(options->seconds * 1e6));
    atomic_store(&is_over, true);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum.visits += crews[i].visits;
        sum.errors += crews[i].errors;
        sum.resumed += crews[i].resumed;
        sum.joined += crews[i].joined;
    }
    double seconds = (double)(now() - began) / 1e9;
    printf("rate=%.1f errors=%lu resumed=%lu joined=%lu visits=%lu seconds=%.3f\n", (double)sum.visits / seconds, sum.errors, sum.resumed,
        sum.joined, sum.visits, seconds);
    return 0;
}

// MARK: latency

static int ascending(const void *left, const void *right) {
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

int run_latency(const struct options *options) {
    struct visitor visitor;
    unsigned count = 0, errors = 0, resumed = 0;
    int64_t *taken = calloc(options->count, sizeof *taken);
    if (!taken) fail("memory");
    visitor_begin(&visitor, options, 0);
    // The first one of each address fills caches and makes the session to resume.
    for (unsigned i = 0; i < options->addresses * options->ports; i++) visit(&visitor);
    for (unsigned i = 0; i < options->count; i++) {
        usleep(options->gap * 1000);
        if (visit(&visitor)) taken[count++] = visitor.first_byte;
        else errors++;
        resumed += visitor.was_resumed;
    }
    visitor_end(&visitor);
    if (count == 0) return fputs("no connection\n", stderr), 1;
    qsort(taken, count, sizeof *taken, ascending);
    printf("median=%.4f p95=%.4f least=%.4f errors=%u resumed=%u\n", (double)taken[count / 2] / 1e6, (double)taken[count * 95 / 100] / 1e6,
        (double)taken[0] / 1e6, errors, resumed);
    return 0;
}

// MARK: many open connections

int run_hold(const struct options *options) {
    unsigned errors = 0;
    char byte = '?';
    for (unsigned i = 0; i < options->count; i++) {
        int descriptor = dial(options, i);
        if (descriptor < 0 || send(descriptor, &byte, 1, 0) != 1 || recv(descriptor, &byte, 1, 0) != 1) errors++;
        byte = '?';
    }
    printf("open errors=%u\n", errors);
    fflush(stdout);
    for (;;) pause();
}
