// The activations, each on one vector. Included once per translation unit, inside its unnamed namespace, after
// vector.inl.

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp2(smaller(x * -kLog2E, splat(127.0f)))); }

#include "isa/shared/gelu_tables.inl"

/// GELU = max(x, 0) - g(|x|), where g(t) = t (1 - Phi(t)) is a bump of 0.17 that ends before 5.4: a table of
/// polynomials whose coefficients are picked by instructions needs no division. Within 5e-7 of max(1, |x|); exactly 0
/// at 0.
class Gelu {
public:
    explicit Gelu(const float (&table)[kGeluDegree + 1][kGeluSegments]) {
        for (int i = 0; i <= kGeluDegree; ++i)
            for (int j = 0; j < kRegisters; ++j)
                table_[i][j] = read(table[i] + j * kWidth);
    }

    __attribute__((always_inline)) Floats operator()(Floats x) const {
        constexpr float kScale = (kGeluSegments - 0.5f) / kGeluEnd, kNearest = 12582912.0f;
        const Floats size = bounded_size(x), nearest = size * kScale + kNearest;  // an integer, in the lowest bits
        const Floats part = size * kScale - (nearest - kNearest);
        Floats bump = pick(kGeluDegree, nearest);
        OPTKIT_UNROLL
        for (int i = kGeluDegree - 1; i >= 0; --i)
            bump = bump * part + pick(i, nearest);
        return larger(Floats{}, x) - bump;
    }

private:
    static constexpr int kRegisters = kGeluSegments / kWidth;

#if OPTKIT_WIDTH == 16
    static Floats bounded_size(Floats x) {  // the smaller one of two absolute values
        return (Floats)_mm512_range_ps((__m512)x, _mm512_set1_ps(kGeluEnd - 1e-5f), 0b1010);
    }

    __attribute__((always_inline)) Floats pick(int i, Floats index) const {
        return (Floats)_mm512_permutex2var_ps((__m512)table_[i][0], (__m512i)index, (__m512)table_[i][1]);
    }
#else
    static Floats bounded_size(Floats x) { return smaller((Floats)((Ints)x & 0x7FFFFFFF), splat(kGeluEnd - 1e-5f)); }

    __attribute__((always_inline)) Floats pick(int i, Floats index) const {
#if OPTKIT_WIDTH == 8
        return (Floats)_mm256_permutevar8x32_ps((__m256)table_[i][0], (__m256i)index);
#else
        Floats picked;
        for (int lane = 0; lane < kWidth; ++lane) {
            const int segment = ((Ints)index)[lane] & (kGeluSegments - 1);
            picked[lane] = table_[i][segment / kWidth][segment % kWidth];
        }
        return picked;
#endif
    }
#endif

    Floats table_[kGeluDegree + 1][kRegisters];
};

struct GeluErf : Gelu {
    GeluErf() : Gelu(kGeluErf) {}
};

struct GeluTanh : Gelu {
    GeluTanh() : Gelu(kGeluTanh) {}
};

struct Relu {
    Floats operator()(Floats x) const { return larger(x, Floats{}); }
};

struct Tanh {
    Floats operator()(Floats x) const { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
};

struct Sigmoid {
    Floats operator()(Floats x) const { return sigmoid(x); }
};

struct Silu {
    Floats operator()(Floats x) const { return x * sigmoid(x); }
};

/// Calls f with the function of that kind.
template <typename F>
inline void with_activation(ActivationKind kind, F f) {
    switch (kind) {
        case ActivationKind::gelu_erf:
            return f(GeluErf{});
        case ActivationKind::gelu_tanh:
            return f(GeluTanh{});
        case ActivationKind::relu:
            return f(Relu{});
        case ActivationKind::tanh:
            return f(Tanh{});
        case ActivationKind::sigmoid:
            return f(Sigmoid{});
        case ActivationKind::silu:
            return f(Silu{});
    }
}
