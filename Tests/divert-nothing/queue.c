// By NFQUEUE: every packet comes to user space and goes back with a verdict that carries all its bytes. One thread and one socket for
// each queue; no state, no allocation for a packet.
#define _GNU_SOURCE
#include "diverting.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    LONGEST_PACKET = 65531,       // what a netlink attribute can hold
    RECEIVE_ROOM = 65536 + 4096,  // and the other attributes
    DATAGRAMS = 8,                // per system call
    COPY_LIMIT = 4096,            // shorter packets are collected into one message, longer ones are sent from where they are
    BATCH_ROOM = 64 * 1024,
};

struct packet {
    uint32_t id;
    uint8_t hook;
    uint32_t info;
    uint8_t *bytes;
    uint32_t length;
};

struct worker {
    uint16_t queue;
    struct mnl_socket *socket;
    int descriptor;
    struct cipher cipher;
    uint8_t *batch;
    size_t filled;
    uint8_t *input;
};

// MARK: netlink

static size_t put_verdict(uint8_t *memory, uint16_t queue, uint32_t id, uint32_t payload) {
    struct nlmsghdr *header = mnl_nlmsg_put_header(memory);
    header->nlmsg_type = (NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_VERDICT;
    header->nlmsg_flags = NLM_F_REQUEST;
    struct nfgenmsg *family = mnl_nlmsg_put_extra_header(header, sizeof *family);
    family->nfgen_family = AF_UNSPEC;
    family->version = NFNETLINK_V0;
    family->res_id = htons(queue);
    nfq_nlmsg_verdict_put(header, (int)id, NF_ACCEPT);
    if (payload == 0) return header->nlmsg_len;
    // The payload follows from elsewhere: only its attribute's header is here.
    struct nlattr *attribute = mnl_nlmsg_get_payload_tail(header);
    attribute->nla_type = NFQA_PAYLOAD;
    attribute->nla_len = (uint16_t)(MNL_ATTR_HDRLEN + payload);
    size_t length = header->nlmsg_len + MNL_ATTR_HDRLEN;
    header->nlmsg_len += MNL_ALIGN(MNL_ATTR_HDRLEN + payload);
    return length;
}

static void flush(struct worker *worker) {
    if (worker->filled == 0) return;
    while (send(worker->descriptor, worker->batch, worker->filled, 0) < 0 && errno == EINTR) {}
    worker->filled = 0;
}

static void answer(struct worker *worker, const struct packet *packet) {
    uint32_t payload = accept_only ? 0 : packet->length;
    if (payload > COPY_LIMIT) {
        uint8_t head[128], zeros[4] = {0};
        flush(worker);
        size_t length = put_verdict(head, worker->queue, packet->id, payload);
        struct iovec parts[3] = {{head, length}, {packet->bytes, payload}, {zeros, MNL_ALIGN(payload) - payload}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        while (sendmsg(worker->descriptor, &message, 0) < 0 && errno == EINTR) {}
        return;
    }
    if (BATCH_ROOM - worker->filled < payload + 128) flush(worker);
    uint8_t *place = worker->batch + worker->filled;
    size_t length = put_verdict(place, worker->queue, packet->id, payload);
    if (payload > 0) memcpy(place + length, packet->bytes, payload);
    worker->filled += MNL_ALIGN(length + payload);
}

static bool configure(struct worker *worker) {
    char memory[512];
    struct nlmsghdr *header;
    for (int step = 0; step < 4; step++) {
        memset(memory, 0, sizeof memory);
        header = nfq_nlmsg_put(memory, NFQNL_MSG_CONFIG, worker->queue);
        header->nlmsg_flags |= NLM_F_ACK;
        if (step == 0) nfq_nlmsg_cfg_put_cmd(header, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
        if (step == 1) {
            mnl_attr_put_u32(header, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
            mnl_attr_put_u32(header, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
        }
        if (step == 2) nfq_nlmsg_cfg_put_qmaxlen(header, 32768);
        if (step == 3) nfq_nlmsg_cfg_put_params(header, NFQNL_COPY_PACKET, LONGEST_PACKET);
        if (mnl_socket_sendto(worker->socket, header, header->nlmsg_len) < 0) return false;
        // No packet comes before the last step, and what comes right after it is repeated by its sender.
        for (;;) {
            ssize_t count = recv(worker->descriptor, worker->input, RECEIVE_ROOM, 0);
            if (count < (ssize_t)sizeof *header) return false;
            const struct nlmsghdr *reply = (const void *)worker->input;
            if (reply->nlmsg_type != NLMSG_ERROR) continue;
            const struct nlmsgerr *error = mnl_nlmsg_get_payload(reply);
            if (error->error == 0) break;
            errno = -error->error;
            return false;
        }
    }
    return true;
}

// MARK: packets

// The kernel takes a packet with bytes of ours for one that came from outside: its checksum must be right, or be computed by
// segmentation, as that of a super-packet on the way out is.
static void finish_checksum(const struct packet *packet) {
    uint64_t sum;
    uint32_t start = transport(packet->bytes, packet->length, &sum);
    if (start == 0 || start + 20 > packet->length) return;
    uint32_t length = packet->length - start;
    uint8_t *tcp = packet->bytes + start;
    tcp[16] = tcp[17] = 0;
    sum += htonl(length) + (uint64_t)htons(IPPROTO_TCP);
    sum = add_words(sum, tcp, length);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    uint16_t value = (uint16_t)~sum;
    memcpy(tcp + 16, &value, 2);
}

static bool parse(const struct nlmsghdr *header, struct packet *packet) {
    struct nlattr *attributes[NFQA_MAX + 1] = {0};
    if (header->nlmsg_type != ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET)) return false;
    if (nfq_nlmsg_parse(header, attributes) < 0 || !attributes[NFQA_PACKET_HDR]) return false;
    const struct nfqnl_msg_packet_hdr *head = mnl_attr_get_payload(attributes[NFQA_PACKET_HDR]);
    packet->id = ntohl(head->packet_id);
    packet->hook = head->hook;
    packet->info = attributes[NFQA_SKB_INFO] ? ntohl(mnl_attr_get_u32(attributes[NFQA_SKB_INFO])) : 0;
    packet->length = 0;
    // One that is too long for a verdict passes as it is.
    if (attributes[NFQA_PAYLOAD] && !attributes[NFQA_CAP_LEN]) {
        packet->bytes = mnl_attr_get_payload(attributes[NFQA_PAYLOAD]);
        packet->length = mnl_attr_get_payload_len(attributes[NFQA_PAYLOAD]);
    }
    return true;
}

static void handle(struct worker *worker, const struct nlmsghdr *header) {
    struct packet packet;
    if (!parse(header, &packet)) return;
    bool inbound = packet.hook == NF_INET_LOCAL_IN;
    if (with_cipher && packet.length > 0) encrypt_or_decrypt(&worker->cipher, packet.bytes, packet.length, inbound);
    bool unfinished = packet.info & (NFQA_SKB_CSUMNOTREADY | NFQA_SKB_GSO);
    if (!accept_only && packet.length > 0 && unfinished && (inbound || !(packet.info & NFQA_SKB_GSO))) finish_checksum(&packet);
    answer(worker, &packet);
}

static void *serve(void *argument) {
    struct worker *worker = argument;
    struct mmsghdr messages[DATAGRAMS];
    struct iovec parts[DATAGRAMS];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < DATAGRAMS; i++) {
        parts[i] = (struct iovec){worker->input + (size_t)i * RECEIVE_ROOM, RECEIVE_ROOM};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int count = recvmmsg(worker->descriptor, messages, DATAGRAMS, MSG_WAITFORONE, NULL);
        if (count < 0 && errno != EINTR && errno != ENOBUFS) fail("netlink receive");
        for (int i = 0; i < count; i++) {
            int left = (int)messages[i].msg_len;
            const struct nlmsghdr *header = parts[i].iov_base;
            for (; mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) handle(worker, header);
        }
        flush(worker);
    }
    return NULL;
}

// MARK: start

static void prepare(struct worker *worker, uint16_t queue) {
    int receive = 64 << 20, send = 4 << 20, one = 1;
    worker->queue = queue;
    worker->input = malloc((size_t)DATAGRAMS * RECEIVE_ROOM);
    worker->batch = malloc(BATCH_ROOM);
    worker->socket = mnl_socket_open(NETLINK_NETFILTER);
    if (!worker->input || !worker->batch || !worker->socket) fail("start");
    prepare_cipher(&worker->cipher);
    if (mnl_socket_bind(worker->socket, 0, MNL_SOCKET_AUTOPID) < 0) fail("netlink bind");
    worker->descriptor = mnl_socket_get_fd(worker->socket);
    setsockopt(worker->descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &receive, sizeof receive);
    setsockopt(worker->descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &send, sizeof send);
    mnl_socket_setsockopt(worker->socket, NETLINK_NO_ENOBUFS, &one, sizeof one);
    mnl_socket_setsockopt(worker->socket, NETLINK_CAP_ACK, &one, sizeof one);
    if (!configure(worker)) fail("queue");
}

void serve_queues(const uint16_t *queues, int count) {
    struct worker *workers = calloc((size_t)count, sizeof *workers);
    pthread_t thread;
    if (!workers) fail("start");
    for (int i = 0; i < count; i++) prepare(&workers[i], queues[i]);
    for (int i = 0; i < count; i++) {
        if (pthread_create(&thread, NULL, serve, &workers[i]) != 0) fail("thread");
    }
}
