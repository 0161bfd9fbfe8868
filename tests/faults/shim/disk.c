/* Preloaded into a member: makes syncing fail, slow, or hang, as the file named by FAULTS_DISK says.
 *
 *   (empty or absent)  nothing
 *   eio                every sync fails with EIO
 *   slow MS            every sync takes so many milliseconds longer
 *   hang               every sync waits until the file says something else
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void order(char *text, size_t size) {
    const char *path = getenv("FAULTS_DISK");
    text[0] = 0;
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
}

static int disturbed(void) {
    char text[32];
    for (;;) {
        order(text, sizeof text);
        if (strncmp(text, "hang", 4) != 0) break;
        usleep(10 * 1000);
    }
    if (strncmp(text, "eio", 3) == 0) {
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
