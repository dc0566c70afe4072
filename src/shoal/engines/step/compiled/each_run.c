/* What a stack's kernels are made of: calls in a row, done for one run before the next one begins. All that a run needs
   between them stays in the processor's cache then. */

typedef void function(void *const *p, const long *n);

/* p are the tensors, and memory for what lies between the calls. n are the runs and the calls, and for each call its
   function, its numbers and its operands: each is a tensor, where in it the first run's begins, and how far it is from
   there to the next one's, both in bytes. */
void each_run(void *const *p, const long *n) {
  const long runs = n[0], calls = n[1];
  for (long run = 0; run < runs; run++) {
    const long *at = n + 2;
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
}

/* A function of the library's over numbers without gaps: where it is, how many there are, and its mode. */
void by_library(void *const *p, const long *n) {
  ((void (*)(int, const void *, void *, long))n[0])(n[1], p[0], p[1], n[2]);
}
