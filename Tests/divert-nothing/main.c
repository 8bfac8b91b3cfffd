// divert-nothing: what it costs to take packets to user space and back before anything is done with them.
#define _GNU_SOURCE
#include "diverting.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool accept_only, with_cipher;

void fail(const char *what) {
    perror(what);
    exit(1);
}

static void usage(FILE *stream) {
    fputs("usage: divert-nothing [--accept-only] [--aes] QUEUE...\n"
          "       divert-nothing --tunnel [--aes] TUN DEVICE PEER WORKERS\n\n"
          "Answers every packet of the NFQUEUE queues of that number (one thread each) with a verdict that carries the packet's own\n"
          "bytes, checksum finished. Or makes a TUN device, and carries its packets to the Ethernet address PEER behind DEVICE (a packet\n"
          "socket) and back, super-packets as they are. Says `ready` on standard error; ends by SIGTERM.\n\n"
          "  --accept-only  verdicts without bytes\n"
          "  --aes          encrypts what leaves and decrypts what arrives with AES-128-GCM, and throws the result away\n",
        stream);
}

int main(int count, char **words) {
    uint16_t queues[64];
    const char *places[64];
    int found = 0;
    bool tunnel = false;
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--accept-only") == 0) accept_only = true;
        else if (strcmp(words[i], "--aes") == 0) with_cipher = true;
        else if (strcmp(words[i], "--tunnel") == 0) tunnel = true;
        else if (strcmp(words[i], "--help") == 0) return usage(stdout), 0;
        else if (found == 64) return usage(stderr), 64;
        else places[found++] = words[i];
    }
    if (found == 0 || (tunnel && found != 4)) return usage(stderr), 64;
    for (int i = tunnel ? 3 : 0; i < found; i++) {
        char *end;
        unsigned long number = strtoul(places[i], &end, 10);
        if (*places[i] == '\0' || *end != '\0' || number > (tunnel ? 64 : 65535)) return usage(stderr), 64;
        queues[i] = (uint16_t)number;
    }
    sigset_t set;
    int caught;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (tunnel) serve_tunnel(places[0], places[1], places[2], queues[3]);
    else serve_queues(queues, found);
    fputs("ready\n", stderr);
    sigwait(&set, &caught);
    return 0;
}
