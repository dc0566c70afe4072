/* Sums and means in the order in which torch adds: by levels, so that few roundings come on top of each other
   (`cascade_sum` in ATen/native/cpu/SumKernel.cpp). REAL is the type; see pieces.py. */

/* Four sums side by side, `between` apart, of n numbers each that are a step apart. T is REAL or a vector of it. */
#define CASCADES(name, T, GET)                                                                                      \
  static inline void NAMED(name)(const REAL *x, long between, long step, long n, T *sums, int streams) {            \
    const int bits = n <= 2 ? 1 : 64 - __builtin_clzl(n - 1), power = bits / 4 > 4 ? bits / 4 : 4;                  \
    const long chunk = 1L << power;                                                                                 \
    T level[4][4];                                                                                                  \
    for (int l = 0; l < 4; l++)                                                                                     \
      for (int s = 0; s < streams; s++) level[l][s] = (T){0};                                                       \
    long i = 0;                                                                                                     \
    while (i + chunk <= n) {                                                                                        \
      T sum[4];                                                                                                     \
      for (int s = 0; s < streams; s++) sum[s] = (T){0};                                                            \
      for (const long end = i + chunk; i < end; i++)                                                                \
        for (int s = 0; s < streams; s++) sum[s] += GET(x + i * step + s * between);                                \
      for (int s = 0; s < streams; s++) level[0][s] = sum[s];                                                       \
      for (int l = 1; l < 4; l++) {                                                                                 \
        for (int s = 0; s < streams; s++) level[l][s] += level[l - 1][s], level[l - 1][s] = (T){0};                 \
        if (i & ((chunk - 1) << (l * power))) break;                                                                \
      }                                                                                                             \
    }                                                                                                               \
    for (; i < n; i++)                                                                                              \
      for (int s = 0; s < streams; s++) level[0][s] += GET(x + i * step + s * between);                             \
    for (int s = 0; s < streams; s++) sums[s] = level[0][s] + level[1][s] + level[2][s] + level[3][s];              \
  }                                                                                                                 \
  /* One sum of four that take turns, and of what is left over. */                                                  \
  static inline T NAMED(name##_in_turn)(const REAL *x, long step, long n) {                                         \
    T sums[4];                                                                                                      \
    NAMED(name)(x, step, 4 * step, n / 4, sums, 4);                                                                 \
    for (long i = n / 4 * 4; i < n; i++) sums[0] += GET(x + i * step);                                              \
    return sums[0] + sums[1] + sums[2] + sums[3];                                                                   \
  }

CASCADES(vectors, VECTOR, LOAD)
CASCADES(numbers, REAL, *)

/* The sum of each column; of the `plain` first ones in one cascade, of the others in four. */
static void NAMED(column_sums)(const REAL *x, long rows, long step, long width, long plain, REAL *to) {
  long j = 0;
  for (; j + 4 * LANES <= plain; j += 4 * LANES) {
    VECTOR sums[4];
    NAMED(vectors)(x + j, LANES, step, rows, sums, 4);
    for (int s = 0; s < 4; s++) STORE(to + j + s * LANES, sums[s]);
  }
  for (; j + 2 * LANES <= plain; j += 2 * LANES) {
    VECTOR sums[2];
    NAMED(vectors)(x + j, LANES, step, rows, sums, 2);
    for (int s = 0; s < 2; s++) STORE(to + j + s * LANES, sums[s]);
  }
  for (; j + LANES <= plain; j += LANES) {
    VECTOR sum;
    NAMED(vectors)(x + j, 0, step, rows, &sum, 1);
    STORE(to + j, sum);
  }
  for (; j < plain; j++) NAMED(numbers)(x + j, 0, step, rows, to + j, 1);
  for (; j + LANES <= width; j += LANES) STORE(to + j, NAMED(vectors_in_turn)(x + j, step, rows));
  for (; j < width; j++) to[j] = NAMED(numbers_in_turn)(x + j, step, rows);
}

/* Sums over the middle one of three dimensions, the outermost of any stride and the others without gaps; each divided
   by the last number. `lanes` is how many numbers torch takes at once. */
void NAMED(sum)(void *const *p, const long *n) {
  const long outer = n[0], rows = n[1], width = n[2], step = n[3], lanes = n[4], divisor = n[5];
  const REAL *x = p[0];
  REAL *to = p[1];
  for (long o = 0; o < outer; o++, x += step, to += width) {
    if (width > 1) {
      const long group = 4 * (width < lanes ? 1 : lanes);
      NAMED(column_sums)(x, rows, width, width, width / group * group, to);
    } else if (rows < lanes) {
      *to = NAMED(numbers_in_turn)(x, 1, rows);
    } else {
      REAL sums[64], total = 0;
      NAMED(column_sums)(x, rows / lanes, lanes, lanes, 0, sums);
      for (long i = rows / lanes * lanes; i < rows; i++) total += x[i];
      for (long l = 0; l < lanes; l++) total += sums[l];
      *to = total;
    }
    if (divisor > 1)
      for (long j = 0; j < width; j++) to[j] /= divisor;
  }
}
