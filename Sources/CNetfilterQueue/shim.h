#pragma once
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

// glibc has them for _GNU_SOURCE only, which its Swift module is not built with.
extern int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
extern int sched_getaffinity(pid_t, size_t, cpu_set_t *);
#ifndef __USE_GNU
struct mmsghdr {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};
#endif
extern int recvmmsg(int, struct mmsghdr *, unsigned int, int, struct timespec *);

// Swift calls no function with a variable number of arguments.
static inline int forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L); }
