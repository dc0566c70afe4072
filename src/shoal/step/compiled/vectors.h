/* The vectors of the processor that this is compiled for; ROWS fill its registers with sums of two vectors each. */

#if defined(__AVX512F__)
#include <immintrin.h>
#define ROWS 8
#define FLOATS 16
#define LOAD_f _mm512_loadu_ps
#define STORE_f _mm512_storeu_ps
#define SPREAD_f _mm512_set1_ps
#define MULTIPLY_ADD_f _mm512_fmadd_ps
#define VECTOR_f __m512
#define LOAD_d _mm512_loadu_pd
#define STORE_d _mm512_storeu_pd
#define SPREAD_d _mm512_set1_pd
#define MULTIPLY_ADD_d _mm512_fmadd_pd
#define VECTOR_d __m512d
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define ROWS 6
#define FLOATS 8
#define LOAD_f _mm256_loadu_ps
#define STORE_f _mm256_storeu_ps
#define SPREAD_f _mm256_set1_ps
#define MULTIPLY_ADD_f _mm256_fmadd_ps
#define VECTOR_f __m256
#define LOAD_d _mm256_loadu_pd
#define STORE_d _mm256_storeu_pd
#define SPREAD_d _mm256_set1_pd
#define MULTIPLY_ADD_d _mm256_fmadd_pd
#define VECTOR_d __m256d
#elif defined(__aarch64__)
#include <arm_neon.h>
#define ROWS 8
#define FLOATS 4
#define LOAD_f vld1q_f32
#define STORE_f vst1q_f32
#define SPREAD_f vdupq_n_f32
#define MULTIPLY_ADD_f(x, y, z) vfmaq_f32(z, x, y)
#define VECTOR_f float32x4_t
#define LOAD_d vld1q_f64
#define STORE_d vst1q_f64
#define SPREAD_d vdupq_n_f64
#define MULTIPLY_ADD_d(x, y, z) vfmaq_f64(z, x, y)
#define VECTOR_d float64x2_t
#endif
