/* Softmax of rows that lie one behind the other, its logarithm, and the gradients of both, in the order in which torch
   computes them (`SoftMaxKernel.cpp` in ATen/native/cpu): by vectors of LANES numbers, of which the last ones of a row
   fill a part. torch begins anew with each row, which for rows of a few numbers is nearly all of its time; here the
   exponentials of many rows are computed one vector behind the other. */

#if FLOATS == 16
#define OF_LANES(name) name##_16
#elif FLOATS == 8
#define OF_LANES(name) name##_8
#endif

#if defined(OF_LANES)
enum { TOGETHER = 2048 };

typedef VECTOR_f of_vector(VECTOR_f);

/* A function of the vector library's, in place. */
static void over_all(of_vector *f, float *x, long n) {
  long i = 0;
  for (; i + FLOATS <= n; i += FLOATS) STORE_f(x + i, f(LOAD_f(x + i)));
  if (i == n) return;
  float last[FLOATS] = {0};
  for (long l = 0; l < n - i; l++) last[l] = x[i + l];
  STORE_f(last, f(LOAD_f(last)));
  for (long l = 0; l < n - i; l++) x[i + l] = last[l];
}

/* The sum of a vector's numbers: of its two halves, of their halves. */
static inline float halves(float *x) {
  for (int half = FLOATS / 2; half; half /= 2)
    for (int l = 0; l < half; l++) x[l] += x[l + half];
  return x[0];
}

static inline float row_sum(const float *x, long n) {
  if (n < FLOATS) {
    float sum = x[0];
    for (long i = 1; i < n; i++) sum += x[i];
    return sum;
  }
  VECTOR_f sum = LOAD_f(x);
  long i = FLOATS;
  for (; i + FLOATS <= n; i += FLOATS) sum += LOAD_f(x + i);
  float sums[FLOATS];
  STORE_f(sums, sum);
  for (long l = 0; l < n - i; l++) sums[l] += x[i + l];
  return halves(sums);
}

/* The sum of products; only what is left over behind whole vectors is multiplied and added with one rounding. */
static inline float row_product(const float *x, const float *y, long n) {
  if (n < FLOATS) {
    float sum = x[0] * y[0];
    for (long i = 1; i < n; i++) sum += x[i] * y[i];
    return sum;
  }
  VECTOR_f sum = LOAD_f(x) * LOAD_f(y);
  long i = FLOATS;
  for (; i + FLOATS <= n; i += FLOATS) sum += LOAD_f(x + i) * LOAD_f(y + i);
  float sums[FLOATS];
  STORE_f(sums, sum);
  for (long l = 0; l < n - i; l++) sums[l] = __builtin_fmaf(x[i + l], y[i + l], sums[l]);
  return halves(sums);
}

static inline float largest(const float *x, long n) {
  float found = x[0];
  for (long i = 1; i < n; i++) found = x[i] > found ? x[i] : found;
  return found;
}

/* n are the rows, how many numbers each has, and where the exponential and the logarithm of the vector library are. */
void OF_LANES(softmax)(void *const *p, const long *n) {
  const long width = n[1], some = TOGETHER / width;
  const float *x = p[0];
  float *to = p[1];
  for (long left = n[0]; left > 0; left -= some, x += some * width, to += some * width) {
    const long rows = left < some ? left : some;
    for (long r = 0; r < rows; r++) {
      const float most = largest(x + r * width, width);
      for (long i = r * width; i < (r + 1) * width; i++) to[i] = x[i] - most;
    }
    over_all((of_vector *)n[2], to, rows * width);
    for (long r = 0; r < rows; r++) {
      const float share = 1 / row_sum(to + r * width, width);
      for (long i = r * width; i < (r + 1) * width; i++) to[i] *= share;
    }
  }
}

void OF_LANES(log_softmax)(void *const *p, const long *n) {
  const long width = n[1], some = TOGETHER / width;
  const float *x = p[0];
  float *to = p[1], powers[TOGETHER], most[TOGETHER], sums[TOGETHER];
  for (long left = n[0]; left > 0; left -= some, x += some * width, to += some * width) {
    const long rows = left < some ? left : some;
    for (long r = 0; r < rows; r++) {
      most[r] = largest(x + r * width, width);
      for (long i = r * width; i < (r + 1) * width; i++) powers[i] = x[i] - most[r];
    }
    over_all((of_vector *)n[2], powers, rows * width);
    for (long r = 0; r < rows; r++) sums[r] = row_sum(powers + r * width, width);
    over_all((of_vector *)n[3], sums, rows);
    for (long r = 0; r < rows; r++)
      for (long i = r * width; i < (r + 1) * width; i++) to[i] = x[i] - most[r] - sums[r];
  }
}

void OF_LANES(softmax_backward)(void *const *p, const long *n) {
  const long width = n[1];
  const float *grad = p[0], *result = p[1];
  float *to = p[2];
  for (long r = 0; r < n[0]; r++, grad += width, result += width, to += width) {
    const float sum = row_product(grad, result, width);
    for (long i = 0; i < width; i++) to[i] = (grad[i] - sum) * result[i];
  }
}

void OF_LANES(log_softmax_backward)(void *const *p, const long *n) {
  const long width = n[1], some = TOGETHER / width;
  const float *grad = p[0], *result = p[1];
  float *to = p[2], powers[TOGETHER];
  for (long left = n[0]; left > 0; left -= some) {
    const long rows = left < some ? left : some;
    for (long i = 0; i < rows * width; i++) powers[i] = result[i];
    over_all((of_vector *)n[2], powers, rows * width);
    for (long r = 0; r < rows; r++, grad += width, result += width, to += width) {
      const float sum = row_sum(grad, width);
      for (long i = 0; i < width; i++) to[i] = __builtin_fmaf(-powers[r * width + i], sum, grad[i]);
    }
  }
}
#endif
