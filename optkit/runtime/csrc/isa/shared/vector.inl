// Vectors of OPTKIT_WIDTH floats in the compiler's own extension (GCC, Clang): one source for every instruction set.
// Included once per translation unit, inside its unnamed namespace.

constexpr int kWidth = OPTKIT_WIDTH;
typedef float Floats __attribute__((vector_size(4 * OPTKIT_WIDTH)));
typedef int32_t Ints __attribute__((vector_size(4 * OPTKIT_WIDTH)));
typedef uint8_t Bytes __attribute__((vector_size(OPTKIT_WIDTH)));

// Loops over arrays of sums are unrolled, so that the sums lie in registers.
#ifdef __clang__
#define OPTKIT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OPTKIT_UNROLL _Pragma("GCC unroll 32")
#endif

/// A number that a generic lambda takes as an argument and reads as a constant.
template <int kValue>
struct Constant {
    static constexpr int value = kValue;
};

inline Floats read(const float* from) {
    Floats value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

inline void write(float* to, Floats value) { __builtin_memcpy(to, &value, sizeof value); }

inline Floats splat(float number) { return Floats{} + number; }

// b where one is no number. Written out, since compilers do not recognise the instruction in a > b ? a : b.
#if OPTKIT_WIDTH == 16
inline Floats larger(Floats a, Floats b) { return (Floats)_mm512_max_ps((__m512)a, (__m512)b); }
inline Floats smaller(Floats a, Floats b) { return (Floats)_mm512_min_ps((__m512)a, (__m512)b); }
#elif OPTKIT_WIDTH == 8
inline Floats larger(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
inline Floats smaller(Floats a, Floats b) { return (Floats)_mm256_min_ps((__m256)a, (__m256)b); }
#else
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
#endif

#if OPTKIT_WIDTH == 16
#define OPTKIT_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define OPTKIT_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif OPTKIT_WIDTH == 8
#define OPTKIT_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define OPTKIT_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define OPTKIT_LOW 0, 4, 1, 5
#define OPTKIT_HIGH 2, 6, 3, 7
#endif

/// Turns a block of kWidth x kWidth over its diagonal: each step interleaves the rows of its two halves.
inline void transpose(Floats (&rows)[kWidth]) {
    for (int step = 1; step < kWidth; step *= 2) {
        Floats mixed[kWidth];
        for (int i = 0; i < kWidth / 2; ++i) {
            mixed[2 * i] = __builtin_shufflevector(rows[i], rows[i + kWidth / 2], OPTKIT_LOW);
            mixed[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + kWidth / 2], OPTKIT_HIGH);
        }
        for (int i = 0; i < kWidth; ++i)
            rows[i] = mixed[i];
    }
}

/// The square root, correctly rounded.
inline Floats root(Floats x) {
#if OPTKIT_WIDTH == 16
    return (Floats)_mm512_sqrt_ps((__m512)x);
#elif OPTKIT_WIDTH == 8
    return (Floats)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < kWidth; ++i)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/// The same number, rounded to a float: where a step ends inside a register, the compiler must not fuse its last
/// multiplication with the next step's addition, or results would depend on what is done in one pass.
inline Floats rounded(Floats x) {
    __asm__("" : "+v"(x));
    return x;
}

/// Nearest integer, ties to even, of |x| < 2^22: adding 1.5 x 2^23 leaves it in the lowest bits.
inline Ints nearest(Floats x) { return (Ints)(x + 12582912.0f) - 0x4B400000; }

/// 2^x for x <= 128; 0 below -126. Relative error 2e-7: a minimax polynomial on [-1/2, 1/2], exponent by bits.
inline Floats exp2(Floats x) {
    const Floats bounded = larger(x, splat(-126.5f));
#if OPTKIT_WIDTH == 16
    const Floats whole = (Floats)_mm512_roundscale_ps((__m512)bounded, 0);
    const Floats part = bounded - whole;
#else
    const Ints whole = nearest(bounded);
    const Floats part = bounded - __builtin_convertvector(whole, Floats);
#endif
    Floats power = splat(1.5403530e-4f);
    power = power * part + 1.3333558e-3f;
    power = power * part + 9.6181291e-3f;
    power = power * part + 5.5504109e-2f;
    power = power * part + 2.4022651e-1f;
    power = power * part + 6.9314718e-1f;
    power = power * part + 1.0f;
#if OPTKIT_WIDTH == 16
    const Floats result = (Floats)_mm512_scalef_ps((__m512)power, (__m512)whole);
#else
    const Floats result = (Floats)((Ints)power + (whole << 23));
#endif
    return x < -126.0f ? Floats{} : result;
}

constexpr float kLog2E = 1.44269504f;
