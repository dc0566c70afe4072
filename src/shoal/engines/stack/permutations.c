/* Orders as torch.randperm draws them with a generator of the CPU: that is the Mersenne Twister (Matsumoto and Nishimura,
   1998), and each place changes with one behind it, or stays. */

enum { N = 624, M = 397 };
typedef unsigned int word;

static void begin(word *state, word seed) {
  state[0] = seed;
  for (word i = 1; i < N; i++) state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
}

static inline word twisted(word upper, word lower, word other) {
  const word both = (upper & 0x80000000u) | (lower & 0x7fffffffu);
  return other ^ (both >> 1) ^ (-(lower & 1u) & 0x9908b0dfu);
}

static void go_on(word *state) {
  long i = 0;
  for (; i < N - M; i++) state[i] = twisted(state[i], state[i + 1], state[i + M]);
  for (; i < N - 1; i++) state[i] = twisted(state[i], state[i + 1], state[i + M - N]);
  state[N - 1] = twisted(state[N - 1], state[0], state[M - 1]);
}

static inline word tempered(word y) {
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

/* For each run's seed the n first whole numbers in the order it draws. */
void permutations(const long long *seeds, long runs, long n, long long *to) {
  for (long run = 0; run < runs; run++, to += n) {
    word state[N], places[N];
    begin(state, (word)seeds[run]);
    for (long i = 0; i < n; i++) to[i] = i;
    for (long first = 0; first < n - 1; first += N) {
      const long left = n - 1 - first, some = left < N ? left : N;
      go_on(state);
      /* Remainders by way of doubles, which are exact here and, unlike whole numbers, divided many at once. */
      for (long i = 0; i < some; i++) {
        const double drawn = tempered(state[i]), behind = left + 1 - i;
        places[i] = drawn - behind * (double)(long long)(drawn / behind);
      }
      for (long i = 0; i < some; i++) {
        long long *const here = to + first + i, *const there = here + places[i], kept = *here;
        *here = *there;
        *there = kept;
      }
    }
  }
}
