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

/* n are the runs and the steps; where the gradients are, how many a run has, how many bytes lie from run to run, and
   where those of the last step are kept; and for each step the tensors and the calls that give the gradients, the
   losses, the tensors and the calls of the update. Ends with 0 where a loss or a gradient is not small, else with 1. */
long NAMED(steps)(const long *n) {
  const long runs = n[0], steps = n[1], width = n[3], apart = n[4];
  for (long run = 0; run < runs; run++) {
    REAL *const grads = (REAL *)(n[2] + run * apart), *const kept = (REAL *)(n[5] + run * apart);
    const long *at = n + 6;
    for (long step = 0; step < steps; step++, at += 5) {
      one_run((void *const *)at[0], (const long *)at[1], run);
      if (!NAMED(all_small)((const REAL *)at[2] + run, 1) || !NAMED(all_small)(grads, width)) return 0;
      /* Before the update, which may write over them. */
      if (step == steps - 1)
        for (long i = 0; i < width; i++) kept[i] = grads[i];
      one_run((void *const *)at[3], (const long *)at[4], run);
    }
  }
  return 1;
}
