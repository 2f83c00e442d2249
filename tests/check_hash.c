/* check_hash.c -- SHA-256 against the examples of FIPS 180-4 and NIST's byte test vectors, in pieces of every size.
 * SPDX-License-Identifier: MIT */

static void hash_expect(struct str bytes, const char *expected) {
  uint8_t digest[32];
  char hex[65];
  hash_sha256(bytes, digest);
  hash_hex(digest, hex);
  ck_assert_str_eq(hex, expected);
  ck_assert(hash_is_hex(str_from(hex)));
}

START_TEST(hash_vectors) {
  hash_expect(STR_NONE, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  hash_expect(STR("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  hash_expect(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  hash_expect(STR("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                  "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
              "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  hash_expect(STR("\xd3"), "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1");
  hash_expect(STR("\x11\xaf"), "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98");
}
END_TEST

START_TEST(hash_million) {
  struct arena a = test_arena(1 << 20);
  struct str s = {arena_alloc(&a, 1000000, 1, 1), 1000000};
  memset((char *)(uintptr_t)s.ptr, 'a', s.len);
  hash_expect(s, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

/* Every length around the padding's boundaries, cut in three at every pair of places. */
START_TEST(hash_pieces) {
  char text[150];
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7 + 3);
  for (size_t n = 0; n < sizeof text; n++) {
    uint8_t whole[32], pieces[32];
    hash_sha256((struct str){text, n}, whole);
    for (size_t i = 0; i <= n; i++)
      for (size_t k = i; k <= n; k += 1 + n / 16) {
        struct hash_sha256 s = hash_sha256_init();
        hash_sha256_update(&s, (struct str){text, i});
        hash_sha256_update(&s, (struct str){text + i, k - i});
        hash_sha256_update(&s, (struct str){text + k, n - k});
        hash_sha256_final(&s, pieces);
        if (memcmp(whole, pieces, sizeof whole) != 0) ck_abort_msg("%zu bytes cut at %zu and %zu", n, i, k);
      }
  }
}
END_TEST

START_TEST(hash_hex_digits) {
  ck_assert(!hash_is_hex(STR_NONE));
  ck_assert(!hash_is_hex(STR("0123")));
  char hex[65] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  ck_assert(hash_is_hex(str_from(hex)));
  const char bad[] = {'A', 'F', 'g', '/', ':', '`', ' ', 0};
  for (size_t i = 0; i < sizeof bad; i++) {
    hex[31] = bad[i];
    ck_assert(!hash_is_hex((struct str){hex, 64}));
  }
}
END_TEST

static Suite *hash_suite(void) {
  Suite *s = suite_create("hash");
  TCase *t = tcase_create("hash");
  tcase_add_test(t, hash_vectors);
  tcase_add_test(t, hash_million);
  tcase_add_test(t, hash_pieces);
  tcase_add_test(t, hash_hex_digits);
  suite_add_tcase(s, t);
  return s;
}
