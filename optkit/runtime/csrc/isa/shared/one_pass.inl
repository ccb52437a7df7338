// What follows the sums of a linear layer, and every other step on single numbers: a first value, a function of it, and
// where the results go, four features at a time, in registers from the beginning to the end. The parts are combined at
// compile time, so no number meets a branch.
// Included once per translation unit, inside its unnamed namespace, after activation.inl.

/// Calls last(values, row, lane) for each vector of four rows: values[i] = then(first(row + i, lane), row + i, lane).
/// All by value: what lies in memory could be changed by a result. Up to three rows behind the last are computed too,
/// of whatever lies there: memory is of whole rows of kernels (plan.h: padded).
template <typename First, typename Then, typename Last>
inline void one_pass(uint32_t rows, int lanes, const First first, const Then then, const Last last) {
    for (uint32_t row = 0; row < rows; row += 4)
        for (int lane = 0; lane < lanes; lane += kWidth) {
            Floats values[4];
            OPTKIT_UNROLL
            for (uint32_t i = 0; i < 4; ++i)
                values[i] = rounded(then(rounded(first(row + i, lane)), row + i, lane));
            last(values, row, lane);
        }
}

// First values.

/// Of a tile or a block of one.
struct Values {
    const float* from;

    Floats operator()(uint32_t row, int lane) const { return read(from + size_t(row) * kLanes + lane); }
};

/// Of int32 sums; each token has a scale and a low of its own if kDynamic (ScaleArgs).
template <bool kDynamic>
struct Scaled {
    const float* sums;
    ScaleArgs args;

    Floats operator()(uint32_t row, int lane) const {
        Ints numbers;
        __builtin_memcpy(&numbers, sums + size_t(row) * kLanes + lane, sizeof numbers);
        const Floats scaled = __builtin_convertvector(numbers, Floats) * args.scales[row];
        if (!kDynamic)
            return scaled + args.bias[row];
        const Floats low = rounded(read(args.token_low + lane) * args.low_factor[row]);
        return scaled * read(args.token_scale + lane) + low + args.bias[row];
    }
};

/// Of sums that are floats.
struct Biased {
    const float* sums;
    const float* bias;

    Floats operator()(uint32_t row, int lane) const { return read(sums + size_t(row) * kLanes + lane) + bias[row]; }
};

// Functions of them.

struct Same {
    Floats operator()(Floats x, uint32_t, int) const { return x; }
};

struct Plus {
    const float* other;

    Floats operator()(Floats x, uint32_t row, int lane) const { return x + read(other + size_t(row) * kLanes + lane); }
};

struct Times {
    const float* other;

    Floats operator()(Floats x, uint32_t row, int lane) const { return x * read(other + size_t(row) * kLanes + lane); }
};

template <typename Activation>
struct Activated {
    Activation activation;

    __attribute__((always_inline)) Floats operator()(Floats x, uint32_t, int) const { return activation(x); }
};

template <typename Activation>
inline Activated<Activation> activated(const Activation& activation) {
    return {activation};
}

// Where results go.

struct ToFloats {
    float* target;

    void operator()(const Floats (&values)[4], uint32_t row, int lane) const {
        OPTKIT_UNROLL
        for (uint32_t i = 0; i < 4; ++i)
            write(target + size_t(row + i) * kLanes + lane, values[i]);
    }
};

/// Four vectors of u8, each lane's four in its 32 bits: what they are rounded to, at most 255, at least 0, 0 for no
/// number.
inline Ints interleaved_bytes(const Floats (&values)[4]) {
#if OPTKIT_WIDTH == 4
    Ints bytes = {};
    for (int i = 0; i < 4; ++i)
        bytes |= nearest(smaller(larger(values[i], Floats{}), splat(255.0f))) << (8 * i);
    return bytes;
#else
    // What is no number becomes the lowest one, and negative ones become 0 when they are packed. That gives
    // [row][4 tokens] in each 128 bits.
#if OPTKIT_WIDTH == 8
    const auto number = [](Floats x) {
        return _mm256_cvtps_epi32((__m256)smaller(splat(255.0f), x));
    };
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(number(values[0]), number(values[1])),
                                              _mm256_packs_epi32(number(values[2]), number(values[3])));
    const __m256i turned = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9,
                                            13, 2, 6, 10, 14, 3, 7, 11, 15);
    return (Ints)_mm256_shuffle_epi8(bytes, turned);
#else
    const auto number = [](Floats x) {
        return _mm512_cvtps_epi32((__m512)smaller(splat(255.0f), x));
    };
    const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(number(values[0]), number(values[1])),
                                              _mm512_packs_epi32(number(values[2]), number(values[3])));
    const __m512i turned = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    return (Ints)_mm512_shuffle_epi8(bytes, turned);
#endif
#endif
}

/// u8, as PanelArgs say; with a range of each token if kTokens.
template <bool kGrouped, bool kTokens>
struct ToPanel {
    PanelArgs args;

    void operator()(const Floats (&values)[4], uint32_t row, int lane) const {
        Floats steps[4];
        OPTKIT_UNROLL
        for (uint32_t i = 0; i < 4; ++i) {
            const float factor = args.factor[row + i];
            steps[i] = kTokens ? (values[i] * factor - read(args.token_low + lane)) * read(args.token_inverse + lane)
                               : values[i] * factor + args.shift;
        }
        const Ints bytes = interleaved_bytes(steps);
        if (kGrouped) {
            __builtin_memcpy(args.panel + size_t(row) * kLanes + 4 * lane, &bytes, sizeof bytes);
        } else {
            alignas(4 * kWidth) uint8_t rows[4][kWidth];
            apart(bytes, rows);
            for (uint32_t i = 0; i < 4; ++i)
                __builtin_memcpy(args.panel + size_t(row + i) * kLanes + lane, rows[i], kWidth);
        }
    }

private:
    /// The bytes of each row by themselves.
    static void apart(Ints bytes, uint8_t (&rows)[4][kWidth]) {
#if OPTKIT_WIDTH == 4
        for (int i = 0; i < 4; ++i) {
            const Bytes row = __builtin_convertvector(bytes >> (8 * i), Bytes);
            __builtin_memcpy(rows[i], &row, sizeof row);
        }
#elif OPTKIT_WIDTH == 8
        const __m256i turned = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5,
                                                9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i all = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8((__m256i)bytes, turned), order);
        __builtin_memcpy(rows, &all, sizeof all);
#else
        const __m512i turned =
            _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        const __m512i all = _mm512_permutexvar_epi32(order, _mm512_shuffle_epi8((__m512i)bytes, turned));
        __builtin_memcpy(rows, &all, sizeof all);
#endif
    }
};

/// u8, as IntegersArgs say.
struct ToIntegers {
    IntegersArgs args;

    void operator()(const Floats (&values)[4], uint32_t row, int lane) const {
        Floats steps[4];
        OPTKIT_UNROLL
        for (uint32_t i = 0; i < 4; ++i)
            steps[i] = values[i] * args.factor + args.shift;
        const Ints bytes = interleaved_bytes(steps);
        __builtin_memcpy(args.target + size_t(row) * kLanes + 4 * lane, &bytes, sizeof bytes);
    }
};

/// Both.
template <typename One, typename Other>
struct ToBoth {
    One one;
    Other other;

    void operator()(const Floats (&values)[4], uint32_t row, int lane) const {
        one(values, row, lane);
        other(values, row, lane);
    }
};

template <typename One, typename Other>
inline ToBoth<One, Other> both(const One& one, const Other& other) {
    return {one, other};
}

/// Calls f with a panel of fixed range.
template <typename F>
inline void with_panel(const PanelArgs& args, F f) {
    args.grouped ? f(ToPanel<true, false>{args}) : f(ToPanel<false, false>{args});
}

/// Calls f with what is done with the values of an epilogue.
template <typename F>
inline void with_function(const EpilogueArgs& args, F f) {
    if (args.other)
        return args.multiplies ? f(Times{args.other}) : f(Plus{args.other});
    if (!args.activation)
        return f(Same{});
    with_activation(*args.activation, [&](const auto& activation) { f(activated(activation)); });
}

void epilogue(const EpilogueArgs& args) noexcept {
    const uint32_t rows = args.rows;
    const int lanes = args.lanes;
    const Scaled<false> scaled{args.sums, args.scale};
    if (args.integers)
        return one_pass(rows, lanes, scaled, Same{}, ToIntegers{*args.integers});
    with_function(args, [&](const auto& function) {
        const ToFloats target{args.target};
        if (args.panel)
            with_panel(*args.panel, [&](const auto& panel) { one_pass(rows, lanes, scaled, function, panel); });
        else if (!args.scale.scales)
            one_pass(rows, lanes, Biased{args.sums, args.scale.bias}, function, target);
        else if (args.scale.token_scale)
            one_pass(rows, lanes, Scaled<true>{args.sums, args.scale}, function, target);
        else
            one_pass(rows, lanes, scaled, function, target);
    });
}

void activation(float* target, const float* source, uint32_t rows, int lanes, ActivationKind kind) noexcept {
    with_activation(kind, [&](const auto& activation) {
        one_pass(rows, lanes, Values{source}, activated(activation), ToFloats{target});
    });
}

void add(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept {
    one_pass(rows, lanes, Values{left}, Plus{right}, ToFloats{target});
}

void multiply(float* target, const float* left, const float* right, uint32_t rows, int lanes) noexcept {
    one_pass(rows, lanes, Values{left}, Times{right}, ToFloats{target});
}

void quantize(const float* source, uint32_t rows, int lanes, const PanelArgs& args) noexcept {
    const auto fill = [&](const auto& panel) {
        one_pass(rows, lanes, Values{source}, Same{}, panel);
    };
    if (!args.token_low)
        with_panel(args, fill);
    else
        args.grouped ? fill(ToPanel<true, true>{args}) : fill(ToPanel<false, true>{args});
}

void quantize_u8(const float* source, uint32_t rows, int lanes, const IntegersArgs& args) noexcept {
    one_pass(rows, lanes, Values{source}, Same{}, ToIntegers{args});
}
