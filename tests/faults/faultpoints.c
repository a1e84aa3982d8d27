/* Faults at the n-th call that changes (or reads) files below one folder: LD_PRELOAD this.
 *
 * All processes of a batch share one counter, a page mapped from the file $FAULTPOINTS, so "the n-th" is the
 * n-th of the batch, whichever process and thread it falls to. faultpoints.py holds the other end of the page.
 * Only calls through libc are seen; the tests compare with strace that there are no others. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { NOTHING, KILL_GROUP, KILL_PROCESS, FAIL, FAIL_FROM };
enum { CHANGE = 1, READ = 2, CLOSE = 4 };

static struct {
    _Atomic int64_t count;
    int64_t target;
    int32_t action, error, classes;
    _Atomic int32_t fired;
    char root[1024];
    char what[1024];
    char semaphores[1024]; /* names of those that were made: whoever is killed leaves them in /dev/shm */
    _Atomic int32_t named;
} *page;

static char below[65536]; /* by descriptor: 1 opened for reading, 2 for writing, of a path below root */

__attribute__((constructor)) static void attach(void) {
    const char *name = getenv("FAULTPOINTS");
    int fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped != MAP_FAILED) page = mapped;
}

static void die(void) {
    kill(page->action == KILL_GROUP ? 0 : getpid(), SIGKILL);
    for (;;) pause();
}

/* 0: go on; else what is to happen instead. */
static int due(int class, const char *call, const char *path) {
    if (!page || !(page->classes & class)) return 0;
    int64_t number = atomic_fetch_add(&page->count, 1) + 1;
    if (page->action == NOTHING || number < page->target) return 0;
    if (number > page->target && page->action != FAIL_FROM) return 0;
    if (atomic_fetch_add(&page->fired, 1) == 0) snprintf(page->what, sizeof page->what, "%s %s", call, path);
    if (page->action >= FAIL) errno = page->error;
    return page->action;
}

static int is_below(int folder, const char *path) {
    if (!page || !page->root[0] || !path) return 0;
    if (path[0] != '/') return folder >= 0 && folder < (int)sizeof below && below[folder];
    size_t length = strlen(page->root);
    return strncmp(path, page->root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int opened(int fd) { return fd >= 0 && fd < (int)sizeof below ? below[fd] : 0; }

static const char *name_of(int fd) {
    static __thread char name[1024];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, name, sizeof name - 1);
    name[length < 0 ? 0 : length] = 0;
    return name;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Faults of a call that takes a path, or a descriptor: returns from the caller where it is to fail. */
#define FAULT(class, call, condition, path, failure) \
    if (condition) \
        switch (due(class, call, path)) { \
        case 0: break; \
        case KILL_GROUP: case KILL_PROCESS: die(); \
        default: return failure; \
        }

sem_t *sem_open(const char *name, int flags, ...) {
    REAL(sem_open);
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); unsigned value = va_arg(more, unsigned); va_end(more);
    if (page && flags & O_CREAT) {
        int length = strlen(name), at = atomic_fetch_add(&page->named, length);
        if (at + length < (int)sizeof page->semaphores) memcpy(page->semaphores + at, name, length);
    }
    return real(name, flags, mode, value);
}

static int note(int fd, int is_ours, int flags) {
    if (is_ours && fd >= 0 && fd < (int)sizeof below) below[fd] = (flags & O_ACCMODE) == O_RDONLY ? 1 : 2;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        int ours = is_below(-1, path); \
        FAULT(flags & (O_CREAT | O_TRUNC) ? CHANGE : READ, "open", ours, path, -1) \
        return note(real(path, flags, mode), ours, flags); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
        int ours = is_below(folder, path); \
        FAULT(flags & (O_CREAT | O_TRUNC) ? CHANGE : READ, "open", ours, path, -1) \
        return note(real(folder, path, flags, mode), ours, flags); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    REAL(close);
    int kind = opened(fd);
    if (!kind) return real(fd);
    char name[1024];
    strcpy(name, name_of(fd));
    below[fd] = 0;
    int result = real(fd); /* a close that fails has closed all the same */
    FAULT(CLOSE, "close", kind == 2, name, -1)
    return result;
}

/* A process killed while it writes has written a part. */
#define WRITE(name, arguments, half, ...) \
    ssize_t name arguments { \
        REAL(name); \
        if (opened(fd)) \
            switch (due(CHANGE, "write", name_of(fd))) { \
            case 0: break; \
            case KILL_GROUP: case KILL_PROCESS: half; die(); \
            default: return -1; \
            } \
        return real(__VA_ARGS__); \
    }
struct iovec;
WRITE(write, (int fd, const void *data, size_t size), real(fd, data, size / 2), fd, data, size)
WRITE(writev, (int fd, const struct iovec *data, int size), (void)0, fd, data, size)
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), real(fd, data, size / 2, at), fd, data, size, at)
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), real(fd, data, size / 2, at), fd, data, size, at)

#define BY_FD(type, class, name, parameters, ...) \
    type name parameters { \
        REAL(name); \
        FAULT(class, #name, opened(fd), name_of(fd), -1) \
        return real(__VA_ARGS__); \
    }
BY_FD(ssize_t, READ, read, (int fd, void *data, size_t size), fd, data, size)
BY_FD(ssize_t, READ, pread, (int fd, void *data, size_t size, off_t at), fd, data, size, at)
BY_FD(ssize_t, READ, pread64, (int fd, void *data, size_t size, off64_t at), fd, data, size, at)
BY_FD(ssize_t, CHANGE, copy_file_range, (int from, off64_t *a, int fd, off64_t *b, size_t size, unsigned flags), from, a, fd, b, size, flags)
BY_FD(ssize_t, CHANGE, sendfile, (int fd, int from, off_t *at, size_t size), fd, from, at, size)
BY_FD(ssize_t, CHANGE, sendfile64, (int fd, int from, off64_t *at, size_t size), fd, from, at, size)
BY_FD(int, CHANGE, fsync, (int fd), fd)
BY_FD(int, CHANGE, fdatasync, (int fd), fd)
BY_FD(int, CHANGE, syncfs, (int fd), fd)
BY_FD(int, CHANGE, ftruncate, (int fd, off_t size), fd, size)
BY_FD(int, CHANGE, ftruncate64, (int fd, off64_t size), fd, size)
BY_FD(int, CHANGE, fallocate, (int fd, int mode, off_t at, off_t size), fd, mode, at, size)
BY_FD(int, CHANGE, posix_fallocate, (int fd, off_t at, off_t size), fd, at, size)
BY_FD(int, CHANGE, fchmod, (int fd, mode_t mode), fd, mode)
BY_FD(int, CHANGE, fchown, (int fd, uid_t user, gid_t group), fd, user, group)
BY_FD(int, CHANGE, futimens, (int fd, const struct timespec times[2]), fd, times)

#define BY_PATH(name, folder, path, parameters, ...) \
    int name parameters { \
        REAL(name); \
        FAULT(CHANGE, #name, is_below(folder, path), path, -1) \
        return real(__VA_ARGS__); \
    }
BY_PATH(mkdir, -1, path, (const char *path, mode_t mode), path, mode)
BY_PATH(mkdirat, folder, path, (int folder, const char *path, mode_t mode), folder, path, mode)
BY_PATH(rmdir, -1, path, (const char *path), path)
BY_PATH(unlink, -1, path, (const char *path), path)
BY_PATH(unlinkat, folder, path, (int folder, const char *path, int flags), folder, path, flags)
BY_PATH(chmod, -1, path, (const char *path, mode_t mode), path, mode)
BY_PATH(fchmodat, folder, path, (int folder, const char *path, mode_t mode, int flags), folder, path, mode, flags)
BY_PATH(truncate, -1, path, (const char *path, off_t size), path, size)
BY_PATH(truncate64, -1, path, (const char *path, off64_t size), path, size)
BY_PATH(utimensat, folder, path, (int folder, const char *path, const struct timespec times[2], int flags), folder, path, times, flags)
BY_PATH(rename, -1, path, (const char *from, const char *path), from, path)
BY_PATH(renameat, folder, path, (int other, const char *from, int folder, const char *path), other, from, folder, path)
BY_PATH(renameat2, folder, path, (int other, const char *from, int folder, const char *path, unsigned flags), other, from, folder, path, flags)
BY_PATH(link, -1, path, (const char *from, const char *path), from, path)
BY_PATH(linkat, folder, path, (int other, const char *from, int folder, const char *path, int flags), other, from, folder, path, flags)
BY_PATH(symlink, -1, path, (const char *to, const char *path), to, path)
BY_PATH(symlinkat, folder, path, (const char *to, int folder, const char *path), to, folder, path)
