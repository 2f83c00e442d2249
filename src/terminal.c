/* terminal.c -- a line typed at a terminal, edited as people expect: arrows, Emacs keys, history, UTF-8, long lines.
 *
 * In: keys from standard input. Out: the line, in the editor's own memory. Prompt and echo go to standard error, never to
 * standard output, without colour. The terminal is raw only while terminal_read waits for keys: every way out of it, a
 * signal's included, passes terminal_restore. A terminal that cannot be edited on (TERM=dumb) is read line by line.
 * Edited lines are valid UTF-8 without NUL. One thread, one editor.
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { TERMINAL_HISTORY = 256 << 10, TERMINAL_KEYS = 512, TERMINAL_ROW = 8192 }; // bytes

enum terminal_end { TERMINAL_LINE, TERMINAL_EOF, TERMINAL_INTERRUPT };

struct terminal {
  char *line;           // (cap) what is edited
  char *draft;          // (cap) the new line while an old one is looked at
  char *history;        // (TERMINAL_HISTORY) lines, a NUL behind each, oldest first
  size_t cap, len, draft_len, history_len;
  size_t at, first;     // bytes: where the cursor is, where the part that is shown begins
  size_t recalled;      // where in the history the line comes from; history_len: it is new
  char keys[TERMINAL_KEYS]; // read, not yet looked at
  int n_keys, key;
  const char *prompt;   // ASCII
  bool pasting, full;   // between the marks of a bracketed paste; something did not fit
};

/* ---- raw mode ---- */

static const int terminal_signals[] = {SIGTSTP, SIGCONT, SIGWINCH}; // after each the line is drawn again
static struct sigaction terminal_actions[ARRAY_LEN(terminal_signals)]; // as they were
static struct termios terminal_saved;
static volatile sig_atomic_t terminal_is_raw, terminal_woken, terminal_stopped;

static void terminal_put(struct str s) {
  for (ssize_t n = 0; s.len > 0; s = str_slice(s, (size_t)n, s.len)) {
    n = write(STDERR_FILENO, s.ptr, s.len);
    if (n < 0 && errno == EINTR) n = 0;
    if (n < 0) return; // nobody to tell
  }
}

/* Gives the terminal back as it was. Safe in a signal handler, at any time. */
static void terminal_restore(void) {
  if (!terminal_is_raw) return;
  terminal_put(STR("\x1b[?2004l"));
  tcsetattr(STDIN_FILENO, TCSANOW, &terminal_saved);
  terminal_is_raw = 0;
}

/* Ctrl-Z stays the kernel's, so that the whole pipeline stops; Ctrl-C is ours: it clears a line. */
static void terminal_raw(void) {
  struct termios raw = terminal_saved;
  raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INLCR | IGNCR | ISTRIP | IXON);
  raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN);
  raw.c_cc[VINTR] = raw.c_cc[VQUIT] = _POSIX_VDISABLE;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  terminal_is_raw = 1; // first: a signal in between restores what has not changed yet
  tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  terminal_put(STR("\x1b[?2004h")); // pasted text comes between marks: its line ends do not send it
}

static void terminal_signal(int number) {
  terminal_woken = 1;
  if (number == SIGTSTP) terminal_stopped = 1;
}

static void terminal_watch(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action); // no SA_RESTART: read() is to come back
  action.sa_handler = terminal_signal;
  for (int i = 0; i < ARRAY_LEN(terminal_signals); i++) {
    sigaction(terminal_signals[i], &action, &terminal_actions[i]);
    if (terminal_actions[i].sa_handler == SIG_IGN) sigaction(terminal_signals[i], &terminal_actions[i], NULL);
  }
}

static void terminal_leave(void) {
  terminal_restore();
  for (int i = 0; i < ARRAY_LEN(terminal_signals); i++) sigaction(terminal_signals[i], &terminal_actions[i], NULL);
  if (terminal_stopped) raise(SIGTSTP);
  terminal_woken = terminal_stopped = 0;
}

static bool terminal_enter(void) {
  const char *kind = getenv("TERM");
  if (!kind || !*kind || strcmp(kind, "dumb") == 0 || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return false;
  if (tcgetattr(STDIN_FILENO, &terminal_saved) != 0) return false;
  terminal_watch();
  terminal_raw();
  return true;
}

/* After a signal: stops if that is what it said, and makes the terminal ours again. */
static void terminal_wake(void) {
  if (terminal_stopped) {
    terminal_leave();
    terminal_watch();
  }
  terminal_woken = 0;
  terminal_raw();
}

/* ---- the line on the screen ---- */

/* Columns of a character: a rough table, as only the cursor depends on it. */
static int terminal_columns(uint32_t c) {
  static const struct { uint32_t from, to; int columns; } ranges[] = {
    {0x300, 0x36F, 0}, {0x1100, 0x115F, 2}, {0x200B, 0x200F, 0}, {0x2E80, 0xA4CF, 2}, {0xAC00, 0xD7A3, 2}, {0xF900, 0xFAFF, 2},
    {0xFE00, 0xFE0F, 0}, {0xFE30, 0xFE6F, 2}, {0xFF01, 0xFF60, 2}, {0xFFE0, 0xFFE6, 2}, {0x1F300, 0x1F64F, 2}, {0x1F680, 0x1F6FF, 2},
    {0x1F900, 0x1FAFF, 2}, {0x20000, 0x3FFFD, 2}, {0xE0100, 0xE01EF, 0}};
  for (int i = 0; i < ARRAY_LEN(ranges); i++)
    if (c >= ranges[i].from && c <= ranges[i].to) return ranges[i].columns;
  return 1;
}

static size_t terminal_left(const struct terminal *t, size_t at) { // the character before
  while (at > 0 && ((uint8_t)t->line[--at] & 0xC0) == 0x80) {}
  return at;
}

static size_t terminal_right(const struct terminal *t, size_t at) {
  if (at < t->len) utf8_decode((struct str){t->line, t->len}, &at);
  return at;
}

static int terminal_columns_at(const struct terminal *t, size_t at) {
  return terminal_columns(utf8_decode((struct str){t->line, t->len}, &at));
}

/* Draws the prompt and as much of the line as one row holds, with the cursor in it. */
static void terminal_show(struct terminal *t) {
  char memory[TERMINAL_ROW];
  struct buf b = {memory, 0, sizeof memory, false};
  struct winsize size = {0, 0, 0, 0};
  ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
  int prompt = (int)strlen(t->prompt), room = (size.ws_col > 0 ? size.ws_col : 80) - prompt - 1, column = 0, used = 0;
  if (room < 8) room = 8;
  bool jump = t->at <= t->first; // the cursor left the part that is shown: let it come to stand a third into it
  size_t p = t->at, floor = jump ? 0 : t->first;
  while (p > floor && column + terminal_columns_at(t, terminal_left(t, p)) <= (jump ? room / 3 : room)) {
    p = terminal_left(t, p);
    column += terminal_columns_at(t, p);
  }
  t->first = p;
  buf_byte(&b, '\r');
  buf_put(&b, str_from(t->prompt));
  while (p < t->len && (used += terminal_columns_at(t, p)) <= room && b.len < sizeof memory - 64) {
    size_t end = terminal_right(t, p);
    uint8_t c = (uint8_t)t->line[p];
    buf_put(&b, c == '\n' ? STR("\xE2\x86\xB5") : c < 32 ? STR(" ") : (struct str){t->line + p, end - p}); // a pasted line end: an arrow
    p = end;
  }
  buf_printf(&b, "\x1b[K\r\x1b[%dC", prompt + column);
  terminal_put(buf_str(&b));
}

/* The next byte from the keyboard; -1: there is none and never will be. */
static int terminal_key(struct terminal *t) {
  while (t->key == t->n_keys) {
    if (terminal_woken) terminal_wake();
    terminal_show(t);
    ssize_t n = read(STDIN_FILENO, t->keys, sizeof t->keys);
    if (n == 0 || (n < 0 && errno != EINTR)) return -1;
    t->key = 0;
    t->n_keys = n > 0 ? (int)n : 0;
  }
  return (uint8_t)t->keys[t->key++];
}

/* ---- editing ---- */

static void terminal_insert(struct terminal *t, struct str s) {
  if (s.len > t->cap - t->len) {
    t->full = true; // said when the line is sent
    return;
  }
  memmove(t->line + t->at + s.len, t->line + t->at, t->len - t->at);
  memcpy(t->line + t->at, s.ptr, s.len);
  t->at += s.len;
  t->len += s.len;
}

static void terminal_delete(struct terminal *t, size_t from, size_t to) {
  memmove(t->line + from, t->line + to, t->len - to);
  t->len -= to - from;
  t->at = from;
}

static bool terminal_is_space(const struct terminal *t, size_t at) { return t->line[at] <= ' ' && t->line[at] > 0; }

static size_t terminal_word_left(const struct terminal *t) {
  size_t at = t->at;
  while (at > 0 && terminal_is_space(t, at - 1)) at--;
  while (at > 0 && !terminal_is_space(t, at - 1)) at--;
  return at;
}

static size_t terminal_word_right(const struct terminal *t) {
  size_t at = t->at;
  while (at < t->len && terminal_is_space(t, at)) at++;
  while (at < t->len && !terminal_is_space(t, at)) at++;
  return at;
}

static void terminal_remember(struct terminal *t) {
  size_t last = t->history_len ? t->history_len - 1 : 0, need = t->len + 1;
  while (last > 0 && t->history[last - 1]) last--;
  bool again = t->history_len && str_eq(str_from(t->history + last), (struct str){t->line, t->len});
  if (t->len == 0 || again || need > TERMINAL_HISTORY) return;
  while (TERMINAL_HISTORY - t->history_len < need) { // the oldest go
    size_t oldest = strlen(t->history) + 1;
    memmove(t->history, t->history + oldest, t->history_len - oldest);
    t->history_len -= oldest;
  }
  memcpy(t->history + t->history_len, t->line, t->len);
  t->history_len += need;
  t->history[t->history_len - 1] = 0;
}

static void terminal_recall(struct terminal *t, bool older) {
  size_t to = t->recalled;
  if (older ? to == 0 : to == t->history_len) return;
  if (to == t->history_len) memcpy(t->draft, t->line, t->draft_len = t->len);
  if (older) for (to--; to > 0 && t->history[to - 1]; to--) {}
  else to += strlen(t->history + to) + 1;
  struct str s = to == t->history_len ? (struct str){t->draft, t->draft_len} : str_from(t->history + to);
  memcpy(t->line, s.ptr, s.len);
  t->len = t->at = s.len;
  t->first = 0;
  t->recalled = to;
}

/* A character of several bytes; what is no UTF-8 is dropped. */
static void terminal_multibyte(struct terminal *t, int lead) {
  char bytes[4] = {(char)lead, 0, 0, 0};
  int n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  for (int i = 1; i < n; i++) {
    int c = terminal_key(t);
    if (c >= 0 && (c & 0xC0) != 0x80) t->key--; // it begins something else
    if (c < 0 || (c & 0xC0) != 0x80) return;
    bytes[i] = (char)c;
  }
  struct str s = {bytes, (size_t)n};
  if (utf8_valid(s)) terminal_insert(t, s);
}

/* What follows an escape: ECMA-48's CSI with two numbers, xterm's SS3, or Alt and a letter. */
static void terminal_escape(struct terminal *t) {
  int c = terminal_key(t), number[2] = {0, 0}, i = 0;
  while (c == 0x1B) c = terminal_key(t);
  if (c == 'b') t->at = terminal_word_left(t);
  if (c == 'f') t->at = terminal_word_right(t);
  if (c == 8 || c == 127) terminal_delete(t, terminal_word_left(t), t->at);
  if (c != '[' && c != 'O') return;
  while ((c = terminal_key(t)) >= 0x20 && c < 0x40) {
    if (c == ';') i = 1;
    else if (c >= '0' && c <= '9' && number[i] < 1000) number[i] = number[i] * 10 + c - '0';
  }
  bool word = number[1] > 1; // with Shift, Alt or Ctrl
  if (c == '~') {
    static const struct { int number; char as; } keys[] = {{1, 'H'}, {7, 'H'}, {4, 'F'}, {8, 'F'}};
    for (int k = 0; k < ARRAY_LEN(keys); k++)
      if (keys[k].number == number[0]) c = keys[k].as;
    if (number[0] == 3) terminal_delete(t, t->at, terminal_right(t, t->at));
    if (number[0] == 200 || number[0] == 201) t->pasting = number[0] == 200;
  }
  if (c == 'A' || c == 'B') terminal_recall(t, c == 'A');
  if (c == 'C') t->at = word ? terminal_word_right(t) : terminal_right(t, t->at);
  if (c == 'D') t->at = word ? terminal_word_left(t) : terminal_left(t, t->at);
  if (c == 'H') t->at = 0;
  if (c == 'F') t->at = t->len;
}

static void terminal_control(struct terminal *t, int c) {
  switch (c) {
  case 1: t->at = 0; break;                                                       // Ctrl-A
  case 2: t->at = terminal_left(t, t->at); break;                                 // Ctrl-B
  case 4: terminal_delete(t, t->at, terminal_right(t, t->at)); break;             // Ctrl-D
  case 5: t->at = t->len; break;                                                  // Ctrl-E
  case 6: t->at = terminal_right(t, t->at); break;                                // Ctrl-F
  case 8: case 127: terminal_delete(t, terminal_left(t, t->at), t->at); break;    // backspace
  case 11: t->len = t->at; break;                                                 // Ctrl-K
  case 12: terminal_put(STR("\x1b[H\x1b[2J")); break;                             // Ctrl-L
  case 14: case 16: terminal_recall(t, c == 16); break;                           // Ctrl-N, Ctrl-P
  case 21: terminal_delete(t, 0, t->at); break;                                   // Ctrl-U
  case 23: terminal_delete(t, terminal_word_left(t), t->at); break;               // Ctrl-W
  default: break;
  }
}

static void terminal_clear(struct terminal *t) {
  t->len = t->at = t->first = t->draft_len = 0;
  t->recalled = t->history_len;
  t->pasting = t->full = false;
}

static enum terminal_end terminal_edit(struct terminal *t) {
  for (;;) {
    int c = terminal_key(t);
    bool end = c == '\r' || c == '\n';
    if (c < 0 || (c == 4 && t->len == 0)) return TERMINAL_EOF;
    if (c == 3 && t->len == 0) return TERMINAL_INTERRUPT;
    if (c == 3) {
      terminal_put(STR("^C\r\n"));
      terminal_clear(t);
    } else if (end && !t->pasting && t->full) {
      terminal_put(STR("\r\nThe line is too long: not all of it is there, so it was not sent.\r\n"));
      t->full = false;
    } else if (end && !t->pasting) {
      return TERMINAL_LINE;
    } else if (c == 0x1B) {
      terminal_escape(t);
    } else if (c >= 0xC2 && c <= 0xF4) {
      terminal_multibyte(t, c);
    } else if (end || c == '\t' || (c >= 32 && c < 127)) {
      char byte = (char)(c == '\r' ? '\n' : c);
      terminal_insert(t, (struct str){&byte, 1});
    } else if (!t->pasting) {
      terminal_control(t, c);
    }
  }
}

/* ---- what main.c calls ---- */

/* Memory for lines of at most `cap` bytes, and for a history. False: it does not fit the arena. */
static bool terminal_open(struct terminal *t, size_t cap, struct arena *a) {
  memset(t, 0, sizeof *t);
  t->cap = cap;
  t->line = arena_raw(a, cap + 2, 1, 1); // and for fgets a line end and a NUL
  t->draft = arena_raw(a, cap, 1, 1);
  t->history = arena_raw(a, TERMINAL_HISTORY, 1, 1);
  return t->line && t->draft && t->history;
}

/* The next line, without its end; it lives until the next call. TERMINAL_EOF: Ctrl-D on an empty line, or the terminal
 * is gone; TERMINAL_INTERRUPT: Ctrl-C on an empty line. */
static enum terminal_end terminal_read(struct terminal *t, const char *prompt, struct str *line) {
  t->prompt = prompt;
  terminal_clear(t);
  enum terminal_end end = TERMINAL_LINE;
  if (terminal_enter()) {
    end = terminal_edit(t);
    t->at = t->len;
    terminal_show(t);
    terminal_put(end == TERMINAL_INTERRUPT ? STR("^C\r\n") : STR("\r\n"));
    terminal_leave();
    if (end == TERMINAL_LINE) terminal_remember(t);
  } else { // a terminal's own lines have at most 4095 bytes: nothing is cut
    terminal_put(str_from(prompt));
    if (fgets(t->line, (int)t->cap + 2, stdin)) t->len = strcspn(t->line, "\n");
    else end = TERMINAL_EOF;
    if (end == TERMINAL_EOF) terminal_put(STR("\n"));
  }
  *line = (struct str){t->line, t->len};
  return end;
}
