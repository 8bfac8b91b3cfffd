// By a TUN device and a packet socket: super-packets with a virtio-net header, no checksum by us, one copy in and one out at each end.
#define _GNU_SOURCE
#include "diverting.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    HEAD = sizeof(struct virtio_net_hdr),
    LONGEST = 65536,
    IN_TURN = 8,  // packets from one side before the other has its turn
};

struct end {
    int tunnel, wire;
    struct cipher cipher;
    uint8_t *buffer;
    uint8_t own[ETH_ALEN], peer[ETH_ALEN];
};

static int open_tunnel(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE};
    int size = HEAD, descriptor = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (descriptor < 0) fail("/dev/net/tun");
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(descriptor, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
    if (ioctl(descriptor, TUNSETVNETHDRSZ, &size) < 0) fail("TUNSETVNETHDRSZ");
    if (ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) fail("TUNSETOFFLOAD");
    return descriptor;
}

static int open_wire(const char *device, bool shared, uint8_t *address) {
    int one = 1, room = 64 << 20;
    int fanout = (getpid() & 0xffff) | PACKET_FANOUT_HASH << 16;
    // Bound before it takes protocols in, so that it sees this device alone.
    int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
    struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(device)};
    socklen_t length = sizeof place;
    if (descriptor < 0) fail("packet socket");
    if (setsockopt(descriptor, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) < 0) fail("PACKET_VNET_HDR");
    if (setsockopt(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) < 0) fail("PACKET_IGNORE_OUTGOING");
    if (setsockopt(descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) < 0) fail("PACKET_QDISC_BYPASS");
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    if (bind(descriptor, (struct sockaddr *)&place, sizeof place) < 0) fail(device);
    if (shared && setsockopt(descriptor, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof fanout) < 0) fail("PACKET_FANOUT");
    if (getsockname(descriptor, (struct sockaddr *)&place, &length) < 0) fail("getsockname");
    memcpy(address, place.sll_addr, ETH_ALEN);
    return descriptor;
}

static void settle(int descriptor, const struct iovec *parts, int count) {
    struct pollfd room = {.fd = descriptor, .events = POLLOUT};
    // What does not fit is dropped, as on any link; a full buffer is waited for.
    while (writev(descriptor, parts, count) < 0 && (errno == EINTR || errno == EAGAIN)) {
        if (errno == EAGAIN) poll(&room, 1, 1);
    }
}

static bool leave(struct end *end) {
    ssize_t length = read(end->tunnel, end->buffer, HEAD + LONGEST);
    if (length <= HEAD) return false;
    uint8_t *ip = end->buffer + HEAD;
    struct virtio_net_hdr head;
    struct ethhdr frame = {.h_proto = htons(ip[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6)};
    memcpy(frame.h_dest, end->peer, ETH_ALEN);
    memcpy(frame.h_source, end->own, ETH_ALEN);
    memcpy(&head, end->buffer, HEAD);
    // Offsets count from the beginning of the frame there.
    if (head.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) head.csum_start += ETH_HLEN;
    if (head.gso_type != VIRTIO_NET_HDR_GSO_NONE) head.hdr_len += ETH_HLEN;
    if (with_cipher) encrypt_or_decrypt(&end->cipher, ip, (uint32_t)(length - HEAD), false);
    struct iovec parts[] = {{&head, HEAD}, {&frame, ETH_HLEN}, {ip, (size_t)(length - HEAD)}};
    settle(end->wire, parts, 3);
    return true;
}

static bool arrive(struct end *end) {
    ssize_t length = read(end->wire, end->buffer, HEAD + ETH_HLEN + LONGEST);
    if (length <= HEAD + ETH_HLEN) return length > 0;
    struct virtio_net_hdr head;
    struct ethhdr frame;
    memcpy(&head, end->buffer, HEAD);
    memcpy(&frame, end->buffer + HEAD, ETH_HLEN);
    uint8_t *ip = end->buffer + HEAD + ETH_HLEN;
    size_t count = (size_t)length - HEAD - ETH_HLEN;
    if (frame.h_proto != htons(ETH_P_IP) && frame.h_proto != htons(ETH_P_IPV6)) return true;
    if (head.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) head.csum_start -= ETH_HLEN;
    if (head.gso_type != VIRTIO_NET_HDR_GSO_NONE) head.hdr_len -= ETH_HLEN;
    if (with_cipher) encrypt_or_decrypt(&end->cipher, ip, (uint32_t)count, true);
    struct iovec parts[] = {{&head, HEAD}, {ip, count}};
    settle(end->tunnel, parts, 2);
    return true;
}

static void *serve(void *argument) {
    struct end *end = argument;
    struct pollfd waiting[2] = {{.fd = end->wire, .events = POLLIN}, {.fd = end->tunnel, .events = POLLIN}};
    for (;;) {
        bool more = true, came = true;
        while (more || came) {
            for (int i = 0; i < IN_TURN && (came = arrive(end)); i++) {}
            for (int i = 0; i < IN_TURN && (more = leave(end)); i++) {}
        }
        poll(waiting, 2, -1);
    }
    return NULL;
}

void serve_tunnel(const char *tunnel, const char *device, const char *peer, int workers) {
    struct end *ends = calloc((size_t)workers, sizeof *ends);
    unsigned bytes[ETH_ALEN];
    pthread_t thread;
    if (!ends) fail("start");
    if (sscanf(peer, "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5]) != ETH_ALEN) {
        errno = EINVAL;
        fail(peer);
    }
    for (int i = 0; i < workers; i++) {
        for (int k = 0; k < ETH_ALEN; k++) ends[i].peer[k] = (uint8_t)bytes[k];
        ends[i].tunnel = open_tunnel(tunnel);
        ends[i].wire = open_wire(device, workers > 1, ends[i].own);
        ends[i].buffer = malloc(HEAD + ETH_HLEN + LONGEST);
        if (!ends[i].buffer) fail("start");
        prepare_cipher(&ends[i].cipher);
    }
    for (int i = 0; i < workers; i++) {
        if (pthread_create(&thread, NULL, serve, &ends[i]) != 0) fail("thread");
    }
}
