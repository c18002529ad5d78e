/* A disk and a clock that can fail, put between a program and libc by LD_PRELOAD.
 *
 * It looks at the files of one folder (FAULTS_FOLDER). What is done to them is recorded in FAULTS_JOURNAL, in the
 * order in which it happened, so that a power cut at any place of it can be played (images.py reads it). FAULTS_CONTROL
 * is a block of memory shared with the tester, who makes calls fail by it, or moves the clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As shim.py has it. */
struct control {
    int32_t write_errno; /* what writes and truncations fail with; 0: they don't */
    int32_t sync_errno;  /* what syncs fail with, before they have any effect */
    int32_t no_sync;     /* syncs succeed and do nothing */
    int32_t failures;    /* how many calls failed so far */
    int64_t ahead;       /* seconds that the real-time clock is ahead */
};

/* As images.py has it; after it come the name, and the data of a write or the new name. */
enum kind { WRITE = 1, TRUNCATE, SYNC, CREATE, UNLINK, RENAME, SYNC_FOLDER };
struct record {
    int32_t kind;
    int32_t name_length;
    int64_t offset; /* of a write; the new size of a truncation */
    int64_t length; /* of the data */
};

static struct control none;
static volatile struct control *control = &none;
static char folder[PATH_MAX];
static size_t folder_length;
static int journal = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_FOLDER");
    if (path == NULL || realpath(path, folder) == NULL)
        return;
    folder_length = strlen(folder);
    if ((path = getenv("FAULTS_JOURNAL")) != NULL)
        journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if ((path = getenv("FAULTS_CONTROL")) != NULL) {
        int descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
        void *block = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (block == MAP_FAILED)
            abort();
        control = block;
    }
}

/* What a path is called within the folder: "" for the folder itself, NULL outside of it. */
static const char *name_within(const char *path) {
    if (folder_length == 0 || path == NULL || strncmp(path, folder, folder_length) != 0)
        return NULL;
    path += folder_length;
    return *path == '/' ? path + 1 : *path == '\0' ? path : NULL;
}

static const char *name_of(int descriptor, char *path) {
    if (folder_length == 0)
        return NULL;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    path[length] = '\0';
    return name_within(path);
}

static int ends_with(const char *name, const char *end) {
    size_t length = strlen(name), most = strlen(end);
    return length >= most && strcmp(name + length - most, end) == 0;
}

/* Nobody relies on the index of a write-ahead log or on a lock after a power cut, nor on what was deleted. */
static int is_kept(const char *name) {
    return name != NULL && !ends_with(name, "-shm") && !ends_with(name, ".lock") && !ends_with(name, " (deleted)");
}

static void record(enum kind kind, const char *name, int64_t offset, const void *data, int64_t length) {
    if (journal < 0 || !is_kept(name))
        return;
    struct record head = {kind, strlen(name), offset, length};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)name, head.name_length}, {(void *)data, length}};
    int64_t all = sizeof head + head.name_length + length;
    if (syscall(SYS_writev, journal, parts, 3) != all)
        abort(); /* what is not in the journal would count as lost */
}

static int fails(const char *name, int32_t with) {
    if (with == 0 || name == NULL)
        return 0;
    __atomic_add_fetch(&control->failures, 1, __ATOMIC_SEQ_CST);
    errno = with;
    return 1;
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (fails(name, control->write_errno))
        return -1;
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwrite64, descriptor, data, size, offset);
    if (written > 0)
        record(WRITE, name, offset, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    return pwrite64(descriptor, data, size, offset);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL) /* and not under the lock: a pipe or a socket may be full until another thread goes on */
        return syscall(SYS_write, descriptor, data, size);
    if (fails(name, control->write_errno))
        return -1;
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_write, descriptor, data, size);
    if (written > 0)
        record(WRITE, name, lseek(descriptor, 0, SEEK_CUR) - written, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

int ftruncate64(int descriptor, off64_t size) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (fails(name, control->write_errno))
        return -1;
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, descriptor, size);
    if (result == 0)
        record(TRUNCATE, name, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

static int sync_file(int descriptor, long number) {
    char path[PATH_MAX];
    const char *name = name_of(descriptor, path);
    if (name == NULL)
        return syscall(number, descriptor);
    if (fails(name, control->sync_errno))
        return -1;
    if (control->no_sync)
        return 0;
    pthread_mutex_lock(&lock);
    int result = syscall(number, descriptor);
    if (result == 0)
        record(*name == '\0' ? SYNC_FOLDER : SYNC, name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int descriptor) { return sync_file(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return sync_file(descriptor, SYS_fdatasync); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *name = name_within(path);
    int makes = name != NULL && (flags & O_CREAT) != 0 && access(path, F_OK) != 0;
    pthread_mutex_lock(&lock);
    int descriptor = syscall(SYS_openat, AT_FDCWD, path, flags | O_LARGEFILE, mode);
    if (descriptor >= 0 && makes)
        record(CREATE, name, 0, NULL, 0);
    else if (descriptor >= 0 && name != NULL && (flags & O_TRUNC) != 0)
        record(TRUNCATE, name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return descriptor;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0)
        record(UNLINK, name_within(path), 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) {
    const char *name = name_within(to);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0 && name != NULL)
        record(RENAME, name_within(from), 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += control->ahead;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec found;
    int result = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return result;
}

time_t time(time_t *result) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (result != NULL)
        *result = found.tv_sec;
    return found.tv_sec;
}
