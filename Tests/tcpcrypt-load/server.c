// The answering end: a few threads that share their listening sockets; a bulk connection gets a thread of its own.
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, BULK_READ = 256 * 1024, LISTENERS = 64 };

static int listeners[LISTENERS];
static unsigned listener_count;

static int listen_on(unsigned port, bool mptcp) {
    int one = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, mptcp ? IPPROTO_MPTCP : 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (descriptor < 0) fail("socket");
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0 || listen(descriptor, 4096) < 0) fail("listen");
    return descriptor;
}

// Counts what arrives in the time asked for, says so, and takes the rest.
static void *receive_bulk(void *argument) {
    int descriptor = (int)(intptr_t)argument;
    char *memory = malloc(BULK_READ);
    struct bulk_request request;
    struct bulk_result result = {0};
    ssize_t count;
    fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
    if (memory && recv(descriptor, &request, sizeof request, MSG_WAITALL) == sizeof request) {
        int64_t began = now() + (int64_t)request.warm_up * 1000000, end = began + (int64_t)request.duration * 1000000, time;
        bool said = false;
        while ((count = recv(descriptor, memory, BULK_READ, 0)) > 0) {
            result.all += (uint64_t)count;
            if (said || (time = now()) < began) continue;
            if (result.nanoseconds == 0) began = time;
            else result.bytes += (uint64_t)count;
            result.nanoseconds = (uint64_t)(time - began) + 1;
            if (time < end) continue;
            said = send(descriptor, &result, sizeof result, 0) == sizeof result;
        }
    }
    free(memory);
    close(descriptor);
    return NULL;
}

static void answer(int epoll, int descriptor) {
    char input[256], output[256];
    ssize_t count = recv(descriptor, input, sizeof input, MSG_PEEK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count > 0 && input[0] == 'B') {
        pthread_t thread;
        epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL);
        if (pthread_create(&thread, NULL, receive_bulk, (void *)(intptr_t)descriptor) == 0) pthread_detach(thread);
        else close(descriptor);
        return;
    }
    if (count > 0) count = recv(descriptor, input, (size_t)count, 0);
    memset(output, '!', sizeof output);
    if (count <= 0 || send(descriptor, output, (size_t)count, 0) != count) close(descriptor);
}

static void take(int epoll, int listener) {
    int descriptor, one = 1;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
    }
}

static void *serve(void *unused) {
    (void)unused;
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];
    for (unsigned i = 0; i < listener_count; i++) {
        // Listeners are known by the sign.
        struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.fd = -1 - listeners[i]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &event);
    }
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            if (descriptor < 0) take(epoll, -1 - descriptor);
            else answer(epoll, descriptor);
        }
    }
    return NULL;
}

int run_server(const struct options *options) {
    pthread_t thread;
    for (unsigned i = 0; i < options->ports && i < LISTENERS; i++) {
        listeners[listener_count++] = listen_on(options->first_port + i, options->mptcp);
    }
    for (unsigned i = 1; i < options->threads; i++) {
        if (pthread_create(&thread, NULL, serve, NULL) != 0) fail("thread");
    }
    puts("ready");
    fflush(stdout);
    serve(NULL);
    return 0;
}
