// tcpcrypt-load: the two ends of a benchmark. Prints one line of `name=number` words.
#include "load.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void fail(const char *what) {
    perror(what);
    exit(1);
}

static int usage(FILE *stream, int status) {
    fputs("usage: tcpcrypt-load MODE [OPTION...]\n\n"
          "  serve     answers every byte with one; receives what `bulk` sends. Says `ready`.\n"
          "  connect   connections one after the other in each thread: rate=, errors=, resumed=, joined=\n"
          "  latency   connect() to the first byte of the answer: median=, p95= (milliseconds)\n"
          "  hold      opens connections and keeps them until a signal ends it. Says `open`.\n"
          "  bulk      sends for a time: gbits= and bytes= as the receiver counted them\n"
          "  download  the same from a web server\n\n"
          "  --address A      IPv4 address (of the server; `serve` takes all)\n"
          "  --addresses N    so many addresses from there on, in turn (1)\n"
          "  --port P         port (7100)\n"
          "  --ports N        so many ports from there on, in turn (1)\n"
          "  --mptcp          MPTCP sockets\n"
          "  --threads N      (8)\n"
          "  --count N        connections of latency and hold (100)\n"
          "  --gap MS         between connections of latency (5)\n"
          "  --flows N        of bulk and download (1)\n"
          "  --seconds S      how long (2)\n"
          "  --warm-up S      not measured, of bulk and download (0.5)\n"
          "  --http PATH      ask a web server for that\n"
          "  --tls            over TLS 1.3, AES-128-GCM\n"
          "  --resume         resume the TLS session of the visit before\n"
          "  --join           wait until a second subflow is there\n",
        stream);
    return status;
}

static bool read_option(struct options *options, const char *name, const char *value) {
    struct in_addr address;
    double number = strtod(value, NULL);
    if (strcmp(name, "--http") == 0) return options->path = value, true;
    if (strcmp(name, "--address") == 0) {
        if (inet_pton(AF_INET, value, &address) != 1) return false;
        options->address = ntohl(address.s_addr);
        return true;
    }
    if (number < 0) return false;
    if (strcmp(name, "--seconds") == 0) return options->seconds = number, true;
    if (strcmp(name, "--warm-up") == 0) return options->warm_up = number, true;
    const struct { const char *name; unsigned *place; } numbers[] = {
        {"--addresses", &options->addresses}, {"--port", &options->first_port}, {"--ports", &options->ports},
        {"--threads", &options->threads}, {"--count", &options->count}, {"--gap", &options->gap}, {"--flows", &options->flows},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) == 0) return *numbers[i].place = (unsigned)number, number >= 1 || numbers[i].place == &options->gap;
    }
    return false;
}

int main(int count, char **words) {
    struct options options = {.addresses = 1, .first_port = 7100, .ports = 1, .threads = 8, .count = 100, .gap = 5, .flows = 1,
        .seconds = 2, .warm_up = 0.5, .mode = count > 1 ? words[1] : ""};
    if (strcmp(options.mode, "--help") == 0) return usage(stdout, 0);
    for (int i = 2; i < count; i++) {
        const struct { const char *name; bool *place; } flags[] = {
            {"--mptcp", &options.mptcp}, {"--tls", &options.tls}, {"--resume", &options.resume}, {"--join", &options.join}};
        bool known = false;
        for (size_t j = 0; j < sizeof flags / sizeof *flags; j++) {
            if (strcmp(words[i], flags[j].name) == 0) known = *flags[j].place = true;
        }
        if (!known && (i + 1 >= count || !read_option(&options, words[i], words[i + 1]))) return usage(stderr, 64);
        i += !known;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    const struct { const char *mode; int (*run)(const struct options *); } modes[] = {
        {"serve", run_server}, {"connect", run_connections}, {"latency", run_latency}, {"hold", run_hold}, {"bulk", run_bulk},
        {"download", run_download}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(options.mode, modes[i].mode) == 0) return modes[i].run(&options);
    }
    return usage(stderr, 64);
}
