#define _GNU_SOURCE
#include "packet_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int packet_socket_open(const char *device) {
    unsigned index = if_nametoindex(device);
    if (index == 0) return -errno;
    // Protocol 0 until it is bound: nothing of other devices gets in.
    int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -errno;
    int one = 1, receive = 64 << 20, send = 16 << 20;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &receive, sizeof receive);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &send, sizeof send);
    struct packet_mreq membership = {.mr_ifindex = (int)index, .mr_type = PACKET_MR_PROMISC};
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
    if (setsockopt(descriptor, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one) < 0 ||
        setsockopt(descriptor, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one) < 0 ||
        setsockopt(descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) < 0 ||
        setsockopt(descriptor, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0 ||
        bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

static int checksum_is_unfinished(struct msghdr *header) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA) continue;
        struct tpacket_auxdata data;
        memcpy(&data, CMSG_DATA(part), sizeof data);
        return (data.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
    }
    return 0;
}

int packet_socket_receive(int descriptor, uint8_t *memory, uint32_t slot, uint32_t *lengths) {
    struct mmsghdr messages[PACKET_SOCKET_BATCH];
    struct iovec parts[PACKET_SOCKET_BATCH];
    _Alignas(struct cmsghdr) char control[PACKET_SOCKET_BATCH][CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < PACKET_SOCKET_BATCH; i++) {
        parts[i] = (struct iovec){memory + (size_t)i * slot, slot};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = control[i];
        messages[i].msg_hdr.msg_controllen = sizeof control[i];
    }
    int count = recvmmsg(descriptor, messages, PACKET_SOCKET_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        lengths[i] = messages[i].msg_len;
        if (checksum_is_unfinished(&messages[i].msg_hdr)) lengths[i] |= 1u << 31;
    }
    return count;
}

int packet_socket_send(int descriptor, uint8_t *memory, uint32_t slot, const uint32_t *lengths, int count) {
    struct mmsghdr messages[PACKET_SOCKET_BATCH];
    struct iovec parts[PACKET_SOCKET_BATCH];
    if (count > PACKET_SOCKET_BATCH) count = PACKET_SOCKET_BATCH;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < count; i++) {
        parts[i] = (struct iovec){memory + (size_t)i * slot, lengths[i]};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(descriptor, messages, (unsigned)count, MSG_DONTWAIT);
    return sent < 0 ? -errno : sent;
}

int64_t packet_socket_missed(int descriptor) {
    struct tpacket_stats statistics;
    socklen_t size = sizeof statistics;
    if (getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) < 0) return -errno;
    return statistics.tp_drops;
}

static void ignore_signal(int number) { (void)number; }

void packet_socket_hold_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction action = {.sa_handler = ignore_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

int packet_socket_wait(const int *descriptors, int count, int64_t nanoseconds) {
    struct pollfd entries[3];
    for (int i = 0; i < count && i < 3; i++) entries[i] = (struct pollfd){.fd = descriptors[i], .events = POLLIN};
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    sigset_t none, pending;
    sigemptyset(&none);
    int ready = ppoll(entries, (nfds_t)count, nanoseconds < 0 ? NULL : &time, &none);
    if (ready < 0) return -1;
    // A busy link would hide a signal: ppoll reports descriptors first.
    if (sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT))) return -1;
    int bits = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i].revents) bits |= 1 << i;
    }
    return bits;
}

void packet_socket_hurry(void) {
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct sched_param parameters = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_RR, &parameters);
}
