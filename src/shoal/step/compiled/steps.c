/* Steps of a stack in a row, run by run: the parameters of a run, its gradient and what its optimizer keeps stay in the
   processor's cache from step to step. REAL is the type; see pieces.py. */

/* Whether no number is nan, and none so large that a norm could overflow. */
static inline int NAMED(all_small)(const REAL *x, long n) {
  const REAL large = 1e15;
  long i = 0, small = 1;
  VECTOR sum = SPREAD(0);
  for (; i + LANES <= n; i += LANES) {
    const VECTOR y = LOAD(x + i);
    sum = MULTIPLY_ADD(y, y, sum);
  }
  REAL squares[LANES];
  STORE(squares, sum);
  for (int l = 0; l < LANES; l++) small &= squares[l] < large * large;
  for (; i < n; i++) small &= x[i] < large && x[i] > -large;
  return small;
}

/* The Euclidean norm as torch adds it up: in vectors of 32 bytes, of 16 where none are wider, each square rounded. */
#if defined(__aarch64__)
enum { NAMED(SQUARES) = 16 / sizeof(REAL) };
#else
enum { NAMED(SQUARES) = 32 / sizeof(REAL) };
#endif
typedef REAL NAMED(squares) __attribute__((vector_size(NAMED(SQUARES) * sizeof(REAL)), aligned(sizeof(REAL))));

static inline REAL NAMED(norm)(const REAL *x, long n) {
  NAMED(squares) sum = {0};
  long i = 0;
  for (; i + NAMED(SQUARES) <= n; i += NAMED(SQUARES)) {
    const NAMED(squares) y = *(const NAMED(squares) *)(x + i);
    sum += y * y;
  }
  REAL total = sum[0];
  for (int l = 1; l < NAMED(SQUARES); l++) total += sum[l];
  for (; i < n; i++) total += x[i] * x[i];
  return sizeof(REAL) == sizeof(float) ? __builtin_sqrtf(total) : __builtin_sqrt(total);
}

/* Clip to a norm, then in every number; see clipping.py. */
static void NAMED(clip_norm)(REAL *x, long n, REAL limit) {
  const REAL ratio = limit / (NAMED(norm)(x, n) + (REAL)1e-6), factor = ratio < 1 ? ratio : 1;
  for (long i = 0; i < n; i++) x[i] *= factor;
}

static void NAMED(clip_values)(REAL *x, long n, REAL limit) {
  for (long i = 0; i < n; i++) {
    const REAL y = x[i] > -limit ? x[i] : -limit;
    x[i] = y < limit ? y : limit;
  }
}

/* n are the runs and the steps; where the gradients are, how many a run has, how many bytes lie from run to run, and
   where those of the last step are kept; where the runs' limits for norms and values are, if any; and for each step the tensors and the calls that give the gradients, the
   losses, the tensors and the calls of the update. Ends with 0 where a loss or a gradient is not small, else with 1. */
long NAMED(steps)(const long *n) {
  const long runs = n[0], steps = n[1], width = n[3], apart = n[4];
  const REAL *const norms = (const REAL *)n[6], *const values = (const REAL *)n[7];
  for (long run = 0; run < runs; run++) {
    REAL *const grads = (REAL *)(n[2] + run * apart), *const kept = (REAL *)(n[5] + run * apart);
    const long *at = n + 8;
    for (long step = 0; step < steps; step++, at += 5) {
      one_run((void *const *)at[0], (const long *)at[1], run);
      if (!NAMED(all_small)((const REAL *)at[2] + run, 1) || !NAMED(all_small)(grads, width)) return 0;
      /* Before what may write over them. */
      if (step == steps - 1)
        for (long i = 0; i < width; i++) kept[i] = grads[i];
      if (norms) NAMED(clip_norm)(grads, width, norms[run]);
      if (values) NAMED(clip_values)(grads, width, values[run]);
      one_run((void *const *)at[3], (const long *)at[4], run);
    }
  }
  return 1;
}
