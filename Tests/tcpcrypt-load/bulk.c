// The asking end of long transfers: one thread for each flow.
#define _GNU_SOURCE
#include "load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

struct flow {
    const struct options *options;
    unsigned number;
    struct bulk_result result;
};

static void *send_bulk(void *argument) {
    struct flow *flow = argument;
    const struct options *options = flow->options;
    struct bulk_request request = {.letter = 'B', .warm_up = (uint32_t)(options->warm_up * 1000), .duration = (uint32_t)(options->seconds * 1000)};
    struct bulk_result result;
    char *memory = calloc(1, CHUNK);
    int descriptor = dial(options, flow->number);
    if (memory && descriptor >= 0 && write_all(descriptor, NULL, &request, sizeof request)) {
        while (send(descriptor, memory, CHUNK, 0) > 0) {
            // The receiver says when it is over.
            if (recv(descriptor, &result, sizeof result, MSG_DONTWAIT | MSG_PEEK) != sizeof result) continue;
            flow->result = result;
            break;
        }
    }
    if (descriptor >= 0) close(descriptor);
    free(memory);
    return NULL;
}

static void *fetch(void *argument) {
    struct flow *flow = argument;
    const struct options *options = flow->options;
    int64_t began = now() + (int64_t)(options->warm_up * 1e9), end = began + (int64_t)(options->seconds * 1e9), time = 0;
    char *memory = malloc(CHUNK), request[1024];
    struct visitor visitor;
    visitor_begin(&visitor, options, flow->number);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", options->path ? options->path : "/");
    bool failed = !memory;
    while (!failed && time < end) {
        int descriptor = dial(options, flow->number);
        SSL *tls = NULL;
        failed = descriptor < 0 || (options->tls && !(tls = wrap(&visitor, descriptor))) || !write_all(descriptor, tls, request, (size_t)length);
        while (!failed && time < end) {
            ssize_t count = tls ? SSL_read(tls, memory, CHUNK) : recv(descriptor, memory, CHUNK, 0);
            if (count <= 0) break;
            flow->result.all += (uint64_t)count;
            if ((time = now()) < began) continue;
            if (flow->result.nanoseconds == 0) began = time;
            else flow->result.bytes += (uint64_t)count;
            flow->result.nanoseconds = (uint64_t)(time - began) + 1;
        }
        // A server that answers nothing would be asked for ever.
        failed = failed || flow->result.all == 0;
        if (tls) SSL_free(tls);
        if (descriptor >= 0) close(descriptor);
    }
    visitor_end(&visitor);
    free(memory);
    return NULL;
}

static int run_flows(const struct options *options, void *(*body)(void *)) {
    unsigned failed = 0;
    double bits = 0, bytes = 0;
    pthread_t *ids = calloc(options->flows, sizeof *ids);
    struct flow *flows = calloc(options->flows, sizeof *flows);
    if (!ids || !flows) fail("memory");
    for (unsigned i = 0; i < options->flows; i++) {
        flows[i] = (struct flow){.options = options, .number = i};
        if (pthread_create(&ids[i], NULL, body, &flows[i]) != 0) fail("thread");
    }
    for (unsigned i = 0; i < options->flows; i++) {
        pthread_join(ids[i], NULL);
        failed += flows[i].result.bytes == 0;
        bytes += (double)flows[i].result.all;
        if (flows[i].result.nanoseconds > 0) bits += (double)flows[i].result.bytes * 8e9 / (double)flows[i].result.nanoseconds;
    }
    printf("gbits=%.4f bytes=%.0f failed=%u\n", bits / 1e9, bytes, failed);
    return failed == options->flows;
}

int run_bulk(const struct options *options) { return run_flows(options, send_bulk); }
int run_download(const struct options *options) { return run_flows(options, fetch); }
