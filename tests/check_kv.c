/* check_kv.c -- pages of keys and values: how a page is laid out, taking and giving back, what is written is what is
 * read. Holds for every KV_PAGE: `cc -DKV_PAGE=4` runs all of this, and the engine, on pages of four tokens.
 * SPDX-License-Identifier: MIT */

static uint64_t kvt_state = 7;
static float kvt_random(void) { return (float)(sample_uniform(&kvt_state) * 2 - 1); } // [-1, 1)

static float kvt_code(enum kv_type type, const char *codes, int i) { // element i of int16 or int8 codes
  int16_t q;
  memcpy(&q, codes + 2 * (type == KV_F16 ? i : 0), sizeof q);
  return type == KV_F16 ? (float)q : (float)(int8_t)codes[i];
}

/* Reading back, from the description of the layout in kv.c. */
static float kvt_key(enum kv_type type, const char *keys, int head_dim, int slot, int d) {
  const char *group = keys + kern_key_bytes(type, head_dim) * (size_t)(slot / GROUP);
  int lane = slot % GROUP, each = type == KV_F16 ? 2 : 1, in = d % BLOCK, block_bytes = GROUP * (4 + BLOCK * each);
  float f;
  memcpy(&f, group + (type == KV_F32 ? 4 * (GROUP * d + lane) : d / BLOCK * block_bytes + 4 * lane), sizeof f);
  if (type == KV_F32) return f;
  return f * kvt_code(type, group + d / BLOCK * block_bytes + 4 * GROUP, 2 * (GROUP * (in / 2) + lane) + in % 2);
}

static float kvt_value(enum kv_type type, const char *values, int value_dim, int slot, int d) {
  int pad = (int)size_align((size_t)value_dim, GROUP), block = type == KV_Q8 ? BLOCK : pad, n_blocks = (pad + block - 1) / block;
  float f;
  memcpy(&f, values + 4 * (type == KV_F32 ? pad * slot + d : KV_LANES * (d / block) + slot), sizeof f);
  if (type == KV_F32) return f;
  return f * kvt_code(type, values + 4 * KV_LANES * n_blocks, (slot / 2 * pad + d) * 2 + slot % 2);
}

/* What rounding may cost: half a step of the largest that shares the scale. */
static double kvt_bound(enum kv_type type, float most) {
  return type == KV_F32 ? 0 : fabs((double)most) / (type == KV_F16 ? 2 * 8191 : 2 * 127) * 1.002;
}

START_TEST(kv_layouts) {
  for (int type = 0; type < KV_TYPE_COUNT; type++) {
    struct kv_layer layers[3] = {{2, 64, 64, 0, 0, 0}, {1, 80, 40, 0, 0, 0}, {3, 16, 128, 0, 0, 0}};
    struct kv kv = {.type = (enum kv_type)type, .layers = layers, .n_layers = 3};
    size_t bytes = kv_layout(&kv), end = 0;
    ck_assert(bytes == kv.page_bytes && bytes % 4096 == 0);
    struct arena a = test_arena(1 << 16);
    struct bk_error e = {0};
    ck_assert(kv_reserve(&kv, 3, &a, &e));
    for (int l = 0; l < 3; l++)
      for (int h = 0; h < layers[l].n_head_kv; h++) { // one after the other, each on a line of the cache of its own
        size_t k = (size_t)(kv_keys(&kv, 0, l, h) - kv.pages), v = (size_t)(kv_values(&kv, 0, l, h) - kv.pages);
        ck_assert(k % 64 == 0 && v % 64 == 0 && k == end);
        ck_assert(v >= k + kern_key_bytes(kv.type, layers[l].head_dim) * (KV_LANES / GROUP));
        end = v + layers[l].value_bytes;
        ck_assert(end >= v + kern_value_bytes(kv.type, layers[l].value_dim));
      }
    ck_assert(end <= bytes && bytes - end < 4096);
    ck_assert_ptr_eq(kv_keys(&kv, 2, 1, 0), kv_keys(&kv, 0, 1, 0) + 2 * bytes);
    os_release(kv.memory);
  }
  ck_assert_int_eq(kv_pages_for(0), 0);
  ck_assert_int_eq(kv_pages_for(1), 1);
  ck_assert_int_eq(kv_pages_for(KV_PAGE), 1);
  ck_assert_int_eq(kv_pages_for(KV_PAGE + 1), 2);
}
END_TEST

START_TEST(kv_too_many_pages) {
  struct kv_layer layer = {1, 64, 64, 0, 0, 0};
  struct kv kv = {.type = KV_F16, .layers = &layer, .n_layers = 1};
  struct arena a = test_arena(4096);
  struct bk_error e = {0};
  kv_layout(&kv);
  ck_assert(!kv_reserve(&kv, 1 << 20, &a, &e)); // the list of pages does not fit
  test_error(&e, ERR_OS, "1048576 pages");
}
END_TEST

START_TEST(kv_take_and_give) {
  enum { N = 37, ROUNDS = 20000 };
  struct kv_layer layer = {1, 8, 8, 0, 0, 0};
  struct kv kv = {.type = KV_F16, .layers = &layer, .n_layers = 1};
  struct arena a = test_arena(1 << 16);
  struct bk_error e = {0};
  kv_layout(&kv);
  ck_assert(kv_reserve(&kv, N, &a, &e));
  int held[8][N], n_held[8] = {0}, owner[N], total = 0, first[3];
  for (int i = 0; i < N; i++) owner[i] = -1;
  ck_assert(kv_take(&kv, 3, first) && first[0] == 0 && first[1] == 1 && first[2] == 2); // the lowest number first
  kv_give(&kv, 3, first);
  for (int round = 0; round < ROUNDS; round++) {
    int who = (int)(sample_uniform(&kvt_state) * 8), want = (int)(sample_uniform(&kvt_state) * 12);
    if (n_held[who]) {
      kv_give(&kv, n_held[who], held[who]);
      for (int i = 0; i < n_held[who]; i++) owner[held[who][i]] = -1;
      total -= n_held[who];
      n_held[who] = 0;
    } else {
      bool fits = want <= N - total;
      held[who][0] = -77;
      ck_assert(kv_take(&kv, want, held[who]) == fits);
      if (!fits) ck_assert_int_eq(held[who][0], -77); // all or nothing
      for (int i = 0; fits && i < want; i++) {
        ck_assert(held[who][i] >= 0 && held[who][i] < N && owner[held[who][i]] == -1);
        owner[held[who][i]] = who;
      }
      n_held[who] = fits ? want : 0;
      total += n_held[who];
    }
    ck_assert_int_eq(kv.n_free, N - total);
  }
  os_release(kv.memory);
}
END_TEST

/* Writes every slot in a shuffled order, twice; then each holds its own, so no slot touches another. */
START_TEST(kv_round_trip) {
  static const int dims[][2] = {{8, 8}, {16, 64}, {64, 64}, {80, 40}, {33, 31}, {256, 128}};
  static float k[KV_PAGE][256], v[KV_PAGE][256];
  for (int type = 0; type < KV_TYPE_COUNT; type++)
    for (int i = 0; i < ARRAY_LEN(dims); i++) {
      struct kv_layer layer = {1, dims[i][0], dims[i][1], 0, 0, 0};
      struct kv kv = {.type = (enum kv_type)type, .layers = &layer, .n_layers = 1};
      struct arena a = test_arena(1 << 16);
      struct bk_error e = {0};
      kv_layout(&kv);
      ck_assert(kv_reserve(&kv, 1, &a, &e));
      char *keys = kv_keys(&kv, 0, 0, 0), *values = kv_values(&kv, 0, 0, 0);
      for (int n = 0; n < 2 * KV_PAGE; n++) {
        int slot = n * 5 % KV_PAGE; // 5 and a power of two have no common divisor
        float scale = n % 3 ? 1.0f : 30.0f;
        for (int d = 0; d < dims[i][0]; d++) k[slot][d] = kvt_random() * scale;
        for (int d = 0; d < dims[i][1]; d++) v[slot][d] = kvt_random() * scale;
        kv_put_keys(&kv, kern_get(ISA_SCALAR), keys, dims[i][0], slot, 1, (const float *[]){k[slot]});
        kv_put_values(&kv, kern_get(ISA_SCALAR), values, dims[i][1], slot, 1, (const float *[]){v[slot]});
      }
      for (int slot = 0; slot < KV_PAGE; slot++)
        for (int values_too = 0; values_too < 2; values_too++)
          for (int d = 0; d < dims[i][values_too]; d++) {
            const float *x = values_too ? v[slot] : k[slot];
            float most = 0, y = values_too ? kvt_value(kv.type, values, dims[i][1], slot, d)
                                           : kvt_key(kv.type, keys, dims[i][0], slot, d);
            int share = values_too && type == KV_F16 ? KV_MOST_DIM : BLOCK;
            for (int j = d / share * share; j < dims[i][values_too] && j < d / share * share + share; j++)
              most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
            ck_assert_msg(fabs((double)y - (double)x[d]) <= kvt_bound(kv.type, most),
                          "type %d, slot %d, %d of %d: %.9g for %.9g", type, slot, d, dims[i][values_too], (double)y,
                          (double)x[d]);
          }
      os_release(kv.memory);
    }
}
END_TEST

START_TEST(kv_extremes) { // whatever the size of the numbers: codes stay in range; a NaN is not lost
  static const float largest[] = {0.0f, 1e-38f, 1e-30f, 1e-9f, 1e-5f, 1.0f, 65504.0f, 8e6f, 1.27e7f, 3e38f};
  static char page[1 << 16];
  for (int type = 0; type < KV_TYPE_COUNT; type++)
    for (int i = 0; i < ARRAY_LEN(largest); i++) {
      struct kv kv = {.type = (enum kv_type)type};
      float x[BLOCK];
      for (int d = 0; d < BLOCK; d++) x[d] = largest[i] * (d == 3 ? -1.0f : kvt_random());
      kv_put_values(&kv, kern_get(ISA_SCALAR), page, BLOCK, 0, 1, (const float *[]){x});
      for (int d = 0; d < BLOCK; d++) {
        double y = (double)kvt_value(kv.type, page, BLOCK, 0, d);
        ck_assert(fabs(y - (double)x[d]) <= kvt_bound(kv.type, largest[i]) + 2e-30);
      }
      x[5] = f32_from_bits(0x7FC00000u);
      kv_put_values(&kv, kern_get(ISA_SCALAR), page, BLOCK, 0, 1, (const float *[]){x});
      float y = kvt_value(kv.type, page, BLOCK, 0, 5);
      ck_assert(y != y);
    }
}
END_TEST

/* What a later position holds must not reach an earlier one that is computed beside it, not even as 0 * infinity; and a
 * value beyond the range of half precision is kept. For every set, type and number of columns. */
START_TEST(kv_out_of_sight) {
  float x[GROUP] = {1}, big[GROUP] = {1e30f}, *scratch;
  static float memory[1 << 16];
  static char k[1 << 16], v[1 << 16];
  scratch = memory + ((64 - (uintptr_t)memory % 64) % 64) / sizeof *memory;
  for (int isa = 0; isa < ISA_COUNT; isa++)
    for (int type = 0; type < KV_TYPE_COUNT; type++)
      for (int n = 1; n <= 4; n++) {
        const struct kern *kern = kern_get((enum os_isa)isa);
        struct kv kv = {.type = (enum kv_type)type};
        const char *keys = k, *values = v;
        float out[4][GROUP];
        struct attention a = {.k = &keys, .v = &values, .head_dim = GROUP, .value_dim = GROUP, .value_pad = GROUP, .page1 = 1,
                              .n = n, .scale = 1, .scratch = scratch};
        for (int i = 0; i < n; i++) {
          kv_put_keys(&kv, kern_get(ISA_SCALAR), k, GROUP, i, 1, (const float *[]){x});
          kv_put_values(&kv, kern_get(ISA_SCALAR), v, GROUP, i, 1, (const float *[]){i ? big : x});
          a.q[i] = x;
          a.out[i] = out[i];
          a.last[i] = i;
        }
        if (!kern) continue;
        kern->attention[type](&a);
        ck_assert_float_eq_tol(out[0][0], 1.0f, 0.01f);
        for (int i = 1; i < n; i++) ck_assert(out[i][0] - out[i][0] == 0 && out[i][0] > 1000.0f);
      }
}
END_TEST

static Suite *kv_suite(void) {
  Suite *s = suite_create("kv");
  TCase *t = tcase_create("kv");
  tcase_add_test(t, kv_layouts);
  tcase_add_test(t, kv_too_many_pages);
  tcase_add_test(t, kv_take_and_give);
  tcase_add_test(t, kv_round_trip);
  tcase_add_test(t, kv_extremes);
  tcase_add_test(t, kv_out_of_sight);
  suite_add_tcase(s, t);
  return s;
}
