/* Preloaded into a member: makes syncing fail, slow, or hang, reads of tables hang, and the clock jump, as files say.
 *
 * FAULTS_DISK
 *   (empty or absent)  nothing
 *   eio                every sync fails with EIO
 *   eio once           one sync fails with EIO, and those after it succeed
 *   slow MS            every sync takes so many milliseconds longer
 *   hang               every sync waits until the file says something else
 *   reads hang         every read of a table of the state does; the file beside it that ends with .held has one byte for each
 *
 * FAULTS_CLOCK
 *   SECONDS            added to the time of day; clocks that measure intervals are left alone
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void order(const char *name, char *text, size_t size) {
    const char *path = getenv(name);
    text[0] = 0;
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
}

static int disturbed(void) {
    static atomic_flag failed = ATOMIC_FLAG_INIT;
    char text[32];
    for (;;) {
        order("FAULTS_DISK", text, sizeof text);
        if (strncmp(text, "hang", 4) != 0) break;
        usleep(10 * 1000);
    }
    int once = strncmp(text, "eio once", 8) == 0;
    if (strncmp(text, "eio", 3) == 0 && !(once && atomic_flag_test_and_set(&failed))) {
        errno = EIO;
        return -1;
    }
    if (strncmp(text, "slow ", 5) == 0) usleep((useconds_t)atoi(text + 5) * 1000);
    return 0;
}

typedef int (*sync_call)(int);

int fsync(int file) {
    sync_call real = (sync_call)dlsym(RTLD_NEXT, "fsync");
    return disturbed() ? -1 : real(file);
}

int fdatasync(int file) {
    sync_call real = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    return disturbed() ? -1 : real(file);
}

static void say_held(void) {
    char path[512];
    snprintf(path, sizeof path, "%s.held", getenv("FAULTS_DISK"));
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (write(file, "x", 1) != 1) abort();
    close(file);
}

static void wait_to_read(int file) {
    char link[32], path[512], text[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    if (length < 4 || memcmp(path + length - 4, ".sst", 4) != 0) return;
    for (int said = 0;; said = 1) {
        order("FAULTS_DISK", text, sizeof text);
        if (strncmp(text, "reads hang", 10) != 0) return;
        if (!said) say_held();
        usleep(10 * 1000);
    }
}

typedef ssize_t (*read_call)(int, void *, size_t, off64_t);

ssize_t pread(int file, void *buffer, size_t size, off_t offset) {
    read_call real = (read_call)dlsym(RTLD_NEXT, "pread64");
    wait_to_read(file);
    return real(file, buffer, size, offset);
}

ssize_t pread64(int file, void *buffer, size_t size, off64_t offset) {
    read_call real = (read_call)dlsym(RTLD_NEXT, "pread64");
    wait_to_read(file);
    return real(file, buffer, size, offset);
}

/* The file is looked at every 20 ms, not at every call: clocks are read often. */
static long jump(void) {
    static _Atomic long seconds, looked_ms;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long now_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms - atomic_load(&looked_ms) >= 20) {
        char text[32];
        int error = errno;
        atomic_store(&looked_ms, now_ms);
        order("FAULTS_CLOCK", text, sizeof text);
        errno = error;
        atomic_store(&seconds, atol(text));
    }
    return atomic_load(&seconds);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += jump();
    return failed;
}
