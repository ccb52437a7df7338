// The activations, each on one vector. Included once per translation unit, inside its unnamed namespace, after
// vector.inl.

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp2(smaller(x * -kLog2E, splat(127.0f)))); }

#if OPTKIT_WIDTH >= 8

#include "isa/shared/gelu_tables.inl"

/// GELU = max(x, 0) - g(|x|), where g(t) = t (1 - Phi(t)) is a bump of 0.17 that ends before 5.4: a table of
/// polynomials whose coefficients are picked by instructions needs no division. Within 8e-7 of max(1, |x|); exactly 0
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
        return (Floats)_mm256_permutevar8x32_ps((__m256)table_[i][0], (__m256i)index);
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

#else

/// Phi(x) - 1/2 of the normal distribution: x P(x^2) / Q(x^2), fitted to 3e-8 on |x| <= 5.6, where it ends at 1/2.
inline Floats half_normal(Floats x) {
    const Floats bounded = smaller(larger(x, splat(-5.6f)), splat(5.6f)), square = bounded * bounded;
    Floats above = splat(2.1710483e-8f);
    above = above * square + 6.5906837e-6f;
    above = above * square + 1.9016171e-4f;
    above = above * square + 4.8054571e-3f;
    above = above * square + 3.5847754e-2f;
    above = above * square + 3.9894190e-1f;
    Floats below = splat(1.1851585e-6f);
    below = below * square + 8.1013409e-5f;
    below = below * square + 2.0033893e-3f;
    below = below * square + 2.9804294e-2f;
    below = below * square + 2.5651974e-1f;
    below = below * square + 1.0f;
    return bounded * above / below;
}

struct GeluErf {
    Floats operator()(Floats x) const { return x * (0.5f + half_normal(x)); }
};

struct GeluTanh {  // 0.5 x (1 + tanh(z)) = x sigmoid(2 z)
    Floats operator()(Floats x) const { return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x)); }
};

#endif

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
