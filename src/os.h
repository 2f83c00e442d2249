/* os.h -- everything bodkin asks of the operating system and of the processor: files mapped, memory reserved, threads,
 * sleeping and waking, the clock, which instruction sets there are. os.c is the only file that knows which system this is.
 * SPDX-License-Identifier: MIT */
#ifndef OS_H
#define OS_H

#include "base.h"

/* ---- memory ---- */
/* A zeroed, private range, 2 MiB aligned when it is that large; pages cost memory when they are first touched.
 * Empty arena and an error if the system refuses. Thread-safe. Refused (a bug) while os_forbid_alloc(true) holds. */
static struct arena os_reserve(size_t bytes, struct bk_error *e);
static void os_release(struct arena whole);        // `whole` as os_reserve returned it
static void os_forget(const void *p, size_t bytes); // whole pages inside the range are given back; a file's come again when read
static void os_want_huge(const void *p, size_t bytes);
static bool os_forbid_alloc(bool forbidden);       // per thread: debug builds also trap the C library's malloc

/* ---- files ---- */
struct os_file {
  const char *ptr; // the whole file, read only, shared; NULL for an empty one
  size_t size;     // bytes, from fstat
  uint64_t device, inode; // which file it is
};
/* Maps a regular file. Error: no such file (66), not permitted (77), a directory or special file (66), I/O (74). */
static bool os_map(const char *path, struct os_file *out, struct bk_error *e);
static void os_unmap(struct os_file *f);
static bool os_is_same(const char *path, const struct os_file *f); // does the path lead to that file?
/* Reads a small file (at most `limit` bytes) into the arena. */
static bool os_read_file(const char *path, size_t limit, struct arena *a, struct str *out, struct bk_error *e);
static bool os_is_file(const char *path);
static bool os_is_directory(const char *path);
static struct str os_program_folder(struct arena *a); // where the running program lies, without a last '/'; empty if unknown
/* Calls `each` with every name in the folder, sorted bytewise, "." and ".." left out; stops when it returns false. */
static bool os_list(const char *path, struct arena scratch, bool (*each)(void *context, const char *name), void *context);

/* A stream to read from: a path, or "-" for standard input. *bytes: of a regular file; 0: nobody knows. -1 and an error. */
static int os_open_stream(const char *path, uint64_t *bytes, struct bk_error *e);
static int64_t os_read(int fd, char *to, size_t bytes); // as read(), but for interruptions; -1: failed
static bool os_ready(int fd);                           // would os_read return at once?
static void os_close(int fd);

/* Standard input, output and error that are closed are taken, so that no file comes to their numbers; using them fails. */
static void os_take_standard(void);

/* A file that is read and written at places, made if it is not there, for several processes. */
static int os_open_log(const char *path, struct bk_error *e);
static bool os_lock(int fd, bool lock);                // waits; a lock ends with its process
static bool os_is_open(const char *path, int fd);      // does the path lead to that file?
static uint64_t os_size(int fd);
static bool os_set_size(int fd, uint64_t bytes);
static int64_t os_read_at(int fd, char *to, size_t bytes, uint64_t at); // fewer than asked for: there are no more
static bool os_write_at(int fd, struct str bytes, uint64_t at);

/* A file being written beside `path` under a name of its own; os_commit makes it `path`, all of it or nothing. One at a
 * time; os_discard removes what was not committed and may be called by a signal's handler and more than once. */
enum { OS_PATH = 4096 };
struct os_output {
  int fd;
  const char *path;
};
/* alone: nobody else writes it now, and what one who was killed left is taken over. Error: not permitted (77), a path that is
 * no file or cannot be made (74). `path` must live until the end. */
static bool os_create(struct os_output *f, const char *path, bool alone, struct bk_error *e);
static bool os_write(struct os_output *f, struct str bytes, struct bk_error *e);
static bool os_commit(struct os_output *f, struct bk_error *e); // to the disk, then renamed
static void os_discard(void);

/* ---- time ---- */
static double os_seconds(void); // monotonic, arbitrary origin
static void os_local_time(char *out, size_t size); // 2026-01-15T12:34:56
static uint64_t os_random(void); // from the system, for seeds; never fails (falls back to the clock)

/* ---- threads ---- */
struct os_thread {
  uintptr_t handle;
};
static bool os_thread_start(struct os_thread *t, void (*run)(void *), void *argument, struct bk_error *e);
static void os_thread_join(struct os_thread *t);
static int os_cpu_count(void);                           // allowed by affinity and by the cgroup's quota, at least 1
static void os_wait(uint32_t *word, uint32_t while_equal); // sleeps unless *word differs; may return early
static void os_wake(uint32_t *word);                     // wakes everyone who sleeps on it
static void os_pause(void);                              // a breath inside a short spin

/* ---- processor ---- */
enum os_isa { ISA_SCALAR, ISA_AVX2, ISA_AVX_VNNI, ISA_AVX512, ISA_NEON, ISA_NEON_DOT, ISA_NEON_I8MM, ISA_COUNT };
static bool os_has_isa(enum os_isa isa); // AVX2: with FMA and F16C; AVX512: F BW VL DQ VNNI; it and AVX_VNNI: all of AVX2

#endif
