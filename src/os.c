/* os.c -- see os.h. Linux and other POSIX systems; what a platform may lack is asked for with __has_include.
 * SPDX-License-Identifier: MIT */
#include "os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#ifdef __has_include
#if __has_include(<linux/futex.h>) && __has_include(<sys/syscall.h>)
#include <linux/futex.h>
#include <sys/syscall.h>
#define OS_FUTEX 1
#endif
#if __has_include(<sys/auxv.h>)
#include <sys/auxv.h>
#define OS_AUXV 1
#endif
#endif

/* ---- memory ---- */

static __thread bool os_alloc_forbidden;

static bool os_forbid_alloc(bool forbidden) { // returns what held before
  const bool before = os_alloc_forbidden;
  os_alloc_forbidden = forbidden;
  return before;
}

#if defined(BK_DEBUG) && defined(__GLIBC__)
/* Outside of loading nothing is allocated: in debug builds a malloc inside a step is a bug that shows at once. */
extern void *__libc_malloc(size_t n);
void *malloc(size_t n);
void *malloc(size_t n) {
  BK_ASSERT(!os_alloc_forbidden);
  return __libc_malloc(n);
}
#endif

enum { OS_HUGE = 2 << 20 }; // bytes of a huge page on x86-64 and on arm64 with 4 KiB pages

static size_t os_page(void) { // bytes: 4, 16 or 64 KiB
  long n = sysconf(_SC_PAGESIZE);
  return n > 0 ? (size_t)n : 65536;
}

static struct arena os_reserve(size_t bytes, struct bk_error *e) {
  BK_ASSERT(!os_alloc_forbidden);
  size_t page = os_page(), align = bytes >= OS_HUGE ? OS_HUGE : page, total;
  if (bytes <= SIZE_MAX / 2) bytes = size_align(bytes ? bytes : 1, page);
  if (bytes > SIZE_MAX / 2 || !size_add(bytes, align, &total)) {
    err_set(e, ERR_OS, "out of memory: %zu bytes wanted", bytes);
    return (struct arena){0, 0};
  }
  char *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    err_set(e, ERR_OS, "out of memory: %zu bytes wanted: %s", bytes, strerror(errno));
    return (struct arena){0, 0};
  }
  size_t before = (size_t)(-(uintptr_t)p & (align - 1)), after = total - before - bytes;
  if (before) munmap(p, before);
  if (after) munmap(p + before + bytes, after);
  return (struct arena){p + before, p + before + bytes};
}

static void os_release(struct arena whole) {
  if (whole.beg) munmap(whole.beg, (size_t)(whole.end - whole.beg));
}

static void os_forget(const void *p, size_t bytes) {
#ifdef MADV_DONTNEED
  uintptr_t page = os_page(), beg = ((uintptr_t)p + page - 1) & ~(page - 1), end = ((uintptr_t)p + bytes) & ~(page - 1);
  if (end > beg) madvise((void *)beg, end - beg, MADV_DONTNEED);
#else
  (void)p, (void)bytes;
#endif
}

static void os_want_huge(const void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  uintptr_t page = os_page(), beg = ((uintptr_t)p + page - 1) & ~(page - 1), end = ((uintptr_t)p + bytes) & ~(page - 1);
  if (end > beg) madvise((void *)beg, end - beg, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

/* ---- files ---- */

static bool os_open_failed(const char *path, struct bk_error *e) {
  int code = errno == ENOENT || errno == ENOTDIR ? ERR_NOINPUT : errno == EACCES || errno == EPERM ? ERR_PERMISSION : ERR_IO;
  return err_set(e, code, "%s: %s", path, strerror(errno));
}

static int os_open_regular(const char *path, struct os_file *f, struct bk_error *e) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // O_NONBLOCK: opening a FIFO must not hang
  if (fd < 0) {
    os_open_failed(path, e);
    return -1;
  }
  struct stat st;
  if (fstat(fd, &st) != 0) {
    os_open_failed(path, e);
  } else if (!S_ISREG(st.st_mode)) {
    err_set(e, ERR_NOINPUT, "%s: %s, expected a file", path, S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
  } else {
    *f = (struct os_file){NULL, (size_t)st.st_size, (uint64_t)st.st_dev, (uint64_t)st.st_ino};
    return fd;
  }
  close(fd);
  return -1;
}

static bool os_map(const char *path, struct os_file *out, struct bk_error *e) {
  struct os_file f = {0};
  int fd = os_open_regular(path, &f, e);
  if (fd >= 0 && f.size > 0) {
    void *p = mmap(NULL, f.size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) err_set(e, ERR_OS, "%s: cannot map %zu bytes: %s", path, f.size, strerror(errno));
    else f.ptr = p;
  }
  if (fd >= 0) close(fd);
  bool ok = fd >= 0 && (f.ptr || f.size == 0);
  *out = ok ? f : (struct os_file){0};
  return ok;
}

static void os_unmap(struct os_file *f) {
  if (f->ptr) munmap((void *)(uintptr_t)f->ptr, f->size);
  *f = (struct os_file){0};
}

static bool os_is_same(const char *path, const struct os_file *f) {
  struct stat st;
  return stat(path, &st) == 0 && (uint64_t)st.st_dev == f->device && (uint64_t)st.st_ino == f->inode;
}

static bool os_read_file(const char *path, size_t limit, struct arena *a, struct str *out, struct bk_error *e) {
  struct os_file f = {0};
  int fd = os_open_regular(path, &f, e);
  if (fd < 0) return false;
  size_t size = f.size, done = 0;
  char *p = NULL;
  bool ok = true;
  if (size > limit) ok = err_set(e, ERR_DATA, "%s: %zu bytes, at most %zu expected", path, size, limit);
  else if (!(p = arena_raw(a, size + 1, 1, 1))) ok = err_set(e, ERR_OS, "%s: no memory for %zu bytes", path, size);
  while (ok && done < size) {
    ssize_t n = read(fd, p + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (n <= 0) break;
    done += (size_t)n;
  }
  close(fd);
  *out = (struct str){p, done};
  return ok;
}

static bool os_is_file(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool os_is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static struct str os_program_folder(struct arena *a) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  while (n > 0 && path[n - 1] != '/') n--;
  return n > 1 && n < (ssize_t)sizeof path ? arena_copy(a, (struct str){path, (size_t)n - 1}) : STR_NONE;
}

static int os_compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool os_list(const char *path, struct arena scratch, bool (*each)(void *, const char *), void *context) {
  enum { LIMIT = 65536 };
  DIR *d = opendir(path);
  if (!d) return false;
  const char **names = ARENA_NEW(&scratch, const char *, LIMIT);
  size_t n = 0;
  struct dirent *entry;
  while (names && n < LIMIT && (entry = readdir(d))) {
    struct str name = str_from(entry->d_name);
    if (str_is(name, ".") || str_is(name, "..")) continue;
    name.len++; // the terminator too
    name = arena_copy(&scratch, name);
    if (!name.ptr) break;
    names[n++] = name.ptr;
  }
  closedir(d);
  if (!names) return false;
  qsort(names, n, sizeof *names, os_compare_names);
  for (size_t i = 0; i < n; i++)
    if (!each(context, names[i])) break;
  return true;
}

static int os_open_stream(const char *path, uint64_t *bytes, struct bk_error *e) {
  struct stat st;
  int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  *bytes = 0;
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
    close(fd);
    fd = -1;
    errno = EISDIR;
  }
  if (fd < 0) {
    os_open_failed(path, e);
    if (errno == EISDIR) e->code = ERR_NOINPUT;
  } else if (S_ISREG(st.st_mode)) {
    *bytes = (uint64_t)st.st_size;
  }
  return fd;
}

static int64_t os_read(int fd, char *to, size_t bytes) {
  ssize_t n;
  while ((n = read(fd, to, bytes)) < 0 && errno == EINTR) {}
  return n;
}

static bool os_ready(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, 0) != 0;
}

static void os_close(int fd) {
  if (fd >= 0) close(fd);
}

static int os_open_log(const char *path, struct bk_error *e) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  struct stat st;
  if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) return fd;
  if (fd < 0) os_open_failed(path, e);
  else err_set(e, ERR_IO, "%s: not a regular file", path);
  os_close(fd);
  return -1;
}

static bool os_lock(int fd, bool lock) {
  int code;
  while ((code = flock(fd, lock ? LOCK_EX : LOCK_UN)) < 0 && errno == EINTR) {}
  return code == 0;
}

static bool os_is_open(const char *path, int fd) {
  struct stat st, other;
  return fstat(fd, &st) == 0 && stat(path, &other) == 0 && st.st_dev == other.st_dev && st.st_ino == other.st_ino;
}

static uint64_t os_size(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static bool os_set_size(int fd, uint64_t bytes) { return ftruncate(fd, (off_t)bytes) == 0; }

static int64_t os_read_at(int fd, char *to, size_t bytes, uint64_t at) {
  size_t done = 0;
  while (done < bytes) {
    ssize_t n = pread(fd, to + done, bytes - done, (off_t)(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += (size_t)n;
  }
  return (int64_t)done;
}

static bool os_write_at(int fd, struct str bytes, uint64_t at) {
  for (size_t done = 0; done < bytes.len;) {
    ssize_t n = pwrite(fd, bytes.ptr + done, bytes.len - done, (off_t)(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += (size_t)n;
  }
  return true;
}

static char os_unfinished[OS_PATH + 16]; // the name of the file that is being written; empty: none

static void os_discard(void) {
  if (os_unfinished[0]) unlink(os_unfinished);
  os_unfinished[0] = 0;
}

static void os_take_standard(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd ? O_RDONLY : O_WRONLY); // the lowest number that is free
}

static bool os_create(struct os_output *f, const char *path, bool alone, struct bk_error *e) {
  struct stat st;
  BK_ASSERT(!os_unfinished[0]);
  *f = (struct os_output){-1, path};
  if (strlen(path) >= OS_PATH) return err_set(e, ERR_USAGE, "a path of %zu bytes, expected less than %d", strlen(path), OS_PATH);
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return err_set(e, ERR_IO, "%s: %s, expected a file or nothing", path, S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
  if (alone) snprintf(os_unfinished, sizeof os_unfinished, "%s.part", path);
  else snprintf(os_unfinished, sizeof os_unfinished, "%s.%08x.part", path, (unsigned)(uint32_t)os_random());
  f->fd = open(os_unfinished, O_WRONLY | O_CREAT | (alone ? O_TRUNC | O_NOFOLLOW : O_EXCL) | O_CLOEXEC, 0666);
  if (f->fd >= 0) return true;
  os_unfinished[0] = 0;
  return err_set(e, errno == EACCES || errno == EPERM || errno == EROFS ? ERR_PERMISSION : ERR_IO, "%s: cannot be written: %s", path,
                 strerror(errno));
}

static bool os_write(struct os_output *f, struct str bytes, struct bk_error *e) {
  for (size_t done = 0; done < bytes.len;) {
    ssize_t n = write(f->fd, bytes.ptr + done, bytes.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_set(e, ERR_IO, "%s: cannot write %zu bytes: %s", f->path, bytes.len, strerror(errno));
    done += (size_t)n;
  }
  return true;
}

static bool os_commit(struct os_output *f, struct bk_error *e) {
  bool ok = fsync(f->fd) == 0 || errno == EINVAL; // EINVAL: nothing to sync there
  ok = close(f->fd) == 0 && ok;
  ok = ok && rename(os_unfinished, f->path) == 0;
  if (!ok) return err_set(e, ERR_IO, "%s: cannot be written: %s", f->path, strerror(errno));
  os_unfinished[0] = 0;
  return true;
}

/* ---- time ---- */

static double os_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void os_local_time(char *out, size_t size) {
  time_t now = time(NULL);
  struct tm t;
  if (!localtime_r(&now, &t) || strftime(out, size, "%Y-%m-%dT%H:%M:%S", &t) == 0) snprintf(out, size, "1970-01-01T00:00:00");
}

static uint64_t os_random(void) {
  uint64_t value = 0;
  int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, &value, sizeof value) : 0;
  if (fd >= 0) close(fd);
  if (n == (ssize_t)sizeof value) return value;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000007u ^ (uint64_t)t.tv_nsec << 20 ^ (uint64_t)getpid();
}

/* ---- threads ---- */

struct os_start {
  void (*run)(void *);
  void *argument;
  uint32_t taken; // set by the new thread once it has copied the two fields above
};

static void *os_thread_main(void *p) {
  struct os_start *start = p, copy = *start;
  __atomic_store_n(&start->taken, 1, __ATOMIC_RELEASE);
  os_wake(&start->taken);
  copy.run(copy.argument);
  return NULL;
}

static bool os_thread_start(struct os_thread *t, void (*run)(void *), void *argument, struct bk_error *e) {
  struct os_start start = {run, argument, 0};
  pthread_t thread;
  int code = pthread_create(&thread, NULL, os_thread_main, &start);
  if (code != 0) return err_set(e, ERR_OS, "cannot start a thread: %s", strerror(code));
  while (!__atomic_load_n(&start.taken, __ATOMIC_ACQUIRE)) os_wait(&start.taken, 0);
  memcpy(&t->handle, &thread, sizeof thread < sizeof t->handle ? sizeof thread : sizeof t->handle);
  return true;
}

static void os_thread_join(struct os_thread *t) {
  pthread_t thread;
  memcpy(&thread, &t->handle, sizeof thread < sizeof t->handle ? sizeof thread : sizeof t->handle);
  pthread_join(thread, NULL);
}

/* cgroup v2 only: /sys/fs/cgroup/cpu.max is "QUOTA PERIOD" in microseconds or "max PERIOD" (kernel: cgroup-v2.rst). */
static int os_cpu_quota(void) {
  char text[64];
  int fd = open("/sys/fs/cgroup/cpu.max", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return INT_MAX;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return INT_MAX;
  text[n] = 0;
  long quota, period;
  if (sscanf(text, "%ld %ld", &quota, &period) != 2 || quota <= 0 || period <= 0) return INT_MAX;
  long cpus = (quota + period - 1) / period;
  return cpus < INT_MAX ? (int)cpus : INT_MAX;
}

static int os_cpu_count(void) {
  long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef CPU_COUNT
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
  int quota = os_cpu_quota();
  if (n > quota) n = quota;
  return n < 1 ? 1 : n > 256 ? 256 : (int)n;
}

static void os_wait(uint32_t *word, uint32_t while_equal) {
#ifdef OS_FUTEX
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
#else
  struct timespec nap = {0, 50000};
  if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == while_equal) nanosleep(&nap, NULL);
#endif
}

static void os_wake(uint32_t *word) {
#ifdef OS_FUTEX
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
  (void)word;
#endif
}

static void os_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("pause" ::: "memory");
#elif defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

/* ---- processor ---- */

#if defined(__x86_64__)
/* Leaf 7, subleaf 1, EAX bit 4. (No name for it in every compiler's __builtin_cpu_supports.) */
static bool os_has_avx_vnni(void) {
#if defined(AVX_VNNI_EVEX) // the test build of simd/avx_vnni.h
  return os_has_isa(ISA_AVX512);
#else
  unsigned a = 0, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
#endif
}
#endif

static bool os_has_isa(enum os_isa isa) {
  switch (isa) {
  case ISA_SCALAR: return true;
#if defined(__x86_64__)
  case ISA_AVX2:
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx");
  case ISA_AVX_VNNI: return os_has_isa(ISA_AVX2) && os_has_avx_vnni(); // AVX2 says that the system keeps the registers
  case ISA_AVX512:
    return os_has_isa(ISA_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
  case ISA_NEON: return true;
#ifdef OS_AUXV
  case ISA_NEON_DOT: return (getauxval(AT_HWCAP) & 1u << 20) != 0; // HWCAP_ASIMDDP
  case ISA_NEON_I8MM: return os_has_isa(ISA_NEON_DOT) && (getauxval(AT_HWCAP2) & 1u << 13) != 0; // HWCAP2_I8MM
#endif
#endif
  default: return false;
  }
}
