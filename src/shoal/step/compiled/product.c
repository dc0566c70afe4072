/* Products of small matrices. REAL is the type, and the macros below are of its vectors; see pieces.py.

   A block of rows by two vectors of columns is summed in registers, over the inner dimension in its order and with one
   rounding for each term, which is what the library computes for an inner dimension of this size. */

#define BLOCK(name, rows, vectors)                                                                                  \
  static inline void NAMED(name)(const REAL *a, long ar, long ac, const REAL *b, long br, REAL *c, long cr,         \
                                 long inner, long left) {                                                           \
    VECTOR sum[rows][vectors];                                                                                      \
    for (int r = 0; r < rows; r++)                                                                                  \
      for (int v = 0; v < vectors; v++) sum[r][v] = SPREAD(0);                                                      \
    for (long k = 0; k < inner; k++) {                                                                              \
      VECTOR y[vectors];                                                                                            \
      for (int v = 0; v < vectors; v++) y[v] = LOAD(b + k * br + v * LANES);                                        \
      for (int r = 0; r < rows; r++) {                                                                              \
        const VECTOR x = SPREAD(a[r * ar + k * ac]);                                                                \
        for (int v = 0; v < vectors; v++) sum[r][v] = MULTIPLY_ADD(x, y[v], sum[r][v]);                             \
      }                                                                                                             \
    }                                                                                                               \
    for (int r = 0; r < rows; r++) {                                                                                \
      for (int v = 0; v < vectors - 1; v++) STORE(c + r * cr + v * LANES, sum[r][v]);                               \
      NAMED(store)(c + r * cr + (vectors - 1) * LANES, sum[r][vectors - 1], left);                                  \
    }                                                                                                               \
  }

/* The first numbers of a vector, as many as are left in a row. */
static inline void NAMED(store)(REAL *to, VECTOR value, long left) {
  if (left >= LANES) {
    STORE(to, value);
    return;
  }
  REAL numbers[LANES];
  STORE(numbers, value);
  for (long i = 0; i < left; i++) to[i] = numbers[i];
}

BLOCK(wide, ROWS, 2)
BLOCK(narrow, ROWS, 1)
BLOCK(wide_row, 1, 2)
BLOCK(narrow_row, 1, 1)

/* All columns of a block of rows, or of one row. */
static void NAMED(columns)(const REAL *a, long ar, long ac, const REAL *b, long br, REAL *c, long width, long inner,
                           int block) {
  long j = 0;
  for (; j + LANES < width; j += 2 * LANES)
    (block ? NAMED(wide) : NAMED(wide_row))(a, ar, ac, b + j, br, c + j, width, inner, width - j - LANES);
  if (j < width) (block ? NAMED(narrow) : NAMED(narrow_row))(a, ar, ac, b + j, br, c + j, width, inner, width - j);
}

/* A matrix row by row, its rows filled up to whole vectors. */
static void NAMED(pack)(const REAL *restrict b, long br, long bc, long width, long inner, long step,
                        REAL *restrict packed) {
  long j = 0;
  for (; j + 8 <= width; j += 8)
    for (long k = 0; k < inner; k++)
      for (int l = 0; l < 8; l++) packed[k * step + j + l] = b[k * br + (j + l) * bc];
  for (; j < step; j++)
    for (long k = 0; k < inner; k++) packed[k * step + j] = j < width ? b[k * br + j * bc] : 0;
}

/* Rows, inner and width, and the strides of the rows and columns of both matrices. */
void NAMED(product)(void *const *p, const long *n) {
  const long rows = n[0], inner = n[1], width = n[2], ar = n[3], ac = n[4], br = n[5], bc = n[6];
  const long padded = (width + LANES - 1) / LANES * LANES;
  const REAL *a = p[0], *b = p[1];
  REAL *c = p[2], packed[LARGEST];
  const int packs = bc != 1 || padded != width;
  if (packs) NAMED(pack)(b, br, bc, width, inner, padded, packed);
  const REAL *right = packs ? packed : b;
  const long step = packs ? padded : br;
  if (rows < ROWS)
    for (long i = 0; i < rows; i++) NAMED(columns)(a + i * ar, ar, ac, right, step, c + i * width, width, inner, 0);
  else
    /* The last block begins early enough to be whole: some of its rows are computed twice, to the same numbers. */
    for (long i = 0; i < rows; i += ROWS) {
      const long at = i + ROWS <= rows ? i : rows - ROWS;
      NAMED(columns)(a + at * ar, ar, ac, right, step, c + at * width, width, inner, 1);
    }
}

/* So many vectors of a row times a matrix that lies row by row: every term is rounded before it is added. Vectors side by
   side, since each sum waits for its last addition. */
static inline void NAMED(part_of_row)(const REAL *a, long ac, const REAL *b, long br, REAL *c, long inner, int vectors) {
  VECTOR sum[4];
  for (int v = 0; v < vectors; v++) sum[v] = SPREAD(0);
  for (long k = 0; k < inner; k++) {
    const VECTOR x = SPREAD(a[k * ac]);
    for (int v = 0; v < vectors; v++) sum[v] += x * LOAD(b + k * br + v * LANES);
  }
  for (int v = 0; v < vectors; v++) STORE(c + v * LANES, sum[v]);
}

void NAMED(row)(void *const *p, const long *n) {
  const long inner = n[1], width = n[2], ac = n[4], br = n[5];
  const REAL *a = p[0], *b = p[1];
  REAL *c = p[2];
  long j = 0;
  for (; j + 4 * LANES <= width; j += 4 * LANES) NAMED(part_of_row)(a, ac, b + j, br, c + j, inner, 4);
  for (; j + 2 * LANES <= width; j += 2 * LANES) NAMED(part_of_row)(a, ac, b + j, br, c + j, inner, 2);
  for (; j + LANES <= width; j += LANES) NAMED(part_of_row)(a, ac, b + j, br, c + j, inner, 1);
  for (; j < width; j++) {
    REAL sum = 0;
    for (long k = 0; k < inner; k++) sum += a[k * ac] * b[k * br + j];
    c[j] = sum;
  }
}

typedef REAL NAMED(four) __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL))));

/* A row times a column, both without gaps: the first term, then four or eight sums side by side, then what is left
   behind the last whole `step` of them. */
static inline REAL NAMED(dot)(const REAL *a, const REAL *b, long inner, int eight, long step) {
  NAMED(four) sum = {0 + a[0] * b[0], 0, 0, 0}, other = {0, 0, 0, 0};
  const long whole = 1 + (inner - 1) / step * step;
  long k = 1;
  if (eight)
    for (; k < whole; k += 8) {
      sum += *(const NAMED(four) *)(a + k) * *(const NAMED(four) *)(b + k);
      other += *(const NAMED(four) *)(a + k + 4) * *(const NAMED(four) *)(b + k + 4);
    }
  else
    for (; k < whole; k += 4) sum += *(const NAMED(four) *)(a + k) * *(const NAMED(four) *)(b + k);
  if (eight) sum += other;
  REAL total = (sum[0] + sum[2]) + (sum[1] + sum[3]);
  for (; k < inner; k++) total += a[k] * b[k];
  return total;
}

/* The same of four columns by fours, side by side: turned, their four sums are added up for all of them at once. */
static inline void NAMED(four_dots)(const REAL *a, const REAL *b, long bc, long inner, REAL *c) {
  NAMED(four) sum[4], turned[4];
  for (int j = 0; j < 4; j++) sum[j] = (NAMED(four)){0 + a[0] * b[j * bc], 0, 0, 0};
  long k = 1;
  for (; k + 4 <= inner; k += 4)
    for (int j = 0; j < 4; j++) sum[j] += *(const NAMED(four) *)(a + k) * *(const NAMED(four) *)(b + j * bc + k);
  for (int i = 0; i < 4; i++) turned[i] = (NAMED(four)){sum[0][i], sum[1][i], sum[2][i], sum[3][i]};
  NAMED(four) total = (turned[0] + turned[2]) + (turned[1] + turned[3]);
  for (; k < inner; k++) total += a[k] * (NAMED(four)){b[k], b[bc + k], b[2 * bc + k], b[3 * bc + k]};
  *(NAMED(four) *)c = total;
}

/* A row times a matrix that lies column by column. The library takes columns by fours, and has other sums for one or
   two that are left over. */
void NAMED(row_by_columns)(void *const *p, const long *n) {
  const long inner = n[1], width = n[2], bc = n[6], left = width % 4;
  const REAL *a = p[0], *b = p[1];
  REAL *c = p[2];
  const long usual = left == 3 ? width : width - left;
  long j = 0;
  for (; j + 4 <= usual; j += 4) NAMED(four_dots)(a, b + j * bc, bc, inner, c + j);
  for (; j < usual; j++) c[j] = NAMED(dot)(a, b + j * bc, inner, 0, 4);
  if (usual < width) c[usual] = NAMED(dot)(a, b + usual * bc, inner, 1, 8);
  if (usual + 1 < width) c[usual + 1] = NAMED(dot)(a, b + (usual + 1) * bc, inner, 0, 8);
}
