// What Swift cannot see of Linux's packet sockets: thin calls, no state. A negative result is -errno.
#pragma once
#include <stdint.h>

enum { PACKET_SOCKET_BATCH = 64, PACKET_SOCKET_LINK_HEADER = 14 };

// A raw packet socket on a device, promiscuous, deaf to what leaves by it.
int packet_socket_open(const char *device);

// Receives up to PACKET_SOCKET_BATCH frames, frame i at memory + i * slot; lengths[i] with bit 31 set where the
// transport checksum was left to hardware. Returns how many.
int packet_socket_receive(int descriptor, uint8_t *memory, uint32_t slot, uint32_t *lengths);

// Sends frames laid out alike; returns how many went.
int packet_socket_send(int descriptor, uint8_t *memory, uint32_t slot, const uint32_t *lengths, int count);

// Frames the kernel dropped since the last call because the receive buffer was full.
int64_t packet_socket_missed(int descriptor);

// SIGTERM and SIGINT end packet_socket_wait, and nothing else.
void packet_socket_hold_signals(void);

// Waits until one of up to three descriptors is readable, the time is over (negative: for ever), or a signal came.
// Returns a bit per readable descriptor; -1 for a signal.
int packet_socket_wait(const int *descriptors, int count, int64_t nanoseconds);

// Timers without slack, and before ordinary processes where that is permitted.
void packet_socket_hurry(void);
