/* What a stack's kernels are made of: calls in a row, done for one run before the next one begins. All that a run needs
   between them stays in the processor's cache then. */

typedef void function(void *const *p, const long *n);

/* p are the tensors, and memory for what lies between the calls. n are the runs and the calls, and for each call its
   function, its numbers and its operands: each is a tensor, where in it the first run's begins, and how far it is from
   there to the next one's, both in bytes. */
static void one_run(void *const *p, const long *n, long run) {
  const long calls = n[1], *at = n + 2;
  for (long call = 0; call < calls; call++) {
    function *const compute = (function *)at[0];
    const long *const numbers = (const long *)at[1];
    const long operands = at[2];
    void *q[operands];
    at += 3;
    for (long i = 0; i < operands; i++, at += 3) q[i] = (char *)p[at[0]] + at[1] + run * at[2];
    compute(q, numbers);
  }
}

void each_run(void *const *p, const long *n) {
  for (long run = 0; run < n[0]; run++) one_run(p, n, run);
}

/* A function of the library's over numbers without gaps: where it is, how many there are, and its mode. */
void by_library(void *const *p, const long *n) {
  ((void (*)(int, const void *, void *, long))n[0])(n[1], p[0], p[1], n[2]);
}

typedef void gemm_batch(int order, const int *ta, const int *tb, const int *m, const int *n, const int *k, const void *alpha,
                        const void **a, const int *lda, const void **b, const int *ldb, const void *beta, void **c,
                        const int *ldc, int groups, const int *sizes);
enum { BY_ROWS = 101, AS_IT_LIES = 111, TURNED = 112 };

/* A product by the library: where it is, the bytes of a number, rows, inner and width, and for both matrices whether they
   lie turned and how far a row is from the next. */
void multiplied_by_library(void *const *p, const long *n) {
  const int rows = n[2], inner = n[3], width = n[4], one = 1;
  const int ta = n[5] ? TURNED : AS_IT_LIES, lda = n[6], tb = n[7] ? TURNED : AS_IT_LIES, ldb = n[8];
  const float floats[] = {1, 0};
  const double doubles[] = {1, 0};
  const int is_float = n[1] == sizeof(float);
  const void *alpha = is_float ? (const void *)floats : doubles;
  const void *beta = is_float ? (const void *)(floats + 1) : doubles + 1;
  const void *a = p[0], *b = p[1];
  void *c = p[2];
  ((gemm_batch *)n[0])(BY_ROWS, &ta, &tb, &rows, &width, &inner, alpha, &a, &lda, &b, &ldb, beta, &c, &width, 1, &one);
}
