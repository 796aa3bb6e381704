/* Preloaded into a process: writes down every change it makes to the files below one folder, in the order it makes them.

   SHADOW_FOLDER: the folder, absolute and without symbolic links. SHADOW_LOG: the file to append to, outside of it.

   A record is a header, the path, the data. What changes a file in a way that is not written down here (a shared mapping
   but for SQLite's -shm file, a vectored write, a rename) is recorded as UNKNOWN, so that nobody takes the log for whole.

   Nothing is really flushed: the process is not killed, and what a flush would have saved is read from the log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPEN = 1, WRITE, TRUNCATE, SYNC, CLOSE, UNLINK, LINK, MKDIR, UNKNOWN };

struct header {
    uint32_t kind;
    int32_t fd;
    int64_t offset; /* of a write; the size after a truncation; the flags of an open */
    uint32_t path;  /* lengths of what follows */
    uint32_t data;
};

enum { FDS = 65536 };
static unsigned char watched[FDS]; /* 1: a file or a folder; 2: SQLite's shared memory, which no disk needs to keep */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static size_t folder_length;
static int log_fd = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SHADOW_LOG");
    folder = getenv("SHADOW_FOLDER");
    if (path == NULL || folder == NULL) return;
    folder_length = strlen(folder);
    log_fd = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(const void *bytes, size_t length) {
    const char *from = bytes;
    while (length > 0) {
        ssize_t done = REAL(write)(log_fd, from, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) abort(); /* a log with a hole would prove things that are not so */
        from += done;
        length -= (size_t)done;
    }
}

static void record(enum kind kind, int fd, int64_t offset, const char *path, const void *data, size_t length) {
    int kept = errno;
    struct header header = {kind, fd, offset, path ? (uint32_t)strlen(path) : 0, (uint32_t)length};
    put(&header, sizeof header);
    put(path, header.path);
    put(data, header.data);
    errno = kept;
}

static int inside(const char *path) {
    return log_fd >= 0 && path != NULL && strncmp(path, folder, folder_length) == 0 &&
           (path[folder_length] == '/' || path[folder_length] == '\0');
}

static int is_watched(int fd) { return fd >= 0 && fd < FDS && watched[fd] == 1; }

static void lock(void) { pthread_mutex_lock(&one_at_a_time); }
static void unlock(void) { pthread_mutex_unlock(&one_at_a_time); }

static int opened(int fd, const char *path, int flags) {
    if (fd < 0 || !inside(path)) return fd;
    if (fd >= FDS) abort();
    size_t length = strlen(path);
    watched[fd] = length > 4 && strcmp(path + length - 4, "-shm") == 0 ? 2 : 1;
    if (watched[fd] == 1) record(OPEN, fd, flags & O_TRUNC ? 1 : 0, path, NULL, 0);
    return fd;
}

#define MODE(flags, last)                                   \
    mode_t mode = 0;                                        \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                  \
        va_list rest;                                       \
        va_start(rest, last);                               \
        mode = (mode_t)va_arg(rest, int);                   \
        va_end(rest);                                       \
    }

#define OPENS(name)                                         \
    int name(const char *path, int flags, ...) {            \
        MODE(flags, flags)                                  \
        lock();                                             \
        int fd = opened(REAL(name)(path, flags, mode), path, flags); \
        unlock();                                           \
        return fd;                                          \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                      \
    int name(int at, const char *path, int flags, ...) {    \
        MODE(flags, flags)                                  \
        lock();                                             \
        int fd = opened(REAL(name)(at, path, flags, mode), path, flags); \
        unlock();                                           \
        return fd;                                          \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
    lock();
    if (is_watched(fd)) record(CLOSE, fd, 0, NULL, NULL, 0);
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    int result = REAL(close)(fd);
    unlock();
    return result;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!is_watched(fd)) return REAL(write)(fd, data, length);
    lock();
    int64_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = REAL(write)(fd, data, length);
    if (done > 0) record(WRITE, fd, offset, NULL, data, (size_t)done);
    unlock();
    return done;
}

#define WRITES_AT(name, position)                           \
    ssize_t name(int fd, const void *data, size_t length, position offset) { \
        if (!is_watched(fd)) return REAL(name)(fd, data, length, offset);    \
        lock();                                             \
        ssize_t done = REAL(name)(fd, data, length, offset); \
        if (done > 0) record(WRITE, fd, offset, NULL, data, (size_t)done);   \
        unlock();                                           \
        return done;                                        \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

#define TRUNCATES(name, position)                           \
    int name(int fd, position size) {                       \
        if (!is_watched(fd)) return REAL(name)(fd, size);   \
        lock();                                             \
        int result = REAL(name)(fd, size);                  \
        if (result == 0) record(TRUNCATE, fd, size, NULL, NULL, 0); \
        unlock();                                           \
        return result;                                      \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define SYNCS(name)                                         \
    int name(int fd) {                                      \
        if (!is_watched(fd)) return REAL(name)(fd);         \
        lock();                                             \
        record(SYNC, fd, 0, NULL, NULL, 0);                 \
        unlock();                                           \
        return 0;                                           \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define NAMES(kind, name, parameters, arguments, path, other) \
    int name parameters {                                   \
        lock();                                             \
        int result = REAL(name) arguments;                  \
        const char *second = other;                         \
        if (result == 0 && (inside(path) || inside(second))) \
            record(kind, -1, 0, path, second, second ? strlen(second) : 0); \
        unlock();                                           \
        return result;                                      \
    }
NAMES(UNLINK, unlink, (const char *path), (path), path, NULL)
NAMES(UNLINK, unlinkat, (int at, const char *path, int flags), (at, path, flags), path, NULL)
NAMES(MKDIR, mkdir, (const char *path, mode_t mode), (path, mode), path, NULL)
NAMES(MKDIR, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), path, NULL)
NAMES(LINK, link, (const char *from, const char *to), (from, to), from, to)
NAMES(LINK, linkat, (int at, const char *from, int to_at, const char *to, int flags), (at, from, to_at, to, flags), from, to)
NAMES(UNKNOWN, rename, (const char *from, const char *to), (from, to), from, to)
NAMES(UNKNOWN, renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to), from, to)
NAMES(UNKNOWN, rmdir, (const char *path), (path), path, NULL)
NAMES(UNKNOWN, symlink, (const char *from, const char *to), (from, to), from, to)
NAMES(UNKNOWN, truncate, (const char *path, off_t size), (path, size), path, NULL)
NAMES(UNKNOWN, truncate64, (const char *path, off64_t size), (path, size), path, NULL)

static void unknown(int fd, const char *what) {
    if (!is_watched(fd)) return;
    lock();
    record(UNKNOWN, fd, 0, what, NULL, 0);
    unlock();
}

#define MAPS(name, position)                                \
    void *name(void *at, size_t length, int protection, int flags, int fd, position offset) { \
        if ((flags & MAP_SHARED) && (protection & PROT_WRITE)) unknown(fd, #name); \
        return REAL(name)(at, length, protection, flags, fd, offset); \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)

#define UNKNOWNS(type, name, parameters, arguments)         \
    type name parameters {                                  \
        unknown(fd, #name);                                 \
        return REAL(name) arguments;                        \
    }
UNKNOWNS(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
UNKNOWNS(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t offset), (fd, parts, count, offset))
UNKNOWNS(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t offset), (fd, parts, count, offset))
UNKNOWNS(int, fallocate, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length))
UNKNOWNS(int, posix_fallocate, (int fd, off_t offset, off_t length), (fd, offset, length))
UNKNOWNS(int, dup, (int fd), (fd))
UNKNOWNS(int, dup2, (int fd, int other), (fd, other))
