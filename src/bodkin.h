/* bodkin.h -- the public interface. If a function is not in this file, it is not part of the interface.
 * SPDX-License-Identifier: MIT */
#ifndef BODKIN_H
#define BODKIN_H

/* An error: code 0 is none; otherwise a number of sysexits.h and one sentence that names what is wrong and where.
 * Give a zeroed one to each call; the first error is kept. */
struct bk_error {
  int code;
  char message[512];
};

#endif
